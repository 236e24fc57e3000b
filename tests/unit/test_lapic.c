/* Local APICs through the chips' own interface, as vCPUs and devices use them: delivery, priorities, IPIs between
 * vCPUs, modes, timer, and state. */
#include "tests/unit/isa_fixture.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "hv/chips_state.h"
#include "hv/cpu_state.h"
#include "hv/machine/irqchip.h"
#include "node/base/err.h"

enum { CPUS = 4, US = 1000, MASKED = 1 << 16 };
enum { ID = 0x20, TPR = 0x80, PPR = 0xa0, EOI = 0xb0, LDR = 0xd0, DFR = 0xe0, SVR = 0xf0, ISR = 0x100, TMR = 0x180 };
enum {
    IRR = 0x200,
    ESR = 0x280,
    ICR = 0x300,
    ICR2 = 0x310,
    TIMER = 0x320,
    LINT0 = 0x350,
    LINT1 = 0x360,
    ERROR = 0x370
};
enum { INITIAL = 0x380, CURRENT = 0x390, DIVIDE = 0x3e0 };

struct vcpu_double {
    struct irqchip_cpu cpu;
    unsigned woken;
};

static struct isa_fixture *board;
static struct irqchip *chip;
static struct vcpu_double vcpus[CPUS];

static void wake(struct irqchip_cpu *cpu)
{
    ((struct vcpu_double *)(void *)cpu)->woken++;
}

static uint32_t get(unsigned i, uint32_t reg)
{
    return irqchip_lapic_read(chip, i, reg);
}

static void put(unsigned i, uint32_t reg, uint32_t value)
{
    irqchip_lapic_write(chip, i, reg, value);
}

static bool wrmsr(unsigned i, uint32_t msr, uint64_t value)
{
    return irqchip_msr_write(chip, i, msr, value);
}

static uint64_t rdmsr(unsigned i, uint32_t msr)
{
    uint64_t value;
    assert_true(irqchip_msr_read(chip, i, msr, &value));
    return value;
}

static bool msr_faults(unsigned i, uint32_t msr)
{
    uint64_t value;
    return !irqchip_msr_read(chip, i, msr, &value);
}

static bool pending(unsigned i)
{
    return irqchip_pending(chip, i) & IRQCHIP_INTERRUPT;
}

static void msi(uint32_t destination, bool logical, uint32_t data)
{
    irq_msi(irqchip_irq(chip), 0xfee00000 | destination << 12 | (logical ? 4 : 0), data);
}

static int setup(void **state)
{
    struct err err;
    isa_setup(state);
    board = *state;
    chip = irqchip_new(board->bus, board->timers, CPUS, &err);
    memset(vcpus, 0, sizeof vcpus);
    for (unsigned i = 0; i < CPUS; i++) {
        vcpus[i].cpu.wake = wake;
        irqchip_attach(chip, i, &vcpus[i].cpu);
        put(i, SVR, 0x1ff);
    }
    return chip ? 0 : -1;
}

static int teardown(void **state)
{
    irqchip_free(chip);
    return isa_teardown(state);
}

static void x2apic(unsigned i)
{
    assert_true(wrmsr(i, 0x1b, irqchip_base(chip, i) | 0xc00));
}

static void after_power_on(void **state)
{
    struct cpu_state reset, is;
    (void)state;
    for (unsigned i = 0; i < CPUS; i++) {
        put(i, SVR, 0xff);
        cpu_state_reset(&reset, i);
        memset(&is, 0, sizeof is);
        irqchip_cpu_get(chip, i, &is);
        assert_memory_equal(is.lapic, reset.lapic, sizeof is.lapic); /* one truth in both places */
        assert_int_equal(is.apic_base, reset.apic_base);
        msi(i, false, 0x50);
        assert_false(pending(i)); /* software-disabled */
        assert_int_equal(irqchip_accept(chip, i), -1);
    }
}

static void priorities(void **state)
{
    (void)state;
    msi(1, false, 0x41);
    msi(1, false, 0x62);
    msi(1, false, 0x65);
    assert_false(pending(0));
    assert_true(pending(1));
    assert_int_equal(vcpus[1].woken, 1);
    assert_int_equal(get(1, IRR + 0x30), 0x24);
    assert_int_equal(irqchip_accept(chip, 1), 0x65);
    assert_int_equal(get(1, PPR), 0x60);
    assert_int_equal(get(1, ISR + 0x30), 0x20);
    assert_false(pending(1)); /* 62h is of the same class */
    put(1, TPR, 0x65);
    assert_int_equal(get(1, PPR), 0x65);
    put(1, EOI, 0);
    assert_false(pending(1)); /* the task priority holds it */
    put(1, TPR, 0x5f);
    assert_true(pending(1));
    assert_int_equal(vcpus[1].woken, 2);
    assert_int_equal(irqchip_accept(chip, 1), 0x62);
    put(1, EOI, 0);
    irqchip_set_cr8(chip, 1, 3);
    assert_int_equal(get(1, TPR), 0x30);
    assert_int_equal(irqchip_cr8(chip, 1), 3);
    assert_int_equal(irqchip_accept(chip, 1), 0x41);
    assert_int_equal(irqchip_accept(chip, 1), -1);
    msi(1, false, 0x90); /* nests */
    assert_int_equal(irqchip_accept(chip, 1), 0x90);
    put(1, EOI, 0);
    assert_int_equal(get(1, ISR + 0x20), 2);
}

static void raise_tpr_takes_back(void **state)
{
    (void)state;
    msi(0, false, 0x41);
    irqchip_set_cr8(chip, 0, 15);
    assert_false(pending(0));
    assert_int_equal(irqchip_accept(chip, 0), -1);
    irqchip_set_cr8(chip, 0, 0);
    assert_int_equal(vcpus[0].woken, 2);
    assert_int_equal(irqchip_accept(chip, 0), 0x41);
}

static unsigned who(uint8_t vector)
{
    unsigned mask = 0;
    for (unsigned i = 0; i < CPUS; i++)
        if (get(i, IRR + 0x10 * (vector / 32u)) >> vector % 32 & 1) {
            mask |= 1u << i;
            assert_int_equal(irqchip_accept(chip, i), vector);
            put(i, EOI, 0);
        }
    return mask;
}

static void destinations(void **state)
{
    (void)state;
    msi(2, false, 0x40);
    assert_int_equal(who(0x40), 1 << 2);
    msi(0xff, false, 0x40);
    assert_int_equal(who(0x40), 15);
    msi(9, false, 0x40);
    assert_int_equal(who(0x40), 0);
    for (unsigned i = 0; i < CPUS; i++) /* flat */
        put(i, LDR, 1u << (24 + i));
    msi(0x0a, true, 0x40);
    assert_int_equal(who(0x40), 10);
    for (unsigned i = 0; i < CPUS; i++) { /* clusters of two */
        put(i, DFR, 0);
        put(i, LDR, (i / 2) << 28 | 1u << (24 + i % 2));
    }
    msi(0x13, true, 0x40);
    assert_int_equal(who(0x40), 12);
    msi(0x02, true, 0x40);
    assert_int_equal(who(0x40), 2);
    msi(0xff, true, 0x40);
    assert_int_equal(who(0x40), 15);
    x2apic(3);
    assert_int_equal(rdmsr(3, 0x80d), 8); /* cluster 0, its bit 3 */
    assert_int_equal(rdmsr(3, 0x802), 3);
    msi(0x08, true, 0x40);
    assert_int_equal(rdmsr(3, 0x822), 1);
}

static void lowest_priority(void **state)
{
    (void)state;
    for (unsigned i = 0; i < CPUS; i++) {
        put(i, LDR, 1u << (24 + i));
        put(i, TPR, i == 2 ? 0x20 : 0x30);
    }
    put(0, SVR, 0xff);
    for (unsigned n = 0; n < 3; n++) {
        msi(0x0f, true, 0x140);
        assert_int_equal(who(0x40), 4);
    }
    put(2, TPR, 0x30);
    unsigned seen = 0;
    for (unsigned n = 0; n < 3; n++) { /* equals take turns; vCPU 0 is disabled */
        irq_msi(irqchip_irq(chip), 0xfee0f00c, 0x40);
        seen |= who(0x40);
    }
    assert_int_equal(seen, 14);
}

static void ipis(void **state)
{
    (void)state;
    put(0, ICR2, 3u << 24);
    put(0, ICR, 0x4044);
    assert_int_equal(who(0x44), 8);
    put(1, ICR, 0x44044);
    assert_int_equal(who(0x44), 2);
    put(1, ICR, 0x84044);
    assert_int_equal(who(0x44), 15);
    put(1, ICR, 0xc4044);
    assert_int_equal(who(0x44), 13);
    assert_int_equal(get(1, ICR), 0xc4044); /* without delivery status: it is sent */
    assert_int_equal(get(0, ICR2), 3u << 24);
    put(0, ICR2, 0xff000000);
    put(0, ICR, 0x4400); /* NMI to all */
    for (unsigned i = 0; i < CPUS; i++) {
        assert_true(irqchip_take(chip, i, IRQCHIP_NMI, NULL));
        assert_false(irqchip_take(chip, i, IRQCHIP_NMI, NULL));
    }
}

static void start_up(void **state)
{
    uint8_t vector = 0;
    (void)state;
    put(1, TPR, 0x40);
    put(1, LINT1, 0x400);
    put(0, ICR2, 1u << 24);
    put(0, ICR, 0xc500);
    put(0, ICR, 0x8500); /* de-assert: nothing */
    assert_int_equal(irqchip_pending(chip, 1), IRQCHIP_INIT);
    assert_int_equal(vcpus[1].woken, 1);
    put(0, ICR, 0x4699);
    assert_int_equal(irqchip_pending(chip, 1), IRQCHIP_INIT | IRQCHIP_SIPI);
    assert_true(irqchip_take(chip, 1, IRQCHIP_INIT, NULL));
    assert_int_equal(get(1, TPR), 0);
    assert_int_equal(get(1, SVR), 0xff);
    assert_int_equal(get(1, LINT1), MASKED);
    assert_int_equal(get(1, ID), 1u << 24);
    assert_true(irqchip_take(chip, 1, IRQCHIP_SIPI, &vector));
    assert_int_equal(vector, 0x99);
    put(0, ICR, 0x4611);
    put(0, ICR, 0x4500); /* INIT voids the SIPI before it */
    assert_int_equal(irqchip_pending(chip, 1), IRQCHIP_INIT);
    assert_int_equal(irqchip_pending(chip, 2) | irqchip_pending(chip, 0), 0);
}

static void x2apic_mode(void **state)
{
    (void)state;
    assert_true(msr_faults(1, 0x802)); /* not in this mode */
    for (unsigned i = 0; i < CPUS; i++)
        x2apic(i);
    assert_true(wrmsr(0, 0x830, 2ull << 32 | 0x55));
    assert_int_equal(rdmsr(2, 0x822), 1 << 21);
    assert_int_equal(rdmsr(0, 0x830), 2ull << 32 | 0x55);
    assert_int_equal(irqchip_accept(chip, 2), 0x55);
    assert_false(wrmsr(2, 0x80b, 1));
    assert_true(wrmsr(2, 0x80b, 0));
    assert_true(wrmsr(0, 0x830, 0xaull << 32 | 0x856)); /* logical */
    assert_int_equal(irqchip_accept(chip, 1), 0x56);
    assert_int_equal(irqchip_accept(chip, 3), 0x56);
    assert_false(pending(0) || pending(2));
    assert_true(wrmsr(0, 0x830, 0xffffffffull << 32 | 0x66));
    for (unsigned i = 0; i < CPUS; i++)
        assert_int_equal(irqchip_accept(chip, i), 0x66);
    assert_true(wrmsr(0, 0x830, 0xffull << 32 | 0x77)); /* nobody's ID, and no broadcast here */
    assert_true(wrmsr(3, 0x83f, 0x78));                 /* self */
    assert_false(pending(0) || pending(1) || pending(2));
    assert_int_equal(irqchip_accept(chip, 3), 0x78);

    static const uint32_t unreadable[] = {0x80b, 0x80e, 0x831, 0x83f, 0x800, 0x82f, 0x8ff, 0x840};
    static const uint32_t unwritable[] = {0x802, 0x803, 0x80a, 0x80d, 0x80e, 0x810, 0x822, 0x831, 0x839};
    for (unsigned i = 0; i < sizeof unreadable / sizeof *unreadable; i++)
        assert_true(msr_faults(0, unreadable[i]));
    for (unsigned i = 0; i < sizeof unwritable / sizeof *unwritable; i++)
        assert_false(wrmsr(0, unwritable[i], 0));
    assert_false(wrmsr(0, 0x808, 0x100)); /* reserved bits */
    assert_false(wrmsr(0, 0x828, 1));
    assert_false(wrmsr(0, 0x835, 1 << 20));
    assert_false(wrmsr(0, 0x838, 1ull << 32));
    assert_true(wrmsr(0, 0x835, 0x8700));
}

static void base_transitions(void **state)
{
    (void)state;
    assert_int_equal(rdmsr(0, 0x1b), 0xfee00900);
    assert_int_equal(rdmsr(1, 0x1b), 0xfee00800);
    assert_false(wrmsr(1, 0x1b, 0xfee00801)); /* reserved */
    assert_false(wrmsr(1, 0x1b, 0xfee00400)); /* x2APIC without enable */
    assert_true(wrmsr(1, 0x1b, 0xfee00c00));
    assert_false(wrmsr(1, 0x1b, 0xfee00800)); /* back to xAPIC only through off */
    assert_true(wrmsr(1, 0x1b, 0xfee00000));
    assert_false(wrmsr(1, 0x1b, 0xfee00c00)); /* from off only to xAPIC */
    msi(1, false, 0x40);
    assert_false(pending(1));
    assert_true(wrmsr(1, 0x1b, 0xfee00800));
    assert_int_equal(get(1, ID), 1u << 24);
    assert_int_equal(get(1, SVR), 0xff);
}

static void errors(void **state)
{
    (void)state;
    put(0, ERROR, 0xe0);
    get(0, 0x50); /* no such register */
    assert_int_equal(irqchip_accept(chip, 0), 0xe0);
    put(0, EOI, 0);
    assert_int_equal(get(0, ESR), 0);
    put(0, ESR, 0);
    assert_int_equal(get(0, ESR), 0x80);
    put(0, ESR, 0);
    assert_int_equal(get(0, ESR), 0);
    put(0, ICR, 0x4000 | 0x40000 | 5); /* vector 5 to itself */
    put(0, ESR, 0);
    assert_int_equal(get(0, ESR), 0x20);
    msi(0, false, 0x0f);
    put(0, ESR, 0);
    assert_int_equal(get(0, ESR), 0x40);
    assert_int_equal(irqchip_accept(chip, 0), 0xe0);
    put(0, EOI, 0);
    put(0, ERROR, 3); /* an error in the error's own vector */
    put(0, 0x30, 0);
    put(0, ESR, 0);
    assert_int_equal(get(0, ESR), 0xc0);
}

/* ---- with the other chips ---- */

static void ioapic(unsigned pin, uint32_t low, uint8_t destination)
{
    bus_write(board->bus, BUS_MEMORY, 0xfec00000, 4, 0x11 + 2 * pin);
    bus_write(board->bus, BUS_MEMORY, 0xfec00010, 4, (uint32_t)destination << 24);
    bus_write(board->bus, BUS_MEMORY, 0xfec00000, 4, 0x10 + 2 * pin);
    bus_write(board->bus, BUS_MEMORY, 0xfec00010, 4, low);
}

static void level_through_the_ioapic(void **state)
{
    struct irq *irq = irqchip_irq(chip);
    (void)state;
    ioapic(11, 0x8000 | 0x71, 1);
    irq_set(irq, 11, true);
    assert_int_equal(irqchip_accept(chip, 1), 0x71);
    assert_int_equal(get(1, TMR + 0x30), 1 << 17);
    put(1, EOI, 0);
    assert_true(pending(1)); /* the line is still up */
    assert_int_equal(vcpus[1].woken, 2);
    assert_int_equal(irqchip_accept(chip, 1), 0x71);
    irq_set(irq, 11, false);
    put(1, EOI, 0);
    assert_false(pending(1));
    ioapic(2, 0x30, 2); /* the timer's GSI 0 */
    irq_pulse(irq, 0);
    irq_pulse(irq, 2); /* no such line */
    assert_int_equal(irqchip_accept(chip, 2), 0x30);
    put(2, EOI, 0);
    assert_false(pending(2));
    irq_set(irq, 24, true); /* nor this */
}

static void pic_master(uint8_t mask)
{
    static const uint8_t words[] = {0x20, 4, 1};
    isa_out(board, 0x20, 0x11);
    for (unsigned i = 0; i < 3; i++)
        isa_out(board, 0x21, words[i]);
    isa_out(board, 0x21, mask);
}

static void pic_through_lint0(void **state)
{
    (void)state;
    pic_master(0xfe);
    irq_pulse(irqchip_irq(chip), 0);
    assert_false(pending(0)); /* LINT0 is masked */
    put(0, LINT0, 0x700);
    assert_true(pending(0));
    put(0, TPR, 0xff); /* does not hold the PIC */
    assert_int_equal(irqchip_accept(chip, 0), 0x20);
    assert_false(pending(0));
    isa_out(board, 0x20, 0x20);
    irq_pulse(irqchip_irq(chip), 0);
    assert_true(pending(0));
    isa_out(board, 0x21, 0xff); /* masked in the PIC */
    assert_false(pending(0));
    assert_int_equal(irqchip_accept(chip, 0), -1);
    assert_true(wrmsr(0, 0x1b, 0xfee00100)); /* no APIC: the pin is INTR */
    isa_out(board, 0x21, 0);
    assert_int_equal(irqchip_accept(chip, 0), 0x20);
    assert_false(pending(1));
}

static void lint_modes(void **state)
{
    (void)state;
    pic_master(0xfe);
    put(0, LINT0, 0x400); /* NMI */
    irq_pulse(irqchip_irq(chip), 0);
    assert_int_equal(irqchip_pending(chip, 0), IRQCHIP_NMI);
    pic_master(0xfe);
    put(0, LINT0, 0x8051); /* fixed, level */
    irq_pulse(irqchip_irq(chip), 0);
    assert_int_equal(irqchip_accept(chip, 0), 0x51);
    assert_int_equal(get(0, LINT0), 0xc051);
    put(0, EOI, 0);
    assert_int_equal(irqchip_accept(chip, 0), 0x51); /* nobody has acknowledged the PIC */
    isa_out(board, 0x21, 0xff);
    put(0, EOI, 0);
    assert_int_equal(irqchip_accept(chip, 0), -1);
    assert_int_equal(get(0, LINT0), 0x8051);
    put(0, LINT0, 0x52); /* fixed, edge */
    isa_out(board, 0x21, 0xfe);
    assert_int_equal(irqchip_accept(chip, 0), 0x52);
    put(0, EOI, 0);
    assert_false(pending(0));
}

/* ---- timer ---- */

static void one_shot(void **state)
{
    (void)state;
    put(0, DIVIDE, 0xb); /* by 1 */
    put(0, TIMER, 0x40);
    put(0, INITIAL, 1000);
    assert_int_equal(get(0, CURRENT), 1000);
    isa_advance(board, 400);
    assert_int_equal(get(0, CURRENT), 600);
    put(0, DIVIDE, 0x0); /* by 2, the count stays */
    assert_int_equal(get(0, CURRENT), 600);
    isa_advance(board, 600);
    assert_int_equal(get(0, CURRENT), 300);
    assert_false(pending(0));
    isa_advance(board, 600);
    assert_int_equal(get(0, CURRENT), 0);
    assert_int_equal(irqchip_accept(chip, 0), 0x40);
    put(0, EOI, 0);
    isa_advance(board, 10000);
    assert_false(pending(0));
    put(0, INITIAL, 1000);
    put(0, INITIAL, 0); /* stops it */
    isa_advance(board, 10000);
    assert_false(pending(0));
    static const uint8_t divides[8] = {0xb, 0, 1, 2, 3, 8, 9, 0xa};
    for (unsigned i = 0; i < 8; i++) {
        put(0, DIVIDE, divides[i]);
        put(0, INITIAL, 1000);
        isa_advance(board, (1000u << i) - 1);
        assert_false(pending(0));
        isa_advance(board, 1);
        assert_int_equal(irqchip_accept(chip, 0), 0x40);
        put(0, EOI, 0);
    }
}

static void periodic(void **state)
{
    (void)state;
    put(0, DIVIDE, 0xb);
    put(0, TIMER, 0x20040);
    put(0, INITIAL, 1000 * US);
    for (unsigned i = 0; i < 5; i++) {
        isa_advance(board, 999 * US);
        assert_false(pending(0));
        assert_int_equal(get(0, CURRENT), US);
        isa_advance(board, US);
        assert_int_equal(irqchip_accept(chip, 0), 0x40);
        put(0, EOI, 0);
    }
    put(0, TIMER, 0x30040); /* masked: counts on, and wakes nobody */
    assert_int_equal(isa_timers_set(board), 0);
    isa_advance(board, 2500 * US);
    assert_int_equal(get(0, CURRENT), 500 * US);
    assert_false(pending(0));
    put(0, TIMER, 0x20040); /* in step again */
    isa_advance(board, 500 * US - 1);
    assert_false(pending(0));
    isa_advance(board, 1);
    assert_true(pending(0));
    put(0, INITIAL, 1); /* a period that would keep us busy */
    unsigned rounds = 0;
    for (unsigned i = 0; i < 1000; i++) {
        isa_advance(board, US);
        if (irqchip_accept(chip, 0) == 0x40)
            rounds++;
        put(0, EOI, 0);
    }
    assert_in_range(rounds, 5, 12);
    assert_in_range(get(0, CURRENT), 0, 1);
    put(0, INITIAL, 0);
}

static void deadline(void **state)
{
    (void)state;
    assert_false(irqchip_deadline(chip, 0, 5000 * US)); /* another mode */
    put(0, TIMER, 0x40040);
    assert_true(irqchip_deadline(chip, 0, 5000 * US));
    assert_true(irqchip_deadline_armed(chip, 0));
    put(0, INITIAL, 5); /* means nothing in this mode */
    assert_int_equal(get(0, INITIAL), 0);
    assert_int_equal(get(0, CURRENT), 0);
    isa_advance(board, 4000 * US);
    assert_false(pending(0));
    isa_advance(board, 1000 * US);
    assert_false(irqchip_deadline_armed(chip, 0));
    assert_int_equal(irqchip_accept(chip, 0), 0x40);
    put(0, EOI, 0);
    assert_true(irqchip_deadline(chip, 0, 1)); /* past: at once */
    assert_int_equal(irqchip_accept(chip, 0), 0x40);
    put(0, EOI, 0);
    assert_true(irqchip_deadline(chip, 0, 9000 * US));
    assert_true(irqchip_deadline(chip, 0, 0));
    isa_advance(board, 10000 * US);
    assert_false(pending(0));
    assert_true(irqchip_deadline(chip, 0, 20000 * US));
    put(0, TIMER, 0x40); /* the mode's end disarms */
    assert_false(irqchip_deadline_armed(chip, 0));
    isa_advance(board, 10000 * US);
    assert_false(pending(0));
}

static void init_stops_the_timer(void **state)
{
    (void)state;
    put(1, TIMER, 0x20040);
    put(1, INITIAL, 1000 * US);
    put(0, ICR2, 1u << 24);
    put(0, ICR, 0x4500);
    assert_true(irqchip_take(chip, 1, IRQCHIP_INIT, NULL));
    assert_int_equal(isa_timers_set(board), 0);
    assert_int_equal(get(1, CURRENT), 0);
}

/* ---- state ---- */

static void survives(void **state)
{
    struct cpu_state before, after;
    struct chips_state chips, chips_after;
    struct err err;
    (void)state;
    memset(&before, 0, sizeof before);
    memset(&after, 0, sizeof after);
    x2apic(1);
    assert_true(wrmsr(1, 0x832, 0x20040));
    assert_true(wrmsr(1, 0x83e, 0xb));
    assert_true(wrmsr(1, 0x838, 1000 * US));
    isa_advance(board, 300 * US);
    msi(1, false, 0x81);
    assert_int_equal(irqchip_accept(chip, 1), 0x81);
    msi(1, false, 0x91);
    put(0, ICR2, 1u << 24);
    put(0, ICR, 0x4400);
    put(0, ICR, 0x4612);
    assert_true(wrmsr(1, 0x808, 0x35));
    pic_master(0xfc);
    ioapic(11, 0x8000 | 0x71, 2);
    irq_set(irqchip_irq(chip), 1, true);
    irq_set(irqchip_irq(chip), 11, true);
    irqchip_cpu_get(chip, 1, &before);
    irqchip_chips_get(chip, &chips);
    assert_true(before.nmi_pending && before.sipi_pending && !before.init_pending);

    irqchip_free(chip);
    chip = irqchip_new(board->bus, board->timers, CPUS, &err);
    for (unsigned i = 0; i < CPUS; i++)
        irqchip_attach(chip, i, &vcpus[i].cpu);
    vcpus[1].woken = 0;
    isa_advance(board, 12345);
    assert_int_equal(irqchip_cpu_set(chip, 1, &before, &err), 0);
    assert_int_equal(irqchip_chips_set(chip, &chips, &err), 0);
    assert_int_not_equal(vcpus[1].woken, 0);
    irqchip_cpu_get(chip, 1, &after);
    irqchip_chips_get(chip, &chips_after);
    assert_memory_equal(&before, &after, sizeof before);
    assert_memory_equal(&chips, &chips_after, sizeof chips);
    assert_int_equal(irqchip_pending(chip, 1), IRQCHIP_INTERRUPT | IRQCHIP_NMI | IRQCHIP_SIPI);
    assert_int_equal(irqchip_accept(chip, 1), 0x91);
    assert_true(wrmsr(1, 0x80b, 0));
    assert_true(wrmsr(1, 0x80b, 0));
    isa_advance(board, 700 * US - 1);
    assert_false(pending(1));
    isa_advance(board, 1);
    assert_int_equal(irqchip_accept(chip, 1), 0x40);
    assert_true(wrmsr(1, 0x838, 0));
}

static void refuses_bad_state(void **state)
{
    struct cpu_state cpu;
    struct chips_state chips;
    struct err err;
    (void)state;
    cpu_state_reset(&cpu, 1);
    cpu.apic_base |= 1;
    assert_int_not_equal(irqchip_cpu_set(chip, 1, &cpu, &err), 0);
    cpu.apic_base = 0xfee00c00; /* and the ID is an xAPIC's */
    assert_int_not_equal(irqchip_cpu_set(chip, 1, &cpu, &err), 0);
    chips_state_reset(&chips);
    chips.pic[1].priority_add = 8;
    assert_int_not_equal(irqchip_chips_set(chip, &chips, &err), 0);
    chips_state_reset(&chips);
    chips.ioapic.levels = 1 << 24;
    assert_int_not_equal(irqchip_chips_set(chip, &chips, &err), 0);
    cpu_state_reset(&cpu, 1);
    memset(cpu.lapic, 0xff, sizeof cpu.lapic); /* nonsense is cut to what can be */
    assert_int_equal(irqchip_cpu_set(chip, 1, &cpu, &err), 0);
    assert_int_equal(get(1, IRR), 0xffff0000);
    assert_int_equal(get(1, 0x30), 0x50014);
    irqchip_accept(chip, 1);
    put(1, TIMER, 0);
    put(1, INITIAL, 0);
}

/* ---- several vCPUs at once ---- */

enum { ROUNDS = 4000, FIRST = 0x60 };

struct runner {
    pthread_t thread;
    unsigned index, taken[CPUS + 1];
    atomic_uint *acknowledged; /* by whom my interrupts have been taken: counts */
};

static bool take_one(struct runner *r, atomic_uint acknowledged[])
{
    if (!pending(r->index))
        return false;
    int vector = irqchip_accept(chip, r->index);
    if (vector < 0)
        return false;
    unsigned sender = ((unsigned)vector - FIRST) / 16;
    r->taken[sender]++;
    put(r->index, EOI, 0);
    atomic_fetch_add(&acknowledged[sender], 1);
    return true;
}

/* Each vCPU sends to the next one, again when that has been taken, and takes what comes. */
static void *run(void *argument)
{
    struct runner *r = argument;
    unsigned sent = 0, next = (r->index + 1) % CPUS;
    while (sent < ROUNDS || atomic_load(&r->acknowledged[r->index]) < ROUNDS ||
           r->taken[(r->index + CPUS - 1) % CPUS] < ROUNDS) {
        bool took = take_one(r, r->acknowledged);
        if (sent < ROUNDS && atomic_load(&r->acknowledged[r->index]) == sent) {
            put(r->index, ICR2, next << 24);
            put(r->index, ICR, FIRST + 16 * r->index);
            sent++;
        } else if (!took)
            sched_yield(); /* the others may need this core */
    }
    return NULL;
}

/* Meanwhile a device without the bus sends messages of its own to vCPU 0, which may merge. */
static void nothing_is_lost_between_vcpus(void **state)
{
    static struct runner runners[CPUS];
    static atomic_uint acknowledged[CPUS + 1];
    (void)state;
    memset(runners, 0, sizeof runners);
    memset(acknowledged, 0, sizeof acknowledged);
    for (unsigned i = 0; i < CPUS; i++) {
        runners[i].index = i;
        runners[i].acknowledged = acknowledged;
        assert_int_equal(pthread_create(&runners[i].thread, NULL, run, &runners[i]), 0);
    }
    for (unsigned i = 0; i < ROUNDS; i++)
        msi(0, false, FIRST + 16 * CPUS);
    for (unsigned i = 0; i < CPUS; i++)
        pthread_join(runners[i].thread, NULL);
    while (take_one(&runners[0], acknowledged))
        ;
    for (unsigned i = 0; i < CPUS; i++)
        assert_int_equal(runners[i].taken[(i + CPUS - 1) % CPUS], ROUNDS);
    assert_in_range(runners[0].taken[CPUS], 1, ROUNDS);
}

/* Every register of the page and every MSR takes any value without harm. */
static void bears_everything(void **state)
{
    (void)state;
    unsigned seed = 7;
    for (unsigned n = 0; n < 200000; n++) {
        unsigned i = (unsigned)rand_r(&seed) % CPUS;
        uint32_t value = (uint32_t)rand_r(&seed) ^ (uint32_t)rand_r(&seed) << 16;
        uint32_t at = (uint32_t)rand_r(&seed);
        uint64_t wide;
        switch (rand_r(&seed) % 8) {
        case 0:
            put(i, at % 4096, value);
            break;
        case 1:
            get(i, at % 4096);
            break;
        case 2:
            irqchip_msr_write(chip, i, 0x800 + at % 256, at & 256 ? value : value & 0xfff);
            break;
        case 3:
            irqchip_msr_read(chip, i, 0x800 + at % 256, &wide);
            break;
        case 4:
            msi(at & 0xff, at & 256, value);
            break;
        case 5:
            irqchip_accept(chip, i);
            irqchip_take(chip, i, 1u << at % 4, (uint8_t *)&wide);
            break;
        case 6:
            irq_set(irqchip_irq(chip), at % 25, value & 1);
            ioapic(at % 24, value, (uint8_t)at);
            break;
        default:
            irqchip_msr_write(chip, i, 0x1b, 0xfee00000 | (value & 0xd00));
            isa_advance(board, at % 100000);
        }
    }
    for (unsigned i = 0; i < CPUS; i++)
        assert_int_equal(irqchip_pending(chip, i) & ~15u, 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(after_power_on),
        TEST(priorities),
        TEST(raise_tpr_takes_back),
        TEST(destinations),
        TEST(lowest_priority),
        TEST(ipis),
        TEST(start_up),
        TEST(x2apic_mode),
        TEST(base_transitions),
        TEST(errors),
        TEST(level_through_the_ioapic),
        TEST(pic_through_lint0),
        TEST(lint_modes),
        TEST(one_shot),
        TEST(periodic),
        TEST(deadline),
        TEST(init_stops_the_timer),
        TEST(survives),
        TEST(refuses_bad_state),
        TEST(bears_everything),
        TEST(nothing_is_lost_between_vcpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
