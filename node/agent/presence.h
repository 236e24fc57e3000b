/* This node in the cluster: its object, and a state under a lease that goes when the agent, the node or its way to the
 * store does. Others see by it who is there.
 *
 *     ABSENT --lease granted, state put--> PRESENT --lease lost--> ABSENT
 *
 * The lease is renewed every TENURE_KEEP_MS, without waiting for the answers that are still to come, and its tenure
 * (tenure.h) says how long protected guests of this node may run. With a store of one node nobody could take them over:
 * nothing is renewed that often then. Thread: the loop's. */
#ifndef NODE_AGENT_PRESENCE_H
#define NODE_AGENT_PRESENCE_H

#include <stdbool.h>
#include <stdint.h>

struct cluster;
struct json_t;
struct loop;
struct object;
struct presence;

struct renewal;
struct tenure;

struct presence_config {
    const char *id, *address; /* of the node */
    const char *api;          /* "https://10.0.0.1:7480": where its API is; "": only on its unix socket */
    const char *version;
    const char *instance;          /* identity.h */
    bool shared;                   /* the store is one for several nodes */
    const struct renewal *renewal; /* of the certificate, for the state; lent; NULL: there is none */
};

/* By what its object says. node may be NULL: there is no such node. */
bool presence_is_alive(const struct object *node);
/* ... and it takes new guests: it is not drained. */
bool presence_takes_guests(const struct object *node);

struct presence *presence_new(struct loop *loop, struct cluster *cluster, const struct presence_config *config);
const struct tenure *presence_tenure(const struct presence *presence);
/* That of failsafe.c: it changes it, too. */
struct tenure *presence_tenure_of(struct presence *presence);
/* tick() runs after each change of the tenure, and TENURE_KEEP_MS after the last time. */
void presence_listen(struct presence *presence, void (*tick)(void *context), void *context);
/* The lease that its state is under, for what must go with it; 0: there is none now. */
int64_t presence_lease(const struct presence *presence);
/* The last answer to a renewal is so old; 0: there was none. */
uint64_t presence_lease_age_ms(const struct presence *presence);

/* The state tells something new: it is written soon, and not only with the next figures. */
void presence_refresh(struct presence *presence);
/* A member of the state beside its figures: what this node reaches of the members that others ask for ("reaches",
 * member_probe.h), what it holds of what guests boot from ("boot_images", boot_image.h). value: taken over; an empty
 * one is left out. Told again and again: what has changed is written soon. */
void presence_say(struct presence *presence, const char *key, struct json_t *value);
/* Lets the lease run on, for the agent that comes next. */
void presence_stay(struct presence *presence);
/* Gives the lease back: others see at once that this node has left. Then turns of the loop until presence_busy() ends.
 */
void presence_leave(struct presence *presence);
bool presence_busy(const struct presence *presence);
void presence_free(struct presence *presence);

#endif
