/* A line of the log is a line, whatever a peer put into it; as JSON it is an object that a parser takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "node/base/log.h"

static int saved;
static FILE *caught;

static int catch (void **state)
{
    (void)state;
    saved = dup(STDERR_FILENO);
    caught = tmpfile();
    dup2(fileno(caught), STDERR_FILENO);
    return 0;
}

static int release(void **state)
{
    (void)state;
    dup2(saved, STDERR_FILENO);
    close(saved);
    fclose(caught);
    unsetenv("DROVER_LOG");
    return 0;
}

/* The one line there is, without its end. */
static char *line(void)
{
    static char text[4096];
    rewind(caught);
    size_t n = fread(text, 1, sizeof text - 1, caught);
    assert_true(n > 1 && text[n - 1] == '\n');
    text[n - 1] = 0;
    assert_null(strchr(text, '\n'));
    return text;
}

static void said_as_json(const char *text, const char *expected)
{
    setenv("DROVER_LOG", "json", 1);
    log_init("drover-test", LOG_LEVEL_INFO);
    log_warn("%s", text);
    json_t *object = json_loads(line(), JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(object);
    assert_string_equal(json_string_value(json_object_get(object, "program")), "drover-test");
    assert_string_equal(json_string_value(json_object_get(object, "level")), "warning");
    assert_int_equal(strlen(json_string_value(json_object_get(object, "time"))), 24);
    if (expected)
        assert_string_equal(json_string_value(json_object_get(object, "text")), expected);
    json_decref(object);
}

static void json_plain(void **state)
{
    (void)state;
    said_as_json("a disk was lost", "a disk was lost");
}

static void json_forged(void **state)
{
    (void)state;
    said_as_json("a\"}\n{\"level\":\"\\\x01\xc3\xbc", "a\"}\n{\"level\":\"\\\x01\xc3\xbc");
}

static void json_no_utf8(void **state)
{
    (void)state;
    said_as_json("a\xff\xfe z", "a?? z");
}

static void json_long(void **state)
{
    (void)state;
    char text[5000];
    memset(text, 1, sizeof text - 1); /* each takes six letters */
    text[sizeof text - 1] = 0;
    said_as_json(text, NULL);
}

static void plain(void **state)
{
    (void)state;
    char text[5000];
    log_init("drover-test", LOG_LEVEL_INFO);
    memset(text, '\n', sizeof text - 1);
    text[sizeof text - 1] = 0;
    log_debug("not this");
    log_info("%s", text);
    assert_non_null(strstr(line(), "Z drover-test info:  "));
}

static void unknown_form(void **state)
{
    (void)state;
    setenv("DROVER_LOG", "xml", 1);
    log_init("drover-test", LOG_LEVEL_INFO);
    assert_non_null(strstr(line(), "'xml', which is no form of log: text or json"));
}

int main(void)
{
    unsetenv("JOURNAL_STREAM");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(json_plain, catch, release),
        cmocka_unit_test_setup_teardown(json_forged, catch, release),
        cmocka_unit_test_setup_teardown(json_no_utf8, catch, release),
        cmocka_unit_test_setup_teardown(json_long, catch, release),
        cmocka_unit_test_setup_teardown(plain, catch, release),
        cmocka_unit_test_setup_teardown(unknown_form, catch, release),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
