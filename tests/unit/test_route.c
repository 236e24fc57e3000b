/* Routes: what finds which, and what a table refuses. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/agent/route.h"
#include "node/base/err.h"

static const struct route routes[] = {
    {.method = HTTP_GET, .path = "/v1/guests", .id = "list"},
    {.method = HTTP_POST, .path = "/v1/guests", .id = "create"},
    {.method = HTTP_GET, .path = "/v1/guests/{name}", .id = "show"},
    {.method = HTTP_GET, .path = "/v1/guests/all", .id = "all"},
    {.method = HTTP_DELETE, .path = "/v1/guests/{name}", .id = "delete"},
    {.method = HTTP_GET, .path = "/v1/guests/{name}/disks/{disk}", .id = "disk"},
    {.method = HTTP_GET, .path = "/v1/{kind}/all/disks/{disk}", .id = "kind"},
};

static const char *found(const struct route_table *table, enum http_method method, const char *path,
                         struct route_match *match)
{
    route_table_match(table, method, path, match);
    return match->route ? match->route->id : "";
}

static void test_match(void **state)
{
    struct route_match m;
    int context;
    struct route_table *table = route_table_new();
    (void)state;
    assert_int_equal(route_table_add(table, routes, sizeof routes / sizeof *routes, &context, NULL), 0);
    assert_string_equal(found(table, HTTP_GET, "/v1/guests", &m), "list");
    assert_ptr_equal(route_table_context(table, m.route), &context);
    assert_string_equal(found(table, HTTP_HEAD, "/v1/guests", &m), "list");
    assert_string_equal(found(table, HTTP_POST, "/v1/guests", &m), "create");
    assert_string_equal(found(table, HTTP_GET, "/v1/guests/web", &m), "show");
    assert_int_equal(m.count, 1);
    assert_string_equal(m.value[0], "web");
    assert_int_equal(strncmp(m.name[0], "name}", 5), 0);
    assert_string_equal(found(table, HTTP_GET, "/v1/guests/all", &m), "all"); /* fixed wins */
    assert_string_equal(found(table, HTTP_DELETE, "/v1/guests/all", &m), "delete");
    assert_string_equal(found(table, HTTP_GET, "/v1/guests/all/disks/0", &m), "disk"); /* the earlier fixed one wins */
    assert_string_equal(m.value[1], "0");
    assert_string_equal(found(table, HTTP_GET, "/v1/volumes/all/disks/0", &m), "kind");
    assert_string_equal(found(table, HTTP_PUT, "/v1/guests", &m), "");
    assert_int_equal(m.allowed, 1u << HTTP_GET | 1u << HTTP_HEAD | 1u << HTTP_POST);
    static const char *const nowhere[] = {"/",
                                          "",
                                          "v1/guests",
                                          "/v1/guests/",
                                          "//v1/guests",
                                          "/v1",
                                          "/V1/guests",
                                          "/v1/guests/a/b",
                                          "/a/b/c/d/e/f/g/h/i/j/k",
                                          "/v1/guestsx"};
    for (unsigned i = 0; i < sizeof nowhere / sizeof *nowhere; i++) {
        assert_string_equal(found(table, HTTP_GET, nowhere[i], &m), "");
        assert_int_equal(m.allowed, 0);
    }
    route_table_free(table);
}

static void test_long_segment(void **state)
{
    struct route_match m;
    char path[400] = "/v1/guests/";
    struct route_table *table = route_table_new();
    (void)state;
    assert_int_equal(route_table_add(table, routes, sizeof routes / sizeof *routes, NULL, NULL), 0);
    memset(path + 11, 'a', 255);
    assert_string_equal(found(table, HTTP_GET, path, &m), "show");
    assert_int_equal(strlen(m.value[0]), 255);
    path[11 + 255] = 'a';
    assert_string_equal(found(table, HTTP_GET, path, &m), "");
    route_table_free(table);
}

static void test_refused_templates(void **state)
{
    static const struct route wrong[] = {
        {.path = "", .id = "a"},       {.path = "v1", .id = "b"},        {.path = "/v1/", .id = "c"},
        {.path = "/v1/{}", .id = "d"}, {.path = "/v1/{name", .id = "e"}, {.path = "/{a}/{b}/{c}/{d}/{e}", .id = "f"},
    };
    static const struct route twice[] = {{.path = "/v1/{a}", .id = "a"}, {.path = "/v1/{b}", .id = "b"}};
    static const struct route same_id[] = {{.path = "/v1", .id = "a"}, {.path = "/v2", .id = "a"}};
    struct err err;
    struct route_table *table = route_table_new();
    (void)state;
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(route_table_add(table, &wrong[i], 1, NULL, &err), -EINVAL);
    assert_int_equal(route_table_count(table), 0);
    assert_int_equal(route_table_add(table, twice, 2, NULL, &err), -EINVAL);
    assert_non_null(strstr(err.text, "/v1/{b}"));
    route_table_free(table);
    table = route_table_new();
    assert_int_equal(route_table_add(table, same_id, 2, NULL, &err), -EINVAL);
    route_table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_match),
        cmocka_unit_test(test_long_segment),
        cmocka_unit_test(test_refused_templates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
