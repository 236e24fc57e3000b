#include "replication/member_check.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/err.h"
#include "replication/bit_map.h"
#include "replication/checksum.h"

static int load_hot(struct blk *disk, const struct member_places *places, struct bit_map *hot, uint64_t *damaged)
{
    void *bytes = aligned_alloc(BIT_MAP_BLOCK_BYTES, hot->bytes);
    int rc = bytes ? blk_now(disk, BLK_READ, 0, places->hot, bytes, hot->bytes) : -ENOMEM;
    if (!rc)
        *damaged = bit_map_merge(hot, bytes);
    free(bytes);
    return rc;
}

static void judge(const struct superblock *sb, uint64_t region, const uint8_t *data, const uint32_t *sums,
                  struct member_check *c)
{
    for (uint32_t b = 0; b < sb->geometry.region_bytes / BLOCK_BYTES; b++) {
        c->blocks++;
        if (be32toh(sums[b]) == checksum_block(data + (size_t)b * BLOCK_BYTES))
            continue;
        if (!c->wrong++)
            c->first_wrong = region * sb->geometry.region_bytes + (uint64_t)b * BLOCK_BYTES;
    }
}

int member_check(struct blk *disk, const struct superblock *sb, struct member_check *check, struct err *err)
{
    struct member_check c = {0};
    struct member_places places;
    struct bit_map hot;
    uint32_t region_bytes = sb->geometry.region_bytes;
    superblock_places(&sb->geometry, sb->journal_bytes, &places);
    if (blk_size(disk) < places.end)
        return err_set(err, EINVAL, "shorter than it was made: %llu bytes are missing",
                       (unsigned long long)(places.end - blk_size(disk)));
    uint8_t *data = aligned_alloc(BLOCK_BYTES, region_bytes);
    uint32_t *sums = aligned_alloc(BLOCK_BYTES, places.sum_stride);
    int rc = bit_map_init(&hot, geometry_regions(&sb->geometry));
    if (!data || !sums)
        rc = -ENOMEM;
    if (!rc)
        rc = load_hot(disk, &places, &hot, &c.damaged_sectors);
    for (uint64_t r = 0; r < geometry_regions(&sb->geometry) && !rc; r++) {
        if (bit_map_test(&hot, r)) {
            c.hot_regions++;
            continue;
        }
        rc = blk_now(disk, BLK_READ, 0, places.sums + r * places.sum_stride, sums, places.sum_stride);
        if (!rc)
            rc = blk_now(disk, BLK_READ, 0, places.data + r * region_bytes, data, region_bytes);
        if (!rc)
            judge(sb, r, data, sums, &c);
    }
    bit_map_fini(&hot);
    free(data);
    free(sums);
    if (rc)
        return err_set(err, -rc, "reading the member: %s", strerror(-rc));
    *check = c;
    return 0;
}
