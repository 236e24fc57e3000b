/* The cluster's objects as the store has them, kept current: what the conductor looks at (snapshot.h has the form).
 * Only kinds that the balancer needs are kept.
 *
 * Thread: the loop's. */
#ifndef BALANCER_FOLLOW_H
#define BALANCER_FOLLOW_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "node/base/loop.h"
#include "node/base/store.h"

struct follow {
    struct loop *loop;
    struct store *store;
    void (*changed)(struct follow *follow); /* something did; from the loop */
    json_t *objects;
    int64_t revision; /* that they show */
    bool current;     /* all of them are here */
    /* its own */
    json_t *fresh; /* being read */
    struct store_read read;
    struct store_watch watch;
    struct loop_timer timer;
    char after[STORE_KEY_MAX + 1];
    int64_t first_revision;
    bool watching;
};

/* loop, store and changed are set. */
void follow_begin(struct follow *follow);
/* Before the store is closed, which ends what is under way; then follow_fini(). */
void follow_end(struct follow *follow);
void follow_fini(struct follow *follow);

/* Takes one key into a tree of objects, or out of it (text NULL); for tests and fuzzers, too. What is no JSON object
 * takes the place of what was there as "unreadable", or "state_unreadable", of its entry. False: it is none of those
 * that are kept, or older than what is there. */
bool follow_take(json_t *objects, const char *key, const char *text, size_t len, int64_t revision, double clock_s);

#endif
