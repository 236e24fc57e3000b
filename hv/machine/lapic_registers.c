/* See lapic.h. The registers, as the xAPIC page and as x2APIC MSRs: the same array, with other rules of access. */
#include "hv/machine/lapic.h"

#include "hv/machine/irqchip.h"

enum { SVR_ENABLED = 0x100, ICR_LEVEL = 1 << 15, ICR_ASSERT = 1 << 14, ICR_STATUS = 1 << 12, FIRST_VECTOR = 16 };

static const uint64_t base_reserved = 0xfff00000000002ff;

/* Which registers there are, one bit each. */
#define BITS(from, to) ((UINT64_MAX >> (63 - (to))) & (UINT64_MAX << (from)))
#define BIT(n) (UINT64_C(1) << (n))
static const uint64_t xapic_readable = BITS(0x02, 0x03) | BITS(0x08, 0x28) | BITS(0x30, 0x39) | BIT(0x3e);
static const uint64_t xapic_writable =
    BIT(0x02) | BIT(0x08) | BIT(0x0b) | BITS(0x0d, 0x0f) | BIT(0x28) | BITS(0x30, 0x38) | BIT(0x3e);
static const uint64_t x2apic_readable =
    BITS(0x02, 0x03) | BIT(0x08) | BIT(0x0a) | BIT(0x0d) | BITS(0x0f, 0x28) | BIT(0x30) | BITS(0x32, 0x39) | BIT(0x3e);
static const uint64_t x2apic_writable =
    BIT(0x08) | BIT(0x0b) | BIT(0x0f) | BIT(0x28) | BIT(0x30) | BITS(0x32, 0x38) | BITS(0x3e, 0x3f);
#undef BITS
#undef BIT

/* What of a register can be written; the rest reads as zero, or is reserved in x2APIC mode. */
static uint32_t writable_bits(const struct lapic *l, enum lapic_register reg)
{
    switch (reg) {
    case LAPIC_ID:
    case LAPIC_LDR:
        return 0xff000000;
    case LAPIC_TPR:
    case LAPIC_SELF_IPI:
        return 0xff;
    case LAPIC_EOI:
    case LAPIC_ESR:
        return 0;
    case LAPIC_DFR:
        return 0xf0000000;
    case LAPIC_SVR:
        return 0x3ff;
    case LAPIC_ICR:
        return 0xccfff;
    case LAPIC_ICR_HIGH:
        return lapic_x2apic(l) ? 0xffffffff : 0xff000000;
    case LAPIC_LVT_TIMER:
        return 0x700ff;
    case LAPIC_LVT_THERMAL:
    case LAPIC_LVT_PERFORMANCE:
        return 0x107ff;
    case LAPIC_LVT_LINT0:
    case LAPIC_LVT_LINT1:
        return 0x1a7ff;
    case LAPIC_LVT_ERROR:
        return 0x100ff;
    case LAPIC_TIMER_DIVIDE:
        return 0xb;
    default:
        return 0xffffffff;
    }
}

static bool is_lvt(enum lapic_register reg)
{
    return reg >= LAPIC_LVT_TIMER && reg <= LAPIC_LVT_ERROR;
}

/* Read-only bits that software writes back as it read them. */
static uint32_t ignored_bits(enum lapic_register reg)
{
    if (reg == LAPIC_ICR)
        return ICR_STATUS;
    return is_lvt(reg) ? ICR_STATUS | LVT_REMOTE_IRR : 0;
}

bool lapic_needs_time(uint32_t reg)
{
    return reg == LAPIC_LVT_TIMER || reg == LAPIC_TIMER_INITIAL || reg == LAPIC_TIMER_CURRENT ||
           reg == LAPIC_TIMER_DIVIDE;
}

uint32_t lapic_get(const struct lapic *l, enum lapic_register reg)
{
    switch (reg) {
    case LAPIC_PPR:
        return lapic_ppr(l);
    case LAPIC_TIMER_CURRENT:
        return lapic_timer_count(l);
    case LAPIC_EOI:
    case LAPIC_APR: /* gone since the Pentium 4, like remote read */
    case LAPIC_RRD:
        return 0;
    default:
        return l->reg[reg];
    }
}

uint32_t lapic_sane(const struct lapic *l, enum lapic_register reg, uint32_t value)
{
    switch (reg) {
    case LAPIC_ID:
    case LAPIC_LDR:
        return lapic_x2apic(l) ? lapic_get(l, reg) : value & writable_bits(l, reg);
    case LAPIC_DFR:
        return value | 0x0fffffff;
    case LAPIC_VERSION:
        return l->reg[reg];
    case LAPIC_ISR: /* there are no vectors below 16 */
    case LAPIC_TMR:
    case LAPIC_IRR:
        return value & 0xffff0000;
    case LAPIC_ESR:
        return value & 0xff;
    case LAPIC_LVT_LINT0:
    case LAPIC_LVT_LINT1:
        return value & (writable_bits(l, reg) | LVT_REMOTE_IRR);
    default:
        return (xapic_readable | xapic_writable) >> reg & 1 ? value & writable_bits(l, reg) : 0;
    }
}

/* ---- effects of a write ---- */

static void send_ipi(struct lapic *l)
{
    uint32_t icr = l->reg[LAPIC_ICR], high = l->reg[LAPIC_ICR_HIGH];
    struct apic_message message = {
        .destination = lapic_x2apic(l) ? high : high >> 24,
        .broadcast = lapic_x2apic(l) ? high == 0xffffffff : high >> 24 == 0xff,
        .logical = icr & 0x800,
        .mode = icr >> 8 & 7,
        .vector = (uint8_t)icr,
    };
    if (message.mode == APIC_INIT && icr & ICR_LEVEL && !(icr & ICR_ASSERT))
        return; /* INIT level de-assert: means nothing any more */
    if ((message.mode == APIC_FIXED || message.mode == APIC_LOWEST) && message.vector < FIRST_VECTOR) {
        lapic_error(l, LAPIC_SEND_ILLEGAL);
        return;
    }
    l->ops->send(l, &message, icr >> 18 & 3);
}

static void set_svr(struct lapic *l, uint32_t value)
{
    l->reg[LAPIC_SVR] = value;
    if (value & SVR_ENABLED)
        return;
    for (enum lapic_register lvt = LAPIC_LVT_THERMAL; lvt <= LAPIC_LVT_ERROR; lvt++)
        l->reg[lvt] |= LVT_MASKED;
    l->reg[LAPIC_LVT_TIMER] |= LVT_MASKED;
}

static void set_lvt(struct lapic *l, enum lapic_register reg, uint32_t value)
{
    if (!(l->reg[LAPIC_SVR] & SVR_ENABLED))
        value |= LVT_MASKED;
    if (reg == LAPIC_LVT_TIMER) {
        lapic_timer_set_lvt(l, value);
        return;
    }
    bool lint = reg == LAPIC_LVT_LINT0 || reg == LAPIC_LVT_LINT1;
    uint32_t remote_irr = lint && value & LVT_LEVEL ? l->reg[reg] & LVT_REMOTE_IRR : 0;
    l->reg[reg] = value | remote_irr;
    if (lint)
        lapic_set_lint(l, reg - LAPIC_LVT_LINT0, l->lint[reg - LAPIC_LVT_LINT0]);
}

static void set(struct lapic *l, enum lapic_register reg, uint32_t value)
{
    value &= writable_bits(l, reg);
    switch (reg) {
    case LAPIC_EOI:
        lapic_eoi(l);
        return;
    case LAPIC_ESR:
        l->reg[reg] = l->errors;
        l->errors = 0;
        return;
    case LAPIC_DFR:
        l->reg[reg] = value | 0x0fffffff;
        return;
    case LAPIC_SVR:
        set_svr(l, value);
        break;
    case LAPIC_ICR:
        l->reg[reg] = value;
        send_ipi(l);
        return;
    case LAPIC_SELF_IPI:
        l->ops->send(l, &(struct apic_message){.mode = APIC_FIXED, .vector = (uint8_t)value}, APIC_TO_SELF);
        return;
    case LAPIC_TIMER_INITIAL:
        if (l->reg[LAPIC_LVT_TIMER] & LVT_TIMER_DEADLINE)
            return;
        l->reg[reg] = value;
        lapic_timer_start(l, value);
        return;
    case LAPIC_TIMER_DIVIDE:
        lapic_timer_set_divide(l, value);
        return;
    default:
        if (is_lvt(reg))
            set_lvt(l, reg, value);
        else
            l->reg[reg] = value;
    }
    lapic_refresh(l);
}

/* ---- the ways to them ---- */

uint32_t lapic_read(struct lapic *l, uint32_t offset)
{
    enum lapic_register reg = offset / 16;
    if (reg >= LAPIC_REGISTERS || !(xapic_readable >> reg & 1)) {
        lapic_error(l, LAPIC_ILLEGAL_REGISTER);
        return 0;
    }
    return offset % 16 < 4 ? lapic_get(l, reg) >> (8 * (offset % 16)) : 0;
}

void lapic_write(struct lapic *l, uint32_t offset, uint32_t value)
{
    enum lapic_register reg = offset / 16;
    if (reg >= LAPIC_REGISTERS || !(xapic_writable >> reg & 1))
        lapic_error(l, LAPIC_ILLEGAL_REGISTER);
    else if (offset % 16 == 0)
        set(l, reg, value);
}

bool lapic_read_x2apic(struct lapic *l, uint32_t reg, uint64_t *value)
{
    if (!lapic_x2apic(l) || reg >= LAPIC_REGISTERS || !(x2apic_readable >> reg & 1))
        return false;
    *value = lapic_get(l, reg);
    if (reg == LAPIC_ICR)
        *value |= (uint64_t)l->reg[LAPIC_ICR_HIGH] << 32;
    return true;
}

bool lapic_write_x2apic(struct lapic *l, uint32_t reg, uint64_t value)
{
    if (!lapic_x2apic(l) || reg >= LAPIC_REGISTERS || !(x2apic_writable >> reg & 1))
        return false;
    uint64_t allowed = writable_bits(l, reg) | ignored_bits(reg);
    if (reg == LAPIC_ICR)
        allowed |= UINT64_C(0xffffffff) << 32;
    if (value & ~allowed)
        return false;
    if (reg == LAPIC_ICR)
        l->reg[LAPIC_ICR_HIGH] = (uint32_t)(value >> 32);
    set(l, reg, (uint32_t)value);
    return true;
}

bool lapic_base_is_valid(uint64_t base)
{
    return !(base & base_reserved) && (base & LAPIC_BASE_ENABLED || !(base & LAPIC_BASE_X2APIC));
}

bool lapic_set_base(struct lapic *l, uint64_t base)
{
    bool enabled = base & LAPIC_BASE_ENABLED, x2apic = base & LAPIC_BASE_X2APIC;
    if (!lapic_base_is_valid(base))
        return false;
    if (x2apic ? !lapic_enabled(l) : lapic_x2apic(l) && enabled)
        return false; /* from off only to xAPIC, and from x2APIC only to off (SDM figure 11-27) */
    bool was_enabled = lapic_enabled(l), was_x2apic = lapic_x2apic(l);
    l->base = base;
    if (was_enabled && !enabled) {
        l->reg[LAPIC_ID] = l->index << 24;
        lapic_reset(l);
    } else if (x2apic && !was_x2apic) {
        l->reg[LAPIC_ID] = l->index;
        l->reg[LAPIC_LDR] = l->index >> 4 << 16 | 1u << (l->index & 15);
        l->reg[LAPIC_ICR_HIGH] = 0;
    }
    lapic_refresh(l);
    return true;
}

void lapic_set_tpr(struct lapic *l, uint8_t tpr)
{
    l->reg[LAPIC_TPR] = tpr;
    lapic_refresh(l);
}
