/* The devices that tell of a guest's health: the panic port, and the watchdog with its two stages. */
#include "tests/unit/fake_board.h"

#include <stdlib.h>

#include "hv/machine/alarm.h"
#include "hv/machine/i6300esb.h"
#include "hv/machine/pci.h"
#include "hv/machine/piix3.h"
#include "hv/machine/pvpanic.h"
#include "hv/timers.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/loop.h"

enum {
    BAR = 0xfe000000,
    TICK_NS = 992970,
    UNIT = 100,
    ENABLE = 2,
    LOCKED = 1,
    FREE = 4,
    NO_OUTPUT = 0x20,
    TIMEOUT = 0x200
};

struct kennel {
    struct fake_board *b;
    struct pci *pci;
    struct piix3 *isa;
    struct pvpanic *panic;
    struct i6300esb *dog;
    struct alarm alarm;
    unsigned panics, dumps, hangs;
    bool busy; /* a hang does not count */
    uint64_t now;
};

static void panicked(struct alarm *alarm, enum alarm_panic panic)
{
    struct kennel *k = CONTAINER_OF(alarm, struct kennel, alarm);
    bus_assert_locked(k->b->bus);
    k->panics += panic == ALARM_PANICKED;
    k->dumps += panic == ALARM_DUMPS;
}

static bool hung(struct alarm *alarm)
{
    struct kennel *k = CONTAINER_OF(alarm, struct kennel, alarm);
    bus_assert_locked(k->b->bus);
    k->hangs += !k->busy;
    return !k->busy;
}

static int setup(void **state)
{
    struct err err = {0};
    struct kennel *k = calloc(1, sizeof *k);
    assert_non_null(k);
    fake_board_setup((void **)&k->b);
    k->alarm = (struct alarm){panicked, hung};
    k->pci = pci_new(k->b->bus, &k->b->lines, &k->b->reset, &err);
    k->isa = piix3_new(k->pci, &err);
    k->panic = pvpanic_new(k->b->bus, &k->alarm, &err);
    k->dog = i6300esb_new(k->pci, k->b->timers, &k->alarm, &err);
    assert_true(k->isa && k->panic && k->dog);
    *state = k;
    return 0;
}

static int teardown(void **state)
{
    struct kennel *k = *state;
    i6300esb_free(k->dog);
    pvpanic_free(k->panic);
    piix3_free(k->isa);
    pci_free(k->pci);
    fake_board_teardown((void **)&k->b);
    free(k);
    return 0;
}

/* ---- the panic port ---- */

static void test_panic(void **state)
{
    struct kennel *k = *state;
    struct device *d = pvpanic_device(k->panic);
    assert_int_equal(board_in(k->b, PVPANIC_PORT, 1), PVPANIC_PANICKED | PVPANIC_CRASH_LOADED);
    assert_true(d->is_new(d));
    board_out(k->b, PVPANIC_PORT, 1, 0x80); /* an event that nobody understands */
    assert_true(d->is_new(d));
    board_out(k->b, PVPANIC_PORT, 1, PVPANIC_CRASH_LOADED);
    assert_false(pvpanic_panicked(k->panic)); /* somebody takes care */
    board_out(k->b, PVPANIC_PORT, 1, PVPANIC_PANICKED);
    board_out(k->b, PVPANIC_PORT, 1, PVPANIC_PANICKED | PVPANIC_CRASH_LOADED);
    assert_int_equal(k->panics, 1); /* a guest that goes on about it is not listened to */
    assert_int_equal(k->dumps, 1);
    assert_true(pvpanic_panicked(k->panic));
    assert_false(d->is_new(d));
    board_round_trip(k->b, d, d);
    d->reset(d);
    assert_false(pvpanic_panicked(k->panic));
    board_out(k->b, PVPANIC_PORT, 1, PVPANIC_PANICKED);
    assert_int_equal(k->panics, 2);
}

static void test_panic_state(void **state)
{
    struct kennel *k = *state;
    struct device *d = pvpanic_device(k->panic);
    size_t bytes;
    board_out(k->b, PVPANIC_PORT, 1, PVPANIC_PANICKED);
    void *saved = board_save(k->b, d, &bytes);
    d->reset(d);
    assert_int_equal(board_load_state(k->b, d, saved, bytes), 0);
    assert_true(pvpanic_panicked(k->panic));
    assert_int_equal(k->panics, 1); /* it is no news */
    free(saved);
}

/* ---- the watchdog ---- */

static void config_write(struct kennel *k, unsigned offset, unsigned size, uint32_t value)
{
    board_config_write(k->b, PIIX3_SLOT, I6300ESB_FUNCTION, offset, size, value);
}

static uint32_t config_read(struct kennel *k, unsigned offset, unsigned size)
{
    return board_config_read(k->b, PIIX3_SLOT, I6300ESB_FUNCTION, offset, size);
}

static void locked_write(struct kennel *k, unsigned reg, uint32_t value)
{
    board_store(k->b, BAR + I6300ESB_RELOAD, 2, 0x80);
    board_store(k->b, BAR + I6300ESB_RELOAD, 2, 0x86);
    board_store(k->b, BAR + reg, reg == I6300ESB_RELOAD ? 2 : 4, value);
}

/* As Linux's driver does it. */
static void start(struct kennel *k, uint32_t units, uint32_t lock)
{
    config_write(k, PCI_BAR_0, 4, BAR);
    config_write(k, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    config_write(k, I6300ESB_CONFIG, 2, 3);
    locked_write(k, I6300ESB_TIMER1, units * UNIT);
    locked_write(k, I6300ESB_TIMER2, units * UNIT);
    config_write(k, I6300ESB_LOCK, 1, lock);
}

static void feed(struct kennel *k)
{
    locked_write(k, I6300ESB_RELOAD, 0x100);
}

static void passed(struct timer *timer)
{
    timer->at_ns = 0;
}

/* So many units; what is due fires in turns of the loop, in which a little more time passes. */
static void pass(struct kennel *k, uint64_t units)
{
    struct timer last = {.fire = passed, .at_ns = k->now + units * UNIT * TICK_NS};
    board_set_time(k->b, k->now = last.at_ns);
    bus_lock(k->b->bus);
    timer_set(k->b->timers, &last, last.at_ns);
    bus_unlock(k->b->bus);
    timers_start(k->b->timers);
    while (last.at_ns)
        loop_step(k->b->loop);
    timers_stop(k->b->timers);
    k->now = timers_now_ns(k->b->timers);
}

static void test_fed(void **state)
{
    struct kennel *k = *state;
    start(k, 1000, ENABLE);
    assert_int_equal(config_read(k, 0, 4), 0x25ab8086);
    assert_true(i6300esb_armed(k->dog));
    for (unsigned i = 0; i < 10; i++) {
        pass(k, 1500); /* in its second stage */
        feed(k);
    }
    assert_int_equal(k->hangs, 0);
    pass(k, 1100);
    assert_int_equal(k->hangs, 0);
    pass(k, 1000);
    assert_int_equal(k->hangs, 1);
    assert_true(i6300esb_hung(k->dog));
    pass(k, 100000);
    assert_int_equal(k->hangs, 1); /* once */
    assert_int_equal(board_load(k->b, BAR + I6300ESB_RELOAD, 2), TIMEOUT);
}

static void test_reset_tells_the_next_kernel(void **state)
{
    struct kennel *k = *state;
    struct device *d = i6300esb_device(k->dog);
    start(k, 100, ENABLE);
    pass(k, 110);
    pass(k, 110);
    assert_int_equal(k->hangs, 1);
    bus_lock(k->b->bus);
    d->reset(d);
    bus_unlock(k->b->bus);
    assert_false(i6300esb_hung(k->dog));
    assert_false(i6300esb_armed(k->dog));
    config_write(k, PCI_BAR_0, 4, BAR);
    config_write(k, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    assert_int_equal(board_load(k->b, BAR + I6300ESB_RELOAD, 2), TIMEOUT);
    locked_write(k, I6300ESB_RELOAD, TIMEOUT);
    assert_int_equal(board_load(k->b, BAR + I6300ESB_RELOAD, 2), 0);
    pass(k, 1000000);
    assert_int_equal(k->hangs, 1);
}

static void test_locks(void **state)
{
    struct kennel *k = *state;
    start(k, 1000, ENABLE | LOCKED);
    board_store(k->b, BAR + I6300ESB_TIMER1, 4, 5); /* not unlocked */
    assert_int_equal(board_load(k->b, BAR + I6300ESB_TIMER1, 4), 1000 * UNIT);
    board_store(k->b, BAR + I6300ESB_RELOAD, 2, 0x86); /* half of it */
    board_store(k->b, BAR + I6300ESB_TIMER1, 4, 5);
    assert_int_equal(board_load(k->b, BAR + I6300ESB_TIMER1, 4), 1000 * UNIT);
    locked_write(k, I6300ESB_TIMER1, 0xffffffff);
    assert_int_equal(board_load(k->b, BAR + I6300ESB_TIMER1, 4), 0xfffff);
    locked_write(k, I6300ESB_TIMER1, 1000 * UNIT);
    config_write(k, I6300ESB_LOCK, 1, 0);
    assert_int_equal(config_read(k, I6300ESB_LOCK, 1), ENABLE | LOCKED); /* until the next reset */
    config_write(k, I6300ESB_CONFIG, 4, 0xffffffff);
    assert_int_equal(config_read(k, I6300ESB_CONFIG, 4), 0x27);
    config_write(k, I6300ESB_CONFIG, 2, 0);
    pass(k, 1010);
    pass(k, 1010);
    assert_int_equal(k->hangs, 1);
}

static void test_off_and_without_output(void **state)
{
    struct kennel *k = *state;
    start(k, 1000, ENABLE);
    pass(k, 1500);
    config_write(k, I6300ESB_LOCK, 1, 0);
    pass(k, 5000);
    assert_int_equal(k->hangs, 0);
    config_write(k, I6300ESB_CONFIG, 2, NO_OUTPUT);
    config_write(k, I6300ESB_LOCK, 1, ENABLE | FREE);
    assert_false(i6300esb_armed(k->dog));
    for (unsigned i = 0; i < 8; i++)
        pass(k, 1010);
    assert_int_equal(k->hangs, 0);
    assert_int_equal(board_load(k->b, BAR + I6300ESB_RELOAD, 2), TIMEOUT);
    assert_false(i6300esb_hung(k->dog));
}

/* What kept it from being fed was the host: it has more time, and the alarm comes only if it does not use it. */
static void test_more_time(void **state)
{
    struct kennel *k = *state;
    start(k, 1000, ENABLE);
    k->busy = true;
    for (unsigned i = 0; i < 6; i++)
        pass(k, 1010);
    assert_int_equal(k->hangs, 0);
    k->busy = false;
    feed(k);
    pass(k, 1500);
    assert_int_equal(k->hangs, 0);
    k->busy = true;
    pass(k, 1010);
    k->busy = false;
    pass(k, 1010);
    assert_int_equal(k->hangs, 1);
    feed(k); /* only slow */
    assert_false(i6300esb_hung(k->dog));
}

/* Whoever was away has each stage from its beginning. */
static void test_watchdog_state(void **state)
{
    struct kennel *k = *state;
    struct device *d = i6300esb_device(k->dog);
    size_t bytes;
    assert_true(d->is_new(d));
    start(k, 1000, ENABLE);
    assert_false(d->is_new(d));
    pass(k, 1010);
    pass(k, 900);
    void *saved = board_save(k->b, d, &bytes);
    board_round_trip(k->b, d, d);
    assert_int_equal(board_load_state(k->b, d, saved, bytes), 0);
    pass(k, 900);
    assert_int_equal(k->hangs, 0);
    pass(k, 110);
    assert_int_equal(k->hangs, 1);
    assert_int_equal(board_load_state(k->b, d, saved, bytes), 0);
    assert_false(i6300esb_hung(k->dog));
    free(saved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_panic, setup, teardown),
        cmocka_unit_test_setup_teardown(test_panic_state, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reset_tells_the_next_kernel, setup, teardown),
        cmocka_unit_test_setup_teardown(test_locks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_off_and_without_output, setup, teardown),
        cmocka_unit_test_setup_teardown(test_more_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_watchdog_state, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
