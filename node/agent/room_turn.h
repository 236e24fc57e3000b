/* Calls of this agent that choose a node, one after the other in the order in which they came: a hundred at once would
 * refuse each other in the store (room_claim.h), and each would look at all guests again each time. Other agents are
 * met there all the same, and who has the turn chooses again for a while.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_ROOM_TURN_H
#define NODE_AGENT_ROOM_TURN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct room_turns;

struct room_turn {
    void (*begin)(struct room_turn *turn);   /* it chooses */
    void (*crowded)(struct room_turn *turn); /* it has waited, or tried, long enough, or the agent ends */
    struct room_turns *all;                  /* this, and when it came and began, is filled in */
    uint64_t came_ms, began_ms;
    STAILQ_ENTRY(room_turn) link;
};

struct room_turns *room_turns_new(void);        /* NULL: out of memory */
void room_turns_free(struct room_turns *turns); /* NULL is fine */

/* begin(), or crowded(), now or when all who came before are done. */
void room_turns_wait(struct room_turns *turns, struct room_turn *turn);
/* By whose turn it is, once; the next one begins. */
void room_turns_done(struct room_turns *turns);

/* From now on nobody may choose: the agent ends. */
void room_turns_end(struct room_turns *turns);

/* By whose turn it is, when somebody at another agent was quicker: begin() or crowded() once more. */
void room_turn_again(struct room_turn *turn);
/* Is there time left for that? */
bool room_turn_may_choose(const struct room_turn *turn);

#endif
