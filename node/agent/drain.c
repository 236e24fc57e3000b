#include "node/agent/drain.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "node/agent/balance_moves.h"
#include "node/agent/cluster.h"
#include "node/agent/drain_volumes.h"
#include "node/agent/member.h"
#include "node/agent/migration.h"
#include "node/agent/migration_start.h"
#include "node/agent/migration_volumes.h"
#include "node/agent/placement.h"
#include "node/agent/placement_room.h"
#include "node/agent/presence.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"

enum { AT_ONCE = 2, AGAIN_MS = 30000, LOOK_MS = 2000, MAX_DOWNTIME_MS = 300, WITHIN_S = 3600, WITH_VOLUMES_S = 86400 };

/* A guest that was sent away, or cannot go; it is not looked at again before that. */
struct sent {
    struct drain *drain;
    char *guest; /* its id */
    uint64_t again_ms;
    bool starting;
    char *stays; /* why no node takes it; NULL: it is not so */
    LIST_ENTRY(sent) link;
};

struct drain {
    struct loop *loop;
    struct cluster *cluster;
    struct presence *presence;
    struct drain_volumes *volumes;
    const char *state;
    struct mirror_listener listener;
    struct loop_job job;
    struct loop_timer timer;
    struct log_limit limit;
    LIST_HEAD(, sent) all;
};

static struct sent *find(struct drain *d, const char *guest)
{
    struct sent *s;
    LIST_FOREACH (s, &d->all, link)
        if (!strcmp(s->guest, guest))
            return s;
    return NULL;
}

static void free_sent(struct sent *s)
{
    free(s->guest);
    free(s->stays);
    free(s);
}

static void forget(struct sent *s)
{
    LIST_REMOVE(s, link);
    free_sent(s);
}

static struct sent *remember(struct drain *d, const char *guest)
{
    struct sent *s = find(d, guest);
    if (s)
        return s;
    s = calloc(1, sizeof *s);
    if (!s || !(s->guest = strdup(guest))) {
        free(s);
        return NULL;
    }
    s->drain = d;
    LIST_INSERT_HEAD(&d->all, s, link);
    return s;
}

/* why: NULL: a node takes it. */
static void note(struct sent *s, const char *why)
{
    free(s->stays);
    s->stays = why ? strdup(why) : NULL;
}

/* In the order of their names, so that it is the same as long as nothing changes. */
static void say_who_stays(struct drain *d)
{
    const struct mirror *m = cluster_mirror(d->cluster);
    json_t *staying = json_object();
    for (const struct object *g = LIST_EMPTY(&d->all) ? NULL : mirror_next(m, OBJECT_GUEST, NULL);
         g && json_object_size(staying) < DRAIN_STAYING_MAX; g = mirror_next(m, OBJECT_GUEST, g->name)) {
        const struct sent *s = find(d, g->id);
        if (s && s->stays && migration_may_begin(m, g))
            json_object_set_new(staying, g->name, json_string(s->stays));
    }
    presence_say(d->presence, "staying", staying);
}

static void started(void *context, int rc, const struct task_started *what, const struct err *err)
{
    struct sent *s = context;
    (void)what;
    s->starting = false;
    if (rc == -EAGAIN || rc == -ESTALE)
        s->again_ms = clock_ms() + LOOK_MS; /* somebody else was quicker: another choice */
    else if (rc)
        log_warn("guest %s is to leave this drained node: %s", s->guest, err->text);
    if (s->drain) {
        loop_defer(s->drain->loop, &s->drain->job);
        return;
    }
    free_sent(s); /* the agent ends */
}

/* With what its volumes have here, if they are to leave, too, and a node takes both; else alone: what it leaves behind
 * follows where it can. */
static const struct object *destination(struct drain *d, const struct object *guest, struct placement_room *room,
                                        struct migration_goals *goals, char *why)
{
    const struct mirror *m = cluster_mirror(d->cluster);
    const struct placement_guest rules = placement_guest_of(guest, true);
    const struct object *to = goals->with_volumes ? migration_volumes_node(m, guest, room) : NULL;
    goals->with_volumes = to;
    goals->within_s = to ? WITH_VOLUMES_S : WITHIN_S;
    const struct placement_choice choice = {.except = cluster_node(d->cluster), .room = room};
    return to ? to : placement_choose(m, &rules, &choice, why);
}

/* True: one more is under way. A guest that may go nowhere is asked about again when the next look is due: most of what
 * changes meanwhile makes no room. */
static bool send_away(struct drain *d, const struct object *guest, struct placement_room *room, bool with_volumes)
{
    struct migration_goals goals = {.max_downtime_ms = MAX_DOWNTIME_MS,
                                    .with_volumes = with_volumes,
                                    .post_copy = migration_post_copy(guest) == MIGRATION_POST_COPY_ALLOWED};
    char by[80], why[PLACEMENT_WHY_MAX] = "";
    const struct object *to = destination(d, guest, room, &goals, why);
    struct err err = {0};
    struct sent *s = remember(d, guest->id);
    if (!to)
        log_limited(&d->limit, LOG_LEVEL_WARN, "guest %s stays on this drained node: %s", guest->name, why);
    if (s) {
        s->again_ms = clock_ms() + (to ? AGAIN_MS : LOOK_MS);
        note(s, to ? NULL : why);
    }
    if (!s || !to)
        return false;
    s->starting = true;
    snprintf(by, sizeof by, "node:%.60s", cluster_node(d->cluster));
    if (!migration_start(d->cluster, d->state, guest, to->name, &goals, by, NULL, started, s, &err))
        return true;
    s->starting = false;
    log_warn("guest %s is to leave this drained node: %s", guest->name, err.text);
    return false;
}

static bool is_ours(const struct drain *d, const struct object *guest)
{
    return !strcmp(object_spec_text(guest, "node"), cluster_node(d->cluster));
}

static bool may_go(struct drain *d, const struct object *guest)
{
    const struct mirror *m = cluster_mirror(d->cluster);
    struct sent *s = find(d, guest->id);
    return migration_may_begin(m, guest) && (!s || (!s->starting && clock_ms() >= s->again_ms)) &&
           !(s && s->stays && balance_moves_has(m, guest));
}

static unsigned under_way(struct drain *d)
{
    const struct mirror *m = cluster_mirror(d->cluster);
    unsigned n = 0;
    struct sent *s;
    for (const struct object *g = mirror_next(m, OBJECT_GUEST, NULL); g; g = mirror_next(m, OBJECT_GUEST, g->name))
        n += is_ours(d, g) ? migration_of(m, g) != NULL : migration_followed(m, g, cluster_node(d->cluster)) != NULL;
    LIST_FOREACH (s, &d->all, link)
        n += s->starting;
    return n;
}

/* May one begin now? One after the other: what room one takes where it goes is seen by the next when it is in the
 * store. */
static bool may_begin(struct drain *d)
{
    bool starting = drain_volumes_starting(d->volumes);
    const struct sent *s;
    LIST_FOREACH (s, &d->all, link)
        starting |= s->starting;
    return !starting && under_way(d) + drain_volumes_under_way(d->volumes) < AT_ONCE;
}

/* Those that have arrived, or are gone. */
static void forget_others(struct drain *d, bool drained)
{
    const struct mirror *m = cluster_mirror(d->cluster);
    struct sent *s, *next;
    for (s = LIST_FIRST(&d->all); s; s = next) {
        next = LIST_NEXT(s, link);
        const struct object *g = mirror_find(m, OBJECT_GUEST, s->guest);
        if (!s->starting && (!drained || !g || !g->value || !is_ours(d, g)))
            forget(s);
    }
}

static void send_guests_away(struct drain *d, const struct object *node)
{
    const struct mirror *m = cluster_mirror(d->cluster);
    bool volumes = json_is_true(object_spec(node, "drain_volumes"));
    struct placement_room room = {0}; /* of all that are looked at now */
    bool may = may_begin(d);
    for (const struct object *g = mirror_next(m, OBJECT_GUEST, NULL); g && may;
         g = mirror_next(m, OBJECT_GUEST, g->name))
        may = !is_ours(d, g) || !may_go(d, g) || !send_away(d, g, &room, volumes);
    placement_room_fini(&room);
    if (volumes && may)
        drain_volumes_go(d->volumes);
    loop_timer_set(d->loop, &d->timer, clock_ns() + LOOK_MS * 1000000ull);
}

static void evaluate(struct loop_job *job)
{
    struct drain *d = CONTAINER_OF(job, struct drain, job);
    const struct object *node = mirror_named(cluster_mirror(d->cluster), OBJECT_NODE, cluster_node(d->cluster));
    bool drained = node && json_is_true(object_spec(node, "drained"));
    if (!cluster_is_current(d->cluster))
        return;
    forget_others(d, drained);
    if (drained)
        send_guests_away(d, node);
    say_who_stays(d);
}

static void timer_fired(struct loop_timer *timer)
{
    struct drain *d = CONTAINER_OF(timer, struct drain, timer);
    loop_defer(d->loop, &d->job);
}

static void object_changed(struct mirror_listener *listener, const struct object *object, enum object_part part)
{
    struct drain *d = CONTAINER_OF(listener, struct drain, listener);
    (void)part;
    if (object->kind == OBJECT_GUEST || object->kind == OBJECT_NODE || object->kind == OBJECT_VOLUME_MOVE)
        loop_defer(d->loop, &d->job);
}

struct drain *drain_new(struct loop *loop, struct cluster *cluster, struct presence *presence, const char *state,
                        struct err *err)
{
    struct drain *d = calloc(1, sizeof *d);
    if (!d) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    d->volumes = drain_volumes_new(cluster, err);
    if (!d->volumes) {
        free(d);
        return NULL;
    }
    d->loop = loop;
    d->cluster = cluster;
    d->presence = presence;
    d->state = state;
    d->listener.changed = object_changed;
    d->job.run = evaluate;
    d->timer.fire = timer_fired;
    d->limit = (struct log_limit){.burst = 3, .interval_ms = 60000};
    LIST_INIT(&d->all);
    mirror_listen(cluster_mirror(cluster), &d->listener);
    loop_defer(loop, &d->job);
    return d;
}

void drain_free(struct drain *d)
{
    struct sent *s, *next;
    if (!d)
        return;
    mirror_unlisten(&d->listener);
    loop_timer_clear(d->loop, &d->timer);
    drain_volumes_free(d->volumes);
    for (s = LIST_FIRST(&d->all); s; s = next) {
        next = LIST_NEXT(s, link);
        if (!s->starting) {
            forget(s);
            continue;
        }
        LIST_REMOVE(s, link);
        s->drain = NULL; /* started() frees it */
    }
    loop_forget(d->loop, &d->job);
    free(d);
}
