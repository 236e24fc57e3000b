/* The cluster store: what every back end has to do, run on each of them. */
#include "tests/unit/store_world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/container.h"

/* ---- keys and revisions ---- */

static void keeps_what_it_is_given(void **state)
{
    struct store_world *w = *state;
    int64_t first = world_revision(w), r1, r2, r3, r4, at;
    assert_true(first >= 1);
    assert_string_equal(world_get(w, "a", &at), "(absent)");
    assert_int_equal(world_put(w, "a", "one", STORE_ANY, &r1), 0);
    assert_int_equal(r1, first + 1);
    assert_string_equal(world_get(w, "a", &at), "one");
    assert_int_equal(at, r1);
    assert_int_equal(world_put(w, "a", "two", STORE_ANY, &r2), 0);
    assert_int_equal(r2, r1 + 1);
    assert_int_equal(world_put(w, "b", "", STORE_ANY, &r3), 0);
    assert_string_equal(world_get(w, "a", &at), "two");
    assert_int_equal(at, r2);
    assert_string_equal(world_get(w, "b", &at), "");
    assert_int_equal(at, r3);
    assert_int_equal(world_delete(w, "a", STORE_ANY, &r4), 0);
    assert_int_equal(r4, r3 + 1);
    assert_string_equal(world_get(w, "a", NULL), "(absent)");
    assert_int_equal(world_delete(w, "a", STORE_ANY, &at), 0); /* nothing to change */
    assert_int_equal(at, r4);
    assert_int_equal(world_revision(w), r4);
}

static void compares_before_it_changes(void **state)
{
    struct store_world *w = *state;
    int64_t r1, r2;
    assert_int_equal(world_put(w, "a", "one", STORE_ABSENT, &r1), 0);
    assert_int_equal(world_put(w, "a", "two", STORE_ABSENT, NULL), -ESTALE);
    assert_int_equal(world_put(w, "a", "two", r1 - 1, NULL), -ESTALE);
    assert_int_equal(world_put(w, "b", "two", r1, NULL), -ESTALE);
    assert_int_equal(world_delete(w, "a", r1 + 1, NULL), -ESTALE);
    assert_int_equal(world_delete(w, "b", r1, NULL), -ESTALE);
    assert_string_equal(world_get(w, "a", NULL), "one");
    assert_int_equal(world_revision(w), r1);
    assert_int_equal(world_put(w, "a", "two", r1, &r2), 0);
    assert_int_equal(world_delete(w, "a", r2, NULL), 0);
    assert_int_equal(world_put(w, "a", "three", STORE_ABSENT, NULL), 0);
}

static void commits_all_or_nothing(void **state)
{
    struct store_world *w = *state;
    int64_t a, b, at;
    world_put(w, "a", "1", STORE_ANY, &a);
    world_put(w, "b", "1", STORE_ANY, &b);
    struct store_change changes[] = {
        {STORE_PUT, "a", "2", 1, a, 0},
        {STORE_CHECK, "c", NULL, 0, STORE_ABSENT, 0},
        {STORE_PUT, "d", "2", 1, STORE_ABSENT, 0},
        {STORE_DELETE, "b", NULL, 0, b - 1, 0},
    };
    struct store_commit c = {.changes = changes, .count = 4};
    assert_int_equal(world_commit(w, &c), -ESTALE);
    assert_int_equal(c.conflict, 3);
    assert_int_equal(c.conflict_revision, b);
    assert_non_null(strstr(c.err.text, "'b'"));
    assert_string_equal(world_list(w, "", NULL, 0, NULL), "a b");
    assert_int_equal(world_revision(w), b);
    changes[3].expected = b;
    assert_int_equal(world_commit(w, &c), 0);
    assert_int_equal(c.revision, b + 1);
    assert_string_equal(world_list(w, "", NULL, 0, NULL), "a d");
    assert_string_equal(world_get(w, "a", &at), "2");
    assert_int_equal(at, c.revision);
    world_get(w, "d", &at);
    assert_int_equal(at, c.revision);

    changes[0].expected = c.revision; /* only checks: true, nothing changes; false, refused */
    changes[0].kind = STORE_CHECK;
    c = (struct store_commit){.changes = changes, .count = 2};
    assert_int_equal(world_commit(w, &c), 0);
    assert_int_equal(c.revision, b + 1);
    changes[1].expected = 1;
    assert_int_equal(world_commit(w, &c), -ESTALE);
    assert_int_equal(c.conflict, 1);
    assert_int_equal(c.conflict_revision, 0);
}

static void takes_as_many_changes_as_it_says(void **state)
{
    struct store_world *w = *state;
    struct store_change changes[STORE_CHANGES_MAX + 1];
    static char keys[STORE_CHANGES_MAX + 1][24];
    for (int i = 0; i <= STORE_CHANGES_MAX; i++) {
        snprintf(keys[i], sizeof keys[i], "many/%03d", i);
        changes[i] = (struct store_change){STORE_PUT, keys[i], keys[i], 8, STORE_ABSENT, 0};
    }
    struct store_commit c = {.changes = changes, .count = STORE_CHANGES_MAX + 1};
    assert_int_equal(world_commit(w, &c), -E2BIG);
    c = (struct store_commit){.changes = changes, .count = STORE_CHANGES_MAX};
    assert_int_equal(world_commit(w, &c), 0);
    assert_string_equal(world_get(w, "many/127", NULL), "many/127");
    c = (struct store_commit){.changes = changes + 1, .count = STORE_CHANGES_MAX};
    assert_int_equal(world_commit(w, &c), -ESTALE);
    assert_int_equal(c.conflict, 0);
    c = (struct store_commit){.changes = changes + 127, .count = 2};
    changes[127].expected = STORE_ANY;
    assert_int_equal(world_commit(w, &c), 0);
}

struct one_value {
    struct store_read read;
    bool done;
    const void *want;
    size_t want_len;
};

static void compare_value(struct store_read *read, int result)
{
    struct one_value *v = CONTAINER_OF(read, struct one_value, read);
    v->done = true;
    assert_int_equal(result, 0);
    assert_int_equal(read->count, 1);
    assert_int_equal(read->items[0].value_len, v->want_len);
    assert_memory_equal(read->items[0].value, v->want, v->want_len);
}

static void keeps_any_bytes_and_the_largest_value(void **state)
{
    struct store_world *w = *state;
    size_t len = STORE_COMMIT_MAX - 3;
    unsigned char *value = malloc(len + 1);
    for (size_t i = 0; i <= len; i++)
        value[i] = (unsigned char)(i * 7 + i / 256);
    struct store_change change = {STORE_PUT, "big", value, len, STORE_ABSENT, 0};
    struct store_commit c = {.changes = &change, .count = 1};
    assert_int_equal(world_commit(w, &c), 0);
    struct one_value v = {.read = {.key = "big", .done = compare_value}, .want = value, .want_len = len};
    store_read(w->store, &v.read);

    while (!v.done)
        store_world_turn(w);
    change.value_len = len + 1;
    change.expected = STORE_ANY;
    assert_int_equal(world_commit(w, &c), -E2BIG);
    free(value);
}

static int put_raw(struct store_world *w, struct store_change change)
{
    struct store_commit c = {.changes = &change, .count = 1};
    return world_commit(w, &c);
}

static void refuses_what_makes_no_sense(void **state)
{
    struct store_world *w = *state;
    char longest[STORE_KEY_MAX + 2];
    memset(longest, 'k', sizeof longest);
    longest[STORE_KEY_MAX + 1] = 0;
    int64_t before = world_revision(w);
    assert_int_equal(world_put(w, longest, "x", STORE_ANY, NULL), -ENAMETOOLONG);
    assert_int_equal(world_put(w, "", "x", STORE_ANY, NULL), -EINVAL);
    assert_int_equal(world_put(w, "a\nb", "x", STORE_ANY, NULL), -EINVAL);
    assert_int_equal(world_put(w, "\xc3\xa4", "x", STORE_ANY, NULL), -EINVAL);
    assert_int_equal(world_put(w, "a", "x", -2, NULL), -EINVAL);
    assert_int_equal(put_raw(w, (struct store_change){STORE_PUT, "a", NULL, 1, STORE_ANY, 0}), -EINVAL);
    assert_int_equal(put_raw(w, (struct store_change){STORE_CHECK, "a", NULL, 0, STORE_ANY, 0}), -EINVAL);
    assert_int_equal(put_raw(w, (struct store_change){STORE_PUT, "a", "x", 1, STORE_ANY, -1}), -EINVAL);
    struct store_change twice[] = {{STORE_PUT, "a", "x", 1, STORE_ANY, 0}, {STORE_DELETE, "a", NULL, 0, STORE_ANY, 0}};
    struct store_commit c = {.changes = twice, .count = 2};
    assert_int_equal(world_commit(w, &c), -EINVAL);
    c = (struct store_commit){.changes = twice, .count = 0};
    assert_int_equal(world_commit(w, &c), -EINVAL);
    assert_int_equal(world_revision(w), before);
    longest[STORE_KEY_MAX] = 0;
    assert_int_equal(world_put(w, longest, "x", STORE_ANY, NULL), 0);
    assert_string_equal(world_get(w, longest, NULL), "x");
}

/* ---- pages ---- */

static void lists_in_order_page_by_page(void **state)
{
    struct store_world *w = *state;
    static const char *const keys[] = {"g/b", "g/a", "g/a/x", "g/a-", "g", "g0", "f/z", "g/~", "g/ "};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_int_equal(world_put(w, keys[i], "v", STORE_ABSENT, NULL), 0);
    bool more;
    assert_string_equal(world_list(w, "g/", NULL, 0, &more), "g/  g/a g/a- g/a/x g/b g/~");
    assert_false(more);
    assert_string_equal(world_list(w, "g/", NULL, 2, &more), "g/  g/a");
    assert_true(more);
    assert_string_equal(world_list(w, "g/", "g/a", 2, &more), "g/a- g/a/x");
    assert_true(more);
    assert_string_equal(world_list(w, "g/", "g/a/x", 2, &more), "g/b g/~");
    assert_false(more);
    assert_string_equal(world_list(w, "g/", "g/~", 2, &more), "");
    assert_false(more);
    assert_string_equal(world_list(w, "g/", "a", 1, &more), "g/ ");    /* before the prefix */
    assert_string_equal(world_list(w, "g/", "h", 1, &more), "");       /* behind it */
    assert_string_equal(world_list(w, "g/", "g/aa", 1, &more), "g/b"); /* not there any more */
    assert_string_equal(world_list(w, "", NULL, 0, &more), "f/z g g/  g/a g/a- g/a/x g/b g/~ g0");
    assert_string_equal(world_list(w, "nothing", NULL, 0, &more), "");
}

struct big_page {
    struct store_read read;
    bool done;
    uint32_t count;
    char last[16];
};

static void page_done(struct store_read *read, int result)
{
    struct big_page *p = CONTAINER_OF(read, struct big_page, read);
    p->done = true;
    if (result)
        fail_msg("%s", read->err.text);
    assert_true(read->count > 0);
    p->count += read->count;
    snprintf(p->last, sizeof p->last, "%s", read->items[read->count - 1].key);
}

static void a_large_answer_comes_in_pages(void **state)
{
    struct store_world *w = *state;
    enum { COUNT = 20, SIZE = 1000000 };
    char *value = malloc(SIZE), key[16];
    memset(value, 'v', SIZE);
    for (int i = 0; i < COUNT; i++) {
        snprintf(key, sizeof key, "p/%02d", i);
        assert_int_equal(put_raw(w, (struct store_change){STORE_PUT, key, value, SIZE, STORE_ABSENT, 0}), 0);
    }
    free(value);
    struct big_page p = {.read = {.key = "p/", .prefix = true, .done = page_done}};
    int pages = 0;
    do {
        p.read.after = pages ? p.last : NULL;
        p.done = false;
        store_read(w->store, &p.read);
        while (!p.done)
            store_world_turn(w);
        pages++;
    } while (p.read.more);
    assert_int_equal(p.count, COUNT);
    assert_true(pages > 1);
}

/* ---- watches ---- */

static void a_watch_tells_past_and_present(void **state)
{
    struct store_world *w = *state;
    int64_t start = world_revision(w), r;
    world_put(w, "w/a", "1", STORE_ANY, NULL);
    world_put(w, "x", "other", STORE_ANY, NULL);
    world_put(w, "w/a", "2", STORE_ANY, &r);
    world_delete(w, "w/a", STORE_ANY, NULL);
    struct world_watch *all = world_watch(w, "w/", start), *some = world_watch(w, "w/", r);
    world_await(all, 3);
    assert_string_equal(all->seen[0], "+w/a=1");
    assert_string_equal(all->seen[1], "+w/a=2");
    assert_string_equal(all->seen[2], "-w/a");
    world_await_up(all);
    world_await_up(some);
    struct store_change changes[] = {
        {STORE_PUT, "w/c", "3", 1, STORE_ABSENT, 0},
        {STORE_PUT, "w/b", "3", 1, STORE_ABSENT, 0},
        {STORE_PUT, "v", "unseen", 6, STORE_ABSENT, 0},
    };
    struct store_commit c = {.changes = changes, .count = 3};
    assert_int_equal(world_commit(w, &c), 0);
    world_await(all, 4);
    world_await(some, 2);
    assert_string_equal(all->seen[3], "+w/c=3 +w/b=3");
    assert_int_equal(all->revisions[3], c.revision);
    assert_string_equal(some->seen[0], "-w/a");
    assert_string_equal(some->seen[1], "+w/c=3 +w/b=3");
    world_unwatch(all);
    world_put(w, "w/d", "4", STORE_ANY, NULL);
    world_await(some, 3);
    assert_string_equal(some->seen[2], "+w/d=4");
    world_unwatch(some);
}

struct leaving_watch {
    struct store_watch watch;
    struct store_world *world;
    uint32_t calls;
};

static void leave(struct store_watch *watch, const struct store_event *events, uint32_t count, int64_t revision)
{
    struct leaving_watch *l = CONTAINER_OF(watch, struct leaving_watch, watch);
    (void)events;
    (void)revision;
    if (!count)
        return;
    l->calls++;
    store_unwatch(l->world->store, watch);
}

static void not_ended(struct store_watch *watch, int result, const struct err *err)
{
    (void)watch;
    fail_msg("the watch ended: %d, %s", result, err->text);
}

static void a_callback_may_unwatch(void **state)
{
    struct store_world *w = *state;
    int64_t start = world_revision(w);
    struct leaving_watch past = {.world = w}, live = {.world = w};
    past.watch = live.watch = (struct store_watch){.prefix = "", .events = leave, .ended = not_ended};
    past.watch.after = start;
    world_put(w, "a", "1", STORE_ANY, NULL);
    world_put(w, "a", "2", STORE_ANY, NULL);
    struct world_watch *before = world_watch(w, "", start);
    assert_int_equal(store_watch(w->store, &past.watch, NULL), 0);
    live.watch.after = world_revision(w);
    assert_int_equal(store_watch(w->store, &live.watch, NULL), 0);
    struct world_watch *behind = world_watch(w, "", start);
    world_await_up(before);
    world_await_up(behind);
    world_put(w, "a", "3", STORE_ANY, NULL);
    world_put(w, "a", "4", STORE_ANY, NULL);
    world_await(before, 4);
    world_await(behind, 4);
    while (!past.calls || !live.calls) /* each watch may have a connection of its own */
        store_world_turn(w);
    assert_int_equal(past.calls, 1);
    assert_int_equal(live.calls, 1);
    store_unwatch(w->store, &live.watch); /* again: nothing happens */
    world_unwatch(before);
    world_unwatch(behind);
}

static void watches_have_a_limit(void **state)
{
    struct store_world *w = *state;
    struct world_watch *watches[STORE_WATCHES_MAX];
    int64_t start = world_revision(w);
    for (int i = 0; i < STORE_WATCHES_MAX; i++)
        watches[i] = world_watch(w, "", start);
    struct leaving_watch extra = {.world = w, .watch = {.prefix = "", .events = leave, .ended = not_ended}};
    struct err err = {0};
    assert_int_equal(store_watch(w->store, &extra.watch, &err), -EAGAIN);
    assert_true(err.text[0]);
    world_put(w, "a", "1", STORE_ANY, NULL);
    for (int i = 0; i < STORE_WATCHES_MAX; i++)
        world_await(watches[i], 1);
    for (int i = 0; i < STORE_WATCHES_MAX; i++)
        world_unwatch(watches[i]);
    extra.watch.prefix = "a\tb";
    assert_int_equal(store_watch(w->store, &extra.watch, &err), -EINVAL);
}

static void a_compacted_past_is_said(void **state)
{
    struct store_world *w = *state;
    int64_t start = world_revision(w), r;
    world_put(w, "a", "1", STORE_ANY, NULL);
    world_put(w, "a", "2", STORE_ANY, NULL);
    world_put(w, "a", "3", STORE_ANY, &r);
    store_world_kind->compact(w, r);
    struct world_watch *old = world_watch(w, "", start);
    world_await_end(old);
    assert_int_equal(old->result, -ESTALE);
    assert_int_equal(old->count, 0);
    world_unwatch(old);
    struct world_watch *now = world_watch(w, "a", world_revision(w));
    world_put(w, "a", "4", STORE_ANY, NULL);
    world_await(now, 1);
    assert_string_equal(now->seen[0], "+a=4");
    world_unwatch(now);
}

static void a_future_that_never_was_is_said(void **state)
{
    struct store_world *w = *state;
    struct world_watch *ahead = world_watch(w, "", world_revision(w) + 1000);
    world_await_end(ahead);
    assert_int_equal(ahead->result, -ESTALE);
    world_unwatch(ahead);
}

/* ---- leases ---- */

static int put_leased(struct store_world *w, const char *key, int64_t lease)
{
    return put_raw(w, (struct store_change){STORE_PUT, key, "leased", 6, STORE_ANY, lease});
}

static void a_revoked_lease_takes_its_keys_along(void **state)
{
    struct store_world *w = *state;
    int64_t lease, other;
    assert_int_equal(world_grant(w, 60000, &lease), 0);
    assert_int_equal(world_grant(w, 60000, &other), 0);
    assert_true(lease > 0 && other > 0 && lease != other);
    assert_int_equal(put_leased(w, "l/a", lease), 0);
    assert_int_equal(put_leased(w, "l/b", lease), 0);
    assert_int_equal(put_leased(w, "l/c", other), 0);
    assert_int_equal(put_leased(w, "l/d", lease), 0);
    assert_int_equal(put_leased(w, "l/e", lease), 0);
    assert_int_equal(world_put(w, "l/d", "kept", STORE_ANY, NULL), 0); /* out of the lease */
    assert_int_equal(put_leased(w, "l/e", other), 0);                  /* into another */
    struct world_watch *watch = world_watch(w, "l/", world_revision(w));
    assert_int_equal(world_keep(w, lease), 0);
    assert_int_equal(world_revoke(w, lease), 0);
    assert_string_equal(world_list(w, "l/", NULL, 0, NULL), "l/c l/d l/e");
    world_await(watch, 1);
    assert_string_equal(watch->seen[0], "-l/a -l/b");
    world_unwatch(watch);
    assert_int_equal(world_keep(w, lease), -ENOENT);
    assert_int_equal(world_revoke(w, lease), -ENOENT);
    assert_int_equal(put_leased(w, "l/a", lease), -ENOENT);
    assert_int_equal(world_keep(w, other), 0);
    assert_int_equal(world_revoke(w, other), 0);
    assert_string_equal(world_list(w, "l/", NULL, 0, NULL), "l/d");
}

static void a_lease_that_is_not_kept_runs_out(void **state)
{
    struct store_world *w = *state;
    int64_t lease;
    assert_int_equal(world_grant(w, STORE_TTL_MIN_MS - 1, &lease), -EINVAL);
    assert_int_equal(world_keep(w, 0), -EINVAL);
    assert_int_equal(world_grant(w, STORE_TTL_MIN_MS, &lease), 0);
    struct world_watch *watch = world_watch(w, "", world_revision(w));
    assert_int_equal(put_leased(w, "gone", lease), 0);
    world_await(watch, 2);
    assert_string_equal(watch->seen[0], "+gone=leased");
    assert_string_equal(watch->seen[1], "-gone");
    assert_string_equal(world_get(w, "gone", NULL), "(absent)");
    assert_int_equal(world_keep(w, lease), -ENOENT);
    assert_int_equal(put_leased(w, "gone", lease), -ENOENT);
    world_unwatch(watch);
}

/* ---- many at once ---- */

enum { ADDERS = 8, ADDS = 25 };

struct adder {
    struct store_world *world;
    struct store_read read;
    struct store_commit commit;
    struct store_change change;
    char value[24];
    int left;
};

static void adder_read(struct store_read *read, int result)
{
    struct adder *a = CONTAINER_OF(read, struct adder, read);
    assert_int_equal(result, 0);
    int now = read->count ? atoi(read->items[0].value) : 0;
    snprintf(a->value, sizeof a->value, "%d", now + 1);
    a->change = (struct store_change){
        STORE_PUT, "counter", a->value, strlen(a->value), read->count ? read->items[0].revision : STORE_ABSENT, 0};
    store_commit(a->world->store, &a->commit);
}

static void adder_committed(struct store_commit *commit, int result)
{
    struct adder *a = CONTAINER_OF(commit, struct adder, commit);
    assert_true(result == 0 || result == -ESTALE);
    if (!result)
        a->left--;
    if (a->left)
        store_read(a->world->store, &a->read);
}

static void nobody_loses_an_update(void **state)
{
    struct store_world *w = *state;
    struct adder adders[ADDERS];
    for (int i = 0; i < ADDERS; i++) {
        struct adder *a = &adders[i];
        *a = (struct adder){.world = w, .left = ADDS};
        a->read = (struct store_read){.key = "counter", .done = adder_read};
        a->commit = (struct store_commit){.changes = &a->change, .count = 1, .done = adder_committed};
        store_read(w->store, &a->read);
    }
    for (bool busy = true; busy;) {
        store_world_turn(w);
        busy = false;
        for (int i = 0; i < ADDERS; i++)
            busy |= adders[i].left > 0;
    }
    assert_string_equal(world_get(w, "counter", NULL), "200");
}

struct late_commit {
    struct store_commit commit;
    struct store_change change;
    int done, result;
};

static void late_done(struct store_commit *commit, int result)
{
    struct late_commit *l = CONTAINER_OF(commit, struct late_commit, commit);
    l->done++;
    l->result = result;
}

static void closing_answers_everybody_once(void **state)
{
    struct store_world *w = *state;
    enum { COUNT = 20 };
    struct late_commit commits[COUNT];
    struct world_watch *watch = world_watch(w, "", world_revision(w));
    for (int i = 0; i < COUNT; i++) {
        struct late_commit *l = &commits[i];
        *l = (struct late_commit){.change = {STORE_PUT, "k", "v", 1, STORE_ANY, 0}};
        l->commit = (struct store_commit){.changes = &l->change, .count = 1, .done = late_done};
        store_commit(w->store, &l->commit);
    }
    store_world_close(w);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(commits[i].done, 1);
        assert_true(commits[i].result == 0 || commits[i].result == -ECANCELED);
    }
    assert_false(watch->ended);
    for (uint32_t i = 0; i < watch->count; i++)
        free(watch->seen[i]);
    free(watch);
}

static void calls_have_a_limit(void **state)
{
    struct store_world *w = *state;
    static struct late_commit commits[STORE_CALLS_MAX + 1];
    int refused = 0;
    for (int i = 0; i <= STORE_CALLS_MAX; i++) {
        struct late_commit *l = &commits[i];
        *l = (struct late_commit){.change = {STORE_CHECK, "k", NULL, 0, STORE_ABSENT, 0}};
        l->commit = (struct store_commit){.changes = &l->change, .count = 1, .done = late_done};
        store_commit(w->store, &l->commit);
    }
    for (int i = 0; i <= STORE_CALLS_MAX; i++) {
        while (!commits[i].done)
            store_world_turn(w);
        refused += commits[i].result == -EAGAIN;
        if (i < STORE_CALLS_MAX)
            assert_int_equal(commits[i].result, 0);
    }
    assert_int_equal(refused, 1);
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, store_world_setup, store_world_teardown)

static int run(const struct store_world_kind *kind)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(keeps_what_it_is_given),
        WORLD_TEST(compares_before_it_changes),
        WORLD_TEST(commits_all_or_nothing),
        WORLD_TEST(takes_as_many_changes_as_it_says),
        WORLD_TEST(keeps_any_bytes_and_the_largest_value),
        WORLD_TEST(refuses_what_makes_no_sense),
        WORLD_TEST(lists_in_order_page_by_page),
        WORLD_TEST(a_large_answer_comes_in_pages),
        WORLD_TEST(a_watch_tells_past_and_present),
        WORLD_TEST(a_callback_may_unwatch),
        WORLD_TEST(watches_have_a_limit),
        WORLD_TEST(a_compacted_past_is_said),
        WORLD_TEST(a_future_that_never_was_is_said),
        WORLD_TEST(a_revoked_lease_takes_its_keys_along),
        WORLD_TEST(a_lease_that_is_not_kept_runs_out),
        WORLD_TEST(nobody_loses_an_update),
        WORLD_TEST(closing_answers_everybody_once),
        WORLD_TEST(calls_have_a_limit),
    };
    store_world_kind = kind;
    return cmocka_run_group_tests_name(kind->name, tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    static const struct store_world_kind *const kinds[] = {&store_world_sim, &store_world_sqlite, &store_world_etcd,
                                                           &store_world_etcd_tls};
    int failed = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (argc < 2 || !strcmp(argv[1], kinds[i]->name))
            failed += run(kinds[i]);
    store_world_etcd_finish();
    return failed;
}
