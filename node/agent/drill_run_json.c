/* See drill_run.h: a run as the drill's state has it, both ways. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "node/agent/drill_blast.h"
#include "node/agent/drill_run.h"
#include "node/agent/member.h"
#include "node/base/timestamp.h"

/* ---- out ---- */

static json_t *number(uint64_t n)
{
    return json_integer((json_int_t)n);
}

static json_t *guest_json(const struct drill_guest *g)
{
    json_t *line = json_pack("{s:s, s:s, s:s, s:b, s:b, s:b, s:i, s:I, s:I, s:I}", "guest", g->name, "id", g->id,
                             "node", g->node, "protected", g->is_protected, "canary", g->is_canary, "hit", g->is_hit,
                             "failovers", (int)g->failovers, "down_ms", (json_int_t)g->down_ms, "up_ms",
                             (json_int_t)g->up_ms, "outage_ms", (json_int_t)g->outage_ms);
    json_object_set_new(line, "pid", json_integer(g->pid));
    if (g->is_canary) {
        json_object_set_new(line, "start", json_integer(g->start));
        json_object_set_new(line, "acked", json_integer(g->acked));
        json_object_set_new(line, "word_ms", number(g->word_ms));
        json_object_set_new(line, "silent_ms", number(g->silent_ms));
        json_object_set_new(line, "lost", number(g->lost));
    }
    return line;
}

static json_t *result_json(const struct drill_run *r)
{
    uint64_t rto = 0, silent = 0, lost = 0;
    unsigned canaries = 0, up = 0;
    for (unsigned i = 0; i < r->guest_count; i++) {
        const struct drill_guest *g = &r->guests[i];
        rto = g->outage_ms > rto ? g->outage_ms : rto;
        silent = g->silent_ms > silent ? g->silent_ms : silent;
        lost += g->lost;
        canaries += g->is_canary;
        up += g->up_ms != 0;
    }
    return json_pack("{s:I, s:I, s:I, s:i, s:i}", "rto_ms", (json_int_t)rto, "silent_ms", (json_int_t)silent,
                     "lost_writes", (json_int_t)lost, "canaries", (int)canaries, "came_back", (int)up);
}

static void add_events(const struct drill_run *r, json_t *timeline, uint64_t now_ms)
{
    static const char *const kinds[] = {"phase", "fault", "node", "guest", "canary"};
    char at[TIMESTAMP_BYTES];
    timestamp(at);
    for (unsigned i = 0; i < r->event_count && json_array_size(timeline) < DRILL_TIMELINE_MAX; i++)
        json_array_append_new(timeline,
                              json_pack("{s:I, s:s, s:s, s:s}", "ms", (json_int_t)(now_ms - r->began_ms), "at", at,
                                        "kind", kinds[r->events[i].kind], "text", r->events[i].text));
}

void drill_run_write(const struct drill_run *r, json_t *state, uint64_t now_ms)
{
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {{"began_ms", r->began_ms},         {"phase_ms", r->phase_ms},
                   {"fault_ms", r->fault_ms},         {"heal_at_ms", r->heal_at_ms},
                   {"ended_ms", r->ended_ms},         {"others_before", r->others_before},
                   {"nodes_before", r->nodes_before}, {"volumes_before", r->volumes_before}};
    json_object_set_new(state, "phase", json_string(drill_phase_name(r->phase)));
    json_object_set_new(state, "reason", json_string(r->reason));
    json_object_set_new(state, "aborted", json_boolean(r->is_aborted));
    json_object_set_new(state, "node_away", json_boolean(r->node_away));
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
        json_object_set_new(state, numbers[i].key, number(numbers[i].value));
    json_t *guests = json_array(), *timeline = json_object_get(state, "timeline");
    for (unsigned i = 0; i < r->guest_count; i++)
        json_array_append_new(guests, guest_json(&r->guests[i]));
    json_object_set_new(state, "guests", guests);
    json_object_set_new(state, "result", result_json(r));
    if (!timeline) {
        timeline = json_array();
        json_object_set_new(state, "timeline", timeline);
    }
    add_events(r, timeline, now_ms);
}

/* ---- in ---- */

static uint64_t get(const json_t *json, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(json, key));
    return n > 0 ? (uint64_t)n : 0;
}

static bool is_so(const json_t *json, const char *key)
{
    return json_is_true(json_object_get(json, key));
}

static void read_guest(struct drill_guest *g, const json_t *line)
{
    *g = (struct drill_guest){
        .is_protected = is_so(line, "protected"),
        .is_canary = is_so(line, "canary"),
        .is_hit = is_so(line, "hit"),
        .failovers = (unsigned)get(line, "failovers"),
        .down_ms = get(line, "down_ms"),
        .up_ms = get(line, "up_ms"),
        .outage_ms = get(line, "outage_ms"),
        .pid = (int64_t)get(line, "pid"),
        .start = (int64_t)get(line, "start"),
        .acked = (int64_t)get(line, "acked"),
        .word_ms = get(line, "word_ms"),
        .silent_ms = get(line, "silent_ms"),
        .lost = get(line, "lost"),
    };
    snprintf(g->name, sizeof g->name, "%s", member_text(line, "guest"));
    snprintf(g->id, sizeof g->id, "%s", member_text(line, "id"));
    snprintf(g->node, sizeof g->node, "%s", member_text(line, "node"));
}

bool drill_run_read(struct drill_run *r, const struct object *drill)
{
    const json_t *state = drill->state, *guests = json_object_get(state, "guests"),
                 *spec = json_object_get(drill->value, "spec");
    char why[DRILL_CONDITION_TEXT_MAX];
    if (!get(state, "began_ms") || !json_is_array(guests))
        return false;
    memset(r, 0, sizeof *r);
    r->phase = drill_phase_of(drill);
    r->is_aborted = is_so(state, "aborted");
    r->node_away = is_so(state, "node_away");
    r->is_resumed = true;
    r->for_ms = drill_number(drill, "for_ms");
    r->heal_ms = drill_number(drill, "heal_ms") ? drill_number(drill, "heal_ms") : DRILL_HEAL_MS;
    r->takes_node = drill_blast_takes_node(spec);
    r->moves = drill_traits(drill_kind_of(member_text(spec, "kind")))->moves;
    r->began_ms = get(state, "began_ms");
    r->phase_ms = get(state, "phase_ms");
    r->fault_ms = get(state, "fault_ms");
    r->heal_at_ms = get(state, "heal_at_ms");
    r->ended_ms = get(state, "ended_ms");
    r->others_before = (unsigned)get(state, "others_before");
    r->nodes_before = (unsigned)get(state, "nodes_before");
    r->volumes_before = (unsigned)get(state, "volumes_before");
    snprintf(r->reason, sizeof r->reason, "%s", member_text(state, "reason"));
    snprintf(r->node, sizeof r->node, "%s", member_text(spec, "node"));
    drill_condition_parse(member_text(spec, "abort_if"), &r->condition, why, sizeof why);
    for (size_t i = 0; i < json_array_size(guests) && i < DRILL_GUESTS_MAX; i++)
        read_guest(&r->guests[r->guest_count++], json_array_get(guests, i));
    return true;
}
