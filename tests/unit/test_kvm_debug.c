/* A debugger's steps, breakpoints and watchpoints under KVM: where the vCPU stops, and that the guest's own breakpoint
 * instruction stays its own.
 *
 * Breakpoint instructions and debug registers are the processor's work. Where there is none that virtualises, or only
 * one that QEMU emulates (which lets no INT3 through to KVM and has no debug registers in a guest), those cases are
 * skipped. */
#include "tests/unit/kvm_rig.h"

#include <cpuid.h>
#include <string.h>

enum { IDT = 0x4000, GDT = 0x4200, HANDLER = 0x1100, STORE = 5, INC = 10, INT3 = 11, ADD = 13 };

static const uint8_t code[] = {
    0xb8, 0x01, 0x00, 0x00, 0x00,       /* mov eax, 1 */
    0xa3, 0x00, 0x20, 0x00, 0x00,       /* mov [2000h], eax */
    0x40,                               /* inc eax */
    0xcc,                               /* int3 */
    0x90,                               /* nop */
    0x01, 0x05, 0x04, 0x20, 0x00, 0x00, /* add [2004h], eax */
    0x30, 0xc0, 0xe6, 0xf4, 0xeb, 0xfe, /* xor al, al; out f4h, al; jmp $ */
};
static const uint8_t handler[] = {0xff, 0x05, 0x08, 0x20, 0x00, 0x00, 0xcf}; /* inc dword [2008h]; iret */

static bool emulated(void)
{
    unsigned eax, name[3] = {0};
    __cpuid(0x40000000, eax, name[0], name[1], name[2]);
    return !kvm_hardware() || !memcmp(name, "TCGTCGTCGTCG", 12);
}

/* own_int3: the guest has a breakpoint instruction of its own. */
static void start(struct rig *rig, bool own_int3)
{
    static const uint64_t gdt[] = {0, 0x00cf9b000000ffff, 0x00cf93000000ffff};
    static const uint64_t gate = (uint64_t)8 << 16 | 0x8e00ull << 32 | HANDLER;
    struct cpu_state cpu;
    rig_open(rig, 1, KVM_DIRTY_BEST);
    rig_load(rig, CODE, code, sizeof code);
    if (!own_int3)
        rig_load(rig, CODE + INT3, "\x90", 1);
    rig_load(rig, HANDLER, handler, sizeof handler);
    rig_load(rig, GDT, gdt, sizeof gdt);
    rig_load(rig, IDT + 3 * 8, &gate, sizeof gate);
    rig_flat_mode(&cpu, 0);
    cpu.gdt = (struct cpu_table){GDT, sizeof gdt - 1};
    cpu.idt = (struct cpu_table){IDT, 0xff};
    rig_set(rig, 0, &cpu);
}

static void debug(struct rig *rig, const struct vcpu_debug *what)
{
    struct err err;
    rig_check(engine_kvm.debug(rig->cpu[0], what, &err), &err);
}

static void stops(struct rig *rig, enum vcpu_stop_kind kind, uint64_t at)
{
    struct cpu_state cpu;
    assert_int_equal(engine_kvm.run(rig->cpu[0]), VCPU_STOPPED);
    rig_get(rig, 0, &cpu);
    assert_int_equal(rig->cpu[0]->stop.kind, kind);
    assert_int_equal(cpu.rip, CODE + at);
}

/* Without anything of a debugger's: to the end. */
static void ends(struct rig *rig)
{
    uint32_t words[2];
    debug(rig, NULL);
    assert_int_equal(engine_kvm.run(rig->cpu[0]), VCPU_KICKED);
    assert_int_equal(memory_read(rig->memory, DATA, words, sizeof words), 0);
    assert_int_equal(words[0], 1);
    assert_int_equal(words[1], 2);
}

static void steps(void **state)
{
    struct rig *rig = *state;
    struct vcpu_debug d = {.step = true};
    static const uint8_t at[] = {STORE, INC, INT3};
    start(rig, false);
    for (unsigned i = 0; i < sizeof at; i++) {
        debug(rig, &d);
        stops(rig, VCPU_STOP_STEP, at[i]);
    }
    ends(rig);
}

static bool is_planted(void *context, uint64_t gpa)
{
    ++*(unsigned *)context;
    return gpa == CODE + INC;
}

static void breakpoint(void **state)
{
    struct rig *rig = *state;
    unsigned asked = 0;
    struct vcpu_debug d = {.planted = is_planted, .context = &asked};
    uint32_t count;
    start(rig, true);
    if (emulated())
        skip();
    rig_load(rig, CODE + INC, "\xcc", 1);
    debug(rig, &d);
    stops(rig, VCPU_STOP_BREAKPOINT, INC);
    stops(rig, VCPU_STOP_BREAKPOINT, INC);
    rig_load(rig, CODE + INC, code + INC, 1);
    assert_int_equal(engine_kvm.run(rig->cpu[0]), VCPU_KICKED); /* past the guest's own */
    assert_int_equal(asked, 3);
    assert_int_equal(memory_read(rig->memory, DATA + 8, &count, sizeof count), 0);
    assert_int_equal(count, 1);
}

static void code_point(void **state)
{
    struct rig *rig = *state;
    struct vcpu_debug d = {.point_count = 1, .points = {{CODE + ADD, 1, VCPU_POINT_CODE}}};
    start(rig, false);
    if (kvm_hardware() && emulated())
        skip();
    debug(rig, &d);
    stops(rig, VCPU_STOP_POINT, ADD);
    assert_int_equal(rig->cpu[0]->stop.point, 0);
    ends(rig);
}

static void watch(void **state)
{
    struct rig *rig = *state;
    struct vcpu_debug d = {.point_count = 2, .points = {{CODE + ADD, 1, VCPU_POINT_CODE}, {DATA, 4, VCPU_POINT_WRITE}}};
    start(rig, false);
    if (emulated())
        skip();
    debug(rig, &d);
    stops(rig, VCPU_STOP_POINT, INC); /* behind the store */
    assert_int_equal(rig->cpu[0]->stop.point, 1);
    stops(rig, VCPU_STOP_POINT, ADD);
    ends(rig);
}

int main(int argc, char **argv)
{
#define KVM_TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)
    const struct CMUnitTest tests[] = {KVM_TEST(steps), KVM_TEST(breakpoint), KVM_TEST(code_point), KVM_TEST(watch)};
    return rig_run(tests, sizeof tests / sizeof *tests, argc, argv);
}
