/* The claim on a raw image: between two of ours, and between ours and QEMU's tools if they are installed. */
#include "tests/unit/fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/base/err.h"

static int open_second(struct fixture *f, const char *stack, uint32_t flags, struct err *err)
{
    struct blk *blk = NULL;
    int rc = blk_open(&f->env, stack, flags, &blk, err);
    blk_close(blk);
    return rc;
}

static const char *raw(const char *file, const char *options)
{
    static char stack[256];
    snprintf(stack, sizeof stack, "{\"driver\":\"raw\",\"file\":\"%s\"%s}", file, options);
    return stack;
}

static void a_writer_is_alone(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    const char *file = fixture_file(f, 65536);
    fixture_open(f, raw(file, ""), 0);
    assert_int_equal(open_second(f, raw(file, ""), 0, &err), -EBUSY);
    assert_non_null(strstr(err.text, file));
    assert_non_null(strstr(err.text, "is in use by another program (\"no-lock\""));
    assert_int_equal(open_second(f, raw(file, ""), BLK_OPEN_READ_ONLY, &err), -EBUSY);
    assert_non_null(strstr(err.text, "in use by another writer"));
    assert_int_equal(open_second(f, raw(file, ",\"no-lock\":true"), 0, &err), 0);
    fixture_close(f);
    assert_int_equal(open_second(f, raw(file, ""), 0, &err), 0);
}

static void readers_share(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    const char *file = fixture_file(f, 65536);
    fixture_open(f, raw(file, ""), BLK_OPEN_READ_ONLY);
    assert_int_equal(open_second(f, raw(file, ""), BLK_OPEN_READ_ONLY, &err), 0);
    assert_int_equal(open_second(f, raw(file, ""), 0, &err), -EBUSY);
}

/* A refused open must leave no claim behind. */
static void a_refused_claim_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    const char *file = fixture_file(f, 65536);
    fixture_open(f, raw(file, ""), BLK_OPEN_READ_ONLY);
    assert_int_equal(open_second(f, raw(file, ""), 0, &err), -EBUSY);
    assert_int_equal(open_second(f, raw(file, ""), BLK_OPEN_READ_ONLY, &err), 0);
}

/* Opened beside its owner, changed only after him, and alone from then on. */
static void a_late_claim(void **state)
{
    struct fixture *f = *state, *g;
    void *other = NULL;
    struct err err = {0};
    uint8_t bytes[4096] = {1};
    const char *file = fixture_file(f, 65536);
    assert_int_equal(fixture_setup(&other), 0);
    g = other;
    fixture_open(f, raw(file, ""), 0);
    fixture_open(g, raw(file, ",\"lock-late\":true"), 0);
    assert_int_equal(fixture_io(g, BLK_READ, 0, 0, bytes, sizeof bytes), 0);
    assert_int_equal(fixture_io(g, BLK_WRITE, 0, 0, bytes, sizeof bytes), -EBUSY);
    assert_int_equal(fixture_io(g, BLK_TRIM, 0, 0, NULL, sizeof bytes), -EBUSY);
    fixture_close(f);
    fixture_open(f, raw(file, ""), 0); /* and whoever tried in vain is in nobody's way */
    fixture_close(f);
    assert_int_equal(fixture_io(g, BLK_WRITE, 0, 0, bytes, sizeof bytes), 0);
    assert_int_equal(open_second(f, raw(file, ""), 0, &err), -EBUSY);
    fixture_close(g);
    assert_int_equal(open_second(f, raw(file, ""), 0, &err), 0);
    assert_int_equal(fixture_teardown(&other), 0);
}

/* What qemu-img says; returns its exit status. `info` and `compare` claim nothing on raw images; these two do. */
static int qemu_img(const char *command, const char *file, const char *more, char *said, size_t size)
{
    char line[512];
    snprintf(line, sizeof line, "qemu-img %s '%s' %s 2>&1", command, file, more);
    FILE *pipe = popen(line, "r");
    assert_non_null(pipe);
    said[fread(said, 1, size - 1, pipe)] = 0;
    return pclose(pipe);
}

static void qemu_respects_it(void **state)
{
    struct fixture *f = *state;
    char said[1024];
    const char *file = fixture_file(f, 65536), *other = fixture_file(f, 65536);
    static const char convert[] = "convert -n -f raw -O raw", resize[] = "resize -f raw";
    if (system("command -v qemu-img >/dev/null") != 0)
        skip();
    fixture_open(f, raw(file, ""), 0);
    assert_int_not_equal(qemu_img(convert, file, other, said, sizeof said), 0);
    assert_non_null(strstr(said, "Failed to get shared \"write\" lock"));
    assert_int_not_equal(qemu_img(resize, file, "1M", said, sizeof said), 0);
    assert_non_null(strstr(said, "lock"));
    fixture_close(f);
    fixture_open(f, raw(file, ""), BLK_OPEN_READ_ONLY);
    assert_int_equal(qemu_img(convert, file, other, said, sizeof said), 0);
    assert_int_not_equal(qemu_img(resize, file, "1M", said, sizeof said), 0);
    assert_non_null(strstr(said, "lock"));
    fixture_close(f);
    assert_int_equal(qemu_img(resize, file, "1M", said, sizeof said), 0);
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(a_writer_is_alone), WITH_FIXTURE(readers_share),    WITH_FIXTURE(a_refused_claim_leaves_nothing),
        WITH_FIXTURE(a_late_claim),      WITH_FIXTURE(qemu_respects_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
