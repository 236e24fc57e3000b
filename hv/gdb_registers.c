/* See gdb_registers.h. */
#include "hv/gdb_registers.h"

#include <string.h>

#include "hv/cpu_state.h"

enum place { GPR, RIP, FLAGS, SELECTOR, ST, X87, XMM, MXCSR, BASE, CONTROL };
enum { XSAVE_FTW = 4, XSAVE_MXCSR = 24, XSAVE_ST = 32, XSAVE_XMM = 160, ST_BYTES = 10, XSTATE_BV_X87_SSE = 3 };
enum {
    FLAG_FIXED = 2,
    FLAG_VM = 1 << 17,
    FLAGS_WRITABLE = 0x257fd5 /* CF ... OF, IOPL, NT, RF, AC, ID */,
    EFER_LMA = 0x400
};

/* Numbers from `first` on. */
struct group {
    uint8_t first, count, bytes;
    enum place place;
};

static const struct group groups[] = {
    {0, 16, 8, GPR}, {16, 1, 8, RIP},   {17, 1, 4, FLAGS}, {18, 6, 4, SELECTOR}, {24, 8, 10, ST},
    {32, 8, 4, X87}, {40, 16, 16, XMM}, {56, 1, 4, MXCSR}, {57, 3, 8, BASE},     {60, 6, 8, CONTROL},
};

static const struct group *group_of(unsigned number)
{
    const struct group *g = groups;
    while (number >= g->first + (unsigned)g->count)
        g++;
    return g;
}

unsigned gdb_register_bytes(unsigned number)
{
    return group_of(number)->bytes;
}

bool gdb_register_is_read_only(unsigned number)
{
    enum place place = group_of(number)->place;
    return place == SELECTOR || place == CONTROL;
}

/* ---- where they are ---- */

static uint64_t *general(struct cpu_state *cpu, unsigned i)
{
    static const uint8_t order[] = {CPU_RAX, CPU_RBX, CPU_RCX, CPU_RDX, CPU_RSI, CPU_RDI, CPU_RBP, CPU_RSP};
    return &cpu->gpr[i < 8 ? order[i] : i];
}

static uint64_t *base(struct cpu_state *cpu, unsigned i)
{
    return i == 0 ? &cpu->seg[CPU_FS].base : i == 1 ? &cpu->seg[CPU_GS].base : &cpu->msr[CPU_MSR_KERNEL_GS_BASE];
}

static uint16_t selector(const struct cpu_state *cpu, unsigned i)
{
    static const uint8_t order[] = {CPU_CS, CPU_SS, CPU_DS, CPU_ES, CPU_FS, CPU_GS};
    return cpu->seg[order[i]].selector;
}

static uint64_t control(const struct cpu_state *cpu, unsigned i)
{
    const uint64_t order[] = {cpu->cr0, cpu->cr2, cpu->cr3, cpu->cr4, cpu->cr8, cpu->efer};
    return order[i];
}

/* ---- x87: GDB shows the tag word in full, XSAVE has a bit for each register that is not empty ---- */

static uint16_t full_tags(const uint8_t *x)
{
    uint16_t tags = 0, status;
    memcpy(&status, x + 2, sizeof status);
    for (unsigned physical = 0; physical < 8; physical++) {
        const uint8_t *st = x + XSAVE_ST + 16 * ((physical - (status >> 11 & 7)) & 7);
        uint64_t significand;
        uint16_t exponent;
        memcpy(&significand, st, sizeof significand);
        memcpy(&exponent, st + 8, sizeof exponent);
        exponent &= 0x7fff;
        unsigned tag = exponent == 0x7fff ? 2 : !exponent ? (significand ? 2 : 1) : !(significand >> 63) ? 2 : 0;
        if (!(x[XSAVE_FTW] >> physical & 1))
            tag = 3;
        tags = (uint16_t)(tags | tag << 2 * physical);
    }
    return tags;
}

static uint8_t short_tags(uint32_t full)
{
    unsigned tags = 0;
    for (unsigned i = 0; i < 8; i++)
        tags |= (full >> 2 * i & 3) == 3 ? 0 : 1u << i;
    return (uint8_t)tags;
}

/* fctrl, fstat, ftag, fiseg, fioff, foseg, fooff, fop: where in XSAVE's 64-bit layout, and how long. */
static const uint8_t x87_at[] = {0, 2, XSAVE_FTW, 12, 8, 20, 16, 6}, x87_bytes[] = {2, 2, 1, 2, 4, 2, 4, 2};
enum { X87_TAGS = 2, X87_OPCODE = 7, OPCODE_BITS = 0x7ff };

static void x87_get(const struct cpu_state *cpu, unsigned i, uint8_t *to)
{
    uint32_t v = 0;
    memcpy(&v, cpu->xsave + x87_at[i], x87_bytes[i]);
    if (i == X87_TAGS)
        v = full_tags(cpu->xsave);
    memcpy(to, &v, sizeof v);
}

static void x87_set(struct cpu_state *cpu, unsigned i, const uint8_t *from)
{
    uint32_t v;
    memcpy(&v, from, sizeof v);
    if (i == X87_TAGS)
        v = short_tags(v);
    if (i == X87_OPCODE)
        v &= OPCODE_BITS;
    memcpy(cpu->xsave + x87_at[i], &v, x87_bytes[i]);
}

/* ---- the interface ---- */

void gdb_register_get(const struct cpu_state *cpu, unsigned number, uint8_t *to)
{
    const struct group *g = group_of(number);
    struct cpu_state *at = (struct cpu_state *)(uintptr_t)cpu; /* general() and base() serve both ways */
    unsigned i = number - g->first;
    uint64_t v = 0;
    switch (g->place) {
    case GPR:
        v = *general(at, i);
        break;
    case RIP:
        v = cpu->rip;
        break;
    case FLAGS:
        v = cpu->rflags;
        break;
    case SELECTOR:
        v = selector(cpu, i);
        break;
    case BASE:
        v = *base(at, i);
        break;
    case CONTROL:
        v = control(cpu, i);
        break;
    case ST:
        memcpy(to, cpu->xsave + XSAVE_ST + 16 * i, ST_BYTES);
        return;
    case X87:
        x87_get(cpu, i, to);
        return;
    case XMM:
        memcpy(to, cpu->xsave + XSAVE_XMM + 16 * i, 16);
        return;
    case MXCSR:
        memcpy(to, cpu->xsave + XSAVE_MXCSR, 4);
        return;
    }
    memcpy(to, &v, g->bytes);
}

static bool canonical(uint64_t v)
{
    return (uint64_t)((int64_t)(v << 16) >> 16) == v;
}

static bool set_flags(struct cpu_state *cpu, uint64_t v)
{
    if ((v ^ cpu->rflags) & FLAG_VM)
        return false;
    cpu->rflags = (v & FLAGS_WRITABLE) | (cpu->rflags & ~(uint64_t)FLAGS_WRITABLE) | FLAG_FIXED;
    return true;
}

static bool set_rip(struct cpu_state *cpu, uint64_t v)
{
    bool wide = cpu->efer & EFER_LMA && cpu->seg[CPU_CS].attributes & CPU_SEG_L;
    if (wide ? !canonical(v) : v > UINT32_MAX)
        return false;
    cpu->rip = v;
    return true;
}

static bool set_address(uint64_t *field, uint64_t v)
{
    if (!canonical(v))
        return false;
    *field = v;
    return true;
}

/* What XSAVE calls initial is not what the bytes say any more. */
static void vector_changed(struct cpu_state *cpu)
{
    cpu->xsave[CPU_XSAVE_HEADER] |= XSTATE_BV_X87_SSE;
}

static bool set_vector(struct cpu_state *cpu, const struct group *g, unsigned i, const uint8_t *from)
{
    uint32_t mxcsr;
    switch (g->place) {
    case ST:
        memcpy(cpu->xsave + XSAVE_ST + 16 * i, from, ST_BYTES);
        break;
    case X87:
        x87_set(cpu, i, from);
        break;
    case XMM:
        memcpy(cpu->xsave + XSAVE_XMM + 16 * i, from, 16);
        break;
    case MXCSR:
        memcpy(&mxcsr, from, sizeof mxcsr);
        if (mxcsr > 0xffff)
            return false;
        memcpy(cpu->xsave + XSAVE_MXCSR, &mxcsr, sizeof mxcsr);
        break;
    default:
        return false;
    }
    vector_changed(cpu);
    return true;
}

bool gdb_register_set(struct cpu_state *cpu, unsigned number, const uint8_t *from)
{
    const struct group *g = group_of(number);
    unsigned i = number - g->first;
    uint64_t v = 0;
    memcpy(&v, from, g->bytes < sizeof v ? g->bytes : sizeof v);
    switch (g->place) {
    case GPR:
        *general(cpu, i) = v;
        return true;
    case RIP:
        return set_rip(cpu, v);
    case FLAGS:
        return set_flags(cpu, v);
    case BASE:
        return set_address(base(cpu, i), v);
    case SELECTOR:
    case CONTROL:
        return false;
    default:
        return set_vector(cpu, g, i, from);
    }
}
