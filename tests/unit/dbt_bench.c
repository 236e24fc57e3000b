/* See dbt_bench.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/loop.h"

#include "hv/dbt/cpu.h"
#include "hv/dbt/vm.h"
#include "hv/timers.h"
#include "tests/unit/dbt_bench.h"

enum { MIB = 1 << 20, RAM_BYTES = 4 * MIB, GATE32 = 0x8e00 };

static uint64_t port_read(void *device, uint64_t offset, unsigned size)
{
    (void)device;
    (void)offset;
    (void)size;
    return 0x5a5a5a5a;
}

static void port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct bench *b = device;
    (void)offset;
    unsigned i = size == 4 && value < b->vcpus ? (unsigned)value : 0;
    b->engine->kick(b->vcpu[i]);
}

static const struct bus_ops port_ops = {port_read, port_write};

void bench_new(struct bench *b, const struct engine *engine, unsigned vcpus)
{
    struct err err = {0};
    *b = (struct bench){.engine = engine, .vcpus = vcpus};
    b->loop = loop_new(&err);
    assert_non_null(b->loop);
    b->bus = bus_new(&err);
    b->timers = timers_new(b->loop, b->bus, &err);
    b->memory = memory_new(RAM_BYTES, &err);
    assert_non_null(b->bus);
    assert_non_null(b->timers);
    assert_non_null(b->memory);
    b->ram = memory_at_writable(b->memory, 0, RAM_BYTES);
    b->region = (struct bus_region){
        .name = "stop", .ops = &port_ops, .device = b, .space = BUS_PORTS, .base = BENCH_PORT, .bytes = 4};
    bus_lock(b->bus);
    assert_int_equal(bus_add(b->bus, &b->region), 0);
    bus_unlock(b->bus);
    struct vm_config config = {.memory = b->memory, .bus = b->bus, .timers = b->timers, .cpu = "host", .vcpus = vcpus};
    if (engine->open(&config, &b->vm, &err))
        fail_msg("%s", err.text);
    for (unsigned i = 0; i < vcpus; i++)
        assert_int_equal(engine->vcpu_new(b->vm, i, &b->vcpu[i], &err), 0);
    engine->resume(b->vm);
}

void bench_free(struct bench *b)
{
    b->engine->pause(b->vm);
    for (unsigned i = 0; i < b->vcpus; i++)
        b->engine->vcpu_free(b->vcpu[i]);
    b->engine->close(b->vm);
    bus_lock(b->bus);
    bus_remove(b->bus, &b->region);
    bus_unlock(b->bus);
    memory_free(b->memory);
    timers_free(b->timers);
    bus_free(b->bus);
    loop_free(b->loop);
}

void bench_put(struct bench *b, uint64_t gpa, const void *data, size_t bytes)
{
    assert_int_equal(memory_write(b->memory, gpa, data, bytes), 0);
}

static void put64(struct bench *b, uint64_t gpa, uint64_t value)
{
    bench_put(b, gpa, &value, sizeof value);
}

static void put_pages(struct bench *b)
{
    memset(b->ram + BENCH_PAGES, 0, 0x4000);
    put64(b, BENCH_PAGES, (BENCH_PAGES + 0x1000) | 7);
    put64(b, BENCH_PAGES + 0x1000, (BENCH_PAGES + 0x2000) | 7);
    put64(b, BENCH_PAGES + 0x2000, BENCH_PT | 7);
    put64(b, BENCH_PAGES + 0x2008, 0x200000 | 0x87);
    for (unsigned i = 0; i < 512; i++)
        put64(b, BENCH_PT + 8 * i, (uint64_t)i << 12 | 7);
}

uint64_t *bench_pte(struct bench *b, uint64_t linear)
{
    return (uint64_t *)(void *)(b->ram + BENCH_PT + 8 * (linear >> 12));
}

void bench_set_gate(struct bench *b, enum bench_mode mode, unsigned vector, uint64_t offset, unsigned dpl)
{
    unsigned bytes = mode == BENCH_LONG ? 16 : 8;
    uint64_t selector = mode == BENCH_LONG ? BENCH_CODE64 : BENCH_CODE32;
    uint64_t low =
        (offset & 0xffff) | selector << 16 | (uint64_t)(GATE32 | dpl << 13) << 32 | (offset & 0xffff0000) << 32;
    put64(b, BENCH_IDT + (uint64_t)vector * bytes, low);
    if (bytes == 16)
        put64(b, BENCH_IDT + (uint64_t)vector * bytes + 8, offset >> 32);
}

static void put_tables(struct bench *b, enum bench_mode mode)
{
    static const uint64_t gdt[] = {
        0,
        0x00af9b000000ffff,                              /* 08: code64 */
        0x00cf93000000ffff,                              /* 10: data */
        0x00cf9b000000ffff,                              /* 18: code32 */
        0x00cf93000000ffff,                              /* 20 */
        0x00cffb000000ffff,                              /* 28: user code32 */
        0x00cff3000000ffff,                              /* 30: user data */
        0x00affb000000ffff,                              /* 38: user code64 */
        0x00008b0000000067 | (uint64_t)BENCH_TSS << 16,  /* 40: TSS, busy */
        0,                                               /* its upper half in long mode */
        0x0000890000000067 | (uint64_t)BENCH_TSS2 << 16, /* 50: TSS of another task */
        0x00cf1b000000ffff,                              /* 58: code, not present */
        0x0000ec0000180000 | (BENCH_CODE + 0x800),       /* 60: call gate to 18:8800h */
    };
    bench_put(b, BENCH_GDT, gdt, sizeof gdt);
    for (unsigned v = 0; v < 256; v++) {
        static const uint8_t stub[BENCH_STUB_BYTES] = {0xe6, BENCH_PORT, 0xeb, 0xfe};
        bench_put(b, BENCH_STUBS + v * BENCH_STUB_BYTES, stub, sizeof stub);
        bench_set_gate(b, mode, v, BENCH_STUBS + v * BENCH_STUB_BYTES, v == 0x80 ? 3 : 0);
    }
    uint8_t tss[104] = {0};
    uint32_t stack = BENCH_STACK, ss0 = BENCH_DATA0;
    memcpy(tss + 4, &stack, 4);
    if (mode == BENCH_PROTECTED)
        memcpy(tss + 8, &ss0, 4);
    tss[102] = sizeof tss; /* no ports for ring 3 */
    bench_put(b, BENCH_TSS, tss, sizeof tss);
}

static struct cpu_segment segment(uint16_t selector, unsigned attributes)
{
    return (struct cpu_segment){0, 0xffffffff, selector, (uint16_t)attributes};
}

void bench_prepare(struct bench *b, enum bench_mode mode, struct cpu_state *cpu)
{
    memset(b->ram, 0, RAM_BYTES / 4);
    memory_touched(b->memory, 0, RAM_BYTES / 4);
    struct err err;
    assert_int_equal(b->engine->get(b->vcpu[0], cpu, &err), 0); /* the local APIC's part */
    uint8_t lapic[CPU_LAPIC_BYTES];
    uint64_t apic_base = cpu->apic_base;
    memcpy(lapic, cpu->lapic, sizeof lapic);
    cpu_state_reset(cpu, 0);
    memcpy(cpu->lapic, lapic, sizeof lapic);
    cpu->apic_base = apic_base;
    cpu->rip = BENCH_CODE;
    cpu->gpr[CPU_RSP] = BENCH_STACK;
    cpu->seg[CPU_CS] = (struct cpu_segment){0, 0xffff, 0, 0x9b};
    if (mode == BENCH_REAL) {
        cpu->gpr[CPU_RSP] = 0x7000;
        return;
    }
    put_tables(b, mode);
    for (unsigned s = 0; s <= CPU_GS; s++)
        cpu->seg[s] = segment(BENCH_DATA0, 0xc093);
    cpu->seg[CPU_CS] = mode == BENCH_LONG ? segment(BENCH_CODE64, 0xa09b) : segment(BENCH_CODE32, 0xc09b);
    cpu->seg[CPU_TR] = (struct cpu_segment){BENCH_TSS, 0x67, BENCH_TSS_SELECTOR, 0x8b};
    cpu->gdt = (struct cpu_table){BENCH_GDT, 0x6f};
    cpu->idt = (struct cpu_table){BENCH_IDT, 0xfff};
    cpu->cr0 = CPU_CR0_PE | CPU_CR0_ET | CPU_CR0_NE | CPU_CR0_WP;
    cpu->cr4 = CPU_CR4_OSFXSR | CPU_CR4_OSXMMEXCPT;
    if (mode != BENCH_LONG)
        return;
    put_pages(b);
    cpu->cr0 |= cpu_cr0_pg;
    cpu->cr3 = BENCH_PAGES;
    cpu->cr4 |= CPU_CR4_PAE;
    cpu->efer = CPU_EFER_LME | CPU_EFER_LMA | CPU_EFER_NX | CPU_EFER_SCE;
}

void bench_user(struct cpu_state *cpu, enum bench_mode mode)
{
    for (unsigned s = 0; s <= CPU_GS; s++)
        cpu->seg[s] = segment(BENCH_USER_DATA, 0xc0f3);
    cpu->seg[CPU_CS] = mode == BENCH_LONG ? segment(BENCH_USER64, 0xa0fb) : segment(BENCH_USER32, 0xc0fb);
    cpu->gpr[CPU_RSP] = BENCH_USER_STACK;
}

static bool has_code(unsigned vector)
{
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

void bench_run(struct bench *b, const struct cpu_state *cpu, struct bench_stop *stop)
{
    struct err err = {0};
    if (b->engine->set(b->vcpu[0], cpu, &err))
        fail_msg("%s", err.text);
    stop->exit = b->engine->run(b->vcpu[0]);
    assert_int_equal(b->engine->get(b->vcpu[0], &stop->cpu, &err), 0);
    uint64_t rip = stop->cpu.rip - 2; /* behind the OUT */
    stop->vector = BENCH_NO_VECTOR;
    stop->code = 0;
    if (rip < BENCH_STUBS || rip >= BENCH_STUBS + 256 * BENCH_STUB_BYTES)
        return;
    stop->vector = (unsigned)(rip - BENCH_STUBS) / BENCH_STUB_BYTES;
    if (has_code(stop->vector))
        memcpy(&stop->code, b->ram + stop->cpu.gpr[CPU_RSP], 4);
}

void bench_code(struct bench *b, const struct cpu_state *cpu, const void *code, size_t bytes, struct bench_stop *stop)
{
    bench_put(b, BENCH_CODE, code, bytes);
    bench_run(b, cpu, stop);
}
