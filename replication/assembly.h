/* The decision with which a volume starts: superblocks seen, witness, policy -> who is in sync, what the others are,
 * and whether the volume may serve at all. A pure function: no clock, no I/O, nothing random.
 *
 * What it guarantees (tests/unit/test_assembly.c goes through all small histories)
 *   - a member that is fresh, foreign, damaged or older than the last set is never a source;
 *   - nobody serves who cannot know that no later set went on without him (quorum.h): "A lost, B goes on, B lost, A
 *     comes back" ends with a refusal that names what would help;
 *   - a member that was in the last set, but shows an older stamp than an owner left it with, was rolled back by
 *     somebody and is built anew;
 *   - owners may fall in the middle of a change, one after the other: every set from the last one that is known to
 *     have counted up to the newest is taken for one that may count, and has to be outvoted. */
#ifndef REPLICATION_ASSEMBLY_H
#define REPLICATION_ASSEMBLY_H

#include "replication/quorum.h"
#include "replication/superblock.h"

struct err;

/* What a place in the list of members turned out to be. */
enum member_role {
    ROLE_ABSENT,   /* not there */
    ROLE_FOREIGN,  /* no superblock, a damaged one, or another volume's or place's: never touched */
    ROLE_FRESH,    /* made to be a member, never was: to be filled */
    ROLE_STALE,    /* was one, but nobody knows what it misses: to be filled */
    ROLE_OUTDATED, /* was one, and what it misses is known */
    ROLE_IN_SYNC,
    ROLE_COUNT
};

struct assembly_seen {
    bool there; /* could be opened and read */
    enum superblock_verdict verdict;
    struct superblock sb; /* with SUPERBLOCK_OK */
};

/* The witness holds a superblock, too: that of the last set that it was told of, with index 0. */
struct assembly_witness {
    bool given; /* the owner was told of one */
    struct assembly_seen seen;
};

struct assembly_wish {
    enum layout layout;
    unsigned members;
    uint64_t epoch; /* the owner's; one that is older than a member has seen is refused. 0: none */
    bool force;     /* serve from the newest that is seen, without proof that there is nothing newer */
};

struct assembly {
    enum member_role roles[MEMBERS_MAX];
    member_set in_sync;
    struct superblock truth; /* the last set: stamp, in_sync, left, history; index means nothing here */
    uint64_t term;           /* for the owner to claim, before anything else */
};

/* Errors: -EINVAL (no member of the volume, a mix of volumes, another layout), -ENOTSUP (a version that is not ours),
 * -ESTALE (a later owner has been here), -ENOMEDIUM (too few members, or no proof); the text says what would help. */
int assembly_decide(const struct assembly_wish *wish, const struct assembly_seen *seen,
                    const struct assembly_witness *witness, struct assembly *out, struct err *err);

/* May an owner, whose volume stands at `sb`, go on to the set `next` when those of `have` and the witness know of it? A
 * claim goes on to the set that is. */
bool assembly_accepts(const struct superblock *sb, member_set next, member_set have, bool witness);

/* What a member that comes back to a running volume is. own: the volume's superblock, as written last. */
enum member_role assembly_returning(const struct superblock *own, unsigned index, const struct assembly_seen *seen);

const char *member_role_name(enum member_role role);

#endif
