/* Single steps and debug registers. */
#include "tests/hv/payload/payload.h"

static void set_dr(uint64_t dr0, uint64_t dr7)
{
    __asm__ volatile("mov %0, %%dr0\n mov %1, %%dr7" ::"r"(dr0), "r"(dr7) : "memory");
}

static uint64_t dr6(void)
{
    uint64_t v;
    __asm__ volatile("mov %%dr6, %0" : "=r"(v));
    return v;
}

static void clear_dr6(void)
{
    __asm__ volatile("mov %0, %%dr6" ::"r"(0xffff0ff0ul));
}

static void steps(void)
{
    uint64_t at;
    clear_dr6();
    CATCH("lea 1f(%%rip), %0\n pushfq\n orq $0x100, (%%rsp)\n popfq\n nop\n1: nop\n", : "=&b"(at)::"rax", "memory");
    check("#DB: a single step, behind the instruction after POPF",
          caught.vector == DB && caught.rip == at && dr6() >> 14 & 1);
}

static void breakpoints(void)
{
    uint64_t at;
    __asm__ volatile("lea 2f(%%rip), %0\n jmp 3f\n2: nop\n ret\n3:" : "=r"(at));
    clear_dr6();
    set_dr(at, 0x402);
    CATCH("mov %%rsp, %%rbx\n call *%0\n", "mov %%rbx, %%rsp" ::"r"(at) : "rax", "rbx", "memory");
    check("#DB: an instruction, before it", caught.vector == DB && caught.rip == at && (dr6() & 1));
    set_dr(0, 0x400);
}

static void watches(void)
{
    static volatile uint64_t watched;
    uint64_t at;
    clear_dr6();
    set_dr((uint64_t)&watched, 0x402 | 1 << 16 | 3 << 18); /* writes, 4 bytes */
    CATCH("lea 1f(%%rip), %0\n movl $1, %1\n1: nop\n", : "=&b"(at), "=m"(watched)::"rax", "memory");
    check("#DB: a write, behind it", caught.vector == DB && caught.rip == at && (dr6() & 1) && watched == 1);
    clear_dr6();
    CATCH("mov %0, %%rbx\n", ::"m"(watched) : "rax", "rbx", "memory");
    check("a read does not", caught.vector == NONE);
    set_dr(0, 0x400);
}

void test_debug(void)
{
    steps();
    breakpoints();
    watches();
}
