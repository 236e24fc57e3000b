/* Drover's own format of a cluster: JSON with nodes, guests, groups and past migrations. docs/balancer.md has every
 * field.
 *
 * What is unusable is named and left out, never guessed, and so is what follows from it. An entry that cannot be read
 * is not in the model, with a sentence of file, line, field and reason. What a guest takes that was left out is not
 * known, so its node counts as stale; so does the first of two nodes with one name, the first of two guests with one
 * name is not moved, and neither are guests of a group that cannot be read. A guest goes with its node; a group goes on
 * without a guest that nobody has, a guest's pins, past and storage without a node that was left out. A node or guest
 * whose measurements are missing or older than the policy allows stays in the model, marked, and nothing happens to it.
 *
 * Bytes are foreign: what is no such document is -EINVAL with file, line, field and reason. Threads: any. */
#ifndef BALANCER_CLUSTER_JSON_H
#define BALANCER_CLUSTER_JSON_H

#include <stddef.h>

struct err;
struct json_t;
struct model;
struct policy;

enum { CLUSTER_JSON_WARNINGS_BYTES = 8192, CLUSTER_JSON_WARNINGS_SHOWN = 20 };

struct cluster_json {
    struct model *model;                        /* the caller's to free */
    double link_learned;                        /* bytes/s that past migrations reached, 0: none known */
    char warnings[CLUSTER_JSON_WARNINGS_BYTES]; /* a sentence a line: who is left out, then who is not measured */
    int unsaid;                                 /* further ones, for which there was no room */
};

int cluster_json_read(struct cluster_json *cluster, const char *name, const char *text, size_t len,
                      const struct policy *policy, struct err *err);

/* The same, but an entry that is unusable is an error. */
int cluster_json_read_strict(struct cluster_json *cluster, const char *name, const char *text, size_t len,
                             const struct policy *policy, struct err *err);

/* The same as cluster_json_read() of JSON that is there already; errors have no line. root: lent. */
int cluster_json_take(struct cluster_json *cluster, const char *name, struct json_t *root, const struct policy *policy,
                      struct err *err);

/* The first of its warnings as a list, with how many more there are as the last; a new reference. */
struct json_t *cluster_json_warnings(const struct cluster_json *cluster);

/* The same cluster with guests where `model` has them; a string to free(), NULL: not readable, no memory. */
char *cluster_json_write(const char *text, size_t len, const struct model *model);

#endif
