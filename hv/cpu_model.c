/* See cpu_model.h. A model is put together in three steps: the leaves that describe (vendor, caches, sizes), from the
 * host or from constants; the features, one by one from the list in cpu_feature.c; and what follows from both
 * (topology, XSAVE areas). Whatever no step writes is zero, so nothing of the host's gets through by accident.
 *
 * Vendor of the baselines: one for all hosts, or a guest could not go from an Intel to an AMD host and to our own
 * engine. It is AMD's, with the family of the first 64-bit processors, because KVM makes up on Intel processors for
 * what AMD's do otherwise (SYSCALL in 32-bit code), while the reverse leaves visible gaps (segment attributes after
 * SYSRET). The price: such a guest defends itself against Spectre, but not against leaks of one maker's models
 * (Meltdown on Intel, Retbleed on AMD) between its own programs. "host" is there for those who need that. */
#include "hv/cpu_model.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hv/cpu_feature.h"
#include "hv/vcpu.h"
#include "node/base/err.h"

enum {
    LEAF_VENDOR = 0,
    LEAF_VERSION = 1,
    LEAF_CACHES = 4,
    LEAF_EXTENDED_FEATURES = 7,
    LEAF_TOPOLOGY = 0xb,
    LEAF_XSAVE = 0xd,
    PHYSICAL_BITS = 40, /* of a baseline */
    LINEAR_BITS = 48,
    AMD_ALIASES = 0x0183f3ff, /* of 1.EDX in 80000001h.EDX */
    HTT = 1 << 28,
    CMP_LEGACY = 1 << 1,
    CLFLUSH_8_BYTES = 8, /* in units of 8 bytes: 64 */
    XCR0_X87 = 1,
    XCR0_SSE = 2,
    XCR0_AVX = 4,
    XSAVE_LEGACY = 576,
    XSAVE_YMM = 256,
    MISSING_MAX = 300,
};
static const uint32_t leaf_kvm = 0x40000000, leaf_kvm_features = 0x40000001, leaf_extended = 0x80000000u,
                      leaf_extended_features = 0x80000001u, leaf_brand = 0x80000002u, leaf_l1 = 0x80000005u,
                      leaf_l2 = 0x80000006u, leaf_sizes = 0x80000008u, leaf_amd_caches = 0x8000001du,
                      leaf_amd_topology = 0x8000001eu, leaf_amd_more = 0x80000021u;

struct baseline {
    const char *name;
    enum cpu_level level;
    const char *brand;
};

static const struct baseline baselines[] = {
    {"baseline-v2", CPU_LEVEL_V2, "Drover x86-64-v2 processor"},
    {"baseline-v3", CPU_LEVEL_V3, "Drover x86-64-v3 processor"},
};
enum { BASELINE_COUNT = sizeof baselines / sizeof *baselines };

/* ---- tables ---- */

static const struct cpuid_leaf *find(const struct cpuid_table *table, uint32_t leaf, uint32_t subleaf)
{
    for (unsigned i = 0; i < table->count; i++) {
        const struct cpuid_leaf *l = &table->leaf[i];
        if (l->leaf == leaf && (!l->has_subleaf || l->subleaf == subleaf))
            return l;
    }
    return NULL;
}

static bool has_subleaves(uint32_t leaf)
{
    return leaf == LEAF_CACHES || leaf == LEAF_EXTENDED_FEATURES || leaf == LEAF_TOPOLOGY || leaf == LEAF_XSAVE ||
           leaf == leaf_amd_caches;
}

/* The leaf to write, made with zeroes if it is not there. What is written here is far less than CPUID_LEAF_MAX. */
static struct cpuid_leaf *at(struct cpuid_table *table, uint32_t leaf, uint32_t subleaf)
{
    unsigned i = 0;
    while (i < table->count && (table->leaf[i].leaf != leaf || table->leaf[i].subleaf != subleaf))
        i++;
    if (i == table->count)
        table->leaf[table->count++] =
            (struct cpuid_leaf){.leaf = leaf, .subleaf = subleaf, .has_subleaf = has_subleaves(leaf)};
    return &table->leaf[i];
}

static void copy(const struct cpuid_table *from, struct cpuid_table *to, uint32_t leaf, uint32_t subleaf)
{
    const struct cpuid_leaf *l = find(from, leaf, subleaf);
    if (!l)
        return;
    struct cpuid_leaf *made = at(to, leaf, subleaf);
    made->eax = l->eax;
    made->ebx = l->ebx;
    made->ecx = l->ecx;
    made->edx = l->edx;
}

static uint32_t reg_of(const struct cpuid_leaf *l, unsigned reg)
{
    const uint32_t regs[] = {l->eax, l->ebx, l->ecx, l->edx};
    return regs[reg];
}

static bool has(const struct cpuid_table *table, const struct cpu_feature *f)
{
    const struct cpuid_leaf *l = find(table, f->leaf, f->subleaf);
    return l && reg_of(l, f->reg) >> f->bit & 1;
}

static void set_feature(struct cpuid_table *table, const struct cpu_feature *f)
{
    struct cpuid_leaf *l = at(table, f->leaf, f->subleaf);
    uint32_t *const regs[] = {&l->eax, &l->ebx, &l->ecx, &l->edx};
    *regs[f->reg] |= 1u << f->bit;
}

static bool is_amd(const struct cpuid_table *table)
{
    const struct cpuid_leaf *l = find(table, LEAF_VENDOR, 0);
    return l && (!memcmp(&l->ebx, "Auth", 4) || !memcmp(&l->ebx, "Hygo", 4));
}

static void text(const char *from, uint32_t *regs, unsigned count)
{
    char padded[48] = {0};
    memcpy(padded, from, strlen(from));
    memcpy(regs, padded, count * sizeof *regs);
}

/* ---- what describes ---- */

static void describe_baseline(struct cpuid_table *t, const struct baseline *b)
{
    uint32_t vendor[3], brand[12];
    text("AuthenticAMD", vendor, 3);
    text(b->brand, brand, 12);
    *at(t, LEAF_VENDOR, 0) = (struct cpuid_leaf){
        .eax = b->level == CPU_LEVEL_V3 ? LEAF_XSAVE : LEAF_TOPOLOGY, vendor[0], vendor[2], vendor[1]};
    struct cpuid_leaf *version = at(t, LEAF_VERSION, 0);
    version->eax = 0x00060fb1; /* family 15, model 107, stepping 1: what guests have been told for years elsewhere */
    version->ebx = CLFLUSH_8_BYTES << 8;
    *at(t, leaf_extended, 0) = (struct cpuid_leaf){
        .leaf = leaf_extended, .eax = leaf_sizes, .ebx = vendor[0], .ecx = vendor[2], .edx = vendor[1]};
    at(t, leaf_extended_features, 0)->eax = version->eax;
    for (unsigned i = 0; i < 3; i++)
        *at(t, leaf_brand + i, 0) = (struct cpuid_leaf){
            leaf_brand + i, 0, false, brand[4 * i], brand[4 * i + 1], brand[4 * i + 2], brand[4 * i + 3]};
    /* AMD APM vol. 3 E.4.4, E.4.5: TLBs, L1 of 32 KiB and 8 ways, L2 of 512 KiB and 8 ways, L3 of 16 MiB and 16 ways */
    *at(t, leaf_l1, 0) = (struct cpuid_leaf){leaf_l1, 0, false, 0xff40ff40, 0xff40ff40, 0x20080140, 0x20080140};
    *at(t, leaf_l2, 0) = (struct cpuid_leaf){leaf_l2, 0, false, 0x48002200, 0x68004200, 0x02006140, 0x00808140};
    at(t, leaf_sizes, 0)->eax = LINEAR_BITS << 8 | PHYSICAL_BITS;
}

static void describe_host(struct cpuid_table *t, const struct cpuid_table *host)
{
    copy(host, t, LEAF_VENDOR, 0);
    copy(host, t, leaf_extended, 0);
    struct cpuid_leaf *basic = at(t, LEAF_VENDOR, 0), *extended = at(t, leaf_extended, 0);
    bool amd = is_amd(t);
    uint32_t last_extended = amd && extended->eax >= leaf_amd_more ? leaf_amd_more : leaf_sizes;
    basic->eax = basic->eax < LEAF_XSAVE ? LEAF_TOPOLOGY : LEAF_XSAVE;
    if (extended->eax > last_extended || extended->eax < leaf_sizes)
        extended->eax = last_extended;
    const struct cpuid_leaf *version = find(host, LEAF_VERSION, 0),
                            *amd_version = find(host, leaf_extended_features, 0);
    at(t, LEAF_VERSION, 0)->eax = version ? version->eax : 0;
    at(t, LEAF_VERSION, 0)->ebx = CLFLUSH_8_BYTES << 8;
    at(t, leaf_extended_features, 0)->eax = amd && amd_version ? amd_version->eax : 0;
    for (uint32_t leaf = leaf_brand; leaf <= leaf_l2; leaf++)
        copy(host, t, leaf, 0);
    const struct cpuid_leaf *sizes = find(host, leaf_sizes, 0);
    at(t, leaf_sizes, 0)->eax = sizes ? sizes->eax & 0xffff : LINEAR_BITS << 8 | PHYSICAL_BITS;
    if (!amd)
        at(t, 2, 0)->eax = 0x00feff01; /* "see leaf 4" (FFh), TLBs as leaf 18h says (FEh): nothing there */
    for (uint32_t i = 0; i < 4; i++)
        copy(host, t, amd ? leaf_amd_caches : LEAF_CACHES, i);
}

/* ---- what follows ---- */

static unsigned bits_for(unsigned count)
{
    unsigned bits = 0;
    while (1u << bits < count)
        bits++;
    return bits;
}

/* One socket, as many cores, one thread each, APIC ids in order. The last cache is everybody's, the others a core's. */
static void topology(struct cpuid_table *t, unsigned vcpus)
{
    unsigned bits = bits_for(vcpus);
    struct cpuid_leaf *version = at(t, LEAF_VERSION, 0);
    version->ebx |= vcpus << 16;
    if (vcpus > 1)
        version->edx |= HTT;
    *at(t, LEAF_TOPOLOGY, 0) = (struct cpuid_leaf){LEAF_TOPOLOGY, 0, true, 0, 1, 0x100, 0};
    *at(t, LEAF_TOPOLOGY, 1) = (struct cpuid_leaf){LEAF_TOPOLOGY, 1, true, bits, vcpus, 0x201, 0};
    *at(t, LEAF_TOPOLOGY, 2) = (struct cpuid_leaf){LEAF_TOPOLOGY, 2, true, 0, 0, 2, 0};
    for (unsigned i = 0; i < t->count; i++) {
        struct cpuid_leaf *l = &t->leaf[i];
        unsigned level = l->eax >> 5 & 7, sharing = level > 2 ? vcpus - 1 : 0;
        if (l->leaf == leaf_amd_caches)
            l->eax = (l->eax & 0x3fff) | sharing << 14;
        else if (l->leaf == LEAF_CACHES && l->eax & 0x1f) /* 0: no more caches */
            l->eax = (l->eax & 0x3fff) | sharing << 14 | ((1u << bits) - 1) << 26;
    }
    if (!is_amd(t))
        return;
    if (vcpus > 1)
        at(t, leaf_extended_features, 0)->ecx |= CMP_LEGACY;
    at(t, leaf_sizes, 0)->ecx = bits << 12 | (vcpus - 1);
    const struct cpuid_leaf *extended = find(t, leaf_extended, 0);
    if (extended->eax >= leaf_amd_topology)
        at(t, leaf_amd_topology, 0); /* all zero for vCPU 0 */
}

static uint64_t xsave(struct cpuid_table *t)
{
    const struct cpuid_leaf *version = find(t, LEAF_VERSION, 0);
    bool avx = version->ecx >> 28 & 1;
    if (!(version->ecx >> 26 & 1)) {
        struct cpuid_leaf *l = at(t, LEAF_XSAVE, 1);
        l->eax = 0;
        return XCR0_X87;
    }
    uint32_t xcr0 = XCR0_X87 | XCR0_SSE | (avx ? XCR0_AVX : 0);
    uint32_t bytes = XSAVE_LEGACY + (avx ? XSAVE_YMM : 0);
    *at(t, LEAF_XSAVE, 0) = (struct cpuid_leaf){LEAF_XSAVE, 0, true, xcr0, XSAVE_LEGACY, bytes, 0};
    if (avx)
        *at(t, LEAF_XSAVE, 2) = (struct cpuid_leaf){LEAF_XSAVE, 2, true, XSAVE_YMM, XSAVE_LEGACY, 0, 0};
    return xcr0;
}

/* ---- features ---- */

static bool needs_avx(const struct cpu_feature *f)
{
    static const char *const names[] = {"fma",      "f16c",     "avx2",          "vaes",          "vpclmulqdq",
                                        "avx_vnni", "avx_ifma", "avx_vnni_int8", "avx_ne_convert"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(f->name, names[i]))
            return true;
    return false;
}

static void host_features(struct cpuid_table *t, const struct cpuid_table *supported)
{
    const struct cpuid_leaf *version = find(supported, LEAF_VERSION, 0);
    bool avx = version && (version->ecx >> 26 & 5) == 5; /* XSAVE and AVX */
    for (const struct cpu_feature *f = cpu_features; f->name; f++)
        if (f->levels & CPU_LEVEL_HOST && has(supported, f) && (avx || (!needs_avx(f) && strcmp(f->name, "avx"))))
            set_feature(t, f);
}

static int baseline_features(struct cpuid_table *t, const struct cpuid_table *supported, const struct baseline *b,
                             struct err *err)
{
    char missing[MISSING_MAX] = "";
    size_t used = 0;
    for (const struct cpu_feature *f = cpu_features; f->name; f++) {
        if (!(f->levels & b->level))
            continue;
        set_feature(t, f);
        if (!has(supported, f) && used + strlen(f->name) + 3 < sizeof missing)
            used += (size_t)snprintf(missing + used, sizeof missing - used, "%s%s", used ? ", " : "", f->name);
    }
    if (used)
        return err_set(err, ENOTSUP,
                       "processor model '%s' cannot be had here: the engine on this host lacks %s; "
                       "choose a lower baseline, or 'host'",
                       b->name, missing);
    const struct cpuid_leaf *sizes = find(supported, leaf_sizes, 0);
    if (sizes && (sizes->eax & 0xff) < PHYSICAL_BITS)
        return err_set(err, ENOTSUP,
                       "processor model '%s' has %d physical address bits, and this host only %u; "
                       "choose 'host'",
                       b->name, PHYSICAL_BITS, sizes->eax & 0xff);
    return 0;
}

/* ---- the interface ---- */

static const struct baseline *baseline(const char *name)
{
    for (unsigned i = 0; i < BASELINE_COUNT; i++)
        if (!strcmp(name, baselines[i].name))
            return &baselines[i];
    return NULL;
}

static const struct baseline *lookup(const char *name, struct err *err, int *rc)
{
    const struct baseline *b = baseline(name);
    *rc = 0;
    if (!b && strcmp(name, "host"))
        *rc = err_set(err, EINVAL, "there is no processor model '%s': it is one of host, %s, %s", name,
                      baselines[0].name, baselines[1].name);
    return b;
}

int cpu_model_build(const char *name, const struct cpuid_table *supported, unsigned vcpus, uint64_t tsc_khz,
                    struct cpu_model *model, struct err *err)
{
    int rc;
    const struct baseline *b = lookup(name, err, &rc);
    if (rc)
        return rc;
    if (!vcpus || vcpus > VCPU_MAX)
        return err_set(err, EINVAL, "%u vCPUs: a guest has 1 to %d", vcpus, VCPU_MAX);
    struct cpu_model made = {.name = b ? b->name : "host", .vcpus = vcpus, .tsc_khz = tsc_khz};
    struct cpuid_table *t = &made.cpuid;
    if (b) {
        describe_baseline(t, b);
        rc = baseline_features(t, supported, b, err);
    } else {
        describe_host(t, supported);
        host_features(t, supported);
    }
    if (rc)
        return rc;
    if (is_amd(t))
        at(t, leaf_extended_features, 0)->edx |= at(t, LEAF_VERSION, 0)->edx & AMD_ALIASES;
    topology(t, vcpus);
    made.xcr0 = xsave(t);
    uint32_t signature[3];
    text("KVMKVMKVM", signature, 3);
    *at(t, leaf_kvm, 0) =
        (struct cpuid_leaf){leaf_kvm, 0, false, leaf_kvm_features, signature[0], signature[1], signature[2]};
    at(t, leaf_kvm_features, 0);
    *model = made;
    return 0;
}

static void personal(const struct cpu_model *model, unsigned index, struct cpuid_leaf *l)
{
    if (l->leaf == LEAF_VERSION) {
        l->ebx = (l->ebx & 0xffffff) | index << 24;
    } else if (l->leaf == LEAF_TOPOLOGY) {
        l->edx = index;
    } else if (l->leaf == leaf_amd_topology && is_amd(&model->cpuid)) {
        l->eax = index;
        l->ebx = index; /* core id; one thread a core */
    }
}

void cpu_model_query(const struct cpu_model *model, unsigned index, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    uint32_t range = leaf < leaf_kvm ? LEAF_VENDOR : leaf & 0xffff0000u;
    const struct cpuid_leaf *first = find(&model->cpuid, range, 0);
    const struct cpuid_leaf *found = NULL;
    if (first && leaf <= first->eax) {
        found = find(&model->cpuid, leaf, subleaf);
    } else if (!is_amd(&model->cpuid)) {
        const struct cpuid_leaf *basic = find(&model->cpuid, LEAF_VENDOR, 0);
        leaf = basic ? basic->eax : 0;
        found = find(&model->cpuid, leaf, subleaf);
    }
    struct cpuid_leaf l = found ? *found : (struct cpuid_leaf){.leaf = leaf};
    personal(model, index, &l);
    if (l.leaf == LEAF_TOPOLOGY && !found)
        l.ecx = subleaf & 0xff; /* SDM: echoed at every level */
    out[0] = l.eax;
    out[1] = l.ebx;
    out[2] = l.ecx;
    out[3] = l.edx;
}
