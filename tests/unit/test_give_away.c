/* Guests that their living node cannot run: when they are given away, to whom, and when not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>
#include <string.h>

#include "node/agent/give_away.h"

#define GIB(n) ((uint64_t)(n) << 30)

enum { A, B, C, NODES };

struct scene {
    struct failover_view view;
    struct failover_guest guest;
    struct give_away_reach reach[NODES];
    struct give_away_case seen;
};

/* A guest of A with a member of its volume on each, two of which are enough. */
static void make(struct scene *s)
{
    static const char *const names[NODES] = {"a", "b", "c"};
    *s = (struct scene){.view = {.node_count = NODES, .self = A, .armed = true}};
    for (int n = 0; n < NODES; n++) {
        s->view.nodes[n] = (struct failover_node){.name = names[n], .alive = true, .memory_bytes = GIB(8)};
        s->reach[n].members[0] = n == A ? 1 << A : 1 << B | 1 << C;
    }
    s->view.nodes[C].memory_bytes = GIB(16);
    s->guest = (struct failover_guest){.name = "g", .node = A, .is_protected = true, .memory_bytes = GIB(1), .able = 7};
    s->guest.disk_count = 1;
    s->guest.disks[0] = (struct failover_disk){.members = 3, .spare = 1, .node = {A, B, C}, .witness = FAILOVER_NOBODY};
    s->seen = (struct give_away_case){
        .cause = GIVE_AWAY_VOLUMES, .for_ms = GIVE_AWAY_AFTER_MS, .ended = true, .reach = s->reach};
}

static struct give_away_decision decide(const struct scene *s)
{
    return give_away_decide(&s->view, &s->guest, &s->seen);
}

static void expect(const struct scene *s, enum give_away_verdict verdict, int target)
{
    struct give_away_decision d = decide(s);
    assert_int_equal(d.verdict, verdict);
    assert_int_equal(d.target, target);
}

static void expect_wait(const struct scene *s, const char *why)
{
    struct give_away_decision d = decide(s);
    assert_int_equal(d.verdict, GIVE_AWAY_WAITS);
    assert_int_equal(d.target, FAILOVER_NOBODY);
    assert_non_null(strstr(d.reason, why));
}

static void test_time(void **state)
{
    struct scene s;
    (void)state;
    make(&s);
    expect(&s, GIVE_AWAY_GIVES, C);
    s.seen.for_ms--;
    expect(&s, GIVE_AWAY_STAYS, FAILOVER_NOBODY);
    s.seen.for_ms = UINT64_MAX;
    s.seen.cause = GIVE_AWAY_NONE;
    expect(&s, GIVE_AWAY_STAYS, FAILOVER_NOBODY);
    s.seen.cause = GIVE_AWAY_NO_START;
    expect(&s, GIVE_AWAY_GIVES, C);
    s.guest.is_protected = false;
    expect(&s, GIVE_AWAY_STAYS, FAILOVER_NOBODY);
}

static void test_ended_first(void **state)
{
    struct scene s;
    (void)state;
    make(&s);
    s.seen.ended = false;
    expect(&s, GIVE_AWAY_ENDS, C);
}

static void test_not_now(void **state)
{
    struct scene s;
    (void)state;
    make(&s);
    s.view.armed = false;
    expect_wait(&s, "disarmed");
    make(&s);
    s.seen.forbidden = "the store does not answer";
    expect_wait(&s, "the store does not answer");
    make(&s);
    s.seen.migrates = true;
    expect_wait(&s, "moved");
    make(&s);
    s.seen.drill = "d";
    expect_wait(&s, "drill");
    make(&s);
    s.guest.cool_ms = 1;
    expect_wait(&s, "a short while ago");
    make(&s);
    s.seen.cause = GIVE_AWAY_CRASHES;
    expect(&s, GIVE_AWAY_GIVES, C);
    s.seen.is_repeated = true;
    expect_wait(&s, "on another node, too");
}

/* Not to who cannot say that he reaches its volumes, however much room he has. */
static void test_proof(void **state)
{
    struct scene s;
    (void)state;
    make(&s);
    s.reach[C].members[0] = 1 << C;
    expect(&s, GIVE_AWAY_GIVES, B);
    s.reach[B].members[0] = 0;
    expect_wait(&s, "says that it reaches");
    s.reach[B].members[0] = 1 << A | 1 << B;
    expect(&s, GIVE_AWAY_GIVES, B);
    /* each volume of it */
    s.guest.disks[1] = s.guest.disks[0];
    s.guest.disk_count = 2;
    expect_wait(&s, "says that it reaches");
    s.reach[B].members[1] = 7;
    expect(&s, GIVE_AWAY_GIVES, B);
    /* without a volume there is nothing to prove */
    s.guest.disk_count = 0;
    expect(&s, GIVE_AWAY_GIVES, C);
}

static void test_witness(void **state)
{
    struct scene s;
    (void)state;
    make(&s);
    s.guest.disks[0] =
        (struct failover_disk){.members = 2, .spare = 1, .has_witness = true, .node = {A, B}, .witness = C};
    s.reach[B].members[0] = s.reach[C].members[0] = 1 << B;
    expect_wait(&s, "says that it reaches");
    s.reach[B].witness[0] = true;
    expect(&s, GIVE_AWAY_GIVES, B);
    s.reach[C].members[0] = 3; /* nothing is missing there, so nobody has to vote */
    expect(&s, GIVE_AWAY_GIVES, C);
}

static void test_nowhere(void **state)
{
    struct scene s;
    (void)state;
    make(&s);
    s.view.nodes[B].drained = true;
    s.view.nodes[C].alive = false;
    s.guest.disks[0].spare = 2;
    expect_wait(&s, "no other node is up");
    make(&s);
    s.guest.memory_bytes = GIB(16);
    expect_wait(&s, "memory");
    make(&s);
    s.guest.able = 1 << A;
    expect_wait(&s, "placement rules");
    s.guest.bare = 6;
    expect_wait(&s, "has a copy of the images");
    assert_string_equal(give_away_cause_name(GIVE_AWAY_VOLUMES), "volumes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_time),  cmocka_unit_test(test_ended_first), cmocka_unit_test(test_not_now),
        cmocka_unit_test(test_proof), cmocka_unit_test(test_witness),     cmocka_unit_test(test_nowhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
