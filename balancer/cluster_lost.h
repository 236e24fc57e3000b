/* What of a cluster's JSON (cluster_json.h) cannot be used: a sentence of each, its name, and in the model what follows
 * from it for others.
 *
 * Threads: one at a time. */
#ifndef BALANCER_CLUSTER_LOST_H
#define BALANCER_CLUSTER_LOST_H

#include <stdbool.h>

#include "balancer/names.h"
#include "balancer/sentences.h"

struct err;
struct json_t;
struct model;

struct cluster_lost {
    struct sentences said;
    struct names nodes, guests; /* whose names nobody else may have now */
};

void cluster_lost_init(struct cluster_lost *lost);
void cluster_lost_fini(struct cluster_lost *lost);

/* name: NULL is nobody's. */
bool cluster_lost_has_node(const struct cluster_lost *lost, const char *name);
bool cluster_lost_has_guest(const struct cluster_lost *lost, const char *name);
/* Of two with one name, of which the first was left out, the second is no better: -EEXIST with a sentence. */
int cluster_lost_check_node(const struct cluster_lost *lost, const char *name, struct err *err);
int cluster_lost_check_guest(const struct cluster_lost *lost, const char *name, struct err *err);

/* Leave an entry out, which need not be an object; why: the sentence that refused it. */
void cluster_lost_node(struct cluster_lost *lost, struct model *model, const struct json_t *entry, const char *why);
void cluster_lost_guest(struct cluster_lost *lost, struct model *model, const struct json_t *entry, const char *why);
void cluster_lost_group(struct cluster_lost *lost, struct model *model, const struct json_t *entry, const char *why);
void cluster_lost_migration(struct cluster_lost *lost, struct model *model, const struct json_t *entry,
                            const char *why);

#endif
