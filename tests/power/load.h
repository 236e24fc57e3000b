/* Several connections that change one export at random and at the same time, and add to a history what they asked and
 * were told. A seed repeats the requests; who comes first is the machine's.
 *
 * Thread: one; a thread of the load's own takes the replies, so that none is noted late because a send waits. */
#ifndef TESTS_POWER_LOAD_H
#define TESTS_POWER_LOAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/power/client.h"
#include "tests/power/dice.h"

struct history;

enum { LOAD_CLIENTS = 4, LOAD_IN_FLIGHT_MAX = 8 }; /* per connection */

struct load {
    struct history *history;
    const char *socket_path;
    uint32_t align_sectors; /* of every request */
    struct dice dice;
    uint32_t last_id;
    uint8_t *payload;

    struct client clients[LOAD_CLIENTS];
    pthread_t receiver;
    bool receiving;
    pthread_mutex_t lock; /* below */
    pthread_cond_t answered;
    unsigned in_flight[LOAD_CLIENTS];
    bool lost;  /* every connection ended */
    int failed; /* -errno of what must not happen */
};

/* Errors: -ENOMEM. */
int load_init(struct load *load, struct history *history, const char *socket_path, uint32_t align_sectors,
              uint64_t seed);
void load_fini(struct load *load);
/* Adds START; takes over `first`, opens the other connections. Errors: -errno; load_leave() is still due. */
int load_join(struct load *load, const struct client *first);
/* Sends `count` requests, never more in flight than allowed. Errors: -errno. */
int load_run(struct load *load, uint32_t count);
/* Waits for every reply. Errors: -errno. */
int load_settle(struct load *load);
/* After the server was killed, or load_settle(): notes the replies that are still in the sockets, closes them. Errors:
 * -errno of what had gone wrong before. */
int load_leave(struct load *load);

#endif
