#include "node/agent/homes.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "node/agent/cluster.h"
#include "node/agent/forming.h"
#include "node/agent/heir.h"
#include "node/agent/member.h"
#include "node/agent/report.h"
#include "node/agent/spare.h"
#include "node/agent/tending.h"
#include "node/agent/volume_condition.h"
#include "node/agent/volume_member.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"

enum {
    LOOK_MS = 1000,
    FORM_AGAIN_MS = 5000,
    TENDED_MS = 3000,      /* until what was told of a volume is in the store */
    TEND_AGAIN_MS = 15000, /* after it failed */
    FILL_AGAIN_MS = 60000, /* after members were filled, as far as that went */
    TENDINGS_MAX = 2       /* at a time, of a node */
};

struct home {
    struct volume_watch *watch;
    struct homes *homes;
    struct forming *forming;
    struct spare *spare;
    struct tending *tending;
    bool tended; /* it has ended, and what it said last is still to be seen in the store */
    uint64_t tend_again_ms, fill_again_ms;
    struct err untended; /* why it could not be looked after */
    bool formed, seen;
    uint64_t again_ms; /* a forming that failed is not repeated before */
    struct err reason;
    LIST_ENTRY(home) link;
};

struct homes {
    struct loop *loop;
    struct report *report;
    struct volume_watch_place place;
    const struct volume_place *volumes;
    struct mirror_listener listener;
    struct loop_job job;
    struct loop_timer timer;
    LIST_HEAD(, home) list;
};

static struct mirror *mirror_of(const struct homes *h)
{
    return cluster_mirror(h->place.cluster);
}

/* ---- what is told ---- */

/* Members that came and went since the last state. */
static void log_changes(const struct object *volume, const json_t *state)
{
    const json_t *lines = json_object_get(state, "members"), *before = json_object_get(volume->state, "members");
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const json_t *line = json_array_get(lines, i), *last = json_array_get(before, i);
        const char *was = member_text(last, "condition"), *is = member_text(line, "condition");
        if (*was && strcmp(was, is))
            log_info("volume %s: member %zu on node %s was %s and is %s", volume->name, i, member_text(line, "node"),
                     was, is);
    }
    const char *was = member_text(json_object_get(volume->state, "witness"), "condition");
    const char *is = member_text(json_object_get(state, "witness"), "condition");
    if (*was && strcmp(was, is))
        log_info("volume %s: the witness was %s and is %s", volume->name, was, is);
    const json_t *scrub = json_object_get(state, "scrub"), *last = json_object_get(volume->state, "scrub");
    if (json_integer_value(json_object_get(scrub, "done")) > json_integer_value(json_object_get(last, "done")))
        log_info("volume %s: scrubbed: %lld blocks repaired, %lld unreadable", volume->name,
                 (long long)json_integer_value(json_object_get(scrub, "repaired")),
                 (long long)json_integer_value(json_object_get(scrub, "unreadable")));
}

/* Of the first that has something to say. */
static const char *reason_of(const struct home *home)
{
    if (*home->reason.text)
        return home->reason.text;
    return *volume_watch_reason(home->watch) ? volume_watch_reason(home->watch) : home->untended.text;
}

static void tell(struct homes *h, const struct home *home, const struct object *volume)
{
    if (volume_watch_is_refused(home->watch))
        return;
    const struct tending *t = volume_watch_status(home->watch) ? NULL : home->tending;
    struct volume_owner owner = {
        .status = t ? tending_status(t) : volume_watch_status(home->watch),
        .scrubbed = t ? tending_scrubbed(t) : volume_watch_scrubbed(home->watch),
        .formed = home->formed,
        .reason = reason_of(home),
    };
    owner.away = spare_away(home->spare, &owner.away_index, &owner.away_since_s);
    const struct object *witness = volume_member_at(mirror_of(h), volume->id, WITNESS);
    owner.witness_stranger =
        witness && !(t ? tending_means_witness(t, witness->id) : volume_watch_means_witness(home->watch, witness->id));
    for (unsigned i = 0; i < json_array_size(object_spec(volume, "pools")); i++) {
        const struct object *member = volume_member_at(mirror_of(h), volume->id, (int)i);
        if (member && !(t ? tending_means(t, i, member->id) : volume_watch_means(home->watch, i, member->id)))
            owner.strangers |= 1u << i;
    }
    json_t *state = volume_condition(mirror_of(h), volume, &owner);
    if (volume->state && json_equal(state, volume->state)) {
        json_decref(state);
        return;
    }
    log_changes(volume, state);
    report_state(h->report, OBJECT_VOLUME, volume->id, state);
}

static void told(void *context, struct volume_watch *watch)
{
    struct homes *h = context;
    (void)watch;
    loop_defer(h->loop, &h->job);
}

/* ---- what is there before the first guest ---- */

static void formed(void *context, int rc, const struct err *err)
{
    struct home *home = context;
    forming_free(home->forming);
    home->forming = NULL;
    home->formed = !rc;
    home->reason = *err;
    home->again_ms = clock_ms() + FORM_AGAIN_MS;
    if (rc)
        log_warn("volume %s: %s", volume_watch_id(home->watch), err->text);
    loop_defer(home->homes->loop, &home->homes->job);
}

/* All that it consists of can be reached now, the witness among it. */
static bool is_whole(const struct mirror *m, const struct object *volume)
{
    int members = (int)json_array_size(object_spec(volume, "pools"));
    bool whole = true;
    for (int i = *object_spec_text(volume, "witness") ? WITNESS : 0; i < members && whole; i++) {
        const struct object *member = volume_member_at(m, volume->id, i);
        whole = member && *member_text(member->state, "uri") && volume_member_is_up(m, member);
    }
    return whole;
}

/* A volume that was made once holds what guests wrote, and is left alone for ever. */
static void form(struct homes *h, struct home *home, const struct object *volume)
{
    bool deleting = json_is_true(json_object_get(volume->value, "deleting"));
    bool empty = !*member_text(volume->value, "key") && !*object_spec_text(volume, "image");
    if (deleting) {
        forming_free(home->forming);
        home->forming = NULL;
        return;
    }
    if (empty || json_is_true(json_object_get(volume->state, "made")))
        home->formed = true;
    if (home->formed || home->forming || clock_ms() < home->again_ms || !is_whole(mirror_of(h), volume))
        return;
    struct err err = {0};
    home->forming = forming_new(&h->place, h->volumes, volume, formed, home, &err);
    if (!home->forming)
        home->again_ms = clock_ms() + FORM_AGAIN_MS;
}

/* ---- without a guest ---- */

static void tended(void *context, int rc, const struct err *err)
{
    struct home *home = context;
    home->tended = true;
    home->untended = *err;
    home->tend_again_ms = clock_ms() + (rc ? TEND_AGAIN_MS : TENDED_MS);
    home->fill_again_ms = clock_ms() + FILL_AGAIN_MS;
    if (rc)
        log_warn("volume %s: it could not be looked after: %s", volume_watch_id(home->watch), err->text);
    loop_defer(home->homes->loop, &home->homes->job);
}

static unsigned tendings(const struct homes *h)
{
    const struct home *home;
    unsigned count = 0;
    LIST_FOREACH (home, &h->list, link)
        count += home->tending && !home->tended;
    return count;
}

/* One that is over has been told of by now, or will be tried again. */
static void forget_tending(struct home *home)
{
    if (!home->tended || clock_ms() < home->tend_again_ms)
        return;
    tending_free(home->tending);
    home->tending = NULL;
    home->tended = false;
}

static void tend(struct homes *h, struct home *home, const struct object *volume)
{
    struct volume_work work;
    bool wanted = volume_work_of(mirror_of(h), volume, &work);
    bool guest_comes = !wanted && home->tending && volume_work_is_guests(mirror_of(h), volume);
    if (!wanted) {
        home->untended = (struct err){0};
        home->fill_again_ms = 0; /* who is missed later is not what could not be filled */
    }
    forget_tending(home);
    if (home->tending && !home->tended && (guest_comes || !tending_does(home->tending, mirror_of(h), volume, &work)))
        tending_stop(home->tending);
    bool only_fills = !work.grow_bytes && !work.scrub;
    if (!wanted || home->tending || home->forming || clock_ms() < home->tend_again_ms || tendings(h) >= TENDINGS_MAX ||
        (only_fills && clock_ms() < home->fill_again_ms))
        return;
    home->tending = tending_new(&h->place, h->volumes, volume, &work, tended, home, &home->untended);
    if (!home->tending)
        home->tend_again_ms = clock_ms() + TEND_AGAIN_MS;
}

/* ---- which ---- */

static struct home *find(struct homes *h, const char *id)
{
    struct home *home;
    LIST_FOREACH (home, &h->list, link)
        if (!strcmp(volume_watch_id(home->watch), id))
            return home;
    home = calloc(1, sizeof *home);
    if (home) {
        home->watch = volume_watch_new(&h->place, id, told, h);
        home->spare = spare_new(h->place.cluster, h->place.audit);
    }
    if (!home || !home->watch || !home->spare) {
        if (home) {
            volume_watch_free(home->watch);
            spare_free(home->spare);
        }
        free(home);
        return NULL;
    }
    home->homes = h;
    LIST_INSERT_HEAD(&h->list, home, link);
    return home;
}

static void drop(struct home *home)
{
    LIST_REMOVE(home, link);
    forming_free(home->forming);
    tending_free(home->tending);
    spare_free(home->spare);
    volume_watch_free(home->watch);
    free(home);
}

/* The volume goes when nothing is left of it anywhere. */
static bool is_gone(struct homes *h, const struct object *volume)
{
    if (!json_is_true(json_object_get(volume->value, "deleting")) || volume_member_is_any(mirror_of(h), volume->id))
        return false;
    report_deleted(h->report, volume);
    return true;
}

/* Records of owners go after their volumes, also those that name a node which was removed. */
static void drop_records(struct homes *h)
{
    const struct mirror *m = mirror_of(h);
    for (const struct object *o = mirror_next(m, OBJECT_OWNER, NULL); o; o = mirror_next(m, OBJECT_OWNER, o->name)) {
        const struct object *volume = mirror_find(m, OBJECT_VOLUME, o->id);
        const char *whose = heir_of(m, object_spec_text(o, "node"));
        if ((!volume || !volume->value) && !strcmp(whose, cluster_node(h->place.cluster)))
            report_deleted(h->report, o);
    }
}

static void evaluate(struct loop_job *job)
{
    struct homes *h = CONTAINER_OF(job, struct homes, job);
    const struct mirror *m = mirror_of(h);
    const char *here = cluster_node(h->place.cluster);
    struct home *home, *next;
    if (!cluster_is_current(h->place.cluster))
        return;
    LIST_FOREACH (home, &h->list, link)
        home->seen = false;
    for (const struct object *o = mirror_next(m, OBJECT_VOLUME, NULL); o; o = mirror_next(m, OBJECT_VOLUME, o->name)) {
        if (!volume_has_layout(o) || strcmp(volume_home(m, o), here) || is_gone(h, o) || !(home = find(h, o->id)))
            continue;
        home->seen = true;
        form(h, home, o);
        tend(h, home, o);
        spare_look(home->spare, o);
        tell(h, home, o);
    }
    for (home = LIST_FIRST(&h->list); home; home = next) {
        next = LIST_NEXT(home, link);
        if (!home->seen)
            drop(home);
    }
    drop_records(h);
}

static void look(struct loop_timer *timer)
{
    struct homes *h = CONTAINER_OF(timer, struct homes, timer);
    struct home *home;
    bool again = false;
    LIST_FOREACH (home, &h->list, link) {
        volume_watch_look(home->watch);
        if (home->tending && !home->tended)
            tending_look(home->tending);
        again |=
            !home->formed || home->tending || home->tend_again_ms || home->fill_again_ms || spare_waits(home->spare);
    }
    if (again)
        loop_defer(h->loop, &h->job);
    loop_timer_set(h->loop, &h->timer, clock_ns() + LOOK_MS * 1000000ull);
}

static void object_changed(struct mirror_listener *listener, const struct object *object, enum object_part part)
{
    struct homes *h = CONTAINER_OF(listener, struct homes, listener);
    (void)part; /* whether a guest still has a volume is in its state */
    bool matters = object->kind == OBJECT_MEMBER || object->kind == OBJECT_NODE || object->kind == OBJECT_VOLUME ||
                   object->kind == OBJECT_OWNER || object->kind == OBJECT_GUEST;
    if (matters)
        loop_defer(h->loop, &h->job);
}

/* ---- life ---- */

struct homes *homes_new(struct loop *loop, struct report *report, const struct volume_watch_place *place,
                        const struct volume_place *volumes, struct err *err)
{
    struct homes *h = calloc(1, sizeof *h);
    if (!h) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    h->loop = loop;
    h->report = report;
    h->place = *place;
    h->volumes = volumes;
    h->listener.changed = object_changed;
    h->job.run = evaluate;
    h->timer.fire = look;
    LIST_INIT(&h->list);
    mirror_listen(mirror_of(h), &h->listener);
    loop_defer(loop, &h->job);
    loop_timer_set(loop, &h->timer, clock_ns() + LOOK_MS * 1000000ull);
    return h;
}

void homes_free(struct homes *h)
{
    if (!h)
        return;
    loop_timer_clear(h->loop, &h->timer);
    mirror_unlisten(&h->listener);
    while (!LIST_EMPTY(&h->list))
        drop(LIST_FIRST(&h->list));
    loop_forget(h->loop, &h->job);
    free(h);
}
