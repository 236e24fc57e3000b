#include "node/agent/give_aways.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "node/agent/audit.h"
#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/drill.h"
#include "node/agent/failover_view.h"
#include "node/agent/failovers.h"
#include "node/agent/give_away.h"
#include "node/agent/guest_unit.h"
#include "node/agent/guests.h"
#include "node/agent/member.h"
#include "node/agent/member_probe.h"
#include "node/agent/migration.h"
#include "node/agent/restart.h"
#include "node/agent/task.h"
#include "node/agent/tenure.h"
#include "node/agent/volume_member.h"
#include "node/base/clock.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/store.h"
#include "node/base/timestamp.h"

enum { ID_MAX = 64, LOOK_MS = 400, WHY_MAX = 256 };

/* A guest of this node that does not run as it is to. */
struct stuck {
    struct give_aways *aways;
    char id[ID_MAX], at[TIMESTAMP_BYTES], target[ID_MAX];
    char why[WHY_MAX]; /* as it was when its process ended */
    enum give_away_cause cause;
    uint64_t since_ms;
    bool yields; /* its process has ended, or is to, for it to be given away */
    bool busy;   /* the store was asked */
    bool seen;
    LIST_ENTRY(stuck) link;
};

struct give_aways {
    struct give_aways_place place;
    uint64_t looked_ms, done;
    unsigned busy;
    LIST_HEAD(, stuck) all;
};

/* ---- what is seen ---- */

static const struct mirror *mirror_of(const struct give_aways *a)
{
    return cluster_mirror(a->place.cluster);
}

static bool is_ours(const struct give_aways *a, const struct object *guest)
{
    return guest && guest->value && !strcmp(object_spec_text(guest, "node"), cluster_node(a->place.cluster));
}

/* Of this node, protected and wanted; else NULL. */
static const struct object *guest_of(const struct give_aways *a, const char *id)
{
    const struct object *o = mirror_find(mirror_of(a), OBJECT_GUEST, id);
    bool is = is_ours(a, o) && json_is_true(object_spec(o, "ha")) && json_is_true(object_spec(o, "running")) &&
              !json_is_true(json_object_get(o->value, "deleting"));
    return is ? o : NULL;
}

/* As its process, which is of this node, says. */
static bool stands(const struct give_aways *a, const struct object *volume)
{
    const char *health = member_text(volume->state, "health");
    return !strcmp(member_text(volume->state, "node"), cluster_node(a->place.cluster)) &&
           (!strncmp(health, "suspended", 9) || !strncmp(health, "dead", 4));
}

static bool all_volumes_stand(const struct give_aways *a, const struct object *guest)
{
    const json_t *disks = object_spec(guest, "disks");
    for (size_t i = 0; i < json_array_size(disks); i++) {
        const struct object *volume =
            mirror_named(mirror_of(a), OBJECT_VOLUME, member_text(json_array_get(disks, i), "volume"));
        if (!volume || !stands(a, volume))
            return false;
    }
    return json_array_size(disks) > 0;
}

static enum give_away_cause cause_of(const struct give_aways *a, const struct guest_unit *u, const struct object *guest)
{
    const struct restart_record *r = guest_unit_restarts(u);
    if (guest_unit_phase(u) == GUEST_PHASE_RUNNING)
        return all_volumes_stand(a, guest) ? GIVE_AWAY_VOLUMES : GIVE_AWAY_NONE;
    if (!*guests_trouble(a->place.guests, u))
        return GIVE_AWAY_NONE;
    if (!r->down)
        return GIVE_AWAY_NO_START;
    /* what panics and hangs does so anywhere, and what is to stop stops */
    struct restart_policy policy = restart_policy_of(json_object_get(guest->value, "spec"));
    return r->cause == RESTART_CRASHED && policy.on[r->cause] == RESTART_AGAIN ? GIVE_AWAY_CRASHES : GIVE_AWAY_NONE;
}

/* Given away for that, and nobody has asked for its start since. */
static bool is_repeated(const struct stuck *s, const struct object *guest)
{
    const json_t *last = json_object_get(guest->value, "failover");
    return s->cause == GIVE_AWAY_CRASHES && !strcmp(member_text(last, "cause"), give_away_cause_name(s->cause)) &&
           !strcmp(member_text(last, "asked"), member_text(guest->value, "started"));
}

/* A drill that has this node, or this guest; NULL: none. */
static const char *drill_with(const struct give_aways *a, const struct object *guest)
{
    const struct object *d = mirror_next(mirror_of(a), OBJECT_DRILL, NULL);
    for (; d; d = mirror_next(mirror_of(a), OBJECT_DRILL, d->name))
        if (!drill_has_ended(d) && (!strcmp(object_spec_text(d, "node"), cluster_node(a->place.cluster)) ||
                                    drill_is_canary(json_object_get(d->value, "spec"), guest->name)))
            return d->name;
    return NULL;
}

static void find_reach(const struct mirror *m, const struct object *guest, const struct object *node,
                       struct give_away_reach *reach)
{
    const json_t *disks = object_spec(guest, "disks"), *reaches = json_object_get(node->state, "reaches");
    unsigned at = 0; /* of those with a layout, as failover_view.c counts them */
    *reach = (struct give_away_reach){0};
    for (size_t i = 0; i < json_array_size(disks) && at < FAILOVER_DISKS_MAX; i++) {
        const struct object *v = mirror_named(m, OBJECT_VOLUME, member_text(json_array_get(disks, i), "volume"));
        struct layout l;
        if (!v || !volume_layout(v, &l))
            continue;
        for (int k = WITNESS; k < (int)l.members; k++) {
            const struct object *member = volume_member_at(m, v->id, k);
            bool is = member && member_probe_is_reached(reaches, member_text(member->state, "uri"));
            if (k == WITNESS)
                reach->witness[at] = is;
            else
                reach->members[at] |= (uint16_t)(is << k);
        }
        at++;
    }
}

/* ---- giving ---- */

static void committed(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct stuck *s = context;
    (void)revision;
    s->busy = false;
    s->aways->busy--;
    if (!rc)
        s->aways->done++;
    if (!rc)
        log_warn("guest %s is node %s's now", s->id, s->target);
    else if (rc == -ESTALE)
        log_info("guest %s was not given away: it, node %s or the cluster has changed meanwhile", s->id, s->target);
    else
        log_warn("guest %s was not given away to %s: %s", s->id, s->target, err->text);
}

static void note(const struct give_aways *a, const struct object *guest, const char *why)
{
    char path[256];
    snprintf(path, sizeof path, "/v1/guests/%s", guest->name);
    audit_write_own(a->place.audit, cluster_node(a->place.cluster), "PATCH", path, guest->name, why);
}

/* What the target is to know of its restarts: those that were used up here do not count there. */
static json_t *restarts_of(const struct stuck *s, const struct object *guest)
{
    json_t *r = json_deep_copy(json_object_get(guest->state, "restarts"));
    if (r && s->cause == GIVE_AWAY_CRASHES) {
        json_object_set_new(r, "down", json_false());
        json_object_set_new(r, "recent", json_integer(0));
    }
    return r;
}

static void give(struct give_aways *a, struct stuck *s, const struct object *guest, const struct object *target)
{
    const struct object *record = failover_record(mirror_of(a));
    struct change *change = change_new(a->place.cluster);
    char why[WHY_MAX + 128];
    if (!change)
        return;
    snprintf(why, sizeof why, "node %s could not run it: %s", cluster_node(a->place.cluster), s->why);
    snprintf(s->target, sizeof s->target, "%s", target->name);
    log_warn("guest %s is given to node %s: %s", guest->name, target->name, why);
    json_t *value = failover_handed(guest, target->name, why), *last = json_object_get(value, "failover");
    json_object_set_new(last, "cause", json_string(give_away_cause_name(s->cause)));
    json_object_set_new(last, "asked", json_string(member_text(guest->value, "started")));
    json_t *task = task_make(TASK_FAILOVER, value, target->name, "drover");
    change_put(change, OBJECT_GUEST, guest->id, value, guest->revision);
    change_check_state(change, OBJECT_NODE, target->id, target->state_revision);
    change_check(change, OBJECT_FAILOVER, FAILOVER_RECORD, record ? record->revision : 0);
    change_put_state(change, OBJECT_GUEST, guest->id,
                     json_pack("{s:s, s:s, s:s, s:i, s:o*}", "node", target->name, "phase", "preparing", "reason",
                               "given away by a node that could not run it", "pid", 0, "restarts",
                               restarts_of(s, guest)),
                     STORE_ANY);
    if (task)
        change_put(change, OBJECT_TASK, member_text(task, "id"), task, 0);
    note(a, guest, why);
    s->busy = true;
    a->busy++;
    change_commit(change, committed, s);
}

/* ---- deciding ---- */

static bool has_ended(const struct guest_unit *u)
{
    enum guest_phase phase = guest_unit_phase(u);
    return !guest_unit_pid(u) && !guest_unit_busy(u) &&
           (phase == GUEST_PHASE_STOPPED || phase == GUEST_PHASE_WAITING || phase == GUEST_PHASE_FAILED);
}

static const struct failover_guest *in_view(const struct failover_scene *scene, const struct object *guest)
{
    for (unsigned i = 0; i < scene->view.guest_count; i++)
        if (scene->objects[i] == guest)
            return &scene->view.guests[i];
    return NULL;
}

static struct give_away_decision decide(struct give_aways *a, const struct stuck *s, const struct guest_unit *u,
                                        const struct object *guest, struct failover_scene *scene)
{
    struct give_away_reach reach[FAILOVER_NODES_MAX];
    struct failover_view *v = &scene->view;
    const struct failover_guest *g = in_view(scene, guest);
    if (!g)
        return (struct give_away_decision){GIVE_AWAY_STAYS, FAILOVER_NOBODY, ""};
    for (int n = 0; n < v->node_count; n++)
        find_reach(mirror_of(a), guest, scene->nodes[n], &reach[n]);
    struct failover_guest asked = *g;
    asked.cool_ms = failovers_cool_ms(a->place.failovers, guest);
    const struct give_away_case seen = {.cause = s->cause,
                                        .for_ms = clock_ms() - s->since_ms,
                                        .ended = s->yields && has_ended(u),
                                        .is_repeated = is_repeated(s, guest),
                                        .migrates = migration_of(mirror_of(a), guest),
                                        .drill = drill_with(a, guest),
                                        .forbidden = tenure_forbids(a->place.tenure, clock_boot_ns()),
                                        .reach = reach};
    struct give_away_decision d = give_away_decide(v, &asked, &seen);
    if (d.target != FAILOVER_NOBODY)
        failover_promise(v, d.target, g); /* those that follow do not count on that room */
    return d;
}

static void tell(struct give_aways *a, const struct stuck *s, struct guest_unit *u, const char *waits)
{
    json_t *told = NULL;
    if (clock_ms() - s->since_ms >= GIVE_AWAY_ASK_MS)
        told = json_pack("{s:s, s:s, s:s, s:s}", "cause", give_away_cause_name(s->cause), "since", s->at, "reason",
                         s->why, "waits", waits);
    guests_note(a->place.guests, u, told);
}

/* From now on it is as if it had just happened. */
static void begin(struct stuck *s, enum give_away_cause cause)
{
    s->cause = cause;
    s->since_ms = clock_ms();
    timestamp(s->at);
}

static void act(struct give_aways *a, struct stuck *s, struct guest_unit *u, const struct object *guest,
                struct failover_scene *scene)
{
    struct give_away_decision d = {GIVE_AWAY_STAYS, FAILOVER_NOBODY, ""};
    if (scene)
        d = decide(a, s, u, guest, scene);
    tell(a, s, u, d.reason);
    if (d.verdict == GIVE_AWAY_GIVES) {
        give(a, s, guest, scene->nodes[d.target]);
    } else if (d.verdict == GIVE_AWAY_ENDS) {
        if (!s->yields)
            log_warn("guest %s: cannot run here for %llu s, and ends to be given to node %s: %s", guest->name,
                     (unsigned long long)(clock_ms() - s->since_ms) / 1000, scene->nodes[d.target]->name, s->why);
        s->yields = true;
        guest_unit_yield(u, true);
    } else if (s->yields) {
        log_warn("guest %s: is tried here again: %s", guest->name, d.reason);
        s->yields = false;
        begin(s, s->cause);
        guest_unit_yield(u, false);
    }
}

/* ---- looking ---- */

static struct stuck *find(struct give_aways *a, const char *id)
{
    struct stuck *s;
    LIST_FOREACH (s, &a->all, link)
        if (!strcmp(s->id, id))
            return s;
    return NULL;
}

static struct stuck *admit(struct give_aways *a, const char *id)
{
    struct stuck *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->aways = a;
    snprintf(s->id, sizeof s->id, "%s", id);
    LIST_INSERT_HEAD(&a->all, s, link);
    return s;
}

static void forget(struct stuck *s)
{
    LIST_REMOVE(s, link);
    free(s);
}

/* Its guest is stuck still, or newly. */
static void look_at(struct give_aways *a, struct guest_unit *u)
{
    const struct object *guest = guest_of(a, guest_unit_id(u));
    struct stuck *s = find(a, guest_unit_id(u));
    if (s && (s->busy || (s->yields && guest))) {
        s->seen = true;
        return;
    }
    enum give_away_cause cause = guest ? cause_of(a, u, guest) : GIVE_AWAY_NONE;
    if (cause == GIVE_AWAY_NONE)
        return;
    s = s ? s : admit(a, guest_unit_id(u));
    if (!s)
        return;
    s->seen = true;
    if (s->cause != cause || !tenure_runs(a->place.tenure, clock_boot_ns()))
        begin(s, cause);
    snprintf(s->why, sizeof s->why, "%s",
             cause == GIVE_AWAY_VOLUMES ? "its volumes take no requests: too few of their members are reached from here"
                                        : guests_trouble(a->place.guests, u));
}

static void sweep(struct give_aways *a)
{
    struct stuck *s, *next;
    for (s = LIST_FIRST(&a->all); s; s = next) {
        next = LIST_NEXT(s, link);
        struct guest_unit *u = guests_find(a->place.guests, s->id);
        if (s->seen || s->busy)
            continue; /* the answer of the store, which may come after its guest has gone, is about it */
        if (u)
            guests_note(a->place.guests, u, NULL);
        if (u && s->yields && is_ours(a, mirror_find(mirror_of(a), OBJECT_GUEST, s->id)))
            guest_unit_yield(u, false); /* of one that has left nothing is to be started */
        forget(s);
    }
}

void give_aways_tick(struct give_aways *a)
{
    struct failover_scene scene;
    struct stuck *s;
    uint64_t now = clock_ms(), longest = 0;
    if (!cluster_is_current(a->place.cluster) || now - a->looked_ms < LOOK_MS)
        return;
    a->looked_ms = now;
    LIST_FOREACH (s, &a->all, link)
        s->seen = false;
    for (struct guest_unit *u = guests_next(a->place.guests, NULL); u; u = guests_next(a->place.guests, u))
        look_at(a, u);
    sweep(a);
    if (a->busy)
        return; /* what is on its way to the store is not seen yet where it goes */
    LIST_FOREACH (s, &a->all, link)
        longest = now - s->since_ms > longest ? now - s->since_ms : longest;
    bool due =
        longest >= GIVE_AWAY_AFTER_MS &&
        failover_scene_make(&scene, mirror_of(a), failovers_probe(a->place.failovers), cluster_node(a->place.cluster));
    LIST_FOREACH (s, &a->all, link) {
        struct guest_unit *u = guests_find(a->place.guests, s->id);
        const struct object *guest = guest_of(a, s->id);
        if (u && guest)
            act(a, s, u, guest, due ? &scene : NULL);
    }
    if (due)
        failover_scene_free(&scene);
}

/* ---- life ---- */

struct give_aways *give_aways_new(const struct give_aways_place *place, struct err *err)
{
    struct give_aways *a = calloc(1, sizeof *a);
    if (!a) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    a->place = *place;
    LIST_INIT(&a->all);
    return a;
}

void give_aways_free(struct give_aways *a)
{
    struct stuck *s;
    while (a && (s = LIST_FIRST(&a->all)))
        forget(s);
    free(a);
}

bool give_aways_busy(const struct give_aways *a)
{
    return a && a->busy;
}

uint64_t give_aways_done(const struct give_aways *a)
{
    return a->done;
}

unsigned give_aways_stuck(const struct give_aways *a)
{
    const struct stuck *s;
    unsigned n = 0;
    LIST_FOREACH (s, &a->all, link)
        n += clock_ms() - s->since_ms >= GIVE_AWAY_ASK_MS;
    return n;
}
