#include "replication/quorum.h"

static bool majority_rules(const struct quorum *q)
{
    return q->has_witness || q->least;
}

bool quorum_serves(const struct quorum *q, member_set in_sync)
{
    return geometry_can_serve(q->geometry, in_sync) && (unsigned)__builtin_popcount(in_sync) >= q->least;
}

static bool enough_votes(const struct quorum *q, member_set last, member_set have, bool witness)
{
    unsigned voters = (unsigned)__builtin_popcount(last) + q->has_witness;
    unsigned votes = (unsigned)__builtin_popcount(last & have) + (q->has_witness && witness);
    return !majority_rules(q) || votes * 2 > voters;
}

bool quorum_accepts(const struct quorum *q, member_set last, member_set next, member_set have, bool witness)
{
    /* those of `last` that know must be able to go on by themselves: else quorum_proves() would not miss them */
    return quorum_serves(q, next) && !(next & ~have) && enough_votes(q, last, have, witness) &&
           geometry_can_serve(q->geometry, last & have);
}

bool quorum_proves(const struct quorum *q, member_set last, member_set seen, bool witness)
{
    member_set unseen = last & ~seen;
    return !quorum_serves(q, unseen) || !enough_votes(q, last, unseen, !witness);
}
