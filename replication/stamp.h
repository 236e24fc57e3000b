/* Which set of members a superblock or a witness speaks of. Pure.
 *
 * The term is claimed by an owner before his first change, and no two owners whose claims were accepted have the same
 * one; the generation counts changes and goes on from its predecessor's. So no two changes have one stamp, and of two
 * changes the one with the greater stamp was begun by someone who knew of the other if it ever counted. */
#ifndef REPLICATION_STAMP_H
#define REPLICATION_STAMP_H

#include <stdbool.h>
#include <stdint.h>

struct stamp {
    uint64_t term, generation;
};

/* < 0, 0, > 0: a is older, the same, newer. */
static inline int stamp_compare(struct stamp a, struct stamp b)
{
    if (a.term != b.term)
        return a.term < b.term ? -1 : 1;
    return a.generation < b.generation ? -1 : a.generation > b.generation;
}

/* A member that was never part of a set. */
static inline bool stamp_is_zero(struct stamp s)
{
    return !s.term && !s.generation;
}

#endif
