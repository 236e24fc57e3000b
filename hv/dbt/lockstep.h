/* Translated code against the interpreter, block by block, on a running guest: a test of the translator, and what the
 * engine "lockstep" runs (engine_lockstep.c).
 *
 * The interpreter executes the instructions of a block first, and every store is noted with what was there before. Then
 * registers and memory are put back, the block runs, alone (it leaves at its end, whatever comes next), and registers,
 * flags, the fault it ends with, and every noted place in memory have to be the same. What cannot be done twice
 * (devices, instructions of the system, a store to code) is done once, by the interpreter or the block, and counted.
 * What differs is tried again: a page table's A and D bits are set but once. A block is compared the first
 * LOCKSTEP_FIRST times it runs and every LOCKSTEP_EVERY-th time from then on.
 *
 * Nobody ever has a write tag (tlb.h) but for the pages that a block is to write, while it is compared. So the
 * interpreter's stores all come through mmu.c's slow path.
 *
 * For guests of one vCPU, none of whose devices writes memory: a disk that does could be seen by one and not by the
 * other. Threads: the vCPU's own, but for new and free. */
#ifndef HV_DBT_LOCKSTEP_H
#define HV_DBT_LOCKSTEP_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/dbt/block.h"
#include "hv/dbt/cpu.h"

struct translator;

enum {
    LOCKSTEP_FIRST = 512,
    LOCKSTEP_EVERY = 31,
    LOCKSTEP_STORES = 8192,
    LOCKSTEP_PAGES = 64,
    LOCKSTEP_STORE_BYTES = 16,
};

struct lockstep_store {
    uint8_t *host;
    uint8_t bytes, before[LOCKSTEP_STORE_BYTES], after[LOCKSTEP_STORE_BYTES];
};

struct lockstep {
    struct translator *translator;
    bool notes;  /* the interpreter's turn */
    bool grants; /* write tags are given now */
    bool once;   /* the interpreter did something that cannot be taken back */
    unsigned count, pages;
    struct lockstep_store store[LOCKSTEP_STORES];
    uint64_t page[LOCKSTEP_PAGES]; /* linear addresses that were written */
    uint64_t generation;           /* of the blocks that are counted here (translator.dropped) */
    uint32_t runs[BLOCK_MAX];      /* of each block */
    uint64_t made, compared, alone, passed, failed;
};

/* From here on the translator's blocks do not lead to each other, and the vCPU has no write tags. NULL: no memory. */
struct lockstep *lockstep_new(struct translator *translator);
void lockstep_free(struct lockstep *l); /* says in the log what was compared */

/* Executes the block at cpu->rip, both ways if it is due. If they differ the log says how, and the guest goes on as the
 * interpreter has it. May raise what the block raises. */
void lockstep_run(struct lockstep *l);

/* Called by the MMU: before a store, for a page that may get a write tag, and for what happens only once. */
void lockstep_note_store(struct lockstep *l, uint8_t *host, unsigned bytes);
void lockstep_note_page(struct lockstep *l, uint64_t linear);

#endif
