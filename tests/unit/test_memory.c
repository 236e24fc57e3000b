/* Guest memory: where it is, what is outside, the dirty log and the marks of translated pages. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/memory.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { MIB = 1 << 20, PAGE = MEMORY_PAGE_BYTES };
static const uint64_t gib = 1ull << 30;

static void test_slots(void **state)
{
    (void)state;
    struct err err;
    struct memory *m = memory_new(4 * gib, &err);
    assert_non_null(m);
    assert_int_equal(memory_slot_count(m), 2);
    assert_int_equal(memory_size(m), 4 * gib);
    assert_int_equal(memory_slot(m, 0)->bytes, memory_low_end);
    assert_int_equal(memory_slot(m, 1)->gpa, memory_high_start);
    assert_int_equal(memory_slot(m, 1)->bytes, gib);
    assert_non_null(memory_at(m, memory_low_end - 1, 1));
    assert_null(memory_at(m, memory_low_end - 1, 2));
    assert_null(memory_at(m, memory_low_end, 1));
    assert_non_null(memory_at_writable(m, memory_high_start, gib));
    assert_null(memory_at(m, memory_high_start, gib + 1));
    memory_free(m);
    memory_free(NULL);
}

static void test_bad_sizes(void **state)
{
    (void)state;
    const uint64_t sizes[] = {0, 4096, 3 * MIB, 1ull << 60};
    for (unsigned i = 0; i < 4; i++) {
        struct err err = {0};
        assert_null(memory_new(sizes[i], &err));
        assert_int_equal(err.code, EINVAL);
    }
}

static void test_ends(void **state)
{
    (void)state;
    struct err err;
    struct memory *m = memory_new(2 * MIB, &err);
    uint32_t v = 0x11223344, back = 0;
    assert_int_equal(memory_write(m, 2 * MIB - 4, &v, 4), 0);
    assert_int_equal(memory_read(m, 2 * MIB - 4, &back, 4), 0);
    assert_int_equal(back, v);
    assert_int_equal(memory_write(m, 2 * MIB - 3, &v, 4), -EFAULT);
    assert_int_equal(memory_read(m, 2 * MIB, &back, 1), -EFAULT);
    assert_int_equal(memory_read(m, UINT64_MAX - 1, &back, 4), -EFAULT);
    assert_null(memory_at(m, 0, UINT64_MAX));
    assert_null(memory_at(m, 4096, UINT64_MAX - 2048));
    memory_free(m);
}

static void test_rom(void **state)
{
    (void)state;
    struct err err;
    struct memory *m = memory_new(2 * MIB, &err);
    const char text[] = "rom";
    uint64_t top = 4 * gib - PAGE;
    assert_int_equal(memory_add_rom(m, top, text, sizeof text, &err), 0);
    assert_string_equal((const char *)memory_at(m, top, 4), "rom");
    assert_non_null(memory_at(m, top, PAGE)); /* padded */
    assert_null(memory_at_writable(m, top, 1));
    assert_int_equal(memory_write(m, top, "x", 1), -EFAULT);
    assert_int_equal(memory_add_rom(m, top, text, 1, &err), -EINVAL);         /* over the other */
    assert_int_equal(memory_add_rom(m, MIB, text, 1, &err), -EINVAL);         /* over RAM */
    assert_int_equal(memory_add_rom(m, 4 * gib + 1, text, 1, &err), -EINVAL); /* not at a page */
    memory_free(m);
}

static void test_dirty_log(void **state)
{
    (void)state;
    struct err err;
    struct memory *m = memory_new(2 * MIB, &err);
    uint64_t bits[8];
    uint8_t two[PAGE + 1] = {0};
    memory_write(m, 0, two, 1); /* before the log starts */
    memory_log_start(m);
    memory_write(m, 3 * PAGE - 1, two, 2);       /* pages 2 and 3 */
    memory_write(m, 64 * PAGE, two, sizeof two); /* 64 and 65 */
    memory_log_page(m, 511 * PAGE);
    memory_touched(m, 7 * PAGE, 0);
    memory_touched(m, 2 * MIB, 1); /* nowhere */
    memory_log_take(m, 0, bits);
    assert_int_equal(bits[0], 1 << 2 | 1 << 3);
    assert_int_equal(bits[1], 3);
    assert_int_equal(bits[7], 1ull << 63);
    memory_log_take(m, 0, bits);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(bits[i], 0);
    memory_log_stop(m);
    assert_false(memory_log_running(m));
    memory_write(m, 0, two, 1);
    memory_log_take(m, 0, bits);
    assert_int_equal(bits[0], 0);
    memory_free(m);
}

struct watcher {
    struct memory_watch watch;
    uint64_t pages[8];
    unsigned count;
};

static void written(struct memory_watch *watch, uint64_t gpa_page)
{
    struct watcher *w = CONTAINER_OF(watch, struct watcher, watch);
    w->pages[w->count++ % 8] = gpa_page;
}

static void test_watch(void **state)
{
    (void)state;
    struct err err;
    struct memory *m = memory_new(2 * MIB, &err);
    struct watcher w = {.watch.written = written};
    memory_watch(m, &w.watch);
    memory_watch_page(m, 5 * PAGE + 17);
    assert_true(memory_watches_page(m, 5 * PAGE));
    assert_false(memory_watches_page(m, 6 * PAGE));
    memory_touched(m, 4 * PAGE, PAGE);
    assert_int_equal(w.count, 0);
    memory_touched(m, 4 * PAGE, PAGE + 1);
    assert_int_equal(w.count, 1);
    assert_int_equal(w.pages[0], 5 * PAGE);
    memory_touched(m, 5 * PAGE, 1); /* told once */
    assert_int_equal(w.count, 1);
    memory_watch_page(m, 5 * PAGE);
    memory_watch(m, NULL);
    memory_touched(m, 5 * PAGE, 1);
    assert_int_equal(w.count, 1);
    memory_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots), cmocka_unit_test(test_bad_sizes), cmocka_unit_test(test_ends),
        cmocka_unit_test(test_rom),   cmocka_unit_test(test_dirty_log), cmocka_unit_test(test_watch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
