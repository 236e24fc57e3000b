/* Sectors of 512 bytes over blocks of 4096: every request against a plain copy of what the disk should hold, one at a
 * time and many at once, over a driver that answers in any order. */
#include "tests/unit/fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nbd/blk_driver.h"
#include "node/base/container.h"
#include "node/base/loop.h"

enum { BLOCK = 4096, SECTOR = 512, DISK = 64 * BLOCK, FLIGHT = 24 };

/* ---- a disk of blocks that answers late, the newest request first ---- */

struct coarse {
    struct blk *blk;
    uint8_t bytes[DISK];
    struct blk_req_list held;
    struct loop_job job;
    unsigned reads, writes;
    int fail_reads; /* -errno */
};

static struct coarse *disk;

static void do_request(struct coarse *c, struct blk_req *req)
{
    uint64_t at = req->offset;
    for (int i = 0; i < req->iov_count && (req->op == BLK_READ || req->op == BLK_WRITE); i++) {
        if (req->op == BLK_READ)
            memcpy(req->iov[i].iov_base, c->bytes + at, req->iov[i].iov_len);
        else
            memcpy(c->bytes + at, req->iov[i].iov_base, req->iov[i].iov_len);
        at += req->iov[i].iov_len;
    }
    if (req->op == BLK_ZERO)
        memset(c->bytes + at, 0, req->length_bytes);
    if (req->op == BLK_TRIM)
        memset(c->bytes + at, 0xee, req->length_bytes);
    c->reads += req->op == BLK_READ;
    c->writes += req->op == BLK_WRITE;
    if (req->op == BLK_EXTENTS) { /* every other block is a hole */
        uint64_t left = req->length_bytes;
        for (; left && req->extent_count < req->extent_max; at += BLOCK, left -= BLOCK)
            req->extents[req->extent_count++] =
                (struct blk_extent){BLOCK, at / BLOCK % 2 ? BLK_EXTENT_HOLE | BLK_EXTENT_ZERO : 0, 0};
    }
}

static void answer(struct loop_job *job)
{
    struct coarse *c = CONTAINER_OF(job, struct coarse, job);
    struct blk_req *req;
    struct blk_req_list now = c->held;
    if (!STAILQ_FIRST(&now))
        return;
    STAILQ_INIT(&c->held);
    while ((req = STAILQ_FIRST(&now))) {
        STAILQ_REMOVE_HEAD(&now, link);
        bool fails = req->op == BLK_READ && c->fail_reads;
        if (!fails)
            do_request(c, req);
        blk_complete(req, fails ? c->fail_reads : 0);
    }
}

static int coarse_open(struct blk *blk, const void *config, struct err *err)
{
    struct coarse *c = blk_state(blk);
    (void)config;
    (void)err;
    disk = c;
    c->blk = blk;
    c->job.run = answer;
    STAILQ_INIT(&c->held);
    blk_set_size(blk, DISK);
    blk_set_limits(blk, &(struct blk_limits){BLOCK, BLOCK, 1 << 20});
    blk_set_can(blk, BLK_CAN_TRIM | BLK_CAN_ZERO | BLK_CAN_EXTENTS | BLK_CAN_CACHE);
    return 0;
}

static void coarse_close(struct blk *blk)
{
    (void)blk;
}

static void coarse_submit(struct blk *blk, struct blk_req *req)
{
    struct coarse *c = blk_state(blk);
    memset(req->scratch, 0xa5, sizeof req->scratch); /* they are this layer's */
    STAILQ_INSERT_HEAD(&c->held, req, link);
    loop_defer_late(blk_environment(blk)->loop, &c->job);
}

static const struct blk_option no_options[] = {{.name = NULL}};
static const struct blk_driver coarse_driver = {
    .name = "coarse",
    .options = no_options,
    .state_bytes = sizeof(struct coarse),
    .open = coarse_open,
    .close = coarse_close,
    .submit = coarse_submit,
};

#define STACK "[{\"driver\":\"align\"},{\"driver\":\"coarse\"}]"

/* ---- one at a time ---- */

static void says_what_it_takes(void **state)
{
    struct fixture *f = *state;
    struct blk *blk = fixture_open(f, STACK, 0);
    assert_int_equal(blk_limits(blk)->align_bytes, SECTOR);
    assert_int_equal(blk_limits(blk)->preferred_bytes, BLOCK);
    assert_int_equal(blk_size(blk), DISK);
}

static void leaves_alone_what_is_aligned(void **state)
{
    struct fixture *f = *state;
    static uint8_t b[2 * BLOCK];
    fixture_open(f, STACK, 0);
    assert_int_equal(fixture_io(f, BLK_WRITE, BLK_FUA, BLOCK, b, sizeof b), 0);
    assert_int_equal(disk->reads, 0);
    assert_int_equal(disk->writes, 1);
}

static void reads_a_block_for_each_ragged_edge(void **state)
{
    struct fixture *f = *state;
    static uint8_t b[3 * BLOCK];
    fixture_open(f, STACK, 0);
    assert_int_equal(fixture_io(f, BLK_WRITE, 0, SECTOR, b, SECTOR), 0);
    assert_int_equal(disk->reads, 1);
    assert_int_equal(fixture_io(f, BLK_WRITE, 0, 3 * SECTOR, b, 2 * BLOCK), 0);
    assert_int_equal(disk->reads, 3);
    disk->fail_reads = -EIO;
    assert_int_equal(fixture_io(f, BLK_WRITE, 0, SECTOR, b, SECTOR), -EIO);
    assert_int_equal(fixture_io(f, BLK_READ, 0, SECTOR, b, SECTOR), -EIO);
    disk->fail_reads = 0;
    assert_int_equal(fixture_io(f, BLK_WRITE, 0, SECTOR, b, SECTOR), 0); /* nobody was left waiting */
}

static void trims_whole_blocks_only(void **state)
{
    struct fixture *f = *state;
    static uint8_t b[4 * BLOCK];
    fixture_open(f, STACK, 0);
    memset(disk->bytes, 1, sizeof disk->bytes);
    assert_int_equal(fixture_io(f, BLK_TRIM, 0, SECTOR, NULL, SECTOR), 0);
    assert_int_equal(fixture_io(f, BLK_TRIM, 0, BLOCK - SECTOR, NULL, 2 * SECTOR), 0);
    assert_int_equal(fixture_io(f, BLK_TRIM, 0, BLOCK + SECTOR, NULL, 2 * BLOCK), 0);
    assert_int_equal(fixture_io(f, BLK_READ, 0, 0, b, sizeof b), 0);
    for (unsigned i = 0; i < sizeof b; i++)
        assert_int_equal(b[i], i / BLOCK == 2 ? 0xee : 1);
}

static void cuts_extents_to_what_was_asked(void **state)
{
    struct fixture *f = *state;
    struct blk_extent e[4];
    uint32_t n;
    fixture_open(f, STACK, 0);
    assert_int_equal(fixture_extents(f, BLOCK - SECTOR, BLOCK + 2 * SECTOR, e, 4, &n), 0);
    assert_int_equal(n, 3);
    assert_int_equal(e[0].length_bytes, SECTOR);
    assert_int_equal(e[1].length_bytes, BLOCK);
    assert_int_equal(e[1].flags, BLK_EXTENT_HOLE | BLK_EXTENT_ZERO);
    assert_int_equal(e[2].length_bytes, SECTOR);
}

/* ---- many at once ---- */

struct flying {
    struct blk_req req;
    uint8_t bytes[8 * BLOCK];
    struct iovec iov[2];
    bool flies;
};

static unsigned flying_count;

static void landed(struct blk_req *req)
{
    struct flying *f = CONTAINER_OF(req, struct flying, req);
    assert_int_equal(req->result, 0);
    f->flies = false;
    flying_count--;
}

/* Requests of any sectors, none over another that is under way, so what must be on the disk is known, and shared blocks
 * are the only thing that can go wrong. */
static void loses_no_sector(void **state)
{
    struct fixture *f = *state;
    static struct flying flights[FLIGHT];
    static uint8_t wanted[DISK], is[DISK];
    bool taken[DISK / SECTOR];
    struct blk *blk = fixture_open(f, STACK, 0);
    srand(1);
    for (unsigned round = 0; round < 3000; round++) {
        memset(taken, 0, sizeof taken);
        for (unsigned i = 0; i < FLIGHT; i++) {
            struct flying *fl = &flights[i];
            unsigned first = (unsigned)rand() % 128, count = 1 + (unsigned)rand() % 20, n = 0;
            while (n < count && !taken[first + n])
                taken[first + n++] = true;
            if (!n)
                continue;
            enum blk_op op = rand() % 4 ? BLK_WRITE : BLK_ZERO;
            uint64_t bytes = n * SECTOR, split = n > 1 ? SECTOR / 2 : bytes;
            for (unsigned b = 0; b < bytes; b++)
                fl->bytes[b] = op == BLK_ZERO ? 0 : (uint8_t)rand();
            memcpy(wanted + first * SECTOR, fl->bytes, bytes);
            fl->iov[0] = (struct iovec){fl->bytes, split};
            fl->iov[1] = (struct iovec){fl->bytes + split, bytes - split};
            fl->req = (struct blk_req){.op = op,
                                       .offset = first * SECTOR,
                                       .length_bytes = bytes,
                                       .iov = fl->iov,
                                       .iov_count = split < bytes ? 2 : 1,
                                       .done = landed};
            flying_count++;
            blk_submit(blk, &fl->req);
        }
        while (flying_count)
            loop_step(f->env.loop);
    }
    assert_int_equal(fixture_io(f, BLK_READ, 0, 0, is, DISK), 0);
    assert_memory_equal(is, wanted, DISK);
    assert_int_equal(fixture_io(f, BLK_READ, 0, 3 * SECTOR, is, 5 * BLOCK), 0);
    assert_memory_equal(is, wanted + 3 * SECTOR, 5 * BLOCK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(says_what_it_takes, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(leaves_alone_what_is_aligned, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(reads_a_block_for_each_ragged_edge, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(trims_whole_blocks_only, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(cuts_extents_to_what_was_asked, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(loses_no_sector, fixture_setup, fixture_teardown),
    };
    blk_driver_register(&coarse_driver);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
