/* When a guest's process is started: preparations, which all fail here, are counted. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "node/agent/cgroup.h"
#include "node/agent/guest_unit.h"
#include "node/agent/tenure.h"
#include "node/base/clock.h"
#include "node/base/err.h"
#include "node/base/loop.h"
#include "node/base/worker.h"

enum { PAUSE_MS = 20, TURN_MS = 100, NS_PER_MS = 1000000 };

static struct loop *loop;
static struct worker *worker;
static struct tenure tenure;
static unsigned prepared;
static char directory[] = "/tmp/drover-unit-XXXXXX";

static int prepare(void *context, const char *id, const json_t *plan, struct err *err)
{
    (void)context, (void)id, (void)plan;
    prepared++;
    return err_set(err, EIO, "it is not there");
}

static int clean(void *context, const char *id, const json_t *plan, struct err *err)
{
    (void)context, (void)id, (void)plan, (void)err;
    return 0;
}

static void changed(struct guest_unit_handler *handler, struct guest_unit *unit)
{
    (void)handler, (void)unit;
}

static void stop(struct loop_timer *timer)
{
    (void)timer;
    loop_stop(loop);
}

static void turn(uint64_t ms)
{
    struct loop_timer timer = {.fire = stop};
    loop_timer_set(loop, &timer, clock_ns() + ms * NS_PER_MS);
    loop_run(loop);
}

static int setup(void **state)
{
    struct err err;
    (void)state;
    loop = loop_new(&err);
    worker = loop ? worker_new(loop, 1, &err) : NULL;
    return worker && mkdtemp(directory) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    worker_free(worker);
    loop_free(loop);
    return rmdir(directory);
}

/* Another node may have a protected guest, as long as this one does not know better: however often its start is tried.
 */
static void a_protected_one_waits_for_the_tenure(void **state)
{
    (void)state;
    const struct cgroups groups = {0};
    const struct guest_place place = {.loop = loop,
                                      .tenure = &tenure,
                                      .worker = worker,
                                      .cgroups = &groups,
                                      .program = "/nowhere/drover-guest",
                                      .directory = directory,
                                      .prepare = prepare,
                                      .clean = clean};
    struct guest_unit_handler handler = {changed, changed};
    struct guest_unit *u = guest_unit_new(&place, "g", &handler);
    json_t *plan = json_pack("{s:{}, s:b, s:i}", "config", "protected", 1, "restart_delay", PAUSE_MS);
    assert_non_null(u);
    guest_unit_want(u, plan);
    turn(TURN_MS);
    guest_unit_tell_deadline(u);
    turn(TURN_MS);
    assert_int_equal(guest_unit_phase(u), GUEST_PHASE_WAITING);
    assert_int_equal(prepared, 0);

    tenure_begin(&tenure, clock_boot_ns(), clock_boot_ns());
    guest_unit_tell_deadline(u);
    while (!prepared || guest_unit_phase(u) != GUEST_PHASE_WAITING)
        loop_step(loop);
    unsigned before = prepared;
    while (prepared < before + 2)
        loop_step(loop); /* it is tried again, by itself */
    tenure_lost(&tenure);
    while (guest_unit_phase(u) != GUEST_PHASE_WAITING)
        loop_step(loop);
    before = prepared;
    turn(TURN_MS);
    guest_unit_tell_deadline(u);
    turn(TURN_MS);
    assert_int_equal(prepared, before);

    guest_unit_want(u, NULL);
    while (guest_unit_phase(u) != GUEST_PHASE_STOPPED || guest_unit_busy(u))
        loop_step(loop);
    guest_unit_free(u);
    json_decref(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_protected_one_waits_for_the_tenure)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
