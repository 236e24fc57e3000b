#include "tests/unit/store_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/base/container.h"
#include "node/base/loop.h"
#include "node/base/store_sim.h"

const struct store_world_kind *store_world_kind;

void store_world_directory(char *path, size_t size)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(path, size, "%s/drover-store-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(path));
}

void store_world_remove(const char *path)
{
    char command[600];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    assert_int_equal(system(command), 0);
}

int store_world_setup(void **state)
{
    struct store_world *w = calloc(1, sizeof *w);
    store_world_directory(w->path, sizeof w->path);
    store_world_kind->start(w);
    w->store = store_world_kind->open(w);
    *state = w;
    return 0;
}

static void note_closed(void *context)
{
    *(bool *)context = true;
}

void store_world_close(struct store_world *w)
{
    bool closed = false;
    if (!w->store)
        return;
    store_close(w->store, note_closed, &closed);
    assert_false(closed);
    while (!closed)
        store_world_turn(w);
    w->store = NULL;
}

int store_world_teardown(void **state)
{
    struct store_world *w = *state;
    store_world_close(w);
    store_world_kind->stop(w);
    store_world_remove(w->path);
    free(w);
    return 0;
}

void store_world_turn(struct store_world *w)
{
    store_world_kind->turn(w);
}

/* ---- sqlite ---- */

static void sqlite_start(struct store_world *w)
{
    struct err err = {0};
    w->loop = loop_new(&err);
    if (!w->loop)
        fail_msg("%s", err.text);
}

static void sqlite_stop(struct store_world *w)
{
    assert_int_equal(loop_in_flight(w->loop), 0);
    loop_free(w->loop);
}

static void sqlite_turn(struct store_world *w)
{
    loop_step(w->loop);
}

static struct store *sqlite_open_world(struct store_world *w)
{
    char uri[600];
    struct err err = {0};
    snprintf(uri, sizeof uri, "sqlite:%s/store.db", w->path);
    struct store *s = store_open(uri, w->loop, NULL, &err);
    if (!s)
        fail_msg("%s", err.text);
    return s;
}

static void sqlite_compact(struct store_world *w, int64_t revision)
{
    (void)revision;
    int64_t now;
    for (int i = 0; i < 1300; i++) /* it keeps the last thousand */
        assert_int_equal(world_put(w, "compact", "x", STORE_ANY, &now), 0);
}

const struct store_world_kind store_world_sqlite = {"sqlite",    sqlite_start,      sqlite_stop,
                                                    sqlite_turn, sqlite_open_world, sqlite_compact};

/* ---- simulated ---- */

static void sim_start(struct store_world *w)
{
    const struct store_sim_options options = {
        .seed = 1, .delay_min_us = 100, .delay_max_us = 5000, .lease_late_ms = 500};
    w->sim = store_sim_new(&options, 1000000000);
    assert_non_null(w->sim);
}

static void sim_stop(struct store_world *w)
{
    store_sim_free(w->sim);
}

static void sim_turn(struct store_world *w)
{
    uint64_t next = store_sim_next_ns(w->sim);
    assert_true(next < UINT64_MAX); /* otherwise nothing would ever happen any more */
    store_sim_run(w->sim, next);
}

static struct store *sim_open_world(struct store_world *w)
{
    struct err err = {0};
    const struct store_options options = {.sim = w->sim};
    struct store *s = store_open("sim:", NULL, &options, &err);
    if (!s)
        fail_msg("%s", err.text);
    return s;
}

static void sim_compact(struct store_world *w, int64_t revision)
{
    store_sim_compact(w->sim, revision);
}

const struct store_world_kind store_world_sim = {"sim", sim_start, sim_stop, sim_turn, sim_open_world, sim_compact};

/* ---- one request ---- */

struct commit_wait {
    struct store_commit commit;
    bool done;
    int result;
};

static void commit_done(struct store_commit *commit, int result)
{
    struct commit_wait *c = CONTAINER_OF(commit, struct commit_wait, commit);
    assert_false(c->done);
    c->done = true;
    c->result = result;
    assert_int_equal(result != 0, commit->err.text[0] != 0);
}

int world_commit(struct store_world *w, struct store_commit *commit)
{
    struct commit_wait c = {.commit = *commit};
    c.commit.done = commit_done;
    store_commit(w->store, &c.commit);
    assert_false(c.done);
    while (!c.done)
        store_world_turn(w);
    *commit = c.commit;
    return c.result;
}

static int commit_one(struct store_world *w, struct store_change change, int64_t *revision)
{
    struct store_commit c = {.changes = &change, .count = 1};
    int rc = world_commit(w, &c);
    if (revision)
        *revision = c.revision;
    return rc;
}

int world_put(struct store_world *w, const char *key, const char *value, int64_t expected, int64_t *revision)
{
    return commit_one(w, (struct store_change){STORE_PUT, key, value, strlen(value), expected, 0}, revision);
}

int world_delete(struct store_world *w, const char *key, int64_t expected, int64_t *revision)
{
    return commit_one(w, (struct store_change){.kind = STORE_DELETE, .key = key, .expected = expected}, revision);
}

struct read_wait {
    struct store_read read;
    bool done;
    int64_t revision;
    char text[70000];
};

static void get_done(struct store_read *read, int result)
{
    struct read_wait *r = CONTAINER_OF(read, struct read_wait, read);
    assert_false(r->done);
    r->done = true;
    if (result)
        fail_msg("read %s: %s", read->key, read->err.text);
    assert_true(read->count <= 1);
    r->revision = read->count ? read->items[0].revision : 0;
    if (read->count)
        assert_string_equal(read->items[0].key, read->key);
    snprintf(r->text, sizeof r->text, "%s", read->count ? (const char *)read->items[0].value : "(absent)");
}

const char *world_get(struct store_world *w, const char *key, int64_t *revision)
{
    static struct read_wait r;
    r = (struct read_wait){.read = {.key = key, .done = get_done}};
    store_read(w->store, &r.read);
    assert_false(r.done);
    while (!r.done)
        store_world_turn(w);
    if (revision)
        *revision = r.revision;
    return r.text;
}

static void list_done(struct store_read *read, int result)
{
    struct read_wait *r = CONTAINER_OF(read, struct read_wait, read);
    assert_false(r->done);
    r->done = true;
    if (result)
        fail_msg("read %s: %s", read->key, read->err.text);
    size_t len = 0;
    for (uint32_t i = 0; i < read->count; i++)
        len += (size_t)snprintf(r->text + len, sizeof r->text - len, "%s%s", i ? " " : "", read->items[i].key);
    assert_true(len < sizeof r->text);
}

const char *world_list(struct store_world *w, const char *prefix, const char *after, uint32_t limit, bool *more)
{
    static struct read_wait r;
    r = (struct read_wait){.read = {.key = prefix, .prefix = true, .after = after, .limit = limit, .done = list_done}};
    store_read(w->store, &r.read);
    assert_false(r.done);
    while (!r.done)
        store_world_turn(w);
    if (more)
        *more = r.read.more;
    return r.text;
}

int64_t world_revision(struct store_world *w)
{
    struct read_wait r = {.read = {.key = "nobody has this key", .done = get_done}};
    store_read(w->store, &r.read);
    while (!r.done)
        store_world_turn(w);
    return r.read.revision;
}

struct clear_wait {
    struct store_read read;
    struct store_world *world;
    char (*keys)[STORE_KEY_MAX + 1];
    uint32_t count;
    bool done;
};

static void clear_listed(struct store_read *read, int result)
{
    struct clear_wait *c = CONTAINER_OF(read, struct clear_wait, read);
    if (result)
        fail_msg("%s", read->err.text);
    c->done = true;
    c->count = read->count;
    for (uint32_t i = 0; i < read->count; i++)
        snprintf(c->keys[i], sizeof c->keys[i], "%s", read->items[i].key);
}

void world_clear(struct store_world *w)
{
    struct clear_wait c = {.world = w, .read = {.key = "", .prefix = true, .done = clear_listed}};
    c.keys = calloc(STORE_PAGE_MAX, sizeof *c.keys);
    do {
        c.done = false;
        store_read(w->store, &c.read);
        while (!c.done)
            store_world_turn(w);
        for (uint32_t i = 0; i < c.count; i++)
            assert_int_equal(world_delete(w, c.keys[i], STORE_ANY, NULL), 0);
    } while (c.count);
    free(c.keys);
}

struct lease_wait {
    struct store_lease lease;
    bool done;
    int result;
};

static void lease_done(struct store_lease *lease, int result)
{
    struct lease_wait *l = CONTAINER_OF(lease, struct lease_wait, lease);
    assert_false(l->done);
    l->done = true;
    l->result = result;
    assert_int_equal(result != 0, lease->err.text[0] != 0);
}

static int call_lease(struct store_world *w, void (*call)(struct store *store, struct store_lease *lease),
                      uint32_t ttl_ms, int64_t *id)
{
    struct lease_wait l = {.lease = {.id = *id, .ttl_ms = ttl_ms, .done = lease_done}};
    call(w->store, &l.lease);
    assert_false(l.done);
    while (!l.done)
        store_world_turn(w);
    *id = l.lease.id;
    if (!l.result && call == store_lease_grant)
        assert_true(l.lease.ttl_ms >= ttl_ms);
    if (!l.result && call != store_lease_revoke)
        assert_true(l.lease.valid_until_ns > 0);
    return l.result;
}

int world_grant(struct store_world *w, uint32_t ttl_ms, int64_t *id)
{
    *id = 0;
    return call_lease(w, store_lease_grant, ttl_ms, id);
}

int world_keep(struct store_world *w, int64_t id)
{
    return call_lease(w, store_lease_keep, 0, &id);
}

int world_revoke(struct store_world *w, int64_t id)
{
    return call_lease(w, store_lease_revoke, 0, &id);
}

/* ---- watching ---- */

static void seen(struct store_watch *watch, const struct store_event *events, uint32_t count, int64_t revision)
{
    struct world_watch *w = CONTAINER_OF(watch, struct world_watch, watch);
    assert_true(revision > w->revision);
    w->revision = revision;
    if (!count)
        return;
    assert_true(w->count < WORLD_SEEN_MAX);
    size_t len = 0, size = 1;
    for (uint32_t i = 0; i < count; i++)
        size += strlen(events[i].key) + events[i].value_len + 3;
    char *text = calloc(1, size);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(events[i].revision, revision);
        len += (size_t)snprintf(text + len, size - len, "%s%c%s", i ? " " : "", events[i].value ? '+' : '-',
                                events[i].key);
        if (events[i].value)
            len += (size_t)snprintf(text + len, size - len, "=%s", (const char *)events[i].value);
    }
    w->revisions[w->count] = revision;
    w->seen[w->count++] = text;
}

static void over(struct store_watch *watch, int result, const struct err *err)
{
    struct world_watch *w = CONTAINER_OF(watch, struct world_watch, watch);
    assert_false(w->ended);
    assert_true(result < 0 && err->text[0]);
    w->ended = true;
    w->result = result;
}

static void link_changed(struct store_watch *watch, bool up, const struct err *why)
{
    struct world_watch *w = CONTAINER_OF(watch, struct world_watch, watch);
    assert_true(up != w->up);
    assert_true(up || why->text[0]);
    w->up = up;
}

struct world_watch *world_watch(struct store_world *world, const char *prefix, int64_t after)
{
    struct world_watch *w = calloc(1, sizeof *w);
    w->world = world;
    w->revision = after;
    w->watch =
        (struct store_watch){.prefix = prefix, .after = after, .events = seen, .ended = over, .link = link_changed};
    struct err err = {0};
    if (store_watch(world->store, &w->watch, &err))
        fail_msg("watch: %s", err.text);
    return w;
}

void world_await(struct world_watch *w, uint32_t count)
{
    while (w->count < count && !w->ended)
        store_world_turn(w->world);
    assert_false(w->ended);
}

void world_await_up(struct world_watch *w)
{
    while (!w->up)
        store_world_turn(w->world);
}

void world_await_end(struct world_watch *w)
{
    while (!w->ended)
        store_world_turn(w->world);
}

void world_unwatch(struct world_watch *w)
{
    store_unwatch(w->world->store, &w->watch);
    for (uint32_t i = 0; i < w->count; i++)
        free(w->seen[i]);
    free(w);
}
