/* The raw driver on real files: contents, holes, durability, sizes, O_DIRECT, read-only. */
#include "tests/unit/fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/base/err.h"

enum { MIB = 1 << 20, FLIGHT = 64 };

static char out[MIB], in[MIB], zero[MIB];

static const char *raw(const char *file, const char *options)
{
    static char stack[256];
    snprintf(stack, sizeof stack, "{\"driver\":\"raw\",\"file\":\"%s\"%s}", file, options);
    return stack;
}

static const char *open_raw(struct fixture *f, uint64_t size_bytes, const char *options)
{
    const char *file = fixture_file(f, size_bytes);
    fixture_open(f, raw(file, options), 0);
    return file;
}

static void check_contents(struct fixture *f)
{
    static const uint64_t places[][2] = {{0, MIB}, {1, 1}, {4095, 2}, {12345, 100000}, {MIB - 1, 1}};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        uint64_t offset = places[i][0], len = places[i][1];
        fixture_pattern(out, offset, len, (uint32_t)i);
        assert_int_equal(fixture_io(f, BLK_WRITE, i % 2 ? BLK_FUA : 0, offset, out, len), 0);
        memset(in, 0, len);
        assert_int_equal(fixture_io(f, BLK_READ, 0, offset, in, len), 0);
        assert_memory_equal(in, out, len);
    }
    assert_int_equal(fixture_io(f, BLK_FLUSH, 0, 0, NULL, 0), 0);
    assert_int_equal(fixture_io(f, BLK_FLUSH, 0, 0, NULL, 0), 0);
    assert_int_equal(fixture_io(f, BLK_CACHE, 0, 0, NULL, MIB), 0);
}

static void reads_what_was_written(void **state)
{
    struct fixture *f = *state;
    const char *file = open_raw(f, MIB, "");
    check_contents(f);
    int fd = open(file, O_RDONLY); /* and others see it, too */
    assert_int_equal(fixture_io(f, BLK_READ, 0, 0, out, MIB), 0);
    assert_int_equal(pread(fd, in, MIB, 0), MIB);
    assert_memory_equal(in, out, MIB);
    close(fd);
}

/* tmpfs cannot do anything without waiting: all goes through the worker. */
static void works_on_tmpfs(void **state)
{
    struct fixture *f = *state;
    const char *old = getenv("TMPDIR");
    char *keep = old ? strdup(old) : NULL;
    if (access("/dev/shm", W_OK) != 0)
        skip();
    setenv("TMPDIR", "/dev/shm", 1);
    open_raw(f, MIB, "");
    if (keep)
        setenv("TMPDIR", keep, 1);
    else
        unsetenv("TMPDIR");
    free(keep);
    check_contents(f);
}

static struct blk_req reqs[FLIGHT];
static struct iovec iovs[FLIGHT][3];
static int landed_count;

static void landed(struct blk_req *req)
{
    assert_int_equal(req->result, 0);
    landed_count++;
}

static void fly(struct fixture *f, enum blk_op op, char *data)
{
    const size_t piece = MIB / FLIGHT;
    landed_count = 0;
    for (int i = 0; i < FLIGHT; i++) {
        char *at = data + (size_t)i * piece;
        iovs[i][0] = (struct iovec){at, 1000};
        iovs[i][1] = (struct iovec){at + 1000, 1};
        iovs[i][2] = (struct iovec){at + 1001, piece - 1001};
        reqs[i] = (struct blk_req){.op = op,
                                   .offset = (uint64_t)i * piece,
                                   .length_bytes = piece,
                                   .iov = iovs[i],
                                   .iov_count = 3,
                                   .done = landed};
        blk_submit(f->blk, &reqs[i]);
    }
    while (landed_count < FLIGHT)
        loop_step(f->env.loop);
}

static void many_vectors_at_once(void **state)
{
    struct fixture *f = *state;
    open_raw(f, MIB, "");
    fixture_pattern(out, 0, MIB, 3);
    fly(f, BLK_WRITE, out);
    fly(f, BLK_READ, in);
    assert_memory_equal(in, out, MIB);
}

static void flushes_are_shared(void **state)
{
    struct fixture *f = *state;
    open_raw(f, MIB, "");
    assert_int_equal(fixture_io(f, BLK_WRITE, 0, 0, out, 4096), 0);
    landed_count = 0;
    for (int i = 0; i < FLIGHT; i++) {
        reqs[i] = (struct blk_req){.op = BLK_FLUSH, .done = landed};
        blk_submit(f->blk, &reqs[i]);
    }
    assert_true(loop_in_flight(f->env.loop) <= 1); /* one fdatasync for all */
    while (landed_count < FLIGHT)
        loop_step(f->env.loop);
}

static uint64_t allocated(const char *file)
{
    struct stat st;
    assert_int_equal(stat(file, &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

static void zero_and_trim_make_holes(void **state)
{
    struct fixture *f = *state;
    struct blk_extent e[8];
    uint32_t n;
    const char *file = open_raw(f, MIB, "");
    memset(out, 0x77, MIB);
    assert_int_equal(fixture_io(f, BLK_WRITE, 0, 0, out, MIB), 0);
    assert_int_equal(fixture_io(f, BLK_ZERO, 0, 65536, NULL, 65536), 0);
    assert_int_equal(fixture_io(f, BLK_ZERO, BLK_NO_HOLE | BLK_FUA, 262144, NULL, 65536), 0);
    assert_int_equal(fixture_io(f, BLK_ZERO, BLK_FAST, 300, NULL, 1), 0);
    assert_int_equal(fixture_io(f, BLK_TRIM, BLK_FUA, 524288, NULL, 524288), 0);
    assert_int_equal(fixture_io(f, BLK_FLUSH, 0, 0, NULL, 0), 0);
    memset(out + 65536, 0, 65536);
    memset(out + 262144, 0, 65536);
    memset(out + 300, 0, 1);
    assert_int_equal(fixture_io(f, BLK_READ, 0, 0, in, MIB), 0);
    assert_memory_equal(in, out, 524288);
    assert_true(allocated(file) <= MIB / 2);
    assert_int_equal(fixture_extents(f, 0, 131072 + 1, e, 8, &n), 0);
    assert_int_equal(n, 3);
    assert_int_equal(e[0].length_bytes, 65536);
    assert_int_equal(e[0].flags, 0);
    assert_int_equal(e[1].length_bytes, 65536);
    assert_int_equal(e[1].flags, BLK_EXTENT_HOLE | BLK_EXTENT_ZERO);
    assert_int_equal(e[2].length_bytes, 1);
    assert_int_equal(fixture_extents(f, 70000, 1000, e, 8, &n), 0);
    assert_int_equal(n, 1);
    assert_int_equal(e[0].length_bytes, 1000);
    assert_int_equal(fixture_extents(f, 0, MIB, e, 1, &n), 0);
    assert_int_equal(n, 1);
}

static void trim_can_be_ignored(void **state)
{
    struct fixture *f = *state;
    const char *file = open_raw(f, MIB, ",\"discard\":\"ignore\"");
    memset(out, 0x77, MIB);
    assert_int_equal(fixture_io(f, BLK_WRITE, 0, 0, out, MIB), 0);
    assert_int_equal(fixture_io(f, BLK_TRIM, 0, 0, NULL, MIB), 0);
    assert_int_equal(fixture_io(f, BLK_READ, 0, 0, in, MIB), 0);
    assert_memory_equal(in, out, MIB);
    assert_int_equal(fixture_io(f, BLK_FLUSH, 0, 0, NULL, 0), 0);
    assert_true(allocated(file) >= MIB);
}

static void resizes(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    const char *file = open_raw(f, 1000, "");
    memset(out, 1, 1000);
    assert_int_equal(fixture_io(f, BLK_WRITE, 0, 0, out, 1000), 0);
    assert_int_equal(fixture_io(f, BLK_RESIZE, 0, 500, NULL, 0), 0);
    assert_int_equal(fixture_io(f, BLK_RESIZE, BLK_FUA, MIB, NULL, 0), 0);
    assert_int_equal(blk_size(f->blk), MIB);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_size, MIB);
    assert_int_equal(fixture_io(f, BLK_READ, 0, 500, in, 10000), 0);
    assert_memory_equal(in, zero, 10000);
}

static void uses_a_part(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct blk *blk = NULL;
    const char *file = open_raw(f, MIB, ",\"size\":\"4K\"");
    assert_int_equal(blk_size(f->blk), 4096);
    assert_int_equal(fixture_io(f, BLK_WRITE, 0, 4096, out, 1), -ENOSPC);
    assert_int_equal(fixture_io(f, BLK_RESIZE, 0, 8192, NULL, 0), -EOPNOTSUPP);
    fixture_close(f);
    assert_int_equal(blk_open(&f->env, raw(file, ",\"size\":\"2M\""), 0, &blk, &err), -EINVAL);
    assert_non_null(strstr(err.text, "the file has only 1048576 bytes"));
}

static void a_file_that_shrinks_is_an_error(void **state)
{
    struct fixture *f = *state;
    const char *file = open_raw(f, MIB, "");
    assert_int_equal(truncate(file, 5000), 0);
    assert_int_equal(fixture_io(f, BLK_READ, 0, 0, in, 5000), 0);
    assert_int_equal(fixture_io(f, BLK_READ, 0, 0, in, 5001), -EIO);
    assert_int_equal(fixture_io(f, BLK_READ, 0, 500000, in, 1), -EIO);
}

static void keeps_what_is_read_only(void **state)
{
    struct fixture *f = *state;
    const char *file = open_raw(f, 4096, ",\"read-only\":true");
    assert_true(blk_read_only(f->blk));
    assert_int_equal(fixture_io(f, BLK_WRITE, 0, 0, out, 1), -EPERM);
    assert_int_equal(fixture_io(f, BLK_READ, 0, 0, in, 4096), 0);
    fixture_close(f);
    fixture_open(f, raw(file, ""), BLK_OPEN_READ_ONLY);
    assert_true(blk_read_only(f->blk));
    assert_int_equal(fixture_io(f, BLK_ZERO, 0, 0, NULL, 1), -EPERM);
}

static void direct(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct blk *blk = NULL;
    const char *file = fixture_file(f, MIB);
    if (blk_open(&f->env, raw(file, ",\"direct\":true"), 0, &f->blk, &err)) {
        assert_non_null(strstr(err.text, "has no O_DIRECT"));
        skip();
    }
    uint32_t align = blk_limits(f->blk)->align_bytes;
    assert_true(align >= 512);
    fixture_pattern(out, 0, MIB, 1);
    assert_int_equal(fixture_io(f, BLK_WRITE, 0, 0, out + 1, MIB / 2), 0); /* an odd address */
    assert_int_equal(fixture_io(f, BLK_READ, 0, 0, in + 3, MIB / 2), 0);
    assert_memory_equal(in + 3, out + 1, MIB / 2);
    assert_int_equal(fixture_io(f, BLK_WRITE, 0, align / 2, out, align), -EINVAL);
    assert_int_equal(fixture_io(f, BLK_READ, 0, 0, in, align / 2), -EINVAL);
    fixture_close(f);
    assert_int_equal(truncate(file, 100), 0);
    assert_int_equal(blk_open(&f->env, raw(file, ",\"direct\":true"), 0, &blk, &err), -EINVAL);
    assert_non_null(strstr(err.text, "direct: the size, 100, is not a multiple of"));
}

static void bad_files(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct blk *blk = NULL;
    assert_int_equal(blk_open(&f->env, "{\"driver\":\"raw\"}", 0, &blk, &err), -EINVAL);
    assert_non_null(strstr(err.text, "raw: file is missing"));
    assert_int_equal(blk_open(&f->env, "raw:/tmp", 0, &blk, &err), -EISDIR);
    assert_int_equal(blk_open(&f->env, "raw:/tmp", BLK_OPEN_READ_ONLY, &blk, &err), -EINVAL);
    assert_non_null(strstr(err.text, "neither a regular file nor a block device"));
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(reads_what_was_written),
        WITH_FIXTURE(works_on_tmpfs),
        WITH_FIXTURE(many_vectors_at_once),
        WITH_FIXTURE(flushes_are_shared),
        WITH_FIXTURE(zero_and_trim_make_holes),
        WITH_FIXTURE(trim_can_be_ignored),
        WITH_FIXTURE(resizes),
        WITH_FIXTURE(uses_a_part),
        WITH_FIXTURE(a_file_that_shrinks_is_an_error),
        WITH_FIXTURE(keeps_what_is_read_only),
        WITH_FIXTURE(direct),
        WITH_FIXTURE(bad_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
