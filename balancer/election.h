/* One balancer of a cluster is elected: it has a key of the store under a lease of its own, which was not there before.
 *
 *     FOLLOWING --the key is gone: lease granted, key put--> ELECTED --lease lost, or a write refused--> FOLLOWING
 *
 * What it writes carries a check of that key's revision (election_check()): once it was deposed, whatever it has still
 * on its way changes nothing. Until the lease is confirmed it does not act, either; the check alone makes it safe.
 *
 * Thread: the loop's. */
#ifndef BALANCER_ELECTION_H
#define BALANCER_ELECTION_H

#include <stdbool.h>
#include <stdint.h>

#include "node/base/loop.h"
#include "node/base/store.h"

/* Longer than a look at a large cluster takes, during which nothing is renewed. */
enum { ELECTION_TTL_MS = 10000, ELECTION_TICK_MS = 1000, ELECTION_VALUE_MAX = 256 };

struct election {
    struct loop *loop;
    struct store *store;
    const char *node;
    void (*changed)(struct election *election); /* elected, or not any more */
    /* its own */
    int64_t lease_id, revision; /* revision: of the key, 0: not elected */
    uint64_t valid_until_ns;
    struct store_lease lease;
    struct store_commit commit;
    struct store_change change;
    char value[ELECTION_VALUE_MAX];
    struct loop_timer timer;
    bool busy, seen, resigned; /* seen: somebody has the key */
    void (*gone)(void *context);
    void *gone_context;
};

/* loop, store, node and changed are set. */
void election_begin(struct election *election);
/* Whether the store has the key now, as the follower sees it; -1: that is not known. */
void election_saw(struct election *election, int present);

bool election_is_won(const struct election *election);
/* The change that every commit of an elected one begins with. */
struct store_change election_check(const struct election *election);
/* That check was refused: somebody else is elected. */
void election_lost(struct election *election, const char *why);

/* Gives the key back so that the next one need not wait; gone() once nothing is under way. */
void election_resign(struct election *election, void (*gone)(void *context), void *context);

#endif
