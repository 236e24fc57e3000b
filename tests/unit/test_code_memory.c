/* Code memory: what is written at one address runs at the other, and neither can do both. */
#include "tests/unit/fixture.h"

#include <stdio.h>
#include <string.h>

#include "hv/dbt/code_memory.h"
#include "node/base/err.h"

static struct code_memory *make(size_t bytes)
{
    struct err err = {0};
    struct code_memory *m = code_memory_new(bytes, &err);
    assert_string_equal(err.text, "");
    assert_non_null(m);
    return m;
}

static void write_answer(struct code_memory *m, size_t offset, uint8_t value)
{
    const uint8_t code[] = {0xb8, value, 0, 0, 0, 0xc3}; /* mov eax, value; ret */
    memcpy(m->rw + offset, code, sizeof(code));
    code_memory_publish();
}

static int run(const struct code_memory *m, size_t offset)
{
    int (*f)(void);
    const uint8_t *at = m->rx + offset;
    memcpy(&f, &at, sizeof(f));
    return f();
}

static void runs_what_was_written(void **state)
{
    (void)state;
    struct code_memory *m = make(5000);
    assert_int_equal(m->bytes, 8192);
    for (int value = 0; value < 256; value++) { /* the same place again and again */
        write_answer(m, 4090, (uint8_t)value);
        assert_int_equal(run(m, 4090), value);
    }
    code_memory_free(m);
}

static void knows_its_addresses(void **state)
{
    (void)state;
    struct code_memory *m = make(4096);
    uint64_t rx = (uint64_t)(uintptr_t)m->rx;
    assert_true(code_memory_holds(m, rx));
    assert_true(code_memory_holds(m, rx + 4095));
    assert_false(code_memory_holds(m, rx + 4096));
    assert_false(code_memory_holds(m, rx - 1));
    assert_ptr_equal(code_memory_rx(m, m->rw + 7), m->rx + 7);
    assert_ptr_equal(code_memory_rw(m, m->rx + 7), m->rw + 7);
    code_memory_free(m);
    code_memory_free(NULL);
}

/* What the kernel says of the mapping that holds an address. */
static void rights_of(const void *address, char rights[5])
{
    FILE *f = fopen("/proc/self/maps", "re");
    char line[512];
    unsigned long from, to;
    assert_non_null(f);
    strcpy(rights, "none");
    while (fgets(line, sizeof(line), f)) {
        char r[5];
        if (sscanf(line, "%lx-%lx %4s", &from, &to, r) == 3 && (uintptr_t)address >= from && (uintptr_t)address < to)
            memcpy(rights, r, sizeof(r));
    }
    fclose(f);
}

static void never_both(void **state)
{
    (void)state;
    struct code_memory *m = make(4096);
    char rights[5];
    rights_of(m->rx, rights);
    assert_string_equal(rights, "r-xs");
    rights_of(m->rw, rights);
    assert_string_equal(rights, "rw-s");
    code_memory_free(m);
}

static void released_reads_as_zeroes(void **state)
{
    (void)state;
    struct code_memory *m = make(3 * 4096);
    memset(m->rw, 0x55, m->bytes);
    code_memory_release(m, 4097); /* the page that it ends in stays */
    assert_int_equal(m->rx[8191], 0x55);
    assert_int_equal(m->rx[8192], 0);
    write_answer(m, 8192, 9);
    assert_int_equal(run(m, 8192), 9);
    code_memory_release(m, m->bytes);
    assert_int_equal(run(m, 8192), 9);
    code_memory_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_what_was_written),
        cmocka_unit_test(knows_its_addresses),
        cmocka_unit_test(never_both),
        cmocka_unit_test(released_reads_as_zeroes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
