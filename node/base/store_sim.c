/* See store_sim.h. Everything that will happen is an event in one queue, ordered by time and then by age; running an
 * event may queue others. A call outlives its client's interest in it: a request that was sent is carried out although
 * nobody waits for the answer any more. */
#include "node/base/store_sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "node/base/arena.h"
#include "node/base/container.h"
#include "node/base/store_backend.h"
#include "node/base/store_model.h"

enum { TIMEOUT_MS = 5000, MILLION = 1000000, NS_PER_US = 1000, NS_PER_MS = 1000000 };

struct sim_event {
    TAILQ_ENTRY(sim_event) link;
    uint64_t at_ns;
    void (*run)(struct sim_event *event);
    bool queued;
};

TAILQ_HEAD(sim_events, sim_event);

struct store_sim {
    struct store_sim_options options;
    struct store_model *model;
    struct sim_events events; /* by time */
    TAILQ_HEAD(, sim_client) clients;
    TAILQ_HEAD(, sim_lease) leases;
    uint64_t now_ns, random;
    bool stopped, cut[STORE_SIM_CLIENTS_MAX];
};

struct sim_client {
    struct store store;
    TAILQ_ENTRY(sim_client) link;
    struct store_sim *sim;
    uint32_t id, timeout_ms;
    TAILQ_HEAD(, sim_call) calls;
    TAILQ_HEAD(, sim_watch) watches;
    struct sim_event wake;
};

struct sim_lease {
    TAILQ_ENTRY(sim_lease) link;
    struct store_sim *sim;
    int64_t id;
    uint32_t ttl_ms;
    struct sim_event end;
};

struct sim_call {
    TAILQ_ENTRY(sim_call) link;
    struct store_sim *sim;
    struct sim_client *client; /* NULL: nobody waits any more */
    uint32_t client_id;
    enum store_call_kind kind;
    union {
        struct store_read *read;
        struct store_commit *commit;
        struct store_lease *lease;
    };
    struct arena *arena; /* the copies */
    struct store_read question;
    struct store_change *changes;
    uint32_t count, ttl_ms;
    int64_t lease_id;
    bool sent;
    uint64_t asked_ns;
    struct sim_event arrive, back, late;
    int result;
    struct store_answer answer;
};

struct sim_watch {
    TAILQ_ENTRY(sim_watch) link;
    struct sim_client *client;
    struct store_watch *watch; /* NULL: unwatched from inside a callback */
    char prefix[STORE_KEY_MAX + 1];
    int64_t position, until;
    bool connected, up, telling;
    struct sim_event connect, message;
};

/* ---- time and chance ---- */

static void unqueue(struct store_sim *sim, struct sim_event *e)
{
    if (e->queued)
        TAILQ_REMOVE(&sim->events, e, link);
    e->queued = false;
}

static void queue(struct store_sim *sim, struct sim_event *e, uint64_t at_ns)
{
    unqueue(sim, e);
    e->at_ns = at_ns;
    e->queued = true;
    struct sim_event *before = TAILQ_LAST(&sim->events, sim_events);
    for (struct sim_event *i = before; i && i->at_ns > at_ns; i = before)
        before = TAILQ_PREV(i, sim_events, link);
    if (before)
        TAILQ_INSERT_AFTER(&sim->events, before, e, link);
    else
        TAILQ_INSERT_HEAD(&sim->events, e, link);
}

static uint64_t draw(struct store_sim *sim, uint64_t below)
{
    sim->random += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    uint64_t z = sim->random;
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return below ? z % below : 0;
}

static bool chance(struct store_sim *sim, uint32_t ppm)
{
    return draw(sim, MILLION) < ppm;
}

static uint64_t delay_ns(struct store_sim *sim)
{
    const struct store_sim_options *o = &sim->options;
    return (o->delay_min_us + draw(sim, (uint64_t)o->delay_max_us - o->delay_min_us + 1)) * NS_PER_US;
}

static bool is_cut(const struct store_sim *sim, uint32_t client)
{
    return sim->stopped || sim->cut[client];
}

/* ---- watches ---- */

static void free_watch(struct sim_watch *w)
{
    struct store_sim *sim = w->client->sim;
    unqueue(sim, &w->connect);
    unqueue(sim, &w->message);
    TAILQ_REMOVE(&w->client->watches, w, link);
    free(w);
}

/* After a callback. false: the watch is gone. */
static bool told(struct sim_watch *w)
{
    w->telling = false;
    if (w->watch)
        return true;
    free_watch(w);
    return false;
}

static void end_watch(struct sim_watch *w, int result, const struct err *err)
{
    struct store_watch *watch = w->watch;
    struct store *store = &w->client->store;
    free_watch(w);
    store_end_watch(store, watch, result, err);
}

static bool set_up(struct sim_watch *w, bool up)
{
    static const struct err why = {.code = EHOSTUNREACH, .text = "the simulated store cannot be reached"};
    if (w->up == up)
        return true;
    w->up = up;
    if (!w->watch->link)
        return true;
    w->telling = true;
    w->watch->link(w->watch, up, up ? NULL : &why);
    return told(w);
}

static void send_news(struct sim_watch *w)
{
    struct store_sim *sim = w->client->sim;
    int64_t revision = store_model_revision(sim->model);
    if (!w->connected || w->message.queued || revision == w->until)
        return;
    w->until = revision;
    queue(sim, &w->message, sim->now_ns + delay_ns(sim));
}

static void publish(struct store_sim *sim)
{
    struct sim_client *c;
    struct sim_watch *w;
    TAILQ_FOREACH (c, &sim->clients, link)
        TAILQ_FOREACH (w, &c->watches, link)
            send_news(w);
}

static void connect_watch(struct sim_event *event)
{
    struct sim_watch *w = CONTAINER_OF(event, struct sim_watch, connect);
    struct store_sim *sim = w->client->sim;
    if (is_cut(sim, w->client->id)) {
        set_up(w, false); /* healing queues this again */
        return;
    }
    struct store_answer past = {0};
    int rc = store_model_history(sim->model, w->prefix, w->position, w->position, &past);
    arena_free(past.arena);
    if (rc) {
        end_watch(w, rc, &past.err);
        return;
    }
    w->connected = true;
    w->until = w->position;
    if (set_up(w, true))
        send_news(w);
}

static void disconnect(struct sim_watch *w, uint64_t again_ns)
{
    struct store_sim *sim = w->client->sim;
    w->connected = false;
    unqueue(sim, &w->message);
    queue(sim, &w->connect, again_ns);
}

/* false: the watch is gone. */
static bool tell(struct sim_watch *w, const struct store_event *events, uint32_t count, int64_t revision)
{
    w->position = revision;
    w->telling = true;
    w->watch->events(w->watch, events, count, revision);
    return told(w);
}

static void news_came(struct sim_event *event)
{
    struct sim_watch *w = CONTAINER_OF(event, struct sim_watch, message);
    struct store_sim *sim = w->client->sim;
    if (chance(sim, sim->options.broken_ppm)) {
        disconnect(w, sim->now_ns + delay_ns(sim));
        set_up(w, false);
        return;
    }
    struct store_answer news = {0};
    int rc = store_model_history(sim->model, w->prefix, w->position, w->until, &news);
    bool alive = !rc;
    for (uint32_t i = 0, n; alive && i < news.count; i += n) {
        n = store_same_revision(news.events + i, news.count - i);
        alive = tell(w, news.events + i, n, news.events[i].revision);
    }
    if (alive && w->until > w->position)
        alive = tell(w, NULL, 0, w->until);
    if (rc)
        end_watch(w, rc, &news.err);
    else if (alive)
        send_news(w);
    arena_free(news.arena);
}

static int sim_watch_begin(struct store *store, struct store_watch *watch, struct err *err)
{
    struct sim_client *c = CONTAINER_OF(store, struct sim_client, store);
    struct sim_watch *w = calloc(1, sizeof *w);
    if (!w)
        return err_set(err, ENOMEM, "no memory for a watch of the store");
    w->client = c;
    w->watch = watch;
    w->position = watch->after;
    w->connect.run = connect_watch;
    w->message.run = news_came;
    memcpy(w->prefix, watch->prefix, strlen(watch->prefix));
    TAILQ_INSERT_TAIL(&c->watches, w, link);
    watch->slot = w;
    queue(c->sim, &w->connect, c->sim->now_ns + delay_ns(c->sim));
    return 0;
}

static void sim_unwatch(struct store *store, struct store_watch *watch)
{
    struct sim_watch *w = watch->slot;
    (void)store;
    w->watch = NULL;
    if (!w->telling)
        free_watch(w);
}

/* ---- leases ---- */

static struct sim_lease *find_lease(struct store_sim *sim, int64_t id)
{
    struct sim_lease *l;
    TAILQ_FOREACH (l, &sim->leases, link)
        if (l->id == id)
            return l;
    return NULL;
}

static void free_lease(struct sim_lease *l)
{
    unqueue(l->sim, &l->end);
    TAILQ_REMOVE(&l->sim->leases, l, link);
    free(l);
}

static void renew(struct sim_lease *l)
{
    uint64_t late_ms = draw(l->sim, (uint64_t)l->sim->options.lease_late_ms + 1);
    queue(l->sim, &l->end, l->sim->now_ns + (l->ttl_ms + late_ms) * NS_PER_MS);
}

static void lease_ended(struct sim_event *event)
{
    struct sim_lease *l = CONTAINER_OF(event, struct sim_lease, end);
    struct store_sim *sim = l->sim;
    if (sim->stopped) { /* who does not answer does not decide either: a new leader will */
        renew(l);
        return;
    }
    struct store_answer answer = {0};
    store_model_revoke(sim->model, l->id, &answer);
    free_lease(l);
    publish(sim);
}

void store_sim_elect(struct store_sim *sim)
{
    struct sim_lease *l;
    TAILQ_FOREACH (l, &sim->leases, link)
        renew(l);
}

static int do_grant(struct sim_call *c)
{
    struct sim_lease *l = calloc(1, sizeof *l);
    int rc = l ? store_model_grant(c->sim->model, &c->lease_id, &c->answer)
               : err_set(&c->answer.err, ENOMEM, "no memory for a lease");
    if (rc) {
        free(l);
        return rc;
    }
    l->sim = c->sim;
    l->id = c->lease_id;
    l->ttl_ms = c->ttl_ms;
    l->end.run = lease_ended;
    TAILQ_INSERT_TAIL(&c->sim->leases, l, link);
    renew(l);
    return 0;
}

static int do_lease(struct sim_call *c)
{
    struct sim_lease *l = find_lease(c->sim, c->lease_id);
    if (c->kind == STORE_CALL_GRANT)
        return do_grant(c);
    if (!l)
        return err_set(&c->answer.err, ENOENT, "the lease %lld is gone", (long long)c->lease_id);
    if (c->kind == STORE_CALL_KEEP) {
        c->ttl_ms = l->ttl_ms;
        renew(l);
        return 0;
    }
    free_lease(l);
    return store_model_revoke(c->sim->model, c->lease_id, &c->answer);
}

/* ---- calls ---- */

static void free_call(struct sim_call *c)
{
    if (c->client || c->arrive.queued || c->back.queued || c->late.queued)
        return;
    arena_free(c->arena);
    arena_free(c->answer.arena);
    free(c);
}

static void finish(struct sim_call *c, int result)
{
    struct store *store = &c->client->store;
    TAILQ_REMOVE(&c->client->calls, c, link);
    unqueue(c->sim, &c->late);
    unqueue(c->sim, &c->back);
    c->client = NULL;
    if (c->kind == STORE_CALL_READ) {
        store_finish_read(store, c->read, &c->answer, result);
    } else if (c->kind == STORE_CALL_COMMIT) {
        store_finish_commit(store, c->commit, &c->answer, result);
    } else {
        if (!result) {
            c->lease->id = c->lease_id;
            c->lease->ttl_ms = c->ttl_ms;
            c->lease->valid_until_ns = c->asked_ns + c->ttl_ms * (uint64_t)NS_PER_MS;
        }
        c->lease->err = c->answer.err;
        store_finish(store, &c->lease->call, result);
    }
    free_call(c);
}

/* Without an answer. */
static void finish_without(struct sim_call *c, int code, const char *text)
{
    arena_free(c->answer.arena);
    c->answer = (struct store_answer){0};
    finish(c, err_set(&c->answer.err, code, "%s", text));
}

static void arrived(struct sim_event *event)
{
    struct sim_call *c = CONTAINER_OF(event, struct sim_call, arrive);
    struct store_sim *sim = c->sim;
    if (!is_cut(sim, c->client_id)) {
        switch (c->kind) {
        case STORE_CALL_READ:
            c->result = store_model_read(sim->model, &c->question, &c->answer);
            break;
        case STORE_CALL_COMMIT:
            c->result = store_model_commit(sim->model, c->changes, c->count, &c->answer);
            break;
        default:
            c->result = do_lease(c);
        }
        publish(sim);
        if (c->client && !chance(sim, sim->options.lost_ppm))
            queue(sim, &c->back, sim->now_ns + delay_ns(sim));
    }
    free_call(c);
}

static void came_back(struct sim_event *event)
{
    struct sim_call *c = CONTAINER_OF(event, struct sim_call, back);
    if (!c->sent)
        finish_without(c, EHOSTUNREACH, "the simulated store was not reached");
    else if (!is_cut(c->sim, c->client_id))
        finish(c, c->result);
}

static void too_late(struct sim_event *event)
{
    struct sim_call *c = CONTAINER_OF(event, struct sim_call, late);
    if (c->sent)
        finish_without(c, ETIMEDOUT, "the simulated store did not answer");
    else
        finish_without(c, EHOSTUNREACH, "the simulated store was not reached");
}

static struct sim_call *new_call(struct store *store, enum store_call_kind kind)
{
    struct sim_client *client = CONTAINER_OF(store, struct sim_client, store);
    struct sim_call *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->arena = arena_new(SIZE_MAX);
    if (!c->arena) {
        free(c);
        return NULL;
    }
    c->sim = client->sim;
    c->client = client;
    c->client_id = client->id;
    c->kind = kind;
    c->asked_ns = c->sim->now_ns;
    c->arrive.run = arrived;
    c->back.run = came_back;
    c->late.run = too_late;
    return c;
}

static int no_memory(struct sim_call *c, struct err *err)
{
    if (c)
        arena_free(c->arena);
    free(c);
    return err_set(err, ENOMEM, "no memory for a call to the store");
}

static void send_call(struct sim_call *c)
{
    struct store_sim *sim = c->sim;
    TAILQ_INSERT_TAIL(&c->client->calls, c, link);
    queue(sim, &c->late, sim->now_ns + c->client->timeout_ms * (uint64_t)NS_PER_MS);
    if (is_cut(sim, c->client_id))
        return;
    if (chance(sim, sim->options.refused_ppm)) {
        queue(sim, &c->back, sim->now_ns + delay_ns(sim));
        return;
    }
    c->sent = true;
    if (!chance(sim, sim->options.lost_ppm))
        queue(sim, &c->arrive, sim->now_ns + delay_ns(sim));
}

static void sim_read(struct store *store, struct store_read *read)
{
    struct sim_call *c = new_call(store, STORE_CALL_READ);
    if (!c || !store_copy_question(read, &c->question, c->arena)) {
        store_finish(store, &read->call, no_memory(c, &read->err));
        return;
    }
    c->read = read;
    send_call(c);
}

static void sim_commit(struct store *store, struct store_commit *commit)
{
    struct sim_call *c = new_call(store, STORE_CALL_COMMIT);
    if (c) {
        c->count = commit->count;
        c->changes = store_copy_changes(commit, true, c->arena);
    }
    if (!c || !c->changes) {
        store_finish(store, &commit->call, no_memory(c, &commit->err));
        return;
    }
    c->commit = commit;
    send_call(c);
}

static void sim_lease_call(struct store *store, struct store_lease *lease, enum store_call_kind kind)
{
    struct sim_call *c = new_call(store, kind);
    if (!c) {
        store_finish(store, &lease->call, no_memory(c, &lease->err));
        return;
    }
    c->lease = lease;
    c->lease_id = lease->id;
    c->ttl_ms = (lease->ttl_ms + 999) / 1000 * 1000;
    send_call(c);
}

/* ---- clients ---- */

static void run_wake(struct sim_event *event)
{
    struct sim_client *c = CONTAINER_OF(event, struct sim_client, wake);
    store_run_finished(&c->store);
}

static void sim_wake(struct store *store)
{
    struct sim_client *c = CONTAINER_OF(store, struct sim_client, store);
    if (!c->wake.queued)
        queue(c->sim, &c->wake, c->sim->now_ns);
}

static struct store *sim_open(const char *rest, struct loop *loop, const struct store_options *options, struct err *err)
{
    (void)rest;
    (void)loop;
    if (!options->sim || options->sim_client >= STORE_SIM_CLIENTS_MAX) {
        err_set(err, EINVAL, "sim: is for tests and simulations, which bring a simulated world of their own");
        return NULL;
    }
    struct sim_client *c = calloc(1, sizeof *c);
    if (!c) {
        err_set(err, ENOMEM, "no memory for a store");
        return NULL;
    }
    store_init(&c->store, &store_sim_backend, NULL);
    c->sim = options->sim;
    c->id = options->sim_client;
    c->timeout_ms = options->timeout_ms ? options->timeout_ms : TIMEOUT_MS;
    c->wake.run = run_wake;
    TAILQ_INIT(&c->calls);
    TAILQ_INIT(&c->watches);
    TAILQ_INSERT_TAIL(&c->sim->clients, c, link);
    return &c->store;
}

static void sim_close(struct store *store)
{
    struct sim_client *c = CONTAINER_OF(store, struct sim_client, store);
    struct sim_call *call;
    while ((call = TAILQ_FIRST(&c->calls)))
        finish_without(call, ECANCELED, "the store is being closed");
    struct sim_watch *w, *next;
    for (w = TAILQ_FIRST(&c->watches); w; w = next) {
        next = TAILQ_NEXT(w, link);
        w->watch = NULL;
        if (!w->telling)
            free_watch(w);
    }
    store_closed(store);
}

static void sim_free(struct store *store)
{
    struct sim_client *c = CONTAINER_OF(store, struct sim_client, store);
    unqueue(c->sim, &c->wake);
    TAILQ_REMOVE(&c->sim->clients, c, link);
    free(c);
}

/* ---- the world ---- */

struct store_sim *store_sim_new(const struct store_sim_options *options, uint64_t now_ns)
{
    struct store_sim *sim = calloc(1, sizeof *sim);
    if (!sim)
        return NULL;
    sim->model = store_model_new();
    if (!sim->model) {
        free(sim);
        return NULL;
    }
    sim->options = *options;
    if (sim->options.delay_max_us < sim->options.delay_min_us)
        sim->options.delay_max_us = sim->options.delay_min_us;
    sim->random = options->seed;
    sim->now_ns = now_ns;
    TAILQ_INIT(&sim->events);
    TAILQ_INIT(&sim->clients);
    TAILQ_INIT(&sim->leases);
    return sim;
}

void store_sim_free(struct store_sim *sim)
{
    if (!sim)
        return;
    struct sim_lease *l;
    while ((l = TAILQ_FIRST(&sim->leases)))
        free_lease(l);
    struct sim_event *e;
    while ((e = TAILQ_FIRST(&sim->events))) { /* only requests that were under way are left */
        struct sim_call *c = CONTAINER_OF(e, struct sim_call, arrive);
        unqueue(sim, e);
        free_call(c);
    }
    store_model_free(sim->model);
    free(sim);
}

uint64_t store_sim_next_ns(const struct store_sim *sim)
{
    const struct sim_event *e = TAILQ_FIRST(&sim->events);
    return e ? e->at_ns : UINT64_MAX;
}

void store_sim_run(struct store_sim *sim, uint64_t now_ns)
{
    struct sim_event *e;
    while ((e = TAILQ_FIRST(&sim->events)) && e->at_ns <= now_ns) {
        unqueue(sim, e);
        if (e->at_ns > sim->now_ns)
            sim->now_ns = e->at_ns;
        e->run(e);
    }
    if (now_ns > sim->now_ns)
        sim->now_ns = now_ns;
}

/* Watches notice what happened to their client's network. */
static void reconnect(struct store_sim *sim, uint32_t client)
{
    struct sim_client *c;
    struct sim_watch *w;
    TAILQ_FOREACH (c, &sim->clients, link)
        if (c->id == client || client == STORE_SIM_CLIENTS_MAX)
            TAILQ_FOREACH (w, &c->watches, link)
                disconnect(w, sim->now_ns + delay_ns(sim));
}

void store_sim_cut(struct store_sim *sim, uint32_t client, bool cut)
{
    if (sim->cut[client] == cut)
        return;
    sim->cut[client] = cut;
    reconnect(sim, client);
}

void store_sim_stop(struct store_sim *sim, bool stopped)
{
    if (sim->stopped == stopped)
        return;
    sim->stopped = stopped;
    if (!stopped)
        store_sim_elect(sim);
    reconnect(sim, STORE_SIM_CLIENTS_MAX);
}

void store_sim_heal(struct store_sim *sim)
{
    sim->options.refused_ppm = sim->options.lost_ppm = sim->options.broken_ppm = 0;
}

void store_sim_compact(struct store_sim *sim, int64_t revision)
{
    store_model_compact(sim->model, revision);
}

const struct store_backend store_sim_backend = {
    .scheme = "sim",
    .open = sim_open,
    .close = sim_close,
    .read = sim_read,
    .commit = sim_commit,
    .lease = sim_lease_call,
    .watch = sim_watch_begin,
    .unwatch = sim_unwatch,
    .wake = sim_wake,
    .free = sim_free,
};
