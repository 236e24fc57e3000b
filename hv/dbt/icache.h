/* Decoded instructions, kept by the physical place of their code: runs of them, up to where control may go elsewhere.
 *
 * A run starts at one address of host memory (which is one physical address) in one code size, stays in its page, and
 * is found by these two. An instruction that crosses a page is not kept. The page is watched (hv/memory.h) from before
 * it is read, and nobody has a write tag for it, so whoever writes it says so; the vCPU then drops the page's runs
 * before its next instruction. Memory comes from one block with a fixed size: when it is full everything is dropped.
 *
 * Threads: the vCPU's own. */
#ifndef HV_DBT_ICACHE_H
#define HV_DBT_ICACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/dbt/exec.h"

struct icache_op {
    exec_fn *exec;
    struct insn insn;
};

struct icache_run {
    const uint8_t *host; /* of the first instruction; NULL: dropped */
    struct icache_run *next_hash, *next_page;
    struct icache_run *after[2]; /* what was executed after it: behind its last instruction, and elsewhere */
    uint16_t code_bytes;
    uint16_t straight; /* how many go on at the next one */
    uint16_t bytes;
    bool ends; /* one more that sets rip itself */
    struct icache_op ops[];
};

enum { ICACHE_HASH_BITS = 15, ICACHE_HASH = 1 << ICACHE_HASH_BITS };

struct icache {
    struct icache_run *runs[ICACHE_HASH];
    struct icache_page *pages[ICACHE_HASH];
    struct icache_run *last; /* what was executed last */
    uint8_t *arena;
    size_t used;
};

struct icache *icache_new(void); /* NULL: no memory */
void icache_free(struct icache *icache);
size_t icache_bytes(const struct icache *icache);

static inline unsigned icache_hash(const uint8_t *host)
{
    uintptr_t at = (uintptr_t)host;
    return (unsigned)(at ^ at >> ICACHE_HASH_BITS) & (ICACHE_HASH - 1);
}

static inline struct icache_run *icache_find(const struct icache *icache, const uint8_t *host, unsigned code_bytes)
{
    struct icache_run *run = icache->runs[icache_hash(host)];
    while (run && (run->host != host || run->code_bytes != code_bytes))
        run = run->next_hash;
    return run;
}

/* The same, with a look at what came after the last one before. */
static inline struct icache_run *icache_follow(struct icache *icache, const uint8_t *host, unsigned code_bytes)
{
    struct icache_run *last = icache->last, *run;
    if (!last)
        return icache_find(icache, host, code_bytes);
    struct icache_run **after = &last->after[last->host + last->bytes != host];
    run = *after;
    if (!run || run->host != host || run->code_bytes != code_bytes)
        run = *after = icache_find(icache, host, code_bytes);
    return run;
}

/* Decodes a run at host, which is inside a slot of memory; NULL if its first instruction crosses the page. */
struct icache_run *icache_build(struct dbt_cpu *cpu, const uint8_t *host);
void icache_drop_page(struct icache *icache, const uint8_t *page);
void icache_drop_all(struct icache *icache);

#endif
