/* See migrations.h. What each guest's process says is asked for a few times a second, and whenever it calls. */
#include "node/agent/migrations.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "node/agent/arrivals.h"
#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/guest_unit.h"
#include "node/agent/guests.h"
#include "node/agent/leaving.h"
#include "node/agent/member.h"
#include "node/agent/migration.h"
#include "node/agent/migration_remains.h"
#include "node/agent/migration_volumes.h"
#include "node/agent/owner.h"
#include "node/agent/report.h"
#include "node/agent/volume_key.h"
#include "node/agent/volume_member.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"
#include "node/base/timestamp.h"
#include "node/base/utf8.h"

enum { LOOK_MS = 200, READY_MS = 30000, ARRIVE_MS = 10000, ENDED_MAX = 200 /* a node */ };

static const struct mirror *mirror_of(const struct leaving *l)
{
    return cluster_mirror(l->all->cluster);
}

static const struct object *migration_object(const struct leaving *l)
{
    const struct object *m = mirror_find(mirror_of(l), OBJECT_MIGRATION, l->id);
    return m && m->value ? m : NULL;
}

static const struct object *guest_of(const struct mirror *mirror, const struct object *migration)
{
    const struct object *g = mirror_find(mirror, OBJECT_GUEST, object_spec_text(migration, "guest_id"));
    return g && g->value ? g : NULL;
}

struct guest_unit *leaving_unit(const struct leaving *l, const struct object *migration)
{
    struct guest_unit *u = guests_find(l->all->place->guests, object_spec_text(migration, "guest_id"));
    enum guest_phase phase = u ? guest_unit_phase(u) : GUEST_PHASE_STOPPED;
    return phase == GUEST_PHASE_RUNNING || phase == GUEST_PHASE_LEAVING ? u : NULL;
}

static bool is_busy(const struct leaving *l)
{
    return l->dialling || l->asking || l->querying || l->committing || l->closing || l->back_call.done ||
           l->forecast_call.done || l->claim;
}

static void free_if_idle(struct leaving *l)
{
    if (!l->gone || is_busy(l))
        return;
    json_decref(l->progress);
    json_decref(l->forecast);
    free(l->id);
    free(l);
}

void leaving_go_on(struct leaving *l)
{
    if (l->gone)
        free_if_idle(l);
    else
        loop_defer(l->all->place->loop, &l->all->job);
}

/* ---- what is told ---- */

static enum migration_phase phase_now(const struct leaving *l, const struct object *migration)
{
    if (l->late && json_is_true(json_object_get(migration->value, "switched")))
        return MIGRATION_FOLLOWING;
    if (migration_volumes_pending(migration))
        return MIGRATION_VOLUMES;
    if (l->committing || l->switched_ms || l->process == MIGRATION_PROCESS_READY)
        return MIGRATION_SWITCHING;
    return l->process == MIGRATION_PROCESS_MOVING ? MIGRATION_COPYING : MIGRATION_WAITING;
}

static json_int_t said(const struct leaving *l, const char *key)
{
    return json_integer_value(json_object_get(l->progress, key));
}

/* What of the bytes is volumes', and, before the guest sets out, its memory, of which nothing is known yet. */
static void add_volumes(const struct leaving *l, const struct object *migration, json_t *state)
{
    struct migration_volumes v;
    const struct object *guest = guest_of(mirror_of(l), migration);
    uint64_t all = migration_volumes_bytes(migration), done = all;
    json_int_t rest = 0;
    if (!all)
        return;
    if (migration_volumes_pending(migration)) {
        migration_volumes_look(mirror_of(l), migration, &v);
        done = v.done_bytes;
        rest = guest ? json_integer_value(object_spec(guest, "memory")) : 0;
    }
    json_int_t sent = json_integer_value(json_object_get(state, "done_bytes"));
    json_int_t total = json_integer_value(json_object_get(state, "total_bytes"));
    json_object_set_new(state, "volume_bytes", json_integer((json_int_t)done));
    json_object_set_new(state, "done_bytes", json_integer(sent + (json_int_t)done));
    json_object_set_new(state, "total_bytes", json_integer(total + rest + (json_int_t)all));
}

/* How far it is, or how it went. */
static json_t *state_of(const struct leaving *l, enum migration_phase phase, const char *reason)
{
    static const char *const figures[][2] = {{"round", "rounds"},
                                             {"dirty-rate", "dirty_rate"},
                                             {"bandwidth", "bandwidth"},
                                             {"throttle", "throttle_percent"},
                                             {"first-predicted-seconds", "predicted_s"},
                                             {"first-predicted-downtime-ms", "predicted_downtime_ms"},
                                             {"connect-ms", "connect_ms"},
                                             {"link-bandwidth", "link_bandwidth"},
                                             {"bytes-saved", "saved_bytes"},
                                             {"unchanged-pages", "unchanged_pages"},
                                             {"seconds", "seconds"}};
    json_int_t sent = said(l, "bytes-sent");
    json_t *state = json_pack("{s:s, s:s, s:I, s:I}", "phase", migration_phase_name(phase), "reason", reason,
                              "done_bytes", sent, "total_bytes", sent + said(l, "bytes-left"));
    for (unsigned i = 0; i < sizeof figures / sizeof *figures; i++)
        if (json_object_get(l->progress, figures[i][0]))
            json_object_set(state, figures[i][1], json_object_get(l->progress, figures[i][0]));
    json_object_update(state, l->forecast);
    const struct object *m = migration_object(l);
    if (l->late)
        leaving_late_tell(l, m ? m->value : NULL, state);
    if (m)
        add_volumes(l, m, state);
    return state;
}

static void tell(const struct leaving *l, const struct object *migration)
{
    report_state(l->all->place->report, OBJECT_MIGRATION, l->id, state_of(l, phase_now(l, migration), ""));
}

/* ---- asking the process ---- */

static void fail(struct leaving *l, int rc, const char *text)
{
    err_set(&l->why, rc < 0 ? -rc : EIO, "%s", text);
    l->process = MIGRATION_PROCESS_FAILED;
}

static enum migration_process process_named(const char *phase, bool asked)
{
    if (!strcmp(phase, "ready"))
        return MIGRATION_PROCESS_READY;
    if (!strcmp(phase, "post-copy"))
        return MIGRATION_PROCESS_SERVES;
    if (!strcmp(phase, "connect") || !strcmp(phase, "copy") || !strcmp(phase, "stop"))
        return MIGRATION_PROCESS_MOVING;
    /* the rest is of a migration before this one, which may have brought the guest here */
    return asked && !strcmp(phase, "failed") ? MIGRATION_PROCESS_FAILED : MIGRATION_PROCESS_IDLE;
}

static void told(struct guest_call *call, int rc, const json_t *answer, const char *text)
{
    struct leaving *l = CONTAINER_OF(call, struct leaving, query_call);
    l->querying = false;
    l->fresh = true;
    if (!rc) {
        json_decref(l->progress);
        l->progress = json_deep_copy(answer);
        l->process = process_named(member_text(answer, "phase"), l->asked);
        leaving_late_note(l);
        if (l->process == MIGRATION_PROCESS_FAILED)
            err_set(&l->why, EIO, "%s", member_text(answer, "reason"));
    } else if (rc != -EPIPE) {
        fail(l, rc, text);
    }
    leaving_go_on(l);
}

static void query(struct leaving *l, struct guest_unit *u)
{
    if (l->querying || l->dialling || l->asking)
        return;
    l->query_call = (struct guest_call){.done = told, .type = CONTROL_MIGRATION};
    l->querying = !guest_unit_call(u, &l->query_call);
}

/* ---- what it would cost, while the destination gets ready ---- */

static void foretold(struct guest_call *call, int rc, const json_t *answer, const char *text)
{
    struct leaving *l = CONTAINER_OF(call, struct leaving, forecast_call);
    call->done = NULL;
    if (l->gone) {
        free_if_idle(l);
        return;
    }
    if (rc)
        log_debug("migration %s: nothing can be predicted: %s", l->id, text);
    else
        l->forecast = migration_forecast_state(answer, l->forecast_from);
    const struct object *m = migration_object(l);
    if (m && l->forecast)
        migration_forecast_add(l->forecast, json_object_get(m->value, "spec"), l->volume_s);
    leaving_go_on(l);
}

static void foretell(struct leaving *l, const struct object *migration, struct guest_unit *u)
{
    struct migration_goals goals = migration_goals(migration);
    json_t *wish = migration_forecast_wish(mirror_of(l), object_spec_text(migration, "from"),
                                           object_spec_text(migration, "to"), &goals, l->forecast_from);
    l->foretold = true;
    l->volume_s = migration_forecast_volumes(mirror_of(l), wish, json_object_get(migration->value, "spec"));
    goals = migration_forecast_rest(&goals, l->volume_s);
    json_object_set_new(wish, "within-s", json_integer((json_int_t)goals.within_s));
    l->forecast_call = (struct guest_call){.done = foretold, .type = CONTROL_FORECAST, .body = wish};
    if (!guest_unit_call(u, &l->forecast_call))
        return;
    json_decref(wish);
    l->forecast_call.done = NULL;
}

/* ---- asking it to move ---- */

static void asked(struct guest_call *call, int rc, const json_t *answer, const char *text)
{
    struct leaving *l = CONTAINER_OF(call, struct leaving, ask_call);
    (void)answer;
    l->asking = false;
    close(call->fds[0]);
    dial_close(&l->dial);
    if (rc)
        fail(l, rc, text);
    else
        l->process = MIGRATION_PROCESS_MOVING;
    leaving_go_on(l);
}

static json_t *wishes(const struct object *migration)
{
    struct migration_goals goals = migration_goals(migration);
    json_t *wishes = json_pack("{s:I, s:I, s:b}", "downtime-ms", (json_int_t)goals.max_downtime_ms, "within-s",
                               (json_int_t)migration_volumes_rest_s(migration), "hold", 1);
    if (goals.post_copy) /* one that has run for long may not know the word */
        json_object_set_new(wishes, "post-copy", json_true());
    return wishes;
}

static void dialled(struct dial *dial, int rc)
{
    struct leaving *l = CONTAINER_OF(dial, struct leaving, dial);
    l->dialling = false;
    if (l->gone) {
        dial_close(dial);
        free_if_idle(l);
        return;
    }
    const struct object *m = migration_object(l);
    struct guest_unit *u = m ? leaving_unit(l, m) : NULL;
    struct err err = dial->err;
    int key = rc || !u ? -1 : volume_key_bytes_file(l->all->place->state, l->id, member_text(m->value, "key"), &err);
    l->ask_call =
        (struct guest_call){.done = asked, .type = CONTROL_MIGRATE, .fds = {key}, .fd_count = 1 + dial->count};
    if (key >= 0) {
        memcpy(l->ask_call.fds + 1, dial->fds, dial->count * sizeof *dial->fds);
        l->ask_call.body = wishes(m);
        l->asking = !guest_unit_call(u, &l->ask_call);
    }
    if (!l->asking) {
        if (key >= 0)
            close(key);
        json_decref(l->ask_call.body);
        dial_close(dial);
        fail(l, rc ? rc : -EIO, *err.text ? err.text : "the guest does not run any more");
    }
    leaving_go_on(l);
}

static void ask(struct leaving *l, const struct object *migration)
{
    l->asked = l->dialling = true;
    l->dial = (struct dial){.done = dialled, .count = LEAVING_STREAMS};
    snprintf(l->dial.address, sizeof l->dial.address, "%s", member_text(migration->value, "address"));
    dial_begin(&l->dial, l->all->place->worker);
}

static void taken_back(struct guest_call *call, int rc, const json_t *answer, const char *text)
{
    struct leaving *l = CONTAINER_OF(call, struct leaving, back_call);
    (void)answer;
    call->done = NULL;
    l->restored = rc != -EPIPE;
    if (rc && rc != -EBUSY) /* busy: its disks were never closed */
        log_warn("migration %s: the guest cannot be taken back: %s", l->id, text);
    l->fresh = false;
    leaving_go_on(l);
}

static void call_back(struct leaving *l, json_t *body)
{
    const struct object *m = migration_object(l);
    struct guest_unit *u = m ? leaving_unit(l, m) : NULL;
    l->back_call = (struct guest_call){.done = taken_back, .type = CONTROL_MIGRATE_CANCEL, .body = body};
    if (u && !guest_unit_call(u, &l->back_call))
        return;
    json_decref(body);
    l->back_call.done = NULL;
}

/* The volume of a guest's disk, if it has an owner; NULL: it has none. */
static const struct object *owned_volume(const struct mirror *mirror, const json_t *disk)
{
    const struct object *v = mirror_named(mirror, OBJECT_VOLUME, member_text(disk, "volume"));
    return v && volume_has_layout(v) ? v : NULL;
}

static json_t *owned_volumes(const struct mirror *mirror, const struct object *guest)
{
    const json_t *disks = object_spec(guest, "disks");
    json_t *ids = json_array();
    for (size_t i = 0; i < json_array_size(disks); i++) {
        const struct object *v = owned_volume(mirror, json_array_get(disks, i));
        if (v)
            json_array_append_new(ids, json_string(v->id));
    }
    return ids;
}

/* By disk, as MIGRATE_CANCEL takes them. epochs: {"VOLUME": N, ...} */
static json_t *epochs_by_disk(const struct mirror *mirror, const struct object *guest, const json_t *epochs)
{
    const json_t *disks = object_spec(guest, "disks");
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(disks); i++) {
        const struct object *v = owned_volume(mirror, json_array_get(disks, i));
        json_t *epoch = v ? json_object_get(epochs, v->id) : NULL;
        json_array_append(list, epoch ? epoch : json_null());
    }
    return list;
}

/* The destination may have opened them as their owner: the guest goes on here as a later one. */
static void claimed(void *context, int rc, const json_t *epochs, const struct err *err)
{
    struct leaving *l = context;
    l->claim = NULL;
    if (l->gone) {
        free_if_idle(l);
        return;
    }
    const struct object *m = migration_object(l), *guest = m ? guest_of(mirror_of(l), m) : NULL;
    if (rc || !guest) {
        log_warn("migration %s: the guest's volumes cannot be taken back yet: %s", l->id,
                 rc ? err->text : "it is gone");
        l->commit_after_ms = clock_ms() + LOOK_MS / 2;
        l->fresh = false;
        leaving_go_on(l);
        return;
    }
    call_back(l, json_pack("{s:o}", "epochs", epochs_by_disk(mirror_of(l), guest, epochs)));
    leaving_go_on(l);
}

static void take_back(struct leaving *l, const struct object *guest)
{
    struct err err = {0};
    if (l->back_call.done || l->claim || clock_ms() < l->commit_after_ms)
        return;
    json_t *volumes = owned_volumes(mirror_of(l), guest);
    if (json_array_size(volumes))
        l->claim = owner_claim(l->all->cluster, guest->id, volumes, NULL, claimed, l, &err);
    else
        call_back(l, NULL);
    if (*err.text)
        log_warn("migration %s: %s", l->id, err.text);
    json_decref(volumes);
}

/* ---- the switch-over ---- */

static void committed(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct leaving *l = context;
    (void)revision;
    l->committing = false;
    l->commit_after_ms = clock_ms() + LOOK_MS / 2;
    l->unknown |= rc == -ETIMEDOUT;
    if (rc == -EHOSTUNREACH && l->asked && !l->unknown)
        l->store_away = true; /* and no switch-over of ours, or of an agent before us, may be on its way still */
    if (rc)
        log_warn("migration %s: the switch-over %s: %s", l->id,
                 rc == -ETIMEDOUT ? "may have been made or not" : "was not made", err->text);
    leaving_go_on(l);
}

static void refused(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct leaving *l = context;
    (void)revision;
    l->committing = false;
    l->commit_after_ms = clock_ms() + LOOK_MS / 2;
    if (rc)
        log_debug("migration %s: %s", l->id, err->text);
    leaving_go_on(l);
}

static void commit(struct leaving *l, const struct object *migration, const struct object *guest)
{
    struct change *change = change_new(l->all->cluster);
    if (!change)
        return; /* the timer tries again */
    json_t *value = json_deep_copy(guest->value), *mark = json_deep_copy(migration->value);
    json_object_set_new(json_object_get(value, "spec"), "node", json_string(object_spec_text(migration, "to")));
    if (l->late) /* it is in it until all of it is there */
        json_object_set_new(mark, "follows", json_true());
    else
        json_object_del(value, "migration");
    json_object_set_new(value, "moved", json_true());
    json_object_set_new(mark, "switched", json_true());
    change_put(change, OBJECT_GUEST, guest->id, value, guest->revision);
    change_put(change, OBJECT_MIGRATION, migration->id, mark, migration->revision);
    l->committing = true;
    change_commit(change, committed, l);
}

/* There will be none: as long as it was not made, which is known by the same change. */
static void refuse(struct leaving *l, const struct object *migration, const char *reason)
{
    struct change *change = clock_ms() < l->commit_after_ms ? NULL : change_new(l->all->cluster);
    if (!change)
        return;
    const char *why = member_text(l->progress, "link-reason");
    json_t *mark = json_deep_copy(migration->value);
    json_object_set_new(mark, "refused", *why ? json_sprintf("%s: %s", reason, why) : json_string(reason));
    change_put(change, OBJECT_MIGRATION, migration->id, mark, migration->revision);
    l->committing = true;
    change_commit(change, refused, l);
}

/* ---- the end ---- */

static void closed(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct leaving *l = context;
    (void)revision;
    l->closing = false;
    if (rc)
        log_debug("migration %s: %s", l->id, err->text);
    leaving_go_on(l);
}

/* The guest is free for another migration. */
static void unmark(struct leaving *l, const struct object *guest)
{
    struct change *change = change_new(l->all->cluster);
    if (!change)
        return;
    json_t *value = json_deep_copy(guest->value);
    json_object_del(value, "migration");
    change_put(change, OBJECT_GUEST, guest->id, value, guest->revision);
    l->closing = true;
    change_commit(change, closed, l);
}

/* "recalled", "volumes_s": of the record. */
static void write_down(struct leaving *l, const struct object *migration, const char *key, json_t *what)
{
    struct change *change = change_new(l->all->cluster);
    if (!change) {
        json_decref(what);
        return;
    }
    json_t *value = json_deep_copy(migration->value);
    json_object_set_new(value, key, what);
    change_put(change, OBJECT_MIGRATION, migration->id, value, migration->revision);
    l->closing = true;
    change_commit(change, closed, l);
}

static void close_it(struct leaving *l, const struct object *guest, enum migration_phase phase, const char *reason)
{
    char at[TIMESTAMP_BYTES], moved[MIGRATION_VOLUMES_TEXT_MAX] = "";
    char text[ERR_TEXT_MAX + sizeof moved];
    const struct object *m = migration_object(l);
    if (guest && !strcmp(member_text(guest->value, "migration"), l->id)) {
        unmark(l, guest);
        return;
    }
    reason = *reason || phase == MIGRATION_DONE ? reason : l->why.text;
    if (m && phase != MIGRATION_DONE)
        migration_volumes_moved(mirror_of(l), m, moved, sizeof moved);
    snprintf(text, sizeof text, "%.*s%s", (int)utf8_whole(reason, strnlen(reason, ERR_TEXT_MAX - 1)), reason, moved);
    json_t *state = state_of(l, phase, text);
    json_object_set_new(state, "ended", json_string(timestamp(at)));
    json_object_set_new(state, "total_ms", json_integer((json_int_t)(clock_ms() - l->since_ms)));
    if (phase == MIGRATION_DONE && l->switched_ms && !json_object_get(state, "downtime_ms"))
        json_object_set_new(state, "downtime_ms", json_integer((json_int_t)(clock_ms() - l->switched_ms)));
    log_info("migration %s: %s%s%s", l->id, migration_phase_name(phase), *text ? ": " : "", text);
    report_state(l->all->place->report, OBJECT_MIGRATION, l->id, state);
    l->told = true;
}

/* ---- step by step ---- */

static bool runs_there(const struct object *guest, const struct object *migration)
{
    return guest && !strcmp(member_text(guest->state, "node"), object_spec_text(migration, "to")) &&
           !strcmp(member_text(guest->state, "phase"), "running");
}

/* By this node's own clock: an agent that begins anew counts anew. */
static uint64_t age_s(const struct leaving *l)
{
    return (clock_ms() - l->since_ms) / 1000;
}

static void act(struct leaving *l, const struct object *migration, const struct object *guest,
                const struct migration_decision *d)
{
    switch (d->step) {
    case MIGRATION_STEP_WAIT:
        break;
    case MIGRATION_STEP_ASK:
        ask(l, migration);
        break;
    case MIGRATION_STEP_COMMIT:
        if (clock_ms() < l->commit_after_ms)
            break;
        l->switched_ms = l->switched_ms ? l->switched_ms : clock_ms();
        commit(l, migration, guest);
        break;
    case MIGRATION_STEP_REFUSE:
        refuse(l, migration, d->reason);
        break;
    case MIGRATION_STEP_GO:
        leaving_late_go(l, leaving_unit(l, migration));
        break;
    case MIGRATION_STEP_RESUME:
        leaving_late_resume(l, migration);
        break;
    case MIGRATION_STEP_LEAVE:
        guests_look(l->all->place->guests); /* the guest is not ours any more: its process is dropped */
        break;
    case MIGRATION_STEP_TAKE_BACK:
        l->switched_ms = 0;
        take_back(l, guest);
        break;
    case MIGRATION_STEP_RECALL:
        write_down(l, migration, "recalled", json_string(d->reason));
        break;
    case MIGRATION_STEP_VOLUMES:
        write_down(l, migration, "volumes_s", json_integer((json_int_t)age_s(l)));
        break;
    case MIGRATION_STEP_CLOSE:
        if (d->phase != MIGRATION_DONE || runs_there(guest, migration) || clock_ms() - l->switched_ms > ARRIVE_MS)
            close_it(l, guest, d->phase, d->reason);
        break;
    }
}

/* This agent has only begun, and has not found the guest's process yet: that it does not run cannot be said. */
static bool is_not_seen_yet(const struct leaving *l, const struct object *migration, const struct object *guest)
{
    const struct guest_unit *u = guests_find(l->all->place->guests, object_spec_text(migration, "guest_id"));
    if (guest && u && migration_followed(mirror_of(l), guest, cluster_node(l->all->cluster)))
        return guest_unit_phase(u) == GUEST_PHASE_STOPPED;
    return guest && json_is_true(object_spec(guest, "running")) &&
           !strcmp(object_spec_text(guest, "node"), cluster_node(l->all->cluster)) &&
           (!u || guest_unit_phase(u) == GUEST_PHASE_STOPPED);
}

static void look_at(struct leaving *l, const struct object *migration)
{
    const struct object *guest = guest_of(mirror_of(l), migration);
    struct guest_unit *u = leaving_unit(l, migration);
    if (l->told || l->closing || l->dialling || l->asking)
        return;
    if (!u && is_not_seen_yet(l, migration, guest))
        return;
    l->late |= json_is_true(json_object_get(migration->value, "follows"));
    if (u && guest && !l->foretold && !*member_text(migration->value, "address"))
        foretell(l, migration, u);
    struct migration_volumes volumes;
    bool pending = migration_volumes_pending(migration);
    if (pending)
        migration_volumes_look(mirror_of(l), migration, &volumes);
    if (pending || !l->ready_ms)
        l->ready_ms = clock_ms();
    if (!u)
        l->process = MIGRATION_PROCESS_NONE;
    else if (pending)
        l->process = MIGRATION_PROCESS_IDLE;
    else if (l->process != MIGRATION_PROCESS_FAILED && !l->fresh)
        query(l, u);
    if (l->querying)
        return;
    if (l->process == MIGRATION_PROCESS_FAILED && u && guest && !l->restored) {
        take_back(l, guest); /* the destination may have been the owner of its volumes before it failed */
        return;
    }
    struct migration_view view = {.migration = migration,
                                  .guest = guest,
                                  .process = l->process,
                                  .asked = l->asked,
                                  .committing = l->committing,
                                  .store_away = l->store_away,
                                  .broken = l->broken,
                                  .late = clock_ms() - l->ready_ms > READY_MS,
                                  .volumes = pending ? &volumes : NULL,
                                  .overdue = age_s(l) > migration_goals(migration).within_s};
    struct migration_decision d = migration_decide(&view);
    act(l, migration, guest, &d);
    if (!l->told && !l->closing)
        tell(l, migration);
}

/* ---- all of them ---- */

static void timer_fired(struct loop_timer *timer)
{
    struct leaving *l = CONTAINER_OF(timer, struct leaving, timer);
    l->fresh = false;
    loop_defer(l->all->place->loop, &l->all->job);
}

static struct leaving *find(struct migrations *ms, const char *id)
{
    struct leaving *l;
    LIST_FOREACH (l, &ms->all, link)
        if (!strcmp(l->id, id))
            return l;
    return NULL;
}

static struct leaving *take_in(struct migrations *ms, const struct object *migration)
{
    struct leaving *l = calloc(1, sizeof *l);
    if (!l || !(l->id = strdup(migration->id))) {
        free(l);
        return NULL;
    }
    l->all = ms;
    l->since_ms = clock_ms();
    l->timer.fire = timer_fired;
    LIST_INSERT_HEAD(&ms->all, l, link);
    return l;
}

static void let_go(struct leaving *l)
{
    LIST_REMOVE(l, link);
    loop_timer_clear(l->all->place->loop, &l->timer);
    l->gone = true;
    free_if_idle(l);
}

static void look_at_departure(struct migrations *ms, const struct object *m)
{
    struct leaving *l = find(ms, m->id);
    if (!l && !(l = take_in(ms, m)))
        return;
    l->seen = true;
    look_at(l, m);
    loop_timer_set(ms->place->loop, &l->timer, clock_ns() + LOOK_MS * 1000000ull);
}

static void evaluate(struct loop_job *job)
{
    struct migrations *ms = CONTAINER_OF(job, struct migrations, job);
    const struct mirror *mirror = cluster_mirror(ms->cluster);
    const char *node = cluster_node(ms->cluster);
    const struct object *oldest = NULL;
    unsigned ended = 0;
    struct leaving *l, *next;
    if (!cluster_is_current(ms->cluster))
        return;
    arrivals_begin(ms->arrivals);
    LIST_FOREACH (l, &ms->all, link)
        l->seen = false;
    for (const struct object *m = mirror_next(mirror, OBJECT_MIGRATION, NULL); m;
         m = mirror_next(mirror, OBJECT_MIGRATION, m->name)) {
        bool leaves = !strcmp(object_spec_text(m, "from"), node), over = migration_has_ended(m);
        if (leaves && over) {
            oldest = oldest ? oldest : m;
            ended++;
        } else if (leaves) {
            look_at_departure(ms, m);
        } else if (!over && !strcmp(object_spec_text(m, "to"), node)) {
            arrivals_look(ms->arrivals, m);
        }
        migration_remains_look(mirror, m, node, ms->place->report);
    }
    arrivals_end(ms->arrivals);
    if (ended > ENDED_MAX)
        report_deleted(ms->place->report, oldest);
    for (l = LIST_FIRST(&ms->all); l; l = next) {
        next = LIST_NEXT(l, link);
        if (!l->seen)
            let_go(l);
    }
}

static void object_changed(struct mirror_listener *listener, const struct object *object, enum object_part part)
{
    struct migrations *ms = CONTAINER_OF(listener, struct migrations, listener);
    bool node = object->kind == OBJECT_NODE && part == OBJECT_VALUE; /* it came, or was removed */
    if (node || object->kind == OBJECT_MIGRATION || object->kind == OBJECT_GUEST || object->kind == OBJECT_VOLUME_MOVE)
        loop_defer(ms->place->loop, &ms->job);
}

static void unit_changed(void *context)
{
    struct migrations *ms = context;
    struct leaving *l;
    LIST_FOREACH (l, &ms->all, link)
        l->fresh = false;
    loop_defer(ms->place->loop, &ms->job);
}

/* ---- life ---- */

struct migrations *migrations_new(struct cluster *cluster, const struct migrations_place *place, struct err *err)
{
    struct migrations *ms = calloc(1, sizeof *ms);
    if (ms)
        ms->arrivals = arrivals_new(place->loop, cluster, place->guests, &ms->job);
    if (!ms || !ms->arrivals) {
        err_set(err, ENOMEM, "out of memory");
        free(ms);
        return NULL;
    }
    ms->cluster = cluster;
    ms->place = place;
    ms->listener.changed = object_changed;
    ms->job.run = evaluate;
    LIST_INIT(&ms->all);
    mirror_listen(cluster_mirror(cluster), &ms->listener);
    guests_watch(place->guests, unit_changed, ms);
    loop_defer(place->loop, &ms->job);
    return ms;
}

void migrations_free(struct migrations *ms)
{
    if (!ms)
        return;
    mirror_unlisten(&ms->listener);
    guests_watch(ms->place->guests, NULL, NULL);
    while (!LIST_EMPTY(&ms->all))
        let_go(LIST_FIRST(&ms->all));
    arrivals_free(ms->arrivals);
    loop_forget(ms->place->loop, &ms->job);
    free(ms);
}
