/* Faults with their error codes and the exact instruction, from ring 0. */
#include "tests/hv/payload/payload.h"

static void divide(void)
{
    uint64_t at;
    CATCH("lea 1f(%%rip), %0\n xor %%ecx, %%ecx\n1: div %%ecx\n", : "=&b"(at)::"rax", "rcx", "rdx", "memory");
    check("#DE: divide by zero", caught.vector == DE && caught.rip == at);
    CATCH("mov $1, %%edx\n xor %%eax, %%eax\n mov $1, %%ecx\n div %%ecx\n", ::: "rax", "rcx", "rdx", "memory");
    check("#DE: quotient too large", caught.vector == DE);
    CATCH("mov $0x80, %%eax\n cbw\n mov $0xff, %%cl\n mov $0x8000, %%ax\n idiv %%cl\n", ::: "rax", "rcx", "memory");
    check("#DE: signed overflow", caught.vector == DE);
}

static void undefined(void)
{
    uint64_t at;
    CATCH("lea 1f(%%rip), %0\n1: ud2\n", : "=&b"(at)::"rax", "memory");
    check("#UD: ud2", caught.vector == UD && caught.rip == at);
    CATCH(".byte 0xf0, 0x01, 0xc0\n", ::: "rax", "memory");
    check("#UD: lock with a register", caught.vector == UD);
    CATCH(".byte 0x06\n", ::: "rax", "memory");
    check("#UD: push es in 64-bit mode", caught.vector == UD);
    CATCH(".byte 0xf0, 0x8b, 0x00\n", ::: "rax", "memory");
    check("#UD: lock mov", caught.vector == UD);
}

static void protection(void)
{
    CATCH("mov $0x8000000000000000, %%rbx\n mov (%%rbx), %%rcx\n", ::: "rax", "rbx", "rcx", "memory");
    check("#GP(0): address that is not canonical", caught.vector == GP && caught.code == 0);
    CATCH("mov $0x8000000000000000, %%rbp\n mov (%%rbp), %%rcx\n", ::: "rax", "rbp", "rcx", "memory");
    check("#SS(0): the same through the stack segment", caught.vector == SS && caught.code == 0);
    CATCH("mov $0x12345678, %%ecx\n rdmsr\n", ::: "rax", "rcx", "rdx", "memory");
    check("#GP(0): MSR that is not there", caught.vector == GP && caught.code == 0);
    CATCH("mov $0x58, %%ebx\n mov %%bx, %%ds\n mov $0x1000, %%ebx\n mov %%bx, %%ds\n", ::: "rax", "rbx", "memory");
    check("#GP(selector): past the end of the GDT", caught.vector == GP && caught.code == 0x1000);
    CATCH("mov $0x50, %%ebx\n mov %%bx, %%ds\n", ::: "rax", "rbx", "memory");
    check("#NP(selector): data segment not present", caught.vector == NP && caught.code == ABSENT_DS);
    CATCH("mov $0x50, %%ebx\n mov %%bx, %%ss\n", ::: "rax", "rbx", "memory");
    check("#SS(selector): stack segment not present", caught.vector == SS && caught.code == ABSENT_DS);
    CATCH("mov $0x08, %%ebx\n mov %%bx, %%ss\n", ::: "rax", "rbx", "memory");
    check("#GP(selector): code as a stack", caught.vector == GP && caught.code == 8);
    CATCH("mov $1, %%ebx\n shl $63, %%rbx\n mov %%rbx, %%cr8\n", ::: "rax", "rbx", "memory");
    check("#GP(0): reserved bits of CR8", caught.vector == GP);
    __asm__ volatile("mov %w0, %%ds\n mov %w0, %%ss" ::"r"(KERNEL_DS));
}

static void traps(void)
{
    uint64_t at;
    CATCH("lea 1f(%%rip), %0\n int3\n1:\n", : "=&b"(at)::"rax", "memory");
    check("#BP: a trap, behind the instruction", caught.vector == BP && caught.rip == at);
    CATCH("lea 1f(%%rip), %0\n .byte 0xcd, 0x03\n1:\n", : "=&b"(at)::"rax", "memory");
    check("#BP: as int 3", caught.vector == BP && caught.rip == at);
    interrupts[0x44] = 0;
    __asm__ volatile("int $0x44");
    check("int n", interrupts[0x44] == 1);
}

static void far_transfers(void)
{
    uint64_t mode = 0;
    /* to 32-bit code and back: INC in one mode is a REX prefix in the other */
    __asm__ volatile("push $0x18\n lea 1f(%%rip), %%rax\n push %%rax\n lretq\n"
                     ".code32\n1: mov $5, %%eax\n .byte 0x40\n nop\n ljmp $0x08, $2f\n"
                     ".code64\n2: mov %%eax, %%eax\n mov %%rax, %0\n"
                     : "=r"(mode)::"rax", "memory");
    check("far return to 32-bit code, far jump back", mode == 6);
    CATCH("mov %%rsp, %%rdx\n push $0x50\n lea 9f(%%rip), %%rbx\n push %%rbx\n lretq\n", "mov %%rdx, %%rsp" ::
              : "rax", "rbx", "rdx", "memory");
    check("#GP: far return to data", caught.vector == GP);
}

void test_exceptions(void)
{
    divide();
    undefined();
    protection();
    traps();
    far_transfers();
}
