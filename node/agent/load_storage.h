/* What a guest's disks do, by the node that has the bytes: of a volume with a layout what each of its members is asked
 * for, fillings and scrubs among it; of one without, what the guest asks for.
 *
 * An operation counts as LOAD_OPERATION_BYTES at least, so that small ones weigh what they cost. What is counted is the
 * word of the guest's process. Pure. Thread: the owner's. */
#ifndef NODE_AGENT_LOAD_STORAGE_H
#define NODE_AGENT_LOAD_STORAGE_H

#include <stdint.h>

#include "node/agent/load_meter.h"

struct json_t;
struct mirror;
struct object;

enum {
    LOAD_OPERATION_BYTES = 16384,
    LOAD_UNIT_BYTES = 4096,
    LOAD_SHARES_MAX = 64 /* of a guest; others count nowhere */
};

/* One member of one disk. */
struct load_share {
    unsigned disk, member;
    struct load_meter work;
};

/* Zeroed in the beginning. */
struct load_storage {
    struct load_share *shares;
    unsigned count;
};

/* stats: what the guest's process answers to CONTROL_STATS. */
void load_storage_look(struct load_storage *storage, const struct json_t *stats, uint64_t now_us);
/* {NODE: p95, in LOAD_UNIT_BYTES a second}; a new reference, NULL: nothing is done anywhere. Who has the members is
 * looked up now. */
struct json_t *load_storage_nodes(const struct load_storage *storage, const struct mirror *mirror,
                                  const struct object *guest);
/* Zeroed again. */
void load_storage_forget(struct load_storage *storage);

#endif
