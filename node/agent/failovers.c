#include "node/agent/failovers.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/failover_view.h"
#include "node/agent/member.h"
#include "node/agent/member_probe.h"
#include "node/agent/presence.h"
#include "node/agent/task.h"
#include "node/agent/tenure.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"
#include "node/base/store.h"

enum { ID_MAX = 64 };

/* What this agent has seen of a node. */
struct sighting {
    char id[ID_MAX];
    bool seen, alive;
    uint64_t gone_ns;
    LIST_ENTRY(sighting) link;
};

/* What it has seen of a guest that was taken over. */
struct history {
    char id[ID_MAX];
    unsigned count, in_a_row;
    uint64_t at_ns;
    LIST_ENTRY(history) link;
};

/* A take-over on its way to the store. */
struct attempt {
    struct failovers *failovers;
    char id[ID_MAX], name[ID_MAX], from[ID_MAX];
    LIST_ENTRY(attempt) link;
};

struct failovers {
    struct loop *loop;
    struct cluster *cluster;
    const struct tenure *tenure;
    struct member_probe *probe;
    struct mirror_listener listener;
    struct loop_job job;
    uint64_t began_ns, done;
    unsigned attempts;
    bool freed;
    LIST_HEAD(, sighting) sightings;
    LIST_HEAD(, history) histories;
    LIST_HEAD(, attempt) on_their_way;
    struct log_limit limit;
};

/* ---- what was seen ---- */

static struct sighting *sighting_of(struct failovers *f, const char *id)
{
    struct sighting *s;
    LIST_FOREACH (s, &f->sightings, link)
        if (!strcmp(s->id, id))
            return s;
    s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    snprintf(s->id, sizeof s->id, "%s", id);
    s->gone_ns = clock_boot_ns();
    LIST_INSERT_HEAD(&f->sightings, s, link);
    return s;
}

static void look_at_node(struct failovers *f, const struct object *o, struct failover_node *n)
{
    uint64_t now = clock_boot_ns();
    struct sighting *s = sighting_of(f, o->id);
    n->lost = false;
    if (!s)
        return;
    if (s->alive && !n->alive) {
        s->gone_ns = now;
        if (strcmp(n->name, cluster_node(f->cluster))) /* this agent knows that it ends */
            log_warn("node %s is lost: its state has gone from the store", n->name);
    }
    s->seen |= n->alive;
    s->alive = n->alive;
    n->gone_ms = n->alive ? 0 : (now - s->gone_ns) / 1000000;
    n->lost = !n->alive && (s->seen || now - f->began_ns >= FAILOVER_GRACE_MS * UINT64_C(1000000));
}

static struct history *history_of(struct failovers *f, const char *id)
{
    struct history *h;
    LIST_FOREACH (h, &f->histories, link)
        if (!strcmp(h->id, id))
            return h;
    h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    snprintf(h->id, sizeof h->id, "%s", id);
    LIST_INSERT_HEAD(&f->histories, h, link);
    return h;
}

/* A cool-down begins when the take-over is seen, not when it is asked for. Of what happened before this agent began
 * nothing is known but the number. */
static void note_count(struct failovers *f, const struct object *guest)
{
    unsigned count = failover_count(guest);
    uint64_t now = clock_boot_ns();
    struct history *h = count ? history_of(f, guest->id) : NULL;
    if (!h || h->count == count)
        return;
    uint64_t fresh_ms = failover_cool_ms(h->in_a_row) + FAILOVER_FORGET_MS; /* in the cool-down nothing could happen */
    bool again = h->count && (now - h->at_ns) / 1000000 < fresh_ms;
    h->in_a_row = again ? h->in_a_row + 1 : 1;
    h->count = count;
    h->at_ns = now;
}

uint64_t failovers_cool_ms(struct failovers *f, const struct object *guest)
{
    const struct history *h = failover_count(guest) ? history_of(f, guest->id) : NULL;
    if (!h)
        return 0;
    uint64_t cool = failover_cool_ms(h->in_a_row), past = (clock_boot_ns() - h->at_ns) / 1000000;
    return past < cool ? cool - past : 0;
}

/* ---- taking over ---- */

static void committed(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct attempt *a = context;
    struct failovers *f = a->failovers;
    (void)revision;
    LIST_REMOVE(a, link);
    f->attempts--;
    if (!rc) {
        f->done++;
        log_warn("guest %s is this node's now: taken over from %s", a->name, a->from);
    } else if (rc == -ESTALE) {
        log_info("guest %s was not taken over: it, its node %s or the cluster has changed meanwhile", a->name, a->from);
    } else {
        log_warn("guest %s was not taken over from %s: %s", a->name, a->from, err->text);
    }
    loop_defer(f->loop, &f->job);
    free(a);
}

static bool is_on_its_way(const struct failovers *f, const char *id)
{
    struct attempt *a;
    LIST_FOREACH (a, &f->on_their_way, link)
        if (!strcmp(a->id, id))
            return true;
    return false;
}

static void take_over(struct failovers *f, const struct object *guest, const struct object *from, uint64_t gone_ms)
{
    const struct object *record = failover_record(cluster_mirror(f->cluster));
    const char *self = cluster_node(f->cluster);
    char reason[160];
    struct attempt *a = calloc(1, sizeof *a);
    struct change *change = a ? change_new(f->cluster) : NULL;
    if (!change) {
        free(a);
        return;
    }
    a->failovers = f;
    snprintf(a->id, sizeof a->id, "%s", guest->id);
    snprintf(a->name, sizeof a->name, "%s", guest->name);
    snprintf(a->from, sizeof a->from, "%s", from->name);
    log_warn("guest %s falls to this node: node %s is lost for %llu ms, and it is take-over %u of it", a->name, a->from,
             (unsigned long long)gone_ms, failover_count(guest) + 1);
    snprintf(reason, sizeof reason, "node %s is lost for %llu ms", from->name, (unsigned long long)gone_ms);
    json_t *value = failover_handed(guest, self, reason), *task = task_make(TASK_FAILOVER, value, self, "failover");
    change_put(change, OBJECT_GUEST, guest->id, value, guest->revision);
    change_check_no_state(change, OBJECT_NODE, from->id);
    change_check(change, OBJECT_FAILOVER, FAILOVER_RECORD, record ? record->revision : 0);
    change_put_state(change, OBJECT_GUEST, guest->id,
                     json_pack("{s:s, s:s, s:s, s:i, s:O*}", "node", self, "phase", "preparing", "reason",
                               "taken over from a node that was lost", "pid", 0, "restarts",
                               json_object_get(guest->state, "restarts")),
                     STORE_ANY);
    if (task)
        change_put(change, OBJECT_TASK, member_text(task, "id"), task, 0);
    LIST_INSERT_HEAD(&f->on_their_way, a, link);
    f->attempts++;
    change_commit(change, committed, a);
}

/* ---- looking ---- */

static bool look(struct failovers *f, struct failover_scene *s)
{
    if (!failover_scene_make(s, cluster_mirror(f->cluster), f->probe, cluster_node(f->cluster)))
        return false;
    for (int i = 0; i < s->view.node_count; i++)
        look_at_node(f, s->nodes[i], &s->view.nodes[i]);
    for (unsigned i = 0; i < s->view.guest_count; i++)
        s->view.guests[i].cool_ms = failovers_cool_ms(f, s->objects[i]);
    s->view.forbidden = tenure_forbids(f->tenure, clock_boot_ns());
    return true;
}

static void act(struct failovers *f, const struct failover_scene *s, const struct failover_decision *decisions)
{
    for (unsigned i = 0; i < s->view.guest_count; i++) {
        const struct failover_guest *g = &s->view.guests[i];
        const struct failover_decision *d = &decisions[i];
        if (d->verdict == FAILOVER_WAITS && *d->reason)
            log_limited(&f->limit, LOG_LEVEL_INFO, "guest %s of lost node %s waits: %s%s%s", g->name,
                        s->view.nodes[g->node].name, d->reason, d->target >= 0 ? ", it falls to " : "",
                        d->target >= 0 ? s->view.nodes[d->target].name : "");
        if (d->verdict == FAILOVER_TAKES && f->attempts < FAILOVER_ATTEMPTS_MAX && !is_on_its_way(f, s->objects[i]->id))
            take_over(f, s->objects[i], s->nodes[g->node], s->view.nodes[g->node].gone_ms);
    }
}

/* Nobody is missed, as the last time: whatever the guests are, nothing falls to anybody. A look at all of them, twice a
 * second, is a twentieth of a core with ten thousand. */
static bool is_quiet(struct failovers *f)
{
    const struct mirror *m = cluster_mirror(f->cluster);
    for (const struct object *n = mirror_next(m, OBJECT_NODE, NULL); n; n = mirror_next(m, OBJECT_NODE, n->name)) {
        const struct sighting *s = presence_is_alive(n) ? sighting_of(f, n->id) : NULL;
        if (!s || !s->alive)
            return false;
    }
    return true;
}

static void evaluate(struct loop_job *job)
{
    struct failovers *f = CONTAINER_OF(job, struct failovers, job);
    struct failover_scene s;
    if (f->freed) {
        free(f);
        return;
    }
    if (!cluster_is_current(f->cluster) || is_quiet(f) || !look(f, &s))
        return;
    struct failover_decision *decisions = calloc(s.view.guest_count + 1, sizeof *decisions);
    if (decisions && failover_decide(&s.view, decisions))
        act(f, &s, decisions);
    free(decisions);
    failover_scene_free(&s);
}

static void object_changed(struct mirror_listener *listener, const struct object *object, enum object_part part)
{
    struct failovers *f = CONTAINER_OF(listener, struct failovers, listener);
    if (object->kind == OBJECT_GUEST && part == OBJECT_VALUE && object->value)
        note_count(f, object);
    if (object->kind == OBJECT_NODE || object->kind == OBJECT_FAILOVER ||
        (object->kind == OBJECT_GUEST && part == OBJECT_VALUE))
        loop_defer(f->loop, &f->job);
}

const struct member_probe *failovers_probe(const struct failovers *f)
{
    return f->probe;
}

void failovers_tick(struct failovers *f)
{
    if (cluster_is_current(f->cluster))
        member_probe_tick(f->probe);
    loop_defer(f->loop, &f->job);
}

uint64_t failovers_done(const struct failovers *f)
{
    return f->done;
}

/* ---- what people see ---- */

/* A sentence for a guest that would not come up again. */
static void warn(json_t *warnings, const struct failover_guest *g, const struct failover_view *v, const char *reason)
{
    const char *node = g->node >= 0 ? v->nodes[g->node].name : "its node";
    json_array_append_new(warnings,
                          json_sprintf("guest %s has nowhere to go if %s is lost: %s", g->name, node, reason));
}

static json_t *guest_line(const struct failover_scene *s, unsigned index, json_t *warnings)
{
    const struct failover_guest *g = &s->view.guests[index];
    const json_t *last = json_object_get(s->objects[index]->value, "failover");
    struct failover_view v = s->view;
    const char *reason = "";
    if (g->node >= 0)
        v.nodes[g->node].alive = false;
    int target = failover_place(&v, g, &reason);
    if (target == FAILOVER_NOBODY)
        warn(warnings, g, &v, reason);
    json_t *line = json_pack(
        "{s:s, s:s, s:i, s:s, s:s, s:i}", "guest", g->name, "node", object_spec_text(s->objects[index], "node"),
        "priority", (int)g->priority, "next", target == FAILOVER_NOBODY ? "" : v.nodes[target].name, "reason",
        target == FAILOVER_NOBODY ? reason : "", "failovers", (int)failover_count(s->objects[index]));
    if (last)
        json_object_set(line, "last", (json_t *)(uintptr_t)last);
    return line;
}

json_t *failovers_status(struct failovers *f)
{
    const struct object *record = failover_record(cluster_mirror(f->cluster));
    struct failover_scene s;
    json_t *warnings = json_array(), *guests = json_array();
    if (!look(f, &s)) {
        json_decref(warnings);
        json_decref(guests);
        return NULL;
    }
    for (unsigned i = 0; i < s.view.guest_count; i++)
        json_array_append_new(guests, guest_line(&s, i, warnings));
    json_t *status = json_pack(
        "{s:b, s:s, s:s, s:s, s:i, s:i, s:o, s:o}", "armed", s.view.armed, "by",
        record ? object_spec_text(record, "by") : "", "at", record ? object_spec_text(record, "at") : "", "this_node",
        s.view.forbidden ? s.view.forbidden : "", "nodes_to_lose", (int)failover_tolerates(&s.view), "protected",
        (int)s.view.guest_count, "warnings", warnings, "guests", guests);
    failover_scene_free(&s);
    return status;
}

/* ---- life ---- */

struct failovers *failovers_new(struct loop *loop, struct cluster *cluster, const struct tenure *tenure,
                                struct err *err)
{
    struct failovers *f = calloc(1, sizeof *f);
    struct member_probe *probe = f ? member_probe_new(cluster_mirror(cluster)) : NULL;
    if (!probe) {
        free(f);
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    f->loop = loop;
    f->cluster = cluster;
    f->probe = probe;
    f->tenure = tenure;
    f->began_ns = clock_boot_ns();
    f->listener.changed = object_changed;
    f->job.run = evaluate;
    f->limit = (struct log_limit){.burst = 5, .interval_ms = 10000};
    LIST_INIT(&f->sightings);
    LIST_INIT(&f->histories);
    LIST_INIT(&f->on_their_way);
    const struct mirror *m = cluster_mirror(cluster);
    for (const struct object *g = mirror_next(m, OBJECT_GUEST, NULL); g; g = mirror_next(m, OBJECT_GUEST, g->name))
        note_count(f, g);
    mirror_listen(cluster_mirror(cluster), &f->listener);
    loop_defer(loop, &f->job);
    return f;
}

bool failovers_busy(const struct failovers *f)
{
    return f->attempts > 0;
}

void failovers_free(struct failovers *f)
{
    struct sighting *s;
    struct history *h;
    if (!f)
        return;
    mirror_unlisten(&f->listener);
    while ((s = LIST_FIRST(&f->sightings))) {
        LIST_REMOVE(s, link);
        free(s);
    }
    while ((h = LIST_FIRST(&f->histories))) {
        LIST_REMOVE(h, link);
        free(h);
    }
    member_probe_free(f->probe);
    f->probe = NULL;
    f->freed = true;
    if (!f->job.queued)
        free(f);
}
