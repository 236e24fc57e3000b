/* What guests used hour by hour: kept, written, carried on by another balancer, and what is expected from it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/cluster_json.h"
#include "balancer/conductor.h"
#include "balancer/follow.h"
#include "balancer/hours.h"
#include "balancer/model.h"
#include "node/base/err.h"
#include "tests/unit/balancer_world.h"

enum { MORNING = 9, EVENING = 17, HOUR_S = 3600, DAY_S = 86400 };

/* The first and the last hour of the days that are lived through begin at midnight. */
static const int64_t midnight = (int64_t)WALL_S / DAY_S * DAY_S;

static int hour_of(const struct world *w)
{
    return (int)(w->now.wall_s / HOUR_S % 24);
}

/* G1 works by day, G2 works always alike, G3 as it likes. */
static void put_hour(struct world *w, int noise)
{
    char text[400];
    int by_day = hour_of(w) >= MORNING && hour_of(w) < EVENING ? 150 : 5;
    snprintf(text, sizeof text,
             "'G1':{'cpu':[%d,%d,%d]},'G2':{'cpu':[40,40,40],'steal':[10,10,10]},'G3':{'cpu':[%d,%d,%d]}", by_day,
             by_day, by_day, noise, noise, noise);
    put_load(w, 1, text);
}

/* What is due, until nothing is; the store takes it. */
static int write_due(struct world *w, struct hours *h)
{
    char table[HOURS_TABLE_BYTES], key[64];
    json_t *made;
    int count = 0;
    while ((made = hours_due(h, w->objects, table))) {
        char *text = json_object_size(made) ? json_dumps(made, 0) : NULL; /* as the conductor has it */
        snprintf(key, sizeof key, "/drover/state/hours/%s", table);
        assert_true(follow_take(w->objects, key, text, text ? strlen(text) : 0, ++w->revision, w->now.clock_s));
        free(text);
        json_decref(made);
        count++;
    }
    return count;
}

/* A guest whose table has its name. */
static const char *row_of(struct world *w, const char *guest)
{
    const json_t *table = json_object_get(json_object_get(json_object_get(w->objects, "hours"), guest), "state");
    return snapshot_text(table, guest);
}

static void advance(struct world *w, int seconds)
{
    w->now.wall_s += seconds;
    w->now.clock_s += seconds;
}

static void live(struct world *w, struct hours *h, int hours)
{
    for (int i = 0; i < hours; i++)
        for (int sample = 0; sample < HOUR_S / HOURS_SAMPLE_S; sample++) {
            put_hour(w, (i * 7919 + 13) % 101);
            hours_look(h, w->objects, &w->now);
            write_due(w, h);
            advance(w, HOURS_SAMPLE_S);
        }
}

static double expected(struct world *w, const char *guest, int64_t wall_s)
{
    double error = 0;
    return hours_expect(w->objects, guest, wall_s, &error);
}

static void test_a_day_like_the_others(void **state)
{
    struct world *w = *state;
    struct hours h = {0}, another = {0};
    w->now.wall_s = midnight;
    live(w, &h, 24);
    assert_true(expected(w, "G1", w->now.wall_s) < 0); /* one day says nothing */
    live(w, &h, 14);
    live(w, &another, 22); /* elected in its place */
    live(w, &another, 13);
    hours_look(&another, w->objects, &w->now);
    write_due(w, &another);
    int64_t day = w->now.wall_s / DAY_S * DAY_S;
    assert_int_equal(w->now.wall_s, day + HOUR_S);
    assert_true(fabs(expected(w, "G1", day + 9 * HOUR_S) - 1.5) < 0.05);
    assert_true(fabs(expected(w, "G1", day + 8 * HOUR_S + 2000) - 1.5) < 0.05); /* in less than half an hour */
    assert_true(fabs(expected(w, "G1", day + 8 * HOUR_S + 1000) - 0.05) < 0.05);
    assert_true(fabs(expected(w, "G1", day + 20 * HOUR_S) - 0.05) < 0.05);
    assert_true(fabs(expected(w, "G2", day + 9 * HOUR_S) - 0.5) < 0.01); /* with what it waited for */
    assert_true(expected(w, "G3", day + 9 * HOUR_S) < 0);                /* its days are not alike */
    assert_true(expected(w, "G4", day + 9 * HOUR_S) < 0);                /* nobody measured it */
    assert_true(expected(w, "G1", day + 30 * DAY_S) < 0);                /* too long ago */
    /* at most so many, whatever time goes by; and a guest that is gone is forgotten */
    drop(w, "/drover/guest/G2");
    drop(w, "/drover/state/guest/G2");
    live(w, &another, 48);
    assert_int_equal(strlen(strchr(row_of(w, "G1"), ':') + 1), 4 * HOURS_KEPT);
    assert_null(json_object_get(json_object_get(w->objects, "hours"), "G2"));
    hours_fini(&h);
    hours_fini(&another);
}

/* Nobody is elected for a while; a clock that went back; tables that nobody has written. */
static void test_holes(void **state)
{
    struct world *w = *state;
    struct hours h = {0};
    char table[HOURS_TABLE_BYTES];
    w->now.wall_s = midnight;
    live(w, &h, 2);
    advance(w, 3 * HOUR_S);
    live(w, &h, 2);
    hours_look(&h, w->objects, &w->now);
    json_t *first = hours_due(&h, w->objects, table), *again = hours_due(&h, w->objects, table);
    assert_true(first && json_equal(first, again)); /* until it is there */
    json_decref(first);
    json_decref(again);
    put(w, "/drover/state/hours/G1x", "{'G1':'17:0001'}"); /* none of ours: it is let be */
    assert_int_equal(write_due(w, &h), 3);                 /* three guests have one each */
    assert_int_equal(write_due(w, &h), 0);
    char wanted[80];
    snprintf(wanted, sizeof wanted, "%lld:0005----------------00050005", (long long)(midnight / HOUR_S + 6));
    assert_string_equal(row_of(w, "G1"), wanted);
    w->now.wall_s -= 5 * HOUR_S;
    live(w, &h, 3);
    assert_string_equal(row_of(w, "G1"), wanted); /* what is newer is kept until time has come up with it */
    w->now.wall_s -= 3 * DAY_S;
    live(w, &h, 2);
    live(w, &h, 1);
    snprintf(wanted, sizeof wanted, "%lld:00050005", (long long)(w->now.wall_s / HOUR_S - 2));
    assert_string_equal(row_of(w, "G1"), wanted); /* days that have not come are of a clock that went wrong */
    hours_fini(&h);
}

/* One that was deposed for hours, and is elected again, has nothing to say of what it was gathering. */
static void test_back_and_forth(void **state)
{
    struct world *w = *state;
    struct hours a = {0}, b = {0};
    w->now.wall_s = midnight;
    live(w, &a, 47);
    for (int i = 0; i < HOURS_SAMPLES_LEAST; i++) { /* in the middle of an hour it is deposed */
        put_hour(w, 0);
        hours_look(&a, w->objects, &w->now);
        write_due(w, &a);
        advance(w, HOURS_SAMPLE_S);
    }
    advance(w, HOUR_S - HOURS_SAMPLES_LEAST * HOURS_SAMPLE_S);
    live(w, &b, 4);
    hours_look(&b, w->objects, &w->now);
    write_due(w, &b);
    char before[400];
    snprintf(before, sizeof before, "%s", row_of(w, "G2"));
    assert_int_equal(strlen(strchr(before, ':') + 1), 4 * 52);
    assert_string_equal(before + strlen(before) - 20, "----0032003200320032");
    hours_look(&a, w->objects, &w->now);
    assert_int_equal(write_due(w, &a), 0);
    assert_string_equal(row_of(w, "G2"), before);
    live(w, &a, 1);
    hours_look(&a, w->objects, &w->now);
    write_due(w, &a);
    assert_int_equal(strlen(row_of(w, "G2")), strlen(before) + 4);
    hours_fini(&a);
    hours_fini(&b);
}

/* A row of three days, of which one character is changed. */
static void test_one_wrong_character(void **state)
{
    struct world *w = *state;
    struct hours h = {0};
    w->now.wall_s = midnight;
    live(w, &h, 72);
    hours_look(&h, w->objects, &w->now);
    write_due(w, &h);
    assert_true(expected(w, "G1", w->now.wall_s) > 0);
    char row[400];
    size_t length = (size_t)snprintf(row, sizeof row, "%s", row_of(w, "G1"));
    for (size_t i = 0; i < length; i++) {
        char was = row[i];
        row[i] = 'G';
        put(w, "/drover/state/hours/G1", "{'G1':'%s'}", row);
        assert_true(expected(w, "G1", w->now.wall_s) < 0);
        row[i] = was;
    }
    put(w, "/drover/state/hours/G1", "{'G1':'%s0'}", row);
    assert_true(expected(w, "G1", w->now.wall_s) < 0);
    put(w, "/drover/state/hours/G1", "{'G1':'%s'}", row);
    assert_true(expected(w, "G1", w->now.wall_s) > 0);
    hours_fini(&h);
}

static void test_what_is_no_row(void **state)
{
    struct world *w = *state;
    static const char *const rows[] = {"",        "x:0001",  "17",    "17:1",   "17:00g0",
                                       "17:0x01", "-1:0001", ":0001", "17:000", "99999999999999999999:0001"};
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        put(w, "/drover/state/hours/G1", "{'G1':'%s'}", rows[i]);
        assert_true(expected(w, "G1", w->now.wall_s) < 0);
    }
    put(w, "/drover/state/hours/G1", "{'G1':[1,2]}");
    assert_true(expected(w, "G1", w->now.wall_s) < 0);
}

/* They are written one at a time, beside nothing else, and do not go with who wrote them. */
static int look_for_hours(struct world *w)
{
    struct conductor_step step;
    int count = 0;
    conductor_look(&w->conductor, w->objects, &w->now, wall, &step);
    for (int i = 0; i < step.count; i++) {
        bool hours = !strncmp(step.puts[i].key, "/drover/state/hours/", 20);
        char *text = step.puts[i].value ? json_dumps(step.puts[i].value, 0) : NULL;
        assert_true(step.puts[i].stays == hours && (!hours || step.count == 1));
        assert_true(follow_take(w->objects, step.puts[i].key, text, text ? strlen(text) : 0, ++w->revision, 0));
        free(text);
        count += hours;
    }
    conductor_step_fini(&step);
    return count;
}

/* And the elected balancer's plans count what is expected. */
static void test_the_balancer_expects_it(void **state)
{
    struct world *w = *state;
    w->now.wall_s = midnight;
    put_policy(w, "off", eager);
    int written = 0;
    for (int i = 0; i < 60 * HOUR_S / HOURS_SAMPLE_S; i++) {
        put_hour(w, 7);
        written += look_for_hours(w);
        advance(w, HOURS_SAMPLE_S);
    }
    assert_int_equal(written, 3 * 59);
    w->now.wall_s = w->now.wall_s / DAY_S * DAY_S + 8 * HOUR_S + 2400;
    put_load(w, 1, "'G1':{'cpu':[5,5,5]},'G2':{'cpu':[90,90,90]}");
    put_load(w, 2, "");
    put_load(w, 3, "");
    struct policy policy = policy_default();
    struct cluster_json read;
    struct err err;
    policy.error_factor = 0;
    assert_int_equal(conductor_model(w->objects, &policy, &w->now, &read, &err), 0);
    assert_true(fabs(read.model->guests[0].load[RESOURCE_CPU] - 1.5) < 0.05);
    assert_true(fabs(read.model->guests[1].load[RESOURCE_CPU] - 0.9) < 1e-9); /* more than it does at this hour */
    model_free(read.model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_day_like_the_others, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_holes, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_back_and_forth, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_one_wrong_character, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_what_is_no_row, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_the_balancer_expects_it, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
