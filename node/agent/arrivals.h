/* Guests that come to this node: of each migration it is said where its guest is waited for, or why it cannot come; and
 * while its last pages follow it, by the rules of migration.h, that they are all there, or that its memory is lost.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_ARRIVALS_H
#define NODE_AGENT_ARRIVALS_H

struct arrivals;
struct cluster;
struct guests;
struct loop;
struct loop_job;
struct object;

/* again: runs whenever all migrations are to be looked at once more. All are lent. NULL: out of memory. */
struct arrivals *arrivals_new(struct loop *loop, struct cluster *cluster, struct guests *guests,
                              struct loop_job *again);
/* All that have not ended and come here, between the other two: who is not among them any more is forgotten. */
void arrivals_begin(struct arrivals *arrivals);
void arrivals_look(struct arrivals *arrivals, const struct object *migration);
void arrivals_end(struct arrivals *arrivals);
/* NULL is fine. Turns of the loop are needed afterwards. */
void arrivals_free(struct arrivals *arrivals);

#endif
