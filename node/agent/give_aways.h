/* Guests of this node that it cannot run although it lives (give_away.h says which, and to whom they go), given away:
 *
 *     stuck           told in the guest's state; then all nodes say what they reach of its volumes (member_probe.h)
 *     ended           its process is killed, and none is started (guest_unit_yield())
 *     given           one transaction of the store: the guest is the target's, if it is as it was seen, if nobody has
 *                     armed or disarmed meanwhile, and if the target's state is as it was when it said what it reaches
 *
 * From there on it is as after a take-over: the target claims its volumes with a greater epoch, which ends whatever of
 * the old process could still arrive. If it cannot be given after all, it is tried here again.
 *
 *     state   "stuck": {"cause":"no-start"|"crashes"|"volumes", "since":..., "reason": what is wrong,
 *                       "waits": why it is not given away; "": nothing but time}
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_GIVE_AWAYS_H
#define NODE_AGENT_GIVE_AWAYS_H

#include <stdbool.h>
#include <stdint.h>

struct audit;
struct cluster;
struct err;
struct failovers;
struct give_aways;
struct guests;
struct tenure;

struct give_aways_place {
    struct cluster *cluster;
    struct guests *guests;
    struct failovers *failovers;
    const struct tenure *tenure;
    struct audit *audit;
};

struct give_aways *give_aways_new(const struct give_aways_place *place, struct err *err);
/* Not while it is busy. */
void give_aways_free(struct give_aways *aways);
bool give_aways_busy(const struct give_aways *aways);

/* Some time has passed. */
void give_aways_tick(struct give_aways *aways);
uint64_t give_aways_done(const struct give_aways *aways); /* since the agent began */
unsigned give_aways_stuck(const struct give_aways *aways);

#endif
