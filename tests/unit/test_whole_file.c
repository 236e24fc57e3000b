/* Files that are there whole or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/base/whole_file.h"

static char folder[] = "/tmp/drover-whole-XXXXXX", path[64];

static int setup(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/file", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder); /* nothing of ours is left over */
}

static void assert_holds(const char *text, mode_t mode)
{
    char found[64] = "";
    struct stat st;
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, found, sizeof found - 1), (ssize_t)strlen(text));
    assert_string_equal(found, text);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 0777, mode);
    close(fd);
}

static void test_write(void **state)
{
    (void)state;
    assert_int_equal(whole_file_write(path, "first", 5, 0600), 0);
    assert_holds("first", 0600);
    assert_int_equal(whole_file_write(path, "the second", 10, 0644), 0);
    assert_holds("the second", 0644);
}

static void test_failure(void **state)
{
    (void)state;
    char in[96], long_path[5000];
    assert_int_equal(whole_file_write(path, "kept", 4, 0600), 0);
    snprintf(in, sizeof in, "%s/none/file", folder);
    assert_int_equal(whole_file_write(in, "x", 1, 0600), -ENOENT);
    assert_int_equal(whole_file_keep_name(in), -ENOENT);
    memset(long_path, 'a', sizeof long_path - 1);
    long_path[sizeof long_path - 1] = 0;
    assert_int_equal(whole_file_write(long_path, "x", 1, 0600), -ENAMETOOLONG);
    assert_int_equal(whole_file_publish(in, path), -ENOENT);
    assert_int_equal(whole_file_write(folder, "x", 1, 0600), -EISDIR); /* a folder is not taken the place of */
    assert_holds("kept", 0600);
}

static void test_publish(void **state)
{
    (void)state;
    char fresh[96];
    snprintf(fresh, sizeof fresh, "%s.part", path);
    assert_int_equal(whole_file_write(path, "old", 3, 0600), 0);
    assert_int_equal(whole_file_write(fresh, "new", 3, 0600), 0);
    assert_int_equal(whole_file_publish(fresh, path), 0);
    assert_holds("new", 0600);
    assert_int_equal(access(fresh, F_OK), -1);
}

/* A name without a folder is one of the working directory's. */
static void test_relative(void **state)
{
    (void)state;
    char here[4096];
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(folder), 0);
    assert_int_equal(whole_file_write("file", "here", 4, 0600), 0);
    assert_int_equal(whole_file_keep_name("file"), 0);
    assert_int_equal(chdir(here), 0);
    assert_holds("here", 0600);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write),
        cmocka_unit_test(test_failure),
        cmocka_unit_test(test_publish),
        cmocka_unit_test(test_relative),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
