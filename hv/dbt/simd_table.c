/* See simd_table.h. A row reads: reg, rm, memory, flags. Tables are by mandatory prefix and opcode; with and without
 * VEX share a row, as nearly all instructions exist both ways, with vvvv as one more source. */
#include "hv/dbt/simd_table.h"

#include <stddef.h>

#include "hv/dbt/decode.h"

enum {
    X = SIMD_VECTOR,
    G = SIMD_GENERAL,
    M = SIMD_MMX,
    NO = SIMD_NO_OPERAND,
    REG = SIMD_REGISTERS,
    FULL = SIMD_FULL,
    HALF = SIMD_HALF,
    QUARTER = SIMD_QUARTER,
    EIGHTH = SIMD_EIGHTH,
    BY_W = SIMD_BY_W,
    /* the flags of the usual rows: legacy and VEX with either length, V with vvvv */
    ALL = SIMD_BOTH,
    ALL_V = SIMD_BOTH | SIMD_V,
    FP = SIMD_BOTH | SIMD_FP,
    FP_V = SIMD_BOTH | SIMD_FP | SIMD_V,
    SHORT = SIMD_LEGACY | SIMD_VEX128,
    SHORT_V = SHORT | SIMD_V,
    OLD = SIMD_LEGACY,
    OLD_FP = SIMD_LEGACY | SIMD_FP,
    VEX = SIMD_ANY_VEX,
    VEX_V = SIMD_ANY_VEX | SIMD_V,
    VEX_W0 = SIMD_ANY_VEX | SIMD_W0,
    VEX_W0_V = VEX_W0 | SIMD_V,
    LONG_W0 = SIMD_VEX256 | SIMD_W0,
    LONG_W0_V = LONG_W0 | SIMD_V,
    LONG = SIMD_VEX256,
    FMA = VEX_V | SIMD_FP,
    ST = SIMD_STORE,
    EFLAGS = SIMD_FLAGS,
    ALIGN = SIMD_ALIGNED,
    LOOSE = SIMD_UNALIGNED,
    SPECIAL = SIMD_SPECIAL,
    STRING = SHORT | SIMD_FLAGS | SIMD_UNALIGNED,
};

static const struct simd_op map_0f_none[256] = {
    [0x10] = {X, X, FULL, ALL | LOOSE},
    [0x11] = {X, X, FULL, ALL | ST | LOOSE},
    [0x12] = {X, X, 8, SHORT_V},
    [0x13] = {X, NO, 8, SHORT | ST},
    [0x14 ... 0x15] = {X, X, FULL, ALL_V},
    [0x16] = {X, X, 8, SHORT_V},
    [0x17] = {X, NO, 8, SHORT | ST},
    [0x28] = {X, X, FULL, ALL | ALIGN},
    [0x29] = {X, X, FULL, ALL | ST | ALIGN},
    [0x2a] = {X, M, 8, OLD_FP},
    [0x2b] = {X, NO, FULL, ALL | ST | ALIGN},
    [0x2c ... 0x2d] = {M, X, 8, OLD_FP},
    [0x2e ... 0x2f] = {X, X, 4, FP | EFLAGS},
    [0x50] = {G, X, REG, ALL},
    [0x51] = {X, X, FULL, FP},
    [0x52 ... 0x53] = {X, X, FULL, FP},
    [0x54 ... 0x57] = {X, X, FULL, ALL_V},
    [0x58 ... 0x59] = {X, X, FULL, FP_V},
    [0x5a] = {X, X, HALF, FP},
    [0x5b] = {X, X, FULL, FP},
    [0x5c ... 0x5f] = {X, X, FULL, FP_V},
    [0x60 ... 0x62] = {M, M, 4, OLD},
    [0x63 ... 0x6b] = {M, M, 8, OLD},
    [0x6e] = {M, G, BY_W, OLD},
    [0x6f ... 0x70] = {M, M, 8, OLD},
    [0x71 ... 0x73] = {NO, M, REG, OLD}, /* by ModRM.reg */
    [0x74 ... 0x76] = {M, M, 8, OLD},
    [0x77] = {M, NO, REG, OLD | SIMD_ANY_VEX}, /* EMMS; VZEROUPPER and VZEROALL are special */
    [0x7e] = {M, G, BY_W, OLD | ST},
    [0x7f] = {M, M, 8, OLD | ST},
    [0xc2] = {X, X, FULL, FP_V},
    [0xc4] = {M, G, 2, OLD},
    [0xc5] = {G, M, REG, OLD},
    [0xc6] = {X, X, FULL, ALL_V},
    [0xd1 ... 0xd5] = {M, M, 8, OLD},
    [0xd7] = {G, M, REG, OLD},
    [0xd8 ... 0xe5] = {M, M, 8, OLD},
    [0xe7] = {M, NO, 8, OLD | ST},
    [0xe8 ... 0xef] = {M, M, 8, OLD},
    [0xf1 ... 0xf6] = {M, M, 8, OLD},
    [0xf7] = {M, M, REG, OLD | SPECIAL},
    [0xf8 ... 0xfe] = {M, M, 8, OLD},
};

static const struct simd_op map_0f_66[256] = {
    [0x10] = {X, X, FULL, ALL | LOOSE},
    [0x11] = {X, X, FULL, ALL | ST | LOOSE},
    [0x12] = {X, NO, 8, SHORT_V},
    [0x13] = {X, NO, 8, SHORT | ST},
    [0x14 ... 0x15] = {X, X, FULL, ALL_V},
    [0x16] = {X, NO, 8, SHORT_V},
    [0x17] = {X, NO, 8, SHORT | ST},
    [0x28] = {X, X, FULL, ALL | ALIGN},
    [0x29] = {X, X, FULL, ALL | ST | ALIGN},
    [0x2a] = {X, M, 8, OLD_FP},
    [0x2b] = {X, NO, FULL, ALL | ST | ALIGN},
    [0x2c ... 0x2d] = {M, X, 16, OLD_FP},
    [0x2e ... 0x2f] = {X, X, 8, FP | EFLAGS},
    [0x50] = {G, X, REG, ALL},
    [0x51] = {X, X, FULL, FP},
    [0x54 ... 0x57] = {X, X, FULL, ALL_V},
    [0x58 ... 0x59] = {X, X, FULL, FP_V},
    [0x5a ... 0x5b] = {X, X, FULL, FP},
    [0x5c ... 0x5f] = {X, X, FULL, FP_V},
    [0x60 ... 0x6d] = {X, X, FULL, ALL_V},
    [0x6e] = {X, G, BY_W, SHORT},
    [0x6f] = {X, X, FULL, ALL | ALIGN},
    [0x70] = {X, X, FULL, ALL},
    [0x71 ... 0x73] = {NO, X, REG, ALL_V}, /* by ModRM.reg; vvvv is written */
    [0x74 ... 0x76] = {X, X, FULL, ALL_V},
    [0x78] = {NO, X, REG, OLD}, /* SSE4a: EXTRQ; /0 only */
    [0x79] = {X, X, REG, OLD},
    [0x7c ... 0x7d] = {X, X, FULL, FP_V},
    [0x7e] = {X, G, BY_W, SHORT | ST},
    [0x7f] = {X, X, FULL, ALL | ST | ALIGN},
    [0xc2] = {X, X, FULL, FP_V},
    [0xc4] = {X, G, 2, SHORT_V},
    [0xc5] = {G, X, REG, SHORT},
    [0xc6] = {X, X, FULL, ALL_V},
    [0xd0] = {X, X, FULL, FP_V},
    [0xd1 ... 0xd3] = {X, X, 16, ALL_V},
    [0xd4 ... 0xd5] = {X, X, FULL, ALL_V},
    [0xd6] = {X, X, 8, SHORT | ST},
    [0xd7] = {G, X, REG, ALL},
    [0xd8 ... 0xe0] = {X, X, FULL, ALL_V},
    [0xe1 ... 0xe2] = {X, X, 16, ALL_V},
    [0xe3 ... 0xe5] = {X, X, FULL, ALL_V},
    [0xe6] = {X, X, FULL, FP},
    [0xe7] = {X, NO, FULL, ALL | ST | ALIGN},
    [0xe8 ... 0xef] = {X, X, FULL, ALL_V},
    [0xf1 ... 0xf3] = {X, X, 16, ALL_V},
    [0xf4 ... 0xf6] = {X, X, FULL, ALL_V},
    [0xf7] = {X, X, REG, SHORT | SPECIAL},
    [0xf8 ... 0xfe] = {X, X, FULL, ALL_V},
};

static const struct simd_op map_0f_f3[256] = {
    [0x10] = {X, X, 4, ALL | SIMD_V_REGISTERS},
    [0x11] = {X, X, 4, ALL | ST | SIMD_V_REGISTERS},
    [0x12] = {X, X, FULL, ALL},
    [0x16] = {X, X, FULL, ALL},
    [0x2a] = {X, G, BY_W, FP_V},
    [0x2b] = {X, NO, 4, OLD | ST}, /* SSE4a: MOVNTSS */
    [0x2c ... 0x2d] = {G, X, 4, FP},
    [0x51 ... 0x53] = {X, X, 4, FP_V},
    [0x58 ... 0x5a] = {X, X, 4, FP_V},
    [0x5b] = {X, X, FULL, FP},
    [0x5c ... 0x5f] = {X, X, 4, FP_V},
    [0x6f] = {X, X, FULL, ALL | LOOSE},
    [0x70] = {X, X, FULL, ALL},
    [0x7e] = {X, X, 8, SHORT},
    [0x7f] = {X, X, FULL, ALL | ST | LOOSE},
    [0xc2] = {X, X, 4, FP_V},
    [0xd6] = {X, M, REG, OLD},
    [0xe6] = {X, X, HALF, FP},
};

static const struct simd_op map_0f_f2[256] = {
    [0x10] = {X, X, 8, ALL | SIMD_V_REGISTERS},
    [0x11] = {X, X, 8, ALL | ST | SIMD_V_REGISTERS},
    [0x12] = {X, X, SIMD_DUPLICATE, ALL},
    [0x2a] = {X, G, BY_W, FP_V},
    [0x2b] = {X, NO, 8, OLD | ST}, /* SSE4a: MOVNTSD */
    [0x2c ... 0x2d] = {G, X, 8, FP},
    [0x51] = {X, X, 8, FP_V},
    [0x58 ... 0x5a] = {X, X, 8, FP_V},
    [0x5c ... 0x5f] = {X, X, 8, FP_V},
    [0x70] = {X, X, FULL, ALL},
    [0x78 ... 0x79] = {X, X, REG, OLD}, /* SSE4a: INSERTQ */
    [0x7c ... 0x7d] = {X, X, FULL, FP_V},
    [0xc2] = {X, X, 8, FP_V},
    [0xd0] = {X, X, FULL, FP_V},
    [0xd6] = {M, X, REG, OLD},
    [0xe6] = {X, X, FULL, FP},
    [0xf0] = {X, NO, FULL, ALL | LOOSE},
};

static const struct simd_op map_0f38_none[256] = {
    [0x00 ... 0x0b] = {M, M, 8, OLD},
    [0x1c ... 0x1e] = {M, M, 8, OLD},
    [0xc8 ... 0xca] = {X, X, 16, OLD | LOOSE}, /* AMD's processors let SHA have unaligned operands */
    [0xcb] = {X, X, 16, OLD | LOOSE | SIMD_XMM0},
    [0xcc ... 0xcd] = {X, X, 16, OLD | LOOSE},
};

static const struct simd_op map_0f38_66[256] = {
    [0x00 ... 0x0b] = {X, X, FULL, ALL_V},
    [0x0c ... 0x0d] = {X, X, FULL, VEX_W0_V},
    [0x0e ... 0x0f] = {X, X, FULL, VEX_W0 | EFLAGS},
    [0x10] = {X, X, 16, OLD | SIMD_XMM0},
    [0x13] = {X, X, HALF, VEX_W0 | SIMD_FP},
    [0x14 ... 0x15] = {X, X, 16, OLD | SIMD_XMM0},
    [0x16] = {X, X, FULL, LONG_W0_V},
    [0x17] = {X, X, FULL, ALL | EFLAGS},
    [0x18] = {X, X, 4, VEX_W0},
    [0x19] = {X, X, 8, LONG_W0},
    [0x1a] = {X, NO, 16, LONG_W0},
    [0x1c ... 0x1e] = {X, X, FULL, ALL},
    [0x20] = {X, X, HALF, ALL},
    [0x21] = {X, X, QUARTER, ALL},
    [0x22] = {X, X, EIGHTH, ALL},
    [0x23] = {X, X, HALF, ALL},
    [0x24] = {X, X, QUARTER, ALL},
    [0x25] = {X, X, HALF, ALL},
    [0x28 ... 0x29] = {X, X, FULL, ALL_V},
    [0x2a] = {X, NO, FULL, ALL | ALIGN},
    [0x2b] = {X, X, FULL, ALL_V},
    [0x2c ... 0x2d] = {X, NO, FULL, VEX_W0_V | SPECIAL},
    [0x2e ... 0x2f] = {X, NO, FULL, VEX_W0_V | SPECIAL | ST},
    [0x30] = {X, X, HALF, ALL},
    [0x31] = {X, X, QUARTER, ALL},
    [0x32] = {X, X, EIGHTH, ALL},
    [0x33] = {X, X, HALF, ALL},
    [0x34] = {X, X, QUARTER, ALL},
    [0x35] = {X, X, HALF, ALL},
    [0x36] = {X, X, FULL, LONG_W0_V},
    [0x37 ... 0x40] = {X, X, FULL, ALL_V},
    [0x41] = {X, X, FULL, SHORT},
    [0x45] = {X, X, FULL, VEX_V},
    [0x46] = {X, X, FULL, VEX_W0_V},
    [0x47] = {X, X, FULL, VEX_V},
    [0x58] = {X, X, 4, VEX_W0},
    [0x59] = {X, X, 8, VEX_W0},
    [0x5a] = {X, NO, 16, LONG_W0},
    [0x78] = {X, X, 1, VEX_W0},
    [0x79] = {X, X, 2, VEX_W0},
    [0x8c] = {X, NO, FULL, VEX_V | SPECIAL},
    [0x8e] = {X, NO, FULL, VEX_V | SPECIAL | ST},
    [0x90 ... 0x93] = {X, NO, FULL, VEX_V | SPECIAL},
    [0x96 ... 0x98] = {X, X, FULL, FMA},
    [0x99] = {X, X, BY_W, FMA},
    [0x9a] = {X, X, FULL, FMA},
    [0x9b] = {X, X, BY_W, FMA},
    [0x9c] = {X, X, FULL, FMA},
    [0x9d] = {X, X, BY_W, FMA},
    [0x9e] = {X, X, FULL, FMA},
    [0x9f] = {X, X, BY_W, FMA},
    [0xa6 ... 0xa8] = {X, X, FULL, FMA},
    [0xa9] = {X, X, BY_W, FMA},
    [0xaa] = {X, X, FULL, FMA},
    [0xab] = {X, X, BY_W, FMA},
    [0xac] = {X, X, FULL, FMA},
    [0xad] = {X, X, BY_W, FMA},
    [0xae] = {X, X, FULL, FMA},
    [0xaf] = {X, X, BY_W, FMA},
    [0xb6 ... 0xb8] = {X, X, FULL, FMA},
    [0xb9] = {X, X, BY_W, FMA},
    [0xba] = {X, X, FULL, FMA},
    [0xbb] = {X, X, BY_W, FMA},
    [0xbc] = {X, X, FULL, FMA},
    [0xbd] = {X, X, BY_W, FMA},
    [0xbe] = {X, X, FULL, FMA},
    [0xbf] = {X, X, BY_W, FMA},
    [0xdb] = {X, X, 16, SHORT},
    [0xdc ... 0xdf] = {X, X, FULL, ALL_V},
};

static const struct simd_op map_0f3a_none[256] = {
    [0x0f] = {M, M, 8, OLD},
    [0xcc] = {X, X, 16, OLD | LOOSE},
};

static const struct simd_op map_0f3a_66[256] = {
    [0x00 ... 0x01] = {X, X, FULL, LONG}, /* W must be 1 on Intel's processors; AMD's do not look */
    [0x02] = {X, X, FULL, VEX_W0_V},
    [0x04 ... 0x05] = {X, X, FULL, VEX_W0},
    [0x06] = {X, X, FULL, LONG_W0_V},
    [0x08 ... 0x09] = {X, X, FULL, FP},
    [0x0a] = {X, X, 4, FP_V},
    [0x0b] = {X, X, 8, FP_V},
    [0x0c ... 0x0f] = {X, X, FULL, ALL_V},
    [0x14] = {X, G, 1, SHORT | ST},
    [0x15] = {X, G, 2, SHORT | ST},
    [0x16] = {X, G, BY_W, SHORT | ST},
    [0x17] = {X, G, 4, SHORT | ST},
    [0x18] = {X, X, 16, LONG_W0_V},
    [0x19] = {X, X, 16, LONG_W0 | ST},
    [0x1d] = {X, X, HALF, VEX_W0 | ST | SIMD_FP},
    [0x20] = {X, G, 1, SHORT_V},
    [0x21] = {X, X, 4, SHORT_V},
    [0x22] = {X, G, BY_W, SHORT_V},
    [0x38] = {X, X, 16, LONG_W0_V},
    [0x39] = {X, X, 16, LONG_W0 | ST},
    [0x40] = {X, X, FULL, FP_V},
    [0x41] = {X, X, FULL, SHORT_V | SIMD_FP},
    [0x42] = {X, X, FULL, ALL_V},
    [0x44] = {X, X, FULL, ALL_V},
    [0x46] = {X, X, FULL, LONG_W0_V},
    [0x4a ... 0x4c] = {X, X, FULL, VEX_W0_V | SIMD_IS4},
    [0x60] = {X, X, 16, STRING | SIMD_LENGTHS | SIMD_XMM0},
    [0x61] = {X, X, 16, STRING | SIMD_LENGTHS | SIMD_INDEX},
    [0x62] = {X, X, 16, STRING | SIMD_XMM0},
    [0x63] = {X, X, 16, STRING | SIMD_INDEX},
    [0xdf] = {X, X, 16, SHORT},
};

static const struct simd_op *const maps[3][4] = {
    {map_0f_none, map_0f_66, map_0f_f3, map_0f_f2},
    {map_0f38_none, map_0f38_66, NULL, NULL},
    {map_0f3a_none, map_0f3a_66, NULL, NULL},
};

/* 0F 71 to 73: a bit for each ModRM.reg that there is. */
static bool has_shift(const struct insn *insn)
{
    static const uint8_t mmx[3] = {0x54, 0x54, 0x44}, vector[3] = {0x54, 0x54, 0xcc};
    const uint8_t *known = insn->vex_pp ? vector : mmx;
    return known[insn->opcode - 0x71] >> (insn->modrm >> 3 & 7) & 1;
}

static bool fits_vex(const struct simd_op *op, const struct insn *insn)
{
    bool w = insn->prefixes & INSN_W;
    bool uses_v = op->flags & SIMD_V || (op->flags & SIMD_V_REGISTERS && !insn->memory);
    if (!(op->flags & (insn->vex_l ? SIMD_VEX256 : SIMD_VEX128)) || insn->vex_l > 1)
        return false;
    if (op->flags & SIMD_W0 && w)
        return false;
    return uses_v || !insn->vex;
}

const struct simd_op *simd_table_find(const struct insn *insn)
{
    if (insn->map < INSN_MAP_0F || insn->map > INSN_MAP_0F3A || insn->vex_pp > 3)
        return NULL;
    const struct simd_op *map = maps[insn->map - INSN_MAP_0F][insn->vex_pp];
    if (!map)
        return NULL;
    const struct simd_op *op = &map[insn->opcode];
    if (insn->encoding == INSN_VEX ? !fits_vex(op, insn) : !(op->flags & SIMD_LEGACY))
        return NULL;
    if (insn->map == INSN_MAP_0F && insn->opcode == 0x77)
        return op;
    if (insn->memory ? !op->memory : !op->rm)
        return NULL;
    if (insn->map == INSN_MAP_0F && insn->opcode >= 0x71 && insn->opcode <= 0x73 && !has_shift(insn))
        return NULL;
    if (op->reg == SIMD_NO_OPERAND && insn->opcode == 0x78 && insn->modrm & 0x38)
        return NULL;
    return op;
}

/* ---- x87 ---- */

enum {
    LOAD = SIMD_LEGACY,
    STORE = SIMD_LEGACY | SIMD_STORE,
    CONTROL = SIMD_LEGACY | SIMD_CONTROL,
    CONTROL_STORE = SIMD_LEGACY | SIMD_CONTROL | SIMD_STORE | SIMD_NO_WAIT,
};

static const struct simd_op x87_memory[8][8] = {
    {[0 ... 7] = {NO, NO, 4, LOAD}},
    {{NO, NO, 4, LOAD},
     {0},
     {NO, NO, 4, STORE},
     {NO, NO, 4, STORE},
     {NO, NO, SIMD_ENVIRONMENT, CONTROL},
     {NO, NO, 2, CONTROL},
     {NO, NO, SIMD_ENVIRONMENT, CONTROL_STORE},
     {NO, NO, 2, CONTROL_STORE}},
    {[0 ... 7] = {NO, NO, 4, LOAD}},
    {{NO, NO, 4, LOAD},
     {NO, NO, 4, STORE},
     {NO, NO, 4, STORE},
     {NO, NO, 4, STORE},
     {0},
     {NO, NO, 10, LOAD},
     {0},
     {NO, NO, 10, STORE}},
    {[0 ... 7] = {NO, NO, 8, LOAD}},
    {{NO, NO, 8, LOAD},
     {NO, NO, 8, STORE},
     {NO, NO, 8, STORE},
     {NO, NO, 8, STORE},
     {NO, NO, SIMD_X87_ALL, CONTROL},
     {0},
     {NO, NO, SIMD_X87_ALL, CONTROL_STORE},
     {NO, NO, 2, CONTROL_STORE}},
    {[0 ... 7] = {NO, NO, 2, LOAD}},
    {{NO, NO, 2, LOAD},
     {NO, NO, 2, STORE},
     {NO, NO, 2, STORE},
     {NO, NO, 2, STORE},
     {NO, NO, 10, LOAD},
     {NO, NO, 8, LOAD},
     {NO, NO, 10, STORE},
     {NO, NO, 8, STORE}},
};

/* Register forms: a bit for each ModRM.rm, by opcode and ModRM.reg. The aliases that every processor has (D9 D8, DC D0,
 * DD C8...) are in. */
static const uint8_t x87_registers[8][8] = {
    {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, /* D8 */
    {0xff, 0xff, 0x01, 0xff, 0x33, 0x7f, 0xff, 0xff}, /* D9: FNOP; FCHS, FABS, FTST, FXAM; constants */
    {0xff, 0xff, 0xff, 0xff, 0x00, 0x02, 0x00, 0x00}, /* DA: FCMOV; FUCOMPP */
    {0xff, 0xff, 0xff, 0xff, 0x1f, 0xff, 0xff, 0x00}, /* DB: FCMOVN; FNENI to FNSETPM; FUCOMI, FCOMI */
    {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, /* DC */
    {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00}, /* DD */
    {0xff, 0xff, 0xff, 0x02, 0xff, 0xff, 0xff, 0xff}, /* DE: FCOMPP */
    {0xff, 0xff, 0xff, 0xff, 0x01, 0xff, 0xff, 0x00}, /* DF: FNSTSW AX */
};

const struct simd_op *simd_table_find_x87(const struct insn *insn)
{
    static const struct simd_op plain = {NO, NO, REG, LOAD}, compares = {NO, NO, REG, LOAD | SIMD_FLAGS},
                                moves = {NO, NO, REG, LOAD | SIMD_FLAGS_IN},
                                control = {NO, NO, REG, CONTROL | SIMD_NO_WAIT},
                                status = {NO, NO, REG, CONTROL | SIMD_NO_WAIT | SIMD_AX};
    unsigned row = insn->opcode & 7, reg = insn->modrm >> 3 & 7;
    if (insn->memory) {
        const struct simd_op *op = &x87_memory[row][reg];
        return op->flags ? op : NULL;
    }
    if (!(x87_registers[row][reg] >> (insn->modrm & 7) & 1))
        return NULL;
    if ((row == 2 || row == 3) && reg < 4)
        return &moves;
    if ((row == 3 || row == 7) && (reg == 5 || reg == 6))
        return &compares;
    if (row == 3 && reg == 4)
        return &control;
    if (row == 7 && reg == 4)
        return &status;
    return &plain;
}

unsigned simd_table_bytes(const struct simd_op *op, const struct insn *insn)
{
    unsigned vector = insn->encoding == INSN_VEX && insn->vex_l ? 32 : 16;
    switch (op->memory) {
    case SIMD_FULL:
        return vector;
    case SIMD_HALF:
        return vector / 2;
    case SIMD_QUARTER:
        return vector / 4;
    case SIMD_EIGHTH:
        return vector / 8;
    case SIMD_BY_W:
        return op->rm == SIMD_VECTOR ? (insn->prefixes & INSN_W ? 8 : 4) : insn->bytes == 8 ? 8 : 4;
    case SIMD_DUPLICATE:
        return vector == 32 ? 32 : 8;
    case SIMD_ENVIRONMENT:
        return insn->bytes == 2 ? 14 : 28;
    case SIMD_X87_ALL:
        return insn->bytes == 2 ? 94 : 108;
    default:
        return op->memory;
    }
}
