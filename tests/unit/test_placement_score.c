/* That one choice of one node is judged by the balancer's own score: random clusters with loads, pressure, volumes'
 * members and policies are given to the agent's placement and, as the store has them, to the balancer; what a guest's
 * going to each of the nodes changes must be the same number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>

#include "balancer/cluster_json.h"
#include "balancer/policy.h"
#include "balancer/score.h"
#include "balancer/snapshot.h"
#include "balancer/snapshot_load.h"
#include "node/agent/balance_question.h"
#include "node/agent/measured.h"
#include "node/agent/placement.h"
#include "node/agent/placement_room.h"
#include "node/base/clock.h"
#include "node/base/err.h"

enum { CLUSTERS = 300, NODES = 7, GUESTS = 25, TEXT_MAX = 16384 };

static const double SAME = 1e-9;

static uint64_t dice = 1;

static unsigned random_below(unsigned n)
{
    dice = dice * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(dice >> 33) % n;
}

static double random_part(void)
{
    return random_below(1000) / 1000.0;
}

static void put(struct mirror *m, const char *key, json_t *value)
{
    static uint64_t revision;
    char *text = json_dumps(value, 0);
    assert_non_null(text);
    assert_int_equal(mirror_put(m, key, text, strlen(text), ++revision), 0);
    free(text);
    json_decref(value);
}

static json_t *random_window(unsigned below)
{
    json_t *window = json_array();
    for (int i = 0; i < 20; i++)
        json_array_append_new(window, json_integer(random_below(below)));
    return window;
}

static json_t *random_storage(void)
{
    json_t *storage = json_object();
    for (unsigned i = random_below(3); i > 0; i--) {
        char name[8];
        snprintf(name, sizeof name, "n%u", random_below(NODES));
        json_object_set_new(storage, name, json_integer(1 + random_below(30000)));
    }
    return storage;
}

/* One that is away says nothing of its pressure. */
static json_t *random_parts(bool alive)
{
    return alive ? json_pack("{s:f, s:f, s:f}", "cpu", 0.3 * random_part(), "memory", 0.1 * random_part(), "io",
                             random_part())
                 : json_object();
}

static void put_nodes(struct mirror *m, json_t *const *loads)
{
    for (unsigned n = 0; n < NODES; n++) {
        char key[64], id[16], name[16];
        bool alive = n != 6 || random_below(2);
        snprintf(id, sizeof id, "n%u-id", n);
        snprintf(name, sizeof name, "n%u", n);
        snprintf(key, sizeof key, "/drover/node/%s", id);
        put(m, key,
            json_pack("{s:s, s:s, s:s, s:{s:b, s:{s:s}}}", "kind", "node", "id", id, "name", name, "spec", "drained",
                      n == 5 && random_below(2), "labels", "network_rate", random_below(2) ? "500M" : "lots"));
        snprintf(key, sizeof key, "/drover/state/node/%s", id);
        put(m, key,
            json_pack("{s:b, s:I, s:i}", "alive", alive, "memory_bytes", (json_int_t)(8 + 8 * random_below(3)) << 30,
                      "cpus", 4 + 4 * random_below(3)));
        snprintf(key, sizeof key, "/drover/state/load/%s", id);
        put(m, key,
            json_pack("{s:s, s:i, s:i, s:o, s:o, s:O}", "node", name, "sample_ms", 10000, "unit", 4096, "pressure",
                      random_parts(alive), "stalled", random_parts(alive), "guests", loads[n]));
    }
}

static void put_guests(struct mirror *m, json_t *const *loads)
{
    for (unsigned g = 0; g < GUESTS; g++) {
        char key[64], id[16], name[16], node[16];
        unsigned on = random_below(NODES), vcpus = 1 + random_below(4);
        snprintf(id, sizeof id, "g%u-id", g);
        snprintf(name, sizeof name, "g%u", g);
        snprintf(node, sizeof node, "n%u", on);
        snprintf(key, sizeof key, "/drover/guest/%s", id);
        put(m, key,
            json_pack("{s:s, s:s, s:s, s:{s:s, s:b, s:I, s:i}}", "kind", "guest", "id", id, "name", name, "spec",
                      "node", node, "running", 1, "memory", (json_int_t)(1 + random_below(4)) << 29, "vcpus", vcpus));
        snprintf(key, sizeof key, "/drover/state/guest/%s", id);
        put(m, key, json_pack("{s:s, s:s}", "phase", "running", "node", node));
        json_object_set_new(loads[on], id,
                            json_pack("{s:o, s:o, s:o, s:I, s:o}", "cpu", random_window(500), "steal",
                                      random_window(100), "network", random_window(50000), "memory",
                                      (json_int_t)random_below(2000) << 20, "storage", random_storage()));
    }
}

static struct mirror *random_cluster(void)
{
    struct mirror *m = mirror_new();
    json_t *loads[NODES];
    char text[512];
    for (int n = 0; n < NODES; n++)
        loads[n] = json_object();
    put_guests(m, loads);
    put_nodes(m, loads);
    for (int n = 0; n < NODES; n++)
        json_decref(loads[n]);
    snprintf(text, sizeof text,
             "{\"weights\": {\"cpu\": %.3f, \"memory\": %.3f, \"network\": %.3f, \"reserved\": %.3f},"
             " \"overload\": {\"limit\": %.2f, \"weight\": %.1f}, \"forecast\": {\"error_factor\": 0}}",
             0.001 + 2 * random_part(), 0.001 + random_part(), 0.001 + random_part(), 0.001 + random_part(),
             0.2 + 0.7 * random_part(), 40 * random_part());
    put(m, "/drover/policy/balance",
        json_pack("{s:s, s:s, s:s, s:{s:s}}", "kind", "policy", "id", "balance", "name", "balance", "spec", "text",
                  random_below(4) ? text : ""));
    return m;
}

/* The same as the balancer reads it. */
static struct model *model_of(struct mirror *m, struct policy *policy)
{
    struct err err = {0};
    const char *text = object_spec_text(mirror_find(m, OBJECT_POLICY, "balance"), "text");
    struct measured *measured = measured_new(m, clock_ms);
    assert_non_null(measured);
    json_t *lent = balance_question(m, measured, "export"), *question = json_deep_copy(lent), *load;
    json_t *objects = json_object_get(question, "objects");
    const struct snapshot_time now = {json_number_value(json_object_get(question, "clock")), 1795694400};
    struct cluster_json cluster;
    const char *id;
    measured_free(measured);
    json_decref(lent); /* it shares the mirror's records */
    json_object_foreach (json_object_get(objects, "load"), id, load)
        snapshot_load_digest(json_object_get(load, "state"));
    json_t *root = snapshot_make(objects, &now);
    *policy = policy_default();
    policy->error_factor = 0;
    if (*text)
        assert_int_equal(policy_read(policy, "policy", text, strlen(text), &err), 0);
    if (cluster_json_take(&cluster, "cluster", root, policy, &err) < 0)
        fail_msg("%s", err.text);
    json_decref(root);
    json_decref(question);
    return cluster.model;
}

static int number_of(const struct names *names, const char *name)
{
    int number = names_find(names, name, strlen(name));
    assert_true(number >= 0);
    return number;
}

/* How many nodes were compared. */
static int compare_guest(const struct mirror *mirror, const struct score *score, const struct placement_room *room,
                         const struct object *guest)
{
    const struct model *m = score->model;
    struct placement_load load = placement_room_load(room, mirror, guest->id, json_object_get(guest->value, "spec"));
    struct score_away away;
    double ours = NAN, theirs = NAN;
    int compared = 0;
    int g = number_of(&m->guest_names, guest->name);
    score_leave(score, g, &away);
    for (const struct object *n = mirror_next(mirror, OBJECT_NODE, NULL); n;
         n = mirror_next(mirror, OBJECT_NODE, n->name)) {
        int at = number_of(&m->node_names, n->name);
        if (m->nodes[at].offline)
            continue;
        double a = placement_room_after(room, &load, n),
               b = at == m->at[g] ? score_value(score) : score_arrive(score, &away, at);
        if (!isnan(ours) && fabs((a - ours) - (b - theirs)) > SAME)
            fail_msg("%s on %s: %.12f and %.12f", guest->name, n->name, a - ours, b - theirs);
        ours = a;
        theirs = b;
        compared++;
    }
    return compared;
}

static void test_the_same_score(void **state)
{
    int compared = 0;
    (void)state;
    for (int i = 0; i < CLUSTERS; i++) {
        struct mirror *mirror = random_cluster();
        struct policy policy;
        struct model *m = model_of(mirror, &policy);
        struct score score;
        struct placement_room room;
        struct err err = {0};
        assert_int_equal(score_init(&score, m, &policy, &err), 0);
        placement_room_gather(&room, mirror);
        for (const struct object *g = mirror_next(mirror, OBJECT_GUEST, NULL); g;
             g = mirror_next(mirror, OBJECT_GUEST, g->name))
            compared += compare_guest(mirror, &score, &room, g);
        placement_room_fini(&room);
        score_fini(&score);
        model_free(m);
        mirror_free(mirror);
    }
    assert_true(compared > CLUSTERS * GUESTS * (NODES - 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_same_score)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
