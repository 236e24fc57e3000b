/* The side of a migration that gives the guest away.
 *
 *                  hello, welcome         rounds            fits                 READY
 *     CONNECT -----------------> COPY <---------.  --------> STOP ---------------------> HELD (only where asked for)
 *        |                         '------------'              |                           | go
 *        |            cancel, cut, refusal, it does not fit    |        cancel, cut        v
 *        '------------------------> BACK <---------------------'------------------------  GONE --STARTED--> DONE
 *                                                                                          '--cut--> UNCONFIRMED
 *     where it cannot end otherwise and pages may follow the guest (post-copy):
 *                                      STOP, HELD as above --go--> LATE --COMPLETE--> DONE
 *
 * BACK: the guest goes on here, as if nothing had been. GONE: it never does again, whatever comes. From HELD a broken
 * connection changes nothing: who asked for it to be held knows which side owns the guest, and says go or cancel.
 * LATE: the guest runs at its destination, which still needs pages from here; a connection that breaks is waited for,
 * until migrate_source_resume() or the end of the process.
 * UNCONFIRMED: go was said and no answer came; the guest may run there, so it stands here until the process is ended.
 *
 * The leading worker runs the protocol as it reads above; what touches the guest is done on the main loop, by the
 * host's functions. Threads: main. */
#ifndef HV_MIGRATE_SOURCE_H
#define HV_MIGRATE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/migrate_key.h"
#include "hv/migrate_plan.h"
#include "hv/migrate_wire.h"

struct err;
struct json_t;
struct memory;
struct migrate_crew;
struct migrate_source;

enum migrate_phase {
    MIGRATE_PHASE_NONE,
    MIGRATE_PHASE_CONNECT,
    MIGRATE_PHASE_COPY,
    MIGRATE_PHASE_STOP,
    MIGRATE_PHASE_HELD,
    MIGRATE_PHASE_GONE,
    MIGRATE_PHASE_LATE,
    MIGRATE_PHASE_DONE,
    MIGRATE_PHASE_UNCONFIRMED,
    MIGRATE_PHASE_BACK,
    MIGRATE_PHASE_COUNT
};

struct migrate_source_host { /* all on the main loop */
    /* A new object: what the destination has to have. */
    struct json_t *(*facts)(struct migrate_source_host *host);
    int (*log_start)(struct migrate_source_host *host, struct err *err);
    /* What was written since the last call, into bitmaps, one per slot. */
    void (*log_take)(struct migrate_source_host *host, uint64_t **bitmaps);
    void (*log_stop)(struct migrate_source_host *host);
    void (*throttle)(struct migrate_source_host *host, unsigned throttle);
    /* Before stop(), while the guest runs: what makes it short. */
    void (*prepare)(struct migrate_source_host *host);
    /* The guest stands, nothing is in flight, disks are flushed and closed. state: valid until go_on() or the end.
     * last: a new object, for the destination. -EAGAIN: not at this moment. */
    int (*stop)(struct migrate_source_host *host, const void **state, size_t *bytes, struct json_t **last,
                struct err *err);
    /* After stop(), if the guest stays: disks are opened again. */
    void (*go_on)(struct migrate_source_host *host);
    /* Something is to be told. */
    void (*changed)(struct migrate_source_host *host, enum migrate_phase phase);
    /* The end: DONE, UNCONFIRMED or BACK, with the reason. */
    void (*ended)(struct migrate_source_host *host, enum migrate_phase phase, const struct err *why);
};

struct migrate_request {
    struct migrate_goal goal;
    uint64_t bandwidth; /* bytes a second; 0: no limit */
    uint64_t patience_ns;
    bool hold;
    unsigned streams;
    int fds[MIGRATE_STREAMS_MAX]; /* connected sockets, taken over */
    struct migrate_key key;
};

/* request's sockets are taken on success and on failure. NULL: no memory. */
struct migrate_source *migrate_source_start(struct migrate_crew *crew, struct memory *memory,
                                            struct migrate_source_host *host, struct migrate_request *request,
                                            struct err *err);
/* -EBUSY: it is not held, or too late for a cancel. */
int migrate_source_go(struct migrate_source *source, struct err *err);
/* New connections for those that broke after the guest had gone, or while it is held: as many as before, taken over on
 * success alone. -EBUSY, -EINVAL with a text. What becomes of them is seen in the report. */
int migrate_source_resume(struct migrate_source *source, const int *fds, unsigned count, struct err *err);
/* The process ends: whatever has not been handed over yet is lost. A destination that holds it is not told: it may have
 * been handed over, though nobody has said so here. ended() comes soon. */
void migrate_source_abandon(struct migrate_source *source);
int migrate_source_cancel(struct migrate_source *source, struct err *err);
bool migrate_source_is_over(const struct migrate_source *source); /* ended() has been called */
/* A new object: phase, rounds, bytes, rates, predictions; downtime where it was measured. */
struct json_t *migrate_source_report(struct migrate_source *source);
void migrate_source_free(struct migrate_source *source); /* it is over; NULL is accepted */

const char *migrate_phase_name(enum migrate_phase phase);

#endif
