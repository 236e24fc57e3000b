/* The code between C and blocks; see translator.h. Made by the emitter, since the offsets of struct dbt_cpu are known
 * there, and jumps from blocks are short ones this way.
 *
 * translator_enter() calls `enter` as a function of one argument, the address to go to. `leave` and `slow` are jumped
 * to with the guest's registers in place. */
#include "hv/cpu_state.h"
#include "hv/dbt/translator.h"

enum { RAX = CPU_RAX, RSP = CPU_RSP, RDI = CPU_RDI, FRAME_FILL = 8 };

static unsigned gpr_slot(unsigned reg)
{
    return (unsigned)offsetof(struct dbt_cpu, gpr) + 8 * reg;
}

static void save_guest(struct emit *e)
{
    for (unsigned reg = 0; reg < CPU_GPR_COUNT; reg++)
        emit_store(e, gpr_slot(reg), reg);
    emit_flags_to_ax(e);
    emit_store32(e, translator_slot(TRANSLATOR_FLAGS), RAX);
    emit_load(e, RSP, translator_slot(TRANSLATOR_HOST_RSP));
}

static void load_guest_and_go(struct emit *e)
{
    emit_load32(e, RAX, translator_slot(TRANSLATOR_FLAGS));
    emit_flags_from_ax(e);
    for (unsigned reg = 0; reg < CPU_GPR_COUNT; reg++)
        emit_load(e, reg, gpr_slot(reg));
    emit_jump_slot(e, translator_slot(TRANSLATOR_JUMP));
}

static void make_enter(struct emit *e)
{
    static const uint8_t push[] = {0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57};
    emit_bytes(e, push, sizeof push); /* rbx, rbp, r12 to r15 */
    emit_alu_constant(e, EMIT_SUB, RSP, FRAME_FILL);
    emit_store(e, translator_slot(TRANSLATOR_HOST_RSP), RSP);
    emit_store(e, translator_slot(TRANSLATOR_JUMP), RDI);
    load_guest_and_go(e);
}

static uint32_t make_return(struct emit *e)
{
    static const uint8_t pop[] = {0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3};
    uint32_t at = e->at;
    emit_alu_constant(e, EMIT_ADD, RSP, FRAME_FILL);
    emit_bytes(e, pop, sizeof pop);
    return at;
}

void thunks_make(struct thunks *thunks, struct emit *e)
{
    static const uint8_t call_rax[] = {0xff, 0xd0}, test_rax[] = {0x48, 0x85, 0xc0};
    emit_align(e, 64);
    thunks->enter = e->at;
    make_enter(e);

    emit_align(e, 64);
    thunks->leave = e->at;
    save_guest(e);
    uint32_t back = make_return(e);

    emit_align(e, 64);
    thunks->slow = e->at;
    save_guest(e);
    emit_load(e, RDI, translator_slot(TRANSLATOR_SELF));
    emit_constant(e, RAX, (uint64_t)(uintptr_t)&translator_slow);
    emit_bytes(e, call_rax, sizeof call_rax);
    emit_bytes(e, test_rax, sizeof test_rax);
    emit_jump_if(e, EMIT_EQUAL, back);
    emit_store(e, translator_slot(TRANSLATOR_JUMP), RAX);
    load_guest_and_go(e);

    for (unsigned reg = 0; reg < CPU_GPR_COUNT; reg++) {
        thunks->slow_by[reg] = e->at;
        emit_store32(e, translator_slot(TRANSLATOR_RECORD), reg);
        emit_jump(e, thunks->slow);
    }
}
