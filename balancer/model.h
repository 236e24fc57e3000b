/* The cluster as the balancer sees it: nodes, guests, what they have, need and use, and the rules between them.
 *
 * Pure data: no I/O, no clock, no randomness. Built once by its caller (model_add_node(), model_add_guest(), groups),
 * closed by model_ready(), then changed by model_place() only, and by model_node_changed(). Numbers of nodes and guests
 * are the order of adding.
 *
 * What a node's guests use is kept as sums, a row of SUM_COUNT doubles per node, so that the effect of a move is a few
 * additions. Sizes are MiB and whole numbers, exact in a double; loads are fractions and drift, so model_recount()
 * makes all sums anew (model_place() calls it every MODEL_RECOUNT_EVERY changes).
 *
 * A guest runs on `at` (-1: nowhere, it waits for a place). A guest of Ganeti's kind may have a mirror of its disk on
 * a second node. Units: memory and disk MiB, CPU and loads in the node's own unit (cores, bytes/s), times in seconds.
 *
 * Limits: MODEL_NODES_MAX, MODEL_GUESTS_MAX; mirrors only up to MODEL_MIRROR_NODES_MAX nodes (a table of nodes
 * squared). Threads: one at a time. Errors: 0 or -errno with a sentence. */
#ifndef BALANCER_MODEL_H
#define BALANCER_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "balancer/bits.h"
#include "balancer/group_counts.h"
#include "balancer/model_guest.h"
#include "balancer/names.h"

struct err;

enum {
    MODEL_NODES_MAX = 20000,
    MODEL_GUESTS_MAX = 400000,
    MODEL_MIRROR_NODES_MAX = 2048,
    MODEL_MEMBERS_MAX = 4096, /* of one group */
    MODEL_RECOUNT_EVERY = 10000,
};

/* Whose rules and whose score. */
enum model_family { MODEL_DROVER, MODEL_GANETI };

enum model_sum {
    SUM_MEMORY,
    SUM_DISK,
    SUM_VCPUS,
    SUM_SPINDLES,
    SUM_LOAD_CPU,
    SUM_LOAD_MEMORY,
    SUM_LOAD_DISK,
    SUM_LOAD_NETWORK,
    /* the same as the first four, with guests that are only planned (Ganeti's forthcoming instances) */
    SUM_PLANNED_MEMORY,
    SUM_PLANNED_DISK,
    SUM_PLANNED_VCPUS,
    SUM_PLANNED_SPINDLES,
    SUM_COUNT
};

/* Where a node is: groups keep guests apart or together in one of these; in locations (Ganeti's tags) apart only. */
enum model_scope { SCOPE_NODE, SCOPE_RACK, SCOPE_SITE, SCOPE_LOCATION };

struct model_node {
    int name;       /* in model.node_names */
    int rack, site; /* in model.places, -1: not said */
    bool offline;   /* dead or closed: nothing may come, what is there must go */
    bool master;
    bool outside; /* not of the part that is balanced: never counted, never touched */
    bool stale;   /* its measurements are missing or too old: nothing comes, nothing goes */
    bool held;    /* by its mode: model_hold() */
    bool unseen;  /* somebody runs there whom nobody has measured yet: model_shun_unseen() */
    enum model_mode mode;
    bool drained;             /* somebody emptied it on purpose; offline and empty, it sleeps (consolidate.h) */
    bool stays_on;            /* it may not sleep, whatever it holds */
    int members;              /* of volumes, and witnesses */
    int arrived;              /* guests that plans have sent there within the last hour */
    int moving;               /* migrations that are under way from or to it */
    int over_rack, over_site; /* of these, out of or into its rack, its site */
    double memory, memory_own, memory_free;
    double disk, disk_free;
    double vcpus, vcpus_own;          /* threads of the machine, and those it keeps for itself */
    double vcpu_ratio, spindle_ratio; /* how many may be given out per thread, per spindle; 0: the policy's, none */
    double speed;                     /* relative */
    double spindles;
    double load_capacity[RESOURCE_COUNT];
    double pressure[RESOURCE_COUNT]; /* PSI "some", a fraction of time, p95 */
    double stalled[RESOURCE_COUNT];  /* PSI "full", likewise */
    double link_bytes_per_s;         /* 0: the policy's */
    struct bits networks, pools, cpu_models;
    struct bits locations, migration_from, migration_to; /* Ganeti's tags */
    bool exclusive_storage;
    int group;           /* Ganeti's node group */
    double free_at_load; /* memory that is free and belongs to no guest's change: set by model_ready() */
    double disk_at_load;
    double planned_at_load; /* as free_at_load, for sums of planned guests too */
    double unaccounted;     /* memory used by nobody known */
};

/* Members that must not, or had better not, be in the same place; or that must be in the same. */
struct model_group {
    int name;
    bool together;
    bool hard;
    double weight; /* of one violation in the score; 0 for hard rules that nothing may break */
    enum model_scope scope;
    int *members;
    int count, room;
};

struct model {
    enum model_family family;
    struct names node_names, guest_names, places, group_names;
    struct names networks, pools, cpu_models, tags; /* each below BITS_MAX */
    struct names reasons;                           /* why guests may not move */
    struct model_node *nodes;
    struct model_guest *guests;
    struct model_group *groups;
    int node_count, guest_count, group_count;
    int node_room, guest_room, group_room;

    /* from here on: made by model_ready() */
    int *at, *mirror;                   /* [guests] */
    double (*use)[SUM_COUNT];           /* [guests] what one takes where it runs */
    double (*copy)[SUM_COUNT];          /* [guests] and where its mirror is; NULL without mirrors */
    double (*sum)[SUM_COUNT];           /* [nodes] */
    double (*standing)[RESOURCE_COUNT]; /* [nodes] of the sum the work of members, which stays whoever goes */
    int *home, *home_mirror;            /* [guests] where they were in the beginning */
    int *came;                          /* [nodes] guests that have come since then, but for those that had to leave */
    unsigned char *counted;             /* [guests] is it one of those? */
    double (*held)[SUM_COUNT];          /* [nodes] what a wave's departing guests still hold */
    int *count, *mirrors;               /* [nodes] guests that are there (planned ones are not counted) */
    double *peers;            /* [nodes * nodes] memory node n must have for guests of node p; NULL without mirrors */
    double *reserved;         /* [nodes] the largest of its row */
    int *first, *next, *prev; /* guests of a node as a list */
    int *group_start, *group_of; /* [guests + 1], groups of a guest */
    unsigned char *up;           /* [nodes] are members of groups that are there counted? */
    struct group_counts members;
    int changes;
    bool has_mirrors;
};

struct model *model_new(enum model_family family);
void model_free(struct model *model); /* NULL is accepted */
/* An independent copy with its own positions; names and groups too. NULL: no memory. */
struct model *model_copy(const struct model *model);

/* Their numbers, or -errno: -EEXIST the name is taken, -ENOSPC a limit, -ENOMEM. The model owns guest->pins and
 * guest->storage then. */
int model_add_node(struct model *model, const char *name, const struct model_node *node, struct err *err);
int model_add_guest(struct model *model, const char *name, const struct model_guest *guest, struct err *err);
int model_add_group(struct model *model, const char *name, const struct model_group *group, struct err *err);
int model_add_member(struct model *model, int group, int guest, struct err *err);

/* at[], mirror[]: where guests are, in order; taken over as a copy. */
int model_ready(struct model *model, const int *at, const int *mirror, struct err *err);

/* Puts a guest somewhere else; no rule is asked. */
void model_place(struct model *model, int guest, int at, int mirror);
void model_recount(struct model *model);
/* To be said when a node's `offline` or `outside` has changed: members of groups there count, or no longer. */
void model_node_changed(struct model *model, int node);
void model_set_offline(struct model *model, int node, bool offline);
/* Holds all whose mode is `from` or stricter where they are; a guest has the stricter one of its own and its node's, or
 * else `cluster`. A node that is held itself takes none. How many guests are held. */
int model_hold(struct model *model, enum model_mode cluster, enum model_mode from);

/* A node with a guest that runs and is not measured (it has just come, or the node's agent has) looks emptier than it
 * is: nothing comes to it but who must move. A guest that is wanted running and does not run is none such. */
void model_shun_unseen(struct model *model);
/* What a guest takes, or its mirror (a row of use or copy), is held on this node, -1: none; sign -1: no longer. */
void model_hold_row(struct model *model, int node, const double *row, double sign);
/* Is it nowhere, or on a closed node? */
static inline bool model_must_go(const struct model *model, int guest)
{
    return model->at[guest] < 0 || model->nodes[model->at[guest]].offline;
}

/* A guest's load is another one; model_recount() when all are said. */
void model_guest_changed(struct model *model, int guest);

/* What the guests of a node want of it, without what stands there whoever goes. */
double model_load(const struct model *model, int node, enum model_resource resource);

/* Free and not spoken for, on this node. */
double model_memory_free(const struct model *model, int node);
double model_disk_free(const struct model *model, int node);

const char *model_node_name(const struct model *model, int node);
const char *model_guest_name(const struct model *model, int guest);

/* What so many bytes a second of a guest are to the disks of a member's node. */
double model_disk_work(const struct model_node *node, double bytes_per_s);

/* The number of a node's place, the same for all nodes in it; two without a rack are not in one. Not for locations. */
static inline int model_place_of(const struct model *model, enum model_scope scope, int node)
{
    const struct model_node *n = &model->nodes[node];
    int place = scope == SCOPE_RACK ? n->rack : scope == SCOPE_SITE ? n->site : node;
    return place >= 0 ? place : -1 - node;
}

#endif
