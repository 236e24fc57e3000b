/* The 8254 by its data sheet, with port 61h beside it. Times are in its own ticks. */
#include "tests/unit/isa_fixture.h"

#include <stdlib.h>

#include "hv/machine/pit.h"
#include "hv/machine/pit_counter.h"
#include "hv/machine/port61.h"
#include "node/base/err.h"

static struct isa_fixture *f;
static struct pit *pit;
static struct port61 *port61;
static uint64_t begun_ns, ticks;

static int setup(void **state)
{
    struct err err;
    isa_setup(state);
    f = *state;
    pit = pit_new(f->bus, &f->irq, f->timers, &err);
    port61 = port61_new(f->bus, f->timers, pit, &err);
    begun_ns = 1000;
    ticks = 0;
    return pit && port61 ? 0 : -1;
}

static int teardown(void **state)
{
    port61_free(port61);
    pit_free(pit);
    return isa_teardown(state);
}

/* To the middle of the tick that many ticks on. */
static void wait_ticks(uint64_t n)
{
    ticks += n;
    uint64_t at = (uint64_t)(((double)ticks + 0.5) * 1e9 / PIT_HZ);
    isa_advance(f, at > begun_ns ? at - begun_ns : 0);
    begun_ns = at > begun_ns ? at : begun_ns;
}

static void start(unsigned counter, unsigned mode, uint16_t count)
{
    wait_ticks(2);
    isa_out(f, 0x43, (uint8_t)(counter << 6 | 0x30 | mode << 1));
    isa_out(f, (uint16_t)(0x40 + counter), (uint8_t)count);
    isa_out(f, (uint16_t)(0x40 + counter), (uint8_t)(count >> 8));
}

static unsigned count_of(unsigned counter)
{
    isa_out(f, 0x43, (uint8_t)(counter << 6));
    unsigned low = isa_in(f, (uint16_t)(0x40 + counter));
    return low | (unsigned)isa_in(f, (uint16_t)(0x40 + counter)) << 8;
}

static uint8_t status_of(unsigned counter)
{
    isa_out(f, 0x43, (uint8_t)(0xe0 | 2 << counter));
    return isa_in(f, (uint16_t)(0x40 + counter));
}

static bool out2(void)
{
    return isa_in(f, 0x61) & 0x20;
}

static void terminal_count(void **state)
{
    (void)state;
    start(0, 0, 1000);
    assert_false(f->line[0]);
    assert_int_equal(count_of(0), 1000);
    wait_ticks(400);
    assert_int_equal(count_of(0), 600);
    wait_ticks(599);
    assert_false(f->line[0]);
    wait_ticks(1);
    assert_true(f->line[0]);
    assert_int_equal(f->rises[0], 1);
    wait_ticks(10);
    assert_int_equal(count_of(0), 65536 - 10);
    wait_ticks(200000);
    assert_int_equal(f->rises[0], 1);
    start(0, 0, 0); /* stands for 65536 */
    assert_false(f->line[0]);
    wait_ticks(65535);
    assert_false(f->line[0]);
    wait_ticks(1);
    assert_true(f->line[0]);
    isa_out(f, 0x40, 0x10); /* the first byte of a new count stops it */
    wait_ticks(100000);
    assert_int_equal(f->rises[0], 2);
    isa_out(f, 0x40, 0x00);
    wait_ticks(16);
    assert_int_equal(f->rises[0], 3);
}

static void rate(void **state)
{
    (void)state;
    start(0, 2, 11932); /* 100 Hz */
    unsigned rises = f->rises[0];
    for (unsigned i = 1; i <= 10; i++) {
        wait_ticks(11931);
        assert_int_equal(f->rises[0], rises + i - 1);
        assert_int_equal(count_of(0), 1);
        assert_int_equal(status_of(0), 0x34); /* its low tick */
        wait_ticks(1);
        assert_int_equal(f->rises[0], rises + i);
        assert_int_equal(count_of(0), 11932);
        assert_int_equal(status_of(0), 0xb4);
    }
    wait_ticks(1000);
    isa_out(f, 0x40, 0x88); /* a new count, from the next period on */
    isa_out(f, 0x40, 0x13);
    assert_int_equal(status_of(0), 0xf4); /* null count: not taken over yet */
    rises = f->rises[0];
    wait_ticks(10931);
    assert_int_equal(f->rises[0], rises);
    wait_ticks(1);
    assert_int_equal(f->rises[0], rises + 1);
    assert_int_equal(status_of(0), 0xb4);
    wait_ticks(5000);
    assert_int_equal(f->rises[0], rises + 2);
    isa_out(f, 0x43, 0x30); /* a control word alone ends it */
    assert_int_equal(isa_timers_set(f), 0);
    assert_false(f->line[0]);
}

static void square(void **state)
{
    (void)state;
    isa_out(f, 0x61, 1);
    start(2, 3, 100);
    assert_true(out2());
    wait_ticks(49);
    assert_true(out2());
    assert_int_equal(count_of(2), 2);
    wait_ticks(1);
    assert_false(out2());
    assert_int_equal(count_of(2), 100);
    wait_ticks(49);
    assert_false(out2());
    wait_ticks(1);
    assert_true(out2());
    wait_ticks(60);
    isa_out(f, 0x61, 0); /* a low gate puts the output up and stops it */
    assert_true(out2());
    wait_ticks(1000);
    isa_out(f, 0x61, 1); /* a rising one begins anew */
    assert_true(out2());
    wait_ticks(50);
    assert_false(out2());
    start(0, 3, 5); /* odd; and shorter than anybody can serve */
    unsigned rises = f->rises[0];
    wait_ticks(PIT_HZ / 100);
    assert_in_range(f->rises[0] - rises, 10, 101);
    isa_out(f, 0x43, 0x30);
}

static void gated_count(void **state)
{
    (void)state;
    start(2, 0, 100);
    assert_false(out2());
    wait_ticks(1000);
    assert_int_equal(count_of(2), 100); /* the gate is low */
    isa_out(f, 0x61, 1);
    wait_ticks(60);
    assert_int_equal(count_of(2), 40);
    isa_out(f, 0x61, 0);
    wait_ticks(1000);
    assert_int_equal(count_of(2), 40);
    isa_out(f, 0x61, 1);
    wait_ticks(39);
    assert_false(out2());
    wait_ticks(1);
    assert_true(out2());
    isa_out(f, 0x61, 0);
    assert_true(out2()); /* stays, gate or not */
}

static void one_shot(void **state)
{
    (void)state;
    start(2, 1, 100);
    assert_true(out2());
    wait_ticks(500);
    assert_true(out2());
    isa_out(f, 0x61, 1); /* the trigger */
    assert_false(out2());
    wait_ticks(90);
    isa_out(f, 0x61, 0); /* does not stop it */
    isa_out(f, 0x61, 1); /* again */
    wait_ticks(99);
    assert_false(out2());
    wait_ticks(1);
    assert_true(out2());
    isa_out(f, 0x42, 10); /* for the next trigger */
    isa_out(f, 0x42, 0);
    isa_out(f, 0x61, 0);
    isa_out(f, 0x61, 1);
    assert_false(out2());
    wait_ticks(10);
    assert_true(out2());
}

static void strobes(void **state)
{
    (void)state;
    start(0, 4, 1000);
    assert_true(f->line[0]);
    unsigned rises = f->rises[0];
    wait_ticks(1000);
    assert_int_equal(status_of(0), 0x38);
    assert_int_equal(f->rises[0], rises);
    wait_ticks(1);
    assert_int_equal(status_of(0), 0xb8);
    assert_int_equal(f->rises[0], rises + 1);
    wait_ticks(100000);
    assert_int_equal(f->rises[0], rises + 1);
    start(2, 5, 20);
    isa_out(f, 0x61, 1);
    wait_ticks(19);
    assert_true(out2());
    wait_ticks(1);
    assert_false(out2());
    wait_ticks(1);
    assert_true(out2());
}

static void access_and_latches(void **state)
{
    (void)state;
    wait_ticks(2);
    isa_out(f, 0x43, 0x14); /* counter 0, low byte only */
    isa_out(f, 0x40, 200);
    wait_ticks(10);
    assert_int_equal(isa_in(f, 0x40), 190);
    assert_int_equal(isa_in(f, 0x40), 190);
    isa_out(f, 0x43, 0x64); /* counter 1, high byte only */
    isa_out(f, 0x41, 2);
    wait_ticks(1);
    assert_int_equal(isa_in(f, 0x41), 1); /* of 511 */
    start(0, 2, 0x1234);
    isa_out(f, 0x43, 0xc2); /* read-back: count and status of counter 0 */
    wait_ticks(100);
    isa_out(f, 0x43, 0x00); /* latched already: no effect */
    assert_int_equal(isa_in(f, 0x40), 0xb4);
    assert_int_equal(isa_in(f, 0x40), 0x34);
    assert_int_equal(isa_in(f, 0x40), 0x12);
    assert_int_equal(isa_in(f, 0x40), (0x1234 - 100) & 0xff);
    assert_int_equal(isa_in(f, 0x40), (0x1234 - 100) >> 8);
    isa_out(f, 0x43, 0x31); /* BCD */
    isa_out(f, 0x40, 0x00);
    isa_out(f, 0x40, 0x10);
    wait_ticks(1);
    assert_int_equal(count_of(0), 0x999);
    wait_ticks(1000);
    assert_int_equal(count_of(0), 0x9999);
    assert_int_equal(isa_in(f, 0x43), 0xff);
}

static void port_61(void **state)
{
    unsigned changes = 0;
    uint8_t last = isa_in(f, 0x61);
    (void)state;
    isa_out(f, 0x61, 0xff);
    assert_int_equal(isa_in(f, 0x61) & ~0x30, 0x0f);
    for (unsigned i = 0; i < 100; i++) {
        isa_advance(f, 15085);
        changes += (isa_in(f, 0x61) ^ last) >> 4 & 1;
        last = isa_in(f, 0x61);
    }
    assert_int_equal(changes, 100);
    isa_round_trip(f, port61_device(port61), port61_device(port61));
}

static void survives(void **state)
{
    struct err err;
    (void)state;
    start(0, 2, 10000);
    start(2, 1, 77);
    isa_out(f, 0x61, 1);
    wait_ticks(4000);
    isa_out(f, 0x43, 0xc2);
    isa_round_trip(f, pit_device(pit), pit_device(pit));
    unsigned rises = f->rises[0];
    wait_ticks(6000 - 3);
    assert_int_equal(f->rises[0], rises);
    wait_ticks(3);
    assert_int_equal(f->rises[0], rises + 1);
    assert_null(pit_new(f->bus, &f->irq, f->timers, &err));
    bus_lock(f->bus);
    pit_device(pit)->reset(pit_device(pit));
    bus_unlock(f->bus);
    assert_int_equal(isa_timers_set(f), 0);
    assert_false(f->line[0]);
}

/* Any sequence of writes, reads and pauses keeps every counter within what it can be. */
static void bears_everything(void **state)
{
    struct pit_counter c;
    unsigned seed = 3;
    uint64_t now = 0;
    (void)state;
    pit_counter_reset(&c);
    for (unsigned i = 0; i < 300000; i++) {
        unsigned r = (unsigned)rand_r(&seed);
        now += r >> 8 & 0x3ff;
        switch (r & 7) {
        case 0:
            pit_counter_control(&c, (uint8_t)(r >> 16), now);
            break;
        case 1:
            pit_counter_set_gate(&c, r & 0x10000, now);
            break;
        case 2:
            pit_counter_latch_status(&c, now);
            break;
        case 3:
            pit_counter_read(&c, now);
            break;
        default:
            pit_counter_write(&c, (uint8_t)(r >> 16 & 3 ? r >> 18 & 3 : 0), now);
        }
        uint64_t rise = pit_counter_next_rise(&c, now);
        assert_true(!rise || rise > now);
        assert_true(pit_counter_is_sane(&c));
        if (rise) {
            struct pit_counter then = c;
            assert_true(pit_counter_output(&then, rise));
        }
    }
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(terminal_count),     TEST(rate),    TEST(square),   TEST(gated_count),      TEST(one_shot), TEST(strobes),
        TEST(access_and_latches), TEST(port_61), TEST(survives), TEST(bears_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
