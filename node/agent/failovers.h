/* Fail-over, carried out: this node watches the others, and takes over the guests that fall to it when one is lost
 * (failover.h says which). A take-over is one transaction of the store: the guest becomes this node's, if it is as it
 * was seen, if the lost node's state is still gone, and if nobody has armed or disarmed meanwhile. Then it is a guest
 * like any other, and its start claims its volumes with a new epoch (owner.h).
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_FAILOVERS_H
#define NODE_AGENT_FAILOVERS_H

#include <stdbool.h>
#include <stdint.h>

struct cluster;
struct err;
struct failovers;
struct json_t;
struct loop;
struct member_probe;
struct object;
struct tenure;

struct failovers *failovers_new(struct loop *loop, struct cluster *cluster, const struct tenure *tenure,
                                struct err *err);
/* Not while one is on its way (failovers_busy()). */
void failovers_free(struct failovers *failovers);
bool failovers_busy(const struct failovers *failovers);

/* The node's tenure has moved, or some time has passed. */
void failovers_tick(struct failovers *failovers);
const struct member_probe *failovers_probe(const struct failovers *failovers);
/* What is left of its cool-down. */
uint64_t failovers_cool_ms(struct failovers *failovers, const struct object *guest);
uint64_t failovers_done(const struct failovers *failovers); /* by this node, since its agent began */
/* For the API: {"armed", "by", "at", "nodes_to_lose", "protected", "warnings":[...], "guests":[...]}. */
struct json_t *failovers_status(struct failovers *failovers);

#endif
