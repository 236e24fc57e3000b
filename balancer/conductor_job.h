/* The parts of a look that take long, about the cluster as it was a moment ago: a plan with reasons and counted losses,
 * or whether what is left of a plan still fits. They may be run on a thread of their own while the loop goes on; what
 * came of it is judged by the conductor against the cluster as it is then.
 *
 * A job works on a view of the objects: lists of its own, whose entries are the follower's, too. Nobody changes an
 * entry once it is there (follow_take() puts another one in its place), and jansson counts references for several
 * threads.
 *
 * Thread: whoever has it, one at a time. */
#ifndef BALANCER_CONDUCTOR_JOB_H
#define BALANCER_CONDUCTOR_JOB_H

#include <jansson.h>
#include <stdbool.h>

#include "balancer/cluster_json.h"
#include "balancer/conductor.h"
#include "balancer/plan.h"
#include "balancer/plan_last.h"
#include "balancer/policy.h"
#include "balancer/traffic.h"
#include "node/base/err.h"
#include "node/base/uuid.h"

#ifndef JANSSON_THREAD_SAFE_REFCOUNT
#error "a jansson that counts references for one thread only: entries cannot be shared"
#endif

enum { CONDUCTOR_LOSE_MAX = 2, CONDUCTOR_WALL_BYTES = 32 };

enum conductor_question { CONDUCTOR_PLAN, CONDUCTOR_CHECK };

struct conductor_job {
    /* what is asked */
    enum conductor_question question;
    json_t *objects; /* conductor_view() */
    struct snapshot_time now;
    struct policy policy;
    enum conductor_mode mode;
    /* of a plan */
    struct plan_options options;
    char wall[CONDUCTOR_WALL_BYTES]; /* when it was begun */
    bool losses_wanted;
    bool may_wait; /* until it is known what the first wave's guests write */
    /* of a check: this plan, from this wave on */
    char plan_id[UUID_TEXT_BYTES];
    int wave;
    /* what came of it; model NULL: the cluster cannot be read */
    struct cluster_json cluster;
    int rc; /* 0, or -errno with err; of a check: -ESTALE with the reason */
    struct err err;
    /* of a plan */
    struct plan_last last; /* where the search began */
    struct plan plan;
    bool active;                       /* it is to be carried out at once */
    char why_not[TRAFFIC_WHY_MAX + 2]; /* why it is not, or "" */
    int unseen;                        /* guests of the first wave for which it waits */
    int lately;                        /* moves that were begun in the last hour */
    int nodes_to_lose;
    json_t *guest_ids;     /* by name */
    json_t *record;        /* NULL: there is nothing to do */
    json_t *snapshot;      /* while it is run */
    json_t *shadow_record; /* the same as a plan of phase "shadow"; NULL: it has no moves, or nobody asks */
    json_t *shadow;        /* what the other policy would have done: {"summary", "moves": [{"guest", "from", "to"}]} */
    char proposal[UUID_TEXT_BYTES]; /* that was there, "" if none */
    bool proposal_fits;
};

/* A new reference; NULL: no memory. */
json_t *conductor_view(json_t *objects);
void conductor_job_run(struct conductor_job *job);
void conductor_job_free(struct conductor_job *job); /* NULL is accepted */

/* ---- for the conductor, too ---- */

/* The newest plan of a phase, its entry: borrowed. applied: only if somebody wants it. */
json_t *conductor_find_plan(json_t *objects, const char *phase, bool applied);
/* The plan's migrations by the number of their move; a new reference. */
json_t *conductor_begun(json_t *objects, const char *plan_id);
/* Moves that were begun by plans of ours within the last hour. */
int conductor_moves_lately(json_t *objects, int64_t wall_s);

#endif
