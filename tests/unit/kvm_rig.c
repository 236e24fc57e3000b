/* See kvm_rig.h. */
#include "tests/unit/kvm_rig.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void note(struct rig *rig, struct access access)
{
    if (rig->log_count < LOG_MAX)
        rig->log[rig->log_count++] = access;
}

static uint64_t device_read(void *device, uint64_t offset, unsigned size)
{
    struct rig *rig = device;
    uint64_t value = 0x11223344 + rig->reads++;
    note(rig, (struct access){offset, value, size, false});
    return value;
}

static void device_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    note(device, (struct access){offset, value, size, true});
}

static void done_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct rig *rig = device;
    (void)offset, (void)size;
    rig->done_count++;
    rig->vm->engine->kick(rig->cpu[value]);
}

static void ask_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct rig *rig = device;
    (void)offset, (void)size, (void)value;
    rig->asked(rig);
}

static const struct bus_ops device_ops = {device_read, device_write}, done_ops = {device_read, done_write},
                            ask_ops = {device_read, ask_write};

void rig_check(int rc, const struct err *err)
{
    if (rc)
        fail_msg("%s", err->text);
}

static void reset(struct rig *rig)
{
    struct err err;
    struct cpu_state cpu;
    for (unsigned i = 0; i < rig->cpus; i++) {
        cpu_state_reset(&cpu, i);
        rig_check(engine_kvm.set(rig->cpu[i], &cpu, &err), &err);
    }
}

void rig_open(struct rig *rig, unsigned cpus, enum kvm_dirty dirty)
{
    struct err err;
    uint8_t fill[4096];
    memset(fill, 0xc3, sizeof fill);
    memset(rig, 0, sizeof *rig);
    rig->cpus = cpus;
    rig->memory = memory_new(32 << 20, &err);
    rig->bus = bus_new(&err);
    assert_true(rig->memory && rig->bus);
    rig_check(memory_add_rom(rig->memory, rig_rom, fill, sizeof fill, &err), &err);
    struct vm_config config = {.memory = rig->memory, .bus = rig->bus, .cpu = "host", .vcpus = cpus};
    rig_check(kvm_engine_open(&config, dirty, &rig->vm, &err), &err);
    for (unsigned i = 0; i < cpus; i++)
        rig_check(engine_kvm.vcpu_new(rig->vm, i, &rig->cpu[i], &err), &err);
    rig->device = (struct bus_region){"device", &device_ops, rig, BUS_PORTS, PORT_DEVICE, 4, false};
    rig->mmio = (struct bus_region){"mmio", &device_ops, rig, BUS_MEMORY, rig_registers, 4096, false};
    rig->done = (struct bus_region){"done", &done_ops, rig, BUS_PORTS, PORT_DONE, 1, false};
    rig->ask = (struct bus_region){"ask", &ask_ops, rig, BUS_PORTS, PORT_ASK, 1, false};
    bus_lock(rig->bus);
    assert_int_equal(bus_add(rig->bus, &rig->device), 0);
    assert_int_equal(bus_add(rig->bus, &rig->mmio), 0);
    assert_int_equal(bus_add(rig->bus, &rig->done), 0);
    assert_int_equal(bus_add(rig->bus, &rig->ask), 0);
    bus_unlock(rig->bus);
    reset(rig);
    engine_kvm.resume(rig->vm);
}

static void close_rig(struct rig *rig)
{
    for (unsigned i = 0; i < rig->cpus; i++)
        engine_kvm.vcpu_free(rig->cpu[i]);
    engine_kvm.close(rig->vm);
    bus_free(rig->bus);
    memory_free(rig->memory);
}

int rig_setup(void **state)
{
    static struct rig rig;
    struct err err;
    *state = &rig;
    alarm(PATIENCE_S);
    return engine_kvm.probe(&err) ? 1 : 0; /* main() has looked: it does not fail here */
}

int rig_teardown(void **state)
{
    close_rig(*state);
    alarm(0);
    return 0;
}

void rig_load(struct rig *rig, uint64_t gpa, const void *code, size_t bytes)
{
    assert_int_equal(memory_write(rig->memory, gpa, code, bytes), 0);
}

void rig_get(struct rig *rig, unsigned i, struct cpu_state *cpu)
{
    struct err err;
    rig_check(engine_kvm.get(rig->cpu[i], cpu, &err), &err);
}

void rig_set(struct rig *rig, unsigned i, const struct cpu_state *cpu)
{
    struct err err;
    rig_check(engine_kvm.set(rig->cpu[i], cpu, &err), &err);
}

/* At CODE, in real mode with all segments at 0. */
void rig_real_mode(struct cpu_state *cpu, unsigned index)
{
    cpu_state_reset(cpu, index);
    cpu->seg[CPU_CS].selector = 0;
    cpu->seg[CPU_CS].base = 0;
    cpu->rip = CODE;
    cpu->gpr[CPU_RSP] = 0x8000;
}

/* At CODE, 32 bits, flat, no paging. */
void rig_flat_mode(struct cpu_state *cpu, unsigned index)
{
    rig_real_mode(cpu, index);
    cpu->cr0 = 0x60000011;
    for (unsigned i = 0; i <= CPU_GS; i++)
        cpu->seg[i] = (struct cpu_segment){.limit = UINT32_MAX, .selector = i == CPU_CS ? 8 : 16};
    for (unsigned i = 0; i <= CPU_GS; i++)
        cpu->seg[i].attributes = (uint16_t)(CPU_SEG_G | CPU_SEG_DB | CPU_SEG_P | CPU_SEG_S | (i == CPU_CS ? 0xb : 3));
}

enum vcpu_exit rig_start(struct rig *rig, const struct cpu_state *cpu)
{
    rig_set(rig, 0, cpu);
    return engine_kvm.run(rig->cpu[0]);
}

int rig_run(const struct CMUnitTest *tests, size_t count, int argc, char **argv)
{
    struct err err;
    if (engine_kvm.probe(&err)) {
        printf("skipped: %s\n", err.text);
        return 77;
    }
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return _cmocka_run_group_tests("kvm", tests, count, NULL, NULL);
}
