/* What the parts of a simulated cluster do for each other. For the world_*.c alone.
 *
 *     world.c        one schedule from its beginning to its end
 *     world_fault.c  what is done to it, and when
 *     world_call.c   the network: calls on their way, late, lost
 *     world_store.c  the store: leases, who lives, whose guest is whose; what watches show
 *     world_agent.c  one agent
 *     world_view.c   what it decides from
 *     world_judge.c  what must hold
 *
 * Time goes in steps; real time is the world's, and nobody in it can read it. */
#ifndef NODE_DRILL_WORLD_PARTS_H
#define NODE_DRILL_WORLD_PARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "node/drill/world_state.h"

/* ---- world.c ---- */
uint64_t world_draw(struct world *w, uint64_t below);
__attribute__((format(printf, 2, 3))) void world_wrong(struct world *w, const char *format, ...);
uint64_t world_clock(const struct world *w, const struct world_node *n);
bool world_acts(const struct world *w, const struct world_node *n);
bool world_executes(const struct world *w, int node, unsigned guest); /* its process there, at this moment */
void world_add_process(struct world *w, int node, unsigned guest);
void world_drop_process(struct world *w, int node, unsigned guest);
void world_drop_processes(struct world *w, int node);
bool world_hears(const struct world *w, int from, int to);

/* ---- world_call.c ---- */
/* NULL: too many are under way. */
struct call *world_send(struct world *w, int from, int to, enum call_kind kind);
void world_deliver(struct world *w);

/* ---- world_store.c ---- */
void world_store_begin(struct world *w);
void world_store_step(struct world *w);
void world_store_serves(struct world *w, struct call *c);
void world_store_returns(struct world *w); /* or has a new leader */
/* What a watch shows that lags so many steps behind: lent. */
struct picture *world_store_picture(struct world *w, uint64_t lag);
void world_store_arm(struct world *w, bool armed);
struct picture *world_picture_hold(struct picture *p);
void world_picture_drop(struct picture *p);

/* ---- world_agent.c ---- */
void world_agent_begin(struct world *w, int node);
void world_agent_step(struct world *w, int node);
void world_agent_answered(struct world *w, struct call *c);
void world_agent_failed(struct world *w, const struct call *c); /* there was no answer */
/* May a guest of this node start, by its order? No: why says what it waits for. */
bool world_agent_may_start(struct world *w, int node, unsigned guest, char *why, unsigned room);

/* ---- world_view.c ---- */
/* Works out what follows from a picture, once. */
void world_picture_derive(struct world *w, struct picture *p);
/* Into w->view: what follows from the picture, with the guests whose node is not alive, in the order of orphans. asker:
 * who asks the members of volumes whether they answer. */
void world_view_make(struct world *w, struct picture *p, int asker);
void world_view_guest(struct world *w, const struct picture *p, int asker, unsigned guest, struct failover_guest *to);

/* ---- world_fault.c ---- */
void world_faults_choose(struct world *w);
void world_faults_step(struct world *w);

/* ---- world_judge.c ---- */
void world_judge_step(struct world *w);
void world_judge_loss(struct world *w, int node); /* before it is over */
void world_judge_end(struct world *w);

#endif
