/* What a guest or a node uses, from the windows its agent wrote (docs/balancer.md, "What is measured"), in the words of
 * cluster_json.h.
 *
 * Of each window goes the p95 as the load, and the error of a forecast over it. A window that is left out was all zero.
 * Foreign bytes: a window with a number that is none is not there. Pure. Threads: any. */
#ifndef BALANCER_SNAPSHOT_LOAD_H
#define BALANCER_SNAPSHOT_LOAD_H

#include <jansson.h>
#include <stdbool.h>

enum {
    SNAPSHOT_SAMPLES_NEEDED = 3, /* of a guest's window of processor time; fewer are none */
    SNAPSHOT_SAMPLES_MAX = 120,
};

/* Windows into what follows from them, once, in place: {ID: {"samples": N, "memory", "cpu": [p95, error], "steal",
 * "disk", "network": likewise, "storage": {NODE: N}, "dirty", "dirty_ago"}}, in the record's units. Thirty numbers are
 * read when they come, and not at each look at all guests; a record that is digested already stays. */
void snapshot_load_digest(json_t *record);

/* Of a digested record's guest: was it measured for long enough? */
bool snapshot_load_is_enough(const json_t *use);

/* Of a digested record. Puts "load", "error" and "steal" of the guest into *to, if it was measured for long enough:
 * false otherwise. */
bool snapshot_load_guest(json_t *to, const json_t *record, const char *guest_id, double vcpus);

/* Of a digested record. Puts "storage", bytes a second by node, those of `nodes` (by name) alone; nothing if it has
 * none or its agent does not say. */
void snapshot_load_storage(json_t *to, const json_t *record, const char *guest_id, const json_t *nodes);

/* Of a digested record: how fast the guest writes its memory, bytes a second, and how long before the record somebody
 * looked. Negative: nobody did. */
double snapshot_load_writes(const json_t *record, const char *guest_id, double *ago_s);

/* Puts "pressure", "stalled", "disk_rate" and "network_rate" of the node: what its labels say it can carry, or what
 * is usual. */
void snapshot_load_node(json_t *to, const json_t *record, const json_t *labels);

/* A member that is a positive number, else 0. */
double snapshot_number(const json_t *object, const char *key);

#endif
