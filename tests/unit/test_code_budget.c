/* The memory that translated code may take follows what the guest does. */
#include "tests/unit/fixture.h"

#include "hv/dbt/code_budget.h"

enum { FIRST = 1 << 20, MOST = 4 << 20, BLOCKS = 4000 };

static struct code_budget budget;

static void make(uint64_t from, unsigned count)
{
    for (uint64_t key = from; key < from + count; key++)
        code_budget_count(&budget, key);
}

static void what_runs_once_needs_no_more(void **state)
{
    (void)state;
    code_budget_init(&budget, FIRST, MOST);
    for (unsigned n = 0; n < 20; n++) {
        make(n * BLOCKS, BLOCKS);
        code_budget_spent(&budget);
        assert_int_equal(budget.bytes, FIRST);
    }
}

static void what_comes_again_gets_more(void **state)
{
    (void)state;
    code_budget_init(&budget, FIRST, MOST);
    for (unsigned n = 0; n < 8; n++) {
        make(0, BLOCKS);
        code_budget_spent(&budget);
        assert_int_equal(budget.bytes, n == 0 ? FIRST : n == 1 ? 2 * FIRST : MOST);
    }
}

static void some_that_come_again_change_nothing(void **state)
{
    (void)state;
    code_budget_init(&budget, FIRST, MOST);
    make(0, BLOCKS);
    code_budget_spent(&budget);
    make(0, BLOCKS);
    code_budget_spent(&budget);
    assert_int_equal(budget.bytes, 2 * FIRST);
    for (unsigned n = 0; n < 4; n++) { /* a third of them is the same every time */
        make(0, BLOCKS / 3);
        make((n + 1) * 10 * BLOCKS, BLOCKS - BLOCKS / 3);
        code_budget_spent(&budget);
        assert_int_equal(budget.bytes, 2 * FIRST);
    }
}

static void other_code_gives_it_back(void **state)
{
    (void)state;
    code_budget_init(&budget, FIRST, MOST);
    for (unsigned n = 0; n < 4; n++) {
        make(0, BLOCKS);
        code_budget_spent(&budget);
    }
    assert_int_equal(budget.bytes, MOST);
    make(1 << 20, BLOCKS);
    code_budget_spent(&budget);
    assert_int_equal(budget.bytes, MOST / 2);
    make(2 << 20, BLOCKS);
    code_budget_spent(&budget);
    assert_int_equal(budget.bytes, FIRST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_runs_once_needs_no_more),
        cmocka_unit_test(what_comes_again_gets_more),
        cmocka_unit_test(some_that_come_again_change_nothing),
        cmocka_unit_test(other_code_gives_it_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
