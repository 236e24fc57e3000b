/* Moving a store into another: SQLite into etcd as in earnest, and into a simulated one that loses messages. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/container.h"
#include "node/base/loop.h"
#include "node/base/store_copy.h"
#include "node/base/store_sim.h"
#include "tests/unit/store_world.h"

enum { KEYS = 700, BIG = 400000 };

struct copying {
    struct store_copy copy;
    bool done;
    int result;
};

static void copied(struct store_copy *copy, int result)
{
    struct copying *c = CONTAINER_OF(copy, struct copying, copy);
    assert_false(c->done);
    c->done = true;
    c->result = result;
}

static void fill(struct store_world *w)
{
    char *big = malloc(BIG), key[32];
    int64_t lease;
    memset(big, 'b', BIG);
    assert_int_equal(world_grant(w, 60000, &lease), 0);
    struct store_change leased = {STORE_PUT, "alive/a", "1", 1, STORE_ABSENT, lease};
    struct store_commit c = {.changes = &leased, .count = 1};
    assert_int_equal(world_commit(w, &c), 0);
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof key, "k/%03d", i);
        struct store_change put = {STORE_PUT, key, i % 100 ? key : big, i % 100 ? 5 : BIG, STORE_ABSENT, 0};
        c = (struct store_commit){.changes = &put, .count = 1};
        assert_int_equal(world_commit(w, &c), 0);
    }
    free(big);
}

static int run_copy(struct copying *c, struct store_world *from, struct store_world *to)
{
    c->copy.from = from->store;
    c->copy.to = to->store;
    c->copy.prefix = "";
    c->copy.done = copied;
    c->done = false;
    store_copy_start(&c->copy);
    assert_false(c->done);
    while (!c->done) {
        if (to->sim && store_sim_next_ns(to->sim) < UINT64_MAX)
            store_sim_run(to->sim, store_sim_next_ns(to->sim));
        else if (to->loop)
            loop_step(to->loop);
        if (from->sim && from->sim != to->sim && store_sim_next_ns(from->sim) < UINT64_MAX)
            store_sim_run(from->sim, store_sim_next_ns(from->sim));
    }
    return c->result;
}

static void check_target(struct store_world *to)
{
    bool more;
    char after[32] = "k/";
    for (int i = 0; i < KEYS; i += 100) {
        const char *keys = world_list(to, "k/", after, 100, &more);
        assert_int_equal(strlen(keys), 100 * 6 - 1);
        assert_int_equal(more, i + 100 < KEYS);
        snprintf(after, sizeof after, "%s", keys + strlen(keys) - 5);
    }
    assert_string_equal(after, "k/699");
    assert_string_equal(world_get(to, "k/123", NULL), "k/123");
    assert_string_equal(world_get(to, "alive/a", NULL), "(absent)");
}

/* Both on one loop, as in the command that does it. */
static void sqlite_moves_into_etcd(void **state)
{
    struct store_world sqlite = {0}, etcd = {0};
    static struct copying c;
    (void)state;
    store_world_kind = &store_world_sqlite;
    store_world_directory(sqlite.path, sizeof sqlite.path);
    store_world_kind->start(&sqlite);
    sqlite.store = store_world_kind->open(&sqlite);
    fill(&sqlite);
    store_world_kind = &store_world_etcd;
    store_world_kind->start(&etcd);
    loop_free(etcd.loop);
    etcd.loop = sqlite.loop;
    etcd.store = store_world_kind->open(&etcd);
    assert_int_equal(run_copy(&c, &sqlite, &etcd), 0);
    assert_int_equal(c.copy.copied, KEYS);
    assert_int_equal(c.copy.leased, 1);
    assert_int_equal(c.copy.present, 0);
    check_target(&etcd);

    assert_int_equal(world_delete(&etcd, "k/300", STORE_ANY, NULL), 0); /* once more: only what is missing */
    assert_int_equal(run_copy(&c, &sqlite, &etcd), 0);
    assert_int_equal(c.copy.copied, 1);
    assert_int_equal(c.copy.present, KEYS - 1);
    check_target(&etcd);
    assert_int_equal(world_put(&etcd, "k/555", "other", STORE_ANY, NULL), 0);
    assert_int_equal(run_copy(&c, &sqlite, &etcd), -EEXIST);
    assert_non_null(strstr(c.copy.err.text, "k/555"));

    store_world_close(&etcd);
    store_world_close(&sqlite);
    store_world_sqlite.stop(&sqlite);
    store_world_remove(sqlite.path);
}

static void a_bad_network_does_not_matter(void **state)
{
    struct store_world from = {0}, to = {0};
    static struct copying c;
    (void)state;
    store_world_kind = &store_world_sim;
    store_world_kind->start(&from);
    from.store = store_world_kind->open(&from);
    fill(&from);
    const struct store_sim_options bad = {
        .seed = 5, .delay_min_us = 10, .delay_max_us = 900, .refused_ppm = 100000, .lost_ppm = 100000};
    to.sim = store_sim_new(&bad, 0);
    to.store = store_world_kind->open(&to);
    assert_int_equal(run_copy(&c, &from, &to), 0);
    assert_int_equal(c.copy.copied + c.copy.present, KEYS);
    store_world_close(&to);
    const struct store_options clean = {.sim = to.sim, .sim_client = 1};
    store_sim_heal(to.sim);
    to.store = store_open("sim:", NULL, &clean, NULL);
    check_target(&to);
    store_world_close(&to);
    store_world_close(&from);
    store_sim_free(from.sim);
    store_sim_free(to.sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sqlite_moves_into_etcd),
        cmocka_unit_test(a_bad_network_does_not_matter),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    store_world_etcd_finish();
    return failed;
}
