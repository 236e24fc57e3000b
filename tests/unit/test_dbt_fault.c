/* Faults and privileges: error codes, stacks, double and triple faults, ring transitions, system calls, single step,
 * breakpoints, task switches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/dbt/cpu.h"
#include "hv/dbt/debug.h"
#include "hv/dbt/fault.h"
#include "node/base/err.h"
#include "tests/unit/dbt_bench.h"
#include "tests/unit/dbt_payload.h"

static struct bench b;

static int setup(void **state)
{
    (void)state;
    bench_new(&b, &engine_interp, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bench_free(&b);
    return 0;
}

struct row {
    const char *what;
    enum bench_mode mode;
    bool user;
    const char *code;
    unsigned bytes, vector;
    uint32_t error;
    unsigned at; /* offset of the saved RIP */
};

static void test_vectors(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"div by 0", BENCH_LONG, false, "\x31\xc9\xf7\xf1", 4, FAULT_DE, 0, 2},
        {"div overflow", BENCH_PROTECTED, false, "\xba\x05\0\0\0\xb9\x05\0\0\0\xf7\xf1", 12, FAULT_DE, 0, 10},
        {"ud2", BENCH_LONG, false, "\x90\x0f\x0b", 3, FAULT_UD, 0, 1},
        {"int3", BENCH_LONG, false, "\xcc", 1, FAULT_BP, 0, 1},
        {"int1", BENCH_LONG, false, "\xf1", 1, FAULT_DB, 0, 1},
        {"into", BENCH_PROTECTED, false, "\xb0\x7f\x04\x01\xce", 5, FAULT_OF, 0, 5},
        {"bound", BENCH_PROTECTED, false, "\xb8\x99\0\0\0\x62\x05\0\0\x04\0", 11, FAULT_BR, 0, 5},
        {"hlt in user mode", BENCH_LONG, true, "\xf4", 1, FAULT_GP, 0, 0},
        {"cli in user mode", BENCH_PROTECTED, true, "\xfa", 1, FAULT_GP, 0, 0},
        {"out in user mode", BENCH_LONG, true, "\xe6\x80", 2, FAULT_GP, 0, 0},
        {"int 21h in user mode", BENCH_LONG, true, "\xcd\x21", 2, FAULT_GP, 0x21 * 8 + 2, 0},
        {"int 80h in user mode", BENCH_LONG, true, "\xcd\x80", 2, 0x80, 0, 2},
        {"mov to cr3 in user mode", BENCH_LONG, true, "\x0f\x22\xd8", 3, FAULT_GP, 0, 0},
        {"lock on a register", BENCH_LONG, false, "\xf0\x01\xc8", 3, FAULT_UD, 0, 0},
        {"push es in long mode", BENCH_LONG, false, "\x06", 1, FAULT_UD, 0, 0},
        {"selector beyond the table", BENCH_PROTECTED, false, "\x66\xb8\xf0\x0f\x8e\xd8", 6, FAULT_GP, 0xff0, 4},
        {"null in ss", BENCH_PROTECTED, false, "\x31\xc0\x8e\xd0", 4, FAULT_GP, 0, 2},
        {"code in ss", BENCH_PROTECTED, false, "\x66\xb8\x18\0\x8e\xd0", 6, FAULT_GP, 0x18, 4},
        {"jump to an absent segment", BENCH_PROTECTED, false, "\xea\0\x90\0\0\x58\0", 7, FAULT_NP, 0x58, 0},
        {"jump to data", BENCH_PROTECTED, false, "\xea\0\x90\0\0\x10\0", 7, FAULT_GP, 0x10, 0},
        {"write through cs", BENCH_PROTECTED, false, "\x2e\xa2\0\0\x05\0", 6, FAULT_GP, 0, 0},
        {"reserved bit of cr4", BENCH_LONG, false, "\x31\xc0\xff\xc8\x0f\x22\xe0", 7, FAULT_GP, 0, 4},
        {"unknown msr", BENCH_LONG, false, "\xb9\x99\x99\x99\x09\x0f\x32", 7, FAULT_GP, 0, 5},
        {"sixteen bytes", BENCH_LONG, false, "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90", 16,
         FAULT_GP, 0, 0},
        {"ring 0 segment in user mode", BENCH_PROTECTED, true, "\x66\xb8\x10\0\x8e\xd8", 6, FAULT_GP, 0x10, 4},
        {"cmpxchg16b not aligned", BENCH_LONG, false, "\x48\x0f\xc7\x0c\x25\x08\0\x04\0", 9, FAULT_GP, 0, 0},
    };
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *r = &rows[i];
        struct cpu_state cpu;
        struct bench_stop stop;
        bench_prepare(&b, r->mode, &cpu);
        if (r->user)
            bench_user(&cpu, r->mode);
        bench_code(&b, &cpu, r->code, r->bytes, &stop);
        if (stop.vector != r->vector || stop.code != r->error)
            fail_msg("%s: vector %u, code %#x", r->what, stop.vector, stop.code);
        bool code = r->vector == 8 || (r->vector >= 10 && r->vector <= 14);
        uint64_t frame = stop.cpu.gpr[CPU_RSP], rip = 0;
        unsigned word = r->mode == BENCH_LONG ? 8 : 4;
        memcpy(&rip, b.ram + frame + (code ? word : 0), word);
        if (rip != BENCH_CODE + r->at)
            fail_msg("%s: returns to %#llx", r->what, (unsigned long long)rip);
        uint32_t cs = 0;
        memcpy(&cs, b.ram + frame + (code ? word : 0) + word, 4);
        assert_int_equal(cs & 3, r->user ? 3 : 0);
        assert_int_equal(stop.cpu.seg[CPU_CS].selector & 3, 0);
        if (r->user)
            assert_true(frame > BENCH_STACK - 64 && frame < BENCH_STACK);
    }
}

/* ---- double, triple ---- */

static void test_double_and_triple_fault(void **state)
{
    (void)state;
    struct cpu_state cpu;
    struct bench_stop stop;
    bench_prepare(&b, BENCH_LONG, &cpu);
    uint64_t none[2] = {0, 0};
    bench_put(&b, BENCH_IDT + 16 * FAULT_GP, none, sizeof none);
    bench_code(&b, &cpu, "\xb9\x99\x99\x99\x09\x0f\x32", 7, &stop); /* #GP, whose gate is not there: #NP, so #DF */
    assert_int_equal(stop.vector, FAULT_DF);
    assert_int_equal(stop.code, 0);
    bench_put(&b, BENCH_IDT + 16 * FAULT_DF, none, sizeof none);
    bench_run(&b, &cpu, &stop);
    assert_int_equal(stop.exit, VCPU_SHUTDOWN);
}

/* A #PF while an interrupt's frame is pushed is a plain #PF: benign first, then fault. */
static void test_fault_in_int(void **state)
{
    (void)state;
    struct cpu_state cpu;
    struct bench_stop stop;
    bench_prepare(&b, BENCH_LONG, &cpu);
    bench_user(&cpu, BENCH_LONG);
    uint64_t rsp0 = 0x51000, ist = BENCH_STACK;
    bench_put(&b, BENCH_TSS + 4, &rsp0, 8);
    bench_put(&b, BENCH_TSS + 36, &ist, 8);
    *bench_pte(&b, 0x50000) = 0;
    b.ram[BENCH_IDT + 16 * FAULT_PF + 4] = 1; /* IST1 */
    bench_code(&b, &cpu, "\xcd\x80", 2, &stop);
    assert_int_equal(stop.vector, FAULT_PF);
    assert_int_equal(stop.code, FAULT_PAGE_W);
    uint64_t rip;
    memcpy(&rip, b.ram + stop.cpu.gpr[CPU_RSP] + 8, 8);
    assert_int_equal(rip, BENCH_CODE);
}

/* ---- ways between rings ---- */

PAYLOAD(kernel, "64",
        "mov $0xc0000081, %ecx\n mov $0x0028000800000000 >> 32, %edx\n xor %eax, %eax\n wrmsr\n" /* STAR */
        "mov $0xc0000082, %ecx\n mov $0x8200, %eax\n xor %edx, %edx\n wrmsr\n"                   /* LSTAR */
        "mov $0xc0000084, %ecx\n mov $0x200, %eax\n wrmsr\n"                                     /* SFMASK */
        "mov $0x8100, %ecx\n mov $0x202, %r11d\n mov $0x30000, %esp\n sysretq\n");
PAYLOAD(user, "64", "mov $5, %ebx\n syscall\n mov $6, %ebx\n int $0x80");
PAYLOAD(entry, "64", "pushfq\n pop %r12\n add $10, %ebx\n mov %ebx, %r13d\n mov %ss, %r14d\n sysretq");

static void test_syscall(void **state)
{
    (void)state;
    struct cpu_state cpu;
    struct bench_stop stop;
    bench_prepare(&b, BENCH_LONG, &cpu);
    bench_put(&b, 0x8100, PAYLOAD_OF(user));
    bench_put(&b, 0x8200, PAYLOAD_OF(entry));
    bench_code(&b, &cpu, PAYLOAD_OF(kernel), &stop);
    assert_int_equal(stop.vector, 0x80);
    assert_int_equal(stop.cpu.gpr[CPU_RBX], 6);
    assert_int_equal(stop.cpu.gpr[CPU_R13], 15);
    assert_int_equal(stop.cpu.gpr[CPU_R14], 0x10);
    assert_int_equal(stop.cpu.gpr[CPU_R12] & CPU_IF, 0);
    assert_int_equal(stop.cpu.gpr[CPU_R11] & CPU_IF, CPU_IF);
    uint64_t cs, ss;
    memcpy(&cs, b.ram + stop.cpu.gpr[CPU_RSP] + 8, 8);
    memcpy(&ss, b.ram + stop.cpu.gpr[CPU_RSP] + 32, 8);
    assert_int_equal(cs, 0x3b);
    assert_int_equal(ss, 0x33);
}

/* 32-bit: through a call gate to ring 0 and back with RETF. */
PAYLOAD(gate_user, "32", "mov $1, %ebx\n lcall $0x63, $0\n mov %esp, %esi\n mov %cs, %ecx\n int $0x80");
PAYLOAD(gate_kernel, "32", "mov %cs, %eax\n mov %esp, %edi\n inc %ebx\n lret");

static void test_call_gate(void **state)
{
    (void)state;
    struct cpu_state cpu;
    struct bench_stop stop;
    bench_prepare(&b, BENCH_PROTECTED, &cpu);
    bench_user(&cpu, BENCH_PROTECTED);
    bench_put(&b, BENCH_CODE + 0x800, PAYLOAD_OF(gate_kernel));
    bench_code(&b, &cpu, PAYLOAD_OF(gate_user), &stop);
    assert_int_equal(stop.vector, 0x80);
    assert_int_equal(stop.cpu.gpr[CPU_RBX], 2);
    assert_int_equal(stop.cpu.gpr[CPU_RAX], 0x18);
    assert_int_equal(stop.cpu.gpr[CPU_RDI], BENCH_STACK - 16);
    assert_int_equal(stop.cpu.gpr[CPU_RSI], BENCH_USER_STACK);
    assert_int_equal(stop.cpu.gpr[CPU_RCX], BENCH_USER32);
}

/* ---- tasks ---- */

PAYLOAD(task_one, "32", "mov $1, %ebx\n lcall $0x50, $0\n inc %ebx\n out %al, $0xf4\n hlt");
PAYLOAD(task_two, "32", "pushf\n pop %eax\n movl %eax, 0x40000\n str %ecx\n movl %ecx, 0x40004\n iret");

static void test_task_switch(void **state)
{
    (void)state;
    struct cpu_state cpu;
    struct bench_stop stop;
    bench_prepare(&b, BENCH_PROTECTED, &cpu);
    uint32_t tss[26] = {[8] = 0x9000, [9] = 2, [14] = 0x28000, [18] = 0x10, [19] = 0x18, [20] = 0x10, [21] = 0x10};
    bench_put(&b, BENCH_TSS2, tss, sizeof tss);
    bench_put(&b, 0x9000, PAYLOAD_OF(task_two));
    bench_code(&b, &cpu, PAYLOAD_OF(task_one), &stop);
    assert_int_equal(stop.vector, BENCH_NO_VECTOR);
    assert_int_equal(stop.cpu.gpr[CPU_RBX], 2);
    assert_int_equal(stop.cpu.gpr[CPU_RSP], BENCH_STACK);
    assert_int_equal(stop.cpu.seg[CPU_TR].selector, BENCH_TSS_SELECTOR);
    assert_true(stop.cpu.cr0 & CPU_CR0_TS);
    assert_int_equal(stop.cpu.rflags & CPU_NT, 0);
    uint32_t seen[2];
    memcpy(seen, b.ram + 0x40000, 8);
    assert_int_equal(seen[0] & CPU_NT, CPU_NT);
    assert_int_equal(seen[1], BENCH_TSS2_SELECTOR);
    assert_int_equal(*(uint16_t *)(void *)(b.ram + BENCH_TSS2), BENCH_TSS_SELECTOR); /* the link */
    assert_int_equal(b.ram[BENCH_GDT + BENCH_TSS2_SELECTOR + 5], 0x89);              /* free again */
    assert_int_equal(b.ram[BENCH_GDT + BENCH_TSS_SELECTOR + 5], 0x8b);
}

/* Virtual 8086 mode: IRET into it, a software interrupt out of it. */
PAYLOAD(to_v86, "32",
        "pushl $0\n pushl $0\n pushl $0x900\n pushl $0\n"   /* GS FS DS ES */
        "pushl $0x3000\n pushl $0x100\n"                    /* SS SP */
        "pushl $0x23002\n pushl $0x900\n pushl $0\n iret"); /* VM, IOPL 3; CS 900h, IP 0 */
PAYLOAD(in_v86, "16", "mov %ds, %ax\n movb $9, %ds:0x80\n int $0x80");

static void test_v86(void **state)
{
    (void)state;
    struct cpu_state cpu;
    struct bench_stop stop;
    bench_prepare(&b, BENCH_PROTECTED, &cpu);
    bench_put(&b, 0x9000, PAYLOAD_OF(in_v86));
    bench_code(&b, &cpu, PAYLOAD_OF(to_v86), &stop);
    assert_int_equal(stop.vector, 0x80);
    assert_int_equal(stop.cpu.gpr[CPU_RAX] & 0xffff, 0x900);
    assert_int_equal(b.ram[0x9080], 9);
    uint32_t frame[9];
    memcpy(frame, b.ram + stop.cpu.gpr[CPU_RSP], sizeof frame);
    assert_int_equal(frame[1], 0x900);
    assert_int_equal(frame[2] & CPU_VM, CPU_VM);
    assert_int_equal(frame[4], 0x3000);
    assert_int_equal(frame[6], 0x900); /* DS */
    assert_int_equal(stop.cpu.seg[CPU_DS].attributes & CPU_SEG_P, 0);
}

/* ---- debugging ---- */

PAYLOAD(traced, "64", "pushfq\n orl $0x100, (%rsp)\n popfq\n nop\n mov $1, %eax\n out %al, $0xf4\n hlt");

static void test_single_step(void **state)
{
    (void)state;
    struct cpu_state cpu;
    struct bench_stop stop;
    bench_prepare(&b, BENCH_LONG, &cpu);
    bench_code(&b, &cpu, PAYLOAD_OF(traced), &stop);
    assert_int_equal(stop.vector, FAULT_DB);
    assert_int_equal(stop.cpu.dr6 & DEBUG_DR6_BS, DEBUG_DR6_BS);
    uint64_t rip;
    memcpy(&rip, b.ram + stop.cpu.gpr[CPU_RSP], 8);
    assert_int_equal(rip, BENCH_CODE + 1 + 7 + 1 + 1); /* behind the NOP, the first that began with TF set */
}

PAYLOAD(watched, "64", "mov 0x40000, %rax\n mov %rax, 0x40008\n mov %al, 0x40003\n nop\n out %al, $0xf4\n hlt");

static void test_breakpoints(void **state)
{
    (void)state;
    struct cpu_state cpu;
    struct bench_stop stop;
    bench_prepare(&b, BENCH_LONG, &cpu);
    cpu.dr[2] = 0x40000;
    cpu.dr7 = 0x400 | 1 << 5 | 0xdu << 24; /* DR2, global: writes of 4 bytes */
    bench_code(&b, &cpu, PAYLOAD_OF(watched), &stop);
    assert_int_equal(stop.vector, FAULT_DB);
    assert_int_equal(stop.cpu.dr6 & 15, 4);
    uint64_t rip;
    memcpy(&rip, b.ram + stop.cpu.gpr[CPU_RSP], 8);
    assert_int_equal(rip, BENCH_CODE + 8 + 8 + 7);
    cpu.dr[2] = BENCH_CODE + 8;
    cpu.dr7 = 0x400 | 1 << 5; /* execution */
    bench_run(&b, &cpu, &stop);
    assert_int_equal(stop.vector, FAULT_DB);
    memcpy(&rip, b.ram + stop.cpu.gpr[CPU_RSP], 8);
    assert_int_equal(rip, BENCH_CODE + 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),      cmocka_unit_test(test_double_and_triple_fault),
        cmocka_unit_test(test_fault_in_int), cmocka_unit_test(test_syscall),
        cmocka_unit_test(test_call_gate),    cmocka_unit_test(test_task_switch),
        cmocka_unit_test(test_v86),          cmocka_unit_test(test_single_step),
        cmocka_unit_test(test_breakpoints),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
