/* A drill, step by step: what its conductor sees goes in, what it makes of it comes out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "node/agent/drill_run.h"
#include "node/agent/member.h"

enum { BEGAN = 1000000, STEP = 250 };

/* One guest that is hit, protected and a canary; what is seen of it, and of the cluster. */
struct world {
    struct object drill;
    struct drill_run run;
    struct drill_sight sight;
    struct drill_view view;
    json_t *state;
};

static void tick(struct world *w, unsigned ms)
{
    for (; ms >= STEP; ms -= STEP) {
        w->view.now_ms += STEP;
        if (drill_run_step(&w->run, &w->view))
            drill_run_write(&w->run, w->state, w->view.now_ms);
    }
}

static void begin(struct world *w, const char *kind, const char *abort_if)
{
    memset(w, 0, sizeof *w);
    w->drill = (struct object){.kind = OBJECT_DRILL,
                               .value = json_pack("{s:{s:s, s:s, s:i, s:i, s:s, s:[s]}}", "spec", "kind", kind, "node",
                                                  "n2", "for_ms", strcmp(kind, "agent-crash") ? 12000 : 3000, "heal_ms",
                                                  60000, "abort_if", abort_if, "guests", "web")};
    json_t *blast = json_pack("{s:[{s:s, s:s, s:s, s:b, s:b}]}", "guests", "guest", "web", "id", "an-id", "node", "n2",
                              "protected", 1, "canary", 1);
    drill_run_begin(&w->run, &w->drill, blast, BEGAN);
    json_decref(blast);
    w->state = json_object();
    w->sight = (struct drill_sight){.is_there = true, .runs = true, .node = "n2", .pid = 7};
    w->view = (struct drill_view){.now_ms = BEGAN, .node_alive = true, .guests = &w->sight};
}

static void end(struct world *w)
{
    json_decref(w->drill.value);
    json_decref(w->state);
}

static void speak(struct world *w, int start, int acked, int had, int holes)
{
    w->sight.has_spoken = true;
    w->sight.start = start;
    w->sight.acked = acked;
    w->sight.had = had;
    w->sight.holes = holes;
}

static unsigned events(const struct world *w, const char *kind, const char *words)
{
    size_t i;
    json_t *line;
    unsigned n = 0;
    json_array_foreach (json_object_get(w->state, "timeline"), i, line)
        n += !strcmp(member_text(line, "kind"), kind) && strstr(member_text(line, "text"), words);
    return n;
}

static json_int_t result(const struct world *w, const char *key)
{
    return json_integer_value(json_object_get(json_object_get(w->state, "result"), key));
}

/* To the moment at which the fault is there. */
static void put_in(struct world *w)
{
    tick(w, STEP);
    assert_int_equal(w->run.phase, DRILL_CHECKED);
    speak(w, 7, 10, 0, 0);
    tick(w, STEP);
    assert_int_equal(w->run.phase, DRILL_RUNNING);
    w->view.fault_known = true;
    tick(w, STEP);
    assert_int_equal(w->run.fault_ms, w->view.now_ms);
}

/* The node is lost after six seconds, its guest runs elsewhere after seven and says what it found. */
static void lose_node(struct world *w, int had, int holes)
{
    tick(w, 6000);
    w->view.node_alive = w->sight.runs = false;
    tick(w, STEP);
    w->sight.node = "n1";
    w->sight.failovers = 1;
    tick(w, 750);
    w->sight.runs = true;
    w->sight.pid = 9;
    tick(w, STEP);
    speak(w, 9, had, had, holes);
    tick(w, 6000);
    assert_int_equal(w->run.phase, DRILL_HEALING);
    w->view.node_alive = true;
    speak(w, 9, had + 5, had, holes);
    tick(w, 4000);
}

static void done(void **state)
{
    struct world w;
    (void)state;
    begin(&w, "node-power-loss", "");
    put_in(&w);
    lose_node(&w, 11, 0);
    assert_int_equal(w.run.phase, DRILL_DONE);
    assert_int_equal(result(&w, "rto_ms"), 7250);
    assert_int_equal(result(&w, "lost_writes"), 0);
    assert_true(result(&w, "silent_ms") >= 7000);
    assert_int_equal(events(&w, "node", "is lost"), 1);
    assert_int_equal(events(&w, "node", "is back"), 1);
    assert_int_equal(events(&w, "guest", "granted to node n1"), 1);
    assert_int_equal(events(&w, "guest", "runs on node n1, 7250 ms"), 1);
    assert_int_equal(events(&w, "canary", "found 11 on its disk, 10 was acknowledged, 0 missing"), 1);
    end(&w);
}

/* An acknowledged write that is missing is a failure, wherever it is missing. */
static void lost(void **state)
{
    static const int cases[][3] = {{9, 0, 1}, {11, 2, 2}, {8, 1, 3}}; /* had, holes: lost */
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world w;
        begin(&w, "node-power-loss", "");
        put_in(&w);
        lose_node(&w, cases[i][0], cases[i][1]);
        assert_int_equal(w.run.phase, DRILL_FAILED);
        assert_int_equal(result(&w, "lost_writes"), cases[i][2]);
        assert_non_null(strstr(w.run.reason, "acknowledged writes are missing"));
        end(&w);
    }
}

static void refused(void **state)
{
    struct world w;
    (void)state;
    begin(&w, "partition", "");
    w.view.refusal = "fail-over is disarmed";
    tick(&w, STEP);
    assert_int_equal(w.run.phase, DRILL_FAILED);
    assert_string_equal(w.run.reason, "fail-over is disarmed");
    end(&w);
}

static void silent_canary(void **state)
{
    struct world w;
    (void)state;
    begin(&w, "partition", "");
    tick(&w, DRILL_CANARY_WAIT_MS);
    assert_int_equal(w.run.phase, DRILL_CHECKED);
    tick(&w, 2 * STEP);
    assert_int_equal(w.run.phase, DRILL_FAILED);
    assert_non_null(strstr(w.run.reason, "drover drill canary"));
    end(&w);
}

static void not_put_in(void **state)
{
    struct world w;
    (void)state;
    begin(&w, "partition", "");
    speak(&w, 7, 1, 0, 0);
    tick(&w, 2 * STEP);
    assert_int_equal(w.run.phase, DRILL_RUNNING);
    tick(&w, DRILL_FAULT_WAIT_MS);
    assert_int_equal(w.run.phase, DRILL_FAILED);
    assert_int_equal(w.run.fault_ms, 0);
    end(&w);
    begin(&w, "partition", "");
    speak(&w, 7, 1, 0, 0);
    tick(&w, 2 * STEP);
    w.view.fault_known = true;
    w.view.fault_error = "UDP port 7481 cannot be had";
    tick(&w, STEP);
    assert_int_equal(w.run.phase, DRILL_FAILED);
    assert_string_equal(w.run.reason, w.view.fault_error);
    end(&w);
}

static void aborted(void **state)
{
    struct world w;
    (void)state;
    begin(&w, "partition", "");
    put_in(&w);
    w.view.abort_by = "token:alice";
    tick(&w, STEP);
    assert_int_equal(w.run.phase, DRILL_HEALING);
    speak(&w, 7, 20, 0, 0);
    tick(&w, DRILL_SETTLE_MS + STEP);
    assert_int_equal(w.run.phase, DRILL_ABORTED);
    assert_string_equal(w.run.reason, "aborted by token:alice");
    assert_int_equal(result(&w, "rto_ms"), 0);
    end(&w);
}

static void aborted_before(void **state)
{
    struct world w;
    (void)state;
    begin(&w, "partition", "");
    tick(&w, STEP);
    w.view.abort_by = "token:alice";
    tick(&w, STEP);
    assert_int_equal(w.run.phase, DRILL_ABORTED);
    assert_int_equal(w.run.fault_ms, 0);
    end(&w);
}

/* What was down before does not end a drill; what goes down by it does. */
static void aborted_by_condition(void **state)
{
    struct world w;
    (void)state;
    begin(&w, "partition", "others-down > 0");
    w.view.others_down = 3;
    put_in(&w);
    tick(&w, 1000);
    assert_int_equal(w.run.phase, DRILL_RUNNING);
    w.view.others_down = 4;
    tick(&w, STEP);
    assert_int_equal(w.run.phase, DRILL_HEALING);
    assert_true(w.run.is_aborted);
    assert_string_equal(w.run.reason, "others-down is 1");
    w.view.others_down = 3;
    speak(&w, 7, 30, 0, 0);
    tick(&w, 3000);
    assert_int_equal(w.run.phase, DRILL_ABORTED);
    end(&w);
}

static void not_well_again(void **state)
{
    struct world w;
    (void)state;
    begin(&w, "node-power-loss", "");
    put_in(&w);
    w.sight.runs = false;
    tick(&w, 12000 + 60000 - STEP);
    assert_int_equal(w.run.phase, DRILL_HEALING);
    tick(&w, STEP);
    assert_int_equal(w.run.phase, DRILL_FAILED);
    assert_non_null(strstr(w.run.reason, "guest web does not run"));
    end(&w);
}

/* An agent that is away for a moment has not stopped a guest; a guest that was started anew was down. */
static void agent_away(void **state)
{
    static const int pids[] = {7, 8};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct world w;
        begin(&w, "agent-crash", "");
        put_in(&w);
        w.sight.runs = false;
        tick(&w, 1000);
        w.sight.runs = true;
        w.sight.pid = pids[i];
        tick(&w, STEP);
        assert_int_equal(result(&w, "rto_ms"), pids[i] == 7 ? 0 : 1250);
        end(&w);
    }
}

/* Whoever reads what was written goes on where it was, and says that it has. */
static void resumed(void **state)
{
    struct world w;
    (void)state;
    begin(&w, "node-power-loss", "");
    put_in(&w);
    tick(&w, 3000);
    drill_run_write(&w.run, w.state, w.view.now_ms);
    struct drill_run before = w.run;
    w.drill.state = w.state;
    memset(&w.run, 0, sizeof w.run);
    assert_true(drill_run_read(&w.run, &w.drill));
    assert_true(w.run.is_resumed);
    assert_int_equal(w.run.fault_ms, before.fault_ms);
    assert_int_equal(w.run.guest_count, 1);
    assert_int_equal(w.run.guests[0].acked, 10);
    assert_int_equal(w.run.guests[0].start, 7);
    w.view.now_ms -= 3000;
    lose_node(&w, 11, 0);
    assert_int_equal(w.run.phase, DRILL_DONE);
    assert_int_equal(events(&w, "phase", "goes on from what was written"), 1);
    assert_int_equal(result(&w, "rto_ms"), 7250);
    end(&w);
    w.drill = (struct object){.value = json_object(), .state = json_object()};
    assert_false(drill_run_read(&w.run, &w.drill)); /* nothing was written yet */
    json_decref(w.drill.value);
    json_decref(w.drill.state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(done),           cmocka_unit_test(lost),
        cmocka_unit_test(refused),        cmocka_unit_test(silent_canary),
        cmocka_unit_test(not_put_in),     cmocka_unit_test(aborted),
        cmocka_unit_test(aborted_before), cmocka_unit_test(aborted_by_condition),
        cmocka_unit_test(not_well_again), cmocka_unit_test(agent_away),
        cmocka_unit_test(resumed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
