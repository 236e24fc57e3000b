#include "node/agent/cluster.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"
#include "node/base/store.h"

static const char prefix[] = "/drover/";
enum { NODE_MAX = 64, RETRY_MS = 500 };

struct cluster {
    struct loop *loop;
    struct store *store;
    struct mirror *mirror;
    struct cluster_handler *handler;
    char node[NODE_MAX];
    struct store_read read;
    struct store_watch watch;
    struct loop_timer timer;
    struct loop_job seen_job, closed_job;
    char after[STORE_KEY_MAX + 1];
    int64_t first_revision; /* of the first page: the watch begins there */
    int64_t revision;       /* that the mirror shows */
    bool reading, watching, current, told, closing;
    struct err trouble;
    struct log_limit limit;
    STAILQ_HEAD(, cluster_waiter) waiters;
    void (*closed)(void *context);
    void *closed_context;
};

static void read_page(struct cluster *c);

/* ---- who waits ---- */

static void wake(struct cluster *c)
{
    if (!STAILQ_EMPTY(&c->waiters))
        loop_defer(c->loop, &c->seen_job);
}

static void tell_seen(struct loop_job *job)
{
    struct cluster *c = CONTAINER_OF(job, struct cluster, seen_job);
    struct cluster_waiter *w, *next;
    for (w = STAILQ_FIRST(&c->waiters); w; w = next) {
        next = STAILQ_NEXT(w, link);
        if (w->revision > c->revision)
            continue;
        STAILQ_REMOVE(&c->waiters, w, cluster_waiter, link);
        w->seen(w);
    }
}

bool cluster_shows(const struct cluster *c, int64_t revision)
{
    return c->revision >= revision;
}

void cluster_wait(struct cluster *c, struct cluster_waiter *w, int64_t revision)
{
    w->revision = revision;
    STAILQ_INSERT_TAIL(&c->waiters, w, link);
    wake(c);
}

/* ---- what the store says ---- */

static void take(struct cluster *c, const char *key, const void *value, size_t len, int64_t revision)
{
    if (value && mirror_put(c->mirror, key, value, len, (uint64_t)revision))
        log_limited(&c->limit, LOG_LEVEL_WARN, "the store's %s is no object of this version: it is left alone", key);
    else if (!value)
        mirror_delete(c->mirror, key, (uint64_t)revision);
}

static void try_later(struct cluster *c, const struct err *err)
{
    c->trouble = *err;
    log_limited(&c->limit, LOG_LEVEL_WARN, "the store cannot be read: %s", err->text);
    loop_timer_set(c->loop, &c->timer, clock_ns() + RETRY_MS * 1000000ull);
}

static void events(struct store_watch *watch, const struct store_event *list, uint32_t count, int64_t revision)
{
    struct cluster *c = CONTAINER_OF(watch, struct cluster, watch);
    for (uint32_t i = 0; i < count; i++)
        take(c, list[i].key, list[i].value, list[i].value_len, list[i].revision);
    c->revision = revision;
    wake(c);
}

static void read_anew(struct cluster *c)
{
    c->after[0] = 0;
    mirror_begin(c->mirror);
    read_page(c);
}

static void watch_ended(struct store_watch *watch, int result, const struct err *err)
{
    struct cluster *c = CONTAINER_OF(watch, struct cluster, watch);
    c->watching = false;
    c->current = false;
    c->trouble = *err;
    if (result == -ESTALE)
        read_anew(c);
    else
        try_later(c, err);
}

static void watch_link(struct store_watch *watch, bool up, const struct err *why)
{
    struct cluster *c = CONTAINER_OF(watch, struct cluster, watch);
    if (up)
        c->trouble = (struct err){0};
    else
        c->trouble = *why;
    log_line(up ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, up ? "the store is followed%s" : "the store is away: %s",
             up ? "" : why->text);
}

static void follow(struct cluster *c)
{
    struct err err = {0};
    mirror_sweep(c->mirror);
    c->watch = (struct store_watch){
        .prefix = prefix, .after = c->first_revision, .events = events, .ended = watch_ended, .link = watch_link};
    if (store_watch(c->store, &c->watch, &err)) {
        try_later(c, &err);
        return;
    }
    c->watching = true;
    c->current = true;
    c->revision = c->first_revision;
    c->trouble = (struct err){0};
    wake(c);
    mirror_stir(c->mirror); /* what was put off while pages were read found that nothing was current */
    if (!c->told) {
        c->told = true;
        c->handler->current(c->handler);
    }
}

static void free_later(struct cluster *c)
{
    if (c->closing && !c->reading)
        loop_defer(c->loop, &c->closed_job);
}

static void page_read(struct store_read *read, int result)
{
    struct cluster *c = CONTAINER_OF(read, struct cluster, read);
    c->reading = false;
    if (c->closing) {
        free_later(c);
        return;
    }
    if (result) {
        try_later(c, &read->err);
        return;
    }
    if (!c->after[0])
        c->first_revision = read->revision;
    for (uint32_t i = 0; i < read->count; i++)
        take(c, read->items[i].key, read->items[i].value, read->items[i].value_len, read->items[i].revision);
    if (read->more && read->count) {
        snprintf(c->after, sizeof c->after, "%s", read->items[read->count - 1].key);
        read_page(c);
    } else {
        follow(c);
    }
}

static void read_page(struct cluster *c)
{
    c->read =
        (struct store_read){.key = prefix, .prefix = true, .after = c->after[0] ? c->after : NULL, .done = page_read};
    c->reading = true;
    store_read(c->store, &c->read);
}

static void timer_fired(struct loop_timer *timer)
{
    read_anew(CONTAINER_OF(timer, struct cluster, timer));
}

/* ---- life ---- */

static void tell_closed(struct loop_job *job)
{
    struct cluster *c = CONTAINER_OF(job, struct cluster, closed_job);
    c->closed(c->closed_context);
}

struct cluster *cluster_new(struct loop *loop, struct store *store, const char *node, struct cluster_handler *handler,
                            struct err *err)
{
    struct cluster *c = calloc(1, sizeof *c);
    struct mirror *mirror = c ? mirror_new() : NULL;
    if (!mirror) {
        free(c);
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    c->loop = loop;
    c->store = store;
    c->mirror = mirror;
    c->handler = handler;
    snprintf(c->node, sizeof c->node, "%s", node);
    c->timer.fire = timer_fired;
    c->seen_job.run = tell_seen;
    c->closed_job.run = tell_closed;
    c->limit = (struct log_limit){.burst = 3, .interval_ms = 60000};
    STAILQ_INIT(&c->waiters);
    read_anew(c);
    return c;
}

void cluster_close(struct cluster *c, void (*closed)(void *context), void *context)
{
    c->closing = true;
    c->closed = closed;
    c->closed_context = context;
    loop_timer_clear(c->loop, &c->timer);
    if (c->watching)
        store_unwatch(c->store, &c->watch);
    c->revision = INT64_MAX; /* nobody waits for what is not followed any more */
    wake(c);
    free_later(c);
}

void cluster_free(struct cluster *c)
{
    if (!c)
        return;
    mirror_free(c->mirror);
    free(c);
}

struct mirror *cluster_mirror(const struct cluster *c)
{
    return c->mirror;
}

struct store *cluster_store(const struct cluster *c)
{
    return c->store;
}

const char *cluster_node(const struct cluster *c)
{
    return c->node;
}

bool cluster_is_current(const struct cluster *c)
{
    return c->current;
}

const char *cluster_trouble(const struct cluster *c)
{
    return c->trouble.text;
}
