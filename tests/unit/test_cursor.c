/* Reading and writing within bounds: what is inside comes out right, what is outside is never touched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "node/base/cursor.h"
#include "node/base/emit.h"

static void reads_big_endian(void **state)
{
    (void)state;
    static const uint8_t data[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 'x', 'y'};
    struct cursor c = cursor_of(data, sizeof data);
    assert_int_equal(cursor_u16(&c), 0x0102);
    assert_int_equal(cursor_u32(&c), 0x03040506);
    assert_int_equal(cursor_u64(&c), UINT64_C(0x0708090a0b0c0d0e));
    assert_int_equal(cursor_left(&c), 2);
    assert_false(cursor_done(&c));
    assert_memory_equal(cursor_take(&c, 2), "xy", 2);
    assert_true(cursor_done(&c));
    assert_non_null(cursor_take(&c, 0));
}

static void stops_at_the_end(void **state)
{
    (void)state;
    for (size_t len = 0; len < 8; len++) { /* from the heap, so that a sanitizer sees one byte too many */
        uint8_t *data = malloc(len + !len);
        memset(data, 0xff, len);
        struct cursor c = cursor_of(data, len);
        assert_int_equal(cursor_u64(&c), 0);
        assert_true(c.bad);
        assert_int_equal(cursor_left(&c), 0);
        assert_int_equal(cursor_u16(&c), 0); /* bad stays bad */
        assert_null(cursor_take(&c, 0));
        assert_false(cursor_done(&c));
        c = cursor_of(data, len);
        assert_null(cursor_take(&c, SIZE_MAX));
        free(data);
    }
}

static void writes_big_endian(void **state)
{
    (void)state;
    static const uint8_t expected[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 'x', 'y'};
    uint8_t data[sizeof expected];
    struct emit e = emit_to(data, sizeof data);
    emit_u16(&e, 0x0102);
    emit_u32(&e, 0x03040506);
    emit_u64(&e, UINT64_C(0x0708090a0b0c0d0e));
    emit_bytes(&e, "xy", 2);
    emit_bytes(&e, NULL, 0);
    assert_false(e.bad);
    assert_int_equal(emit_len(&e), sizeof expected);
    assert_memory_equal(data, expected, sizeof expected);
}

static void writes_nothing_past_the_end(void **state)
{
    (void)state;
    for (size_t len = 0; len < 4; len++) {
        uint8_t *data = calloc(1, len + !len);
        struct emit e = emit_to(data, len);
        emit_u32(&e, UINT32_MAX);
        assert_true(e.bad);
        assert_int_equal(emit_len(&e), 0);
        for (size_t i = 0; i < len; i++)
            assert_int_equal(data[i], 0); /* not even the part that would fit */
        emit_bytes(&e, "x", 1);
        assert_int_equal(emit_len(&e), 0);
        free(data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(reads_big_endian), cmocka_unit_test(stops_at_the_end),
                                       cmocka_unit_test(writes_big_endian),
                                       cmocka_unit_test(writes_nothing_past_the_end)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
