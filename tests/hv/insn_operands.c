/* See insn_case.h: values. Uniformly random ones meet no corner, so most are small, extreme, or special as a number of
 * some format. */
#include <string.h>

#include "tests/hv/insn_case.h"

enum { POOL_BYTES = 1 << 16 };

static uint64_t any(struct dice *dice, const uint64_t *of, unsigned count)
{
    return of[dice_roll(dice, count)];
}

uint64_t insn_operands_value(struct dice *dice)
{
    static const uint64_t extremes[] = {
        0,
        1,
        2,
        0x7f,
        0x80,
        0xff,
        0x7fff,
        0x8000,
        0xffff,
        0x7fffffff,
        0x80000000,
        0xffffffff,
        0x7fffffffffffffff,
        0x8000000000000000,
        0xffffffffffffffff,
        0x100000000,
        0xaaaaaaaaaaaaaaaa,
        63,
        64,
        31,
        32,
    };
    unsigned kind = dice_roll(dice, 6), shift = dice_roll(dice, 64); /* in this order, whatever the compiler likes */
    switch (kind) {
    case 0:
        return dice_u64(dice) & 0xff;
    case 1:
    case 2:
        return any(dice, extremes, sizeof(extremes) / sizeof(*extremes));
    case 3:
        return dice_u64(dice) >> shift;
    case 4:
        return ~(dice_u64(dice) >> shift);
    default:
        return dice_u64(dice);
    }
}

static uint32_t a_float(struct dice *dice)
{
    static const uint64_t special[] = {
        0, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffc00001,
        1, 0x007fffff, 0x00800000, 0x7f7fffff, 0x4f000000, 0xcf000000, 0x5f000000, 0x3f000000, 0x40490fdb,
    };
    return dice_percent(dice, 70) ? (uint32_t)any(dice, special, sizeof(special) / sizeof(*special))
                                  : (uint32_t)dice_u64(dice);
}

static uint64_t a_double(struct dice *dice)
{
    static const uint64_t special[] = {
        0,
        0x8000000000000000,
        0x3ff0000000000000,
        0xbff0000000000000,
        0x7ff0000000000000,
        0xfff0000000000000,
        0x7ff8000000000000,
        0x7ff0000000000001,
        0xfff8000000000001,
        1,
        0x000fffffffffffff,
        0x0010000000000000,
        0x7fefffffffffffff,
        0x43e0000000000000,
        0xc3e0000000000000,
        0x41e0000000000000,
        0x3fe0000000000000,
        0x400921fb54442d18,
        0x47f0000000000000,
        0x3690000000000000,
    };
    return dice_percent(dice, 70) ? any(dice, special, sizeof(special) / sizeof(*special)) : dice_u64(dice);
}

static void an_extended(struct dice *dice, uint8_t to[16])
{
    static const struct {
        uint64_t mantissa;
        uint16_t exponent;
    } special[] = {
        {0, 0},
        {0x8000000000000000, 0x3fff},
        {0x8000000000000000, 0x7fff},
        {0xc000000000000000, 0x7fff},
        {0x8000000000000001, 0x7fff},
        {1, 0},
        {0x8000000000000000, 0},
        {0x8000000000000000, 1},
        {0xffffffffffffffff, 0x7ffe},
        {0xc90fdaa22168c235, 0x4000},
        {0x8000000000000000, 0x403e},
        {0, 0x4000},
        {0x4000000000000000, 0x3fff},
        {0xf000000000000000, 0x3ffe},
        {0x8000000000000000, 0x401e},
    };
    unsigned i = dice_roll(dice, 20);
    uint64_t mantissa = dice_u64(dice);
    uint16_t exponent = (uint16_t)(0x3fff - 70 + dice_roll(dice, 140));
    memset(to, 0, 16);
    if (i < sizeof(special) / sizeof(*special)) {
        mantissa = special[i].mantissa;
        exponent = special[i].exponent;
    } else if (i != 19) {
        mantissa |= 1ull << 63;
    }
    exponent |= (uint16_t)(dice_roll(dice, 2) << 15);
    memcpy(to, &mantissa, sizeof(mantissa));
    memcpy(to + 8, &exponent, sizeof(exponent));
}

static uint64_t two_floats(struct dice *dice)
{
    uint64_t low = a_float(dice); /* one after the other: a seed is the same with every compiler */
    return low | (uint64_t)a_float(dice) << 32;
}

static void a_vector(struct dice *dice, uint8_t to[16])
{
    unsigned kind = dice_roll(dice, 3);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t value = kind == 0 ? a_double(dice) : kind == 1 ? two_floats(dice) : insn_operands_value(dice);
        memcpy(to + 8 * i, &value, sizeof(value));
    }
}

static void x87(struct dice *dice, uint8_t *area)
{
    uint16_t fcw = 0x37f, fsw = (uint16_t)(dice_u64(dice) & 0x7f00), tags = dice_percent(dice, 70) ? 0xff : 0;
    if (dice_percent(dice, 30))
        fcw = (uint16_t)((dice_u64(dice) & 0xf3f) | 0x40);
    if (dice_percent(dice, 20))
        fsw |= dice_u64(dice) & 0x7f;
    if (fsw & ~fcw & 0x3f) {
        if (dice_percent(dice, 90))
            fsw &= (uint16_t)~0x3f;
        else
            fsw |= 0x8080;
    }
    if (dice_percent(dice, 20))
        tags = (uint8_t)dice_u64(dice);
    memcpy(area, &fcw, 2);
    memcpy(area + 2, &fsw, 2);
    area[4] = (uint8_t)tags;
    for (unsigned i = 0; i < 8; i++)
        an_extended(dice, area + 32 + 16 * i);
}

void insn_operands_registers(struct insn_case *c, struct dice *dice)
{
    struct insn_registers *r = &c->in;
    memset(r, 0, sizeof(*r));
    for (unsigned i = 0; i < CPU_GPR_COUNT; i++)
        r->gpr[i] = insn_operands_value(dice);
    r->rflags = 0x202 | (dice_u64(dice) & 0x8d5);
    r->rflags |= dice_percent(dice, 20) ? 0x400 : 0;
    r->rip = insn_pointer(c, INSN_CODE + INSN_AT);
    x87(dice, r->xsave);
    uint32_t mxcsr = dice_percent(dice, 70) ? 0x1f80 : (uint32_t)(dice_u64(dice) & 0xffff);
    memcpy(r->xsave + 24, &mxcsr, sizeof(mxcsr));
    for (unsigned i = 0; i < 16; i++) {
        a_vector(dice, r->xsave + 160 + 16 * i);
        a_vector(dice, r->xsave + CPU_XSAVE_YMM + 16 * i);
    }
    r->xsave[CPU_XSAVE_HEADER] = 7;
}

uint64_t insn_operands_target(struct dice *dice)
{
    static const int64_t edges[] = {0, INSN_PAGE, 2 * INSN_PAGE, 3 * INSN_PAGE};
    if (dice_percent(dice, 80)) {
        uint64_t at = INSN_DATA + 256 + dice_roll(dice, 2 * INSN_PAGE - 512);
        return dice_percent(dice, 70) ? at & ~63ull : at;
    }
    int64_t edge = edges[dice_roll(dice, 4)];
    return (uint64_t)(INSN_DATA + edge - 40 + (int64_t)dice_roll(dice, 80));
}

/* Writes a displacement or an absolute address over the bytes before the immediate. */
static void set_displacement(struct insn_case *c, const struct insn *insn, uint32_t value)
{
    unsigned bytes = insn->address_bytes == 2 ? 2 : 4;
    memcpy(c->code + insn->length - insn->immediate_bytes - bytes, &value, bytes);
}

static void vector_index(struct insn_case *c, const struct insn *insn, struct dice *dice)
{
    unsigned index_bytes = insn->opcode & 1 ? 8 : 4;
    for (unsigned at = 0; at < 32; at += index_bytes) {
        int64_t value = (int64_t)dice_roll(dice, 200) - 100;
        unsigned half = at < 16 ? 160u + 16u * insn->index + at : CPU_XSAVE_YMM + 16u * insn->index + at - 16;
        memcpy(c->in.xsave + half, &value, index_bytes);
    }
}

void insn_operands_address(struct insn_case *c, const struct insn *insn, struct dice *dice)
{
    bool gather =
        insn->encoding == INSN_VEX && insn->map == INSN_MAP_0F38 && (insn->opcode & 0xfc) == 0x90 && insn->memory;
    uint64_t target = insn_operands_target(dice), displacement = (uint64_t)(int64_t)insn->displacement;
    c->operand = insn->memory ? target : 0;
    target = insn_offset(c, target);
    if (insn->segment == CPU_GS)
        target -= INSN_GS_BASE;
    if (insn->form == INSN_FORM_OFFSET) {
        memcpy(c->code + insn->length - insn->immediate_bytes, &target, insn->immediate_bytes);
        return;
    }
    bool in_reach = insn->address_bytes > 2 || c->code_bytes == 2;
    if (!insn->memory || !in_reach || dice_percent(dice, 2)) {
        c->operand = 0;
        return;
    }
    if (insn->rip_relative) {
        set_displacement(c, insn, (uint32_t)(target - (INSN_CODE + INSN_AT) - insn->length));
        return;
    }
    if (gather && insn->index != INSN_NO_REGISTER) {
        vector_index(c, insn, dice);
    } else if (insn->index != INSN_NO_REGISTER && insn->base == INSN_NO_REGISTER) {
        c->in.gpr[insn->index] = (target - displacement) >> insn->scale;
        c->operand = 0;
        return;
    }
    if (insn->base == INSN_NO_REGISTER) {
        set_displacement(c, insn, (uint32_t)target);
        return;
    }
    if (insn->index == insn->base)
        c->operand = 0;
    if (insn->index != INSN_NO_REGISTER && !gather)
        target -= c->in.gpr[insn->index] << insn->scale;
    target -= displacement;
    if (insn->address_bytes == 4)
        target = (uint32_t)target | (dice_u64(dice) << 32);
    else if (insn->address_bytes == 2)
        target = (uint16_t)target | (dice_u64(dice) << 16);
    c->in.gpr[insn->base] = target;
}

void insn_operands_patch(struct insn_case *c, uint64_t linear, const void *bytes, unsigned count)
{
    uint64_t offset = linear - INSN_DATA;
    if (offset >= INSN_DATA_BYTES || count > INSN_DATA_BYTES - offset)
        return;
    for (unsigned i = 0; i < INSN_PATCHES; i++) {
        struct insn_patch *p = &c->patch[i];
        if (p->bytes)
            continue;
        p->offset = (uint16_t)offset;
        p->bytes = (uint16_t)count;
        memcpy(p->byte, bytes, count);
        return;
    }
}

void insn_case_data(const struct insn_case *c, uint8_t data[INSN_DATA_BYTES])
{
    static uint8_t pool[POOL_BYTES + INSN_DATA_BYTES];
    static bool filled;
    if (!filled) { /* always the same: a case is its registers, its patches and a place in here */
        struct dice dice = {42};
        for (unsigned at = 0; at < sizeof(pool); at += 16) {
            if (dice_percent(&dice, 15))
                an_extended(&dice, pool + at);
            else
                a_vector(&dice, pool + at);
        }
        filled = true;
    }
    memcpy(data, pool + c->pool % POOL_BYTES, INSN_DATA_BYTES);
    for (unsigned i = 0; i < INSN_PATCHES; i++)
        memcpy(data + c->patch[i].offset, c->patch[i].byte, c->patch[i].bytes);
}
