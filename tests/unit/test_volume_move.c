/* The rules by which the bytes of a volume move: who conducts it, and what is done next, whatever the process says.
 * Three nodes; volume v lies in p1, moves to p3, and guest g of n2 may have it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "node/agent/volume_move.h"

static struct mirror *m;

static void put(const char *key, const char *text)
{
    static uint64_t revision;
    char json[1024];
    snprintf(json, sizeof json, "%s", text);
    for (char *c = json; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    assert_int_equal(mirror_put(m, key, json, strlen(json), ++revision), 0);
}

static void put_guest(const char *running)
{
    char text[256];
    snprintf(text, sizeof text,
             "{'kind':'guest','id':'g-id','name':'g','spec':{'node':'n2','running':%s,'disks':[{'volume':'v'}]}}",
             running);
    put("/drover/guest/g-id", text);
    put("/drover/state/guest/g-id",
        strcmp(running, "true") ? "{'phase':'stopped','node':'n2'}" : "{'phase':'running','node':'n2'}");
}

static void put_move(const char *migration, const char *more)
{
    char text[512];
    snprintf(text, sizeof text,
             "{'kind':'volume-move','id':'m-id','name':'m','spec':{'volume':'v','volume_id':'v-id','index':-1,"
             "'from':'p1','to':'p3','node':'n3','member':'b-id','bytes':4096,'migration':'%s'}%s}",
             migration, more);
    put("/drover/volume-move/m-id", text);
}

static int setup(void **state)
{
    (void)state;
    m = mirror_new();
    put("/drover/pool/p1-id", "{'kind':'pool','id':'p1-id','name':'p1','spec':{'node':'n1'}}");
    put("/drover/pool/p3-id", "{'kind':'pool','id':'p3-id','name':'p3','spec':{'node':'n3'}}");
    put("/drover/volume/v-id",
        "{'kind':'volume','id':'v-id','name':'v','move':'m-id','spec':{'pool':'p1','size':4096}}");
    put("/drover/state/volume/v-id", "{'phase':'ready','made':true,'node':'n1','bytes':4096}");
    put("/drover/member/b-id",
        "{'kind':'member','id':'b-id','name':'v-id.b-id','arriving':true,'spec':{'volume':'v-id',"
        "'index':0,'pool':'p3','bytes':4096}}");
    put("/drover/state/member/b-id", "{'phase':'ready','made':true,'uri':'nbd://n3/b-id'}");
    put_move("", "");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mirror_free(m);
    return 0;
}

static struct volume_move_decision decide(enum volume_move_process process, enum volume_move_copy copy, const char *why)
{
    struct volume_move_view v = {
        .mirror = m, .move = mirror_find(m, OBJECT_VOLUME_MOVE, "m-id"), .process = process, .copy = copy, .why = why};
    return volume_move_decide(&v);
}

static enum volume_move_step step(enum volume_move_process process)
{
    return decide(process, VOLUME_MOVE_COPY_NONE, "").step;
}

static const char *conductor(void)
{
    return volume_move_conductor(m, mirror_find(m, OBJECT_VOLUME_MOVE, "m-id"));
}

static void under_a_guest(void **state)
{
    (void)state;
    put_guest("true");
    assert_string_equal(conductor(), "n2");
    assert_int_equal(step(VOLUME_MOVE_UNKNOWN), VOLUME_MOVE_STEP_WAIT);
    assert_int_equal(step(VOLUME_MOVE_IDLE), VOLUME_MOVE_STEP_BEGIN);
    assert_int_equal(step(VOLUME_MOVE_COPIES), VOLUME_MOVE_STEP_WAIT);
    assert_int_equal(step(VOLUME_MOVE_SYNCED), VOLUME_MOVE_STEP_SETTLE);
    assert_int_equal(step(VOLUME_MOVE_HOLDS), VOLUME_MOVE_STEP_COMMIT);
    put("/drover/state/member/b-id", "{'phase':'making'}");
    assert_int_equal(step(VOLUME_MOVE_IDLE), VOLUME_MOVE_STEP_WAIT);
}

static void once_switched_the_old_bytes_are_left(void **state)
{
    (void)state;
    put_guest("true");
    put_move("", ",'switched':true,'cancel':true"); /* too late */
    assert_int_equal(step(VOLUME_MOVE_UNKNOWN), VOLUME_MOVE_STEP_WAIT);
    assert_int_equal(step(VOLUME_MOVE_HOLDS), VOLUME_MOVE_STEP_LEAVE);
    struct volume_move_decision d = decide(VOLUME_MOVE_IDLE, VOLUME_MOVE_COPY_NONE, "");
    assert_int_equal(d.step, VOLUME_MOVE_STEP_CLOSE);
    assert_int_equal(d.phase, VOLUME_MOVE_DONE);
}

static void cancelled_it_stays(void **state)
{
    (void)state;
    put_guest("true");
    put_move("", ",'cancel':true");
    assert_int_equal(step(VOLUME_MOVE_UNKNOWN), VOLUME_MOVE_STEP_WAIT);
    assert_int_equal(step(VOLUME_MOVE_COPIES), VOLUME_MOVE_STEP_STAY);
    assert_int_equal(step(VOLUME_MOVE_HOLDS), VOLUME_MOVE_STEP_STAY);
    struct volume_move_decision d = decide(VOLUME_MOVE_IDLE, VOLUME_MOVE_COPY_NONE, "");
    assert_int_equal(d.step, VOLUME_MOVE_STEP_CLOSE);
    assert_int_equal(d.phase, VOLUME_MOVE_CANCELLED);
}

static void settled_it_is_written_down_before_it_stays(void **state)
{
    (void)state;
    put_guest("true");
    struct volume_move_decision d = decide(VOLUME_MOVE_HOLDS, VOLUME_MOVE_COPY_NONE, "no");
    assert_int_equal(d.step, VOLUME_MOVE_STEP_MARK);
    assert_string_equal(d.reason, "no");
    put_move("", ",'failed':'no'");
    assert_int_equal(step(VOLUME_MOVE_HOLDS), VOLUME_MOVE_STEP_STAY);
    assert_int_equal(decide(VOLUME_MOVE_GAVE_UP, VOLUME_MOVE_COPY_NONE, "").step, VOLUME_MOVE_STEP_STAY);
}

static void without_a_guest(void **state)
{
    (void)state;
    assert_string_equal(conductor(), "n1");
    assert_int_equal(step(VOLUME_MOVE_NONE), VOLUME_MOVE_STEP_COPY);
    assert_int_equal(decide(VOLUME_MOVE_NONE, VOLUME_MOVE_COPY_RUNS, "").step, VOLUME_MOVE_STEP_WAIT);
    assert_int_equal(decide(VOLUME_MOVE_NONE, VOLUME_MOVE_COPY_DONE, "").step, VOLUME_MOVE_STEP_COMMIT);
    put_move("", ",'offline':true"); /* of an agent before this one */
    assert_int_equal(step(VOLUME_MOVE_NONE), VOLUME_MOVE_STEP_REMAKE);
}

static void a_guest_that_comes_ends_the_copying(void **state)
{
    (void)state;
    put_guest("true");
    put_move("", ",'offline':true");
    assert_string_equal(conductor(), "n1"); /* who copies ends that first */
    assert_int_equal(decide(VOLUME_MOVE_UNKNOWN, VOLUME_MOVE_COPY_RUNS, "").step, VOLUME_MOVE_STEP_STOP);
    assert_int_equal(decide(VOLUME_MOVE_UNKNOWN, VOLUME_MOVE_COPY_DONE, "").step, VOLUME_MOVE_STEP_STOP);
    assert_int_equal(step(VOLUME_MOVE_UNKNOWN), VOLUME_MOVE_STEP_REMAKE);
    put_move("", "");
    assert_string_equal(conductor(), "n2");
}

static void new_bytes_that_cannot_be_made_end_it(void **state)
{
    (void)state;
    put("/drover/state/member/b-id", "{'phase':'failed','reason':'no space left'}");
    struct volume_move_decision d = decide(VOLUME_MOVE_NONE, VOLUME_MOVE_COPY_NONE, "");
    assert_int_equal(d.step, VOLUME_MOVE_STEP_CLOSE);
    assert_int_equal(d.phase, VOLUME_MOVE_FAILED);
    assert_string_equal(d.reason, "no space left");
}

#define WITH_CLUSTER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_CLUSTER(under_a_guest),
        WITH_CLUSTER(once_switched_the_old_bytes_are_left),
        WITH_CLUSTER(cancelled_it_stays),
        WITH_CLUSTER(settled_it_is_written_down_before_it_stays),
        WITH_CLUSTER(without_a_guest),
        WITH_CLUSTER(a_guest_that_comes_ends_the_copying),
        WITH_CLUSTER(new_bytes_that_cannot_be_made_end_it),
    };
    return cmocka_run_group_tests_name("volume_move", tests, NULL, NULL);
}
