#include "balancer/traffic.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "balancer/plan_record.h"
#include "balancer/policy.h"
#include "balancer/snapshot.h"

static void count_at(json_t *nodes, const char *node)
{
    json_object_set_new(nodes, node, json_integer(json_integer_value(json_object_get(nodes, node)) + 1));
}

static int at(const json_t *nodes, const char *node)
{
    return (int)json_integer_value(json_object_get(nodes, node));
}

json_t *traffic_count(json_t *objects, const char *plan)
{
    json_t *nodes = json_object(), *guest;
    const char *id;
    json_object_foreach (json_object_get(objects, "guest"), id, guest) {
        const char *going = snapshot_text(json_object_get(guest, "value"), "migration");
        const json_t *migration = *going ? json_object_get(json_object_get(objects, "migration"), going) : NULL;
        const json_t *spec = json_object_get(json_object_get(migration, "value"), "spec");
        if (!spec || (*plan && !strcmp(snapshot_text(spec, "plan"), plan)))
            continue;
        count_at(nodes, snapshot_text(spec, "from"));
        count_at(nodes, snapshot_text(spec, "to"));
    }
    return nodes;
}

/* Each is at two nodes. */
static int all_of(json_t *nodes)
{
    json_t *count;
    const char *name;
    int ends = 0;
    json_object_foreach (nodes, name, count)
        ends += (int)json_integer_value(count);
    return ends / 2;
}

bool traffic_forbids(json_t *objects, const json_t *record, int wave, const struct policy *policy, char *why,
                     size_t len)
{
    static const char *const ends[] = {"from", "to"};
    json_t *others = traffic_count(objects, snapshot_text(record, "id")), *ours = json_object(),
           *moves = plan_record_moves(record, wave), *move;
    int under_way = all_of(others);
    bool forbids = under_way && under_way + (int)json_array_size(moves) > policy->parallel;
    size_t i;
    if (forbids)
        snprintf(why, len, "waits for other migrations (%d)", under_way);
    json_array_foreach (moves, i, move)
        for (int e = 0; e < 2 && !forbids; e++) {
            const char *node = snapshot_text(move, ends[e]);
            count_at(ours, node);
            forbids = at(others, node) && at(others, node) + at(ours, node) > policy->per_node;
            if (forbids)
                snprintf(why, len, "waits for other migrations at %.60s (%d)", node, at(others, node));
        }
    json_decref(others);
    json_decref(ours);
    return forbids;
}
