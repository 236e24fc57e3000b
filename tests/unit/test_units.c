#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "node/base/err.h"
#include "node/base/units.h"
#include "node/base/utf8.h"

static void sizes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"0", 0},           {"1", 1},
                {"512B", 512},      {"4K", 4096},
                {"4k", 4096},       {"1.5G", 3u << 29},
                {"2MiB", 2u << 20}, {"7E", UINT64_C(7) << 60},
                {"0.5K", 512},      {"1T", UINT64_C(1) << 40}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        uint64_t v = 99;
        assert_int_equal(units_parse_size(good[i].text, &v, NULL), 0);
        assert_int_equal(v, good[i].bytes);
    }
}

static void bad_sizes(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "G", "-1", "1.5", "1.K", "1KK", "1 G", "0x10", "1e3", "4Kb", "+4"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t v = 99;
        struct err err;
        assert_int_equal(units_parse_size(bad[i], &v, &err), -EINVAL);
        assert_int_equal(v, 99);
        assert_non_null(strstr(err.text, "is not a size"));
    }
    uint64_t v = 99;
    assert_int_equal(units_parse_size("8E", &v, NULL), -ERANGE);
    assert_int_equal(units_parse_size("99999999999999999999", &v, NULL), -ERANGE);
    assert_int_equal(v, 99);
}

static void durations(void **state)
{
    (void)state;
    uint64_t v = 0;
    assert_int_equal(units_parse_duration("10ms", &v, NULL), 0);
    assert_int_equal(v, 10000000);
    assert_int_equal(units_parse_duration("1.5", &v, NULL), 0);
    assert_int_equal(v, 1500000000);
    assert_int_equal(units_parse_duration("2h", &v, NULL), 0);
    assert_int_equal(v, UINT64_C(7200000000000));
    assert_int_equal(units_parse_duration("2 h", &v, NULL), -EINVAL);
    assert_int_equal(units_parse_duration("soon", &v, NULL), -EINVAL);
}

static void formats(void **state)
{
    (void)state;
    char b[32];
    assert_string_equal(units_format_size(0, b, sizeof b), "0 bytes");
    assert_string_equal(units_format_size(1023, b, sizeof b), "1023 bytes");
    assert_string_equal(units_format_size(1024, b, sizeof b), "1 KiB");
    assert_string_equal(units_format_size(1536, b, sizeof b), "1.5 KiB");
    assert_string_equal(units_format_size(UINT64_C(20) << 30, b, sizeof b), "20 GiB");
}

static void errors_are_valid_text(void **state)
{
    (void)state;
    struct err err;
    char letters[2 * ERR_TEXT_MAX] = "";
    for (size_t i = 0; i < sizeof letters / 4; i++)
        strcat(letters, "\xc3\xa4");
    assert_int_equal(err_set(&err, EIO, "%s", letters), -EIO);
    assert_true(utf8_valid(err.text, strlen(err.text)));
    assert_int_equal(strlen(err.text), (ERR_TEXT_MAX - 1) / 2 * 2);
    err_prefix(&err, "x"); /* shifts it by an odd number */
    assert_true(utf8_valid(err.text, strlen(err.text)));
    err_prefix(&err, "xy");
    assert_true(utf8_valid(err.text, strlen(err.text)));
    err_set(&err, EIO, "file '\xe4' \xe2\x82\xac");
    assert_string_equal(err.text, "file '?' \xe2\x82\xac");
    assert_int_equal(utf8_whole("ab\xe2\x82", 4), 2);
    assert_int_equal(utf8_whole("ab\xe2\x82\xac", 5), 5);
    assert_int_equal(utf8_whole("\xf0\x9f\x98", 3), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sizes), cmocka_unit_test(bad_sizes),
                                       cmocka_unit_test(durations), cmocka_unit_test(formats),
                                       cmocka_unit_test(errors_are_valid_text)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
