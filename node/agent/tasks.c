#include "node/agent/tasks.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "node/agent/api.h"
#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/drill.h"
#include "node/agent/heir.h"
#include "node/agent/kind.h"
#include "node/agent/member.h"
#include "node/agent/object_answer.h"
#include "node/agent/report.h"
#include "node/agent/task.h"
#include "node/agent/volume_move.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/loop.h"
#include "node/base/timestamp.h"

enum { ENDED_MAX = 200 /* a node */, LOG_LINES_MAX = 64 };

/* One that runs, with the state that was reported last: the mirror shows it only when the store has it. */
struct tracked {
    char *id;
    json_t *state;
    bool seen;
    LIST_ENTRY(tracked) link;
};

struct tasks {
    struct loop *loop;
    struct cluster *cluster;
    struct report *report;
    struct mirror_listener listener;
    struct loop_job job;
    LIST_HEAD(, tracked) running;
};

/* ---- following ---- */

static struct tracked *track(struct tasks *t, const struct object *task)
{
    struct tracked *k;
    LIST_FOREACH (k, &t->running, link)
        if (!strcmp(k->id, task->id))
            return k;
    k = calloc(1, sizeof *k);
    if (!k || !(k->id = strdup(task->id))) {
        free(k);
        return NULL;
    }
    k->state = task->state ? json_deep_copy(task->state) : json_pack("{s:[]}", "log");
    LIST_INSERT_HEAD(&t->running, k, link);
    return k;
}

static void untrack(struct tracked *k)
{
    LIST_REMOVE(k, link);
    json_decref(k->state);
    free(k->id);
    free(k);
}

static void add_line(json_t *log, const char *step, const char *reason)
{
    char at[TIMESTAMP_BYTES];
    const json_t *last = json_array_get(log, json_array_size(log) - 1);
    json_t *text = *reason ? json_sprintf("%s: %s", step, reason) : json_string(step);
    if (!*step || (last && json_equal(json_object_get(last, "text"), text))) {
        json_decref(text);
        return;
    }
    if (json_array_size(log) == LOG_LINES_MAX)
        json_array_remove(log, 0);
    json_array_append_new(log, json_pack("{s:s, s:o}", "at", timestamp(at), "text", text));
}

static void take_outcome(json_t *state, const struct task_outcome *o)
{
    json_t *log = json_object_get(state, "log");
    add_line(log, o->step, o->reason);
    json_object_set_new(state, "phase", json_string(task_phase_name(o->phase)));
    json_object_set_new(state, "reason", json_string(o->reason));
    if (o->total_bytes) {
        json_object_set_new(state, "done_bytes", json_integer((json_int_t)o->done_bytes));
        json_object_set_new(state, "total_bytes", json_integer((json_int_t)o->total_bytes));
    }
    if (o->phase != TASK_RUNNING) {
        char at[TIMESTAMP_BYTES];
        json_object_set_new(state, "ended", json_string(timestamp(at)));
    }
}

static const struct object *object_of(const struct mirror *mirror, const struct object *task)
{
    int kind = object_kind_of(object_spec_text(task, "object_kind"));
    return kind < 0 ? NULL : mirror_find(mirror, (enum object_kind)kind, object_spec_text(task, "object_id"));
}

static void look(struct tasks *t, const struct object *task)
{
    struct tracked *k = track(t, task);
    if (!k)
        return;
    k->seen = true;
    if (json_object_get(k->state, "ended"))
        return; /* and on its way to the store */
    struct task_outcome o = task_judge(task, object_of(cluster_mirror(t->cluster), task));
    take_outcome(k->state, &o);
    report_state(t->report, OBJECT_TASK, task->id, json_deep_copy(k->state));
}

static void evaluate(struct loop_job *job)
{
    struct tasks *t = CONTAINER_OF(job, struct tasks, job);
    const struct mirror *m = cluster_mirror(t->cluster);
    const struct object *oldest = NULL;
    unsigned ended = 0;
    struct tracked *k, *next;
    if (!cluster_is_current(t->cluster))
        return;
    LIST_FOREACH (k, &t->running, link)
        k->seen = false;
    for (const struct object *o = mirror_next(m, OBJECT_TASK, NULL); o; o = mirror_next(m, OBJECT_TASK, o->name)) {
        if (strcmp(heir_of(m, object_spec_text(o, "node")), cluster_node(t->cluster)))
            continue;
        if (task_phase_of(o) == TASK_RUNNING) {
            look(t, o);
        } else {
            oldest = oldest ? oldest : o;
            ended++;
        }
    }
    if (ended > ENDED_MAX)
        report_deleted(t->report, oldest);
    for (k = LIST_FIRST(&t->running); k; k = next) {
        next = LIST_NEXT(k, link);
        if (!k->seen)
            untrack(k);
    }
}

static void object_changed(struct mirror_listener *listener, const struct object *object, enum object_part part)
{
    struct tasks *t = CONTAINER_OF(listener, struct tasks, listener);
    bool node = object->kind == OBJECT_NODE && part == OBJECT_VALUE; /* it came, or was removed */
    if (node || object->kind == OBJECT_TASK || object->kind == OBJECT_GUEST || object->kind == OBJECT_VOLUME ||
        object->kind == OBJECT_IMAGE || object->kind == OBJECT_MIGRATION || object->kind == OBJECT_VOLUME_MOVE ||
        object->kind == OBJECT_DRILL)
        loop_defer(t->loop, &t->job);
}

/* ---- the API ---- */

/* What the object has to become for the task to come to nothing; NULL: the call was answered. */
static json_t *undone(struct api_call *call, const struct mirror *mirror, const struct object *task,
                      const struct object *object)
{
    char user[128];
    enum task_verb verb = task_verb_of(task);
    if (verb == TASK_MIGRATE && json_is_true(json_object_get(object->value, "switched"))) {
        api_error(call, 409, "cannot-be-cancelled", NULL, "the guest is on node %s already",
                  object_spec_text(object, "to"));
        return NULL;
    }
    if (verb == TASK_MOVE && volume_move_is_switched(object)) {
        api_error(call, 409, "cannot-be-cancelled", NULL, "the volume is in pool %s already",
                  object_spec_text(object, "to"));
        return NULL;
    }
    if (verb == TASK_DELETE || verb == TASK_RESIZE || verb == TASK_REPLACE || verb == TASK_SCRUB ||
        verb == TASK_FAILOVER) {
        api_error(call, 409, "cannot-be-cancelled", NULL, "a %s cannot be taken back", task_verb_name(verb));
        return NULL;
    }
    if (verb == TASK_CREATE && kind_is_used(mirror, object, user, sizeof user)) {
        api_error(call, 409, "in-use", NULL, "%s %s is used by %s: delete that first", object_kind_name(object->kind),
                  object->name, user);
        return NULL;
    }
    if (verb == TASK_DRILL)
        return drill_aborted(object, call->who.name);
    json_t *value = json_deep_copy(object->value), *spec = json_object_get(value, "spec");
    if (verb == TASK_MIGRATE || verb == TASK_MOVE)
        json_object_set_new(value, "cancel", json_true());
    if (verb == TASK_CREATE)
        json_object_set_new(value, "deleting", json_true());
    if (object->kind == OBJECT_GUEST)
        json_object_set_new(spec, "running", json_boolean(verb == TASK_STOP));
    char now[TIMESTAMP_BYTES];
    if (verb == TASK_STOP)
        json_object_set_new(value, "started", json_string(timestamp(now)));
    return value;
}

struct cancelling {
    struct api_call *call;
    struct cluster *cluster;
    char *id;
};

static void cancelled(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct cancelling *c = context;
    (void)revision;
    const struct object *o = mirror_find(cluster_mirror(c->cluster), OBJECT_TASK, c->id);
    if (rc)
        object_refuse(c->call, rc, err);
    else if (!o || !o->value)
        api_error(c->call, 409, "changed-meanwhile", NULL, "the task is gone");
    else
        api_reply(c->call, 200, object_view(o));
    free(c->id);
    free(c);
}

static void cancel(void *context, struct api_call *call)
{
    struct cluster *cluster = context;
    const struct mirror *mirror = cluster_mirror(cluster);
    const struct object *task = object_wanted(call, mirror);
    if (!task)
        return;
    const struct object *object = object_of(mirror, task);
    if (task_phase_of(task) != TASK_RUNNING || !object || !object->value) {
        api_error(call, 409, "task-ended", NULL, "the task has ended");
        return;
    }
    json_t *value = undone(call, mirror, task, object);
    if (!value)
        return;
    struct cancelling *c = calloc(1, sizeof *c);
    struct change *change = c && (c->id = strdup(task->id)) ? change_new(cluster) : NULL;
    if (!change) {
        api_error(call, 500, "out-of-memory", NULL, "out of memory");
        json_decref(value);
        if (c)
            free(c->id);
        free(c);
        return;
    }
    c->call = call;
    c->cluster = cluster;
    json_t *marked = json_deep_copy(task->value);
    json_object_set_new(marked, "cancel", json_true());
    change_put(change, OBJECT_TASK, task->id, marked, task->revision);
    change_put(change, object->kind, object->id, value, object->revision);
    change_commit(change, cancelled, c);
}

int tasks_add_routes(struct api *api, struct cluster *cluster, struct err *err)
{
    static struct route route = {.method = HTTP_POST,
                                 .path = "/v1/tasks/{name}/cancel",
                                 .role = ROLE_OPERATOR,
                                 .id = "task_cancel",
                                 .tag = "task",
                                 .summary =
                                     "What it has made so far is deleted again, a start or a stop is taken back.",
                                 .handle = cancel};
    route.response = kind_of(OBJECT_TASK)->answer;
    return api_add_routes(api, &route, 1, cluster, err);
}

/* ---- life ---- */

struct tasks *tasks_new(struct loop *loop, struct cluster *cluster, struct report *report, struct err *err)
{
    struct tasks *t = calloc(1, sizeof *t);
    if (!t) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    t->loop = loop;
    t->cluster = cluster;
    t->report = report;
    t->listener.changed = object_changed;
    t->job.run = evaluate;
    LIST_INIT(&t->running);
    mirror_listen(cluster_mirror(cluster), &t->listener);
    loop_defer(loop, &t->job);
    return t;
}

void tasks_free(struct tasks *t)
{
    if (!t)
        return;
    mirror_unlisten(&t->listener);
    while (!LIST_EMPTY(&t->running))
        untrack(LIST_FIRST(&t->running));
    loop_forget(t->loop, &t->job);
    free(t);
}
