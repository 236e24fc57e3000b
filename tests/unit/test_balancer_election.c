/* Two balancers and one store: one is elected, the next one when it has gone, and whatever the deposed one writes
 * changes nothing. */
#include <errno.h>
#include <string.h>

#include "balancer/election.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/loop.h"
#include "tests/unit/store_world.h"

static const char leader[] = "/drover/state/balancer/leader", plan[] = "/drover/plan/P";

struct candidate {
    struct election election;
    int changes;
    bool gone;
};

static void changed(struct election *e)
{
    CONTAINER_OF(e, struct candidate, election)->changes++;
}

static void gone(void *context)
{
    ((struct candidate *)context)->gone = true;
}

static void begin(struct store_world *w, struct candidate *c, const char *node)
{
    *c = (struct candidate){.election = {.loop = w->loop, .store = w->store, .node = node, .changed = changed}};
    election_begin(&c->election);
}

static void end(struct store_world *w, struct candidate *c)
{
    election_resign(&c->election, gone, c);
    while (!c->gone)
        store_world_turn(w);
}

/* As the balancer does it, with the election's check in front. */
static int write_plan(struct store_world *w, struct candidate *c, const char *value, uint32_t *conflict)
{
    struct store_change changes[] = {
        election_check(&c->election),
        {.kind = STORE_PUT, .key = plan, .value = value, .value_len = strlen(value), .expected = STORE_ANY}};
    struct store_commit commit = {.changes = changes, .count = 2};
    int rc = world_commit(w, &commit);
    *conflict = commit.conflict;
    return rc;
}

static void test_one_is_elected(void **state)
{
    struct store_world *w = *state;
    struct candidate a, b;
    uint32_t conflict;
    begin(w, &a, "n1");
    election_saw(&a.election, 0);
    while (!election_is_won(&a.election))
        store_world_turn(w);
    assert_int_equal(a.changes, 1);
    assert_non_null(strstr(world_get(w, leader, NULL), "\"n1\""));
    begin(w, &b, "n2");
    election_saw(&b.election, 0); /* it has not seen yet that somebody is: the store refuses it */
    while (b.election.busy || !b.election.commit.done)
        store_world_turn(w);
    assert_false(election_is_won(&b.election));
    election_saw(&b.election, 1);
    assert_int_equal(write_plan(w, &a, "a", &conflict), 0);
    end(w, &a);
    assert_string_equal(world_get(w, leader, NULL), "(absent)"); /* at once, not when a lease ends */
    election_saw(&b.election, 0);
    while (!election_is_won(&b.election))
        store_world_turn(w);
    end(w, &b);
}

/* It was stopped for so long that its lease ended: another one is elected before it knows. */
static void test_the_deposed_one_is_refused(void **state)
{
    struct store_world *w = *state;
    struct candidate a, b;
    uint32_t conflict = 7;
    begin(w, &a, "n1");
    election_saw(&a.election, 0);
    while (!election_is_won(&a.election))
        store_world_turn(w);
    loop_timer_clear(w->loop, &a.election.timer);
    assert_int_equal(world_delete(w, leader, STORE_ANY, NULL), 0);
    begin(w, &b, "n2");
    election_saw(&b.election, 0);
    while (!election_is_won(&b.election))
        store_world_turn(w);
    assert_true(election_is_won(&a.election)); /* as it believes */
    assert_int_equal(write_plan(w, &a, "a", &conflict), -ESTALE);
    assert_int_equal(conflict, 0);
    assert_string_equal(world_get(w, plan, NULL), "(absent)");
    election_lost(&a.election, "a write of it was refused");
    assert_int_equal(a.changes, 2);
    assert_false(election_is_won(&a.election));
    assert_int_equal(write_plan(w, &b, "b", &conflict), 0);
    assert_string_equal(world_get(w, plan, NULL), "b");
    end(w, &a);
    assert_non_null(strstr(world_get(w, leader, NULL), "\"n2\"")); /* what a gives back is not b's */
    end(w, &b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one_is_elected, store_world_setup, store_world_teardown),
        cmocka_unit_test_setup_teardown(test_the_deposed_one_is_refused, store_world_setup, store_world_teardown),
    };
    store_world_kind = &store_world_sqlite;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
