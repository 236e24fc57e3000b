/* See translation.h: instructions that go on to the next one. */
#include "hv/cpu_state.h"
#include "hv/dbt/translation.h"

enum { RAX = CPU_RAX, RDX = CPU_RDX, RSP = CPU_RSP, RBP = CPU_RBP };
enum { EVENT_FLAGS_BYTE = 1, IF_IN_BYTE = CPU_IF >> 8, STACK_GROUP = 16 };

static void copy_registers(struct translation *t)
{
    const struct translated_insn *i = &t->insns[t->now];
    const struct insn *insn = &i->insn;
    if (i->effects.flags_touched)
        flags_unpark(t, i->flags_live);
    if (insn->kind == INSN_LEA && insn->rip_relative) {
        uint64_t address = translation_next(t) + (uint64_t)(int64_t)insn->displacement;
        if (insn->bytes == 2) { /* keeps the rest of the register */
            translate_interpret(t);
            return;
        }
        bool narrow = insn->bytes == 4 || insn->address_bytes == 4;
        emit_constant(t->emit, insn->reg, narrow ? (uint32_t)address : address);
        return;
    }
    emit_bytes(t->emit, translation_bytes(t), insn->length);
}

static void copy_memory(struct translation *t)
{
    const struct translated_insn *i = &t->insns[t->now];
    const uint8_t *code = translation_bytes(t);
    scratch_take(t);
    if (!emit_guest_takes(&i->insn, code, t->state.scratch[0])) {
        scratch_return(t);
        translate_interpret(t);
        return;
    }
    access_operand(t);
    if (i->effects.flags_touched)
        flags_unpark(t, i->flags_live);
    emit_guest_at(t->emit, &i->insn, code, t->state.scratch[0]);
    scratch_return(t);
}

/* How many instructions from this one on do the same to the stack with a register, so that one check does for all. */
static unsigned count_alike(const struct translation *t)
{
    const struct translated_insn *first = &t->insns[t->now];
    unsigned n = 0;
    while (t->now + n < t->count && n < STACK_GROUP) {
        const struct translated_insn *i = &first[n];
        if (i->effects.class != first->effects.class || i->insn.form == INSN_FORM_I || i->insn.rm == RSP)
            break;
        n++;
    }
    return n > 1 && t->paired ? n : 1;
}

/* Behind a group of n: where it could not be done at once the interpreter has done `more` beside the first. */
static void end_group(struct translation *t, unsigned n, unsigned more, bool resumes)
{
    struct cold *c = &t->cold[t->cold_count - 1];
    if (more) {
        c->more = (uint8_t)more;
        c->resume = resumes ? t->emit->at : 0;
    }
    t->now += n - 1;
}

static void push(struct translation *t)
{
    const struct translated_insn *i = &t->insns[t->now];
    struct emit *e = t->emit;
    unsigned n = count_alike(t);
    scratch_take(t);
    flags_park(t, i->flags_live);
    emit_lea(e, 8, t->state.scratch[0], RSP, EMIT_NO_REGISTER, 0, -8 * (int32_t)n);
    access_check(t, EFFECTS_WRITE, 8 * n);
    if (i->insn.form == INSN_FORM_I)
        emit_store_at_constant(e, t->state.scratch[0], (int32_t)i->insn.immediate);
    for (unsigned k = 0; k < n && i->insn.form != INSN_FORM_I; k++)
        emit_store_at(e, 8, t->state.scratch[0], 8 * (int32_t)(n - 1 - k), i[k].insn.rm);
    emit_lea(e, 8, RSP, RSP, EMIT_NO_REGISTER, 0, -8 * (int32_t)n);
    scratch_return(t);
    end_group(t, n, n - 1, true);
}

/* A RET behind it finds its place checked: then whatever goes the slow way goes it to the end. */
static void pop(struct translation *t)
{
    const struct translated_insn *i = &t->insns[t->now];
    struct emit *e = t->emit;
    unsigned n = count_alike(t);
    bool returns = t->paired && t->now + n < t->count && i[n].effects.class == EFFECTS_RETURN;
    scratch_take(t);
    flags_park(t, i->flags_live);
    emit_move(e, t->state.scratch[0], RSP);
    access_check(t, EFFECTS_READ, 8 * (n + returns));
    for (unsigned k = 0; k < n; k++)
        emit_load_at(e, 8, i[k].insn.rm, t->state.scratch[0], 8 * (int32_t)k);
    emit_lea(e, 8, RSP, RSP, EMIT_NO_REGISTER, 0, 8 * (int32_t)n);
    scratch_return(t);
    if (returns)
        t->popped = 8 * (int32_t)n;
    end_group(t, n, n - 1 + returns, !returns);
}

static void leave(struct translation *t)
{
    struct emit *e = t->emit;
    scratch_take(t);
    flags_park(t, t->insns[t->now].flags_live);
    emit_move(e, t->state.scratch[0], RBP);
    access_check(t, EFFECTS_READ, 8);
    emit_lea(e, 8, RSP, RBP, EMIT_NO_REGISTER, 0, 8);
    emit_load_at(e, 8, RBP, t->state.scratch[0], 0);
    scratch_return(t);
}

/* The host must not divide by zero or overflow: what could goes the slow way. Signed: only dividends that are the
 * sign extension of their low half, divided by neither 0 nor -1, which no compiler's code exceeds. */
static void divide(struct translation *t)
{
    const struct translated_insn *i = &t->insns[t->now];
    struct emit *e = t->emit;
    unsigned bytes = i->insn.bytes;
    if (bytes < 4) {
        translate_interpret(t);
        return;
    }
    scratch_take(t);
    flags_park(t, i->flags_live);
    unsigned spare = t->state.scratch[0], divisor = i->insn.rm;
    if (i->insn.memory) {
        access_operand(t);
        divisor = t->state.scratch[1];
        emit_load_at(e, bytes, divisor, spare, 0);
    }
    if (i->insn.kind == INSN_IDIV) {
        emit_move(e, spare, RAX);
        emit_arithmetic_shift(e, bytes, spare, bytes * 8 - 1);
        emit_alu(e, EMIT_CMP, bytes, spare, RDX);
        slow_path(t, emit_jump_if(e, EMIT_NOT_EQUAL, e->at));
        emit_lea(e, bytes, spare, divisor, EMIT_NO_REGISTER, 0, 1);
        emit_alu_constant(e, EMIT_CMP, spare, 1);
        slow_path(t, emit_jump_if(e, EMIT_BELOW_OR_EQUAL, e->at));
    } else {
        emit_alu(e, EMIT_CMP, bytes, RDX, divisor);
        slow_path(t, emit_jump_if(e, EMIT_ABOVE_OR_EQUAL, e->at));
    }
    flags_unpark(t, i->flags_live);
    emit_divide(e, bytes, i->insn.kind == INSN_IDIV, divisor);
    scratch_return(t);
}

/* The host's PUSHFQ, on the stack of translator_enter(), gives the arithmetic flags; cpu->rflags has the others. */
static void pushf(struct translation *t)
{
    const struct translated_insn *i = &t->insns[t->now];
    struct emit *e = t->emit;
    scratch_take(t);
    flags_park(t, i->flags_live);
    unsigned address = t->state.scratch[0], value = t->state.scratch[1];
    emit_lea(e, 8, address, RSP, EMIT_NO_REGISTER, 0, -8);
    access_check(t, EFFECTS_WRITE, 8);
    flags_unpark(t, EFFECTS_ALL);
    emit_store(e, translator_slot(TRANSLATOR_VALUE), RSP);
    emit_load(e, RSP, translator_slot(TRANSLATOR_HOST_RSP));
    emit_push_flags_pop(e, value);
    emit_load(e, RSP, translator_slot(TRANSLATOR_VALUE));
    t->state.parked = i->flags_after != 0; /* they are there already, but for those that nobody needs */
    emit_alu_constant(e, EMIT_AND, value, CPU_ARITHMETIC);
    emit_alu_slot(e, EMIT_OR, value, (unsigned)offsetof(struct dbt_cpu, rflags));
    emit_store_at(e, 8, address, 0, value);
    emit_lea(e, 8, RSP, RSP, EMIT_NO_REGISTER, 0, -8);
    scratch_return(t);
}

static void cli(struct translation *t)
{
    flags_park(t, t->insns[t->now].flags_live);
    emit_alu_slot_constant(t->emit, EMIT_AND, 1, (unsigned)offsetof(struct dbt_cpu, rflags) + EVENT_FLAGS_BYTE,
                           ~IF_IN_BYTE);
}

/* Nothing is taken before the next instruction is done: it is in this block, too, or the interpreter does both. An
 * event that was held back is the dispatcher's. */
static void sti(struct translation *t)
{
    if (t->now + 1 == t->count) {
        translate_interpret(t);
        return;
    }
    flags_park(t, t->insns[t->now].flags_live);
    emit_alu_slot_constant(t->emit, EMIT_CMP, 1, (unsigned)offsetof(struct dbt_cpu, event_masked), 0);
    slow_path(t, emit_jump_if(t->emit, EMIT_NOT_EQUAL, t->emit->at));
    emit_alu_slot_constant(t->emit, EMIT_OR, 1, (unsigned)offsetof(struct dbt_cpu, rflags) + EVENT_FLAGS_BYTE,
                           IF_IN_BYTE);
}

void translate_interpret(struct translation *t)
{
    slow_path(t, emit_jump(t->emit, t->emit->at));
}

void translate_plain(struct translation *t)
{
    switch (t->insns[t->now].effects.class) {
    case EFFECTS_SKIP:
        return;
    case EFFECTS_COPY:
        if (t->insns[t->now].effects.access)
            copy_memory(t);
        else
            copy_registers(t);
        break;
    case EFFECTS_PUSH:
        push(t);
        break;
    case EFFECTS_POP:
        pop(t);
        break;
    case EFFECTS_LEAVE:
        leave(t);
        break;
    case EFFECTS_DIVIDE:
        divide(t);
        break;
    case EFFECTS_PUSHF:
        pushf(t);
        break;
    case EFFECTS_CLI:
        cli(t);
        break;
    case EFFECTS_STI:
        sti(t);
        break;
    default:
        translate_interpret(t);
        break;
    }
}
