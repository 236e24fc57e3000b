/* What a running volume says of itself, as JSON: its owner's program passes that on. Thread: the loop's. */
#ifndef REPLICATION_VOLUME_JSON_H
#define REPLICATION_VOLUME_JSON_H

#include <stdbool.h>
#include <stdint.h>

struct blk;
struct json_t;
struct volume_status;

/* A scrub that the owner's program began, and those before it. */
struct volume_scrubs {
    bool running;
    uint64_t runs, repaired, unreadable; /* of the last one */
    int result;
    uint64_t repaired_before, unreadable_before; /* when it began */
};

void volume_scrubs_begin(struct volume_scrubs *scrubs, const struct volume_status *status);
void volume_scrubs_end(struct volume_scrubs *scrubs, const struct volume_status *status, int result);

/* top: of the stack that has the volume; its size is that of the disk. A new object:
 *     {"epoch", "disk_bytes", "suspended", "dead", "witness", "left_bytes", "left_ns", "unreadable", "resync_rate",
 *      "scrub":{"running", "runs", "repaired", "unreadable", "result"}, "members":[{"state", "missed_bytes",
 *      "resynced_bytes", "errors", "repaired", "lost", "ops", "bytes"}]}; ops and bytes are reads and writes of a
 * member since it is attached, fillings among them. */
struct json_t *volume_json(const struct blk *volume, const struct blk *top, const struct volume_scrubs *scrubs,
                           uint64_t resync_bps);

#endif
