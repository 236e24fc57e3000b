/* See volume_watch.h. One question at a time: how it is; and then at most one change that follows from the answer.
 *
 *     IDLE --look--> ASKING --answer--> IDLE, or CHANGING (attach, rate, scrub) --answer--> IDLE */
#include "node/agent/volume_watch.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/cluster.h"
#include "node/agent/guest_link.h"
#include "node/agent/guest_plan.h"
#include "node/agent/guest_unit.h"
#include "node/agent/guests.h"
#include "node/agent/member.h"
#include "node/agent/volume_member.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"

enum { ID_MAX = 64, URI_MAX = 256, ATTACH_AGAIN_MS = 5000, GONE_LONG_MS = 30000, GROW_AGAIN_MS = 5000 };

/* What the process was told of a member; of the witness last. */
struct attached {
    char uri[URI_MAX];          /* "": unknown */
    uint64_t tried_ms, gone_ms; /* 0: not yet; it is there */
};

struct volume_watch {
    struct volume_watch_place place;
    char id[ID_MAX];
    int pid; /* of the process that `attached` is about */
    struct attached attached[LAYOUT_MEMBERS_MAX + 1];
    json_t *status;
    int64_t scrub_wanted, scrubbed;
    json_int_t scrub_runs; /* before it; -1: none was begun */
    struct guest_call call;
    bool busy, freed, refused; /* refused: it says nothing yet */
    struct err growing;        /* why it could not be made larger */
    uint64_t grow_again_ms;
    char attaching[URI_MAX];
    int attaching_index;
    void (*told)(void *context, struct volume_watch *watch);
    void *context;
};

static struct mirror *mirror_of(const struct volume_watch *w)
{
    return cluster_mirror(w->place.cluster);
}

static const struct object *volume_of(const struct volume_watch *w)
{
    const struct object *o = mirror_find(mirror_of(w), OBJECT_VOLUME, w->id);
    return o && o->value ? o : NULL;
}

/* The guest's process that has it; *disk: which of its disks. NULL: none runs here. */
static struct guest_unit *owner_of(const struct volume_watch *w, const struct object *volume, int *disk)
{
    const struct object *guest = volume ? volume_guest(mirror_of(w), volume) : NULL;
    struct guest_unit *unit = guest ? guests_find(w->place.guests, guest->id) : NULL;
    if (!unit || guest_unit_phase(unit) != GUEST_PHASE_RUNNING)
        return NULL;
    const json_t *disks = object_spec(guest, "disks");
    *disk = 0;
    while (strcmp(member_text(json_array_get(disks, (size_t)*disk), "volume"), volume->name))
        ++*disk;
    return unit;
}

static void take_status(struct volume_watch *w, json_t *status)
{
    json_decref(w->status);
    w->status = status;
}

/* ---- changes ---- */

static void ask(struct volume_watch *w, struct guest_unit *unit, enum control_type type, json_t *body,
                void (*done)(struct guest_call *, int, const json_t *, const char *))
{
    w->call = (struct guest_call){.done = done, .type = type, .body = body};
    w->busy = true;
    if (!guest_unit_call(unit, &w->call))
        return;
    json_decref(body);
    w->busy = false;
}

static bool came_back(struct volume_watch *w)
{
    w->busy = false;
    if (w->freed) {
        json_decref(w->status);
        free(w);
        return false;
    }
    return true;
}

static void changed(struct guest_call *call, int rc, const json_t *answer, const char *text)
{
    struct volume_watch *w = CONTAINER_OF(call, struct volume_watch, call);
    (void)answer;
    if (!came_back(w))
        return;
    if (rc)
        log_info("volume %s: %s", w->id, text);
    if (!rc && w->attaching[0])
        snprintf(w->attached[w->attaching_index].uri, URI_MAX, "%s", w->attaching);
    w->attaching[0] = 0;
}

/* The process misses it, or has it where it is not any more. Who was lost where he is comes back by himself, as a rule.
 */
static bool wants_attaching(struct volume_watch *w, unsigned place, const char *state, const char *uri)
{
    struct attached *a = &w->attached[place];
    uint64_t now_ms = clock_ms();
    bool absent = !strcmp(state, "absent"), gone = absent || !strcmp(state, "lost") || !strcmp(state, "foreign");
    if (!gone) {
        a->gone_ms = 0;
        if (!a->uri[0])
            snprintf(a->uri, sizeof a->uri, "%s", uri);
        return false;
    }
    if (!a->gone_ms)
        a->gone_ms = now_ms;
    if (a->tried_ms && now_ms - a->tried_ms < ATTACH_AGAIN_MS)
        return false;
    return absent || strcmp(a->uri, uri) != 0 || now_ms - a->gone_ms >= GONE_LONG_MS;
}

/* index: WITNESS for the witness. True: asked. */
static bool attach(struct volume_watch *w, struct guest_unit *unit, int disk, const struct object *volume, int index,
                   const char *state)
{
    unsigned place = index == WITNESS ? LAYOUT_MEMBERS_MAX : (unsigned)index;
    json_t *stack = guest_plan_member(mirror_of(w), volume, index, w->place.plan_place);
    json_t *layer = json_array_get(stack, 0);
    const char *uri = member_text(layer, "uri");
    if (!layer || !wants_attaching(w, place, state, uri)) {
        json_decref(stack);
        return false;
    }
    w->attached[place].tried_ms = clock_ms();
    w->attaching_index = (int)place;
    snprintf(w->attaching, sizeof w->attaching, "%s", uri);
    log_info("volume %s: member %d is %s, and is attached at %s", volume->name, index, state, uri);
    json_object_set_new(
        layer, "uri", json_sprintf("%s@%lld", uri, (long long)json_integer_value(json_object_get(w->status, "epoch"))));
    ask(w, unit, CONTROL_VOLUME,
        json_pack("{s:i, s:s, s:i, s:o}", "disk", disk, "verb", "attach", "member", index, "stack", stack), changed);
    return true;
}

/* One that was replaced is another one's now, whether it answers or not. */
static const char *state_of_witness(const struct volume_watch *w, const char *id)
{
    if (!volume_watch_means_witness(w, id))
        return "foreign";
    if (json_is_true(json_object_get(w->status, "witness")))
        return "in-sync";
    return json_is_true(json_object_get(w->status, "witness_lost")) ? "lost" : "absent";
}

static bool attach_some(struct volume_watch *w, struct guest_unit *unit, int disk, const struct object *volume)
{
    const json_t *members = json_object_get(w->status, "members");
    for (size_t i = 0; i < json_array_size(members) && i < LAYOUT_MEMBERS_MAX; i++)
        if (attach(w, unit, disk, volume, (int)i, member_text(json_array_get(members, i), "state")))
            return true;
    const struct object *witness = volume_member_at(mirror_of(w), volume->id, WITNESS);
    return witness && attach(w, unit, disk, volume, WITNESS, state_of_witness(w, witness->id));
}

static void scrub_begun(struct guest_call *call, int rc, const json_t *answer, const char *text)
{
    struct volume_watch *w = CONTAINER_OF(call, struct volume_watch, call);
    if (rc == -EALREADY)
        rc = 0; /* what is being done will do */
    if (rc)
        w->scrub_runs = -1;
    changed(call, rc, answer, text);
}

/* A scrub that was wanted after the last one that is known to be done. */
static bool scrub(struct volume_watch *w, struct guest_unit *unit, int disk, const struct object *volume)
{
    const json_t *is = json_object_get(w->status, "scrub");
    json_int_t wanted = json_integer_value(json_object_get(volume->value, "scrub"));
    json_int_t done = json_integer_value(json_object_get(json_object_get(volume->state, "scrub"), "done"));
    json_int_t runs = json_integer_value(json_object_get(is, "runs"));
    if (w->scrub_runs >= 0 && runs > w->scrub_runs) {
        w->scrubbed = w->scrub_wanted;
        w->scrub_runs = -1;
    }
    if (wanted <= done || wanted <= w->scrubbed || w->scrub_runs >= 0)
        return false;
    w->scrub_wanted = wanted;
    w->scrub_runs = runs;
    if (json_is_true(json_object_get(is, "running"))) /* begun for an agent before this one */
        return false;
    ask(w, unit, CONTROL_VOLUME, json_pack("{s:i, s:s}", "disk", disk, "verb", "scrub"), scrub_begun);
    return true;
}

static bool set_rate(struct volume_watch *w, struct guest_unit *unit, int disk, const struct object *volume)
{
    json_int_t wanted = json_integer_value(object_spec(volume, "resync_rate"));
    if (wanted == json_integer_value(json_object_get(w->status, "resync_rate")))
        return false;
    ask(w, unit, CONTROL_VOLUME, json_pack("{s:i, s:s, s:I}", "disk", disk, "verb", "rate", "bytes", wanted), changed);
    return true;
}

static void grown(struct guest_call *call, int rc, const json_t *answer, const char *text)
{
    struct volume_watch *w = CONTAINER_OF(call, struct volume_watch, call);
    if (!w->freed && rc)
        err_set(&w->growing, EIO, "it cannot be made larger: %s", text);
    w->grow_again_ms = clock_ms() + GROW_AGAIN_MS;
    changed(call, rc, answer, text);
}

static bool grow(struct volume_watch *w, struct guest_unit *unit, int disk, const struct object *volume)
{
    json_int_t wanted = json_integer_value(object_spec(volume, "size"));
    json_int_t is = json_integer_value(json_object_get(w->status, "disk_bytes"));
    if (!is || wanted <= is) {
        w->growing = (struct err){0};
        return false;
    }
    int small;
    if (!volume_member_all_large(mirror_of(w), volume, &small)) {
        const struct object *member = volume_member_at(mirror_of(w), volume->id, small);
        const char *reason = member_text(member->state, "reason");
        err_set(&w->growing, EAGAIN, "member %d is being made larger%s%s", small, *reason ? ": " : "", reason);
        return false;
    }
    if (clock_ms() < w->grow_again_ms)
        return false;
    ask(w, unit, CONTROL_RESIZE, json_pack("{s:i, s:I}", "disk", disk, "bytes", wanted), grown);
    return true;
}

static void follow_up(struct volume_watch *w)
{
    int disk;
    const struct object *volume = volume_of(w);
    struct guest_unit *unit = owner_of(w, volume, &disk);
    if (unit && !attach_some(w, unit, disk, volume) && !set_rate(w, unit, disk, volume) && !grow(w, unit, disk, volume))
        scrub(w, unit, disk, volume);
}

/* ---- asking ---- */

static json_t *status_in(const json_t *answer, int disk)
{
    size_t i;
    json_t *d;
    json_array_foreach (json_object_get(answer, "disks"), i, d)
        if (json_integer_value(json_object_get(d, "disk")) == disk)
            return json_incref(json_object_get(d, "volume"));
    return NULL;
}

static void told(struct guest_call *call, int rc, const json_t *answer, const char *text)
{
    struct volume_watch *w = CONTAINER_OF(call, struct volume_watch, call);
    int disk;
    if (!came_back(w))
        return;
    w->refused = rc == -EBUSY; /* not all of its memory has come: what was last said holds */
    if (w->refused)
        return;
    if (rc)
        log_debug("volume %s: %s", w->id, text);
    bool runs = !rc && owner_of(w, volume_of(w), &disk);
    take_status(w, runs ? status_in(answer, disk) : NULL);
    if (w->status)
        follow_up(w);
    w->told(w->context, w);
}

void volume_watch_look(struct volume_watch *w)
{
    int disk;
    if (w->busy)
        return;
    struct guest_unit *unit = owner_of(w, volume_of(w), &disk);
    if (unit && guest_unit_pid(unit) != w->pid) {
        memset(w->attached, 0, sizeof w->attached);
        w->scrub_runs = -1;
        w->grow_again_ms = 0;
        w->pid = guest_unit_pid(unit);
    }
    if (unit) {
        ask(w, unit, CONTROL_STATS, json_object(), told);
    } else if (w->status) {
        take_status(w, NULL);
        w->told(w->context, w);
    }
}

/* ---- life ---- */

struct volume_watch *volume_watch_new(const struct volume_watch_place *place, const char *volume,
                                      void (*done)(void *context, struct volume_watch *watch), void *context)
{
    struct volume_watch *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->place = *place;
    snprintf(w->id, sizeof w->id, "%s", volume);
    w->scrub_runs = -1;
    w->told = done;
    w->context = context;
    return w;
}

void volume_watch_free(struct volume_watch *w)
{
    if (!w)
        return;
    w->freed = true;
    if (w->busy)
        return;
    json_decref(w->status);
    free(w);
}

const char *volume_watch_id(const struct volume_watch *w)
{
    return w->id;
}

const json_t *volume_watch_status(const struct volume_watch *w)
{
    return w->status;
}

bool volume_watch_is_refused(const struct volume_watch *w)
{
    int disk;
    return w->refused && owner_of(w, volume_of(w), &disk);
}

const char *volume_watch_reason(const struct volume_watch *w)
{
    return w->growing.text;
}

int64_t volume_watch_scrubbed(const struct volume_watch *w)
{
    return w->scrubbed;
}

static bool is_at(const struct attached *a, const char *member)
{
    return !*a->uri || strstr(a->uri, member);
}

bool volume_watch_means_witness(const struct volume_watch *w, const char *member)
{
    return is_at(&w->attached[LAYOUT_MEMBERS_MAX], member);
}

bool volume_watch_means(const struct volume_watch *w, unsigned index, const char *member)
{
    return index >= LAYOUT_MEMBERS_MAX || is_at(&w->attached[index], member);
}
