/* See volume_moves.h. Of each move one thing is under way at a time: a question to the guest's process, or a change. */
#include "node/agent/volume_moves.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/guest_link.h"
#include "node/agent/guest_plan.h"
#include "node/agent/guest_unit.h"
#include "node/agent/guests.h"
#include "node/agent/member.h"
#include "node/agent/owner.h"
#include "node/agent/report.h"
#include "node/agent/volume_copy.h"
#include "node/agent/volume_member.h"
#include "node/agent/volume_move.h"
#include "node/agent/volume_move_change.h"
#include "node/agent/volume_unit.h"
#include "node/agent/volume_watch.h"
#include "node/agent/volume_work.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"
#include "node/base/timestamp.h"

enum { ID_MAX = 64, LOOK_MS = 300, READY_MS = 60000, AGAIN_MS = 2000, TRIES_MAX = 10, ENDED_MAX = 200 /* a node */ };

struct conducted {
    struct volume_moves *all;
    char id[ID_MAX];
    bool seen, gone;
    bool fresh; /* the process has said how it is since something called for it */
    bool busy;  /* something is under way */
    bool told;  /* how it ended; what is left is to see it in the mirror */
    enum volume_move_process process;
    bool waits;
    uint64_t done_bytes, since_ms, again_ms;
    unsigned tries;
    struct err why;
    struct guest_call call;
    enum volume_move_copy copied;
    struct volume_copy *copy;
    uint64_t guest_revision; /* when the copying began: nobody has had it since */
    struct loop_timer timer;
    LIST_ENTRY(conducted) link;
};

struct volume_moves {
    struct loop *loop;
    struct report *report;
    struct volume_watch_place place;
    const struct volume_place *volumes;
    struct mirror_listener listener;
    struct loop_job job;
    LIST_HEAD(, conducted) list;
};

static struct mirror *mirror_of(const struct conducted *c)
{
    return cluster_mirror(c->all->place.cluster);
}

static const struct object *object_of(const struct conducted *c)
{
    const struct object *o = mirror_find(mirror_of(c), OBJECT_VOLUME_MOVE, c->id);
    return o && o->value ? o : NULL;
}

static void free_if_idle(struct conducted *c)
{
    if (c->gone && !c->busy)
        free(c);
}

static void go_on(struct conducted *c)
{
    if (c->gone)
        free_if_idle(c);
    else
        loop_defer(c->all->loop, &c->all->job);
}

/* ---- the guest's process ---- */

/* The unit of the volume's guest, if it is this node's; *disk: which of its disks. */
static struct guest_unit *unit_of(const struct conducted *c, const struct object *volume, int *disk)
{
    const struct object *guest = volume ? volume_guest(mirror_of(c), volume) : NULL;
    const json_t *disks = guest ? object_spec(guest, "disks") : NULL;
    *disk = 0;
    if (!guest || strcmp(object_spec_text(guest, "node"), cluster_node(c->all->place.cluster)))
        return NULL;
    while (strcmp(member_text(json_array_get(disks, (size_t)*disk), "volume"), volume->name))
        ++*disk;
    return guests_find(c->all->place.guests, guest->id);
}

static const json_t *status_of(const json_t *answer, int disk)
{
    const json_t *disks = json_object_get(answer, "disks");
    for (size_t i = 0; i < json_array_size(disks); i++)
        if (json_integer_value(json_object_get(json_array_get(disks, i), "disk")) == disk)
            return json_object_get(json_array_get(disks, i), "move");
    return NULL;
}

static enum volume_move_process process_named(const char *phase)
{
    static const struct {
        const char *phase;
        enum volume_move_process is;
    } names[] = {
        {"copying", VOLUME_MOVE_COPIES}, {"synced", VOLUME_MOVE_SYNCED},
        {"settled", VOLUME_MOVE_HOLDS},  {"there", VOLUME_MOVE_HOLDS},
        {"here", VOLUME_MOVE_GAVE_UP},   {"closed", VOLUME_MOVE_UNKNOWN} /* the guest is handed over, or stands */};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(phase, names[i].phase))
            return names[i].is;
    return VOLUME_MOVE_IDLE;
}

static void take_status(struct conducted *c, const json_t *status)
{
    c->process = process_named(member_text(status, "phase"));
    c->waits = json_is_true(json_object_get(status, "waits"));
    c->done_bytes = status ? (uint64_t)json_integer_value(json_object_get(status, "done_bytes")) : c->done_bytes;
    if (c->process == VOLUME_MOVE_GAVE_UP && *member_text(status, "reason") && !*c->why.text)
        err_set(&c->why, EIO, "%s", member_text(status, "reason"));
}

static void answered(struct guest_call *call, int rc, const json_t *answer, const char *text)
{
    struct conducted *c = CONTAINER_OF(call, struct conducted, call);
    int disk;
    c->busy = false;
    if (c->gone) {
        free_if_idle(c);
        return;
    }
    const struct object *move = object_of(c);
    if (!rc && move && unit_of(c, volume_move_volume(mirror_of(c), move), &disk))
        take_status(c, status_of(answer, disk));
    else
        c->process = VOLUME_MOVE_UNKNOWN;
    if (rc)
        log_debug("volume move %s: %s", c->id, text);
    c->fresh = true;
    go_on(c);
}

/* False: the answer will come. */
static bool knows_process(struct conducted *c, const struct object *move)
{
    const struct object *volume = volume_move_volume(mirror_of(c), move);
    bool wanted = volume && volume_work_is_guests(mirror_of(c), volume);
    int disk;
    struct guest_unit *u = unit_of(c, volume, &disk);
    if (!u || guest_unit_phase(u) != GUEST_PHASE_RUNNING) {
        /* one that this agent has not found yet, or that is coming or going, cannot be asked */
        enum guest_phase phase = u ? guest_unit_phase(u) : GUEST_PHASE_STOPPED;
        bool none = phase == GUEST_PHASE_WAITING || phase == GUEST_PHASE_FAILED;
        bool lives = u && guest_unit_pid(u); /* the mirror may still say of it what was before */
        c->process = lives || (wanted && !none) ? VOLUME_MOVE_UNKNOWN : VOLUME_MOVE_NONE;
        return true;
    }
    if (c->fresh)
        return true;
    c->call = (struct guest_call){.done = answered, .type = CONTROL_STATS};
    c->busy = !guest_unit_call(u, &c->call);
    c->process = c->busy ? c->process : VOLUME_MOVE_UNKNOWN;
    return !c->busy;
}

static void obeyed(struct guest_call *call, int rc, const json_t *answer, const char *text)
{
    struct conducted *c = CONTAINER_OF(call, struct conducted, call);
    (void)answer;
    c->busy = c->fresh = false;
    if (rc) {
        log_info("volume move %s: %s", c->id, text);
        c->again_ms = clock_ms() + AGAIN_MS;
    }
    go_on(c);
}

/* One that cannot is asked a few times: it may be busy with something else. */
static void begun(struct guest_call *call, int rc, const json_t *answer, const char *text)
{
    struct conducted *c = CONTAINER_OF(call, struct conducted, call);
    bool for_now = rc == -EBUSY || rc == -EAGAIN || rc == -ETIMEDOUT || rc == -EPIPE;
    if (rc && rc != -EALREADY && (!for_now || ++c->tries >= TRIES_MAX))
        err_set(&c->why, -rc, "the guest's process cannot take it over: %s", text);
    obeyed(call, rc, answer, text);
}

static void ask(struct conducted *c, const struct object *move, json_t *body,
                void (*done)(struct guest_call *, int, const json_t *, const char *))
{
    int disk;
    struct guest_unit *u = unit_of(c, volume_move_volume(mirror_of(c), move), &disk);
    json_object_set_new(body, "disk", json_integer(disk));
    c->call = (struct guest_call){.done = done, .type = CONTROL_VOLUME, .body = body};
    c->busy = u && !guest_unit_call(u, &c->call);
    if (!c->busy)
        json_decref(body);
}

static void ask_to_begin(struct conducted *c, const struct object *move)
{
    const struct object *volume = volume_move_volume(mirror_of(c), move);
    json_t *stack = guest_plan_server(volume_move_uri(mirror_of(c), move), c->all->place.plan_place);
    json_t *body = json_pack("{s:s, s:o, s:I}", "verb", "move-begin", "to", stack, "rate",
                             json_integer_value(object_spec(volume, "resync_rate")));
    if (volume_has_layout(volume)) {
        json_t *layer = json_array_get(stack, 0);
        json_object_set_new(layer, "uri",
                            json_sprintf("%s@%llu", member_text(layer, "uri"),
                                         (unsigned long long)owner_epoch(mirror_of(c), volume->id)));
        json_object_set_new(body, "member", json_integer(volume_move_index(move)));
    }
    ask(c, move, body, begun);
}

/* ---- the store ---- */

static void committed(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct conducted *c = context;
    (void)revision;
    c->busy = c->fresh = false;
    if (rc) {
        log_info("volume move %s: %s", c->id, err->text);
        c->again_ms = clock_ms() + LOOK_MS;
    }
    go_on(c);
}

static void commit(struct conducted *c, struct change *change)
{
    c->busy = true;
    change_commit(change, committed, c);
}

/* Without a guest that runs: none has had the volume since it was copied, and none is to when this is made. */
static bool is_untouched(struct conducted *c, struct change *change, const struct object *volume)
{
    const struct object *guest = volume_guest(mirror_of(c), volume);
    uint64_t revision = guest ? guest->revision : 0;
    if (volume_work_is_guests(mirror_of(c), volume) || revision != c->guest_revision)
        return false;
    if (guest)
        change_check(change, OBJECT_GUEST, guest->id, guest->revision);
    if (volume_has_layout(volume)) {
        const struct object *owner = mirror_find(mirror_of(c), OBJECT_OWNER, volume->id);
        if (!owner || owner_epoch(mirror_of(c), volume->id) != volume_copy_epoch(c->copy))
            return false;
        change_check(change, OBJECT_OWNER, volume->id, owner->revision);
    }
    return true;
}

static void drop_copy(struct conducted *c)
{
    volume_copy_free(c->copy);
    c->copy = NULL;
    c->copied = VOLUME_MOVE_COPY_NONE;
}

static void switch_over(struct conducted *c, const struct object *move)
{
    const struct object *volume = volume_move_volume(mirror_of(c), move), *guest = volume_guest(mirror_of(c), volume);
    struct change *change = change_new(c->all->place.cluster);
    if (!change)
        return;
    if (c->process == VOLUME_MOVE_HOLDS) {
        json_t *value = json_deep_copy(guest->value);
        json_object_set_new(value, "moved", json_true()); /* until it is started anew */
        change_put(change, OBJECT_GUEST, guest->id, value, guest->revision);
    } else if (!is_untouched(c, change, volume)) {
        change_drop(change);
        drop_copy(c); /* it is copied anew, by whoever has it then */
        go_on(c);
        return;
    }
    log_info("volume %s: what it lies on is in pool %s from now on", volume->name, object_spec_text(move, "to"));
    volume_move_switch(change, mirror_of(c), move);
    commit(c, change);
}

static void mark(struct conducted *c, const struct object *move, const char *key, json_t *value)
{
    struct change *change = change_new(c->all->place.cluster);
    if (!change) {
        json_decref(value);
        return;
    }
    volume_move_set(change, move, key, value);
    commit(c, change);
}

static void remake(struct conducted *c, const struct object *move)
{
    struct change *change = change_new(c->all->place.cluster);
    if (!change)
        return;
    c->since_ms = clock_ms();
    volume_move_remake(change, mirror_of(c), move);
    commit(c, change);
}

/* ---- without a guest ---- */

static void copied(void *context, int rc, const struct err *err)
{
    struct conducted *c = context;
    c->copied = rc ? VOLUME_MOVE_COPY_FAILED : VOLUME_MOVE_COPY_DONE;
    if (rc)
        log_warn("volume move %s: %s", c->id, err->text);
    if (rc && ++c->tries >= TRIES_MAX)
        c->why = *err;
    if (rc) {
        c->again_ms = clock_ms() + AGAIN_MS;
        drop_copy(c);
    }
    go_on(c);
}

/* Of a volume without a layout a guest that is started waits until it is copied, or until that was ended for it. */
static void begin_copy(struct conducted *c, const struct object *move)
{
    const struct object *volume = volume_move_volume(mirror_of(c), move), *guest = volume_guest(mirror_of(c), volume);
    struct err err = {0};
    bool plain = !volume_has_layout(volume), held = json_is_true(json_object_get(move->value, "offline"));
    if (plain && !held) {
        struct change *change = change_new(c->all->place.cluster);
        if (!change)
            return;
        if (guest)
            change_check(change, OBJECT_GUEST, guest->id, guest->revision);
        volume_move_set(change, move, "offline", json_true());
        c->copied = VOLUME_MOVE_COPY_RUNS; /* or will, as soon as that is seen */
        commit(c, change);
        return;
    }
    c->guest_revision = guest ? guest->revision : 0;
    c->copy = volume_copy_new(&c->all->place, c->all->volumes, move, copied, c, &err);
    c->copied = c->copy ? VOLUME_MOVE_COPY_RUNS : VOLUME_MOVE_COPY_NONE;
    if (c->copy)
        return;
    log_info("volume move %s: %s", c->id, err.text);
    c->again_ms = clock_ms() + AGAIN_MS;
    if (++c->tries >= TRIES_MAX)
        c->why = err;
}

static void stop_copy(struct conducted *c, const struct object *move)
{
    drop_copy(c);
    if (json_is_true(json_object_get(move->value, "offline")))
        remake(c, move); /* the program may still be at it */
}

/* ---- what is told ---- */

static enum volume_move_phase phase_now(const struct conducted *c, const struct object *move)
{
    if (c->process == VOLUME_MOVE_HOLDS)
        return VOLUME_MOVE_SETTLED;
    if (c->process == VOLUME_MOVE_SYNCED && *object_spec_text(move, "migration"))
        return VOLUME_MOVE_COPIED;
    return c->process == VOLUME_MOVE_COPIES || c->process == VOLUME_MOVE_SYNCED || c->copy ? VOLUME_MOVE_COPYING
                                                                                           : VOLUME_MOVE_WAITING;
}

static json_t *state_of(const struct conducted *c, const struct object *move, enum volume_move_phase phase,
                        const char *reason)
{
    json_int_t total = json_integer_value(object_spec(move, "bytes"));
    json_int_t done = phase >= VOLUME_MOVE_COPIED && phase <= VOLUME_MOVE_DONE ? total : (json_int_t)c->done_bytes;
    return json_pack("{s:s, s:s, s:I, s:I}", "phase", volume_move_phase_name(phase), "reason", reason, "done_bytes",
                     done < total ? done : total, "total_bytes", total);
}

static bool is_marked(const struct conducted *c, const struct object *move)
{
    const struct object *volume = volume_move_volume(mirror_of(c), move);
    return volume && volume_move_of(mirror_of(c), volume) == move;
}

static void close_it(struct conducted *c, const struct object *move, enum volume_move_phase phase, const char *reason)
{
    char at[TIMESTAMP_BYTES];
    if (is_marked(c, move)) {
        struct change *change = change_new(c->all->place.cluster);
        if (!change)
            return;
        volume_move_close(change, mirror_of(c), move);
        commit(c, change);
        return;
    }
    json_t *state = state_of(c, move, phase, reason);
    json_object_set_new(state, "ended", json_string(timestamp(at)));
    log_info("volume move %s: %s%s%s", c->id, volume_move_phase_name(phase), *reason ? ": " : "", reason);
    report_state(c->all->report, OBJECT_VOLUME_MOVE, c->id, state);
    c->told = true;
}

/* ---- step by step ---- */

static void act(struct conducted *c, const struct object *move, const struct volume_move_decision *d)
{
    switch (d->step) {
    case VOLUME_MOVE_STEP_WAIT:
        break;
    case VOLUME_MOVE_STEP_BEGIN:
        ask_to_begin(c, move);
        break;
    case VOLUME_MOVE_STEP_SETTLE:
        ask(c, move, json_pack("{s:s}", "verb", "move-settle"), obeyed);
        break;
    case VOLUME_MOVE_STEP_COMMIT:
        switch_over(c, move);
        break;
    case VOLUME_MOVE_STEP_LEAVE:
        ask(c, move, json_pack("{s:s, s:b}", "verb", "move-end", "there", 1), obeyed);
        break;
    case VOLUME_MOVE_STEP_STAY:
        ask(c, move, json_pack("{s:s, s:b}", "verb", "move-end", "there", 0), obeyed);
        break;
    case VOLUME_MOVE_STEP_MARK:
        mark(c, move, "failed", json_string(d->reason));
        break;
    case VOLUME_MOVE_STEP_COPY:
        begin_copy(c, move);
        break;
    case VOLUME_MOVE_STEP_STOP:
        stop_copy(c, move);
        break;
    case VOLUME_MOVE_STEP_REMAKE:
        remake(c, move);
        break;
    case VOLUME_MOVE_STEP_CLOSE:
        close_it(c, move, d->phase, d->reason);
        break;
    }
}

static void look_at(struct conducted *c, const struct object *move)
{
    if (c->told || c->busy || !knows_process(c, move))
        return;
    if (c->copied == VOLUME_MOVE_COPY_RUNS && !c->copy && json_is_true(json_object_get(move->value, "offline")))
        begin_copy(c, move);
    else if (c->copied == VOLUME_MOVE_COPY_RUNS && !c->copy)
        c->copied = VOLUME_MOVE_COPY_NONE; /* that was not to be */
    struct volume_move_view view = {.mirror = mirror_of(c),
                                    .move = move,
                                    .process = c->process,
                                    .copy = c->copied,
                                    .waits = c->waits,
                                    .late = clock_ms() - c->since_ms > READY_MS,
                                    .why = c->why.text};
    struct volume_move_decision d = volume_move_decide(&view);
    if (clock_ms() >= c->again_ms)
        act(c, move, &d);
    if (!c->told && c->process != VOLUME_MOVE_UNKNOWN)
        report_state(c->all->report, OBJECT_VOLUME_MOVE, c->id, state_of(c, move, phase_now(c, move), ""));
}

/* ---- all of them ---- */

static void timer_fired(struct loop_timer *timer)
{
    struct conducted *c = CONTAINER_OF(timer, struct conducted, timer);
    c->fresh = false;
    loop_defer(c->all->loop, &c->all->job);
}

static struct conducted *find(struct volume_moves *ms, const char *id)
{
    struct conducted *c;
    LIST_FOREACH (c, &ms->list, link)
        if (!strcmp(c->id, id))
            return c;
    if (!(c = calloc(1, sizeof *c)))
        return NULL;
    c->all = ms;
    c->since_ms = clock_ms();
    c->timer.fire = timer_fired;
    snprintf(c->id, sizeof c->id, "%s", id);
    LIST_INSERT_HEAD(&ms->list, c, link);
    return c;
}

static void let_go(struct conducted *c)
{
    LIST_REMOVE(c, link);
    loop_timer_clear(c->all->loop, &c->timer);
    drop_copy(c);
    c->gone = true;
    free_if_idle(c);
}

static void evaluate(struct loop_job *job)
{
    struct volume_moves *ms = CONTAINER_OF(job, struct volume_moves, job);
    const struct mirror *m = cluster_mirror(ms->place.cluster);
    const char *node = cluster_node(ms->place.cluster);
    const struct object *oldest = NULL;
    unsigned ended = 0;
    struct conducted *c, *next;
    if (!cluster_is_current(ms->place.cluster))
        return;
    LIST_FOREACH (c, &ms->list, link)
        c->seen = false;
    for (const struct object *o = mirror_next(m, OBJECT_VOLUME_MOVE, NULL); o;
         o = mirror_next(m, OBJECT_VOLUME_MOVE, o->name)) {
        if (!o->value)
            continue;
        if (volume_move_has_ended(o)) {
            oldest = oldest ? oldest : o;
            ended += !strcmp(object_spec_text(o, "node"), node);
        } else if (!strcmp(volume_move_conductor(m, o), node) && (c = find(ms, o->id))) {
            c->seen = true;
            look_at(c, o);
            if (!c->timer.slot) /* changes that come faster are not to put it off */
                loop_timer_set(ms->loop, &c->timer, clock_ns() + LOOK_MS * 1000000ull);
        }
    }
    if (ended > ENDED_MAX)
        report_deleted(ms->report, oldest);
    for (c = LIST_FIRST(&ms->list); c; c = next) {
        next = LIST_NEXT(c, link);
        if (!c->seen)
            let_go(c);
    }
}

static void object_changed(struct mirror_listener *listener, const struct object *object, enum object_part part)
{
    struct volume_moves *ms = CONTAINER_OF(listener, struct volume_moves, listener);
    (void)part;
    if (object->kind == OBJECT_VOLUME_MOVE || object->kind == OBJECT_GUEST || object->kind == OBJECT_VOLUME ||
        object->kind == OBJECT_MEMBER || object->kind == OBJECT_MIGRATION)
        loop_defer(ms->loop, &ms->job);
}

/* ---- life ---- */

struct volume_moves *volume_moves_new(struct loop *loop, struct report *report, const struct volume_watch_place *place,
                                      const struct volume_place *volumes, struct err *err)
{
    struct volume_moves *ms = calloc(1, sizeof *ms);
    if (!ms) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    *ms = (struct volume_moves){.loop = loop, .report = report, .place = *place, .volumes = volumes};
    ms->listener.changed = object_changed;
    ms->job.run = evaluate;
    LIST_INIT(&ms->list);
    mirror_listen(cluster_mirror(place->cluster), &ms->listener);
    loop_defer(loop, &ms->job);
    return ms;
}

void volume_moves_free(struct volume_moves *ms)
{
    if (!ms)
        return;
    mirror_unlisten(&ms->listener);
    while (!LIST_EMPTY(&ms->list))
        let_go(LIST_FIRST(&ms->list));
    loop_forget(ms->loop, &ms->job);
    free(ms);
}
