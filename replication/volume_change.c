/* Who is in sync: losing a member, and making it known.
 *
 *     settled ---a member fails---> the working set shrinks ---superblocks and witness---> settled
 *        |                                                          |
 *        |                                                          '-- not enough of them: again, at every tick
 *        '---a member fails that cannot be done without---> it is down: everything waits, until it answers or
 *                                                           `suspend` is over
 *
 * A change takes members away or adds them, never both: an attempt that nobody hears of must not stand between members
 * that have everything and a volume that could serve. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "node/base/container.h"
#include "node/base/err.h"
#include "replication/volume_core.h"

#define BACKOFF_MIN_NS UINT64_C(500000000)
#define BACKOFF_MAX_NS UINT64_C(30000000000)

bool change_settled(const struct volume *v)
{
    if (v->change.running || v->in_sync != v->settled || stamp_compare(v->sb.base, v->sb.stamp) != 0)
        return false;
    for (unsigned m = 0; m < v->geometry.members; m++)
        if (v->members[m].down)
            return false;
    return true;
}

void volume_changed(struct volume *v)
{
    if (v->events.changed)
        v->events.changed(v->events.context);
}

/* ---- losing ---- */

static void miss(struct volume *v, unsigned member, uint64_t region, uint64_t granules)
{
    for (; granules; granules &= granules - 1)
        bit_map_set(&v->missed[member], region * GRANULES + (unsigned)__builtin_ctzll(granules));
}

/* Whatever was written since its region became hot may not be on the member, or not for good: nobody flushed it. */
static void miss_hot(struct volume *v, unsigned member)
{
    unsigned strand = region_strand(v, member);
    struct region *r;
    TAILQ_FOREACH (r, &v->lru, lru)
        if (r->state == REGION_HOT || r->state == REGION_COOLING)
            miss(v, member, r->number, r->touched[strand]);
        else if (r->state == REGION_HEATING && r->all_touched)
            miss(v, member, r->number, UINT64_MAX);
    for (uint64_t n = bit_map_next(&v->unequal, 0); n < v->unequal.bits; n = bit_map_next(&v->unequal, n + 1))
        miss(v, member, n, UINT64_MAX);
}

static void suspend(struct volume *v)
{
    if (!v->suspended_ns)
        v->suspended_ns = loop_now_ns(v->loop);
}

void member_lose(struct volume *v, unsigned member, const char *what, int error)
{
    struct member *m = &v->members[member];
    member_set bit = member_bit(member);
    if (!(volume_targets(v) & bit) || m->down)
        return;
    m->backoff_ns = m->backoff_ns ? m->backoff_ns * 2 : BACKOFF_MIN_NS;
    m->backoff_ns = m->backoff_ns > BACKOFF_MAX_NS ? BACKOFF_MAX_NS : m->backoff_ns;
    m->retry_ns = v->tick_ns ? loop_now_ns(v->loop) + m->backoff_ns : 0;
    member_set rest = v->in_sync & ~bit;
    /* a set that could never count must not be tried: what is told of it would stand in the way of those that can */
    if (v->in_sync & bit && !assembly_accepts(&v->sb, rest, rest, true)) {
        m->down = true;
        m->retry_ns = 0;
        suspend(v);
        volume_log(v, "member %u failed %s (%s), and too few are left without it: requests wait", member, what,
                   strerror(-error));
        volume_changed(v);
        return;
    }
    bool counted = v->in_sync & bit;
    v->in_sync &= ~bit;
    v->receiving &= ~bit;
    m->role = ROLE_OUTDATED;
    m->absent = true;
    m->counts.lost++;
    miss_hot(v, member);
    grow_lose(v, member);
    volume_log(v, "member %u failed %s (%s): going on without it", member, what, strerror(-error));
    volume_changed(v);
    if (counted)
        change_kick(v);
}

void member_lose_all(struct volume *v, member_set failed, const char *what, int error)
{
    for (; failed; failed &= failed - 1)
        member_lose(v, (unsigned)__builtin_ctz(failed), what, error);
}

member_set member_judge_flush(struct volume *v, struct fan *fan)
{
    member_set unsure = 0;
    for (unsigned m = 0; m < v->geometry.members; m++)
        if (v->members[m].unsure)
            unsure |= member_bit(m) & volume_targets(v);
    fan->failed |= unsure;
    member_lose_all(v, fan->failed, "a flush", fan->error ? fan->error : -EIO);
    if ((unsure | (fan->failed & ~fan->away)) & v->in_sync)
        v->flush_error = -EIO; /* what it lost nobody knows */
    return fan->failed;
}

void volume_die(struct volume *v, int error, const char *why)
{
    if (v->dead)
        return;
    v->dead = error;
    volume_log(v, "%s: every request fails from now on", why);
    struct region *r, *next;
    for (r = TAILQ_FIRST(&v->lru); r; r = next) {
        next = TAILQ_NEXT(r, lru);
        piece_kick(r);
    }
    piece_release_held(v);
    journal_kick(v);
    grow_kick(v);
    volume_changed(v);
}

void volume_recover(struct volume *v)
{
    if (!change_settled(v)) {
        change_kick(v);
        return;
    }
    v->suspended_ns = 0;
    region_retry(v);
    if (!v->round.running)
        region_round(v);
    piece_release_held(v);
    journal_kick(v);
    grow_kick(v);
    resync_kick(v);
}

/* ---- making it known ---- */

static void tell(struct volume *v, struct fan *fan, unsigned member, const struct superblock *what, uint8_t *slot)
{
    struct superblock sb = *what;
    sb.index = member;
    sb.sequence = v->members[member].sequence + 1;
    superblock_write(&sb, slot);
    fan_add(fan, member, BLK_WRITE, BLK_FUA, superblock_slot_offset(sb.sequence), slot, SUPERBLOCK_BYTES);
}

/* A slot that may be torn is the one that is written next: the other one is whole. */
static void count_slots(struct volume *v)
{
    member_set written = v->change.fan.asked & ~v->change.fan.failed;
    for (unsigned m = 0; m < v->geometry.members; m++)
        v->members[m].sequence += written >> m & 1;
}

static void witness_told(void *context, int result)
{
    struct volume *v = context;
    v->change.told_witness = v->witness_knows = !result;
    if (result && !v->closing)
        ask_witness_is(v, false);
    fan_leave(&v->change.fan);
}

static void tell_witness(struct volume *v, const struct superblock *what)
{
    v->change.told_witness = false;
    if (!v->witness)
        return;
    struct superblock sb = *what;
    sb.index = 0;
    sb.clean = false; /* only members know whether something was being written */
    fan_enter(&v->change.fan);
    v->witness->record(v->witness, &sb, witness_told, v);
}

static void accepted(struct volume *v)
{
    v->sb.base = v->sb.stamp;
    v->settled = v->change.set;
    v->counts.changes++;
    grow_adopt(v);
    volume_log(v, "set %x is in sync, generation %llu of term %llu", v->settled,
               (unsigned long long)v->sb.stamp.generation, (unsigned long long)v->sb.stamp.term);
    volume_changed(v);
}

static void told(struct fan *fan)
{
    struct volume *v = fan->volume;
    member_set have = fan->asked & ~fan->failed;
    count_slots(v);
    fan->failed &= v->change.set; /* of the others nothing is expected */
    member_lose_all(v, fan->failed, "a superblock", fan->error);
    v->change.running = false;
    bool again = v->change.again;
    v->change.again = false;
    bool counts = assembly_accepts(&v->sb, v->change.set, have, v->change.told_witness);
    if (counts) {
        accepted(v);
        again |= v->in_sync != v->settled;
    } else {
        again |= v->in_sync != v->change.set;
        suspend(v);
    }
    if (again && !v->closing)
        change_kick(v);
    if (!v->change.running && counts && !v->closing && !v->dead) /* the kick had nothing to do */
        change_note(v); /* or whoever opens it next would need enough of the set before, too */
    if (change_settled(v))
        volume_recover(v);
}

/* Members that have a vote without being in the set: they are there, and that they know of it does not make them more
 * than they are. Not those that were rolled back, or are fresh: a stamp would hide it. */
static member_set voters(const struct volume *v)
{
    member_set set = 0;
    for (unsigned i = 0; i < v->geometry.members; i++) {
        const struct member *m = &v->members[i];
        if (m->blk && m->role == ROLE_OUTDATED && !m->absent)
            set |= member_bit(i);
    }
    return set;
}

void change_kick(struct volume *v)
{
    bool finished = stamp_compare(v->sb.base, v->sb.stamp) == 0;
    if (v->change.running) {
        v->change.again = true;
        return;
    }
    bool grows = grow_wants_record(v);
    if (v->dead || (v->in_sync == v->settled && finished && !grows))
        return;
    member_set kept = v->in_sync & v->sb.in_sync;
    v->change.set = kept != v->sb.in_sync ? kept : v->in_sync;
    if (v->change.set != v->sb.in_sync || finished || grows || v->sb.stamp.term != v->sb.claimed)
        superblock_advance(&v->sb, (struct stamp){v->sb.claimed, v->sb.stamp.generation + 1}, v->change.set);
    if (grows) /* with a stamp of its own: never two sizes with the same */
        v->sb.geometry.member_bytes = v->grow.member_bytes;
    v->change.running = true;
    fan_begin(&v->change.fan, v, told);
    for (unsigned m = 0; m < v->geometry.members; m++)
        if ((v->change.set | voters(v)) & member_bit(m))
            tell(v, &v->change.fan, m, &v->sb, v->change.slots + m * SUPERBLOCK_BYTES);
    tell_witness(v, &v->sb);
    fan_end(&v->change.fan);
}

static void noted(struct fan *fan)
{
    struct volume *v = fan->volume;
    count_slots(v);
    member_lose_all(v, fan->failed, "a superblock", fan->error);
    v->change.running = false;
    bool again = v->change.again || v->in_sync != v->settled;
    v->change.again = false;
    if (v->closing)
        return;
    if (again)
        change_kick(v);
    if (change_settled(v))
        volume_recover(v);
}

void change_note(struct volume *v)
{
    v->change.running = true;
    fan_begin(&v->change.fan, v, noted);
    for (unsigned m = 0; m < v->geometry.members; m++)
        if (v->settled & member_bit(m))
            tell(v, &v->change.fan, m, &v->sb, v->change.slots + m * SUPERBLOCK_BYTES);
    if (v->witness && !v->change.told_witness)
        tell_witness(v, &v->sb);
    fan_end(&v->change.fan);
}

void change_witness(struct volume *v, struct witness *witness)
{
    struct witness *before = v->witness;
    v->witness = NULL; /* that one may still be asked something */
    if (before)
        before->free(before);
    v->witness = witness;
    v->witness_lost = v->witness_knows = false;
    v->change.told_witness = false;
    if (change_settled(v))
        change_note(v);
    else if (!v->change.running)
        change_kick(v);
}

/* ---- beginning ---- */

static void claimed(struct fan *fan)
{
    count_slots(fan->volume);
    fan->volume->change.running = false;
}

int change_claim(struct volume *v, const struct assembly *a, const struct assembly_seen *seen,
                 const struct assembly_witness *witness, struct err *err)
{
    v->change.running = true;
    fan_begin(&v->change.fan, v, claimed);
    for (unsigned m = 0; m < v->geometry.members; m++) {
        if (!((a->in_sync | voters(v)) & member_bit(m)))
            continue;
        struct superblock sb = seen[m].sb; /* a claim leaves what it knows of sets alone */
        sb.claimed = a->term;
        sb.epoch = a->truth.epoch;
        tell(v, &v->change.fan, m, &sb, v->change.slots + m * SUPERBLOCK_BYTES);
    }
    struct superblock told_before = witness->seen.verdict == SUPERBLOCK_OK ? witness->seen.sb : a->truth;
    told_before.claimed = a->term;
    told_before.epoch = a->truth.epoch;
    tell_witness(v, &told_before);
    fan_end(&v->change.fan);
    while (v->change.running)
        loop_step(v->loop);
    member_set have = v->change.fan.asked & ~v->change.fan.failed;
    if (!assembly_accepts(&a->truth, a->in_sync, have, v->change.told_witness))
        return err_set(err, EIO, "the volume could not be claimed: a member or the witness did not take a record");
    v->sb = a->truth;
    v->sb.claimed = a->term;
    v->sb.clean = false;
    return 0;
}
