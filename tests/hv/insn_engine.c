/* See insn_engine.h. */
#include "tests/hv/insn_engine.h"

#include <cpuid.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/dbt/cpu.h"
#include "hv/dbt/fault.h"
#include "hv/dbt/icache.h"
#include "hv/dbt/interp.h"
#include "hv/dbt/mmu.h"
#include "hv/dbt/simd.h"
#include "hv/dbt/translator.h"
#include "hv/dbt/vm.h"
#include "hv/memory.h"
#include "node/base/err.h"

enum { /* guest-physical */
       PML4 = 0x1000,
       PDPT = 0x2000,
       DIRECTORY = 0x3000,
       TABLE = 0x4000,
       CODE = 0x10000,
       DATA = 0x20000,
       MEMORY_BYTES = 2 << 20,
       PAGE_P = 1,
       PAGE_W = 2,
       PAGE_U = 4,
       INT3 = 0xcc,
       INT3_GATE = 0x1a, /* what #GP says: there is no interrupt table */
       RFLAGS_SEEN = 0xcd5,
};

struct insn_engine {
    const struct insn_executor *executor;
    struct memory *memory;
    struct dbt_vm vm; /* as much of it as user mode needs */
    struct dbt_vcpu vcpu;
    struct dbt_cpu *cpu;
    const struct insn_case *now;
};

/* The decoder and the vector unit alone. */
static void step_simd(struct insn_engine *e)
{
    struct insn insn;
    insn_decode(&insn, e->now->code, e->now->length, e->now->code_bytes);
    if ((insn.kind != INSN_SIMD && insn.kind != INSN_X87) || simd_execute(e->cpu, &insn) != SIMD_DONE)
        fault_ud(e->cpu);
    e->cpu->rip += insn.length;
}

static void step_interp(struct insn_engine *e)
{
    do /* repeated string instructions go on at themselves */
        interp_one(e->cpu);
    while (e->now->group == INSN_GROUP_STRING && e->cpu->rip == e->now->in.rip);
}

/* With the cache of decoded instructions, as engine_interp runs. A run may have more than the one instruction: what
 * is behind it is INT3, whose fault is taken back. */
static void step_cached(struct insn_engine *e)
{
    uint64_t next = e->cpu->rip + e->now->length;
    jmp_buf outer;
    icache_drop_all(e->cpu->icache);
    memcpy(outer, e->cpu->unwind, sizeof(outer));
    if (setjmp(e->cpu->unwind) == 0) {
        do
            interp_run(e->cpu);
        while (e->now->group == INSN_GROUP_STRING && e->cpu->rip == e->now->in.rip);
        return;
    }
    bool int3 = e->cpu->fault.vector == FAULT_GP && e->cpu->fault.code == (FAULT_BP << 3 | 2); /* the IDT is empty */
    if (e->cpu->rip != next || !int3) {
        memcpy(e->cpu->unwind, outer, sizeof(outer));
        longjmp(e->cpu->unwind, 1);
    }
}

/* Translated: a block of the instruction and the INT3 behind it, or of the instruction and the way it goes. */
static void translated(struct insn_engine *e)
{
    struct exit_record left;
    struct translator *t = e->cpu->translation;
    do {
        uint32_t block = translator_block(t, e->cpu->rip, mmu_fetch_host(e->cpu, e->cpu->rip));
        translator_enter(t, translator_code(t, block), &left);
    } while (e->now->group == INSN_GROUP_STRING && e->cpu->rip == e->now->in.rip);
}

static void step_dbt(struct insn_engine *e)
{
    if (e->now->code_bytes != 8) { /* is not translated */
        step_cached(e);
        return;
    }
    uint64_t next = e->cpu->rip + e->now->length;
    jmp_buf outer;
    struct err err;
    if (!e->cpu->translation && !translator_new(e->cpu, &err)) {
        fprintf(stderr, "insn_diff: %s\n", err.text);
        exit(2);
    }
    translator_use(e->cpu);
    e->cpu->drop_translation(e->cpu, memory_at(e->memory, CODE, INSN_PAGE));
    memcpy(outer, e->cpu->unwind, sizeof(outer));
    if (setjmp(e->cpu->unwind) == 0) {
        translated(e);
        return;
    }
    if (e->cpu->rip != next || e->cpu->fault.vector != FAULT_GP || e->cpu->fault.code != INT3_GATE) {
        /* arithmetic flags are exact at a fault only where something could read them before they are written */
        if (e->now->group != INSN_GROUP_STRING)
            e->cpu->rflags = (e->cpu->rflags & ~(uint64_t)CPU_ARITHMETIC) | (e->now->in.rflags & CPU_ARITHMETIC);
        memcpy(e->cpu->unwind, outer, sizeof(outer));
        longjmp(e->cpu->unwind, 1);
    }
}

const struct insn_executor insn_executors[] = {
    {"dbt", step_dbt}, {"interp", step_interp}, {"cached", step_cached}, {"simd", step_simd}, {NULL, NULL},
};

const struct insn_executor *insn_executor_named(const char *name)
{
    for (const struct insn_executor *e = insn_executors; e->name; e++)
        if (!strcmp(e->name, name))
            return e;
    return NULL;
}

static void put_entry(struct memory *memory, uint64_t table, unsigned index, uint64_t value)
{
    memory_write(memory, table + 8 * index, &value, sizeof(value));
}

static void make_tables(struct memory *memory)
{
    enum { ALL = PAGE_P | PAGE_W | PAGE_U };
    put_entry(memory, PML4, 0, PDPT | ALL);
    put_entry(memory, PDPT, INSN_CODE >> 30, DIRECTORY | ALL);
    put_entry(memory, DIRECTORY, INSN_CODE >> 21 & 511, TABLE | ALL);
    put_entry(memory, TABLE, INSN_CODE >> 12 & 511, CODE | ALL);
    for (unsigned i = 0; i < INSN_DATA_PAGES; i++)
        put_entry(memory, TABLE, (INSN_DATA >> 12 & 511) + i,
                  (uint64_t)(DATA + i * INSN_PAGE) | PAGE_P | PAGE_U | (i + 1 < INSN_DATA_PAGES ? PAGE_W : 0) |
                      1ull << 63);
}

static void make_vcpu(struct dbt_cpu *cpu)
{
    static const struct cpu_segment flat = {.limit = 0xffffffff, .selector = 0x2b, .attributes = 0xc0f3};
    for (unsigned i = CPU_ES; i <= CPU_GS; i++)
        cpu->seg[i] = flat;
    cpu->seg[CPU_CS] = (struct cpu_segment){.limit = 0xffffffff, .selector = 0x33, .attributes = 0xa0fb};
    cpu->seg[CPU_FS].selector = cpu->seg[CPU_GS].selector = 0; /* as Linux has them */
    cpu->seg[CPU_GS].base = INSN_GS_BASE;
    cpu->cr0 = cpu_cr0_pg | CPU_CR0_PE | CPU_CR0_MP | CPU_CR0_ET | CPU_CR0_NE | CPU_CR0_WP;
    cpu->cr3 = PML4;
    cpu->cr4 = CPU_CR4_PAE | CPU_CR4_OSFXSR | CPU_CR4_OSXMMEXCPT | CPU_CR4_OSXSAVE | CPU_CR4_FSGSBASE;
    cpu->efer = CPU_EFER_SCE | CPU_EFER_LME | CPU_EFER_LMA | CPU_EFER_NX;
    cpu->xcr0 = 7;
    cpu->rflags = 2;
    cpu_mode_changed(cpu);
}

static bool host_is_amd(void)
{
    unsigned eax, ebx, ecx, edx;
    __cpuid(0, eax, ebx, ecx, edx);
    return ebx == signature_AMD_ebx || ebx == 0x6f677948; /* or Hygon's */
}

struct insn_engine *insn_engine_new(const struct insn_executor *executor)
{
    struct err err = {0};
    struct insn_engine *e = calloc(1, sizeof(*e));
    size_t bytes = (sizeof(struct dbt_cpu) + INSN_PAGE - 1) & ~(size_t)(INSN_PAGE - 1);
    e->executor = executor;
    e->memory = memory_new(MEMORY_BYTES, &err);
    e->cpu = aligned_alloc(INSN_PAGE, bytes);
    if (e->memory && e->cpu) {
        memset(e->cpu, 0, bytes);
        e->cpu->memory = e->memory;
        e->cpu->vm = &e->vm;
        e->cpu->icache = icache_new();
        e->vm.memory = e->memory;
        e->vm.vcpus = 1;
        e->vm.cpus[0] = &e->vcpu;
        e->vcpu.cpu = e->cpu;
        e->vm.vm.model.xcr0 = 7;
        e->vm.amd = host_is_amd();
        pthread_mutex_init(&e->vm.split_lock, NULL);
        e->cpu->low_host = memory_at_writable(e->memory, 0, MEMORY_BYTES);
        e->cpu->low_bytes = MEMORY_BYTES;
        e->cpu->physical_mask = (1ull << 46) - 1;
        e->cpu->simd = simd_new(&err);
    }
    if (!e->memory || !e->cpu || !e->cpu->simd) {
        fprintf(stderr, "insn_diff: %s\n", err.text);
        exit(2);
    }
    memset(memory_at_writable(e->memory, CODE, INSN_PAGE), INT3, INSN_PAGE);
    tlb_init(&e->cpu->tlb);
    make_tables(e->memory);
    make_vcpu(e->cpu);
    return e;
}

void insn_engine_free(struct insn_engine *e)
{
    translator_free(e->cpu->translation);
    simd_free(e->cpu->simd);
    icache_free(e->cpu->icache);
    pthread_mutex_destroy(&e->vm.split_lock);
    free(e->cpu);
    memory_free(e->memory);
    free(e);
}

static void load_segments(struct dbt_cpu *cpu, unsigned code_bytes)
{
    static const struct cpu_segment code_16 = {
        .base = INSN_CODE, .limit = INSN_LIMIT_16, .selector = INSN_CS_16, .attributes = 0x00fb};
    static const struct cpu_segment data_16 = {
        .base = INSN_BASE_16, .limit = INSN_LIMIT_16, .selector = INSN_DATA_16, .attributes = 0x00f3};
    if (code_bytes == 2) {
        cpu->seg[CPU_CS] = code_16;
        cpu->seg[CPU_DS] = cpu->seg[CPU_ES] = cpu->seg[CPU_SS] = data_16;
    } else {
        cpu->seg[CPU_CS].selector = code_bytes == 8 ? 0x33 : 0x23;
        cpu->seg[CPU_CS].attributes = code_bytes == 8 ? 0xa0fb : 0xc0fb;
    }
    cpu_mode_changed(cpu);
}

static void load(struct insn_engine *e, const struct insn_case *c)
{
    static uint8_t data[INSN_DATA_BYTES];
    uint8_t code[512];
    struct dbt_cpu *cpu = e->cpu;
    memset(code, INT3, sizeof(code));
    memcpy(code + 256, c->code, c->length);
    memory_write(e->memory, CODE + INSN_AT - 256, code, sizeof(code));
    insn_case_data(c, data);
    memory_write(e->memory, DATA, data, sizeof(data));
    memcpy(cpu->gpr, c->in.gpr, sizeof(cpu->gpr));
    memcpy(cpu->xsave, c->in.xsave, sizeof(cpu->xsave));
    cpu->rflags = c->in.rflags;
    cpu->rip = c->in.rip;
    cpu->cr2 = 0;
    load_segments(cpu, c->code_bytes);
}

void insn_engine_run(struct insn_engine *e, const struct insn_case *c, struct insn_outcome *outcome)
{
    struct dbt_cpu *cpu = e->cpu;
    e->now = c;
    load(e, c);
    outcome->fault = (struct insn_fault){0};
    if (setjmp(cpu->unwind) == 0) {
        e->executor->step(e);
    } else {
        outcome->fault.raised = true;
        outcome->fault.vector = cpu->fault.vector;
        outcome->fault.code = cpu->fault.has_code ? cpu->fault.code : 0;
        outcome->fault.cr2 = cpu->fault.vector == FAULT_PF ? cpu->cr2 : 0;
    }
    for (unsigned i = 0; i < CPU_GPR_COUNT; i++)
        outcome->out.gpr[i] = c->code_bytes == 8 ? cpu->gpr[i] : (uint32_t)cpu->gpr[i];
    memcpy(outcome->out.xsave, cpu->xsave, sizeof(cpu->xsave));
    outcome->out.rflags = cpu->rflags & RFLAGS_SEEN;
    outcome->out.rip = cpu->rip;
    memory_read(e->memory, DATA, outcome->data, INSN_DATA_BYTES);
}
