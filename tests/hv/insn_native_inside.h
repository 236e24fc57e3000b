/* What insn_native.c and the program that it starts, insn_native_child.c, share: a file with the cases and their
 * outcomes, and orders through two pipes. Thread: one owner in each process. */
#ifndef TESTS_HV_INSN_NATIVE_INSIDE_H
#define TESTS_HV_INSN_NATIVE_INSIDE_H

#include <stddef.h>

#include "tests/hv/insn_native.h"

enum insn_native_fd { INSN_NATIVE_SHARED = 3, INSN_NATIVE_ORDERS, INSN_NATIVE_REPLIES };

struct insn_shared { /* the first page; then cases, then outcomes */
    _Atomic unsigned progress;
    _Atomic unsigned modes; /* bits: the bytes of code that this machine executes, 8, 4 and 2 */
    unsigned batches;
};

struct insn_order {
    uint32_t batch, count;
};

static inline size_t insn_shared_bytes(unsigned batches)
{
    return INSN_PAGE + (sizeof(struct insn_case) + sizeof(struct insn_outcome)) * INSN_BATCH * batches;
}

static inline struct insn_case *insn_shared_cases(struct insn_shared *shared, unsigned batch)
{
    uint8_t *at = (uint8_t *)shared + INSN_PAGE;
    return (struct insn_case *)(void *)at + (size_t)batch * INSN_BATCH;
}

static inline struct insn_outcome *insn_shared_outcomes(struct insn_shared *shared, unsigned batch)
{
    struct insn_case *end = insn_shared_cases(shared, shared->batches);
    return (struct insn_outcome *)(void *)end + (size_t)batch * INSN_BATCH;
}

#endif
