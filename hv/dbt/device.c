/* See device.h. */
#include "hv/dbt/device.h"

#include <stdbool.h>

#include "hv/bus.h"
#include "hv/dbt/lockstep.h"
#include "hv/dbt/vm.h"

enum { APIC_ENABLED = 0x800, APIC_X2APIC = 0x400 };

static bool in_lapic(const struct dbt_cpu *cpu, uint64_t gpa)
{
    uint64_t base = irqchip_base(cpu->vm->chip, cpu->index);
    return gpa >> 12 == (base & 0x000ffffffffff000ull) >> 12 && (base & (APIC_ENABLED | APIC_X2APIC)) == APIC_ENABLED;
}

static bool is_power(unsigned bytes)
{
    return !(bytes & (bytes - 1));
}

/* Registers are 32 bits at multiples of 16; narrower and wider reads see what lies there. */
static uint64_t lapic_load(struct dbt_cpu *cpu, uint64_t gpa, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned done = 0; done < bytes;) {
        unsigned at = (gpa + done) & 3, part = 4 - at < bytes - done ? 4 - at : bytes - done;
        uint64_t reg = irqchip_lapic_read(cpu->vm->chip, cpu->index, (uint32_t)(gpa + done) & 0xffc) >> 8 * at;
        value |= (part == 4 ? reg : reg & ((1ull << 8 * part) - 1)) << 8 * done;
        done += part;
    }
    return value;
}

uint64_t device_load(struct dbt_cpu *cpu, uint64_t gpa, unsigned bytes)
{
    if (cpu->lockstep)
        cpu->lockstep->once = true;
    if (in_lapic(cpu, gpa))
        return lapic_load(cpu, gpa, bytes);
    struct dbt_vcpu *vcpu = dbt_vcpu_of(cpu);
    uint64_t value = 0;
    dbt_vcpu_leave(vcpu);
    if (is_power(bytes)) {
        value = bus_read(cpu->vm->bus, BUS_MEMORY, gpa, bytes);
    } else {
        for (unsigned i = 0; i < bytes; i++)
            value |= bus_read(cpu->vm->bus, BUS_MEMORY, gpa + i, 1) << 8 * i;
    }
    dbt_vcpu_enter(vcpu);
    return value;
}

void device_store(struct dbt_cpu *cpu, uint64_t gpa, unsigned bytes, uint64_t value)
{
    if (cpu->lockstep)
        cpu->lockstep->once = true;
    if (in_lapic(cpu, gpa)) {
        if (bytes >= 4 && !(gpa & 3)) /* others are undefined */
            irqchip_lapic_write(cpu->vm->chip, cpu->index, (uint32_t)gpa & 0xffc, (uint32_t)value);
        return;
    }
    struct dbt_vcpu *vcpu = dbt_vcpu_of(cpu);
    dbt_vcpu_leave(vcpu);
    if (is_power(bytes)) {
        bus_write(cpu->vm->bus, BUS_MEMORY, gpa, bytes, value);
    } else {
        for (unsigned i = 0; i < bytes; i++)
            bus_write(cpu->vm->bus, BUS_MEMORY, gpa + i, 1, value >> 8 * i & 0xff);
    }
    dbt_vcpu_enter(vcpu);
}

uint32_t device_in(struct dbt_cpu *cpu, uint16_t port, unsigned bytes)
{
    struct dbt_vcpu *vcpu = dbt_vcpu_of(cpu);
    dbt_vcpu_leave(vcpu);
    uint32_t value = (uint32_t)bus_read(cpu->vm->bus, BUS_PORTS, port, bytes);
    dbt_vcpu_enter(vcpu);
    return value;
}

void device_out(struct dbt_cpu *cpu, uint16_t port, unsigned bytes, uint32_t value)
{
    struct dbt_vcpu *vcpu = dbt_vcpu_of(cpu);
    dbt_vcpu_leave(vcpu);
    bus_write(cpu->vm->bus, BUS_PORTS, port, bytes, value);
    dbt_vcpu_enter(vcpu);
}
