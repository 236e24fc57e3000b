#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "node/base/buffer_pool.h"

static void classes(void **state)
{
    (void)state;
    assert_int_equal(buffer_class_bytes(1), 4096);
    assert_int_equal(buffer_class_bytes(4096), 4096);
    assert_int_equal(buffer_class_bytes(4097), 8192);
    assert_int_equal(buffer_class_bytes((1 << 20) + 1), 2 << 20);
    assert_int_equal(buffer_class_bytes((size_t)1 << 31), (size_t)1 << 31);
}

static void buffers_are_aligned_and_whole(void **state)
{
    (void)state;
    struct buffer_pool *pool = buffer_pool_new(1 << 20);
    static const size_t lengths[] = {1, 4095, 4096, 5000, 65536, 100000, 3 << 20};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        char *b = buffer_get(pool, lengths[i]);
        assert_non_null(b);
        assert_int_equal((uintptr_t)b % BUFFER_ALIGN_BYTES, 0);
        memset(b, 0x5a, lengths[i]);
        buffer_put(pool, b, lengths[i]);
    }
    buffer_pool_free(pool);
}

static void the_newest_is_reused_first(void **state)
{
    (void)state;
    struct buffer_pool *pool = buffer_pool_new(1 << 20);
    void *a = buffer_get(pool, 10000), *b = buffer_get(pool, 10000);
    assert_ptr_not_equal(a, b);
    buffer_put(pool, a, 10000);
    buffer_put(pool, b, 10000);
    assert_ptr_equal(buffer_get(pool, 9000), b); /* another length of the same class */
    assert_ptr_equal(buffer_get(pool, 16384), a);
    buffer_put(pool, a, 10000);
    buffer_put(pool, b, 10000);
    void *other = buffer_get(pool, 20000);
    assert_ptr_not_equal(other, a);
    assert_ptr_not_equal(other, b);
    buffer_put(pool, other, 20000);
    buffer_pool_free(pool);
}

static void keeps_no_more_than_it_may(void **state)
{
    (void)state;
    struct buffer_pool *pool = buffer_pool_new(8192);
    char *b[3];
    for (int i = 0; i < 3; i++)
        b[i] = buffer_get(pool, 4096);
    for (int i = 0; i < 3; i++)
        buffer_put(pool, b[i], 4096); /* the third goes back to the system */
    assert_ptr_equal(buffer_get(pool, 4096), b[1]);
    assert_ptr_equal(buffer_get(pool, 4096), b[0]);
    buffer_put(pool, b[0], 4096);
    buffer_put(pool, b[1], 4096);
    buffer_put(pool, NULL, 4096);
    buffer_pool_free(pool);
}

static void refuses_the_impossible(void **state)
{
    (void)state;
    struct buffer_pool *pool = buffer_pool_new(0);
    assert_null(buffer_get(pool, ((size_t)1 << 31) + 1));
    assert_null(buffer_get(pool, SIZE_MAX));
    buffer_pool_free(pool);
    buffer_pool_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes),
        cmocka_unit_test(buffers_are_aligned_and_whole),
        cmocka_unit_test(the_newest_is_reused_first),
        cmocka_unit_test(keeps_no_more_than_it_may),
        cmocka_unit_test(refuses_the_impossible),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
