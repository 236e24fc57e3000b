/* What this node and its guests used lately, for the balancer: a sample every LOAD_SAMPLE_MS, and windows of them in
 * one key of the store, which goes with the node's lease.
 *
 *     /drover/state/load/NODE-ID
 *     {"node": NAME, "sample_ms": N, "unit": LOAD_UNIT_BYTES,
 *      "pressure": {"cpu", "memory", "io": 0 to 1, the part of time in which some waited: p95} (load_pressure.h),
 *      "stalled": {the same, in which all did},
 *      "guests": {ID: {"cpu": [hundredths of a processor], "memory": p95 of bytes (load_memory.h),
 *                      "steal": [hundredths of a processor that vCPUs waited for],
 *                      "network": [units a second], "storage": {NODE: p95 of units a second} (load_storage.h),
 *                      "dirty": bytes a second it writes of its memory, "dirty_ago": seconds since that look
 *                      (load_writes.h): only of guests that a plan wanted to move}}}
 *
 * Windows have LOAD_SAMPLES samples (load_meter.h), the oldest first; of those that nothing is forecast from the p95
 * alone is said. One that is all zero, or what cannot be measured here, is left out; "cpu" is always there. A guest has
 * windows from its second sample on this node on, and memory from its first; they begin anew when the guest or the
 * agent does. At most seven digits and commas a sample: 1024 guests fit into a value of the store.
 *
 * What a guest says of its disks is the word of a process that runs foreign code; a lie moves it, or others that share
 * the nodes of its volumes, as much work would, and nothing else. Thread: the loop's. */
#ifndef NODE_AGENT_LOAD_H
#define NODE_AGENT_LOAD_H

struct cgroups;
struct cluster;
struct err;
struct guests;
struct load;
struct loop;
struct presence;

enum {
    LOAD_SAMPLE_MS = 10000,
    LOAD_GUESTS_MAX = 1024, /* beyond them nothing is said */
};

struct load_place {
    struct loop *loop;
    struct cluster *cluster;
    const struct cgroups *cgroups;
    struct guests *guests;
    const struct presence *presence;
    const char *node_id;
};

struct load *load_new(const struct load_place *place, struct err *err);
/* What is on its way to the store frees it when it comes back. */
void load_free(struct load *load);

#endif
