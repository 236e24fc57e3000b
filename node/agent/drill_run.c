#include "node/agent/drill_run.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "node/agent/drill_blast.h"
#include "node/agent/member.h"

/* ---- what is told ---- */

__attribute__((format(printf, 3, 4))) static void tell(struct drill_run *r, enum drill_event_kind kind,
                                                       const char *format, ...)
{
    va_list args;
    if (r->event_count == DRILL_EVENTS_MAX)
        return;
    struct drill_event *e = &r->events[r->event_count++];
    e->kind = kind;
    va_start(args, format);
    vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
}

static void enter(struct drill_run *r, enum drill_phase phase, uint64_t now_ms, const char *reason)
{
    r->phase = phase;
    r->phase_ms = now_ms;
    snprintf(r->reason, sizeof r->reason, "%s", reason);
    if (phase == DRILL_HEALING)
        r->heal_at_ms = now_ms;
    if (phase >= DRILL_DONE)
        r->ended_ms = now_ms;
    tell(r, DRILL_EVENT_PHASE, "%s%s%.200s", drill_phase_name(phase), *reason ? ": " : "", reason);
}

/* ---- what is seen of guests ---- */

static void note_before(struct drill_guest *g, const struct drill_sight *s)
{
    g->failovers = s->failovers;
    g->pid = s->runs ? s->pid : g->pid;
    snprintf(g->node, sizeof g->node, "%s", s->node);
}

/* Where the node is not lost, its agent may only have looked away: the same process has not been down. */
static bool has_gone_on(const struct drill_run *r, const struct drill_guest *g, const struct drill_sight *s)
{
    if (r->moves)
        return true; /* wherever it is now: what stood still is for its canary to say */
    return !r->takes_node && s->pid && s->pid == g->pid && !strcmp(s->node, g->node);
}

static void look_at_guest(struct drill_run *r, struct drill_guest *g, const struct drill_sight *s, uint64_t now)
{
    uint64_t past = now - r->fault_ms;
    if (!s->runs && !g->down_ms) {
        g->down_ms = now;
        tell(r, DRILL_EVENT_GUEST, "guest %s does not run", g->name);
    }
    if (s->failovers != g->failovers) {
        tell(r, DRILL_EVENT_GUEST, "guest %s is granted to node %s, %" PRIu64 " ms after the fault", g->name, s->node,
             past);
        g->failovers = s->failovers;
        g->down_ms = g->down_ms ? g->down_ms : now; /* it may run again already */
    }
    if (s->runs && g->down_ms && has_gone_on(r, g, s)) {
        g->down_ms = 0;
        tell(r, DRILL_EVENT_GUEST, "guest %s has run all the time: nobody looked after it for a moment", g->name);
    } else if (s->runs && g->down_ms) {
        g->down_ms = 0;
        g->up_ms = now;
        g->outage_ms = past > g->outage_ms ? past : g->outage_ms;
        tell(r, DRILL_EVENT_GUEST, "guest %s runs on node %s, %" PRIu64 " ms after the fault", g->name, s->node, past);
    }
}

/* A word that says more than the last one. Before the fault it only counts from when. */
static void take_word(struct drill_run *r, struct drill_guest *g, const struct drill_sight *s, uint64_t now)
{
    uint64_t gap = g->word_ms && now > g->word_ms ? now - g->word_ms : 0;
    if (r->fault_ms && gap > g->silent_ms)
        g->silent_ms = gap;
    g->word_ms = now;
    g->start = s->start;
    g->acked = s->acked > g->acked ? s->acked : g->acked;
}

static void look_at_canary(struct drill_run *r, struct drill_guest *g, const struct drill_sight *s, uint64_t now)
{
    if (!s->has_spoken)
        return;
    bool is_first = !g->word_ms, is_new = !is_first && s->start != g->start;
    if (is_new) { /* it has begun anew, and says what it found */
        uint64_t lost = (uint64_t)(g->acked > s->had ? g->acked - s->had : 0) + (uint64_t)(s->holes > 0 ? s->holes : 0);
        g->lost += lost;
        tell(r, DRILL_EVENT_CANARY,
             "canary %s found %" PRId64 " on its disk, %" PRId64 " was acknowledged, %" PRIu64 " missing", g->name,
             s->had, g->acked, lost);
        take_word(r, g, s, now);
    } else if (is_first || s->acked > g->acked) {
        take_word(r, g, s, now);
    }
}

static void look(struct drill_run *r, const struct drill_view *v)
{
    if (r->fault_ms && v->node_alive == r->node_away) {
        r->node_away = !v->node_alive;
        tell(r, DRILL_EVENT_NODE, "node %s is %s, %" PRIu64 " ms after the fault", r->node,
             r->node_away ? "lost" : "back", v->now_ms - r->fault_ms);
    }
    for (unsigned i = 0; i < r->guest_count; i++) {
        if (!v->guests[i].is_there)
            continue;
        if (r->fault_ms)
            look_at_guest(r, &r->guests[i], &v->guests[i], v->now_ms);
        else
            note_before(&r->guests[i], &v->guests[i]);
        if (r->guests[i].is_canary)
            look_at_canary(r, &r->guests[i], &v->guests[i], v->now_ms);
    }
}

static uint64_t lost_writes(const struct drill_run *r)
{
    uint64_t lost = 0;
    for (unsigned i = 0; i < r->guest_count; i++)
        lost += r->guests[i].lost;
    return lost;
}

static void measure(const struct drill_run *r, const struct drill_view *v, uint64_t m[DRILL_MEASURE_COUNT])
{
    memset(m, 0, DRILL_MEASURE_COUNT * sizeof *m);
    m[DRILL_OTHERS_DOWN] = v->others_down > r->others_before ? v->others_down - r->others_before : 0;
    m[DRILL_NODES_AWAY] = v->nodes_away > r->nodes_before ? v->nodes_away - r->nodes_before : 0;
    m[DRILL_VOLUMES_SUSPENDED] =
        v->volumes_suspended > r->volumes_before ? v->volumes_suspended - r->volumes_before : 0;
    m[DRILL_LOST_WRITES] = lost_writes(r);
    for (unsigned i = 0; i < r->guest_count; i++) {
        const struct drill_guest *g = &r->guests[i];
        uint64_t silent = g->is_canary && g->word_ms && v->now_ms > g->word_ms ? v->now_ms - g->word_ms : 0;
        uint64_t down = g->down_ms ? v->now_ms - r->fault_ms : g->outage_ms;
        m[DRILL_GUESTS_DOWN] += g->down_ms != 0;
        m[DRILL_DOWN_MS] = down > m[DRILL_DOWN_MS] ? down : m[DRILL_DOWN_MS];
        m[DRILL_SILENT_MS] = silent > m[DRILL_SILENT_MS] ? silent : m[DRILL_SILENT_MS];
    }
}

/* ---- the phases ---- */

static const struct drill_guest *silent_canary(const struct drill_run *r)
{
    for (unsigned i = 0; i < r->guest_count; i++)
        if (r->guests[i].is_canary && !r->guests[i].word_ms)
            return &r->guests[i];
    return NULL;
}

static void step_declared(struct drill_run *r, const struct drill_view *v)
{
    r->others_before = v->others_down;
    r->nodes_before = v->nodes_away;
    r->volumes_before = v->volumes_suspended;
    if (v->refusal)
        enter(r, DRILL_FAILED, v->now_ms, v->refusal);
    else
        enter(r, DRILL_CHECKED, v->now_ms, "");
}

static void step_checked(struct drill_run *r, const struct drill_view *v)
{
    char text[256];
    const struct drill_guest *silent = silent_canary(r);
    if (v->abort_by) {
        r->is_aborted = true;
        snprintf(text, sizeof text, "by %.100s, before the fault", v->abort_by);
        enter(r, DRILL_ABORTED, v->now_ms, text);
    } else if (!silent) {
        enter(r, DRILL_RUNNING, v->now_ms, "");
    } else if (v->now_ms - r->phase_ms >= DRILL_CANARY_WAIT_MS) {
        snprintf(text, sizeof text,
                 "the canary %s says nothing on its console: let it run what `drover drill canary` prints",
                 silent->name);
        enter(r, DRILL_FAILED, v->now_ms, text);
    }
}

/* Why it is ended now; false: it goes on. */
static bool is_cut_short(const struct drill_run *r, const struct drill_view *v, char *text, int room)
{
    uint64_t measures[DRILL_MEASURE_COUNT];
    if (v->abort_by) {
        snprintf(text, (size_t)room, "aborted by %.100s", v->abort_by);
        return true;
    }
    measure(r, v, measures);
    return drill_condition_holds(&r->condition, measures, text, room);
}

static void step_running(struct drill_run *r, const struct drill_view *v)
{
    char text[200];
    if (v->fault_error && *v->fault_error) {
        enter(r, DRILL_FAILED, v->now_ms, v->fault_error);
        return;
    }
    if (!r->fault_ms && v->fault_known) {
        r->fault_ms = v->now_ms;
        tell(r, DRILL_EVENT_FAULT, "node %s puts the fault in, for %" PRIu64 " ms", r->node, r->for_ms);
    }
    if (!r->fault_ms && v->now_ms - r->phase_ms >= DRILL_FAULT_WAIT_MS) {
        snprintf(text, sizeof text, "node %s did not put the fault in: %s", r->node,
                 r->moves ? "the migration was not seen under way" : "see its log");
        enter(r, DRILL_FAILED, v->now_ms, text);
        return;
    }
    look(r, v);
    if (is_cut_short(r, v, text, sizeof text)) {
        r->is_aborted = true;
        enter(r, DRILL_HEALING, v->now_ms, text);
    } else if (r->fault_ms && v->now_ms >= r->fault_ms + r->for_ms) {
        enter(r, DRILL_HEALING, v->now_ms, "");
    }
}

/* What is not well yet; false: all is. */
static bool is_ill(const struct drill_run *r, const struct drill_view *v, char *text, int room)
{
    uint64_t settle = r->takes_node && !r->is_aborted ? DRILL_LOSS_MS : DRILL_SETTLE_MS;
    snprintf(text, (size_t)room, "the fault was there only just now");
    if (v->now_ms < r->heal_at_ms + DRILL_SETTLE_MS || (r->fault_ms && v->now_ms < r->fault_ms + settle))
        return true;
    snprintf(text, (size_t)room, "node %s is not back", r->node);
    if (!v->node_alive)
        return true;
    snprintf(text, (size_t)room, "the migration has not ended");
    if (v->is_moving)
        return true;
    for (unsigned i = 0; i < r->guest_count; i++) {
        const struct drill_guest *g = &r->guests[i];
        snprintf(text, (size_t)room, "guest %s does not run", g->name);
        if (v->guests[i].is_there && !v->guests[i].runs)
            return true;
        snprintf(text, (size_t)room, "the canary %s has said nothing since the fault ended", g->name);
        if (v->guests[i].is_there && g->is_canary && g->word_ms < r->heal_at_ms)
            return true;
    }
    snprintf(text, (size_t)room, "guests that were not to be hit do not run");
    return v->others_down > r->others_before;
}

static void step_healing(struct drill_run *r, const struct drill_view *v)
{
    char text[200], reason[256];
    look(r, v);
    bool ill = is_ill(r, v, text, sizeof text);
    if (ill && v->now_ms < r->heal_at_ms + r->heal_ms)
        return;
    uint64_t lost = lost_writes(r);
    snprintf(reason, sizeof reason, "%s", r->reason);
    if (ill) {
        snprintf(reason, sizeof reason, "not well again in %" PRIu64 " s: %.180s", r->heal_ms / 1000, text);
        enter(r, DRILL_FAILED, v->now_ms, reason);
    } else if (lost) {
        snprintf(reason, sizeof reason, "%" PRIu64 " acknowledged writes are missing", lost);
        enter(r, DRILL_FAILED, v->now_ms, reason);
    } else {
        enter(r, r->is_aborted ? DRILL_ABORTED : DRILL_DONE, v->now_ms, reason);
    }
}

bool drill_run_step(struct drill_run *r, const struct drill_view *v)
{
    enum drill_phase before = r->phase;
    r->event_count = 0;
    if (r->is_resumed)
        tell(r, DRILL_EVENT_PHASE,
             "its conductor goes on from what was written: moments up to here may be missing, and times be late");
    r->is_resumed = false;
    switch (r->phase) {
    case DRILL_DECLARED:
        step_declared(r, v);
        break;
    case DRILL_CHECKED:
        look(r, v);
        step_checked(r, v);
        break;
    case DRILL_RUNNING:
        step_running(r, v);
        break;
    case DRILL_HEALING:
        step_healing(r, v);
        break;
    case DRILL_DONE:
    case DRILL_ABORTED:
    case DRILL_FAILED:
    case DRILL_PHASE_COUNT:
        break;
    }
    return r->event_count || r->phase != before;
}

/* ---- beginning ---- */

static void add_guest(struct drill_run *r, const json_t *line, bool is_hit)
{
    if (r->guest_count == DRILL_GUESTS_MAX)
        return;
    struct drill_guest *g = &r->guests[r->guest_count++];
    *g = (struct drill_guest){.is_protected = json_is_true(json_object_get(line, "protected")),
                              .is_canary = json_is_true(json_object_get(line, "canary")),
                              .is_hit = is_hit};
    snprintf(g->name, sizeof g->name, "%s", member_text(line, "guest"));
    snprintf(g->id, sizeof g->id, "%s", member_text(line, "id"));
    snprintf(g->node, sizeof g->node, "%s", member_text(line, "node"));
}

static bool is_known(const struct drill_run *r, const char *name)
{
    for (unsigned i = 0; i < r->guest_count; i++)
        if (!strcmp(r->guests[i].name, name))
            return true;
    return false;
}

static void take_spec(struct drill_run *r, const struct object *drill)
{
    char why[DRILL_CONDITION_TEXT_MAX];
    const json_t *spec = json_object_get(drill->value, "spec");
    r->for_ms = drill_number(drill, "for_ms");
    r->heal_ms = drill_number(drill, "heal_ms") ? drill_number(drill, "heal_ms") : DRILL_HEAL_MS;
    r->takes_node = drill_blast_takes_node(spec);
    r->moves = drill_traits(drill_kind_of(member_text(spec, "kind")))->moves;
    snprintf(r->node, sizeof r->node, "%s", member_text(spec, "node"));
    drill_condition_parse(member_text(spec, "abort_if"), &r->condition, why, sizeof why); /* it was checked */
}

void drill_run_begin(struct drill_run *r, const struct object *drill, const json_t *blast, uint64_t now_ms)
{
    size_t i;
    json_t *line;
    memset(r, 0, sizeof *r);
    take_spec(r, drill);
    r->began_ms = r->phase_ms = now_ms;
    json_array_foreach (json_object_get(blast, "guests"), i, line)
        add_guest(r, line, true);
    json_array_foreach (object_spec(drill, "guests"), i, line)
        if (!is_known(r, json_string_value(line))) {
            json_t *made = json_pack("{s:O, s:b}", "guest", line, "canary", 1);
            add_guest(r, made, false);
            json_decref(made);
        }
}
