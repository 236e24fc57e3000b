/* See fault.h. */
#include "hv/dbt/fault.h"

#include <string.h>

#include "hv/dbt/cpu.h"
#include "hv/dbt/interrupt.h"
#include "hv/trace.h"

enum { CODE_EXTERNAL = 1, DR7_GD = 0x2000 };

static _Noreturn void go(struct dbt_cpu *cpu, uint8_t vector, bool has_code, uint32_t code)
{
    cpu->fault = (struct cpu_fault){vector, has_code, code};
    longjmp(cpu->unwind, 1);
}

void fault_raise(struct dbt_cpu *cpu, enum fault_vector vector)
{
    go(cpu, (uint8_t)vector, false, 0);
}

void fault_raise_code(struct dbt_cpu *cpu, enum fault_vector vector, uint32_t code)
{
    bool external = cpu->delivering && cpu->delivering_external;
    go(cpu, (uint8_t)vector, true, code | (external ? CODE_EXTERNAL : 0));
}

void fault_raise_page(struct dbt_cpu *cpu, uint64_t linear, uint32_t code)
{
    cpu->cr2 = linear;
    go(cpu, FAULT_PF, true, code);
}

static bool contributory(uint8_t vector)
{
    return vector == FAULT_DE || (vector >= FAULT_TS && vector <= FAULT_GP);
}

/* SDM table 6-5. */
static bool doubles(uint8_t first, uint8_t second)
{
    if (contributory(first))
        return contributory(second);
    return first == FAULT_PF && (contributory(second) || second == FAULT_PF);
}

static void attempt(struct dbt_cpu *cpu, const struct interrupt *i)
{
    trace_all(TRACE_VCPU, "vCPU %u: vector %u, code %#x, at %#llx, cr2 %#llx", cpu->index, i->vector, i->code,
              (unsigned long long)i->rip, (unsigned long long)cpu->cr2);
    cpu->delivering = true;
    cpu->delivering_external = i->external;
    cpu->delivering_vector = i->vector;
    interrupt_deliver(cpu, i);
    cpu->delivering = false;
}

static void deliver_fault(struct dbt_cpu *cpu)
{
    const struct cpu_fault *f = &cpu->fault;
    struct interrupt i = {
        .vector = f->vector,
        .has_code = f->has_code && cpu->cr0 & CPU_CR0_PE,
        .code = f->code,
        .external = true, /* what goes wrong now is not an INT n's doing */
        .restarts = f->vector != FAULT_BP && f->vector != FAULT_OF && f->vector != FAULT_DF && f->vector != FAULT_DB,
        .rip = cpu->rip,
    };
    if (f->vector == FAULT_DB)
        cpu->dr7 &= ~(uint64_t)DR7_GD;
    attempt(cpu, &i);
}

/* A fault was raised; if it was while another event was delivered, both together may make a double fault. */
static void combine(struct dbt_cpu *cpu, bool exception)
{
    if (!cpu->delivering)
        return;
    uint8_t first = cpu->delivering_vector, second = cpu->fault.vector;
    cpu->delivering = false;
    if (!exception)
        return;
    if (first == FAULT_DF && (contributory(second) || second == FAULT_PF)) {
        cpu->shutdown = true;
        cpu_attention(cpu, CPU_ATTENTION_EVENT);
    } else if (doubles(first, second))
        cpu->fault = (struct cpu_fault){FAULT_DF, true, 0};
}

/* Both put the caller's unwind back, so that a loop may call them in its middle. */

static void deliver(struct dbt_cpu *cpu)
{
    cpu->exception_waits = false;
    cpu->delivering = false;
    if (setjmp(cpu->unwind))
        combine(cpu, true);
    if (!cpu->shutdown)
        deliver_fault(cpu);
}

void fault_deliver(struct dbt_cpu *cpu)
{
    jmp_buf outer;
    memcpy(outer, cpu->unwind, sizeof outer);
    deliver(cpu);
    memcpy(cpu->unwind, outer, sizeof outer);
}

void fault_deliver_event(struct dbt_cpu *cpu, uint8_t vector)
{
    struct interrupt i = {.vector = vector, .external = true, .rip = cpu->rip};
    jmp_buf outer;
    memcpy(outer, cpu->unwind, sizeof outer);
    if (setjmp(cpu->unwind)) {
        combine(cpu, false); /* an interrupt and a fault do not double */
        deliver(cpu);
    } else {
        attempt(cpu, &i);
    }
    memcpy(cpu->unwind, outer, sizeof outer);
}
