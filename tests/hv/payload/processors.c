/* The other processors: started by INIT and SIPI, counting together, interrupting each other. */
#include "tests/hv/payload/payload.h"

extern volatile uint32_t processors;
extern uint8_t trampoline[], trampoline_end[];
void processor_main(unsigned index);

enum { ROUNDS = 20000, EXCHANGES = 1000 };

static volatile uint64_t counter, unlocked, ready, go, seen, exchanged[2];
static volatile unsigned lock;
static bool x2apic;

static void wait_a_moment(void)
{
    for (uint64_t limit = rdtsc() + 40000000; rdtsc() < limit;)
        __asm__ volatile("pause");
}

/* How many there are, by fw_cfg's item 5. */
static uint32_t expected(void)
{
    outw(0x510, 5);
    uint32_t low = inb(0x511);
    return low | (uint32_t)inb(0x511) << 8;
}

static void send(uint32_t command, uint32_t id)
{
    if (x2apic) {
        wrmsr(0x830, (uint64_t)id << 32 | command);
        return;
    }
    *(volatile uint32_t *)0xfee00310ul = id << 24;
    *(volatile uint32_t *)0xfee00300ul = command;
}

static void work(void)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        __asm__ volatile("lock incq %0" : "+m"(counter)::"memory");
        while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
            __asm__ volatile("pause");
        unlocked = unlocked + 1;
        __atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
    }
}

void processor_main(unsigned index)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) table;
    __asm__ volatile("sidt %0" : "=m"(table)); /* empty since INIT */
    extern uint64_t first_idt[2];
    __asm__ volatile("lidt %0" ::"m"(*(struct { uint8_t b[10]; } *)(uint64_t)first_idt));
    if (x2apic)
        wrmsr(0x1b, rdmsr(0x1b) | 0x400);
    if (x2apic)
        wrmsr(0x80f, 0x1ff);
    else
        *(volatile uint32_t *)0xfee000f0ul = 0x1ff;
    __atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
    while (!go)
        __asm__ volatile("pause");
    work();
    __atomic_fetch_add(&seen, 1, __ATOMIC_SEQ_CST);
    if (index == 1)
        while (exchanged[1] < EXCHANGES) { /* ping-pong through memory */
            if (exchanged[1] < exchanged[0])
                exchanged[1] = exchanged[0];
        }
    for (;;)
        __asm__ volatile("sti\n hlt");
}

uint64_t first_idt[2];

static volatile unsigned on_others;
static void answered(struct frame *f)
{
    (void)f;
    __atomic_fetch_add(&on_others, 1, __ATOMIC_SEQ_CST);
    if (x2apic)
        wrmsr(0x80b, 0);
    else
        *(volatile uint32_t *)0xfee000b0ul = 0;
}

static bool reaches(const volatile uint64_t *what, uint64_t value)
{
    for (uint64_t limit = rdtsc() + 60000000000ull; *what < value && rdtsc() < limit;)
        __asm__ volatile("pause");
    return *what >= value;
}

void test_processors(void)
{
    x2apic = rdmsr(0x1b) >> 10 & 1;
    __asm__ volatile("sidt %0" : "=m"(first_idt));
    for (unsigned i = 0; i < (unsigned)(trampoline_end - trampoline); i++)
        ((volatile uint8_t *)0x8000ul)[i] = trampoline[i];
    send(0xc4500, 0); /* INIT to all but itself */
    wait_a_moment();
    send(0xc4608, 0); /* SIPI: start at 8000h */
    for (uint64_t limit = rdtsc() + 60000000000ull; processors < expected() && rdtsc() < limit;)
        wait_a_moment();
    uint64_t others = processors - 1;
    if (!others)
        return;
    check("processors start", reaches(&ready, others));
    go = 1;
    work();
    check("they all count", reaches(&seen, others));
    check("LOCK INC loses nothing", counter == (others + 1) * ROUNDS);
    check("nor does a lock made of XCHG", unlocked == (others + 1) * ROUNDS);
    for (uint64_t i = 1; i <= EXCHANGES; i++) {
        exchanged[0] = i;
        if (!reaches(&exchanged[1], i))
            break;
    }
    check("what one writes another sees", exchanged[1] == EXCHANGES);
    on_interrupt = answered;
    bool all = true;
    for (unsigned i = 1; i <= 50 && all; i++) {
        send(0xc4042, 0); /* to all but itself */
        for (uint64_t limit = rdtsc() + 60000000000ull; on_others < i * others && rdtsc() < limit;)
            __asm__ volatile("pause");
        all = on_others == i * others;
    }
    check("an interrupt to all others, 50 times", all);
    on_interrupt = NULL;
}
