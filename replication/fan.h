/* One step of work that goes to several members at once and is over when all have answered.
 *
 *     fan_begin(&f, volume, done);  fan_add(...); fan_add(...);  fan_end(&f);
 *
 * done() runs once: after the last answer, or inside fan_end() if nothing was added. What a member failed is in
 * `failed`; what is to be thought of that member is the caller's (member_lose()). Buffers belong to the members until
 * done(). Thread: the loop's. */
#ifndef REPLICATION_FAN_H
#define REPLICATION_FAN_H

#include "nbd/blk.h"
#include "replication/geometry.h"

struct member;
struct volume;

struct fan {
    struct volume *volume;
    unsigned left;
    member_set asked, failed;
    member_set away; /* of those that failed: they were not reached, and that is all (-ENOTCONN) */
    int error;       /* the last one */
    void (*done)(struct fan *fan);
};

void fan_begin(struct fan *fan, struct volume *volume, void (*done)(struct fan *fan));
/* offset is the member's own; data is not used by FLUSH and ZERO. A long request is cut to what the member takes. */
void fan_add(struct fan *fan, unsigned member, enum blk_op op, uint32_t flags, uint64_t offset, void *data,
             uint64_t length_bytes);
/* A READ into several buffers; iov lives until done(). */
void fan_add_read(struct fan *fan, unsigned member, uint64_t offset, const struct iovec *iov, unsigned count,
                  uint64_t length_bytes);
/* A WRITE of two buffers, one behind the other. */
void fan_add_pair(struct fan *fan, unsigned member, uint32_t flags, uint64_t offset, void *first, uint64_t first_bytes,
                  void *second, uint64_t second_bytes);
void fan_end(struct fan *fan);
/* Something that is no member's request has to be over, too. */
void fan_enter(struct fan *fan);
void fan_leave(struct fan *fan);

#endif
