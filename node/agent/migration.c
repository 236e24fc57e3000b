#include "node/agent/migration.h"

#include <jansson.h>
#include <string.h>

#include "node/agent/member.h"
#include "node/agent/migration_volumes.h"
#include "node/agent/record_name.h"
#include "node/agent/volume_move.h"
#include "node/base/timestamp.h"

static const char *const phases[MIGRATION_PHASE_COUNT] = {"waiting",   "volumes", "copying", "switching",
                                                          "post-copy", "done",    "failed",  "cancelled"};

/* ---- the record ---- */

json_t *migration_make(const struct object *guest, const char *id, const char *to, const char *key,
                       const struct migration_goals *goals, const char *by)
{
    char began[TIMESTAMP_BYTES], name[RECORD_NAME_BYTES];
    record_name(timestamp(began), id, name);
    return json_pack("{s:s, s:s, s:s, s:s, s:{s:s, s:s, s:s, s:s, s:I, s:I, s:b, s:s, s:s}}", "kind",
                     object_kind_name(OBJECT_MIGRATION), "id", id, "name", name, "key", key, "spec", "guest",
                     guest->name, "guest_id", guest->id, "from", object_spec_text(guest, "node"), "to", to,
                     "max_downtime_ms", (json_int_t)goals->max_downtime_ms, "within_s", (json_int_t)goals->within_s,
                     "post_copy", goals->post_copy, "by", by, "began", began);
}

struct migration_goals migration_goals(const struct object *m)
{
    return (struct migration_goals){
        .max_downtime_ms = (uint64_t)json_integer_value(object_spec(m, "max_downtime_ms")),
        .within_s = (uint64_t)json_integer_value(object_spec(m, "within_s")),
        .post_copy = json_is_true(object_spec(m, "post_copy")),
    };
}

enum migration_post_copy migration_post_copy(const struct object *guest)
{
    const char *said = object_spec_text(guest, "post_copy");
    if (!strcmp(said, "never"))
        return MIGRATION_POST_COPY_NEVER;
    return !strcmp(said, "allowed") ? MIGRATION_POST_COPY_ALLOWED : MIGRATION_POST_COPY_ASKED;
}

const char *migration_phase_name(enum migration_phase phase)
{
    return phases[phase];
}

enum migration_phase migration_phase_of(const struct object *m)
{
    const char *text = member_text(m->state, "phase");
    for (int p = 0; p < MIGRATION_PHASE_COUNT; p++)
        if (!strcmp(phases[p], text))
            return (enum migration_phase)p;
    return MIGRATION_WAITING;
}

bool migration_has_ended(const struct object *m)
{
    return migration_phase_of(m) >= MIGRATION_DONE;
}

/* ---- the guest ---- */

const struct object *migration_of(const struct mirror *mirror, const struct object *guest)
{
    const char *id = member_text(guest->value, "migration");
    const struct object *m = *id ? mirror_find(mirror, OBJECT_MIGRATION, id) : NULL;
    return m && m->value ? m : NULL;
}

bool migration_may_begin(const struct mirror *mirror, const struct object *guest)
{
    return guest->value && json_is_true(object_spec(guest, "running")) &&
           !strcmp(member_text(guest->state, "phase"), "running") &&
           !json_is_true(json_object_get(guest->value, "deleting")) && !migration_of(mirror, guest) &&
           !volume_move_of_guest(mirror, guest);
}

bool migration_concerns(const struct mirror *mirror, const struct object *guest, const char *node)
{
    const struct object *m = migration_of(mirror, guest);
    return !strcmp(object_spec_text(guest, "node"), node) || (m && !strcmp(object_spec_text(m, "to"), node));
}

const struct object *migration_followed(const struct mirror *mirror, const struct object *guest, const char *node)
{
    const struct object *m = migration_of(mirror, guest);
    bool follows = m && json_is_true(json_object_get(m->value, "switched")) &&
                   json_is_true(json_object_get(m->value, "follows")) && !strcmp(object_spec_text(m, "from"), node) &&
                   !strcmp(object_spec_text(guest, "node"), object_spec_text(m, "to"));
    return follows && !migration_has_ended(m) ? m : NULL;
}

bool migration_moved(const struct object *guest)
{
    return json_is_true(json_object_get(guest->value, "moved"));
}

/* ---- what the source does ---- */

static struct migration_decision decision(enum migration_step step)
{
    return (struct migration_decision){.step = step, .reason = ""};
}

static struct migration_decision closing(enum migration_phase phase, const char *reason)
{
    return (struct migration_decision){MIGRATION_STEP_CLOSE, phase, reason};
}

/* Why it is not to go on; NULL: nothing is in its way. */
static const char *obstacle(const struct migration_view *v, enum migration_phase *phase)
{
    const char *refused = member_text(v->migration->value, "refused");
    *phase = MIGRATION_CANCELLED;
    if (json_is_true(json_object_get(v->migration->value, "cancel")))
        return "cancelled";
    if (json_is_true(json_object_get(v->guest->value, "deleting")))
        return "the guest is being deleted";
    if (!json_is_true(object_spec(v->guest, "running")))
        return "the guest was told to stop, or has switched itself off";
    *phase = MIGRATION_FAILED;
    if (*refused)
        return refused;
    if (v->store_away)
        return "the store cannot be reached, so the guest cannot change hands";
    if (v->late && !v->asked && v->process == MIGRATION_PROCESS_IDLE) /* else an agent before us has asked */
        return "the destination did not get ready in time";
    return NULL;
}

/* The guest runs where it was, and has not been asked for anything. Whatever is in the way, the volumes are to know it
 * before it is over: each of them ends where it is whole, and only then it can be said where that is. */
static struct migration_decision decide_volumes(const struct migration_view *v, enum migration_phase phase,
                                                const char *why)
{
    const struct migration_volumes *w = v->volumes;
    const char *recalled = member_text(v->migration->value, "recalled");
    phase = why ? phase : MIGRATION_FAILED;
    if (!why && *recalled)
        why = recalled;
    else if (!why && v->process == MIGRATION_PROCESS_NONE)
        why = "the guest does not run any more";
    else if (!why && *w->why)
        why = w->why;
    else if (!why && v->overdue && w->done < w->count)
        why = "its volumes were not there in the time that it may take";
    if (why && w->ended == w->count)
        return closing(phase, why);
    if (why && !*recalled && !json_is_true(json_object_get(v->migration->value, "cancel")))
        return (struct migration_decision){MIGRATION_STEP_RECALL, phase, why};
    return decision(!why && w->done == w->count ? MIGRATION_STEP_VOLUMES : MIGRATION_STEP_WAIT);
}

static struct migration_decision decide_before(const struct migration_view *v)
{
    enum migration_phase phase;
    const char *why = obstacle(v, &phase);
    if (v->volumes)
        return decide_volumes(v, phase, why);
    switch (v->process) {
    case MIGRATION_PROCESS_NONE:
        return closing(MIGRATION_FAILED, why ? why : "the guest does not run any more");
    case MIGRATION_PROCESS_FAILED:
        return closing(why ? phase : MIGRATION_FAILED, why ? why : "");
    case MIGRATION_PROCESS_IDLE:
        if (why)
            return closing(phase, why);
        if (v->asked)
            return decision(MIGRATION_STEP_WAIT); /* the question is on its way */
        return decision(*member_text(v->migration->value, "address") ? MIGRATION_STEP_ASK : MIGRATION_STEP_WAIT);
    case MIGRATION_PROCESS_MOVING:
    case MIGRATION_PROCESS_READY:
    case MIGRATION_PROCESS_SERVES:
        break;
    }
    if (why)
        return (struct migration_decision){MIGRATION_STEP_TAKE_BACK, phase, why};
    if (v->process == MIGRATION_PROCESS_READY && v->broken) /* the rest of it may never come there */
        return (struct migration_decision){MIGRATION_STEP_REFUSE, MIGRATION_FAILED,
                                           "the connections broke before all of the guest's memory was there"};
    return decision(v->process == MIGRATION_PROCESS_READY ? MIGRATION_STEP_COMMIT : MIGRATION_STEP_WAIT);
}

/* How it ends is the destination's to say; that this process has ended is said to it meanwhile. */
static struct migration_decision decide_following(const struct migration_view *v)
{
    const json_t *value = v->migration->value;
    const char *lost = member_text(value, "lost");
    const char *id = v->guest && v->guest->value ? member_text(v->guest->value, "migration") : "";
    bool runs = v->process != MIGRATION_PROCESS_NONE;
    if (*lost || json_object_get(value, "arrived")) {
        if (runs)
            return decision(MIGRATION_STEP_LEAVE);
        return *lost ? closing(MIGRATION_FAILED, lost) : closing(MIGRATION_DONE, "");
    }
    if (strcmp(id, v->migration->id) != 0) { /* taken over, or deleted */
        if (runs)
            return decision(MIGRATION_STEP_LEAVE);
        return closing(MIGRATION_FAILED, "the guest was lost at its destination before all of its memory was there");
    }
    if (v->process == MIGRATION_PROCESS_READY)
        return decision(MIGRATION_STEP_GO);
    return decision(v->process == MIGRATION_PROCESS_SERVES && v->broken ? MIGRATION_STEP_RESUME : MIGRATION_STEP_WAIT);
}

/* While the switch-over is under way nothing is known; what the mirror shows of a guest that is still the source's and
 * was changed meanwhile also tells that the switch-over did not and will not take place, because it expected the guest
 * as it was. So nothing has to be waited for but the answer. */
struct migration_decision migration_decide(const struct migration_view *v)
{
    if (v->committing)
        return decision(MIGRATION_STEP_WAIT);
    if (json_is_true(json_object_get(v->migration->value, "switched")) &&
        json_is_true(json_object_get(v->migration->value, "follows")))
        return decide_following(v);
    if (json_is_true(json_object_get(v->migration->value, "switched")))
        return v->process == MIGRATION_PROCESS_NONE ? closing(MIGRATION_DONE, "") : decision(MIGRATION_STEP_LEAVE);
    if (!v->guest || !v->guest->value)
        return closing(MIGRATION_CANCELLED, "the guest is gone");
    return decide_before(v);
}

/* ---- what the destination does while pages follow ---- */

static const char stopped[] = "the guest was stopped before all of its memory was there";

enum migration_arrival_step migration_arrive(const struct migration_arrival *v, const char **reason)
{
    bool gone = json_is_true(json_object_get(v->migration->state, "source_gone"));
    bool hurry = json_is_true(json_object_get(v->guest->value, "hurry")) ||
                 json_is_true(json_object_get(v->guest->value, "deleting"));
    *reason = "";
    switch (v->process) {
    case MIGRATION_THERE_WHOLE:
        return MIGRATION_ARRIVAL_WHOLE;
    case MIGRATION_THERE_FED:
        return MIGRATION_ARRIVAL_WAIT;
    case MIGRATION_THERE_MUTE:
        if (!gone && !v->away && !hurry)
            return MIGRATION_ARRIVAL_WAIT; /* connections are made anew */
        *reason = gone      ? "the process that its last pages were to come from has ended"
                  : v->away ? "the node that its last pages were to come from is lost"
                            : stopped;
        return MIGRATION_ARRIVAL_END;
    case MIGRATION_THERE_NONE:
        break;
    }
    *reason = json_is_true(object_spec(v->guest, "running"))
                  ? "the guest's process ended before all of its memory was there"
                  : stopped;
    return MIGRATION_ARRIVAL_LOST;
}
