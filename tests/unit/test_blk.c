/* The wrapper's contract, over the memory driver. */
#include "tests/unit/fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "node/base/err.h"

enum { MIB = 1 << 20 };

static void reads_what_was_written(void **state)
{
    struct fixture *f = *state;
    static char out[100000], in[100000];
    fixture_open(f, "mem:1M", 0);
    fixture_pattern(out, 12345, sizeof out, 7);
    assert_int_equal(fixture_io(f, BLK_WRITE, BLK_FUA, 12345, out, sizeof out), 0);
    assert_int_equal(fixture_io(f, BLK_READ, 0, 12345, in, sizeof in), 0);
    assert_memory_equal(in, out, sizeof in);
    assert_int_equal(blk_stats(f->blk, BLK_WRITE)->bytes, sizeof out);
    assert_int_equal(blk_stats(f->blk, BLK_READ)->ops, 1);
}

static void refuses_what_is_out_of_range(void **state)
{
    struct fixture *f = *state;
    char b[512] = {0};
    fixture_open(f, "mem:1M", 0);
    assert_int_equal(fixture_io(f, BLK_READ, 0, MIB, b, 1), -EINVAL);
    assert_int_equal(fixture_io(f, BLK_READ, 0, MIB - 511, b, 512), -EINVAL);
    assert_int_equal(fixture_io(f, BLK_WRITE, 0, MIB - 511, b, 512), -ENOSPC);
    assert_int_equal(fixture_io(f, BLK_ZERO, 0, UINT64_MAX, b, 2), -ENOSPC);
    assert_int_equal(fixture_io(f, BLK_TRIM, 0, 1, b, UINT64_MAX), -EINVAL);
    assert_int_equal(fixture_io(f, BLK_READ, 0, MIB, b, 0), 0);
    assert_int_equal(fixture_io(f, BLK_READ, 0, MIB - 512, b, 512), 0);
    assert_int_equal(blk_stats(f->blk, BLK_READ)->errors, 2);
}

static void refuses_bad_flags(void **state)
{
    struct fixture *f = *state;
    char b[512] = {0};
    fixture_open(f, "mem:1M", 0);
    assert_int_equal(fixture_io(f, BLK_READ, BLK_FUA, 0, b, 512), -EINVAL);
    assert_int_equal(fixture_io(f, BLK_WRITE, BLK_NO_HOLE, 0, b, 512), -EINVAL);
    assert_int_equal(fixture_io(f, BLK_FLUSH, BLK_FUA, 0, NULL, 0), -EINVAL);
    assert_int_equal(fixture_io(f, BLK_ZERO, BLK_FUA | BLK_NO_HOLE | BLK_FAST, 0, NULL, 512), 0);
}

static void keeps_a_read_only_stack(void **state)
{
    struct fixture *f = *state;
    char b[512] = {0};
    fixture_open(f, "mem:1M", BLK_OPEN_READ_ONLY);
    assert_int_equal(fixture_io(f, BLK_WRITE, 0, 0, b, 512), -EPERM);
    assert_int_equal(fixture_io(f, BLK_ZERO, 0, 0, NULL, 512), -EPERM);
    assert_int_equal(fixture_io(f, BLK_TRIM, 0, 0, NULL, 512), -EPERM);
    assert_int_equal(fixture_io(f, BLK_RESIZE, 0, 0, NULL, 0), -EPERM);
    assert_int_equal(fixture_io(f, BLK_FLUSH, 0, 0, NULL, 0), 0);
    assert_int_equal(fixture_io(f, BLK_READ, 0, 0, b, 512), 0);
}

static void sparse_memory(void **state)
{
    struct fixture *f = *state;
    struct blk_extent e[8];
    uint32_t n;
    static char b[3 * 65536];
    fixture_open(f, "mem:1M", 0);
    assert_int_equal(fixture_extents(f, 0, MIB, e, 8, &n), 0);
    assert_int_equal(n, 1);
    assert_int_equal(e[0].flags, BLK_EXTENT_HOLE | BLK_EXTENT_ZERO);
    fixture_pattern(b, 0, sizeof b, 1);
    assert_int_equal(fixture_io(f, BLK_WRITE, 0, 65536, b, sizeof b), 0);
    assert_int_equal(fixture_io(f, BLK_ZERO, 0, 65536 + 1, NULL, 2 * 65536), 0);
    assert_int_equal(fixture_extents(f, 0, MIB, e, 8, &n), 0);
    assert_int_equal(n, 5); /* hole, data, hole, data, hole */
    assert_int_equal(e[2].length_bytes, 65536);
    static char in[3 * 65536];
    assert_int_equal(fixture_io(f, BLK_READ, 0, 65536, in, sizeof in), 0);
    memset(b + 1, 0, 2 * 65536);
    assert_memory_equal(in, b, sizeof in);
}

static void resizes(void **state)
{
    struct fixture *f = *state;
    char b[512], zero[512] = {0};
    fixture_open(f, "mem:1M", 0);
    memset(b, 7, sizeof b);
    assert_int_equal(fixture_io(f, BLK_WRITE, 0, MIB - 512, b, 512), 0);
    assert_int_equal(fixture_io(f, BLK_RESIZE, 0, MIB - 256, NULL, 0), 0);
    assert_int_equal(blk_size(f->blk), MIB - 256);
    assert_int_equal(fixture_io(f, BLK_RESIZE, 0, 3 * MIB, NULL, 0), 0);
    assert_int_equal(fixture_io(f, BLK_READ, 0, MIB - 256, b, 512), 0);
    assert_memory_equal(b, zero, 512);
    assert_int_equal(fixture_io(f, BLK_READ, 0, 3 * MIB - 512, b, 512), 0);
    assert_memory_equal(b, zero, 512);
}

static void *place_of(struct fixture *f, enum blk_op op, uint64_t offset, uint64_t length_bytes)
{
    struct blk_req req = {.op = op, .offset = offset, .length_bytes = length_bytes};
    assert_int_equal(blk_check(f->blk, &req), 0);
    return blk_place(f->blk, &req);
}

/* Bytes put where the stack says are written by submitting them, or by asking for their place again. */
static void has_a_place(void **state)
{
    struct fixture *f = *state;
    struct blk_extent e[8];
    uint32_t n;
    static char out[8192], in[8192], zero[8192];
    fixture_open(f, "mem:1M", 0);
    fixture_pattern(out, 0, sizeof out, 3);
    char *at = place_of(f, BLK_WRITE, 65536 - 4096, sizeof out);
    assert_non_null(at);
    memcpy(at, out, sizeof out);
    assert_int_equal(fixture_io(f, BLK_WRITE, 0, 65536 - 4096, at, sizeof out), 0);
    assert_int_equal(fixture_io(f, BLK_READ, 0, 65536 - 4096, in, sizeof in), 0);
    assert_memory_equal(in, out, sizeof in);
    assert_ptr_equal(place_of(f, BLK_READ, 65536, 4096), at + 4096);
    assert_int_equal(fixture_io(f, BLK_RESIZE, 0, 64 * MIB, NULL, 0), 0);
    assert_ptr_equal(place_of(f, BLK_READ, 65536, 4096), at + 4096);
    assert_int_equal(fixture_io(f, BLK_ZERO, 0, 0, NULL, MIB), 0);
    memcpy(at, out, sizeof out); /* late bytes of a write that is given up */
    assert_ptr_equal(place_of(f, BLK_WRITE, 65536 - 4096, sizeof out), at);
    assert_int_equal(fixture_extents(f, 0, MIB, e, 8, &n), 0);
    assert_int_equal(n, 2);
    assert_int_equal(fixture_io(f, BLK_ZERO, 0, 65536 - 4096, NULL, sizeof out), 0);
    assert_int_equal(fixture_io(f, BLK_READ, 0, 65536 - 4096, in, sizeof in), 0);
    assert_memory_equal(in, zero, sizeof in);
}

/* A file has no memory of its own; and what a layer does to requests must not be passed by. */
static void has_no_place(void **state)
{
    struct fixture *f = *state;
    char stack[512];
    snprintf(stack, sizeof stack, "raw:%s", fixture_file(f, MIB));
    fixture_open(f, stack, 0);
    assert_null(place_of(f, BLK_WRITE, 0, 4096));
    fixture_close(f);
    fixture_open(f, "[{\"driver\":\"throttle\",\"iops\":1000},{\"driver\":\"mem\",\"size\":1048576}]", 0);
    assert_null(place_of(f, BLK_READ, 0, 4096));
}

static void complains(struct fixture *f, const char *stack, const char *about)
{
    struct err err = {0};
    struct blk *blk = NULL;
    assert_true(blk_open(&f->env, stack, 0, &blk, &err) < 0);
    assert_null(blk);
    if (!strstr(err.text, about))
        fail_msg("%s: '%s' does not say '%s'", stack, err.text, about);
}

static void bad_stacks(void **state)
{
    struct fixture *f = *state;
    complains(f, "disk.img", "is not a stack");
    complains(f, "qcow9:disk.img", "unknown driver 'qcow9'");
    complains(f, "mem:1\377", "is not UTF-8");
    complains(f, "mem:", "write mem:VALUE");
    complains(f, "mem:lots", "mem: size: 'lots' is not a size");
    complains(f, "[]", "1 to 16 drivers");
    complains(f, "[{\"driver\":\"mem\"}]", "mem: size is missing");
    complains(f, "[{\"driver\":\"mem\",\"size\":1,\"sise\":2}]", "unknown option 'sise' (there are: size)");
    complains(f, "[{\"driver\":\"mem\",\"size\":-1}]", "size must be a number, not negative");
    complains(f, "[{\"driver\":\"mem\",\"size\":1},{\"driver\":\"mem\",\"size\":1}]", "mem: must be the last layer");
    complains(f, "[{\"driver\":\"mem\",\"size\":1}", "line 1, column");
    complains(f, "[7]", "object with a \"driver\"");
    complains(f, "raw:/nonexistent/disk.img", "No such file");
    complains(f, "raw:/dev/null", "neither a regular file nor a block device");
    complains(f, "@/nonexistent.json", "/nonexistent.json");
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(reads_what_was_written),
        WITH_FIXTURE(refuses_what_is_out_of_range),
        WITH_FIXTURE(refuses_bad_flags),
        WITH_FIXTURE(keeps_a_read_only_stack),
        WITH_FIXTURE(sparse_memory),
        WITH_FIXTURE(resizes),
        WITH_FIXTURE(has_a_place),
        WITH_FIXTURE(has_no_place),
        WITH_FIXTURE(bad_stacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
