#include "balancer/traffic.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "balancer/plan_record.h"
#include "balancer/policy.h"
#include "balancer/snapshot.h"
#include "node/base/utf8.h"

/* A link that nodes share: the label that says whose it is, and how many go over it. */
static const struct shared_link {
    const char *label, *over;
} shared_links[] = {{"rack", "over_rack"}, {"site", "over_site"}};
enum { SHARED_LINKS = sizeof shared_links / sizeof *shared_links, PLACE_SHOWN_MAX = 60 };

static const char *const ends[] = {"from", "to"};

static int at(const json_t *nodes, const char *node, const char *key)
{
    return (int)json_integer_value(json_object_get(json_object_get(nodes, node), key));
}

static void count_at(json_t *nodes, const char *node, const char *key)
{
    int count = at(nodes, node, key) + 1;
    if (!json_object_get(nodes, node))
        json_object_set_new(nodes, node, json_object());
    json_object_set_new(json_object_get(nodes, node), key, json_integer(count));
}

static const json_t *labels_of(const json_t *objects, const char *name)
{
    const char *id;
    json_t *node;
    json_object_foreach (json_object_get(objects, "node"), id, node)
        if (!strcmp(snapshot_text(json_object_get(node, "value"), "name"), name))
            return snapshot_spec(node, "labels");
    return NULL;
}

/* One from here to there. As uplinks.h has it: who has no label is nowhere, and the other one's link is crossed. */
static void count(json_t *nodes, const json_t *objects, const json_t *move)
{
    const char *node[] = {snapshot_text(move, "from"), snapshot_text(move, "to")};
    const json_t *labels[] = {labels_of(objects, node[0]), labels_of(objects, node[1])};
    for (int e = 0; e < 2; e++)
        count_at(nodes, node[e], "moving");
    for (int k = 0; k < SHARED_LINKS; k++) {
        const char *place[] = {snapshot_text(labels[0], shared_links[k].label),
                               snapshot_text(labels[1], shared_links[k].label)};
        for (int e = 0; e < 2; e++)
            if (strcmp(place[0], place[1]) != 0 && *place[e])
                count_at(nodes, node[e], shared_links[k].over);
    }
}

json_t *traffic_count(json_t *objects, const char *plan)
{
    json_t *nodes = json_object(), *guest;
    const char *id;
    json_object_foreach (json_object_get(objects, "guest"), id, guest) {
        const char *going = snapshot_text(json_object_get(guest, "value"), "migration");
        const json_t *migration = *going ? json_object_get(json_object_get(objects, "migration"), going) : NULL;
        const json_t *spec = json_object_get(json_object_get(migration, "value"), "spec");
        if (spec && !(*plan && !strcmp(snapshot_text(spec, "plan"), plan)))
            count(nodes, objects, spec);
    }
    return nodes;
}

/* Each is at two nodes. */
static int all_of(json_t *nodes)
{
    json_t *node;
    const char *name;
    int count = 0;
    json_object_foreach (nodes, name, node)
        count += at(nodes, name, "moving");
    return count / 2;
}

static int over(json_t *nodes, const json_t *objects, const struct shared_link *link, const char *place)
{
    json_t *node;
    const char *name;
    int count = 0;
    json_object_foreach (nodes, name, node)
        if (!strcmp(snapshot_text(labels_of(objects, name), link->label), place))
            count += at(nodes, name, link->over);
    return count;
}

/* Both of them together are too many at that node. */
static bool is_full(json_t *others, json_t *ours, const char *node, const struct policy *policy, char *why, size_t len)
{
    int there = at(others, node, "moving");
    if (!there || there + at(ours, node, "moving") <= policy->per_node)
        return false;
    snprintf(why, len, "waits for other migrations at %.60s (%d)", node, there);
    return true;
}

/* ... or out of or into its rack, or site. */
static bool is_link_full(json_t *others, json_t *ours, const json_t *objects, const char *node,
                         const struct policy *policy, char *why, size_t len)
{
    const json_t *labels = policy->per_link ? labels_of(objects, node) : NULL;
    for (int k = 0; k < SHARED_LINKS && policy->per_link; k++) {
        const char *place = snapshot_text(labels, shared_links[k].label);
        int shown = (int)utf8_whole(place, strnlen(place, PLACE_SHOWN_MAX));
        int mine = *place ? over(ours, objects, &shared_links[k], place) : 0;
        int there = mine ? over(others, objects, &shared_links[k], place) : 0;
        if (!there || there + mine <= policy->per_link)
            continue;
        snprintf(why, len, "waits for other migrations out of or into %s %.*s (%d)", shared_links[k].label, shown,
                 place, there);
        return true;
    }
    return false;
}

bool traffic_forbids(json_t *objects, const json_t *record, int wave, const struct policy *policy, char *why,
                     size_t len)
{
    json_t *others = traffic_count(objects, snapshot_text(record, "id")), *ours = json_object(),
           *moves = plan_record_moves(record, wave), *move;
    int under_way = all_of(others);
    bool forbids = under_way && under_way + (int)json_array_size(moves) > policy->parallel;
    size_t i;
    if (forbids)
        snprintf(why, len, "waits for other migrations (%d)", under_way);
    json_array_foreach (under_way ? moves : NULL, i, move)
        count(ours, objects, move);
    json_array_foreach (moves, i, move)
        for (int e = 0; e < 2 && under_way && !forbids; e++) {
            const char *node = snapshot_text(move, ends[e]);
            forbids = is_full(others, ours, node, policy, why, len) ||
                      is_link_full(others, ours, objects, node, policy, why, len);
        }
    json_decref(others);
    json_decref(ours);
    return forbids;
}
