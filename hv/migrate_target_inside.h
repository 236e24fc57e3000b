/* The inside of struct migrate_target, for migrate_target.c (up to a guest that runs) and migrate_target_late.c (pages
 * that come after it). */
#ifndef HV_MIGRATE_TARGET_INSIDE_H
#define HV_MIGRATE_TARGET_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include "hv/migrate_crew.h"
#include "hv/migrate_door.h"
#include "hv/migrate_key.h"
#include "hv/migrate_link.h"
#include "hv/migrate_missing.h"
#include "hv/migrate_pages.h"
#include "hv/migrate_target.h"
#include "node/base/err.h"

enum { MIGRATE_WAITS_MAX = 64 };

/* Somebody waits for a page, that was asked for. */
struct migrate_wait {
    uint64_t gpa, since_ns;
};

struct migrate_target {
    struct migrate_crew *crew;
    struct memory *memory;
    struct migrate_target_host *host;
    struct tls_context *context;
    struct migrate_door door;
    int wake, nudge, enough; /* eventfds: give up; go; nobody more is to be taken */
    struct migrate_key key;  /* for names of streams alone */

    pthread_mutex_t lock;
    pthread_cond_t turn;
    struct migrate_link links[MIGRATE_STREAMS_MAX];
    struct migrate_receiver receivers[MIGRATE_STREAMS_MAX];
    bool taken[MIGRATE_STREAMS_MAX];
    uint64_t marked[MIGRATE_STREAMS_MAX];
    unsigned streams; /* 0: the source has not said yet */
    bool hold, go, cancelled;
    atomic_bool begun;
    int rc; /* the first failure */
    struct err why;
    enum migrate_target_phase phase;

    /* the leader's */
    uint8_t *state;
    size_t state_bytes, state_room;
    _Atomic uint64_t received_bytes;
    bool over;

    /* post-copy: migrate_target_late.c */
    bool may_late; /* both sides are ready for it */
    bool late_on;  /* under lock, as all up to `errand`: missing pages are waited for */
    bool complete; /* none is any more */
    unsigned attempt, attempts[MIGRATE_STREAMS_MAX]; /* connections have broken so often; ... when each one came */
    struct migrate_wait waits[MIGRATE_WAITS_MAX];
    unsigned wait_count;
    uint64_t longest_ns, faults;
    struct migrate_missing missing;
    bool go_came; /* the leader's */
    struct migrate_errand errand;
    atomic_bool errand_done;
};

struct migrate_target_call { /* on the main loop */
    struct migrate_target *t;
    enum migrate_target_phase phase;
    const struct json_t *json;
    struct err *err;
    uint64_t runs_ns; /* as start() says */
    int rc;
};

/* migrate_target.c */
void migrate_target_fail(struct migrate_target *target, int rc, const struct err *err); /* the first is the reason */
void migrate_target_mark(struct migrate_target *target, enum migrate_target_phase phase);
int migrate_target_words(struct migrate_target *target, unsigned stream, const struct migrate_frame *frame,
                         struct err *err); /* of a FAILED: always an error */
void migrate_target_load(void *call);
void migrate_target_run(void *call);
struct json_t *migrate_target_started(const struct migrate_target_call *call); /* STARTED's words; NULL: no memory */

/* migrate_target_late.c */
/* What HELLO is answered: "post-copy", or why not. */
void migrate_target_agree(struct migrate_target *target, const struct json_t *hello, uint64_t version,
                          struct json_t *welcome);
/* The leader, behind FINAL: all that is missing is dropped and waited for, the guest is loaded, and runs. -ECANCELED if
 * another connection has failed. */
int migrate_target_take_over_late(struct migrate_target *target, const struct json_t *last, struct err *err);
/* A worker's connection, until all is there or it has broken. */
void migrate_target_follow_late(struct migrate_target *target, unsigned stream);
/* Its connection has ended: true: another one is to be taken, as the guest still misses pages. */
bool migrate_target_again(struct migrate_target *target, unsigned stream);

#endif
