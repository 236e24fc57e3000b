/* The KVM engine runs, reaches devices and is reached by them, and can be stopped at any moment. */
#include "tests/unit/kvm_rig.h"

#include <asm/kvm_para.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hv/chips_state.h"
#include "hv/irq.h"

enum {
    OTHER = 0x3000, /* where vCPU 1 starts: SIPI vector 3 */
    PORT_BELL = 0x600,
    NAGS = 3000,
};
static const uint64_t apic_base_x2 = 0xfee00c00;

/* ---- devices ---- */

static void ports(void **state)
{
    struct rig *rig = *state;
    static const uint8_t code[] = {
        0xba, 0x10, 0x05,       /* mov dx, 510h */
        0xb0, 0x5a, 0xee,       /* mov al, 5ah; out dx, al */
        0xed, 0xa3, 0x00, 0x20, /* in ax, dx; mov [2000h], ax */
        0x66, 0xef,             /* out dx, eax */
        0xfc, 0xbe, 0x80, 0x10, /* cld; mov si, 1080h */
        0xb9, 0x04, 0x00,       /* mov cx, 4 */
        0xf3, 0x6e,             /* rep outsb */
        0xbf, 0x10, 0x20,       /* mov di, 2010h */
        0xb9, 0x03, 0x00,       /* mov cx, 3 */
        0xf3, 0x6d,             /* rep insw */
        0x30, 0xc0, 0xe6, 0xf4, /* xor al, al; out f4h, al */
        0xeb, 0xfe,             /* jmp $ */
    };
    struct cpu_state cpu;
    rig_open(rig, 1, KVM_DIRTY_BEST);
    rig_load(rig, CODE, code, sizeof code);
    rig_load(rig, CODE + 0x80, "abcd", 4);
    rig_real_mode(&cpu, 0);
    assert_int_equal(rig_start(rig, &cpu), VCPU_KICKED);
    assert_int_equal(rig->done_count, 1);
    assert_int_equal(rig->log_count, 1 + 1 + 1 + 4 + 3);
    assert_int_equal(rig->log[0].value, 0x5a);
    assert_int_equal(rig->log[0].size, 1);
    assert_int_equal(rig->log[1].size, 2);
    assert_int_equal(rig->log[2].size, 4);
    assert_int_equal(rig->log[2].value & 0xffff, 0x3344);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(rig->log[3 + i].value, "abcd"[i]);
    uint16_t words[4];
    assert_int_equal(memory_read(rig->memory, DATA, words, 2), 0);
    assert_int_equal(words[0], 0x3344);
    assert_int_equal(memory_read(rig->memory, DATA + 0x10, words, 6), 0);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(words[i], 0x3345 + i);
    rig_get(rig, 0, &cpu);
    assert_int_equal(cpu.rip, CODE + sizeof code - 2); /* OUT is done, not about to be done again */
}

static void mmio_and_rom(void **state)
{
    struct rig *rig = *state;
    static const uint8_t code[] = {
        0xa1, 0x00, 0x00, 0x00, 0xd0,                      /* mov eax, [d0000000h] */
        0xa3, 0x08, 0x00, 0x00, 0xd0,                      /* mov [d0000008h], eax */
        0x66, 0xa3, 0x11, 0x00, 0x00, 0xd0,                /* mov [d0000011h], ax */
        0xc6, 0x05, 0xff, 0x0f, 0x00, 0xd0, 0x77,          /* mov byte [d0000fffh], 77h */
        0xa1, 0x00, 0x00, 0x00, 0xe0,                      /* mov eax, [e0000000h]: ROM */
        0xa3, 0x00, 0x20, 0x00, 0x00,                      /* mov [2000h], eax */
        0xa3, 0x04, 0x00, 0x00, 0xe0,                      /* mov [e0000004h], eax: goes nowhere */
        0xc7, 0x05, 0x04, 0x00, 0x00, 0xe0, 0,    0, 0, 0, /* mov dword [e0000004h], 0 */
        0x30, 0xc0, 0xe6, 0xf4, 0xeb, 0xfe,
    };
    struct cpu_state cpu;
    uint32_t value;
    rig_open(rig, 1, KVM_DIRTY_BEST);
    rig_load(rig, CODE, code, sizeof code);
    rig_flat_mode(&cpu, 0);
    assert_int_equal(rig_start(rig, &cpu), VCPU_KICKED);
    assert_int_equal(rig->log_count, 4);
    assert_int_equal(rig->log[0].size, 4);
    assert_int_equal(rig->log[1].offset, 8);
    assert_int_equal(rig->log[1].value, 0x11223344);
    assert_int_equal(rig->log[2].offset, 0x11);
    assert_int_equal(rig->log[2].value, 0x3344);
    assert_int_equal(rig->log[3].offset, 0xfff);
    assert_int_equal(rig->log[3].value, 0x77);
    assert_int_equal(memory_read(rig->memory, DATA, &value, 4), 0);
    assert_int_equal(value, 0xc3c3c3c3);
    assert_int_equal(memory_read(rig->memory, rig_rom + 4, &value, 4), 0);
    assert_int_equal(value, 0xc3c3c3c3);
}

static void doorbells(void **state)
{
    struct rig *rig = *state;
    static const uint8_t code[] = {
        0xba, 0x00, 0x06, 0x00, 0x00,       /* mov edx, 600h */
        0xb9, 0x64, 0x00, 0x00, 0x00,       /* mov ecx, 100 */
        0x66, 0xef,                         /* out dx, ax */
        0xa3, 0x20, 0x00, 0x00, 0xd0,       /* mov [d0000020h], eax: any size */
        0x66, 0xa3, 0x30, 0x00, 0x00, 0xd0, /* mov [d0000030h], ax: not the size of the bell */
        0x49, 0x75, 0xf0,                   /* dec ecx; jnz */
        0x30, 0xc0, 0xe6, 0xf4, 0xeb, 0xfe,
    };
    struct cpu_state cpu;
    rig_open(rig, 1, KVM_DIRTY_BEST);
    struct bus_doorbell port = {BUS_PORTS, PORT_BELL, 2, eventfd(0, EFD_NONBLOCK), false};
    struct bus_doorbell any = {BUS_MEMORY, rig_registers + 0x20, 0, eventfd(0, EFD_NONBLOCK), false};
    struct bus_doorbell four = {BUS_MEMORY, rig_registers + 0x30, 4, eventfd(0, EFD_NONBLOCK), false};
    struct bus_doorbell *bells[] = {&port, &any, &four};
    bus_lock(rig->bus);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(bus_doorbell_add(rig->bus, bells[i]), 0);
    bus_unlock(rig->bus);
    rig_load(rig, CODE, code, sizeof code);
    rig_flat_mode(&cpu, 0);
    assert_int_equal(rig_start(rig, &cpu), VCPU_KICKED);
    uint64_t count = 0;
    struct vm_stats stats;
    assert_int_equal(read(port.fd, &count, sizeof count), 8);
    assert_int_equal(count, 100);
    assert_int_equal(read(any.fd, &count, sizeof count), 8);
    assert_int_equal(count, 100);
    assert_int_equal(read(four.fd, &count, sizeof count), -1);
    assert_int_equal(rig->log_count, LOG_MAX); /* 100 that were not for the bell */
    engine_kvm.stats(rig->vm, &stats);
    assert_true(stats.exits >= 100 && stats.exits < 200); /* and nothing of the 200 that were */
    bus_lock(rig->bus);
    for (unsigned i = 0; i < 3; i++)
        bus_doorbell_remove(rig->bus, bells[i]);
    bus_unlock(rig->bus);
    rig->log_count = 0;
    assert_int_equal(rig_start(rig, &cpu), VCPU_KICKED);
    assert_int_equal(read(port.fd, &count, sizeof count), -1);
    for (unsigned i = 0; i < 3; i++)
        close(bells[i]->fd);
}

/* ---- interrupts ---- */

/* Halts; every interrupt stores its number (the byte at [2000h] counts), ends it at PIC and LAPIC, and asks. */
static const uint8_t halting[] = {
    0xfb, 0xf4, 0xeb, 0xfc, /* sti; hlt; jmp */
};
static const uint8_t serving[] = {
    0xfe, 0x06, 0x00, 0x20,             /* inc byte [2000h] */
    0xb0, 0x20, 0xe6, 0x20,             /* mov al, 20h; out 20h, al */
    0x66, 0xb9, 0x0b, 0x08, 0x00, 0x00, /* mov ecx, 80bh */
    0x66, 0x31, 0xc0, 0x66, 0x31, 0xd2, /* xor eax, eax; xor edx, edx */
    0x0f, 0x30,                         /* wrmsr: end of interrupt */
    0x30, 0xc0, 0xe6, 0xf5, 0xcf,       /* xor al, al; out f5h, al; iret */
};
enum { SERVE = 0x1100, VECTOR_PIC = 0x20, VECTOR_IOAPIC = 0x32, VECTOR_MSI = 0x41 };

static void interruptible(struct rig *rig, struct cpu_state *cpu)
{
    static const uint8_t vectors[] = {VECTOR_PIC, VECTOR_IOAPIC, VECTOR_MSI};
    const uint32_t serve = SERVE, lint0 = 0x700, svr = 0x1ff, id = 0;
    rig_load(rig, CODE, halting, sizeof halting);
    rig_load(rig, SERVE, serving, sizeof serving);
    for (unsigned i = 0; i < sizeof vectors; i++)
        rig_load(rig, vectors[i] * 4u, &serve, 4);
    rig_real_mode(cpu, 0);
    cpu->apic_base = apic_base_x2 | 0x100;
    memcpy(cpu->lapic + 0x20, &id, 4);
    memcpy(cpu->lapic + LAPIC_LINT0, &lint0, 4);
    memcpy(cpu->lapic + LAPIC_SVR, &svr, 4);
    struct chips_state chips;
    struct err err;
    chips_state_reset(&chips);
    chips.pic[0].vector_base = VECTOR_PIC;
    chips.pic[0].imr = 0xfe;
    chips.pic[1].imr = 0xff;
    for (unsigned i = 0; i < IRQ_GSI_COUNT; i++)
        chips.ioapic.redirection[i] = 0x10000;
    chips.ioapic.redirection[17] = 0x8000 | VECTOR_IOAPIC; /* level-triggered */
    rig_check(engine_kvm.chips_set(rig->vm, &chips, &err), &err);
}

static void ends(struct rig *rig)
{
    irq_set(rig->vm->irq, 17, false);
    engine_kvm.kick(rig->cpu[0]);
}

struct ringer {
    struct rig *rig;
    int what;
};

/* From another thread, so that it finds the vCPU halted, or about to be. */
static void *ringing(void *arg)
{
    struct ringer *r = arg;
    if (r->what == VECTOR_PIC)
        irq_pulse(r->rig->vm->irq, 0);
    else if (r->what == VECTOR_IOAPIC)
        irq_set(r->rig->vm->irq, 17, true);
    else
        irq_msi(r->rig->vm->irq, 0xfee00000, VECTOR_MSI);
    return NULL;
}

static void interrupts(void **state)
{
    struct rig *rig = *state;
    struct cpu_state cpu;
    uint8_t count;
    rig_open(rig, 1, KVM_DIRTY_BEST);
    rig->asked = ends;
    interruptible(rig, &cpu);
    rig_set(rig, 0, &cpu);
    const int what[] = {VECTOR_PIC, VECTOR_IOAPIC, VECTOR_MSI, VECTOR_IOAPIC, VECTOR_PIC};
    for (unsigned i = 0; i < sizeof what / sizeof *what; i++) {
        pthread_t thread;
        struct ringer ringer = {rig, what[i]};
        assert_int_equal(pthread_create(&thread, NULL, ringing, &ringer), 0);
        assert_int_equal(engine_kvm.run(rig->cpu[0]), VCPU_KICKED);
        pthread_join(thread, NULL);
        assert_int_equal(memory_read(rig->memory, DATA, &count, 1), 0);
        assert_int_equal(count, i + 1);
    }
}

/* A line that is up, and an edge that was served, must come out of save and load as they went in. */
static void chips_round_trip(void **state)
{
    struct rig *rig = *state;
    struct chips_state one, two;
    struct cpu_state cpu;
    struct err err;
    rig_open(rig, 1, KVM_DIRTY_BEST);
    interruptible(rig, &cpu);
    irq_set(rig->vm->irq, 0, true);
    irq_set(rig->vm->irq, 11, true);
    irq_set(rig->vm->irq, 20, true);
    irq_set(rig->vm->irq, 2, true); /* the cascade: nothing */
    memset(&one, 0x5a, sizeof one);
    memset(&two, 0x5a, sizeof two);
    rig_check(engine_kvm.chips_get(rig->vm, &one, &err), &err);
    assert_int_equal(one.ioapic.levels, 1u << 2 | 1u << 11 | 1u << 20); /* by pin */
    assert_int_equal(one.ioapic.redirection[17], 0x8000 | VECTOR_IOAPIC);
    assert_int_equal(one.pic[0].vector_base, VECTOR_PIC);
    assert_int_equal(one.pic[0].irr & 1, 1);
    assert_int_equal(one.pic[1].irr, 8);
    one.ioapic.id = 5u << 24;
    one.pic[0].elcr = 0x20;
    one.pic[1].elcr = 0x0c;
    rig_check(engine_kvm.chips_set(rig->vm, &one, &err), &err);
    rig_check(engine_kvm.chips_get(rig->vm, &two, &err), &err);
    assert_memory_equal(&one, &two, sizeof one);
    irq_set(rig->vm->irq, 11, false);
    rig_check(engine_kvm.chips_get(rig->vm, &two, &err), &err);
    assert_int_equal(two.ioapic.levels, 1u << 2 | 1u << 20);
}

static void *run_other(void *arg)
{
    struct rig *rig = arg;
    return (void *)(intptr_t)engine_kvm.run(rig->cpu[1]);
}

static void starts_the_others(void **state)
{
    struct rig *rig = *state;
    static const uint8_t code[] = {
        0x66, 0xb9, 0x30, 0x08, 0x00, 0x00,       /* mov ecx, 830h: ICR */
        0x66, 0xba, 0x01, 0x00, 0x00, 0x00,       /* mov edx, 1 */
        0x66, 0xb8, 0x00, 0x45, 0x00, 0x00,       /* mov eax, 4500h: INIT */
        0x0f, 0x30,                               /* wrmsr */
        0x66, 0xb8, 0x03, 0x46, 0x00, 0x00,       /* mov eax, 4603h: SIPI to 3000h */
        0x0f, 0x30, 0x80, 0x3e, 0x00, 0x20, 0x77, /* cmp byte [2000h], 77h */
        0x75, 0xf9,                               /* jne */
        0x30, 0xc0, 0xe6, 0xf4, 0xeb, 0xfe,
    };
    static const uint8_t other[] = {
        0x31, 0xc0, 0x8e, 0xd8,                         /* xor ax, ax; mov ds, ax */
        0xc6, 0x06, 0x00, 0x20, 0x77,                   /* mov byte [2000h], 77h */
        0xb0, 0x01, 0xe6, 0xf4, 0xfa, 0xf4, 0xeb, 0xfd, /* mov al, 1; out f4h, al; cli; hlt; jmp */
    };
    struct cpu_state cpu;
    void *exit;
    pthread_t thread;
    rig_open(rig, 2, KVM_DIRTY_BEST);
    rig_load(rig, CODE, code, sizeof code);
    rig_load(rig, OTHER, other, sizeof other);
    const uint32_t svr = 0x1ff, ids[] = {0, 1};
    for (unsigned i = 0; i < 2; i++) {
        rig_real_mode(&cpu, i);
        cpu.apic_base = apic_base_x2 | (i ? 0 : 0x100);
        memcpy(cpu.lapic + 0x20, &ids[i], 4);
        memcpy(cpu.lapic + LAPIC_SVR, &svr, 4);
        rig_set(rig, i, &cpu);
    }
    rig_get(rig, 1, &cpu);
    assert_int_equal(cpu.activity, CPU_UNINITIALIZED);
    assert_int_equal(pthread_create(&thread, NULL, run_other, rig), 0);
    assert_int_equal(engine_kvm.run(rig->cpu[0]), VCPU_KICKED);
    pthread_join(thread, &exit);
    assert_int_equal((intptr_t)exit, VCPU_KICKED);
    assert_int_equal(rig->done_count, 2);
    rig_get(rig, 1, &cpu);
    assert_int_equal(cpu.activity, CPU_RUNNING);
    assert_int_equal(cpu.seg[CPU_CS].base, OTHER);
}

/* ---- kicks ---- */

static void *kick_soon(void *arg)
{
    struct rig *rig = arg;
    engine_kvm.kick(rig->cpu[0]);
    return NULL;
}

static void kicks(void **state)
{
    struct rig *rig = *state;
    static const uint8_t spin[] = {0xeb, 0xfe}, halt[] = {0xfa, 0xf4, 0xeb, 0xfc};
    struct cpu_state cpu;
    pthread_t thread;
    rig_open(rig, 1, KVM_DIRTY_BEST);
    rig_load(rig, CODE, spin, sizeof spin);
    rig_real_mode(&cpu, 0);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(pthread_create(&thread, NULL, kick_soon, rig), 0);
        assert_int_equal(rig_start(rig, &cpu), VCPU_KICKED);
        pthread_join(thread, NULL);
        if (i == 10)
            rig_load(rig, CODE, halt, sizeof halt);
    }
    rig_real_mode(&cpu, 0);
    rig_load(rig, CODE, "\x90\x90\xeb\xfe", 4);
    rig_set(rig, 0, &cpu);
    engine_kvm.kick(rig->cpu[0]);
    engine_kvm.kick(rig->cpu[0]);
    assert_int_equal(engine_kvm.run(rig->cpu[0]), VCPU_KICKED); /* at once: nothing was executed */
    rig_get(rig, 0, &cpu);
    assert_int_equal(cpu.rip, CODE);
}

static void *nagging(void *arg)
{
    struct rig *rig = arg;
    for (unsigned i = 0; i < NAGS; i++) {
        engine_kvm.kick(rig->cpu[0]);
        sched_yield();
    }
    return NULL;
}

/* Interrupted, saved and loaded at moments nobody chose: every value read from the port counts once. */
static void no_moment_is_bad(void **state)
{
    struct rig *rig = *state;
    static const uint8_t code[] = {
        0xba, 0x10, 0x05,                   /* mov dx, 510h */
        0xb9, 0xf4, 0x01,                   /* mov cx, 500 */
        0x66, 0xed,                         /* in eax, dx */
        0x66, 0x01, 0x06, 0x00, 0x20,       /* add [2000h], eax */
        0xe2, 0xf7,                         /* loop */
        0x30, 0xc0, 0xe6, 0xf4, 0xeb, 0xfe, /* done */
    };
    struct cpu_state cpu;
    pthread_t thread;
    uint32_t sum = 0, expected = 0;
    rig_open(rig, 1, KVM_DIRTY_BEST);
    rig_load(rig, CODE, code, sizeof code);
    rig_real_mode(&cpu, 0);
    rig_set(rig, 0, &cpu);
    assert_int_equal(pthread_create(&thread, NULL, nagging, rig), 0);
    while (!rig->done_count) {
        assert_int_equal(engine_kvm.run(rig->cpu[0]), VCPU_KICKED);
        engine_kvm.pause(rig->vm);
        rig_get(rig, 0, &cpu);
        rig_set(rig, 0, &cpu);
        engine_kvm.resume(rig->vm);
    }
    pthread_join(thread, NULL);
    for (unsigned i = 0; i < 500; i++)
        expected += 0x11223344 + i;
    assert_int_equal(rig->reads, 500);
    assert_int_equal(memory_read(rig->memory, DATA, &sum, 4), 0);
    assert_int_equal(sum, expected);
}

static void triple_fault(void **state)
{
    struct rig *rig = *state;
    struct cpu_state cpu;
    rig_open(rig, 1, KVM_DIRTY_BEST);
    rig_load(rig, CODE, "\x0f\x0b", 2);
    rig_flat_mode(&cpu, 0);
    cpu.idt.limit = 0;
    assert_int_equal(rig_start(rig, &cpu), VCPU_SHUTDOWN);
    rig_load(rig, CODE, "\x30\xc0\xe6\xf4\xeb\xfe", 6);
    rig_real_mode(&cpu, 0);
    assert_int_equal(rig_start(rig, &cpu), VCPU_KICKED);
    assert_int_equal(rig->done_count, 1);
}

static void early_state_is_refused(void **state)
{
    struct rig *rig = *state;
    struct err err;
    struct cpu_state cpu;
    struct vcpu *vcpu;
    rig_open(rig, 1, KVM_DIRTY_BEST);
    struct vm *vm;
    struct vm_config config = {.memory = rig->memory, .bus = rig->bus, .cpu = "host", .vcpus = 2};
    rig_check(engine_kvm.open(&config, &vm, &err), &err);
    rig_check(engine_kvm.vcpu_new(vm, 0, &vcpu, &err), &err);
    cpu_state_reset(&cpu, 0);
    assert_int_equal(engine_kvm.set(vcpu, &cpu, &err), -EBUSY);
    engine_kvm.vcpu_free(vcpu);
    engine_kvm.close(vm);
    config.cpu = "i486";
    assert_int_equal(engine_kvm.open(&config, &vm, &err), -EINVAL);
}

/* Without that bit a guest does not look for the leaves of KVM. */
static void says_that_it_is_there(void **state)
{
    struct rig *rig = *state;
    uint32_t out[4];
    rig_open(rig, 1, KVM_DIRTY_BEST);
    cpu_model_query(&rig->vm->model, 0, 1, 0, out);
    assert_true(out[2] >> 31);
    cpu_model_query(&rig->vm->model, 0, 0x40000000, 0, out);
    assert_memory_equal(out + 1, "KVMKVMKVM", 9);
    cpu_model_query(&rig->vm->model, 0, 0x40000001, 0, out);
    assert_true(out[0] >> KVM_FEATURE_CLOCKSOURCE2 & 1);
}

int main(int argc, char **argv)
{
#define KVM_TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)
    const struct CMUnitTest tests[] = {
        KVM_TEST(ports),
        KVM_TEST(mmio_and_rom),
        KVM_TEST(doorbells),
        KVM_TEST(interrupts),
        KVM_TEST(chips_round_trip),
        KVM_TEST(starts_the_others),
        KVM_TEST(kicks),
        KVM_TEST(no_moment_is_bad),
        KVM_TEST(triple_fault),
        KVM_TEST(early_state_is_refused),
        KVM_TEST(says_that_it_is_there),
    };
    return rig_run(tests, sizeof tests / sizeof *tests, argc, argv);
}
