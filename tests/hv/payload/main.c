/* What every case stands on: text, exceptions, page tables; and the list of them. */
#include "tests/hv/payload/payload.h"

enum { SERIAL = 0x3f8, PM_CONTROL = 0x604, SLEEP_S5 = 0x2000, LINE_READY = 0x20 };

struct gate {
    uint16_t low, selector;
    uint8_t ist, type;
    uint16_t middle;
    uint32_t high, zero;
} __attribute__((packed));

struct tss {
    uint32_t reserved;
    uint64_t rsp[3], reserved2, ist[7], reserved3;
    uint16_t reserved4, bitmap_at;
    uint8_t bitmap[8193];
} __attribute__((packed));

extern uint8_t stubs[256][16];
extern uint64_t gdt_tss[2];

struct caught caught;
uint64_t resume_at;
volatile unsigned interrupts[256];
void (*volatile on_interrupt)(struct frame *frame);
struct tss tss;
static struct gate idt[256];
static uint8_t stacks[3][8192] __attribute__((aligned(16)));
static unsigned passed, failed;
extern uint64_t kernel_rsp;
extern uint32_t legacy_count; /* legacy/legacy.c */
extern struct {
    uint32_t name, holds;
} legacy_results[];
void leave_user(void);
void handle(struct frame *f);
void processor_main(unsigned index);
int main(void);

/* ---- text ---- */

static void put(char c)
{
    while (!(inb(SERIAL + 5) & LINE_READY))
        ;
    outb(SERIAL, (uint8_t)c);
}

void print(const char *text)
{
    while (*text)
        put(*text++);
}

void print_hex(uint64_t v)
{
    for (int shift = 60; shift >= 0; shift -= 4)
        put("0123456789abcdef"[v >> shift & 15]);
}

static void print_number(unsigned v)
{
    if (v >= 10)
        print_number(v / 10);
    put((char)('0' + v % 10));
}

void check(const char *name, bool holds)
{
    print(holds ? "ok " : "not ok ");
    print(name);
    put('\n');
    *(holds ? &passed : &failed) += 1;
}

static void switch_off(void)
{
    for (;;)
        outw(PM_CONTROL, SLEEP_S5);
}

/* ---- exceptions and interrupts ---- */

static void leave_ring_3(struct frame *f)
{
    f->cs = KERNEL_CS;
    f->ss = KERNEL_DS;
    f->rsp = kernel_rsp;
    f->rflags &= ~0x200ull;
}

void handle(struct frame *f)
{
    if (f->vector == 0x80 && f->rax == 0xdead) { /* ring 3 wants to leave */
        f->rip = (uint64_t)leave_user;
        leave_ring_3(f);
        return;
    }
    if (f->vector >= 32 || f->vector == NMI) {
        interrupts[f->vector]++;
        if (on_interrupt)
            on_interrupt(f);
        return;
    }
    caught.vector = (unsigned)f->vector;
    caught.code = f->code;
    caught.rip = f->rip;
    caught.rflags = f->rflags;
    caught.rcx = f->rcx;
    caught.rsi = f->rsi;
    caught.rdi = f->rdi;
    __asm__ volatile("mov %%cr2, %0" : "=r"(caught.cr2));
    if (!resume_at) {
        print("not ok unexpected exception ");
        print_hex(f->vector);
        print(" at ");
        print_hex(f->rip);
        print(" code ");
        print_hex(f->code);
        print(" cr2 ");
        print_hex(caught.cr2);
        put('\n');
        switch_off();
    }
    f->rip = resume_at;
    f->rflags &= ~0x100ull; /* TF */
    if ((f->cs & 3) == 3)
        leave_ring_3(f);
}

static void set_gate(unsigned vector, unsigned dpl, unsigned ist)
{
    uint64_t at = (uint64_t)stubs[vector];
    idt[vector] =
        (struct gate){(uint16_t)at,         KERNEL_CS, (uint8_t)ist, (uint8_t)(0x8e | dpl << 5), (uint16_t)(at >> 16),
                      (uint32_t)(at >> 32), 0};
}

static void set_descriptors(void)
{
    struct {
        uint16_t limit;
        const void *base;
    } __attribute__((packed)) table = {sizeof idt - 1, idt};
    for (unsigned v = 0; v < 256; v++)
        set_gate(v, v == 0x80 || v == BP ? 3 : 0, v == NMI ? 1 : v == DF ? 2 : 0);
    tss.rsp[0] = (uint64_t)(stacks[0] + sizeof stacks[0]);
    tss.ist[0] = (uint64_t)(stacks[1] + sizeof stacks[1]);
    tss.ist[1] = (uint64_t)(stacks[2] + sizeof stacks[2]);
    tss.bitmap_at = offsetof(struct tss, bitmap);
    for (unsigned i = 0; i < sizeof tss.bitmap; i++)
        tss.bitmap[i] = 0xff;
    uint64_t base = (uint64_t)&tss;
    gdt_tss[0] = (sizeof tss - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
    gdt_tss[1] = base >> 32;
    __asm__ volatile("lidt %0\n ltr %w1" ::"m"(table), "r"(0x40));
}

/* ---- pages ---- */

static uint64_t window_table[512] __attribute__((aligned(4096)));
static uint8_t pages[64][4096] __attribute__((aligned(4096)));

uint64_t *window_entry(uint64_t address)
{
    return &window_table[(address - WINDOW) / 4096];
}

void map(uint64_t address, uint64_t physical, uint64_t flags)
{
    *window_entry(address) = physical | flags;
    invlpg(address);
}

uint8_t *fresh_page(void)
{
    static unsigned used;
    if (used == 64)
        used = 0;
    for (unsigned i = 0; i < 4096; i++)
        pages[used][i] = 0;
    return pages[used++];
}

static void open_window(void)
{
    directory[WINDOW / 0x200000] = (uint64_t)window_table | 7;
    reload_cr3();
}

/* What was found before 64-bit mode. */
static void print_legacy(void)
{
    for (uint32_t i = 0; i < legacy_count; i++)
        check((const char *)(uint64_t)legacy_results[i].name, legacy_results[i].holds);
}

int main(void)
{
    outb(0x21, 0xff); /* no interrupts but those that a case asks for */
    outb(0xa1, 0xff);
    set_descriptors();
    open_window();
    print_legacy();
    test_exceptions();
    test_paging();
    test_rings();
    test_strings();
    test_code_changes();
    test_debug();
    test_apic();
    test_processors();
    print("payload: ");
    print_number(passed);
    print(" passed, ");
    print_number(failed);
    print(" failed\n");
    switch_off();
    return 0;
}
