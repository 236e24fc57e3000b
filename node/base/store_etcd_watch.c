/* Watches of etcd: each is one long answer, a JSON object per line, on a connection of its own.
 *
 *     connecting --created--> up --line--> up ...
 *         ^                    | lost, moved, no leader
 *         +------- pause <-----+                        compacted, another store: ended
 *
 * Invariant: `position` is a revision of which everything was told, and of none later. It moves by whole revisions: a
 * line may be a fragment that ends within one, so the last revision of a fragment waits in `pending` until it is known
 * to be complete. Whatever is lost with a connection is asked for again from position + 1; so nothing is missed and
 * nothing told twice. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/arena.h"
#include "node/base/buffer.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/store_etcd.h"

enum {
    LINE_KEPT = 65536,           /* bytes of buffer that a quiet watch keeps */
    PENDING_MAX = 16 << 20,      /* bytes of one revision */
    SILENCE_MS = 15 * 60 * 1000, /* etcd says every ten minutes that nothing happened */
    PAUSE_FIRST_MS = 50,
    PAUSE_MAX_MS = 2000,
    NS_PER_MS = 1000000,
};

struct etcd_watch {
    TAILQ_ENTRY(etcd_watch) link;
    struct store_etcd *s;
    struct store_watch *watch; /* NULL: unwatched; freed when the request is back */
    char prefix[STORE_KEY_MAX + 1];
    int64_t position;
    bool up, asking; /* asking: the request is out */
    bool condemned;  /* to be ended by etcd_watches_end() */

    struct http_client_request http;
    char url[ETCD_URL_MAX];
    struct etcd_text body;
    unsigned endpoint;
    struct loop_timer pause;
    uint32_t pause_ms;
    struct err why; /* the stream is given up */

    struct buffer line;
    size_t scanned;

    struct arena *pending_arena;
    struct store_event *pending;
    uint32_t pending_count, pending_size;
};

/* ---- telling ---- */

static void drop_pending(struct etcd_watch *w)
{
    arena_free(w->pending_arena);
    w->pending_arena = NULL;
    w->pending = NULL;
    w->pending_count = w->pending_size = 0;
}

static void free_watch(struct etcd_watch *w)
{
    TAILQ_REMOVE(&w->s->watches, w, link);
    loop_timer_clear(w->s->store.loop, &w->pause);
    drop_pending(w);
    etcd_text_free(&w->body);
    buffer_free(&w->line);
    free(w);
}

/* The watch is gone for its owner. */
static void detach(struct etcd_watch *w)
{
    w->watch = NULL;
    if (w->asking)
        http_client_cancel(w->s->http, &w->http);
    else
        free_watch(w);
}

static void end_watch(struct etcd_watch *w, int result, const struct err *err)
{
    struct store_watch *watch = w->watch;
    struct store *store = &w->s->store;
    struct err copy = *err;
    detach(w);
    store_end_watch(store, watch, result, &copy);
}

/* A watch lives on while its request is out, so callers may look at it after this. */
static void tell(struct etcd_watch *w, const struct store_event *events, uint32_t count, int64_t revision)
{
    if (!w->watch || w->s->store.closing)
        return;
    w->position = revision;
    w->watch->events(w->watch, events, count, revision);
}

static bool keep_pending(struct etcd_watch *w, const struct store_event *events, uint32_t count)
{
    if (!w->pending_arena)
        w->pending_arena = arena_new(PENDING_MAX);
    if (!w->pending_arena)
        return false;
    if (w->pending_count + count > w->pending_size) {
        uint32_t size = 2 * (w->pending_count + count);
        struct store_event *more = arena_alloc(w->pending_arena, size * sizeof *more);
        if (!more)
            return false;
        if (w->pending_count)
            memcpy(more, w->pending, w->pending_count * sizeof *more);
        w->pending = more;
        w->pending_size = size;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct store_event *e = &w->pending[w->pending_count];
        *e = events[i];
        e->key = arena_string(w->pending_arena, e->key);
        if (e->value)
            e->value = arena_copy(w->pending_arena, e->value, e->value_len);
        if (!e->key || (events[i].value && !e->value))
            return false;
        w->pending_count++;
    }
    return true;
}

static void tell_pending(struct etcd_watch *w)
{
    if (w->pending_count)
        tell(w, w->pending, w->pending_count, w->pending[0].revision);
    drop_pending(w);
}

/* false: a revision is too large, or an event comes behind its revision. */
static bool tell_line(struct etcd_watch *w, const struct etcd_watch_line *line)
{
    const struct store_event *e = line->events;
    uint32_t left = line->count;
    while (left) {
        uint32_t n = store_same_revision(e, left);
        if (w->pending_count && e->revision < w->pending[0].revision)
            return false;
        if (w->pending_count && e->revision > w->pending[0].revision)
            tell_pending(w);
        bool open = line->fragment && n == left;
        if (open || w->pending_count) {
            if (!keep_pending(w, e, n))
                return false;
        } else {
            tell(w, e, n, e->revision);
        }
        e += n;
        left -= n;
    }
    if (!line->fragment)
        tell_pending(w);
    return true;
}

/* ---- the stream ---- */

static void set_link(struct etcd_watch *w, bool up, const struct err *why)
{
    if (w->up == up)
        return;
    w->up = up;
    if (w->watch && w->watch->link && !w->s->store.closing)
        w->watch->link(w->watch, up, why);
}

static void created(struct etcd_watch *w, const struct etcd_watch_line *line)
{
    w->pause_ms = 0;
    if (line->header.revision < w->position) /* a member that lags, or an older store: the probe will tell */
        etcd_probe(w->s);
    set_link(w, true, NULL);
}

/* false: nothing more is wanted from this stream; `why` says so if the watch goes on. */
static bool take_line(struct etcd_watch *w, const char *json, size_t len)
{
    struct etcd_watch_line line;
    struct arena *arena = arena_new(ETCD_ARENA_MAX);
    if (!arena) {
        err_set(&w->why, ENOMEM, "no memory for etcd's answer");
        return false;
    }
    int rc = etcd_watch_answer(json, len, w->prefix, w->position, arena, &line, &w->why);
    bool go_on = !rc && !line.canceled;
    if (rc == -EAGAIN || (!rc && line.canceled))
        w->why = line.err;
    if (go_on)
        etcd_heard(w->s, &line.header); /* may end the watch */
    if (go_on && w->watch && line.created)
        created(w, &line);
    if (go_on && w->watch && !tell_line(w, &line)) {
        err_set(&w->why, EMSGSIZE, "etcd's events of one revision make no sense, or more than %d bytes", PENDING_MAX);
        go_on = false;
    }
    if (go_on && line.progress && line.header.revision > w->position)
        tell(w, NULL, 0, line.header.revision);
    if (!rc && line.canceled && line.compacted && w->watch)
        end_watch(w, -ESTALE, &line.err);
    arena_free(arena);
    return go_on && w->watch && !w->s->store.closing;
}

static bool append(struct etcd_watch *w, const char *bytes, size_t len)
{
    if (buffer_add(&w->line, bytes, len, ETCD_ANSWER_MAX))
        return true;
    if (w->line.len + len > ETCD_ANSWER_MAX)
        err_set(&w->why, EMSGSIZE, "etcd sends lines of more than %d bytes", ETCD_ANSWER_MAX);
    else
        err_set(&w->why, ENOMEM, "no memory for etcd's answer");
    return false;
}

static void shrink(struct etcd_watch *w)
{
    if (!w->line.len && w->line.size > LINE_KEPT)
        buffer_free(&w->line);
}

static enum http_receive received(struct http_client_request *request, const void *bytes, size_t len)
{
    struct etcd_watch *w = CONTAINER_OF(request, struct etcd_watch, http);
    if (!len)
        return HTTP_GO;
    if (!append(w, bytes, len))
        return HTTP_STOP;
    size_t start = 0;
    char *end;
    while ((end = memchr(w->line.data + w->scanned, '\n', w->line.len - w->scanned))) {
        size_t at = (size_t)(end - w->line.data);
        if (at > start && !take_line(w, w->line.data + start, at - start))
            return HTTP_STOP;
        start = w->scanned = at + 1;
    }
    if (start) {
        memmove(w->line.data, w->line.data + start, w->line.len - start);
        w->line.len -= start;
    }
    w->scanned = w->line.len;
    shrink(w);
    return HTTP_GO;
}

/* ---- asking, and asking again ---- */

static void over(struct http_client_request *request, int result);

static void ask(struct etcd_watch *w)
{
    struct store_etcd *s = w->s;
    w->body.text.len = 0;
    etcd_ask_watch(&w->body, w->prefix, w->position);
    if (w->body.failed) {
        struct err err;
        end_watch(w, err_set(&err, ENOMEM, "no memory for a watch of the cluster store"), &err);
        return;
    }
    w->endpoint = s->current;
    w->line.len = w->scanned = 0;
    w->why = (struct err){0};
    drop_pending(w);
    snprintf(w->url, sizeof w->url, "%s/v3/watch", s->endpoints[w->endpoint]);
    w->http = (struct http_client_request){
        .method = "POST",
        .url = w->url,
        .headers = etcd_headers,
        .body = w->body.text.data,
        .body_len = w->body.text.len,
        .received = received,
        .connect_ms = ETCD_CONNECT_MS,
        .silence_ms = SILENCE_MS,
        .done = over,
    };
    w->asking = true;
    http_client_send(s->http, &w->http);
}

static void pause_over(struct loop_timer *timer)
{
    ask(CONTAINER_OF(timer, struct etcd_watch, pause));
}

/* Why the stream ended, if it did not say so itself. */
static void find_reason(struct etcd_watch *w, int result)
{
    bool again;
    if (w->why.code)
        return;
    if (result)
        w->why = w->http.err;
    else if (w->http.status != 200)
        etcd_error_answer(w->http.status, w->http.answer, w->http.answer_len, &again, &w->why);
    else
        err_set(&w->why, ECONNRESET, "etcd ended the watch without a word");
}

static void over(struct http_client_request *request, int result)
{
    struct etcd_watch *w = CONTAINER_OF(request, struct etcd_watch, http);
    struct store_etcd *s = w->s;
    w->asking = false;
    if (!w->watch || s->store.closing) {
        w->watch = NULL;
        free_watch(w);
        return;
    }
    find_reason(w, result);
    bool was_up = w->up;
    loop_timer_set(s->store.loop, &w->pause, clock_ns() + (uint64_t)w->pause_ms * NS_PER_MS);
    w->pause_ms = !w->pause_ms ? PAUSE_FIRST_MS : w->pause_ms < PAUSE_MAX_MS / 2 ? w->pause_ms * 2 : PAUSE_MAX_MS;
    struct err why = w->why;
    if (w->endpoint == s->current && result != -ECANCELED)
        etcd_endpoint_failed(s, w->endpoint, &why);
    if (was_up)
        set_link(w, false, &why); /* last: it may unwatch */
}

/* ---- from outside ---- */

void etcd_watches_move(struct store_etcd *s, unsigned endpoint, const struct err *err)
{
    struct etcd_watch *w;
    TAILQ_FOREACH (w, &s->watches, link) {
        if (!w->asking || w->endpoint != endpoint || !w->watch)
            continue;
        w->why = *err;
        http_client_cancel(s->http, &w->http);
    }
}

int64_t etcd_watches_floor(const struct store_etcd *s)
{
    int64_t floor = 0;
    const struct etcd_watch *w;
    TAILQ_FOREACH (w, &s->watches, link)
        if (w->watch && w->position > floor)
            floor = w->position;
    return floor;
}

void etcd_watches_end(struct store_etcd *s, int64_t revision, int64_t floor)
{
    struct err err;
    err_set(&err, ESTALE, "the cluster store is another or an older one than it was: everything is to be read again");
    struct etcd_watch *w;
    TAILQ_FOREACH (w, &s->watches, link)
        w->condemned = w->watch && w->position > revision && w->position <= floor;
    do {
        TAILQ_FOREACH (w, &s->watches, link)
            if (w->condemned && w->watch)
                break;
        if (w)
            end_watch(w, -ESTALE, &err); /* ended() may do anything to the list */
    } while (w);
}

int etcd_watch(struct store *store, struct store_watch *watch, struct err *err)
{
    struct store_etcd *s = etcd_of(store);
    struct etcd_watch *w = calloc(1, sizeof *w);
    if (!w)
        return err_set(err, ENOMEM, "no memory for a watch of the cluster store");
    w->s = s;
    w->watch = watch;
    w->position = watch->after;
    w->pause.fire = pause_over;
    memcpy(w->prefix, watch->prefix, strlen(watch->prefix));
    TAILQ_INSERT_TAIL(&s->watches, w, link);
    watch->slot = w;
    loop_timer_set(store->loop, &w->pause, 0);
    if (!s->probe.slot)
        loop_timer_set(store->loop, &s->probe, clock_ns());
    return 0;
}

void etcd_unwatch(struct store *store, struct store_watch *watch)
{
    (void)store;
    detach(watch->slot);
}

void etcd_watches_close(struct store_etcd *s)
{
    struct etcd_watch *w, *next;
    for (w = TAILQ_FIRST(&s->watches); w; w = next) {
        next = TAILQ_NEXT(w, link);
        w->watch = NULL;
        if (!w->asking) /* the others when their request is back */
            free_watch(w);
    }
}
