/* The cluster as the balancer reads it (cluster_json.h), made from the objects of the cluster's store.
 *
 *     {"node": {ID: {"value": {...}, "state": {...}}}, "guest": ..., "load": ..., "migration": ..., ...}
 *
 * by kind and id, as the store has them (docs/balancer.md, "In the cluster"). An entry of "volumes", if there are any,
 * is what snapshot_failover.h takes, by the guest's id; "members" has how many members of volumes, and witnesses, a
 * node has, by its name. An entry of "load" has "seen" beside its state: when it last changed, in seconds of the same
 * clock as `clock_s`; one of "measured", by the guest's id, is what of that of "load" in which it was measured last is
 * its own, digested (snapshot_load.h) or not. No other clock is compared with that of another node but for `wall_s`,
 * from which it follows how long ago a migration ended.
 *
 * What nothing is to happen to is left in, and cannot be moved: guests that do not run, that migrate, that are being
 * deleted, or whose node is away, has not been measured lately, or drains (but for those that no node takes, as its
 * state says in "staying": a plan may make room). A guest on its way is there twice, once on each of its nodes ("web1",
 * "web1 on its way"). What cannot be used (it cannot be read, has no name or no memory, or a node that nobody has) is
 * in "left_out", with the reason. Pure. Threads: any. */
#ifndef BALANCER_SNAPSHOT_H
#define BALANCER_SNAPSHOT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { SNAPSHOT_MEMORY_PARTS = 16 /* one of them is the node's own */ };

struct snapshot_time {
    double clock_s;
    int64_t wall_s; /* UTC, since 1970 */
};

/* A new reference that shares nothing with the objects; NULL: no memory. */
json_t *snapshot_make(json_t *objects, const struct snapshot_time *now);

/* "2026-11-26T08:58:23.125Z" as seconds since 1970; -1: it is none. */
int64_t snapshot_seconds(const char *timestamp);

/* A member of an object as text, "" if there is none; of a nested one. */
const char *snapshot_text(const json_t *object, const char *key);
json_t *snapshot_spec(const json_t *entry, const char *key);
/* Is this text in the list? */
bool snapshot_has(const json_t *list, const char *text);

#endif
