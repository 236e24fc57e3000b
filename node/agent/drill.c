#include "node/agent/drill.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "node/agent/placement.h"
#include "node/agent/member.h"
#include "node/agent/presence.h"
#include "node/agent/record_name.h"
#include "node/agent/volume_member.h"
#include "node/base/timestamp.h"
#include "node/base/uuid.h"

static const struct drill_traits kinds[DRILL_KIND_COUNT] = {
    [DRILL_POWER_LOSS] = {"node-power-loss", FAULT_CUT_ALL, FAULT_KILL_NODE, false, false, true, 30000, false},
    [DRILL_PARTITION] = {"partition", FAULT_CUT_PEERS, FAULT_KILL_NONE, false, false, true, 30000, false},
    [DRILL_COORDINATOR_LOSS] = {"coordinator-loss", FAULT_CUT_STORE, FAULT_KILL_NONE, false, false, true, 30000, false},
    [DRILL_AGENT_CRASH] = {"agent-crash", FAULT_CUT_NONE, FAULT_KILL_AGENT, false, false, false, 3000, false},
    [DRILL_MEMBER_LOSS] = {"member-loss", FAULT_CUT_NONE, FAULT_KILL_GROUP, false, true, false, 30000, false},
    [DRILL_MIGRATION_FAULT] = {"migration-fault", FAULT_CUT_NONE, FAULT_KILL_AGENT, false, false, false, 3000, true},
    [DRILL_SLOW_DISK] = {"slow-disk", FAULT_CUT_NONE, FAULT_KILL_NONE, true, true, false, 20000, false},
};
static const char *const phases[DRILL_PHASE_COUNT] = {"declared", "checked", "running", "healing",
                                                      "done",     "aborted", "failed"};

const struct drill_traits *drill_traits(enum drill_kind kind)
{
    return &kinds[kind];
}

enum drill_kind drill_kind_of(const char *name)
{
    int kind = 0;
    while (kind < DRILL_KIND_COUNT && strcmp(kinds[kind].name, name))
        kind++;
    return (enum drill_kind)kind;
}

const char *drill_phase_name(enum drill_phase phase)
{
    return phases[phase];
}

enum drill_phase drill_phase_of(const struct object *drill)
{
    const char *text = member_text(drill->state, "phase");
    for (int p = 0; p < DRILL_PHASE_COUNT; p++)
        if (!strcmp(phases[p], text))
            return (enum drill_phase)p;
    return DRILL_DECLARED;
}

bool drill_has_ended(const struct object *drill)
{
    return drill_phase_of(drill) >= DRILL_DONE;
}

const struct object *drill_under_way(const struct mirror *mirror)
{
    const struct object *d = mirror_next(mirror, OBJECT_DRILL, NULL);
    while (d && drill_has_ended(d))
        d = mirror_next(mirror, OBJECT_DRILL, d->name);
    return d;
}

json_t *drill_make(json_t *spec)
{
    char began[TIMESTAMP_BYTES], id[UUID_TEXT_BYTES], key[UUID_TEXT_BYTES], name[RECORD_NAME_BYTES];
    timestamp(began);
    uuid_make(id);
    uuid_make(key);
    record_name(began, id, name);
    json_object_set_new(spec, "began", json_string(began));
    return json_pack("{s:s, s:s, s:s, s:s, s:o}", "kind", object_kind_name(OBJECT_DRILL), "id", id, "name", name, "key",
                     key, "spec", spec);
}

json_t *drill_aborted(const struct object *drill, const char *by)
{
    char at[TIMESTAMP_BYTES];
    json_t *value = json_deep_copy(drill->value);
    if (!json_object_get(value, "abort"))
        json_object_set_new(value, "abort", json_pack("{s:s, s:s}", "by", by, "at", timestamp(at)));
    return value;
}

enum drill_kind drill_kind(const struct object *drill)
{
    return drill_kind_of(object_spec_text(drill, "kind"));
}

uint64_t drill_number(const struct object *drill, const char *key)
{
    json_int_t n = json_integer_value(object_spec(drill, key));
    return n > 0 ? (uint64_t)n : 0;
}

bool drill_is_canary(const json_t *spec, const char *guest)
{
    size_t i;
    json_t *name;
    json_array_foreach (json_object_get(spec, "guests"), i, name)
        if (!strcmp(json_string_value(name), guest))
            return true;
    return false;
}

const struct object *drill_first_guest(const struct mirror *mirror, const json_t *spec)
{
    const char *name = json_string_value(json_array_get(json_object_get(spec, "guests"), 0));
    return name ? mirror_named(mirror, OBJECT_GUEST, name) : NULL;
}

const struct object *drill_destination(const struct mirror *mirror, const json_t *spec)
{
    const struct object *g = drill_first_guest(mirror, spec);
    const struct object *node = mirror_named(mirror, OBJECT_NODE, member_text(spec, "node"));
    if (!g || !node)
        return NULL;
    const struct placement_guest rules = placement_guest_of(g, true);
    if (!strcmp(object_spec_text(g, "node"), node->name))
        return placement_choose(mirror, &rules, &(struct placement_choice){.except = node->name}, NULL);
    return presence_takes_guests(node) ? node : NULL;
}

void drill_by(const struct object *drill, char by[DRILL_BY_MAX])
{
    snprintf(by, DRILL_BY_MAX, "drill:%.64s", drill->name);
}

const struct object *drill_migration(const struct mirror *mirror, const struct object *drill)
{
    char by[DRILL_BY_MAX];
    drill_by(drill, by);
    const struct object *m = mirror_next(mirror, OBJECT_MIGRATION, NULL);
    while (m && strcmp(object_spec_text(m, "by"), by) != 0)
        m = mirror_next(mirror, OBJECT_MIGRATION, m->name);
    return m;
}

const struct object *drill_member(const struct mirror *mirror, const json_t *spec)
{
    struct layout l;
    const struct object *volume = mirror_named(mirror, OBJECT_VOLUME, member_text(spec, "volume"));
    if (!volume || !volume_layout(volume, &l))
        return NULL;
    for (unsigned i = 0; i < l.members; i++) {
        const struct object *m = volume_member_at(mirror, volume->id, (int)i);
        if (m && !strcmp(volume_member_node(mirror, m), member_text(spec, "node")))
            return m;
    }
    return NULL;
}

const char *drill_conductor(const struct mirror *mirror, const json_t *spec)
{
    const char *target = member_text(spec, "node"), *chosen = member_text(spec, "conductor");
    const struct object *n = *chosen ? mirror_named(mirror, OBJECT_NODE, chosen) : NULL;
    if (n && strcmp(chosen, target) && presence_is_alive(n))
        return n->name;
    for (n = mirror_next(mirror, OBJECT_NODE, NULL); n; n = mirror_next(mirror, OBJECT_NODE, n->name))
        if (strcmp(n->name, target) && presence_is_alive(n))
            return n->name;
    return "";
}
