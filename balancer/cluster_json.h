/* Drover's own format of a cluster: JSON with nodes, guests, groups and past migrations. docs/balancer.md has every
 * field.
 *
 * What is unusable is named and left out, never guessed: a node or guest whose measurements are missing or older than
 * the policy allows stays in the model, marked, and nothing happens to it. Bytes are foreign: errors are -EINVAL with
 * file, line, field and reason. Threads: any. */
#ifndef BALANCER_CLUSTER_JSON_H
#define BALANCER_CLUSTER_JSON_H

#include <stddef.h>

struct err;
struct json_t;
struct model;
struct policy;

struct cluster_json {
    struct model *model; /* the caller's to free */
    double link_learned; /* bytes/s that past migrations reached, 0: none known */
    char warnings[2048]; /* a sentence a line: what was left out */
};

int cluster_json_read(struct cluster_json *cluster, const char *name, const char *text, size_t len,
                      const struct policy *policy, struct err *err);

/* The same of JSON that is there already; errors have no line. root: lent. */
int cluster_json_take(struct cluster_json *cluster, const char *name, struct json_t *root, const struct policy *policy,
                      struct err *err);

/* The same cluster with guests where `model` has them; a string to free(), NULL: not readable, no memory. */
char *cluster_json_write(const char *text, size_t len, const struct model *model);

#endif
