/* See host.h. */
#include "hv/dbt/host.h"

#include <cpuid.h>
#include <stdint.h>

static uint32_t leaf7_ebx(void)
{
    uint32_t a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) ? b : 0;
}

static uint32_t leaf1_ecx(void)
{
    uint32_t a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid(1, &a, &b, &c, &d) ? c : 0;
}

static uint32_t extended_ecx(void)
{
    uint32_t a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid(0x80000001u, &a, &b, &c, &d) ? c : 0;
}

static bool ask(enum host_feature feature)
{
    switch (feature) {
    case HOST_BMI1:
        return leaf7_ebx() >> 3 & 1;
    case HOST_BMI2:
        return leaf7_ebx() >> 8 & 1;
    case HOST_RDSEED:
        return leaf7_ebx() >> 18 & 1;
    case HOST_POPCNT:
        return leaf1_ecx() >> 23 & 1;
    case HOST_CRC32:
        return leaf1_ecx() >> 20 & 1;
    case HOST_RDRAND:
        return leaf1_ecx() >> 30 & 1;
    case HOST_LZCNT:
        return extended_ecx() >> 5 & 1;
    }
    return false;
}

bool host_has(enum host_feature feature)
{
    enum { COUNT = HOST_RDSEED + 1 };
    static _Atomic int8_t known[COUNT]; /* CPUID may take microseconds: 0 not asked, 1 no, 2 yes */
    if (!known[feature])
        known[feature] = ask(feature) ? 2 : 1;
    return known[feature] == 2;
}
