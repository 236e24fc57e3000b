/* The inside of struct migrate_source, for migrate_source.c (its life, as the main loop sees it), migrate_round.c (what
 * workers do of a round) and migrate_lead.c (the protocol). */
#ifndef HV_MIGRATE_SOURCE_INSIDE_H
#define HV_MIGRATE_SOURCE_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include "hv/memory.h"
#include "hv/migrate_link.h"
#include "hv/migrate_pages.h"
#include "hv/migrate_source.h"
#include "node/base/err.h"

struct migrate_figures {
    unsigned round, throttle;
    uint64_t began_ns, stopped_ns, over_ns; /* 0: not yet */
    uint64_t left_bytes, bandwidth, sent_before;
    uint64_t first_remaining_ns, first_downtime_ns; /* as predicted after the first round */
    bool first;
    struct migrate_plan plan;
    uint64_t downtime_ns;
    uint64_t connect_ns; /* until the first page left */
    /* Of the pages that were sent while the guest stood: how long they took, and how many they were. */
    uint64_t last_ns, last_bytes;
};

struct migrate_source {
    struct migrate_crew *crew;
    struct memory *memory;
    struct migrate_source_host *host;
    struct migrate_request request;
    struct migrate_link links[MIGRATE_STREAMS_MAX];
    struct migrate_sender senders[MIGRATE_STREAMS_MAX];
    struct tls_context *contexts[MIGRATE_STREAMS_MAX];
    int wake, nudge; /* eventfds: it is cancelled; an agent has decided */

    /* the leader's */
    uint64_t *bitmaps[MEMORY_SLOT_MAX];
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
    struct migrate_figures figures;

    _Atomic uint64_t pace_ns; /* when the next byte may leave */
    bool over;
};

/* migrate_round.c: the other workers' whole work; the leader's call: all connections send their part, then MARK.
 * bitmaps: are used, unless it is the first. */
void migrate_round_work(struct migrate_source *source, unsigned stream);
int migrate_round_run(struct migrate_source *source, bool everything, struct err *err);
void migrate_round_end(struct migrate_source *source); /* workers leave */
int migrate_round_pace(void *source, uint64_t bytes, struct err *err);

/* migrate_lead.c: worker 0. */
void migrate_lead(struct migrate_source *source);

/* migrate_source.c: a phase, told on the main loop. False: it was cancelled before. */
bool migrate_source_enter(struct migrate_source *source, enum migrate_phase phase);

#endif
