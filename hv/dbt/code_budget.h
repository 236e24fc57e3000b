/* How much memory translated code may take before all of it is dropped and made anew.
 *
 * A guest that boots runs most code once: what is dropped is not missed, and little memory does. One that goes round
 * more code than there is room for makes the same blocks again and again, and gets more. Which of the two it is shows
 * in the blocks themselves: of those that were made since the last time, how many had been there before.
 *
 *     more than half of them    twice the memory, up to `most`
 *     less than one in eight    half of it, down to `first`
 *
 * Blocks are remembered as bits of a hash: now and then one counts that was not there.
 *
 * Threads: the vCPU's own. */
#ifndef HV_DBT_CODE_BUDGET_H
#define HV_DBT_CODE_BUDGET_H

#include <stdint.h>

enum { CODE_BUDGET_BITS = 17, CODE_BUDGET_WORDS = (1 << CODE_BUDGET_BITS) / 64 };

struct code_budget {
    uint32_t bytes; /* what it is now */
    uint32_t first, most;
    uint32_t made, again;                                      /* blocks since the last drop */
    uint64_t here[CODE_BUDGET_WORDS], gone[CODE_BUDGET_WORDS]; /* made since then; there before it */
};

void code_budget_init(struct code_budget *budget, uint32_t first, uint32_t most);
/* A block is made. key: what tells it from others. */
void code_budget_count(struct code_budget *budget, uint64_t key);
/* The memory is used up, and everything in it is dropped: sets bytes anew. */
void code_budget_spent(struct code_budget *budget);

#endif
