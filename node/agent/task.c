/* See task.h. A failure counts only if the object's node has said it after the task was made: an old one lies in the
 * state until the new attempt has begun. */
#include "node/agent/task.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "node/agent/drill.h"
#include "node/agent/member.h"
#include "node/agent/migration.h"
#include "node/agent/volume_move.h"
#include "node/agent/record_name.h"
#include "node/base/timestamp.h"
#include "node/base/uuid.h"

static const char *const verbs[TASK_VERB_COUNT] = {"create", "resize",  "start", "stop",     "delete", "migrate",
                                                   "move",   "replace", "scrub", "failover", "drill"};
static const char *const phases[TASK_PHASE_COUNT] = {"running", "done", "failed", "cancelled"};

const char *task_verb_name(enum task_verb verb)
{
    return verbs[verb];
}

const char *task_phase_name(enum task_phase phase)
{
    return phases[phase];
}

enum task_verb task_verb_of(const struct object *task)
{
    const char *text = object_spec_text(task, "verb");
    for (int v = 0; v < TASK_VERB_COUNT; v++)
        if (!strcmp(verbs[v], text))
            return (enum task_verb)v;
    return TASK_CREATE;
}

enum task_phase task_phase_of(const struct object *task)
{
    const char *text = member_text(task->state, "phase");
    for (int p = 0; p < TASK_PHASE_COUNT; p++)
        if (!strcmp(phases[p], text))
            return (enum task_phase)p;
    return TASK_RUNNING;
}

json_t *task_make(enum task_verb verb, const json_t *object, const char *node, const char *by)
{
    char began[TIMESTAMP_BYTES], id[UUID_TEXT_BYTES], name[RECORD_NAME_BYTES];
    timestamp(began);
    uuid_make(id);
    record_name(began, id, name);
    return json_pack("{s:s, s:s, s:s, s:{s:s, s:s, s:s, s:s, s:s, s:s, s:s}}", "kind", object_kind_name(OBJECT_TASK),
                     "id", id, "name", name, "spec", "verb", verbs[verb], "object_kind", member_text(object, "kind"),
                     "object_id", member_text(object, "id"), "object", member_text(object, "name"), "node", node, "by",
                     by, "began", began);
}

/* ---- judging ---- */

/* What is wanted of the object, while it is there. */
enum goal { GOAL_READY, GOAL_RUNNING, GOAL_STOPPED, GOAL_GONE };

static bool wants_running(const struct object *object)
{
    return json_is_true(object_spec(object, "running"));
}

static enum goal goal_of(enum task_verb verb, const struct object *object)
{
    if (verb == TASK_DELETE)
        return GOAL_GONE;
    if (object->kind != OBJECT_GUEST)
        return GOAL_READY;
    if (verb == TASK_CREATE)
        return wants_running(object) ? GOAL_RUNNING : GOAL_STOPPED;
    return verb == TASK_START || verb == TASK_FAILOVER ? GOAL_RUNNING : GOAL_STOPPED;
}

/* Another request has made it pointless. */
static const char *overtaken(enum task_verb verb, const struct object *object)
{
    if (verb != TASK_DELETE && json_is_true(json_object_get(object->value, "deleting")))
        return "it is being deleted";
    if ((verb == TASK_START || verb == TASK_FAILOVER) && !wants_running(object))
        return "it was told to stop, or has switched itself off";
    if (verb == TASK_STOP && wants_running(object))
        return "it was told to run";
    return NULL;
}

/* The fresh member is in its place, and has everything. */
static bool is_replaced(const struct object *object)
{
    const json_t *fresh = json_object_get(object->value, "replaced");
    json_int_t index = json_integer_value(json_object_get(fresh, "index")); /* < 0: the witness */
    const json_t *line = index < 0 ? json_object_get(object->state, "witness")
                                   : json_array_get(json_object_get(object->state, "members"), (size_t)index);
    return !strcmp(member_text(line, "id"), member_text(fresh, "id")) &&
           !strcmp(member_text(line, "condition"), "in-sync");
}

static bool is_reached(enum goal goal, enum task_verb verb, const struct object *object)
{
    static const char *const words[] = {[GOAL_READY] = "ready", [GOAL_RUNNING] = "running", [GOAL_STOPPED] = "stopped"};
    if (goal == GOAL_STOPPED && !object->state)
        return true; /* it has never run */
    if (goal == GOAL_GONE || strcmp(member_text(object->state, "phase"), words[goal]))
        return false;
    if (verb == TASK_REPLACE)
        return is_replaced(object);
    if (verb == TASK_SCRUB)
        return json_integer_value(json_object_get(json_object_get(object->state, "scrub"), "done")) >=
               json_integer_value(json_object_get(object->value, "scrub"));
    return verb != TASK_RESIZE || json_integer_value(json_object_get(object->state, "bytes")) >=
                                      json_integer_value(object_spec(object, "size"));
}

static struct task_outcome judge_gone(enum task_verb verb, bool cancelled)
{
    struct task_outcome o = {.reason = "", .step = "gone"};
    if (verb == TASK_DELETE || verb == TASK_STOP) {
        o.phase = TASK_DONE;
    } else {
        o.phase = TASK_CANCELLED;
        o.reason = cancelled ? "cancelled" : "it was deleted meanwhile";
    }
    return o;
}

/* A migration says itself how it goes. */
static struct task_outcome judge_migration(const struct object *migration)
{
    static const enum task_phase of[MIGRATION_PHASE_COUNT] = {
        [MIGRATION_DONE] = TASK_DONE, [MIGRATION_FAILED] = TASK_FAILED, [MIGRATION_CANCELLED] = TASK_CANCELLED};
    return (struct task_outcome){
        .phase = of[migration_phase_of(migration)],
        .reason = member_text(migration->state, "reason"),
        .step = member_text(migration->state, "phase"),
        .done_bytes = (uint64_t)json_integer_value(json_object_get(migration->state, "done_bytes")),
        .total_bytes = (uint64_t)json_integer_value(json_object_get(migration->state, "total_bytes")),
    };
}

/* So does a move. */
static struct task_outcome judge_move(const struct object *move)
{
    static const enum task_phase of[VOLUME_MOVE_PHASE_COUNT] = {
        [VOLUME_MOVE_DONE] = TASK_DONE, [VOLUME_MOVE_FAILED] = TASK_FAILED, [VOLUME_MOVE_CANCELLED] = TASK_CANCELLED};
    return (struct task_outcome){
        .phase = of[volume_move_phase_of(move)],
        .reason = member_text(move->state, "reason"),
        .step = member_text(move->state, "phase"),
        .done_bytes = (uint64_t)json_integer_value(json_object_get(move->state, "done_bytes")),
        .total_bytes = (uint64_t)json_integer_value(json_object_get(move->state, "total_bytes")),
    };
}

/* And a drill. */
static struct task_outcome judge_drill(const struct object *drill)
{
    static const enum task_phase of[DRILL_PHASE_COUNT] = {
        [DRILL_DONE] = TASK_DONE, [DRILL_FAILED] = TASK_FAILED, [DRILL_ABORTED] = TASK_CANCELLED};
    return (struct task_outcome){.phase = of[drill_phase_of(drill)],
                                 .reason = member_text(drill->state, "reason"),
                                 .step = member_text(drill->state, "phase")};
}

struct task_outcome task_judge(const struct object *task, const struct object *object)
{
    enum task_verb verb = task_verb_of(task);
    bool cancelled = json_is_true(json_object_get(task->value, "cancel"));
    if (!object || !object->value)
        return judge_gone(verb, cancelled);
    if (verb == TASK_MIGRATE)
        return judge_migration(object);
    if (verb == TASK_MOVE)
        return judge_move(object);
    if (verb == TASK_DRILL)
        return judge_drill(object);
    struct task_outcome o = {
        .reason = member_text(object->state, "reason"),
        .step = member_text(object->state, "phase"),
        .done_bytes = (uint64_t)json_integer_value(json_object_get(object->state, "done_bytes")),
        .total_bytes = (uint64_t)json_integer_value(json_object_get(object->state, "total_bytes")),
    };
    const char *other = overtaken(verb, object);
    if (is_reached(goal_of(verb, object), verb, object)) {
        o.phase = TASK_DONE;
        o.reason = "";
    } else if (other && !(cancelled && verb == TASK_CREATE)) { /* a creation that is cancelled ends when it is gone */
        o.phase = TASK_CANCELLED;
        o.reason = cancelled ? "cancelled" : other;
    } else if (!strcmp(o.step, "failed") && object->state_revision > task->revision) {
        o.phase = TASK_FAILED;
    }
    return o;
}
