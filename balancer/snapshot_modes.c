#include "balancer/snapshot_modes.h"

#include <stdio.h>
#include <string.h>

#include "balancer/snapshot.h"

enum { KEY_MAX = 96 };

/* The looser first. */
static const char *const modes[] = {"automatic", "advise", "off"};

static int rank_of(const json_t *groups, const char *key)
{
    const char *mode = snapshot_text(groups, key);
    for (int i = 0; i < 3; i++)
        if (!strcmp(mode, modes[i]))
            return i;
    return -1;
}

static int rank_of_one(const json_t *groups, const char *kind, const char *name)
{
    char key[KEY_MAX];
    int n = snprintf(key, sizeof key, "%s/%s", kind, name);
    return *name && n < KEY_MAX ? rank_of(groups, key) : -1;
}

static int stricter(int a, int b)
{
    return a > b ? a : b;
}

/* GROUP[:rack|:site][:soft], of which the group counts. */
static int rank_of_rules(const json_t *groups, const json_t *list)
{
    int rank = -1;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        char key[KEY_MAX];
        size_t n = text ? strcspn(text, ":") : 0;
        if (!n || n >= sizeof key)
            continue;
        snprintf(key, sizeof key, "%.*s", (int)n, text);
        rank = stricter(rank, rank_of(groups, key));
    }
    return rank;
}

static void put(json_t *to, int rank)
{
    if (rank >= 0)
        json_object_set_new(to, "balance", json_string(modes[rank]));
}

json_t *snapshot_modes_groups(json_t *objects)
{
    json_t *groups = snapshot_spec(json_object_get(json_object_get(objects, "policy"), "balance"), "groups");
    return json_object_size(groups) ? groups : NULL;
}

void snapshot_modes_guest(json_t *to, json_t *groups, const json_t *spec)
{
    if (!groups)
        return;
    int rank = rank_of_one(groups, "guest", snapshot_text(to, "name"));
    rank = stricter(rank, rank_of_rules(groups, json_object_get(spec, "affinity")));
    put(to, stricter(rank, rank_of_rules(groups, json_object_get(spec, "anti_affinity"))));
}

void snapshot_modes_node(json_t *to, json_t *groups, const json_t *labels)
{
    if (!groups)
        return;
    int rank = rank_of_one(groups, "node", snapshot_text(to, "name"));
    rank = stricter(rank, rank_of_one(groups, "rack", snapshot_text(labels, "rack")));
    put(to, stricter(rank, rank_of_one(groups, "site", snapshot_text(labels, "site"))));
}

bool snapshot_modes_has(json_t *groups, const char *mode)
{
    json_t *said;
    const char *key;
    json_object_foreach (groups, key, said)
        if (json_is_string(said) && !strcmp(json_string_value(said), mode))
            return true;
    return false;
}
