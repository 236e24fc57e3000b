/* The HTTP client against a server that does exactly what the test says. */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "node/base/container.h"
#include "node/base/http_client.h"
#include "node/base/loop.h"

/* ---- the server: takes one connection after the other, and answers the n-th request with the n-th answer ---- */

enum { ANSWERS_MAX = 8 };

struct server {
    int fd, port;
    pthread_t thread;
    const char *answers[ANSWERS_MAX];                 /* NULL: closes without a word */
    size_t lengths[ANSWERS_MAX];                      /* 0: strlen */
    bool close_after[ANSWERS_MAX], hold[ANSWERS_MAX]; /* hold: says nothing more until the client closes */
    int count;
    char requests[ANSWERS_MAX][4096]; /* read after the thread has ended */
    int asked;
};

static bool read_request(int fd, char *text, size_t size)
{
    size_t len = 0;
    for (;;) {
        ssize_t n = recv(fd, text + len, size - 1 - len, 0);
        if (n <= 0)
            return false;
        len += (size_t)n;
        text[len] = 0;
        const char *end = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "content-length:");
        if (end && len >= (size_t)(end + 4 - text) + (length && length < end ? (size_t)atoi(length + 15) : 0))
            return true;
    }
}

static void serve(struct server *s, int fd)
{
    while (s->asked < s->count && read_request(fd, s->requests[s->asked], sizeof s->requests[0])) {
        int i = s->asked++;
        char byte;
        if (!s->answers[i])
            return;
        size_t len = s->lengths[i] ? s->lengths[i] : strlen(s->answers[i]);
        for (size_t at = 0; at < len;) {
            ssize_t n = send(fd, s->answers[i] + at, len - at, MSG_NOSIGNAL);
            if (n <= 0)
                return;
            at += (size_t)n;
        }
        if (s->hold[i])
            while (recv(fd, &byte, 1, 0) > 0)
                continue;
        if (s->close_after[i])
            return;
    }
}

static void *server_main(void *arg)
{
    struct server *s = arg;
    while (s->asked < s->count) {
        int fd = accept(s->fd, NULL, NULL);
        if (fd < 0)
            break;
        serve(s, fd);
        close(fd);
    }
    return NULL;
}

static struct server server;
static struct loop *loop;
static struct http_client *client;

static void start(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    server.fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(server.fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(server.fd, 8), 0);
    assert_int_equal(getsockname(server.fd, (struct sockaddr *)&a, &len), 0);
    server.port = ntohs(a.sin_port);
    assert_int_equal(pthread_create(&server.thread, NULL, server_main, &server), 0);
    struct err err = {0};
    loop = loop_new(&err);
    const struct http_client_options none = {0};
    client = http_client_new(loop, &none, &err);
    if (!client)
        fail_msg("%s", err.text);
}

static void answer(const char *text)
{
    server.answers[server.count++] = text;
}

static void note_closed(void *context)
{
    *(bool *)context = true;
}

static void stop(void)
{
    bool closed = false;
    http_client_close(client, note_closed, &closed);
    assert_false(closed);
    while (!closed)
        loop_step(loop);
    assert_int_equal(loop_in_flight(loop), 0);
    loop_free(loop);
    shutdown(server.fd, SHUT_RDWR);
    pthread_join(server.thread, NULL);
    close(server.fd);
    server = (struct server){0};
}

struct ask {
    struct http_client_request request;
    char url[64];
    int done, result, status;
    char answer[200000];
    size_t len;
    int pause_after, cancel_after, calls;
    bool paused;
};

static void done(struct http_client_request *request, int result)
{
    struct ask *a = CONTAINER_OF(request, struct ask, request);
    a->done++;
    a->result = result;
    a->status = request->status;
    assert_int_equal(result != 0, request->err.text[0] != 0);
    if (!request->received && request->answer_len < sizeof a->answer) {
        memcpy(a->answer, request->answer, request->answer_len + 1);
        a->len = request->answer_len;
    }
}

static struct ask *new_ask(const char *method)
{
    struct ask *a = calloc(1, sizeof *a);
    snprintf(a->url, sizeof a->url, "http://127.0.0.1:%d/path?x=1", server.port);
    a->request = (struct http_client_request){
        .method = method, .url = a->url, .answer_max = 1000, .timeout_ms = 60000, .done = done};
    return a;
}

static void send_and_wait(struct ask *a)
{
    http_client_send(client, &a->request);
    assert_int_equal(a->done, 0);
    while (!a->done)
        loop_step(loop);
    assert_int_equal(a->done, 1);
}

static void gets_and_posts_on_one_connection(void **state)
{
    (void)state;
    answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    answer("HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n3\r\npe!\r\n0\r\n\r\n");
    start();
    struct ask *get = new_ask("GET"), *post = new_ask("POST");
    send_and_wait(get);
    assert_int_equal(get->result, 0);
    assert_int_equal(get->status, 200);
    assert_string_equal(get->answer, "hello");
    static const char *const headers[] = {"X-One: 1", "Content-Type: application/json", NULL};
    post->request.headers = headers;
    post->request.body = "{\"a\":\0002}";
    post->request.body_len = 8;
    send_and_wait(post);
    assert_int_equal(post->result, 0);
    assert_int_equal(post->status, 404);
    assert_string_equal(post->answer, "nope!");
    stop();
    free(get);
    free(post);
}

static void checks_what_was_sent(void **state)
{
    (void)state;
    answer("HTTP/1.1 204 No Content\r\n\r\n");
    start();
    struct ask *put = new_ask("PUT");
    static const char *const headers[] = {"X-One: 1", NULL};
    put->request.headers = headers;
    put->request.body = "abc";
    put->request.body_len = 3;
    send_and_wait(put);
    assert_int_equal(put->status, 204);
    assert_true(put->request.sent);
    shutdown(server.fd, SHUT_RDWR);
    pthread_join(server.thread, NULL);
    const char *r = server.requests[0];
    assert_memory_equal(r, "PUT /path?x=1 HTTP/1.1\r\n", 24);
    assert_non_null(strstr(r, "X-One: 1\r\n"));
    assert_null(strstr(r, "Expect"));
    assert_null(strstr(r, "Authorization"));
    assert_string_equal(strstr(r, "\r\n\r\n") + 4, "abc");
    assert_int_equal(pthread_create(&server.thread, NULL, server_main, &server), 0);
    stop();
    free(put);
}

static void bounds_what_it_takes(void **state)
{
    static char large[100000], head[100000];
    (void)state;
    int n = snprintf(large, sizeof large, "HTTP/1.1 200 OK\r\n\r\n");
    memset(large + n, 'x', 5000);
    n = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\n");
    while (n < 90000)
        n += snprintf(head + n, sizeof head - (size_t)n, "X-%d: %0500d\r\n", n, 1);
    answer(large);
    answer(head);
    answer("this is no HTTP\r\n\r\n");
    server.close_after[0] = server.close_after[1] = server.close_after[2] = true;
    start();
    struct ask *a = new_ask("GET"), *b = new_ask("GET"), *c = new_ask("GET");
    send_and_wait(a);
    assert_int_equal(a->result, -EMSGSIZE);
    send_and_wait(b);
    assert_int_equal(b->result, -EMSGSIZE);
    send_and_wait(c);
    assert_true(c->result == -EPROTO || c->result == -EINVAL);
    stop();
    free(a);
    free(b);
    free(c);
}

static void follows_only_when_asked(void **state)
{
    (void)state;
    answer("HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n");
    answer("HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n");
    answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    answer("HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n");
    start();
    struct ask *a = new_ask("GET"), *b = new_ask("GET"), *c = new_ask("GET"), *d = new_ask("GET");
    send_and_wait(a);
    assert_int_equal(a->status, 302);
    b->request.redirects = 3;
    send_and_wait(b);
    assert_int_equal(b->status, 200);
    assert_string_equal(b->answer, "ok");
    c->request.redirects = 3;
    send_and_wait(c);
    assert_true(c->result == -EINVAL || c->result == -EPROTO);
    snprintf(d->url, sizeof d->url, "file:///etc/passwd");
    send_and_wait(d);
    assert_int_equal(d->result, -EINVAL);
    assert_false(d->request.sent);
    stop();
    free(a);
    free(b);
    free(c);
    free(d);
}

/* A kept connection that dies under a request: libcurl would send it again. */
static void never_sends_a_post_twice(void **state)
{
    (void)state;
    answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    answer(NULL);
    answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nagain");
    start();
    struct ask *a = new_ask("GET"), *b = new_ask("POST"), *c = new_ask("GET");
    send_and_wait(a);
    b->request.body = "change";
    b->request.body_len = 6;
    send_and_wait(b);
    assert_int_equal(b->result, -ECONNRESET);
    assert_true(b->request.sent);
    send_and_wait(c);
    assert_string_equal(c->answer, "again");
    assert_int_equal(server.asked, 3); /* the post came once */
    stop();
    free(a);
    free(b);
    free(c);
}

static void a_server_that_is_not_there_or_silent(void **state)
{
    (void)state;
    answer("");
    answer("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
    server.hold[0] = server.hold[1] = true;
    start();
    struct ask *a = new_ask("GET"), *b = new_ask("GET"), *c = new_ask("GET");
    snprintf(a->url, sizeof a->url, "http://127.0.0.1:1/");
    send_and_wait(a);
    assert_int_equal(a->result, -EHOSTUNREACH);
    assert_false(a->request.sent);
    b->request.timeout_ms = 100;
    send_and_wait(b);
    assert_int_equal(b->result, -ETIMEDOUT);
    assert_true(b->request.sent);
    c->request.timeout_ms = 0;
    c->request.silence_ms = 100;
    send_and_wait(c);
    assert_int_equal(c->result, -ETIMEDOUT);
    stop();
    free(a);
    free(b);
    free(c);
}

static enum http_receive receive(struct http_client_request *request, const void *bytes, size_t len)
{
    struct ask *a = CONTAINER_OF(request, struct ask, request);
    assert_int_equal(a->done, 0);
    assert_false(a->paused);
    a->calls++;
    if (a->calls == a->pause_after) {
        a->paused = true;
        return HTTP_PAUSE;
    }
    if (a->cancel_after && a->calls >= a->cancel_after) {
        http_client_cancel(client, request);
        return HTTP_GO;
    }
    assert_true(a->len + len <= sizeof a->answer);
    memcpy(a->answer + a->len, bytes, len);
    a->len += len;
    return HTTP_GO;
}

static void streams_pauses_and_cancels(void **state)
{
    enum { LEN = 150000 };
    static char whole[LEN + 200];
    (void)state;
    int head = snprintf(whole, sizeof whole, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", LEN);
    for (int i = 0; i < LEN; i++)
        whole[head + i] = (char)(i * 7 + i / 256);
    for (int i = 0; i < 2; i++) {
        server.answers[i] = whole;
        server.lengths[i] = (size_t)(head + LEN);
        server.count++;
    }
    start();
    struct ask *a = new_ask("GET"), *b = new_ask("GET");
    a->request.received = b->request.received = receive;
    a->request.answer_max = b->request.answer_max = 0;
    a->pause_after = 3;
    http_client_send(client, &a->request);
    while (!a->paused)
        loop_step(loop);
    assert_int_equal(a->request.length, LEN);
    a->paused = false;
    size_t before = a->len;
    http_client_resume(client, &a->request);
    assert_int_equal(a->len, before); /* not from inside the call */
    while (!a->done)
        loop_step(loop);
    assert_int_equal(a->result, 0);
    assert_int_equal(a->len, LEN);
    assert_memory_equal(a->answer, whole + head, LEN);
    b->cancel_after = 2;
    send_and_wait(b);
    assert_int_equal(b->result, -ECANCELED);
    assert_int_equal(b->calls, 2);
    stop();
    free(a);
    free(b);
}

static void many_at_once_and_closing(void **state)
{
    enum { COUNT = HTTP_REQUESTS_MAX + 1 };
    static struct ask *asks[COUNT];
    (void)state;
    answer("");
    server.hold[0] = true;
    start();
    for (int i = 0; i < COUNT; i++) {
        asks[i] = new_ask("GET");
        http_client_send(client, &asks[i]->request);
        assert_int_equal(asks[i]->done, 0);
    }
    while (!asks[COUNT - 1]->done)
        loop_step(loop);
    assert_int_equal(asks[COUNT - 1]->result, -EAGAIN);
    http_client_cancel(client, &asks[0]->request);
    http_client_cancel(client, &asks[0]->request);
    assert_int_equal(asks[0]->done, 0);
    stop();
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(asks[i]->done, 1);
        if (i < COUNT - 1)
            assert_int_equal(asks[i]->result, -ECANCELED);
        free(asks[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gets_and_posts_on_one_connection),
        cmocka_unit_test(checks_what_was_sent),
        cmocka_unit_test(bounds_what_it_takes),
        cmocka_unit_test(follows_only_when_asked),
        cmocka_unit_test(never_sends_a_post_twice),
        cmocka_unit_test(a_server_that_is_not_there_or_silent),
        cmocka_unit_test(streams_pauses_and_cancels),
        cmocka_unit_test(many_at_once_and_closing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
