/* One block while it is being translated: what translate*.c share.
 *
 * Guest registers that code needs as scratch are kept in cpu->translator meanwhile. Best are two registers that no
 * instruction of the block names: they are put away once, when first needed, and brought back where the block is left.
 * Else every instruction takes two that it does not name itself, and brings them back at once.
 *
 * Arithmetic flags that are needed later are "parked" in front of code that destroys them, and brought back in front of
 * the next instruction that has to do with flags, or where the block is left.
 *
 * PUSH or POP several times in a row, and a RET behind POP, are checked as one access where a pair is put away. What
 * cannot be done so, the interpreter does one by one.
 *
 * What is rare lies behind the block: slow paths and exits ("cold"), each with the state the block was in. */
#ifndef HV_DBT_TRANSLATION_H
#define HV_DBT_TRANSLATION_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/dbt/decode.h"
#include "hv/dbt/effects.h"
#include "hv/dbt/emit.h"
#include "hv/dbt/translator.h"

enum { TRANSLATION_INSNS = 64, TRANSLATION_COLD = 4 * TRANSLATION_INSNS, TRANSLATION_BYTES = 48 << 10 };

struct place_state {
    uint8_t scratch[2]; /* which guest registers are put away, or EMIT_NO_REGISTER */
    bool parked;
};

enum cold_kind { COLD_SITE, COLD_EXIT };

struct cold {
    uint8_t kind;
    struct place_state state;
    uint32_t from; /* the distance of the jump that leads here */
    /* COLD_SITE */
    unsigned insn;
    uint32_t resume; /* set when it is known */
    uint8_t more;    /* instructions that share the check */
    /* COLD_EXIT */
    uint64_t target;
};

struct translated_insn {
    struct insn insn;
    struct effects effects;
    uint16_t offset;     /* in the page */
    uint8_t flags_live;  /* before it: what it or a later one reads */
    uint8_t flags_after; /* behind it */
};

struct translation {
    struct translator *translator;
    struct emit *emit;
    const uint8_t *code; /* a copy of the page from the first instruction on */
    const uint8_t *host; /* and where it comes from */
    uint64_t linear;     /* of the first instruction */
    enum tlb_class class;
    unsigned count;
    struct translated_insn insns[TRANSLATION_INSNS];
    unsigned now; /* the instruction that is being translated */
    uint8_t pair[2];
    bool paired; /* pair[] is named by no instruction: stays put away */
    struct place_state state;
    unsigned cold_count;
    struct cold cold[TRANSLATION_COLD];
    uint32_t block; /* the index it will have */
    int32_t popped; /* scratch[0] + this is where RSP points to, in host memory; or -1 */
    uint32_t entry;
};

static inline uint64_t translation_next(const struct translation *t) /* address of the next instruction */
{
    const struct translated_insn *i = &t->insns[t->now];
    return (t->linear & ~0xfffull) + i->offset + i->insn.length;
}

static inline const uint8_t *translation_bytes(const struct translation *t) /* of the instruction */
{
    return t->code + (t->insns[t->now].offset - (t->linear & 0xfff));
}

static inline bool translation_in_page(const struct translation *t, uint64_t linear)
{
    return linear >> 12 == t->linear >> 12;
}

/* ---- translate.c ---- */
/* What of the flags the code at linear reads before it writes them; all of them, unless it is in this page. */
uint8_t translation_flags_at(const struct translation *t, uint64_t linear);

/* ---- translate_memory.c ---- */

/* Two registers to use; taken back by scratch_return() at the end of the instruction. */
void scratch_take(struct translation *t);
void scratch_return(struct translation *t);
/* Code that brings back what state has put away. */
void scratch_restore(struct translation *t, const struct place_state *state);

/* Flags that are needed from now on (needed) survive code that destroys them / are in the host's flags again. If
 * scratch registers are taken, nothing may be in them when flags are parked, nor in scratch[1] when they are unparked.
 */
void flags_park(struct translation *t, uint8_t needed);
void flags_unpark(struct translation *t, uint8_t needed);
/* Code that brings parked flags back and goes on at the block's entry. */
void flags_enter(struct translation *t);

/* scratch[0] = the address of the memory operand, linear. */
void access_address(struct translation *t);
/* scratch[0] = where the linear address in scratch[0] lies in host memory; both scratch registers and the flags are
 * lost. What cannot be done this way goes to the interpreter as a whole instruction. */
void access_check(struct translation *t, enum effects_access access, unsigned bytes);
/* The memory operand of an instruction: flags parked as far as they are needed, scratch taken, address, check. */
void access_operand(struct translation *t);

/* The jump whose distance is at `where` goes to a slow path: the interpreter does the instruction, and the block
 * goes on behind it. */
void slow_path(struct translation *t, uint32_t where);
/* Behind the instruction: here its slow paths come back. */
void slow_paths_resume(struct translation *t);

/* ---- translate_insn.c ---- */
void translate_plain(struct translation *t);     /* all classes that do not end a block */
void translate_interpret(struct translation *t); /* by the interpreter */

/* ---- translate_flow.c ---- */
void translate_flow(struct translation *t);
/* On to target, with scratch registers and flags brought back. */
void exit_direct(struct translation *t, uint64_t target);
struct cold *cold_add(struct translation *t, enum cold_kind kind, uint32_t from);
void cold_write(struct translation *t);
/* The record of an exit, with the code that leaves through it. Returns where it starts. */
uint32_t exit_write(struct translation *t, const struct exit_record *record);

#endif
