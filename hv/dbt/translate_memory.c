/* See translation.h: scratch registers, parked flags, memory operands. */
#include "hv/cpu_state.h"
#include "hv/dbt/translation.h"
#include "hv/memory.h"

enum { RAX = CPU_RAX, RSP = CPU_RSP, ENTRY_BITS = 6, PAGE = MEMORY_PAGE_BYTES };

_Static_assert(sizeof(((struct tlb *)NULL)->entries[0]) == 1 << ENTRY_BITS, "generated code computes its offset");

/* ---- scratch registers ---- */

static void put_away(struct translation *t, unsigned n, uint8_t reg)
{
    t->state.scratch[n] = reg;
    emit_store(t->emit, translator_slot(TRANSLATOR_SCRATCH) + 8 * n, reg);
}

void scratch_take(struct translation *t)
{
    if (t->state.scratch[0] != EMIT_NO_REGISTER)
        return;
    if (t->paired) {
        put_away(t, 0, t->pair[0]);
        put_away(t, 1, t->pair[1]);
        return;
    }
    unsigned n = 0;
    for (uint8_t reg = RAX + 1; reg < CPU_GPR_COUNT && n < 2; reg++)
        if (reg != RSP && !(t->insns[t->now].effects.registers & 1u << reg))
            put_away(t, n++, reg);
}

void scratch_restore(struct translation *t, const struct place_state *state)
{
    for (unsigned n = 0; n < 2; n++)
        if (state->scratch[n] != EMIT_NO_REGISTER)
            emit_load(t->emit, state->scratch[n], translator_slot(TRANSLATOR_SCRATCH) + 8 * n);
}

void scratch_return(struct translation *t)
{
    if (t->paired)
        return;
    scratch_restore(t, &t->state);
    t->state.scratch[0] = t->state.scratch[1] = EMIT_NO_REGISTER;
}

/* ---- flags ---- */

void flags_park(struct translation *t, uint8_t needed)
{
    if (!needed || t->state.parked)
        return;
    bool free = t->state.scratch[0] == RAX || t->state.scratch[1] == RAX;
    if (!free)
        emit_store(t->emit, translator_slot(TRANSLATOR_RAX), RAX);
    emit_flags_to_ax(t->emit);
    emit_store32(t->emit, translator_slot(TRANSLATOR_PARKED), RAX);
    if (!free)
        emit_load(t->emit, RAX, translator_slot(TRANSLATOR_RAX));
    t->state.parked = true;
}

static void unpark(struct translation *t)
{
    bool free = t->state.scratch[1] == RAX;
    if (!free)
        emit_store(t->emit, translator_slot(TRANSLATOR_RAX), RAX);
    emit_load32(t->emit, RAX, translator_slot(TRANSLATOR_PARKED));
    emit_flags_from_ax(t->emit);
    if (!free)
        emit_load(t->emit, RAX, translator_slot(TRANSLATOR_RAX));
}

void flags_unpark(struct translation *t, uint8_t needed)
{
    if (t->state.parked && needed)
        unpark(t);
    t->state.parked = false;
}

void flags_enter(struct translation *t)
{
    t->state.scratch[0] = t->state.scratch[1] = EMIT_NO_REGISTER;
    unpark(t);
    emit_jump(t->emit, t->entry);
}

/* ---- memory ---- */

void access_address(struct translation *t)
{
    const struct insn *insn = &t->insns[t->now].insn;
    unsigned to = t->state.scratch[0];
    if (insn->rip_relative) {
        uint64_t address = translation_next(t) + (uint64_t)(int64_t)insn->displacement;
        emit_constant(t->emit, to, insn->address_bytes == 4 ? (uint32_t)address : address);
    } else {
        emit_lea(t->emit, insn->address_bytes, to, insn->base, insn->index, insn->scale, insn->displacement);
    }
    if (insn->segment == CPU_FS || insn->segment == CPU_GS)
        emit_alu_slot(t->emit, EMIT_ADD, to,
                      (unsigned)(offsetof(struct dbt_cpu, seg) + insn->segment * sizeof(struct cpu_segment)));
}

void access_check(struct translation *t, enum effects_access access, unsigned bytes)
{
    struct emit *e = t->emit;
    unsigned address = t->state.scratch[0], entry = t->state.scratch[1];
    unsigned entries = (unsigned)(offsetof(struct dbt_cpu, tlb.entries) + t->class * sizeof(struct tlb_entry));
    unsigned tag = access == EFFECTS_WRITE ? offsetof(struct tlb_entry, write) : offsetof(struct tlb_entry, read);
    emit_move(e, entry, address);
    emit_shift(e, EMIT_SHR, entry, MEMORY_PAGE_BITS - ENTRY_BITS);
    emit_alu_constant(e, EMIT_AND, entry, (TLB_ENTRIES - 1) << ENTRY_BITS);
    emit_alu_indexed(e, EMIT_XOR, address, entry, entries + tag);
    emit_alu_constant(e, EMIT_CMP, address, (int32_t)(PAGE - bytes));
    slow_path(t, emit_jump_if(e, EMIT_ABOVE, e->at));
    emit_alu_indexed(e, EMIT_ADD, address, entry, entries + (unsigned)offsetof(struct tlb_entry, host));
}

void access_operand(struct translation *t)
{
    const struct translated_insn *i = &t->insns[t->now];
    scratch_take(t);
    flags_park(t, i->flags_live);
    access_address(t);
    access_check(t, i->effects.access, i->effects.access_bytes);
    if (i->effects.alignment) {
        emit_test_byte(t->emit, t->state.scratch[0], i->effects.alignment);
        slow_path(t, emit_jump_if(t->emit, EMIT_NOT_EQUAL, t->emit->at));
    }
}

/* ---- slow paths ---- */

void slow_path(struct translation *t, uint32_t where)
{
    struct cold *c = cold_add(t, COLD_SITE, where);
    c->insn = t->now;
}

void slow_paths_resume(struct translation *t)
{
    for (unsigned n = t->cold_count; n-- > 0;) {
        struct cold *c = &t->cold[n];
        if (c->kind == COLD_SITE && c->insn != t->now)
            break;
        if (c->kind == COLD_SITE && !c->more) /* a group has said where */
            c->resume = t->emit->at;
    }
}
