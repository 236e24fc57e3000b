/* The cluster that drills are simulated on: its nodes, its protected guests with what decides where and when they run
 * again, and what else takes room on its nodes. Read from what `drover cluster export` writes (docs/balancer.md has the
 * format), or filled in by a test.
 *
 * Guests that are not protected are no guests here: they take memory, and those that others need run as long as their
 * node does. Threads: any. */
#ifndef NODE_DRILL_CLUSTER_H
#define NODE_DRILL_CLUSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/agent/failover.h"
#include "node/agent/start_order.h"

struct err;
struct json_t;

enum { CLUSTER_GUESTS_MAX = 16384, CLUSTER_GROUPS_MAX = 4096, CLUSTER_TEXT_MAX = 64 << 20, CLUSTER_DRAWN = -1 };

struct cluster_node {
    char *name;
    uint64_t memory_bytes, promised_bytes; /* promised: to guests that are not protected */
    int place[FAILOVER_PLACES];
    bool drained;
    bool away; /* it was when the cluster was written down, and stays so */
};

/* What a guest starts after: a protected guest, or what runs as long as that node does; neither: what never runs. */
struct cluster_need {
    char *name;
    int guest, node;
};

struct cluster_guest {
    char *name;
    int node; /* CLUSTER_DRAWN: each schedule draws one */
    unsigned priority;
    uint64_t memory_bytes, delay_ms;
    uint64_t may; /* nodes that its pins and its processor allow: 1 << index */
    struct cluster_need needs[START_NEEDS_MAX];
    unsigned need_count;
    bool is_needed;
    int *groups; /* hard ones */
    unsigned group_count;
    struct failover_disk *disks;
    uint8_t disk_count;
};

/* A hard group. */
struct cluster_group {
    bool apart;
    int scope;
    int *guests; /* protected members */
    unsigned guest_count;
    uint64_t others; /* nodes of the members that are not protected */
};

struct cluster {
    struct cluster_node *nodes;
    int node_count;
    struct cluster_guest *guests;
    unsigned guest_count, all_guests; /* all: with those that are not protected */
    struct cluster_group *groups;
    int group_count;
    struct json_t *left_out; /* sentences */
};

/* name: of the file, for errors. 0, or -EINVAL or -ENOMEM with a sentence; cluster_fini() in any case. */
int cluster_read(struct cluster *cluster, const char *name, const char *text, size_t len, struct err *err);
void cluster_fini(struct cluster *cluster);

int cluster_find_node(const struct cluster *cluster, const char *name); /* -1: there is none */
/* How long it takes at most until a guest that may start at once, and all that start after it, have started. */
uint64_t cluster_settle_ms(const struct cluster *cluster);

#endif
