/* Guest time: the TSC and the KVM clock, both from the host's TSC.
 *
 * guest TSC = host TSC * ratio + offset, while the guest runs. Paused, it stands still; resume() moves the offset so
 * that it goes on where it was, together with the machine's virtual time (timers.h), which the KVM clock shows. So all
 * vCPUs have one TSC that never goes back. The ratio is 1, but for a guest that began where the TSC ran at another
 * speed: it keeps the one that it has measured.
 *
 * Source: Documentation/virt/kvm/x86/msr.rst in Linux (pvclock pages).
 * Threads: written while no vCPU runs, read by any. */
#ifndef HV_DBT_CLOCK_H
#define HV_DBT_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct dbt_cpu;
struct memory;
struct timers;

struct dbt_clock {
    struct timers *timers;
    uint64_t khz;               /* of the guest's TSC */
    uint64_t ratio;             /* to the host's, times 2^32 */
    uint64_t offset;            /* added to the host's TSC while running */
    uint64_t stopped_at;        /* guest TSC while it stands still */
    uint64_t base_tsc, base_ns; /* guest TSC and virtual time at the last resume */
    uint64_t shown_ns;          /* the KVM clock is virtual time plus this */
    uint32_t multiplier;        /* ns = ticks (shifted by shift) * multiplier >> 32 */
    int8_t shift;
    bool running;
};

/* Measures the host's TSC once per process. */
uint64_t dbt_clock_host_khz(void);
void dbt_clock_init(struct dbt_clock *clock, struct timers *timers);
/* A state was loaded: virtual time is what timers say now, the KVM clock shows kvmclock_ns, and
 * the TSC runs at khz (0: as fast as now). */
void dbt_clock_load(struct dbt_clock *clock, uint64_t kvmclock_ns, uint64_t khz);
void dbt_clock_resume(struct dbt_clock *clock);
void dbt_clock_pause(struct dbt_clock *clock);

uint64_t dbt_clock_tsc(const struct dbt_clock *clock); /* of all vCPUs, before TSC_ADJUST */
uint64_t dbt_clock_ns(const struct dbt_clock *clock);  /* the KVM clock, from the TSC: any thread, no lock */
uint64_t dbt_clock_tsc_to_ns(const struct dbt_clock *clock, uint64_t tsc); /* virtual time at that TSC */

/* MSR_KVM_SYSTEM_TIME: fills the page at gpa; the version is odd while it is written. tsc_offset: the vCPU's. */
void dbt_clock_publish(const struct dbt_clock *clock, struct memory *memory, uint64_t gpa, uint64_t tsc_offset);
/* MSR_KVM_WALL_CLOCK: host time minus what the KVM clock shows. */
void dbt_clock_publish_wall(const struct dbt_clock *clock, struct memory *memory, uint64_t gpa);

#endif
