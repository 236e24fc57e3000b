/* The part of a look that takes long: a plan for the cluster as it was a moment ago, counted losses, and reasons. It
 * owns all it works on, so it may be run on a thread of its own while the loop goes on; what came of it is judged by
 * the conductor against the cluster as it is then.
 *
 * Thread: whoever has it, one at a time. */
#ifndef BALANCER_CONDUCTOR_JOB_H
#define BALANCER_CONDUCTOR_JOB_H

#include <jansson.h>
#include <stdbool.h>

#include "balancer/cluster_json.h"
#include "balancer/plan.h"
#include "balancer/policy.h"
#include "node/base/err.h"

enum { CONDUCTOR_LOSE_MAX = 2, CONDUCTOR_WALL_BYTES = 32 };

struct conductor_job {
    /* what is asked */
    json_t *snapshot; /* nobody else's, all through */
    struct policy policy;
    struct plan_options options;
    json_t *guest_ids;               /* by name */
    char wall[CONDUCTOR_WALL_BYTES]; /* when it was begun */
    char why_not[100];               /* why it is not carried out at once, or "" */
    int lately;                      /* moves that were begun in the last hour */
    bool active;                     /* it is to be carried out at once */
    bool record_wanted, losses_wanted, shadow_wanted;
    struct policy shadow_policy;
    /* what came of it; model NULL: the snapshot cannot be read */
    struct cluster_json cluster;
    struct plan plan;
    int rc; /* 0, or -errno with err */
    struct err err;
    int nodes_to_lose;
    json_t *record; /* NULL: there is nothing to do */
    json_t *shadow; /* what the other policy would have done: {"summary", "moves": [{"guest", "from", "to"}]} */
};

void conductor_job_run(struct conductor_job *job);
void conductor_job_free(struct conductor_job *job); /* NULL is accepted */

#endif
