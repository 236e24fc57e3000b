/* Which vector and x87 instructions there are, and all that has to be known of one to execute it elsewhere: where its
 * operands are, how large its memory operand is and in which direction it goes, what else it reads and writes.
 *
 * The host's units execute guest instructions (simd_thunk.h), so this is a list of what is allowed: what it does not
 * name is undefined for the guest and never reaches the host's processor.
 *
 * Source: Intel SDM vol. 2. Threads: any, all is constant. */
#ifndef HV_DBT_SIMD_TABLE_H
#define HV_DBT_SIMD_TABLE_H

#include <stdbool.h>
#include <stdint.h>

struct insn;

enum simd_operand {
    SIMD_NO_OPERAND, /* of rm: the operand must be in memory */
    SIMD_VECTOR,     /* XMM, YMM by VEX.L */
    SIMD_GENERAL,    /* 32 or 64 bits by W */
    SIMD_MMX,
};

/* Bytes of the memory operand, or a rule for them. */
enum simd_memory {
    SIMD_REGISTERS = 0, /* E must be a register */
    SIMD_1 = 1,
    SIMD_2 = 2,
    SIMD_4 = 4,
    SIMD_8 = 8,
    SIMD_10 = 10,
    SIMD_16 = 16,
    SIMD_ENVIRONMENT = 28, /* of the x87: 14 or 28 bytes by operand size */
    SIMD_X87_ALL = 108,    /* 94 or 108 */
    SIMD_FULL = 128,       /* as wide as the vector */
    SIMD_HALF,
    SIMD_QUARTER,
    SIMD_EIGHTH,
    SIMD_BY_W,      /* 4 or 8 */
    SIMD_DUPLICATE, /* MOVDDUP: 8, or 32 for YMM */
};

enum simd_flag {
    SIMD_LEGACY = 1, /* exists without VEX */
    SIMD_VEX128 = 2, /* exists with VEX.L = 0, and 1 */
    SIMD_VEX256 = 4,
    SIMD_W0 = 8,             /* VEX.W must be 0 */
    SIMD_V = 0x20,           /* VEX.vvvv is a vector; without: must be 1111b */
    SIMD_V_REGISTERS = 0x40, /* ... but only if E is a register */
    SIMD_STORE = 0x80,       /* E is written */
    SIMD_FP = 0x100,         /* reads and writes MXCSR */
    SIMD_FLAGS = 0x200,      /* writes RFLAGS */
    SIMD_FLAGS_IN = 0x400,   /* reads them */
    SIMD_ALIGNED = 0x800,    /* with VEX, too */
    SIMD_UNALIGNED = 0x1000, /* without VEX, too: legacy operands of 16 bytes are aligned otherwise */
    SIMD_XMM0 = 0x2000,      /* implied operand, read or written */
    SIMD_LENGTHS = 0x4000,   /* PCMPESTR: RAX and RDX are read */
    SIMD_INDEX = 0x8000,     /* PCMPSTRI: RCX is written */
    SIMD_IS4 = 0x10000,      /* bits 7:4 of the immediate are a vector */
    SIMD_AX = 0x20000,       /* FNSTSW AX */
    SIMD_SPECIAL = 0x40000,  /* not executed by the host: simd_masked.h */
    SIMD_CONTROL = 0x80000,  /* x87: leaves FIP, FDP and FOP alone */
    SIMD_NO_WAIT = 0x100000, /* x87: does not look at pending exceptions */
    SIMD_ANY_VEX = SIMD_VEX128 | SIMD_VEX256,
    SIMD_BOTH = SIMD_LEGACY | SIMD_ANY_VEX,
};

struct simd_op {
    uint8_t reg, rm; /* enum simd_operand */
    uint8_t memory;  /* enum simd_memory */
    uint32_t flags;  /* enum simd_flag; 0: no such instruction */
};

/* NULL: no such instruction, with these prefixes, operands, VEX fields. */
const struct simd_op *simd_table_find(const struct insn *insn);
/* Likewise for D8 to DF. */
const struct simd_op *simd_table_find_x87(const struct insn *insn);
/* Bytes of the memory operand. */
unsigned simd_table_bytes(const struct simd_op *op, const struct insn *insn);

#endif
