/* A cluster from JSON. What the file says more is the balancer's (balancer/cluster_json.h), and no matter here. */
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/err.h"
#include "node/base/units.h"
#include "node/drill/cluster.h"

enum { PRIORITY = 50, PRIORITY_MAX = 100, DELAY_MAX_MS = 600000, WHERE_MAX = 128, NAME_SHOWN = 80 };
#define MEMORY_MAX (UINT64_C(1) << 48) /* so that no sum is too large */
enum { NOT_PROTECTED = -1, NOT_THERE = -2 };

struct reading {
    struct cluster *cluster;
    const char *name;      /* of the file */
    char where[WHERE_MAX]; /* "guest web1" */
    json_t *nodes;         /* name to index */
    json_t *guests;        /* name to index of those that are protected, else NOT_PROTECTED */
    json_t *homes;         /* name to node of all */
    struct err *err;
};

__attribute__((format(printf, 3, 4))) static int refuse(struct reading *r, const char *field, const char *format, ...)
{
    char text[ERR_TEXT_MAX / 2];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return err_set(r->err, EINVAL, "%.120s: %s%s%s: %s", r->name, r->where, *r->where ? ", " : "", field, text);
}

static int no_memory(struct reading *r)
{
    return err_set(r->err, ENOMEM, "no memory for %.120s", r->name);
}

/* ---- values ---- */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* Bytes, or a text like "16G"; 0 if it is not there. */
static int read_size(struct reading *r, const json_t *object, const char *key, uint64_t *bytes)
{
    const json_t *value = json_object_get(object, key);
    struct err why = {0};
    double number = json_number_value(value);
    *bytes = 0;
    if (!value)
        return 0;
    if (json_is_string(value) && units_parse_size(json_string_value(value), bytes, &why))
        return refuse(r, key, "%s", why.text);
    if (json_is_number(value) && number >= 0 && number <= (double)MEMORY_MAX)
        *bytes = (uint64_t)number;
    else if (!json_is_string(value) || *bytes > MEMORY_MAX)
        return refuse(r, key, "a size is needed, 256T at most: bytes, or a text like \"16G\"");
    return 0;
}

static int read_number(struct reading *r, const json_t *object, const char *key, uint64_t max, uint64_t *to)
{
    const json_t *value = json_object_get(object, key);
    if (!value)
        return 0;
    if (!json_is_integer(value) || json_integer_value(value) < 0 || (uint64_t)json_integer_value(value) > max)
        return refuse(r, key, "a whole number of 0 to %llu is needed", (unsigned long long)max);
    *to = (uint64_t)json_integer_value(value);
    return 0;
}

static int index_in(const json_t *map, const char *name, int otherwise)
{
    const json_t *at = name ? json_object_get(map, name) : NULL;
    return at ? (int)json_integer_value(at) : otherwise;
}

/* A list that has to be one if it is there. */
static int read_list(struct reading *r, const json_t *object, const char *key, size_t max, const json_t **list)
{
    *list = json_object_get(object, key);
    if (*list && !json_is_array(*list))
        return refuse(r, key, "a list is needed");
    return json_array_size(*list) > max ? refuse(r, key, "%zu entries at most", max) : 0;
}

/* Its name, which no other of its kind may have. */
static int read_name(struct reading *r, const json_t *object, const char *kind, size_t index, const json_t *others,
                     char **name)
{
    const char *text = text_of(object, "name");
    snprintf(r->where, sizeof r->where, "%s %zu", kind, index + 1);
    if (!json_is_object(object) || !*text)
        return refuse(r, "name", "every %s needs one", kind);
    snprintf(r->where, sizeof r->where, "%s %.*s", kind, NAME_SHOWN, text);
    if (json_object_get(others, text))
        return refuse(r, "name", "there are two of that name");
    *name = strdup(text);
    return *name ? 0 : no_memory(r);
}

/* ---- nodes ---- */

static void number_places(struct cluster *c, const json_t *list)
{
    static const char *const labels[FAILOVER_PLACES] = {"name", "rack", "site"};
    for (int n = 0; n < c->node_count; n++)
        for (int p = 0; p < FAILOVER_PLACES; p++) {
            const char *label = text_of(json_array_get(list, (size_t)n), labels[p]);
            int first = 0;
            while (first < n && (!*label || strcmp(label, text_of(json_array_get(list, (size_t)first), labels[p]))))
                first++;
            c->nodes[n].place[p] = first;
        }
}

static int read_node(struct reading *r, const json_t *object, size_t index)
{
    struct cluster_node *n = &r->cluster->nodes[index];
    const char *state = *text_of(object, "state") ? text_of(object, "state") : "ready";
    r->cluster->node_count++;
    int rc = read_name(r, object, "node", index, r->nodes, &n->name);
    if (rc || (rc = read_size(r, object, "memory", &n->memory_bytes)))
        return rc;
    json_object_set_new(r->nodes, n->name, json_integer((json_int_t)index));
    n->away = !strcmp(state, "offline");
    n->drained = !strcmp(state, "draining");
    if (!n->away && !n->drained && strcmp(state, "ready"))
        return refuse(r, "state", "'%.40s': ready, draining or offline is needed", state);
    if (!n->away && !n->memory_bytes)
        return refuse(r, "memory", "a node that is there has some");
    return 0;
}

static int read_nodes(struct reading *r, const json_t *list)
{
    int rc = 0, there = 0;
    size_t count = json_array_size(list);
    if (!json_is_array(list))
        return refuse(r, "nodes",
                      "this is no cluster: lists of nodes and guests are needed, as `drover cluster export` writes");
    if (!count || count > FAILOVER_NODES_MAX)
        return refuse(r, "nodes", "there are %zu; fail-over is for 1 to %d", count, FAILOVER_NODES_MAX);
    r->cluster->nodes = calloc(count, sizeof *r->cluster->nodes);
    if (!r->cluster->nodes)
        return no_memory(r);
    for (size_t i = 0; i < count && !rc; i++) {
        rc = read_node(r, json_array_get(list, i), i);
        there += !rc && !r->cluster->nodes[i].away;
    }
    r->where[0] = 0;
    if (!rc && !there)
        rc = refuse(r, "nodes", "all of them are offline");
    if (!rc)
        number_places(r->cluster, list);
    return rc;
}

/* ---- where a guest may run ---- */

static int read_names(struct reading *r, const json_t *object, const char *key, uint64_t *nodes)
{
    const json_t *list;
    int rc = read_list(r, object, key, FAILOVER_NODES_MAX, &list);
    for (size_t i = 0; i < json_array_size(list) && !rc; i++) {
        const char *name = json_string_value(json_array_get(list, i));
        int node = index_in(r->nodes, name, -1);
        if (node < 0)
            rc = refuse(r, key, "there is no node '%.80s'", name ? name : "?");
        else
            *nodes |= UINT64_C(1) << node;
    }
    return rc;
}

static bool offers(const json_t *node, const char *model)
{
    const json_t *list = json_object_get(node, "cpu_models");
    for (size_t i = 0; i < json_array_size(list); i++)
        if (json_is_string(json_array_get(list, i)) && !strcmp(json_string_value(json_array_get(list, i)), model))
            return true;
    return !json_array_size(list); /* it does not say what it can */
}

/* Who sees its host's processor sees another one once it is started anew. */
static uint64_t of_processor(const struct cluster *c, const json_t *guest, const json_t *nodes)
{
    const json_t *wanted = json_object_get(guest, "cpu_models");
    uint64_t mask = UINT64_MAX;
    for (size_t i = 0; i < json_array_size(wanted); i++) {
        const char *model = json_string_value(json_array_get(wanted, i));
        for (int n = 0; model && strncmp(model, "host-", 5) && n < c->node_count; n++)
            if (!offers(json_array_get(nodes, (size_t)n), model))
                mask &= ~(UINT64_C(1) << n);
    }
    return mask;
}

/* ---- volumes ---- */

static int read_volume(struct reading *r, const json_t *object, struct failover_disk *d)
{
    const json_t *members, *witness = json_object_get(object, "witness");
    uint64_t spare = 0;
    int rc = read_list(r, object, "members", FAILOVER_MEMBERS_MAX, &members);
    if (rc || (rc = read_number(r, object, "spare", FAILOVER_MEMBERS_MAX, &spare)))
        return rc;
    *d = (struct failover_disk){.members = (uint8_t)json_array_size(members),
                                .spare = (uint8_t)spare,
                                .has_witness = witness,
                                .witness = (int8_t)index_in(r->nodes, json_string_value(witness), FAILOVER_NOBODY)};
    for (size_t i = 0; i < json_array_size(members); i++)
        d->node[i] = (int8_t)index_in(r->nodes, json_string_value(json_array_get(members, i)), FAILOVER_NOBODY);
    return 0;
}

static int read_volumes(struct reading *r, const json_t *object, struct cluster_guest *g)
{
    const json_t *list;
    int rc = read_list(r, object, "volumes", FAILOVER_DISKS_MAX, &list);
    size_t count = json_array_size(list);
    if (rc || !count)
        return rc;
    g->disks = calloc(count, sizeof *g->disks);
    if (!g->disks)
        return no_memory(r);
    for (; g->disk_count < count && !rc; g->disk_count++)
        rc = read_volume(r, json_array_get(list, g->disk_count), &g->disks[g->disk_count]);
    return rc;
}

/* ---- guests ---- */

static int read_protected(struct reading *r, const json_t *object, int node, uint64_t memory, const json_t *nodes)
{
    struct cluster *c = r->cluster;
    struct cluster_guest *g = &c->guests[c->guest_count];
    uint64_t pinned = 0, avoided = 0, priority = PRIORITY;
    *g = (struct cluster_guest){.node = node, .memory_bytes = memory, .name = strdup(text_of(object, "name"))};
    c->guest_count++; /* what it has is freed, whatever comes */
    int rc = g->name ? read_names(r, object, "pinned", &pinned) : no_memory(r);
    rc = rc ? rc : read_names(r, object, "avoid", &avoided);
    rc = rc ? rc : read_number(r, object, "ha_priority", PRIORITY_MAX, &priority);
    rc = rc ? rc : read_number(r, object, "ha_delay", DELAY_MAX_MS, &g->delay_ms);
    rc = rc ? rc : read_volumes(r, object, g);
    g->priority = (unsigned)priority;
    g->may = of_processor(c, object, nodes) & ~avoided & (pinned ? pinned : UINT64_MAX);
    return rc;
}

static void leave_out(struct reading *r, const char *guest, const char *node)
{
    json_array_append_new(r->cluster->left_out, json_sprintf("guest %s is left out: its node %s is away", guest, node));
}

/* Whom the balancer could not use already (balancer/cluster_json.h). */
static int read_left_out(struct reading *r, const json_t *object)
{
    const json_t *list;
    int rc = read_list(r, object, "left_out", CLUSTER_GUESTS_MAX, &list);
    for (size_t i = 0; i < json_array_size(list) && !rc; i++) {
        const json_t *one = json_array_get(list, i);
        json_array_append_new(r->cluster->left_out,
                              json_sprintf("%s is left out: %s", text_of(one, "who"), text_of(one, "why")));
    }
    return rc;
}

static int read_guest(struct reading *r, const json_t *object, size_t index, const json_t *nodes)
{
    struct cluster *c = r->cluster;
    const char *home = text_of(object, "node"), *state = text_of(object, "state");
    char *name = NULL;
    uint64_t memory;
    bool runs = !*state || !strcmp(state, "running");
    int rc = read_name(r, object, "guest", index, r->guests, &name), node = index_in(r->nodes, home, -1);
    if (!rc)
        rc = read_size(r, object, "memory", &memory);
    if (!rc && !runs && strcmp(state, "stopped"))
        rc = refuse(r, "state", "'%.40s': running or stopped is needed", state);
    if (!rc && *home && node < 0)
        rc = refuse(r, "node", "there is no node '%.80s'", home);
    if (!rc && runs && node >= 0 && !memory)
        rc = refuse(r, "memory", "a guest that runs has some");
    bool is_here = !rc && runs && node >= 0, away = is_here && c->nodes[node].away;
    bool protected = is_here && !away && json_is_true(json_object_get(object, "ha"));
    if (!rc) {
        json_object_set_new(r->guests, name, json_integer(protected ? (json_int_t)c->guest_count : NOT_PROTECTED));
        json_object_set_new(r->homes, name, json_integer(is_here ? node : -1));
    }
    c->all_guests += is_here && !away;
    if (away)
        leave_out(r, name, home);
    else if (protected)
        rc = read_protected(r, object, node, memory, nodes);
    else if (is_here)
        c->nodes[node].promised_bytes += memory;
    free(name);
    return rc;
}

static int read_needs(struct reading *r, const json_t *object, struct cluster_guest *g)
{
    const json_t *list;
    int rc = read_list(r, object, "ha_after", START_NEEDS_MAX, &list);
    for (size_t i = 0; i < json_array_size(list) && !rc; i++) {
        const char *name = json_string_value(json_array_get(list, i));
        int guest = index_in(r->guests, name, NOT_THERE); /* one that is gone holds nobody up */
        if (!name)
            return refuse(r, "ha_after", "names of guests are needed");
        struct cluster_need *need = &g->needs[g->need_count++];
        *need = (struct cluster_need){.name = strdup(name), .guest = guest, .node = index_in(r->homes, name, -1)};
        rc = need->name ? 0 : no_memory(r);
        if (guest >= 0)
            r->cluster->guests[guest].is_needed = true;
    }
    return rc;
}

static int read_guests(struct reading *r, const json_t *list, const json_t *nodes)
{
    size_t count = json_array_size(list);
    int rc = 0;
    if (!json_is_array(list))
        return refuse(r, "guests", "a list is needed; is this what `drover cluster export` wrote?");
    if (count > CLUSTER_GUESTS_MAX)
        return refuse(r, "guests", "there are %zu; %d at most", count, CLUSTER_GUESTS_MAX);
    r->cluster->guests = calloc(count + 1, sizeof *r->cluster->guests);
    if (!r->cluster->guests)
        return no_memory(r);
    for (size_t i = 0; i < count && !rc; i++)
        rc = read_guest(r, json_array_get(list, i), i, nodes);
    for (size_t i = 0; i < count && !rc; i++) {
        const json_t *object = json_array_get(list, i);
        int guest = index_in(r->guests, text_of(object, "name"), NOT_PROTECTED);
        snprintf(r->where, sizeof r->where, "guest %.*s", NAME_SHOWN, text_of(object, "name"));
        if (guest >= 0)
            rc = read_needs(r, object, &r->cluster->guests[guest]);
    }
    r->where[0] = 0;
    return rc;
}

/* ---- groups ---- */

static int join(struct reading *r, int group, int guest)
{
    struct cluster_guest *g = &r->cluster->guests[guest];
    int *grown = realloc(g->groups, (g->group_count + 1) * sizeof *grown);
    if (!grown)
        return no_memory(r);
    g->groups = grown;
    g->groups[g->group_count++] = group;
    return 0;
}

static int read_members(struct reading *r, const json_t *list, struct cluster_group *group)
{
    int rc = 0, index = (int)(group - r->cluster->groups);
    group->guests = calloc(json_array_size(list) + 1, sizeof *group->guests);
    if (!group->guests)
        return no_memory(r);
    for (size_t i = 0; i < json_array_size(list) && !rc; i++) {
        const char *name = json_string_value(json_array_get(list, i));
        int guest = index_in(r->guests, name, NOT_THERE), home = index_in(r->homes, name, -1);
        if (guest == NOT_THERE)
            return refuse(r, "guests", "there is no guest '%.80s'", name ? name : "?");
        if (guest >= 0) {
            group->guests[group->guest_count++] = guest;
            rc = join(r, index, guest);
        } else if (home >= 0) {
            group->others |= UINT64_C(1) << home;
        }
    }
    return rc;
}

static int read_group(struct reading *r, const json_t *object, size_t index)
{
    static const char *const scopes[FAILOVER_PLACES] = {"node", "rack", "site"};
    struct cluster *c = r->cluster;
    struct cluster_group *group = &c->groups[c->group_count];
    const char *keep = text_of(object, "keep"), *scope = text_of(object, "scope");
    const json_t *members;
    snprintf(r->where, sizeof r->where, "group %zu", index + 1);
    group->apart = strcmp(keep, "together") != 0;
    while (*scope && group->scope < FAILOVER_PLACES && strcmp(scope, scopes[group->scope]))
        group->scope++;
    if (group->scope == FAILOVER_PLACES)
        return refuse(r, "scope", "'%.40s': node, rack or site is needed", scope);
    int rc = read_list(r, object, "guests", CLUSTER_GUESTS_MAX, &members);
    if (rc || json_is_false(json_object_get(object, "hard"))) {
        group->scope = 0;
        return rc;
    }
    c->group_count++;
    return read_members(r, members, group);
}

static int read_groups(struct reading *r, const json_t *object)
{
    const json_t *list;
    int rc = read_list(r, object, "groups", CLUSTER_GROUPS_MAX, &list);
    r->cluster->groups = calloc(json_array_size(list) + 1, sizeof *r->cluster->groups);
    if (!rc && !r->cluster->groups)
        return no_memory(r);
    for (size_t i = 0; i < json_array_size(list) && !rc; i++)
        rc = read_group(r, json_array_get(list, i), i);
    r->where[0] = 0;
    return rc;
}

/* ---- all of it ---- */

int cluster_read(struct cluster *c, const char *name, const char *text, size_t len, struct err *err)
{
    json_error_t where;
    *c = (struct cluster){.left_out = json_array()};
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);
    struct reading r = {.cluster = c, .name = name, .err = err};
    if (!root)
        return err_set(err, EINVAL, "%.120s:%d: this is no JSON: %s", name, where.line, where.text);
    const json_t *nodes = json_object_get(root, "nodes");
    r.nodes = json_object();
    r.guests = json_object();
    r.homes = json_object();
    int rc = c->left_out && r.nodes && r.guests && r.homes ? read_nodes(&r, nodes) : no_memory(&r);
    rc = rc ? rc : read_left_out(&r, root);
    rc = rc ? rc : read_guests(&r, json_object_get(root, "guests"), nodes);
    rc = rc ? rc : read_groups(&r, root);
    json_decref(r.nodes);
    json_decref(r.guests);
    json_decref(r.homes);
    json_decref(root);
    return rc;
}
