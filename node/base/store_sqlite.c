/* The store of a single node: a file (store_db.c) behind one worker thread.
 *
 *     loop:    call -> copy -> worker ---- thread: transaction ----> done: answer, events to the watches
 *
 * One thread takes one task after the other, and completions come back in that order. Hence: a watch replays history by
 * a task that ends at revision R; what is committed later completes later and is handed on directly. A watch is live
 * once a replay found nothing more.
 *
 * Leases: ids are in the file, deadlines only here. A lease that runs out is revoked like by a caller; from the moment
 * that its revocation is on the way to the thread it is gone, and commits that name it come behind it. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/arena.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/log.h"
#include "node/base/store_backend.h"
#include "node/base/store_db.h"
#include "node/base/worker.h"

enum {
    RETRY_NS = 1000000000, /* a lease that could not be revoked */
    TASK_BYTES_MAX = STORE_COMMIT_MAX + (STORE_CHANGES_MAX + 4) * 64 + 4096,
    CHANGE_OVERHEAD = 64,
};

enum task_kind { TASK_READ, TASK_COMMIT, TASK_GRANT, TASK_REVOKE, TASK_EXPIRE, TASK_HISTORY };

struct sqlite_lease {
    int64_t id;
    uint32_t ttl_ms;
    uint64_t until_ns;
    bool going; /* its revocation is on the way */
};

struct store_sqlite {
    struct store store;
    struct worker *worker;
    struct store_db *db; /* the worker's */
    TAILQ_HEAD(, sqlite_watch) watches;
    unsigned walking; /* watches are being told: none is freed */
    unsigned tasks;
    bool closed;

    struct sqlite_lease leases[STORE_LEASES_MAX];
    uint32_t lease_count, leases_coming;
    struct loop_timer lease_timer;
};

struct sqlite_watch {
    TAILQ_ENTRY(sqlite_watch) link;
    struct store_watch *watch; /* NULL: unwatched, to be freed */
    char prefix[STORE_KEY_MAX + 1];
    int64_t position; /* events up to here were told */
    bool live, replaying;
};

struct sqlite_task {
    struct worker_task task;
    struct store_sqlite *s;
    enum task_kind kind;
    struct arena *arena; /* the copies */
    union {
        struct store_read *read;
        struct store_commit *commit;
        struct store_lease *lease;
        struct sqlite_watch *watch;
    };
    struct store_read question;
    struct store_change *changes;
    uint32_t count;
    int64_t id; /* of a lease */
    uint32_t ttl_ms;
    uint64_t asked_ns;
    int result;
    struct store_answer answer;
};

static struct store_sqlite *sqlite_of(struct store *store)
{
    return CONTAINER_OF(store, struct store_sqlite, store);
}

/* ---- watches ---- */

static void sweep(struct store_sqlite *s)
{
    struct sqlite_watch *w = TAILQ_FIRST(&s->watches);
    while (w && !s->walking) {
        struct sqlite_watch *next = TAILQ_NEXT(w, link);
        if (!w->watch && !w->replaying) {
            TAILQ_REMOVE(&s->watches, w, link);
            free(w);
        }
        w = next;
    }
}

static void tell(struct sqlite_watch *w, const struct store_event *events, uint32_t count, int64_t revision)
{
    w->position = revision;
    w->watch->events(w->watch, events, count, revision);
}

/* Tells the live watches of one commit. Moves the events in the answer about. */
static void tell_all(struct store_sqlite *s, struct store_answer *answer)
{
    if (!answer->count || s->store.closing)
        return;
    struct store_event *mine = arena_alloc(answer->arena, answer->count * sizeof *mine);
    struct err err = {.code = ENOMEM, .text = "no memory to tell a watch what happened"};
    s->walking++;
    struct sqlite_watch *w;
    TAILQ_FOREACH (w, &s->watches, link) {
        if (!w->watch || !w->live || s->store.closing)
            continue;
        if (!mine) {
            struct store_watch *watch = w->watch;
            w->watch = NULL;
            store_end_watch(&s->store, watch, -ENOMEM, &err);
            continue;
        }
        uint32_t count = 0;
        for (uint32_t i = 0; i < answer->count; i++)
            if (store_has_prefix(answer->events[i].key, w->prefix))
                mine[count++] = answer->events[i];
        if (count)
            tell(w, mine, count, answer->revision);
    }
    s->walking--;
    sweep(s);
}

/* Tells one watch of its past, revision by revision. */
static void tell_history(struct store_sqlite *s, struct sqlite_watch *w, const struct store_answer *answer)
{
    s->walking++;
    for (uint32_t i = 0, n; i < answer->count && w->watch && !s->store.closing; i += n) {
        n = store_same_revision(answer->events + i, answer->count - i);
        tell(w, answer->events + i, n, answer->events[i].revision);
    }
    if (w->watch && !s->store.closing && answer->revision > w->position)
        tell(w, NULL, 0, answer->revision);
    s->walking--;
}

/* ---- leases ---- */

static struct sqlite_lease *find_lease(struct store_sqlite *s, int64_t id)
{
    for (uint32_t i = 0; i < s->lease_count; i++)
        if (s->leases[i].id == id)
            return &s->leases[i];
    return NULL;
}

static void set_lease_timer(struct store_sqlite *s)
{
    uint64_t first = UINT64_MAX;
    for (uint32_t i = 0; i < s->lease_count; i++)
        if (!s->leases[i].going && s->leases[i].until_ns < first)
            first = s->leases[i].until_ns;
    if (first == UINT64_MAX || s->store.closing)
        loop_timer_clear(s->store.loop, &s->lease_timer);
    else
        loop_timer_set(s->store.loop, &s->lease_timer, first);
}

static void add_lease(struct store_sqlite *s, int64_t id, uint32_t ttl_ms)
{
    s->leases[s->lease_count++] =
        (struct sqlite_lease){.id = id, .ttl_ms = ttl_ms, .until_ns = clock_ns() + ttl_ms * UINT64_C(1000000)};
    set_lease_timer(s);
}

static void forget_lease(struct store_sqlite *s, int64_t id)
{
    struct sqlite_lease *l = find_lease(s, id);
    if (l)
        *l = s->leases[--s->lease_count];
    set_lease_timer(s);
}

/* ---- tasks ---- */

static void run_task(struct worker_task *task)
{
    struct sqlite_task *t = CONTAINER_OF(task, struct sqlite_task, task);
    struct store_db *db = t->s->db;
    switch (t->kind) {
    case TASK_READ:
        t->result = store_db_read(db, &t->question, &t->answer);
        break;
    case TASK_COMMIT:
        t->result = store_db_commit(db, t->changes, t->count, &t->answer);
        break;
    case TASK_GRANT:
        t->result = store_db_grant(db, t->ttl_ms, &t->id, &t->answer);
        break;
    case TASK_REVOKE:
    case TASK_EXPIRE:
        t->result = store_db_revoke(db, t->id, &t->answer);
        break;
    case TASK_HISTORY:
        t->result = store_db_history(db, t->question.key, t->id, &t->answer);
        break;
    }
}

static void finish_grant(struct sqlite_task *t)
{
    struct store_lease *l = t->lease;
    t->s->leases_coming--;
    if (!t->result) {
        l->id = t->id;
        l->ttl_ms = t->ttl_ms;
        l->valid_until_ns = t->asked_ns + t->ttl_ms * UINT64_C(1000000);
        add_lease(t->s, t->id, t->ttl_ms);
    }
    l->err = t->answer.err;
    store_finish(&t->s->store, &l->call, t->result);
}

static void finish_revoke(struct sqlite_task *t)
{
    struct store_sqlite *s = t->s;
    struct sqlite_lease *l = find_lease(s, t->id);
    if (!t->result || t->result == -ENOENT) {
        forget_lease(s, t->id);
    } else if (l) {
        static struct log_limit limit = {.burst = 3, .interval_ms = 60000};
        log_limited(&limit, LOG_LEVEL_ERROR, "a lease cannot be revoked: %s", t->answer.err.text);
        l->going = false;
        l->until_ns = clock_ns() + RETRY_NS;
        set_lease_timer(s);
    }
    if (t->kind == TASK_REVOKE) {
        t->lease->err = t->answer.err;
        store_finish(&s->store, &t->lease->call, t->result);
    }
    tell_all(s, &t->answer);
}

static int submit_history(struct store_sqlite *s, struct sqlite_watch *w, struct err *err);

static void finish_history(struct sqlite_task *t)
{
    struct store_sqlite *s = t->s;
    struct sqlite_watch *w = t->watch;
    struct err err = t->answer.err;
    int rc = t->result;
    w->replaying = false;
    if (s->store.closing)
        w->watch = NULL;
    if (w->watch && !rc)
        tell_history(s, w, &t->answer);
    if (w->watch && !rc && t->answer.more)
        rc = submit_history(s, w, &err);
    if (w->watch && rc) {
        struct store_watch *watch = w->watch;
        w->watch = NULL;
        store_end_watch(&s->store, watch, rc, &err);
    } else if (w->watch && !w->replaying) {
        w->live = true;
        if (w->watch->link)
            w->watch->link(w->watch, true, NULL);
    }
    sweep(s);
}

static void check_closed(struct store_sqlite *s)
{
    if (s->store.closing && !s->tasks && !s->closed) {
        s->closed = true;
        store_closed(&s->store);
    }
}

static void free_task(struct sqlite_task *t)
{
    if (!t)
        return;
    arena_free(t->answer.arena);
    arena_free(t->arena);
    free(t);
}

static void task_done(struct worker_task *task)
{
    struct sqlite_task *t = CONTAINER_OF(task, struct sqlite_task, task);
    struct store_sqlite *s = t->s;
    switch (t->kind) {
    case TASK_READ:
        store_finish_read(&s->store, t->read, &t->answer, t->result);
        break;
    case TASK_COMMIT:
        store_finish_commit(&s->store, t->commit, &t->answer, t->result);
        tell_all(s, &t->answer);
        break;
    case TASK_GRANT:
        finish_grant(t);
        break;
    case TASK_REVOKE:
    case TASK_EXPIRE:
        finish_revoke(t);
        break;
    case TASK_HISTORY:
        finish_history(t);
        break;
    }
    free_task(t);
    s->tasks--;
    check_closed(s);
}

static struct sqlite_task *new_task(struct store_sqlite *s, enum task_kind kind)
{
    struct sqlite_task *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->arena = arena_new(TASK_BYTES_MAX + STORE_CHANGES_MAX * CHANGE_OVERHEAD);
    if (!t->arena) {
        free(t);
        return NULL;
    }
    t->task.run = run_task;
    t->task.done = task_done;
    t->s = s;
    t->kind = kind;
    t->asked_ns = loop_now_ns(s->store.loop);
    return t;
}

static void submit(struct sqlite_task *t)
{
    t->s->tasks++;
    worker_submit(t->s->worker, &t->task);
}

/* Drops a task that was not submitted. */
static void no_memory(struct sqlite_task *t, struct store *store, struct store_call *call, struct err *err)
{
    free_task(t);
    store_finish(store, call, err_set(err, ENOMEM, "no memory for a call to the store"));
}

/* Asks for what a watch was not told of yet. It is not freed while the task is out: its prefix needs no copy. */
static int submit_history(struct store_sqlite *s, struct sqlite_watch *w, struct err *err)
{
    struct sqlite_task *t = new_task(s, TASK_HISTORY);
    if (!t)
        return err_set(err, ENOMEM, "no memory for a watch of the store");
    t->question.key = w->prefix;
    t->watch = w;
    t->id = w->position;
    w->replaying = true;
    submit(t);
    return 0;
}

static void lease_timer(struct loop_timer *timer)
{
    struct store_sqlite *s = CONTAINER_OF(timer, struct store_sqlite, lease_timer);
    uint64_t now = clock_ns();
    for (uint32_t i = 0; i < s->lease_count; i++) {
        struct sqlite_lease *l = &s->leases[i];
        if (l->going || l->until_ns > now)
            continue;
        struct sqlite_task *t = new_task(s, TASK_EXPIRE);
        if (!t) {
            l->until_ns = now + RETRY_NS;
            continue;
        }
        l->going = true;
        t->id = l->id;
        submit(t);
    }
    set_lease_timer(s);
}

/* ---- the back end ---- */

static void sqlite_read(struct store *store, struct store_read *read)
{
    struct sqlite_task *t = new_task(sqlite_of(store), TASK_READ);
    if (!t || !store_copy_question(read, &t->question, t->arena)) {
        no_memory(t, store, &read->call, &read->err);
        return;
    }
    t->read = read;
    submit(t);
}

static void sqlite_commit(struct store *store, struct store_commit *commit)
{
    struct sqlite_task *t = new_task(sqlite_of(store), TASK_COMMIT);
    if (t) {
        t->count = commit->count;
        t->changes = store_copy_changes(commit, true, t->arena);
    }
    if (!t || !t->changes) {
        no_memory(t, store, &commit->call, &commit->err);
        return;
    }
    t->commit = commit;
    submit(t);
}

static void keep(struct store_sqlite *s, struct store_lease *lease, struct sqlite_lease *l)
{
    lease->ttl_ms = l->ttl_ms;
    lease->valid_until_ns = loop_now_ns(s->store.loop) + l->ttl_ms * UINT64_C(1000000);
    l->until_ns = clock_ns() + l->ttl_ms * UINT64_C(1000000);
    set_lease_timer(s);
    store_finish(&s->store, &lease->call, 0);
}

static void sqlite_lease_call(struct store *store, struct store_lease *lease, enum store_call_kind kind)
{
    struct store_sqlite *s = sqlite_of(store);
    struct sqlite_lease *l = kind == STORE_CALL_GRANT ? NULL : find_lease(s, lease->id);
    if (kind != STORE_CALL_GRANT && (!l || l->going)) {
        store_finish(store, &lease->call, err_set(&lease->err, ENOENT, "the lease %lld is gone", (long long)lease->id));
        return;
    }
    if (kind == STORE_CALL_GRANT && s->lease_count + s->leases_coming >= STORE_LEASES_MAX) {
        store_finish(store, &lease->call,
                     err_set(&lease->err, ENOSPC, "the store has %d leases, which is the most", STORE_LEASES_MAX));
        return;
    }
    if (kind == STORE_CALL_KEEP) {
        keep(s, lease, l);
        return;
    }
    struct sqlite_task *t = new_task(s, kind == STORE_CALL_GRANT ? TASK_GRANT : TASK_REVOKE);
    if (!t) {
        no_memory(t, store, &lease->call, &lease->err);
        return;
    }
    t->lease = lease;
    if (l) {
        t->id = l->id;
        l->going = true;
    } else {
        t->ttl_ms = (lease->ttl_ms + 999) / 1000 * 1000;
        s->leases_coming++;
    }
    submit(t);
}

static int sqlite_watch(struct store *store, struct store_watch *watch, struct err *err)
{
    struct store_sqlite *s = sqlite_of(store);
    struct sqlite_watch *w = calloc(1, sizeof *w);
    if (!w)
        return err_set(err, ENOMEM, "no memory for a watch of the store");
    w->watch = watch;
    w->position = watch->after;
    memcpy(w->prefix, watch->prefix, strlen(watch->prefix));
    int rc = submit_history(s, w, err);
    if (rc) {
        free(w);
        return rc;
    }
    TAILQ_INSERT_TAIL(&s->watches, w, link);
    watch->slot = w;
    return 0;
}

static void sqlite_unwatch(struct store *store, struct store_watch *watch)
{
    struct sqlite_watch *w = watch->slot;
    w->watch = NULL;
    sweep(sqlite_of(store));
}

static void sqlite_free(struct store *store)
{
    struct store_sqlite *s = sqlite_of(store);
    struct sqlite_watch *w;
    while ((w = TAILQ_FIRST(&s->watches))) {
        TAILQ_REMOVE(&s->watches, w, link);
        free(w);
    }
    worker_free(s->worker);
    store_db_close(s->db);
    free(s);
}

static void sqlite_close(struct store *store)
{
    struct store_sqlite *s = sqlite_of(store);
    loop_timer_clear(store->loop, &s->lease_timer);
    check_closed(s);
}

static int load_leases(struct store_sqlite *s, struct err *err)
{
    struct store_db_lease leases[STORE_LEASES_MAX];
    int count = store_db_leases(s->db, leases, STORE_LEASES_MAX, err);
    for (int i = 0; i < count; i++)
        add_lease(s, leases[i].id, leases[i].ttl_ms);
    return count < 0 ? count : 0;
}

static struct store *sqlite_open(const char *path, struct loop *loop, const struct store_options *options,
                                 struct err *err)
{
    (void)options;
    if (!*path || *path == ':') { /* SQLite has a meaning of its own for these */
        err_set(err, EINVAL, "sqlite: needs the path of a file, as in sqlite:/var/lib/drover/store.db");
        return NULL;
    }
    struct store_sqlite *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(err, ENOMEM, "no memory for a store");
        return NULL;
    }
    store_init(&s->store, &store_sqlite, loop);
    TAILQ_INIT(&s->watches);
    s->lease_timer.fire = lease_timer;
    s->db = store_db_open(path, err);
    if (s->db && !load_leases(s, err))
        s->worker = worker_new(loop, 1, err);
    if (!s->worker) {
        loop_timer_clear(loop, &s->lease_timer);
        store_db_close(s->db);
        free(s);
        return NULL;
    }
    return &s->store;
}

const struct store_backend store_sqlite = {
    .scheme = "sqlite",
    .open = sqlite_open,
    .close = sqlite_close,
    .read = sqlite_read,
    .commit = sqlite_commit,
    .lease = sqlite_lease_call,
    .watch = sqlite_watch,
    .unwatch = sqlite_unwatch,
    .free = sqlite_free,
};
