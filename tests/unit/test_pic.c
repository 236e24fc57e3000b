/* The pair of 8259As by their data sheet: priorities, modes, ends of interrupt, cascade. */
#include "tests/unit/isa_fixture.h"

#include <string.h>

#include "hv/machine/pic.h"

enum { COMMAND = 0, DATA = 1, MASTER = 0, SLAVE = 1, EOI = 0x20 };

static struct pic_state pics[2];

static void initialise(uint8_t icw4)
{
    memset(pics, 0, sizeof pics);
    for (unsigned i = 0; i < 2; i++) {
        pic_write(pics, i, COMMAND, 0x11);
        pic_write(pics, i, DATA, i ? 0x28 : 0x20);
        pic_write(pics, i, DATA, i ? 2 : 4);
        pic_write(pics, i, DATA, icw4);
        pic_write(pics, i, DATA, 0);
    }
}

static int setup(void **state)
{
    (void)state;
    initialise(1);
    return 0;
}

static void pulse(unsigned irq)
{
    pic_set(pics, irq, true);
    pic_set(pics, irq, false);
}

static uint8_t isr(unsigned which)
{
    pic_write(pics, which, COMMAND, 0x0b);
    return pic_read(pics, which, COMMAND);
}

static uint8_t irr(unsigned which)
{
    pic_write(pics, which, COMMAND, 0x0a);
    return pic_read(pics, which, COMMAND);
}

static void takes_the_highest(void **state)
{
    (void)state;
    assert_false(pic_output(pics));
    pulse(5);
    pulse(1);
    pulse(12);
    assert_true(pic_output(pics));
    assert_int_equal(irr(MASTER), 0x26); /* 1, 5 and the cascade */
    assert_int_equal(pic_accept(pics), 0x21);
    assert_false(pic_output(pics)); /* the others are lower */
    pic_write(pics, MASTER, COMMAND, EOI);
    assert_int_equal(pic_accept(pics), 0x2c);
    assert_int_equal(isr(MASTER), 4);
    assert_int_equal(isr(SLAVE), 0x10);
    pic_write(pics, SLAVE, COMMAND, EOI);
    pic_write(pics, MASTER, COMMAND, EOI);
    assert_int_equal(pic_accept(pics), 0x25);
    pulse(0); /* higher than the one in service */
    assert_int_equal(pic_accept(pics), 0x20);
    assert_int_equal(isr(MASTER), 0x21);
    pic_write(pics, MASTER, COMMAND, 0x60 | 5); /* specific EOI */
    assert_int_equal(isr(MASTER), 1);
}

static void masks(void **state)
{
    (void)state;
    pic_write(pics, MASTER, DATA, 0x02);
    assert_int_equal(pic_read(pics, MASTER, DATA), 2);
    pulse(1);
    assert_false(pic_output(pics));
    pic_write(pics, MASTER, DATA, 0); /* the edge was kept */
    assert_int_equal(pic_accept(pics), 0x21);
}

static void edge_and_level(void **state)
{
    (void)state;
    pic_set(pics, 3, true);
    assert_int_equal(pic_accept(pics), 0x23);
    pic_write(pics, MASTER, COMMAND, EOI);
    assert_false(pic_output(pics)); /* an edge counts once */
    pic_write_elcr(pics, MASTER, 0xff);
    pic_write_elcr(pics, SLAVE, 0xff);
    assert_int_equal(pics[MASTER].elcr, 0xf8); /* what a PC allows */
    assert_int_equal(pics[SLAVE].elcr, 0xde);
    assert_true(pic_output(pics)); /* still up */
    assert_int_equal(pic_accept(pics), 0x23);
    pic_write(pics, MASTER, COMMAND, EOI);
    assert_true(pic_output(pics)); /* and again */
    pic_set(pics, 3, false);
    assert_false(pic_output(pics));
    pic_set(pics, 10, true);
    assert_int_equal(pic_accept(pics), 0x2a);
    pic_write(pics, SLAVE, COMMAND, EOI);
    pic_write(pics, MASTER, COMMAND, EOI);
    assert_int_equal(pic_accept(pics), 0x2a); /* through the cascade, which is edge-triggered */
}

static void spurious(void **state)
{
    (void)state;
    assert_int_equal(pic_accept(pics), 0x27);
    assert_int_equal(isr(MASTER), 0);
    pic_write_elcr(pics, SLAVE, 0x02);
    pic_set(pics, 9, true);
    pic_set(pics, 9, false); /* went away, but the master has latched the slave's edge */
    assert_int_equal(pic_accept(pics), 0x2f);
    assert_int_equal(isr(SLAVE), 0);
    assert_int_equal(isr(MASTER), 4);
}

static void automatic_eoi(void **state)
{
    (void)state;
    initialise(3);
    pulse(4);
    assert_int_equal(pic_accept(pics), 0x24);
    assert_int_equal(isr(MASTER), 0);
    pic_write(pics, MASTER, COMMAND, 0x80); /* rotate in this mode */
    pulse(4);
    pulse(3);
    assert_int_equal(pic_accept(pics), 0x23); /* 4 became... not yet: 3 is lower in number, then goes last */
    pulse(3);
    pulse(5);
    assert_int_equal(pic_accept(pics), 0x24);
    assert_int_equal(pic_accept(pics), 0x25);
    assert_int_equal(pic_accept(pics), 0x23);
}

static void rotation(void **state)
{
    (void)state;
    pic_write(pics, MASTER, COMMAND, 0xc0 | 4); /* 4 is the lowest, so 5 the highest */
    pulse(0);
    pulse(4);
    pulse(5);
    assert_int_equal(pic_accept(pics), 0x25);
    pic_write(pics, MASTER, COMMAND, 0xa0); /* rotate on non-specific EOI: 5 the lowest */
    pulse(5);
    assert_int_equal(pic_accept(pics), 0x20);
    pic_write(pics, MASTER, COMMAND, EOI);
    assert_int_equal(pic_accept(pics), 0x24);
    pic_write(pics, MASTER, COMMAND, 0xe0 | 4); /* rotate on specific EOI */
    assert_int_equal(isr(MASTER), 0);
    assert_int_equal(pic_accept(pics), 0x25);
}

static void special_mask(void **state)
{
    (void)state;
    pulse(2 + 1);
    assert_int_equal(pic_accept(pics), 0x23);
    pulse(6);
    assert_false(pic_output(pics));
    pic_write(pics, MASTER, DATA, 1 << 3);
    assert_false(pic_output(pics));
    pic_write(pics, MASTER, COMMAND, 0x68); /* special mask mode: only the masked one is kept out */
    assert_true(pic_output(pics));
    assert_int_equal(pic_accept(pics), 0x26);
    pic_write(pics, MASTER, COMMAND, EOI);
    assert_int_equal(isr(MASTER), 1 << 3); /* which a non-specific EOI does not find */
    pic_write(pics, MASTER, COMMAND, 0x48);
    assert_false(pic_output(pics));
}

static void fully_nested(void **state)
{
    (void)state;
    initialise(0x11);
    pulse(12);
    assert_int_equal(pic_accept(pics), 0x2c);
    pulse(8); /* of the same slave, and higher */
    assert_true(pic_output(pics));
    assert_int_equal(pic_accept(pics), 0x28);
    initialise(0x01);
    pulse(12);
    assert_int_equal(pic_accept(pics), 0x2c);
    pulse(8);
    assert_false(pic_output(pics));
    pic_write(pics, MASTER, COMMAND, EOI); /* the slave's next waits no longer */
    assert_int_equal(pic_accept(pics), 0x28);
}

static void polls(void **state)
{
    (void)state;
    pic_write(pics, MASTER, COMMAND, 0x0c);
    assert_int_equal(pic_read(pics, MASTER, COMMAND), 0);
    pulse(6);
    pulse(9);
    pic_write(pics, SLAVE, COMMAND, 0x0c);
    assert_int_equal(pic_read(pics, SLAVE, COMMAND), 0x81);
    assert_int_equal(isr(SLAVE), 2);
    pic_write(pics, MASTER, COMMAND, 0x0c);
    assert_int_equal(pic_read(pics, MASTER, COMMAND), 0x82); /* the latched cascade */
    pic_write(pics, MASTER, COMMAND, EOI);
    pic_write(pics, MASTER, COMMAND, 0x0c);
    assert_int_equal(pic_read(pics, MASTER, DATA), 0x86); /* at either port */
    assert_int_equal(isr(MASTER), 1 << 6);
}

static void initialisation(void **state)
{
    (void)state;
    pic_write_elcr(pics, MASTER, 0x20);
    pic_write(pics, MASTER, DATA, 0xff);
    pulse(1);
    pic_set(pics, 4, true);
    pic_set(pics, 5, true);
    pic_write(pics, MASTER, COMMAND, 0x10); /* without ICW4 */
    assert_int_equal(pics[MASTER].imr, 0);
    assert_int_equal(irr(MASTER), 0x20); /* edges are forgotten, a level is there */
    pic_write(pics, MASTER, DATA, 0x5f);
    pic_write(pics, MASTER, DATA, 4);
    pic_write(pics, MASTER, DATA, 0xaa); /* the mask already */
    assert_int_equal(pic_read(pics, MASTER, DATA), 0xaa);
    pic_write(pics, MASTER, DATA, 0);
    assert_int_equal(pic_accept(pics), 0x58 + 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(takes_the_highest, setup),
        cmocka_unit_test_setup(masks, setup),
        cmocka_unit_test_setup(edge_and_level, setup),
        cmocka_unit_test_setup(spurious, setup),
        cmocka_unit_test_setup(automatic_eoi, setup),
        cmocka_unit_test_setup(rotation, setup),
        cmocka_unit_test_setup(special_mask, setup),
        cmocka_unit_test_setup(fully_nested, setup),
        cmocka_unit_test_setup(polls, setup),
        cmocka_unit_test_setup(initialisation, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
