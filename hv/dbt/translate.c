/* See translator.h: one block from decoding to its last byte. */
#include <string.h>

#include "hv/cpu_state.h"
#include "hv/dbt/translation.h"
#include "hv/memory.h"

enum { CODE_BYTES = 8, BRANCHES_INSIDE = 3, JUMP_BYTES = 5 };

/* The interpreter's list is for its own runs: what generated code reads from the struct every time may change inside
 * a block, and an instruction that did not get to its end leaves the block by itself. */
static bool interpreted_ends(const struct insn *insn)
{
    switch (insn->kind) {
    case INSN_MOVS ... INSN_OUTS:
    case INSN_MOV_TO_SEG:
    case INSN_POP_SEG:
    case INSN_SWAPGS:
    case INSN_WRFSBASE:
    case INSN_WRGSBASE:
        return false;
    default:
        return insn_ends_run(insn);
    }
}

static bool ends(const struct translated_insn *i, unsigned *branches)
{
    switch (i->effects.class) {
    case EFFECTS_JCC:
        return ++*branches > BRANCHES_INSIDE;
    case EFFECTS_JUMP:
    case EFFECTS_CALL:
    case EFFECTS_RETURN:
        return true;
    case EFFECTS_INTERPRET:
        return interpreted_ends(&i->insn);
    default:
        return false;
    }
}

static void decode(struct translation *t, unsigned available)
{
    unsigned at = 0, branches = 0;
    while (t->count < TRANSLATION_INSNS && at < available) {
        struct translated_insn *i = &t->insns[t->count];
        int length = insn_decode(&i->insn, t->code + at, available - at, CODE_BYTES);
        if (length <= 0)
            break;
        i->offset = (uint16_t)((t->linear & (MEMORY_PAGE_BYTES - 1)) + at);
        effects_of(&i->insn, t->class == TLB_KERNEL, &i->effects);
        /* their target register would be lost on the way */
        if ((i->effects.class == EFFECTS_CALL || i->effects.class == EFFECTS_JUMP) && i->insn.form == INSN_FORM_E &&
            !i->insn.memory && i->insn.rm == CPU_RSP)
            i->effects.class = EFFECTS_INTERPRET;
        if (i->effects.class >= EFFECTS_JCC && i->insn.form == INSN_FORM_J &&
            !record_reaches(t->linear, t->linear + at + (unsigned)length + i->insn.immediate))
            i->effects.class = EFFECTS_INTERPRET;
        t->count++;
        at += (unsigned)length;
        if (ends(i, &branches))
            break;
    }
}

/* Looks ahead a little. The page is watched: if these bytes change, the block that relies on them goes, too. */
uint8_t translation_flags_at(const struct translation *t, uint64_t linear)
{
    enum { AHEAD = 6 };
    uint8_t code[AHEAD * INSN_BYTES_MAX], needed = 0, set = 0;
    unsigned at = 0, available = MEMORY_PAGE_BYTES - (unsigned)(linear & (MEMORY_PAGE_BYTES - 1));
    if (!translation_in_page(t, linear) || t->translator->alone)
        return EFFECTS_ALL;
    available = available < sizeof code ? available : (unsigned)sizeof code;
    memcpy(code, t->host + (linear - t->linear), available);
    for (unsigned n = 0; n < AHEAD && (needed | set) != EFFECTS_ALL; n++) {
        struct insn insn;
        struct effects effects;
        int length = insn_decode(&insn, code + at, available - at, CODE_BYTES);
        if (length <= 0)
            break;
        at += (unsigned)length;
        effects_of(&insn, t->class == TLB_KERNEL, &effects);
        needed |= effects.flags_read & ~set;
        set |= effects.flags_set;
        if (effects.class >= EFFECTS_JCC || (effects.class == EFFECTS_INTERPRET && interpreted_ends(&insn)))
            break;
    }
    return (uint8_t)(needed | (EFFECTS_ALL & ~set));
}

/* Flags that the way out behind an instruction needs; a conditional jump has two ways. */
static uint8_t flags_behind(const struct translation *t, const struct translated_insn *i, uint8_t live)
{
    uint64_t next = (t->linear & ~0xfffull) + i->offset + i->insn.length;
    switch (i->effects.class) {
    case EFFECTS_JCC:
        return live | translation_flags_at(t, next + i->insn.immediate);
    case EFFECTS_JUMP:
        return i->insn.form == INSN_FORM_J ? translation_flags_at(t, next + i->insn.immediate) : EFFECTS_ALL;
    case EFFECTS_CALL:
    case EFFECTS_RETURN:
        return EFFECTS_ALL;
    default:
        return live;
    }
}

static void find_live_flags(struct translation *t)
{
    const struct translated_insn *last = &t->insns[t->count - 1];
    uint8_t live = translation_flags_at(t, (t->linear & ~0xfffull) + last->offset + last->insn.length);
    for (unsigned n = t->count; n-- > 0;) {
        struct translated_insn *i = &t->insns[n];
        live = flags_behind(t, i, live);
        i->flags_after = live;
        live = (uint8_t)((live & ~i->effects.flags_set) | i->effects.flags_read);
        i->flags_live = live;
    }
}

static void find_pair(struct translation *t)
{
    unsigned rax = 0;
    unsigned used = 1u << CPU_RSP | 1u << CPU_RAX, found = 0;
    for (unsigned n = 0; n < t->count; n++)
        if (t->insns[n].effects.class != EFFECTS_INTERPRET) {
            used |= t->insns[n].effects.registers;
            rax |= t->insns[n].effects.registers & 1u << CPU_RAX;
        }
    if (!rax) /* as the second: what moves flags has it to itself then */
        t->pair[1] = CPU_RAX;
    for (unsigned reg = 0; reg < CPU_GPR_COUNT && found < (rax ? 2 : 1); reg++)
        if (!(used & 1u << reg))
            t->pair[found++] = (uint8_t)reg;
    t->paired = found == (rax ? 2 : 1);
}

/* Somebody wants the vCPU: the block is left before its first instruction. Returns the distance of that jump; *in_ecx:
 * RCX is in TRANSLATOR_VALUE there. */
static uint32_t check_attention(struct translation *t, bool *in_ecx)
{
    struct emit *e = t->emit;
    unsigned slot = (unsigned)offsetof(struct dbt_cpu, attention);
    *in_ecx = t->insns[0].flags_live;
    if (!*in_ecx) {
        emit_alu_slot_constant(e, EMIT_CMP, 4, slot, 0);
        return emit_jump_if(e, EMIT_NOT_EQUAL, e->at);
    }
    emit_store(e, translator_slot(TRANSLATOR_VALUE), CPU_RCX);
    emit_load32(e, CPU_RCX, slot);
    emit_jump_if_ecx_zero(e, JUMP_BYTES);
    uint32_t where = emit_jump(e, e->at);
    emit_load(e, CPU_RCX, translator_slot(TRANSLATOR_VALUE));
    return where;
}

static void write_body(struct translation *t)
{
    for (t->now = 0; t->now < t->count; t->now++) {
        const struct translated_insn *i = &t->insns[t->now];
        if (i->effects.class >= EFFECTS_JCC) {
            translate_flow(t);
        } else {
            translate_plain(t);
            if (i->effects.class != EFFECTS_INTERPRET || !interpreted_ends(&i->insn))
                slow_paths_resume(t);
        }
    }
    t->now = t->count - 1;
    const struct translated_insn *last = &t->insns[t->now];
    bool gone = last->effects.class > EFFECTS_JCC ||
                (last->effects.class == EFFECTS_INTERPRET && interpreted_ends(&last->insn));
    if (!gone)
        exit_direct(t, translation_next(t));
}

uint32_t translate_block(struct translator *translator, uint64_t linear, const uint8_t *host, const uint8_t *code,
                         unsigned available)
{
    struct translation *t = translator->translation;
    struct emit *e = &translator->emit;
    t->translator = translator;
    t->emit = e;
    t->code = code;
    t->host = host;
    t->linear = linear;
    t->count = t->cold_count = 0;
    t->state.parked = false;
    t->popped = -1;
    t->class = translator->cpu->cpl == 3 ? TLB_USER : TLB_KERNEL;
    t->block = translator->blocks.count + 1;
    t->state.scratch[0] = t->state.scratch[1] = EMIT_NO_REGISTER;
    decode(t, available);
    if (!t->count)
        return BLOCK_NONE;
    find_live_flags(t);
    find_pair(t);

    bool in_ecx;
    emit_u32(e, t->block); /* for its records */
    t->entry = e->at;
    emit_nop5(e);
    uint32_t attention = check_attention(t, &in_ecx);
    write_body(t);
    cold_write(t);
    emit_link(e, attention, e->at);
    if (in_ecx)
        emit_load(e, CPU_RCX, translator_slot(TRANSLATOR_VALUE));
    struct block block = {.linear = linear, .host = host, .entry = t->entry, .parked_entry = t->entry};
    block.class = (uint8_t)t->class;
    block.insns = (uint8_t)t->count;
    block.exit = exit_write(t, &(struct exit_record){linear, t->block, t->entry + 1, false});
    if (t->insns[0].flags_live) {
        block.parked_entry = e->at;
        flags_enter(t);
    }
    translator->translated += t->count;
    return block_add(&translator->blocks, &block);
}
