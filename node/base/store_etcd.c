/* The store of a cluster: etcd v3 through its JSON gateway.
 *
 *     waiting -> running: one attempt after the other, each at the current endpoint -> finished
 *                    ^         | not reached, no leader; no answer (but for commits)
 *                    +--pause--+ until the deadline
 *
 * What is tried again: everything that surely did not happen; and, although it may have happened, what does no harm if
 * it happens twice: reads, keeping, revoking, and granting (an unknown lease runs out). A commit that was sent and not
 * answered is never sent again: its second answer would be a lie. Every request asks for a member that has a leader,
 * and reads are linearizable, which is etcd's default. */
#include "node/base/store_etcd.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/arena.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/log.h"

enum {
    TIMEOUT_MS = 5000,
    ATTEMPTS = 5, /* that a call may make of its time, if there are several endpoints */
    ATTEMPT_MIN_MS = 500,
    PAUSE_MS = 100, /* after all endpoints were tried; doubled each time */
    PAUSE_MAX_MS = 1000,
    RUNNING_MAX = 8, /* calls, and with them connections, at a time */
    PROBE_MS = 3000, /* an endpoint with watches and without calls is asked after so long */
    NS_PER_MS = 1000000,
    LESS = 8, /* after an answer that was too large, so many times fewer keys are asked for */
    CALL_PROBE = STORE_CALL_REVOKE + 1,
};

struct etcd_call {
    TAILQ_ENTRY(etcd_call) link;
    struct store_etcd *s;
    int kind; /* enum store_call_kind, CALL_PROBE */
    union {
        struct store_read *read;
        struct store_commit *commit;
        struct store_lease *lease;
    };
    struct arena *arena;
    struct store_read question;
    struct store_change *changes; /* without values */
    uint32_t count, limit;
    struct etcd_text body;
    struct http_client_request http;
    char url[ETCD_URL_MAX];
    unsigned endpoint, tries;
    uint64_t sent_ns, deadline_ns;
    int64_t floor;
    bool running;
    bool maybe;   /* an earlier attempt may have happened */
    bool proving; /* waits for a probe */
    struct loop_timer pause;
    struct err err; /* of the last attempt */
};

const char *const etcd_headers[] = {"Content-Type: application/json", "Grpc-Metadata-hasleader: true", NULL};

static const char *const paths[] = {
    [STORE_CALL_READ] = "/v3/kv/range",       [STORE_CALL_COMMIT] = "/v3/kv/txn",
    [STORE_CALL_GRANT] = "/v3/lease/grant",   [STORE_CALL_KEEP] = "/v3/lease/keepalive",
    [STORE_CALL_REVOKE] = "/v3/lease/revoke", [CALL_PROBE] = "/v3/kv/range",
};

static void attempt(struct etcd_call *c);
static void continue_proving(struct store_etcd *s);

/* ---- endpoints ---- */

void etcd_endpoint_failed(struct store_etcd *s, unsigned endpoint, const struct err *err)
{
    if (s->store.closing)
        return;
    if (s->current == endpoint) {
        s->current = (endpoint + 1) % s->endpoint_count;
        s->proven = false;
        s->failure = *err;
    }
    static struct log_limit limit = {.burst = 5, .interval_ms = 60000};
    log_limited(&limit, LOG_LEVEL_WARN, "the cluster store at %s: %s", s->endpoints[endpoint], err->text);
    etcd_watches_move(s, endpoint, err);
}

void etcd_heard(struct store_etcd *s, const struct etcd_header *header)
{
    s->answered_ns = clock_ns();
    if (s->cluster && header->cluster && s->cluster != header->cluster) {
        log_warn("the cluster store is another one now (%016llx, was %016llx)", (unsigned long long)header->cluster,
                 (unsigned long long)s->cluster);
        etcd_watches_end(s, -1, INT64_MAX);
    }
    if (header->cluster)
        s->cluster = header->cluster;
}

/* ---- the end of a call ---- */

static void start_waiting(struct store_etcd *s)
{
    while (s->running_count < RUNNING_MAX && !TAILQ_EMPTY(&s->waiting) && !s->store.closing) {
        struct etcd_call *c = TAILQ_FIRST(&s->waiting);
        TAILQ_REMOVE(&s->waiting, c, link);
        TAILQ_INSERT_TAIL(&s->running, c, link);
        c->running = true;
        s->running_count++;
        attempt(c);
    }
}

static void drop_call(struct etcd_call *c)
{
    if (!c)
        return;
    arena_free(c->arena);
    etcd_text_free(&c->body);
    free(c);
}

static void finish(struct etcd_call *c, int result)
{
    struct store_etcd *s = c->s;
    TAILQ_REMOVE(c->running ? &s->running : &s->waiting, c, link);
    if (c->running)
        s->running_count--;
    loop_timer_clear(s->store.loop, &c->pause);
    switch (c->kind) {
    case STORE_CALL_READ:
        c->read->items = c->question.items;
        c->read->count = result ? 0 : c->question.count;
        c->read->more = c->question.more;
        c->read->revision = c->question.revision;
        c->read->call.arena = c->question.call.arena;
        c->read->err = c->err;
        store_finish(&s->store, &c->read->call, result);
        break;
    case STORE_CALL_COMMIT:
        c->commit->err = c->err;
        store_finish(&s->store, &c->commit->call, result);
        break;
    case CALL_PROBE:
        s->probing = false;
        continue_proving(s);
        break;
    default:
        c->lease->err = c->err;
        store_finish(&s->store, &c->lease->call, result);
    }
    drop_call(c);
    start_waiting(s);
}

/* It did not work out, and time may be left. */
static void try_again(struct etcd_call *c, bool endpoint_failed)
{
    struct store_etcd *s = c->s;
    if (endpoint_failed)
        etcd_endpoint_failed(s, c->endpoint, &c->err);
    c->tries++;
    unsigned round = c->tries / s->endpoint_count;
    uint64_t pause_ms = 0, now = clock_ns();
    if (c->tries % s->endpoint_count == 0)
        pause_ms = round > 4 ? PAUSE_MAX_MS : (uint64_t)PAUSE_MS << (round - 1);
    if (s->store.closing) {
        finish(c, err_set(&c->err, ECANCELED, "the store is being closed"));
    } else if (now + pause_ms * NS_PER_MS >= c->deadline_ns) {
        if (c->maybe && c->err.code != ETIMEDOUT)
            c->err.code = ETIMEDOUT;
        finish(c, err_prefix(&c->err, "the cluster store at %s", s->endpoints[c->endpoint]));
    } else {
        loop_timer_set(s->store.loop, &c->pause, now + pause_ms * NS_PER_MS);
    }
}

static void pause_over(struct loop_timer *timer)
{
    attempt(CONTAINER_OF(timer, struct etcd_call, pause));
}

/* ---- answers ---- */

static int read_answer(struct etcd_call *c, struct etcd_header *header)
{
    arena_free(c->question.call.arena);
    c->question.call.arena = NULL;
    c->question.err = (struct err){0};
    int rc = etcd_read_answer(c->http.answer, c->http.answer_len, &c->question, c->limit, header);
    c->err = c->question.err;
    return rc;
}

static int lease_answer(struct etcd_call *c, struct etcd_header *header)
{
    const char *json = c->http.answer;
    size_t len = c->http.answer_len;
    struct store_lease *l = c->lease;
    int rc;
    l->err = (struct err){0};
    if (c->kind == STORE_CALL_REVOKE)
        return etcd_header_answer(json, len, header, &c->err);
    rc = c->kind == STORE_CALL_GRANT ? etcd_grant_answer(json, len, l, header) : etcd_keep_answer(json, len, l, header);
    c->err = l->err;
    if (!rc)
        l->valid_until_ns = c->sent_ns + l->ttl_ms * (uint64_t)NS_PER_MS;
    return rc;
}

/* An answer with the status 200. */
static void good_answer(struct etcd_call *c)
{
    struct store_etcd *s = c->s;
    struct etcd_header header = {0};
    int64_t floor = c->floor;
    bool linear = c->kind == STORE_CALL_READ || c->kind == STORE_CALL_COMMIT || c->kind == CALL_PROBE;
    int rc;
    c->err = (struct err){0};
    if (c->kind == STORE_CALL_READ) {
        rc = read_answer(c, &header);
    } else if (c->kind == STORE_CALL_COMMIT) {
        rc = etcd_commit_answer(c->http.answer, c->http.answer_len, c->changes, c->count, c->commit, &header);
        c->err = c->commit->err;
    } else if (c->kind == CALL_PROBE) {
        rc = etcd_header_answer(c->http.answer, c->http.answer_len, &header, &c->err);
    } else {
        rc = lease_answer(c, &header);
    }
    if (rc == -EPROTO || rc == -ENOMEM) { /* something happened there, nobody knows what */
        c->err.code = EIO;
        finish(c, -EIO);
        return;
    }
    s->proven |= c->endpoint == s->current;
    finish(c, rc);
    etcd_heard(s, &header);
    if (linear && header.revision && header.revision < floor)
        etcd_watches_end(s, header.revision, floor);
}

static void bad_answer(struct etcd_call *c)
{
    bool again;
    int rc = etcd_error_answer(c->http.status, c->http.answer, c->http.answer_len, &again, &c->err);
    if (rc == -ETIMEDOUT)
        c->maybe = true;
    if (again || (rc == -ETIMEDOUT && c->kind != STORE_CALL_COMMIT)) {
        try_again(c, rc != -EAGAIN);
        return;
    }
    if (rc == -ENOENT && c->kind == STORE_CALL_REVOKE && c->maybe) { /* by the attempt that was not answered */
        c->err = (struct err){0};
        rc = 0;
    }
    finish(c, rc);
}

/* Fewer keys may fit. */
static bool ask_for_less(struct etcd_call *c)
{
    if (c->kind != STORE_CALL_READ || c->limit < 2)
        return false;
    c->limit = c->limit > LESS ? c->limit / LESS : 1;
    c->body.text.len = 0;
    etcd_ask_read(&c->body, &c->question, c->limit);
    return !c->body.failed;
}

static void answered(struct http_client_request *request, int result)
{
    struct etcd_call *c = CONTAINER_OF(request, struct etcd_call, http);
    c->err = request->err;
    if (!result && request->status == 200) {
        good_answer(c);
    } else if (!result) {
        bad_answer(c);
    } else if (result == -EMSGSIZE && ask_for_less(c)) {
        attempt(c);
    } else if (!request->sent) {
        if (result != -EACCES)
            c->err.code = EHOSTUNREACH;
        try_again(c, true);
    } else {
        bool closing = result == -ECANCELED;
        c->maybe = true;
        c->err.code = closing ? ECANCELED : ETIMEDOUT;
        if (c->kind != STORE_CALL_COMMIT || closing) {
            try_again(c, true);
            return;
        }
        struct store_etcd *s = c->s;
        struct err err = c->err;
        unsigned endpoint = c->endpoint;
        err_prefix(&c->err, "the cluster store at %s, after the commit was sent", s->endpoints[endpoint]);
        finish(c, -ETIMEDOUT);
        etcd_endpoint_failed(s, endpoint, &err);
    }
}

/* ---- asking ---- */

static void attempt(struct etcd_call *c)
{
    struct store_etcd *s = c->s;
    uint64_t now = clock_ns();
    if (now + NS_PER_MS >= c->deadline_ns) {
        if (c->proving && s->failure.code)
            c->err = s->failure;
        if (c->proving && c->err.code != EACCES)
            c->err.code = EHOSTUNREACH;
        if (!c->err.code)
            err_set(&c->err, EHOSTUNREACH, "the cluster store has more to do than it can within %u ms", s->timeout_ms);
        if (c->maybe)
            c->err.code = ETIMEDOUT;
        finish(c, -c->err.code);
        return;
    }
    c->proving = c->kind == STORE_CALL_COMMIT && !s->proven;
    if (c->proving) {
        loop_timer_set(s->store.loop, &c->pause, c->deadline_ns);
        etcd_probe(s);
        return;
    }
    uint32_t left_ms = (uint32_t)((c->deadline_ns - now) / NS_PER_MS), ms = left_ms;
    if (c->kind != STORE_CALL_COMMIT && s->endpoint_count > 1) {
        ms = s->timeout_ms / ATTEMPTS;
        ms = ms > ATTEMPT_MIN_MS ? ms : ATTEMPT_MIN_MS;
        ms = ms < left_ms ? ms : left_ms;
    }
    c->endpoint = s->current;
    c->sent_ns = now;
    c->floor = etcd_watches_floor(s);
    snprintf(c->url, sizeof c->url, "%s%s", s->endpoints[c->endpoint], paths[c->kind]);
    c->http = (struct http_client_request){
        .method = "POST",
        .url = c->url,
        .headers = etcd_headers,
        .body = c->body.text.data,
        .body_len = c->body.text.len,
        .answer_max = ETCD_ANSWER_MAX,
        .connect_ms = ms < ETCD_CONNECT_MS ? ms : ETCD_CONNECT_MS,
        .timeout_ms = ms,
        .done = answered,
    };
    http_client_send(s->http, &c->http);
}

/* A probe has come back, well or not. */
static void continue_proving(struct store_etcd *s)
{
    struct etcd_call *c, *next;
    for (c = TAILQ_FIRST(&s->running); c && !s->store.closing; c = next) {
        next = TAILQ_NEXT(c, link);
        if (c->proving) {
            loop_timer_clear(s->store.loop, &c->pause);
            attempt(c);
        }
    }
}

static struct etcd_call *new_call(struct store_etcd *s, int kind)
{
    struct etcd_call *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->arena = arena_new(STORE_CHANGES_MAX * (STORE_KEY_MAX + sizeof *c->changes + 64));
    if (!c->arena) {
        free(c);
        return NULL;
    }
    c->s = s;
    c->kind = kind;
    c->deadline_ns = clock_ns() + (uint64_t)s->timeout_ms * NS_PER_MS;
    c->pause.fire = pause_over;
    return c;
}

static void submit(struct etcd_call *c)
{
    TAILQ_INSERT_TAIL(&c->s->waiting, c, link);
    start_waiting(c->s);
}

static int no_memory(struct etcd_call *c, struct err *err)
{
    drop_call(c);
    return err_set(err, ENOMEM, "no memory for a call to the cluster store");
}

void etcd_probe(struct store_etcd *s)
{
    struct etcd_call *c = s->probing || s->store.closing ? NULL : new_call(s, CALL_PROBE);
    if (!c)
        return;
    c->question = (struct store_read){.key = "drover"};
    etcd_ask_read(&c->body, &c->question, 1);
    if (c->body.failed) {
        drop_call(c);
        return;
    }
    s->probing = true;
    c->running = true; /* others may wait for it: it waits for nobody */
    s->running_count++;
    TAILQ_INSERT_TAIL(&s->running, c, link);
    attempt(c);
}

static void probe_timer(struct loop_timer *timer)
{
    struct store_etcd *s = CONTAINER_OF(timer, struct store_etcd, probe);
    if (TAILQ_EMPTY(&s->watches))
        return; /* the next watch starts it again */
    if (s->answered_ns + (uint64_t)PROBE_MS * NS_PER_MS <= clock_ns())
        etcd_probe(s);
    loop_timer_set(s->store.loop, timer, clock_ns() + (uint64_t)PROBE_MS * NS_PER_MS);
}

static void etcd_read(struct store *store, struct store_read *read)
{
    struct etcd_call *c = new_call(etcd_of(store), STORE_CALL_READ);
    if (c) {
        c->limit = store_read_limit(read);
        etcd_ask_read(&c->body, read, c->limit);
    }
    if (!c || c->body.failed || !store_copy_question(read, &c->question, c->arena)) {
        store_finish(store, &read->call, no_memory(c, &read->err));
        return;
    }
    c->read = read;
    submit(c);
}

static void etcd_commit(struct store *store, struct store_commit *commit)
{
    struct etcd_call *c = new_call(etcd_of(store), STORE_CALL_COMMIT);
    if (c) {
        etcd_ask_commit(&c->body, commit);
        c->count = commit->count;
        c->changes = store_copy_changes(commit, false, c->arena);
    }
    if (!c || c->body.failed || !c->changes) {
        store_finish(store, &commit->call, no_memory(c, &commit->err));
        return;
    }
    c->commit = commit;
    submit(c);
}

static void etcd_lease(struct store *store, struct store_lease *lease, enum store_call_kind kind)
{
    struct etcd_call *c = new_call(etcd_of(store), (int)kind);
    if (c && kind == STORE_CALL_GRANT)
        etcd_ask_grant(&c->body, lease->ttl_ms);
    else if (c)
        etcd_ask_lease(&c->body, lease->id);
    if (!c || c->body.failed) {
        store_finish(store, &lease->call, no_memory(c, &lease->err));
        return;
    }
    c->lease = lease;
    submit(c);
}

/* ---- opening and closing ---- */

static bool is_this_machine(const char *host, size_t len)
{
    return (len >= 4 && !memcmp(host, "127.", 4)) || (len == 9 && !memcmp(host, "localhost", 9)) ||
           (len == 5 && !memcmp(host, "[::1]", 5));
}

/* "host", "host:port" or "[address]:port" of len bytes. */
static int add_endpoint(struct store_etcd *s, const char *scheme, const char *text, size_t len, struct err *err)
{
    const char *bracket = *text == '[' ? memchr(text, ']', len) : NULL;
    size_t host_len = bracket ? (size_t)(bracket + 1 - text) : strcspn(text, ":,"), port_len = len - host_len;
    bool ok = len && host_len && host_len <= len && len < ETCD_URL_MAX - 64;
    for (size_t i = 0; ok && i < host_len; i++)
        ok = isalnum((unsigned char)text[i]) || text[i] == '.' || text[i] == '-' || (bracket && strchr("[]:", text[i]));
    ok = ok && (!port_len || (text[host_len] == ':' && port_len > 1 && port_len < 7 &&
                              strspn(text + host_len + 1, "0123456789") == port_len - 1));
    if (!ok)
        return err_set(err, EINVAL, "'%.*s' is no endpoint of etcd; HOST:PORT is", len < 80 ? (int)len : 80, text);
    if (!strcmp(scheme, "http") && !is_this_machine(text, host_len))
        return err_set(err, EINVAL, "etcd at %.*s needs https://: http:// is for 127.0.0.1 only", (int)len, text);
    if (s->endpoint_count == ETCD_ENDPOINTS_MAX)
        return err_set(err, EINVAL, "more than %d endpoints of etcd", ETCD_ENDPOINTS_MAX);
    if (asprintf(&s->endpoints[s->endpoint_count], "%s://%.*s%s", scheme, (int)len, text, port_len ? "" : ":2379") < 0)
        return err_set(err, ENOMEM, "no memory for an endpoint");
    s->endpoint_count++;
    return 0;
}

static int add_endpoints(struct store_etcd *s, const char *rest, struct err *err)
{
    const char *scheme = !strncmp(rest, "https://", 8) ? "https" : !strncmp(rest, "http://", 7) ? "http" : NULL;
    if (!scheme)
        return err_set(err, EINVAL, "etcd: needs a list of endpoints, as in etcd:https://h1:2379,h2:2379");
    const char *at = rest + strlen(scheme) + 3;
    for (;;) {
        size_t len = strcspn(at, ",");
        int rc = add_endpoint(s, scheme, at, len, err);
        if (rc || !at[len])
            return rc;
        at += len + 1;
    }
}

static void etcd_free(struct store *store)
{
    struct store_etcd *s = etcd_of(store);
    for (unsigned i = 0; i < s->endpoint_count; i++)
        free(s->endpoints[i]);
    free(s);
}

static struct store *etcd_open(const char *rest, struct loop *loop, const struct store_options *options,
                               struct err *err)
{
    struct store_etcd *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(err, ENOMEM, "no memory for a store");
        return NULL;
    }
    store_init(&s->store, &store_etcd, loop);
    TAILQ_INIT(&s->waiting);
    TAILQ_INIT(&s->running);
    TAILQ_INIT(&s->watches);
    s->timeout_ms = options->timeout_ms ? options->timeout_ms : TIMEOUT_MS;
    s->probe.fire = probe_timer;
    const struct http_client_options http = {.ca_file = options->ca_file,
                                             .cert_file = options->cert_file,
                                             .key_file = options->key_file,
                                             .files_once = options->files_once};
    if (!add_endpoints(s, rest, err))
        s->http = http_client_new(loop, &http, err);
    if (!s->http) {
        etcd_free(&s->store);
        return NULL;
    }
    return &s->store;
}

static void http_closed(void *context)
{
    store_closed(context);
}

static void etcd_close(struct store *store)
{
    struct store_etcd *s = etcd_of(store);
    struct etcd_call *c;
    loop_timer_clear(store->loop, &s->probe);
    while ((c = TAILQ_FIRST(&s->waiting)))
        finish(c, err_set(&c->err, ECANCELED, "the store is being closed"));
    struct etcd_call *next;
    for (c = TAILQ_FIRST(&s->running); c; c = next) {
        next = TAILQ_NEXT(c, link);
        if (c->pause.slot) /* between two attempts; the others end with the client */
            finish(c, err_set(&c->err, ECANCELED, "the store is being closed"));
    }
    etcd_watches_close(s);
    http_client_close(s->http, http_closed, store);
}

const struct store_backend store_etcd = {
    .scheme = "etcd",
    .open = etcd_open,
    .close = etcd_close,
    .read = etcd_read,
    .commit = etcd_commit,
    .lease = etcd_lease,
    .watch = etcd_watch,
    .unwatch = etcd_unwatch,
    .free = etcd_free,
};
