#include "balancer/cluster_lost.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "balancer/model.h"
#include "node/base/err.h"

void cluster_lost_init(struct cluster_lost *lost)
{
    *lost = (struct cluster_lost){0};
    names_init(&lost->nodes, MODEL_NODES_MAX);
    names_init(&lost->guests, MODEL_GUESTS_MAX);
}

void cluster_lost_fini(struct cluster_lost *lost)
{
    names_fini(&lost->nodes);
    names_fini(&lost->guests);
}

bool cluster_lost_has_node(const struct cluster_lost *lost, const char *name)
{
    return name && names_find(&lost->nodes, name, strlen(name)) >= 0;
}

bool cluster_lost_has_guest(const struct cluster_lost *lost, const char *name)
{
    return name && names_find(&lost->guests, name, strlen(name)) >= 0;
}

static int check(const struct names *names, const char *kind, const char *name, struct err *err)
{
    bool known = names_find(names, name, strlen(name)) >= 0;
    return known ? err_set(err, EEXIST, "%s '%s' is there twice: give each its own name", kind, name) : 0;
}

int cluster_lost_check_node(const struct cluster_lost *lost, const char *name, struct err *err)
{
    return check(&lost->nodes, "node", name, err);
}

int cluster_lost_check_guest(const struct cluster_lost *lost, const char *name, struct err *err)
{
    return check(&lost->guests, "guest", name, err);
}

static void say(struct cluster_lost *lost, const char *why, const char *more, const char *name)
{
    sentences_add(&lost->said, "%s; it is left out%s%s", why, more, name);
}

/* By its name, or as "guest NAME" if somebody else has left it out. */
static void remember(struct names *names, const json_t *entry)
{
    static const char guest[] = "guest ";
    const char *name = json_string_value(json_object_get(entry, "name"));
    const char *who = json_string_value(json_object_get(entry, "who"));
    if (!name && who && !strncmp(who, guest, sizeof guest - 1))
        name = who + sizeof guest - 1;
    if (name && *name)
        names_intern(names, name, strlen(name));
}

/* Nobody knows which of two nodes with one name is the node. */
void cluster_lost_node(struct cluster_lost *lost, struct model *m, const json_t *entry, const char *why)
{
    int first = names_find_member(&m->node_names, entry, "name");
    if (first >= 0)
        m->nodes[first].stale = true;
    else
        remember(&lost->nodes, entry);
    say(lost, why, first >= 0 ? ", and nothing is moved to or from the first" : "", "");
}

/* What it takes of its node nobody knows. */
void cluster_lost_guest(struct cluster_lost *lost, struct model *m, const json_t *entry, const char *why)
{
    int first = names_find_member(&m->guest_names, entry, "name");
    int node = names_find_member(&m->node_names, entry, "node");
    if (first >= 0)
        m->guests[first].movable = false;
    else
        remember(&lost->guests, entry);
    if (node >= 0)
        m->nodes[node].stale = true;
    bool is_open = node >= 0 && !m->nodes[node].offline; /* a closed one takes nobody, and all may leave it */
    say(lost, why, is_open ? ", and nothing is moved to or from node " : "", is_open ? model_node_name(m, node) : "");
}

/* Where a rule that cannot be read has them, they stay. */
void cluster_lost_group(struct cluster_lost *lost, struct model *m, const json_t *entry, const char *why)
{
    json_t *member;
    size_t i;
    json_array_foreach (json_object_get(entry, "guests"), i, member) {
        const char *name = json_string_value(member);
        int guest = name ? names_find(&m->guest_names, name, strlen(name)) : -1;
        if (guest >= 0)
            m->guests[guest].movable = false;
    }
    say(lost, why, ", and its guests are not moved", "");
}

void cluster_lost_migration(struct cluster_lost *lost, struct model *m, const json_t *entry, const char *why)
{
    (void)m;
    (void)entry;
    say(lost, why, "", "");
}
