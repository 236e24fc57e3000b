/* The guests of this node: every guest that the cluster places here has a unit (guest_unit.h) that works towards what
 * is wanted, and what becomes of it is reported.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_GUESTS_H
#define NODE_AGENT_GUESTS_H

#include <stdbool.h>

#include "node/agent/guest_plan.h"

struct cluster;
struct err;
struct guest_place;
struct guest_unit;
struct guests;
struct json_t;
struct report;

/* place and plan_place must outlive it. Units of guests that run already adopt them. */
struct guests *guests_new(struct cluster *cluster, struct report *report, const struct guest_place *place,
                          const struct guest_plan_place *plan_place, struct err *err);
/* The guests run on. Then turns of the loop until nothing of theirs is in flight. */
void guests_free(struct guests *guests);

/* The node's tenure has moved, or some time has passed: protected guests are told, and those that wait for it are
 * looked at again. */
void guests_tenure(struct guests *guests);
/* A process of this node has a deadline: the lease is worth keeping while no agent runs. */
bool guests_are_bound(const struct guests *guests);
unsigned guests_frozen(const struct guests *guests);

/* Something that is not in the mirror has changed: what each guest needs is looked at again. */
void guests_look(struct guests *guests);
/* watcher(): a unit has changed; from the loop. One at most. */
void guests_watch(struct guests *guests, void (*watcher)(void *context), void *context);
/* NULL: it is not on this node. */
struct guest_unit *guests_find(struct guests *guests, const char *id);
/* Why it does not run although it is to and nothing is waited for that is on its way; "": nothing is wrong. */
const char *guests_trouble(struct guests *guests, const struct guest_unit *unit);
/* Told in the guest's state as "stuck"; taken over. NULL: it is not. */
void guests_note(struct guests *guests, const struct guest_unit *unit, struct json_t *stuck);
/* Each in turn; NULL starts and ends. */
struct guest_unit *guests_next(struct guests *guests, const struct guest_unit *after);

#endif
