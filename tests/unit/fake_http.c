#include "tests/unit/fake_http.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/container.h"
#include "node/base/loop.h"

struct http_client {
    struct loop *loop;
    struct loop_job job;
    bool closing;
    void (*closed)(void *context);
    void *context;
};

static struct http_client_request *requests[FAKE_REQUESTS_MAX];
static bool cancelled[FAKE_REQUESTS_MAX];
static unsigned count;

static unsigned place_of(const struct http_client_request *r)
{
    for (unsigned i = 0; i < count; i++)
        if (requests[i] == r)
            return i;
    return count;
}

static void take_out(struct http_client_request *r)
{
    unsigned at = place_of(r);
    if (at == count)
        abort(); /* done already */
    count--;
    memmove(&requests[at], &requests[at + 1], (count - at) * sizeof *requests);
    memmove(&cancelled[at], &cancelled[at + 1], (count - at) * sizeof *cancelled);
}

static void run_job(struct loop_job *job)
{
    struct http_client *c = CONTAINER_OF(job, struct http_client, job);
    for (unsigned i = 0; i < count;) {
        if (cancelled[i] || c->closing) {
            fake_http_fail(requests[i], ECANCELED, true);
            i = 0; /* done() may have done anything */
        } else {
            i++;
        }
    }
    if (!c->closing || c->job.queued)
        return;
    void (*closed)(void *context) = c->closed;
    void *context = c->context;
    free(c);
    if (closed)
        closed(context);
}

struct http_client *http_client_new(struct loop *loop, const struct http_client_options *options, struct err *err)
{
    struct http_client *c = calloc(1, sizeof *c);
    (void)options;
    (void)err;
    if (!c)
        abort();
    c->loop = loop;
    c->job.run = run_job;
    return c;
}

void http_client_close(struct http_client *c, void (*closed)(void *context), void *context)
{
    c->closing = true;
    c->closed = closed;
    c->context = context;
    loop_defer(c->loop, &c->job);
}

void http_client_send(struct http_client *c, struct http_client_request *r)
{
    if (count == FAKE_REQUESTS_MAX || place_of(r) < count)
        abort();
    r->status = 0;
    r->answer = "";
    r->answer_len = 0;
    r->sent = false;
    r->err = (struct err){0};
    cancelled[count] = c->closing;
    requests[count++] = r;
    if (c->closing)
        loop_defer(c->loop, &c->job);
}

void http_client_cancel(struct http_client *c, struct http_client_request *r)
{
    unsigned at = place_of(r);
    if (at == count)
        return;
    cancelled[at] = true;
    loop_defer(c->loop, &c->job);
}

void http_client_resume(struct http_client *c, struct http_client_request *r)
{
    (void)c;
    (void)r;
}

struct http_client_request *fake_http_find(const char *url_end, unsigned n)
{
    for (unsigned i = 0; i < count; i++) {
        size_t url = strlen(requests[i]->url), end = strlen(url_end);
        if (!cancelled[i] && url >= end && !strcmp(requests[i]->url + url - end, url_end) && !n--)
            return requests[i];
    }
    return NULL;
}

unsigned fake_http_count(void)
{
    return count;
}

void fake_http_answer(struct http_client_request *r, int status, const char *body, size_t len)
{
    char *copy = calloc(1, len + 1);
    if (!copy)
        abort();
    if (len)
        memcpy(copy, body, len);
    take_out(r);
    r->status = status;
    r->sent = true;
    r->answer = copy;
    r->answer_len = len;
    r->done(r, 0);
    free(copy);
}

void fake_http_fail(struct http_client_request *r, int code, bool sent)
{
    take_out(r);
    r->sent = sent;
    r->done(r, err_set(&r->err, code, "the test says so"));
}

bool fake_http_stream(struct http_client_request *r, const char *bytes, size_t len)
{
    char *copy = malloc(len ? len : 1); /* of the exact size: reading behind it is found */
    if (!copy)
        abort();
    if (len)
        memcpy(copy, bytes, len);
    r->status = 200;
    r->sent = true;
    enum http_receive next = r->received(r, copy, len);
    free(copy);
    unsigned at = place_of(r);
    bool stopped = next == HTTP_STOP || (at < count && cancelled[at]);
    if (stopped)
        fake_http_fail(r, ECANCELED, true);
    return !stopped;
}
