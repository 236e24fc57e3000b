/* One instruction with everything that it may look at, before and after: what a random case is, and what both the real
 * processor and an engine of ours do with it.
 *
 * The world of a case is the same for both, in 64-bit or in compatibility mode (32-bit or 16-bit code) at CPL 3:
 *
 *     INSN_CODE                the instruction, at offset INSN_AT; for branches everything round it is INT3
 *     INSN_DATA                two pages that can be written, one that can be read, then nothing; before them nothing
 *
 * 64-bit and 32-bit code has flat segments. That of 16 bits begins at INSN_CODE; its DS, ES and SS begin at
 * INSN_BASE_16, so that 16 bits reach all of the data, and nothing on both sides of it. All three have 64 KiB.
 *
 * Thread: one owner. */
#ifndef TESTS_HV_INSN_CASE_H
#define TESTS_HV_INSN_CASE_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/cpu_state.h"
#include "hv/dbt/decode.h"
#include "tests/power/dice.h"

enum {
    INSN_PAGE = 4096,
    INSN_CODE = 0x20000000,
    INSN_AT = 0x800,
    INSN_DATA = 0x20010000,
    INSN_DATA_PAGES = 3, /* the last is read-only */
    INSN_DATA_BYTES = INSN_DATA_PAGES * INSN_PAGE,
    INSN_GS_BASE = 0x1000,
    INSN_BASE_16 = INSN_DATA - 0x4000,
    INSN_LIMIT_16 = 0xffff,
    INSN_WAY_OUT_16 = INSN_PAGE - 16, /* in the code: how the processor comes back from 16-bit code */
    INSN_CS_16 = 0x07,                /* selectors: of a local table */
    INSN_DATA_16 = 0x0f,
    INSN_PATCHES = 4,
    INSN_PATCH_BYTES = 64,
};

enum insn_group {
    INSN_GROUP_INTEGER,
    INSN_GROUP_BITS, /* BMI, ADX, CRC32, MOVBE */
    INSN_GROUP_STRING,
    INSN_GROUP_BRANCH,
    INSN_GROUP_X87,
    INSN_GROUP_MMX_SSE,
    INSN_GROUP_AVX,
    INSN_GROUP_STATE, /* FXSAVE, LDMXCSR, XSAVE... */
    INSN_GROUP_COUNT
};
extern const char *const insn_group_names[INSN_GROUP_COUNT];

struct insn_registers {
    uint64_t gpr[CPU_GPR_COUNT];
    uint64_t rflags;
    uint64_t rip;
    _Alignas(64) uint8_t xsave[CPU_XSAVE_BYTES];
};

struct insn_fault {
    bool raised;
    uint8_t vector;
    uint32_t code;
    uint64_t cr2;
};

struct insn_case {
    uint8_t code[INSN_BYTES_MAX + 1];
    uint8_t length;
    uint8_t group;      /* enum insn_group */
    uint8_t code_bytes; /* 8: 64-bit mode; 4, 2: 32-bit or 16-bit code, which has eight registers, of 32 bits */
    bool branch;
    uint32_t pool;    /* where in the pool of bytes the data begins */
    uint64_t operand; /* linear address of the memory operand; 0: unknown, or none */
    struct insn_patch {
        uint16_t offset, bytes; /* in the data; bytes 0: none */
        uint8_t byte[INSN_PATCH_BYTES];
    } patch[INSN_PATCHES];
    struct insn_registers in;
};

struct insn_outcome {
    struct insn_registers out;
    struct insn_fault fault;
    uint8_t data[INSN_DATA_BYTES];
};

/* What a register or a displacement has to say for a linear address of the data, and the instruction pointer for one of
 * the code. */
static inline uint64_t insn_offset(const struct insn_case *c, uint64_t linear)
{
    return c->code_bytes == 2 ? (uint16_t)(linear - INSN_BASE_16) : linear;
}

static inline uint64_t insn_pointer(const struct insn_case *c, uint64_t linear)
{
    return c->code_bytes == 2 ? (uint16_t)(linear - INSN_CODE) : linear;
}

/* groups: a bit for each enum insn_group. code_bytes: 2, 4 or 8. */
void insn_case_make(struct insn_case *c, struct dice *dice, unsigned groups, unsigned code_bytes);
/* The data as the case wants it. */
void insn_case_data(const struct insn_case *c, uint8_t data[INSN_DATA_BYTES]);

/* ---- insn_operands.c ---- */
void insn_operands_registers(struct insn_case *c, struct dice *dice);
/* Makes the memory operand lie in the data, mostly. */
void insn_operands_address(struct insn_case *c, const struct insn *insn, struct dice *dice);
/* Somewhere in the data, near its edges if the dice say so. */
uint64_t insn_operands_target(struct dice *dice);
void insn_operands_patch(struct insn_case *c, uint64_t linear, const void *bytes, unsigned count);
uint64_t insn_operands_value(struct dice *dice);

#endif
