#include "balancer/consolidate_record.h"

#include <stdio.h>
#include <string.h>

#include "balancer/model.h"
#include "balancer/snapshot.h"

/* ---- making ---- */

static int whole_waves(const struct plan *plan)
{
    int count = plan->count;
    if (count <= PLAN_RECORD_MOVES_MAX)
        return count;
    for (count = PLAN_RECORD_MOVES_MAX; count > 0 && plan->moves[count - 1].wave == plan->moves[count].wave;)
        count--;
    return count;
}

/* Nobody leaves it behind the first `count` moves. */
static bool is_empty_after(const struct plan *plan, int count, int node)
{
    for (int i = count; i < plan->count; i++)
        if (plan->moves[i].from == node || plan->moves[i].to == node)
            return false;
    return true;
}

json_t *consolidate_record(const struct consolidation *c, const struct policy *policy,
                           const struct plan_record_origin *origin)
{
    struct plan part = c->plan;
    json_t *sleep = json_array();
    part.count = whole_waves(&c->plan);
    for (int n = 0; n < c->closed->node_count; n++)
        if (c->nodes[n].verdict == CONSOLIDATE_SLEEPS && is_empty_after(&c->plan, part.count, n))
            json_array_append_new(sleep, json_string(model_node_name(c->closed, n)));
    json_t *record = json_array_size(sleep) ? plan_record_make(&part, c->closed, policy, origin) : NULL;
    json_t *spec = json_object_get(record, "spec");
    json_object_set_new(
        spec, "summary",
        json_sprintf("%d moves empty %d nodes, which are drained", part.count, (int)json_array_size(sleep)));
    json_object_set(spec, "sleep", sleep);
    json_decref(sleep);
    return record;
}

/* ---- carrying it out ---- */

static void add(json_t *nodes, const char *name)
{
    if (name && *name)
        json_object_set_new(nodes, name, json_true());
}

/* Where guests are, as is wanted or as is seen, or go to, now or in what is left of the plan. NULL: there is a guest of
 * which nothing can be read, and it may be anywhere. */
static json_t *inhabited(json_t *objects, const json_t *record)
{
    json_t *nodes = json_object(), *guest, *migration, *move;
    const char *id;
    size_t i;
    json_object_foreach (json_object_get(objects, "guest"), id, guest) {
        const char *wanted = json_string_value(snapshot_spec(guest, "node"));
        const char *seen = snapshot_text(json_object_get(guest, "state"), "node");
        bool unreadable = json_object_get(guest, "unreadable");
        if (!unreadable && !json_object_get(guest, "value"))
            continue; /* it is gone */
        if (unreadable && !*seen) {
            json_decref(nodes);
            return NULL;
        }
        add(nodes, wanted);
        add(nodes, seen);
    }
    json_object_foreach (json_object_get(objects, "migration"), id, migration)
        if (!*snapshot_text(json_object_get(migration, "state"), "ended"))
            add(nodes, json_string_value(snapshot_spec(migration, "to")));
    for (int w = plan_record_wave(record) + 1; w < plan_record_waves(record); w++)
        json_array_foreach (plan_record_moves(record, w), i, move)
            add(nodes, snapshot_text(move, "to"));
    return nodes;
}

/* Of those that are to sleep one that may: it is up, nobody has said since that it is to stay on, and it was not
 * drained for this plan before: who has opened it again wants it open. */
static bool may_sleep(const json_t *spec, const json_t *node, const char *name)
{
    const char *label = json_string_value(json_object_get(snapshot_spec(node, "labels"), "sleep"));
    return snapshot_has(json_object_get(spec, "sleep"), name) && !snapshot_has(json_object_get(spec, "slept"), name) &&
           json_is_true(json_object_get(json_object_get(node, "state"), "alive")) &&
           !json_is_true(snapshot_spec(node, "drained")) && !(label && !strcmp(label, "never"));
}

json_t *consolidate_record_empty(json_t *objects, const json_t *record, char *kept, size_t len)
{
    const json_t *spec = json_object_get(record, "spec");
    bool any = json_array_size(json_object_get(spec, "sleep")) > 0;
    json_t *empty = json_array(), *nodes = any ? inhabited(objects, record) : NULL, *node;
    const char *id;
    snprintf(kept, len, "%s", "");
    json_object_foreach (any ? json_object_get(objects, "node") : NULL, id, node) {
        const char *name = snapshot_text(json_object_get(node, "value"), "name");
        if (!may_sleep(spec, node, name))
            continue;
        if (!nodes || json_object_get(nodes, name))
            snprintf(kept, len, "%s", name);
        else
            json_array_append(empty, node);
    }
    json_decref(nodes);
    return empty;
}
