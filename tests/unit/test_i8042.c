/* Keyboard controller, port 92h and debug port: the conversations that firmware and Linux have with them. */
#include "tests/unit/isa_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "hv/machine/debugcon.h"
#include "hv/machine/i8042.h"
#include "hv/machine/port92.h"
#include "hv/machine/reset.h"
#include "node/base/err.h"

enum { FULL = 1 };

static struct isa_fixture *f;
static struct i8042 *i8042;
static unsigned restarts;
static char by[64];

static void restart(struct reset *reset, const char *who)
{
    (void)reset;
    restarts++;
    strncpy(by, who, sizeof by - 1);
}

static void off(struct reset *reset, const char *who)
{
    (void)reset;
    fail_msg("%s switched the machine off", who);
}

static struct reset reset = {.restart = restart, .off = off};

static int setup(void **state)
{
    struct err err;
    isa_setup(state);
    f = *state;
    restarts = 0;
    i8042 = i8042_new(f->bus, &f->irq, &reset, &err);
    return i8042 ? 0 : -1;
}

static int teardown(void **state)
{
    i8042_free(i8042);
    return isa_teardown(state);
}

static void answers(const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(isa_in(f, 0x64) & FULL, FULL);
        assert_int_equal(isa_in(f, 0x60), (uint8_t)bytes[i]);
    }
    assert_int_equal(isa_in(f, 0x64) & FULL, 0);
}
#define ANSWERS(text) answers(text, sizeof text - 1)

static void controller(void **state)
{
    (void)state;
    assert_int_equal(isa_in(f, 0x64), 0x10);
    isa_out(f, 0x64, 0xaa);
    assert_int_equal(isa_in(f, 0x64), 0x1d);
    ANSWERS("\x55");
    isa_out(f, 0x64, 0xab);
    ANSWERS("\0");
    isa_out(f, 0x64, 0x60);
    isa_out(f, 0x60, 0x45);
    isa_out(f, 0x64, 0x20);
    ANSWERS("\x45");
    isa_out(f, 0x64, 0xad);
    isa_out(f, 0x64, 0xa7);
    isa_out(f, 0x64, 0x20);
    ANSWERS("\x75");
    isa_out(f, 0x64, 0xae);
    isa_out(f, 0x64, 0xa8);
    isa_out(f, 0x64, 0x20);
    ANSWERS("\x45");
    isa_out(f, 0x64, 0xa9); /* no mouse: its test fails, and its loop comes back as the keyboard's */
    ANSWERS("\x01");
    isa_out(f, 0x64, 0xd3);
    isa_out(f, 0x60, 0x5a);
    assert_int_equal(isa_in(f, 0x64) & 0x21, 1);
    ANSWERS("\x5a");
    isa_out(f, 0x64, 0xd4);
    isa_out(f, 0x60, 0xf2);
    isa_out(f, 0x64, 0xd2);
    isa_out(f, 0x60, 0x77);
    ANSWERS("\x77");
    isa_out(f, 0x64, 0xc0);
    ANSWERS("\x80");
    isa_out(f, 0x64, 0xd0);
    ANSWERS("\xc3");
    isa_out(f, 0x64, 0xd1); /* A20 on: what firmware says */
    isa_out(f, 0x60, 0xdf);
    isa_out(f, 0x64, 0xd0);
    ANSWERS("\xdf");
    isa_out(f, 0x64, 0xff); /* pulses nothing */
    assert_int_equal(restarts, 0);
}

static void keyboard(void **state)
{
    (void)state;
    isa_out(f, 0x60, 0xff);
    ANSWERS("\xfa\xaa");
    isa_out(f, 0x60, 0xf2);
    ANSWERS("\xfa\xab\x83");
    isa_out(f, 0x60, 0xed);
    ANSWERS("\xfa");
    isa_out(f, 0x60, 0x02);
    ANSWERS("\xfa");
    isa_out(f, 0x60, 0xf3);
    ANSWERS("\xfa");
    isa_out(f, 0x60, 0xf4); /* a command instead of the parameter */
    ANSWERS("\xfa");
    isa_out(f, 0x60, 0xf0);
    ANSWERS("\xfa");
    isa_out(f, 0x60, 0);
    ANSWERS("\xfa\x02");
    isa_out(f, 0x60, 0xf0);
    isa_out(f, 0x60, 1);
    ANSWERS("\xfa\xfa");
    isa_out(f, 0x60, 0xf0);
    isa_out(f, 0x60, 0);
    ANSWERS("\xfa\xfa\x01");
    isa_out(f, 0x60, 0xee);
    ANSWERS("\xee");
    isa_out(f, 0x60, 0xfe);
    ANSWERS("\xee");
    isa_out(f, 0x60, 0xf6);
    ANSWERS("\xfa");
    isa_out(f, 0x60, 0x17);
    ANSWERS("\xfe");
    isa_out(f, 0x64, 0x60);
    isa_out(f, 0x60, 0x40); /* translated */
    isa_out(f, 0x60, 0xf2);
    ANSWERS("\xfa\xab\x41");
}

static void interrupts(void **state)
{
    (void)state;
    isa_out(f, 0x60, 0xf2);
    assert_false(f->line[1]);
    isa_out(f, 0x64, 0x60);
    isa_out(f, 0x60, 0x01);
    assert_true(f->line[1]);
    for (unsigned i = 1; i <= 3; i++) { /* one edge a byte */
        assert_int_equal(f->rises[1], i);
        isa_in(f, 0x60);
    }
    assert_int_equal(f->rises[1], 3);
    assert_false(f->line[1]);
}

static void resets(void **state)
{
    struct err err;
    (void)state;
    isa_out(f, 0x64, 0xfe);
    assert_int_equal(restarts, 1);
    assert_string_equal(by, "the keyboard controller");
    isa_out(f, 0x64, 0xd1);
    isa_out(f, 0x60, 0xde);
    assert_int_equal(restarts, 2);
    struct port92 *port92 = port92_new(f->bus, &reset, &err);
    assert_int_equal(isa_in(f, 0x92), 2);
    isa_out(f, 0x92, 0);
    isa_out(f, 0x92, 3);
    assert_int_equal(restarts, 3);
    assert_string_equal(by, "port 92h");
    isa_out(f, 0x92, 1); /* it is the edge that counts */
    assert_int_equal(restarts, 3);
    isa_round_trip(f, port92_device(port92), port92_device(port92));
    bus_lock(f->bus);
    port92_device(port92)->reset(port92_device(port92));
    bus_unlock(f->bus);
    assert_int_equal(isa_in(f, 0x92), 2);
    port92_free(port92);
}

static void survives(void **state)
{
    (void)state;
    isa_out(f, 0x64, 0x60);
    isa_out(f, 0x60, 0x01);
    isa_out(f, 0x60, 0xf2);
    isa_out(f, 0x60, 0xed);
    isa_out(f, 0x64, 0xd1);
    f->line[1] = false;
    isa_round_trip(f, i8042_device(i8042), i8042_device(i8042));
    assert_true(f->line[1]);
    unsigned seed = 1;
    for (unsigned i = 0; i < 100000; i++) {
        unsigned r = (unsigned)rand_r(&seed);
        if (r & 3)
            isa_out(f, r & 4 ? 0x60 : 0x64, (uint8_t)(r >> 8));
        else
            isa_in(f, r & 4 ? 0x60 : 0x64);
    }
    isa_round_trip(f, i8042_device(i8042), i8042_device(i8042));
    bus_lock(f->bus);
    i8042_device(i8042)->reset(i8042_device(i8042));
    bus_unlock(f->bus);
    assert_false(f->line[1]);
    assert_int_equal(isa_in(f, 0x64), 0x10);
}

/* ---- the debug port ---- */

static char said[16];

static void say(struct debugcon_host *host, uint8_t byte)
{
    (void)host;
    said[strlen(said)] = (char)byte;
}

static void debug_port(void **state)
{
    struct debugcon_host host = {.output = say};
    struct err err;
    (void)state;
    assert_int_equal(isa_in(f, 0x402), 0xff);
    struct debugcon *d = debugcon_new(f->bus, &host, &err);
    assert_int_equal(isa_in(f, 0x402), 0xe9);
    for (const char *c = "SeaBIOS"; *c; c++)
        isa_out(f, 0x402, (uint8_t)*c);
    assert_string_equal(said, "SeaBIOS");
    debugcon_free(d);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(controller), TEST(keyboard), TEST(interrupts), TEST(resets), TEST(survives), TEST(debug_port),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
