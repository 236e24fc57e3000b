/* The decoder against Zydis: random byte strings that lean towards prefixes and escapes, in the three modes. Whatever
 * Zydis knows must have the same length, ModRM, displacement and immediates; where Zydis wants more bytes, so must we.
 * DROVER_DECODE_CASES=N makes it longer.
 *
 * Known differences, not compared: near branches with an operand-size prefix in 64-bit mode are Intel's in both;
 * encodings that Zydis calls invalid (we give a length, kind INSN_UD or one that raises #UD when executed); what only
 * Knights Corner had (VEX JKZD and JKNZD, MVEX). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <Zydis/Zydis.h>

#include "hv/cpu_state.h"
#include "hv/dbt/decode.h"

enum { CASES = 3000000 };

static uint64_t seed = 88172645463325252ull;

static uint64_t dice(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void make(uint8_t code[16])
{
    static const uint8_t starts[] = {0x66, 0x67, 0xf2, 0xf3, 0x2e, 0x64, 0x65, 0xf0, 0x48, 0x4c, 0x41, 0x0f,
                                     0x0f, 0x0f, 0xc4, 0xc5, 0x62, 0x8f, 0xd8, 0xff, 0x36, 0x3e, 0x26, 0x45};
    uint64_t words[2] = {dice(), dice()};
    memcpy(code, words, 16);
    unsigned lead = dice() % 4;
    for (unsigned i = 0; i < lead; i++)
        code[i] = starts[dice() % sizeof starts];
    if (dice() % 4 == 0) {
        code[lead] = 0x0f;
        if (dice() % 3 == 0)
            code[lead + 1] = dice() & 1 ? 0x38 : 0x3a;
    }
}

static void show(const char *what, const uint8_t *code, unsigned code_bytes, int ours, int theirs)
{
    fprintf(stderr, "%s, %u-bit code:", what, code_bytes * 8);
    for (unsigned i = 0; i < 15; i++)
        fprintf(stderr, " %02x", code[i]);
    fprintf(stderr, "  ours %d, theirs %d\n", ours, theirs);
}

static bool knights_corner(const ZydisDecodedInstruction *z)
{
    return z->encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX ||
           (z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX && z->opcode_map == ZYDIS_OPCODE_MAP_0F &&
            (z->opcode & 0xf0) == 0x80);
}

static bool same(const struct insn *insn, const ZydisDecodedInstruction *z, const uint8_t *code, unsigned code_bytes)
{
    const ZydisDecodedInstructionRaw *raw = &z->raw;
    bool has_modrm = z->attributes & ZYDIS_ATTRIB_HAS_MODRM;
    unsigned immediates = raw->imm[0].size / 8 + raw->imm[1].size / 8;
    const char *what = NULL;
    if (insn->length != z->length)
        what = "length";
    else if (has_modrm && insn->modrm != (raw->modrm.mod << 6 | raw->modrm.reg << 3 | raw->modrm.rm))
        what = "modrm";
    else if (raw->disp.size && insn->form != INSN_FORM_OFFSET && insn->displacement != (int32_t)raw->disp.value)
        what = "displacement";
    else if (insn->map != INSN_MAP_3DNOW && insn->form != INSN_FORM_OFFSET && insn->immediate_bytes != immediates)
        what = "immediate size";
    else if (insn->form != INSN_FORM_FAR && raw->imm[0].is_signed && immediates &&
             insn->immediate != (uint64_t)raw->imm[0].value.s)
        what = "immediate";
    if (what)
        show(what, code, code_bytes, insn->length, z->length);
    return !what;
}

static void test_against_zydis(void **state)
{
    (void)state;
    static const struct {
        ZydisMachineMode mode;
        ZydisStackWidth stack;
        unsigned code_bytes;
    } modes[] = {{ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64, 8},
                 {ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32, 4},
                 {ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16, 2}};
    ZydisDecoder decoders[3];
    for (unsigned i = 0; i < 3; i++)
        assert_true(ZYAN_SUCCESS(ZydisDecoderInit(&decoders[i], modes[i].mode, modes[i].stack)));
    const char *wanted = getenv("DROVER_DECODE_CASES");
    uint64_t cases = wanted ? strtoull(wanted, NULL, 0) : CASES, known = 0, wrong = 0;
    for (uint64_t n = 0; n < cases && wrong < 40; n++) {
        uint8_t code[16];
        make(code);
        unsigned m = dice() % 4, available = dice() % 8 ? 15 : 1 + dice() % 14;
        m = m == 3 ? 0 : m;
        ZydisDecodedInstruction z;
        ZyanStatus status = ZydisDecoderDecodeInstruction(&decoders[m], NULL, code, available, &z);
        struct insn insn;
        int length = insn_decode(&insn, code, available, modes[m].code_bytes);
        if (ZYAN_SUCCESS(status) && knights_corner(&z))
            continue;
        if (ZYAN_SUCCESS(status)) {
            known++;
            if (length <= 0) {
                show("not decoded", code, modes[m].code_bytes, length, z.length);
                wrong++;
            } else {
                wrong += !same(&insn, &z, code, modes[m].code_bytes);
            }
        } else if (status == ZYDIS_STATUS_NO_MORE_DATA && available < 15 && length > 0 &&
                   insn.encoding != INSN_VEX) { /* it may have been Knights Corner's */
            show("short", code, modes[m].code_bytes, length, (int)available);
            wrong++;
        } else if (status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG && length > 0) {
            show("too long", code, modes[m].code_bytes, length, 15);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
    assert_true(known > cases / 3);
}

struct expected {
    const char *code;
    unsigned code_bytes, kind, form, bytes, length;
};

static void test_kinds(void **state)
{
    (void)state;
    static const struct expected list[] = {
        {"\x48\x01\xd8", 8, INSN_ADD, INSN_FORM_EG, 8, 3},
        {"\x83\xc0\xff", 4, INSN_ADD, INSN_FORM_EI, 4, 3},
        {"\x66\x83\xc0\xff", 4, INSN_ADD, INSN_FORM_EI, 2, 4},
        {"\x50", 8, INSN_PUSH, INSN_FORM_E, 8, 1},
        {"\x66\x50", 8, INSN_PUSH, INSN_FORM_E, 2, 2},
        {"\x90", 8, INSN_NOP, INSN_FORM_NONE, 4, 1},
        {"\x41\x90", 8, INSN_XCHG, INSN_FORM_EG, 4, 2},
        {"\xf3\x90", 8, INSN_PAUSE, INSN_FORM_NONE, 4, 2},
        {"\x48\xb8\x01\x02\x03\x04\x05\x06\x07\x08", 8, INSN_MOV, INSN_FORM_EI, 8, 10},
        {"\x63\xc0", 8, INSN_MOVSXD, INSN_FORM_GE, 4, 2},
        {"\x63\xc0", 4, INSN_ARPL, INSN_FORM_EG, 2, 2},
        {"\xf0\x01\xd8", 8, INSN_UD, INSN_FORM_EG, 4, 3},
        {"\xf0\x01\x18", 8, INSN_ADD, INSN_FORM_EG, 4, 3},
        {"\xf0\x03\x18", 8, INSN_UD, INSN_FORM_GE, 4, 3},
        {"\x0f\x22\xd8", 8, INSN_MOV_TO_CR, INSN_FORM_EG, 8, 3},
        {"\x0f\x22\xc8", 8, INSN_UD, INSN_FORM_EG, 8, 3},
        {"\x0f\x01\xf8", 8, INSN_SWAPGS, INSN_FORM_NONE, 4, 3},
        {"\xf3\x0f\xb8\xc0", 8, INSN_POPCNT, INSN_FORM_GE, 4, 4},
        {"\xc4\xe2\xf8\xf2\xc1", 8, INSN_ANDN, INSN_FORM_GE, 8, 5},
        {"\x0f\xc7\x08", 8, INSN_CMPXCHG8B, INSN_FORM_E, 4, 3},
        {"\xff\xd0", 8, INSN_CALL, INSN_FORM_E, 8, 2},
        {"\xea\x01\x02\x03\x04\x05\x06", 4, INSN_JMP_FAR, INSN_FORM_FAR, 4, 7},
        {"\xf7\xc0\x01\x02\x03\x04", 4, INSN_TEST, INSN_FORM_EI, 4, 6},
        {"\xf7\xd0", 4, INSN_NOT, INSN_FORM_E, 4, 2},
        {"\x0f\x0b", 8, INSN_UD, INSN_FORM_NONE, 4, 2},
    };
    for (unsigned i = 0; i < sizeof list / sizeof *list; i++) {
        const struct expected *e = &list[i];
        uint8_t code[15] = {0};
        memcpy(code, e->code, e->length);
        struct insn insn;
        int length = insn_decode(&insn, code, sizeof code, e->code_bytes);
        if (length != (int)e->length || insn.kind != e->kind || insn.form != e->form || insn.bytes != e->bytes)
            fail_msg("row %u: length %d, kind %u, form %u, bytes %u", i, length, insn.kind, insn.form, insn.bytes);
        for (unsigned short_of = 0; short_of < e->length; short_of++)
            assert_int_equal(insn_decode(&insn, code, short_of, e->code_bytes), INSN_SHORT);
    }
}

static void test_operands(void **state)
{
    (void)state;
    struct insn insn;
    /* mov -8(%rbp,%r12,4), %r9 */
    assert_int_equal(insn_decode(&insn, (const uint8_t *)"\x4e\x8b\x4c\xa5\xf8", 5, 8), 5);
    assert_int_equal(insn.base, CPU_RBP);
    assert_int_equal(insn.index, CPU_R12);
    assert_int_equal(insn.scale, 2);
    assert_int_equal(insn.displacement, -8);
    assert_int_equal(insn.reg, CPU_R9);
    assert_int_equal(insn.segment, CPU_SS);
    /* mov %gs:0x10(%rip), %eax */
    assert_int_equal(insn_decode(&insn, (const uint8_t *)"\x65\x8b\x05\x10\x00\x00\x00", 7, 8), 7);
    assert_true(insn.rip_relative);
    assert_int_equal(insn.segment, CPU_GS);
    /* fifteen bytes, and one more */
    uint8_t code[16] = "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90";
    assert_int_equal(insn_decode(&insn, code, 15, 8), 15);
    memcpy(code, "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90", 16);
    assert_int_equal(insn_decode(&insn, code, 15, 8), INSN_TOO_LONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_operands),
        cmocka_unit_test(test_against_zydis),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
