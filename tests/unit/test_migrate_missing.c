/* The list of pages that a guest goes without: what is taken is taken once, what is sent arrives, and a list of pages
 * that are none is refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/memory.h"
#include "hv/migrate_link.h"
#include "hv/migrate_missing.h"
#include "node/base/err.h"

enum { PAGE = 4096, SIZE = 8 << 20, PAGES = SIZE / PAGE };

static uint8_t wire[1 << 20]; /* the connection */
static size_t written, taken;

int __wrap_migrate_link_put(struct migrate_link *link, const struct migrate_frame *f, const void *body,
                            struct err *err);
int __wrap_migrate_link_put(struct migrate_link *link, const struct migrate_frame *f, const void *body, struct err *err)
{
    (void)link, (void)err;
    migrate_frame_pack(f, wire + written);
    memcpy(wire + written + MIGRATE_HEADER_BYTES, body, f->bytes);
    written += MIGRATE_HEADER_BYTES + f->bytes;
    return 0;
}

int __wrap_migrate_link_get(struct migrate_link *link, void *to, size_t bytes, struct err *err);
int __wrap_migrate_link_get(struct migrate_link *link, void *to, size_t bytes, struct err *err)
{
    (void)link, (void)err;
    memcpy(to, wire + taken, bytes);
    taken += bytes;
    return 0;
}

static struct memory *memory;

static int set_up(void **state)
{
    struct err err;
    uint8_t rom[PAGE] = {1};
    (void)state;
    memory = memory_new(SIZE, &err);
    written = taken = 0;
    return memory ? memory_add_rom(memory, UINT64_C(0xfffff000), rom, sizeof rom, &err) : -1;
}

static int tear_down(void **state)
{
    (void)state;
    memory_free(memory);
    return 0;
}

/* Every third page, and a long run. */
static bool is_missing(uint64_t page)
{
    return page % 3 == 0 || (page >= 700 && page < 900);
}

static unsigned fill(struct migrate_missing *m)
{
    uint64_t bitmap[PAGES / 64] = {0};
    unsigned count = 0;
    struct err err;
    for (uint64_t page = 0; page < PAGES; page++)
        if (is_missing(page)) {
            bitmap[page / 64] |= UINT64_C(1) << page % 64;
            count++;
        }
    assert_int_equal(migrate_missing_init(m, memory, &err), 0);
    migrate_missing_set(m, 0, bitmap);
    migrate_missing_set(m, 1, bitmap); /* ROM: none of it is ever missing */
    assert_int_equal(m->pages, count);
    return count;
}

static void test_each_once(void **state)
{
    (void)state;
    struct migrate_missing m;
    struct migrate_run run, walk = {0};
    bool seen[PAGES] = {false};
    unsigned left = fill(&m), walked = 0;
    while (migrate_missing_walk(&m, &walk))
        walked += walk.count;
    assert_int_equal(walked, left);
    assert_true(migrate_missing_near(&m, 750 * PAGE + 5, 8, &run)); /* a needed page, and what is behind it */
    assert_int_equal(run.page, 750);
    assert_int_equal(run.count, 8);
    assert_false(migrate_missing_near(&m, 750 * PAGE, 8, &run));
    assert_false(migrate_missing_near(&m, UINT64_C(0xfffff000), 8, &run));
    assert_false(migrate_missing_near(&m, SIZE, 8, &run));
    left -= 8;
    assert_int_equal(migrate_missing_take(&m, 0, 690, 20), 4 + 10); /* 690, 693, 696, 699; 700 to 709 */
    left -= 14;
    while (migrate_missing_next(&m, 16, &run)) {
        assert_true(run.count && run.count <= 16);
        assert_int_equal(run.page / 64, (run.page + run.count - 1) / 64);
        for (uint64_t page = run.page; page < run.page + run.count; page++) {
            assert_true(is_missing(page) && !seen[page]);
            seen[page] = true;
        }
        left -= run.count;
    }
    assert_int_equal(left, 0);
    assert_int_equal(m.pages, 0);
    migrate_missing_fini(&m);
}

static void test_over_the_wire(void **state)
{
    (void)state;
    struct migrate_missing m, other;
    struct migrate_frame f;
    struct err err;
    unsigned count = fill(&m);
    assert_int_equal(migrate_missing_init(&other, memory, &err), 0);
    assert_int_equal(migrate_missing_send(&m, NULL, &err), 0);
    while (taken < written) {
        uint8_t header[MIGRATE_HEADER_BYTES];
        __wrap_migrate_link_get(NULL, header, sizeof header, &err);
        assert_int_equal(migrate_frame_unpack(&f, header, &err), 0);
        assert_int_equal(migrate_missing_receive(&other, NULL, &f, &err), 0);
    }
    assert_int_equal(other.pages, count);
    for (uint64_t page = 0; page < PAGES; page++)
        assert_int_equal(migrate_missing_has(&other, 0, page), is_missing(page));
    migrate_missing_fini(&m);
    migrate_missing_fini(&other);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct migrate_frame frames[] = {{MIGRATE_MISSING, 8, 4096},                 /* not at a 64th page */
                                                  {MIGRATE_MISSING, 8, SIZE},                 /* behind the memory, */
                                                  {MIGRATE_MISSING, PAGES / 8 + 8, 0},        /* beyond it, */
                                                  {MIGRATE_MISSING, 8, UINT64_C(0xfffff000)}, /* in ROM */
                                                  {MIGRATE_MISSING, 8, UINT64_MAX - 64 * PAGE}}; /* nowhere */
    struct migrate_missing m;
    struct err err;
    assert_int_equal(migrate_missing_init(&m, memory, &err), 0);
    memset(wire, 0xff, 4096);
    for (unsigned i = 0; i < sizeof frames / sizeof *frames; i++) {
        taken = 0;
        assert_int_equal(migrate_missing_receive(&m, NULL, &frames[i], &err), -EPROTO);
        assert_int_equal(m.pages, 0);
    }
    migrate_missing_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_each_once, set_up, tear_down),
                                       cmocka_unit_test_setup_teardown(test_over_the_wire, set_up, tear_down),
                                       cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
