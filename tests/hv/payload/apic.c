/* The local APIC, the IOAPIC and the PICs of the first processor. */
#include "tests/hv/payload/payload.h"

enum {
    APIC_BASE_MSR = 0x1b,
    ID = 0x20,
    VERSION = 0x30,
    TPR = 0x80,
    PPR = 0xa0,
    EOI = 0xb0,
    SPURIOUS = 0xf0,
    ISR = 0x100,
    IRR = 0x200,
    ICR = 0x300,
    ICR_HIGH = 0x310,
    LVT_TIMER = 0x320,
    LVT_LINT0 = 0x350,
    TIMER_INITIAL = 0x380,
    TIMER_CURRENT = 0x390,
    TIMER_DIVIDE = 0x3e0
};
enum { IOAPIC = 0xfec00000 };

static bool x2apic;

static uint32_t apic_read(unsigned r)
{
    return x2apic ? (uint32_t)rdmsr(0x800 + r / 16) : *(volatile uint32_t *)(0xfee00000ul + r);
}

static void apic_write(unsigned r, uint32_t v)
{
    if (x2apic)
        wrmsr(0x800 + r / 16, v);
    else
        *(volatile uint32_t *)(0xfee00000ul + r) = v;
}

static void ioapic_write(unsigned r, uint32_t v)
{
    *(volatile uint32_t *)IOAPIC = r;
    *(volatile uint32_t *)(IOAPIC + 0x10) = v;
}

static uint32_t ioapic_read(unsigned r)
{
    *(volatile uint32_t *)IOAPIC = r;
    return *(volatile uint32_t *)(IOAPIC + 0x10);
}

static volatile unsigned order[16], order_count;
enum { PIC_TIMER = 0x20 }; /* comes from the PIC, which has an EOI of its own */

static void acknowledge(struct frame *f)
{
    if (order_count < 16)
        order[order_count] = (unsigned)f->vector, order_count = order_count + 1;
    if (f->vector == PIC_TIMER)
        outb(0x20, 0x20);
    else
        apic_write(EOI, 0);
}

/* Interrupts on, until this vector has come; false after a long time. */
static bool wait(unsigned vector, unsigned count)
{
    uint64_t limit = rdtsc() + 20000000000ull;
    __asm__ volatile("sti");
    while (interrupts[vector] < count && rdtsc() < limit)
        __asm__ volatile("pause");
    __asm__ volatile("cli");
    return interrupts[vector] >= count;
}

static void self(void)
{
    interrupts[0x40] = interrupts[0x70] = 0;
    apic_write(ICR, 0x40040); /* to itself */
    check("IRR before it is taken", apic_read(IRR + 0x20) == 1);
    check("a message to itself", wait(0x40, 1));
    check("IRR and ISR after it", !apic_read(IRR + 0x20) && !apic_read(ISR + 0x20));
    order_count = 0;
    apic_write(ICR, 0x40040);
    apic_write(ICR, 0x40070);
    wait(0x40, 2);
    check("the higher vector first", order_count == 2 && order[0] == 0x70 && order[1] == 0x40);
}

static void priorities(void)
{
    interrupts[0x45] = 0;
    apic_write(TPR, 0x40);
    apic_write(ICR, 0x40045);
    __asm__ volatile("sti\n nop\n nop\n cli");
    check("TPR holds back its class", interrupts[0x45] == 0 && apic_read(PPR) == 0x40);
    uint64_t cr8;
    __asm__ volatile("mov %%cr8, %0" : "=r"(cr8));
    check("CR8 is the TPR", cr8 == 4);
    __asm__ volatile("mov %0, %%cr8" ::"r"(0ul));
    check("a lower CR8 lets it through", wait(0x45, 1) && apic_read(TPR) == 0);
}

static void timer(void)
{
    interrupts[0x50] = 0;
    apic_write(TIMER_DIVIDE, 0xb);
    apic_write(LVT_TIMER, 0x50);
    apic_write(TIMER_INITIAL, 100000);
    check("the timer counts down", apic_read(TIMER_CURRENT) <= 100000);
    check("one shot", wait(0x50, 1) && apic_read(TIMER_CURRENT) == 0);
    apic_write(LVT_TIMER, 0x20050);
    apic_write(TIMER_INITIAL, 1000000);
    check("periodic", wait(0x50, 4));
    if (!x2apic) { /* a register that is never twice the same: whoever waits for that waits for ever */
        uint32_t value = 0;
        __asm__ volatile("xchg %0, %1\n lock addl $0, %1\n lock btsl $3, %1"
                         : "+r"(value), "+m"(*(volatile uint32_t *)(0xfee00000ul + TIMER_CURRENT)));
        check("a locked change of a running counter", value <= 1000000);
    }
    apic_write(TIMER_INITIAL, 0);
    apic_write(LVT_TIMER, 0x10050);
    uint32_t r[4];
    cpuid(1, 0, r);
    if (r[2] >> 24 & 1) {
        interrupts[0x51] = 0;
        apic_write(LVT_TIMER, 0x40051);
        wrmsr(0x6e0, rdtsc() + 1000000);
        check("TSC deadline", wait(0x51, 1) && rdmsr(0x6e0) == 0);
        wrmsr(0x6e0, 1); /* in the past */
        check("TSC deadline in the past", wait(0x51, 2));
        apic_write(LVT_TIMER, 0x10050);
    }
}

static void halted(void)
{
    interrupts[0x52] = 0;
    apic_write(LVT_TIMER, 0x52);
    apic_write(TIMER_INITIAL, 100000);
    __asm__ volatile("sti\n hlt\n cli");
    check("HLT ends with an interrupt", interrupts[0x52] == 1);
    unsigned nmis = interrupts[NMI];
    apic_write(ICR, 0x40400); /* NMI to itself */
    __asm__ volatile("nop\n nop\n nop");
    check("NMI with interrupts off", interrupts[NMI] == nmis + 1);
}

/* Channel 0 of the PIT through pin 2 of the IOAPIC, then through the PIC and LINT0. */
static void outside(void)
{
    interrupts[0x60] = interrupts[0x20] = 0;
    ioapic_write(0x14, 0x60);
    ioapic_write(0x15, apic_read(ID) & (x2apic ? 0xffffffff : 0xff000000));
    outb(0x43, 0x34);
    outb(0x40, 0x00);
    outb(0x40, 0x10);
    check("PIT through the IOAPIC", wait(0x60, 3));
    ioapic_write(0x14, 0x10000);
    outb(0x20, 0x11), outb(0x21, 0x20), outb(0x21, 4), outb(0x21, 1);
    outb(0xa0, 0x11), outb(0xa1, 0x28), outb(0xa1, 2), outb(0xa1, 1);
    outb(0x21, 0xfe), outb(0xa1, 0xff);
    apic_write(LVT_LINT0, 0x700);
    check("PIT through the PIC", wait(PIC_TIMER, 1));
    outb(0x21, 0xff);
    apic_write(LVT_LINT0, 0x10000);
    outb(0x43, 0x30); /* one shot: quiet from here on */
    outb(0x40, 1);
    outb(0x40, 0);
    check("the IOAPIC has 24 pins", (ioapic_read(1) >> 16 & 0xff) == 23);
}

static void modes(void)
{
    uint32_t r[4];
    cpuid(1, 0, r);
    if (!(r[2] >> 21 & 1))
        return;
    uint32_t id = apic_read(ID) >> 24;
    wrmsr(APIC_BASE_MSR, rdmsr(APIC_BASE_MSR) | 0x400);
    x2apic = true;
    check("x2APIC: the same ID", apic_read(ID) == id);
    CATCH("mov $0x80f, %%ecx\n mov $1, %%edx\n xor %%eax, %%eax\n wrmsr\n", ::: "rax", "rcx", "rdx", "memory");
    check("#GP: reserved bits of an x2APIC register", caught.vector == GP);
    CATCH("mov $0x80e, %%ecx\n rdmsr\n", ::: "rax", "rcx", "rdx", "memory");
    check("#GP: a register that x2APIC does not have", caught.vector == GP);
    interrupts[0x41] = 0;
    wrmsr(0x83f, 0x41);
    check("x2APIC: self IPI", wait(0x41, 1));
    self();
    timer();
}

void test_apic(void)
{
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
    on_interrupt = acknowledge;
    apic_write(SPURIOUS, 0x1ff);
    apic_write(TPR, 0);
    check("the version of the APIC", (apic_read(VERSION) & 0xf0) == 0x10);
    self();
    priorities();
    timer();
    halted();
    outside();
    modes();
    on_interrupt = NULL;
}
