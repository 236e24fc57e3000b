/* See member_create.h. The superblock is written last, after a flush: a member that is half made is none. */
#include "replication/member_create.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/err.h"

#define ZERO_STEP_BYTES (UINT64_C(1) << 30)

uint64_t member_create_bytes(const struct geometry *g, uint64_t journal_bytes)
{
    struct member_places places;
    superblock_places(g, journal_bytes, &places);
    return places.end;
}

static int zero_all(struct blk *disk, uint64_t end)
{
    int rc = 0;
    for (uint64_t at = 0, n; at < end && !rc; at += n) {
        n = end - at < ZERO_STEP_BYTES ? end - at : ZERO_STEP_BYTES;
        rc = blk_now(disk, BLK_ZERO, 0, at, NULL, n);
    }
    return rc ? rc : blk_now(disk, BLK_FLUSH, 0, 0, NULL, 0);
}

static void be_born(struct superblock *sb)
{
    sb->stamp = sb->base = (struct stamp){0, 1};
    sb->in_sync = geometry_all(&sb->geometry);
    sb->history[0] = (struct superblock_past){sb->stamp, sb->in_sync};
    sb->clean = true;
}

int member_create(struct blk *disk, const struct superblock *what, bool fresh, struct err *err)
{
    struct superblock sb = *what;
    int rc = geometry_check(&sb.geometry, err);
    if (rc)
        return rc;
    uint64_t end = member_create_bytes(&sb.geometry, sb.journal_bytes);
    if (blk_size(disk) < end)
        return err_set(err, EINVAL, "too small: a member needs %llu bytes here", (unsigned long long)end);
    if (!(blk_can(disk) & BLK_CAN_ZERO) || blk_read_only(disk) || blk_limits(disk)->align_bytes > BLOCK_BYTES)
        return err_set(err, EINVAL,
                       "cannot hold a member: read-only, no write-zeroes, or blocks larger than 4096 bytes");
    if (!fresh)
        be_born(&sb);
    uint8_t *slot = aligned_alloc(BLOCK_BYTES, SUPERBLOCK_BYTES);
    if (!slot)
        return err_set(err, ENOMEM, "no memory for a superblock");
    sb.sequence = 0;
    superblock_write(&sb, slot);
    rc = zero_all(disk, end);
    if (!rc)
        rc = blk_now(disk, BLK_WRITE, BLK_FUA, superblock_slot_offset(sb.sequence), slot, SUPERBLOCK_BYTES);
    free(slot);
    return rc ? err_set(err, -rc, "writing a member: %s", strerror(-rc)) : 0;
}

int member_create_witness(struct blk *disk, const struct superblock *what, bool fresh, struct err *err)
{
    struct superblock sb = *what, old;
    enum superblock_verdict verdict;
    int rc = member_read(disk, &verdict, &old, err);
    if (rc)
        return rc;
    if (verdict != SUPERBLOCK_OK && verdict != SUPERBLOCK_NONE)
        return err_set(err, EEXIST, "something is there that is no witness: zero it first, if nobody needs it");
    uint8_t *slot = aligned_alloc(BLOCK_BYTES, SUPERBLOCK_BYTES);
    if (!slot)
        return err_set(err, ENOMEM, "no memory for a superblock");
    be_born(&sb);
    sb.index = 0;
    sb.sequence = 0;
    superblock_write(&sb, slot);
    rc = blk_now(disk, BLK_ZERO, 0, 0, NULL, SUPERBLOCK_SLOTS * SUPERBLOCK_SLOT_STRIDE);
    if (!rc)
        rc = fresh ? blk_now(disk, BLK_FLUSH, 0, 0, NULL, 0)
                   : blk_now(disk, BLK_WRITE, BLK_FUA, superblock_slot_offset(sb.sequence), slot, SUPERBLOCK_BYTES);
    free(slot);
    return rc ? err_set(err, -rc, "writing a witness: %s", strerror(-rc)) : 0;
}

int member_read(struct blk *disk, enum superblock_verdict *verdict, struct superblock *sb, struct err *err)
{
    uint8_t *bytes = aligned_alloc(BLOCK_BYTES, SUPERBLOCK_SLOTS * SUPERBLOCK_BYTES);
    int rc = bytes ? 0 : -ENOMEM;
    if (!rc && blk_size(disk) < superblock_slot_offset(SUPERBLOCK_SLOTS - 1) + SUPERBLOCK_BYTES)
        rc = -EINVAL;
    for (uint64_t i = 0; i < SUPERBLOCK_SLOTS && !rc; i++)
        rc = blk_now(disk, BLK_READ, 0, superblock_slot_offset(i), bytes + i * SUPERBLOCK_BYTES, SUPERBLOCK_BYTES);
    if (!rc) {
        const void *const slots[SUPERBLOCK_SLOTS] = {bytes, bytes + SUPERBLOCK_BYTES};
        *verdict = superblock_read(slots, sb);
    }
    free(bytes);
    return rc ? err_set(err, -rc, rc == -EINVAL ? "too small to be a member" : "cannot be read: %s", strerror(-rc)) : 0;
}
