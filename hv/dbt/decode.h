/* One x86 instruction, taken apart: what interpreter and translator dispatch on.
 *
 * Operands are made uniform. An instruction that names its register in the opcode (PUSH r, MOV r,imm, XCHG rAX,r) looks
 * like its ModRM form with a register operand (memory false, rm = the register); one that works on the accumulator with
 * an immediate looks like "rm, imm" with rm = 0. So `kind` and `form` say it all.
 *
 * The length is right for every instruction that some processor has, also for those that are undefined here (kind
 * INSN_UD), so that a #UD can be skipped and a page end is met at the right byte. In 64-bit mode near branches ignore
 * an operand-size prefix, as on Intel's processors.
 *
 * Source: Intel SDM vol. 2 ch. 2 and appendix A, AMD APM vol. 3 appendix A (3DNow!, XOP, SSE4a). Threads: any. */
#ifndef HV_DBT_DECODE_H
#define HV_DBT_DECODE_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/dbt/insn_kind.h"

enum { INSN_BYTES_MAX = 15, INSN_NO_REGISTER = 0xff };

enum insn_map { INSN_MAP_1, INSN_MAP_0F, INSN_MAP_0F38, INSN_MAP_0F3A, INSN_MAP_3DNOW, INSN_MAP_OTHER };
enum insn_encoding { INSN_LEGACY, INSN_VEX, INSN_EVEX, INSN_XOP };

/* Which operands: E = rm (register or memory), G = reg, I = immediate; the first is the destination. */
enum insn_form {
    INSN_FORM_NONE, /* none, or implied ones */
    INSN_FORM_E,
    INSN_FORM_EG,
    INSN_FORM_GE,
    INSN_FORM_EI,
    INSN_FORM_GEI,
    INSN_FORM_EGI,
    INSN_FORM_I,
    INSN_FORM_J,      /* immediate: relative to the next instruction, sign-extended */
    INSN_FORM_OFFSET, /* immediate: the address offset of the accumulator's MOV; direction in opcode bit 1 */
    INSN_FORM_FAR,    /* immediate: offset, immediate2: selector */
};

enum insn_prefix {
    INSN_LOCK = 1,
    INSN_REP = 2,   /* F3 was the last of F2, F3 */
    INSN_REPNE = 4, /* F2 was */
    INSN_66 = 8,
    INSN_67 = 0x10,
    INSN_SEGMENT = 0x20, /* an override that counts */
    INSN_REX = 0x40,     /* any REX: SPL, BPL, SIL, DIL instead of AH to BH */
    INSN_W = 0x80,       /* REX.W, VEX.W */
};

struct insn {
    uint64_t immediate;    /* sign-extended */
    int32_t displacement;  /* sign-extended */
    uint16_t kind;         /* enum insn_kind */
    uint16_t immediate2;   /* ENTER's level, the selector of a far pointer, the second byte of EXTRQ and INSERTQ */
    uint8_t length;        /* in bytes, 1 to 15 */
    uint8_t prefixes;      /* enum insn_prefix */
    uint8_t map, opcode;   /* enum insn_map; last opcode byte (3DNow!: the suffix) */
    uint8_t encoding;      /* enum insn_encoding */
    uint8_t form;          /* enum insn_form */
    uint8_t bytes;         /* operand size of general registers: 1, 2, 4, 8 */
    uint8_t address_bytes; /* 2, 4, 8 */
    uint8_t modrm;         /* as it is in the code; 0 if there is none */
    bool memory;           /* E is in memory */
    uint8_t reg, rm;       /* with their REX or VEX bits; rm only if !memory */
    uint8_t base, index;   /* registers or INSN_NO_REGISTER */
    uint8_t scale;         /* shift: 0 to 3 */
    uint8_t segment;       /* enum cpu_seg of the memory operand */
    bool rip_relative;
    uint8_t vex;             /* vvvv as a register number */
    uint8_t vex_l;           /* 0: 128, 1: 256, 2: 512 */
    uint8_t vex_pp;          /* 0, 1: 66, 2: F3, 3: F2; for legacy encodings what the prefixes say (F2, F3 before 66) */
    uint8_t immediate_bytes; /* how many bytes the immediates take in the code, at its end */
    uint8_t unused[3];
};

_Static_assert(sizeof(struct insn) == 40, "many of them are kept");

enum insn_decoded { INSN_SHORT = 0, INSN_TOO_LONG = -1 };

/* code_bytes: 2, 4, 8 (64-bit mode). Returns the length; INSN_SHORT if the instruction goes on behind `available`;
 * INSN_TOO_LONG past 15 bytes (#GP). */
int insn_decode(struct insn *insn, const uint8_t *code, unsigned available, unsigned code_bytes);

/* Goes on at an address of its own choice, changes modes, or may have changed what code means: the last one of a run of
 * instructions that are executed without looking up. */
bool insn_ends_run(const struct insn *insn);

static inline bool insn_is_string(const struct insn *insn)
{
    return insn->kind >= INSN_MOVS && insn->kind <= INSN_SCAS;
}

#endif
