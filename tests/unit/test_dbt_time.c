/* Time of a guest under our own engine: it stands still from save to load and until the guest goes on, and the TSC
 * keeps the speed that the guest knows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <x86intrin.h>

#include "hv/dbt/clock.h"
#include "hv/timers.h"
#include "node/base/err.h"
#include "tests/unit/dbt_bench.h"

enum { SVR = 0xf0, IRR_2 = 0x220, LVT_TIMER = 0x320, DEADLINE_40 = 0x40040, VECTOR_40 = 1, KHZ = 1234567 };
static const uint64_t tsc = 5000000000000, kvmclock_ns = 123456789012;

struct pvclock { /* Documentation/virt/kvm/x86/msr.rst */
    uint32_t version, pad0;
    uint64_t tsc_timestamp, system_time;
    uint32_t multiplier;
    int8_t shift;
    uint8_t flags, pad[2];
};

static void put_register(struct cpu_state *cpu, unsigned at, uint32_t value)
{
    memcpy(cpu->lapic + at, &value, sizeof value);
}

static uint32_t get_register(const struct cpu_state *cpu, unsigned at)
{
    uint32_t value;
    memcpy(&value, cpu->lapic + at, sizeof value);
    return value;
}

static void get(struct bench *b, struct cpu_state *cpu)
{
    struct err err;
    assert_int_equal(b->engine->get(b->vcpu[0], cpu, &err), 0);
}

/* A guest that was saved when its deadline was due. */
static void load(struct bench *b, uint64_t deadline)
{
    struct cpu_state cpu;
    struct err err;
    b->engine->pause(b->vm);
    bench_prepare(b, BENCH_LONG, &cpu);
    put_register(&cpu, SVR, 0x1ff);
    put_register(&cpu, LVT_TIMER, DEADLINE_40);
    cpu.msr[CPU_MSR_TSC] = tsc;
    cpu.msr[CPU_MSR_KVM_SYSTEM_TIME] = BENCH_DATA | 1;
    cpu.tsc_deadline = deadline;
    cpu.kvmclock_ns = kvmclock_ns;
    cpu.tsc_khz = KHZ;
    assert_int_equal(b->engine->set(b->vcpu[0], &cpu, &err), 0);
}

static void test_loaded(void **state)
{
    const uint64_t deadlines[] = {tsc - 1000, tsc, tsc + 1000, tsc + (1ull << 40), 0};
    static const uint8_t nothing[sizeof(struct pvclock)];
    struct bench b;
    struct cpu_state cpu;
    (void)state;
    for (unsigned i = 0; i < sizeof deadlines / sizeof *deadlines; i++) {
        bench_new(&b, &engine_interp, 1);
        load(&b, deadlines[i]);
        get(&b, &cpu);
        assert_int_equal(cpu.msr[CPU_MSR_TSC], tsc);
        assert_int_equal(cpu.tsc_deadline, deadlines[i]);
        assert_int_equal(cpu.kvmclock_ns, kvmclock_ns);
        assert_int_equal(cpu.tsc_khz, KHZ);
        assert_int_equal(get_register(&cpu, IRR_2), 0);
        assert_memory_equal(b.ram + BENCH_DATA, nothing, sizeof nothing);
        bench_free(&b);
    }
}

static void test_goes_on(void **state)
{
    struct bench b;
    struct cpu_state cpu;
    struct pvclock page;
    (void)state;
    bench_new(&b, &engine_interp, 1);
    load(&b, tsc - 1000);
    timers_start(b.timers);
    b.engine->resume(b.vm);
    memcpy(&page, b.ram + BENCH_DATA, sizeof page);
    assert_int_equal(page.version % 2, 0);
    assert_int_not_equal(page.version, 0);
    assert_int_equal(page.tsc_timestamp, tsc);
    assert_in_range(page.system_time, kvmclock_ns, kvmclock_ns + 10000000000); /* the machine may be slow */
    get(&b, &cpu);
    assert_int_equal(get_register(&cpu, IRR_2), VECTOR_40);
    assert_int_equal(cpu.tsc_deadline, 0);
    b.engine->pause(b.vm);
    timers_stop(b.timers);
    put_register(&cpu, IRR_2, 0);
    struct err err;
    assert_int_equal(b.engine->set(b.vcpu[0], &cpu, &err), 0);
    timers_start(b.timers);
    b.engine->resume(b.vm); /* what has fired does not fire again */
    get(&b, &cpu);
    assert_int_equal(get_register(&cpu, IRR_2), 0);
    timers_stop(b.timers);
    bench_free(&b);
}

/* Between two readings of the host's TSC there are as many of the guest's ticks, times the ratio. */
static void test_speed(void **state)
{
    static const uint64_t halves[] = {1, 2, 3, 5}; /* of the host's speed */
    struct bench b;
    (void)state;
    bench_new(&b, &engine_interp, 1);
    for (unsigned i = 0; i < sizeof halves / sizeof *halves; i++) {
        struct dbt_clock clock;
        dbt_clock_init(&clock, b.timers);
        dbt_clock_load(&clock, 0, dbt_clock_host_khz() * halves[i] / 2);
        dbt_clock_resume(&clock);
        uint64_t before = __rdtsc(), first = dbt_clock_tsc(&clock), after = __rdtsc();
        while (__rdtsc() - after < 1000000)
            ;
        uint64_t inner = __rdtsc(), last = dbt_clock_tsc(&clock), outer = __rdtsc();
        assert_in_range(last - first, (inner - after) * halves[i] / 2 - 100, (outer - before) * halves[i] / 2 + 100);
    }
    bench_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loaded),
        cmocka_unit_test(test_goes_on),
        cmocka_unit_test(test_speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
