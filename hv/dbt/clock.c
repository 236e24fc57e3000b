/* See clock.h. */
#include "hv/dbt/clock.h"

#include <cpuid.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <x86intrin.h>

#include "hv/memory.h"
#include "hv/timers.h"

enum {
    NS_PER_MS = 1000000,
    MEASURE_MS = 10,
    READINGS = 16,
    RATIO_BITS = 32,
    STABLE = 1,          /* flag: all vCPUs have one clock */
    KVM_TSC_LEAF = 0x10, /* of the hypervisor: kHz in EAX */
};
static const uint64_t ns_per_s = 1000000000;

/* Documentation/virt/kvm/x86/msr.rst */
struct pvclock {
    uint32_t version, pad0;
    uint64_t tsc_timestamp, system_time;
    uint32_t tsc_to_system_mul;
    int8_t tsc_shift;
    uint8_t flags, pad[2];
};
struct pvclock_wall {
    uint32_t version, sec, nsec;
};
_Static_assert(sizeof(struct pvclock) == 32 && sizeof(struct pvclock_wall) == 12, "as the guest reads them");

/* ---- the host's TSC ---- */

static uint64_t host_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * ns_per_s + (uint64_t)t.tv_nsec;
}

/* What CPUID says of it: Intel's crystal, or the hypervisor below. 0: nothing. */
static uint64_t told_khz(void)
{
    uint32_t a, b, c, d;
    if (__get_cpuid(1, &a, &b, &c, &d) && c >> 31) {
        __cpuid(0x40000000, a, b, c, d);
        if (a >= 0x40000000u + KVM_TSC_LEAF && a < 0x40000100u) {
            __cpuid(0x40000000 + KVM_TSC_LEAF, a, b, c, d);
            return a;
        }
        return 0;
    }
    if (__get_cpuid(0x15, &a, &b, &c, &d) && a && b && c)
        return (uint64_t)c * b / a / 1000;
    return 0;
}

/* Both clocks at one instant: of several readings the one that took the shortest, since a thread may lose its processor
 * in between. */
static void read_both(uint64_t *ns, uint64_t *tsc)
{
    uint64_t shortest = UINT64_MAX;
    for (unsigned i = 0; i < READINGS; i++) {
        uint64_t before = __rdtsc(), now = host_ns(CLOCK_MONOTONIC_RAW), took = __rdtsc() - before;
        if (took >= shortest)
            continue;
        shortest = took;
        *ns = now;
        *tsc = before + took / 2;
    }
}

static uint64_t measured_khz(void)
{
    struct timespec pause = {.tv_nsec = MEASURE_MS * NS_PER_MS};
    uint64_t from_ns = 0, from_tsc = 0, to_ns = 0, to_tsc = 0;
    read_both(&from_ns, &from_tsc);
    nanosleep(&pause, NULL);
    read_both(&to_ns, &to_tsc);
    return (uint64_t)((unsigned __int128)(to_tsc - from_tsc) * NS_PER_MS / (to_ns - from_ns));
}

uint64_t dbt_clock_host_khz(void)
{
    static _Atomic uint64_t khz;
    if (!khz) {
        uint64_t told = told_khz();
        khz = told ? told : measured_khz();
    }
    return khz;
}

/* ---- the guest's ---- */

static uint64_t to_ns(const struct dbt_clock *clock, uint64_t ticks)
{
    if (clock->shift < 0)
        ticks >>= -clock->shift;
    else
        ticks <<= clock->shift;
    return (uint64_t)((unsigned __int128)ticks * clock->multiplier >> 32);
}

/* ns = (ticks << shift) * multiplier / 2^32 with a multiplier of 32 bits that is as large as can be. */
static void set_rate(struct dbt_clock *clock)
{
    uint64_t hz = clock->khz * 1000;
    clock->shift = 0;
    while (hz > 2 * ns_per_s) {
        hz >>= 1;
        clock->shift--;
    }
    while (hz <= ns_per_s) {
        hz <<= 1;
        clock->shift++;
    }
    clock->multiplier = (uint32_t)((ns_per_s << 32) / hz);
}

static void set_khz(struct dbt_clock *clock, uint64_t khz)
{
    clock->khz = khz;
    clock->ratio = (uint64_t)(((unsigned __int128)khz << RATIO_BITS) / dbt_clock_host_khz());
    set_rate(clock);
}

/* The host's TSC as the guest would count it. */
static uint64_t ticks(const struct dbt_clock *clock)
{
    return (uint64_t)((unsigned __int128)__rdtsc() * clock->ratio >> RATIO_BITS);
}

void dbt_clock_init(struct dbt_clock *clock, struct timers *timers)
{
    *clock = (struct dbt_clock){.timers = timers};
    set_khz(clock, dbt_clock_host_khz());
}

void dbt_clock_load(struct dbt_clock *clock, uint64_t kvmclock_ns, uint64_t khz)
{
    clock->base_tsc = dbt_clock_tsc(clock);
    clock->base_ns = timers_now_ns(clock->timers);
    if (khz)
        set_khz(clock, khz);
    clock->offset = clock->base_tsc - ticks(clock);
    clock->shown_ns = kvmclock_ns - clock->base_ns;
}

void dbt_clock_resume(struct dbt_clock *clock)
{
    if (clock->running)
        return;
    clock->base_ns = timers_now_ns(clock->timers);
    clock->base_tsc = clock->stopped_at;
    clock->offset = clock->stopped_at - ticks(clock);
    clock->running = true;
}

void dbt_clock_pause(struct dbt_clock *clock)
{
    if (!clock->running)
        return;
    clock->stopped_at = dbt_clock_tsc(clock);
    clock->running = false;
    clock->base_tsc = clock->stopped_at;
    clock->base_ns = timers_now_ns(clock->timers);
}

uint64_t dbt_clock_tsc(const struct dbt_clock *clock)
{
    return clock->running ? ticks(clock) + clock->offset : clock->stopped_at;
}

uint64_t dbt_clock_tsc_to_ns(const struct dbt_clock *clock, uint64_t tsc)
{
    int64_t ticks = (int64_t)(tsc - clock->base_tsc);
    if (ticks >= 0)
        return clock->base_ns + to_ns(clock, (uint64_t)ticks);
    uint64_t before = to_ns(clock, -(uint64_t)ticks);
    return before < clock->base_ns ? clock->base_ns - before : 0;
}

uint64_t dbt_clock_ns(const struct dbt_clock *clock)
{
    return dbt_clock_tsc_to_ns(clock, dbt_clock_tsc(clock)) + clock->shown_ns;
}

/* ---- what the guest reads ---- */

void dbt_clock_publish(const struct dbt_clock *clock, struct memory *memory, uint64_t gpa, uint64_t tsc_offset)
{
    struct pvclock page;
    if (memory_read(memory, gpa, &page, sizeof page))
        return; /* a guest that names no memory has no clock */
    uint32_t version = (page.version + 1) | 1;
    memory_write(memory, gpa, &version, sizeof version);
    atomic_thread_fence(memory_order_seq_cst);
    page = (struct pvclock){
        .version = version,
        .tsc_timestamp = clock->base_tsc + tsc_offset,
        .system_time = clock->base_ns + clock->shown_ns,
        .tsc_to_system_mul = clock->multiplier,
        .tsc_shift = clock->shift,
        .flags = STABLE,
    };
    memory_write(memory, gpa, &page, sizeof page);
    atomic_thread_fence(memory_order_seq_cst);
    version++;
    memory_write(memory, gpa, &version, sizeof version);
}

void dbt_clock_publish_wall(const struct dbt_clock *clock, struct memory *memory, uint64_t gpa)
{
    struct pvclock_wall page;
    if (memory_read(memory, gpa, &page, sizeof page))
        return;
    uint64_t ns = host_ns(CLOCK_REALTIME) - dbt_clock_ns(clock);
    uint32_t version = (page.version + 1) | 1;
    page = (struct pvclock_wall){version, (uint32_t)(ns / ns_per_s), (uint32_t)(ns % ns_per_s)};
    memory_write(memory, gpa, &page, sizeof page);
    atomic_thread_fence(memory_order_seq_cst);
    version++;
    memory_write(memory, gpa, &version, sizeof version);
}
