/* Request heads: what is understood, and what is refused with which status. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/agent/http_parse.h"

static char text[8192];
static struct http_request request;
static struct http_head head;
static struct http_fault fault;

static bool parse(const char *source)
{
    size_t scanned = 0, len = strlen(source);
    memset(&request, 0, sizeof request);
    memset(&fault, 0, sizeof fault);
    strcpy(text, source);
    assert_int_equal(http_head_end(text, len, &scanned), len);
    return http_parse_head(text, len, &request, &head, &fault);
}

static void accepts(const char *source)
{
    if (!parse(source))
        fail_msg("%s: %d %s", source, fault.status, fault.detail);
}

static void refuses(const char *source, int status)
{
    if (parse(source))
        fail_msg("%s was accepted", source);
    if (fault.status != status)
        fail_msg("%s: %d, not %d", source, fault.status, status);
    assert_true(strlen(fault.detail) > 5 && strlen(fault.code) > 2);
}

static void test_end(void **state)
{
    const char *source = "GET / HTTP/1.1\r\nHost: x\r\n\r\nrest";
    size_t scanned = 0;
    (void)state;
    for (size_t n = 0; n < 27; n++)
        assert_int_equal(http_head_end(source, n, &scanned), 0); /* also cut inside the end */
    assert_int_equal(http_head_end(source, 27, &scanned), 27);
    scanned = 0;
    assert_int_equal(http_head_end(source, strlen(source), &scanned), 27);
}

static void test_request(void **state)
{
    (void)state;
    accepts("GET /v1/a%20b/%c3%a4?x=1+2&y=%26%3d&z&=&v=a=b HTTP/1.1\r\nhOsT: h\r\nACCEPT:\ta/b \r\n"
            "Authorization: Bearer t\r\nIf-Match: \"5\"\r\nX-Drover-Reason:  why not \r\nUnknown: ignored\r\n\r\n");
    assert_int_equal(request.method, HTTP_GET);
    assert_string_equal(request.path, "/v1/a b/\xc3\xa4");
    assert_string_equal(http_query(&request, "x"), "1 2");
    assert_string_equal(http_query(&request, "y"), "&=");
    assert_string_equal(http_query(&request, "z"), "");
    assert_string_equal(http_query(&request, "v"), "a=b");
    assert_null(http_query(&request, "w"));
    assert_string_equal(request.field[HTTP_HOST], "h");
    assert_string_equal(request.field[HTTP_ACCEPT], "a/b");
    assert_string_equal(request.field[HTTP_AUTHORIZATION], "Bearer t");
    assert_string_equal(request.field[HTTP_REASON], "why not");
    assert_null(request.field[HTTP_CONTENT_TYPE]);
    assert_true(head.keep_alive && !head.content_length && !head.expects_continue && !request.upgrade);
    accepts("DELETE http://host:80/v1/x HTTP/1.1\r\nHost: h\r\n\r\n"); /* RFC 9112, 3.2.2 */
    assert_string_equal(request.path, "/v1/x");
    assert_int_equal(request.method, HTTP_DELETE);
}

static void test_framing(void **state)
{
    (void)state;
    accepts("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0012\r\nExpect: 100-Continue\r\n\r\n");
    assert_true(head.content_length == 12 && head.expects_continue);
    accepts("GET / HTTP/1.1\r\nHost: h\r\nConnection: foo, Close\r\n\r\n");
    assert_false(head.keep_alive);
    accepts("GET / HTTP/1.0\r\n\r\n");
    assert_false(head.keep_alive);
    accepts("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_true(head.keep_alive);
    accepts("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Protocol: a, b\r\n\r\n");
    assert_true(request.upgrade);
    assert_string_equal(head.websocket_protocols, "a, b");
    accepts("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n");
    assert_false(request.upgrade);
}

static void test_refused(void **state)
{
    (void)state;
    refuses("GET / HTTP/1.1\r\n\r\n", 400);
    refuses("GET / HTTP/1.1 \r\nHost: h\r\n\r\n", 400);
    refuses("GET  HTTP/1.1\r\nHost: h\r\n\r\n", 400);
    refuses("GET /%2f HTTP/1.1\r\nHost: h\r\n\r\n", 400);
    refuses("GET /?%e HTTP/1.1\r\nHost: h\r\n\r\n", 400);
    refuses("GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n", 400);
    refuses("GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400);
    refuses("GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", 400);
    refuses("GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n", 400);
    refuses("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
    refuses("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", 411);
    refuses("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x10\r\n\r\n", 400);
    refuses("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\n", 400);
    refuses("POST / HTTP/1.1\r\nHost: h\r\nExpect: tea\r\n\r\n", 417);
    refuses("get / HTTP/1.1\r\nHost: h\r\n\r\n", 501);
    refuses("GET / HTTP/3.0\r\nHost: h\r\n\r\n", 505);
    refuses("GET / HTTP/11\r\nHost: h\r\n\r\n", 400);
    refuses(
        "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 12\r\n\r\n",
        426);
    refuses(
        "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n",
        400);
    refuses("POST / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            400);
}

static void test_many_fields(void **state)
{
    char many[4096] = "GET / HTTP/1.1\r\nHost: h\r\n";
    (void)state;
    for (unsigned i = 0; i < 99; i++)
        strcat(many, "a: b\r\n");
    strcat(many, "\r\n");
    accepts(many);
    strcpy(many + strlen(many) - 2, "a: b\r\n\r\n");
    refuses(many, 431);
}

static void test_list(void **state)
{
    (void)state;
    assert_true(http_list_has("a, Upgrade ,b", "upgrade"));
    assert_true(http_list_has("upgrade", "upgrade"));
    assert_false(http_list_has("upgrades, no-upgrade", "upgrade"));
    assert_false(http_list_has(NULL, "upgrade"));
    assert_false(http_list_has(" , ,", "upgrade"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_end),     cmocka_unit_test(test_request),     cmocka_unit_test(test_framing),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_many_fields), cmocka_unit_test(test_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
