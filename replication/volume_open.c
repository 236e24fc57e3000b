/* The way from open stacks to a volume that serves: superblocks are read, assembly.c decides, the maps are read from
 * those in sync, the term is claimed, and the first set of this owner is made known. The loop is turned meanwhile. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/container.h"
#include "node/base/err.h"
#include "replication/volume_core.h"

struct waited {
    struct fan fan;
    bool done;
};

static void came_back(struct fan *fan)
{
    CONTAINER_OF(fan, struct waited, fan)->done = true;
}

int member_now(struct volume *v, unsigned member, enum blk_op op, uint64_t offset, void *data, uint64_t length_bytes)
{
    struct waited w = {.done = false};
    fan_begin(&w.fan, v, came_back);
    fan_add(&w.fan, member, op, 0, offset, data, length_bytes);
    fan_end(&w.fan);
    while (!w.done)
        loop_step(v->loop);
    return w.fan.failed ? w.fan.error : 0;
}

static void look(struct volume *v, unsigned index, struct assembly_seen *seen)
{
    struct member *m = &v->members[index];
    const void *const slots[SUPERBLOCK_SLOTS] = {m->slots, m->slots + SUPERBLOCK_BYTES};
    uint64_t least = superblock_slot_offset(SUPERBLOCK_SLOTS - 1) + SUPERBLOCK_BYTES;
    if (!m->blk)
        return;
    if (blk_size(m->blk) < least) {
        volume_log(v, "member %u is too small to be one", index);
        return;
    }
    for (uint64_t i = 0; i < SUPERBLOCK_SLOTS; i++)
        if (member_now(v, index, BLK_READ, superblock_slot_offset(i), m->slots + i * SUPERBLOCK_BYTES,
                       SUPERBLOCK_BYTES)) {
            volume_log(v, "member %u cannot be read: it counts as absent", index);
            return;
        }
    seen->verdict = superblock_read(slots, &seen->sb);
    seen->there = true;
    if (seen->verdict != SUPERBLOCK_OK)
        return;
    struct member_places places;
    superblock_places(&seen->sb.geometry, seen->sb.journal_bytes, &places);
    m->sequence = seen->sb.sequence;
    /* one that knows itself out of the set may have been told of a size before it got it: it still has its vote */
    bool knows_itself_out = !stamp_is_zero(seen->sb.stamp) && !(seen->sb.in_sync >> index & 1);
    if (blk_size(m->blk) < places.end && !knows_itself_out) {
        volume_log(v, "member %u is shorter than it was made: it counts as absent", index);
        seen->there = false;
    }
}

static int make_maps(struct volume *v, struct err *err)
{
    uint64_t regions = geometry_regions(&v->geometry);
    bool bad =
        bit_map_init(&v->hot, regions) || bit_map_init(&v->stored, regions) || bit_map_init(&v->unequal, regions);
    for (unsigned m = 0; m < v->geometry.members && !bad; m++)
        bad = bit_map_init(&v->missed[m], regions * GRANULES);
    v->round.buffer = bad ? NULL : aligned_alloc(BIT_MAP_BLOCK_BYTES, v->hot.bytes);
    if (bad || !v->round.buffer)
        return err_set(err, ENOMEM, "no memory for the maps of %llu regions", (unsigned long long)regions);
    return 0;
}

static int merge_map(struct volume *v, unsigned member, uint64_t offset, struct bit_map *map, struct err *err)
{
    void *bytes = volume_buffer(v, map->bytes);
    int rc = member_now(v, member, BLK_READ, offset, bytes, map->bytes);
    if (!rc && bit_map_merge(map, bytes))
        volume_log(v, "member %u: part of a map is damaged: more is looked at than needed", member);
    volume_buffer_put(v, bytes, map->bytes);
    return rc ? err_set(err, -rc, "member %u: a map cannot be read", member) : 0;
}

/* Whatever was hot may differ, and is missed by all that are not in sync. */
static int load_maps(struct volume *v, const struct assembly *a, struct err *err)
{
    int rc = 0;
    for (unsigned m = 0; m < v->geometry.members && !rc; m++) {
        if (!(a->in_sync & member_bit(m)))
            continue;
        rc = merge_map(v, m, v->places.hot, &v->hot, err);
        for (unsigned other = 0; other < v->geometry.members && !rc; other++)
            if (!(a->in_sync & member_bit(other)))
                rc = merge_map(v, m, v->places.missed[other], &v->missed[other], err);
    }
    for (uint64_t n = bit_map_next(&v->hot, 0); n < v->hot.bits && !rc; n = bit_map_next(&v->hot, n + 1)) {
        bit_map_set(&v->unequal, n);
        for (unsigned m = 0; m < v->geometry.members; m++)
            for (unsigned g = 0; g < GRANULES && !(a->in_sync & member_bit(m)); g++)
                bit_map_set(&v->missed[m], n * GRANULES + g);
    }
    bit_map_soil(&v->hot);
    return rc;
}

static int begin(struct volume *v, const struct assembly *a, struct err *err)
{
    v->in_sync = a->in_sync;
    v->settled = 0; /* nothing of this owner counts yet */
    change_kick(v);
    while (v->change.running)
        loop_step(v->loop);
    if (!change_settled(v))
        return err_set(err, EIO, "the volume could not be begun: a member or the witness did not take a record");
    v->suspended_ns = 0;
    return 0;
}

int volume_assemble(struct volume *v, const struct assembly_wish *wish, struct err *err)
{
    struct assembly_seen *seen = calloc(MEMBERS_MAX, sizeof *seen);
    struct assembly_witness witness = {.given = v->witness_given, .seen.verdict = SUPERBLOCK_NONE};
    struct assembly a;
    if (!seen)
        return err_set(err, ENOMEM, "no memory for superblocks");
    for (unsigned m = 0; m < wish->members; m++)
        look(v, m, &seen[m]);
    if (v->witness)
        witness.seen.there = !v->witness->recall(v->witness, &witness.seen.verdict, &witness.seen.sb);
    int rc = assembly_decide(wish, seen, &witness, &a, err);
    if (!rc) {
        v->geometry = a.truth.geometry;
        superblock_places(&v->geometry, a.truth.journal_bytes, &v->places);
        for (unsigned m = 0; m < wish->members; m++)
            v->members[m].role = a.roles[m];
        v->sb = a.truth;
        rc = make_maps(v, err);
    }
    if (!rc && geometry_parity(&v->geometry))
        parity_init(&v->parity, geometry_columns(&v->geometry), geometry_parity(&v->geometry));
    if (!rc)
        rc = journal_init(v, err);
    if (!rc)
        rc = load_maps(v, &a, err);
    if (!rc)
        rc = change_claim(v, &a, seen, &witness, err);
    if (!rc)
        rc = begin(v, &a, err);
    if (!rc)
        rc = journal_replay(v, a.truth.clean, err);
    free(seen);
    return rc;
}
