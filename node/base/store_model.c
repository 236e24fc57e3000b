/* See store_model.h. Items are a sorted array of pointers; history is an array of events in order, whose values it
 * shares with the items by counting references. */
#include "node/base/store_model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/arena.h"

enum { ANSWER_MAX = 64 << 20, FIRST = 64 };

struct blob {
    uint32_t references;
    size_t len;
    char bytes[];
};

struct model_item {
    char *key;
    struct blob *value; /* NULL in the history: deleted */
    int64_t revision, lease;
};

struct model_items {
    struct model_item *at;
    uint32_t count, size;
};

struct store_model {
    struct model_items items;   /* by key */
    struct model_items history; /* by revision */
    int64_t *leases;
    uint32_t lease_count;
    int64_t revision, compacted, next_lease;
};

/* ---- items ---- */

static int no_memory(struct err *err)
{
    return err_set(err, ENOMEM, "no memory for the store");
}

static struct blob *new_blob(const void *bytes, size_t len)
{
    struct blob *b = malloc(sizeof *b + len + 1);
    if (!b)
        return NULL;
    b->references = 1;
    b->len = len;
    if (len)
        memcpy(b->bytes, bytes, len);
    b->bytes[len] = 0;
    return b;
}

static void drop_blob(struct blob *b)
{
    if (b && !--b->references)
        free(b);
}

static void drop_item(struct model_item *i)
{
    free(i->key);
    drop_blob(i->value);
}

/* Room for so many more. */
static bool reserve(struct model_items *items, uint32_t more)
{
    if (items->count + more <= items->size)
        return true;
    uint32_t size = 2 * (items->count + more) + FIRST;
    struct model_item *at = realloc(items->at, size * sizeof *at);
    if (!at)
        return false;
    items->at = at;
    items->size = size;
    return true;
}

/* The place of the first item whose key is not below this one. */
static uint32_t lower_bound(const struct store_model *m, const char *key)
{
    uint32_t low = 0, high = m->items.count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (strcmp(m->items.at[middle].key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct model_item *find(const struct store_model *m, const char *key)
{
    uint32_t at = lower_bound(m, key);
    return at < m->items.count && !strcmp(m->items.at[at].key, key) ? &m->items.at[at] : NULL;
}

struct store_model *store_model_new(void)
{
    struct store_model *m = calloc(1, sizeof *m);
    if (m)
        m->revision = m->compacted = m->next_lease = 1;
    return m;
}

void store_model_free(struct store_model *m)
{
    if (!m)
        return;
    for (uint32_t i = 0; i < m->items.count; i++)
        drop_item(&m->items.at[i]);
    for (uint32_t i = 0; i < m->history.count; i++)
        drop_item(&m->history.at[i]);
    free(m->items.at);
    free(m->history.at);
    free(m->leases);
    free(m);
}

int64_t store_model_revision(const struct store_model *m)
{
    return m->revision;
}

/* ---- reading ---- */

static bool copy_item(struct arena *arena, const struct model_item *from, struct store_item *to)
{
    *to = (struct store_item){.key = arena_string(arena, from->key),
                              .value = arena_copy(arena, from->value->bytes, from->value->len),
                              .value_len = from->value->len,
                              .revision = from->revision,
                              .lease = from->lease};
    return to->key && to->value;
}

static bool in_range(const struct store_read *read, const char *key)
{
    return read->prefix ? store_has_prefix(key, read->key) : !strcmp(key, read->key);
}

int store_model_read(struct store_model *m, const struct store_read *read, struct store_answer *answer)
{
    enum { BYTES_MAX = 8 << 20 };
    uint32_t limit = store_read_limit(read);
    uint32_t at = lower_bound(m, read->key);
    if (read->prefix && read->after && strcmp(read->after, read->key) >= 0) {
        at = lower_bound(m, read->after);
        at += at < m->items.count && !strcmp(m->items.at[at].key, read->after);
    }
    answer->arena = arena_new(ANSWER_MAX);
    answer->items = answer->arena ? arena_alloc(answer->arena, limit * sizeof *answer->items) : NULL;
    if (!answer->items)
        return no_memory(&answer->err);
    size_t bytes = 0;
    for (; at < m->items.count && in_range(read, m->items.at[at].key); at++) {
        if (answer->count == limit || bytes > BYTES_MAX) {
            answer->more = true;
            break;
        }
        if (!copy_item(answer->arena, &m->items.at[at], &answer->items[answer->count++]))
            return no_memory(&answer->err);
        bytes += m->items.at[at].value->len;
    }
    answer->revision = m->revision;
    return 0;
}

int store_model_history(struct store_model *m, const char *prefix, int64_t after, int64_t until,
                        struct store_answer *answer)
{
    if (after > m->revision || after < m->compacted)
        return err_set(&answer->err, ESTALE, "the history of the store is from %lld to %lld; %lld is asked for",
                       (long long)m->compacted, (long long)m->revision, (long long)after);
    answer->arena = arena_new(SIZE_MAX);
    answer->events = answer->arena ? arena_alloc(answer->arena, (m->history.count + 1) * sizeof *answer->events) : NULL;
    if (!answer->events)
        return no_memory(&answer->err);
    for (uint32_t i = 0; i < m->history.count; i++) {
        const struct model_item *h = &m->history.at[i];
        if (h->revision <= after || h->revision > until || !store_has_prefix(h->key, prefix))
            continue;
        struct store_event *e = &answer->events[answer->count++];
        *e = (struct store_event){
            .key = arena_string(answer->arena, h->key), .revision = h->revision, .lease = h->lease};
        if (h->value) {
            e->value = arena_copy(answer->arena, h->value->bytes, h->value->len);
            e->value_len = h->value->len;
        }
        if (!e->key || (h->value && !e->value))
            return no_memory(&answer->err);
    }
    answer->revision = until;
    return 0;
}

void store_model_compact(struct store_model *m, int64_t revision)
{
    if (revision > m->revision)
        revision = m->revision;
    if (revision <= m->compacted)
        return;
    uint32_t gone = 0;
    while (gone < m->history.count && m->history.at[gone].revision <= revision)
        drop_item(&m->history.at[gone++]);
    m->history.count -= gone;
    if (m->history.count)
        memmove(m->history.at, m->history.at + gone, m->history.count * sizeof *m->history.at);
    m->compacted = revision;
}

/* ---- changing ---- */

/* Everything that may fail, before anything changes. */
static int check(struct store_model *m, const struct store_change *changes, uint32_t count, struct store_answer *answer)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct store_change *c = &changes[i];
        const struct model_item *item = find(m, c->key);
        int64_t now = item ? item->revision : 0;
        if (c->expected != STORE_ANY && c->expected != now) {
            answer->conflict = i;
            answer->conflict_revision = now;
            return err_set(&answer->err, ESTALE, "'%s' is at the revision %lld, not %lld as expected", c->key,
                           (long long)now, (long long)c->expected);
        }
    }
    for (uint32_t i = 0; i < count; i++)
        if (changes[i].kind == STORE_PUT && changes[i].lease && !store_model_has_lease(m, changes[i].lease))
            return err_set(&answer->err, ENOENT, "the lease %lld is gone", (long long)changes[i].lease);
    return reserve(&m->items, count) && reserve(&m->history, count) ? 0 : no_memory(&answer->err);
}

static void remove_at(struct store_model *m, uint32_t at)
{
    drop_item(&m->items.at[at]);
    m->items.count--;
    memmove(&m->items.at[at], &m->items.at[at + 1], (m->items.count - at) * sizeof *m->items.at);
}

/* Takes over what the new item holds. */
static void set_item(struct store_model *m, struct model_item new)
{
    struct model_item *old = find(m, new.key);
    if (old) {
        drop_item(old);
        *old = new;
        return;
    }
    uint32_t at = lower_bound(m, new.key);
    memmove(&m->items.at[at + 1], &m->items.at[at], (m->items.count - at) * sizeof *m->items.at);
    m->items.at[at] = new;
    m->items.count++;
}

/* One change that was checked; false: no memory, nothing changed. */
static bool apply(struct store_model *m, const struct store_change *c, int64_t revision)
{
    struct model_item past = {.key = strdup(c->key), .revision = revision};
    if (!past.key)
        return false;
    if (c->kind == STORE_PUT) {
        struct model_item now = {.key = strdup(c->key), .revision = revision, .lease = c->lease};
        now.value = new_blob(c->value, c->value_len);
        if (!now.key || !now.value) {
            drop_item(&now);
            drop_item(&past);
            return false;
        }
        past.value = now.value;
        past.lease = c->lease;
        now.value->references++;
        set_item(m, now);
    } else {
        remove_at(m, lower_bound(m, c->key));
    }
    m->history.at[m->history.count++] = past;
    return true;
}

int store_model_commit(struct store_model *m, const struct store_change *changes, uint32_t count,
                       struct store_answer *answer)
{
    int rc = check(m, changes, count, answer);
    if (rc)
        return rc;
    bool changed = false;
    for (uint32_t i = 0; i < count; i++) {
        if (changes[i].kind == STORE_CHECK || (changes[i].kind == STORE_DELETE && !find(m, changes[i].key)))
            continue;
        if (!apply(m, &changes[i], m->revision + 1))
            abort(); /* Rule Zero: half a commit must not be seen, and a model is for simulations and tests */
        changed = true;
    }
    m->revision += changed;
    answer->revision = m->revision;
    return 0;
}

/* ---- leases ---- */

bool store_model_has_lease(const struct store_model *m, int64_t id)
{
    for (uint32_t i = 0; i < m->lease_count; i++)
        if (m->leases[i] == id)
            return true;
    return false;
}

int store_model_grant(struct store_model *m, int64_t *id, struct store_answer *answer)
{
    int64_t *leases = NULL;
    if (m->lease_count == STORE_LEASES_MAX)
        return err_set(&answer->err, ENOSPC, "the store has %d leases, which is the most", STORE_LEASES_MAX);
    leases = realloc(m->leases, (m->lease_count + 1) * sizeof *leases);
    if (!leases)
        return no_memory(&answer->err);
    m->leases = leases;
    leases[m->lease_count++] = *id = m->next_lease++;
    return 0;
}

int store_model_revoke(struct store_model *m, int64_t id, struct store_answer *answer)
{
    if (!store_model_has_lease(m, id))
        return err_set(&answer->err, ENOENT, "the lease %lld is gone", (long long)id);
    if (!reserve(&m->history, m->items.count))
        return no_memory(&answer->err);
    bool changed = false;
    for (uint32_t i = 0; i < m->items.count;) {
        struct store_change c = {.kind = STORE_DELETE, .key = m->items.at[i].key};
        if (m->items.at[i].lease != id) {
            i++;
            continue;
        }
        if (!apply(m, &c, m->revision + 1))
            abort(); /* Rule Zero: as above */
        changed = true;
    }
    for (uint32_t i = 0; i < m->lease_count; i++)
        if (m->leases[i] == id)
            m->leases[i--] = m->leases[--m->lease_count];
    m->revision += changed;
    answer->revision = m->revision;
    return 0;
}
