/* See legacy.h: tables, exceptions, results. */
#include "tests/hv/payload/legacy/legacy.h"

enum { SERIAL = 0x3f8, LINE_READY = 0x20, PM_CONTROL = 0x604, SLEEP_S5 = 0x2000, RESULT_MAX = 96, VM = 1 << 17 };
enum { GATE_INTERRUPT = 0x8e00, GATE_TASK = 0x8500, GATE_USER = 0x6000 };

struct gate {
    uint16_t low, selector, type, high;
};

struct result {
    uint32_t name, holds;
};

struct result legacy_results[RESULT_MAX]; /* for main.c */
uint32_t legacy_count;
struct legacy_frame legacy_caught;
uint32_t legacy_resume;
uint64_t legacy_gdt[LEGACY_GDT_ENTRIES] __attribute__((aligned(16)));
struct legacy_tss legacy_tss_a;
static struct gate idt[LEGACY_VECTORS];
static uint8_t ring_0_stack[4096] __attribute__((aligned(16)));
extern uint8_t legacy_stubs[LEGACY_VECTORS][16];
uint32_t legacy_handle(struct legacy_frame *f);

/* Stubs push a code where the processor does not. The handler says whether to leave ring 3 or virtual 8086 mode for
 * good (legacy_leave is where legacy_enter was called) or to go on at the frame's EIP. */
__asm__(".text\n"
        ".balign 16\n"
        "legacy_stubs:\n"
        "legacy_vector = 0\n"
        ".rept 0x32\n"
        ".balign 16\n"
        ".if legacy_vector == 8 || (legacy_vector >= 10 && legacy_vector <= 14) || legacy_vector == 17\n"
        ".else\n"
        "pushl $0\n"
        ".endif\n"
        "pushl $legacy_vector\n"
        "jmp legacy_taken\n"
        "legacy_vector = legacy_vector + 1\n"
        ".endr\n"
        "legacy_taken:\n"
        "pushal\n"
        "pushl %ds\n pushl %es\n pushl %fs\n pushl %gs\n"
        "movl $0x10, %eax\n mov %eax, %ds\n mov %eax, %es\n"
        "cld\n"
        "pushl %esp\n"
        "call legacy_handle\n"
        "addl $4, %esp\n"
        "testl %eax, %eax\n"
        "jnz legacy_leave\n"
        "popl %gs\n popl %fs\n popl %es\n popl %ds\n"
        "popal\n"
        "addl $8, %esp\n"
        "iretl\n"
        ".globl legacy_enter\n"
        "legacy_enter:\n" /* (frame): IRET with the eleven words at frame->eip */
        "movl 4(%esp), %eax\n"
        "pushl %ebx\n pushl %esi\n pushl %edi\n pushl %ebp\n"
        "movl %esp, legacy_esp\n"
        "leal 56(%eax), %esp\n" /* eip */
        "iretl\n"
        "legacy_leave:\n"
        "movl legacy_esp, %esp\n"
        "movl $0x10, %eax\n mov %eax, %ds\n mov %eax, %es\n mov %eax, %ss\n"
        "popl %ebp\n popl %edi\n popl %esi\n popl %ebx\n"
        "ret\n"
        ".data\n"
        "legacy_esp: .long 0\n"
        ".text\n");

_Static_assert(offsetof(struct legacy_frame, eip) == 56, "legacy_enter knows it");

/* ---- what is found ---- */

static void outb(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port));
}

static uint8_t inb(uint16_t port)
{
    uint8_t v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static void print(const char *text)
{
    for (; *text; text++) {
        while (!(inb(SERIAL + 5) & LINE_READY))
            ;
        outb(SERIAL, (uint8_t)*text);
    }
}

static void print_hex(uint32_t v)
{
    char text[10] = "        ";
    for (unsigned i = 0; i < 8; i++)
        text[i] = "0123456789abcdef"[v >> (28 - 4 * i) & 15];
    text[8] = ' ';
    print(text);
}

void legacy_check(const char *name, bool holds)
{
    if (legacy_count < RESULT_MAX)
        legacy_results[legacy_count++] = (struct result){(uint32_t)(uintptr_t)name, holds};
}

uint32_t legacy_handle(struct legacy_frame *f)
{
    bool outside = f->cs & 3 || f->eflags & VM;
    legacy_caught.gs_now = f->gs_now;
    for (unsigned i = 0; i < (outside ? sizeof *f : offsetof(struct legacy_frame, esp)) / 4; i++)
        ((uint32_t *)&legacy_caught)[i] = ((const uint32_t *)f)[i];
    if (outside)
        return 1;
    if (!legacy_resume) {
        print("not ok unexpected exception in 32-bit mode: vector, code, eip ");
        print_hex(f->vector);
        print_hex(f->code);
        print_hex(f->eip);
        print("\n");
        for (;;)
            __asm__ volatile("outw %0, %1" ::"a"((uint16_t)SLEEP_S5), "Nd"((uint16_t)PM_CONTROL));
    }
    f->eip = legacy_resume;
    return 0;
}

/* ---- tables ---- */

static void set_tables(void)
{
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) table;
    for (unsigned v = 0; v < LEGACY_VECTORS; v++) {
        uint32_t at = (uint32_t)(uintptr_t)legacy_stubs[v];
        unsigned user = v == LEGACY_BP || v == LEGACY_CALL ? GATE_USER : 0;
        idt[v] = (struct gate){(uint16_t)at, LEGACY_CODE, (uint16_t)(GATE_INTERRUPT | user), (uint16_t)(at >> 16)};
    }
    idt[LEGACY_GATE] = (struct gate){0, LEGACY_TASK_B, GATE_TASK, 0};
    legacy_gdt[LEGACY_CODE / 8] = 0x00cf9b000000ffff;
    legacy_gdt[LEGACY_DATA / 8] = 0x00cf93000000ffff;
    legacy_gdt[LEGACY_TASK_GATE / 8] = (uint64_t)LEGACY_TASK_B << 16 | (uint64_t)GATE_TASK << 32;
    uint32_t tss = (uint32_t)(uintptr_t)&legacy_tss_a;
    legacy_gdt[LEGACY_TASK_A / 8] =
        (sizeof legacy_tss_a - 1) | (uint64_t)(tss & 0xffffff) << 16 | 0x89ull << 40 | (uint64_t)(tss >> 24) << 56;
    legacy_tss_a.ss0 = LEGACY_DATA;
    legacy_tss_a.esp0 = (uint32_t)(uintptr_t)(ring_0_stack + sizeof ring_0_stack);
    legacy_tss_a.bitmap_at = offsetof(struct legacy_tss, bitmap);
    for (unsigned i = 0; i < sizeof legacy_tss_a.bitmap; i++)
        legacy_tss_a.bitmap[i] = 0xff;
    table.limit = sizeof legacy_gdt - 1;
    table.base = (uint32_t)(uintptr_t)legacy_gdt;
    __asm__ volatile("lgdt %0\n ljmp $0x08, $1f\n 1: mov %1, %%ds\n mov %1, %%es\n mov %1, %%ss\n mov %1, %%fs\n"
                     "mov %1, %%gs\n lldt %w2\n" ::"m"(table),
                     "r"(LEGACY_DATA), "r"(0));
    table.limit = sizeof idt - 1;
    table.base = (uint32_t)(uintptr_t)idt;
    __asm__ volatile("lidt %0\n ltr %w1" ::"m"(table), "r"(LEGACY_TASK_A) : "memory");
}

void legacy_main(void)
{
    outb(0x21, 0xff); /* no interrupts */
    outb(0xa1, 0xff);
    set_tables();
    legacy_test_tasks();
    legacy_test_v8086();
    __asm__ volatile("clts");
}
