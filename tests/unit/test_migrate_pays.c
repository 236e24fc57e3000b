/* When compressing pages pays: connections played in virtual time, on links and with pages of all kinds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/migrate_pays.h"

enum { BATCH = 256 << 10, MIB = 1 << 20 };

/* A sender with a socket's buffer before it. Bytes, nanoseconds. */
struct play {
    double link_ns; /* of a byte */
    double pack_ns, left, own_ns;
    double buffer; /* what the socket holds */
    double now, held, queued;
    double others; /* what other connections put on the link, as a multiple of what this one does */
    uint64_t pages, wire, packed, trials;
    struct migrate_pays pays;
};

static void passes(struct play *p, double ns)
{
    double drained = p->link_ns > 0 ? ns / p->link_ns : p->queued;
    p->now += ns;
    p->queued = drained < p->queued ? p->queued - drained : 0;
}

static uint64_t on_link(const struct play *p)
{
    return (uint64_t)((double)p->wire * (1 + p->others));
}

static void send(struct play *p)
{
    double wire = BATCH;
    passes(p, p->own_ns * BATCH);
    if (migrate_pays_wants(&p->pays)) {
        p->trials += p->pays.trial;
        passes(p, p->pack_ns * BATCH);
        wire = p->left < 1 ? p->left * BATCH : BATCH;
        migrate_pays_packed(&p->pays, BATCH, (uint64_t)wire, (uint64_t)(p->pack_ns * BATCH));
        p->packed += wire < BATCH ? BATCH : 0;
    }
    p->queued += wire;
    if (p->queued > p->buffer) {
        double wait = (p->queued - p->buffer) * p->link_ns;
        passes(p, wait);
        p->held += wait;
    }
    p->pages += BATCH;
    p->wire += (uint64_t)wire;
    if (migrate_pays_sent(&p->pays, (uint64_t)wire))
        migrate_pays_look(&p->pays, (uint64_t)p->now, (uint64_t)p->held, on_link(p));
}

static void run(struct play *p, unsigned mib)
{
    p->own_ns = 0.3;
    p->buffer = 2 * MIB;
    p->pages = p->wire = p->packed = p->trials = 0;
    migrate_pays_begin(&p->pays, (uint64_t)p->now, (uint64_t)p->held, 0);
    while (p->pages < (uint64_t)mib * MIB)
        send(p);
}

static double packed_part(const struct play *p)
{
    return (double)p->packed / (double)p->pages;
}

static void test_slow_link(void **state)
{
    (void)state;
    struct play p = {.link_ns = 80, .pack_ns = 2.4, .left = 0.35};
    run(&p, 200);
    assert_true(packed_part(&p) > 0.9);
    assert_true((double)p.wire < 0.45 * (double)p.pages);
    assert_true(p.now < 0.45 * p.link_ns * (double)p.pages); /* and it is sooner there */
}

/* Faster than the processor fills it: once compressed, the link makes nobody wait, and is still known. */
static void test_processor_is_slower(void **state)
{
    (void)state;
    struct play p = {.link_ns = 6.5, .pack_ns = 2.4, .left = 0.3};
    run(&p, 400);
    assert_true(packed_part(&p) > 0.7);
    assert_true(p.now < p.link_ns * (double)p.pages);
}

static void test_fast_link(void **state)
{
    (void)state;
    struct play p = {.link_ns = 0.2, .pack_ns = 2.4, .left = 0.35};
    run(&p, 400);
    assert_int_equal(p.packed, 0);
    assert_int_equal(p.trials, 0);
    p = (struct play){.link_ns = 2.4, .pack_ns = 2.4, .left = 0.35}; /* full, and as fast as pages are compressed */
    run(&p, 512);
    assert_in_range(p.trials, 1, 5);
    assert_int_equal(p.packed, p.trials * BATCH);
}

/* Each of four connections has a quarter of the link, and all of them take processor time. */
static void test_shared_link(void **state)
{
    (void)state;
    struct play p = {.link_ns = 8, .pack_ns = 2.4, .left = 0.35, .others = 3};
    run(&p, 400);
    assert_true(packed_part(&p) < 0.01);
    p = (struct play){.link_ns = 36, .pack_ns = 2.4, .left = 0.35, .others = 3};
    run(&p, 400);
    assert_true(packed_part(&p) > 0.9);
    p = (struct play){
        .link_ns = 10, .pack_ns = 2.4, .left = 0.35, .others = 0.2}; /* the others compress: it has more */
    run(&p, 400);
    assert_true(packed_part(&p) > 0.9);
}

/* A receiver that takes nothing for five milliseconds says nothing of the link. */
static void test_hiccup(void **state)
{
    (void)state;
    struct play p = {.link_ns = 0.2, .pack_ns = 2.4, .left = 0.35};
    run(&p, 50);
    for (unsigned i = 1; i < 2000; i++) {
        if (i % 200 == 0) {
            p.now += 5e6;
            p.held += 5e6;
        }
        send(&p);
    }
    assert_int_equal(p.trials, 0);
}

static void test_pages_that_do_not_shrink(void **state)
{
    (void)state;
    struct play p = {.link_ns = 9, .pack_ns = 1.5, .left = 1};
    run(&p, 400);
    assert_int_equal(p.packed, 0);
    assert_in_range(p.trials, 2, 100); /* of 1600 times */
    p.left = 0.3;                      /* others follow, which do */
    run(&p, 400);
    assert_true(packed_part(&p) > 0.8);
    p.left = 0.95;
    p.pack_ns = 4;
    run(&p, 400);
    assert_true(packed_part(&p) < 0.1);
}

static void test_link_changes(void **state)
{
    (void)state;
    struct play p = {.link_ns = 80, .pack_ns = 2.4, .left = 0.35};
    run(&p, 100);
    p.link_ns = 0.2;
    run(&p, 400);
    assert_true(packed_part(&p) < 0.5); /* a look at the bare link has shown it */
    run(&p, 400);
    assert_int_equal(p.packed, 0);
    p.link_ns = 80;
    run(&p, 200);
    assert_true(packed_part(&p) > 0.9);
}

static void test_arithmetic(void **state)
{
    (void)state;
    assert_true(migrate_pays_for(2, 0.5, 6.1));
    assert_false(migrate_pays_for(2, 0.5, 5.9));
    assert_false(migrate_pays_for(0.1, 1, 1000));
    assert_false(migrate_pays_for(0.1, 0.1, 1.9)); /* too fast a link */
    assert_false(migrate_pays_for(0, 0, 1000));    /* nothing is known */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slow_link),    cmocka_unit_test(test_processor_is_slower),
        cmocka_unit_test(test_fast_link),    cmocka_unit_test(test_shared_link),
        cmocka_unit_test(test_hiccup),       cmocka_unit_test(test_pages_that_do_not_shrink),
        cmocka_unit_test(test_link_changes), cmocka_unit_test(test_arithmetic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
