/* Who asks whether a node has power, when, and what the file that says how may look like. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "node/agent/power_file.h"
#include "node/agent/power_turn.h"
#include "node/base/err.h"

static void test_turn(void **state)
{
    bool alive[6] = {true, true, true, true, true, true};
    (void)state;
    assert_true(power_turn(alive, 6, 4, 5));
    assert_true(power_turn(alive, 6, 4, 0)); /* around the circle */
    assert_true(power_turn(alive, 6, 4, 1));
    assert_false(power_turn(alive, 6, 4, 2));
    assert_false(power_turn(alive, 6, 4, 4)); /* nobody asks for itself */
    alive[5] = alive[0] = false;
    assert_true(power_turn(alive, 6, 4, 3));
    assert_true(power_turn((const bool[]){true, true}, 2, 0, 1));
    assert_false(power_turn((const bool[]){true}, 1, 0, 0));
}

/* Whichever nodes are lost: as long as one is there, somebody asks, and never more than three. */
static void test_somebody_asks(void **state)
{
    (void)state;
    for (unsigned mask = 0; mask < 1 << 7; mask++) {
        bool alive[7];
        for (int i = 0; i < 7; i++)
            alive[i] = mask >> i & 1;
        for (int node = 0; node < 7; node++) {
            int askers = 0, others = 0;
            for (int self = 0; self < 7; self++) {
                others += alive[self] && self != node;
                askers += alive[self] && power_turn(alive, 7, node, self);
            }
            assert_int_equal(askers, others < POWER_ASKERS ? others : POWER_ASKERS);
        }
    }
}

static void test_due(void **state)
{
    (void)state;
    assert_true(power_is_due(&(struct power_look){0, UINT64_MAX})); /* does the way work? */
    assert_false(power_is_due(&(struct power_look){0, POWER_AGAIN_MS}));
    assert_true(power_is_due(&(struct power_look){0, POWER_TRIAL_MS}));
    assert_false(power_is_due(&(struct power_look){POWER_SILENT_MS - 1, POWER_AGAIN_MS}));
    assert_true(power_is_due(&(struct power_look){POWER_SILENT_MS, POWER_AGAIN_MS}));
    assert_false(power_is_due(&(struct power_look){POWER_SILENT_MS, POWER_AGAIN_MS - 1}));
}

static void test_read(void **state)
{
    static const struct {
        const char *text;
        enum power_answer answer;
    } cases[] = {{"off", POWER_OFF},
                 {"Chassis Power is off\n", POWER_OFF},
                 {"Chassis Power is on\n", POWER_ON},
                 {"System: OFF.", POWER_OFF},
                 {"ON", POWER_ON},
                 {"", POWER_UNKNOWN},
                 {" \n", POWER_UNKNOWN},
                 {"powered-off", POWER_UNKNOWN},
                 {"off and on again", POWER_UNKNOWN},
                 {"Error: Unable to establish session", POWER_UNKNOWN}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(power_read(cases[i].text), cases[i].answer);
}

static json_t *load(const char *text, mode_t mode, struct err *err)
{
    char path[] = "/tmp/drover-power-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
    json_t *ways = power_file_load(path, err);
    unlink(path);
    return ways;
}

static void test_file(void **state)
{
    struct err err = {0};
    (void)state;
    json_t *ways =
        load("{\"n2\": {\"redfish\": \"https://c/redfish/v1/Systems/1\", \"user\": \"u\", \"password_file\": "
             "\"/p\"}, \"n3\": {\"program\": [\"/bin/echo\", \"on\"]}}",
             0600, &err);
    assert_non_null(ways);
    assert_string_equal(power_file_kind(json_object_get(ways, "n2")), "redfish");
    assert_string_equal(power_file_kind(json_object_get(ways, "n3")), "program");
    json_decref(ways);
    assert_null(power_file_load("/nowhere/power.json", &err));
    assert_int_equal(err.code, ENOENT);
}

static void test_mistakes(void **state)
{
    static const struct {
        const char *text, *says;
        mode_t mode;
    } cases[] = {
        {"{}", "chmod 600", 0620},
        {"{\n\"n2\": ", "line 2", 0600},
        {"[]", "must be {NODE", 0600},
        {"{\"n2\": 1}", "n2: either 'redfish' or 'program'", 0600},
        {"{\"n2\": {}}", "n2: either", 0600},
        {"{\"n2\": {\"redfish\": \"https://c\", \"program\": [\"/x\"]}}", "n2: either", 0600},
        {"{\"n2\": {\"redfish\": \"http://c\", \"user\": \"u\", \"password_file\": \"/p\"}}", "begin with https", 0600},
        {"{\"n2\": {\"redfish\": \"https://c\"}}", "'user' and 'password_file'", 0600},
        {"{\"n2\": {\"redfish\": \"https://c\", \"password\": \"p\"}}", "'password' is unknown", 0600},
        {"{\"n2\": {\"redfish\": \"https://c\", \"user\": 7}}", "'user' must be a text", 0600},
        {"{\"n2\": {\"redfish\": \"https://c\", \"user\": \"u\", \"password_file\": \"p\"}}", "absolute path", 0600},
        {"{\"n2\": {\"program\": []}}", "list of words", 0600},
        {"{\"n2\": {\"program\": [\"/x\", 1]}}", "list of words", 0600},
        {"{\"n2\": {\"program\": [\"x\"]}}", "absolute path", 0600},
        {"{\"n2\": {\"program\": [\"/x\"], \"user\": \"u\"}}", "beside 'program'", 0600},
        {"{\"n2\": {\"program\": [\"/x\"], \"password_file\": \"y\"}}", "absolute path", 0600},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = {0};
        assert_null(load(cases[i].text, cases[i].mode, &err));
        if (!strstr(err.text, cases[i].says))
            fail_msg("'%s' does not say '%s'", err.text, cases[i].says);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_turn), cmocka_unit_test(test_somebody_asks),
                                       cmocka_unit_test(test_due),  cmocka_unit_test(test_read),
                                       cmocka_unit_test(test_file), cmocka_unit_test(test_mistakes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
