/* Where a guest may run, by the rules in its spec, and where it had best:
 *
 *     "affinity":      ["web", ...]            in the same place as others of that group
 *     "anti_affinity": ["db:rack:soft", ...]   in another place than others of that group
 *     "pin":           [NODE, ...]             on one of these nodes
 *     "avoid":         [NODE, ...]             on none of these
 *
 * GROUP[:rack|:site][:soft]. A group is as strict as its strictest member says, and as wide: hard if one of them does
 * not say soft; a place is a node, or what the nodes' labels rack or site say if one says so. Members on nodes that
 * take no guests (away, drained) bind nobody: what is lost or leaves must find a place. A node without that label is a
 * place of its own. Pins, avoided nodes and processor models (processor.h) are hard. For a guest that moves a node must
 * hold what it boots from (boot_image.h) and have room for it (placement_room.h), too; no node without room is chosen
 * for anybody.
 *
 * The balancer's model has the same rules (balancer/groups.h); both read them from the guests' specs. Disks and
 * networks of the cluster are reached from every node and restrict nothing.
 *
 * Thread: the mirror's. */
#ifndef NODE_AGENT_PLACEMENT_H
#define NODE_AGENT_PLACEMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/agent/mirror.h"

struct complete_error;
struct json_t;
struct placement_room;

enum { PLACEMENT_GROUP_MAX = 64, PLACEMENT_LIST_MAX = 16, PLACEMENT_WHY_MAX = 300 };

enum placement_scope { PLACEMENT_NODE, PLACEMENT_RACK, PLACEMENT_SITE, PLACEMENT_SCOPES };

struct placement_group {
    char name[PLACEMENT_GROUP_MAX];
    enum placement_scope scope;
    bool hard;
};

/* False: it is no such rule. */
bool placement_parse(const char *text, struct placement_group *group);
/* Why the text is no rule, for schemas; NULL: it is one. */
const char *placement_check(const struct json_t *value);

/* A guest as it is, or as it is to be. */
struct placement_guest {
    const char *id;            /* "" if it is new */
    const struct json_t *spec; /* NULL: it has no rules */
    const char *shown_on;      /* the node whose processor it sees now and goes on seeing; "": it starts anew */
    bool moves;                /* as it runs: all that it needs must be there; else it may wait for that */
};

/* Of a guest that exists; live: it moves while it runs. */
struct placement_guest placement_guest_of(const struct object *guest, bool live);

/* May it run there? *why (PLACEMENT_WHY_MAX bytes; NULL: nobody asks): what forbids it. */
bool placement_allows(const struct mirror *mirror, const struct placement_guest *guest, const struct object *node,
                      char *why);

/* By its pins and the nodes it avoids alone, which nothing but people change. why: as above. */
bool placement_admits(const struct json_t *spec, const char *node, char *why);

/* The same as placement_allows() of several nodes: 1 << index. count: 64 at most. */
uint64_t placement_mask(const struct mirror *mirror, const struct placement_guest *guest,
                        const struct object *const *nodes, int count);

/* Of which nodes one is chosen. All zero: of all. */
struct placement_choice {
    const char *except;                                            /* not this one; NULL: all are asked */
    bool (*takes)(const void *context, const struct object *node); /* of these alone; *why says nothing of the others */
    const void *context;
    struct placement_room *room; /* gathered if need be: choices of one turn of the loop can share it; NULL: its own */
};

/* The best node that takes guests: of those that are allowed and have room, the one with the fewest soft rules broken,
 * then the one with the best score (placement_score.h). NULL: none; *why as above. */
const struct object *placement_choose(const struct mirror *mirror, const struct placement_guest *guest,
                                      const struct placement_choice *choice, char *why);

/* The group as all its members together say; key: "affinity" or "anti_affinity". */
void placement_widen(const struct mirror *mirror, const char *key, struct placement_group *group);
bool placement_same_place(const struct object *a, const struct object *b, enum placement_scope scope);

/* Nodes that are named become names of nodes that are there; empty lists go. 0, or *error says what is wrong. */
int placement_complete(const struct mirror *mirror, struct json_t *spec, struct complete_error *error);

#endif
