/* String instructions: direction, overlap, and the exact state when one of many elements faults. */
#include "tests/hv/payload/payload.h"

static void moves(void)
{
    uint8_t *p = fresh_page();
    uint64_t count = 100, from = (uint64_t)p, to = (uint64_t)p + 1;
    p[0] = 9;
    __asm__ volatile("rep movsb" : "+c"(count), "+S"(from), "+D"(to)::"memory");
    check("REP MOVSB over itself repeats the first byte",
          p[100] == 9 && p[50] == 9 && !count && to == (uint64_t)p + 101);
    uint8_t *expected = fresh_page();
    for (unsigned i = 0; i < 64; i++)
        p[i] = expected[i] = (uint8_t)i;
    count = 4, from = (uint64_t)p, to = (uint64_t)p + 4;
    __asm__ volatile("rep movsq" : "+c"(count), "+S"(from), "+D"(to)::"memory");
    for (unsigned i = 0; i < 4; i++) { /* element by element: each reads what the one before wrote */
        uint64_t element = *(uint64_t *)(expected + i * 8);
        *(volatile uint64_t *)(expected + 4 + i * 8) = element;
    }
    bool holds = !count;
    for (unsigned i = 0; i < 64; i++)
        holds &= p[i] == expected[i];
    check("REP MOVSQ over itself, half an element on", holds);
    count = 10, from = (uint64_t)p + 9, to = (uint64_t)p + 19;
    __asm__ volatile("std\n rep movsb\n cld" : "+c"(count), "+S"(from), "+D"(to)::"memory");
    check("backwards", from == (uint64_t)p - 1 && to == (uint64_t)p + 9);
}

static void faults(void)
{
    uint64_t a = WINDOW + 0x20000;
    map(a, (uint64_t)fresh_page(), 3);
    map(a + 0x1000, 0, 0);
    CATCH("mov %0, %%rdi\n mov $0x100, %%ecx\n mov $0x41, %%al\n rep stosb\n", ::"r"(a + 0xfc0)
          : "rax", "rcx", "rdi", "memory");
    check("#PF in REP STOSB: the elements before it are done",
          caught.vector == PF && caught.rcx == 0xc0 && caught.rdi == a + 0x1000 && *(uint8_t *)(a + 0xfff) == 0x41);
    CATCH("mov %0, %%rsi\n lea -0x800(%%rsi), %%rdi\n mov $0x40, %%ecx\n rep movsq\n", ::"r"(a + 0xf04)
          : "rax", "rcx", "rsi", "rdi", "memory");
    check("#PF in REP MOVSQ at an element that crosses", caught.vector == PF && caught.rcx == 0x40 - 31 &&
                                                             caught.rsi == a + 0xf04 + 31 * 8 &&
                                                             caught.cr2 == a + 0x1000);
    uint64_t count = 0, to = a + 0x1000;
    __asm__ volatile("rep stosb" : "+c"(count), "+D"(to) : "a"(0) : "memory");
    check("REP with a count of 0 touches nothing", !count);
}

static void scans(void)
{
    uint8_t *p = fresh_page();
    uint64_t count = 200, at = (uint64_t)p;
    bool equal;
    p[77] = 3;
    __asm__ volatile("repne scasb\n sete %0" : "=q"(equal), "+c"(count), "+D"(at) : "a"(3) : "memory");
    check("REPNE SCASB", equal && at == (uint64_t)p + 78 && count == 200 - 78);
    uint64_t other = (uint64_t)p + 1000;
    count = 100, at = (uint64_t)p;
    __asm__ volatile("repe cmpsb\n sete %0" : "=q"(equal), "+c"(count), "+S"(at), "+D"(other)::"memory");
    check("REPE CMPSB", !equal && count == 100 - 78);
}

void test_strings(void)
{
    moves();
    faults();
    scans();
}
