/* Members that come back. A member that was lost keeps its stack, and its superblock is read now and then; once that
 * works it is judged like at the start, and filled with what it missed. A member that is down (in sync, and there is no
 * serving without it) is asked in the same way. */
#include <errno.h>
#include <string.h>

#include "node/base/container.h"
#include "replication/volume_core.h"

#define FIT_AGAIN_NS UINT64_C(5000000000)

static void take_back(struct volume *v, struct member *m, const struct assembly_seen *seen)
{
    m->role = assembly_returning(&v->sb, m->index, seen);
    if (m->role == ROLE_FOREIGN || m->role == ROLE_ABSENT) {
        m->shunned = true;
        volume_log(v, "member %u is not the one that it was: it is left alone until it is attached anew", m->index);
        return;
    }
    if (m->role != ROLE_OUTDATED)
        bit_map_set_all(&v->missed[m->index]);
    m->sequence = seen->sb.sequence;
    m->absent = m->unsure = false;
    m->counts.returned++;
    v->receiving |= member_bit(m->index);
    m->round = v->round.begun + 1; /* one that begins from now on tells it of every hot region */
    m->journal_from = v->journal.next;
    bit_map_soil(&v->hot);
    for (unsigned i = 0; i < v->geometry.members; i++)
        bit_map_soil(&v->missed[i]);
    volume_log(v, "member %u is back (%s): %llu granules to copy", m->index, member_role_name(m->role),
               (unsigned long long)v->missed[m->index].set);
    volume_changed(v);
    region_round(v);
    resync_kick(v);
}

/* What was not flushed before it went down may be gone: this flush is to say so, and then nobody is told that anything
 * is durable any more. */
static void stood_up(struct fan *fan)
{
    struct member *m = CONTAINER_OF(fan, struct member, probe);
    struct volume *v = m->volume;
    m->probing = false;
    if (fan->failed & ~fan->away)
        v->flush_error = -EIO;
    if (v->closing || fan->away)
        return; /* gone again: it is asked again */
    m->down = false;
    m->backoff_ns = 0;
    volume_log(v, "member %u answers again", m->index);
    volume_changed(v);
    volume_recover(v);
}

static void stand_up(struct volume *v, struct member *m, const struct assembly_seen *seen)
{
    if (seen->verdict != SUPERBLOCK_OK || memcmp(seen->sb.volume, v->sb.volume, UUID_BYTES) != 0 ||
        seen->sb.index != m->index)
        return;
    m->probing = true;
    fan_begin(&m->probe, v, stood_up);
    fan_add(&m->probe, m->index, BLK_FLUSH, 0, 0, NULL, 0);
    fan_end(&m->probe);
}

/* It was away when the volume grew. What is new is missed by it, so whatever it holds there is no matter; when it is
 * large enough it is looked at again. */
static void fitted(struct fan *fan)
{
    struct member *m = CONTAINER_OF(fan, struct member, probe);
    struct volume *v = m->volume;
    m->probing = false;
    if (fan->failed)
        volume_log(v, "member %u is too small for the volume, and does not grow (%s)", m->index, strerror(-fan->error));
    m->retry_ns = fan->failed && v->tick_ns ? loop_now_ns(v->loop) + FIT_AGAIN_NS : 0;
}

static void fit(struct volume *v, struct member *m)
{
    m->probing = true;
    fan_begin(&m->probe, v, fitted);
    fan_add(&m->probe, m->index, BLK_RESIZE, BLK_FUA, v->places.end, NULL, 0);
    fan_end(&m->probe);
}

static void probed(struct fan *fan)
{
    struct member *m = CONTAINER_OF(fan, struct member, probe);
    struct volume *v = m->volume;
    const void *const slots[SUPERBLOCK_SLOTS] = {m->slots, m->slots + SUPERBLOCK_BYTES};
    struct assembly_seen seen = {.there = !fan->failed};
    m->probing = false;
    if (fan->failed || v->dead || v->closing) {
        /* for one that is down everything waits */
        m->retry_ns = v->tick_ns && !m->down ? loop_now_ns(v->loop) + m->backoff_ns : 0;
        return;
    }
    seen.verdict = superblock_read(slots, &seen.sb);
    if (seen.verdict == SUPERBLOCK_OK && memcmp(seen.sb.volume, v->sb.volume, UUID_BYTES) == 0 &&
        seen.sb.claimed > v->sb.claimed) {
        volume_die(v, -ESTALE, "a later owner has taken the volume over");
        return;
    }
    if (m->down)
        stand_up(v, m, &seen);
    else if (!(volume_targets(v) & member_bit(m->index)) && blk_size(m->blk) < v->places.end)
        fit(v, m);
    else if (!(volume_targets(v) & member_bit(m->index)))
        take_back(v, m, &seen);
}

void return_probe(struct volume *v)
{
    uint64_t now_ns = loop_now_ns(v->loop);
    for (unsigned i = 0; i < v->geometry.members; i++) {
        struct member *m = &v->members[i];
        bool wanted = m->down || !(volume_targets(v) & member_bit(i));
        /* what is still under way could overwrite what is written from now on */
        if (!m->blk || m->shunned || m->probing || !wanted || now_ns < m->retry_ns || blk_in_flight(m->blk))
            continue;
        m->probing = true;
        fan_begin(&m->probe, v, probed);
        for (uint64_t slot = 0; slot < SUPERBLOCK_SLOTS; slot++)
            fan_add(&m->probe, i, BLK_READ, 0, superblock_slot_offset(slot), m->slots + slot * SUPERBLOCK_BYTES,
                    SUPERBLOCK_BYTES);
        fan_end(&m->probe);
    }
}
