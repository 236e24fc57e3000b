/* A volume becomes larger while it serves.
 *
 *     DISKS --all have the size--> ZEROES --what is new is zeroes--> MAPS --flushed--> RECORD --it counts--> (over)
 *       |                            |                                 ^   |              |
 *       '----- a member cannot ------'--> the request fails            '---' a member     '-- like every change of the
 *                                         and nothing has changed          was lost           set, again and again
 *
 * The size is part of the superblock, and goes with a generation of its own: whoever starts later takes that of the
 * last set, so it is the old one or the new one for all members. Before the first superblock that has it is written,
 * every member that may be a source has the bytes, as zeroes, whose checksum is 0 (checksum.h); and the maps of those
 * that have not say that they miss all of it. One that comes back later is made as large as the volume before it is
 * looked at (volume_return.c).
 *
 * Maps and checksums have room from the beginning (geometry.h, room_bytes), so nothing on a member moves. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/container.h"
#include "replication/volume_core.h"

enum { ZERO_STEP_BYTES = 64 << 20 /* at a time: a member that takes longer than `eject` for one is lost */ };

static void end(struct volume *v, int result)
{
    struct blk_req *req = v->grow.req;
    v->grow.req = NULL;
    v->grow.step = GROW_DISKS;
    if (result)
        volume_log(v, "it cannot be made larger: %s", strerror(-result));
    blk_complete(req, result);
    resync_kick(v);
}

static uint64_t wanted_end(const struct volume *v)
{
    return v->places.data + v->grow.member_bytes;
}

/* A member that cannot become larger is none that has failed: it stays as it is. */
static void went_on(struct volume *v, struct fan *fan)
{
    v->grow.running = false;
    if (fan->failed)
        end(v, fan->error);
    else
        grow_kick(v);
}

/* ---- bytes ---- */

static void disks_grown(struct fan *fan)
{
    struct volume *v = fan->volume;
    if (!fan->failed) {
        v->grow.step = GROW_ZEROES;
        v->grow.at = v->geometry.member_bytes;
    }
    went_on(v, fan);
}

static void grow_disks(struct volume *v)
{
    v->grow.grown = volume_targets(v);
    for (unsigned m = 0; m < v->geometry.members; m++)
        if (v->grow.grown & member_bit(m) && blk_size(v->members[m].blk) < wanted_end(v))
            fan_add(&v->grow.fan, m, BLK_RESIZE, BLK_FUA, wanted_end(v), NULL, 0);
}

static void zeroed(struct fan *fan)
{
    struct volume *v = fan->volume;
    v->grow.at += v->grow.step_bytes;
    if (!fan->failed && v->grow.at == v->grow.member_bytes)
        v->grow.step = GROW_MAPS;
    went_on(v, fan);
}

static void grow_zeroes(struct volume *v)
{
    uint64_t left = v->grow.member_bytes - v->grow.at;
    v->grow.step_bytes = left < ZERO_STEP_BYTES ? left : ZERO_STEP_BYTES;
    for (unsigned m = 0; m < v->geometry.members; m++)
        if (v->grow.grown & volume_targets(v) & member_bit(m))
            fan_add(&v->grow.fan, m, BLK_ZERO, 0, v->places.data + v->grow.at, NULL, v->grow.step_bytes);
}

/* ---- maps ---- */

static int enlarge_maps(struct volume *v)
{
    uint64_t regions = v->grow.member_bytes / v->geometry.region_bytes;
    int rc = bit_map_grow(&v->hot, regions);
    rc = rc ? rc : bit_map_grow(&v->stored, regions);
    rc = rc ? rc : bit_map_grow(&v->unequal, regions);
    for (unsigned m = 0; m < v->geometry.members && !rc; m++)
        rc = bit_map_grow(&v->missed[m], regions * GRANULES);
    uint8_t *buffer = rc ? NULL : aligned_alloc(BIT_MAP_BLOCK_BYTES, v->hot.bytes);
    if (!buffer)
        return rc ? rc : -ENOMEM;
    free(v->round.buffer);
    v->round.buffer = buffer;
    return 0;
}

static void miss_what_is_new(struct volume *v)
{
    uint64_t first = geometry_regions(&v->geometry) * GRANULES;
    for (unsigned m = 0; m < v->geometry.members; m++)
        for (uint64_t n = first; n < v->missed[m].bits && !(v->grow.grown & member_bit(m)); n++)
            bit_map_set(&v->missed[m], n);
}

static void maps_flushed(struct fan *fan)
{
    struct volume *v = fan->volume;
    bool bad = member_judge_flush(v, fan);
    v->grow.running = false;
    if (bad)
        cool_soil_missed(v); /* written again */
    else if (v->grow.told == v->grow.grown) {
        v->grow.step = GROW_RECORD;
        change_kick(v);
    }
    grow_kick(v);
}

static void maps_written(struct fan *fan)
{
    struct volume *v = fan->volume;
    volume_buffer_put(v, v->grow.maps, v->grow.maps_bytes);
    member_lose_all(v, fan->failed, "the maps", fan->error);
    if (fan->failed)
        cool_soil_missed(v);
    fan_begin(&v->grow.fan, v, maps_flushed);
    for (unsigned m = 0; m < v->geometry.members; m++)
        if (volume_targets(v) & member_bit(m))
            fan_add(&v->grow.fan, m, BLK_FLUSH, 0, 0, NULL, 0);
    fan_end(&v->grow.fan);
}

static void write_maps(struct volume *v)
{
    int rc = enlarge_maps(v);
    if (rc) {
        end(v, rc);
        return;
    }
    miss_what_is_new(v);
    v->grow.told = v->grow.grown;
    v->grow.running = true;
    fan_begin(&v->grow.fan, v, maps_written);
    cool_add_missed(v, &v->grow.fan, &v->grow.maps, &v->grow.maps_bytes);
    fan_end(&v->grow.fan);
}

/* ---- the size counts ---- */

bool grow_wants_record(const struct volume *v)
{
    return v->grow.req && v->grow.step == GROW_RECORD && v->sb.geometry.member_bytes != v->grow.member_bytes;
}

void grow_lose(struct volume *v, unsigned member)
{
    v->grow.grown &= ~member_bit(member);
}

void grow_adopt(struct volume *v)
{
    uint64_t was = geometry_volume_bytes(&v->geometry);
    if (v->geometry.member_bytes == v->sb.geometry.member_bytes)
        return;
    v->geometry.member_bytes = v->sb.geometry.member_bytes;
    superblock_places(&v->geometry, v->sb.journal_bytes, &v->places);
    volume_log(v, "it has grown from %llu to %llu bytes", (unsigned long long)was,
               (unsigned long long)geometry_volume_bytes(&v->geometry));
    for (unsigned m = 0; m < v->geometry.members; m++)
        if (v->receiving & member_bit(m) && blk_size(v->members[m].blk) < v->places.end) /* came back meanwhile */
            member_lose(v, m, "to be as large as the volume", -ENOSPC);
}

/* ---- steps ---- */

void grow_kick(struct volume *v)
{
    if (!v->grow.req || v->grow.running)
        return;
    if (v->dead || v->flush_error) {
        end(v, v->dead ? v->dead : v->flush_error);
        return;
    }
    if (v->geometry.member_bytes >= v->grow.member_bytes) {
        end(v, 0);
        return;
    }
    if (v->grow.step == GROW_RECORD || !change_settled(v))
        return;
    if (v->grow.step == GROW_MAPS) {
        if (!v->round.running && !v->cool.running && !v->resync.joining) /* a tick comes back */
            write_maps(v);
        return;
    }
    v->grow.running = true;
    fan_begin(&v->grow.fan, v, v->grow.step == GROW_DISKS ? disks_grown : zeroed);
    if (v->grow.step == GROW_DISKS)
        grow_disks(v);
    else
        grow_zeroes(v);
    fan_end(&v->grow.fan);
}

static int judge(const struct volume *v, uint64_t wanted_bytes, uint64_t member_bytes)
{
    if (wanted_bytes < blk_size(v->blk))
        return -EINVAL; /* no volume becomes smaller */
    if (member_bytes > (v->geometry.room_bytes ? v->geometry.room_bytes : v->geometry.member_bytes))
        return -EFBIG;
    return v->grow.req ? -EBUSY : 0;
}

void grow_begin(struct volume *v, struct blk_req *req)
{
    uint64_t member_bytes = geometry_member_bytes(&v->geometry, req->offset);
    int rc = judge(v, req->offset, member_bytes);
    if (rc || member_bytes <= v->geometry.member_bytes) {
        blk_complete(req, rc);
        return;
    }
    v->grow.req = req;
    v->grow.member_bytes = member_bytes;
    v->grow.step = GROW_DISKS;
    grow_kick(v);
}
