/* See store_copy.h.
 *
 *     read a page -> commit a batch of it (every key: absent so far) -> ... -> next page -> done
 *                        |  ^ conflict: look what the target has there, and behind it
 *                        v  | the same values: go on without those keys; another: -EEXIST
 *
 * A commit with an unknown outcome is simply made again: what it did is then found as the same value. */
#include "node/base/store_copy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "node/base/arena.h"
#include "node/base/container.h"

enum { PAGE = 200, PAGE_BYTES_MAX = 64 << 20, FAILURES_MAX = 10 };

static void commit_batch(struct store_copy *c);
static void looked(struct store_read *look, int result);

static void end_copy(struct store_copy *c, int result)
{
    arena_free(c->arena);
    c->arena = NULL;
    c->done(c, result);
}

static int no_memory(struct store_copy *c)
{
    return err_set(&c->err, ENOMEM, "no memory to copy a page of the store");
}

static void read_page(struct store_copy *c)
{
    c->read.key = c->prefix;
    c->read.prefix = true;
    c->read.after = *c->last ? c->last : NULL;
    c->read.limit = PAGE;
    store_read(c->from, &c->read);
}

/* Whether a call that failed is to be made again. */
static bool again(struct store_copy *c, int result, const struct err *err)
{
    enum store_outcome outcome = store_outcome(result);
    c->err = *err;
    return (outcome == STORE_UNREACHED || outcome == STORE_UNKNOWN) && result != -ECANCELED &&
           ++c->failures < FAILURES_MAX;
}

static int keep_page(struct store_copy *c, const struct store_read *read)
{
    arena_free(c->arena);
    c->arena = arena_new(PAGE_BYTES_MAX);
    c->items = c->arena ? arena_alloc(c->arena, (read->count + 1) * sizeof *c->items) : NULL;
    c->count = c->at = 0;
    if (!c->items)
        return no_memory(c);
    for (uint32_t i = 0; i < read->count; i++) {
        struct store_item item = read->items[i];
        snprintf(c->last, sizeof c->last, "%s", item.key);
        if (item.lease) {
            c->leased++;
            continue;
        }
        item.key = arena_string(c->arena, item.key);
        item.value = arena_copy(c->arena, item.value, item.value_len);
        if (!item.key || !item.value)
            return no_memory(c);
        c->items[c->count++] = item;
    }
    return 0;
}

static void page_read(struct store_read *read, int result)
{
    struct store_copy *c = CONTAINER_OF(read, struct store_copy, read);
    if (result) {
        if (again(c, result, &read->err))
            read_page(c);
        else
            end_copy(c, err_prefix(&c->err, "reading the old store"));
        return;
    }
    c->failures = 0;
    int rc = keep_page(c, read);
    if (rc)
        end_copy(c, rc);
    else
        commit_batch(c);
}

static void commit_batch(struct store_copy *c)
{
    size_t bytes = 0;
    for (c->batch = 0; c->at + c->batch < c->count && c->batch < STORE_CHANGES_MAX; c->batch++) {
        const struct store_item *i = &c->items[c->at + c->batch];
        bytes += strlen(i->key) + i->value_len;
        if (bytes > STORE_COMMIT_MAX)
            break;
        c->changes[c->batch] = (struct store_change){
            .kind = STORE_PUT, .key = i->key, .value = i->value, .value_len = i->value_len, .expected = STORE_ABSENT};
    }
    if (c->batch) {
        c->commit.changes = c->changes;
        c->commit.count = c->batch;
        store_commit(c->to, &c->commit);
    } else if (c->read.more) {
        read_page(c);
    } else {
        c->err = (struct err){0};
        end_copy(c, 0);
    }
}

static void batch_committed(struct store_commit *commit, int result)
{
    struct store_copy *c = CONTAINER_OF(commit, struct store_copy, commit);
    if (!result) {
        c->failures = 0;
        c->copied += c->batch;
        c->at += c->batch;
        commit_batch(c);
    } else if (result == -ESTALE) {
        c->look = (struct store_read){.key = c->changes[commit->conflict].key, .done = looked};
        store_read(c->to, &c->look);
    } else if (again(c, result, &commit->err)) {
        commit_batch(c);
    } else {
        end_copy(c, err_prefix(&c->err, "writing the new store"));
    }
}

/* Takes out of the page what the target has too; the answer and the page are both sorted. false: it differs. */
static bool drop_present(struct store_copy *c, const struct store_read *look)
{
    uint32_t kept = c->at, there = 0;
    for (uint32_t i = c->at; i < c->count; i++) {
        const struct store_item *mine = &c->items[i];
        while (there < look->count && strcmp(look->items[there].key, mine->key) < 0)
            there++;
        const struct store_item *t = there < look->count ? &look->items[there] : NULL;
        if (!t || strcmp(t->key, mine->key) != 0) {
            c->items[kept++] = *mine;
        } else if (t->value_len != mine->value_len || memcmp(t->value, mine->value, mine->value_len) != 0) {
            err_set(&c->err, EEXIST, "the new store already has '%s' with another value: use an empty one", mine->key);
            return false;
        } else {
            c->present++;
        }
    }
    c->count = kept;
    return true;
}

/* What the target has at the key that was not absent; then what it has behind that. */
static void looked(struct store_read *look, int result)
{
    struct store_copy *c = CONTAINER_OF(look, struct store_copy, look);
    if (result) {
        if (again(c, result, &look->err))
            commit_batch(c);
        else
            end_copy(c, err_prefix(&c->err, "reading the new store"));
    } else if (!drop_present(c, look)) {
        end_copy(c, -EEXIST);
    } else if (!look->prefix) {
        *look =
            (struct store_read){.key = c->prefix, .prefix = true, .after = look->key, .limit = PAGE, .done = looked};
        store_read(c->to, look);
    } else {
        commit_batch(c);
    }
}

void store_copy_start(struct store_copy *c)
{
    c->copied = c->present = c->leased = 0;
    c->failures = 0;
    c->arena = NULL;
    c->last[0] = 0;
    c->err = (struct err){0};
    c->read = (struct store_read){.done = page_read};
    c->commit = (struct store_commit){.done = batch_committed};
    read_page(c);
}
