/* The encoder of host instructions: what it writes is taken apart by the decoder again (which is tested against Zydis),
 * or run. */
#include "tests/unit/fixture.h"

#include <string.h>

#include "hv/cpu_state.h"
#include "hv/dbt/code_memory.h"
#include "hv/dbt/decode.h"
#include "hv/dbt/emit.h"
#include "node/base/err.h"

enum { BYTES = 4096, CODE_BYTES = 8 };

struct buffer {
    uint8_t bytes[BYTES];
    struct emit emit;
};

static struct emit *fresh(struct buffer *b)
{
    memset(b->bytes, 0xcc, sizeof b->bytes);
    b->emit = (struct emit){.base = b->bytes, .end = BYTES};
    return &b->emit;
}

/* Decodes the one instruction that was written. */
static struct insn decoded(const struct buffer *b)
{
    struct insn insn;
    int length = insn_decode(&insn, b->bytes, b->emit.at, CODE_BYTES);
    assert_int_equal(length, b->emit.at);
    return insn;
}

static void test_memory_operands(void **state)
{
    (void)state;
    static const int32_t adds[] = {0, 1, -128, 127, 128, -129, 0x12345678};
    struct buffer b;
    for (unsigned base = 0; base < 16; base++) {
        for (unsigned index = 0; index <= 16; index++) {
            if (index == CPU_RSP)
                continue;
            for (unsigned n = 0; n < sizeof adds / sizeof *adds; n++) {
                unsigned i = index == 16 ? EMIT_NO_REGISTER : index, to = (base + n) & 15;
                emit_lea(fresh(&b), 8, to, base, i, i == EMIT_NO_REGISTER ? 0 : n & 3, adds[n]);
                struct insn insn = decoded(&b);
                assert_int_equal(insn.kind, INSN_LEA);
                assert_int_equal(insn.bytes, 8);
                assert_int_equal(insn.reg, to);
                assert_int_equal(insn.base, base);
                assert_int_equal(insn.index, i);
                assert_int_equal(insn.displacement, adds[n]);
                if (i != EMIT_NO_REGISTER)
                    assert_int_equal(insn.scale, n & 3);
            }
        }
    }
    emit_lea(fresh(&b), 4, CPU_R9, EMIT_NO_REGISTER, CPU_R12, 3, -5);
    struct insn insn = decoded(&b);
    assert_true(insn.base == INSN_NO_REGISTER && insn.index == CPU_R12 && insn.scale == 3 && insn.displacement == -5);
    assert_int_equal(insn.bytes, 4);
    assert_false(insn.rip_relative);
}

static void test_slots(void **state)
{
    (void)state;
    struct buffer b;
    for (unsigned reg = 0; reg < 16; reg++) {
        emit_load(fresh(&b), reg, 0x138);
        struct insn insn = decoded(&b);
        assert_true(insn.kind == INSN_MOV && insn.form == INSN_FORM_GE && insn.segment == CPU_GS && insn.bytes == 8);
        assert_true(insn.reg == reg && insn.base == INSN_NO_REGISTER && insn.displacement == 0x138);
        assert_false(insn.rip_relative);
        emit_alu_indexed(fresh(&b), EMIT_XOR, reg, 15 - reg == CPU_RSP ? CPU_RAX : 15 - reg, 0x1000);
        insn = decoded(&b);
        assert_true(insn.kind == INSN_XOR && insn.form == INSN_FORM_GE && insn.segment == CPU_GS && insn.bytes == 8);
        assert_true(insn.reg == reg && insn.displacement == 0x1000);
        assert_int_equal(insn.base, 15 - reg == CPU_RSP ? CPU_RAX : 15 - reg);
        emit_alu_constant(fresh(&b), EMIT_CMP, reg, 4088);
        insn = decoded(&b);
        assert_true(insn.kind == INSN_CMP && insn.rm == reg && insn.immediate == 4088 && insn.bytes == 8);
        emit_divide(fresh(&b), 4, true, reg);
        insn = decoded(&b);
        assert_true(insn.kind == INSN_IDIV && insn.rm == reg && insn.bytes == 4);
        emit_test_byte(fresh(&b), reg, 15);
        insn = decoded(&b);
        assert_true(insn.kind == INSN_TEST && insn.rm == reg && insn.immediate == 15 && insn.bytes == 1);
        assert_true(insn.prefixes & INSN_REX);
    }
    emit_alu_slot_constant(fresh(&b), EMIT_CMP, 8, 0x2000, -2);
    struct insn insn = decoded(&b);
    assert_true(insn.kind == INSN_CMP && insn.bytes == 8 && insn.memory && (int64_t)insn.immediate == -2);
    emit_alu_slot_constant(fresh(&b), EMIT_AND, 1, 0x89, ~2);
    insn = decoded(&b);
    assert_true(insn.kind == INSN_AND && insn.bytes == 1 && (uint8_t)insn.immediate == 0xfd);
}

/* Guest instructions with a memory operand: legacy prefixes, REX, every map, immediates, VEX. */
static const struct guest {
    uint8_t length, bytes[15];
} guests[] = {
    {3, {0x8b, 0x41, 0x10}},                               /* mov eax, [rcx+10h] */
    {4, {0x4c, 0x8b, 0x41, 0x10}},                         /* mov r8, [rcx+10h] */
    {5, {0x43, 0x8b, 0x44, 0xc8, 0x10}},                   /* mov eax, [r8+r9*8+10h] */
    {6, {0x8b, 0x05, 0x10, 0, 0, 0}},                      /* mov eax, [rip+10h] */
    {9, {0x65, 0x48, 0x8b, 0x04, 0x25, 0x10, 0, 0, 0}},    /* mov rax, gs:[10h] */
    {5, {0xf0, 0x48, 0x0f, 0xc1, 0x07}},                   /* lock xadd [rdi], rax */
    {5, {0xf0, 0x48, 0x0f, 0xb1, 0x0e}},                   /* lock cmpxchg [rsi], rcx */
    {6, {0x66, 0x81, 0x7d, 0x08, 0x34, 0x12}},             /* cmp word [rbp+8], 1234h */
    {4, {0x80, 0x7f, 0x20, 0x05}},                         /* cmp byte [rdi+20h], 5 */
    {3, {0x88, 0x63, 0x04}},                               /* mov [rbx+4], ah */
    {4, {0x40, 0x88, 0x63, 0x04}},                         /* mov [rbx+4], spl */
    {4, {0x0f, 0xb6, 0x60, 0x01}},                         /* movzx esp, byte [rax+1] */
    {6, {0x66, 0x0f, 0x38, 0xf0, 0x48, 0x03}},             /* movbe cx, [rax+3] */
    {6, {0xf3, 0x48, 0x0f, 0xb8, 0x04, 0x24}},             /* popcnt rax, [rsp] */
    {8, {0xf2, 0x48, 0x0f, 0x38, 0xf1, 0x44, 0x24, 8}},    /* crc32 rax, qword [rsp+8] */
    {6, {0xc4, 0xe2, 0x78, 0xf2, 0x41, 0x08}},             /* andn eax, eax, [rcx+8] */
    {7, {0xc4, 0x42, 0xf3, 0xf6, 0x44, 0x24, 0x08}},       /* mulx r8, rcx, [r12+8] */
    {5, {0x0f, 0x94, 0x44, 0x24, 0x03}},                   /* sete [rsp+3] */
    {8, {0x48, 0xc7, 0x40, 0x08, 0x78, 0x56, 0x34, 0xf2}}, /* mov qword [rax+8], imm32 */
    {5, {0x67, 0x48, 0x8b, 0x42, 0x08}},                   /* mov rax, [edx+8] */
};

static void test_guest_instructions(void **state)
{
    (void)state;
    unsigned checked = 0, refused = 0;
    for (unsigned n = 0; n < sizeof guests / sizeof *guests; n++) {
        struct insn insn;
        const uint8_t *code = guests[n].bytes;
        assert_int_equal(insn_decode(&insn, code, guests[n].length, CODE_BYTES), guests[n].length);
        for (unsigned address = 0; address < 16; address++) {
            struct buffer b;
            fresh(&b);
            if (!emit_guest_takes(&insn, code, address)) {
                assert_true(address & 8);
                refused++;
                continue;
            }
            emit_guest_at(&b.emit, &insn, code, address);
            struct insn made = decoded(&b);
            assert_true(made.memory && made.base == address && made.index == INSN_NO_REGISTER && !made.displacement);
            assert_true(made.kind == insn.kind && made.form == insn.form && made.bytes == insn.bytes);
            assert_true(made.reg == insn.reg && made.vex == insn.vex && made.immediate == insn.immediate);
            assert_false(made.prefixes & (INSN_SEGMENT | INSN_67));
            assert_int_equal(made.prefixes & INSN_LOCK, insn.prefixes & INSN_LOCK);
            if (insn.bytes == 1) /* AH stays AH, SPL stays SPL */
                assert_true(!(insn.reg & 4) || insn.form != INSN_FORM_EG ||
                            (made.prefixes & INSN_REX) == (insn.prefixes & INSN_REX));
            checked++;
        }
    }
    assert_int_equal(checked, 20 * 16 - 8);
    assert_int_equal(refused, 8); /* AH with R8 to R15 */
}

static void test_runs(void **state)
{
    (void)state;
    struct err err;
    struct code_memory *code = code_memory_new(BYTES, &err);
    assert_non_null(code);
    struct emit e = {.base = code->rw, .end = BYTES};
    /* rdi = a, rsi = b: (a / b) with a loop of subtractions, to have jumps both ways */
    emit_constant(&e, CPU_RAX, ~0ull);
    uint32_t again = e.at;
    emit_lea(&e, 8, CPU_RAX, CPU_RAX, EMIT_NO_REGISTER, 0, 1);
    emit_alu(&e, EMIT_SUB, 8, CPU_RDI, CPU_RSI);
    emit_jump_if(&e, EMIT_ABOVE_OR_EQUAL, again);
    emit_byte(&e, 0xc3);
    /* the flags of rdi in AX form to RFLAGS and back */
    emit_align(&e, 16);
    uint32_t flags = e.at;
    emit_move(&e, CPU_RAX, CPU_RDI);
    emit_flags_from_ax(&e);
    emit_push_flags_pop(&e, CPU_RDX);
    emit_flags_to_ax(&e);
    emit_byte(&e, 0xc3);
    code_memory_publish();
    uint64_t (*divide)(uint64_t, uint64_t) = (uint64_t(*)(uint64_t, uint64_t))(uintptr_t)code->rx;
    assert_int_equal(divide(1000, 7), 142);
    assert_int_equal(divide(6, 7), 0);
    uint64_t (*round)(uint64_t) = (uint64_t(*)(uint64_t))((uintptr_t)code->rx + flags);
    for (unsigned f = 0; f < 512; f++) {
        unsigned packed = (f & 0xff & 0xd5) << 8 | 2 << 8 | f >> 8;
        assert_int_equal(round(packed) & 0xffff, packed);
    }
    code_memory_free(code);
}

static void test_full(void **state)
{
    (void)state;
    uint8_t bytes[16];
    memset(bytes, 0xaa, sizeof bytes);
    struct emit e = {.base = bytes, .end = 8};
    emit_constant(&e, CPU_RAX, 0x123456789abcdef0ull); /* ten bytes: not one behind the end is written */
    assert_true(emit_full(&e));
    emit_u32(&e, 0);
    for (unsigned i = 8; i < sizeof bytes; i++)
        assert_int_equal(bytes[i], 0xaa);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_operands),
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_guest_instructions),
        cmocka_unit_test(test_runs),
        cmocka_unit_test(test_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
