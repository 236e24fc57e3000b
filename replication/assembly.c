#include "replication/assembly.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "node/base/err.h"

const char *member_role_name(enum member_role role)
{
    static const char *const names[ROLE_COUNT] = {"absent", "foreign", "fresh", "stale", "outdated", "in-sync"};
    return (unsigned)role < ROLE_COUNT ? names[role] : "unknown";
}

static bool readable(const struct assembly_seen *seen)
{
    return seen->there && seen->verdict == SUPERBLOCK_OK;
}

static bool same_volume(const struct superblock *a, const struct superblock *b)
{
    const struct geometry *x = &a->geometry, *y = &b->geometry;
    return memcmp(a->volume, b->volume, UUID_BYTES) == 0 && x->layout == y->layout && x->members == y->members &&
           x->chunk_bytes == y->chunk_bytes && x->region_bytes == y->region_bytes && x->room_bytes == y->room_bytes &&
           (x->room_bytes || x->member_bytes == y->member_bytes) && a->journal_bytes == b->journal_bytes;
}

static int newest_of(const struct assembly_wish *wish, const struct assembly_seen *seen)
{
    int best = -1;
    for (unsigned i = 0; i < wish->members; i++)
        if (readable(&seen[i]) && seen[i].sb.index == i &&
            (best < 0 || stamp_compare(seen[i].sb.stamp, seen[best].sb.stamp) > 0))
            best = (int)i;
    return best;
}

/* The set as "0, 2 and 3", for people. */
static const char *list_members(member_set set, char *text, size_t size)
{
    size_t n = 0;
    text[0] = 0;
    while (set && n < size) {
        unsigned i = (unsigned)__builtin_ctz(set);
        set &= set - 1;
        n += (size_t)snprintf(text + n, size - n, "%s%u", !n ? "" : set ? ", " : " and ", i);
    }
    return text;
}

/* ---- one member ---- */

static bool in_history(const struct superblock *sb, struct stamp stamp, struct stamp oldest)
{
    if (stamp_compare(stamp, oldest) < 0)
        return false;
    for (unsigned i = 0; i < SUPERBLOCK_HISTORY; i++)
        if (!stamp_is_zero(sb->history[i].stamp) && stamp_compare(sb->history[i].stamp, stamp) == 0)
            return true;
    return false;
}

/* A change that counted reached all members of its set, so whoever is in the newest set has its stamp or one since the
 * last that counted. */
static bool current(const struct superblock *newest, struct stamp stamp)
{
    return in_history(newest, stamp, newest->base);
}

static enum member_role role_of(const struct superblock *newest, unsigned index, const struct assembly_seen *seen)
{
    if (!seen->there)
        return ROLE_ABSENT;
    if (!readable(seen) || seen->sb.index != index || !same_volume(&seen->sb, newest))
        return ROLE_FOREIGN;
    if (stamp_is_zero(seen->sb.stamp))
        return ROLE_FRESH;
    if (newest->in_sync >> index & 1)
        return current(newest, seen->sb.stamp) ? ROLE_IN_SYNC : ROLE_STALE;
    if (!stamp_is_zero(newest->left[index]) && in_history(newest, seen->sb.stamp, newest->left[index]))
        return ROLE_OUTDATED;
    return ROLE_STALE;
}

enum member_role assembly_returning(const struct superblock *own, unsigned index, const struct assembly_seen *seen)
{
    struct superblock without = *own;
    without.in_sync &= ~(UINT32_C(1) << index);
    return role_of(&without, index, seen);
}

/* ---- the whole ---- */

static int check_wish(const struct assembly_wish *wish, const struct superblock *sb, struct err *err)
{
    if (sb->geometry.layout != wish->layout || sb->geometry.members != wish->members)
        return err_set(err, EINVAL, "the members were made for %s over %u members, not for %s over %u",
                       layout_name(sb->geometry.layout), sb->geometry.members, layout_name(wish->layout),
                       wish->members);
    return 0;
}

static int check_seen(const struct assembly_wish *wish, const struct assembly_seen *seen, const struct superblock *sb,
                      struct err *err)
{
    for (unsigned i = 0; i < wish->members; i++) {
        if (seen[i].there && seen[i].verdict == SUPERBLOCK_FUTURE)
            return err_set(err, ENOTSUP, "member %u has a newer format than this program knows: use a newer one", i);
        if (!readable(&seen[i]))
            continue;
        if (seen[i].sb.index != i)
            return err_set(err, EINVAL, "member %u says that it is member %u: put it in its place", i,
                           seen[i].sb.index);
        if (sb && !same_volume(&seen[i].sb, sb))
            return err_set(err, EINVAL,
                           "member %u belongs to another volume than member %u (see drover-img member info)", i,
                           sb->index);
    }
    return 0;
}

/* The witness may know of a set that no member that is there was told of: the owner fell in the middle of a change, or
 * those who know are not here (then what is here does not make a set that may serve). */
static const struct superblock *newest_superblock(const struct assembly_wish *wish, const struct assembly_seen *seen,
                                                  const struct assembly_witness *witness)
{
    int best = newest_of(wish, seen);
    const struct superblock *newest = best < 0 ? NULL : &seen[best].sb;
    if (newest && !wish->force && readable(&witness->seen) && stamp_compare(witness->seen.sb.stamp, newest->stamp) > 0)
        newest = &witness->seen.sb;
    return newest;
}

static int check_witness(const struct assembly_witness *witness, const struct superblock *newest, struct err *err)
{
    if (witness->given != newest->has_witness)
        return err_set(err, EINVAL,
                       newest->has_witness ? "the volume has a witness: name it"
                                           : "the volume was made without a witness");
    if (witness->seen.there && witness->seen.verdict == SUPERBLOCK_DAMAGED)
        return err_set(err, EINVAL, "what should be the witness holds something else, or is damaged");
    if (readable(&witness->seen) && !same_volume(&witness->seen.sb, newest))
        return err_set(err, EINVAL, "the witness is another volume's");
    return 0;
}

/* Those whose word counts: they would know of a later set. One that was rolled back counts, too: what it knew is gone
 * whatever is decided. A fresh one does not. */
static member_set word_of(const struct assembly_wish *wish, const struct assembly_seen *seen)
{
    member_set set = 0;
    for (unsigned i = 0; i < wish->members; i++)
        if (readable(&seen[i]) && !stamp_is_zero(seen[i].sb.stamp))
            set |= UINT32_C(1) << i;
    return set;
}

static bool proven(const struct superblock *truth, member_set seen, bool witness)
{
    struct quorum q = {&truth->geometry, truth->quorum, truth->has_witness};
    for (unsigned i = 0; i < SUPERBLOCK_HISTORY; i++) {
        if (!quorum_proves(&q, truth->history[i].in_sync, seen, witness))
            return false;
        if (stamp_compare(truth->history[i].stamp, truth->base) == 0)
            return true;
    }
    return false;
}

bool assembly_accepts(const struct superblock *sb, member_set next, member_set have, bool witness)
{
    struct quorum q = {&sb->geometry, sb->quorum, sb->has_witness};
    for (unsigned i = 0; i < SUPERBLOCK_HISTORY; i++) {
        if (!quorum_accepts(&q, sb->history[i].in_sync, next, have, witness))
            return false;
        if (stamp_compare(sb->history[i].stamp, sb->base) == 0)
            return true;
    }
    return false;
}

static int check_proof(const struct assembly_wish *wish, const struct assembly_seen *seen,
                       const struct assembly_witness *witness, const struct assembly *a, struct err *err)
{
    const struct superblock *truth = &a->truth;
    struct quorum q = {&truth->geometry, truth->quorum, truth->has_witness};
    char text[96];
    list_members(truth->in_sync & ~a->in_sync, text, sizeof text);
    if (!quorum_serves(&q, a->in_sync))
        return err_set(err, ENOMEDIUM,
                       "too few members: %u of the last set are there and right, and member %s would help",
                       (unsigned)__builtin_popcount(a->in_sync), text);
    if (wish->force || proven(truth, word_of(wish, seen), readable(&witness->seen)))
        return 0;
    list_members((truth->in_sync | truth->history[1].in_sync) & ~word_of(wish, seen), text, sizeof text);
    return err_set(err, ENOMEDIUM,
                   "nothing proves that the volume did not go on without the members that are there: member %s%s would",
                   text, truth->has_witness && !readable(&witness->seen) ? " or the witness" : "");
}

static int check_epoch(const struct assembly_wish *wish, const struct assembly_seen *seen,
                       const struct assembly_witness *witness, struct assembly *a, struct err *err)
{
    uint64_t claimed = readable(&witness->seen) ? witness->seen.sb.claimed : 0, epoch = 0;
    for (unsigned i = 0; i < wish->members; i++) {
        if (!readable(&seen[i]))
            continue;
        claimed = seen[i].sb.claimed > claimed ? seen[i].sb.claimed : claimed;
        epoch = seen[i].sb.epoch > epoch ? seen[i].sb.epoch : epoch;
    }
    if (wish->epoch && wish->epoch < epoch)
        return err_set(err, ESTALE, "a later owner has been here: its epoch is %llu, ours is %llu",
                       (unsigned long long)epoch, (unsigned long long)wish->epoch);
    a->term = claimed + 1;
    a->truth.epoch = wish->epoch ? wish->epoch : epoch;
    return 0;
}

int assembly_decide(const struct assembly_wish *wish, const struct assembly_seen *seen,
                    const struct assembly_witness *witness, struct assembly *out, struct err *err)
{
    struct assembly a = {0};
    const struct superblock *newest = newest_superblock(wish, seen, witness);
    int rc = check_seen(wish, seen, newest, err);
    if (rc)
        return rc;
    if (!newest)
        return err_set(err, EINVAL, "none of the members is one (drover-img member create makes them)");
    if (stamp_is_zero(newest->stamp))
        return err_set(err, ENOMEDIUM, "all members that are there are fresh: none may be a source");
    a.truth = *newest;
    rc = check_wish(wish, newest, err);
    if (!rc)
        rc = check_witness(witness, newest, err);
    if (!rc)
        rc = check_epoch(wish, seen, witness, &a, err);
    for (unsigned i = 0; !rc && i < wish->members; i++) {
        a.roles[i] = role_of(&a.truth, i, &seen[i]);
        if (a.roles[i] == ROLE_IN_SYNC)
            a.in_sync |= UINT32_C(1) << i;
    }
    if (!rc)
        rc = check_proof(wish, seen, witness, &a, err);
    if (!rc)
        *out = a;
    return rc;
}
