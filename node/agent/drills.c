#include "node/agent/drills.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/drill.h"
#include "node/agent/drill_blast.h"
#include "node/agent/drill_canary.h"
#include "node/agent/drill_faults.h"
#include "node/agent/drill_run.h"
#include "node/agent/drill_schedule.h"
#include "node/agent/failover_view.h"
#include "node/agent/member.h"
#include "node/agent/migration.h"
#include "node/agent/migration_start.h"
#include "node/agent/presence.h"
#include "node/agent/report.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"

enum {
    MAX_DOWNTIME_MS = 300,
    WITHIN_S = 120,
    LOOK_MS = 250,
    TELL_MS = 2000 /* while nothing happens */,
    ENDED_MAX = 50,
    ID_MAX = 64
};

struct drills {
    struct loop *loop;
    struct cluster *cluster;
    struct report *report;
    const struct drill_faults_place *place;
    struct drill_canaries *canaries;
    struct drill_faults *faults;
    struct drill_schedules *schedules;
    struct mirror_listener listener;
    struct loop_job job;
    struct loop_timer timer;
    int udp;
    uint64_t epoch_ms;     /* time of day less the monotonic clock, as of the beginning */
    bool stopped, is_sent; /* is_sent: the canary of this drill that is to move */
    unsigned changes;      /* changes on their way */
    /* the drill that this node conducts: */
    char id[ID_MAX]; /* "": none */
    struct drill_run run;
    json_t *state;
    uint64_t told_ms;
    struct drill_sight sights[DRILL_GUESTS_MAX];
};

static uint64_t now_ms(const struct drills *d)
{
    return d->epoch_ms + clock_ms();
}

/* ---- what is seen ---- */

static bool is_wanted(const struct object *guest)
{
    return json_is_true(object_spec(guest, "running")) && !json_is_true(json_object_get(guest->value, "deleting"));
}

static bool does_run(const struct mirror *m, const struct object *guest)
{
    const char *node = object_spec_text(guest, "node");
    return !strcmp(member_text(guest->state, "phase"), "running") && !strcmp(member_text(guest->state, "node"), node) &&
           !json_is_true(json_object_get(guest->state, "frozen")) &&
           presence_is_alive(mirror_named(m, OBJECT_NODE, node));
}

static int64_t number(const json_t *json, const char *key)
{
    return json_integer_value(json_object_get(json, key));
}

static void see(struct drills *d, const struct object *drill)
{
    const struct mirror *m = cluster_mirror(d->cluster);
    for (unsigned i = 0; i < d->run.guest_count; i++) {
        struct drill_guest *g = &d->run.guests[i];
        const struct object *o = *g->id ? mirror_find(m, OBJECT_GUEST, g->id) : mirror_named(m, OBJECT_GUEST, g->name);
        d->sights[i] = (struct drill_sight){.is_there = false, .node = ""};
        if (!o || !o->value)
            continue;
        snprintf(g->id, sizeof g->id, "%s", o->id);
        const struct object *word = mirror_find(m, OBJECT_CANARY, o->id);
        d->sights[i] = (struct drill_sight){.is_there = is_wanted(o),
                                            .runs = does_run(m, o),
                                            .node = object_spec_text(o, "node"),
                                            .failovers = failover_count(o),
                                            .pid = number(o->state, "pid")};
        if (!word || strcmp(member_text(word->state, "drill"), drill->name) != 0 ||
            strcmp(member_text(word->state, "node"), d->sights[i].node) != 0)
            continue; /* of another drill, or late, from a node whose guest it is not any more */
        d->sights[i].has_spoken = true;
        d->sights[i].start = number(word->state, "start");
        d->sights[i].acked = number(word->state, "acked");
        d->sights[i].had = number(word->state, "had");
        d->sights[i].holes = number(word->state, "holes");
    }
}

static bool is_followed(const struct drills *d, const struct object *guest)
{
    for (unsigned i = 0; i < d->run.guest_count; i++)
        if (!strcmp(d->run.guests[i].id, guest->id))
            return true;
    return false;
}

static void count(const struct drills *d, struct drill_view *v)
{
    const struct mirror *m = cluster_mirror(d->cluster);
    for (const struct object *g = mirror_next(m, OBJECT_GUEST, NULL); g; g = mirror_next(m, OBJECT_GUEST, g->name))
        v->others_down += is_wanted(g) && !does_run(m, g) && !is_followed(d, g);
    for (const struct object *n = mirror_next(m, OBJECT_NODE, NULL); n; n = mirror_next(m, OBJECT_NODE, n->name))
        v->nodes_away += strcmp(n->name, d->run.node) && !presence_is_alive(n);
    for (const struct object *o = mirror_next(m, OBJECT_VOLUME, NULL); o; o = mirror_next(m, OBJECT_VOLUME, o->name)) {
        const char *health = member_text(o->state, "health");
        v->volumes_suspended += !strcmp(health, "suspended") || !strcmp(health, "dead");
    }
}

/* ---- ending a fault early ---- */

static void send_end(struct drills *d, const struct object *drill)
{
    const struct object *node = mirror_named(cluster_mirror(d->cluster), OBJECT_NODE, d->run.node);
    const char *address = node ? object_spec_text(node, "address") : "";
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(FAULT_PORT)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(FAULT_PORT)};
    char text[128];
    bool is_six = inet_pton(AF_INET6, address, &six.sin6_addr) == 1;
    if (!is_six && inet_pton(AF_INET, address, &four.sin_addr) != 1)
        return;
    if (d->udp < 0)
        d->udp = socket(is_six ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int n = snprintf(text, sizeof text, "end %s", member_text(drill->value, "key"));
    if (sendto(d->udp, text, (size_t)n, MSG_NOSIGNAL, is_six ? (const void *)&six : (const void *)&four,
               is_six ? sizeof six : sizeof four) < 0 &&
        errno != ECONNREFUSED)
        log_debug("drill %s: its end cannot be sent to %s: %s", drill->name, address, strerror(errno));
}

/* ---- conducting ---- */

static void forget(struct drills *d)
{
    json_decref(d->state);
    d->state = NULL;
    d->id[0] = 0;
}

static bool take_up(struct drills *d, const struct object *drill)
{
    struct drill_blast blast;
    forget(d);
    d->is_sent = false;
    if (drill_run_read(&d->run, drill)) {
        d->state = json_deep_copy(drill->state);
        log_warn("drill %s is conducted by this node from now on: it is %s", drill->name,
                 drill_phase_name(d->run.phase));
    } else {
        if (!drill_blast_make(&blast, cluster_mirror(d->cluster), json_object_get(drill->value, "spec"), drill->id,
                              d->place->store))
            return false;
        drill_run_begin(&d->run, drill, blast.json, now_ms(d));
        d->state = json_pack("{s:o}", "blast", blast.json);
        log_warn("drill %s of node %s: %s, conducted by this node", drill->name, d->run.node,
                 object_spec_text(drill, "kind"));
    }
    if (!d->state)
        return false;
    json_object_set_new(d->state, "conductor", json_string(cluster_node(d->cluster)));
    snprintf(d->id, sizeof d->id, "%s", drill->id);
    return true;
}

static void cleaned(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct drills *d = context;
    (void)rc; /* what is left counts for no other drill */
    (void)revision;
    (void)err;
    d->changes--;
}

static void clean(struct drills *d)
{
    struct change *change = NULL;
    for (unsigned i = 0; i < d->run.guest_count; i++) {
        const struct drill_guest *g = &d->run.guests[i];
        if (!g->is_canary || !mirror_find(cluster_mirror(d->cluster), OBJECT_CANARY, g->id))
            continue;
        change = change ? change : change_new(d->cluster);
        if (change)
            change_delete_state(change, OBJECT_CANARY, g->id);
    }
    if (!change)
        return;
    d->changes++;
    change_commit(change, cleaned, d);
}

static void sent(void *context, int rc, const struct task_started *started, const struct err *err)
{
    struct drills *d = context;
    (void)started;
    d->changes--;
    if (rc == -EAGAIN || rc == -ESTALE)
        d->is_sent = false; /* something has changed in the same moment: it is looked at again */
    else if (rc)
        log_warn("the canary of a drill is not sent on its way: %s", err->text);
}

/* Once: whoever conducts next finds the migration, by its name. */
static void send_canary(struct drills *d, const struct object *drill)
{
    struct migration_goals goals = {.max_downtime_ms = MAX_DOWNTIME_MS, .within_s = WITHIN_S};
    const struct mirror *m = cluster_mirror(d->cluster);
    const json_t *spec = json_object_get(drill->value, "spec");
    const struct object *g = drill_first_guest(m, spec), *to = drill_destination(m, spec);
    char by[DRILL_BY_MAX];
    struct err err = {0};
    if (d->is_sent || drill_migration(m, drill) || !g || !to)
        return;
    d->is_sent = true;
    goals.post_copy = migration_post_copy(g) == MIGRATION_POST_COPY_ALLOWED;
    drill_by(drill, by);
    d->changes++;
    if (!migration_start(d->cluster, d->place->state, g, to->name, &goals, by, NULL, sent, d, &err))
        return;
    d->changes--;
    log_warn("drill %s: its canary is not sent on its way: %s", drill->name, err.text);
}

static bool is_moving(const struct drills *d, const struct object *drill)
{
    const struct object *m = drill_migration(cluster_mirror(d->cluster), drill);
    return m && !migration_has_ended(m);
}

static void conduct(struct drills *d, const struct object *drill)
{
    struct drill_blast blast = {.json = NULL};
    const json_t *fault = json_object_get(drill->value, "fault"), *abort = json_object_get(drill->value, "abort");
    if (strcmp(d->id, drill->id) != 0 && !take_up(d, drill))
        return;
    if (d->run.phase >= DRILL_DONE)
        return; /* and on its way to the store */
    if (d->run.phase == DRILL_DECLARED)
        drill_blast_make(&blast, cluster_mirror(d->cluster), json_object_get(drill->value, "spec"), drill->id,
                         d->place->store);
    see(d, drill);
    struct drill_view v = {
        .now_ms = now_ms(d),
        .refusal = blast.code ? blast.text : NULL,
        .abort_by = abort ? member_text(abort, "by") : NULL,
        .fault_known = fault != NULL,
        .fault_error = member_text(fault, "error"),
        .node_alive = presence_is_alive(mirror_named(cluster_mirror(d->cluster), OBJECT_NODE, d->run.node)),
        .is_moving = d->run.moves && is_moving(d, drill),
        .guests = d->sights,
    };
    count(d, &v);
    bool news = drill_run_step(&d->run, &v);
    json_decref(blast.json);
    if (d->run.phase == DRILL_RUNNING && d->run.moves && !d->run.fault_ms)
        send_canary(d, drill);
    if (d->run.phase == DRILL_HEALING)
        send_end(d, drill);
    for (unsigned i = 0; i < d->run.event_count; i++)
        log_warn("drill %s: %s", drill->name, d->run.events[i].text);
    if (!news && v.now_ms < d->told_ms + TELL_MS)
        return;
    d->told_ms = v.now_ms;
    drill_run_write(&d->run, d->state, v.now_ms);
    report_state(d->report, OBJECT_DRILL, drill->id, json_deep_copy(d->state));
    if (d->run.phase >= DRILL_DONE)
        clean(d);
}

/* ---- looking ---- */

static bool is_conductor(const struct drills *d, const struct object *drill)
{
    const char *by = drill_conductor(cluster_mirror(d->cluster), json_object_get(drill->value, "spec"));
    return !strcmp(by, cluster_node(d->cluster));
}

static void forget_oldest(struct drills *d)
{
    const struct mirror *m = cluster_mirror(d->cluster);
    const struct object *oldest = NULL;
    unsigned ended = 0;
    for (const struct object *o = mirror_next(m, OBJECT_DRILL, NULL); o; o = mirror_next(m, OBJECT_DRILL, o->name)) {
        if (!drill_has_ended(o))
            continue;
        oldest = oldest ? oldest : o;
        ended++;
    }
    if (ended > ENDED_MAX && is_conductor(d, oldest))
        report_deleted(d->report, oldest);
}

static void evaluate(struct loop_job *job)
{
    struct drills *d = CONTAINER_OF(job, struct drills, job);
    const struct object *drill = drill_under_way(cluster_mirror(d->cluster));
    if (d->stopped)
        return;
    drill_canaries_look(d->canaries);
    drill_faults_look(d->faults);
    if (drill)
        loop_timer_set(d->loop, &d->timer, clock_ns() + LOOK_MS * UINT64_C(1000000));
    if (!cluster_is_current(d->cluster))
        return;
    if (!drill || !is_conductor(d, drill))
        forget(d);
    else
        conduct(d, drill);
    forget_oldest(d);
}

static void timer_fired(struct loop_timer *timer)
{
    struct drills *d = CONTAINER_OF(timer, struct drills, timer);
    loop_defer(d->loop, &d->job);
}

static void object_changed(struct mirror_listener *listener, const struct object *object, enum object_part part)
{
    struct drills *d = CONTAINER_OF(listener, struct drills, listener);
    (void)part;
    if (object->kind == OBJECT_DRILL)
        loop_defer(d->loop, &d->job);
}

/* ---- life ---- */

struct drills *drills_new(struct cluster *cluster, const struct drill_faults_place *place, struct report *report,
                          struct guests *guests, struct err *err)
{
    struct drills *d = calloc(1, sizeof *d);
    if (!d) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    d->loop = place->loop;
    d->cluster = cluster;
    d->place = place;
    d->report = report;
    d->udp = -1;
    d->epoch_ms = clock_wall_ms() - clock_ms();
    d->listener.changed = object_changed;
    d->job.run = evaluate;
    d->timer.fire = timer_fired;
    mirror_listen(cluster_mirror(cluster), &d->listener);
    d->canaries = drill_canaries_new(d->loop, cluster, report, guests);
    d->faults = d->canaries ? drill_faults_new(cluster, place) : NULL;
    d->schedules = d->faults ? drill_schedules_new(d->loop, cluster, report, place->store) : NULL;
    if (!d->schedules) {
        err_set(err, ENOMEM, "out of memory");
        drills_stop(d);
        drills_free(d);
        return NULL;
    }
    loop_defer(d->loop, &d->job);
    return d;
}

void drills_stop(struct drills *d)
{
    if (!d || d->stopped)
        return;
    d->stopped = true;
    mirror_unlisten(&d->listener);
    loop_timer_clear(d->loop, &d->timer);
    drill_canaries_free(d->canaries);
    if (d->faults)
        drill_faults_stop(d->faults);
    if (d->schedules)
        drill_schedules_stop(d->schedules);
}

bool drills_busy(const struct drills *d)
{
    return d && (d->changes || d->job.queued || (d->faults && drill_faults_busy(d->faults)) ||
                 (d->schedules && drill_schedules_busy(d->schedules)));
}

void drills_free(struct drills *d)
{
    if (!d)
        return;
    drill_faults_free(d->faults);
    drill_schedules_free(d->schedules);
    forget(d);
    if (d->udp >= 0)
        close(d->udp);
    free(d);
}
