/* Every CPUID feature a guest may be told of, by name, and which models have it.
 *
 * It is a list of what is allowed: a feature brings registers with it, and a guest must not use one whose registers
 * cpu_state.h does not hold, or it would lose them on its way to another host. So AVX-512, AMX, protection keys, CET,
 * SGX, performance counters, nested virtualisation and whatever is not invented yet are not in it.
 *
 * Source: Intel SDM vol. 2 CPUID; AMD APM vol. 3 appendix E; Linux' Documentation/virt/kvm/x86/cpuid.rst; x86-64 psABI
 * (levels). Threads: any; constant. */
#ifndef HV_CPU_FEATURE_H
#define HV_CPU_FEATURE_H

#include <stdint.h>

enum cpu_register { CPU_REGISTER_EAX, CPU_REGISTER_EBX, CPU_REGISTER_ECX, CPU_REGISTER_EDX };

enum cpu_level {
    CPU_LEVEL_HOST = 1, /* what the machine has */
    CPU_LEVEL_V2 = 2,
    CPU_LEVEL_V3 = 4,
};

struct cpu_feature {
    const char *name; /* as Linux prints it in /proc/cpuinfo, where it does */
    uint32_t leaf, subleaf;
    uint8_t reg, bit;
    uint8_t levels; /* enum cpu_level */
};

/* Ends with one whose name is NULL. */
extern const struct cpu_feature cpu_features[];

#endif
