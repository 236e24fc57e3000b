/* Page tables as a debugger walks them: every kind, every size of page, and what is not there. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/cpu_state.h"
#include "hv/linear.h"
#include "hv/memory.h"
#include "node/base/err.h"

enum { MIB = 1 << 20, P = 1, LARGE = 0x80, EFER_LMA = 0x400 };
static struct memory *memory;

static int setup(void **state)
{
    struct err err;
    (void)state;
    memory = memory_new(4 * MIB, &err);
    return !memory;
}

static int teardown(void **state)
{
    (void)state;
    memory_free(memory);
    return 0;
}

static void put(uint64_t gpa, uint64_t value, size_t bytes)
{
    assert_int_equal(memory_write(memory, gpa, &value, bytes), 0);
}

static void is_at(const struct cpu_state *cpu, uint64_t linear, uint64_t expected)
{
    uint64_t gpa = 0;
    assert_int_equal(linear_gpa(memory, cpu, linear, &gpa), 0);
    assert_int_equal(gpa, expected);
}

static void is_nowhere(const struct cpu_state *cpu, uint64_t linear)
{
    uint64_t gpa;
    assert_int_equal(linear_gpa(memory, cpu, linear, &gpa), -EFAULT);
}

static void test_none(void **state)
{
    (void)state;
    static struct cpu_state cpu;
    is_at(&cpu, 0x12345678, 0x12345678);
    is_nowhere(&cpu, 1ull << 32);
}

static void test_long(void **state)
{
    (void)state;
    static const struct cpu_state cpu = {.cr0 = 1ull << 31, .cr4 = 0x20, .efer = EFER_LMA, .cr3 = 0x1018};
    put(0x1000 + 8 * 511, 0x2000 | P, 8); /* the highest 512 GiB */
    put(0x2000 + 8 * 1, 0x3000 | P, 8);
    put(0x2000 + 8 * 2, 0x40000000 | P | LARGE, 8);
    put(0x3000 + 8 * 3, 0x4000 | P, 8);
    put(0x3000 + 8 * 4, 0x8000000000200000 | P | LARGE, 8); /* NX */
    put(0x4000 + 8 * 5, 0x7000 | P, 8);
    const uint64_t top = 0xffffff8000000000;
    is_at(&cpu, top | 1ull << 30 | 3 << 21 | 5 << 12 | 0x123, 0x7123);
    is_at(&cpu, top | 1ull << 30 | 4 << 21 | 0x12345, 0x212345);
    is_at(&cpu, top | 2ull << 30 | 0x1234567, 0x41234567);
    is_nowhere(&cpu, top | 1ull << 30 | 3 << 21 | 6 << 12);
    is_nowhere(&cpu, top);
    is_nowhere(&cpu, top & ~(1ull << 63)); /* not canonical */
    is_nowhere(&cpu, 0);
}

static void test_pae(void **state)
{
    (void)state;
    static const struct cpu_state cpu = {.cr0 = 1ull << 31, .cr4 = 0x20, .cr3 = 0x1fe0};
    put(0x1fe0 + 8 * 2, 0x3000 | P, 8);
    put(0x3000 + 8 * 3, 0x4000 | P, 8);
    put(0x3000 + 8 * 4, 0x200000 | P | LARGE, 8);
    put(0x4000 + 8 * 5, 0x100007000 | P, 8);
    is_at(&cpu, 0x80000000 | 3 << 21 | 5 << 12 | 0x123, 0x100007123);
    is_at(&cpu, 0x80000000 | 4 << 21 | 0x12345, 0x212345);
    is_nowhere(&cpu, 0x40000000);
}

static void test_32(void **state)
{
    (void)state;
    static struct cpu_state cpu = {.cr0 = 1ull << 31, .cr4 = 0x10, .cr3 = 0x1000};
    put(0x1000 + 4 * 3, 0x4000 | P, 4);
    put(0x1000 + 4 * 4, 0x00406000 | P | LARGE, 4); /* bits 13 to 20 are 32 and on: 3 */
    put(0x4000 + 4 * 5, 0x7000 | P, 4);
    is_at(&cpu, 3 << 22 | 5 << 12 | 0x123, 0x7123);
    is_at(&cpu, 4 << 22 | 0x12345, 0x300412345);
    is_nowhere(&cpu, 5 << 22);
    cpu.cr4 = 0;
    is_nowhere(&cpu, 4 << 22); /* without PSE it is a table, beyond the memory */
}

/* Pages in a row that lie elsewhere, then one that is not there. */
static void test_copies(void **state)
{
    (void)state;
    static struct cpu_state cpu = {.cr0 = 1ull << 31, .cr4 = 0x20, .efer = EFER_LMA, .cr3 = 0x1000};
    char text[] = "across a page", back[32] = "";
    put(0x1000, 0x2000 | P, 8);
    put(0x2000, 0x3000 | P, 8);
    put(0x3000, 0x4000 | P, 8);
    put(0x4000 + 8 * 1, 0x9000 | P, 8);
    put(0x4000 + 8 * 2, 0x6000 | P, 8);
    assert_int_equal(linear_write(memory, &cpu, 0x1ffb, text, sizeof text), sizeof text);
    assert_int_equal(linear_read(memory, &cpu, 0x1ffb, back, sizeof text), sizeof text);
    assert_string_equal(back, text);
    assert_memory_equal(memory_at(memory, 0x9ffb, 5), "acros", 5);
    assert_memory_equal(memory_at(memory, 0x6000, 8), "s a page", 8);
    assert_int_equal(linear_read(memory, &cpu, 0x2ff0, back, 32), 16);
    assert_int_equal(linear_write(memory, &cpu, 0x2ff0, back, 32), 16);
    assert_int_equal(linear_read(memory, &cpu, 0x5000, back, 1), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
    const struct CMUnitTest tests[] = {TEST(none), TEST(long), TEST(pae), TEST(32), TEST(copies)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
