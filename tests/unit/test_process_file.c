/* What programs are handed in memory, and the last thing they printed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "node/agent/process_file.h"
#include "node/base/err.h"

static void test_json(void **state)
{
    (void)state;
    struct err err = {0};
    char text[64] = "";
    json_t *json = json_pack("{s:s, s:i}", "name", "web1", "vcpus", 2);
    int fd = process_file_json(json, &err);
    json_decref(json);
    assert_true(fd >= 0);
    assert_true(pread(fd, text, sizeof text - 1, 0) > 0);
    assert_string_equal(text, "{\"name\":\"web1\",\"vcpus\":2}");
    close(fd);
}

static void assert_last_line(const char *printed, size_t room, const char *wanted)
{
    struct err err = {0};
    char text[64] = "untouched";
    int fd = process_file_output(&err);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, printed, strlen(printed)), (ssize_t)strlen(printed));
    assert_string_equal(process_file_last_line(fd, text, room), wanted);
    assert_int_equal(write(fd, "more", 4), 4); /* whoever prints goes on at the end */
    close(fd);
}

static void test_last_line(void **state)
{
    (void)state;
    char text[8] = "?";
    assert_last_line("", 64, "");
    assert_last_line("\n\n", 64, "");
    assert_last_line("only", 64, "only");
    assert_last_line("first\nlast\n", 64, "last");
    assert_last_line("first\nlast\n\n\n", 64, "last");
    assert_last_line("first\nnot ended", 64, "not ended");
    assert_last_line("a line that is longer than the room", 9, "the room");
    assert_string_equal(process_file_last_line(-1, text, sizeof text), "");
}

static void assert_last_words(const char *printed, const char *wanted)
{
    struct err err = {0};
    char text[32];
    int fd = process_file_output(&err);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, printed, strlen(printed)), (ssize_t)strlen(printed));
    assert_string_equal(process_file_last_words(fd, text, sizeof text), wanted);
    close(fd);
}

/* Of a log as JSON, only what it says. */
static void test_last_words(void **state)
{
    (void)state;
    assert_last_words("one\ntwo\n", "two");
    assert_last_words("{\"time\":\"t\",\"level\":\"error\",\"text\":\"no \\\"disk\\\"\"}\n", "no \"disk\"");
    assert_last_words("{\"text\":1}\n", "{\"text\":1}");
    assert_last_words("{\"text\":\"cut", "{\"text\":\"cut");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_last_line),
        cmocka_unit_test(test_last_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
