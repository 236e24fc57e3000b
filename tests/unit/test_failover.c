/* The rules of fail-over: what each says by itself, and all of them together in a simulated cluster.
 *
 *     test_failover [FIRST [COUNT]]      default: 0 400, of each class of node/drill/world.h that begins with no drill
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/failover.h"
#include "node/agent/tenure.h"
#include "node/drill/cluster.h"
#include "node/drill/world.h"

#define MS UINT64_C(1000000)
#define GIB(n) ((uint64_t)(n) << 30)

static uint64_t first_seed, seed_count = 400;

/* ---- tenure ---- */

static void test_tenure(void **state)
{
    struct tenure t = {0};
    (void)state;
    assert_false(tenure_runs(&t, 1));
    tenure_kept(&t, 100 * MS, 110 * MS); /* there is nothing to keep yet */
    assert_false(tenure_runs(&t, 110 * MS));
    tenure_begin(&t, 1000 * MS, 1200 * MS);
    assert_true(tenure_runs(&t, 5999 * MS)); /* counted from when it was sent */
    assert_false(tenure_runs(&t, 6000 * MS));
    tenure_kept(&t, 2000 * MS, 2500 * MS);
    tenure_kept(&t, 1500 * MS, 2600 * MS); /* overtaken */
    assert_true(tenure_runs(&t, 6999 * MS));
    assert_false(tenure_runs(&t, 7000 * MS));
    tenure_lost(&t); /* what was promised stands */
    assert_true(tenure_runs(&t, 6999 * MS));
    tenure_kept(&t, 5000 * MS, 5500 * MS);
    assert_false(tenure_runs(&t, 7000 * MS));
}

static void test_pledges(void **state)
{
    struct tenure t = {0}, other = {0};
    (void)state;
    tenure_begin(&t, 0, 0);
    tenure_begin(&other, 0, 0);
    assert_false(tenure_asks(&t, 1499 * MS));
    assert_true(tenure_asks(&t, 1500 * MS));
    assert_false(tenure_pledge(&other, 1499 * MS)); /* the store has answered it just now */
    assert_true(tenure_pledge(&other, 2000 * MS));
    assert_true(tenure_extend(&t, 1900 * MS, 2100 * MS));
    assert_true(tenure_runs(&t, 5899 * MS));
    assert_false(tenure_runs(&t, 5900 * MS));
    assert_false(tenure_extend(&t, 5800 * MS, 5900 * MS)); /* too late: somebody may have taken over before */
    assert_false(tenure_runs(&t, 5900 * MS));
    tenure_kept(&other, 2100 * MS, 2200 * MS);
    assert_non_null(strstr(tenure_forbids(&other, 6500 * MS), "pledged"));
    assert_false(tenure_starts(&other, 6500 * MS));
    tenure_kept(&other, 7000 * MS, 7100 * MS);
    assert_true(tenure_starts(&other, 7100 * MS));
}

static void test_steady(void **state)
{
    struct tenure t = {0};
    (void)state;
    assert_non_null(tenure_forbids(&t, 0));
    tenure_begin(&t, 0, 0);
    for (uint64_t ms = 500; ms <= 8000; ms += 500) {
        assert_non_null(tenure_forbids(&t, (ms - 1) * MS));
        tenure_kept(&t, ms * MS, ms * MS);
    }
    assert_null(tenure_forbids(&t, 8000 * MS));
    assert_non_null(strstr(tenure_forbids(&t, 11000 * MS), "does not answer"));
    tenure_kept(&t, 11000 * MS, 11100 * MS); /* after a gap the others have time, too */
    assert_non_null(strstr(tenure_forbids(&t, 11100 * MS), "time to come back"));
}

/* ---- decisions ---- */

static struct failover_guest guests[3];

static struct failover_view three_nodes(int self)
{
    struct failover_view v = {.node_count = 3, .self = self, .guests = guests, .guest_count = 1, .armed = true};
    static const char *const names[] = {"n1", "n2", "n3"};
    for (int i = 0; i < 3; i++)
        v.nodes[i] = (struct failover_node){.name = names[i], .alive = true, .memory_bytes = GIB(8)};
    memset(guests, 0, sizeof guests);
    for (int i = 0; i < 3; i++)
        guests[i] = (struct failover_guest){.name = (const char *[]){"a", "b", "c"}[i],
                                            .node = 1,
                                            .is_protected = true,
                                            .priority = 50,
                                            .memory_bytes = GIB(2),
                                            .able = 7,
                                            .disk_count = 1,
                                            .disks[0] = {.members = 3, .spare = 1, .node = {0, 1, 2}, .witness = -1}};
    v.nodes[1].alive = false;
    v.nodes[1].lost = true;
    v.nodes[0].promised_bytes = GIB(1);
    return v;
}

static struct failover_decision only(struct failover_view v)
{
    struct failover_decision d[3];
    assert_true(failover_decide(&v, d));
    return d[0];
}

static void waits(struct failover_view v, const char *reason)
{
    struct failover_decision d = only(v);
    assert_int_equal(d.verdict, FAILOVER_WAITS);
    if (!strstr(d.reason, reason))
        fail_msg("'%s' instead of '%s'", d.reason, reason);
}

static void test_decides(void **state)
{
    (void)state;
    struct failover_view v = three_nodes(2);
    assert_int_equal(only(v).verdict, FAILOVER_TAKES);
    v = three_nodes(0); /* the other one has more room */
    assert_int_equal(only(v).target, 2);
    waits(v, "another node");
    v.nodes[1].gone_ms = FAILOVER_PATIENCE_MS;
    assert_int_equal(only(v).verdict, FAILOVER_TAKES); /* but it does not come */
    v = three_nodes(2);
    v.armed = false;
    waits(v, "disarmed");
    v = three_nodes(2);
    v.nodes[1].lost = false;
    waits(v, "time to come");
    v = three_nodes(2);
    guests[0].cool_ms = 1;
    waits(v, "a short while ago");
    v = three_nodes(2);
    v.forbidden = "not now";
    waits(v, "not now");
    v = three_nodes(2);
    v.nodes[1].alive = true;
    assert_int_equal(only(v).verdict, FAILOVER_STAYS);
    v = three_nodes(2);
    guests[0].is_protected = false;
    assert_int_equal(only(v).verdict, FAILOVER_STAYS);
}

static void test_nowhere(void **state)
{
    (void)state;
    struct failover_view v = three_nodes(2);
    v.nodes[2].drained = true;
    assert_int_equal(only(v).target, 0);
    v.nodes[0].drained = true;
    waits(v, "no other node is up");
    v = three_nodes(2);
    guests[0].memory_bytes = GIB(8);
    waits(v, "memory enough");
    v = three_nodes(2);
    guests[0].able = 2;
    waits(v, "placement rules");
    guests[0].bare = 2; /* its own node's, which is gone */
    waits(v, "placement rules");
    guests[0].bare = 5;
    waits(v, "has a copy of the images");
    v = three_nodes(2);
    v.nodes[0].alive = false;
    waits(v, "too many members");
    guests[0].disks[0].reached = 1 << 0; /* that of the node whose agent alone is away */
    assert_int_equal(only(v).verdict, FAILOVER_TAKES);
    guests[0].disks[0].reached = 0;
    waits(v, "too many members");
    v = three_nodes(2);
    guests[0].disks[0] =
        (struct failover_disk){.members = 2, .spare = 1, .has_witness = true, .node = {1, 2}, .witness = 0};
    assert_int_equal(only(v).verdict, FAILOVER_TAKES);
    v.nodes[0].alive = false;
    waits(v, "witness");
    guests[0].disks[0].witness_reached = true;
    assert_int_equal(only(v).verdict, FAILOVER_TAKES);
}

/* What is more urgent gets its place first; and no node is promised more than it has. */
static void test_priorities(void **state)
{
    (void)state;
    struct failover_decision d[3];
    struct failover_view v = three_nodes(2);
    v.guest_count = 3;
    v.nodes[0].memory_bytes = GIB(1);
    v.nodes[2].memory_bytes = GIB(5); /* two of them fit */
    guests[2].priority = 90;
    assert_true(failover_decide(&v, d));
    assert_int_equal(d[2].verdict, FAILOVER_TAKES);
    assert_int_equal(d[0].verdict, FAILOVER_TAKES);
    assert_int_equal(d[1].target, FAILOVER_NOBODY);
    assert_int_equal(v.nodes[2].promised_bytes, GIB(4));
}

static void test_tolerates(void **state)
{
    (void)state;
    struct failover_view v = three_nodes(0);
    v.nodes[1].alive = true;
    assert_int_equal(failover_tolerates(&v), 1); /* a second one would take the quorum */
    guests[0].disks[0].spare = 2;
    assert_int_equal(failover_tolerates(&v), 2);
    guests[0].memory_bytes = GIB(7) + (GIB(1) >> 2);
    assert_int_equal(failover_tolerates(&v), 1); /* n1 has no room for it */
    v.nodes[2].drained = true;
    assert_int_equal(failover_tolerates(&v), 0);
    v = three_nodes(0);
    assert_int_equal(failover_tolerates(&v), 0);
    assert_int_equal(failover_cool_ms(1), 10000);
    assert_int_equal(failover_cool_ms(2), 20000);
    assert_int_equal(failover_cool_ms(1000), 300000);
}

/* ---- the world ---- */

/* Four nodes with three guests, each on a node that the seed says, with a volume on three of them. */
static const struct cluster *four_nodes(void)
{
    static struct cluster_node nodes[4];
    static struct cluster_guest protected[3];
    static struct failover_disk disk = {.members = 3, .spare = 1, .node = {0, 1, 2}, .witness = -1};
    static const struct cluster cluster = {
        .nodes = nodes, .node_count = 4, .guests = protected, .guest_count = 3, .all_guests = 3};
    static char names[7][3] = {"n0", "n1", "n2", "n3", "g0", "g1", "g2"};
    for (int n = 0; n < 4; n++)
        nodes[n] = (struct cluster_node){.name = names[n], .memory_bytes = GIB(4), .place = {n, n, n}};
    for (int g = 0; g < 3; g++)
    protected[g] = (struct cluster_guest){.name = names[4 + g],
                                          .node = CLUSTER_DRAWN,
                                          .memory_bytes = GIB(1),
                                          .may = 15,
                                          .disks = &disk,
                                          .disk_count = 1};
    return &cluster;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void run(enum world_class class, const char *name)
{
    uint64_t takeovers = 0, freezes = 0, extensions = 0, n = 0;
    uint64_t *rto = calloc(seed_count, sizeof *rto);
    struct world *world = world_new(four_nodes());
    assert_non_null(rto);
    assert_non_null(world);
    for (uint64_t seed = first_seed; seed < first_seed + seed_count; seed++) {
        const struct world_schedule schedule = {.seed = seed, .class = class, .node = WORLD_DRAWN};
        struct world_result r;
        assert_true(world_run(world, &schedule, &r));
        if (*r.wrong)
            fail_msg("%s, seed %" PRIu64 ": %s", name, seed, r.wrong);
        takeovers += r.takeovers;
        freezes += r.freezes > 0;
        extensions += r.extensions;
        if (r.rto_ms)
            rto[n++] = r.rto_ms;
    }
    printf("%s: %" PRIu64 " schedules, %" PRIu64 " take-overs, guests stood in %" PRIu64 ", %" PRIu64
           " extensions by pledges",
           name, seed_count, takeovers, freezes, extensions);
    qsort(rto, n, sizeof *rto, compare);
    if (n)
        printf("; restart p50 %" PRIu64 " ms, max %" PRIu64 " ms", rto[n / 2], rto[n - 1]);
    printf("\n");
    free(rto);
    world_free(world);
    if (class == WORLD_ANYTHING && seed_count >= 100)
        assert_true(takeovers && freezes && extensions); /* or nothing was tried */
}

static void test_anything(void **state)
{
    (void)state;
    run(WORLD_ANYTHING, "anything");
}

static void test_calm(void **state)
{
    (void)state;
    run(WORLD_CALM, "pauses, loss, jitter");
}

static void test_no_store(void **state)
{
    (void)state;
    run(WORLD_NO_STORE, "store away");
}

static void test_patchy(void **state)
{
    (void)state;
    run(WORLD_PATCHY, "store away, node by node");
}

static void test_one_loss(void **state)
{
    (void)state;
    run(WORLD_ONE_LOSS, "one node lost");
}

int main(int argc, char **argv)
{
    if (argc > 1)
        first_seed = strtoull(argv[1], NULL, 10);
    if (argc > 2)
        seed_count = strtoull(argv[2], NULL, 10);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tenure),    cmocka_unit_test(test_pledges),  cmocka_unit_test(test_steady),
        cmocka_unit_test(test_decides),   cmocka_unit_test(test_nowhere),  cmocka_unit_test(test_priorities),
        cmocka_unit_test(test_tolerates), cmocka_unit_test(test_anything), cmocka_unit_test(test_calm),
        cmocka_unit_test(test_no_store),  cmocka_unit_test(test_patchy),   cmocka_unit_test(test_one_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
