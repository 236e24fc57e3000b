/* The side of a migration that gets the guest.
 *
 *               key, connection 0          HELLO fits            FINAL             go
 *     LISTEN ----------------------> GREET -----------> COPY -----------> OPEN ------------> RUN
 *                                                                          | disks open, READY said
 *            anything wrong: OVER, with words; who listens is not disturbed by peers without the key
 *     pages that come after the guest (post-copy):    FINAL says so      go          all is there
 *                                            COPY -----------------> OPEN --> LATE --------------> RUN
 *                                                                      LATE: a break: LISTEN again, for new connections
 *
 * Each worker takes one connection from the listening socket and learns by its TLS identity which one it is; that of
 * connection 0 leads. In hold mode the guest starts by migrate_target_go() alone, and a connection that breaks after
 * READY changes nothing; otherwise by the source's GO.
 *
 * Threads: main. */
#ifndef HV_MIGRATE_TARGET_H
#define HV_MIGRATE_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct json_t;
struct memory;
struct migrate_crew;
struct migrate_key;
struct migrate_target;

enum migrate_target_phase {
    MIGRATE_TARGET_LISTEN,
    MIGRATE_TARGET_COPY,
    MIGRATE_TARGET_OPEN,
    MIGRATE_TARGET_HELD,
    MIGRATE_TARGET_LATE,
    MIGRATE_TARGET_RUN,
    MIGRATE_TARGET_OVER,
};

struct migrate_target_host { /* all on the main loop */
    int late_fd;             /* of late_pages_open(), lent; -1: pages cannot come after the guest */
    /* facts: of the source, foreign. -ENOTSUP with a text that lists everything that does not fit. */
    int (*judge)(struct migrate_target_host *host, const struct json_t *facts, struct err *err);
    /* Disks are opened and the state is put in place. last: of the source's stop(), foreign. */
    int (*load)(struct migrate_target_host *host, const void *state, size_t bytes, const struct json_t *last,
                struct err *err);
    /* The guest runs from here on: since when (clock_ns()). 0: it stands, as it stood, or its lease is over. */
    uint64_t (*start)(struct migrate_target_host *host);
    void (*changed)(struct migrate_target_host *host, enum migrate_target_phase phase);
    /* RUN, or OVER with the reason. */
    void (*ended)(struct migrate_target_host *host, enum migrate_target_phase phase, const struct err *why);
};

/* listener: owned from here on. The key is used here and now. NULL with a text. */
struct migrate_target *migrate_target_start(struct migrate_crew *crew, struct memory *memory,
                                            struct migrate_target_host *host, int listener,
                                            const struct migrate_key *key, struct err *err);
/* -EBUSY: not in hold mode, or not everything is here yet. */
int migrate_target_go(struct migrate_target *target, struct err *err);
void migrate_target_cancel(struct migrate_target *target); /* ended() comes soon, if it has not been called */
bool migrate_target_is_over(const struct migrate_target *target);
bool migrate_target_is_late(struct migrate_target *target); /* the guest runs, and misses pages */
/* A new object: phase, bytes received. */
struct json_t *migrate_target_report(struct migrate_target *target);
void migrate_target_free(struct migrate_target *target); /* it is over; NULL is accepted */

const char *migrate_target_phase_name(enum migrate_target_phase phase);

#endif
