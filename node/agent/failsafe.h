/* Freeze, not fence: what this node does when the store answers it no more. It asks every other node of the cluster,
 * each by its certificate, for a pledge to take nothing over for a while (tenure.h). A node that the store answers
 * pledges nothing. Only if every one of them pledges, so nobody can take anything over, do this node's guests run on;
 * of one that cannot be asked nothing is known, and the deadline stands.
 *
 * Every node counts, also one that was away when the store was last seen: it may come back where the store is.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_FAILSAFE_H
#define NODE_AGENT_FAILSAFE_H

#include <stdbool.h>

struct cluster;
struct err;
struct failsafe;
struct loop;
struct tenure;

/* tls: folder of the node's certificates; NULL: other nodes cannot be asked. tenure is changed; moved() then runs. */
struct failsafe *failsafe_new(struct loop *loop, struct cluster *cluster, struct tenure *tenure, const char *tls,
                              void (*moved)(void *context), void *context, struct err *err);
void failsafe_tick(struct failsafe *failsafe);
/* closed() comes from the loop, once nothing is in flight, and it is freed. */
void failsafe_close(struct failsafe *failsafe, void (*closed)(void *context), void *context);
/* Guests run by pledges now. */
bool failsafe_is_on(const struct failsafe *failsafe);

#endif
