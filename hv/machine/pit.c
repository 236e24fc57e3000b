/* See pit.h. */
#include "hv/machine/pit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "hv/bus.h"
#include "hv/device.h"
#include "hv/irq.h"
#include "hv/machine/byte_ports.h"
#include "hv/machine/pit_counter.h"
#include "hv/state.h"
#include "hv/timers.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { COUNTERS = 3, PORTS = 4, CONTROL = 3, GSI = 0, VERSION = 1, READ_BACK = 3, PERIOD_MIN_NS = 100000 };

static const uint64_t second_ns = 1000000000;

struct pit {
    struct device device;
    struct bus_region region;
    struct bus *bus;
    struct irq *irq;
    struct timers *timers;
    struct timer timer; /* the next rise of counter 0's output */
    struct pit_counter counters[COUNTERS];
    bool line; /* as it was set last */
};

static void set_line(struct pit *pit, bool level)
{
    pit->line = level;
    irq_set(pit->irq, GSI, level);
}

static uint64_t ticks_now(const struct pit *pit)
{
    return (uint64_t)((unsigned __int128)timers_now_ns(pit->timers) * PIT_HZ / second_ns);
}

/* When that tick has begun. */
static uint64_t tick_ns(uint64_t tick)
{
    return (uint64_t)(((unsigned __int128)tick * second_ns + PIT_HZ - 1) / PIT_HZ);
}

/* Sets the line as counter 0's output is, and the timer for its next rise. The low tick of modes 2 and 4 is too short
 * for anybody to see: the line goes down and up when it has ended. */
static void update(struct pit *pit)
{
    uint64_t now = ticks_now(pit);
    struct pit_counter *c = &pit->counters[0];
    bool short_low = c->mode == 2 || c->mode == 4;
    set_line(pit, pit_counter_output(c, now) || (short_low && c->loaded));
    uint64_t rise = pit_counter_next_rise(c, now);
    if (rise) {
        uint64_t at = tick_ns(rise), soonest = timers_now_ns(pit->timers) + PERIOD_MIN_NS;
        bool hurried = c->mode == 2 || c->mode == 3; /* a period that would keep the main loop from its work */
        timer_set(pit->timers, &pit->timer, hurried && at < soonest && c->initial < PIT_HZ / 10000 ? soonest : at);
    } else {
        timer_clear(pit->timers, &pit->timer);
    }
}

static void rises(struct timer *timer)
{
    struct pit *pit = CONTAINER_OF(timer, struct pit, timer);
    set_line(pit, false);
    set_line(pit, true);
    update(pit);
}

/* ---- counter 2 ---- */

void pit_set_gate(struct pit *pit, bool gate)
{
    pit_counter_set_gate(&pit->counters[PIT_SPEAKER], gate, ticks_now(pit));
}

bool pit_gate(const struct pit *pit)
{
    return pit->counters[PIT_SPEAKER].gate;
}

bool pit_output(struct pit *pit)
{
    return pit_counter_output(&pit->counters[PIT_SPEAKER], ticks_now(pit));
}

/* ---- ports ---- */

static uint8_t pit_read(void *device, unsigned port)
{
    struct pit *pit = device;
    return port == CONTROL ? 0xff : pit_counter_read(&pit->counters[port], ticks_now(pit));
}

static void read_back(struct pit *pit, uint8_t word)
{
    uint64_t now = ticks_now(pit);
    for (unsigned i = 0; i < COUNTERS; i++) {
        if (!(word >> (i + 1) & 1))
            continue;
        if (!(word & 0x20))
            pit_counter_latch_count(&pit->counters[i], now);
        if (!(word & 0x10))
            pit_counter_latch_status(&pit->counters[i], now);
    }
}

static void pit_write(void *device, unsigned port, uint8_t value)
{
    struct pit *pit = device;
    unsigned i = port == CONTROL ? value >> 6 : port;
    if (i == READ_BACK) {
        read_back(pit, value);
        return;
    }
    if (port == CONTROL)
        pit_counter_control(&pit->counters[i], value, ticks_now(pit));
    else
        pit_counter_write(&pit->counters[i], value, ticks_now(pit));
    if (i == 0)
        update(pit);
}

static uint64_t ports_read(void *device, uint64_t offset, unsigned size)
{
    return byte_ports_read(device, offset, size, pit_read);
}

static void ports_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    byte_ports_write(device, offset, size, value, pit_write);
}

static const struct bus_ops ports_ops = {ports_read, ports_write};

/* ---- the device ---- */

static void reset_counters(struct pit *pit)
{
    for (unsigned i = 0; i < COUNTERS; i++)
        pit_counter_reset(&pit->counters[i]);
    pit->counters[PIT_SPEAKER].gate = false;
}

static void pit_reset(struct device *device)
{
    struct pit *pit = CONTAINER_OF(device, struct pit, device);
    reset_counters(pit);
    timer_clear(pit->timers, &pit->timer);
    set_line(pit, false);
}

static void counter_state(struct pit_counter *c, unsigned i, struct state *s)
{
    char name[STATE_NAME_MAX];
#define FIELD(kind, text, field)                                                                                       \
    do {                                                                                                               \
        snprintf(name, sizeof name, "%u.%s", i, text);                                                                 \
        state_##kind(s, name, &c->field);                                                                              \
    } while (0)
    FIELD(u8, "mode", mode);
    FIELD(u8, "access", access);
    FIELD(bool, "bcd", bcd);
    FIELD(bool, "gate", gate);
    FIELD(bool, "loaded", loaded);
    FIELD(bool, "counting", counting);
    FIELD(bool, "high-next-write", high_next_write);
    FIELD(bool, "high-next-read", high_next_read);
    FIELD(bool, "count-latched", count_latched);
    FIELD(bool, "status-latched", status_latched);
    FIELD(u8, "low-written", low_written);
    FIELD(u8, "latched-status", latched_status);
    FIELD(u16, "latched-count", latched_count);
    FIELD(u32, "initial", initial);
    FIELD(u32, "next", next);
    FIELD(u64, "start", start);
    FIELD(u64, "next-at", next_at);
    FIELD(u64, "passed", passed);
#undef FIELD
    state_check(s, pit_counter_is_sane(c), "a counter's mode, access or count cannot be");
}

static void pit_state(struct device *device, struct state *s)
{
    struct pit *pit = CONTAINER_OF(device, struct pit, device);
    uint64_t next_ns = pit->timer.slot ? pit->timer.at_ns : 0;
    for (unsigned i = 0; i < COUNTERS; i++)
        counter_state(&pit->counters[i], i, s);
    state_bool(s, "line", &pit->line);
    state_u64(s, "next-ns", &next_ns); /* so that it does not matter whether the time has been loaded yet */
    if (!state_loading(s))
        return;
    if (state_failed(s)) {
        reset_counters(pit);
        return;
    }
    set_line(pit, pit->line);
    if (next_ns)
        timer_set(pit->timers, &pit->timer, next_ns);
    else
        timer_clear(pit->timers, &pit->timer);
}

struct pit *pit_new(struct bus *bus, struct irq *irq, struct timers *timers, struct err *err)
{
    struct pit *pit = calloc(1, sizeof *pit);
    if (!pit) {
        err_set(err, ENOMEM, "no memory for the timer");
        return NULL;
    }
    pit->bus = bus;
    pit->irq = irq;
    pit->timers = timers;
    pit->timer.fire = rises;
    pit->device = (struct device){.name = "pit", .version = VERSION, .reset = pit_reset, .state = pit_state};
    pit->region = (struct bus_region){
        .name = "pit", .ops = &ports_ops, .device = pit, .space = BUS_PORTS, .base = PIT_PORT, .bytes = PORTS};
    reset_counters(pit);
    if (bus_plug(bus, &pit->region, "the timer", err)) {
        free(pit);
        return NULL;
    }
    return pit;
}

void pit_free(struct pit *pit)
{
    if (!pit)
        return;
    bus_lock(pit->bus);
    timer_clear(pit->timers, &pit->timer);
    bus_remove(pit->bus, &pit->region);
    bus_unlock(pit->bus);
    free(pit);
}

struct device *pit_device(struct pit *pit)
{
    return &pit->device;
}
