/* The vector unit by itself: what random user-mode instructions (tests/hv/insn_diff.c) do not reach, which is modes and
 * control bits, what the guest must not see of the host, and the cache of thunks. */
#include "tests/unit/fixture.h"

#include <stdlib.h>
#include <string.h>

#include "hv/cpu_state.h"
#include "hv/dbt/cpu.h"
#include "hv/dbt/decode.h"
#include "hv/dbt/fault.h"
#include "hv/dbt/simd.h"
#include "hv/dbt/simd_thunk.h"
#include "hv/memory.h"
#include "node/base/err.h"

enum { MEMORY_BYTES = 2 << 20, DATA = 0x8000, NO_FAULT = -1, UNDEFINED = -2, MXCSR = 24, ST = 32, XMM = 160 };

struct unit {
    struct memory *memory;
    struct dbt_cpu *cpu;
};

/* Protected mode with flat segments and no paging; CR4 as an operating system has it. Made inside a test, as cmocka
 * takes the signals before each. */
static struct unit *unit_new(void)
{
    struct unit *u = calloc(1, sizeof(*u));
    size_t bytes = (sizeof(struct dbt_cpu) + 4095) & ~(size_t)4095;
    struct dbt_cpu *cpu = aligned_alloc(4096, bytes);
    memset(cpu, 0, bytes);
    u->memory = memory_new(MEMORY_BYTES, NULL);
    u->cpu = cpu;
    cpu->memory = u->memory;
    cpu->low_host = memory_at_writable(u->memory, 0, MEMORY_BYTES);
    cpu->low_bytes = MEMORY_BYTES;
    cpu->simd = simd_new(NULL);
    assert_non_null(cpu->simd);
    tlb_init(&cpu->tlb);
    for (unsigned i = CPU_ES; i <= CPU_GS; i++)
        cpu->seg[i] = (struct cpu_segment){.limit = 0xffffffff, .selector = 16, .attributes = 0xc093};
    cpu->seg[CPU_CS].attributes = 0xc09b;
    cpu->cr0 = CPU_CR0_PE | CPU_CR0_NE | CPU_CR0_MP;
    cpu->cr4 = CPU_CR4_OSFXSR | CPU_CR4_OSXMMEXCPT | CPU_CR4_OSXSAVE;
    cpu->xcr0 = 7;
    cpu->rip = 0x1234;
    cpu->rflags = 2;
    memcpy(cpu->xsave + MXCSR, &(uint32_t){0x1f80}, 4);
    cpu_mode_changed(cpu);
    return u;
}

static void unit_free(struct unit *u)
{
    simd_free(u->cpu->simd);
    free(u->cpu);
    memory_free(u->memory);
    free(u);
}

/* The vector it raised, NO_FAULT, or UNDEFINED. */
static int run(struct unit *u, const void *code, unsigned bytes)
{
    struct insn insn;
    struct dbt_cpu *cpu = u->cpu;
    assert_int_equal(insn_decode(&insn, code, bytes, cpu->code_bytes), bytes);
    if (setjmp(cpu->unwind))
        return cpu->fault.vector;
    return simd_execute(cpu, &insn) == SIMD_DONE ? NO_FAULT : UNDEFINED;
}

#define RUN(u, ...) run(u, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))
#define ADDPS 0x0f, 0x58, 0xc1        /* xmm0, xmm1 */
#define VADDPS 0xc5, 0xf4, 0x58, 0xc2 /* ymm0, ymm1, ymm2 */
#define PADDB_MMX 0x0f, 0xfc, 0xc1    /* mm0, mm1 */
#define FLD1 0xd9, 0xe8
#define FWAIT 0x9b
#define AT(opcode) opcode, 0x00, 0x80, 0x00, 0x00 /* [DATA], 32-bit code */

static void needs_what_the_system_enables(void **state)
{
    (void)state;
    struct unit *u = unit_new();
    struct dbt_cpu *cpu = u->cpu;
    assert_int_equal(RUN(u, ADDPS), NO_FAULT);
    assert_int_equal(RUN(u, VADDPS), NO_FAULT);
    cpu->cr0 |= CPU_CR0_TS;
    assert_int_equal(RUN(u, ADDPS), FAULT_NM);
    assert_int_equal(RUN(u, VADDPS), FAULT_NM);
    assert_int_equal(RUN(u, PADDB_MMX), FAULT_NM);
    assert_int_equal(RUN(u, FLD1), FAULT_NM);
    assert_int_equal(RUN(u, FWAIT), FAULT_NM);
    cpu->cr0 &= ~(uint64_t)CPU_CR0_MP;
    assert_int_equal(RUN(u, FWAIT), NO_FAULT);
    cpu->cr0 = CPU_CR0_PE | CPU_CR0_EM;
    assert_int_equal(RUN(u, ADDPS), FAULT_UD);
    assert_int_equal(RUN(u, PADDB_MMX), FAULT_UD);
    assert_int_equal(RUN(u, FLD1), FAULT_NM);
    assert_int_equal(RUN(u, VADDPS), NO_FAULT); /* EM is not AVX's */
    cpu->cr0 = CPU_CR0_PE;
    cpu->cr4 = CPU_CR4_OSXSAVE;
    assert_int_equal(RUN(u, ADDPS), FAULT_UD);
    assert_int_equal(RUN(u, PADDB_MMX), NO_FAULT);
    cpu->cr4 = CPU_CR4_OSFXSR;
    assert_int_equal(RUN(u, VADDPS), FAULT_UD);
    cpu->cr4 |= CPU_CR4_OSXSAVE;
    cpu->xcr0 = 3;
    assert_int_equal(RUN(u, VADDPS), FAULT_UD);
    unit_free(u);
}

/* 1.0 / 0.0 with the division's exception not masked. */
static void raises_what_is_not_masked(void **state)
{
    (void)state;
    struct unit *u = unit_new();
    const float one[4] = {1, 1, 1, 1};
    uint32_t mxcsr = 0x1f80 & ~0x200u;
    memcpy(u->cpu->xsave + XMM, one, sizeof(one));
    memcpy(u->cpu->xsave + MXCSR, &mxcsr, sizeof(mxcsr));
    u->cpu->xsave[CPU_XSAVE_HEADER] = 7;
    assert_int_equal(RUN(u, 0x0f, 0x5e, 0xc1), FAULT_XM); /* divps xmm0, xmm1 */
    assert_memory_equal(u->cpu->xsave + XMM, one, sizeof(one));
    memcpy(&mxcsr, u->cpu->xsave + MXCSR, sizeof(mxcsr));
    assert_int_equal(mxcsr, (0x1f80 & ~0x200) | 4);
    u->cpu->cr4 &= ~(uint64_t)CPU_CR4_OSXMMEXCPT;
    assert_int_equal(RUN(u, 0x0f, 0x5e, 0xc1), FAULT_UD);
    u->cpu->xsave[MXCSR + 1] |= 2; /* masked: infinities */
    assert_int_equal(RUN(u, 0x0f, 0x5e, 0xc1), NO_FAULT);
    assert_int_equal(u->cpu->xsave[XMM + 3], 0x7f);
    unit_free(u);
}

static void x87_exceptions_come_late(void **state)
{
    (void)state;
    struct unit *u = unit_new();
    assert_int_equal(RUN(u, 0xdb, 0xe3), NO_FAULT);     /* fninit */
    assert_int_equal(RUN(u, 0xd9, AT(0x2d)), NO_FAULT); /* fldcw: all unmasked, since memory is 0 */
    assert_int_equal(RUN(u, FLD1), NO_FAULT);
    assert_int_equal(RUN(u, 0xd9, 0xee), NO_FAULT); /* fldz */
    assert_int_equal(RUN(u, 0xde, 0xf9), NO_FAULT); /* fdivp: 1 / 0 */
    assert_int_equal(RUN(u, 0xdf, 0xe0), NO_FAULT); /* fnstsw ax does not wait */
    assert_true(u->cpu->gpr[CPU_RAX] & 4);
    assert_int_equal(RUN(u, FWAIT), FAULT_MF);
    assert_int_equal(RUN(u, FLD1), FAULT_MF);
    assert_int_equal(RUN(u, PADDB_MMX), FAULT_MF);
    assert_int_equal(RUN(u, 0xdb, 0xe2), NO_FAULT); /* fnclex */
    assert_int_equal(RUN(u, FLD1), NO_FAULT);
    unit_free(u);
}

/* The host would show where its thunk is. */
static void shows_the_guests_pointers(void **state)
{
    (void)state;
    struct unit *u = unit_new();
    uint32_t image[7];
    assert_int_equal(RUN(u, 0xdb, 0xe3), NO_FAULT);
    assert_int_equal(RUN(u, 0xd9, AT(0x05)), NO_FAULT); /* fld dword [DATA] */
    u->cpu->rip = 0x5678;
    assert_int_equal(RUN(u, 0xd9, AT(0x35)), NO_FAULT); /* fnstenv [DATA] */
    memory_read(u->memory, DATA, image, sizeof(image));
    assert_int_equal(image[3], 0x1234);
    assert_int_equal(image[4], 0x0105u << 16); /* D9 05 */
    assert_int_equal(image[5], DATA);
    u->cpu->seg[CPU_DS].base = 0;
    u->cpu->cr0 = 0; /* real mode: 20 bits in pieces, linear */
    cpu_mode_changed(u->cpu);
    uint64_t fip = 0xabcde, fdp = 0x54321;
    memcpy(u->cpu->xsave + 8, &fip, sizeof(fip));
    memcpy(u->cpu->xsave + 16, &fdp, sizeof(fdp));
    assert_int_equal(RUN(u, 0x66, 0xd9, AT(0x35)), NO_FAULT); /* 14 bytes */
    memory_read(u->memory, DATA, image, sizeof(image));
    const uint16_t *words = (const uint16_t *)image;
    assert_int_equal(words[3], 0xbcde);
    assert_int_equal(words[4], 0xa105);
    assert_int_equal(words[5], 0x4321);
    assert_int_equal(words[6], 0x5000);
    assert_int_equal(RUN(u, 0xd9, AT(0x25)), NO_FAULT); /* fldenv, as 28 bytes of real mode */
    unit_free(u);
}

static void initial_components_are_zero(void **state)
{
    (void)state;
    struct unit *u = unit_new();
    memset(u->cpu->xsave + XMM, 0xaa, 256); /* whatever lies there does not count */
    memset(u->cpu->xsave + ST, 0xaa, 128);
    u->cpu->xsave[CPU_XSAVE_HEADER] = 0;
    assert_int_equal(RUN(u, 0x66, 0x0f, 0x7e, 0xc0), NO_FAULT); /* movd eax, xmm0 */
    assert_int_equal(u->cpu->gpr[CPU_RAX], 0);
    assert_int_equal(u->cpu->xsave[CPU_XSAVE_HEADER], 2);
    assert_int_equal(RUN(u, FLD1), NO_FAULT);
    assert_int_equal(u->cpu->xsave[0] | u->cpu->xsave[1] << 8, 0x37f);
    assert_int_equal(u->cpu->xsave[CPU_XSAVE_HEADER], 3);
    unit_free(u);
}

/* A guest, or a state file, with reserved bits of MXCSR set must not fault the host. */
static void bears_a_bad_mxcsr(void **state)
{
    (void)state;
    struct unit *u = unit_new();
    memset(u->cpu->xsave, 0xff, sizeof(u->cpu->xsave));
    assert_int_equal(RUN(u, 0x0f, 0x54, 0xc1), NO_FAULT); /* andps */
    assert_int_equal(RUN(u, ADDPS), NO_FAULT);
    memset(u->cpu->xsave + MXCSR, 0xff, 4);
    u->cpu->xsave[2] = u->cpu->xsave[3] = 0;
    assert_int_equal(RUN(u, FLD1), NO_FAULT);
    unit_free(u);
}

static void knows_only_what_is_listed(void **state)
{
    (void)state;
    struct unit *u = unit_new();
    assert_int_equal(RUN(u, 0x0f, 0x0f, 0xc1, 0x9e), UNDEFINED);             /* 3DNow!: pfadd */
    assert_int_equal(RUN(u, 0xf3, 0x0f, 0xfc, 0xc1), UNDEFINED);             /* no such prefix */
    assert_int_equal(RUN(u, 0x66, 0x0f, 0x38, 0x50, 0xc1), UNDEFINED);       /* no such opcode */
    assert_int_equal(RUN(u, 0x66, 0x0f, 0x71, 0xc1, 1), UNDEFINED);          /* group 12, /0 */
    assert_int_equal(RUN(u, 0xc5, 0xec, 0x77), UNDEFINED);                   /* vzeroall with vvvv */
    assert_int_equal(RUN(u, 0xc4, 0xe2, 0x7d, 0x41, 0xc1), UNDEFINED);       /* vphminposuw ymm */
    assert_int_equal(RUN(u, 0xc4, 0xe2, 0x6d, 0x90, 0x04, 0x00), UNDEFINED); /* gather: ymm0 is index and target... */
    assert_int_equal(RUN(u, 0xd9, 0xd1), UNDEFINED);
    assert_int_equal(RUN(u, 0xd9, 0x08), UNDEFINED);
    assert_int_equal(simd_thunk_count(u->cpu->simd), 0);
    unit_free(u);
}

/* More different instructions than the cache has room for, twice: dropped, made again, still right. */
static void survives_a_full_cache(void **state)
{
    (void)state;
    struct unit *u = unit_new();
    for (unsigned round = 0; round < 2; round++)
        for (unsigned i = 0; i < 8 * 256; i++) { /* pshufd xmm0, xmm1..., imm8 */
            uint8_t code[] = {0x66, 0x0f, 0x70, (uint8_t)(0xc1 + i / 256 % 7), (uint8_t)i};
            uint32_t source[4] = {10, 11, 12, 13}, to[4];
            u->cpu->xsave[CPU_XSAVE_HEADER] = 7;
            memcpy(u->cpu->xsave + XMM + 16 * (code[3] & 7), source, sizeof(source));
            assert_int_equal(run(u, code, sizeof(code)), NO_FAULT);
            memcpy(to, u->cpu->xsave + XMM, sizeof(to));
            for (unsigned lane = 0; lane < 4; lane++)
                assert_int_equal(to[lane], 10 + (i >> 2 * lane & 3));
        }
    assert_true(simd_thunk_count(u->cpu->simd) > 8 * 256 * 7 / 8);
    unit_free(u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(needs_what_the_system_enables), cmocka_unit_test(raises_what_is_not_masked),
        cmocka_unit_test(x87_exceptions_come_late),      cmocka_unit_test(shows_the_guests_pointers),
        cmocka_unit_test(initial_components_are_zero),   cmocka_unit_test(bears_a_bad_mxcsr),
        cmocka_unit_test(knows_only_what_is_listed),     cmocka_unit_test(survives_a_full_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
