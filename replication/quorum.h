/* Who must know of a change before it counts: the rule that keeps two owners, or one owner after a crash, from going
 * two ways.
 *
 * The members of the last recorded set vote, and so does the witness if the volume has one. With a witness, or a
 * replica with a quorum, a change counts when more than half of the votes have it: any two changes then share a voter,
 * and whoever asks so many that the rest is no majority sees the last one. Without either, the survivors alone decide,
 * and whoever wants to begin must see enough of the last set that those he does not see could not have gone on by
 * themselves. Pure; any thread. */
#ifndef REPLICATION_QUORUM_H
#define REPLICATION_QUORUM_H

#include "replication/geometry.h"

struct quorum {
    const struct geometry *geometry;
    unsigned least;   /* replica: how many members must have every write; 0: no rule */
    bool has_witness; /* by the members' own word */
};

/* May a set `next` take over from `last`, when the members of `have` (and the witness, if `witness`) know of it? */
bool quorum_accepts(const struct quorum *q, member_set last, member_set next, member_set have, bool witness);
/* Is it certain that nobody went on from `last` without one of `seen` (or the witness, if `witness`) knowing? */
bool quorum_proves(const struct quorum *q, member_set last, member_set seen, bool witness);
/* May writes be acknowledged with these members? */
bool quorum_serves(const struct quorum *q, member_set in_sync);

#endif
