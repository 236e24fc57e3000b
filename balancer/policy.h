/* What the operator wants: weights, limits, costs and patience. A plain struct with good defaults, or a JSON file.
 *
 * Source of every field's meaning and default: docs/balancer.md. Errors of a file: -EINVAL with file, line, field and
 * reason; *policy untouched then. Threads: any. */
#ifndef BALANCER_POLICY_H
#define BALANCER_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "balancer/model.h"

struct err;

/* When nodes may sleep and must be woken (consolidate.h). */
struct policy_consolidate {
    double limit[RESOURCE_COUNT]; /* parts of a node: nothing sleeps if a node that stays would have more */
    double wake[RESOURCE_COUNT];  /* above it a node that sleeps is wanted; above limit[] */
    int keep;                     /* nodes that stay on in any case */
    int lose;                     /* nodes that may be lost then; the policy's own `lose` if that is more */
};

struct policy {
    /* score */
    double weight[RESOURCE_COUNT]; /* of the spread of each load */
    double reserved_weight;        /* of the spread of memory given out */
    double overload_limit;         /* load above this part of a node counts extra */
    double overload_weight;
    double drain_weight; /* of a guest on a node that is to be empty, or nowhere */
    double group_weight; /* of one violation of a soft group without a weight of its own */
    double error_factor; /* how many standard errors of the forecast are added to a load */
    /* limits */
    double vcpu_ratio;   /* vCPUs given out per thread */
    double memory_limit; /* part of a node's memory that guests may have */
    int lose;            /* nodes that may fail at any time, with everything still fitting */
    /* cost of a migration, in score times seconds, per node of the cluster */
    double move_cost, second_cost, downtime_cost, gib_cost;
    double stable_s; /* how long a gain is expected to last */
    double link_bytes_per_s;
    bool link_is_said; /* by the operator, who knows better than what was measured */
    double downtime_s; /* that a guest may be stopped for at most */
    /* patience */
    double enter, leave;      /* spread at which balancing begins, and ends */
    double cool_down_s;       /* a guest that moved stays at least so long */
    double return_s;          /* and does not go back within this time */
    double stale_s;           /* measurements older than this are none */
    int parallel, per_node;   /* moves at a time */
    int per_link;             /* that leave or enter a rack, or a site, at a time; 0: any number */
    int moves_max;            /* of one plan */
    int into_per_hour;        /* that come to one node within an hour, so that a new one fills gently; 0: any number */
    int per_hour;             /* moves that the balancer begins of its own accord; 0: any number */
    int quiet_from, quiet_to; /* minutes of the day (UTC) between which it begins none; equal: at no time */
    struct policy_consolidate consolidate;
};

/* Of policy_price(). */
#define POLICY_PRICE_MIN 0.001
#define POLICY_PRICE_MAX 1000.0

struct policy policy_default(void);
/* Nothing but the score: no costs, no patience, no overload. For the comparison with Ganeti's own planner. */
struct policy policy_ganeti(void);

/* Moves cost so many times what they did. */
void policy_price(struct policy *policy, double factor);

/* Moves were as fast as this, bytes a second; 0: nobody knows. Counts unless the link is said. */
void policy_learn_link(struct policy *policy, double bytes_per_s);

/* Is this second of the day, UTC, one in which nothing is begun? Any count of seconds whose days begin at midnight. */
bool policy_is_quiet(const struct policy *policy, int64_t wall_s);

int policy_read(struct policy *policy, const char *name, const char *text, size_t len, struct err *err);

#endif
