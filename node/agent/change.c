#include "node/agent/change.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/cluster.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/store.h"

struct change {
    struct cluster *cluster;
    struct store_change changes[STORE_CHANGES_MAX];
    struct store_commit commit;
    struct cluster_waiter waiter;
    change_done *done;
    void *context;
    int rc;
    uint32_t first_claim, claims; /* of the changes */
    bool broken;                  /* too many, or out of memory: refused as a whole */
};

struct change *change_new(struct cluster *cluster)
{
    struct change *c = calloc(1, sizeof *c);
    if (c)
        c->cluster = cluster;
    return c;
}

void change_drop(struct change *c)
{
    if (!c)
        return;
    for (uint32_t i = 0; i < c->commit.count; i++) {
        free((char *)(uintptr_t)c->changes[i].key);
        free((char *)(uintptr_t)c->changes[i].value);
    }
    free(c);
}

/* value: NULL deletes. Both are taken over. */
static void add(struct change *c, char *key, char *value, int64_t expected, int64_t lease)
{
    if (!key || c->commit.count == STORE_CHANGES_MAX) {
        free(key);
        free(value);
        c->broken = true;
        return;
    }
    c->changes[c->commit.count++] = (struct store_change){
        .kind = value ? STORE_PUT : STORE_DELETE,
        .key = key,
        .value = value,
        .value_len = value ? strlen(value) : 0,
        .expected = expected,
        .lease = lease,
    };
}

__attribute__((format(printf, 1, 2))) static char *key_of(const char *format, ...)
{
    va_list args;
    char *key = NULL;
    va_start(args, format);
    if (vasprintf(&key, format, args) < 0)
        key = NULL;
    va_end(args);
    return key;
}

static char *text_of(struct change *c, json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT);
    json_decref(value);
    if (!text)
        c->broken = true;
    return text;
}

void change_put(struct change *c, enum object_kind kind, const char *id, json_t *value, uint64_t expect)
{
    char *key = key_of("/drover/%s/%s", object_kind_name(kind), id); /* the id may be the value's own */
    add(c, key, text_of(c, value), (int64_t)expect, 0);
}

void change_delete(struct change *c, enum object_kind kind, const char *id, uint64_t expect)
{
    add(c, key_of("/drover/%s/%s", object_kind_name(kind), id), NULL, (int64_t)expect, 0);
}

void change_check(struct change *c, enum object_kind kind, const char *id, uint64_t expect)
{
    add(c, key_of("/drover/%s/%s", object_kind_name(kind), id), NULL, (int64_t)expect, 0);
    if (!c->broken)
        c->changes[c->commit.count - 1].kind = STORE_CHECK;
}

static void put_state(struct change *c, enum object_kind kind, const char *id, json_t *state, int64_t expect,
                      int64_t lease)
{
    add(c, key_of("/drover/state/%s/%s", object_kind_name(kind), id), text_of(c, state), expect, lease);
}

void change_put_state_leased(struct change *c, enum object_kind kind, const char *id, json_t *state, int64_t expect,
                             int64_t lease)
{
    put_state(c, kind, id, state, expect, lease);
}

void change_put_state(struct change *c, enum object_kind kind, const char *id, json_t *state, int64_t expect)
{
    put_state(c, kind, id, state, expect, 0);
}

void change_claim(struct change *c, enum object_kind kind, const char *id, json_t *state, int64_t expect)
{
    c->first_claim = c->claims++ ? c->first_claim : c->commit.count;
    put_state(c, kind, id, state, expect, 0);
}

void change_check_no_state(struct change *c, enum object_kind kind, const char *id)
{
    add(c, key_of("/drover/state/%s/%s", object_kind_name(kind), id), NULL, STORE_ABSENT, 0);
    if (!c->broken)
        c->changes[c->commit.count - 1].kind = STORE_CHECK;
}

void change_check_state(struct change *c, enum object_kind kind, const char *id, uint64_t expect)
{
    add(c, key_of("/drover/state/%s/%s", object_kind_name(kind), id), NULL, (int64_t)expect, 0);
    if (!c->broken)
        c->changes[c->commit.count - 1].kind = STORE_CHECK;
}

void change_delete_state(struct change *c, enum object_kind kind, const char *id)
{
    add(c, key_of("/drover/state/%s/%s", object_kind_name(kind), id), NULL, STORE_ANY, 0);
}

void change_delete_state_seen(struct change *c, enum object_kind kind, const char *id, uint64_t expect)
{
    add(c, key_of("/drover/state/%s/%s", object_kind_name(kind), id), NULL, (int64_t)expect, 0);
}

void change_take_name(struct change *c, enum object_kind kind, const char *name, const char *id)
{
    add(c, key_of("/drover/name/%s/%s", object_kind_name(kind), name), strdup(id), STORE_ABSENT, 0);
}

void change_free_name(struct change *c, enum object_kind kind, const char *name)
{
    add(c, key_of("/drover/name/%s/%s", object_kind_name(kind), name), NULL, STORE_ANY, 0);
}

/* ---- committing ---- */

static void finish(struct change *c, int rc)
{
    c->done(c->context, rc, (uint64_t)c->commit.revision, &c->commit.err);
    change_drop(c);
}

static void seen(struct cluster_waiter *waiter)
{
    struct change *c = CONTAINER_OF(waiter, struct change, waiter);
    finish(c, c->rc);
}

static void refused(struct change *c, int result)
{
    const struct store_commit *commit = &c->commit;
    bool second = result == -ESTALE && commit->conflict - c->first_claim < c->claims;
    c->rc = second ? -EAGAIN : result;
    if (second && !cluster_shows(c->cluster, commit->conflict_revision))
        cluster_wait(c->cluster, &c->waiter, commit->conflict_revision);
    else
        finish(c, c->rc);
}

static void committed(struct store_commit *commit, int result)
{
    struct change *c = CONTAINER_OF(commit, struct change, commit);
    c->waiter.seen = seen;
    switch (store_outcome(result)) {
    case STORE_DONE:
        cluster_wait(c->cluster, &c->waiter, commit->revision);
        break;
    case STORE_UNREACHED:
        finish(c, -EHOSTUNREACH);
        break;
    case STORE_UNKNOWN:
        finish(c, -ETIMEDOUT);
        break;
    default:
        refused(c, result);
        break;
    }
}

static void refuse(struct cluster_waiter *waiter)
{
    struct change *c = CONTAINER_OF(waiter, struct change, waiter);
    finish(c, err_set(&c->commit.err, ENOMEM, "out of memory"));
}

void change_commit(struct change *c, change_done *done, void *context)
{
    c->done = done;
    c->context = context;
    if (c->broken) {
        c->waiter.seen = refuse;
        cluster_wait(c->cluster, &c->waiter, 0);
        return;
    }
    c->commit.changes = c->changes;
    c->commit.done = committed;
    store_commit(cluster_store(c->cluster), &c->commit);
}
