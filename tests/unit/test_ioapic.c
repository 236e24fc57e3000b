/* The IOAPIC's pins and entries: what is sent, when, and when not. */
#include "tests/unit/isa_fixture.h"

#include <string.h>

#include "hv/machine/apic_message.h"
#include "hv/machine/ioapic.h"

enum { SELECT = 0, WINDOW = 0x10, LEVEL = 1 << 15, MASKED = 1 << 16, REMOTE_IRR = 1 << 14, LOGICAL = 1 << 11 };

static struct ioapic io;
static struct apic_message last;
static unsigned sent;
static bool nobody;

static bool send(struct ioapic *ioapic, const struct apic_message *message)
{
    (void)ioapic;
    last = *message;
    sent++;
    return !nobody;
}

static int setup(void **state)
{
    struct chips_state chips;
    (void)state;
    chips_state_reset(&chips);
    io = (struct ioapic){.state = chips.ioapic, .send = send};
    sent = 0;
    nobody = false;
    return 0;
}

static uint32_t get(uint32_t reg)
{
    ioapic_write(&io, SELECT, reg);
    assert_int_equal(ioapic_read(&io, SELECT), reg);
    return ioapic_read(&io, WINDOW);
}

static void put(uint32_t reg, uint32_t value)
{
    ioapic_write(&io, SELECT, reg);
    ioapic_write(&io, WINDOW, value);
}

static void entry(unsigned pin, uint32_t low, uint8_t destination)
{
    put(0x11 + 2 * pin, (uint32_t)destination << 24);
    put(0x10 + 2 * pin, low);
}

static void registers(void **state)
{
    (void)state;
    assert_int_equal(get(1), 0x170011);
    put(0, 0xffffffff);
    assert_int_equal(get(0), 0x0f000000);
    assert_int_equal(get(2), 0x0f000000);
    for (unsigned pin = 0; pin < IRQ_GSI_COUNT; pin++)
        assert_int_equal(get(0x10 + 2 * pin), MASKED);
    put(0x12, 0xffffffff);
    put(0x13, 0xffffffff);
    assert_int_equal(get(0x12), 0x1afff); /* status and remote IRR are read-only */
    assert_int_equal(get(0x13), 0xff000000);
    put(0x40, 0xffffffff); /* behind the last */
    assert_int_equal(get(0x40), 0);
    assert_int_equal(get(0xff), 0);
    assert_int_equal(ioapic_read(&io, 0x20), 0);
    ioapic_write(&io, 0x40, 0x31);
    assert_int_equal(sent, 0);
}

static void edges(void **state)
{
    (void)state;
    entry(4, 0x31 | LOGICAL | 1 << 8, 0x0f);
    ioapic_set(&io, 4, true);
    assert_int_equal(sent, 1);
    assert_int_equal(last.vector, 0x31);
    assert_int_equal(last.mode, APIC_LOWEST);
    assert_int_equal(last.destination, 0x0f);
    assert_true(last.logical && !last.level && !last.broadcast);
    ioapic_set(&io, 4, true); /* no edge */
    ioapic_eoi(&io, 0x31);    /* nothing to end */
    assert_int_equal(sent, 1);
    ioapic_set(&io, 4, false);
    ioapic_set(&io, 4, true);
    assert_int_equal(sent, 2);
}

static void masked_edges_are_lost(void **state)
{
    (void)state;
    entry(4, 0x31 | MASKED, 0xff);
    ioapic_set(&io, 4, true);
    entry(4, 0x31, 0xff);
    assert_int_equal(sent, 0);
    ioapic_set(&io, 4, false);
    ioapic_set(&io, 4, true);
    assert_int_equal(sent, 1);
    assert_true(last.broadcast);
}

static void levels(void **state)
{
    (void)state;
    entry(16, 0x41 | LEVEL, 2);
    ioapic_set(&io, 16, true);
    assert_int_equal(sent, 1);
    assert_true(last.level);
    assert_int_equal(get(0x10 + 32), 0x41 | LEVEL | REMOTE_IRR);
    ioapic_set(&io, 16, false);
    ioapic_set(&io, 16, true); /* waits for the EOI */
    assert_int_equal(sent, 1);
    ioapic_eoi(&io, 0x42); /* another's */
    assert_int_equal(sent, 1);
    ioapic_eoi(&io, 0x41); /* the line is up */
    assert_int_equal(sent, 2);
    ioapic_set(&io, 16, false);
    ioapic_eoi(&io, 0x41);
    assert_int_equal(sent, 2);
    assert_int_equal(get(0x10 + 32), 0x41 | LEVEL);
}

static void level_behind_the_mask(void **state)
{
    (void)state;
    entry(20, 0x51 | LEVEL | MASKED, 0);
    ioapic_set(&io, 20, true);
    assert_int_equal(sent, 0);
    entry(20, 0x51 | LEVEL, 0);
    assert_int_equal(sent, 1);
    entry(20, 0x51 | LEVEL | MASKED, 0); /* masked while in service */
    ioapic_eoi(&io, 0x51);
    assert_int_equal(sent, 1);
    assert_int_equal(get(0x10 + 40), 0x51 | LEVEL | MASKED);
    entry(20, 0x51 | LEVEL, 0);
    assert_int_equal(sent, 2);
}

/* Linux ends an interrupt so where there is no EOI register: to edge and back. */
static void edge_clears_remote_irr(void **state)
{
    (void)state;
    entry(20, 0x51 | LEVEL, 0);
    ioapic_set(&io, 20, true);
    put(0x10 + 40, 0x51 | MASKED);
    assert_int_equal(get(0x10 + 40), 0x51 | MASKED);
    put(0x10 + 40, 0x51 | LEVEL);
    assert_int_equal(sent, 2);
}

static void nobody_takes_it(void **state)
{
    (void)state;
    nobody = true;
    entry(20, 0x51 | LEVEL, 9);
    ioapic_set(&io, 20, true);
    assert_int_equal(sent, 1);
    assert_int_equal(get(0x10 + 40), 0x51 | LEVEL); /* or it would wait for ever */
    nobody = false;
    entry(20, 0x51 | LEVEL, 1);
    assert_int_equal(sent, 2); /* any write to the entry is a new chance */
    assert_int_equal(get(0x10 + 40), 0x51 | LEVEL | REMOTE_IRR);
}

static void shared_vector(void **state)
{
    (void)state;
    entry(20, 0x51 | LEVEL, 0);
    entry(21, 0x51 | LEVEL, 0);
    ioapic_set(&io, 20, true);
    ioapic_set(&io, 21, true);
    assert_int_equal(sent, 2);
    ioapic_eoi(&io, 0x51);
    assert_int_equal(sent, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(registers, setup),
        cmocka_unit_test_setup(edges, setup),
        cmocka_unit_test_setup(masked_edges_are_lost, setup),
        cmocka_unit_test_setup(levels, setup),
        cmocka_unit_test_setup(level_behind_the_mask, setup),
        cmocka_unit_test_setup(edge_clears_remote_irr, setup),
        cmocka_unit_test_setup(nobody_takes_it, setup),
        cmocka_unit_test_setup(shared_vector, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
