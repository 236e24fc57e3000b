/* The interpreter: small payloads in 16, 32 and 64-bit mode, with what registers and memory must be afterwards. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/dbt/cpu.h"
#include "hv/dbt/fault.h"
#include "hv/dbt/vm.h"
#include "node/base/err.h"
#include "tests/unit/dbt_bench.h"
#include "tests/unit/dbt_payload.h"

static struct bench b;

static int setup(void **state)
{
    (void)state;
    bench_new(&b, &engine_interp, 2);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bench_free(&b);
    return 0;
}

/* ---- real mode ---- */

PAYLOAD(real, "16",
        "mov $10, %cx\n xor %ax, %ax\n 1: add %cx, %ax\n loop 1b\n" /* 55 */
        "mov %ax, %bx\n int $0x21\n"                                /* +1000 in the handler */
        "mov $0x1234, %dx\n mov %dx, %ds\n movb $7, %ds:0x10\n"     /* to 12350h */
        "push %ds\n pop %es\n out %al, $0xf4\n hlt");
PAYLOAD(real_handler, "16", "add $1000, %bx\n iret");

static void test_real_mode(void **state)
{
    (void)state;
    struct cpu_state cpu;
    struct bench_stop stop;
    bench_prepare(&b, BENCH_REAL, &cpu);
    uint16_t vector[2] = {0x9000, 0};
    bench_put(&b, 0x21 * 4, vector, 4);
    bench_put(&b, 0x9000, PAYLOAD_OF(real_handler));
    bench_code(&b, &cpu, PAYLOAD_OF(real), &stop);
    assert_int_equal(stop.exit, VCPU_KICKED);
    assert_int_equal(stop.cpu.gpr[CPU_RBX], 1055);
    assert_int_equal(b.ram[0x12350], 7);
    assert_int_equal(stop.cpu.seg[CPU_ES].base, 0x12340);
    assert_int_equal(stop.cpu.gpr[CPU_RSP], 0x7000);
}

PAYLOAD(to_protected, "16",
        "9: lgdtl 0x9000\n mov %cr0, %eax\n or $1, %al\n mov %eax, %cr0\n ljmpl $0x18, $0x8100\n"
        ".skip 0x100 - (. - 9b)\n.code32\n mov $0x10, %eax\n mov %eax, %ds\n mov %eax, %ss\n mov $0x20000, %esp\n"
        "movl $0xdeadbeef, 0x140000\n push $0x11223344\n pop %ebx\n out %al, $0xf4\n hlt");

static void test_real_to_protected(void **state)
{
    (void)state;
    struct cpu_state cpu;
    struct bench_stop stop;
    bench_prepare(&b, BENCH_PROTECTED, &cpu);
    struct cpu_state tables = cpu;
    bench_prepare(&b, BENCH_REAL, &cpu);
    struct cpu_state unused;
    bench_prepare(&b, BENCH_PROTECTED, &unused); /* the tables again */
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) pointer = {(uint16_t)tables.gdt.limit, BENCH_GDT};
    bench_put(&b, 0x9000, &pointer, sizeof pointer);
    cpu.seg[CPU_DS] = cpu.seg[CPU_ES];
    bench_code(&b, &cpu, PAYLOAD_OF(to_protected), &stop);
    assert_int_equal(stop.exit, VCPU_KICKED);
    assert_int_equal(*(uint32_t *)(void *)(b.ram + 0x140000), 0xdeadbeef);
    assert_int_equal(stop.cpu.gpr[CPU_RBX], 0x11223344);
    assert_int_equal(stop.cpu.seg[CPU_CS].selector, BENCH_CODE32);
}

/* ---- arithmetic ---- */

PAYLOAD(arithmetic, "64",
        "mov $0x7fffffff, %eax\n add $1, %eax\n pushfq\n pop %r8\n" /* OF, SF, AF, PF */
        "mov $5, %eax\n mov $3, %ecx\n mul %ecx\n mov %eax, %r9d\n"
        "mov $-100, %rax\n cqo\n mov $7, %ecx\n idiv %rcx\n mov %rax, %r10\n mov %rdx, %r11\n"
        "mov $0x80, %ah\n mov %ah, %cl\n shr $7, %cl\n movzbl %cl, %r12d\n"
        "mov $0x12345678, %r13d\n bswap %r13d\n rol $8, %r13w\n"
        "mov $0x10, %esi\n bsf %esi, %r14d\n xor %edi, %edi\n cmp $1, %edi\n sbb %r15d, %r15d\n"
        "out %al, $0xf4\n hlt");

static void test_arithmetic(void **state)
{
    (void)state;
    struct cpu_state cpu;
    struct bench_stop stop;
    bench_prepare(&b, BENCH_LONG, &cpu);
    bench_code(&b, &cpu, PAYLOAD_OF(arithmetic), &stop);
    const uint64_t *gpr = stop.cpu.gpr;
    assert_int_equal(gpr[CPU_R8] & CPU_ARITHMETIC, CPU_OF | CPU_SF | CPU_AF | CPU_PF);
    assert_int_equal(gpr[CPU_R9], 15);
    assert_int_equal((int64_t)gpr[CPU_R10], -14);
    assert_int_equal((int64_t)gpr[CPU_R11], -2);
    assert_int_equal(gpr[CPU_R12], 1);
    assert_int_equal(gpr[CPU_R13], 0x78561234);
    assert_int_equal(gpr[CPU_R14], 4);
    assert_int_equal(gpr[CPU_R15], 0xffffffff);
}

/* ---- strings ---- */

PAYLOAD(strings, "64",
        "cld\n mov $0x40ffd, %esi\n mov $0x60ffe, %edi\n mov $9000, %ecx\n rep movsb\n" /* over page ends */
        "mov $0x80000, %edi\n mov $0xab, %eax\n stosb\n"
        "mov $0x80000, %esi\n mov $0x80001, %edi\n mov $5000, %ecx\n rep movsb\n" /* a pattern of one byte */
        "mov $0x80000, %edi\n mov $0x100, %ecx\n mov $0xab, %al\n repe scasb\n setz %bl\n"
        "mov $0x40ffd, %esi\n mov $0x60ffe, %edi\n mov $9000, %ecx\n repe cmpsb\n setz %bh\n mov %rcx, %r8\n"
        "movb $1, 0x61800\n mov $0x40ffd, %esi\n mov $0x60ffe, %edi\n mov $9000, %ecx\n repe cmpsb\n mov %rcx, %r9\n"
        "std\n mov $0x90010, %edi\n mov $4, %ecx\n mov $0x1122334455667788, %rax\n rep stosq\n"
        "out %al, $0xf4\n hlt");

static void test_strings(void **state)
{
    (void)state;
    struct cpu_state cpu;
    struct bench_stop stop;
    bench_prepare(&b, BENCH_LONG, &cpu);
    for (unsigned i = 0; i < 9000; i++)
        b.ram[0x40ffd + i] = (uint8_t)(i * 7 + (i >> 8));
    b.ram[0x40ffd + 0x802] = 9; /* so that the byte changed at 61800h differs */
    bench_code(&b, &cpu, PAYLOAD_OF(strings), &stop);
    b.ram[0x61800] = 9;
    assert_memory_equal(b.ram + 0x60ffe, b.ram + 0x40ffd, 9000);
    for (unsigned i = 0; i < 5001; i++)
        assert_int_equal(b.ram[0x80000 + i], 0xab);
    assert_int_equal(b.ram[0x80000 + 5001], 0);
    assert_int_equal(stop.cpu.gpr[CPU_RBX] & 0xffff, 0x0101);
    assert_int_equal(stop.cpu.gpr[CPU_R8], 0);
    assert_int_equal(stop.cpu.gpr[CPU_R9], 9000 - 0x803);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(*(uint64_t *)(void *)(b.ram + 0x90010 - 8 * i), 0x1122334455667788);
    assert_int_equal(stop.cpu.gpr[CPU_RDI], 0x90010 - 32);
}

/* A repeated store that runs into a page that is not there stops in front of it, with the registers to go on. */
PAYLOAD(fill, "64", "cld\n mov $0x50f00, %edi\n mov $0x200, %ecx\n rep stosb\n out %al, $0xf4\n hlt");

static void test_string_fault(void **state)
{
    (void)state;
    struct cpu_state cpu;
    struct bench_stop stop;
    bench_prepare(&b, BENCH_LONG, &cpu);
    *bench_pte(&b, 0x51000) = 0;
    bench_code(&b, &cpu, PAYLOAD_OF(fill), &stop);
    assert_int_equal(stop.vector, FAULT_PF);
    assert_int_equal(stop.code, FAULT_PAGE_W);
    assert_int_equal(stop.cpu.cr2, 0x51000);
    assert_int_equal(stop.cpu.gpr[CPU_RCX], 0x100);
    assert_int_equal(stop.cpu.gpr[CPU_RDI], 0x51000);
}

/* ---- code that changes code ---- */

PAYLOAD(smc, "64",
        "9: mov $100, %ecx\n xor %eax, %eax\n mov $0x8040, %ebx\n" /* 8040h is the immediate of the ADD */
        "1: jmp 2f\n .skip 0x3f - (. - 9b)\n 2: .byte 0x04, 1\n"   /* add $1, %al */
        "incb (%rbx)\n dec %ecx\n jnz 2b\n out %al, $0xf4\n hlt");

static void test_self_modifying(void **state)
{
    (void)state;
    struct cpu_state cpu;
    struct bench_stop stop;
    bench_prepare(&b, BENCH_LONG, &cpu);
    bench_code(&b, &cpu, PAYLOAD_OF(smc), &stop);
    assert_int_equal(stop.exit, VCPU_KICKED);
    assert_int_equal(stop.cpu.gpr[CPU_RAX] & 0xff, (100 * 101 / 2) & 0xff);
}

/* The next instruction, in the same run. */
PAYLOAD(smc_next, "64",
        "mov $0x800d, %edi\n movb $0x99, (%rdi)\n mov $0x11, %bl\n .byte 0xb0, 0x22\n nop\n out %al, $0xf4\n hlt");

static void test_next_instruction_changed(void **state)
{
    (void)state;
    struct cpu_state cpu;
    struct bench_stop stop;
    bench_prepare(&b, BENCH_LONG, &cpu);
    size_t at = 5 + 3 + 2 + 1; /* the immediate of the last MOV */
    uint8_t code[64];
    size_t bytes = (size_t)(smc_next_end - smc_next_start);
    memcpy(code, smc_next_start, bytes);
    code[1] = (uint8_t)at;
    for (unsigned round = 0; round < 3; round++) {
        bench_code(&b, &cpu, code, bytes, &stop);
        assert_int_equal(stop.cpu.gpr[CPU_RAX] & 0xff, 0x99);
    }
}

/* A write by somebody else, announced as devices do. */
PAYLOAD(answer, "64", "mov $1, %eax\n out %al, $0xf4\n hlt");

static void test_code_written_by_device(void **state)
{
    (void)state;
    struct cpu_state cpu;
    struct bench_stop stop;
    bench_prepare(&b, BENCH_LONG, &cpu);
    bench_code(&b, &cpu, PAYLOAD_OF(answer), &stop);
    assert_int_equal(stop.cpu.gpr[CPU_RAX], 1);
    uint8_t two = 2;
    bench_put(&b, BENCH_CODE + 1, &two, 1);
    bench_run(&b, &cpu, &stop);
    assert_int_equal(stop.cpu.gpr[CPU_RAX], 2);
}

/* ---- two vCPUs ---- */

PAYLOAD(counting, "64",
        "mov $100000, %ecx\n"
        "1: lock incq 0x40000\n mov $1, %eax\n lock xadd %rax, 0x40008\n"
        "2: mov 0x40010, %rax\n lea 1(%rax), %rbx\n lock cmpxchg %rbx, 0x40010\n jnz 2b\n"
        "lock addl $1, 0x4001e\n" /* not aligned */
        "dec %ecx\n jnz 1b\n mov %ebp, %eax\n out %eax, $0xf4\n hlt");

static void *run_second(void *arg)
{
    (void)arg;
    b.engine->run(b.vcpu[1]);
    return NULL;
}

static void test_locked(void **state)
{
    (void)state;
    struct cpu_state cpu, second;
    struct bench_stop stop;
    struct err err;
    pthread_t thread;
    bench_prepare(&b, BENCH_LONG, &cpu);
    bench_put(&b, BENCH_CODE, PAYLOAD_OF(counting));
    assert_int_equal(b.engine->get(b.vcpu[1], &second, &err), 0);
    struct cpu_state started = cpu;
    memcpy(started.lapic, second.lapic, sizeof started.lapic);
    started.apic_base = second.apic_base;
    started.gpr[CPU_RBP] = 1;
    assert_int_equal(b.engine->set(b.vcpu[1], &started, &err), 0);
    assert_int_equal(pthread_create(&thread, NULL, run_second, NULL), 0);
    bench_run(&b, &cpu, &stop);
    pthread_join(thread, NULL);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(*(uint64_t *)(void *)(b.ram + 0x40000 + 8 * i), 200000);
    uint32_t odd;
    memcpy(&odd, b.ram + 0x4001e, 4);
    assert_int_equal(odd, 200000);
}

/* ---- halting and interrupts ---- */

PAYLOAD(halting, "64", "sti\n hlt\n mov $1, %ebx\n out %al, $0xf4\n hlt");
PAYLOAD(returns, "64", "inc %ecx\n iretq");

static void *ring(void *arg)
{
    (void)arg;
    irq_msi(b.vm->irq, 0xfee00000, 0x50); /* fixed, to APIC 0 */
    return NULL;
}

static void test_interrupt_ends_halt(void **state)
{
    (void)state;
    struct cpu_state cpu;
    struct bench_stop stop;
    pthread_t thread;
    bench_prepare(&b, BENCH_LONG, &cpu);
    bench_put(&b, 0x9000, PAYLOAD_OF(returns));
    bench_set_gate(&b, BENCH_LONG, 0x50, 0x9000, 0);
    uint32_t spurious = 0x1ff; /* APIC on */
    memcpy(cpu.lapic + 0xf0, &spurious, 4);
    bench_put(&b, BENCH_CODE, PAYLOAD_OF(halting));
    assert_int_equal(pthread_create(&thread, NULL, ring, NULL), 0);
    pthread_join(thread, NULL); /* lost: the APIC is still off in the vCPU's own state */
    struct err err;
    assert_int_equal(b.engine->set(b.vcpu[0], &cpu, &err), 0);
    assert_int_equal(pthread_create(&thread, NULL, ring, NULL), 0);
    enum vcpu_exit exit = b.engine->run(b.vcpu[0]);
    pthread_join(thread, NULL);
    assert_int_equal(exit, VCPU_KICKED);
    assert_int_equal(b.engine->get(b.vcpu[0], &stop.cpu, &err), 0);
    assert_int_equal(stop.cpu.gpr[CPU_RBX], 1);
    assert_int_equal(stop.cpu.gpr[CPU_RCX], 1);
}

/* ---- state ---- */

static void test_state_round_trip(void **state)
{
    (void)state;
    struct cpu_state cpu, back;
    struct err err;
    bench_prepare(&b, BENCH_LONG, &cpu);
    b.engine->pause(b.vm);
    assert_int_equal(b.engine->get(b.vcpu[0], &cpu, &err), 0);
    for (unsigned i = 0; i < CPU_GPR_COUNT; i++)
        cpu.gpr[i] = 0x1111111111111111ull * i;
    cpu.dr[1] = 0x1234;
    cpu.msr[CPU_MSR_LSTAR] = 0xffffffff81000000;
    cpu.msr[CPU_MSR_TSC] = 123456789;
    cpu.interrupt_shadow = true;
    cpu.exception_pending = true;
    cpu.exception_vector = FAULT_GP;
    cpu.exception_has_code = true;
    cpu.exception_code = 0x28;
    assert_int_equal(b.engine->set(b.vcpu[0], &cpu, &err), 0);
    memset(&back, 0, sizeof back);
    assert_int_equal(b.engine->get(b.vcpu[0], &back, &err), 0);
    assert_memory_equal(&back, &cpu, sizeof cpu);
    b.engine->resume(b.vm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real_mode),
        cmocka_unit_test(test_real_to_protected),
        cmocka_unit_test(test_arithmetic),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_string_fault),
        cmocka_unit_test(test_self_modifying),
        cmocka_unit_test(test_next_instruction_changed),
        cmocka_unit_test(test_code_written_by_device),
        cmocka_unit_test(test_locked),
        cmocka_unit_test(test_interrupt_ends_halt),
        cmocka_unit_test(test_state_round_trip),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
