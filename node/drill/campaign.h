/* Many schedules of faults on one cluster, and what came of all of them. The same cluster and plan give the same
 * campaign, and the same report to the byte: nothing in it comes from a clock.
 *
 * Schedule i has the seed `plan.seed + i`; of several kinds they take turns, and the nodes after that, so that each is
 * lost in turn. Thread: any, one campaign. */
#ifndef NODE_DRILL_CAMPAIGN_H
#define NODE_DRILL_CAMPAIGN_H

#include <stdint.h>
#include <stdio.h>

#include "node/drill/world.h"

struct cluster;
struct err;
struct json_t;

enum campaign_kind {
    CAMPAIGN_POWER_LOSS,
    CAMPAIGN_PARTITION,
    CAMPAIGN_COORDINATOR_LOSS,
    CAMPAIGN_AGENT_CRASH,
    CAMPAIGN_STORE_LOSS,
    CAMPAIGN_STORE_PATCHY,
    CAMPAIGN_CALM,
    CAMPAIGN_SEVERAL,
    CAMPAIGN_KINDS,
    CAMPAIGN_ANY = CAMPAIGN_KINDS
};

enum { CAMPAIGN_SCHEDULES_MAX = 10000000, CAMPAIGN_WRONG_MAX = 20, CAMPAIGN_NO_NODE = -1 };

/* ---- kinds ---- */

const char *campaign_kind_name(enum campaign_kind kind);
/* 0, or -EINVAL and what would be right. */
int campaign_kind_find(const char *name, enum campaign_kind *kind, struct err *err);
enum world_class campaign_kind_class(enum campaign_kind kind);
bool campaign_kind_has_node(enum campaign_kind kind);   /* one node is hit */
bool campaign_kind_loses_node(enum campaign_kind kind); /* for long enough to see who stays down */

/* ---- running ---- */

struct campaign_plan {
    enum campaign_kind kind;
    int node; /* CAMPAIGN_NO_NODE: each in turn */
    uint64_t schedules, seed;
};

/* How long it took for guests that stood to run again, a value each; in the end they are sorted. */
struct campaign_spread {
    uint64_t *ms, count, room;
    uint64_t worst_ms, worst_seed;
    int worst_node;
    unsigned worst_guest;
};

/* What came of one kind. */
struct campaign_figures {
    uint64_t schedules, stood, takeovers; /* stood: schedules in which a guest did */
    struct campaign_spread rto;           /* from the fault; of kinds that hit one node */
    struct campaign_spread down;          /* from when it stood */
};

/* A guest that stayed down whenever that node was lost; the first time. */
struct campaign_stay {
    int node;
    unsigned guest;
    enum campaign_kind kind;
    uint64_t seed, schedules; /* schedules: how often */
    char reason[WORLD_REASON_MAX];
};

struct campaign_wrong {
    enum campaign_kind kind;
    int node;
    uint64_t seed;
    char text[256];
};

struct campaign {
    const struct cluster *cluster;
    struct campaign_plan plan;
    struct campaign_figures figures[CAMPAIGN_KINDS];
    uint64_t lost, unbearable; /* nodes: that were lost for long; of which a guest stayed down. 1 << index */
    struct campaign_stay *stays;
    unsigned stay_count, stay_room;
    unsigned *stay_of;                                /* by node and guest: index + 1 */
    struct campaign_wrong wrongs[CAMPAIGN_WRONG_MAX]; /* the first of them */
    uint64_t wrong_count;
};

/* cluster outlives it. 0, -EINVAL or -ENOMEM with a sentence; campaign_fini() in any case. */
int campaign_run(struct campaign *campaign, const struct cluster *cluster, const struct campaign_plan *plan,
                 struct err *err);
void campaign_fini(struct campaign *campaign);

/* ---- saying it ---- */

struct json_t *campaign_json(const struct campaign *campaign);
void campaign_print(FILE *out, const struct campaign *campaign);

#endif
