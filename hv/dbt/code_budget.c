/* See code_budget.h. */
#include "hv/dbt/code_budget.h"

#include <string.h>

enum { MANY = 2, FEW = 8, WORD_BITS = 64 }; /* one in so many */
static const uint64_t golden = 0x9e3779b97f4a7c15ull;

void code_budget_init(struct code_budget *b, uint32_t first, uint32_t most)
{
    memset(b, 0, sizeof *b);
    b->bytes = b->first = first;
    b->most = most;
}

void code_budget_count(struct code_budget *b, uint64_t key)
{
    uint64_t hash = key * golden >> (WORD_BITS - CODE_BUDGET_BITS), bit = 1ull << hash % WORD_BITS;
    b->made++;
    b->again += (b->gone[hash / WORD_BITS] & bit) != 0;
    b->here[hash / WORD_BITS] |= bit;
}

void code_budget_spent(struct code_budget *b)
{
    if (b->again > b->made / MANY && b->bytes <= b->most / 2)
        b->bytes *= 2;
    else if (b->again < b->made / FEW && b->bytes / 2 >= b->first)
        b->bytes /= 2;
    b->made = b->again = 0;
    memcpy(b->gone, b->here, sizeof b->gone);
    memset(b->here, 0, sizeof b->here);
}
