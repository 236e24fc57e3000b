/* Long runs of random commits. On every back end: each result is what the model says, and a mirror kept by a watch ends
 * as what a read finds. On a simulated store whose network is bad: no acknowledged commit is lost, no refused one
 * happens, and the same seed brings the same history. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/arena.h"
#include "node/base/container.h"
#include "node/base/store_model.h"
#include "node/base/store_sim.h"
#include "tests/unit/store_world.h"

enum { KEYS = 12 };

static uint64_t random_state;

static uint32_t below(uint32_t n)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % n;
}

static const char *key_of(uint32_t i)
{
    static char keys[KEYS][16];
    snprintf(keys[i], sizeof keys[i], "%s/%u", i % 3 ? "m" : "o", i);
    return keys[i];
}

/* ---- every back end does what the model does ---- */

struct mirror {
    struct store_watch watch;
    char values[KEYS][32]; /* "": absent */
    int64_t revision;
};

static uint32_t index_of(const char *key)
{
    for (uint32_t i = 0; i < KEYS; i++)
        if (!strcmp(key, key_of(i)))
            return i;
    fail_msg("an event of %s", key);
    return 0;
}

static void mirror_events(struct store_watch *watch, const struct store_event *e, uint32_t count, int64_t revision)
{
    struct mirror *m = CONTAINER_OF(watch, struct mirror, watch);
    assert_true(revision > m->revision);
    m->revision = revision;
    for (uint32_t i = 0; i < count; i++)
        snprintf(m->values[index_of(e[i].key)], sizeof m->values[0], "%s", e[i].value ? (const char *)e[i].value : "");
}

static void mirror_ended(struct store_watch *watch, int result, const struct err *err)
{
    (void)watch;
    fail_msg("the watch ended: %d, %s", result, err->text);
}

static int64_t model_revision_of(struct store_model *model, const char *key)
{
    const struct store_read read = {.key = key};
    struct store_answer answer = {0};
    assert_int_equal(store_model_read(model, &read, &answer), 0);
    int64_t revision = answer.count ? answer.items[0].revision : 0;
    arena_free(answer.arena);
    return revision;
}

static uint32_t random_changes(struct store_model *model, struct store_change *changes, char (*values)[32])
{
    uint32_t count = 1 + below(4), start = below(KEYS);
    for (uint32_t i = 0; i < count; i++) {
        struct store_change *c = &changes[i];
        *c = (struct store_change){.key = key_of((start + i * 5) % KEYS)};
        int64_t now = model_revision_of(model, c->key);
        c->kind = below(10) < 6 ? STORE_PUT : below(2) ? STORE_DELETE : STORE_CHECK;
        c->expected = below(10) < 7 ? now : below(2) ? STORE_ABSENT : now + 1;
        if (c->kind != STORE_CHECK && below(3) == 0)
            c->expected = STORE_ANY;
        if (c->kind == STORE_PUT) {
            snprintf(values[i], sizeof values[i], "v%u", below(1000000));
            c->value = values[i];
            c->value_len = strlen(values[i]);
        }
    }
    return count;
}

/* The store began at another revision than the model. */
static void shift(struct store_change *changes, uint32_t count, int64_t offset)
{
    for (uint32_t i = 0; i < count; i++)
        if (changes[i].expected > 0)
            changes[i].expected += offset;
}

static void does_what_the_model_does(void **state)
{
    struct store_world *w = *state;
    struct store_model *model = store_model_new();
    int64_t offset = world_revision(w) - store_model_revision(model);
    struct mirror mirror = {.revision = world_revision(w)};
    mirror.watch =
        (struct store_watch){.prefix = "m/", .after = mirror.revision, .events = mirror_events, .ended = mirror_ended};
    random_state = 3;
    assert_int_equal(store_watch(w->store, &mirror.watch, NULL), 0);
    for (int round = 0; round < 600; round++) {
        struct store_change changes[4];
        char values[4][32];
        struct store_answer answer = {0};
        uint32_t count = random_changes(model, changes, values);
        int wanted = store_model_commit(model, changes, count, &answer);
        shift(changes, count, offset);
        struct store_commit commit = {.changes = changes, .count = count};
        assert_int_equal(world_commit(w, &commit), wanted);
        if (wanted) {
            assert_int_equal(commit.conflict, answer.conflict);
            assert_int_equal(commit.conflict_revision,
                             answer.conflict_revision ? answer.conflict_revision + offset : 0);
        } else {
            assert_int_equal(commit.revision, answer.revision + offset);
        }
    }
    world_put(w, "m/1", "the end", STORE_ANY, NULL);
    while (strcmp(mirror.values[1], "the end") != 0)
        store_world_turn(w);
    for (uint32_t i = 0; i < KEYS; i++) {
        if (i % 3 == 0)
            continue; /* not under the prefix */
        const char *value = world_get(w, key_of(i), NULL);
        assert_string_equal(*mirror.values[i] ? mirror.values[i] : "(absent)", value);
    }
    store_unwatch(w->store, &mirror.watch);
    store_model_free(model);
}

/* ---- a bad network ---- */

enum { CLIENTS = 5, COUNTED = 40 };

/* Counts a key of its own up, and one that all share, with what a careful program does: after an unknown outcome it
 * looks before it goes on. */
struct client {
    struct store *store;
    char mine[16], value[32], shared[32];
    struct store_read reads[2];
    struct store_commit commit;
    struct store_change changes[2];
    int64_t revisions[2];
    int numbers[2];
    int acknowledged, unknown, next;
    bool over;
};

static struct store_sim *sim;
static uint64_t digest;

static void look_first(struct client *c);

static void counted(struct store_commit *commit, int result)
{
    struct client *c = CONTAINER_OF(commit, struct client, commit);
    digest = digest * 31 + (uint64_t)(unsigned)result + (uint64_t)commit->revision;
    if (!result)
        c->acknowledged++;
    else if (store_outcome(result) == STORE_UNKNOWN)
        c->unknown++;
    if (c->acknowledged >= COUNTED)
        c->over = true;
    else
        look_first(c);
}

static void note(struct client *c, int which, const struct store_read *read)
{
    c->revisions[which] = read->count ? read->items[0].revision : STORE_ABSENT;
    c->numbers[which] = read->count ? atoi(read->items[0].value) : 0;
}

static void found_shared(struct store_read *read, int result)
{
    struct client *c = CONTAINER_OF(read, struct client, reads[1]);
    if (result) {
        look_first(c);
        return;
    }
    note(c, 1, read);
    snprintf(c->value, sizeof c->value, "%d", c->numbers[0] + 1);
    snprintf(c->shared, sizeof c->shared, "%d", c->numbers[1] + 1);
    c->changes[0] = (struct store_change){STORE_PUT, c->mine, c->value, strlen(c->value), c->revisions[0], 0};
    c->changes[1] = (struct store_change){STORE_PUT, "m/1", c->shared, strlen(c->shared), c->revisions[1], 0};
    c->commit = (struct store_commit){.changes = c->changes, .count = 2, .done = counted};
    store_commit(c->store, &c->commit);
}

static void found_mine(struct store_read *read, int result)
{
    struct client *c = CONTAINER_OF(read, struct client, reads[0]);
    if (result) {
        look_first(c);
        return;
    }
    note(c, 0, read);
    assert_true(c->numbers[0] >= c->acknowledged); /* nothing that was acknowledged is lost */
    assert_true(c->numbers[0] <= c->acknowledged + c->unknown);
    c->reads[1] = (struct store_read){.key = "m/1", .done = found_shared};
    store_read(c->store, &c->reads[1]);
}

static void look_first(struct client *c)
{
    c->reads[0] = (struct store_read){.key = c->mine, .done = found_mine};
    store_read(c->store, &c->reads[0]);
}

static void count_up(struct store_watch *watch, const struct store_event *e, uint32_t count, int64_t revision)
{
    struct mirror *m = CONTAINER_OF(watch, struct mirror, watch);
    assert_true(revision > m->revision);
    m->revision = revision;
    for (uint32_t i = 0; i < count; i++) { /* each number once, in order: no event is missing or double */
        assert_int_equal(atoi(e[i].value), atoi(m->values[1]) + 1);
        snprintf(m->values[1], sizeof m->values[1], "%s", (const char *)e[i].value);
    }
}

static uint64_t run_bad_network(uint64_t seed)
{
    const struct store_sim_options options = {.seed = seed,
                                              .delay_min_us = 50,
                                              .delay_max_us = 20000,
                                              .refused_ppm = 20000,
                                              .lost_ppm = 50000,
                                              .broken_ppm = 100000};
    static struct client clients[CLIENTS];
    struct mirror mirror = {.revision = 1};
    sim = store_sim_new(&options, 0);
    digest = random_state = seed;
    for (uint32_t i = 0; i < CLIENTS; i++) {
        const struct store_options o = {.sim = sim, .sim_client = i, .timeout_ms = 500};
        clients[i] = (struct client){.store = store_open("sim:", NULL, &o, NULL)};
        snprintf(clients[i].mine, sizeof clients[i].mine, "mine/%u", i);
        look_first(&clients[i]);
    }
    mirror.watch = (struct store_watch){.prefix = "m/1", .after = 1, .events = count_up, .ended = mirror_ended};
    assert_int_equal(store_watch(clients[0].store, &mirror.watch, NULL), 0);
    int shared = 0, least = 0, most = 0;
    for (bool busy = true; busy;) {
        uint64_t next = store_sim_next_ns(sim);
        assert_true(next < UINT64_MAX);
        store_sim_run(sim, next);
        if (!below(2000))
            store_sim_cut(sim, below(CLIENTS), below(2));
        if (!below(8000))
            store_sim_stop(sim, below(2));
        if (!below(50)) { /* no fault lasts */
            store_sim_stop(sim, false);
            for (uint32_t i = 0; i < CLIENTS; i++)
                store_sim_cut(sim, i, false);
        }
        busy = false;
        for (int i = 0; i < CLIENTS; i++)
            busy |= !clients[i].over;
    }
    store_sim_heal(sim);
    struct store_world w = {.store = clients[0].store, .sim = sim};
    store_sim_cut(sim, 0, false);
    store_sim_stop(sim, false);
    shared = atoi(world_get(&w, "m/1", NULL));
    for (int i = 0; i < CLIENTS; i++) {
        least += clients[i].acknowledged;
        most += clients[i].acknowledged + clients[i].unknown;
    }
    assert_true(shared >= least && shared <= most);
    assert_true(most > least); /* the network really was bad */
    while (atoi(mirror.values[1]) < shared)
        store_sim_run(sim, store_sim_next_ns(sim));
    for (int i = 0; i < CLIENTS; i++)
        store_close(clients[i].store, NULL, NULL);
    while (store_sim_next_ns(sim) < UINT64_MAX)
        store_sim_run(sim, store_sim_next_ns(sim));
    store_sim_free(sim);
    return digest;
}

static void a_bad_network_loses_no_acknowledged_commit(void **state)
{
    (void)state;
    store_world_kind = &store_world_sim;
    for (uint64_t seed = 1; seed <= 100; seed++)
        run_bad_network(seed);
    assert_true(run_bad_network(7) == run_bad_network(7));
    assert_true(run_bad_network(7) != run_bad_network(8));
}

static int run(const struct store_world_kind *kind)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(does_what_the_model_does, store_world_setup, store_world_teardown)};
    store_world_kind = kind;
    return cmocka_run_group_tests_name(kind->name, tests, NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest simulated[] = {cmocka_unit_test(a_bad_network_loses_no_acknowledged_commit)};
    int failed = run(&store_world_sim) + run(&store_world_sqlite) + run(&store_world_etcd);
    store_world_etcd_finish();
    return failed + cmocka_run_group_tests(simulated, NULL, NULL);
}
