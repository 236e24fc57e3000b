/* What a guest is told of its processor: the CPUID leaves, the same under both engines.
 *
 * "host" is what the machine has and the engine can do. The baselines are the x86-64 psABI's levels ("baseline-v2",
 * "baseline-v3") and are equal, bit for bit, on every host that has them and under both engines, whoever made the
 * processor: vendor, sizes and caches are the model's own. No model has features whose registers cpu_state.h does not
 * hold, nor VMX or SVM; an invariant TSC is promised by "host" alone. Leaves 40000000h and 40000001h are KVM's
 * (Documentation/virt/kvm/x86/cpuid.rst in Linux).
 *
 * Threads: built once, then read by anyone. */
#ifndef HV_CPU_MODEL_H
#define HV_CPU_MODEL_H

#include <stdbool.h>
#include <stdint.h>

struct err;

enum { CPUID_LEAF_MAX = 80 };

struct cpuid_leaf {
    uint32_t leaf, subleaf;
    bool has_subleaf; /* subleaf matters */
    uint32_t eax, ebx, ecx, edx;
};

struct cpuid_table {
    unsigned count;
    struct cpuid_leaf leaf[CPUID_LEAF_MAX];
};

struct cpu_model {
    const char *name;
    struct cpuid_table cpuid; /* of vCPU 0 */
    unsigned vcpus;
    uint64_t xcr0;    /* the bits the guest may set */
    uint64_t tsc_khz; /* of the guest's TSC */
};

/* supported: what the engine can do (KVM_GET_SUPPORTED_CPUID, or dbt's own table); what it lacks is masked out of
 * "host" and is an error for a baseline (-ENOTSUP), naming the features that are missing. -EINVAL: no such model; the
 * text lists them. model is untouched on failure. cpu_feature.c lists what each model has. */
int cpu_model_build(const char *name, const struct cpuid_table *supported, unsigned vcpus, uint64_t tsc_khz,
                    struct cpu_model *model, struct err *err);

/* What CPUID answers on vCPU `index`: APIC ids and topology filled in. Bits that follow from CR4 and XCR0 (OSXSAVE,
 * XSAVE sizes in Dh.0.EBX and Dh.1.EBX) are the engine's to add. Past the last leaf: an Intel model answers with its
 * highest basic leaf, an AMD one (all baselines) with zeroes. */
void cpu_model_query(const struct cpu_model *model, unsigned index, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);

#endif
