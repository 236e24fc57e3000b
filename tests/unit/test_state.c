/* The state format: both directions through one function, and every way in which a stream can be wrong. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/chips_state.h"
#include "hv/cpu_state.h"
#include "hv/state.h"
#include "node/base/err.h"

struct thing {
    uint8_t a;
    uint16_t b;
    uint32_t c;
    uint64_t d;
    bool e;
    uint8_t fixed[5], blob[8];
    size_t blob_bytes;
};

static void thing_state(struct thing *t, struct state *s, uint32_t instance)
{
    if (!state_begin(s, "thing", instance, 3))
        return;
    state_u8(s, "a", &t->a);
    state_u16(s, "b", &t->b);
    state_u32(s, "c", &t->c);
    state_u64(s, "d", &t->d);
    state_bool(s, "e", &t->e);
    state_bytes(s, "fixed", t->fixed, sizeof t->fixed);
    state_blob(s, "blob", t->blob, &t->blob_bytes, sizeof t->blob);
    state_check(s, t->a < 100, "a is 100 or more");
    state_end(s);
}

static const struct thing example = {1, 2, 3, 1ull << 40, true, "five", "abc", 3};

static uint8_t *save(struct thing t, size_t *bytes)
{
    struct err err;
    const void *data;
    struct state *s = state_save_new();
    thing_state(&t, s, 7);
    assert_int_equal(state_fini(s, &data, bytes, &err), 0);
    uint8_t *copy = malloc(*bytes);
    memcpy(copy, data, *bytes);
    state_free(s);
    return copy;
}

static int load(const uint8_t *data, size_t bytes, struct thing *t, struct err *err)
{
    struct state *s = state_load_new(data, bytes);
    thing_state(t, s, 7);
    int rc = state_fini(s, NULL, NULL, err);
    state_free(s);
    return rc;
}

static void test_round_trip(void **state)
{
    (void)state;
    size_t bytes;
    struct err err;
    uint8_t *data = save(example, &bytes);
    struct thing t = {0};
    assert_int_equal(load(data, bytes, &t, &err), 0);
    assert_int_equal(t.a, 1);
    assert_int_equal(t.b, 2);
    assert_int_equal(t.c, 3);
    assert_int_equal(t.d, 1ull << 40);
    assert_true(t.e);
    assert_memory_equal(t.fixed, "five", 5);
    assert_int_equal(t.blob_bytes, 3);
    assert_memory_equal(t.blob, "abc", 3);
    size_t again_bytes;
    uint8_t *again = save(t, &again_bytes);
    assert_int_equal(again_bytes, bytes);
    assert_memory_equal(again, data, bytes);
    free(again);
    free(data);
}

/* Whatever byte is changed and wherever the stream is cut: an error, and never a crash. */
static void test_damage(void **state)
{
    (void)state;
    size_t bytes;
    struct err err;
    uint8_t *data = save(example, &bytes);
    struct thing t = {0};
    for (size_t i = 0; i < bytes; i++) {
        data[i] ^= 0x10;
        assert_int_not_equal(load(data, bytes, &t, &err), 0);
        data[i] ^= 0x10;
        assert_int_not_equal(load(data, i, &t, &err), 0);
    }
    assert_int_equal(load(data, bytes, &t, &err), 0);
    free(data);
}

static void test_impossible_value(void **state)
{
    (void)state;
    size_t bytes;
    struct err err;
    struct thing t = example;
    t.a = 100;
    uint8_t *data = save(t, &bytes);
    assert_int_equal(load(data, bytes, &t, &err), -EINVAL);
    assert_string_equal(err.text, "thing 7: a is 100 or more");
    free(data);
}

static void test_missing_and_unknown(void **state)
{
    (void)state;
    struct err err;
    const void *data;
    size_t bytes;
    uint64_t v = 5;
    struct state *s = state_save_new();
    state_begin(s, "one", 0, 1);
    state_u64(s, "v", &v);
    state_end(s);
    state_begin(s, "two", 0, 1);
    state_end(s);
    assert_int_equal(state_fini(s, &data, &bytes, &err), 0);

    struct state *l = state_load_new(data, bytes); /* nobody asks for "two" */
    assert_true(state_begin(l, "one", 0, 1));
    assert_true(state_optional(l, "v"));
    assert_false(state_optional(l, "w"));
    state_u64(l, "v", &v);
    state_end(l);
    assert_int_equal(state_fini(l, NULL, NULL, &err), -EINVAL);
    assert_non_null(strstr(err.text, "two"));
    state_free(l);

    l = state_load_new(data, bytes); /* "v" is not known */
    state_begin(l, "one", 0, 1);
    state_end(l);
    assert_true(state_failed(l));
    assert_int_equal(state_fini(l, NULL, NULL, &err), -EINVAL);
    assert_string_equal(err.text, "one 0: field 'v' is not known here");
    state_free(l);

    l = state_load_new(data, bytes); /* a device that the stream lacks, and a field */
    assert_false(state_begin(l, "one", 1, 1));
    assert_int_equal(state_fini(l, NULL, NULL, &err), -EINVAL);
    state_free(l);

    l = state_load_new(data, bytes);
    uint8_t small = 9;
    state_begin(l, "one", 0, 3); /* version 1 is two before 3 */
    state_u8(l, "v", &small);
    assert_int_equal(small, 9);
    assert_int_equal(state_fini(l, NULL, NULL, &err), -EINVAL);
    assert_non_null(strstr(err.text, "version 1"));
    state_free(l);
    state_free(s);
}

static void test_number_too_large(void **state)
{
    (void)state;
    struct err err;
    const void *data;
    size_t bytes;
    uint64_t v = 256;
    uint8_t small = 9;
    struct state *s = state_save_new();
    state_begin(s, "one", 0, 1);
    state_u64(s, "v", &v);
    state_end(s);
    state_fini(s, &data, &bytes, &err);
    struct state *l = state_load_new(data, bytes);
    state_begin(l, "one", 0, 2); /* one version newer reads it */
    assert_int_equal(state_version(l), 1);
    state_u8(l, "v", &small);
    assert_int_equal(small, 9);
    assert_int_equal(state_fini(l, NULL, NULL, &err), -EINVAL);
    state_free(l);
    state_free(s);
}

static void test_cpu_and_chips(void **state)
{
    (void)state;
    struct err err;
    const void *data;
    size_t bytes;
    struct cpu_state cpu, back;
    struct chips_state chips, chips_back;
    cpu_state_reset(&cpu, 1);
    chips_state_reset(&chips);
    cpu.gpr[CPU_R15] = 0xdeadbeefcafef00d;
    cpu.msr[CPU_MSR_MTRR_MASK_7] = 77;
    cpu.interrupt_pending = true;
    chips.pic[1].vector_base = 0x28;
    chips.ioapic.redirection[23] = 0x1234;
    struct state *s = state_save_new();
    cpu_state_state(&cpu, 1, s);
    chips_state_state(&chips, s);
    assert_int_equal(state_fini(s, &data, &bytes, &err), 0);
    memset(&back, 0, sizeof back);
    memset(&chips_back, 0, sizeof chips_back);
    struct state *l = state_load_new(data, bytes);
    cpu_state_state(&back, 1, l);
    chips_state_state(&chips_back, l);
    assert_int_equal(state_fini(l, NULL, NULL, &err), 0);
    assert_int_equal(back.gpr[CPU_R15], cpu.gpr[CPU_R15]);
    assert_int_equal(back.msr[CPU_MSR_MTRR_MASK_7], 77);
    assert_int_equal(back.activity, CPU_UNINITIALIZED);
    assert_true(back.interrupt_pending);
    assert_memory_equal(back.lapic, cpu.lapic, sizeof cpu.lapic);
    assert_memory_equal(back.xsave, cpu.xsave, sizeof cpu.xsave);
    assert_memory_equal(back.seg, cpu.seg, sizeof cpu.seg);
    assert_int_equal(chips_back.pic[1].vector_base, 0x28);
    assert_int_equal(chips_back.ioapic.redirection[23], 0x1234);
    state_free(l);
    state_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),       cmocka_unit_test(test_damage),
        cmocka_unit_test(test_impossible_value), cmocka_unit_test(test_missing_and_unknown),
        cmocka_unit_test(test_number_too_large), cmocka_unit_test(test_cpu_and_chips),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
