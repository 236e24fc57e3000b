/* The clock: calendar, forms, interrupts, and the cells that firmware reads. The host's clock is a variable. */
#include "tests/unit/isa_fixture.h"

#include <stdlib.h>
#include <time.h>

#include "hv/machine/rtc.h"
#include "hv/machine/rtc_calendar.h"
#include "node/base/err.h"

enum { CLOCK_GSI = RTC_GSI, MS = 1000000, US = 1000 };

static const uint64_t second = 1000000000;

static struct isa_fixture *f;
static struct rtc *rtc;
static uint64_t wall_ns;

static uint64_t wall(void)
{
    return wall_ns;
}

static int setup(void **state)
{
    struct err err;
    isa_setup(state);
    f = *state;
    wall_ns = 1709211595 * second; /* Thursday, 29 February 2024, 12:59:55 */
    rtc = rtc_new(f->bus, &f->irq, f->timers, wall, &err);
    return rtc ? 0 : -1;
}

static int teardown(void **state)
{
    rtc_free(rtc);
    return isa_teardown(state);
}

static uint8_t get(uint8_t cell)
{
    isa_out(f, 0x70, cell);
    return isa_in(f, 0x71);
}

static void put(uint8_t cell, uint8_t value)
{
    isa_out(f, 0x70, cell);
    isa_out(f, 0x71, value);
}

/* Both clocks, in steps, so that no timer finds the other one late. */
static void pass(uint64_t ns)
{
    while (ns) {
        uint64_t step = ns < MS ? ns : MS;
        wall_ns += step;
        isa_advance(f, step);
        ns -= step;
    }
}

static void says(unsigned year, unsigned month, unsigned day, unsigned weekday, unsigned h, unsigned m, unsigned s)
{
    assert_int_equal(get(0x32), year >> 8);
    assert_int_equal(get(9), year & 0xff);
    assert_int_equal(get(8), month);
    assert_int_equal(get(7), day);
    assert_int_equal(get(6), weekday);
    assert_int_equal(get(4), h);
    assert_int_equal(get(2), m);
    assert_int_equal(get(0), s);
}

static void calendar(void **state)
{
    (void)state;
    for (uint64_t t = 0; t < 4102444800u * 2; t += 86400 * 3 + 12345) { /* to the year 2230 */
        struct rtc_calendar c = rtc_calendar_of(t);
        time_t host = (time_t)t;
        struct tm tm;
        gmtime_r(&host, &tm);
        assert_int_equal(c.year, tm.tm_year + 1900);
        assert_int_equal(c.month, tm.tm_mon + 1);
        assert_int_equal(c.day, tm.tm_mday);
        assert_int_equal(c.weekday, tm.tm_wday + 1);
        assert_int_equal(c.hour, tm.tm_hour);
        assert_int_equal(c.minute, tm.tm_min);
        assert_int_equal(c.second, tm.tm_sec);
        assert_int_equal(rtc_calendar_seconds(&c), t);
    }
    assert_int_equal(rtc_hour(0, 0), 0x12);
    assert_int_equal(rtc_hour(12, 0), 0x92);
    assert_int_equal(rtc_hour(23, RTC_BINARY), 0x8b);
    for (unsigned h = 0; h < 24; h++)
        for (unsigned form = 0; form < 8; form += 2)
            assert_int_equal(rtc_hour_of(rtc_hour(h, form), form), h);
    assert_int_equal(rtc_next_match(100, -1, -1, -1), 101);
    assert_int_equal(rtc_next_match(86399, 23, 59, 59), 86400 + 86399);
    assert_true(rtc_next_match(0, 24, -1, -1) == UINT64_MAX);
    assert_true(rtc_next_match(0, -1, 60, -1) == UINT64_MAX);
    assert_true(rtc_next_match(0, -1, -1, 75) == UINT64_MAX);
    assert_int_equal(rtc_next_match(5, -1, -1, 5), 65);
}

static void tells_the_time(void **state)
{
    (void)state;
    says(0x2024, 2, 0x29, 5, 0x12, 0x59, 0x55);
    wall_ns += 5 * second;
    says(0x2024, 2, 0x29, 5, 0x13, 0, 0);
    put(11, 0x00); /* 12 hours */
    assert_int_equal(get(4), 0x81);
    put(11, 0x06); /* binary, 24 */
    assert_int_equal(get(4), 13);
    wall_ns += 11 * 3600 * second;
    assert_int_equal(get(8), 3); /* over the leap day */
    assert_int_equal(get(7), 1);
    assert_int_equal(get(9), 24);
    assert_int_equal(get(0x32), 20);
    assert_int_equal(get(13), 0x80);
    assert_int_equal(isa_in(f, 0x70), 0xff);
}

static void updates_in_progress(void **state)
{
    (void)state;
    assert_int_equal(get(10), 0x26);
    wall_ns += second - 245 * US;
    assert_int_equal(get(10), 0x26);
    wall_ns += 2 * US;
    assert_int_equal(get(10), 0xa6);
    wall_ns += 243 * US;
    assert_int_equal(get(10), 0x26);
}

static void set_the_time(void)
{
    put(11, 0x82);
    put(0, 0x58);
    put(2, 0x59);
    put(4, 0x23);
    put(7, 0x31);
    put(8, 0x12);
    put(9, 0x99);
    put(0x32, 0x19);
}

static void is_set(void **state)
{
    (void)state;
    set_the_time();
    wall_ns += 100 * second;
    assert_int_equal(get(0), 0x58); /* held */
    assert_int_equal(get(10), 0x26);
    put(11, 0x02);
    says(0x1999, 0x12, 0x31, 6, 0x23, 0x59, 0x58);
    wall_ns += 2 * second;
    says(0x2000, 1, 1, 7, 0, 0, 0);
    put(4, 0x15); /* without holding it */
    says(0x2000, 1, 1, 7, 0x15, 0, 0);
    put(10, 0x76); /* the divider in reset, as Linux sets the clock */
    wall_ns += 10 * second;
    put(0, 0x30);
    put(10, 0x26);
    assert_int_equal(get(0), 0x30);
    wall_ns += second / 2; /* the next update comes half a second after */
    assert_int_equal(get(0), 0x31);
}

static void update_interrupt(void **state)
{
    (void)state;
    pass(300 * MS);
    get(12);
    put(11, 0x12);
    pass(699 * MS);
    assert_false(f->line[CLOCK_GSI]);
    pass(MS);
    assert_true(f->line[CLOCK_GSI]);
    assert_int_equal(isa_timers_set(f), 0); /* until it is read there is nothing to tell */
    assert_int_equal(get(12) & 0xf0, 0xd0);
    assert_false(f->line[CLOCK_GSI]);
    assert_int_equal(get(12), 0);
    pass(second);
    assert_int_equal(f->rises[CLOCK_GSI], 2);
    put(11, 0x92); /* SET takes the enable with it */
    assert_int_equal(get(11), 0x82);
}

static void alarm_interrupt(void **state)
{
    (void)state;
    put(1, 0x02);
    put(3, 0x00);
    put(5, 0x13);
    get(12);
    put(11, 0x22);
    pass(6 * second + 999 * MS);
    assert_int_equal(f->rises[CLOCK_GSI], 0);
    pass(MS);
    assert_int_equal(f->rises[CLOCK_GSI], 1);
    assert_int_equal(get(12) & 0xa0, 0xa0);
    put(5, 0xff); /* at second 2 of any minute */
    put(3, 0xff);
    pass(60 * second);
    assert_int_equal(f->rises[CLOCK_GSI], 2);
    get(12);
    put(1, 0x75); /* there is none */
    assert_int_equal(isa_timers_set(f), 0);
    put(11, 0x02);
}

static void periodic_interrupt(void **state)
{
    (void)state;
    put(10, 0x26); /* 1024 Hz */
    get(12);
    assert_int_equal(get(12) & 0x40, 0);
    isa_advance(f, 2 * MS);
    assert_int_equal(get(12) & 0xf0, 0x40); /* polled */
    put(11, 0x42);
    for (unsigned i = 0; i < 1024; i++) {
        isa_advance(f, second / 1024);
        get(12);
    }
    assert_in_range(f->rises[CLOCK_GSI], 1023, 1025);
    put(10, 0x20); /* no rate, no interrupt */
    assert_int_equal(isa_timers_set(f), 0);
    put(10, 0x2f);
    unsigned rises = f->rises[CLOCK_GSI];
    for (unsigned i = 0; i < 4; i++) { /* 2 Hz */
        isa_advance(f, second / 2);
        get(12);
    }
    assert_int_equal(f->rises[CLOCK_GSI] - rises, 4);
    put(11, 0x02);
}

static void cells(void **state)
{
    const uint64_t mib = 1 << 20;
    (void)state;
    bus_lock(f->bus);
    rtc_describe(rtc, 3072 * mib, 5120 * mib, 4);
    bus_unlock(f->bus);
    assert_int_equal(get(0x15) | get(0x16) << 8, 640);
    assert_int_equal(get(0x17) | get(0x18) << 8, 0xffff);
    assert_int_equal(get(0x30) | get(0x31) << 8, 0xffff);
    assert_int_equal(get(0x34) | get(0x35) << 8, (3072 - 16) * 16);
    assert_int_equal(get(0x5b) | get(0x5c) << 8 | get(0x5d) << 16, 5120 * 16);
    assert_int_equal(get(0x5f), 3);
    bus_lock(f->bus);
    rtc_describe(rtc, 32 * mib, 0, 1);
    rtc_device(rtc)->reset(rtc_device(rtc));
    bus_unlock(f->bus);
    assert_int_equal(get(0x30) | get(0x31) << 8, 31 * 1024);
    assert_int_equal(get(0x34) | get(0x35) << 8, 256);
    assert_int_equal(get(0x5b) | get(0x5f), 0);
    put(0x4f, 0xa5);
    isa_out(f, 0x70, 0x80 | 0x4f); /* with the NMI masked */
    assert_int_equal(isa_in(f, 0x71), 0xa5);
}

static void survives(void **state)
{
    (void)state;
    set_the_time();
    isa_round_trip(f, rtc_device(rtc), rtc_device(rtc)); /* while it is held */
    put(11, 0x02);
    put(11, 0x52);
    put(10, 0x26);
    put(1, 0xff);
    pass(1500 * US);
    assert_true(f->line[CLOCK_GSI]);
    f->line[CLOCK_GSI] = false;
    isa_round_trip(f, rtc_device(rtc), rtc_device(rtc));
    assert_true(f->line[CLOCK_GSI]);
    wall_ns += 2 * second; /* the file lay about, the clock went on */
    assert_int_equal(get(9), 0);
    bus_lock(f->bus);
    rtc_device(rtc)->reset(rtc_device(rtc));
    bus_unlock(f->bus);
    assert_false(f->line[CLOCK_GSI]);
    assert_int_equal(get(9), 0); /* it has a battery */
    unsigned seed = 5;
    for (unsigned i = 0; i < 20000; i++) {
        unsigned r = (unsigned)rand_r(&seed);
        if (r & 1)
            put((uint8_t)(r >> 8) & (r & 2 ? 15 : 255), (uint8_t)(r >> 16));
        else
            get((uint8_t)(r >> 8));
        wall_ns += r % (3 * second);
        isa_advance(f, r % 1000000);
    }
    isa_round_trip(f, rtc_device(rtc), rtc_device(rtc));
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calendar),
        TEST(tells_the_time),
        TEST(updates_in_progress),
        TEST(is_set),
        TEST(update_interrupt),
        TEST(alarm_interrupt),
        TEST(periodic_interrupt),
        TEST(cells),
        TEST(survives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
