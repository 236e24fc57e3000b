/* The inside of struct migrate_source, for migrate_source.c (its life, as the main loop sees it), migrate_round.c (what
 * workers do of a round), migrate_lead.c (the protocol) and migrate_lead_late.c (what follows a guest that has gone).
 */
#ifndef HV_MIGRATE_SOURCE_INSIDE_H
#define HV_MIGRATE_SOURCE_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include "hv/memory.h"
#include "hv/migrate_link.h"
#include "hv/migrate_missing.h"
#include "hv/migrate_pages.h"
#include "hv/migrate_source.h"
#include "node/base/err.h"

struct migrate_figures {
    unsigned round, throttle;
    uint64_t began_ns, stopped_ns, over_ns; /* 0: not yet */
    uint64_t left_bytes, bandwidth;
    uint64_t copied_bytes, copied_ns; /* over the link in rounds that say something of it, and how long those took */
    uint64_t first_remaining_ns, first_downtime_ns; /* as predicted after the first round */
    bool first;
    struct migrate_plan plan;
    uint64_t downtime_ns;
    uint64_t connect_ns; /* until the first page left */
    /* Of the pages that were sent while the guest stood: how long they took, and how many they were. */
    uint64_t last_ns, last_bytes;
    /* Post-copy: since when, its pages; for how long in all connections were broken, and how often. */
    uint64_t late_ns, late_bytes, broken_ns;
    unsigned breaks;
    uint64_t longest_wait_ns; /* of who touched a page, as the destination says */
};

struct migrate_source {
    struct migrate_crew *crew;
    struct memory *memory;
    struct migrate_source_host *host;
    struct migrate_request request;
    struct migrate_link links[MIGRATE_STREAMS_MAX];
    struct migrate_sender senders[MIGRATE_STREAMS_MAX];
    _Atomic uint64_t wire_bytes; /* theirs: of pages, as they were sent */
    struct tls_context *contexts[MIGRATE_STREAMS_MAX];
    int wake, nudge; /* eventfds: it is cancelled; an agent has decided */

    /* the leader's */
    uint64_t *bitmaps[MEMORY_SLOT_MAX];
    struct migrate_sums *sums;
    uint8_t *copies; /* the senders' */
    const void *state;
    size_t state_bytes;
    struct json_t *last;
    bool logging, stopped;
    struct err why;
    int rc;

    /* a round, under lock */
    pthread_mutex_t lock;
    pthread_cond_t turn; /* a round begins, or a worker is through */
    unsigned round, working;
    bool everything, rounds_over;
    int worker_rc;
    struct err worker_err;

    /* decisions, under lock */
    enum migrate_phase phase;
    bool cancelled, go;
    bool abandoned; /* cancelled because the process ends, which decides nothing for who holds the guest */
    struct migrate_figures figures;

    /* Post-copy. The leader's: */
    bool may_late; /* both sides are ready for it */
    bool ready, started, gone;
    atomic_bool complete; /* of its connections nothing is expected any more */
    uint64_t final_ns;
    char late_why_not[160]; /* the destination's reason */
    struct migrate_missing missing;
    _Atomic unsigned needs; /* pages that were asked for */
    /* under lock */
    bool late;        /* the guest goes before its last pages */
    unsigned attempt; /* connections are open for the n-th time; 0: not yet */
    unsigned out;     /* workers that have left theirs */
    bool cut;         /* ... because of */
    struct err cut_why;
    bool broken, resuming, late_over;
    uint64_t broken_since_ns;

    _Atomic uint64_t pace_ns; /* when the next byte may leave */
    bool over;
};

/* migrate_round.c: the other workers' whole work; the leader's call: all connections send their part, then MARK.
 * bitmaps: are used, unless it is the first. */
void migrate_round_work(struct migrate_source *source, unsigned stream);
int migrate_round_run(struct migrate_source *source, bool everything, struct err *err);
void migrate_round_end(struct migrate_source *source); /* workers leave */
int migrate_round_pace(void *source, uint64_t bytes, struct err *err);
int migrate_round_charge(void *source, uint64_t bytes, struct err *err); /* paid for by whoever comes next */

/* migrate_lead.c: worker 0. */
void migrate_lead(struct migrate_source *source);
int migrate_lead_connect(struct migrate_source *source, struct err *err);
/* With the lock held: STARTED has come. words: NULL, or what the destination says with it. */
void migrate_lead_started(struct migrate_source *source, const struct json_t *words);

/* migrate_lead_late.c: worker 0 once the guest stands and FINAL has been said, until all pages are at the destination;
 * the other workers, once there are no more rounds. */
int migrate_late_lead(struct migrate_source *source, struct err *err);
void migrate_late_work(struct migrate_source *source, unsigned stream);
void migrate_late_end(struct migrate_source *source); /* workers leave */

/* migrate_source.c: a phase, told on the main loop. False: it was cancelled before. */
bool migrate_source_enter(struct migrate_source *source, enum migrate_phase phase);
void migrate_source_tell(struct migrate_source *source); /* that something of it has changed */

#endif
