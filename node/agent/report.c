#include "node/agent/report.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/volume_member.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"

enum { BATCH = 32, RETRY_MS = 1000, OVERTAKEN_MS = 50 };

struct line {
    enum object_kind kind;
    char *id, *name; /* name: of one that is deleted */
    json_t *state;   /* NULL: the object is deleted */
    uint64_t revision;
    TAILQ_ENTRY(line) link;
};

TAILQ_HEAD(lines, line);

struct report {
    struct loop *loop;
    struct cluster *cluster;
    struct lines waiting, sent;
    struct loop_job job;
    struct loop_timer timer;
    bool busy, stopped;
    struct log_limit limit;
};

static void free_line(struct line *l)
{
    json_decref(l->state);
    free(l->id);
    free(l->name);
    free(l);
}

static struct line *find(struct report *r, enum object_kind kind, const char *id)
{
    struct line *l;
    TAILQ_FOREACH (l, &r->waiting, link)
        if (l->kind == kind && !strcmp(l->id, id))
            return l;
    return NULL;
}

/* A deletion that was overtaken is seen anew by whoever wanted it; what failed because of another line of its batch is
 * not. */
static bool is_overtaken(const struct report *r, const struct line *l)
{
    const struct object *o = l->state ? NULL : mirror_find(cluster_mirror(r->cluster), l->kind, l->id);
    return !l->state && (!o || !o->value || o->revision != l->revision);
}

static void committed(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct report *r = context;
    struct line *l;
    (void)revision;
    r->busy = false;
    while ((l = TAILQ_LAST(&r->sent, lines))) {
        TAILQ_REMOVE(&r->sent, l, link);
        bool newer = find(r, l->kind, l->id);
        if (!rc || newer || (rc == -ESTALE && is_overtaken(r, l)))
            free_line(l);
        else
            TAILQ_INSERT_HEAD(&r->waiting, l, link);
    }
    if (rc && rc != -ESTALE)
        log_limited(&r->limit, LOG_LEVEL_WARN, "what this node observes is not written yet: %s", err->text);
    if (rc)
        loop_timer_set(r->loop, &r->timer, clock_ns() + (rc == -ESTALE ? OVERTAKEN_MS : RETRY_MS) * 1000000ull);
    else if (!TAILQ_EMPTY(&r->waiting))
        loop_defer_late(r->loop, &r->job);
}

bool report_is_anothers(const struct mirror *m, const char *node, enum object_kind kind, const char *id)
{
    const struct object *o = kind == OBJECT_VOLUME ? mirror_find(m, kind, id) : NULL;
    const struct object *pool = o && o->value ? mirror_named(m, OBJECT_POOL, object_spec_text(o, "pool")) : NULL;
    if (pool && !volume_has_layout(o)) /* its bytes have moved */
        return strcmp(object_spec_text(pool, "node"), node) != 0;
    return o && o->value && volume_has_layout(o) && strcmp(volume_home(m, o), node) != 0;
}

/* A state that is known, is another node's to tell, or is of what is gone: nobody would delete it again. */
static bool is_void(const struct report *r, const struct line *l)
{
    const struct mirror *m = cluster_mirror(r->cluster);
    const struct object *o = mirror_find(m, l->kind, l->id);
    bool gone = l->kind != OBJECT_CANARY && (!o || !o->value); /* a canary is a state only */
    bool known = o && o->state && json_equal(o->state, l->state);
    return l->state && (gone || known || report_is_anothers(m, cluster_node(r->cluster), l->kind, l->id));
}

/* Over what is known: one whose outcome was unknown, and that comes late, must not undo what was written since. */
static void add(const struct report *r, struct change *change, struct line *l)
{
    if (l->state) {
        const struct object *o = mirror_find(cluster_mirror(r->cluster), l->kind, l->id);
        change_put_state(change, l->kind, l->id, json_incref(l->state), o ? (int64_t)o->state_revision : 0);
        return;
    }
    change_delete(change, l->kind, l->id, l->revision);
    change_delete_state(change, l->kind, l->id);
    change_free_name(change, l->kind, l->name);
}

static void send(struct loop_job *job)
{
    struct report *r = CONTAINER_OF(job, struct report, job);
    if (r->busy || r->stopped || r->timer.slot)
        return;
    struct change *change = change_new(r->cluster);
    unsigned count = 0;
    struct line *l;
    while (change && count < BATCH && (l = TAILQ_FIRST(&r->waiting))) {
        TAILQ_REMOVE(&r->waiting, l, link);
        if (is_void(r, l)) {
            free_line(l);
            continue;
        }
        TAILQ_INSERT_TAIL(&r->sent, l, link);
        add(r, change, l);
        count++;
    }
    if (!count) {
        change_drop(change);
        return;
    }
    r->busy = true;
    change_commit(change, committed, r);
}

static void retry(struct loop_timer *timer)
{
    struct report *r = CONTAINER_OF(timer, struct report, timer);
    loop_defer_late(r->loop, &r->job);
}

static void queue(struct report *r, struct line *l)
{
    if (r->stopped || !l->id || !l->name) {
        free_line(l);
        return;
    }
    TAILQ_INSERT_TAIL(&r->waiting, l, link);
    loop_defer_late(r->loop, &r->job);
}

void report_state(struct report *r, enum object_kind kind, const char *id, json_t *state)
{
    struct line *l = find(r, kind, id);
    if (l && l->state) {
        json_decref(l->state);
        l->state = state;
        return;
    }
    l = l ? NULL : calloc(1, sizeof *l); /* one that is being deleted needs no state */
    if (!l) {
        json_decref(state);
        return;
    }
    *l = (struct line){.kind = kind, .id = strdup(id), .name = strdup(""), .state = state};
    queue(r, l);
}

void report_deleted(struct report *r, const struct object *object)
{
    struct line *l = find(r, object->kind, object->id);
    if (l && !l->state)
        return;
    if (l) {
        TAILQ_REMOVE(&r->waiting, l, link);
        free_line(l);
    }
    l = calloc(1, sizeof *l);
    if (!l)
        return;
    *l = (struct line){
        .kind = object->kind, .id = strdup(object->id), .name = strdup(object->name), .revision = object->revision};
    queue(r, l);
}

struct report *report_new(struct loop *loop, struct cluster *cluster)
{
    struct report *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->loop = loop;
    r->cluster = cluster;
    r->job.run = send;
    r->timer.fire = retry;
    r->limit = (struct log_limit){.burst = 1, .interval_ms = 10000};
    TAILQ_INIT(&r->waiting);
    TAILQ_INIT(&r->sent);
    return r;
}

void report_stop(struct report *r)
{
    r->stopped = true;
    loop_timer_clear(r->loop, &r->timer);
}

bool report_busy(const struct report *r)
{
    return r->busy || r->job.queued;
}

void report_free(struct report *r)
{
    struct line *l;
    if (!r)
        return;
    while ((l = TAILQ_FIRST(&r->waiting))) {
        TAILQ_REMOVE(&r->waiting, l, link);
        free_line(l);
    }
    free(r);
}
