/* See store.h and store_backend.h. */
#include "node/base/store.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "node/base/arena.h"
#include "node/base/container.h"
#include "node/base/store_backend.h"

enum { TIMEOUT_MIN_MS = 100, TIMEOUT_MAX_MS = 60000 };

static const struct store_backend *const backends[] = {&store_sqlite, &store_etcd, &store_sim_backend};
enum { BACKENDS = sizeof backends / sizeof *backends };

/* ---- what is refused at the door ---- */

/* A key, or a prefix of one, which may be empty. */
static int check_key(const char *key, bool may_be_empty, struct err *err)
{
    if (!key || (!*key && !may_be_empty))
        return err_set(err, EINVAL, "a key of the store must not be empty");
    size_t len = strnlen(key, STORE_KEY_MAX + 1);
    if (len > STORE_KEY_MAX)
        return err_set(err, ENAMETOOLONG, "the key '%.40s...' is longer than %d bytes", key, STORE_KEY_MAX);
    for (size_t i = 0; i < len; i++)
        if (key[i] < 0x20 || key[i] > 0x7e)
            return err_set(err, EINVAL, "the key of %zu bytes has the byte 0x%02x at %zu; keys are printable ASCII",
                           len, (unsigned char)key[i], i);
    return 0;
}

static int check_read(const struct store_read *read, struct err *err)
{
    int rc = check_key(read->key, read->prefix, err);
    if (!rc && read->prefix && read->after)
        rc = check_key(read->after, false, err);
    if (!rc && read->limit > STORE_PAGE_MAX)
        rc = err_set(err, EINVAL, "a read of %u items: at most %d at a time", read->limit, STORE_PAGE_MAX);
    return rc;
}

static int check_change(const struct store_change *c, struct err *err)
{
    int rc = check_key(c->key, false, err);
    if (rc)
        return rc;
    if (c->expected < STORE_ANY)
        return err_set(err, EINVAL, "the expected revision of '%s' is %lld", c->key, (long long)c->expected);
    switch (c->kind) {
    case STORE_PUT:
        if (!c->value && c->value_len)
            return err_set(err, EINVAL, "the value of '%s' is missing", c->key);
        if (c->value_len > STORE_VALUE_MAX)
            return err_set(err, E2BIG, "the value of '%s' has %zu bytes; at most %d fit", c->key, c->value_len,
                           STORE_VALUE_MAX);
        if (c->lease < 0)
            return err_set(err, EINVAL, "'%s' is to have the lease %lld", c->key, (long long)c->lease);
        return 0;
    case STORE_DELETE:
        return 0;
    case STORE_CHECK:
        if (c->expected == STORE_ANY)
            return err_set(err, EINVAL, "a check of '%s' that expects nothing", c->key);
        return 0;
    }
    return err_set(err, EINVAL, "'%s' is to be changed in an unknown way", c->key);
}

static size_t commit_bytes(const struct store_commit *commit)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < commit->count; i++)
        bytes +=
            strlen(commit->changes[i].key) + (commit->changes[i].kind == STORE_PUT ? commit->changes[i].value_len : 0);
    return bytes;
}

static int check_commit(const struct store_commit *commit, struct err *err)
{
    if (commit->count < 1 || commit->count > STORE_CHANGES_MAX)
        return err_set(err, commit->count ? E2BIG : EINVAL, "a commit of %u changes: 1 to %d are possible",
                       commit->count, STORE_CHANGES_MAX);
    for (uint32_t i = 0; i < commit->count; i++) {
        int rc = check_change(&commit->changes[i], err);
        if (rc)
            return rc;
        for (uint32_t j = 0; j < i; j++)
            if (!strcmp(commit->changes[i].key, commit->changes[j].key))
                return err_set(err, EINVAL, "a commit that changes '%s' twice", commit->changes[i].key);
    }
    size_t bytes = commit_bytes(commit);
    if (bytes > STORE_COMMIT_MAX)
        return err_set(err, E2BIG, "a commit of %zu bytes: at most %d fit", bytes, STORE_COMMIT_MAX);
    return 0;
}

static int check_lease(const struct store_lease *lease, enum store_call_kind kind, struct err *err)
{
    if (kind == STORE_CALL_GRANT && (lease->ttl_ms < STORE_TTL_MIN_MS || lease->ttl_ms > STORE_TTL_MAX_MS))
        return err_set(err, EINVAL, "a lease of %u ms: %d to %d are possible", lease->ttl_ms, STORE_TTL_MIN_MS,
                       STORE_TTL_MAX_MS);
    if (kind != STORE_CALL_GRANT && lease->id <= 0)
        return err_set(err, EINVAL, "there is no lease %lld", (long long)lease->id);
    return 0;
}

/* ---- completing ---- */

void store_init(struct store *store, const struct store_backend *backend, struct loop *loop)
{
    store->backend = backend;
    store->loop = loop;
    STAILQ_INIT(&store->finished);
}

static void free_store(struct store *store)
{
    void (*closed)(void *context) = store->closed;
    void *context = store->closed_context;
    store->backend->free(store);
    if (closed)
        closed(context);
}

static void complete(struct store_call *call)
{
    struct arena *arena = call->arena;
    int result = call->result;
    switch ((enum store_call_kind)call->kind) {
    case STORE_CALL_READ: {
        struct store_read *read = CONTAINER_OF(call, struct store_read, call);
        read->done(read, result);
        break;
    }
    case STORE_CALL_COMMIT: {
        struct store_commit *commit = CONTAINER_OF(call, struct store_commit, call);
        commit->done(commit, result);
        break;
    }
    case STORE_CALL_GRANT:
    case STORE_CALL_KEEP:
    case STORE_CALL_REVOKE: {
        struct store_lease *lease = CONTAINER_OF(call, struct store_lease, call);
        lease->done(lease, result);
        break;
    }
    }
    arena_free(arena);
}

void store_run_finished(struct store *store)
{
    /* what is finished meanwhile has its turn next time: nobody can keep the loop here */
    struct store_calls batch = STAILQ_HEAD_INITIALIZER(batch);
    STAILQ_CONCAT(&batch, &store->finished);
    struct store_call *call;
    while ((call = STAILQ_FIRST(&batch))) {
        STAILQ_REMOVE_HEAD(&batch, link);
        store->calls--;
        complete(call);
    }
    if (store->may_free && STAILQ_EMPTY(&store->finished))
        free_store(store);
}

static void run_job(struct loop_job *job)
{
    store_run_finished(CONTAINER_OF(job, struct store, job));
}

static void wake(struct store *store)
{
    if (store->backend->wake) {
        store->backend->wake(store);
    } else {
        store->job.run = run_job;
        loop_defer(store->loop, &store->job);
    }
}

void store_finish(struct store *store, struct store_call *call, int result)
{
    call->result = result;
    STAILQ_INSERT_TAIL(&store->finished, call, link);
    wake(store);
}

void store_finish_read(struct store *store, struct store_read *read, struct store_answer *answer, int result)
{
    read->items = answer->items;
    read->count = result ? 0 : answer->count;
    read->more = answer->more;
    read->revision = answer->revision;
    read->err = answer->err;
    read->call.arena = answer->arena;
    answer->arena = NULL;
    store_finish(store, &read->call, result);
}

void store_finish_commit(struct store *store, struct store_commit *commit, const struct store_answer *answer,
                         int result)
{
    commit->revision = answer->revision;
    commit->conflict = answer->conflict;
    commit->conflict_revision = answer->conflict_revision;
    commit->err = answer->err;
    store_finish(store, &commit->call, result);
}

void store_closed(struct store *store)
{
    assert(store->closing && !store->may_free);
    store->may_free = true;
    wake(store);
}

void store_end_watch(struct store *store, struct store_watch *watch, int result, const struct err *err)
{
    watch->slot = NULL;
    store->watches--;
    if (!store->closing)
        watch->ended(watch, result, err);
}

/* Counts the call in; false: it is refused, and completes with the error. */
static bool begin(struct store *store, struct store_call *call, enum store_call_kind kind, int rc, struct err *err)
{
    call->kind = (uint8_t)kind;
    call->arena = NULL;
    store->calls++;
    if (!rc && store->calls > STORE_CALLS_MAX)
        rc = err_set(err, EAGAIN, "the store has %d calls under way; wait for some of them", STORE_CALLS_MAX);
    if (!rc && store->closing)
        rc = err_set(err, ECANCELED, "the store is being closed");
    if (rc)
        store_finish(store, call, rc);
    return !rc;
}

/* ---- what back ends share ---- */

bool store_copy_question(const struct store_read *read, struct store_read *copy, struct arena *arena)
{
    *copy = (struct store_read){.prefix = read->prefix, .limit = read->limit};
    copy->key = arena_string(arena, read->key);
    copy->after = read->after ? arena_string(arena, read->after) : NULL;
    return copy->key && (copy->after || !read->after);
}

struct store_change *store_copy_changes(const struct store_commit *commit, bool values, struct arena *arena)
{
    struct store_change *copies = arena_alloc(arena, commit->count * sizeof *copies);
    for (uint32_t i = 0; copies && i < commit->count; i++) {
        struct store_change *c = &copies[i];
        bool valued = values && commit->changes[i].kind == STORE_PUT;
        *c = commit->changes[i];
        c->key = arena_string(arena, c->key);
        c->value = valued ? arena_copy(arena, c->value, c->value_len) : NULL;
        if (!c->key || (valued && !c->value))
            return NULL;
    }
    return copies;
}

uint32_t store_read_limit(const struct store_read *read)
{
    return !read->prefix ? 1 : read->limit ? read->limit : STORE_PAGE_MAX;
}

void store_read_bounds(const struct store_read *read, char from[STORE_BOUND_MAX], char to[STORE_BOUND_MAX])
{
    const char *key = *read->key ? read->key : " "; /* the lowest; no key has a byte below it or above 0x7e */
    bool after = read->prefix && read->after && strcmp(read->after, key) >= 0;
    size_t len = strlen(read->key);
    snprintf(from, STORE_BOUND_MAX, "%s%s", after ? read->after : key, after ? "\x01" : "");
    snprintf(to, STORE_BOUND_MAX, "%s%s", read->key, read->prefix ? "" : "\x01");
    if (read->prefix && len)
        to[len - 1]++;
    else if (read->prefix)
        strcpy(to, "\x7f");
}

uint32_t store_same_revision(const struct store_event *events, uint32_t count)
{
    uint32_t n = 0;
    while (n < count && events[n].revision == events[0].revision)
        n++;
    return n;
}

/* ---- the interface ---- */

struct store *store_open(const char *uri, struct loop *loop, const struct store_options *options, struct err *err)
{
    static const struct store_options none;
    const struct store_options *o = options ? options : &none;
    const char *colon = strchr(uri, ':');
    size_t len = colon ? (size_t)(colon - uri) : 0;
    if (o->timeout_ms && (o->timeout_ms < TIMEOUT_MIN_MS || o->timeout_ms > TIMEOUT_MAX_MS)) {
        err_set(err, EINVAL, "a store's timeout of %u ms: %d to %d are possible", o->timeout_ms, TIMEOUT_MIN_MS,
                TIMEOUT_MAX_MS);
        return NULL;
    }
    for (unsigned i = 0; colon && i < BACKENDS; i++)
        if (strlen(backends[i]->scheme) == len && !memcmp(backends[i]->scheme, uri, len))
            return backends[i]->open(colon + 1, loop, o, err);
    err_set(err, EINVAL, "the store '%.80s' is none of sqlite:PATH and etcd:https://HOST:PORT,HOST:PORT...", uri);
    return NULL;
}

void store_close(struct store *store, void (*closed)(void *context), void *context)
{
    assert(!store->closing);
    store->closing = true;
    store->closed = closed;
    store->closed_context = context;
    store->backend->close(store);
}

void store_read(struct store *store, struct store_read *read)
{
    read->items = NULL;
    read->count = 0;
    read->more = false;
    read->revision = 0;
    read->err = (struct err){0};
    if (begin(store, &read->call, STORE_CALL_READ, check_read(read, &read->err), &read->err))
        store->backend->read(store, read);
}

void store_commit(struct store *store, struct store_commit *commit)
{
    commit->revision = 0;
    commit->conflict = 0;
    commit->conflict_revision = 0;
    commit->err = (struct err){0};
    if (begin(store, &commit->call, STORE_CALL_COMMIT, check_commit(commit, &commit->err), &commit->err))
        store->backend->commit(store, commit);
}

static void call_lease(struct store *store, struct store_lease *lease, enum store_call_kind kind)
{
    lease->valid_until_ns = 0;
    lease->err = (struct err){0};
    if (begin(store, &lease->call, kind, check_lease(lease, kind, &lease->err), &lease->err))
        store->backend->lease(store, lease, kind);
}

void store_lease_grant(struct store *store, struct store_lease *lease)
{
    call_lease(store, lease, STORE_CALL_GRANT);
}

void store_lease_keep(struct store *store, struct store_lease *lease)
{
    call_lease(store, lease, STORE_CALL_KEEP);
}

void store_lease_revoke(struct store *store, struct store_lease *lease)
{
    call_lease(store, lease, STORE_CALL_REVOKE);
}

int store_watch(struct store *store, struct store_watch *watch, struct err *err)
{
    watch->slot = NULL;
    int rc = check_key(watch->prefix, true, err);
    if (rc)
        return rc;
    if (watch->after < 0)
        return err_set(err, EINVAL, "a watch from the revision %lld", (long long)watch->after);
    if (store->closing)
        return err_set(err, ECANCELED, "the store is being closed");
    if (store->watches >= STORE_WATCHES_MAX)
        return err_set(err, EAGAIN, "the store has %d watches already, which is the most", STORE_WATCHES_MAX);
    rc = store->backend->watch(store, watch, err);
    if (!rc)
        store->watches++;
    return rc;
}

void store_unwatch(struct store *store, struct store_watch *watch)
{
    if (!watch->slot)
        return;
    store->backend->unwatch(store, watch);
    watch->slot = NULL;
    store->watches--;
}

bool store_has_prefix(const char *key, const char *prefix)
{
    return !strncmp(key, prefix, strlen(prefix));
}

enum store_outcome store_outcome(int result)
{
    switch (result) {
    case 0:
        return STORE_DONE;
    case -EHOSTUNREACH:
        return STORE_UNREACHED;
    case -ETIMEDOUT:
    case -EIO:
    case -ECANCELED:
        return STORE_UNKNOWN;
    default:
        return STORE_REFUSED;
    }
}
