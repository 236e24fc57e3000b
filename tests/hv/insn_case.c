/* See insn_case.h: instructions. A case is opcode and prefixes from a list of what user mode may do, and random bytes
 * behind; the decoder says where it ends and what it reads, and then registers and displacements are arranged so that
 * it mostly meets memory that is there.
 *
 * Left out is what would leave the cage (system calls, ports, WRFSBASE, XBEGIN, XRSTOR of more than AVX), what is not
 * the same twice (RDTSC, RDRAND, CPUID), and POPF, which could set TF. */
#include "tests/hv/insn_case.h"

#include <string.h>

enum { RANDOM_TAIL = 15 };

const char *const insn_group_names[INSN_GROUP_COUNT] = {
    [INSN_GROUP_INTEGER] = "integer", [INSN_GROUP_BITS] = "bits",   [INSN_GROUP_STRING] = "string",
    [INSN_GROUP_BRANCH] = "branch",   [INSN_GROUP_X87] = "x87",     [INSN_GROUP_MMX_SSE] = "sse",
    [INSN_GROUP_AVX] = "avx",         [INSN_GROUP_STATE] = "state",
};

struct range {
    uint8_t first, last;
};

#define COUNT(list) (sizeof(list) / sizeof(*(list)))

static uint8_t from(struct dice *dice, const struct range *ranges, unsigned count)
{
    unsigned total = 0;
    for (unsigned i = 0; i < count; i++)
        total += ranges[i].last - ranges[i].first + 1u;
    unsigned n = dice_roll(dice, total);
    for (unsigned i = 0; i < count; i++) {
        unsigned size = ranges[i].last - ranges[i].first + 1u;
        if (n < size)
            return (uint8_t)(ranges[i].first + n);
        n -= size;
    }
    return 0x90;
}

struct writer {
    uint8_t byte[INSN_BYTES_MAX + RANDOM_TAIL + 8];
    unsigned count;
    bool legacy; /* 32-bit or 16-bit code: no REX, no GS, whose selector is null */
    bool is_16;  /* segments that begin elsewhere, so that it matters which one it is */
};

static void put(struct writer *w, unsigned byte)
{
    w->byte[w->count++] = (uint8_t)byte;
}

static void prefixes(struct writer *w, struct dice *dice, unsigned percent66, unsigned percent_rep)
{
    static const uint8_t segments[] = {0x26, 0x36, 0x3e};
    if (dice_percent(dice, 3) && !w->legacy)
        put(w, 0x65);
    if (w->is_16 && dice_percent(dice, 6))
        put(w, segments[dice_roll(dice, 3)]);
    if (dice_percent(dice, w->is_16 ? 25 : 4))
        put(w, 0x67);
    if (dice_percent(dice, 2))
        put(w, 0xf0);
    if (dice_percent(dice, percent66))
        put(w, 0x66);
    if (dice_percent(dice, percent_rep))
        put(w, dice_roll(dice, 2) ? 0xf2 : 0xf3);
}

static void rex(struct writer *w, struct dice *dice)
{
    if (dice_percent(dice, 60) && !w->legacy)
        put(w, 0x40 | dice_roll(dice, 16));
}

static void integer(struct writer *w, struct dice *dice)
{
    static const struct range one[] = {
        {0x00, 0x0e}, {0x10, 0x25}, {0x28, 0x2d}, {0x30, 0x35}, {0x38, 0x3d}, {0x50, 0x5f}, {0x63, 0x63}, {0x68, 0x6b},
        {0x80, 0x81}, {0x83, 0x8b}, {0x83, 0x8b}, {0x8d, 0x8d}, {0x8f, 0x8f}, {0x90, 0x99}, {0x9e, 0x9f}, {0xa0, 0xa3},
        {0xa8, 0xa9}, {0xb0, 0xbf}, {0xc0, 0xc1}, {0xc0, 0xc1}, {0xc8, 0xc9}, {0xd0, 0xd4}, {0xd0, 0xd3}, {0xd7, 0xd7},
        {0xf5, 0xf9}, {0xfc, 0xfd}, {0xf6, 0xf7}, {0xf6, 0xf7}, {0xfe, 0xff},
    };
    static const struct range two[] = {
        {0x0d, 0x0d}, {0x18, 0x1f}, {0x40, 0x4f}, {0x90, 0x9f}, {0xa3, 0xa5}, {0xab, 0xad}, {0xaf, 0xb1},
        {0xb3, 0xb3}, {0xb6, 0xb7}, {0xba, 0xbf}, {0xc0, 0xc1}, {0xc3, 0xc3}, {0xc8, 0xcf},
    };
    static const struct range no_longer[] = {{0x27, 0x27}, {0x2f, 0x2f}, {0x37, 0x37}, {0x3f, 0x3f},
                                             {0x40, 0x4f}, {0x60, 0x62}, {0x82, 0x82}, {0xd4, 0xd5}};
    bool escape = dice_percent(dice, 40);
    prefixes(w, dice, 25, escape ? 5 : 0);
    rex(w, dice);
    if (escape)
        put(w, 0x0f);
    if (w->legacy && !escape && dice_percent(dice, 20))
        put(w, from(dice, no_longer, COUNT(no_longer)));
    else
        put(w, escape ? from(dice, two, COUNT(two)) : from(dice, one, COUNT(one)));
}

static void vex(struct writer *w, struct dice *dice, unsigned map, unsigned pp, unsigned opcode)
{
    unsigned fixed_v = dice_percent(dice, 40) ? 0x78 : dice_roll(dice, 16) << 3;
    unsigned l = dice_roll(dice, 2) << 2;
    unsigned ones = w->legacy ? 6 : 0; /* of R and X: else it is LDS or LES */
    if (w->legacy)
        fixed_v |= 0x40;
    if (map == 1 && dice_percent(dice, 40)) {
        put(w, 0xc5);
        put(w, (dice_roll(dice, 2) | ones >> 2) << 7 | fixed_v | l | pp);
    } else {
        put(w, 0xc4);
        put(w, (dice_roll(dice, 8) | ones) << 5 | map);
        put(w, (dice_percent(dice, 35) ? 0x80 : 0) | fixed_v | l | pp);
    }
    put(w, opcode);
}

static void bits(struct writer *w, struct dice *dice)
{
    static const struct range legacy[] = {{0xf0, 0xf1}, {0xf0, 0xf1}, {0xf6, 0xf6}};
    static const struct range encoded[] = {{0xf2, 0xf3}, {0xf5, 0xf7}, {0xf5, 0xf7}};
    unsigned what = dice_roll(dice, 8);
    if (what < 2) {
        prefixes(w, dice, 30, 50);
        rex(w, dice);
        put(w, 0x0f);
        put(w, 0x38);
        put(w, from(dice, legacy, COUNT(legacy)));
    } else if (what == 2) { /* POPCNT, TZCNT, LZCNT, CMPXCHG8B */
        static const uint8_t rows[] = {0xb8, 0xbc, 0xbd, 0xc7};
        unsigned opcode = rows[dice_roll(dice, 4)];
        if (dice_percent(dice, 20))
            put(w, 0x66);
        if (opcode != 0xc7)
            put(w, 0xf3);
        rex(w, dice);
        put(w, 0x0f);
        put(w, opcode);
    } else if (what == 3) {
        vex(w, dice, 3, dice_percent(dice, 80) ? 3 : dice_roll(dice, 4), 0xf0);
    } else {
        unsigned pp = dice_roll(dice, 4);
        vex(w, dice, 2, pp, from(dice, encoded, COUNT(encoded)));
    }
}

static void string(struct writer *w, struct dice *dice)
{
    static const struct range rows[] = {{0xa4, 0xa7}, {0xaa, 0xaf}};
    prefixes(w, dice, 25, 60);
    rex(w, dice);
    put(w, from(dice, rows, COUNT(rows)));
}

static void branch(struct writer *w, struct dice *dice)
{
    static const struct range one[] = {{0x70, 0x7f}, {0xe0, 0xe3}, {0xe8, 0xe9}, {0xeb, 0xeb}, {0xc2, 0xc3},
                                       {0xc2, 0xc3}, {0xff, 0xff}, {0xff, 0xff}, {0xff, 0xff}};
    if (dice_percent(dice, 10))
        put(w, 0x67);
    bool escape = dice_percent(dice, 30);
    unsigned opcode = escape ? 0x80 | dice_roll(dice, 16) : from(dice, one, COUNT(one));
    if (dice_percent(dice, 10) && (opcode & 0xfc) != 0xe0) /* BND; REPNE LOOPE is another thing on some processors */
        put(w, 0xf2);
    rex(w, dice);
    if (escape)
        put(w, 0x0f);
    put(w, opcode);
    bool call = dice_roll(dice, 2);
    if (opcode == 0xff)
        put(w, (dice_roll(dice, 256) & 0xc7) | (call ? 0x10 : 0x20));
}

static void x87(struct writer *w, struct dice *dice)
{
    if (dice_percent(dice, 3) && !w->legacy)
        put(w, 0x65);
    if (dice_percent(dice, 3))
        put(w, 0x66);
    rex(w, dice);
    put(w, dice_percent(dice, 2) ? 0x9b : 0xd8 | dice_roll(dice, 8));
}

static const struct range vector_0f[] = {{0x10, 0x17}, {0x28, 0x2f}, {0x50, 0x77}, {0x7c, 0x7f},
                                         {0xc2, 0xc2}, {0xc4, 0xc6}, {0xd0, 0xfe}};
static const struct range vector_0f38[] = {{0x00, 0x0b}, {0x10, 0x17}, {0x1c, 0x25}, {0x28, 0x2b},
                                           {0x30, 0x41}, {0xc8, 0xcd}, {0xdb, 0xdf}, {0x00, 0x7f}};
static const struct range vector_0f3a[] = {{0x08, 0x0f}, {0x14, 0x17}, {0x20, 0x22}, {0x40, 0x44},
                                           {0x60, 0x63}, {0xcc, 0xcc}, {0xdf, 0xdf}, {0x00, 0x7f}};

static void mmx_sse(struct writer *w, struct dice *dice)
{
    unsigned map = dice_roll(dice, 10);
    prefixes(w, dice, 45, map < 6 ? 25 : 1);
    rex(w, dice);
    put(w, 0x0f);
    if (map < 6) {
        put(w, from(dice, vector_0f, COUNT(vector_0f)));
    } else if (map < 8) {
        put(w, 0x38);
        put(w, from(dice, vector_0f38, COUNT(vector_0f38)));
    } else {
        put(w, 0x3a);
        put(w, from(dice, vector_0f3a, COUNT(vector_0f3a)));
    }
}

static void avx(struct writer *w, struct dice *dice)
{
    static const struct range more_0f38[] = {{0x00, 0x47}, {0x58, 0x5a}, {0x78, 0x79}, {0x8c, 0x8e},
                                             {0x90, 0x93}, {0x90, 0xbf}, {0xdb, 0xdf}};
    static const struct range more_0f3a[] = {{0x00, 0x22}, {0x38, 0x39}, {0x40, 0x4c}, {0x60, 0x63}, {0xdf, 0xdf}};
    unsigned kind = dice_roll(dice, 10), map = kind < 5 ? 1 : kind < 8 ? 2 : 3;
    if (dice_percent(dice, 3) && !w->legacy)
        put(w, 0x65);
    if (dice_percent(dice, 3))
        put(w, 0x67);
    unsigned any = dice_roll(dice, 4), pp = map == 1 || dice_percent(dice, 4) ? any : 1;
    if (map == 1)
        vex(w, dice, map, pp, from(dice, vector_0f, COUNT(vector_0f)));
    else if (map == 2)
        vex(w, dice, map, pp, from(dice, more_0f38, COUNT(more_0f38)));
    else
        vex(w, dice, map, pp, from(dice, more_0f3a, COUNT(more_0f3a)));
}

static void state(struct writer *w, struct dice *dice)
{
    static const uint8_t legacy[] = {0, 1, 2, 3, 4, 5, 6};
    rex(w, dice);
    if (dice_percent(dice, 10) && !w->count) {
        vex(w, dice, 1, 0, 0xae);
        put(w, 0x10 | (dice_roll(dice, 256) & 0x8f)); /* /2, /3, in memory */
        return;
    }
    put(w, 0x0f);
    put(w, 0xae);
    unsigned reg = legacy[dice_roll(dice, 7)];
    put(w, (dice_roll(dice, 3 << 6) & 0xc7) | reg << 3);
}

/* ---- what the registers and the memory must be like for it ---- */

static uint64_t code_target(struct dice *dice)
{
    uint64_t at = INSN_CODE + INSN_AT + 32 + dice_roll(dice, 64);
    return dice_roll(dice, 2) ? at : at - 160;
}

static void arrange_branch(struct insn_case *c, const struct insn *insn, struct dice *dice)
{
    uint64_t linear = code_target(dice), to = insn_pointer(c, linear);
    uint64_t stack = INSN_DATA + 512 + 8 * dice_roll(dice, 64);
    if (dice_percent(dice, 95))
        c->in.gpr[CPU_RSP] = insn_offset(c, stack);
    if (insn->form == INSN_FORM_J) {
        uint32_t distance = (uint32_t)(linear - (INSN_CODE + INSN_AT) - insn->length);
        memcpy(c->code + insn->length - insn->immediate_bytes, &distance, insn->immediate_bytes);
    } else if (insn->kind == INSN_RET) {
        insn_operands_patch(c, stack, &to, sizeof(to));
    } else if (!insn->memory) {
        c->in.gpr[insn->rm] = to;
        if (insn->rm == CPU_RSP && insn->kind == INSN_CALL)
            c->in.gpr[CPU_RSP] = to; /* faults, on both sides */
    }
}

/* Indirect through memory: the operand is wherever insn_operands_address() put it. */
static void arrange_indirect(struct insn_case *c, const struct insn *insn, struct dice *dice)
{
    uint64_t to = insn_pointer(c, code_target(dice)), at = INSN_DATA + 1024 + 8 * dice_roll(dice, 64);
    uint64_t offset =
        insn_offset(c, at) - (uint64_t)(int64_t)insn->displacement - (insn->segment == CPU_GS ? INSN_GS_BASE : 0);
    insn_operands_patch(c, at, &to, sizeof(to));
    if (insn->rip_relative || insn->base == INSN_NO_REGISTER || insn->base == insn->index)
        return;
    if (insn->index != INSN_NO_REGISTER)
        offset -= c->in.gpr[insn->index] << insn->scale;
    c->in.gpr[insn->base] = offset;
}

static void arrange_string(struct insn_case *c, struct dice *dice)
{
    uint64_t from = insn_operands_target(dice), to = insn_operands_target(dice);
    if (dice_percent(dice, 10))
        to = from + dice_roll(dice, 17) - 8;
    c->in.gpr[CPU_RSI] = insn_offset(c, from);
    c->in.gpr[CPU_RDI] = insn_offset(c, to);
    c->in.gpr[CPU_RCX] = dice_roll(dice, 24);
    if (dice_percent(dice, 40)) /* so that SCAS and CMPS find something */
        for (unsigned i = 0; i < 2; i++)
            insn_operands_patch(c, i ? from : to, c->code, 15);
}

static void arrange_state(struct insn_case *c, const struct insn *insn, struct dice *dice)
{
    uint64_t at = INSN_DATA + 64 * (1 + dice_roll(dice, 40));
    uint32_t mxcsr = (uint32_t)dice_u64(dice);
    at += dice_percent(dice, 10) ? 16 : 0;
    mxcsr &= dice_percent(dice, 90) ? 0xffff : 0x1ffff;
    uint8_t control[32] = {0x7f, 0x03}, header[64] = {(uint8_t)dice_roll(dice, 8)};
    memcpy(control + 24, &mxcsr, sizeof(mxcsr));
    c->in.gpr[CPU_RAX] = dice_roll(dice, 8);
    c->in.gpr[CPU_RDX] = 0;
    if (!insn->memory || insn->rip_relative || insn->base == INSN_NO_REGISTER || insn->base == insn->index)
        return;
    if (insn->base == CPU_RAX || insn->base == CPU_RDX || insn->index == CPU_RAX || insn->index == CPU_RDX)
        return;
    uint64_t offset = insn_offset(c, at) - (uint64_t)(int64_t)insn->displacement;
    if (insn->index != INSN_NO_REGISTER)
        offset -= c->in.gpr[insn->index] << insn->scale;
    c->in.gpr[insn->base] = insn->address_bytes == 4 ? (uint32_t)offset : offset;
    c->operand = at;
    if (insn->kind == INSN_LDMXCSR) {
        insn_operands_patch(c, at, &mxcsr, sizeof(mxcsr));
        return;
    }
    insn_operands_patch(c, at, control, sizeof(control));
    unsigned bit = dice_roll(dice, 24 * 8);
    if (dice_percent(dice, 5))
        header[bit / 8] |= (uint8_t)(1u << bit % 8);
    header[0] &= 7;             /* the host may have MPX and AVX-512, ... */
    header[1] &= (uint8_t)~2;   /* ... PKRU, ... */
    header[2] &= (uint8_t)~0xe; /* ... AMX and APX, ... */
    header[15] &= 0x7f;         /* ... and the compacted format */
    insn_operands_patch(c, at + 512, header, sizeof(header));
}

static void arrange(struct insn_case *c, const struct insn *insn, struct dice *dice)
{
    if (insn->kind == INSN_BT || insn->kind == INSN_BTS || insn->kind == INSN_BTR || insn->kind == INSN_BTC)
        if (dice_percent(dice, 80))
            c->in.gpr[insn->reg] = (uint64_t)((int64_t)dice_roll(dice, 4096) - 2048);
    if (insn->kind == INSN_LEAVE || insn->kind == INSN_ENTER)
        c->in.gpr[CPU_RBP] = insn_offset(c, insn_operands_target(dice));
    if (dice_percent(dice, 70))
        c->in.gpr[CPU_RSP] = insn_offset(c, insn_operands_target(dice));
    if (insn->kind == INSN_XLAT)
        c->in.gpr[CPU_RBX] = insn_offset(c, insn_operands_target(dice)) - (c->in.gpr[CPU_RAX] & 0xff);
    if (insn->kind == INSN_SIMD && insn->map == INSN_MAP_0F && insn->opcode == 0xf7)
        c->in.gpr[CPU_RDI] = insn_offset(c, insn_operands_target(dice));
    if (insn->kind == INSN_DIV || insn->kind == INSN_IDIV) { /* more of them with a quotient that fits */
        if (dice_percent(dice, 60))
            c->in.gpr[CPU_RDX] = insn->kind == INSN_DIV || dice_roll(dice, 2) ? 0 : ~0ull;
    }
    insn_operands_address(c, insn, dice);
    if (c->group == INSN_GROUP_STRING)
        arrange_string(c, dice);
    if (c->group == INSN_GROUP_BRANCH) {
        arrange_branch(c, insn, dice);
        if (insn->memory)
            arrange_indirect(c, insn, dice);
    }
    if (c->group == INSN_GROUP_STATE)
        arrange_state(c, insn, dice);
}

static bool allowed(const struct insn_case *c, const struct insn *insn)
{
    switch (insn->kind) {
    case INSN_POPF:
    case INSN_RDRAND:
    case INSN_RDSEED:
    case INSN_RDPID:
    case INSN_POP_SEG:
    case INSN_MOV_TO_SEG:
    case INSN_MOV_FROM_SEG:
    case INSN_SYSCALL ... INSN_SYSEXIT:
        return false;
    case INSN_JCC ... INSN_JCXZ:
        return c->group == INSN_GROUP_BRANCH;
    case INSN_JMP_FAR:
    case INSN_CALL_FAR:
        return false;
    default:
        break;
    }
    if (c->group == INSN_GROUP_BRANCH)
        return false;
    if (insn->encoding == INSN_EVEX) /* the host may have AVX-512 */
        return false;
    if (insn->segment == CPU_FS || (insn->segment == CPU_GS && c->code_bytes != 8) ||
        (insn->opcode == 0xc7 && insn->map == INSN_MAP_1 && (insn->modrm & 0x38) == 0x38))
        return false;
    if (insn->opcode == 0xc7 && insn->map == INSN_MAP_0F && insn->kind != INSN_CMPXCHG8B) /* XSAVEC, VMPTRLD... */
        return false;
    return c->group != INSN_GROUP_STATE || insn->memory;
}

static bool try_one(struct insn_case *c, struct dice *dice)
{
    static void (*const make[INSN_GROUP_COUNT])(struct writer *, struct dice *) = {
        integer, bits, string, branch, x87, mmx_sse, avx, state,
    };
    struct writer w = {.count = 0, .legacy = c->code_bytes != 8, .is_16 = c->code_bytes == 2};
    struct insn insn;
    make[c->group](&w, dice);
    for (unsigned i = 0; i < RANDOM_TAIL; i++)
        put(&w, (unsigned)dice_u64(dice));
    int length = insn_decode(&insn, w.byte, INSN_BYTES_MAX, c->code_bytes);
    if (length <= 0 || !allowed(c, &insn))
        return false;
    memcpy(c->code, w.byte, (unsigned)length);
    c->length = (uint8_t)length;
    c->branch = c->group == INSN_GROUP_BRANCH;
    insn_operands_registers(c, dice);
    arrange(c, &insn, dice);
    for (unsigned i = 0; i < CPU_GPR_COUNT && c->code_bytes != 8; i++)
        c->in.gpr[i] = i < 8 ? (uint32_t)c->in.gpr[i] : 0;
    return true;
}

void insn_case_make(struct insn_case *c, struct dice *dice, unsigned groups, unsigned code_bytes)
{
    do {
        memset(c, 0, sizeof(*c));
        c->code_bytes = (uint8_t)code_bytes;
        do
            c->group = (uint8_t)dice_roll(dice, INSN_GROUP_COUNT);
        while (!(groups >> c->group & 1));
        c->pool = (uint32_t)dice_u64(dice);
    } while (!try_one(c, dice));
}
