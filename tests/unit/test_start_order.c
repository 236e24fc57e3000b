/* In which order guests start: the decision by itself, and in thousands of random clusters whose guests need each
 * other, fail, come up late or never. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/start_order.h"

static char why[256];

static bool decide(const struct start_question *q)
{
    return start_order_decide(q, why, sizeof why);
}

static void test_needs(void **state)
{
    (void)state;
    struct start_question q = {.needs = {{.name = "db"}, {.name = "auth", .runs = true}}, .need_count = 2};
    assert_false(decide(&q));
    assert_string_equal(why, "waits until db runs, which it needs");
    q.needs[0].runs = true;
    assert_true(decide(&q));
    assert_string_equal(why, "");
    q.needs[0] = (struct start_need){.name = "db", .hopeless = "it is switched off"};
    assert_true(decide(&q));
    assert_string_equal(why, "starts without db, which it needs: it is switched off");
    q.needs[0].hopeless = NULL;
    q.held_ms = START_PATIENCE_MS - 1;
    assert_false(decide(&q));
    q.held_ms++;
    assert_true(decide(&q)); /* nobody waits for ever */
    assert_string_equal(why, "starts without db, which it needs and which has not come up");
    q.needs[1].runs = false;
    q.held_ms = 0;
    assert_false(decide(&q));
}

static void test_delays(void **state)
{
    (void)state;
    struct start_question q = {.delay_ms = 10000, .held_ms = 9999};
    assert_false(decide(&q));
    q.held_ms = 10000;
    assert_true(decide(&q));
    q = (struct start_question){
        .needs = {{.name = "a", .runs = true, .runs_ms = 100000}, {.name = "b", .runs = true, .runs_ms = 9999}},
        .need_count = 2,
        .delay_ms = 10000};
    assert_false(decide(&q));
    assert_string_equal(why, "waits for its delay of 10000 ms after what it needs");
    q.needs[1].runs_ms++;
    assert_true(decide(&q));
    q.needs[0] = q.needs[1] = (struct start_need){.name = "x", .hopeless = "it stays down"};
    assert_true(decide(&q)); /* there is nothing to come after */
}

/* ---- many clusters ---- */

enum { GUESTS = 24, STEP_MS = 500, STEPS = 2000 };

struct sim_guest {
    struct start_question question;
    unsigned needs[START_NEEDS_MAX]; /* of guests before it: no circles */
    bool runs, hopeless;
    uint64_t began_ms, boots_ms, at_ms; /* at_ms: runs since */
};

static uint64_t dice(uint64_t *seed, uint64_t sides)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (*seed >> 33) % sides;
}

static void make(struct sim_guest *g, unsigned index, uint64_t *seed)
{
    *g = (struct sim_guest){.hopeless = dice(seed, 8) == 0, .boots_ms = 1 + dice(seed, 20000)};
    if (dice(seed, 3) == 0)
        g->question.delay_ms = dice(seed, 20000);
    for (unsigned i = 0; i < START_NEEDS_MAX && index && dice(seed, 3); i++)
        g->needs[g->question.need_count++] = (unsigned)dice(seed, index);
}

static void ask(struct sim_guest *all, struct sim_guest *g, uint64_t now)
{
    g->question.held_ms = now;
    for (unsigned i = 0; i < g->question.need_count; i++) {
        const struct sim_guest *n = &all[g->needs[i]];
        g->question.needs[i] = (struct start_need){.name = "n",
                                                   .runs = n->runs,
                                                   .runs_ms = n->runs ? now - n->at_ms : 0,
                                                   .hopeless = n->hopeless ? "hopeless" : NULL};
    }
    if (!decide(&g->question))
        return;
    /* never before what it needs, unless that cannot be started, which is said */
    for (unsigned i = 0; i < g->question.need_count; i++) {
        const struct sim_guest *n = &all[g->needs[i]];
        assert_true(n->runs || *why);
        assert_true(n->runs || n->hopeless || now >= START_PATIENCE_MS);
        assert_true(!n->runs || now - n->at_ms >= g->question.delay_ms);
    }
    g->began_ms = now + 1;
}

static void test_clusters(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        struct sim_guest all[GUESTS];
        uint64_t rolls = seed;
        for (unsigned i = 0; i < GUESTS; i++)
            make(&all[i], i, &rolls);
        for (uint64_t now = 0; now < (uint64_t)STEPS * STEP_MS; now += STEP_MS)
            for (unsigned k = 0; k < GUESTS; k++) {
                struct sim_guest *g = &all[(k * 7 + seed) % GUESTS]; /* nodes look in any order */
                if (!g->began_ms && !g->hopeless)
                    ask(all, g, now);
                else if (!g->runs && g->began_ms && now - g->began_ms >= g->boots_ms)
                    g->runs = true, g->at_ms = now;
            }
        for (unsigned i = 0; i < GUESTS; i++)
            assert_true(all[i].runs || all[i].hopeless); /* in the end everybody who can */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_needs), cmocka_unit_test(test_delays),
                                       cmocka_unit_test(test_clusters)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
