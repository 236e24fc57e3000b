/* Small sets of numbers below BITS_MAX: networks, pools, CPU models, tags. Threads: any. */
#ifndef BALANCER_BITS_H
#define BALANCER_BITS_H

#include <stdbool.h>
#include <stdint.h>

enum { BITS_MAX = 256, BITS_WORDS = BITS_MAX / 64 };

struct bits {
    uint64_t word[BITS_WORDS];
};

static inline void bits_add(struct bits *set, int bit)
{
    set->word[bit / 64] |= UINT64_C(1) << bit % 64;
}

static inline bool bits_has(const struct bits *set, int bit)
{
    return set->word[bit / 64] >> bit % 64 & 1;
}

static inline bool bits_within(const struct bits *part, const struct bits *whole)
{
    uint64_t outside = 0;
    for (int i = 0; i < BITS_WORDS; i++)
        outside |= part->word[i] & ~whole->word[i];
    return !outside;
}

static inline int bits_shared(const struct bits *a, const struct bits *b)
{
    int count = 0;
    for (int i = 0; i < BITS_WORDS; i++)
        count += __builtin_popcountll(a->word[i] & b->word[i]);
    return count;
}

/* The first bit that is set, from this one on; -1: none is. */
static inline int bits_next(const struct bits *set, int bit)
{
    for (int i = bit / 64; i < BITS_WORDS; i++) {
        uint64_t left = set->word[i] & (i == bit / 64 ? ~UINT64_C(0) << bit % 64 : ~UINT64_C(0));
        if (left)
            return i * 64 + __builtin_ctzll(left);
    }
    return -1;
}

static inline int bits_count(const struct bits *set)
{
    return bits_shared(set, set);
}

static inline bool bits_equal(const struct bits *a, const struct bits *b)
{
    return bits_within(a, b) && bits_within(b, a);
}

#endif
