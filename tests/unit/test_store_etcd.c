/* The etcd back end against answers that a real server gives only now and then: fragments, several endpoints that fail
 * in turn, a watch that breaks in the middle of a revision. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "node/base/container.h"
#include "node/base/loop.h"
#include "node/base/store.h"
#include "tests/unit/fake_http.h"

static struct loop *loop;
static struct store *store;

static void nothing(struct loop_job *job)
{
    (void)job;
}

static void turn(void)
{
    struct loop_job tick = {.run = nothing};
    loop_defer(loop, &tick); /* so that the loop does not sleep */
    loop_step(loop);
}

static int setup(void **state)
{
    struct err err = {0};
    (void)state;
    loop = loop_new(&err);
    store = store_open("etcd:http://127.0.0.1:1,127.0.0.1:2,127.0.0.1:3", loop, NULL, &err);
    if (!store)
        fail_msg("%s", err.text);
    return 0;
}

static void closed(void *context)
{
    *(bool *)context = true;
}

static int teardown(void **state)
{
    bool is_closed = false;
    (void)state;
    store_close(store, closed, &is_closed);
    while (!is_closed)
        turn();
    assert_int_equal(fake_http_count(), 0);
    loop_free(loop);
    return 0;
}

static struct http_client_request *await(const char *url)
{
    struct http_client_request *r;
    while (!(r = fake_http_find(url, 0)))
        turn();
    return r;
}

static void answer(const char *url, int status, const char *body)
{
    fake_http_answer(await(url), status, body, strlen(body));
}

static bool stream(struct http_client_request *r, const char *text)
{
    return fake_http_stream(r, text, strlen(text));
}

static bool is_in(const struct http_client_request *r, const char *text)
{
    return memmem(r->body, r->body_len, text, strlen(text));
}

#define HEADER(revision) "\"header\":{\"cluster_id\":\"7\",\"revision\":\"" revision "\"}"
#define EVENT(key, revision, value)                                                                                    \
    "{\"kv\":{\"key\":\"" key "\",\"mod_revision\":\"" revision "\",\"value\":\"" value "\"}}"
#define LINE(more) "{\"result\":{" HEADER("20") "," more "}}\n"
#define CREATED LINE("\"created\":true")

/* "a/1" and so on in base64 */
#define A1 "YS8x"
#define A2 "YS8y"
#define A3 "YS8z"

/* ---- watches ---- */

struct told {
    struct store_watch watch;
    char text[1000];
    int64_t revision;
    bool up;
    int result;
};

static void told_events(struct store_watch *watch, const struct store_event *e, uint32_t count, int64_t revision)
{
    struct told *t = CONTAINER_OF(watch, struct told, watch);
    assert_true(revision > t->revision);
    t->revision = revision;
    size_t len = strlen(t->text);
    len += (size_t)snprintf(t->text + len, sizeof t->text - len, "%lld:", (long long)revision);
    for (uint32_t i = 0; i < count; i++)
        len += (size_t)snprintf(t->text + len, sizeof t->text - len, " %s=%s", e[i].key,
                                e[i].value ? (const char *)e[i].value : "-");
    snprintf(t->text + len, sizeof t->text - len, "; ");
}

static void told_end(struct store_watch *watch, int result, const struct err *err)
{
    struct told *t = CONTAINER_OF(watch, struct told, watch);
    assert_true(err->text[0]);
    t->result = result;
}

static void told_link(struct store_watch *watch, bool up, const struct err *why)
{
    (void)why;
    CONTAINER_OF(watch, struct told, watch)->up = up;
}

static void begin(struct told *t, int64_t after)
{
    *t = (struct told){.revision = after};
    t->watch = (struct store_watch){
        .prefix = "a/", .after = after, .events = told_events, .ended = told_end, .link = told_link};
    assert_int_equal(store_watch(store, &t->watch, NULL), 0);
}

static void a_revision_in_fragments_is_told_at_once(void **state)
{
    struct told t;
    (void)state;
    begin(&t, 3);
    struct http_client_request *r = await("/v3/watch");
    assert_true(is_in(r, "\"start_revision\":\"4\""));
    assert_true(is_in(r, "\"fragment\":true"));
    assert_true(stream(r, CREATED));
    assert_true(t.up);
    assert_true(
        stream(r, LINE("\"fragment\":true,\"events\":[" EVENT(A1, "4", "eA==") "," EVENT(A1, "5", "eA==") "]")));
    assert_string_equal(t.text, "4: a/1=x; "); /* 5 may have more */
    assert_true(stream(r, LINE("\"fragment\":true,\"events\":[" EVENT(A2, "5", "") "]")));
    assert_string_equal(t.text, "4: a/1=x; ");
    assert_true(stream(r, LINE("\"events\":[" EVENT(A3, "5", "eg==") "," EVENT(A3, "6", "eQ==") "]")));
    assert_string_equal(t.text, "4: a/1=x; 5: a/1=x a/2= a/3=z; 6: a/3=y; ");
    store_unwatch(store, &t.watch);
}

static void a_broken_revision_is_asked_for_again(void **state)
{
    struct told t;
    (void)state;
    begin(&t, 3);
    struct http_client_request *r = await("/v3/watch");
    stream(r, CREATED);
    stream(r, LINE("\"fragment\":true,\"events\":[" EVENT(A1, "4", "eA==") "," EVENT(A1, "5", "eA==") "]"));
    fake_http_fail(r, ECONNRESET, true);
    assert_false(t.up);
    r = await("/v3/watch");
    assert_true(strstr(r->url, ":2/")); /* the next endpoint */
    assert_true(is_in(r, "\"start_revision\":\"5\""));
    stream(r, CREATED);
    stream(r, LINE("\"events\":[" EVENT(A1, "5", "eA==") "," EVENT(A2, "5", "eA==") "]"));
    assert_string_equal(t.text, "4: a/1=x; 5: a/1=x a/2=x; ");
    assert_true(t.up);
    store_unwatch(store, &t.watch);
}

static void lines_come_in_any_pieces(void **state)
{
    static const char text[] = CREATED LINE("\"events\":[" EVENT(A1, "4", "eA==") "]") "\n" LINE(
        "\"events\":[{\"type\":\"DELETE\",\"kv\":{\"key\":\"" A1 "\",\"mod_revision\":\"9\"}}]");
    struct told t;
    (void)state;
    begin(&t, 3);
    struct http_client_request *r = await("/v3/watch");
    for (size_t i = 0; i < sizeof text - 1; i++)
        assert_true(fake_http_stream(r, text + i, 1));
    assert_string_equal(t.text, "4: a/1=x; 9: a/1=-; ");
    assert_true(stream(r, LINE("\"watch_id\":\"0\"")));
    assert_string_equal(t.text, "4: a/1=x; 9: a/1=-; 20:; "); /* progress */
    store_unwatch(store, &t.watch);
}

static void nonsense_ends_the_stream_and_not_the_watch(void **state)
{
    static const char *const lines[] = {"[]\n",
                                        "{\"result\":1}\n",
                                        "{\"result\":{}}\n",
                                        LINE("\"events\":1"),
                                        LINE("\"events\":[1]"),
                                        LINE("\"events\":[" EVENT("!!!!", "4", "eA==") "]"),
                                        LINE("\"events\":[" EVENT(A1, "4", "eA=") "]"),
                                        LINE("\"events\":[" EVENT(A1, "-4", "eA==") "]"),
                                        LINE("\"events\":[" EVENT(A1, "99999999999999999999", "") "]"),
                                        LINE("\"events\":[" EVENT(A1, "3", "eA==") "]"), /* told already */
                                        LINE("\"events\":[" EVENT(A1, "5", "eA==") "," EVENT(A1, "4", "eA==") "]"),
                                        LINE("\"canceled\":true,\"cancel_reason\":\"no leader\""),
                                        "{\"error\":{\"grpc_code\":14,\"message\":\"etcdserver: no leader\"}}\n"};
    struct told t;
    (void)state;
    begin(&t, 3);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct http_client_request *r = await("/v3/watch");
        assert_true(stream(r, CREATED));
        if (stream(r, lines[i]))
            fail_msg("taken: %s", lines[i]);
        assert_false(t.up);
    }
    assert_string_equal(t.text, "");
    assert_int_equal(t.result, 0);
    struct http_client_request *r = await("/v3/watch");
    stream(r, CREATED);
    assert_true(stream(r, LINE("\"events\":[" EVENT("b3RoZXI=", "4", "eA==") "," EVENT("YS8A", "4", "eA==") "]")));
    assert_string_equal(t.text, ""); /* keys of others are left out */
    stream(r, LINE("\"canceled\":true,\"compact_revision\":\"9\""));
    assert_int_equal(t.result, -ESTALE);
    store_unwatch(store, &t.watch);
}

static void a_member_that_lags_is_not_another_store(void **state)
{
    struct told t;
    (void)state;
    begin(&t, 30);
    answer("/v3/kv/range", 200, "{" HEADER("31") "}"); /* whether the endpoint is alive */
    struct http_client_request *r = await("/v3/watch");
    stream(r, CREATED); /* at 20 */
    answer("/v3/kv/range", 200, "{" HEADER("31") "}");
    turn();
    assert_int_equal(t.result, 0);
    fake_http_fail(r, ECONNRESET, true);
    r = await("/v3/watch");
    stream(r, CREATED);
    answer("/v3/kv/range", 200, "{" HEADER("29") "}"); /* now it really is behind */
    turn();
    assert_int_equal(t.result, -ESTALE);
    store_unwatch(store, &t.watch);
}

/* ---- calls ---- */

struct put {
    struct store_commit commit;
    struct store_change change;
    int done, result;
};

static void put_done(struct store_commit *commit, int result)
{
    struct put *p = CONTAINER_OF(commit, struct put, commit);
    p->done++;
    p->result = result;
}

static void put(struct put *p)
{
    *p = (struct put){.change = {STORE_PUT, "a/1", "x", 1, 5, 0}};
    p->commit = (struct store_commit){.changes = &p->change, .count = 1, .done = put_done};
    store_commit(store, &p->commit);
}

static void await_put(struct put *p)
{
    while (!p->done)
        turn();
    assert_int_equal(p->done, 1);
}

static void a_commit_waits_for_an_endpoint_that_answers(void **state)
{
    struct put p;
    (void)state;
    put(&p);
    fake_http_fail(await("/v3/kv/range"), EHOSTUNREACH, false);
    fake_http_fail(await("/v3/kv/range"), ETIMEDOUT, true);
    assert_null(fake_http_find("/v3/kv/txn", 0));
    struct http_client_request *r = await("/v3/kv/range");
    assert_true(strstr(r->url, ":3/"));
    fake_http_answer(r, 200, "{" HEADER("6") "}", strlen("{" HEADER("6") "}"));
    r = await("/v3/kv/txn");
    assert_true(strstr(r->url, ":3/"));
    fake_http_answer(r, 200, "{" HEADER("7") ",\"succeeded\":true}", strlen("{" HEADER("7") ",\"succeeded\":true}"));
    await_put(&p);
    assert_int_equal(p.result, 0);
    assert_int_equal(p.commit.revision, 7);
}

static void what_becomes_of_a_commit(void **state)
{
    static const struct {
        int status;
        const char *body;
        int result;
    } cases[] = {
        {200,
         "{" HEADER("7") ",\"responses\":[{\"response_range\":{\"kvs\":[{\"key\":\"" A1
                         "\",\"mod_revision\":\"6\"}]}}]}",
         -ESTALE},
        {200,
         "{" HEADER("7") ",\"responses\":[{\"response_range\":{\"kvs\":[{\"key\":\"" A1
                         "\",\"mod_revision\":\"5\"}]}}]}",
         -EIO}, /* refused, and right? */
        {200, "{" HEADER("7") "}", -EIO},
        {200, "{\"succeeded\":true}", -EIO},
        {200, "no JSON", -EIO},
        {404, "{\"error\":\"etcdserver: requested lease not found\",\"code\":5}", -ENOENT},
        {429, "{\"error\":\"etcdserver: mvcc: database space exceeded\",\"code\":8}", -ENOSPC},
        {400, "{\"error\":\"etcdserver: request is too large\",\"code\":3}", -E2BIG},
        {401, "{\"error\":\"etcdserver: user name is empty\",\"code\":16}", -EACCES},
        {503, "{\"error\":\"etcdserver: request timed out\",\"code\":14}", -ETIMEDOUT},
        {503, "{\"error\":\"etcdserver: leader changed\",\"code\":14}", -ETIMEDOUT},
        {502, "<html>", -ETIMEDOUT},
    };
    struct put p;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put(&p);
        for (;;) { /* the endpoint may have to prove itself first */
            turn();
            struct http_client_request *probe = fake_http_find("/v3/kv/range", 0);
            if (probe)
                answer("/v3/kv/range", 200, "{" HEADER("6") "}");
            if (fake_http_find("/v3/kv/txn", 0))
                break;
        }
        answer("/v3/kv/txn", cases[i].status, cases[i].body);
        await_put(&p);
        if (p.result != cases[i].result)
            fail_msg("%s: %d, not %d (%s)", cases[i].body, p.result, cases[i].result, p.commit.err.text);
        assert_true(p.commit.err.text[0]);
        assert_null(fake_http_find("/v3/kv/txn", 0)); /* never a second time */
    }
}

static void a_commit_without_a_leader_goes_elsewhere(void **state)
{
    struct put p;
    (void)state;
    put(&p);
    answer("/v3/kv/range", 200, "{" HEADER("6") "}");
    answer("/v3/kv/txn", 503, "{\"error\":\"etcdserver: no leader\",\"code\":14}");
    answer("/v3/kv/range", 200, "{" HEADER("6") "}");
    struct http_client_request *r = await("/v3/kv/txn");
    assert_true(strstr(r->url, ":2/"));
    fake_http_fail(r, ECONNRESET, true); /* this one may have happened */
    await_put(&p);
    assert_int_equal(p.result, -ETIMEDOUT);
    assert_int_equal(store_outcome(p.result), STORE_UNKNOWN);
}

struct got {
    struct store_read read;
    int done, result;
};

static void got(struct store_read *read, int result)
{
    struct got *g = CONTAINER_OF(read, struct got, read);
    g->done++;
    g->result = result;
}

static void a_read_is_tried_everywhere_and_checked(void **state)
{
    static const char *const wrong[] = {
        "{" HEADER("7") ",\"kvs\":[{\"key\":\"YS8y\",\"mod_revision\":\"6\"}]}",                      /* another key */
        "{" HEADER("7") ",\"kvs\":[{\"key\":\"" A1 "\"}]}",                                           /* no revision */
        "{" HEADER("7") ",\"kvs\":[{\"key\":\"" A1 "\",\"mod_revision\":\"6\",\"value\":\"====\"}]}", /* no base64 */
        "{" HEADER("0") "}",
        "{}",
        "{" HEADER("7") ",\"kvs\":{}}",
        "{" HEADER("7") ",\"kvs\":[{\"key\":\"" A1 "\",\"mod_revision\":\"6\"},{\"key\":\"" A1
                        "\",\"mod_revision\":\"6\"}]}",
    };
    struct got g;
    (void)state;
    g = (struct got){.read = {.key = "a/1", .done = got}};
    store_read(store, &g.read);
    fake_http_fail(await("/v3/kv/range"), ECONNRESET, true);
    fake_http_fail(await("/v3/kv/range"), ETIMEDOUT, true);
    answer("/v3/kv/range", 503, "{\"error\":\"etcdserver: request timed out\",\"code\":14}");
    answer("/v3/kv/range", 200, "{" HEADER("7") "}");
    while (!g.done)
        turn();
    assert_int_equal(g.result, 0);
    assert_int_equal(g.read.revision, 7);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        g = (struct got){.read = {.key = "a/1", .done = got}};
        store_read(store, &g.read);
        answer("/v3/kv/range", 200, wrong[i]);
        while (!g.done)
            turn();
        if (g.result != -EIO)
            fail_msg("taken: %s", wrong[i]);
        assert_int_equal(g.read.count, 0);
    }
}

static void a_page_that_is_too_large_is_asked_for_in_less(void **state)
{
    struct got g = {.read = {.key = "a/", .prefix = true, .limit = 20, .done = got}};
    (void)state;
    store_read(store, &g.read);
    assert_true(is_in(await("/v3/kv/range"), "\"limit\":\"20\""));
    fake_http_fail(await("/v3/kv/range"), EMSGSIZE, true);
    assert_true(is_in(await("/v3/kv/range"), "\"limit\":\"2\""));
    fake_http_fail(await("/v3/kv/range"), EMSGSIZE, true);
    assert_true(is_in(await("/v3/kv/range"), "\"limit\":\"1\""));
    answer("/v3/kv/range", 200,
           "{" HEADER("7") ",\"kvs\":[{\"key\":\"" A1 "\",\"mod_revision\":\"6\"}],\"more\":true,\"count\":\"20\"}");
    while (!g.done)
        turn();
    assert_int_equal(g.result, 0);
    assert_true(g.read.more);
}

#define ETCD_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ETCD_TEST(a_revision_in_fragments_is_told_at_once),
        ETCD_TEST(a_broken_revision_is_asked_for_again),
        ETCD_TEST(lines_come_in_any_pieces),
        ETCD_TEST(nonsense_ends_the_stream_and_not_the_watch),
        ETCD_TEST(a_member_that_lags_is_not_another_store),
        ETCD_TEST(a_commit_waits_for_an_endpoint_that_answers),
        ETCD_TEST(what_becomes_of_a_commit),
        ETCD_TEST(a_commit_without_a_leader_goes_elsewhere),
        ETCD_TEST(a_read_is_tried_everywhere_and_checked),
        ETCD_TEST(a_page_that_is_too_large_is_asked_for_in_less),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
