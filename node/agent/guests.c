#include "node/agent/guests.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "node/agent/cluster.h"
#include "node/agent/guest_off.h"
#include "node/agent/guest_unit.h"
#include "node/agent/member.h"
#include "node/agent/migration.h"
#include "node/agent/migration_volumes.h"
#include "node/agent/report.h"
#include "node/agent/restart.h"
#include "node/agent/start_order.h"
#include "node/agent/tenure.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"

struct resident {
    struct guest_unit *unit;
    struct err waits;      /* why there is no plan */
    bool recalled;         /* its unit knows of its restarts */
    bool found;            /* a process may be there already */
    bool holds;            /* it is not started yet: must_hold() */
    uint64_t held_ms;      /* since then; 0: it is not held */
    json_t *stuck;         /* give_aways.h; NULL: it is not */
    struct guest_off *off; /* NULL: it has not switched itself off, or that is written */
    LIST_ENTRY(resident) link;
};

struct guests {
    struct cluster *cluster;
    struct report *report;
    const struct guest_place *place;
    const struct guest_plan_place *plan_place;
    struct guest_unit_handler handler;
    struct mirror_listener listener;
    struct loop_job job;
    struct start_order *order;
    void (*watcher)(void *context);
    void *watcher_context;
    LIST_HEAD(, resident) residents;
};

static struct resident *find(struct guests *g, const char *id)
{
    struct resident *r;
    LIST_FOREACH (r, &g->residents, link)
        if (!strcmp(guest_unit_id(r->unit), id))
            return r;
    return NULL;
}

static bool is_ours(const struct guests *g, const struct object *o)
{
    return !strcmp(object_spec_text(o, "node"), g->plan_place->node);
}

/* The migration by which a guest of another node comes to this one, or NULL. */
static const struct object *arrival_of(const struct guests *g, const struct object *o)
{
    const struct object *m = migration_of(cluster_mirror(g->cluster), o);
    bool comes = m && !strcmp(object_spec_text(m, "to"), g->plan_place->node) &&
                 strcmp(object_spec_text(o, "node"), g->plan_place->node);
    return comes && !migration_has_ended(m) && !*member_text(m->value, "refused") && !migration_volumes_pending(m)
               ? m
               : NULL;
}

static const struct object *object_of(struct guests *g, const struct resident *r)
{
    const struct object *o = mirror_find(cluster_mirror(g->cluster), OBJECT_GUEST, guest_unit_id(r->unit));
    return o && o->value ? o : NULL;
}

/* ---- what is told ---- */

/* Of an agent before this one, or of the node that had it. */
static void recall(struct resident *r, const struct object *o)
{
    if (!r->recalled && o->state)
        guest_unit_recall(r->unit, json_object_get(o->state, "restarts"));
    r->recalled = true;
}

static void tell(struct guests *g, struct resident *r)
{
    const struct object *o = object_of(g, r);
    if (!o || !is_ours(g, o))
        return;
    recall(r, o);
    const char *reason = guest_unit_reason(r->unit);
    json_t *state =
        json_pack("{s:s, s:s, s:s, s:i, s:o, s:b}", "node", g->plan_place->node, "phase",
                  guest_phase_name(guest_unit_phase(r->unit)), "reason", *reason ? reason : r->waits.text, "pid",
                  guest_unit_pid(r->unit), "restarts", restart_record_json(guest_unit_restarts(r->unit)), "frozen",
                  guest_unit_is_frozen(r->unit));
    if (r->stuck)
        json_object_set(state, "stuck", r->stuck);
    report_state(g->report, OBJECT_GUEST, guest_unit_id(r->unit), state);
}

static void unit_changed(struct guest_unit_handler *handler, struct guest_unit *unit)
{
    struct guests *g = CONTAINER_OF(handler, struct guests, handler);
    struct resident *r = find(g, guest_unit_id(unit));
    if (r)
        tell(g, r);
    if (r && g->watcher)
        g->watcher(g->watcher_context);
    loop_defer(g->place->loop, &g->job); /* it may have to leave now */
}

/* From now on it is wanted off: an operator's `start` starts it again. */
static void unit_off(struct guest_unit_handler *handler, struct guest_unit *unit)
{
    struct guests *g = CONTAINER_OF(handler, struct guests, handler);
    struct resident *r = find(g, guest_unit_id(unit));
    const struct object *o = r ? object_of(g, r) : NULL;
    if (!o)
        return;
    guest_off_free(r->off);
    r->off = guest_off_new(g->place->loop, g->cluster, o, &g->job);
    if (r->off)
        guest_off_holds(r->off, o);
}

/* ---- what is done ---- */

static struct resident *admit(struct guests *g, const char *id)
{
    struct resident *r = calloc(1, sizeof *r);
    if (r)
        r->unit = guest_unit_new(g->place, id, &g->handler);
    if (!r || !r->unit) {
        free(r);
        return NULL;
    }
    LIST_INSERT_HEAD(&g->residents, r, link);
    return r;
}

static void discard(struct resident *r)
{
    LIST_REMOVE(r, link);
    guest_unit_free(r->unit);
    guest_off_free(r->off);
    json_decref(r->stuck);
    free(r);
}

static void remove_files(const struct guests *g, const char *id)
{
    static const char *const suffixes[] = {"log", "seed", "sock", "console"};
    char path[PATH_MAX];
    for (unsigned i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        snprintf(path, sizeof path, "%s/%s.%s", g->place->directory, id, suffixes[i]);
        unlink(path);
    }
}

/* One that does not run yet waits for those that it needs. */
static bool must_wait(struct guests *g, struct resident *r, const struct object *o, struct err *why)
{
    if (guest_unit_phase(r->unit) != GUEST_PHASE_STOPPED)
        return false;
    uint64_t now = clock_ms();
    r->held_ms = r->held_ms ? r->held_ms : now;
    bool may = start_order_may(g->order, o, now - r->held_ms, why);
    if (may && *why->text)
        log_warn("guest %s %s", o->name, why->text);
    return !may;
}

/* A protected guest that does not run here yet is not started while this node is not sure of its place, or has promised
 * others to leave theirs alone (tenure.h). */
static bool must_hold(const struct guests *g, const struct resident *r, const struct object *o, struct err *err)
{
    if (!json_is_true(object_spec(o, "ha")) || guest_unit_phase(r->unit) != GUEST_PHASE_STOPPED ||
        tenure_starts(g->place->tenure, clock_boot_ns()))
        return false;
    err_set(err, EAGAIN, "waits until this node is in the cluster again, for sure");
    return true;
}

static void forget_off(struct resident *r)
{
    guest_off_free(r->off);
    r->off = NULL;
}

static bool is_off(struct resident *r, const struct object *o)
{
    if (r->off && guest_off_holds(r->off, o))
        return true;
    forget_off(r);
    return false;
}

static void add_arrival(json_t *plan, const struct object *arrival)
{
    if (plan && arrival)
        json_object_set_new(
            plan, "incoming",
            json_pack("{s:s, s:s}", "migration", arrival->id, "key", member_text(arrival->value, "key")));
}

/* What runs already is taken over whatever would keep it from being started. */
static void take_over(struct resident *r, const struct object *o, const struct object *arrival)
{
    if (!r->found)
        return;
    json_t *p = guest_plan_found(o);
    add_arrival(p, arrival);
    r->found = false;
    guest_unit_find(r->unit, p);
    json_decref(p);
}

/* What runs goes on where there is no plan for its next start, by its policy as it is now. */
static json_t *plan_to_go_on(const struct resident *r, const struct object *o)
{
    enum guest_phase phase = guest_unit_phase(r->unit);
    return phase == GUEST_PHASE_RUNNING || phase == GUEST_PHASE_INCOMING ? guest_plan_found(o) : NULL;
}

static void plan(struct guests *g, struct resident *r, const struct object *o)
{
    recall(r, o);
    bool deleting = json_is_true(json_object_get(o->value, "deleting"));
    if (deleting || is_off(r, o) || !json_is_true(object_spec(o, "running"))) {
        r->waits = (struct err){0};
        r->holds = r->found = false;
        r->held_ms = 0;
        guest_unit_want(r->unit, NULL);
        if (json_is_true(json_object_get(o->value, "hurry")) || deleting)
            guest_unit_hurry(r->unit);
        return;
    }
    struct err waits = {0};
    const struct object *arrival = arrival_of(g, o);
    take_over(r, o, arrival);
    r->holds = !arrival && (must_hold(g, r, o, &waits) || must_wait(g, r, o, &waits));
    if (!r->holds) {
        r->held_ms = 0;
        waits = (struct err){0};
    }
    json_t *p = r->holds ? NULL : guest_plan(cluster_mirror(g->cluster), o, g->plan_place, &waits);
    p = p ? p : plan_to_go_on(r, o);
    add_arrival(p, arrival);
    if (p && !arrival && migration_of(cluster_mirror(g->cluster), o))
        json_object_set_new(p, "held", json_true()); /* it may change hands any moment */
    bool news = strcmp(waits.text, r->waits.text);
    r->waits = waits;
    if (p)
        guest_unit_want(r->unit, p);
    json_decref(p);
    if (news)
        tell(g, r);
}

/* Gone from here when nothing is left of it. */
static bool leave(struct guests *g, struct resident *r, const struct object *o)
{
    if (guest_unit_phase(r->unit) != GUEST_PHASE_STOPPED || guest_unit_busy(r->unit))
        return false;
    remove_files(g, guest_unit_id(r->unit));
    if (o && is_ours(g, o))
        report_deleted(g->report, o);
    discard(r);
    return true;
}

static void evaluate(struct loop_job *job)
{
    struct guests *g = CONTAINER_OF(job, struct guests, job);
    const struct mirror *m = cluster_mirror(g->cluster);
    if (!cluster_is_current(g->cluster))
        return;
    for (const struct object *o = mirror_next(m, OBJECT_GUEST, NULL); o; o = mirror_next(m, OBJECT_GUEST, o->name)) {
        bool stays = is_ours(g, o) || arrival_of(g, o);
        struct resident *r = stays ? find(g, o->id) : NULL;
        if (stays && !r && (r = admit(g, o->id)))
            tell(g, r);
    }
    struct resident *r, *next;
    for (r = LIST_FIRST(&g->residents); r; r = next) {
        next = LIST_NEXT(r, link);
        const struct object *o = object_of(g, r);
        bool stays = o && (is_ours(g, o) || arrival_of(g, o));
        if (stays)
            plan(g, r, o);
        else if (o && migration_followed(m, o, g->plan_place->node))
            guest_unit_let_go(r->unit); /* its last pages are here still */
        else if (o)
            guest_unit_drop(r->unit); /* it is another node's, and runs there or may */
        else
            guest_unit_want(r->unit, NULL);
        if (!stays)
            forget_off(r);
        if (!stays || json_is_true(json_object_get(o->value, "deleting")))
            leave(g, r, o);
    }
}

static void object_changed(struct mirror_listener *listener, const struct object *object, enum object_part part)
{
    struct guests *g = CONTAINER_OF(listener, struct guests, listener);
    bool said = object->kind == OBJECT_VOLUME || object->kind == OBJECT_IMAGE || /* where its bytes are */
                object->kind == OBJECT_MEMBER || object->kind == OBJECT_NODE ||
                object->kind == OBJECT_MIGRATION; /* that it has ended */
    bool ours = object->kind == OBJECT_GUEST && object->value && is_ours(g, object);
    struct resident *r = ours && part == OBJECT_STATE && object->state ? find(g, object->id) : NULL;
    if (r && strcmp(member_text(object->state, "node"), g->plan_place->node) != 0)
        tell(g, r); /* the last words of a node that had it, and was away since */
    bool matters = object->kind != OBJECT_TOKEN && object->kind != OBJECT_TASK;
    if (matters && (part == OBJECT_VALUE || said))
        loop_defer(g->place->loop, &g->job);
}

/* ---- tenure ---- */

void guests_tenure(struct guests *g)
{
    struct resident *r;
    LIST_FOREACH (r, &g->residents, link) {
        const struct object *o = object_of(g, r);
        bool here = o && (is_ours(g, o) || arrival_of(g, o)); /* one that comes does not run before it is ours */
        if (here && cluster_is_current(g->cluster))
            guest_unit_tell_deadline(r->unit);
        if (r->holds)
            loop_defer(g->place->loop, &g->job);
    }
}

bool guests_are_bound(const struct guests *g)
{
    struct resident *r;
    LIST_FOREACH (r, &g->residents, link)
        if (guest_unit_is_bound(r->unit))
            return true;
    return false;
}

unsigned guests_frozen(const struct guests *g)
{
    unsigned frozen = 0;
    struct resident *r;
    LIST_FOREACH (r, &g->residents, link)
        frozen += guest_unit_is_frozen(r->unit);
    return frozen;
}

/* ---- life ---- */

/* Guests whose processes run but whom the cluster does not know any more: they are taken in, and taken down. */
static void admit_strangers(struct guests *g)
{
    DIR *directory = opendir(g->place->directory);
    struct dirent *entry;
    while (directory && (entry = readdir(directory))) {
        char *dot = strrchr(entry->d_name, '.');
        if (!dot || strcmp(dot, ".sock"))
            continue;
        *dot = 0;
        struct resident *r = find(g, entry->d_name) ? NULL : admit(g, entry->d_name);
        if (r)
            r->found = true;
    }
    if (directory)
        closedir(directory);
}

struct guests *guests_new(struct cluster *cluster, struct report *report, const struct guest_place *place,
                          const struct guest_plan_place *plan_place, struct err *err)
{
    struct guests *g = calloc(1, sizeof *g);
    if (!g) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    g->cluster = cluster;
    g->report = report;
    g->place = place;
    g->plan_place = plan_place;
    g->handler = (struct guest_unit_handler){.changed = unit_changed, .off = unit_off};
    g->listener.changed = object_changed;
    g->job.run = evaluate;
    LIST_INIT(&g->residents);
    g->order = start_order_new(cluster_mirror(cluster), plan_place->node);
    if (!g->order) {
        err_set(err, ENOMEM, "out of memory");
        free(g);
        return NULL;
    }
    admit_strangers(g);
    mirror_listen(cluster_mirror(cluster), &g->listener);
    loop_defer(place->loop, &g->job);
    return g;
}

void guests_free(struct guests *g)
{
    struct resident *r;
    if (!g)
        return;
    mirror_unlisten(&g->listener);
    while ((r = LIST_FIRST(&g->residents))) {
        discard(r);
    }
    start_order_free(g->order);
    loop_forget(g->place->loop, &g->job);
    free(g);
}

void guests_look(struct guests *g)
{
    loop_defer(g->place->loop, &g->job);
}

void guests_watch(struct guests *g, void (*watcher)(void *context), void *context)
{
    g->watcher = watcher;
    g->watcher_context = context;
}

struct guest_unit *guests_find(struct guests *g, const char *id)
{
    struct resident *r = find(g, id);
    return r ? r->unit : NULL;
}

const char *guests_trouble(struct guests *g, const struct guest_unit *unit)
{
    const struct resident *r = find(g, guest_unit_id(unit));
    enum guest_phase phase = guest_unit_phase(unit);
    if (!r || r->holds || phase == GUEST_PHASE_RUNNING || phase == GUEST_PHASE_INCOMING ||
        phase == GUEST_PHASE_STOPPING || r->waits.code == EINPROGRESS)
        return "";
    return *guest_unit_reason(unit) ? guest_unit_reason(unit) : r->waits.text;
}

void guests_note(struct guests *g, const struct guest_unit *unit, json_t *stuck)
{
    struct resident *r = find(g, guest_unit_id(unit));
    bool same = !r || (stuck && r->stuck ? json_equal(stuck, r->stuck) : stuck == r->stuck);
    if (same) {
        json_decref(stuck);
        return;
    }
    json_decref(r->stuck);
    r->stuck = stuck;
    tell(g, r);
}

struct guest_unit *guests_next(struct guests *g, const struct guest_unit *after)
{
    struct resident *r = LIST_FIRST(&g->residents);
    while (after && r && r->unit != after)
        r = LIST_NEXT(r, link);
    if (after && r)
        r = LIST_NEXT(r, link);
    return r ? r->unit : NULL;
}
