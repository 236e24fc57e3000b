/* Schemas: what is refused and where, what is rewritten, what the document says. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/agent/schema.h"
#include "node/base/err.h"

static const char *const colours[] = {"red", "green", NULL};
static const struct schema_field item = {.type = SCHEMA_REF};
static const struct schema_field label = {.type = SCHEMA_STRING, .max = 10};
static const char *even(const json_t *v)
{
    return json_integer_value(v) % 2 ? "is odd; write an even number" : NULL;
}
static const struct schema_field disk_fields[] = {
    {.name = "volume", .type = SCHEMA_REF, .flags = SCHEMA_REQUIRED},
    {.name = "size", .type = SCHEMA_SIZE, .min = 1024, .max = 1 << 30},
    {.name = NULL},
};
static const struct schema_field disk = {.type = SCHEMA_OBJECT, .fields = disk_fields};
static const struct schema_field fields[] = {
    {.name = "name", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED},
    {.name = "id", .type = SCHEMA_UUID, .flags = SCHEMA_READ_ONLY | SCHEMA_REQUIRED},
    {.name = "password", .type = SCHEMA_STRING, .flags = SCHEMA_WRITE_ONLY, .min = 8},
    {.name = "text", .type = SCHEMA_TEXT},
    {.name = "count", .type = SCHEMA_INT, .min = -2, .max = 10, .default_json = "4", .check = even},
    {.name = "ratio", .type = SCHEMA_NUMBER, .min = 0, .max = 1},
    {.name = "on", .type = SCHEMA_BOOL, .default_json = "true"},
    {.name = "wait", .type = SCHEMA_DURATION, .min = 0, .max = 3600000},
    {.name = "uuid", .type = SCHEMA_UUID},
    {.name = "ip", .type = SCHEMA_IP, .flags = SCHEMA_NULLABLE},
    {.name = "net", .type = SCHEMA_CIDR},
    {.name = "address", .type = SCHEMA_IP_CIDR},
    {.name = "mac", .type = SCHEMA_MAC},
    {.name = "at", .type = SCHEMA_TIME},
    {.name = "url", .type = SCHEMA_URL},
    {.name = "colour", .type = SCHEMA_ENUM, .values = colours},
    {.name = "refs", .type = SCHEMA_ARRAY, .item = &item, .max = 3, .flags = SCHEMA_UNIQUE},
    {.name = "labels", .type = SCHEMA_MAP, .item = &label, .max = 2},
    {.name = "disks", .type = SCHEMA_ARRAY, .item = &disk},
    {.name = NULL},
};
static const struct schema schema = {.name = "Thing", .description = "A thing.", .fields = fields};

/* Checks text, and compares the outcome with `want` (JSON), or path and part of the message. */
static void takes(const char *text, enum schema_mode mode, const char *want)
{
    struct schema_error error;
    json_t *v = json_loads(text, 0, NULL), *w = json_loads(want, 0, NULL);
    assert_non_null(v);
    assert_non_null(w);
    if (schema_check(&schema, v, mode, &error))
        fail_msg("%s: %s: %s", text, error.path, error.text);
    if (!json_equal(v, w))
        fail_msg("%s became %s", text, json_dumps(v, 0));
    json_decref(v);
    json_decref(w);
}

static void refuses(const char *text, enum schema_mode mode, const char *path, const char *part)
{
    struct schema_error error;
    json_t *v = json_loads(text, 0, NULL);
    assert_non_null(v);
    if (schema_check(&schema, v, mode, &error) != -EINVAL)
        fail_msg("%s was taken", text);
    if (strcmp(error.path, path) != 0 || !strstr(error.text, part))
        fail_msg("%s: '%s': '%s'", text, error.path, error.text);
    json_decref(v);
}

static void test_modes(void **state)
{
    (void)state;
    takes("{\"name\":\"a\"}", SCHEMA_WHOLE, "{\"name\":\"a\",\"count\":4,\"on\":true}");
    takes("{\"name\":\"a\",\"on\":false,\"ip\":null}", SCHEMA_WHOLE, "{\"name\":\"a\",\"count\":4,\"on\":false}");
    takes("{\"ip\":null}", SCHEMA_PATCH, "{\"ip\":null}");
    takes("{}", SCHEMA_PATCH, "{}");
    refuses("{\"name\":null}", SCHEMA_PATCH, "name", "must not be null");
    refuses("{\"id\":\"x\"}", SCHEMA_PATCH, "id", "cannot be given");
    refuses("{}", SCHEMA_WHOLE, "name", "is missing");
    refuses("{\"name\":\"a\"}", SCHEMA_ANSWER, "id", "is missing");
    takes("{\"name\":\"a\",\"id\":\"7b0c4f4e-3c55-4f0e-9f3a-2d4c8a1b5e60\"}", SCHEMA_ANSWER,
          "{\"name\":\"a\",\"id\":\"7b0c4f4e-3c55-4f0e-9f3a-2d4c8a1b5e60\"}");
    refuses("{\"name\":\"a\",\"password\":\"12345678\"}", SCHEMA_ANSWER, "password", "secret");
    refuses("[]", SCHEMA_WHOLE, "", "is an array; an object is wanted");
}

static void test_rewritten(void **state)
{
    (void)state;
    takes("{\"mac\":\"52:54:00:AB:cd:EF\"}", SCHEMA_PATCH, "{\"mac\":\"52:54:00:ab:cd:ef\"}");
    takes("{\"uuid\":\"7B0C4F4E-3C55-4F0E-9F3A-2D4C8A1B5E60\"}", SCHEMA_PATCH,
          "{\"uuid\":\"7b0c4f4e-3c55-4f0e-9f3a-2d4c8a1b5e60\"}");
    takes("{\"ip\":\"FE80:0:0::1\"}", SCHEMA_PATCH, "{\"ip\":\"fe80::1\"}");
    takes("{\"net\":\"2001:DB8::/32\",\"address\":\"10.7.0.5/24\"}", SCHEMA_PATCH,
          "{\"net\":\"2001:db8::/32\",\"address\":\"10.7.0.5/24\"}");
    takes("{\"wait\":\"1.5s\"}", SCHEMA_PATCH, "{\"wait\":1500}");
    takes("{\"wait\":0}", SCHEMA_PATCH, "{\"wait\":0}");
    takes("{\"disks\":[{\"volume\":\"v\",\"size\":\"1M\"},{\"volume\":\"w\",\"size\":2048}]}", SCHEMA_PATCH,
          "{\"disks\":[{\"volume\":\"v\",\"size\":1048576},{\"volume\":\"w\",\"size\":2048}]}");
    takes("{\"refs\":[\"web\",\"7B0C4F4E-3C55-4F0E-9F3A-2D4C8A1B5E60\"]}", SCHEMA_PATCH,
          "{\"refs\":[\"web\",\"7b0c4f4e-3c55-4f0e-9f3a-2d4c8a1b5e60\"]}");
    takes("{\"text\":\"a\\n\\tb\",\"labels\":{\"a.b/c\":\"\"},\"ratio\":0.5,\"at\":\"2026-11-26T04:00:00.5Z\"}",
          SCHEMA_PATCH,
          "{\"text\":\"a\\n\\tb\",\"labels\":{\"a.b/c\":\"\"},\"ratio\":0.5,\"at\":\"2026-11-26T04:00:00.5Z\"}");
}

static void test_refused_values(void **state)
{
    static const struct {
        const char *text, *path, *part;
    } cases[] = {
        {"{\"name\":5}", "name", "5 is no name; write for example web-1"},
        {"{\"name\":\"\"}", "name", "is empty"},
        {"{\"name\":\"Web\"}", "name", "'Web' is no name: write small letters"},
        {"{\"name\":\"a_b\"}", "name", "are allowed"},
        {"{\"name\":\"-a\"}", "name", "starts and ends"},
        {"{\"name\":\"a-\"}", "name", "starts and ends"},
        {"{\"name\":\"7b0c4f4e-3c55-4f0e-9f3a-2d4c8a1b5e60\"}", "name", "taken for an id"},
        {"{\"name\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}", "name", "too long"},
        {"{\"password\":\"short\"}", "password", "too short"},
        {"{\"password\":\"with\\u0007bell\"}", "password", "control character"},
        {"{\"text\":\"\\u001b[2J\"}", "text", "control character"},
        {"{\"count\":11}", "count", "11 is not in the range from -2 to 10"},
        {"{\"count\":-4}", "count", "from -2 to 10"},
        {"{\"count\":3}", "count", "is odd"},
        {"{\"count\":2.0}", "count", "2 is no whole number"},
        {"{\"count\":\"2\"}", "count", "'2' is no whole number"},
        {"{\"count\":true}", "count", "true is no whole number"},
        {"{\"ratio\":1.5}", "ratio", "from 0 to 1"},
        {"{\"on\":\"yes\"}", "on", "'yes' is no bool; write for example true"},
        {"{\"on\":null}", "on", "must not be null"},
        {"{\"wait\":\"2h\"}", "wait", "not in the range"},
        {"{\"wait\":-1}", "wait", "is no duration"},
        {"{\"wait\":\"5us\"}", "wait", "is no duration"},
        {"{\"uuid\":\"7b0c4f4e-3c55-4f0e-9f3a-2d4c8a1b5e6\"}", "uuid", "is no UUID"},
        {"{\"ip\":\"10.7.0\"}", "ip", "is no IP address; write for example 10.7.0.5"},
        {"{\"ip\":\"010.7.0.1\"}", "ip", "is no IP address"},
        {"{\"net\":\"10.7.0.1/24\"}", "net", "bits behind the prefix"},
        {"{\"net\":\"10.7.0.0/33\"}", "net", "longer than the address"},
        {"{\"net\":\"10.7.0.0\"}", "net", "is no subnet"},
        {"{\"net\":\"10.7.0.0/-1\"}", "net", "is no subnet"},
        {"{\"mac\":\"53:54:00:12:34:56\"}", "mac", "multicast"},
        {"{\"mac\":\"00:00:00:00:00:00\"}", "mac", "no address of a device"},
        {"{\"mac\":\"52-54-00-12-34-56\"}", "mac", "is no MAC address"},
        {"{\"at\":\"2026-13-26T04:00:00Z\"}", "at", "is no time"},
        {"{\"at\":\"2026-11-26 04:00:00Z\"}", "at", "is no time"},
        {"{\"at\":\"2026-11-26T04:00:00+01:00\"}", "at", "is no time"},
        {"{\"url\":\"ftp://x/y\"}", "url", "is no URL"},
        {"{\"url\":\"https://user:secret@x/y\"}", "url", "leave them out"},
        {"{\"url\":\"https:///y\"}", "url", "no host"},
        {"{\"url\":\"https://x/a b\"}", "url", "percent-coded"},
        {"{\"colour\":\"blue\"}", "colour", "'blue' is none of: red, green"},
        {"{\"colour\":\"gren\"}", "colour", "did you mean 'green'?"},
        {"{\"refs\":\"a\"}", "refs", "is no array"},
        {"{\"refs\":[\"a\",\"b\",\"c\",\"d\"]}", "refs", "has 4 entries"},
        {"{\"refs\":[\"a\",\"B\"]}", "refs[1]", "small letters"},
        {"{\"refs\":[\"a\",\"b\",\"a\"]}", "refs[2]", "twice"},
        {"{\"labels\":{\"a\":\"12345678901\"}}", "labels.a", "too long"},
        {"{\"labels\":{\"a b\":\"\"}}", "labels.a b", "a key has"},
        {"{\"labels\":{\"a\":\"\",\"b\":\"\",\"c\":\"\"}}", "labels", "at most 2"},
        {"{\"disks\":[{\"volume\":\"v\"},{\"volume\":\"v\",\"size\":\"20X\"}]}", "disks[1].size",
         "'20X' is no size; write for example 20G"},
        {"{\"disks\":[{\"volume\":\"v\",\"size\":\"2G\"}]}", "disks[0].size",
         "'2G' is not in the range from 1 KiB to 1 GiB"},
        {"{\"disks\":[7]}", "disks[0]", "is a number; an object is wanted"},
        {"{\"disks\":[{\"volume\":\"v\",\"sise\":1}]}", "disks[0].sise", "did you mean 'size'?"},
        {"{\"nothing_like_it_at_all\":1}", "nothing_like_it_at_all", "there are: name, password"},
    };
    (void)state;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++)
        refuses(cases[i].text, SCHEMA_PATCH, cases[i].path, cases[i].part);
}

/* Names that somebody sends are in messages: they are cut, and stay UTF-8. */
static void test_long_foreign_names(void **state)
{
    char text[5000] = "{\"";
    struct schema_error error;
    (void)state;
    for (unsigned i = 0; i < 1000; i++)
        strcat(text, "\xe2\x82\xac");
    strcat(text, "\":1}");
    json_t *v = json_loads(text, 0, NULL);
    assert_int_equal(schema_check(&schema, v, SCHEMA_PATCH, &error), -EINVAL);
    assert_true(strlen(error.path) < 120);
    json_t *path = json_string(error.path), *why = json_string(error.text);
    assert_non_null(path);
    assert_non_null(why);
    json_decref(path);
    json_decref(why);
    json_decref(v);
}

static void test_from_text(void **state)
{
    struct schema_error error;
    (void)state;
    const struct schema_field *count = &fields[4], *on = &fields[6], *colour = &fields[15];
    json_t *v = schema_from_text(count, "-2", &error);
    assert_int_equal(json_integer_value(v), -2);
    json_decref(v);
    v = schema_from_text(on, "false", &error);
    assert_true(json_is_false(v));
    json_decref(v);
    v = schema_from_text(colour, "red", &error);
    assert_string_equal(json_string_value(v), "red");
    json_decref(v);
    v = schema_from_text(&disk_fields[1], "2K", &error);
    assert_int_equal(json_integer_value(v), 2048);
    json_decref(v);
    assert_null(schema_from_text(count, "x", &error));
    assert_string_equal(error.path, "count");
    assert_null(schema_from_text(count, "3", &error));
    assert_null(schema_from_text(count, "", &error));
    assert_null(schema_from_text(count, "[1]", &error));
    assert_null(schema_from_text(on, "TRUE", &error));
    assert_null(schema_from_text(on, "\xff", &error));
}

static void test_nearest(void **state)
{
    const char *const names[] = {"memory", "vcpus", "disks", "networks"};
    (void)state;
    assert_string_equal(schema_nearest("memroy", names, 4), "memory");
    assert_string_equal(schema_nearest("vcpu", names, 4), "vcpus");
    assert_string_equal(schema_nearest("network", names, 4), "networks");
    assert_null(schema_nearest("colour", names, 4));
    assert_null(schema_nearest("", names, 4));
    assert_null(schema_nearest("x", names, 0));
}

static const char *member(const json_t *v, const char *a, const char *b, const char *c)
{
    return json_string_value(json_object_get(json_object_get(json_object_get(v, a), b), c));
}

static void test_emitted(void **state)
{
    (void)state;
    json_t *v = schema_emit(&schema);
    assert_non_null(v);
    assert_true(json_is_false(json_object_get(v, "additionalProperties")));
    assert_string_equal(member(v, "properties", "uuid", "format"), "uuid");
    assert_string_equal(member(v, "properties", "on", "type"), "boolean");
    json_t *properties = json_object_get(v, "properties");
    assert_int_equal(json_object_size(properties), sizeof fields / sizeof *fields - 1);
    assert_true(json_is_true(json_object_get(json_object_get(properties, "id"), "readOnly")));
    assert_true(json_is_true(json_object_get(json_object_get(properties, "password"), "writeOnly")));
    assert_int_equal(json_integer_value(json_object_get(json_object_get(properties, "count"), "default")), 4);
    assert_true(json_is_array(json_object_get(json_object_get(properties, "ip"), "type"))); /* with null */
    assert_int_equal(json_array_size(json_object_get(json_object_get(properties, "colour"), "enum")), 2);
    json_t *required = json_object_get(v, "required");
    assert_int_equal(json_array_size(required), 2);
    json_decref(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_modes),          cmocka_unit_test(test_rewritten),
        cmocka_unit_test(test_refused_values), cmocka_unit_test(test_long_foreign_names),
        cmocka_unit_test(test_from_text),      cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_emitted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
