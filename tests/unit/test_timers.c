/* Virtual time stands still while the machine does; timers fire in order, with the bus held. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hv/bus.h"
#include "hv/state.h"
#include "hv/timers.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/loop.h"

enum { MS = 1000000 };

struct fixture {
    struct loop *loop;
    struct bus *bus;
    struct timers *timers;
    char fired[16];
    unsigned count;
};

struct named {
    struct timer timer;
    struct fixture *fixture;
    char name;
    unsigned again;
};

static void fire(struct timer *timer)
{
    struct named *n = CONTAINER_OF(timer, struct named, timer);
    bus_assert_locked(n->fixture->bus);
    n->fixture->fired[n->fixture->count++] = n->name;
    if (n->again) {
        n->again--;
        timer_set(n->fixture->timers, timer, timer->at_ns + MS);
    }
}

static int setup(void **state)
{
    static struct fixture f;
    struct err err;
    f = (struct fixture){.loop = loop_new(&err), .bus = bus_new(&err)};
    f.timers = timers_new(f.loop, f.bus, &err);
    *state = &f;
    return f.timers ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    timers_free(f->timers);
    bus_free(f->bus);
    loop_free(f->loop);
    return 0;
}

static void set(struct fixture *f, struct named *n, uint64_t at)
{
    bus_lock(f->bus);
    timer_set(f->timers, &n->timer, at);
    bus_unlock(f->bus);
}

static void run(struct fixture *f, unsigned count)
{
    while (f->count < count)
        loop_step(f->loop);
}

static void test_order(void **state)
{
    struct fixture *f = *state;
    struct named n[5];
    for (unsigned i = 0; i < 5; i++)
        n[i] = (struct named){.timer.fire = fire, .fixture = f, .name = (char)('a' + i)};
    set(f, &n[0], 5 * MS);
    set(f, &n[1], 1 * MS);
    set(f, &n[2], 3 * MS);
    set(f, &n[3], 2 * MS);
    set(f, &n[4], 4 * MS);
    set(f, &n[1], 6 * MS); /* changed its mind */
    bus_lock(f->bus);
    timer_clear(f->timers, &n[2].timer);
    timer_clear(f->timers, &n[2].timer);
    bus_unlock(f->bus);
    timers_start(f->timers);
    run(f, 4);
    assert_string_equal(f->fired, "deab");
}

static void test_periodic_and_past(void **state)
{
    struct fixture *f = *state;
    struct named n = {.timer.fire = fire, .fixture = f, .name = 'p', .again = 3};
    timers_start(f->timers);
    set(f, &n, 0);
    run(f, 4);
    assert_string_equal(f->fired, "pppp");
    assert_int_equal(n.timer.slot, 0);
}

static void test_stopped(void **state)
{
    struct fixture *f = *state;
    struct named n = {.timer.fire = fire, .fixture = f, .name = 's'};
    assert_int_equal(timers_now_ns(f->timers), 0);
    timers_start(f->timers);
    timers_stop(f->timers);
    uint64_t then = timers_now_ns(f->timers);
    set(f, &n, then);
    assert_int_equal(timers_now_ns(f->timers), then);
    assert_int_equal(f->count, 0);
    timers_start(f->timers);
    run(f, 1);
    assert_true(timers_now_ns(f->timers) > then);
}

/* The guest has run for ten years, this host not: timers fire all the same. */
static void test_older_than_the_host(void **state)
{
    struct fixture *f = *state;
    uint64_t now = UINT64_C(10) * 365 * 86400 * 1000 * MS;
    const void *data;
    size_t bytes;
    struct state *saved = state_save_new();
    assert_true(saved && state_begin(saved, "timers", 0, 1));
    state_u64(saved, "now-ns", &now);
    state_end(saved);
    assert_int_equal(state_fini(saved, &data, &bytes, NULL), 0);
    struct state *load = state_load_new(data, bytes);
    timers_state(f->timers, load);
    assert_int_equal(state_fini(load, NULL, NULL, NULL), 0);
    state_free(load);
    state_free(saved);
    timers_start(f->timers);
    struct named old = {.timer.fire = fire, .fixture = f, .name = 'o'};
    bus_lock(f->bus);
    timer_set(f->timers, &old.timer, now + MS);
    bus_unlock(f->bus);
    while (!f->count)
        loop_step(f->loop);
    assert_int_equal(f->fired[0], 'o');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_periodic_and_past, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stopped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_older_than_the_host, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
