/* See rtc.h.
 *
 * Time is kept as an offset to the host's clock; the time registers are computed from it when they are looked at. While
 * the guest holds the clock (SET in register B, or the divider in reset) they stand still and take what is written.
 *
 * Flags of register C are brought up to date whenever a register is touched and when the timer fires; the timer is set
 * only for interrupts that are enabled. */
#include "hv/machine/rtc.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hv/bus.h"
#include "hv/device.h"
#include "hv/irq.h"
#include "hv/machine/rtc_calendar.h"
#include "hv/state.h"
#include "hv/timers.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { CELLS = 128, VERSION = 1, UPDATE_NS = 244000 };

enum rtc_register {
    SECONDS = 0,
    MINUTES = 2,
    HOURS = 4,
    WEEKDAY = 6,
    DAY = 7,
    MONTH = 8,
    YEAR = 9,
    REGISTER_A = 10,
    REGISTER_B = 11,
    REGISTER_C = 12,
    REGISTER_D = 13,
};

enum {
    A_UPDATING = 0x80,
    A_DIVIDER_RESET = 0x60, /* and 70h */
    A_START = 0x26,
    B_SET = 0x80,
    B_START = 0x02, /* BCD, 24 hours */
    C_REQUEST = 0x80,
    C_PERIODIC = 0x40,
    C_ALARM = 0x20,
    C_UPDATED = 0x10,
    C_FLAGS = C_PERIODIC | C_ALARM | C_UPDATED, /* register B enables them with the same bits */
    D_VALID = 0x80,
    INDEX = 0x7f,
};

static const uint64_t second_ns = 1000000000;
static const uint64_t never = UINT64_MAX;

struct rtc {
    struct device device;
    struct bus_region region;
    struct bus *bus;
    struct irq *irq;
    struct timers *timers;
    rtc_wall_clock *wall;
    struct timer timer;
    uint8_t index; /* with the NMI mask in bit 7 */
    uint8_t cells[CELLS];
    uint64_t offset_ns;            /* clock = wall + offset, modulo 2^64 */
    uint64_t seen_s, seen_periods; /* up to where the flags are right */
};

static uint64_t system_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * second_ns + (uint64_t)t.tv_nsec;
}

static uint64_t clock_now_ns(const struct rtc *rtc)
{
    return rtc->wall() + rtc->offset_ns;
}

static bool held(const struct rtc *rtc)
{
    return rtc->cells[REGISTER_B] & B_SET || (rtc->cells[REGISTER_A] & A_DIVIDER_RESET) == A_DIVIDER_RESET;
}

/* Of the periodic interrupt; 0: none. */
static uint64_t period_ns(const struct rtc *rtc)
{
    unsigned rate = rtc->cells[REGISTER_A] & 0xf;
    if (!rate || held(rtc))
        return 0;
    if (rate < 3)
        rate += 7; /* 256 and 128 Hz */
    return (second_ns << (rate - 1)) / 32768;
}

/* ---- registers <-> calendar ---- */

static enum rtc_form form(const struct rtc *rtc)
{
    return rtc->cells[REGISTER_B] & (RTC_BINARY | RTC_24_HOURS);
}

static void load_registers(struct rtc *rtc)
{
    struct rtc_calendar t = rtc_calendar_of(clock_now_ns(rtc) / second_ns);
    enum rtc_form f = form(rtc);
    rtc->cells[SECONDS] = rtc_number(t.second, f);
    rtc->cells[MINUTES] = rtc_number(t.minute, f);
    rtc->cells[HOURS] = rtc_hour(t.hour, f);
    rtc->cells[WEEKDAY] = rtc_number(t.weekday, f);
    rtc->cells[DAY] = rtc_number(t.day, f);
    rtc->cells[MONTH] = rtc_number(t.month, f);
    rtc->cells[YEAR] = rtc_number(t.year % 100, f);
    rtc->cells[RTC_CENTURY] = rtc_number(t.year / 100, f);
}

/* The guest has set the time: the clock goes on from there, with a whole second to come if it was held. */
static void store_registers(struct rtc *rtc, uint64_t fraction_ns)
{
    enum rtc_form f = form(rtc);
    struct rtc_calendar t = {
        .second = rtc_number_of(rtc->cells[SECONDS], f),
        .minute = rtc_number_of(rtc->cells[MINUTES], f),
        .hour = rtc_hour_of(rtc->cells[HOURS], f),
        .day = rtc_number_of(rtc->cells[DAY], f),
        .month = rtc_number_of(rtc->cells[MONTH], f),
        .year = rtc_number_of(rtc->cells[RTC_CENTURY], f) * 100 + rtc_number_of(rtc->cells[YEAR], f),
    };
    uint64_t seconds = rtc_calendar_seconds(&t);
    rtc->offset_ns = seconds * second_ns + fraction_ns - rtc->wall();
    rtc->seen_s = seconds;
}

/* ---- flags, line, timer ---- */

/* -1: any. */
static int alarm_value(const struct rtc *rtc, unsigned i)
{
    uint8_t cell = rtc->cells[i];
    if (cell >= 0xc0)
        return -1;
    return (int)(i == HOURS + 1 ? rtc_hour_of(cell, form(rtc)) : rtc_number_of(cell, form(rtc)));
}

/* The next second after `after` at which the alarm rings. */
static uint64_t next_alarm(const struct rtc *rtc, uint64_t after)
{
    return rtc_next_match(after, alarm_value(rtc, HOURS + 1), alarm_value(rtc, MINUTES + 1),
                          alarm_value(rtc, SECONDS + 1));
}

static void update_line(struct rtc *rtc)
{
    bool request = rtc->cells[REGISTER_C] & rtc->cells[REGISTER_B] & C_FLAGS;
    if (request)
        rtc->cells[REGISTER_C] |= C_REQUEST;
    irq_set(rtc->irq, RTC_GSI, rtc->cells[REGISTER_C] & C_REQUEST);
}

static void earliest(uint64_t *at, uint64_t candidate)
{
    if (candidate < *at)
        *at = candidate;
}

static void set_timer(struct rtc *rtc)
{
    uint8_t wanted = rtc->cells[REGISTER_B] & ~rtc->cells[REGISTER_C] & C_FLAGS;
    uint64_t virtual_ns = timers_now_ns(rtc->timers), clock_ns = clock_now_ns(rtc), at = never, period = period_ns(rtc);
    if (wanted & C_PERIODIC && period)
        earliest(&at, (virtual_ns / period + 1) * period);
    if (wanted & C_UPDATED && !held(rtc))
        earliest(&at, virtual_ns + second_ns - clock_ns % second_ns);
    if (wanted & C_ALARM && !held(rtc)) {
        uint64_t alarm_s = next_alarm(rtc, clock_ns / second_ns);
        if (alarm_s != never)
            earliest(&at, virtual_ns + alarm_s * second_ns - clock_ns);
    }
    if (at == never)
        timer_clear(rtc->timers, &rtc->timer);
    else
        timer_set(rtc->timers, &rtc->timer, at);
}

/* Takes note of what has happened since it was called last. */
static void catch_up(struct rtc *rtc)
{
    uint64_t period = period_ns(rtc), periods = period ? timers_now_ns(rtc->timers) / period : 0;
    if (period && periods > rtc->seen_periods)
        rtc->cells[REGISTER_C] |= C_PERIODIC;
    rtc->seen_periods = periods;
    if (!held(rtc)) {
        uint64_t now_s = clock_now_ns(rtc) / second_ns;
        if (now_s > rtc->seen_s) {
            rtc->cells[REGISTER_C] |= C_UPDATED;
            if (next_alarm(rtc, rtc->seen_s) <= now_s)
                rtc->cells[REGISTER_C] |= C_ALARM;
        }
        rtc->seen_s = now_s; /* also back, if the host's clock was set back */
    }
    update_line(rtc);
}

static void fired(struct timer *timer)
{
    struct rtc *rtc = CONTAINER_OF(timer, struct rtc, timer);
    catch_up(rtc);
    set_timer(rtc);
}

/* ---- ports ---- */

static bool is_time(unsigned i)
{
    return i == SECONDS || i == MINUTES || i == HOURS || (i >= WEEKDAY && i <= YEAR) || i == RTC_CENTURY;
}

static uint8_t read_cell(struct rtc *rtc, unsigned i)
{
    uint8_t value;
    catch_up(rtc);
    if (is_time(i) && !held(rtc))
        load_registers(rtc);
    value = rtc->cells[i];
    if (i == REGISTER_A && !held(rtc) && clock_now_ns(rtc) % second_ns >= second_ns - UPDATE_NS)
        value |= A_UPDATING;
    if (i == REGISTER_C) {
        rtc->cells[REGISTER_C] = 0;
        update_line(rtc);
        set_timer(rtc);
    }
    return value;
}

/* Registers A and B decide who holds the clock. */
static void write_control(struct rtc *rtc, unsigned i, uint8_t value)
{
    bool was_held = held(rtc);
    if (!was_held)
        load_registers(rtc); /* in the form they have been read in */
    rtc->cells[i] = i == REGISTER_A ? value & (uint8_t)~A_UPDATING : value;
    if (i == REGISTER_B && value & B_SET)
        rtc->cells[REGISTER_B] &= (uint8_t)~C_UPDATED; /* the data sheet: SET clears UIE */
    if (was_held && !held(rtc))
        store_registers(rtc, i == REGISTER_A ? second_ns / 2 : 0);
    uint64_t period = period_ns(rtc);
    rtc->seen_periods = period ? timers_now_ns(rtc->timers) / period : 0;
}

static void write_cell(struct rtc *rtc, unsigned i, uint8_t value)
{
    catch_up(rtc);
    if (i == REGISTER_C || i == REGISTER_D)
        return;
    if (i == REGISTER_A || i == REGISTER_B) {
        write_control(rtc, i, value);
    } else if (is_time(i) && !held(rtc)) {
        load_registers(rtc);
        rtc->cells[i] = value;
        store_registers(rtc, clock_now_ns(rtc) % second_ns);
    } else {
        rtc->cells[i] = value;
    }
    update_line(rtc);
    set_timer(rtc);
}

static uint64_t ports_read(void *device, uint64_t offset, unsigned size)
{
    struct rtc *rtc = device;
    if (size == 1)
        return offset ? read_cell(rtc, rtc->index & INDEX) : 0xff; /* the index cannot be read */
    return 0xff | (uint64_t)read_cell(rtc, rtc->index & INDEX) << 8;
}

static void ports_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct rtc *rtc = device;
    if (!offset)
        rtc->index = (uint8_t)value;
    if (offset || size > 1)
        write_cell(rtc, rtc->index & INDEX, (uint8_t)(offset ? value : value >> 8));
}

static const struct bus_ops ports_ops = {ports_read, ports_write};

/* ---- what firmware reads ---- */

static uint64_t at_most(uint64_t value, uint64_t limit)
{
    return value < limit ? value : limit;
}

static void set_cells(struct rtc *rtc, unsigned at, unsigned count, uint64_t value)
{
    for (unsigned i = 0; i < count; i++)
        rtc->cells[at + i] = (uint8_t)(value >> (8 * i));
}

void rtc_describe(struct rtc *rtc, uint64_t low_bytes, uint64_t high_bytes, unsigned vcpus)
{
    const uint64_t mib = 1 << 20, base_kib = 640;
    uint64_t extended_kib = low_bytes > mib ? at_most((low_bytes - mib) >> 10, 0xffff) : 0;
    uint64_t above_16m = low_bytes > 16 * mib ? at_most((low_bytes - 16 * mib) >> 16, 0xffff) : 0;
    set_cells(rtc, 0x15, 2, base_kib);
    set_cells(rtc, 0x17, 2, extended_kib);
    set_cells(rtc, 0x30, 2, extended_kib);
    set_cells(rtc, 0x34, 2, above_16m);
    set_cells(rtc, 0x5b, 3, at_most(high_bytes >> 16, 0xffffff));
    set_cells(rtc, 0x5f, 1, vcpus - 1);
    set_cells(rtc, 0x14, 1, 0x06); /* equipment: FPU, mouse port; no floppy */
    set_cells(rtc, 0x3d, 1, 0x32); /* first disk (2), then CD (3) */
    set_cells(rtc, 0x38, 1, 0x41); /* then network (4); floppies need no signature */
}

/* ---- the device ---- */

/* The clock has a battery: only what the data sheet says changes. */
static void rtc_reset(struct device *device)
{
    struct rtc *rtc = CONTAINER_OF(device, struct rtc, device);
    bool was_held = held(rtc);
    rtc->index = 0;
    rtc->cells[REGISTER_A] = A_START; /* firmware would set it so */
    rtc->cells[REGISTER_B] = B_START;
    rtc->cells[REGISTER_C] = 0;
    if (was_held)
        store_registers(rtc, 0);
    update_line(rtc);
    set_timer(rtc);
}

static void rtc_state(struct device *device, struct state *s)
{
    struct rtc *rtc = CONTAINER_OF(device, struct rtc, device);
    uint64_t next_ns = rtc->timer.slot ? rtc->timer.at_ns : 0;
    if (!state_loading(s) && !held(rtc)) /* the clock goes on meanwhile; what is saved is its offset */
        for (unsigned i = 0; i < CELLS; i++)
            rtc->cells[i] = is_time(i) ? 0 : rtc->cells[i];
    state_u8(s, "index", &rtc->index);
    state_bytes(s, "cells", rtc->cells, sizeof rtc->cells);
    state_u64(s, "offset-ns", &rtc->offset_ns);
    state_u64(s, "seen-s", &rtc->seen_s);
    state_u64(s, "seen-periods", &rtc->seen_periods);
    state_u64(s, "next-ns", &next_ns);
    if (!state_loading(s) || state_failed(s))
        return;
    irq_set(rtc->irq, RTC_GSI, rtc->cells[REGISTER_C] & C_REQUEST);
    if (next_ns)
        timer_set(rtc->timers, &rtc->timer, next_ns);
    else
        timer_clear(rtc->timers, &rtc->timer);
}

struct rtc *rtc_new(struct bus *bus, struct irq *irq, struct timers *timers, rtc_wall_clock *wall, struct err *err)
{
    struct rtc *rtc = calloc(1, sizeof *rtc);
    if (!rtc) {
        err_set(err, ENOMEM, "no memory for the clock");
        return NULL;
    }
    rtc->bus = bus;
    rtc->irq = irq;
    rtc->timers = timers;
    rtc->wall = wall ? wall : system_clock;
    rtc->timer.fire = fired;
    rtc->device = (struct device){.name = "rtc", .version = VERSION, .reset = rtc_reset, .state = rtc_state};
    rtc->region = (struct bus_region){
        .name = "rtc", .ops = &ports_ops, .device = rtc, .space = BUS_PORTS, .base = RTC_PORT, .bytes = 2};
    rtc->cells[REGISTER_A] = A_START;
    rtc->cells[REGISTER_B] = B_START;
    rtc->cells[REGISTER_D] = D_VALID;
    rtc->seen_s = clock_now_ns(rtc) / second_ns;
    if (bus_plug(bus, &rtc->region, "the clock", err)) {
        free(rtc);
        return NULL;
    }
    return rtc;
}

void rtc_free(struct rtc *rtc)
{
    if (!rtc)
        return;
    bus_lock(rtc->bus);
    timer_clear(rtc->timers, &rtc->timer);
    bus_remove(rtc->bus, &rtc->region);
    bus_unlock(rtc->bus);
    free(rtc);
}

struct device *rtc_device(struct rtc *rtc)
{
    return &rtc->device;
}
