/* See debugger.h. */
#include "hv/dbt/debugger.h"

#include <stddef.h>

#include "hv/dbt/cpu.h"
#include "hv/dbt/debug.h"
#include "hv/dbt/mmu.h"
#include "hv/dbt/vm.h"
#include "node/base/container.h"

static uint64_t code_linear(const struct dbt_cpu *cpu)
{
    return cpu->code_bytes == 8 ? cpu->rip : (uint32_t)(cpu->seg[CPU_CS].base + cpu->rip);
}

static void stop(struct dbt_cpu *cpu, enum vcpu_stop_kind kind, unsigned point)
{
    if (cpu->stop_waits)
        return; /* the first counts */
    cpu->stop_waits = true;
    dbt_vcpu_of(cpu)->vcpu.stop = (struct vcpu_stop){kind, point};
    cpu_attention(cpu, CPU_ATTENTION_DEBUG);
}

static bool overlaps(const struct vcpu_point *p, uint64_t linear, unsigned bytes)
{
    return linear < p->linear + p->bytes && p->linear < linear + bytes;
}

bool debugger_watches(const struct dbt_cpu *cpu, uint64_t linear, unsigned bytes)
{
    const struct vcpu_debug *d = &cpu->debugger;
    for (unsigned i = 0; i < d->point_count; i++)
        if (d->points[i].kind != VCPU_POINT_CODE && overlaps(&d->points[i], linear, bytes))
            return true;
    return false;
}

bool debugger_has_data(const struct dbt_cpu *cpu)
{
    for (unsigned i = 0; i < cpu->debugger.point_count; i++)
        if (cpu->debugger.points[i].kind != VCPU_POINT_CODE)
            return true;
    return false;
}

static bool has_code(const struct dbt_cpu *cpu)
{
    for (unsigned i = 0; i < cpu->debugger.point_count; i++)
        if (cpu->debugger.points[i].kind == VCPU_POINT_CODE)
            return true;
    return false;
}

void debugger_check_data(struct dbt_cpu *cpu, uint64_t linear, unsigned bytes, bool write)
{
    for (unsigned i = 0; i < cpu->debugger.point_count; i++) {
        const struct vcpu_point *p = &cpu->debugger.points[i];
        if ((p->kind == VCPU_POINT_ACCESS || (p->kind == VCPU_POINT_WRITE && write)) && overlaps(p, linear, bytes))
            stop(cpu, VCPU_STOP_POINT, i);
    }
}

bool debugger_takes_breakpoint(struct dbt_cpu *cpu)
{
    const struct vcpu_debug *d = &cpu->debugger;
    const uint8_t *host = d->planted ? mmu_fetch_host(cpu, code_linear(cpu)) : NULL;
    if (!host || !d->planted(d->context, mmu_gpa(cpu, host)))
        return false;
    stop(cpu, VCPU_STOP_BREAKPOINT, 0);
    return true;
}

/* ---- between two instructions ---- */

bool debugger_stops(struct dbt_cpu *cpu)
{
    if (cpu->stepping)
        stop(cpu, VCPU_STOP_STEP, 0);
    bool stops = cpu->stop_waits;
    cpu->stepping = cpu->stop_waits = false;
    return stops;
}

/* What is halted goes on only by an interrupt. */
bool debugger_holds_events(const struct dbt_cpu *cpu)
{
    return cpu->debugger.step && cpu->activity == CPU_RUNNING;
}

bool debugger_stops_here(struct dbt_cpu *cpu)
{
    const struct vcpu_debug *d = &cpu->debugger;
    for (unsigned i = 0; i < d->point_count; i++)
        if (d->points[i].kind == VCPU_POINT_CODE && d->points[i].linear == code_linear(cpu)) {
            stop(cpu, VCPU_STOP_POINT, i);
            return true;
        }
    return false;
}

bool debugger_begins(struct dbt_cpu *cpu)
{
    cpu->stepping = cpu->debugger.step;
    if (!cpu->stepping && !has_code(cpu))
        return false;
    cpu_attention(cpu, CPU_ATTENTION_DEBUG); /* come back after it */
    return true;
}

/* ---- for engines ---- */

int dbt_debug(struct vcpu *vcpu, const struct vcpu_debug *debug, struct err *err)
{
    struct dbt_cpu *cpu = CONTAINER_OF(vcpu, struct dbt_vcpu, vcpu)->cpu;
    (void)err;
    cpu->debugger = debug ? *debug : (struct vcpu_debug){0};
    cpu->stop_waits = cpu->stepping = false;
    debug_changed(cpu);
    cpu_attention(cpu, CPU_ATTENTION_DEBUG | CPU_ATTENTION_EVENT); /* interrupts that waited for a step do no more */
    return 0;
}
