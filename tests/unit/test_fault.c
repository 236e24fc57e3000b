/* The fault driver: what its rules match, what they do, that a seed repeats itself, and what it
 * says of bad rules. */
#include "tests/unit/fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/err.h"

enum { MIB = 1 << 20, MS = 1000000, DICE = 200 };

static char data[65536];

static void open_faulty(struct fixture *f, const char *rules)
{
    char stack[1024];
    snprintf(stack, sizeof stack,
             "[{\"driver\":\"fault\",\"seed\":7,\"rules\":%s},{\"driver\":\"mem\",\"size\":\"1M\"}]", rules);
    fixture_open(f, stack, 0);
}

static int io(struct fixture *f, enum blk_op op, uint64_t offset, uint64_t length_bytes)
{
    return fixture_io(f, op, 0, offset, data, length_bytes);
}

static void passes_what_no_rule_meets(void **state)
{
    struct blk_extent e[4];
    uint32_t n;
    open_faulty(*state, "[]");
    assert_int_equal(io(*state, BLK_WRITE, 0, 4096), 0);
    assert_int_equal(io(*state, BLK_FLUSH, 0, 0), 0);
    assert_int_equal(fixture_extents(*state, 0, MIB, e, 4, &n), 0);
    assert_int_equal(n, 2);
    assert_int_equal(io(*state, BLK_RESIZE, 2 * MIB, 0), 0);
    assert_int_equal(blk_size(((struct fixture *)*state)->blk), 2 * MIB);
}

static void every_op(void **state)
{
    static const char *const names[] = {"read", "write", "trim", "zero", "cache", "flush", "resize"};
    static const enum blk_op ops[] = {BLK_READ, BLK_WRITE, BLK_TRIM, BLK_ZERO, BLK_CACHE, BLK_FLUSH, BLK_RESIZE};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        char rules[128];
        uint64_t length = ops[i] == BLK_FLUSH || ops[i] == BLK_RESIZE ? 0 : 512;
        snprintf(rules, sizeof rules, "[{\"op\":\"%s\",\"error\":\"ENOMEM\"}]", names[i]);
        open_faulty(*state, rules);
        for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) {
            uint64_t len = ops[k] == BLK_FLUSH || ops[k] == BLK_RESIZE ? 0 : 512;
            if (k != i)
                assert_int_equal(io(*state, ops[k], ops[k] == BLK_RESIZE ? MIB : 0, len), 0);
        }
        assert_int_equal(io(*state, ops[i], ops[i] == BLK_RESIZE ? MIB : 0, length), -ENOMEM);
        fixture_close(*state);
    }
}

static void only_in_its_range(void **state)
{
    open_faulty(*state, "[{\"op\":\"any\",\"offset\":\"64K\",\"length\":\"4K\",\"error\":\"ENOSPC\"}]");
    assert_int_equal(io(*state, BLK_READ, 65536 - 512, 512), 0);
    assert_int_equal(io(*state, BLK_READ, 65536 - 512, 513), -ENOSPC);
    assert_int_equal(io(*state, BLK_WRITE, 65536 + 4095, 1), -ENOSPC);
    assert_int_equal(io(*state, BLK_ZERO, 0, MIB), -ENOSPC);
    assert_int_equal(io(*state, BLK_READ, 65536 + 4096, 512), 0);
    assert_int_equal(io(*state, BLK_FLUSH, 0, 0), 0);
}

static void after_and_count(void **state)
{
    open_faulty(*state, "[{\"op\":\"read\",\"after\":2,\"count\":3,\"error\":\"EPERM\"}]");
    static const int expected[] = {0, 0, -EPERM, -EPERM, -EPERM, 0, 0};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        assert_int_equal(io(*state, BLK_READ, 0, 512), expected[i]);
}

static void the_first_rule_wins(void **state)
{
    open_faulty(*state, "[{\"op\":\"read\",\"count\":1,\"error\":\"EACCES\"},"
                        "{\"op\":\"any\",\"after\":1,\"error\":\"EIO\"}]");
    assert_int_equal(io(*state, BLK_READ, 0, 512), -EACCES); /* the second rule did not see it */
    assert_int_equal(io(*state, BLK_READ, 0, 512), 0);
    assert_int_equal(io(*state, BLK_READ, 0, 512), -EIO);
}

static void throw_dice(struct fixture *f, const char *rules, int *results)
{
    open_faulty(f, rules);
    for (int i = 0; i < DICE; i++)
        results[i] = io(f, BLK_READ, 0, 512);
    fixture_close(f);
}

static void a_seed_repeats_itself(void **state)
{
    static const char *const half = "[{\"op\":\"read\",\"probability\":0.5,\"error\":\"EIO\"}]";
    static const char *const second = "[{\"op\":\"write\",\"error\":\"EIO\"},"
                                      "{\"op\":\"read\",\"probability\":0.5,\"error\":\"EIO\"}]";
    int a[DICE], b[DICE], c[DICE], hits = 0;
    throw_dice(*state, half, a);
    throw_dice(*state, half, b);
    throw_dice(*state, second, c);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_not_equal(a, c, sizeof a); /* another rule, other dice */
    for (int i = 0; i < DICE; i++)
        hits += a[i] == -EIO;
    assert_in_range(hits, DICE / 4, DICE * 3 / 4); /* a fixed seed: this never varies */
    throw_dice(*state, "[{\"op\":\"read\",\"probability\":0,\"error\":\"EIO\"}]", a);
    throw_dice(*state, "[{\"op\":\"read\",\"probability\":1,\"error\":\"EIO\"}]", b);
    for (int i = 0; i < DICE; i++) {
        assert_int_equal(a[i], 0);
        assert_int_equal(b[i], -EIO);
    }
}

static void tears_a_write(void **state)
{
    struct fixture *f = *state;
    char in[8192], expected[8192] = {0};
    open_faulty(f, "[{\"op\":\"write\",\"count\":1,\"torn\":5000},"
                   "{\"op\":\"write\",\"count\":1,\"torn\":0,\"error\":\"ENOSPC\"},"
                   "{\"op\":\"write\",\"count\":1,\"torn\":\"1G\",\"error\":\"EPERM\"}]");
    fixture_pattern(data, 0, 8192, 3);
    assert_int_equal(io(f, BLK_WRITE, 0, 8192), -EIO);
    assert_int_equal(io(f, BLK_READ, 0, 0), 0);
    memcpy(expected, data, 5000);
    assert_int_equal(fixture_io(f, BLK_READ, 0, 0, in, 8192), 0);
    assert_memory_equal(in, expected, 8192);
    assert_int_equal(io(f, BLK_WRITE, 0, 8192), -ENOSPC);
    assert_int_equal(fixture_io(f, BLK_READ, 0, 0, in, 8192), 0);
    assert_memory_equal(in, expected, 8192);
    assert_int_equal(io(f, BLK_WRITE, 0, 8192), -EPERM);
    assert_int_equal(fixture_io(f, BLK_READ, 0, 0, in, 8192), 0);
    assert_memory_equal(in, data, 8192);
    assert_int_equal(io(f, BLK_WRITE, 0, 8192), 0);
}

static struct blk_req vector_req;
static bool vector_done;

static void vector_landed(struct blk_req *req)
{
    assert_ptr_equal(req, &vector_req);
    vector_done = true;
}

static void tears_inside_a_vector(void **state)
{
    struct fixture *f = *state;
    char in[4096], expected[4096] = {0};
    struct iovec iov[3] = {{data, 1000}, {data + 1000, 2000}, {data + 3000, 1096}};
    open_faulty(f, "[{\"op\":\"write\",\"torn\":1500}]");
    fixture_pattern(data, 0, 4096, 9);
    vector_done = false;
    vector_req =
        (struct blk_req){.op = BLK_WRITE, .length_bytes = 4096, .iov = iov, .iov_count = 3, .done = vector_landed};
    blk_submit(f->blk, &vector_req);
    while (!vector_done)
        loop_step(f->env.loop);
    assert_int_equal(vector_req.result, -EIO);
    memcpy(expected, data, 1500);
    assert_int_equal(fixture_io(f, BLK_READ, 0, 0, in, 4096), 0);
    assert_memory_equal(in, expected, 4096);
}

static void a_failed_flush_lasts(void **state)
{
    open_faulty(*state, "[{\"op\":\"flush\",\"count\":1,\"error\":\"EIO\"}]");
    assert_int_equal(fixture_io(*state, BLK_WRITE, BLK_FUA, 0, data, 512), 0);
    assert_int_equal(io(*state, BLK_FLUSH, 0, 0), -EIO);
    assert_int_equal(io(*state, BLK_FLUSH, 0, 0), -EIO);
    assert_int_equal(fixture_io(*state, BLK_WRITE, BLK_FUA, 0, data, 512), -EIO);
    assert_int_equal(io(*state, BLK_WRITE, 0, 512), 0);
}

static int order[4], landed_count;
static struct blk_req reqs[4];

static void landed(struct blk_req *req)
{
    order[landed_count++] = (int)(req - reqs);
}

static void delays_in_order(void **state)
{
    struct fixture *f = *state;
    struct iovec iov = {data, 512};
    open_faulty(f, "[{\"op\":\"read\",\"count\":1,\"delay\":\"30ms\",\"error\":\"ENXIO\"},"
                   "{\"op\":\"read\",\"count\":2,\"delay\":\"10ms\"}]");
    landed_count = 0;
    assert_int_equal(io(f, BLK_WRITE, 0, 512), 0); /* the clock is fresh now */
    uint64_t begin_ns = loop_now_ns(f->env.loop);
    for (int i = 0; i < 4; i++) {
        reqs[i] = (struct blk_req){.op = BLK_READ, .length_bytes = 512, .iov = &iov, .iov_count = 1, .done = landed};
        blk_submit(f->blk, &reqs[i]);
    }
    while (landed_count < 4)
        loop_step(f->env.loop);
    static const int expected[] = {3, 1, 2, 0};
    assert_memory_equal(order, expected, sizeof order);
    assert_int_equal(reqs[0].result, -ENXIO);
    assert_int_equal(reqs[1].result, 0);
    assert_true(loop_now_ns(f->env.loop) - begin_ns >= 30 * MS);
}

static void complains(struct fixture *f, const char *rules, const char *about)
{
    char stack[512];
    struct err err = {0};
    struct blk *blk = NULL;
    snprintf(stack, sizeof stack, "[{\"driver\":\"fault\",\"rules\":%s},{\"driver\":\"mem\",\"size\":1}]", rules);
    assert_int_equal(blk_open(&f->env, stack, 0, &blk, &err), -EINVAL);
    if (!strstr(err.text, about))
        fail_msg("%s: '%s' does not say '%s'", rules, err.text, about);
}

static void bad_rules(void **state)
{
    struct fixture *f = *state;
    complains(f, "{}", "fault: rules must be an array");
    complains(f, "[7]", "rule 1: must be an object, as in");
    complains(f, "[{\"op\":\"any\",\"error\":\"EIO\"},{\"error\":\"EIO\"}]", "fault: rule 2: op is missing");
    complains(f, "[{\"op\":\"raed\",\"error\":\"EIO\"}]", "rule 1: op must be one of: any, read, write, flush");
    complains(f, "[{\"op\":1,\"error\":\"EIO\"}]", "op must be one of");
    complains(f, "[{\"op\":\"read\"}]", "rule 1: does nothing: give error, delay or torn");
    complains(f, "[{\"op\":\"read\",\"error\":\"EWHAT\"}]", "error must be one of: EIO, ENOSPC");
    complains(f, "[{\"op\":\"read\",\"error\":5}]", "error must be one of");
    complains(f, "[{\"op\":\"read\",\"error\":\"EIO\",\"offset\":-1}]", "offset must be a number");
    complains(f, "[{\"op\":\"read\",\"error\":\"EIO\",\"offset\":\"x\"}]", "offset: 'x' is not a size");
    complains(f, "[{\"op\":\"read\",\"error\":\"EIO\",\"length\":0}]", "length must be at least 1");
    complains(f, "[{\"op\":\"flush\",\"error\":\"EIO\",\"length\":1}]", "a flush has no range");
    complains(f, "[{\"op\":\"read\",\"error\":\"EIO\",\"after\":1.5}]", "after must be a number");
    complains(f, "[{\"op\":\"read\",\"error\":\"EIO\",\"count\":0}]", "count must be at least 1");
    complains(f, "[{\"op\":\"read\",\"error\":\"EIO\",\"probability\":1.5}]", "from 0 to 1");
    complains(f, "[{\"op\":\"read\",\"error\":\"EIO\",\"probability\":\"half\"}]", "from 0 to 1");
    complains(f, "[{\"op\":\"read\",\"delay\":10}]", "delay must be a text with a unit");
    complains(f, "[{\"op\":\"read\",\"delay\":\"0ms\"}]", "delay must be longer than 0");
    complains(f, "[{\"op\":\"read\",\"delay\":\"soon\"}]", "delay: 'soon' is not a duration");
    complains(f, "[{\"op\":\"read\",\"torn\":512}]", "torn: only a write can be torn");
    complains(f, "[{\"op\":\"read\",\"eror\":\"EIO\"}]", "unknown field 'eror' (there are: op, offset");
}

static void too_many_rules(void **state)
{
    struct fixture *f = *state;
    char rules[65 * 32 + 128] = "[{\"driver\":\"fault\",\"rules\":[";
    for (int i = 0; i < 65; i++)
        strcat(rules, i ? ",{\"op\":\"read\",\"torn\":1}" : "{\"op\":\"read\",\"torn\":1}");
    strcat(rules, "]},{\"driver\":\"mem\",\"size\":1}]");
    struct err err = {0};
    struct blk *blk = NULL;
    assert_int_equal(blk_open(&f->env, rules, 0, &blk, &err), -EINVAL);
    assert_non_null(strstr(err.text, "65 are too many: at most 64"));
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(passes_what_no_rule_meets),
        WITH_FIXTURE(every_op),
        WITH_FIXTURE(only_in_its_range),
        WITH_FIXTURE(after_and_count),
        WITH_FIXTURE(the_first_rule_wins),
        WITH_FIXTURE(a_seed_repeats_itself),
        WITH_FIXTURE(tears_a_write),
        WITH_FIXTURE(tears_inside_a_vector),
        WITH_FIXTURE(a_failed_flush_lasts),
        WITH_FIXTURE(delays_in_order),
        WITH_FIXTURE(bad_rules),
        WITH_FIXTURE(too_many_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
