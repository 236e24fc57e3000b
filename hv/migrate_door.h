/* The door of a migration's destination: who connects waits here until he has begun to speak, so that nobody who only
 * stands there, or speaks something else than TLS, takes up a worker. Whoever has a whole ClientHello waiting is let
 * in: from there on it is decided at once whether he has the key.
 *
 * At most MIGRATE_DOOR_MAX wait; one more turns away who has waited longest, and so do five seconds.
 *
 * Threads: any number at once may answer. */
#ifndef HV_MIGRATE_DOOR_H
#define HV_MIGRATE_DOOR_H

#include <pthread.h>
#include <stdint.h>

#include "node/base/log.h"

struct err;

enum { MIGRATE_DOOR_MAX = 32 };

struct migrate_door {
    int listener, bell; /* bell: an eventfd: who waits needs another to look after him */
    struct log_limit strangers;
    pthread_mutex_t lock;
    struct {
        int fd;
        uint64_t since_ns;
    } waiting[MIGRATE_DOOR_MAX]; /* the first has waited longest */
    unsigned count;
};

/* Takes the listener; fini is needed on failure, too. */
int migrate_door_init(struct migrate_door *door, int listener, struct err *err);
void migrate_door_fini(struct migrate_door *door); /* one that was never made (all zero) is not accepted */
/* The socket of somebody who is to be let in; -1: one of the two descriptors has become readable. */
int migrate_door_answer(struct migrate_door *door, const int ends[2]);
/* Nobody is let in any more, and whoever connects learns it. Nobody answers meanwhile. */
void migrate_door_shut(struct migrate_door *door);

#endif
