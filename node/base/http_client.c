/* See http_client.h. How the two event systems meet:
 *
 *     libcurl                            the loop
 *     socket_wanted(fd, in/out/none)  -> one poll (POLL_ADD) of each socket; a change cancels it, and it is set anew
 *     timer_wanted(ms)                -> one loop_timer
 *     curl_multi_socket_action()      <- poll completed, timer fired
 *
 * Transfers end in curl_multi_info_read(), after such an action. They begin, and done() is called, in a job: libcurl
 * takes no transfer and gives none back while it is inside one of our callbacks, and received() is one. */
#include "node/base/http_client.h"

#include <curl/curl.h>
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/buffer.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/log.h"
#include "node/base/loop.h"

enum {
    CONNECT_MS = 5000,
    CONNECTIONS_MAX = 128,
    PEM_MAX = 1 << 20,
    IDLE_MAX = 16,      /* kept connections, and kept easy handles */
    ANSWER_KEPT = 4096, /* bytes of memory that an idle transfer keeps */
    NS_PER_MS = 1000000,
    KEEPALIVE_S = 5, /* a peer that is gone is found out after ten of these */
};

struct http_transfer {
    TAILQ_ENTRY(http_transfer) link; /* in fresh, active, ending or idle */
    struct http_client *client;
    struct http_client_request *request;
    CURL *easy;
    struct curl_slist *headers;
    struct buffer answer;
    uint64_t received, head_len;
    uint64_t heard_ns;
    struct loop_timer silence;
    unsigned sendings;
    bool in_multi, ending, paused, resume;
    int failure; /* why a callback stopped the transfer */
    char text[CURL_ERROR_SIZE];
};

TAILQ_HEAD(http_transfers, http_transfer);

struct http_socket {
    TAILQ_ENTRY(http_socket) link;
    struct http_client *client;
    struct loop_op op;
    curl_socket_t fd;
    unsigned wanted, polled; /* POLLIN, POLLOUT; polled: 0 = no poll is under way */
    bool cancelled, gone;
};

struct http_client {
    struct loop *loop;
    CURLM *multi;
    struct loop_timer timer;
    struct loop_job job;
    struct http_transfers fresh, active, ending, idle;
    unsigned active_count, idle_count;
    TAILQ_HEAD(, http_socket) sockets;
    char *ca_file, *cert_file, *key_file;
    char *ca_text, *cert_text, *key_text; /* instead of the files */
    bool environment_proxy, closing, resumes;
    void (*closed)(void *context);
    void *closed_context;
};

/* ---- ending ---- */

static void end_transfer(struct http_transfer *t, int result)
{
    struct http_client *c = t->client;
    if (t->ending)
        return;
    t->ending = true;
    t->failure = result;
    TAILQ_REMOVE(t->in_multi ? &c->active : &c->fresh, t, link);
    TAILQ_INSERT_TAIL(&c->ending, t, link);
    loop_defer(c->loop, &c->job);
}

static int fail(struct http_transfer *t, int code, const char *text)
{
    return err_set(&t->request->err, code, "%s", text);
}

/* What libcurl's code means for somebody who has to decide whether to try again. */
static int judge(struct http_transfer *t, CURLcode code)
{
    struct http_client_request *r = t->request;
    const char *text = t->text[0] ? t->text : curl_easy_strerror(code);
    bool sent = t->sendings > 0;
    if (t->failure)
        return t->failure; /* the callback said why */
    switch (code) {
    case CURLE_OK:
        return 0;
    case CURLE_OPERATION_TIMEDOUT:
        return fail(t, sent ? ETIMEDOUT : EHOSTUNREACH, text);
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
        return fail(t, EHOSTUNREACH, text);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ENGINE_INITFAILED:
        r->sent = false;
        return fail(t, EACCES, text);
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
        if (strstr(text, "alert") && strstr(text, "certificate")) { /* of TLS 1.3: comes after the handshake */
            r->sent = false;
            return fail(t, EACCES, text);
        }
        return fail(t, sent ? ECONNRESET : EHOSTUNREACH, text);
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
        return fail(t, EINVAL, text);
    case CURLE_TOO_MANY_REDIRECTS:
        return fail(t, ELOOP, text);
    case CURLE_OUT_OF_MEMORY:
        return fail(t, ENOMEM, text);
    default:
        return fail(t, EPROTO, text);
    }
}

static void collect(struct http_client *c)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(c->multi, &left))) {
        struct http_transfer *t = NULL;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &t);
        if (message->msg == CURLMSG_DONE)
            end_transfer(t, judge(t, message->data.result));
    }
}

/* ---- libcurl and the loop ---- */

static void act(struct http_client *c, curl_socket_t fd, int events)
{
    int running;
    CURLMcode rc = curl_multi_socket_action(c->multi, fd, events, &running);
    if (rc != CURLM_OK) {
        static struct log_limit limit = {.burst = 3, .interval_ms = 60000};
        log_limited(&limit, LOG_LEVEL_ERROR, "libcurl failed: %s", curl_multi_strerror(rc));
    }
    collect(c);
}

static void finish_closing(struct http_client *c);

static void poll_socket(struct http_socket *s)
{
    s->polled = s->wanted;
    s->cancelled = false;
    struct io_uring_sqe *sqe = loop_sqe(s->client->loop, &s->op);
    io_uring_prep_poll_add(sqe, s->fd, s->wanted);
}

static void free_socket(struct http_socket *s)
{
    TAILQ_REMOVE(&s->client->sockets, s, link);
    free(s);
}

static void polled(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct http_socket *s = CONTAINER_OF(op, struct http_socket, op);
    struct http_client *c = s->client;
    (void)cqe_flags;
    s->polled = 0;
    if (s->gone) {
        free_socket(s);
        finish_closing(c);
        return;
    }
    if (result != -ECANCELED) {
        int events = result < 0 ? CURL_CSELECT_ERR : 0;
        if (result > 0 && result & (POLLIN | POLLHUP))
            events |= CURL_CSELECT_IN;
        if (result > 0 && result & POLLOUT)
            events |= CURL_CSELECT_OUT;
        if (result > 0 && result & POLLERR)
            events |= CURL_CSELECT_ERR;
        s->polled = POLLPRI; /* libcurl may drop the socket inside: it is freed here */
        act(c, s->fd, events);
        s->polled = 0;
        if (s->gone) {
            free_socket(s);
            return;
        }
    }
    if (s->wanted)
        poll_socket(s);
}

static void socket_gone(struct http_client *c, struct http_socket *s)
{
    curl_multi_assign(c->multi, s->fd, NULL);
    s->gone = true;
    s->wanted = 0;
    if (!s->polled)
        free_socket(s);
    else if (s->polled != POLLPRI && !s->cancelled)
        loop_cancel(c->loop, &s->op);
}

static int socket_wanted(CURL *easy, curl_socket_t fd, int what, void *context, void *socket_context)
{
    struct http_client *c = context;
    struct http_socket *s = socket_context;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (s)
            socket_gone(c, s);
        return 0;
    }
    if (!s) {
        s = calloc(1, sizeof *s);
        if (!s)
            return -1;
        s->client = c;
        s->fd = fd;
        s->op.done = polled;
        TAILQ_INSERT_TAIL(&c->sockets, s, link);
        curl_multi_assign(c->multi, fd, s);
    }
    s->wanted = (what & CURL_POLL_IN ? POLLIN : 0) | (what & CURL_POLL_OUT ? POLLOUT : 0);
    if (!s->polled && s->wanted) {
        poll_socket(s);
    } else if (s->polled && s->polled != POLLPRI && s->polled != s->wanted && !s->cancelled) {
        s->cancelled = true; /* polled() sets it anew */
        loop_cancel(c->loop, &s->op);
    }
    return 0;
}

static int timer_wanted(CURLM *multi, long ms, void *context)
{
    struct http_client *c = context;
    (void)multi;
    if (ms < 0)
        loop_timer_clear(c->loop, &c->timer);
    else
        loop_timer_set(c->loop, &c->timer, clock_ns() + (uint64_t)ms * NS_PER_MS);
    return 0;
}

static void timer_fired(struct loop_timer *timer)
{
    act(CONTAINER_OF(timer, struct http_client, timer), CURL_SOCKET_TIMEOUT, 0);
}

/* ---- what libcurl tells about a transfer ---- */

static void set_silence(struct http_transfer *t)
{
    t->heard_ns = clock_ns();
    if (t->request->silence_ms && !t->silence.slot)
        loop_timer_set(t->client->loop, &t->silence, t->heard_ns + (uint64_t)t->request->silence_ms * NS_PER_MS);
}

static int before_sending(void *context, char *remote, char *local, int remote_port, int local_port)
{
    struct http_transfer *t = context;
    struct http_client_request *r = t->request;
    (void)remote;
    (void)local;
    (void)remote_port;
    (void)local_port;
    bool repeatable = !strcmp(r->method, "GET") || !strcmp(r->method, "HEAD");
    if (t->sendings && !repeatable) {
        t->failure = fail(t, ECONNRESET, "the connection was lost after the request was sent");
        return CURL_PREREQFUNC_ABORT;
    }
    t->sendings++;
    r->sent = true;
    set_silence(t);
    return CURL_PREREQFUNC_OK;
}

static void silence_fired(struct loop_timer *timer)
{
    struct http_transfer *t = CONTAINER_OF(timer, struct http_transfer, silence);
    uint64_t until = t->heard_ns + (uint64_t)t->request->silence_ms * NS_PER_MS;
    if (t->paused)
        loop_timer_set(t->client->loop, timer, clock_ns() + (uint64_t)t->request->silence_ms * NS_PER_MS);
    else if (until > clock_ns())
        loop_timer_set(t->client->loop, timer, until);
    else
        end_transfer(t, err_set(&t->request->err, ETIMEDOUT, "nothing was heard for %u ms", t->request->silence_ms));
}

static size_t head_came(char *bytes, size_t size, size_t count, void *context)
{
    struct http_transfer *t = context;
    size_t len = size * count;
    (void)bytes;
    if (t->ending)
        return 0;
    set_silence(t);
    t->head_len += len;
    if (t->head_len <= HTTP_HEAD_MAX)
        return len;
    t->failure = err_set(&t->request->err, EMSGSIZE, "the answer has more than %d bytes of headers", HTTP_HEAD_MAX);
    return 0;
}

static size_t append(struct http_transfer *t, const char *bytes, size_t len)
{
    if (buffer_add(&t->answer, bytes, len, SIZE_MAX)) /* its limit was judged already */
        return len;
    t->failure = fail(t, ENOMEM, "no memory for the answer");
    return 0;
}

static size_t hand_on(struct http_transfer *t, const char *bytes, size_t len)
{
    struct http_client_request *r = t->request;
    curl_off_t length = -1;
    curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    r->length = length;
    enum http_receive next = r->received(r, bytes, len);
    if (t->ending)
        return 0; /* it cancelled the request */
    if (next == HTTP_PAUSE) {
        t->received -= len;
        t->paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    if (next == HTTP_GO)
        return len;
    t->failure = fail(t, ECANCELED, "the receiver has had enough");
    return 0;
}

static size_t body_came(char *bytes, size_t size, size_t count, void *context)
{
    struct http_transfer *t = context;
    struct http_client_request *r = t->request;
    size_t len = size * count;
    if (t->ending)
        return 0;
    set_silence(t);
    long status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    r->status = (int)status;
    bool streamed = r->received && status >= 200 && status < 300;
    uint64_t max = !r->received    ? r->answer_max
                   : !streamed     ? HTTP_HEAD_MAX
                   : r->answer_max ? r->answer_max
                                   : UINT64_MAX;
    t->received += len;
    if (t->received > max) {
        t->failure = err_set(&r->err, EMSGSIZE, "the answer has more than %llu bytes", (unsigned long long)max);
        return 0;
    }
    return streamed ? hand_on(t, bytes, len) : append(t, bytes, len);
}

/* ---- transfers ---- */

static void free_transfer(struct http_transfer *t)
{
    curl_easy_cleanup(t->easy);
    curl_slist_free_all(t->headers);
    buffer_free(&t->answer);
    free(t);
}

static struct http_transfer *take_transfer(struct http_client *c)
{
    struct http_transfer *t = TAILQ_FIRST(&c->idle);
    if (t) {
        TAILQ_REMOVE(&c->idle, t, link);
        c->idle_count--;
        return t;
    }
    t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->client = c;
    t->silence.fire = silence_fired;
    t->easy = curl_easy_init();
    if (!t->easy) {
        free(t);
        return NULL;
    }
    return t;
}

static void drop_transfer(struct http_transfer *t)
{
    struct http_client *c = t->client;
    curl_slist_free_all(t->headers);
    if (t->answer.size > ANSWER_KEPT)
        buffer_free(&t->answer);
    t->answer.len = 0;
    CURL *easy = t->easy;
    curl_easy_reset(easy);
    *t = (struct http_transfer){.client = c, .easy = easy, .answer = t->answer};
    t->silence.fire = silence_fired;
    if (c->idle_count >= IDLE_MAX) {
        free_transfer(t);
        return;
    }
    TAILQ_INSERT_HEAD(&c->idle, t, link);
    c->idle_count++;
}

static CURLcode set_method(CURL *easy, const struct http_client_request *r)
{
    if (!strcmp(r->method, "GET"))
        return curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    if (!strcmp(r->method, "HEAD"))
        return curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, r->body ? r->body : "");
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_len);
    return curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, r->method);
}

static bool set_headers(struct http_transfer *t)
{
    const struct http_client_request *r = t->request;
    static const char no_expect[] = "Expect:"; /* a round trip for nothing */
    t->headers = curl_slist_append(NULL, no_expect);
    for (const char *const *h = r->headers; t->headers && h && *h; h++) {
        struct curl_slist *longer = curl_slist_append(t->headers, *h);
        if (!longer)
            return false;
        t->headers = longer;
    }
    return t->headers && curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers) == CURLE_OK;
}

static void set_blob(CURL *easy, CURLoption option, char *text)
{
    struct curl_blob blob = {.data = text, .len = text ? strlen(text) : 0, .flags = CURL_BLOB_NOCOPY};
    if (text)
        curl_easy_setopt(easy, option, &blob);
}

static void set_tls(struct http_client *c, CURL *easy)
{
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    set_blob(easy, CURLOPT_CAINFO_BLOB, c->ca_text);
    set_blob(easy, CURLOPT_SSLCERT_BLOB, c->cert_text);
    set_blob(easy, CURLOPT_SSLKEY_BLOB, c->key_text);
    if (c->ca_text) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
        curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    }
    if (c->ca_file) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, c->ca_file);
        curl_easy_setopt(easy, CURLOPT_CAPATH, NULL); /* this one and no other */
    }
    if (c->cert_file)
        curl_easy_setopt(easy, CURLOPT_SSLCERT, c->cert_file);
    if (c->key_file)
        curl_easy_setopt(easy, CURLOPT_SSLKEY, c->key_file);
}

/* 0 or -errno, with the request's err. */
static int prepare(struct http_client *c, struct http_transfer *t)
{
    struct http_client_request *r = t->request;
    CURL *e = t->easy;
    bool https = !strncasecmp(r->url, "https:", 6);
    curl_easy_setopt(e, CURLOPT_PRIVATE, t);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->text);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_REDIR_PROTOCOLS_STR, https ? "https" : "http,https");
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, r->redirects ? 1L : 0L);
    curl_easy_setopt(e, CURLOPT_MAXREDIRS, (long)r->redirects);
    if (!c->environment_proxy)
        curl_easy_setopt(e, CURLOPT_PROXY, "");
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPIDLE, (long)KEEPALIVE_S);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPINTVL, (long)KEEPALIVE_S);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)(r->connect_ms ? r->connect_ms : CONNECT_MS));
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)r->timeout_ms);
    curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, before_sending);
    curl_easy_setopt(e, CURLOPT_PREREQDATA, t);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, head_came);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, body_came);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
    set_tls(c, e);
    if (curl_easy_setopt(e, CURLOPT_URL, r->url) != CURLE_OK || set_method(e, r) != CURLE_OK || !set_headers(t))
        return fail(t, ENOMEM, "no memory for a request");
    CURLMcode rc = curl_multi_add_handle(c->multi, e);
    if (rc != CURLM_OK)
        return fail(t, ENOMEM, curl_multi_strerror(rc));
    return 0;
}

static void start_fresh(struct http_client *c)
{
    struct http_transfer *t;
    while ((t = TAILQ_FIRST(&c->fresh))) {
        int rc = prepare(c, t);
        if (rc) {
            end_transfer(t, rc);
            continue;
        }
        TAILQ_REMOVE(&c->fresh, t, link);
        TAILQ_INSERT_TAIL(&c->active, t, link);
        t->in_multi = true;
    }
}

static void resume_paused(struct http_client *c)
{
    struct http_transfer *t, *next;
    if (!c->resumes)
        return;
    c->resumes = false;
    for (t = TAILQ_FIRST(&c->active); t; t = next) {
        next = TAILQ_NEXT(t, link); /* a transfer that ends in here comes back through collect() */
        if (t->resume) {
            t->resume = t->paused = false;
            t->heard_ns = clock_ns();
            curl_easy_pause(t->easy, CURLPAUSE_CONT);
        }
    }
}

static void finish(struct http_transfer *t)
{
    struct http_client_request *r = t->request;
    struct http_client *c = t->client;
    long status = 0;
    loop_timer_clear(c->loop, &t->silence);
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    if (t->in_multi)
        curl_multi_remove_handle(c->multi, t->easy);
    c->active_count--;
    r->status = (int)status;
    r->answer = t->answer.len ? t->answer.data : "";
    r->answer_len = t->answer.len;
    r->transfer = NULL;
    r->done(r, t->failure);
    drop_transfer(t);
}

/* Begins what was asked for, and calls done() of everything that ended. */
static void run_job(struct loop_job *job)
{
    struct http_client *c = CONTAINER_OF(job, struct http_client, job);
    /* what ends meanwhile has its turn next time: nobody can keep the loop here */
    struct http_transfers batch = TAILQ_HEAD_INITIALIZER(batch);
    TAILQ_CONCAT(&batch, &c->ending, link);
    struct http_transfer *t;
    while ((t = TAILQ_FIRST(&batch))) {
        TAILQ_REMOVE(&batch, t, link);
        finish(t);
    }
    start_fresh(c);
    resume_paused(c);
    finish_closing(c);
}

void http_client_send(struct http_client *c, struct http_client_request *r)
{
    r->status = 0;
    r->answer = "";
    r->answer_len = 0;
    r->length = -1;
    r->sent = false;
    r->err = (struct err){0};
    struct http_transfer *t = take_transfer(c);
    if (!t) {
        log_error("no memory for a request");
        abort(); /* Rule Zero: nothing could say that it failed, later */
    }
    t->request = r;
    r->transfer = t;
    TAILQ_INSERT_TAIL(&c->fresh, t, link);
    loop_defer(c->loop, &c->job);
    int rc = 0;
    if (++c->active_count > HTTP_REQUESTS_MAX)
        rc = err_set(&r->err, EAGAIN, "%d requests are under way; wait for some of them", HTTP_REQUESTS_MAX);
    else if (c->closing)
        rc = fail(t, ECANCELED, "the client is being closed");
    if (rc)
        end_transfer(t, rc);
}

void http_client_cancel(struct http_client *c, struct http_client_request *r)
{
    (void)c;
    if (r->transfer && !r->transfer->ending)
        end_transfer(r->transfer, fail(r->transfer, ECANCELED, "the request was cancelled"));
}

void http_client_resume(struct http_client *c, struct http_client_request *r)
{
    if (!r->transfer || r->transfer->ending)
        return;
    r->transfer->resume = true;
    c->resumes = true;
    loop_defer(c->loop, &c->job);
}

/* ---- the client ---- */

static void start_curl(void)
{
    struct sigaction now;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    if (!sigaction(SIGPIPE, NULL, &now) && now.sa_handler == SIG_DFL)
        signal(SIGPIPE, SIG_IGN);
}

static char *copy(const char *text, bool *failed)
{
    char *t = text ? strdup(text) : NULL;
    *failed |= text && !t;
    return t;
}

static char *read_pem(const char *path)
{
    FILE *f = fopen(path, "re");
    char *text = f ? calloc(1, PEM_MAX + 1) : NULL;
    size_t n = text ? fread(text, 1, PEM_MAX, f) : 0;
    if (f)
        fclose(f);
    if (n)
        return text;
    free(text);
    return NULL;
}

/* The files' texts instead of their names. */
static int read_files(struct http_client *c, struct err *err)
{
    char **names[] = {&c->ca_file, &c->cert_file, &c->key_file};
    char **texts[] = {&c->ca_text, &c->cert_text, &c->key_text};
    for (unsigned i = 0; i < 3; i++) {
        if (!*names[i])
            continue;
        *texts[i] = read_pem(*names[i]);
        if (!*texts[i])
            return err_set(err, EIO, "%s cannot be read", *names[i]);
        free(*names[i]);
        *names[i] = NULL;
    }
    return 0;
}

static void free_text(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

static void free_client(struct http_client *c)
{
    struct http_transfer *t;
    while ((t = TAILQ_FIRST(&c->idle))) {
        TAILQ_REMOVE(&c->idle, t, link);
        free_transfer(t);
    }
    free(c->ca_file);
    free(c->cert_file);
    free(c->key_file);
    free_text(c->ca_text);
    free_text(c->cert_text);
    free_text(c->key_text);
    free(c);
}

struct http_client *http_client_new(struct loop *loop, const struct http_client_options *o, struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start_curl);
    struct http_client *c = calloc(1, sizeof *c);
    bool failed = !c;
    if (c) {
        TAILQ_INIT(&c->fresh);
        TAILQ_INIT(&c->active);
        TAILQ_INIT(&c->ending);
        TAILQ_INIT(&c->idle);
        TAILQ_INIT(&c->sockets);
        c->loop = loop;
        c->timer.fire = timer_fired;
        c->job.run = run_job;
        c->ca_file = copy(o->ca_file, &failed);
        c->cert_file = copy(o->cert_file, &failed);
        c->key_file = copy(o->key_file, &failed);
        c->environment_proxy = o->environment_proxy;
        c->multi = curl_multi_init();
        failed |= !c->multi;
    }
    if (failed)
        err_set(err, ENOMEM, "no memory for an HTTP client");
    if (failed || (o->files_once && read_files(c, err))) {
        if (c && c->multi)
            curl_multi_cleanup(c->multi);
        if (c)
            free_client(c);
        return NULL;
    }
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, socket_wanted);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, timer_wanted);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)IDLE_MAX);
    curl_multi_setopt(c->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)CONNECTIONS_MAX);
    return c;
}

/* Three steps, each when the one before is through: transfers, libcurl's connections, polls. */
static void finish_closing(struct http_client *c)
{
    if (!c->closing || c->job.queued || !TAILQ_EMPTY(&c->fresh) || !TAILQ_EMPTY(&c->active) || !TAILQ_EMPTY(&c->ending))
        return;
    if (c->multi) {
        struct http_transfer *t;
        while ((t = TAILQ_FIRST(&c->idle))) { /* handles may hold connections: before the multi */
            TAILQ_REMOVE(&c->idle, t, link);
            free_transfer(t);
        }
        CURLM *multi = c->multi;
        c->multi = NULL;
        curl_multi_cleanup(multi);
        loop_timer_clear(c->loop, &c->timer);
        struct http_socket *s, *next;
        for (s = TAILQ_FIRST(&c->sockets); s; s = next) { /* whom libcurl closed without a word */
            next = TAILQ_NEXT(s, link);
            if (s->gone)
                continue;
            s->gone = true;
            if (!s->polled)
                free_socket(s);
            else if (!s->cancelled)
                loop_cancel(c->loop, &s->op);
        }
    }
    if (!TAILQ_EMPTY(&c->sockets))
        return;
    void (*closed)(void *context) = c->closed;
    void *context = c->closed_context;
    free_client(c);
    if (closed)
        closed(context);
}

void http_client_close(struct http_client *c, void (*closed)(void *context), void *context)
{
    c->closing = true;
    c->closed = closed;
    c->closed_context = context;
    struct http_transfer *t;
    while ((t = TAILQ_FIRST(&c->fresh)) || (t = TAILQ_FIRST(&c->active)))
        end_transfer(t, fail(t, ECANCELED, "the client is being closed"));
    loop_defer(c->loop, &c->job);
}
