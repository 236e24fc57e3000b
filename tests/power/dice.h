/* Random numbers that a seed repeats (splitmix64). Thread: one owner per dice. */
#ifndef TESTS_POWER_DICE_H
#define TESTS_POWER_DICE_H

#include <stdbool.h>
#include <stdint.h>

struct dice {
    uint64_t state;
};

static inline uint64_t dice_u64(struct dice *dice)
{
    uint64_t z = dice->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* 0 to sides - 1. */
static inline uint32_t dice_roll(struct dice *dice, uint32_t sides)
{
    return (uint32_t)((dice_u64(dice) >> 32) * sides >> 32);
}

static inline bool dice_percent(struct dice *dice, uint32_t percent)
{
    return dice_roll(dice, 100) < percent;
}

#endif
