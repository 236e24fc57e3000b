/* A debugger that says anything, to a target that does everything at once: what it goes on with stops by itself, and
 * what it answers is a packet. */
#include <stdlib.h>
#include <string.h>

#include "hv/cpu_state.h"
#include "hv/gdb_session.h"
#include "hv/memory.h"
#include "hv/vcpu.h"
#include "node/base/container.h"

enum { VCPUS = 3, MEMORY_BYTES = 2 << 20, TABLES = 0x10000 };

/* libFuzzer's entry point. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fake {
    struct gdb_target target;
    struct gdb_session *session;
    struct cpu_state cpus[VCPUS];
    struct vcpu_debug debugs[VCPUS];
    bool running;
};

static struct fake *of(struct gdb_target *target)
{
    return CONTAINER_OF(target, struct fake, target);
}

static void must(bool holds)
{
    if (!holds)
        abort();
}

static int get(struct gdb_target *target, unsigned vcpu, struct cpu_state *cpu)
{
    must(vcpu < VCPUS && !of(target)->running);
    *cpu = of(target)->cpus[vcpu];
    return 0;
}

static int set(struct gdb_target *target, unsigned vcpu, const struct cpu_state *cpu)
{
    must(vcpu < VCPUS && !of(target)->running);
    of(target)->cpus[vcpu] = *cpu;
    return 0;
}

static int debug(struct gdb_target *target, unsigned vcpu, const struct vcpu_debug *what)
{
    must(vcpu < VCPUS && !of(target)->running && (!what || what->point_count <= VCPU_POINT_MAX));
    for (unsigned i = 0; what && i < what->point_count; i++)
        must(what->points[i].bytes && what->points[i].linear % what->points[i].bytes == 0);
    of(target)->debugs[vcpu] = what ? *what : (struct vcpu_debug){0};
    return 0;
}

static bool running(struct gdb_target *target)
{
    return of(target)->running;
}

static void stand(struct gdb_target *target)
{
    struct fake *f = of(target);
    if (f->running && f->session)
        gdb_session_standing(f->session);
    f->running = false;
}

static bool go(struct gdb_target *target, uint32_t vcpus)
{
    struct fake *f = of(target);
    must(vcpus & ((1u << VCPUS) - 1));
    if (f->cpus[0].gpr[CPU_RDX] == 1) /* it has failed */
        return false;
    gdb_session_going(f->session);
    f->running = true;
    return true;
}

/* The first thing that could stop it does; else one of them steps. */
static void stop(struct fake *f)
{
    struct vcpu_stop stops[VCPUS] = {{0}};
    for (unsigned i = 0; i < VCPUS; i++)
        stops[i] = f->debugs[i].step          ? (struct vcpu_stop){VCPU_STOP_STEP, 0}
                   : f->debugs[i].point_count ? (struct vcpu_stop){VCPU_STOP_POINT, f->debugs[i].point_count - 1}
                                              : (struct vcpu_stop){VCPU_STOP_BREAKPOINT, 0};
    if (f->debugs[0].planted)
        f->debugs[0].planted(f->debugs[0].context, 0x1000);
    gdb_session_stopped(f->session, 3, stops);
}

/* vCPU 0 without paging, 1 with four levels in the memory that the client may write, 2 with 32-bit tables there. */
static void start(struct fake *f, uint8_t choice)
{
    static struct memory *memory;
    if (!memory)
        memory = memory_new(MEMORY_BYTES, NULL);
    *f = (struct fake){.running = choice & 1, .target = {VCPUS, memory, get, set, debug, running, stand, go}};
    memset(memory_at_writable(memory, 0, MEMORY_BYTES), choice, 4 * TABLES);
    for (unsigned i = 0; i < VCPUS; i++) {
        cpu_state_reset(&f->cpus[i], i);
        f->cpus[i].cr3 = TABLES;
    }
    f->cpus[1].cr0 = f->cpus[2].cr0 = 1ull << 31;
    f->cpus[1].efer = 0x500;
    f->cpus[2].cr4 = choice & 2 ? 0x20 : 0x10;
}

static void swallow(struct fake *f)
{
    const char *out;
    size_t n = gdb_session_out(f->session, &out);
    must(n <= GDB_OUT_MAX);
    if (n)
        gdb_session_said(f->session, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fake f;
    if (!size)
        return 0;
    start(&f, data[0]);
    f.session = gdb_session_new(&f.target);
    must(f.session);
    for (size_t at = 1; at < size && !gdb_session_over(f.session);) {
        at += gdb_session_in(f.session, data + at, size - at);
        swallow(&f);
        if (f.running && data[at - 1] & 1)
            stop(&f);
        swallow(&f);
    }
    gdb_session_free(f.session);
    return 0;
}
