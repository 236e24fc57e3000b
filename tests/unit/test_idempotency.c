/* Kept answers: known, other, under way, forgotten, bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/agent/idempotency.h"

static struct idempotency *table;
static struct idempotency_entry *entry;
static struct http_reply reply;

static int setup(void **state)
{
    (void)state;
    table = idempotency_new();
    return !table;
}

static int teardown(void **state)
{
    (void)state;
    idempotency_free(table);
    return 0;
}

static struct http_request request_of(const char *body)
{
    return (struct http_request){.method = HTTP_POST, .path = "/v1/guests", .body = body, .body_bytes = strlen(body)};
}

static enum idempotency_verdict begin(const char *who, const char *key, const char *body, int64_t now_s)
{
    struct http_request r = request_of(body);
    return idempotency_begin(table, who, key, &r, now_s, &entry, &reply);
}

static void settle(int status, const char *body)
{
    idempotency_settle(entry, &(struct http_reply){.status = status,
                                                   .content_type = "application/json",
                                                   .body = body,
                                                   .body_bytes = strlen(body),
                                                   .location = "/v1/guests/a"});
}

static void test_same_again(void **state)
{
    (void)state;
    assert_int_equal(begin("alice", "k", "{}", 100), IDEMPOTENCY_NEW);
    assert_int_equal(begin("alice", "k", "{}", 100), IDEMPOTENCY_UNDER_WAY);
    settle(201, "made");
    assert_int_equal(begin("alice", "k", "{}", 200), IDEMPOTENCY_KNOWN);
    assert_true(reply.status == 201 && reply.replayed);
    assert_string_equal(reply.body, "made");
    assert_string_equal(reply.location, "/v1/guests/a");
    assert_null(reply.etag);
    assert_int_equal(begin("alice", "k", "{ }", 200), IDEMPOTENCY_OTHER);
    assert_int_equal(begin("bob", "k", "{ }", 200), IDEMPOTENCY_NEW);
}

static void test_parts_are_not_mixed_up(void **state)
{
    struct http_request r = request_of("");
    (void)state;
    r.query[0] = (struct http_parameter){"a", "b"};
    r.query_count = 1;
    assert_int_equal(idempotency_begin(table, "alice", "k", &r, 1, &entry, &reply), IDEMPOTENCY_NEW);
    r.query[0] = (struct http_parameter){"ab", ""};
    assert_int_equal(idempotency_begin(table, "alice", "k", &r, 1, &entry, &reply), IDEMPOTENCY_OTHER);
    assert_int_equal(idempotency_begin(table, "alic", "ek", &r, 1, &entry, &reply), IDEMPOTENCY_NEW);
}

static void test_failures_are_forgotten(void **state)
{
    (void)state;
    assert_int_equal(begin("alice", "k", "{}", 1), IDEMPOTENCY_NEW);
    settle(503, "later");
    assert_int_equal(begin("alice", "k", "{}", 1), IDEMPOTENCY_NEW);
    char *big = calloc(1, IDEMPOTENCY_BODY_MAX + 2);
    memset(big, 'x', IDEMPOTENCY_BODY_MAX + 1);
    settle(200, big);
    free(big);
    assert_int_equal(begin("alice", "k", "{}", 1), IDEMPOTENCY_NEW);
    settle(409, "a refusal is an answer");
    assert_int_equal(begin("alice", "k", "{}", 1), IDEMPOTENCY_KNOWN);
}

static void test_time(void **state)
{
    (void)state;
    assert_int_equal(begin("alice", "k", "{}", 100), IDEMPOTENCY_NEW);
    settle(201, "made");
    assert_int_equal(begin("alice", "k", "{}", 100 + IDEMPOTENCY_KEPT_S), IDEMPOTENCY_KNOWN);
    assert_int_equal(begin("alice", "k", "{}", 101 + IDEMPOTENCY_KEPT_S), IDEMPOTENCY_NEW);
}

static void test_bound(void **state)
{
    char key[16];
    (void)state;
    for (int i = 0; i < IDEMPOTENCY_ENTRIES_MAX; i++) {
        snprintf(key, sizeof key, "%d", i);
        assert_int_equal(begin("alice", key, "{}", 100 + i), IDEMPOTENCY_NEW);
        if (i == 5 || i == 9)
            settle(201, "made");
    }
    assert_int_equal(begin("alice", "x", "{}", 5000), IDEMPOTENCY_NEW); /* takes the place of 5 */
    assert_int_equal(begin("alice", "9", "{}", 5000), IDEMPOTENCY_KNOWN);
    assert_int_equal(begin("alice", "5", "{}", 5000), IDEMPOTENCY_NEW); /* takes the place of 9 */
    assert_int_equal(begin("alice", "y", "{}", 5000), IDEMPOTENCY_FULL);
    assert_int_equal(begin("alice", "7", "{}", 5000), IDEMPOTENCY_UNDER_WAY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_same_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_parts_are_not_mixed_up, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failures_are_forgotten, setup, teardown),
        cmocka_unit_test_setup_teardown(test_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bound, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
