/* See translation.h: instructions that go elsewhere, and all ways out of a block.
 *
 * Within the page, jumps go directly to other blocks once these exist (the dispatcher links them): as long as the one
 * runs, the other's code is where it was. To other pages they go through the jump cache, which follows the TLB. */
#include <string.h>

#include "hv/cpu_state.h"
#include "hv/dbt/jump_cache.h"
#include "hv/dbt/translation.h"
#include "hv/memory.h"

enum { RSP = CPU_RSP };

static unsigned jumps_slot(const struct translation *t)
{
    return (unsigned)(offsetof(struct dbt_cpu, jumps.entries) +
                      t->class * sizeof(((struct jump_cache *)NULL)->entries[0]));
}

/* ---- exits ---- */

uint32_t exit_write(struct translation *t, const struct exit_record *record)
{
    struct emit *e = t->emit;
    uint32_t start = e->at;
    emit_store32_constant(e, translator_slot(TRANSLATOR_RECORD), 0);
    uint32_t where = e->at - 4;
    emit_jump(e, t->translator->thunks.leave);
    emit_put_u32(e, where, e->at);
    record_write_exit(e, t->entry, t->linear, record);
    return start;
}

/* The entry of the block at target, in this page, if there is one. */
static bool find_entry(const struct translation *t, uint64_t target, uint32_t *entry)
{
    const struct block_cache *cache = &t->translator->blocks;
    if (t->translator->alone)
        return false;
    if (target == t->linear) {
        *entry = t->entry;
        return true;
    }
    uint32_t index = block_find(cache, target, t->host + (target - t->linear), t->class);
    if (index != BLOCK_NONE)
        *entry = cache->blocks[index].entry;
    return index != BLOCK_NONE;
}

/* The jump whose distance is at where goes to target, in this page. */
static void link_in_page(struct translation *t, uint32_t where, uint64_t target)
{
    uint32_t entry;
    if (find_entry(t, target, &entry))
        emit_link(t->emit, where, entry);
    else
        emit_link(t->emit, where, exit_write(t, &(struct exit_record){target, t->block, where, false}));
}

/* As an instruction compares: gs:[slot] with a constant of 64 bits. Jumps that are taken if they differ: to where[]. */
static unsigned compare_slot(struct translation *t, unsigned slot, uint64_t value, uint32_t where[2])
{
    struct emit *e = t->emit;
    if ((int64_t)value == (int32_t)value) {
        emit_alu_slot_constant(e, EMIT_CMP, 8, slot, (int32_t)value);
        where[0] = emit_jump_if(e, EMIT_NOT_EQUAL, e->at);
        return 1;
    }
    emit_alu_slot_constant(e, EMIT_CMP, 4, slot, (int32_t)value);
    where[0] = emit_jump_if(e, EMIT_NOT_EQUAL, e->at);
    emit_alu_slot_constant(e, EMIT_CMP, 4, slot + 4, (int32_t)(value >> 32));
    where[1] = emit_jump_if(e, EMIT_NOT_EQUAL, e->at);
    return 2;
}

void exit_direct(struct translation *t, uint64_t target)
{
    struct emit *e = t->emit;
    if (translation_in_page(t, target)) {
        flags_unpark(t, translation_flags_at(t, target));
        scratch_restore(t, &t->state);
        link_in_page(t, emit_jump(e, e->at), target);
        return;
    }
    uint32_t where[2];
    unsigned slot = jumps_slot(t) + jump_index(target) * (unsigned)sizeof(struct jump);
    flags_park(t, EFFECTS_ALL);
    scratch_restore(t, &t->state);
    unsigned misses = compare_slot(t, slot, target, where);
    emit_jump_slot(e, slot + (unsigned)offsetof(struct jump, code));
    for (unsigned n = 0; n < misses; n++)
        emit_link(e, where[n], e->at);
    exit_write(t, &(struct exit_record){target, t->block, 0, true});
}

/* The code of the address in scratch[0], put where leave_indirect() takes it from; the flags are parked. An address
 * that is not in the jump cache is the interpreter's, with the whole instruction: it may be one that nobody can go to.
 */
static void find_code(struct translation *t)
{
    struct emit *e = t->emit;
    unsigned target = t->state.scratch[0], entry = t->state.scratch[1], slot = jumps_slot(t);
    emit_move(e, entry, target);
    emit_shift(e, EMIT_SHR, entry, JUMP_BITS);
    emit_alu(e, EMIT_XOR, 8, entry, target);
    emit_alu_constant(e, EMIT_AND, entry, JUMP_ENTRIES - 1);
    emit_shift(e, EMIT_SHL, entry, JUMP_ENTRY_BITS);
    emit_alu_indexed(e, EMIT_CMP, target, entry, slot + (unsigned)offsetof(struct jump, linear));
    slow_path(t, emit_jump_if(e, EMIT_NOT_EQUAL, e->at));
    emit_load_indexed(e, entry, entry, slot + (unsigned)offsetof(struct jump, code));
    emit_store(e, translator_slot(TRANSLATOR_JUMP), entry);
}

static void leave_indirect(struct translation *t)
{
    scratch_restore(t, &t->state);
    emit_jump_slot(t->emit, translator_slot(TRANSLATOR_JUMP));
}

/* ---- instructions ---- */

static void jcc(struct translation *t)
{
    const struct translated_insn *i = &t->insns[t->now];
    flags_unpark(t, i->flags_live);
    struct cold *c = cold_add(t, COLD_EXIT, emit_jump_if(t->emit, i->insn.opcode & 0xf, t->emit->at));
    c->target = translation_next(t) + i->insn.immediate;
}

/* Checks the place below the stack pointer and stores the address of the next instruction there. */
static void push_return(struct translation *t)
{
    struct emit *e = t->emit;
    uint64_t next = translation_next(t);
    unsigned address = t->state.scratch[0], value = t->state.scratch[1];
    emit_lea(e, 8, address, RSP, EMIT_NO_REGISTER, 0, -8);
    access_check(t, EFFECTS_WRITE, 8);
    if ((int64_t)next == (int32_t)next) {
        emit_store_at_constant(e, address, (int32_t)next);
    } else {
        emit_constant(e, value, next);
        emit_store_at(e, 8, address, 0, value);
    }
    emit_lea(e, 8, RSP, RSP, EMIT_NO_REGISTER, 0, -8);
}

/* The target of JMP and CALL E into scratch[0]. */
static void take_target(struct translation *t)
{
    const struct insn *insn = &t->insns[t->now].insn;
    if (insn->memory) {
        access_operand(t);
        emit_load_at(t->emit, 8, t->state.scratch[0], t->state.scratch[0], 0);
    } else {
        emit_move(t->emit, t->state.scratch[0], insn->rm);
    }
}

static void jump(struct translation *t)
{
    const struct insn *insn = &t->insns[t->now].insn;
    if (insn->form == INSN_FORM_J) {
        exit_direct(t, translation_next(t) + insn->immediate);
        return;
    }
    scratch_take(t);
    flags_park(t, EFFECTS_ALL);
    take_target(t);
    find_code(t);
    leave_indirect(t);
}

static void call(struct translation *t)
{
    const struct insn *insn = &t->insns[t->now].insn;
    scratch_take(t);
    flags_park(t, EFFECTS_ALL);
    if (insn->form == INSN_FORM_J) {
        push_return(t);
        exit_direct(t, translation_next(t) + insn->immediate);
        return;
    }
    take_target(t);
    find_code(t);
    push_return(t);
    leave_indirect(t);
}

static void return_from(struct translation *t)
{
    const struct insn *insn = &t->insns[t->now].insn;
    struct emit *e = t->emit;
    scratch_take(t);
    flags_park(t, EFFECTS_ALL);
    unsigned target = t->state.scratch[0];
    if (t->popped < 0) {
        emit_move(e, target, RSP);
        access_check(t, EFFECTS_READ, 8);
    }
    emit_load_at(e, 8, target, target, t->popped < 0 ? 0 : t->popped);
    find_code(t);
    emit_lea(e, 8, RSP, RSP, EMIT_NO_REGISTER, 0, 8 + (int32_t)(insn->form == INSN_FORM_I ? insn->immediate : 0));
    leave_indirect(t);
}

void translate_flow(struct translation *t)
{
    switch (t->insns[t->now].effects.class) {
    case EFFECTS_JCC:
        jcc(t);
        break;
    case EFFECTS_JUMP:
        jump(t);
        break;
    case EFFECTS_CALL:
        call(t);
        break;
    default:
        return_from(t);
        break;
    }
}

/* ---- cold code ---- */

struct cold *cold_add(struct translation *t, enum cold_kind kind, uint32_t from)
{
    struct cold *c = &t->cold[t->cold_count++];
    *c = (struct cold){.kind = (uint8_t)kind, .state = t->state, .from = from};
    return c;
}

/* The register is free: what it held is put away, and the interpreter does the whole instruction. */
static void write_site(struct translation *t, const struct cold *c)
{
    struct emit *e = t->emit;
    const struct translated_insn *i = &t->insns[c->insn];
    struct site site = {
        .resume = c->resume,
        .offset = i->offset,
        .length = i->insn.length,
        .scratch = {c->state.scratch[0], c->state.scratch[1]},
        .parked = c->state.parked,
        .more = c->more,
    };
    unsigned reg = c->state.scratch[0];
    emit_link(e, c->from, e->at);
    if (reg == EMIT_NO_REGISTER)
        emit_store32_constant(e, translator_slot(TRANSLATOR_RECORD), 0);
    else
        emit_constant(e, reg, 0);
    uint32_t where = e->at - 4;
    emit_jump(e, reg == EMIT_NO_REGISTER ? t->translator->thunks.slow : t->translator->thunks.slow_by[reg]);
    emit_put_u32(e, where, e->at);
    record_write_site(e, t->entry, &site);
}

static bool same_site(const struct cold *a, const struct cold *b)
{
    return a->kind == COLD_SITE && b->kind == COLD_SITE && a->insn == b->insn && a->resume == b->resume &&
           a->more == b->more && memcmp(&a->state, &b->state, sizeof a->state) == 0;
}

/* A conditional jump that is taken: where nothing is to be brought back, it goes to the target itself. */
static void write_exit(struct translation *t, const struct cold *c)
{
    if (translation_in_page(t, c->target) && c->state.scratch[0] == EMIT_NO_REGISTER) {
        link_in_page(t, c->from, c->target);
        return;
    }
    emit_link(t->emit, c->from, t->emit->at);
    t->state = c->state;
    exit_direct(t, c->target);
}

void cold_write(struct translation *t)
{
    uint32_t site = 0; /* where the last one starts */
    for (unsigned n = 0; n < t->cold_count; n++) {
        const struct cold *c = &t->cold[n];
        if (n > 0 && same_site(c, c - 1)) {
            emit_link(t->emit, c->from, site);
            continue;
        }
        site = t->emit->at;
        if (c->kind == COLD_SITE)
            write_site(t, c);
        else
            write_exit(t, c);
    }
}
