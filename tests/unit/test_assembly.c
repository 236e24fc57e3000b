/* assembly.c and quorum.c against a model of the world: members and witness that come and go, owners that fall in the
 * middle of a change, writes that are acknowledged. After any history, whoever may serve must have every write that was
 * ever acknowledged on each member that it calls in sync. */
#include "tests/unit/fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/err.h"
#include "replication/assembly.h"

/* ---- the model ---- */

struct world {
    struct assembly_seen disks[MEMBERS_MAX]; /* what is on them; `there` comes and goes */
    uint64_t version[MEMBERS_MAX];           /* the last write that the disk has */
    uint64_t acked;
    struct assembly_witness witness;
    struct assembly_wish wish;
    uint64_t next;
    unsigned served, refused;
    bool fell;
};

/* An owner while it lives. */
struct owner {
    struct superblock sb;
    member_set in_sync; /* what it works with; sb.in_sync is what is recorded */
};

static unsigned roll(unsigned n)
{
    return (unsigned)rand() % n;
}

static void world_make(struct world *w, enum layout layout, unsigned members, unsigned quorum, bool witness)
{
    memset(w, 0, sizeof *w);
    w->wish = (struct assembly_wish){.layout = layout, .members = members};
    w->witness.given = witness;
    w->witness.seen.verdict = SUPERBLOCK_NONE;
    for (unsigned i = 0; i < members; i++) {
        struct superblock *sb = &w->disks[i].sb;
        w->disks[i].there = true;
        sb->geometry = (struct geometry){layout, members, 4096, 262144, 262144, 0};
        sb->index = i;
        sb->quorum = quorum;
        sb->has_witness = witness;
        sb->base = (struct stamp){0, 1};
        superblock_advance(sb, sb->base, geometry_all(&sb->geometry));
    }
}

static enum member_role role_here(const struct owner *o, unsigned i, const struct assembly_seen *seen)
{
    return o->in_sync >> i & 1 ? ROLE_IN_SYNC : assembly_returning(&o->sb, i, seen);
}

/* Tells members, and the witness, of a claim (no `next`) or of the next set; an owner may fall with any part of them
 * told. A claim leaves what they know of sets alone. */
static bool tell(struct world *w, const struct owner *o, const struct superblock *next, uint64_t claimed, member_set to)
{
    member_set told = 0;
    bool falls = roll(8) == 0, witness = false;
    for (unsigned i = 0; i < w->wish.members; i++) {
        enum member_role role = role_here(o, i, &w->disks[i]);
        bool votes = role == ROLE_OUTDATED && roll(2);
        if ((to >> i & 1 || votes) && w->disks[i].there && !(falls && roll(2))) {
            if (next)
                w->disks[i].sb = *next;
            w->disks[i].sb.index = i;
            w->disks[i].sb.claimed = claimed;
            told |= UINT32_C(1) << i;
        }
    }
    if (w->witness.given && w->witness.seen.there && !(falls && roll(2))) {
        if (next || w->witness.seen.verdict == SUPERBLOCK_NONE)
            w->witness.seen.sb = next ? *next : o->sb;
        w->witness.seen.verdict = SUPERBLOCK_OK;
        w->witness.seen.sb.claimed = claimed;
        witness = true;
    }
    w->fell = falls;
    return !falls && assembly_accepts(next ? next : &o->sb, to, told, witness);
}

/* Records the set in_sync. False: the owner has fallen, or it was not enough. */
static bool change(struct world *w, struct owner *o)
{
    struct superblock next = o->sb;
    superblock_advance(&next, (struct stamp){o->sb.claimed, next.stamp.generation + 1}, o->in_sync);
    bool counts = tell(w, o, &next, o->sb.claimed, o->in_sync);
    if (counts)
        next.base = next.stamp;
    o->sb = next;
    return counts;
}

static bool start(struct world *w, struct owner *o)
{
    struct assembly a;
    struct err err = {0};
    if (assembly_decide(&w->wish, w->disks, &w->witness, &a, &err)) {
        assert_true(err.text[0]);
        w->refused++;
        return false;
    }
    w->served++;
    for (unsigned i = 0; i < w->wish.members; i++)
        if (a.in_sync >> i & 1 && w->version[i] < w->acked)
            fail_msg("member %u is called in sync, but has write %llu of %llu", i, (unsigned long long)w->version[i],
                     (unsigned long long)w->acked);
    o->sb = a.truth;
    o->in_sync = a.in_sync;
    if (!tell(w, o, NULL, a.term, o->in_sync))
        return false;
    o->sb.claimed = a.term;
    return change(w, o);
}

/* Members come back and are filled; only the owner may call them in sync. */
static void heal(struct world *w, struct owner *o)
{
    for (unsigned i = 0; i < w->wish.members; i++) {
        if (o->in_sync >> i & 1 || !w->disks[i].there)
            continue;
        enum member_role role = assembly_returning(&o->sb, i, &w->disks[i]);
        if (role == ROLE_OUTDATED || role == ROLE_STALE || role == ROLE_FRESH) {
            w->version[i] = w->next;
            o->in_sync |= UINT32_C(1) << i;
        }
    }
}

static void live(struct world *w)
{
    struct owner o;
    if (!start(w, &o))
        return;
    for (unsigned steps = roll(12); steps; steps--) {
        unsigned i = roll(w->wish.members);
        switch (roll(6)) {
        case 0:
            w->disks[i].there = false;
            break;
        case 1:
            w->disks[i].there = true;
            break;
        case 2:
            if (o.in_sync != o.sb.in_sync || stamp_compare(o.sb.base, o.sb.stamp) != 0)
                break; /* a change takes away or adds: see volume_change.c */
            heal(w, &o);
            if (!change(w, &o) && w->fell)
                return;
            break;
        case 3:
            w->witness.seen.there = roll(4) != 0;
            break;
        default: { /* a write: to all that are there; acknowledged once the losses are on record */
            member_set have = 0;
            uint64_t version = ++w->next;
            for (unsigned m = 0; m < w->wish.members; m++)
                if (o.in_sync >> m & 1 && w->disks[m].there) {
                    w->version[m] = version;
                    have |= UINT32_C(1) << m;
                }
            bool possible = assembly_accepts(&o.sb, o.in_sync & have, o.in_sync & have, true);
            if (!possible) /* it waits, and nothing is acknowledged */
                break;
            o.in_sync = have;
            bool settled = o.in_sync == o.sb.in_sync && stamp_compare(o.sb.base, o.sb.stamp) == 0;
            if (!settled && !change(w, &o)) {
                if (w->fell)
                    return;
                break;
            }
            w->acked = version;
        }
        }
    }
}

static void shuffle(struct world *w)
{
    for (unsigned i = 0; i < w->wish.members; i++)
        w->disks[i].there = roll(4) != 0;
    w->witness.seen.there = w->witness.given && roll(4) != 0;
}

static unsigned seeds = 3000; /* of each shape; more: test_assembly SEEDS */

static void histories(enum layout layout, unsigned members, unsigned quorum, bool witness)
{
    unsigned served = 0, refused = 0;
    for (unsigned seed = 0; seed < seeds; seed++) {
        struct world w;
        srand(seed);
        world_make(&w, layout, members, quorum, witness);
        for (int lives = 0; lives < 12; lives++) {
            live(&w);
            shuffle(&w);
        }
        served += w.served;
        refused += w.refused;
        /* liveness: when everybody is there, the volume serves */
        for (unsigned i = 0; i < members; i++)
            w.disks[i].there = true;
        w.witness.seen.there = witness;
        struct assembly a;
        struct err err = {0};
        if (assembly_decide(&w.wish, w.disks, &w.witness, &a, &err))
            fail_msg("seed %u: everybody is there, and yet: %s", seed, err.text);
    }
    assert_true(served > seeds && refused > seeds / 10); /* both happen, or the test says nothing */
}

static void test_mirror(void **state)
{
    (void)state;
    histories(LAYOUT_RAID1, 2, 0, false);
    histories(LAYOUT_RAID1, 3, 0, false);
}

static void test_mirror_with_witness(void **state)
{
    (void)state;
    histories(LAYOUT_RAID1, 2, 0, true);
    histories(LAYOUT_REPLICA, 3, 0, true);
}

static void test_replica_with_quorum(void **state)
{
    (void)state;
    histories(LAYOUT_REPLICA, 3, 2, false);
    histories(LAYOUT_REPLICA, 5, 2, false);
    histories(LAYOUT_REPLICA, 4, 2, true);
}

static void test_parity_and_pairs(void **state)
{
    (void)state;
    histories(LAYOUT_RAID5, 4, 0, false);
    histories(LAYOUT_RAID6, 5, 0, true);
    histories(LAYOUT_RAID10, 4, 0, false);
    histories(LAYOUT_RAID10, 4, 0, true);
}

/* ---- by name ---- */

static void lose(struct world *w, member_set left)
{
    struct superblock next = {0};
    for (unsigned i = 0; i < w->wish.members; i++)
        if (left >> i & 1) {
            if (stamp_is_zero(next.stamp)) {
                next = w->disks[i].sb;
                superblock_advance(&next, (struct stamp){1, next.stamp.generation + 1}, left);
                next.base = next.stamp;
                next.claimed = 1;
            }
            w->disks[i].sb = next;
            w->disks[i].sb.index = i;
        }
}

static int decide(struct world *w, member_set there, struct assembly *a, struct err *err)
{
    for (unsigned i = 0; i < w->wish.members; i++)
        w->disks[i].there = there >> i & 1;
    return assembly_decide(&w->wish, w->disks, &w->witness, a, err);
}

/* Kill A, write on B, kill B, start A: A does not serve, and is told what would help (I7). */
static void test_the_other_one_went_on(void **state)
{
    struct world w;
    struct assembly a;
    struct err err = {0};
    (void)state;
    world_make(&w, LAYOUT_RAID1, 2, 0, false);
    lose(&w, 2);
    assert_int_equal(decide(&w, 1, &a, &err), -ENOMEDIUM);
    assert_non_null(strstr(err.text, "member 1"));
    assert_int_equal(decide(&w, 2, &a, &err), 0);
    assert_int_equal(decide(&w, 3, &a, &err), 0);
    assert_int_equal(a.in_sync, 2);
    assert_int_equal(a.roles[0], ROLE_OUTDATED);
    w.wish.force = true;
    assert_int_equal(decide(&w, 1, &a, &err), 0);
    assert_int_equal(a.in_sync, 1);
}

static void test_never_a_source(void **state)
{
    struct world w;
    struct assembly a;
    struct err err = {0};
    (void)state;
    world_make(&w, LAYOUT_RAID1, 2, 0, false);
    for (int i = 0; i < 2; i++) { /* fresh ones alone */
        w.disks[i].sb.stamp = (struct stamp){0, 0};
        w.disks[i].sb.in_sync = 0;
    }
    assert_int_equal(decide(&w, 3, &a, &err), -ENOMEDIUM);
    world_make(&w, LAYOUT_RAID1, 2, 0, false);
    struct superblock birth = w.disks[0].sb; /* a copy of the first day */
    for (int i = 0; i < 20; i++)
        lose(&w, 3);
    w.disks[0].sb = birth;
    assert_int_equal(decide(&w, 3, &a, &err), 0); /* in the last set, but rolled back */
    assert_int_equal(a.in_sync, 2);
    assert_int_equal(a.roles[0], ROLE_STALE);
    w.disks[0].verdict = SUPERBLOCK_NONE;
    assert_int_equal(decide(&w, 3, &a, &err), -ENOMEDIUM); /* who knows what that one was */
    lose(&w, 2);
    assert_int_equal(decide(&w, 3, &a, &err), 0);
    assert_int_equal(a.roles[0], ROLE_FOREIGN);
    w.disks[0].verdict = SUPERBLOCK_OK;
    w.disks[0].sb.volume[0] ^= 1;
    assert_int_equal(decide(&w, 3, &a, &err), -EINVAL);
}

static void test_refusals(void **state)
{
    struct world w;
    struct assembly a;
    struct err err = {0};
    (void)state;
    world_make(&w, LAYOUT_RAID1, 2, 0, true);
    w.witness.seen.there = true;
    w.wish.epoch = 5;
    assert_int_equal(decide(&w, 3, &a, &err), 0);
    assert_int_equal(a.truth.epoch, 5);
    assert_int_equal(a.term, 1);
    w.disks[1].sb.epoch = 6;
    w.witness.seen.sb = w.disks[0].sb;
    w.witness.seen.verdict = SUPERBLOCK_OK;
    w.witness.seen.sb.claimed = 8;
    assert_int_equal(decide(&w, 3, &a, &err), -ESTALE);
    w.wish.epoch = 0;
    assert_int_equal(decide(&w, 3, &a, &err), 0);
    assert_int_equal(a.truth.epoch, 6);
    assert_int_equal(a.term, 9);
    w.witness.given = false;
    assert_int_equal(decide(&w, 3, &a, &err), -EINVAL);
    w.witness.given = true;
    w.disks[1].sb.index = 0;
    assert_int_equal(decide(&w, 3, &a, &err), -EINVAL);
    assert_int_equal(decide(&w, 0, &a, &err), -EINVAL);
    world_make(&w, LAYOUT_RAID5, 4, 0, false);
    assert_int_equal(decide(&w, 7, &a, &err), 0); /* one alone could not have gone on */
    assert_int_equal(decide(&w, 3, &a, &err), -ENOMEDIUM);
    w.wish.layout = LAYOUT_RAID6;
    assert_int_equal(decide(&w, 15, &a, &err), -EINVAL);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        seeds = (unsigned)strtoul(argv[1], NULL, 10);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mirror),
        cmocka_unit_test(test_mirror_with_witness),
        cmocka_unit_test(test_replica_with_quorum),
        cmocka_unit_test(test_parity_and_pairs),
        cmocka_unit_test(test_the_other_one_went_on),
        cmocka_unit_test(test_never_a_source),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
