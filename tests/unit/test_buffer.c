/* Bytes that grow: what is behind them, the limit, and what a refusal leaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "node/base/buffer.h"

static void test_grows(void **state)
{
    struct buffer b = {0};
    (void)state;
    for (unsigned i = 0; i < 5000; i++) {
        char c = (char)('a' + i % 26);
        assert_true(buffer_add(&b, &c, 1, SIZE_MAX));
        assert_true(b.len == i + 1 && b.data[b.len] == 0 && b.size > b.len);
    }
    for (unsigned i = 0; i < 5000; i++)
        assert_int_equal(b.data[i], 'a' + i % 26);
    buffer_free(&b);
    assert_true(!b.data && !b.len && !b.size);
}

static void test_nothing_is_something(void **state)
{
    struct buffer b = {0};
    (void)state;
    assert_true(buffer_add(&b, NULL, 0, 0));
    assert_string_equal(b.data, "");
    buffer_free(&b);
}

static void test_limit(void **state)
{
    struct buffer b = {0};
    (void)state;
    assert_true(buffer_add(&b, "12345", 5, 8));
    assert_false(buffer_add(&b, "6789", 4, 8));
    assert_false(buffer_add(&b, "6", SIZE_MAX, 8));
    assert_false(buffer_add(&b, "6", 1, 3));
    assert_null(buffer_room(&b, 4, 8));
    assert_true(b.len == 5);
    assert_string_equal(b.data, "12345");
    assert_true(buffer_add(&b, "678", 3, 8));
    assert_string_equal(b.data, "12345678");
    buffer_free(&b);
}

static void test_room(void **state)
{
    struct buffer b = {0};
    (void)state;
    assert_true(buffer_add(&b, "a", 1, SIZE_MAX));
    char *to = buffer_room(&b, 3000, SIZE_MAX);
    assert_true(to == b.data + 1 && b.len == 1 && b.size > 3001);
    memset(to, 'b', 3000);
    b.len += 3000;
    assert_true(buffer_add(&b, "c", 1, SIZE_MAX));
    assert_true(b.len == 3002 && b.data[1] == 'b' && b.data[3000] == 'b' && b.data[3001] == 'c');
    buffer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grows),
        cmocka_unit_test(test_nothing_is_something),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
