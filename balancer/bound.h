/* Guests that are bound: by their rules or their size they could run on one node alone, whoever else made room. No
 * other node makes up for the loss of theirs, so who asks whether a change takes the room for a loss leaves them out:
 * they would never have it. Threads: any. */
#ifndef BALANCER_BOUND_H
#define BALANCER_BOUND_H

struct model;
struct policy;

enum { BOUND_NOWHERE = -1, BOUND_NOT = -2 };

/* only[guests]: the one node, or one of the above. open: with every node open that is to count; it is emptied, and held
 * by no mode afterwards. */
void bound_find(struct model *open, const struct policy *policy, int *only);

/* A copy, held by no mode, in which they do not run. NULL: no memory. */
struct model *bound_copy(const struct model *model, const struct policy *policy);

#endif
