/* Paging: error codes, A and D bits, NX, WP, SMEP, reserved bits, large and global pages, INVLPG, page-crossing
 * accesses, the dirty log; and memory that is no RAM. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/dbt/cpu.h"
#include "hv/dbt/fault.h"
#include "node/base/err.h"
#include "tests/unit/dbt_bench.h"
#include "tests/unit/dbt_payload.h"

enum { P = 1, W = 2, U = 4, A = 0x20, D = 0x40, G = 0x100, AT = 0x50000 };

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

PAYLOAD(load, "64", "mov 0x50008, %rax\n out %al, $0xf4\n hlt");
PAYLOAD(store, "64", "mov %rax, 0x50008\n out %al, $0xf4\n hlt");
PAYLOAD(modify, "64", "addl $1, 0x50008\n out %al, $0xf4\n hlt");
PAYLOAD(jump, "64", "mov $0x50000, %eax\n jmp *%rax");
PAYLOAD(user_end, "64", "int $0x80");

enum what { LOAD, STORE, MODIFY, JUMP };

struct row {
    enum what what;
    bool user;
    uint64_t pte;      /* of the page at AT, without the address */
    uint64_t cr0, cr4; /* more bits; cr0: bits that are cleared */
    unsigned vector;
    uint32_t code;
    uint64_t then; /* A and D afterwards, where it succeeds */
};

static void run(const struct row *r, struct bench_stop *stop)
{
    static const struct {
        const uint8_t *start, *end;
    } payloads[] = {[LOAD] = {load_start, load_end},
                    [STORE] = {store_start, store_end},
                    [MODIFY] = {modify_start, modify_end},
                    [JUMP] = {jump_start, jump_end}};
    struct cpu_state cpu;
    uint8_t code[64];
    bench_prepare(&b, BENCH_LONG, &cpu);
    *bench_pte(&b, AT) = AT | r->pte;
    size_t bytes = (size_t)(payloads[r->what].end - payloads[r->what].start);
    memcpy(code, payloads[r->what].start, bytes);
    if (r->user) {
        bench_user(&cpu, BENCH_LONG);
        if (r->what != JUMP)
            memcpy(code + bytes - 3, user_end_start, 2);
    }
    if (r->cr4 & CPU_CR4_SMEP) {
        *bench_pte(&b, BENCH_CODE) &= ~(uint64_t)U;
        *bench_pte(&b, BENCH_STUBS) &= ~(uint64_t)U;
    }
    b.ram[AT] = 0xe6; /* the target of JUMP */
    b.ram[AT + 1] = BENCH_PORT;
    cpu.cr0 &= ~r->cr0;
    cpu.cr4 |= r->cr4;
    bench_code(&b, &cpu, code, bytes, stop);
}

static void test_rights(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {LOAD, false, 0, 0, 0, FAULT_PF, 0, 0},
        {STORE, false, 0, 0, 0, FAULT_PF, FAULT_PAGE_W, 0},
        {MODIFY, false, 0, 0, 0, FAULT_PF, FAULT_PAGE_W, 0},
        {JUMP, false, 0, 0, 0, FAULT_PF, FAULT_PAGE_I, 0},
        {LOAD, true, 0, 0, 0, FAULT_PF, FAULT_PAGE_U, 0},
        {LOAD, true, P | W, 0, 0, FAULT_PF, FAULT_PAGE_P | FAULT_PAGE_U, 0},
        {STORE, true, P | U, 0, 0, FAULT_PF, FAULT_PAGE_P | FAULT_PAGE_U | FAULT_PAGE_W, 0},
        {JUMP, true, P | W, 0, 0, FAULT_PF, FAULT_PAGE_P | FAULT_PAGE_U | FAULT_PAGE_I, 0},
        {STORE, false, P, 0, 0, FAULT_PF, FAULT_PAGE_P | FAULT_PAGE_W, 0},
        {MODIFY, false, P, 0, 0, FAULT_PF, FAULT_PAGE_P | FAULT_PAGE_W, 0},
        {STORE, false, P, CPU_CR0_WP, 0, BENCH_NO_VECTOR, 0, A | D},
        {LOAD, false, P, 0, 0, BENCH_NO_VECTOR, 0, A},
        {LOAD, true, P | U, 0, 0, 0x80, 0, A},
        {STORE, true, P | W | U, 0, 0, 0x80, 0, A | D},
        {MODIFY, false, P | W, 0, 0, BENCH_NO_VECTOR, 0, A | D},
        {JUMP, false, P, 0, 0, BENCH_NO_VECTOR, 0, A},
        {JUMP, false, P | 1ull << 63, 0, 0, FAULT_PF, FAULT_PAGE_P | FAULT_PAGE_I, 0},
        {JUMP, false, P | U, 0, CPU_CR4_SMEP, FAULT_PF, FAULT_PAGE_P | FAULT_PAGE_I, 0},
        {LOAD, false, P | U, 0, CPU_CR4_SMEP, BENCH_NO_VECTOR, 0, A},
        {LOAD, false, P | 1ull << 51, 0, 0, FAULT_PF, FAULT_PAGE_P | FAULT_PAGE_RSVD, 0},
    };
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct bench_stop stop;
        run(&rows[i], &stop);
        if (stop.vector != rows[i].vector || stop.code != rows[i].code)
            fail_msg("row %u: vector %u, code %#x", i, stop.vector, stop.code);
        if (stop.vector == FAULT_PF)
            assert_int_equal(stop.cpu.cr2, rows[i].what == JUMP ? AT : AT + 8);
        else if ((*bench_pte(&b, AT) & (A | D)) != rows[i].then)
            fail_msg("row %u: entry %#llx", i, (unsigned long long)*bench_pte(&b, AT));
    }
}

/* Writes to an entry count only after INVLPG, or a load of CR3 if the page is not global. */
PAYLOAD(stale, "64",
        "mov $0x51000, %ebx\n mov 0x50000, %rax\n" /* fills the TLB */
        "mov 0x13288, %rcx\n mov %rcx, 0x13280\n"  /* 51000h's entry becomes 50000h's, too */
        "mov $0x10000, %edx\n mov %rdx, %cr3\n mov 0x50000, %r8\n"
        "invlpg 0x50000\n mov 0x50000, %r9\n out %al, $0xf4\n hlt");

static void test_flushes(void **state)
{
    (void)state;
    for (unsigned global = 0; global < 2; global++) {
        struct cpu_state cpu;
        struct bench_stop stop;
        bench_prepare(&b, BENCH_LONG, &cpu);
        cpu.cr4 |= CPU_CR4_PGE;
        b.ram[0x50000] = 5;
        b.ram[0x51000] = 6;
        *bench_pte(&b, 0x50000) |= global ? G : 0;
        bench_code(&b, &cpu, PAYLOAD_OF(stale), &stop);
        assert_int_equal(stop.vector, BENCH_NO_VECTOR);
        assert_int_equal(stop.cpu.gpr[CPU_RAX], 5);
        assert_int_equal(stop.cpu.gpr[CPU_R8], global ? 5 : 6);
        assert_int_equal(stop.cpu.gpr[CPU_R9], 6);
    }
}

PAYLOAD(large, "64",
        "mov $0x1122334455667788, %rax\n mov %rax, 0x2ffffc\n mov 0x2ffffe, %ecx\n" /* inside a 2 MiB page */
        "mov 0x12008, %rbx\n out %al, $0xf4\n hlt");

static void test_large_page(void **state)
{
    (void)state;
    struct cpu_state cpu;
    struct bench_stop stop;
    bench_prepare(&b, BENCH_LONG, &cpu);
    bench_code(&b, &cpu, PAYLOAD_OF(large), &stop);
    assert_int_equal(stop.cpu.gpr[CPU_RCX], 0x33445566);
    assert_int_equal(stop.cpu.gpr[CPU_RBX] & (A | D), A | D);
    uint64_t value;
    memcpy(&value, b.ram + 0x2ffffc, 8);
    assert_int_equal(value, 0x1122334455667788);
}

/* Neither half is written where the second page may not be. */
PAYLOAD(crossing, "64", "mov $-1, %rax\n mov %rax, 0x50ffc\n out %al, $0xf4\n hlt");

static void test_crossing_store(void **state)
{
    (void)state;
    struct cpu_state cpu;
    struct bench_stop stop;
    bench_prepare(&b, BENCH_LONG, &cpu);
    *bench_pte(&b, 0x51000) = 0x51000 | P;
    bench_code(&b, &cpu, PAYLOAD_OF(crossing), &stop);
    assert_int_equal(stop.vector, FAULT_PF);
    assert_int_equal(stop.code, FAULT_PAGE_P | FAULT_PAGE_W);
    assert_int_equal(stop.cpu.cr2, 0x51000);
    assert_int_equal(*(uint32_t *)(void *)(b.ram + 0x50ffc), 0);
    *bench_pte(&b, 0x51000) = 0x60000 | P | W;
    bench_run(&b, &cpu, &stop);
    assert_int_equal(*(uint32_t *)(void *)(b.ram + 0x50ffc), 0xffffffff);
    assert_int_equal(*(uint32_t *)(void *)(b.ram + 0x60000), 0xffffffff);
    assert_int_equal(*(uint32_t *)(void *)(b.ram + 0x51000), 0);
}

PAYLOAD(hole, "64", "mov 0x50000, %rbx\n out %al, $0xf4\n hlt");

static void test_no_memory(void **state)
{
    (void)state;
    struct cpu_state cpu;
    struct bench_stop stop;
    bench_prepare(&b, BENCH_LONG, &cpu);
    *bench_pte(&b, 0x50000) = 0x10000000 | P | W; /* behind the end of RAM: nobody answers */
    bench_code(&b, &cpu, PAYLOAD_OF(hole), &stop);
    assert_int_equal(stop.cpu.gpr[CPU_RBX], ~0ull);
}

/* What is not canonical: #GP, or #SS through the stack's segment. */
PAYLOAD(bad_data, "64", "movabs $0x800000000000, %rbx\n mov (%rbx), %rax");
PAYLOAD(bad_stack, "64", "movabs $0x800000000000, %rbp\n mov (%rbp), %rax");

static void test_not_canonical(void **state)
{
    (void)state;
    struct cpu_state cpu;
    struct bench_stop stop;
    bench_prepare(&b, BENCH_LONG, &cpu);
    bench_code(&b, &cpu, PAYLOAD_OF(bad_data), &stop);
    assert_int_equal(stop.vector, FAULT_GP);
    bench_code(&b, &cpu, PAYLOAD_OF(bad_stack), &stop);
    assert_int_equal(stop.vector, FAULT_SS);
}

/* 32-bit tables: PSE and 4 KiB pages, and PAE. */
PAYLOAD(legacy, "32",
        "movl $0x77, 0x500000\n movl 0x300000, %ebx\n" /* 500000h is 100000h by a 4 MiB page, 300000h by a table */
        "out %al, $0xf4\n hlt");

static void test_two_levels(void **state)
{
    (void)state;
    struct cpu_state cpu;
    struct bench_stop stop;
    bench_prepare(&b, BENCH_PROTECTED, &cpu);
    uint32_t *directory = (void *)(b.ram + BENCH_PAGES), *table = (void *)(b.ram + BENCH_PT);
    directory[0] = BENCH_PT | P | W;
    directory[1] = 0x80 | P | W; /* 4 MiB at 400000h are those at 0 */
    for (unsigned i = 0; i < 1024; i++)
        table[i] = (i << 12) | P | W;
    table[0x300] = 0x100000 | P | W;
    cpu.cr0 |= cpu_cr0_pg;
    cpu.cr3 = BENCH_PAGES;
    cpu.cr4 |= CPU_CR4_PSE;
    bench_code(&b, &cpu, PAYLOAD_OF(legacy), &stop);
    assert_int_equal(stop.vector, BENCH_NO_VECTOR);
    assert_int_equal(b.ram[0x100000], 0x77);
    assert_int_equal(stop.cpu.gpr[CPU_RBX], 0x77);
}

PAYLOAD(logged, "64", "movb $1, 0x50000\n movb $1, 0x52000\n movb $1, 0x52008\n out %al, $0xf4\n hlt");

static void test_dirty_log(void **state)
{
    (void)state;
    struct cpu_state cpu;
    struct bench_stop stop;
    struct err err;
    uint64_t bitmap[16];
    bench_prepare(&b, BENCH_LONG, &cpu);
    bench_code(&b, &cpu, PAYLOAD_OF(logged), &stop); /* the TLB has write tags now */
    assert_int_equal(b.engine->log_start(b.vm, &err), 0);
    for (unsigned round = 0; round < 2; round++) {
        struct cpu_state again = stop.cpu;
        again.rip = BENCH_CODE;
        b.engine->set(b.vcpu[0], &again, &err);
        b.engine->log_sync(b.vm);
        memory_log_take(b.memory, 0, bitmap);
        bench_run(&b, &again, &stop);
        b.engine->log_sync(b.vm);
        memory_log_take(b.memory, 0, bitmap);
        assert_int_equal(bitmap[1] & 0x70000, 0x50000);
    }
    b.engine->log_stop(b.vm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rights),         cmocka_unit_test(test_flushes),   cmocka_unit_test(test_large_page),
        cmocka_unit_test(test_crossing_store), cmocka_unit_test(test_no_memory), cmocka_unit_test(test_not_canonical),
        cmocka_unit_test(test_two_levels),     cmocka_unit_test(test_dirty_log),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
