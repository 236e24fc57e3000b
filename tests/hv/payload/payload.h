/* A tiny kernel that judges the processor it runs on: exceptions, paging, rings, interrupts, other processors, code
 * that changes itself. It prints a line for each case on the first serial port, then a sum, and switches the machine
 * off.
 *
 * It runs on any PC with PVH entry: ours under every engine, and QEMU, which shows that a case is right. */
#ifndef TESTS_HV_PAYLOAD_PAYLOAD_H
#define TESTS_HV_PAYLOAD_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vector {
    DE = 0,
    DB = 1,
    NMI = 2,
    BP = 3,
    OF = 4,
    UD = 6,
    NM = 7,
    DF = 8,
    TS = 10,
    NP = 11,
    SS = 12,
    GP = 13,
    PF = 14,
    NONE = 255
};
enum { PF_PRESENT = 1, PF_WRITE = 2, PF_USER = 4, PF_RESERVED = 8, PF_FETCH = 16 };
enum { KERNEL_CS = 0x08, KERNEL_DS = 0x10, CODE32 = 0x18, ABSENT_DS = 0x50, USER_DS = 0x33, USER_CS = 0x3b };

struct frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector, code, rip, cs, rflags, rsp, ss;
};

/* What the last exception was; set by CATCH. */
struct caught {
    unsigned vector;
    uint64_t code, rip, cr2, rflags;
    uint64_t rcx, rsi, rdi;
};
extern struct caught caught;
extern uint64_t resume_at; /* where an exception goes on */

/* Executes assembly that may fault, and goes on behind it; assembly before the operands is executed in both cases. */
#define CATCH(text, ...)                                                                                               \
    do {                                                                                                               \
        caught = (struct caught){.vector = NONE};                                                                      \
        __asm__ volatile("lea 9f(%%rip), %%rax\n mov %%rax, resume_at(%%rip)\n" text "\n9: " __VA_ARGS__);             \
        resume_at = 0;                                                                                                 \
    } while (0)

void check(const char *name, bool holds);
void print(const char *text);
void print_hex(uint64_t v);

/* The next interrupts with this vector are counted instead of being a mistake. */
extern volatile unsigned interrupts[256];
extern void (*volatile on_interrupt)(struct frame *frame);

/* Page tables: the 4 KiB entry of an address in the window that is mapped by small pages. */
enum { WINDOW = 0x40000000, WINDOW_BYTES = 0x200000 };
uint64_t *window_entry(uint64_t address);
void map(uint64_t address, uint64_t physical, uint64_t flags); /* and INVLPG */
uint8_t *fresh_page(void);                                     /* physical = linear */
extern uint64_t pml4[512], pdpt[512], directory[2048];

static inline void outb(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port));
}
static inline void outw(uint16_t port, uint16_t v)
{
    __asm__ volatile("outw %0, %1" ::"a"(v), "Nd"(port));
}
static inline uint8_t inb(uint16_t port)
{
    uint8_t v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline uint64_t rdmsr(uint32_t msr)
{
    uint32_t low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (uint64_t)high << 32 | low;
}
static inline void wrmsr(uint32_t msr, uint64_t v)
{
    __asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)));
}
static inline uint64_t rdtsc(void)
{
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}
static inline void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t r[4])
{
    __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(subleaf));
}
static inline uint64_t read_cr4(void)
{
    uint64_t v;
    __asm__ volatile("mov %%cr4, %0" : "=r"(v));
    return v;
}
static inline void write_cr4(uint64_t v)
{
    __asm__ volatile("mov %0, %%cr4" ::"r"(v) : "memory");
}
static inline void reload_cr3(void)
{
    uint64_t v;
    __asm__ volatile("mov %%cr3, %0\n mov %0, %%cr3" : "=r"(v)::"memory");
}
static inline void invlpg(uint64_t address)
{
    __asm__ volatile("invlpg (%0)" ::"r"(address) : "memory");
}

void test_exceptions(void);
void test_paging(void);
void test_rings(void);
void test_apic(void);
void test_processors(void);
void test_code_changes(void);
void test_strings(void);
void test_debug(void);

#endif
