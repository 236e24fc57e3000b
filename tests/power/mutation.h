/* Faults that a driver or server could have, worked into a history that holds: what the judge must find.
 *
 * A mutated history may be legal by chance (an early acknowledgement of a write whose value is on the disk by another's
 * sync), so one try proves nothing; of several at random places some must be found. Thread: any. */
#ifndef TESTS_POWER_MUTATION_H
#define TESTS_POWER_MUTATION_H

#include <stdbool.h>

#include "tests/power/judge.h"

struct dice;
struct history;

struct mutation {
    const char *fault;
    enum judge_rule rule; /* that is broken */
    /* At a random place; false: there is none. */
    bool (*apply)(struct history *history, struct dice *dice);
};

enum { MUTATION_COUNT = 10 };

extern const struct mutation mutations[MUTATION_COUNT];

#endif
