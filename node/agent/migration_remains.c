#include "node/agent/migration_remains.h"

#include <jansson.h>
#include <string.h>

#include "node/agent/heir.h"
#include "node/agent/member.h"
#include "node/agent/migration.h"
#include "node/agent/report.h"
#include "node/base/timestamp.h"

static bool is_in_it(const struct mirror *mirror, const struct object *m)
{
    const struct object *guest = mirror_find(mirror, OBJECT_GUEST, object_spec_text(m, "guest_id"));
    return guest && guest->value && !strcmp(member_text(guest->value, "migration"), m->id);
}

static bool is_counted(const struct mirror *mirror, const struct object *m)
{
    const struct object *plan = mirror_find(mirror, OBJECT_PLAN, object_spec_text(m, "plan"));
    return plan && plan->value && !strcmp(object_spec_text(plan, "phase"), "active");
}

static json_t *how_it_ended(const struct object *m)
{
    char at[TIMESTAMP_BYTES];
    const char *lost = member_text(m->value, "lost");
    bool done = json_is_true(json_object_get(m->value, "switched")) && !*lost;
    json_t *state = m->state ? json_deep_copy(m->state) : json_object();
    json_object_set_new(state, "phase", json_string(migration_phase_name(done ? MIGRATION_DONE : MIGRATION_FAILED)));
    json_object_set_new(state, "reason", json_string(done ? "" : *lost ? lost : "the node that it left was removed"));
    json_object_set_new(state, "ended", json_string(timestamp(at)));
    return state;
}

void migration_remains_look(const struct mirror *mirror, const struct object *m, const char *node,
                            struct report *report)
{
    if (!m->value || !heir_is_needed(mirror, object_spec_text(m, "from")) ||
        strcmp(heir_of(mirror, object_spec_text(m, "to")), node) != 0 || is_in_it(mirror, m) || is_counted(mirror, m))
        return;
    if (migration_has_ended(m))
        report_deleted(report, m);
    else
        report_state(report, OBJECT_MIGRATION, m->id, how_it_ended(m));
}
