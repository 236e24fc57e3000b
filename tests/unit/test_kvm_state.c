/* What the KVM engine knows of a guest: which pages it wrote, the registers of its vCPUs, the time. */
#include "tests/unit/kvm_rig.h"

#include <stdlib.h>
#include <string.h>

enum {
    PAGES_MANY = 5000, /* more than a ring has */
    PAGES_FEW = 1000,
};
static const uint64_t many = 4 << 20;

/* ---- the dirty log ---- */

static void take(struct rig *rig, uint64_t *bitmap)
{
    engine_kvm.log_sync(rig->vm);
    memory_log_take(rig->memory, 0, bitmap);
}

/* Every page that differs has its bit, and no other: but for the code's, which the kernel may map writable, and so
 * count as written, when it is first executed. */
static void exact(struct rig *rig, uint8_t *before, const uint64_t *bitmap)
{
    const struct memory_slot *slot = memory_slot(rig->memory, 0);
    for (uint64_t page = 0; page < slot->bytes / 4096; page++) {
        bool differs = memcmp(before + page * 4096, slot->host + page * 4096, 4096);
        bool marked = bitmap[page / 64] >> page % 64 & 1;
        if (differs != marked && !(marked && page == CODE / 4096))
            fail_msg("page %#llx: %s, %s", (unsigned long long)page, differs ? "differs" : "the same",
                     marked ? "marked" : "not marked");
    }
    memcpy(before, slot->host, slot->bytes);
}

static void log_is_exact(struct rig *rig, enum kvm_dirty dirty)
{
    static const uint8_t code[] = {
        0xbe, 0x00, 0x18, 0x00, 0x00,             /* mov esi, 1800h: table of addresses */
        0xad, 0x85, 0xc0,                         /* lodsd; test eax, eax */
        0x74, 0x06,                               /* jz */
        0xfe, 0x00,                               /* inc byte [eax] */
        0xeb, 0xf7,                               /* jmp */
        0x90, 0x90, 0xbf, 0x00, 0x00, 0x40, 0x00, /* nop; nop; mov edi, 400000h */
        0xe3, 0x0a,                               /* jecxz */
        0xff, 0x07,                               /* inc dword [edi] */
        0x81, 0xc7, 0x00, 0x10, 0x00, 0x00,       /* add edi, 4096 */
        0xe2, 0xf6,                               /* loop */
        0x30, 0xc0, 0xe6, 0xf4, 0xeb, 0xfe,
    };
    uint32_t table[40] = {0};
    /* a KVM without hardware lets rings run over */
    unsigned pages = dirty == KVM_DIRTY_BITMAP || kvm_hardware() ? PAGES_MANY : PAGES_FEW;
    struct cpu_state cpu;
    struct err err;
    rig_open(rig, 1, dirty);
    const struct memory_slot *slot = memory_slot(rig->memory, 0);
    uint8_t *before = malloc(slot->bytes);
    uint64_t *bitmap = calloc(slot->bytes / 4096 / 64 + 1, 8);
    assert_true(before && bitmap);
    srandom(7);
    rig_load(rig, CODE, code, sizeof code);
    rig_flat_mode(&cpu, 0);
    for (unsigned round = 0; round < 6; round++) {
        for (unsigned i = 0; i + 1 < sizeof table / sizeof *table; i++)
            table[i] = (uint32_t)(0x10000 + random() % (slot->bytes - 0x10000));
        rig_load(rig, 0x1800, table, sizeof table);
        memcpy(before, slot->host, slot->bytes);
        if (round % 3 == 0)
            rig_check(engine_kvm.log_start(rig->vm, &err), &err);
        else
            take(rig, bitmap); /* the table's own page */
        memcpy(before, slot->host, slot->bytes);
        cpu.gpr[CPU_RCX] = round == 1 ? pages : 0;
        assert_int_equal(rig_start(rig, &cpu), VCPU_KICKED);
        take(rig, bitmap);
        exact(rig, before, bitmap);
        take(rig, bitmap);
        exact(rig, before, bitmap); /* nothing twice */
        uint32_t one = 1;
        assert_int_equal(memory_write(rig->memory, many + 0x7000 + round * 0x1000, &one, 4), 0);
        take(rig, bitmap);
        assert_true(bitmap[(many >> 12) / 64] >> (7 + round) & 1); /* what is not a vCPU's */
        if (round == 2)
            engine_kvm.log_stop(rig->vm);
    }
    free(before);
    free(bitmap);
}

static void ring_is_exact(void **state)
{
    log_is_exact(*state, KVM_DIRTY_RING);
}

static void bitmap_is_exact(void **state)
{
    log_is_exact(*state, KVM_DIRTY_BITMAP);
}

/* ---- state and time ---- */

/* A long-mode kernel's registers, none of them zero where it may be something else. */
static void rich_state(struct cpu_state *cpu)
{
    rig_flat_mode(cpu, 0);
    for (unsigned i = 0; i < CPU_GPR_COUNT; i++)
        cpu->gpr[i] = 0x0101010101010101ull * (i + 1);
    cpu->rip = 0xffffffff81000000;
    cpu->rflags = 0x246;
    cpu->cr0 = 0x80050033;
    cpu->cr2 = 0x7fff12345678;
    cpu->cr3 = 0x5000;
    cpu->cr4 = 0x6f0 & ~0x40ull;
    cpu->cr8 = 3;
    cpu->efer = 0xd01;
    cpu->seg[CPU_CS].attributes = CPU_SEG_G | CPU_SEG_L | CPU_SEG_P | CPU_SEG_S | 0xb;
    cpu->seg[CPU_FS].base = 0x7f0000001000;
    cpu->seg[CPU_GS].base = 0xffff888000000000;
    cpu->seg[CPU_TR] = (struct cpu_segment){.base = 0xfffffe0000003000, .limit = 0x206f, .selector = 0x40};
    cpu->seg[CPU_TR].attributes = CPU_SEG_P | 0xb;
    cpu->seg[CPU_LDTR] = (struct cpu_segment){.limit = 0xffff, .attributes = CPU_SEG_P | 2};
    cpu->gdt = (struct cpu_table){0xfffffe0000001000, 0x7f};
    cpu->idt = (struct cpu_table){0xfffffe0000000000, 0xfff};
    cpu->dr[0] = 0xffffffff81234567;
    cpu->dr7 = 0x401;
    cpu->msr[CPU_MSR_TSC] = 123456789012345;
    cpu->msr[CPU_MSR_STAR] = 0x0023001000000000;
    cpu->msr[CPU_MSR_LSTAR] = 0xffffffff81800000;
    cpu->msr[CPU_MSR_SFMASK] = 0x47700;
    cpu->msr[CPU_MSR_KERNEL_GS_BASE] = 0x7f0000002000;
    cpu->msr[CPU_MSR_SYSENTER_CS] = 0x10;
    cpu->msr[CPU_MSR_SYSENTER_EIP] = 0x81801000; /* an AMD processor keeps 32 bits */
    cpu->kvmclock_ns = 987654321098;
    cpu->xcr0 = 1;
    for (unsigned i = 0; i < 128; i++) /* ST0 to ST7 keep 10 bytes of 16 */
        cpu->xsave[32 + i] = i % 16 < 10 ? (uint8_t)(i * 7 + 1) : 0;
    for (unsigned i = 0; i < 256; i++)
        cpu->xsave[160 + i] = (uint8_t)(i * 13 + 5);
    const uint32_t mxcsr = 0x1fa0, svr = 0x1ff, tpr = 0x30;
    const uint16_t fcw = 0x27f;
    memcpy(cpu->xsave, &fcw, 2);
    memcpy(cpu->xsave + 24, &mxcsr, 4);
    memcpy(cpu->lapic + LAPIC_SVR, &svr, 4);
    memcpy(cpu->lapic + LAPIC_TPR, &tpr, 4);
    cpu->nmi_pending = true;
    cpu->nmi_masked = true;
    cpu->interrupt_pending = true;
    cpu->interrupt_vector = 0x55;
}

static void same(const struct cpu_state *one, const struct cpu_state *two)
{
    for (unsigned i = 0; i < CPU_GPR_COUNT; i++)
        assert_int_equal(one->gpr[i], two->gpr[i]);
    for (unsigned i = 0; i < CPU_SEG_COUNT; i++) {
        assert_int_equal(one->seg[i].base, two->seg[i].base);
        assert_int_equal(one->seg[i].limit, two->seg[i].limit);
        assert_int_equal(one->seg[i].selector, two->seg[i].selector);
        if (one->seg[i].attributes != two->seg[i].attributes)
            fail_msg("segment %u: %#x and %#x", i, one->seg[i].attributes, two->seg[i].attributes);
    }
    for (unsigned i = 0; i < CPU_MSR_COUNT; i++)
        if (one->msr[i] != two->msr[i])
            fail_msg("%s: %#llx and %#llx", cpu_msr_name((enum cpu_msr)i), (unsigned long long)one->msr[i],
                     (unsigned long long)two->msr[i]);
    assert_memory_equal(one->dr, two->dr, sizeof one->dr);
    const uint64_t a[] = {one->rip, one->rflags,    one->cr0,          one->cr2,        one->cr3,
                          one->cr4, one->cr8,       one->efer,         one->xcr0,       one->dr6,
                          one->dr7, one->apic_base, one->tsc_deadline, one->kvmclock_ns};
    const uint64_t b[] = {two->rip, two->rflags,    two->cr0,          two->cr2,        two->cr3,
                          two->cr4, two->cr8,       two->efer,         two->xcr0,       two->dr6,
                          two->dr7, two->apic_base, two->tsc_deadline, two->kvmclock_ns};
    for (unsigned i = 0; i < sizeof a / sizeof *a; i++)
        if (a[i] != b[i])
            fail_msg("register %u: %#llx and %#llx", i, (unsigned long long)a[i], (unsigned long long)b[i]);
    assert_memory_equal(one->xsave, two->xsave, CPU_XSAVE_HEADER);
    assert_memory_equal(one->xsave + CPU_XSAVE_YMM, two->xsave + CPU_XSAVE_YMM, CPU_XSAVE_BYTES - CPU_XSAVE_YMM);
    assert_int_equal(one->activity, two->activity);
    assert_int_equal(one->interrupt_shadow, two->interrupt_shadow);
    assert_int_equal(one->nmi_pending, two->nmi_pending);
    assert_int_equal(one->nmi_masked, two->nmi_masked);
    assert_int_equal(one->exception_pending, two->exception_pending);
    assert_int_equal(one->exception_vector, two->exception_vector);
    assert_int_equal(one->exception_code, two->exception_code);
    assert_int_equal(one->interrupt_pending, two->interrupt_pending);
    assert_int_equal(one->interrupt_vector, two->interrupt_vector);
    for (unsigned at = 0x20; at < 0x3f0; at += 16)
        if (at != 0x30 && at != 0xa0 && at != LAPIC_COUNT && memcmp(one->lapic + at, two->lapic + at, 4))
            fail_msg("LAPIC register %#x differs", at);
}

static void state_is_whole(void **state)
{
    struct rig *rig = *state;
    struct cpu_state one, two, three;
    rig_open(rig, 1, KVM_DIRTY_BEST);
    engine_kvm.pause(rig->vm);
    cpu_state_reset(&one, 0);
    rig_set(rig, 0, &one);
    rig_get(rig, 0, &two);
    same(&one, &two);
    rich_state(&one);
    rig_set(rig, 0, &one);
    rig_get(rig, 0, &two);
    same(&one, &two);
    one.interrupt_pending = one.nmi_pending = one.nmi_masked = false;
    one.interrupt_vector = 0;
    one.exception_pending = one.exception_has_code = true;
    one.exception_vector = 14;
    one.exception_code = 3;
    rig_set(rig, 0, &one);
    rig_get(rig, 0, &two);
    same(&one, &two);
    memset(&three, 0x5a, sizeof three);
    rig_set(rig, 0, &two);
    rig_get(rig, 0, &three);
    assert_memory_equal(&two.gpr, &three.gpr, sizeof two.gpr);
    assert_memory_equal(&two.xsave, &three.xsave, sizeof two.xsave);
    same(&two, &three);
    one.activity = CPU_HALTED;
    one.exception_pending = false;
    one.exception_vector = 0;
    one.exception_code = 0;
    rig_set(rig, 0, &one);
    rig_get(rig, 0, &two);
    same(&one, &two);
}

static void time_stands_still(void **state)
{
    struct rig *rig = *state;
    static const uint8_t code[] = {
        0x0f, 0x31, 0x66, 0xa3, 0x00, 0x20, /* rdtsc; mov [2000h], eax */
        0x66, 0x89, 0x16, 0x04, 0x20,       /* mov [2004h], edx */
        0x30, 0xc0, 0xe6, 0xf4, 0xeb, 0xef, /* ...; jmp back */
    };
    struct cpu_state cpu, again;
    uint64_t seen, before;
    rig_open(rig, 1, KVM_DIRTY_BEST);
    rig_load(rig, CODE, code, sizeof code);
    rig_real_mode(&cpu, 0);
    cpu.msr[CPU_MSR_TSC] = 5000000000000;
    cpu.kvmclock_ns = 7000000000000;
    engine_kvm.pause(rig->vm);
    rig_set(rig, 0, &cpu);
    engine_kvm.resume(rig->vm);
    for (unsigned i = 0; i < 3; i++) {
        before = cpu.msr[CPU_MSR_TSC];
        assert_int_equal(engine_kvm.run(rig->cpu[0]), VCPU_KICKED);
        engine_kvm.pause(rig->vm);
        rig_get(rig, 0, &cpu);
        rig_get(rig, 0, &again);
        assert_int_equal(cpu.msr[CPU_MSR_TSC], again.msr[CPU_MSR_TSC]);
        assert_int_equal(cpu.kvmclock_ns, again.kvmclock_ns);
        assert_true(cpu.kvmclock_ns > 7000000000000);
        assert_int_equal(memory_read(rig->memory, DATA, &seen, 8), 0);
        assert_true(seen > before && seen < cpu.msr[CPU_MSR_TSC]);
        engine_kvm.resume(rig->vm);
    }
}

int main(int argc, char **argv)
{
#define KVM_TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)
    const struct CMUnitTest tests[] = {
        KVM_TEST(ring_is_exact),
        KVM_TEST(bitmap_is_exact),
        KVM_TEST(state_is_whole),
        KVM_TEST(time_stands_still),
    };
    return rig_run(tests, sizeof tests / sizeof *tests, argc, argv);
}
