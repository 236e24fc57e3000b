/* How many members of each group are in each place, so that a question about a group looks at none of them.
 *
 * A place is what the group's scope says: a node, a rack, a site; a node of no rack is a place of its own. For
 * SCOPE_LOCATION the places are the tags of nodes, and a member is in each of its node's.
 *
 * Each group has a table of open addresses with the places that hold somebody: room for each member in another place is
 * all it ever needs, so all of them are as large as there are members, whatever the number of groups and nodes. Adding,
 * taking away and asking take constant time per group of the guest. Who is counted is the owner's business. Threads:
 * one at a time. */
#ifndef BALANCER_GROUP_COUNTS_H
#define BALANCER_GROUP_COUNTS_H

#include <stdbool.h>
#include <stddef.h>

struct model;

struct group_sum {
    int members;  /* that are counted */
    int entries;  /* the sum of all places: as many, but for locations */
    int places;   /* that hold somebody */
    size_t first; /* slot of its table, which has 2^bits of them */
    unsigned bits;
};

struct group_counts {
    struct group_place *table; /* all of them; NULL: nobody is in any group */
    struct group_sum *sums;    /* [groups] */
    size_t slots;
    int groups;
};

/* Of a model whose groups of guests are known; nobody is counted. -ENOMEM. */
int group_counts_init(struct group_counts *counts, const struct model *model);
void group_counts_fini(struct group_counts *counts); /* zeroed is accepted */
void group_counts_clear(struct group_counts *counts);

/* The guest is on this node from now on, sign -1: no longer. For all its groups. */
void group_counts_add(struct group_counts *counts, const struct model *model, int guest, int node, int sign);
/* Members in a place of a group. */
int group_counts_at(const struct group_counts *counts, int group, int place);
/* Is anybody where this node is? */
bool group_counts_meets(const struct group_counts *counts, const struct model *model, int group, int node);

#endif
