/* See decode.h. Prefixes, then opcode, ModRM with SIB and displacement, then what the tables and decode_refine.c say it
 * is, then immediates. */
#include "hv/dbt/decode.h"

#include "hv/cpu_state.h"
#include "hv/dbt/decode_refine.h"
#include "hv/dbt/decode_table.h"

struct cursor {
    const uint8_t *code;
    unsigned at, available;
    int failed; /* NOT_FAILED, or what insn_decode() returns */
};

enum { NOT_FAILED = 1, REX_W = 8, REX_R = 4, REX_X = 2, REX_B = 1 };

static uint64_t take(struct cursor *c, unsigned bytes)
{
    if (c->failed != NOT_FAILED)
        return 0;
    if (c->at + bytes > INSN_BYTES_MAX || c->at + bytes > c->available) {
        c->failed = c->at + bytes > INSN_BYTES_MAX ? INSN_TOO_LONG : INSN_SHORT;
        return 0;
    }
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)c->code[c->at + i] << 8 * i;
    c->at += bytes;
    return value;
}

static uint8_t peek(const struct cursor *c) /* of VEX and its like: the byte behind is needed anyhow */
{
    return c->at < c->available ? c->code[c->at] : 0;
}

static uint64_t take_signed(struct cursor *c, unsigned bytes)
{
    uint64_t value = take(c, bytes);
    unsigned shift = 64 - 8 * bytes;
    return (uint64_t)((int64_t)(value << shift) >> shift);
}

/* Returns the first byte behind the prefixes, with REX in *rex. */
static uint8_t take_prefixes(struct cursor *c, struct insn *insn, unsigned code_bytes, uint8_t *rex)
{
    static const uint8_t legacy_segment[] = {CPU_ES, CPU_CS, CPU_SS, CPU_DS};
    *rex = 0;
    for (;;) {
        uint8_t byte = (uint8_t)take(c, 1);
        if (c->failed != NOT_FAILED)
            return 0;
        switch (byte) {
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e:
            if (code_bytes != 8) {
                insn->prefixes |= INSN_SEGMENT;
                insn->segment = legacy_segment[byte >> 3 & 3];
            }
            break;
        case 0x64:
        case 0x65:
            insn->prefixes |= INSN_SEGMENT;
            insn->segment = byte == 0x64 ? CPU_FS : CPU_GS;
            break;
        case 0x66:
            insn->prefixes |= INSN_66;
            break;
        case 0x67:
            insn->prefixes |= INSN_67;
            break;
        case 0xf0:
            insn->prefixes |= INSN_LOCK;
            break;
        case 0xf2:
            insn->prefixes = (uint8_t)((insn->prefixes & ~INSN_REP) | INSN_REPNE);
            break;
        case 0xf3:
            insn->prefixes = (uint8_t)((insn->prefixes & ~INSN_REPNE) | INSN_REP);
            break;
        default:
            if (code_bytes == 8 && (byte & 0xf0) == 0x40) {
                *rex = byte;
                continue; /* one that is followed by another prefix does not count */
            }
            return byte;
        }
        *rex = 0;
    }
}

static void address16(struct cursor *c, struct insn *insn, unsigned mod, unsigned rm)
{
    static const uint8_t bases[8] = {CPU_RBX, CPU_RBX, CPU_RBP, CPU_RBP, CPU_RSI, CPU_RDI, CPU_RBP, CPU_RBX};
    static const uint8_t indexes[8] = {CPU_RSI,          CPU_RDI,          CPU_RSI,          CPU_RDI,
                                       INSN_NO_REGISTER, INSN_NO_REGISTER, INSN_NO_REGISTER, INSN_NO_REGISTER};
    insn->base = bases[rm];
    insn->index = indexes[rm];
    if (mod == 0 && rm == 6) {
        insn->base = INSN_NO_REGISTER;
        insn->displacement = (int32_t)take_signed(c, 2);
    } else if (mod) {
        insn->displacement = (int32_t)take_signed(c, mod);
    }
}

static void address32(struct cursor *c, struct insn *insn, unsigned mod, unsigned rm, uint8_t rex, unsigned code_bytes,
                      bool vector_index)
{
    unsigned base = rm;
    if (rm == 4) {
        uint8_t sib = (uint8_t)take(c, 1);
        unsigned index = (sib >> 3 & 7u) | (rex & REX_X ? 8 : 0);
        insn->scale = sib >> 6;
        insn->index = index == 4 && !vector_index ? INSN_NO_REGISTER : (uint8_t)index;
        base = sib & 7;
    }
    insn->base = (uint8_t)(base | (rex & REX_B ? 8 : 0));
    if (mod == 0 && base == 5) {
        insn->base = INSN_NO_REGISTER;
        insn->rip_relative = code_bytes == 8 && rm == 5;
        insn->displacement = (int32_t)take_signed(c, 4);
    } else if (mod) {
        insn->displacement = (int32_t)take_signed(c, mod == 1 ? 1 : 4);
    }
}

/* registers: E is a register whatever mod says (MOV to and from CR, DR). */
static void take_modrm(struct cursor *c, struct insn *insn, uint8_t rex, unsigned code_bytes, bool registers,
                       bool vector_index)
{
    uint8_t modrm = (uint8_t)take(c, 1);
    unsigned mod = modrm >> 6, rm = modrm & 7;
    insn->modrm = modrm;
    insn->reg = (uint8_t)((modrm >> 3 & 7) | (rex & REX_R ? 8 : 0));
    if (mod == 3 || registers) {
        insn->rm = (uint8_t)(rm | (rex & REX_B ? 8 : 0));
        return;
    }
    insn->memory = true;
    if (insn->address_bytes == 2)
        address16(c, insn, mod, rm);
    else
        address32(c, insn, mod, rm, rex, code_bytes, vector_index);
    if (!(insn->prefixes & INSN_SEGMENT))
        insn->segment = insn->base == CPU_RSP || insn->base == CPU_RBP ? CPU_SS : CPU_DS;
}

static unsigned operand_bytes(const struct insn *insn, unsigned flags, unsigned code_bytes)
{
    bool small = insn->prefixes & INSN_66;
    if (flags & DECODE_BYTE)
        return 1;
    if (code_bytes == 8) {
        if (insn->prefixes & INSN_W || flags & DECODE_FORCE64)
            return 8;
        if (small)
            return 2;
        return flags & DECODE_DEFAULT64 ? 8 : 4;
    }
    return small == (code_bytes == 2) ? 4 : 2;
}

static void take_immediate(struct cursor *c, struct insn *insn, unsigned how, unsigned code_bytes)
{
    unsigned before = c->at, z = insn->bytes == 2 ? 2 : 4;
    switch (how) {
    case DECODE_I8:
    case DECODE_J8:
        insn->immediate = take_signed(c, 1);
        break;
    case DECODE_IZ:
        insn->immediate = take_signed(c, z);
        break;
    case DECODE_JZ:
        insn->immediate = take_signed(c, code_bytes == 8 ? 4 : z);
        break;
    case DECODE_IV:
        insn->immediate = take_signed(c, insn->bytes);
        break;
    case DECODE_I16:
        insn->immediate = take(c, 2);
        break;
    case DECODE_OFFSET:
        insn->immediate = take(c, insn->address_bytes);
        break;
    case DECODE_FAR:
        insn->immediate = take(c, z);
        insn->immediate2 = (uint16_t)take(c, 2);
        break;
    case DECODE_ENTER:
        insn->immediate = take(c, 2);
        insn->immediate2 = (uint16_t)take(c, 1);
        break;
    }
    insn->immediate_bytes = (uint8_t)(c->at - before);
}

/* ---- encodings with an escape ---- */

static bool has_i8_in_vector_map1(uint8_t opcode)
{
    return (opcode >= 0x70 && opcode <= 0x73) || opcode == 0xc2 || (opcode >= 0xc4 && opcode <= 0xc6);
}

/* Behind the prefix bytes of VEX, EVEX, XOP: opcode, ModRM, immediate. */
static void take_vector(struct cursor *c, struct insn *insn, uint8_t rex, unsigned code_bytes)
{
    insn->opcode = (uint8_t)take(c, 1);
    bool zeroall = insn->encoding == INSN_VEX && insn->map == INSN_MAP_0F && insn->opcode == 0x77;
    bool gather = insn->map == INSN_MAP_0F38 &&
                  (insn->encoding != INSN_VEX ? insn->encoding == INSN_EVEX : (insn->opcode & 0xfc) == 0x90);
    if (!zeroall)
        take_modrm(c, insn, rex, code_bytes, false, gather);
    if (insn->map == INSN_MAP_0F3A || (insn->map == INSN_MAP_0F && has_i8_in_vector_map1(insn->opcode)))
        take_immediate(c, insn, DECODE_I8, code_bytes);
}

static void take_vex(struct cursor *c, struct insn *insn, bool three, uint8_t rex, unsigned code_bytes)
{
    bool undefined = rex || insn->prefixes & (INSN_LOCK | INSN_66 | INSN_REP | INSN_REPNE);
    uint8_t first = (uint8_t)take(c, 1), second = first;
    unsigned map = 1;
    rex = first & 0x80 ? 0 : REX_R;
    if (three) {
        second = (uint8_t)take(c, 1);
        rex = (uint8_t)(~first >> 5 & 7);
        map = first & 0x1f;
        if (second & 0x80)
            insn->prefixes |= INSN_W;
    }
    if (code_bytes != 8)
        rex = 0;
    insn->encoding = INSN_VEX;
    insn->map = map >= 1 && map <= 3 ? (uint8_t)(INSN_MAP_0F + map - 1) : INSN_MAP_OTHER;
    insn->vex = (uint8_t)(~second >> 3 & (code_bytes == 8 ? 15 : 7));
    insn->vex_l = second >> 2 & 1;
    insn->vex_pp = second & 3;
    take_vector(c, insn, rex, code_bytes);
    decode_refine_vex(insn, code_bytes);
    if (undefined)
        insn->kind = INSN_UD;
}

/* Not shown in CPUID: only the length counts. */
static void take_evex(struct cursor *c, struct insn *insn, unsigned code_bytes)
{
    uint8_t first = (uint8_t)take(c, 1);
    take(c, 2);
    unsigned map = first & 7;
    insn->encoding = INSN_EVEX;
    insn->map = map >= 1 && map <= 3 ? (uint8_t)(INSN_MAP_0F + map - 1) : INSN_MAP_OTHER;
    take_vector(c, insn, 0, code_bytes);
    insn->kind = INSN_UD;
}

static void take_xop(struct cursor *c, struct insn *insn, unsigned code_bytes)
{
    uint8_t first = (uint8_t)take(c, 1);
    take(c, 1);
    insn->encoding = INSN_XOP;
    insn->map = INSN_MAP_OTHER;
    take_vector(c, insn, 0, code_bytes);
    unsigned map = first & 0x1f;
    if (map == 8)
        take_immediate(c, insn, DECODE_I8, code_bytes);
    else if (map == 10) /* always 4 bytes */
        insn->immediate = take_signed(c, 4), insn->immediate_bytes = 4;
    insn->kind = INSN_UD;
}

/* C4, C5, 62 and 8F are prefixes in 64-bit mode, elsewhere only with what would be a register operand. */
static bool take_escape(struct cursor *c, struct insn *insn, uint8_t byte, uint8_t rex, unsigned code_bytes)
{
    uint8_t next = peek(c);
    bool vector = code_bytes == 8 || next >= 0xc0;
    if ((byte == 0xc4 || byte == 0xc5) && vector) {
        take_vex(c, insn, byte == 0xc4, rex, code_bytes);
        return true;
    }
    if (byte == 0x62 && vector) {
        take_evex(c, insn, code_bytes);
        return true;
    }
    if (byte == 0x8f && (next & 0x1f) >= 8) {
        take_xop(c, insn, code_bytes);
        return true;
    }
    return false;
}

/* ---- legacy maps ---- */

static void take_0f38_0f3a(struct cursor *c, struct insn *insn, uint8_t rex, unsigned code_bytes)
{
    insn->opcode = (uint8_t)take(c, 1);
    insn->bytes = (uint8_t)operand_bytes(insn, 0, code_bytes);
    take_modrm(c, insn, rex, code_bytes, false, false);
    if (insn->map == INSN_MAP_0F38) {
        decode_refine_0f38(insn);
    } else {
        insn->kind = INSN_SIMD;
        insn->form = INSN_FORM_GEI;
        take_immediate(c, insn, DECODE_I8, code_bytes);
    }
}

static void take_3dnow(struct cursor *c, struct insn *insn, uint8_t rex, unsigned code_bytes)
{
    insn->map = INSN_MAP_3DNOW;
    insn->form = INSN_FORM_GE;
    insn->kind = INSN_SIMD;
    take_modrm(c, insn, rex, code_bytes, false, false);
    insn->opcode = (uint8_t)take(c, 1);
    insn->immediate_bytes = 1;
}

static void take_listed(struct cursor *c, struct insn *insn, uint8_t rex, unsigned code_bytes)
{
    const struct decode_entry *e = insn->map == INSN_MAP_1 ? &decode_map_1[insn->opcode] : &decode_map_0f[insn->opcode];
    bool control = insn->map == INSN_MAP_0F && insn->opcode >= 0x20 && insn->opcode <= 0x27;
    insn->kind = e->kind;
    insn->form = e->form;
    insn->bytes = (uint8_t)operand_bytes(insn, e->flags, code_bytes);
    if (control)
        insn->bytes = code_bytes == 8 ? 8 : 4;
    if (e->flags & DECODE_MODRM)
        take_modrm(c, insn, rex, code_bytes, control, false);
    else if (e->flags & DECODE_OPCODE_RM)
        insn->rm = (uint8_t)((insn->opcode & 7) | (rex & REX_B ? 8 : 0));
    if (e->flags & DECODE_GROUP)
        insn->kind = decode_groups[e->kind][insn->modrm >> 3 & 7];
    decode_refine(insn, code_bytes);
    unsigned immediate = e->immediate;
    if (insn->map == INSN_MAP_1 && (insn->opcode & 0xfe) == 0xf6 && insn->form == INSN_FORM_EI)
        immediate = insn->opcode == 0xf6 ? DECODE_I8 : DECODE_IZ;
    take_immediate(c, insn, immediate, code_bytes);
    if (insn->map == INSN_MAP_0F && insn->opcode == 0x78 && insn->kind == INSN_SIMD) { /* EXTRQ, INSERTQ */
        insn->immediate = take(c, 1);
        insn->immediate2 = (uint16_t)take(c, 1);
        insn->immediate_bytes = 2;
    }
    if ((e->flags & DECODE_NOT64 && code_bytes == 8) || (e->flags & DECODE_MEMORY && !insn->memory))
        insn->kind = INSN_UD;
}

static void take_legacy(struct cursor *c, struct insn *insn, uint8_t byte, uint8_t rex, unsigned code_bytes)
{
    if (insn->prefixes & INSN_REP)
        insn->vex_pp = 2;
    else if (insn->prefixes & INSN_REPNE)
        insn->vex_pp = 3;
    else
        insn->vex_pp = insn->prefixes & INSN_66 ? 1 : 0;
    insn->opcode = byte;
    if (byte == 0x0f) {
        insn->map = INSN_MAP_0F;
        insn->opcode = (uint8_t)take(c, 1);
        if (insn->opcode == 0x38 || insn->opcode == 0x3a) {
            insn->map = insn->opcode == 0x38 ? INSN_MAP_0F38 : INSN_MAP_0F3A;
            take_0f38_0f3a(c, insn, rex, code_bytes);
            return;
        }
        if (insn->opcode == 0x0f) {
            take_3dnow(c, insn, rex, code_bytes);
            return;
        }
    }
    take_listed(c, insn, rex, code_bytes);
}

int insn_decode(struct insn *insn, const uint8_t *code, unsigned available, unsigned code_bytes)
{
    *insn = (struct insn){.base = INSN_NO_REGISTER, .index = INSN_NO_REGISTER, .segment = CPU_DS};
    struct cursor c = {.code = code, .available = available, .failed = NOT_FAILED};
    uint8_t rex, byte = take_prefixes(&c, insn, code_bytes, &rex);
    bool small = insn->prefixes & INSN_67;
    insn->address_bytes = code_bytes == 8 ? (small ? 4 : 8) : small == (code_bytes == 2) ? 4 : 2;
    if (rex)
        insn->prefixes |= INSN_REX | (rex & REX_W ? INSN_W : 0);
    if (!take_escape(&c, insn, byte, rex, code_bytes))
        take_legacy(&c, insn, byte, rex, code_bytes);
    if (c.failed != NOT_FAILED)
        return c.failed;
    if (insn->prefixes & INSN_LOCK && !decode_lockable(insn))
        insn->kind = INSN_UD;
    insn->length = (uint8_t)c.at;
    return insn->length;
}

bool insn_ends_run(const struct insn *insn)
{
    switch (insn->kind) {
    case INSN_UD:
    case INSN_POP_SEG:
    case INSN_POPF:
    case INSN_MOVS ... INSN_SYSEXIT: /* strings may stop in the middle; then all control flow */
    case INSN_MOV_TO_SEG:
    case INSN_LOAD_FAR:
    case INSN_LLDT ... INSN_LTR:
    case INSN_LGDT ... INSN_LIDT:
    case INSN_LMSW ... INSN_SWAPGS:
    case INSN_WRFSBASE ... INSN_MOV_TO_DR:
    case INSN_INVLPG ... INSN_WBINVD:
    case INSN_WRMSR:
    case INSN_VMCALL:
    case INSN_XSETBV:
    case INSN_XRSTOR:
        return true;
    default:
        return false;
    }
}
