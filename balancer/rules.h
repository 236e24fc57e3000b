/* The hard rules: may this guest be there? Asked of every step of a plan, in the state in which the step is taken.
 *
 * Two families: Drover's own (rules.c) and Ganeti's, whose order of checks and whose steps of a replicated instance
 * (ganeti_rules.c) hbal's author wrote down in hbal(1). A node that breaks a rule already may break it less, never
 * more. Threads: any, on a model that nobody changes meanwhile. */
#ifndef BALANCER_RULES_H
#define BALANCER_RULES_H

#include <stdbool.h>
#include <stddef.h>

struct model;
struct model_guest;
struct policy;

enum rule {
    RULE_NONE, /* allowed */
    RULE_MEMORY,
    RULE_DISK,
    RULE_VCPUS,
    RULE_SPINDLES,
    RULE_RESERVE,  /* no room left for a node's failure */
    RULE_APART,    /* another member of a group that keeps its members apart */
    RULE_TOGETHER, /* a group that stays together is elsewhere */
    RULE_CPU_MODEL,
    RULE_NETWORK,
    RULE_POOL,
    RULE_PIN,
    RULE_NODE_CLOSED, /* offline, draining or not of this part */
    RULE_NODE_STALE,  /* nothing is known of it */
    RULE_MIGRATION,   /* nodes between which nothing may move */
    RULE_FIXED,       /* the guest may not move at all */
    RULE_UNSEEN,      /* somebody runs there who is not measured yet: it is fuller than it looks */
    RULE_FILLED,      /* enough have come to the node within the hour */
    RULE_HELD,        /* the mode of a group it is in, or of the node, keeps the balancer from it */
    RULE_SAME,        /* it is there */
    RULE_COUNT
};

/* May the guest run on `at`, with its mirror on `mirror` (-1: none), if everybody else stays? */
enum rule rules_check(const struct model *model, const struct policy *policy, int guest, int at, int mirror);

/* The same after `other` has gone to other_at: the second half of a swap. Only for guests without mirrors. */
enum rule rules_check_after(const struct model *model, const struct policy *policy, int guest, int at, int other,
                            int other_at);

/* May it move at all? RULE_FIXED, RULE_NODE_STALE, RULE_HELD or RULE_NONE. */
/* As text, and of a guest that may not move why, if that is known. */
const char *rules_text_of(const struct model *model, int guest, enum rule rule);
enum rule rules_movable(const struct model *model, int guest);

/* Of Drover's family. Do its networks, pools, CPU models and pins let the guest onto this node, whatever is there? */
bool rules_reach(const struct model *model, const struct model_guest *guest, int node);
/* What one more guest may have there at most, of memory, of vCPUs and of disk. */
void rules_room(const struct model *model, const struct policy *policy, int node, double *memory, double *vcpus,
                double *disk);

/* Hard rules that are broken as things stand: 0 in a healthy cluster. For tests and reports. */
int rules_broken(const struct model *model, const struct policy *policy);

/* "not enough memory"; a piece of a sentence. */
const char *rules_text(enum rule rule);

#endif
