/* Models against hosts that differ in everything: a large Intel one with what no guest may have, and an AMD one. */
#include "tests/unit/fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hv/cpu_feature.h"
#include "hv/cpu_model.h"
#include "node/base/err.h"

enum { EAX, EBX, ECX, EDX };

static void add(struct cpuid_table *t, uint32_t leaf, uint32_t subleaf, uint32_t eax, uint32_t ebx, uint32_t ecx,
                uint32_t edx)
{
    t->leaf[t->count++] = (struct cpuid_leaf){leaf, subleaf, true, eax, ebx, ecx, edx};
}

/* Everything that has a bit, and a bit for everything. */
static struct cpuid_table intel(void)
{
    struct cpuid_table t = {0};
    add(&t, 0, 0, 0x20, 0x756e6547, 0x6c65746e, 0x49656e69);
    add(&t, 1, 0, 0x000806f8, 0x07400800, UINT32_MAX, UINT32_MAX);
    add(&t, 4, 0, 0xfc004121, 0x02c0003f, 0x3f, 0);
    add(&t, 4, 1, 0xfc004122, 0x01c0003f, 0x3f, 0);
    add(&t, 4, 2, 0xfc01c143, 0x03c0003f, 0x7ff, 0);
    add(&t, 4, 3, 0xfc1fc163, 0x0380003f, 0x1bfff, 4);
    add(&t, 4, 4, 0, 0, 0, 0);
    add(&t, 6, 0, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX);
    for (uint32_t i = 0; i < 3; i++)
        add(&t, 7, i, i ? UINT32_MAX : 2, UINT32_MAX, UINT32_MAX, UINT32_MAX);
    add(&t, 0xa, 0, 0x08300805, 0, 0xf, 0x8604);
    add(&t, 0xd, 0, 0x602e7, 0x2b00, 0x2b00, 0);
    add(&t, 0xd, 1, 0x1f, 0x2b00, 0x1900, 0);
    add(&t, 0x15, 0, 2, 0xa8, 25000000, 0);
    add(&t, 0x40000000, 0, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d);
    add(&t, 0x40000001, 0, UINT32_MAX, 0, 0, 1);
    add(&t, 0x80000000, 0, 0x80000008, 0, 0, 0);
    add(&t, 0x80000001, 0, 0, 0, UINT32_MAX, UINT32_MAX);
    for (uint32_t i = 2; i < 5; i++)
        add(&t, 0x80000000 + i, 0, 0x6c65746e, 0x6c65746e, 0x6c65746e, 0x6c65746e);
    add(&t, 0x80000007, 0, 0, 0, 0, 0x100);
    add(&t, 0x80000008, 0, 0x302e39 | 0x340000, UINT32_MAX, 0, 0);
    return t;
}

/* A processor of the third level and not a bit more. */
static struct cpuid_table amd(void)
{
    struct cpuid_table t = {0};
    add(&t, 0, 0, 0xd, 0x68747541, 0x444d4163, 0x69746e65);
    add(&t, 1, 0, 0x00600f12, 0x10800, 0, 0);
    add(&t, 6, 0, 0, 0, 0, 0);
    add(&t, 7, 0, 0, 0, 0, 0);
    add(&t, 0xd, 0, 7, 832, 832, 0);
    add(&t, 0xd, 1, 0, 0, 0, 0);
    add(&t, 0x40000001, 0, 0, 0, 0, 0);
    add(&t, 0x80000000, 0, 0x8000001e, 0x68747541, 0x444d4163, 0x69746e65);
    add(&t, 0x80000001, 0, 0x00600f12, 0, 0, 0);
    add(&t, 0x80000008, 0, 0x3030, 0, 0, 0);
    add(&t, 0x8000001d, 0, 0x121, 0x1c0003f, 0x3f, 0);
    for (const struct cpu_feature *f = cpu_features; f->name; f++)
        for (unsigned i = 0; f->levels & CPU_LEVEL_V3 && i < t.count; i++)
            if (t.leaf[i].leaf == f->leaf && t.leaf[i].subleaf == f->subleaf)
                (&t.leaf[i].eax)[f->reg] |= 1u << f->bit;
    return t;
}

static uint32_t ask(const struct cpu_model *model, unsigned index, uint32_t leaf, uint32_t subleaf, int reg)
{
    uint32_t out[4];
    cpu_model_query(model, index, leaf, subleaf, out);
    return out[reg];
}

static void build(const char *name, const struct cpuid_table *host, unsigned vcpus, struct cpu_model *model)
{
    struct err err;
    if (cpu_model_build(name, host, vcpus, 2000000, model, &err))
        fail_msg("%s", err.text);
}

static void baselines_are_equal_everywhere(void **state)
{
    (void)state;
    const char *names[] = {"baseline-v2", "baseline-v3"};
    struct cpuid_table a = intel(), b = amd();
    for (unsigned i = 0; i < 2; i++) {
        struct cpu_model one, two;
        build(names[i], &a, 4, &one);
        build(names[i], &b, 4, &two);
        assert_int_equal(one.cpuid.count, two.cpuid.count);
        assert_memory_equal(&one.cpuid, &two.cpuid, sizeof one.cpuid);
        assert_int_equal(one.xcr0, two.xcr0);
        assert_int_equal(one.xcr0, i ? 7 : 1);
        assert_string_equal(one.name, names[i]);
    }
}

static void levels_are_the_psabis(void **state)
{
    (void)state;
    struct cpuid_table host = intel();
    struct cpu_model v2, v3;
    build("baseline-v2", &host, 1, &v2);
    build("baseline-v3", &host, 1, &v3);
    const uint32_t level1 = 1u << 0 | 1u << 4 | 1u << 8 | 1u << 15 | 1u << 23 | 1u << 24 | 1u << 25 | 1u << 26;
    const uint32_t level2 = 1u << 0 | 1u << 9 | 1u << 13 | 1u << 19 | 1u << 20 | 1u << 23;
    const uint32_t level3 = 1u << 12 | 1u << 22 | 1u << 26 | 1u << 28 | 1u << 29;
    assert_int_equal(ask(&v2, 0, 1, 0, EDX) & level1, level1);
    assert_int_equal(ask(&v2, 0, 1, 0, ECX) & level2, level2);
    assert_int_equal(ask(&v2, 0, 1, 0, ECX) & level3, 0);
    assert_int_equal(ask(&v3, 0, 1, 0, ECX) & (level2 | level3), level2 | level3);
    assert_int_equal(ask(&v2, 0, 7, 0, EBX), 0);
    assert_int_equal(ask(&v3, 0, 7, 0, EBX) & (1u << 3 | 1u << 5 | 1u << 8), 1u << 3 | 1u << 5 | 1u << 8);
    assert_int_equal(ask(&v2, 0, 0x80000001, 0, ECX) & 1, 1);
    assert_int_equal(ask(&v3, 0, 0x80000001, 0, ECX) & 0x20, 0x20);
    assert_int_equal(ask(&v3, 0, 0xd, 0, ECX), 832);
    assert_int_equal(ask(&v3, 0, 0xd, 2, EAX), 256);
    assert_int_equal(ask(&v2, 0, 0x40000000, 0, EBX), 0x4b4d564b);
    assert_int_equal(ask(&v2, 0, 0x40000001, 0, EAX), 1u << 1 | 1u << 3 | 1u << 24);
    assert_int_equal(ask(&v2, 0, 0x80000007, 0, EDX), 0); /* its TSC may change its pace on the way */
    assert_int_equal(ask(&v2, 0, 0x80000008, 0, EAX), 0x3028);
    assert_int_equal(ask(&v2, 0, 0x12345678, 0, EAX), 0);
    assert_int_equal(ask(&v2, 0, 0x15, 0, EAX), 0);
}

static void refuses_what_the_host_lacks(void **state)
{
    (void)state;
    struct cpuid_table host = amd();
    struct cpu_model model = {.vcpus = 77};
    struct err err = {0};
    for (unsigned i = 0; i < host.count; i++)
        if (host.leaf[i].leaf == 7)
            host.leaf[i].ebx &= ~(1u << 5); /* AVX2 */
    assert_int_equal(cpu_model_build("baseline-v3", &host, 1, 1, &model, &err), -ENOTSUP);
    assert_non_null(strstr(err.text, "lacks avx2;"));
    assert_int_equal(cpu_model_build("baseline-v2", &host, 1, 1, &model, &err), 0);
    model.vcpus = 77;
    assert_int_equal(cpu_model_build("pentium", &host, 1, 1, &model, &err), -EINVAL);
    assert_non_null(strstr(err.text, "baseline-v3"));
    assert_int_equal(cpu_model_build("host", &host, 0, 1, &model, &err), -EINVAL);
    assert_int_equal(cpu_model_build("host", &host, 33, 1, &model, &err), -EINVAL);
    assert_int_equal(model.vcpus, 77);
    for (unsigned i = 0; i < host.count; i++)
        if (host.leaf[i].leaf == 0x80000008)
            host.leaf[i].eax = 0x3024;
    assert_int_equal(cpu_model_build("baseline-v2", &host, 1, 1, &model, &err), -ENOTSUP);
    struct cpuid_table empty = {0};
    assert_int_equal(cpu_model_build("baseline-v2", &empty, 1, 1, &model, &err), -ENOTSUP);
}

static void host_gives_only_what_can_be_kept(void **state)
{
    (void)state;
    struct cpuid_table host = intel();
    struct cpu_model model;
    build("host", &host, 2, &model);
    assert_int_equal(ask(&model, 0, 1, 0, EAX), 0x000806f8);
    assert_int_equal(ask(&model, 0, 1, 0, ECX) & (1u << 3 | 1u << 5 | 1u << 15 | 1u << 27), 0); /* MWAIT VMX PDCM */
    assert_int_equal(ask(&model, 0, 0x80000001, 0, ECX) & (1u << 2 | 1u << 23), 0);             /* SVM, counters */
    assert_int_equal(ask(&model, 0, 7, 0, EBX) & (1u << 2 | 1u << 11 | 1u << 14 | 1u << 16 | 1u << 25), 0);
    assert_int_equal(ask(&model, 0, 7, 0, ECX) & (1u << 3 | 1u << 7 | 1u << 16), 0); /* PKU, shadow stacks, LA57 */
    assert_int_equal(ask(&model, 0, 7, 0, EDX) & (1u << 20 | 1u << 22 | 1u << 24), 0);
    assert_int_equal(ask(&model, 0, 0xa, 0, EAX), 0);
    assert_int_equal(ask(&model, 0, 0xd, 0, EAX), 7);
    assert_int_equal(ask(&model, 0, 0xd, 1, ECX), 0);
    assert_int_equal(ask(&model, 0, 0x80000007, 0, EDX), 0x100);
    assert_int_equal(ask(&model, 0, 0x80000008, 0, EAX), 0x2e39);
    /* past the end: an Intel processor answers with its last basic leaf */
    assert_int_equal(ask(&model, 0, 0x15, 0, EAX), 7);
    assert_int_equal(ask(&model, 0, 0, 0, EAX), 0xd);
}

static void host_without_avx_has_nothing_of_it(void **state)
{
    (void)state;
    struct cpuid_table host = intel();
    struct cpu_model model;
    for (unsigned i = 0; i < host.count; i++)
        if (host.leaf[i].leaf == 1)
            host.leaf[i].ecx &= ~(1u << 26); /* XSAVE */
    build("host", &host, 1, &model);
    assert_int_equal(ask(&model, 0, 1, 0, ECX) & (1u << 12 | 1u << 28 | 1u << 29), 0);
    assert_int_equal(ask(&model, 0, 7, 0, EBX) & 1u << 5, 0);
    assert_int_equal(ask(&model, 0, 0xd, 1, EAX), 0);
    assert_int_equal(model.xcr0, 1);
}

static void every_vcpu_knows_its_place(void **state)
{
    (void)state;
    struct cpuid_table hosts[] = {intel(), amd()};
    for (unsigned h = 0; h < 2; h++) {
        struct cpu_model model;
        build("host", &hosts[h], 3, &model);
        for (unsigned i = 0; i < 3; i++) {
            assert_int_equal(ask(&model, i, 1, 0, EBX), i << 24 | 3 << 16 | 8 << 8);
            assert_int_equal(ask(&model, i, 1, 0, EDX) >> 28 & 1, 1);
            assert_int_equal(ask(&model, i, 0xb, 0, EBX), 1);
            assert_int_equal(ask(&model, i, 0xb, 1, EAX), 2); /* APIC ids of a socket: 2 bits */
            assert_int_equal(ask(&model, i, 0xb, 1, EBX), 3);
            assert_int_equal(ask(&model, i, 0xb, 1, ECX), 0x201);
            assert_int_equal(ask(&model, i, 0xb, 1, EDX), i);
            assert_int_equal(ask(&model, i, 0xb, 7, EDX), i);
            assert_int_equal(ask(&model, i, 0xb, 7, ECX), 7);
        }
    }
    struct cpu_model model;
    build("host", &hosts[0], 3, &model);
    assert_int_equal(ask(&model, 0, 4, 0, EAX), 0x121 | 3u << 26);            /* L1: a core's */
    assert_int_equal(ask(&model, 0, 4, 3, EAX), 0x163 | 2u << 14 | 3u << 26); /* L3: everybody's */
    assert_int_equal(ask(&model, 0, 4, 4, EAX), 0);
    build("host", &hosts[1], 3, &model);
    assert_int_equal(ask(&model, 2, 0x80000008, 0, ECX), 2 << 12 | 2);
    assert_int_equal(ask(&model, 2, 0x8000001e, 0, EAX), 2);
    assert_int_equal(ask(&model, 2, 0x80000001, 0, ECX) & 2, 2);
    build("host", &hosts[1], 1, &model);
    assert_int_equal(ask(&model, 0, 0x80000001, 0, ECX) & 2, 0);
    assert_int_equal(ask(&model, 0, 1, 0, EDX) >> 28 & 1, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(baselines_are_equal_everywhere),     cmocka_unit_test(levels_are_the_psabis),
        cmocka_unit_test(refuses_what_the_host_lacks),        cmocka_unit_test(host_gives_only_what_can_be_kept),
        cmocka_unit_test(host_without_avx_has_nothing_of_it), cmocka_unit_test(every_vcpu_knows_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
