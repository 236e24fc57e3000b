/* The copy and compare engines over memory and files: windows, alignment, zeroes, errors, stopping.
 */
#include "tests/unit/fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nbd/img_compare.h"
#include "nbd/img_copy.h"
#include "nbd/img_zeroes.h"
#include "node/base/err.h"

enum { MIB = 1 << 20, SIZE = 4 * MIB };

static unsigned char pattern[SIZE], out[SIZE], expected[SIZE];

struct run {
    struct fixture *f;
    struct blk *a, *b; /* source and destination */
    struct img_copy_options options;
    struct img_copy_totals totals;
    struct err err;
    bool done;
    int result;
};

static struct blk *open_one(struct fixture *f, const char *stack)
{
    struct blk *blk = NULL;
    struct err err = {0};
    if (blk_open(&f->env, stack, 0, &blk, &err))
        fail_msg("%s: %s", stack, err.text);
    return blk;
}

static void open_both(struct run *run, struct fixture *f, const char *a, const char *b)
{
    *run = (struct run){.f = f, .a = open_one(f, a), .b = open_one(f, b)};
    run->options.length_bytes = blk_size(run->a);
}

static void close_both(struct run *run)
{
    struct fixture *f = run->f;
    f->blk = run->a;
    fixture_close(f);
    f->blk = run->b;
    fixture_close(f);
}

static int io(struct run *run, struct blk *blk, enum blk_op op, uint64_t offset, void *data, uint64_t length_bytes)
{
    run->f->blk = blk;
    int rc = fixture_io(run->f, op, 0, offset, data, length_bytes);
    run->f->blk = NULL;
    return rc;
}

static void finished(void *context, int result, const struct err *err)
{
    struct run *run = context;
    assert_false(run->done);
    run->done = true;
    run->result = result;
    run->err = *err;
}

static int copy(struct run *run)
{
    struct img_copy *c = NULL;
    run->done = false;
    int rc = img_copy_start(&run->f->env, run->a, run->b, &run->options, finished, run, &c, &run->err);
    if (rc)
        return rc;
    assert_false(run->done); /* never inside start */
    while (!run->done)
        loop_step(run->f->env.loop);
    run->totals = img_copy_totals(c);
    img_copy_free(c);
    return run->result;
}

static int compare(struct run *run, struct img_compare_result *result)
{
    struct img_compare *c = NULL;
    run->done = false;
    int rc = img_compare_start(&run->f->env, run->a, run->b, finished, run, &c, &run->err);
    if (rc)
        return rc;
    while (!run->done)
        loop_step(run->f->env.loop);
    *result = img_compare_result(c);
    img_compare_free(c);
    return run->result;
}

/* Source: pattern but for zero runs of many lengths; some never written, some written as zeroes. */
static void fill_source(struct run *run, uint64_t size_bytes)
{
    fixture_pattern(pattern, 0, size_bytes, 5);
    static const uint64_t zero[][2] = {{0, 4096},      {100000, 300},        {131072, 65536},     {400000, 200000},
                                       {MIB, MIB / 2}, {2 * MIB - 7, 70000}, {3 * MIB, 5 * 65536}};
    for (size_t i = 0; i < sizeof zero / sizeof *zero; i++)
        if (zero[i][0] < size_bytes)
            memset(pattern + zero[i][0], 0,
                   zero[i][0] + zero[i][1] < size_bytes ? zero[i][1] : size_bytes - zero[i][0]);
    assert_int_equal(io(run, run->a, BLK_ZERO, 0, NULL, size_bytes), 0);
    for (uint64_t at = 0; at < size_bytes; at += 65536) {
        uint64_t n = size_bytes - at < 65536 ? size_bytes - at : 65536;
        if (at != MIB) /* one hole inside the long run of zeroes */
            assert_int_equal(io(run, run->a, BLK_WRITE, at, pattern + at, n), 0);
    }
}

static void dirty_destination(struct run *run, uint64_t size_bytes)
{
    memset(expected, 0xee, sizeof expected);
    assert_int_equal(io(run, run->b, BLK_WRITE, 0, expected, size_bytes), 0);
}

static void expect_destination(struct run *run, uint64_t size_bytes)
{
    assert_int_equal(io(run, run->b, BLK_READ, 0, out, size_bytes), 0);
    assert_memory_equal(out, expected, size_bytes);
}

/* ---- contents ---- */

static void copies_everything(void **state)
{
    static const enum img_copy_sparse sparse[] = {IMG_COPY_SPARSE_AUTO, IMG_COPY_SPARSE_ALWAYS, IMG_COPY_SPARSE_NEVER};
    static const unsigned requests[] = {1, 3, 64};
    static const uint32_t request_bytes[] = {4096, 65536, 32 << 20};
    for (size_t i = 0; i < 27; i++) {
        struct run run;
        open_both(&run, *state, "mem:4M", "mem:4M");
        fill_source(&run, SIZE);
        dirty_destination(&run, SIZE);
        run.options.sparse = sparse[i % 3];
        run.options.requests = requests[i / 3 % 3];
        run.options.request_bytes = request_bytes[i / 9];
        assert_int_equal(copy(&run), 0);
        memcpy(expected, pattern, SIZE);
        expect_destination(&run, SIZE);
        assert_int_equal(run.totals.copied_bytes + run.totals.zero_bytes, SIZE);
        if (run.options.sparse == IMG_COPY_SPARSE_NEVER)
            assert_int_equal(run.totals.zero_bytes, 0);
        else
            assert_true(run.totals.zero_bytes >= MIB / 2 + 65536);
        assert_int_equal(blk_stats(run.b, BLK_FLUSH)->ops, 1);
        close_both(&run);
    }
}

static void copies_windows(void **state)
{
    static const uint64_t windows[][3] = {{0, 0, 1},          {1, 0, 1000},         {0, 1, SIZE - 1},
                                          {SIZE - 1, 5, 1},   {123457, 7, 2000001}, {0, 0, 0},
                                          {3 * MIB, 77, MIB}, {MIB, MIB, 65536}};
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
        struct run run;
        open_both(&run, *state, "mem:4M", "mem:4M");
        fill_source(&run, SIZE);
        dirty_destination(&run, SIZE);
        run.options.offset = windows[i][0];
        run.options.to_offset = windows[i][1];
        run.options.length_bytes = windows[i][2];
        assert_int_equal(copy(&run), 0);
        memcpy(expected + windows[i][1], pattern + windows[i][0], windows[i][2]);
        expect_destination(&run, SIZE);
        assert_int_equal(run.totals.copied_bytes + run.totals.zero_bytes, windows[i][2]);
        close_both(&run);
    }
}

/* O_DIRECT gives a stack an alignment; either side may have it. */
static void copies_unaligned(void **state)
{
    static const uint64_t windows[][3] = {{0, 0, 1000},       {1, 3, 1},         {511, 513, 100000},
                                          {4096, 0, 1000001}, {100, 8191, 4097}, {0, 4095, 2 * MIB - 4095},
                                          {5, 4000, 90}};
    struct fixture *f = *state;
    char direct[256];
    snprintf(direct, sizeof direct, "[{\"driver\":\"raw\",\"direct\":true,\"file\":\"%s\"}]", fixture_file(f, 2 * MIB));
    for (size_t i = 0; i < 2 * (sizeof windows / sizeof *windows); i++) {
        const uint64_t *w = windows[i / 2];
        struct run run;
        if (i % 2)
            open_both(&run, f, direct, "mem:2M");
        else
            open_both(&run, f, "mem:2M", direct);
        fill_source(&run, 2 * MIB);
        dirty_destination(&run, 2 * MIB);
        run.options.offset = w[0];
        run.options.to_offset = w[1];
        run.options.length_bytes = w[2];
        run.options.request_bytes = 65536;
        assert_int_equal(copy(&run), 0);
        memcpy(expected + w[1], pattern + w[0], w[2]);
        expect_destination(&run, 2 * MIB);
        close_both(&run);
    }
}

static void writes_no_zeroes_twice(void **state)
{
    struct run run;
    open_both(&run, *state, "mem:4M", "mem:4M");
    fill_source(&run, SIZE);
    run.options.destination_is_zero = true;
    run.options.no_flush = true;
    assert_int_equal(copy(&run), 0);
    memcpy(expected, pattern, SIZE);
    expect_destination(&run, SIZE);
    assert_int_equal(blk_stats(run.b, BLK_ZERO)->ops, 0);
    assert_int_equal(blk_stats(run.b, BLK_FLUSH)->ops, 0);
    assert_int_equal(blk_stats(run.b, BLK_WRITE)->bytes, run.totals.copied_bytes);
    assert_true(blk_stats(run.a, BLK_READ)->bytes <= SIZE - 65536); /* the hole was not read */
    close_both(&run);
}

/* ---- errors ---- */

static void fails_on(struct fixture *f, const char *rules, bool at_source, int result, const char *about)
{
    char faulty[512];
    struct run run;
    snprintf(faulty, sizeof faulty, "[{\"driver\":\"fault\",\"rules\":[%s]},{\"driver\":\"mem\",\"size\":\"4M\"}]",
             rules);
    open_both(&run, f, "mem:4M", "mem:4M");
    fill_source(&run, SIZE);
    struct blk **side = at_source ? &run.a : &run.b;
    if (at_source)
        assert_int_equal(copy(&run), 0); /* the data goes to b, and is then read under the faults */
    f->blk = *side;
    fixture_close(f);
    *side = open_one(f, faulty);
    if (at_source) {
        struct blk *swap = run.b;
        run.b = run.a;
        run.a = swap;
        assert_int_equal(copy(&run), 0);
        swap = run.b;
        run.b = run.a;
        run.a = swap;
    }
    assert_int_equal(copy(&run), result);
    if (!strstr(run.err.text, about))
        fail_msg("%s: '%s' does not say '%s'", rules, run.err.text, about);
    close_both(&run);
}

static void any_error_ends_it(void **state)
{
    fails_on(*state, "{\"op\":\"read\",\"offset\":\"768K\",\"length\":1,\"error\":\"EIO\"}", true, -EIO,
             "reading the source at offset ");
    fails_on(*state, "{\"op\":\"read\",\"error\":\"EACCES\",\"delay\":\"1ms\"}", true, -EACCES, "Permission denied");
    fails_on(*state, "{\"op\":\"extents\",\"error\":\"EIO\"}", true, -EIO,
             "asking for the extents of the source at offset 0");
    fails_on(*state, "{\"op\":\"write\",\"offset\":\"3M\",\"length\":\"1M\",\"error\":\"ENOSPC\"}", false, -ENOSPC,
             "writing the destination at offset ");
    fails_on(*state, "{\"op\":\"write\",\"after\":3,\"torn\":4096}", false, -EIO, "writing the destination");
    fails_on(*state, "{\"op\":\"zero\",\"error\":\"EPERM\"}", false, -EPERM,
             "writing zeroes to the destination at offset ");
    fails_on(*state, "{\"op\":\"flush\",\"error\":\"EIO\"}", false, -EIO, "flushing the destination");
}

static void extents_may_be_unknown(void **state)
{
    struct run run;
    open_both(&run, *state,
              "[{\"driver\":\"fault\",\"rules\":[{\"op\":\"extents\",\"error\":\"EOPNOTSUPP\"}]},"
              "{\"driver\":\"mem\",\"size\":\"4M\"}]",
              "mem:4M");
    fill_source(&run, SIZE);
    assert_int_equal(copy(&run), 0);
    memcpy(expected, pattern, SIZE);
    expect_destination(&run, SIZE);
    close_both(&run);
}

static void refuses_what_does_not_fit(void **state)
{
    struct run run;
    open_both(&run, *state, "mem:4M", "mem:2M");
    assert_int_equal(copy(&run), -EINVAL);
    assert_non_null(strstr(run.err.text, "bytes 0 to 4194304 are not all inside the destination, which has 2097152"));
    run.options.length_bytes = UINT64_MAX;
    run.options.offset = 5;
    assert_int_equal(copy(&run), -EINVAL);
    run.options.offset = SIZE;
    run.options.length_bytes = 1;
    assert_int_equal(copy(&run), -EINVAL);
    assert_non_null(strstr(run.err.text, "inside the source"));
    close_both(&run);
}

static void stops(void **state)
{
    struct run run;
    struct img_copy *c = NULL;
    open_both(&run, *state,
              "[{\"driver\":\"fault\",\"rules\":[{\"op\":\"read\",\"delay\":\"5ms\"}]},"
              "{\"driver\":\"mem\",\"size\":\"4M\"}]",
              "mem:4M");
    run.options.sparse = IMG_COPY_SPARSE_NEVER;
    run.options.requests = 2;
    run.options.request_bytes = 4096;
    assert_int_equal(img_copy_start(&run.f->env, run.a, run.b, &run.options, finished, &run, &c, &run.err), 0);
    while (img_copy_totals(c).copied_bytes == 0)
        loop_step(run.f->env.loop);
    img_copy_stop(c);
    img_copy_stop(c);
    while (!run.done)
        loop_step(run.f->env.loop);
    assert_int_equal(run.result, -ECANCELED);
    assert_in_range(img_copy_totals(c).copied_bytes, 4096, 8 * 4096);
    img_copy_free(c);
    close_both(&run);
}

/* ---- comparing ---- */

static void compares(void **state)
{
    struct run run;
    struct img_compare_result r;
    open_both(&run, *state, "mem:4M", "mem:5M");
    fill_source(&run, SIZE);
    assert_int_equal(compare(&run, &r), 0);
    assert_true(r.differ);
    assert_int_equal(r.first_offset, 4096); /* it begins with 4096 zeroes */
    assert_int_equal(copy(&run), 0);
    assert_int_equal(compare(&run, &r), 0);
    assert_false(r.differ);
    assert_int_equal(r.compared_bytes + r.zero_bytes, 5 * MIB);
    static const uint64_t places[] = {5 * MIB - 1, SIZE, SIZE - 1, MIB + 100, 4096, 1};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) { /* from the end to the start */
        unsigned char byte;
        assert_int_equal(io(&run, run.b, BLK_READ, places[i], &byte, 1), 0);
        byte ^= 0x80;
        assert_int_equal(io(&run, run.b, BLK_WRITE, places[i], &byte, 1), 0);
        assert_int_equal(compare(&run, &r), 0);
        assert_true(r.differ);
        assert_int_equal(r.first_offset, places[i]);
    }
    close_both(&run);
}

static void a_comparison_fails_on_errors(void **state)
{
    struct run run;
    struct img_compare_result r;
    open_both(&run, *state, "mem:4M",
              "[{\"driver\":\"fault\",\"rules\":[{\"op\":\"read\",\"offset\":\"2M\",\"error\":\"EIO\"}]},"
              "{\"driver\":\"mem\",\"size\":\"4M\"}]");
    fill_source(&run, SIZE);
    assert_int_equal(copy(&run), 0);
    assert_int_equal(compare(&run, &r), -EIO);
    assert_non_null(strstr(run.err.text, "reading the second image at offset "));
    close_both(&run);
}

/* ---- zeroes ---- */

static void finds_zero_runs(void **state)
{
    (void)state;
    static unsigned char data[5 * 4096];
    bool zero;
    data[4096] = 1;
    data[3 * 4096 - 1] = 1;
    assert_int_equal(img_zeroes_run(data, sizeof data, 0, 4096, &zero), 4096);
    assert_true(zero);
    assert_int_equal(img_zeroes_run(data + 4096, 4 * 4096, 4096, 4096, &zero), 2 * 4096);
    assert_false(zero);
    assert_int_equal(img_zeroes_run(data + 3 * 4096, 2 * 4096, 3 * 4096, 4096, &zero), 2 * 4096);
    assert_true(zero);
    /* blocks lie where the position says: the first is 96 bytes */
    assert_int_equal(img_zeroes_run(data, 4097, 4000, 4096, &zero), 96);
    assert_true(zero);
    assert_int_equal(img_zeroes_run(data, 1, 0, 4096, &zero), 1);
    assert_true(zero);
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(copies_everything),
        WITH_FIXTURE(copies_windows),
        WITH_FIXTURE(copies_unaligned),
        WITH_FIXTURE(writes_no_zeroes_twice),
        WITH_FIXTURE(any_error_ends_it),
        WITH_FIXTURE(extents_may_be_unknown),
        WITH_FIXTURE(refuses_what_does_not_fit),
        WITH_FIXTURE(stops),
        WITH_FIXTURE(compares),
        WITH_FIXTURE(a_comparison_fails_on_errors),
        cmocka_unit_test(finds_zero_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
