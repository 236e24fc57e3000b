/* Translates x86-64 guest code to x86-64 host code: the same instructions, with memory operands through the soft TLB.
 *
 * Generated code runs with the guest's registers in the host's registers of the same number, RSP too, and the
 * arithmetic flags in the host's; so it has no stack of its own, and the thread takes no signals in it. GS.base is
 * CPU_GS_BASE behind the start of struct dbt_cpu. It is entered and left through three pieces of code made at start
 * (thunks.c):
 *
 *     translator_enter()   C to a block; returns when a block leaves
 *     leave                a block gives up: its exit (struct exit_record) or the record of it says where the guest
 * goes on slow                 an instruction that needs the interpreter (struct site): done there, then the block goes
 * on
 *
 * Jumps within a page go to a block's entry with the flags in place; what comes through the jump cache or from C has
 * them parked in cpu->translator, since most blocks write them before they read them: `parked_entry`.
 *
 * rflags holds everything but the arithmetic flags while generated code runs; translator_enter() and the slow path
 * take them apart and put them together.
 *
 * Precision: registers and memory are exact at every fault. Arithmetic flags are, where anything could read them before
 * they are written again; where not, a fault's frame may hold others than the processor would have put there.
 *
 * Threads: the vCPU's own, but for new and free. */
#ifndef HV_DBT_TRANSLATOR_H
#define HV_DBT_TRANSLATOR_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/dbt/block.h"
#include "hv/dbt/code_budget.h"
#include "hv/dbt/cpu.h"
#include "hv/dbt/emit.h"
#include "hv/dbt/exec.h"
#include "hv/dbt/jump_cache.h"
#include "hv/dbt/record.h"

struct code_memory;
struct err;
struct translation;

/* Words of cpu->translator. */
enum translator_word {
    TRANSLATOR_HOST_RSP, /* of translator_enter()'s frame */
    TRANSLATOR_SELF,     /* the struct's own address */
    TRANSLATOR_JUMP,     /* an absolute address on its way */
    TRANSLATOR_RECORD,   /* offset in code memory of the exit_record or site that was taken; 0: C has left */
    TRANSLATOR_FLAGS,    /* the arithmetic flags as emit_flags_to_ax() has them, at a thunk */
    TRANSLATOR_PARKED,   /* the same, kept by a block round code that destroys them */
    TRANSLATOR_RAX,      /* spilled registers */
    TRANSLATOR_SCRATCH,  /* two of them */
    TRANSLATOR_VALUE = TRANSLATOR_SCRATCH + 2,
};

static inline unsigned translator_slot(enum translator_word word)
{
    return (unsigned)offsetof(struct dbt_cpu, translator) + 8 * (unsigned)word;
}

struct thunks { /* offsets in code memory */
    uint32_t enter, leave, slow;
    uint32_t slow_by[CPU_GPR_COUNT]; /* slow, with the record in this register instead of its word */
};

enum { TRANSLATOR_SLOW_BITS = 12, TRANSLATOR_SLOW = 1 << TRANSLATOR_SLOW_BITS };

/* What the interpreter does often for translated code, decoded. */
struct slow_insn {
    uint32_t record; /* its site; 0: none */
    struct site site;
    uint64_t rip;
    exec_fn *exec; /* NULL: its bytes are others by now */
    struct insn insn;
};

/* The way that the last block was left by, until the block at its other end is known. */
struct way {
    bool open;
    uint64_t dropped; /* it belongs to this generation of blocks */
    struct exit_record left;
};

struct translator {
    struct dbt_cpu *cpu;
    struct code_memory *code;
    struct code_budget budget;
    struct emit emit;
    struct thunks thunks;
    uint32_t start; /* behind the thunks */
    struct block_cache blocks;
    struct translation *translation; /* of the block that is being made */
    struct slow_insn slow[TRANSLATOR_SLOW];
    struct way way;               /* the engine's */
    bool alone;                   /* no block leads to another, and all flags count where one is left (lockstep.h) */
    uint64_t translated, dropped; /* instructions; times that everything was */
};

struct translator *translator_new(struct dbt_cpu *cpu, struct err *err);
void translator_free(struct translator *t); /* NULL is fine */

/* The block at linear, whose first byte is at host; made if it is not there. BLOCK_NONE: its first instruction goes on
 * in the next page. May drop every block there is. */
uint32_t translator_block(struct translator *t, uint64_t linear, const uint8_t *host);
void translator_drop_all(struct translator *t);

/* Runs blocks from the one at code on until one leaves; registers, flags and RIP are in cpu then. GS.base is cpu's.
 * True: it left through an exit, *left, that may become a direct way to the block at cpu->rip (translator_link). May
 * raise: cpu is as before the instruction at fault. */
bool translator_enter(struct translator *t, uint64_t code, struct exit_record *left);
void translator_link(struct translator *t, const struct exit_record *left, uint32_t block);
/* Where a block starts, as an address, for translator_enter() and the jump cache. */
uint64_t translator_code(const struct translator *t, uint32_t block);
/* What it occupies now. */
uint64_t translator_bytes(const struct translator *t);
/* GS.base of this thread = cpu's. */
void translator_use(struct dbt_cpu *cpu);

/* ---- inside ---- */

/* Called by the slow thunk: returns the address to go on at, or 0 to leave. May raise. */
uint64_t translator_slow(struct dbt_cpu *cpu);
/* Writes the thunks. */
void thunks_make(struct thunks *thunks, struct emit *emit);
/* Writes one block; code: the bytes from linear to the end of its page. BLOCK_NONE as translator_block(). */
uint32_t translate_block(struct translator *t, uint64_t linear, const uint8_t *host, const uint8_t *code,
                         unsigned available);
/* The arithmetic flags between RFLAGS and the form they have in TRANSLATOR_FLAGS. */
uint32_t translator_pack_flags(uint64_t rflags);
uint64_t translator_unpack_flags(uint32_t packed);

#endif
