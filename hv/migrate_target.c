/* See migrate_target.h. What workers share is under one lock; `turn` says that some of it has changed. */
#include "hv/migrate_target.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hv/migrate_pack.h"
#include "hv/migrate_target_inside.h"
#include "hv/migrate_words.h"
#include "hv/state.h"
#include "node/base/clock.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/tls.h"

#define NS_PER_S UINT64_C(1000000000)
enum { GREET_S = 5, SILENCE_S = 30, GO_S = 15, LINGER_S = 1 };

static const char *const phase_names[] = {
    [MIGRATE_TARGET_LISTEN] = "listen",  [MIGRATE_TARGET_COPY] = "copy", [MIGRATE_TARGET_OPEN] = "open",
    [MIGRATE_TARGET_HELD] = "ready",     [MIGRATE_TARGET_RUN] = "done",  [MIGRATE_TARGET_OVER] = "failed",
    [MIGRATE_TARGET_LATE] = "post-copy",
};

const char *migrate_target_phase_name(enum migrate_target_phase phase)
{
    return phase_names[phase];
}

/* The first failure is the reason; all the others end because of it. */
void migrate_target_fail(struct migrate_target *t, int rc, const struct err *err)
{
    pthread_mutex_lock(&t->lock);
    if (!t->rc) {
        t->rc = rc;
        t->why = *err;
    }
    pthread_cond_broadcast(&t->turn);
    pthread_mutex_unlock(&t->lock);
    migrate_crew_nudge(t->wake);
}

static void tell(void *context)
{
    struct migrate_target_call *c = context;
    c->t->host->changed(c->t->host, c->phase);
}

void migrate_target_mark(struct migrate_target *t, enum migrate_target_phase phase)
{
    pthread_mutex_lock(&t->lock);
    t->phase = phase;
    pthread_mutex_unlock(&t->lock);
}

static void enter(struct migrate_target *t, enum migrate_target_phase phase)
{
    struct migrate_target_call c = {.t = t, .phase = phase};
    migrate_target_mark(t, phase);
    if (phase != MIGRATE_TARGET_OPEN) /* that hurries */
        migrate_crew_on_main(t->crew, tell, &c);
}

/* ---- every connection ---- */

/* All of them, or -ECANCELED when another one has failed. */
static int wait_marks(struct migrate_target *t, uint64_t round, struct err *err)
{
    int rc = 0;
    pthread_mutex_lock(&t->lock);
    for (;;) {
        unsigned through = 0;
        for (unsigned i = 0; i < t->streams; i++)
            through += t->marked[i] >= round;
        if (t->rc || t->cancelled || through == t->streams)
            break;
        pthread_cond_wait(&t->turn, &t->lock);
    }
    if (t->rc || t->cancelled)
        rc = err_set(err, ECANCELED, "another connection has failed");
    pthread_mutex_unlock(&t->lock);
    return rc;
}

static int take_mark(struct migrate_target *t, unsigned stream, uint64_t round, struct err *err)
{
    pthread_mutex_lock(&t->lock);
    bool next = round == t->marked[stream] + 1;
    t->marked[stream] += next;
    pthread_cond_broadcast(&t->turn);
    pthread_mutex_unlock(&t->lock);
    if (!next)
        return err_set(err, EPROTO, "the source ended round %llu, which was not its turn", (unsigned long long)round);
    if (stream)
        return 0;
    struct migrate_frame synced = {MIGRATE_SYNCED, 0, round};
    int rc = wait_marks(t, round, err);
    rc = rc ? rc : migrate_link_put(&t->links[0], &synced, NULL, err);
    return rc ? rc : migrate_link_flush(&t->links[0], err);
}

int migrate_target_words(struct migrate_target *t, unsigned stream, const struct migrate_frame *f, struct err *err)
{
    json_t *words;
    int rc = migrate_words_get(&t->links[stream], f->bytes, &words, err);
    if (rc)
        return rc;
    const char *text = json_string_value(json_object_get(words, "text"));
    rc = err_set(err, EREMOTEIO, "the source ends the migration: %.400s", text ? text : "it does not say why");
    json_decref(words);
    return rc;
}

/* 0: a frame was taken. */
static int take_pages(struct migrate_target *t, unsigned stream, const struct migrate_frame *f, struct err *err)
{
    switch (f->type) {
    case MIGRATE_PAGES:
    case MIGRATE_PACKED:
    case MIGRATE_ZEROES:
        atomic_fetch_add(&t->received_bytes, f->bytes);
        return migrate_pages_receive(&t->receivers[stream], f, err);
    case MIGRATE_MARK:
        return take_mark(t, stream, f->number, err);
    case MIGRATE_FAILED:
        return migrate_target_words(t, stream, f, err);
    default:
        return err_set(err, EPROTO, "the source sent %s on connection %u at a time when it cannot",
                       migrate_type_name(f->type), stream);
    }
}

/* Until the leader has everything: then the source says nothing any more here, and closes. */
static void follow(struct migrate_target *t, unsigned stream)
{
    struct err err = {0};
    int rc = 0;
    pthread_mutex_lock(&t->lock);
    while (!t->streams && !t->rc && !t->cancelled)
        pthread_cond_wait(&t->turn, &t->lock);
    bool wanted = stream < t->streams;
    pthread_mutex_unlock(&t->lock);
    while (wanted && !rc) {
        struct migrate_frame f;
        rc = migrate_link_get_frame(&t->links[stream], &f, &err);
        if (!rc && f.type == MIGRATE_LATE && t->may_late) {
            migrate_target_follow_late(t, stream);
            return;
        }
        if (rc) {
            pthread_mutex_lock(&t->lock);
            bool complete = t->phase >= MIGRATE_TARGET_OPEN && t->phase != MIGRATE_TARGET_OVER;
            pthread_mutex_unlock(&t->lock);
            if (complete)
                return;
        }
        rc = rc ? rc : take_pages(t, stream, &f, &err);
    }
    if (rc)
        migrate_target_fail(t, rc, &err);
}

/* ---- the leader ---- */

static void judge(void *context)
{
    struct migrate_target_call *c = context;
    c->rc = c->t->host->judge(c->t->host, c->json, c->err);
}

/* The version that both sides understand. */
static uint64_t version_with(const struct migrate_frame *hello)
{
    return hello->number < MIGRATE_VERSION ? hello->number : MIGRATE_VERSION;
}

static int make_receivers(struct migrate_target *t, unsigned streams, bool packed, struct err *err)
{
    for (unsigned i = 0; i < streams; i++) {
        struct migrate_receiver *r = &t->receivers[i];
        *r = (struct migrate_receiver){.memory = t->memory, .link = &t->links[i], .stream = i, .streams = streams};
        r->pack = packed ? migrate_pack_new(err) : NULL;
        if (packed && !r->pack)
            return -ENOMEM;
    }
    return 0;
}

static int judge_hello(struct migrate_target *t, const struct migrate_frame *f, const json_t *facts, struct err *err)
{
    json_int_t streams = json_integer_value(json_object_get(facts, "streams"));
    json_int_t oldest = json_integer_value(json_object_get(facts, "oldest"));
    struct migrate_target_call c = {.t = t, .json = facts, .err = err};
    if (f->number < MIGRATE_VERSION_OLDEST || oldest > MIGRATE_VERSION)
        return err_set(err, ENOTSUP, "its program speaks versions %lld to %llu of migrations, this one %d to %d",
                       (long long)oldest, (unsigned long long)f->number, MIGRATE_VERSION_OLDEST, MIGRATE_VERSION);
    if (streams < 1 || streams > MIGRATE_STREAMS_MAX)
        return err_set(err, ENOTSUP, "it wants %lld connections, there can be 1 to %d", (long long)streams,
                       MIGRATE_STREAMS_MAX);
    migrate_crew_on_main(t->crew, judge, &c);
    int rc = c.rc ? c.rc : make_receivers(t, (unsigned)streams, version_with(f) >= MIGRATE_VERSION_PACKED, err);
    if (rc)
        return rc;
    pthread_mutex_lock(&t->lock);
    t->streams = (unsigned)streams;
    t->hold = json_is_true(json_object_get(facts, "hold"));
    bool all = true;
    for (unsigned i = 0; i < t->streams; i++)
        all &= t->taken[i];
    pthread_cond_broadcast(&t->turn);
    pthread_mutex_unlock(&t->lock);
    if (all)
        migrate_crew_nudge(t->enough);
    return 0;
}

static int greet(struct migrate_target *t, struct err *err)
{
    struct migrate_link *l = &t->links[0];
    struct migrate_frame f;
    json_t *facts = NULL;
    int rc = migrate_link_get_frame(l, &f, err);
    if (!rc && f.type != MIGRATE_HELLO)
        rc = err_set(err, EPROTO, "the source began with %s", migrate_type_name(f.type));
    rc = rc ? rc : migrate_words_get(l, f.bytes, &facts, err);
    if (rc)
        return rc;
    rc = judge_hello(t, &f, facts, err);
    uint64_t version = rc ? 0 : version_with(&f);
    json_t *answer = rc ? json_pack("{s:s}", "text", err->text) : json_pack("{s:I}", "version", (json_int_t)version);
    if (!rc)
        migrate_target_agree(t, facts, version, answer);
    json_decref(facts);
    struct err ignored;
    int sent = migrate_words_put(l, rc ? MIGRATE_REFUSED : MIGRATE_WELCOME, version, answer, rc ? &ignored : err);
    json_decref(answer);
    return rc ? rc : sent;
}

static int take_state(struct migrate_target *t, const struct migrate_frame *f, struct err *err)
{
    if (f->number != t->state_bytes || t->state_bytes + f->bytes > STATE_BYTES_MAX)
        return err_set(err, EPROTO, "the source sent a part of its state for %llu, which cannot be",
                       (unsigned long long)f->number);
    if (t->state_bytes + f->bytes > t->state_room) {
        size_t room = (t->state_bytes + f->bytes) * 2;
        uint8_t *more = realloc(t->state, room);
        if (!more)
            return err_set(err, ENOMEM, "no memory for the guest's state");
        t->state = more;
        t->state_room = room;
    }
    int rc = migrate_link_get(&t->links[0], t->state + t->state_bytes, f->bytes, err);
    t->state_bytes += rc ? 0 : f->bytes;
    return rc;
}

/* Up to FINAL, whose body is handed out. */
static int copy(struct migrate_target *t, json_t **last, struct err *err)
{
    for (;;) {
        struct migrate_frame f;
        int rc = migrate_link_get_frame(&t->links[0], &f, err);
        if (rc)
            return rc;
        if (f.type == MIGRATE_FINAL && f.number != t->state_bytes)
            return err_set(err, EPROTO, "the source sent %zu bytes of state and says it were %llu", t->state_bytes,
                           (unsigned long long)f.number);
        if (f.type == MIGRATE_FINAL)
            return migrate_words_get(&t->links[0], f.bytes, last, err);
        if (f.type == MIGRATE_STATE)
            rc = take_state(t, &f, err);
        else if (f.type == MIGRATE_MISSING && t->may_late)
            rc = migrate_missing_receive(&t->missing, &t->links[0], &f, err);
        else
            rc = take_pages(t, 0, &f, err);
        if (rc)
            return rc;
    }
}

void migrate_target_load(void *context)
{
    struct migrate_target_call *c = context;
    c->rc = c->t->host->load(c->t->host, c->t->state, c->t->state_bytes, c->json, c->err);
}

void migrate_target_run(void *context)
{
    struct migrate_target_call *c = context;
    c->runs_ns = c->t->host->start(c->t->host);
}

/* Where a guest has all processors from its first moment on, this is said a few milliseconds later. */
json_t *migrate_target_started(const struct migrate_target_call *c)
{
    return json_pack("{s:I}", "runs-us", (json_int_t)(c->runs_ns ? (clock_ns() - c->runs_ns) / 1000 : 0));
}

static int wait_go_of_source(struct migrate_target *t, struct err *err)
{
    struct migrate_frame f;
    t->links[0].patience_ns = GO_S * NS_PER_S;
    int rc = migrate_link_get_frame(&t->links[0], &f, err);
    if (!rc && f.type == MIGRATE_FAILED)
        return migrate_target_words(t, 0, &f, err);
    if (!rc && f.type != MIGRATE_GO)
        rc = err_set(err, EPROTO, "the source sent %s where GO was due", migrate_type_name(f.type));
    return rc;
}

/* A source whose agent has cancelled says so; a connection that breaks says nothing. */
static int wait_go_of_agent(struct migrate_target *t, struct err *err)
{
    struct pollfd fds[3] = {{.fd = t->wake, .events = POLLIN},
                            {.fd = t->nudge, .events = POLLIN},
                            {.fd = t->links[0].fd, .events = POLLIN}};
    enter(t, MIGRATE_TARGET_HELD);
    for (;;) {
        struct migrate_frame f;
        struct err ignored;
        pthread_mutex_lock(&t->lock);
        bool go = t->go, cancelled = t->cancelled;
        pthread_mutex_unlock(&t->lock);
        if (go)
            return 0;
        if (cancelled)
            return err_set(err, ECANCELED, "the migration was cancelled");
        poll(fds, 3, -1);
        if (!fds[2].revents)
            continue;
        fds[2].fd = -1;
        if (migrate_link_get_frame(&t->links[0], &f, &ignored) == 0 && f.type == MIGRATE_FAILED)
            return migrate_target_words(t, 0, &f, err);
    }
}

static int take_over(struct migrate_target *t, const json_t *last, struct err *err)
{
    struct migrate_target_call c = {.t = t, .json = last, .err = err};
    struct migrate_link *l = &t->links[0];
    enter(t, MIGRATE_TARGET_OPEN);
    migrate_crew_on_main(t->crew, migrate_target_load, &c);
    if (!c.rc && t->hold)
        migrate_target_mark(
            t, MIGRATE_TARGET_HELD); /* before the source hears of it: its agents may be quicker than this thread */
    json_t *words = json_object();
    int rc = c.rc ? c.rc : migrate_words_put(l, MIGRATE_READY, 0, words, err);
    rc = rc ? rc : t->hold ? wait_go_of_agent(t, err) : wait_go_of_source(t, err);
    pthread_mutex_lock(&t->lock);
    t->begun = !rc && !t->cancelled;
    if (!rc && !t->begun)
        rc = err_set(err, ECANCELED, "the migration was cancelled");
    pthread_mutex_unlock(&t->lock);
    if (!rc) {
        struct err ignored;
        migrate_crew_on_main(t->crew, migrate_target_run, &c);
        json_t *started = migrate_target_started(&c);
        migrate_words_put(l, MIGRATE_STARTED, 0, started, &ignored); /* it runs, whether that arrives or not */
        json_decref(started);
    }
    json_decref(words);
    return rc;
}

/* Says why, and lets it arrive: a socket closed with bytes unread would take the words back. */
static void say_why(struct migrate_target *t, const struct err *why)
{
    struct migrate_link *l = &t->links[0];
    struct err ignored;
    char rest[4096];
    if (l->failed || l->out_bytes)
        return;
    json_t *words = json_pack("{s:s}", "text", why->text);
    migrate_words_put(l, MIGRATE_FAILED, 0, words, &ignored);
    json_decref(words);
    shutdown(l->fd, SHUT_WR);
    struct pollfd fd = {.fd = l->fd, .events = POLLIN};
    for (uint64_t until = clock_ns() + LINGER_S * NS_PER_S; clock_ns() < until;)
        if (poll(&fd, 1, 100) > 0 && recv(l->fd, rest, sizeof rest, MSG_DONTWAIT) <= 0)
            return;
}

static bool goes_first(const struct migrate_target *t, const json_t *last)
{
    return t->may_late && json_is_true(json_object_get(last, "post-copy"));
}

static void lead(struct migrate_target *t)
{
    if (t->begun) { /* by connections that broke */
        migrate_target_follow_late(t, 0);
        return;
    }
    struct err err = {0};
    json_t *last = NULL;
    int rc = greet(t, &err);
    if (!rc)
        enter(t, MIGRATE_TARGET_COPY);
    bool greeted = !rc;
    rc = rc ? rc : copy(t, &last, &err);
    rc = rc ? rc : wait_marks(t, t->marked[0], &err);
    if (!rc && !goes_first(t, last) && t->missing.pages)
        rc = err_set(&err, EPROTO, "the source says that pages are missing, and that none come later");
    bool late = !rc && goes_first(t, last);
    rc = rc ? rc : late ? migrate_target_take_over_late(t, last, &err) : take_over(t, last, &err);
    json_decref(last);
    if (!rc && !late)
        migrate_crew_nudge(t->wake); /* followers are done */
    if (!rc)
        return;
    pthread_mutex_lock(&t->lock);
    if (t->rc && rc == -ECANCELED) /* another connection's reason is the better one */
        err = t->why;
    pthread_mutex_unlock(&t->lock);
    migrate_target_fail(t, rc, &err);
    if (t->links[0].failed == -ECANCELED)
        t->links[0].failed = 0;
    if (greeted && rc != -EREMOTEIO)
        say_why(t, &err);
}

/* ---- connections ---- */

/* Which stream the peer is; -1: none that is wanted, and it is closed. */
static int adopt(struct migrate_target *t, int fd, struct migrate_link *l)
{
    struct err err = {0};
    int rc = migrate_link_open(l, fd, t->wake, GREET_S * NS_PER_S, t->context, &err);
    int stream = rc ? -1 : migrate_key_stream(&t->key, migrate_link_peer(l));
    if (stream < 0) {
        log_limited(&t->door.strangers, LOG_LEVEL_WARN, "migration: a connection was refused: %s",
                    rc ? err.text : "it is not of this migration");
        migrate_link_close(l);
        return -1;
    }
    pthread_mutex_lock(&t->lock);
    bool first = !t->taken[stream] && (!t->streams || (unsigned)stream < t->streams);
    bool all = first && t->streams;
    t->taken[stream] |= first;
    if (first) {
        l->patience_ns = SILENCE_S * NS_PER_S;
        t->links[stream] = *l;
        t->attempts[stream] = t->attempt;
    }
    for (unsigned i = 0; i < t->streams; i++)
        all &= t->taken[i];
    if (all)
        migrate_crew_nudge(t->enough);
    pthread_mutex_unlock(&t->lock);
    if (first)
        return stream;
    log_limited(&t->door.strangers, LOG_LEVEL_WARN, "migration: connection %d came twice: refused", stream);
    migrate_link_close(l);
    return -1;
}

/* Takes a connection. -1: nobody more is to be taken. */
static int take_one(struct migrate_target *t)
{
    const int ends[2] = {t->wake, t->enough};
    for (;;) {
        struct migrate_link link;
        int fd = migrate_door_answer(&t->door, ends);
        int stream = fd < 0 ? -1 : adopt(t, fd, &link);
        if (fd < 0 || stream >= 0)
            return stream;
    }
}

static void work(void *context, unsigned number)
{
    struct migrate_target *t = context;
    int stream;
    (void)number;
    do {
        stream = take_one(t);
        if (stream == 0)
            lead(t);
        else if (stream > 0 && t->begun)
            migrate_target_follow_late(t, (unsigned)stream);
        else if (stream > 0)
            follow(t, (unsigned)stream);
    } while (stream >= 0 && migrate_target_again(t, (unsigned)stream));
}

static void ended(void *context)
{
    struct migrate_target *t = context;
    for (unsigned i = 0; i < MIGRATE_STREAMS_MAX; i++)
        migrate_link_close(&t->links[i]);
    migrate_door_shut(&t->door); /* who still wants to resume learns that there is nothing more to be had */
    if (!t->begun && !t->rc)
        t->rc = err_set(&t->why, ECANCELED, "the migration was cancelled");
    t->phase = t->begun ? MIGRATE_TARGET_RUN : MIGRATE_TARGET_OVER;
    t->over = true;
    t->host->ended(t->host, t->phase, t->begun ? NULL : &t->why);
}

/* ---- from outside ---- */

int migrate_target_go(struct migrate_target *t, struct err *err)
{
    pthread_mutex_lock(&t->lock);
    bool may = t->phase == MIGRATE_TARGET_HELD && !t->cancelled;
    t->go |= may;
    pthread_mutex_unlock(&t->lock);
    if (!may)
        return err_set(err, EBUSY, "the guest is not here, held ready for it");
    migrate_crew_nudge(t->nudge);
    return 0;
}

void migrate_target_cancel(struct migrate_target *t)
{
    pthread_mutex_lock(&t->lock);
    t->cancelled = true;
    pthread_cond_broadcast(&t->turn);
    pthread_mutex_unlock(&t->lock);
    migrate_crew_nudge(t->wake);
}

bool migrate_target_is_over(const struct migrate_target *t)
{
    return t->over;
}

bool migrate_target_is_late(struct migrate_target *t)
{
    pthread_mutex_lock(&t->lock);
    bool late = t->phase == MIGRATE_TARGET_LATE;
    pthread_mutex_unlock(&t->lock);
    return late;
}

json_t *migrate_target_report(struct migrate_target *t)
{
    pthread_mutex_lock(&t->lock);
    const char *phase = phase_names[t->phase];
    unsigned streams = t->streams;
    unsigned there = 0;
    for (unsigned i = 0; i < streams; i++)
        there += t->taken[i] && t->attempts[i] == t->attempt;
    json_t *late = t->late_on ? json_pack("{s:b, s:I, s:I, s:f, s:s}", "post-copy", 1, "bytes-left",
                                          (json_int_t)(t->missing.pages * MEMORY_PAGE_BYTES), "faults",
                                          (json_int_t)t->faults, "longest-wait-ms", (double)t->longest_ns / 1e6, "link",
                                          there == streams || t->complete ? "up" : "broken")
                              : NULL;
    pthread_mutex_unlock(&t->lock);
    json_t *all = json_pack("{s:s, s:I, s:i}", "phase", phase, "bytes-received",
                            (json_int_t)atomic_load(&t->received_bytes), "streams", (int)streams);
    if (all && late)
        json_object_update(all, late);
    json_decref(late);
    return all;
}

struct migrate_target *migrate_target_start(struct migrate_crew *crew, struct memory *memory,
                                            struct migrate_target_host *host, int listener,
                                            const struct migrate_key *key, struct err *err)
{
    struct migrate_target *t = calloc(1, sizeof *t);
    if (!t) {
        close(listener);
        err_set(err, ENOMEM, "no memory for a migration");
        return NULL;
    }
    *t = (struct migrate_target){.crew = crew,
                                 .memory = memory,
                                 .host = host,
                                 .wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                                 .nudge = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                                 .enough = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                                 .key = *key};
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->turn, NULL);
    int rc = migrate_door_init(&t->door, listener, err);
    t->context = rc ? NULL : migrate_key_server(key, err);
    if (!rc && (t->wake < 0 || t->nudge < 0 || t->enough < 0))
        err_set(err, errno, "cannot begin: %s", strerror(errno));
    if (!t->context || t->wake < 0 || t->nudge < 0 || t->enough < 0) {
        migrate_target_free(t);
        return NULL;
    }
    if (host->late_fd >= 0 && migrate_missing_init(&t->missing, memory, err)) {
        migrate_target_free(t);
        return NULL;
    }
    migrate_crew_start(crew, MIGRATE_STREAMS_MAX, work, ended, t);
    return t;
}

void migrate_target_free(struct migrate_target *t)
{
    if (!t)
        return;
    int fds[] = {t->wake, t->nudge, t->enough};
    for (unsigned i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    migrate_door_fini(&t->door);
    tls_context_free(t->context);
    migrate_key_wipe(&t->key);
    for (unsigned i = 0; i < MIGRATE_STREAMS_MAX; i++)
        migrate_pack_free(t->receivers[i].pack);
    migrate_missing_fini(&t->missing);
    free(t->state);
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->turn);
    free(t);
}
