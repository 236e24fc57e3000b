#include "tests/unit/payload_world.h"

#include <string.h>

#include "hv/memory.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { PRESENT = 1, WRITABLE = 2, USER = 4, LARGE = 0x80, PAGE = 4096, ENTRIES = 512 };
enum {
    IDT = 0x5000,
    GDT = 0x5800,
    TSS = 0x5a00,
    HANDLERS = 0x6000,
    HANDLER_BYTES = 16,
    VECTORS = 32,
    EXIT_PORT = 0xf4
};
enum {
    CODE_SELECTOR = 8,
    DATA_SELECTOR = 16,
    TSS_SELECTOR = 40,
    TSS_RSP0 = 4,
    TSS_IST1 = 36,
    KERNEL_STACK = 0x8000,
    FAULT_STACK = 0x9000,
    PAGE_FAULT = 14
};

/* 16 bytes each: an error code where the processor gives none, the vector, the common part. */
__asm__(".pushsection .rodata\n"
        ".intel_syntax noprefix\n"
        "world_handlers:\n"
        ".set vector, 0\n"
        ".rept 32\n"
        "1:\n"
        ".if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17)\n"
        "push 0\n"
        ".endif\n"
        "push vector\n"
        "jmp world_common\n"
        ".fill 16 - (. - 1b), 1, 0x90\n"
        ".set vector, vector + 1\n"
        ".endr\n"
        "world_common:\n"
        "push rax\n"
        "push rbx\n"
        "mov rbx, 0x38000\n"
        "mov rax, [rbx]\n"
        "inc qword ptr [rbx]\n"
        "and rax, 31\n"
        "shl rax, 5\n"
        "lea rbx, [rbx + rax + 32]\n"
        "mov rax, [rsp + 16]\n"
        "mov [rbx], rax\n"
        "mov rax, [rsp + 24]\n"
        "mov [rbx + 8], rax\n"
        "mov rax, [rsp + 32]\n"
        "mov [rbx + 16], rax\n"
        "mov rax, cr2\n"
        "mov [rbx + 24], rax\n"
        "mov [rsp + 32], r15\n"
        "and qword ptr [rsp + 48], ~0x8d5\n" /* which of these are exact is another test's business */
        "pop rbx\n"
        "pop rax\n"
        "add rsp, 16\n"
        "iretq\n"
        "world_handlers_end:\n"
        ".att_syntax prefix\n"
        ".popsection\n");
extern const uint8_t world_handlers[], world_handlers_end[];

static uint8_t *at(const struct world *w, uint64_t gpa)
{
    return memory_at_writable(w->memory, gpa, 8);
}

static void put(struct world *w, uint64_t gpa, uint64_t value)
{
    memcpy(at(w, gpa), &value, sizeof value);
}

uint64_t world_word(const struct world *w, uint64_t gpa)
{
    uint64_t value;
    memcpy(&value, at(w, gpa), sizeof value);
    return value;
}

static void make_tables(struct world *w)
{
    unsigned rights = PRESENT | WRITABLE | USER;
    for (unsigned level = 0; level < 3; level++)
        put(w, WORLD_TABLES + level * PAGE, (WORLD_TABLES + (level + 1) * PAGE) | rights);
    put(w, WORLD_TABLES + 2 * PAGE + 8, 2u << 20 | rights | LARGE);
    for (unsigned n = 0; n < ENTRIES; n++)
        put(w, WORLD_PAGE_TABLE + 8 * n, n * PAGE | rights);
    put(w, WORLD_PAGE_TABLE + 8 * (WORLD_READ_ONLY / PAGE), WORLD_READ_ONLY | PRESENT | USER);
    put(w, WORLD_PAGE_TABLE + 8 * (WORLD_ABSENT / PAGE), 0);
    put(w, WORLD_PAGE_TABLE + 8 * (WORLD_ALIAS / PAGE), (WORLD_ALIAS + PAGE) | rights);
}

static void make_descriptors(struct world *w)
{
    static const uint64_t gdt[] = {0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff};
    for (unsigned n = 0; n < sizeof gdt / sizeof *gdt; n++)
        put(w, GDT + 8 * n, gdt[n]);
    put(w, GDT + TSS_SELECTOR, 0x00008b0000000067 | (uint64_t)TSS << 16);
    put(w, TSS + TSS_RSP0, KERNEL_STACK);
    put(w, TSS + TSS_IST1, FAULT_STACK);
    for (unsigned n = 0; n < VECTORS; n++) {
        uint64_t handler = HANDLERS + n * HANDLER_BYTES;
        uint64_t ist = n == PAGE_FAULT;
        put(w, IDT + 16 * n,
            (handler & 0xffff) | CODE_SELECTOR << 16 | ist << 32 | 0xeeull << 40 | (handler >> 16) << 48);
    }
    memcpy(memory_at_writable(w->memory, HANDLERS, PAGE), world_handlers,
           (size_t)(world_handlers_end - world_handlers));
}

static void ended(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct world *w = device;
    (void)offset;
    (void)size;
    (void)value;
    w->vm->engine->kick(w->vcpu);
}

static uint64_t nothing(void *device, uint64_t offset, unsigned size)
{
    (void)device;
    (void)offset;
    (void)size;
    return 0;
}

static const struct bus_ops port_ops = {.read = nothing, .write = ended};

void world_init(struct world *w, struct isa_fixture *board, const struct engine *engine)
{
    struct err err = {0};
    *w = (struct world){.board = board};
    w->memory = memory_new(WORLD_BYTES, &err);
    assert_non_null(w->memory);
    struct vm_config config = {
        .memory = w->memory, .bus = board->bus, .timers = board->timers, .cpu = "host", .vcpus = 1};
    if (engine->open(&config, &w->vm, &err) || engine->vcpu_new(w->vm, 0, &w->vcpu, &err))
        fail_msg("%s", err.text);
    w->port = (struct bus_region){"exit", &port_ops, w, BUS_PORTS, EXIT_PORT, 1, false};
    bus_lock(board->bus);
    assert_int_equal(bus_add(board->bus, &w->port), 0);
    bus_unlock(board->bus);
}

void world_fini(struct world *w)
{
    const struct engine *engine = w->vm->engine;
    bus_lock(w->board->bus);
    bus_remove(w->board->bus, &w->port);
    bus_unlock(w->board->bus);
    engine->vcpu_free(w->vcpu);
    engine->close(w->vm);
    memory_free(w->memory);
}

static void start_state(struct cpu_state *cpu)
{
    cpu_state_reset(cpu, 0);
    for (unsigned n = 0; n < CPU_GPR_COUNT; n++)
        cpu->gpr[n] = 0x1111111111111111ull * n;
    cpu->gpr[CPU_RSP] = WORLD_STACK;
    cpu->rip = WORLD_CODE;
    cpu->cr0 = 0x80010033;
    cpu->cr3 = WORLD_TABLES;
    cpu->cr4 = 0x600 | 0x20 | 0x80; /* OSFXSR, OSXMMEXCPT, PAE, PGE */
    cpu->efer = 0xd01;              /* SCE, LME, LMA, NX */
    cpu->gdt = (struct cpu_table){GDT, 0x7f};
    cpu->idt = (struct cpu_table){IDT, VECTORS * 16 - 1};
    for (unsigned n = 0; n < CPU_LDTR; n++)
        cpu->seg[n] = (struct cpu_segment){.limit = 0xffffffff, .selector = DATA_SELECTOR, .attributes = 0xc093};
    cpu->seg[CPU_CS] = (struct cpu_segment){.limit = 0xffffffff, .selector = CODE_SELECTOR, .attributes = 0xa09b};
    cpu->seg[CPU_GS].base = WORLD_DATA + 0x100;
    cpu->seg[CPU_TR] =
        (struct cpu_segment){.base = TSS, .limit = 0x67, .selector = TSS_SELECTOR, .attributes = CPU_SEG_P | 0xb};
}

void world_load(struct world *w, const uint8_t *code, size_t bytes)
{
    struct err err = {0};
    struct cpu_state cpu;
    const struct engine *engine = w->vm->engine;
    uint8_t *memory = memory_at_writable(w->memory, 0, WORLD_BYTES);
    memset(memory, 0, WORLD_BYTES);
    for (unsigned n = 0; n < 4 * PAGE; n++)
        memory[WORLD_DATA + n] = (uint8_t)(n * 37 + n / 256);
    make_tables(w);
    make_descriptors(w);
    memcpy(memory + WORLD_CODE, code, bytes);
    memory_touched(w->memory, 0, WORLD_BYTES);
    start_state(&cpu);
    if (engine->set(w->vcpu, &cpu, &err))
        fail_msg("%s", err.text);
}

enum vcpu_exit world_go(struct world *w)
{
    struct err err = {0};
    const struct engine *engine = w->vm->engine;
    engine->resume(w->vm);
    enum vcpu_exit exit = engine->run(w->vcpu);
    engine->pause(w->vm);
    assert_int_equal(engine->get(w->vcpu, &w->out, &err), 0);
    return exit;
}

void world_run(struct world *w, const uint8_t *code, size_t bytes)
{
    world_load(w, code, bytes);
    assert_int_equal(world_go(w), VCPU_KICKED);
}
