/* The opcode tables of decode.c. Source: Intel SDM vol. 2 appendix A. */
#ifndef HV_DBT_DECODE_TABLE_H
#define HV_DBT_DECODE_TABLE_H

#include <stdint.h>

#include "hv/dbt/insn_kind.h"

enum decode_flag {
    DECODE_MODRM = 1,
    DECODE_BYTE = 2,        /* operands of 8 bits */
    DECODE_OPCODE_RM = 4,   /* E is the register in the opcode's low bits */
    DECODE_ACCUMULATOR = 8, /* E is register 0 */
    DECODE_DEFAULT64 = 0x10,
    DECODE_FORCE64 = 0x20,
    DECODE_NOT64 = 0x40,   /* undefined in 64-bit mode */
    DECODE_GROUP = 0x80,   /* kind is an enum decode_group: the kind follows from ModRM.reg */
    DECODE_MEMORY = 0x100, /* E must be in memory */
    DECODE_LOCK = 0x200,   /* LOCK is allowed if E is in memory (and, for groups, the kind writes it) */
};

enum decode_immediate {
    DECODE_NO_IMMEDIATE,
    DECODE_I8,
    DECODE_IZ, /* 2 or 4 bytes */
    DECODE_IV, /* 2, 4 or 8 */
    DECODE_I16,
    DECODE_J8,
    DECODE_JZ,
    DECODE_OFFSET, /* as wide as an address */
    DECODE_FAR,
    DECODE_ENTER,
};

enum decode_group {
    DECODE_GROUP_1,
    DECODE_GROUP_1A,
    DECODE_GROUP_2,
    DECODE_GROUP_3,
    DECODE_GROUP_4,
    DECODE_GROUP_5,
    DECODE_GROUP_6,
    DECODE_GROUP_7, /* in memory; as registers: decode_system() */
    DECODE_GROUP_8,
    DECODE_GROUP_9,
    DECODE_GROUP_11,
    DECODE_GROUP_15,
    DECODE_GROUP_COUNT
};

struct decode_entry {
    uint8_t kind, form, immediate;
    uint16_t flags;
};

extern const struct decode_entry decode_map_1[256], decode_map_0f[256];
extern const uint8_t decode_groups[DECODE_GROUP_COUNT][8];

#endif
