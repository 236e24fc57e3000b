#include "node/agent/volume_move.h"

#include <jansson.h>
#include <string.h>

#include "node/agent/member.h"
#include "node/agent/migration_volumes.h"
#include "node/agent/record_name.h"
#include "node/agent/volume_member.h"
#include "node/agent/volume_work.h"
#include "node/base/timestamp.h"

static const char *const phases[VOLUME_MOVE_PHASE_COUNT] = {"waiting", "copying", "copied",   "settled",
                                                            "done",    "failed",  "cancelled"};

/* ---- the record ---- */

json_t *volume_move_make(const struct object *volume, const struct volume_move_wish *w)
{
    char began[TIMESTAMP_BYTES], name[RECORD_NAME_BYTES];
    record_name(timestamp(began), w->id, name);
    return json_pack("{s:s, s:s, s:s, s:{s:s, s:s, s:i, s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:s}}", "kind",
                     object_kind_name(OBJECT_VOLUME_MOVE), "id", w->id, "name", name, "spec", "volume", volume->name,
                     "volume_id", volume->id, "index", w->index, "from", w->from->name, "to", w->to->name, "node",
                     object_spec_text(w->to, "node"), "member", w->member, "bytes", (json_int_t)w->bytes, "migration",
                     w->migration, "by", w->by, "began", began);
}

const char *volume_move_phase_name(enum volume_move_phase phase)
{
    return phases[phase];
}

enum volume_move_phase volume_move_phase_of(const struct object *move)
{
    const char *text = member_text(move->state, "phase");
    for (int p = 0; p < VOLUME_MOVE_PHASE_COUNT; p++)
        if (!strcmp(phases[p], text))
            return (enum volume_move_phase)p;
    return VOLUME_MOVE_WAITING;
}

bool volume_move_has_ended(const struct object *move)
{
    return volume_move_phase_of(move) >= VOLUME_MOVE_DONE;
}

bool volume_move_is_switched(const struct object *move)
{
    return json_is_true(json_object_get(move->value, "switched"));
}

int volume_move_index(const struct object *move)
{
    return (int)json_integer_value(object_spec(move, "index"));
}

/* ---- what belongs to it ---- */

const struct object *volume_move_of(const struct mirror *m, const struct object *volume)
{
    const char *id = member_text(volume->value, "move");
    const struct object *move = *id ? mirror_find(m, OBJECT_VOLUME_MOVE, id) : NULL;
    return move && move->value ? move : NULL;
}

const struct object *volume_move_of_guest(const struct mirror *m, const struct object *guest)
{
    const json_t *disks = object_spec(guest, "disks");
    for (size_t i = 0; i < json_array_size(disks); i++) {
        const struct object *v = mirror_named(m, OBJECT_VOLUME, member_text(json_array_get(disks, i), "volume"));
        if (v && volume_move_of(m, v))
            return volume_move_of(m, v);
    }
    return NULL;
}

const struct object *volume_move_volume(const struct mirror *m, const struct object *move)
{
    const struct object *o = mirror_find(m, OBJECT_VOLUME, object_spec_text(move, "volume_id"));
    return o && o->value ? o : NULL;
}

const struct object *volume_move_member(const struct mirror *m, const struct object *move)
{
    const struct object *o = mirror_find(m, OBJECT_MEMBER, object_spec_text(move, "member"));
    return o && o->value && !json_is_true(json_object_get(o->value, "deleting")) ? o : NULL;
}

const char *volume_move_uri(const struct mirror *m, const struct object *move)
{
    const struct object *member = volume_move_member(m, move);
    bool made = member && json_is_true(json_object_get(member->state, "made"));
    return made ? member_text(member->state, "uri") : "";
}

static bool is_offline(const struct object *move)
{
    return json_is_true(json_object_get(move->value, "offline"));
}

const char *volume_move_conductor(const struct mirror *m, const struct object *move)
{
    const struct object *volume = volume_move_volume(m, move);
    const struct object *pool = mirror_named(m, OBJECT_POOL, object_spec_text(move, "from"));
    const char *owner = pool ? object_spec_text(pool, "node") : "";
    if (!volume)
        return owner;
    if (volume_work_is_guests(m, volume) && !is_offline(move)) /* whoever copies for it ends that first */
        return object_spec_text(volume_guest(m, volume), "node");
    return volume_has_layout(volume) ? volume_home(m, volume) : owner;
}

/* ---- what the conductor does ---- */

static struct volume_move_decision decision(enum volume_move_step step)
{
    return (struct volume_move_decision){.step = step, .reason = ""};
}

static struct volume_move_decision closing(enum volume_move_phase phase, const char *reason)
{
    return (struct volume_move_decision){VOLUME_MOVE_STEP_CLOSE, phase, reason};
}

/* The guest's that it moves along with; NULL: it moves alone, or that one is gone. */
static const struct object *migration_of_move(const struct volume_move_view *v)
{
    return mirror_find(v->mirror, OBJECT_MIGRATION, object_spec_text(v->move, "migration"));
}

static bool moves_along(const struct volume_move_view *v)
{
    return *object_spec_text(v->move, "migration");
}

/* Why it is not to go on; NULL: nothing is in its way. */
static const char *obstacle(const struct volume_move_view *v, enum volume_move_phase *phase)
{
    const struct object *volume = volume_move_volume(v->mirror, v->move);
    const struct object *member = volume_move_member(v->mirror, v->move);
    const char *failed = member_text(v->move->value, "failed");
    const char *recalled = moves_along(v) ? migration_volumes_obstacle(v->mirror, migration_of_move(v)) : NULL;
    *phase = VOLUME_MOVE_CANCELLED;
    if (json_is_true(json_object_get(v->move->value, "cancel")))
        return "cancelled";
    if (!volume || json_is_true(json_object_get(volume->value, "deleting")))
        return "the volume is being deleted";
    if (recalled)
        return recalled;
    *phase = VOLUME_MOVE_FAILED;
    if (*failed)
        return failed;
    if (!member)
        return "the new bytes are gone";
    if (!strcmp(member_text(member->state, "phase"), "failed"))
        return *member_text(member->state, "reason") ? member_text(member->state, "reason")
                                                     : "the destination could not make the new bytes";
    if (v->late && !*volume_move_uri(v->mirror, v->move))
        return "the destination did not get ready in time";
    if (v->process == VOLUME_MOVE_GAVE_UP || *v->why)
        return *v->why ? v->why : "the new bytes cannot be written";
    if (v->process == VOLUME_MOVE_HOLDS && v->waits)
        return "the new bytes, or the old ones, do not take a write";
    return NULL;
}

/* The old bytes stay the volume. */
static struct volume_move_decision decide_to_stay(const struct volume_move_view *v, enum volume_move_phase phase,
                                                  const char *why)
{
    bool marked = *member_text(v->move->value, "failed") || json_is_true(json_object_get(v->move->value, "cancel"));
    if (v->copy == VOLUME_MOVE_COPY_RUNS)
        return decision(VOLUME_MOVE_STEP_STOP);
    switch (v->process) {
    case VOLUME_MOVE_UNKNOWN:
        return decision(VOLUME_MOVE_STEP_WAIT);
    case VOLUME_MOVE_NONE:
    case VOLUME_MOVE_IDLE:
        return closing(phase, why);
    case VOLUME_MOVE_COPIES:
    case VOLUME_MOVE_SYNCED:
    case VOLUME_MOVE_GAVE_UP:
        return decision(VOLUME_MOVE_STEP_STAY);
    case VOLUME_MOVE_HOLDS: /* a switch-over may be on its way: it must find that nothing is to come of it */
        break;
    }
    return marked ? decision(VOLUME_MOVE_STEP_STAY)
                  : (struct volume_move_decision){.step = VOLUME_MOVE_STEP_MARK, .reason = why};
}

static struct volume_move_decision decide_without_a_guest(const struct volume_move_view *v)
{
    switch (v->copy) {
    case VOLUME_MOVE_COPY_NONE: /* whoever copied before this agent may do so still */
        return decision(is_offline(v->move) ? VOLUME_MOVE_STEP_REMAKE : VOLUME_MOVE_STEP_COPY);
    case VOLUME_MOVE_COPY_DONE:
        return decision(VOLUME_MOVE_STEP_COMMIT);
    default:
        return decision(VOLUME_MOVE_STEP_WAIT);
    }
}

static bool waits_for_others(const struct volume_move_view *v)
{
    const struct object *migration = moves_along(v) ? migration_of_move(v) : NULL;
    return migration && !migration_volumes_are_copied(v->mirror, migration);
}

static struct volume_move_decision decide_to_go_on(const struct volume_move_view *v, const struct object *volume)
{
    bool guest = volume_work_is_guests(v->mirror, volume);
    if (!*volume_move_uri(v->mirror, v->move))
        return decision(VOLUME_MOVE_STEP_WAIT);
    if (guest && (v->copy != VOLUME_MOVE_COPY_NONE || is_offline(v->move)))
        return decision(v->copy == VOLUME_MOVE_COPY_NONE ? VOLUME_MOVE_STEP_REMAKE : VOLUME_MOVE_STEP_STOP);
    switch (v->process) {
    case VOLUME_MOVE_NONE:
        return guest ? decision(VOLUME_MOVE_STEP_WAIT) : decide_without_a_guest(v);
    case VOLUME_MOVE_IDLE:
        return decision(VOLUME_MOVE_STEP_BEGIN);
    case VOLUME_MOVE_SYNCED:
        return decision(waits_for_others(v) ? VOLUME_MOVE_STEP_WAIT : VOLUME_MOVE_STEP_SETTLE);
    case VOLUME_MOVE_HOLDS:
        return decision(VOLUME_MOVE_STEP_COMMIT);
    default:
        return decision(VOLUME_MOVE_STEP_WAIT);
    }
}

struct volume_move_decision volume_move_decide(const struct volume_move_view *v)
{
    enum volume_move_phase phase;
    const struct object *volume = volume_move_volume(v->mirror, v->move);
    if (volume_move_is_switched(v->move)) {
        if (v->process == VOLUME_MOVE_UNKNOWN)
            return decision(VOLUME_MOVE_STEP_WAIT);
        return v->process <= VOLUME_MOVE_IDLE ? closing(VOLUME_MOVE_DONE, "") : decision(VOLUME_MOVE_STEP_LEAVE);
    }
    const char *why = obstacle(v, &phase);
    return why ? decide_to_stay(v, phase, why) : decide_to_go_on(v, volume);
}
