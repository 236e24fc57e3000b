#include "balancer/cluster_json.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/cluster_lost.h"
#include "balancer/cost.h"
#include "balancer/json_text.h"
#include "balancer/model.h"
#include "balancer/policy.h"
#include "balancer/sentences.h"
#include "node/base/err.h"

static const double RATE_LARGEST = 1e15, CORES_LARGEST = 1e6, MEMBERS_LARGEST = 1e6, MOVING_LARGEST = 1e4;
static const char *const resource_names[RESOURCE_COUNT] = {"cpu", "memory", "disk", "network"};

struct reading {
    struct json_text text;
    struct cluster_json *cluster;
    struct model *model;
    const struct policy *policy;
    int *at;
    bool strict;                 /* what is unusable is an error */
    struct cluster_lost lost;    /* and left out otherwise */
    struct sentences unmeasured; /* are said after those */
    double *speeds;              /* of past migrations */
    int speed_count;
    char number[24]; /* of the entry, until its name is known */
};

__attribute__((format(printf, 2, 3))) static void warn(struct reading *r, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    sentences_add_list(&r->unmeasured, format, list);
    va_end(list);
}

/* ["a", "b"] as a set of numbers. */
static int read_set(struct reading *r, json_t *object, const char *key, struct names *names, struct bits *set)
{
    json_t *list = json_object_get(object, key);
    if (!list)
        return 0;
    if (!json_is_array(list))
        return json_text_refuse(&r->text, key, "a list of names is needed: [\"a\", \"b\"]");
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *item = json_array_get(list, i);
        if (!json_is_string(item) || !json_string_length(item))
            return json_text_refuse(&r->text, key, "a list of names is needed: [\"a\", \"b\"]");
        int bit = names_intern(names, json_string_value(item), json_string_length(item));
        if (bit < 0)
            return json_text_refuse(&r->text, key, "more than %d different names", BITS_MAX);
        bits_add(set, bit);
    }
    return 0;
}

static int read_place(struct reading *r, json_t *object, const char *key, int *place)
{
    const char *name = NULL;
    int rc = json_text_string(&r->text, object, key, &name);
    if (rc == 0 && name)
        *place = names_intern(&r->model->places, name, strlen(name));
    return rc;
}

/* {"cpu": 0.1, ...} into four numbers. */
static int read_four(struct reading *r, json_t *object, const char *key, double max, double *four)
{
    json_t *inner = json_object_get(object, key);
    if (!inner)
        return 0;
    if (!json_is_object(inner))
        return json_text_refuse(&r->text, key, "an object with cpu, memory, disk and network is needed");
    for (int i = 0; i < RESOURCE_COUNT; i++) {
        int rc = i == RESOURCE_MEMORY && max > 1
                     ? json_text_size(&r->text, inner, resource_names[i], false, &four[i])
                     : json_text_number(&r->text, inner, resource_names[i], 0, max, &four[i]);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* What the balancer may do with it of its own accord. */
static int read_mode(struct reading *r, json_t *object, enum model_mode *mode)
{
    static const char *const words[] = {"", "automatic", "advise", "off"};
    const char *text = "";
    if (json_text_string(&r->text, object, "balance", &text) < 0)
        return -EINVAL;
    for (int i = MODE_UNSAID; i <= MODE_OFF; i++)
        if (!strcmp(text, words[i])) {
            *mode = (enum model_mode)i;
            return 0;
        }
    return json_text_refuse(&r->text, "balance", "'%s': automatic, advise or off is needed", text);
}

static int read_node(struct reading *r, json_t *object)
{
    static const char *const keys[] = {
        "name",       "site",      "rack",      "state",        "cpus",    "memory",   "memory_own", "memory_free",
        "disk",       "disk_free", "disk_rate", "network_rate", "link",    "networks", "pools",      "cpu_models",
        "vcpu_ratio", "pressure",  "stalled",   "age",          "drained", "stays_on", "members",    "balance",
        "arrived",    "moving",    "over_rack", "over_site",    NULL};
    const struct json_text *t = &r->text;
    struct model_node n = {.rack = -1, .site = -1, .speed = 1};
    const char *name = NULL, *state = "ready";
    double age = -1, disk_rate = 0, network_rate = 0, members = 0, arrived = 0, moving = 0;
    double over_rack = 0, over_site = 0;
    n.memory_free = n.disk_free = -1;
    if (json_text_string(t, object, "name", &name) < 0)
        return -EINVAL;
    if (!name)
        return json_text_refuse(t, "name", "every node needs one");
    r->text.path[1] = name;
    r->text.depth = 2;
    if (json_text_known(t, object, keys) < 0 || read_place(r, object, "site", &n.site) < 0 ||
        read_place(r, object, "rack", &n.rack) < 0 || json_text_string(t, object, "state", &state) < 0 ||
        json_text_number(t, object, "cpus", 0.01, CORES_LARGEST, &n.vcpus) < 0 ||
        json_text_size(t, object, "memory", true, &n.memory) < 0 ||
        json_text_size(t, object, "memory_own", true, &n.memory_own) < 0 ||
        json_text_size(t, object, "memory_free", true, &n.memory_free) < 0 ||
        json_text_size(t, object, "disk", true, &n.disk) < 0 ||
        json_text_size(t, object, "disk_free", true, &n.disk_free) < 0 ||
        json_text_size(t, object, "disk_rate", false, &disk_rate) < 0 ||
        json_text_size(t, object, "network_rate", false, &network_rate) < 0 ||
        json_text_size(t, object, "link", false, &n.link_bytes_per_s) < 0 ||
        json_text_number(t, object, "vcpu_ratio", 0.1, 1000, &n.vcpu_ratio) < 0 ||
        read_set(r, object, "networks", &r->model->networks, &n.networks) < 0 ||
        read_set(r, object, "pools", &r->model->pools, &n.pools) < 0 ||
        read_set(r, object, "cpu_models", &r->model->cpu_models, &n.cpu_models) < 0 ||
        read_four(r, object, "pressure", 1, n.pressure) < 0 || read_four(r, object, "stalled", 1, n.stalled) < 0 ||
        json_text_duration(t, object, "age", &age) < 0 || json_text_bool(t, object, "drained", &n.drained) < 0 ||
        json_text_bool(t, object, "stays_on", &n.stays_on) < 0 || read_mode(r, object, &n.mode) < 0 ||
        json_text_number(t, object, "members", 0, MEMBERS_LARGEST, &members) < 0 ||
        json_text_number(t, object, "arrived", 0, MEMBERS_LARGEST, &arrived) < 0 ||
        json_text_number(t, object, "moving", 0, MOVING_LARGEST, &moving) < 0 ||
        json_text_number(t, object, "over_rack", 0, MOVING_LARGEST, &over_rack) < 0 ||
        json_text_number(t, object, "over_site", 0, MOVING_LARGEST, &over_site) < 0)
        return -EINVAL;
    bool ready = !strcmp(state, "ready"), drains = !strcmp(state, "draining");
    if (!ready && !drains && strcmp(state, "offline") != 0)
        return json_text_refuse(t, "state", "'%s': ready, draining or offline is needed", state);
    n.offline = !ready;
    n.members = (int)ceil(members);
    n.arrived = (int)arrived;
    n.moving = (int)moving;
    n.over_rack = (int)over_rack;
    n.over_site = (int)over_site;
    if (n.over_rack > n.moving || n.over_site > n.moving)
        return json_text_refuse(t, n.over_rack > n.moving ? "over_rack" : "over_site", "these are some of `moving`");
    if (ready && n.drained)
        return json_text_refuse(t, "drained",
                                "a node that is ready is not; draining or offline is needed as its state");
    if (ready && (n.vcpus <= 0 || n.memory <= 0))
        return json_text_refuse(t, n.vcpus <= 0 ? "cpus" : "memory", "a node that is ready has some");
    n.stale = ready && (age < 0 || age > r->policy->stale_s);
    n.load_capacity[RESOURCE_CPU] = n.vcpus;
    n.load_capacity[RESOURCE_MEMORY] = n.memory * 1048576;
    n.load_capacity[RESOURCE_DISK] = disk_rate;
    n.load_capacity[RESOURCE_NETWORK] = network_rate;
    int added = cluster_lost_check_node(&r->lost, name, r->text.err);
    added = added < 0 ? added : model_add_node(r->model, name, &n, r->text.err);
    if (added < 0)
        return err_prefix(r->text.err, "%s", r->text.name);
    if (n.stale)
        warn(r, "node %s: its measurements are %s: nothing is moved to or from it", name,
             age < 0 ? "missing" : "too old");
    return 0;
}

static int read_state(struct reading *r, json_t *object, struct model_guest *g)
{
    const char *state = "running";
    if (json_text_string(&r->text, object, "state", &state) < 0)
        return -EINVAL;
    if (strcmp(state, "running") != 0 && strcmp(state, "stopped") != 0)
        return json_text_refuse(&r->text, "state", "'%s': running or stopped is needed", state);
    g->state = !strcmp(state, "running") ? GUEST_RUNNING : GUEST_DOWN;
    return 0;
}

/* The node that it left is nobody's target if it was left out. */
static int find_node(struct reading *r, json_t *object, const char *key, bool may_be_lost, int *node)
{
    const char *name = NULL;
    if (json_text_string(&r->text, object, key, &name) < 0)
        return -EINVAL;
    *node = name ? names_find(&r->model->node_names, name, strlen(name)) : -1;
    if (!name || *node >= 0 || (may_be_lost && cluster_lost_has_node(&r->lost, name)))
        return 0;
    return json_text_refuse(
        &r->text, key, cluster_lost_has_node(&r->lost, name) ? "node '%s' is left out" : "there is no node '%s'", name);
}

enum { NODE_LEFT_OUT = -1 };

/* Of a guest's list of nodes one; NODE_LEFT_OUT, or -EINVAL: nobody has it. */
static int listed_node(struct reading *r, const char *key, const char *name)
{
    int node = name ? names_find(&r->model->node_names, name, strlen(name)) : -1;
    if (node >= 0)
        return node;
    return cluster_lost_has_node(&r->lost, name)
               ? NODE_LEFT_OUT
               : json_text_refuse(&r->text, key, "there is no node '%s'", name ? name : "?");
}

/* "pinned": only these nodes, or "avoid": all but these. */
static int read_pins(struct reading *r, json_t *object, struct model_guest *g)
{
    json_t *pinned = json_object_get(object, "pinned"), *avoid = json_object_get(object, "avoid");
    json_t *list = pinned ? pinned : avoid;
    const char *key = pinned ? "pinned" : "avoid";
    if (!list)
        return 0;
    if (pinned && avoid)
        return json_text_refuse(&r->text, "avoid", "pinned says already where it may be");
    if (!json_is_array(list) || !json_array_size(list) || json_array_size(list) > MODEL_NODES_MAX)
        return json_text_refuse(&r->text, key, "a list of nodes is needed");
    g->avoids = !pinned;
    g->pins = malloc(json_array_size(list) * sizeof *g->pins);
    for (size_t i = 0; g->pins && i < json_array_size(list); i++) {
        int node = listed_node(r, key, json_string_value(json_array_get(list, i)));
        if (node == -EINVAL)
            return node;
        if (node >= 0) /* to one that is left out nothing goes, pinned or not */
            g->pins[g->pin_count++] = node;
    }
    return g->pins ? 0 : err_set(r->text.err, ENOMEM, "no memory for %s", r->text.name);
}

/* {"n1": 4e6}: what its disks do where its volumes have members. */
static int read_storage(struct reading *r, json_t *object, struct model_guest *g)
{
    json_t *list = json_object_get(object, "storage"), *rate;
    const char *name;
    if (!list)
        return 0;
    if (!json_is_object(list) || json_object_size(list) > MODEL_STORAGE_MAX)
        return json_text_refuse(&r->text, "storage", "an object of at most %d nodes and bytes a second is needed",
                                MODEL_STORAGE_MAX);
    g->storage = malloc((json_object_size(list) + 1) * sizeof *g->storage);
    if (!g->storage)
        return err_set(r->text.err, ENOMEM, "no memory for %s", r->text.name);
    json_object_foreach (list, name, rate) {
        int node = listed_node(r, "storage", name);
        double bytes = 0;
        if (node == NODE_LEFT_OUT)
            continue;
        if (node < 0 || json_text_number(&r->text, list, name, 0, RATE_LARGEST, &bytes) < 0)
            return -EINVAL;
        if (bytes > 0)
            g->storage[g->storage_count++] = (struct model_storage){node, bytes};
    }
    return 0;
}

/* {"n1": "2h"}: how long ago a plan has sent it away from there. */
static int read_left(struct reading *r, json_t *object, struct model_guest *g)
{
    json_t *list = json_object_get(object, "left"), *ago;
    const char *name;
    if (list && !json_is_object(list))
        return json_text_refuse(&r->text, "left", "an object of nodes and times is needed: {\"n1\": \"2h\"}");
    json_object_foreach (list, name, ago) {
        int node = listed_node(r, "left", name);
        double seconds = 0;
        if (node == NODE_LEFT_OUT)
            continue;
        if (node < 0 || json_text_duration(&r->text, list, name, &seconds) < 0)
            return -EINVAL;
        model_note_left(g, node, seconds);
    }
    return 0;
}

/* Of a guest, in processors: what it waited for; what it will want by its days before, and what that is wrong by. */
struct wish {
    double steal, expected, error;
};

static int read_expected(struct reading *r, json_t *object, struct wish *wish)
{
    static const char *const keys[] = {"cpu", "error", NULL};
    json_t *inner = json_object_get(object, "expected");
    if (!inner)
        return 0;
    if (!json_is_object(inner))
        return json_text_refuse(&r->text, "expected", "an object with cpu and error is needed");
    if (json_text_known(&r->text, inner, keys) < 0 ||
        json_text_number(&r->text, inner, "cpu", 0, CORES_LARGEST, &wish->expected) < 0 ||
        json_text_number(&r->text, inner, "error", 0, CORES_LARGEST, &wish->error) < 0)
        return -EINVAL;
    return 0;
}

/* What is asked of a node: what was used, what was wanted but not given (steal), or what is expected if that is more;
 * more under pressure, more again where all had to wait, and the error. */
static void demand(const struct reading *r, struct model_guest *g, int at, const struct wish *wish)
{
    g->load[RESOURCE_CPU] += wish->steal;
    if (wish->expected > g->load[RESOURCE_CPU]) {
        g->load[RESOURCE_CPU] = wish->expected;
        g->load_std[RESOURCE_CPU] = fmax(g->load_std[RESOURCE_CPU], wish->error);
    }
    for (int i = 0; i < RESOURCE_COUNT; i++) {
        const struct model_node *n = at >= 0 ? &r->model->nodes[at] : NULL;
        double pressure = n ? n->pressure[i] + n->stalled[i] : 0; /* of networks the kernel tells none */
        g->load[i] = g->load[i] * (1 + pressure) + r->policy->error_factor * g->load_std[i];
    }
}

/* Why it may not move; what is said beyond so many different sentences is not kept. */
static int read_fixed(struct reading *r, json_t *object, struct model_guest *g)
{
    const char *why = NULL;
    if (json_text_string(&r->text, object, "fixed", &why) < 0)
        return -EINVAL;
    if (why && *why)
        g->fixed = 1 + names_intern(&r->model->reasons, why, strlen(why));
    return 0;
}

static int read_guest_numbers(struct reading *r, json_t *object, struct model_guest *g, double *age, struct wish *wish)
{
    const struct json_text *t = &r->text;
    bool movable = true;
    if (json_text_number(t, object, "vcpus", 0, CORES_LARGEST, &g->vcpus) < 0 ||
        json_text_size(t, object, "memory", true, &g->memory) < 0 ||
        json_text_size(t, object, "local_disk", true, &g->disk) < 0 || read_state(r, object, g) < 0 ||
        read_mode(r, object, &g->mode) < 0 || json_text_bool(t, object, "movable", &movable) < 0 ||
        read_four(r, object, "load", RATE_LARGEST, g->load) < 0 ||
        read_four(r, object, "error", RATE_LARGEST, g->load_std) < 0 ||
        json_text_number(t, object, "steal", 0, CORES_LARGEST, &wish->steal) < 0 ||
        read_expected(r, object, wish) < 0 || read_fixed(r, object, g) < 0 ||
        json_text_size(t, object, "dirty_rate", false, &g->dirty_bytes_per_s) < 0 ||
        json_text_duration(t, object, "moved_ago", &g->moved_ago_s) < 0 ||
        json_text_duration(t, object, "age", age) < 0 ||
        read_set(r, object, "networks", &r->model->networks, &g->networks) < 0 ||
        read_set(r, object, "pools", &r->model->pools, &g->pools) < 0 ||
        read_set(r, object, "cpu_models", &r->model->cpu_models, &g->cpu_models) < 0)
        return -EINVAL;
    g->movable = movable;
    g->writes_seen = json_object_get(object, "dirty_rate") != NULL;
    g->local = g->disk > 0;
    return 0;
}

static void free_lists(struct model_guest *g)
{
    free(g->pins);
    free(g->storage);
}

static int read_guest(struct reading *r, json_t *object)
{
    static const char *const keys[] = {"name",      "node",      "state",    "vcpus",       "memory",   "local_disk",
                                       "load",      "error",     "expected", "steal",       "age",      "dirty_rate",
                                       "movable",   "pinned",    "avoid",    "networks",    "pools",    "cpu_models",
                                       "moved_ago", "came_from", "ha",       "ha_priority", "ha_after", "ha_delay",
                                       "volumes",   "balance",   "storage",  "fixed",       "left",     NULL};
    struct model_guest g = {.balanced = true, .moved_ago_s = -1, .came_from = -1};
    const char *name = NULL;
    double age = -1;
    struct wish wish = {0};
    int at = -1;
    if (json_text_string(&r->text, object, "name", &name) < 0)
        return -EINVAL;
    if (!name)
        return json_text_refuse(&r->text, "name", "every guest needs one");
    r->text.path[1] = name;
    r->text.depth = 2;
    if (json_text_known(&r->text, object, keys) < 0 || find_node(r, object, "node", false, &at) < 0 ||
        find_node(r, object, "came_from", true, &g.came_from) < 0 || read_guest_numbers(r, object, &g, &age, &wish) < 0)
        return -EINVAL;
    if (g.state == GUEST_RUNNING && g.memory <= 0)
        return json_text_refuse(&r->text, "memory", "a guest that runs has some");
    int rc = read_pins(r, object, &g);
    rc = rc < 0 ? rc : read_storage(r, object, &g);
    rc = rc < 0 ? rc : read_left(r, object, &g);
    if (rc < 0) {
        free_lists(&g);
        return rc;
    }
    g.measured = g.state != GUEST_RUNNING || (age >= 0 && age <= r->policy->stale_s);
    demand(r, &g, at, &wish);
    int added = cluster_lost_check_guest(&r->lost, name, r->text.err);
    added = added < 0 ? added : model_add_guest(r->model, name, &g, r->text.err);
    if (added < 0) {
        free_lists(&g);
        return err_prefix(r->text.err, "%s", r->text.name);
    }
    if (!g.measured)
        warn(r, "guest %s: its measurements are %s: it is not moved", name, age < 0 ? "missing" : "too old");
    r->at[added] = at;
    return 0;
}

/* Somebody who was left out is in a rack, or site, that the others must not share, or must: they stay where they are.
 */
static void hold_members(struct reading *r, const struct model_group *g)
{
    for (int i = 0; i < g->count; i++)
        r->model->guests[g->members[i]].movable = false;
    sentences_add(&r->lost.said, "%s: group '%s': one of its guests is left out, and the others are not moved",
                  r->text.name, r->model->group_names.text[g->name]);
}

/* A rule holds for those that are known, whoever else it names. */
static int read_members(struct reading *r, json_t *members, int group)
{
    bool lost = false;
    for (size_t i = 0; i < json_array_size(members); i++) {
        const char *guest = json_string_value(json_array_get(members, i));
        int number = guest ? names_find(&r->model->guest_names, guest, strlen(guest)) : -1;
        lost |= number < 0 && cluster_lost_has_guest(&r->lost, guest);
        int rc = number < 0 ? json_text_refuse(&r->text, "guests", "there is no guest '%s'", guest ? guest : "?")
                            : model_add_member(r->model, group, number, r->text.err);
        if (rc < 0 && (r->strict || rc == -ENOMEM))
            return rc;
        if (rc < 0)
            sentences_add(&r->lost.said, "%s; the group holds for the others", r->text.err->text);
        if (rc == -ENOSPC)
            break;
    }
    const struct model_group *g = &r->model->groups[group];
    if (lost && g->hard && g->scope != SCOPE_NODE)
        hold_members(r, g);
    return 0;
}

static int read_group(struct reading *r, json_t *object)
{
    static const char *const keys[] = {"name", "keep", "scope", "hard", "weight", "guests", NULL};
    struct model_group g = {.hard = true, .scope = SCOPE_NODE};
    const char *name = NULL, *keep = "apart", *scope = "node";
    json_t *members = json_object_get(object, "guests");
    if (json_text_string(&r->text, object, "name", &name) < 0)
        return -EINVAL;
    if (!name)
        return json_text_refuse(&r->text, "name", "every group needs one");
    r->text.path[1] = name;
    r->text.depth = 2;
    g.weight = r->policy->group_weight;
    if (json_text_known(&r->text, object, keys) < 0 || json_text_string(&r->text, object, "keep", &keep) < 0 ||
        json_text_string(&r->text, object, "scope", &scope) < 0 ||
        json_text_bool(&r->text, object, "hard", &g.hard) < 0 ||
        json_text_number(&r->text, object, "weight", 0, 1000, &g.weight) < 0)
        return -EINVAL;
    g.together = !strcmp(keep, "together");
    if (!g.together && strcmp(keep, "apart") != 0)
        return json_text_refuse(&r->text, "keep", "'%s': apart or together is needed", keep);
    if (strcmp(scope, "node") && strcmp(scope, "rack") && strcmp(scope, "site"))
        return json_text_refuse(&r->text, "scope", "'%s': node, rack or site is needed", scope);
    g.scope = !strcmp(scope, "node") ? SCOPE_NODE : !strcmp(scope, "rack") ? SCOPE_RACK : SCOPE_SITE;
    if (!json_is_array(members))
        return json_text_refuse(&r->text, "guests", "a list of guests is needed");
    int group = model_add_group(r->model, name, &g, r->text.err);
    return group < 0 ? group : read_members(r, members, group);
}

/* {"bytes": B, "seconds": S}: what a migration really took. */
static int read_migration(struct reading *r, json_t *object)
{
    static const char *const keys[] = {"bytes", "seconds", NULL};
    double bytes = 0, seconds = 0;
    if (json_text_known(&r->text, object, keys) < 0 || json_text_size(&r->text, object, "bytes", false, &bytes) < 0 ||
        json_text_duration(&r->text, object, "seconds", &seconds) < 0)
        return -EINVAL;
    if (bytes > 0 && seconds > 0)
        r->speeds[r->speed_count++] = bytes / seconds;
    return 0;
}

/* Whom somebody else has left out already: {"who": "guest web1", "why": SENTENCE, "node": where it is}. */
static int read_left_out(struct reading *r, json_t *object)
{
    static const char *const keys[] = {"who", "why", "node", NULL};
    const char *who = "?", *why = "it is not said why";
    if (json_text_known(&r->text, object, keys) < 0 || json_text_string(&r->text, object, "who", &who) < 0 ||
        json_text_string(&r->text, object, "why", &why) < 0)
        return -EINVAL;
    r->text.path[0] = who;
    r->text.depth = 1;
    return json_text_refuse(&r->text, NULL, "%s", why);
}

static int read_list(struct reading *r, json_t *root, const char *key, int (*read)(struct reading *, json_t *),
                     void (*lose)(struct cluster_lost *, struct model *, const json_t *, const char *))
{
    json_t *list = json_object_get(root, key);
    if (list && !json_is_array(list))
        return json_text_refuse(&r->text, key, "a list is needed: [ ... ]");
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *item = json_array_get(list, i);
        snprintf(r->number, sizeof r->number, "%zu", i);
        r->text.path[0] = key;
        r->text.path[1] = r->number;
        r->text.depth = json_is_object(item) ? 2 : 1;
        int rc =
            json_is_object(item) ? read(r, item) : json_text_refuse(&r->text, NULL, "entry %zu is not an object", i);
        if (rc < 0 && (r->strict || rc == -ENOMEM || rc == -ENOSPC))
            return rc;
        if (rc < 0)
            lose(&r->lost, r->model, item, r->text.err->text);
        if (r->lost.said.unsaid)
            r->text.len = 0; /* nobody will read in which line it was, and looking takes long */
    }
    r->text.depth = 0;
    return 0;
}

/* What was not said: free is what nobody uses. */
static int complete_nodes(struct model *m, const int *at)
{
    double(*used)[2] = calloc((size_t)m->node_count + 1, sizeof *used);
    if (!used)
        return -ENOMEM;
    for (int g = 0; g < m->guest_count; g++)
        if (at[g] >= 0) {
            used[at[g]][0] += m->guests[g].memory;
            used[at[g]][1] += m->guests[g].disk;
        }
    for (int n = 0; n < m->node_count; n++) {
        if (m->nodes[n].memory_free < 0)
            m->nodes[n].memory_free = m->nodes[n].memory - m->nodes[n].memory_own - used[n][0];
        if (m->nodes[n].disk_free < 0)
            m->nodes[n].disk_free = m->nodes[n].disk - used[n][1];
    }
    free(used);
    return 0;
}

static int read_all(struct reading *r, json_t *root)
{
    static const char *const keys[] = {"nodes", "guests", "groups", "migrations", "left_out", NULL};
    r->at = malloc((json_array_size(json_object_get(root, "guests")) + 1) * sizeof *r->at);
    r->speeds = malloc((json_array_size(json_object_get(root, "migrations")) + 1) * sizeof *r->speeds);
    if (!r->at || !r->speeds)
        return err_set(r->text.err, ENOMEM, "no memory for %s", r->text.name);
    int rc = json_text_known(&r->text, root, keys);
    rc = rc == 0 ? read_list(r, root, "nodes", read_node, cluster_lost_node) : rc;
    rc = rc == 0 ? read_list(r, root, "left_out", read_left_out, cluster_lost_guest) : rc;
    rc = rc == 0 ? read_list(r, root, "guests", read_guest, cluster_lost_guest) : rc;
    rc = rc == 0 ? read_list(r, root, "groups", read_group, cluster_lost_group) : rc;
    rc = rc == 0 ? read_list(r, root, "migrations", read_migration, cluster_lost_migration) : rc;
    if (rc < 0)
        return rc;
    r->cluster->link_learned = cost_learn_speed(r->speeds, r->speed_count);
    if (complete_nodes(r->model, r->at) < 0)
        return err_set(r->text.err, ENOMEM, "no memory for %s", r->text.name);
    rc = model_ready(r->model, r->at, NULL, r->text.err);
    if (rc == 0)
        model_hold(r->model, MODE_AUTOMATIC, MODE_OFF);
    return rc;
}

static int read_into(struct reading *r, struct cluster_json *cluster, json_t *root)
{
    *cluster = (struct cluster_json){.model = root ? model_new(MODEL_DROVER) : NULL};
    if (!root)
        return -EINVAL;
    if (!cluster->model)
        return err_set(r->text.err, ENOMEM, "no memory for %s", r->text.name);
    r->cluster = cluster;
    r->model = cluster->model;
    cluster_lost_init(&r->lost);
    int rc = read_all(r, root);
    snprintf(cluster->warnings, sizeof cluster->warnings, "%s%s", r->lost.said.text, r->unmeasured.text);
    cluster->unsaid = r->lost.said.unsaid + r->unmeasured.unsaid;
    cluster_lost_fini(&r->lost);
    free(r->at);
    free(r->speeds);
    if (rc < 0) {
        model_free(cluster->model);
        cluster->model = NULL;
    }
    return rc;
}

static int read_text(struct cluster_json *cluster, const char *name, const char *text, size_t len,
                     const struct policy *policy, bool strict, struct err *err)
{
    struct reading r = {
        .text = {.name = name, .text = text, .len = len, .err = err}, .policy = policy, .strict = strict};
    json_t *root = json_text_parse(&r.text);
    int rc = read_into(&r, cluster, root);
    json_decref(root);
    return rc;
}

int cluster_json_read(struct cluster_json *cluster, const char *name, const char *text, size_t len,
                      const struct policy *policy, struct err *err)
{
    return read_text(cluster, name, text, len, policy, false, err);
}

int cluster_json_read_strict(struct cluster_json *cluster, const char *name, const char *text, size_t len,
                             const struct policy *policy, struct err *err)
{
    return read_text(cluster, name, text, len, policy, true, err);
}

int cluster_json_take(struct cluster_json *cluster, const char *name, json_t *root, const struct policy *policy,
                      struct err *err)
{
    struct reading r = {.text = {.name = name, .text = "", .err = err}, .policy = policy};
    return read_into(&r, cluster, root);
}
