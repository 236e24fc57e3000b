/* Migrations of this node's guests: those that leave it are brought about here, by the rules of migration.h; of those
 * that come to it, it is said where they are waited for, or why they cannot come.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_MIGRATIONS_H
#define NODE_AGENT_MIGRATIONS_H

struct cluster;
struct err;
struct guests;
struct loop;
struct migrations;
struct report;
struct worker;

struct migrations_place {
    struct loop *loop;
    struct worker *worker;
    struct report *report;
    struct guests *guests;
    const char *state; /* the node's folder, where the cluster's volume key is */
};

/* place is lent. */
struct migrations *migrations_new(struct cluster *cluster, const struct migrations_place *place, struct err *err);
/* Guests that are on their way go on moving; whoever comes after us sees how far they are. Then turns of the loop. */
void migrations_free(struct migrations *migrations);

#endif
