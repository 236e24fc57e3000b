/* A machine of a few devices around the KVM engine, for guests of a few instructions, which run the same on real
 * hardware, in the lab and under a KVM that emulates the kernel's ring. A guest that hangs is ended by an alarm. */
#ifndef TESTS_UNIT_KVM_RIG_H
#define TESTS_UNIT_KVM_RIG_H

#include "tests/unit/fixture.h"

#include "hv/bus.h"
#include "hv/cpu_state.h"
#include "hv/kvm/kvm_engine.h"
#include "hv/memory.h"
#include "hv/vcpu.h"
#include "node/base/err.h"

enum {
    CPUS = 2,
    CODE = 0x1000,
    DATA = 0x2000,
    PORT_DEVICE = 0x510,
    PORT_DONE = 0xf4, /* ends the run of the vCPU whose number is written */
    PORT_ASK = 0xf5,  /* calls rig.asked() */
    LOG_MAX = 64,
    PATIENCE_S = 60,
    LAPIC_TPR = 0x80,
    LAPIC_SVR = 0xf0,
    LAPIC_LINT0 = 0x350,
    LAPIC_COUNT = 0x390,
};
static const uint64_t rig_registers = 0xd0000000, rig_rom = 0xe0000000; /* a page each; the ROM is full of c3h */

struct access {
    uint64_t offset, value;
    unsigned size;
    bool write;
};

struct rig {
    struct memory *memory; /* 32 MiB */
    struct bus *bus;
    struct vm *vm;
    struct vcpu *cpu[CPUS];
    unsigned cpus;
    struct bus_region device, mmio, done, ask;
    struct access log[LOG_MAX]; /* of port and registers; what is read is 11223344h, 11223345h ... */
    unsigned log_count, reads, done_count;
    void (*asked)(struct rig *rig); /* on the vCPU's thread, bus locked */
};

/* cmocka's: *state is a struct rig, which the test opens and teardown closes. */
int rig_setup(void **state);
int rig_teardown(void **state);
/* cmocka_run_group_tests, or 77 where KVM is not there; argv[1]: only tests of that name. */
int rig_run(const struct CMUnitTest *tests, size_t count, int argc, char **argv);

void rig_check(int rc, const struct err *err);
void rig_open(struct rig *rig, unsigned cpus, enum kvm_dirty dirty);
void rig_load(struct rig *rig, uint64_t gpa, const void *code, size_t bytes);
void rig_get(struct rig *rig, unsigned i, struct cpu_state *cpu);
void rig_set(struct rig *rig, unsigned i, const struct cpu_state *cpu);
/* Sets vCPU 0 and runs it. */
enum vcpu_exit rig_start(struct rig *rig, const struct cpu_state *cpu);

void rig_real_mode(struct cpu_state *cpu, unsigned index); /* at CODE, all segments at 0 */
void rig_flat_mode(struct cpu_state *cpu, unsigned index); /* at CODE, 32 bits, flat, no paging */

#endif
