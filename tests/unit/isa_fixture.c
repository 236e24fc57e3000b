#include "tests/unit/isa_fixture.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "hv/state.h"
#include "node/base/container.h"
#include "node/base/err.h"

/* ---- timers that stand still ---- */

enum { TIMER_MAX = 64 };

struct timers {
    struct bus *bus;
    uint64_t now_ns;
    unsigned count;
    struct timer *set[TIMER_MAX];
};

uint64_t timers_now_ns(const struct timers *t)
{
    bus_assert_locked(t->bus);
    return t->now_ns;
}

void timer_clear(struct timers *t, struct timer *timer)
{
    bus_assert_locked(t->bus);
    if (!timer->slot)
        return;
    assert_ptr_equal(t->set[timer->slot - 1], timer);
    t->set[timer->slot - 1] = t->set[--t->count];
    t->set[timer->slot - 1]->slot = timer->slot;
    timer->slot = 0;
}

void timer_set(struct timers *t, struct timer *timer, uint64_t at_ns)
{
    timer_clear(t, timer);
    assert_true(t->count < TIMER_MAX);
    t->set[t->count++] = timer;
    timer->slot = t->count;
    timer->at_ns = at_ns;
}

/* The rest of timers.h, so that the linker does not look for hv/timers.c. */
struct timers *timers_new(struct loop *loop, struct bus *bus, struct err *err)
{
    struct timers *t = calloc(1, sizeof *t);
    (void)loop;
    (void)err;
    t->bus = bus;
    t->now_ns = 1000;
    return t;
}

void timers_free(struct timers *t)
{
    free(t);
}

bool timers_running(const struct timers *t)
{
    (void)t;
    return true;
}

void timers_start(struct timers *t)
{
    (void)t;
}

void timers_stop(struct timers *t)
{
    (void)t;
}

void timers_state(struct timers *t, struct state *s)
{
    (void)t;
    (void)s;
}

void isa_advance(struct isa_fixture *b, uint64_t ns)
{
    struct timers *t = b->timers;
    bus_lock(b->bus);
    uint64_t end = t->now_ns + ns;
    for (;;) {
        struct timer *next = NULL;
        for (unsigned i = 0; i < t->count; i++)
            if (!next || t->set[i]->at_ns < next->at_ns)
                next = t->set[i];
        if (!next || next->at_ns > end)
            break;
        if (next->at_ns > t->now_ns)
            t->now_ns = next->at_ns;
        timer_clear(t, next);
        next->fire(next);
    }
    t->now_ns = end;
    bus_unlock(b->bus);
}

unsigned isa_timers_set(const struct isa_fixture *b)
{
    return b->timers->count;
}

/* ---- the board ---- */

static void set_line(struct irq *irq, unsigned gsi, bool level)
{
    struct isa_fixture *b = CONTAINER_OF(irq, struct isa_fixture, irq);
    assert_true(gsi < IRQ_GSI_COUNT);
    b->rises[gsi] += level && !b->line[gsi];
    b->line[gsi] = level;
}

static void no_msi(struct irq *irq, uint64_t address, uint32_t data)
{
    (void)irq;
    fail_msg("MSI %llx %x from a device that has none", (unsigned long long)address, data);
}

int isa_setup(void **state)
{
    struct isa_fixture *b = calloc(1, sizeof *b);
    struct err err;
    b->bus = bus_new(&err);
    b->timers = timers_new(NULL, b->bus, &err);
    b->irq = (struct irq){.set = set_line, .msi = no_msi};
    *state = b;
    return 0;
}

int isa_teardown(void **state)
{
    struct isa_fixture *b = *state;
    unsigned left = isa_timers_set(b);
    timers_free(b->timers);
    bus_free(b->bus);
    free(b);
    return left ? -1 : 0; /* a device left its timer behind */
}

uint8_t isa_in(struct isa_fixture *b, uint16_t port)
{
    return (uint8_t)bus_read(b->bus, BUS_PORTS, port, 1);
}

void isa_out(struct isa_fixture *b, uint16_t port, uint8_t value)
{
    bus_write(b->bus, BUS_PORTS, port, 1, value);
}

/* What the machine does for each device. */
static void run_state(struct isa_fixture *b, struct device *device, struct state *s)
{
    bus_lock(b->bus);
    if (state_begin(s, device->name, device->instance, device->version)) {
        device->state(device, s);
        state_end(s);
    }
    bus_unlock(b->bus);
}

static struct state *saved(struct isa_fixture *b, struct device *device, const void **data, size_t *bytes)
{
    struct err err;
    struct state *s = state_save_new();
    run_state(b, device, s);
    if (state_fini(s, data, bytes, &err))
        fail_msg("saving %s: %s", device->name, err.text);
    return s;
}

void isa_round_trip(struct isa_fixture *b, struct device *device, struct device *into)
{
    struct err err;
    const void *first, *second;
    size_t first_bytes, second_bytes;
    struct state *one = saved(b, device, &first, &first_bytes);
    struct state *load = state_load_new(first, first_bytes);
    run_state(b, into, load);
    if (state_fini(load, NULL, NULL, &err))
        fail_msg("loading %s: %s", device->name, err.text);
    struct state *two = saved(b, into, &second, &second_bytes);
    assert_int_equal(first_bytes, second_bytes);
    assert_memory_equal(first, second, first_bytes);
    state_free(one);
    state_free(load);
    state_free(two);
}
