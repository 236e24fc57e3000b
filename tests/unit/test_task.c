/* What becomes of a task, from what its object's node says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "node/agent/task.h"

enum { MADE = 10 }; /* the revision of the task */

static struct object task_of(enum task_verb verb, json_t *of)
{
    struct object task = {.kind = OBJECT_TASK, .value = task_make(verb, of, "n1", "token:alice"), .revision = MADE};
    assert_non_null(task.value);
    return task;
}

/* The verdict for a task of that verb on an object: value and state as JSON (NULL: not there), said at `revision`. */
static enum task_phase verdict(enum task_verb verb, enum object_kind kind, const char *value, const char *state,
                               uint64_t revision, bool cancelled)
{
    json_t *of = json_pack("{s:s, s:s, s:s}", "kind", object_kind_name(kind), "id",
                           "7b0c4f4e-3c55-4f0e-9f3a-2d4c8a1b5e60", "name", "web");
    struct object task = task_of(verb, of);
    if (cancelled)
        json_object_set_new(task.value, "cancel", json_true());
    struct object object = {.kind = kind,
                            .value = value ? json_loads(value, 0, NULL) : NULL,
                            .state = state ? json_loads(state, 0, NULL) : NULL,
                            .state_revision = revision};
    struct task_outcome o = task_judge(&task, &object);
    assert_true(o.phase != TASK_CANCELLED || *o.reason);
    json_decref(object.value);
    json_decref(object.state);
    json_decref(task.value);
    json_decref(of);
    return o.phase;
}

#define WANTED "{\"spec\":{\"running\":true,\"size\":4096}}"
#define UNWANTED "{\"spec\":{\"running\":false,\"size\":4096}}"
#define LEAVING "{\"deleting\":true,\"spec\":{\"running\":false}}"
#define PHASE(p) "{\"phase\":\"" p "\",\"reason\":\"why\",\"bytes\":4096}"

static void record(void **state)
{
    (void)state;
    json_t *of = json_pack("{s:s, s:s, s:s}", "kind", "image", "id", "an-id", "name", "debian");
    struct object task = task_of(TASK_CREATE, of);
    const char *name = json_string_value(json_object_get(task.value, "name"));
    int year, n = 0;
    assert_int_equal(sscanf(name, "%4d%*4[0-9]-%*9[0-9]-%*6[0-9a-f]%n", &year, &n), 1);
    assert_true(year > 2020 && name[n] == 0);
    assert_string_equal(object_spec_text(&task, "object"), "debian");
    assert_string_equal(object_spec_text(&task, "by"), "token:alice");
    assert_int_equal(task_verb_of(&task), TASK_CREATE);
    assert_int_equal(task_phase_of(&task), TASK_RUNNING);
    json_decref(task.value);
    json_decref(of);
}

static void images_and_volumes(void **state)
{
    (void)state;
    assert_int_equal(verdict(TASK_CREATE, OBJECT_IMAGE, WANTED, NULL, 0, false), TASK_RUNNING);
    assert_int_equal(verdict(TASK_CREATE, OBJECT_IMAGE, WANTED, PHASE("importing"), 11, false), TASK_RUNNING);
    assert_int_equal(verdict(TASK_CREATE, OBJECT_IMAGE, WANTED, PHASE("ready"), 11, false), TASK_DONE);
    assert_int_equal(verdict(TASK_CREATE, OBJECT_IMAGE, WANTED, PHASE("failed"), 11, false), TASK_FAILED);
    assert_int_equal(verdict(TASK_CREATE, OBJECT_IMAGE, LEAVING, PHASE("importing"), 11, true), TASK_RUNNING);
    assert_int_equal(verdict(TASK_CREATE, OBJECT_IMAGE, NULL, NULL, 0, true), TASK_CANCELLED);
    assert_int_equal(verdict(TASK_CREATE, OBJECT_IMAGE, LEAVING, PHASE("importing"), 11, false), TASK_CANCELLED);
    assert_int_equal(verdict(TASK_RESIZE, OBJECT_VOLUME, WANTED, PHASE("ready"), 11, false), TASK_DONE);
    assert_int_equal(verdict(TASK_RESIZE, OBJECT_VOLUME, "{\"spec\":{\"size\":8192}}", PHASE("ready"), 11, false),
                     TASK_RUNNING);
    assert_int_equal(verdict(TASK_DELETE, OBJECT_VOLUME, LEAVING, PHASE("ready"), 11, false), TASK_RUNNING);
    assert_int_equal(verdict(TASK_DELETE, OBJECT_VOLUME, NULL, NULL, 0, false), TASK_DONE);
}

static void guests(void **state)
{
    (void)state;
    assert_int_equal(verdict(TASK_CREATE, OBJECT_GUEST, UNWANTED, NULL, 0, false), TASK_DONE);
    assert_int_equal(verdict(TASK_CREATE, OBJECT_GUEST, WANTED, NULL, 0, false), TASK_RUNNING);
    assert_int_equal(verdict(TASK_START, OBJECT_GUEST, WANTED, PHASE("stopped"), 9, false), TASK_RUNNING);
    assert_int_equal(verdict(TASK_START, OBJECT_GUEST, WANTED, PHASE("running"), 11, false), TASK_DONE);
    assert_int_equal(verdict(TASK_START, OBJECT_GUEST, WANTED, PHASE("waiting"), 11, false), TASK_RUNNING);
    assert_int_equal(verdict(TASK_START, OBJECT_GUEST, UNWANTED, PHASE("starting"), 11, false), TASK_CANCELLED);
    assert_int_equal(verdict(TASK_STOP, OBJECT_GUEST, UNWANTED, PHASE("running"), 11, false), TASK_RUNNING);
    assert_int_equal(verdict(TASK_STOP, OBJECT_GUEST, UNWANTED, PHASE("stopped"), 9, false), TASK_DONE);
    assert_int_equal(verdict(TASK_STOP, OBJECT_GUEST, WANTED, PHASE("running"), 11, true), TASK_CANCELLED);
    assert_int_equal(verdict(TASK_STOP, OBJECT_GUEST, NULL, NULL, 0, false), TASK_DONE);
    assert_int_equal(verdict(TASK_START, OBJECT_GUEST, NULL, NULL, 0, false), TASK_CANCELLED);
}

#define MEMBERS(id, condition)                                                                                         \
    "{\"phase\":\"ready\",\"members\":[{},{\"id\":\"" id "\",\"condition\":\"" condition "\"}]}"

/* A member was replaced when the fresh one has everything; what the old one had says nothing. */
static void members(void **state)
{
    (void)state;
    static const char fresh[] = "{\"spec\":{},\"replaced\":{\"index\":1,\"id\":\"new\"}}",
                      scrub[] = "{\"spec\":{},\"scrub\":2}";
    assert_int_equal(verdict(TASK_REPLACE, OBJECT_VOLUME, fresh, MEMBERS("old", "in-sync"), 11, false), TASK_RUNNING);
    assert_int_equal(verdict(TASK_REPLACE, OBJECT_VOLUME, fresh, MEMBERS("new", "resyncing"), 11, false), TASK_RUNNING);
    assert_int_equal(verdict(TASK_REPLACE, OBJECT_VOLUME, fresh, MEMBERS("new", "in-sync"), 11, false), TASK_DONE);
    assert_int_equal(
        verdict(TASK_SCRUB, OBJECT_VOLUME, scrub, "{\"phase\":\"ready\",\"scrub\":{\"done\":1}}", 11, false),
        TASK_RUNNING);
    assert_int_equal(
        verdict(TASK_SCRUB, OBJECT_VOLUME, scrub, "{\"phase\":\"ready\",\"scrub\":{\"done\":2}}", 11, false),
        TASK_DONE);
}

/* What failed before the task was made is no answer to it. */
static void old_failure(void **state)
{
    (void)state;
    assert_int_equal(verdict(TASK_START, OBJECT_GUEST, WANTED, PHASE("failed"), MADE - 1, false), TASK_RUNNING);
    assert_int_equal(verdict(TASK_START, OBJECT_GUEST, WANTED, PHASE("failed"), MADE + 1, false), TASK_FAILED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(record),  cmocka_unit_test(images_and_volumes), cmocka_unit_test(guests),
        cmocka_unit_test(members), cmocka_unit_test(old_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
