/* More regions are written to than may be hot: whoever waits for one that becomes cold goes on when it is, whatever
 * else becomes hot or cold at that moment. */
#include "tests/unit/fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "node/base/container.h"
#include "node/base/err.h"
#include "replication/member_create.h"
#include "replication/volume_core.h"
#include "tests/unit/sim_disk.h"

enum { REGION = 256 << 10, REGIONS = 8, COOLED = 2, HEATED = 3, ROUNDS = 100, PATIENCE = 10000 };

struct write {
    struct blk_req req;
    struct iovec iov;
    bool busy;
};

static uint8_t data[BLOCK_BYTES];

static void written(struct blk_req *req)
{
    CONTAINER_OF(req, struct write, req)->busy = false;
}

/* Submits one to the region; it is answered by and by. */
static void begin(struct fixture *f, struct write *w, unsigned region)
{
    w->busy = true;
    w->iov = (struct iovec){data, sizeof data};
    w->req = (struct blk_req){.op = BLK_WRITE,
                              .offset = (uint64_t)region * REGION,
                              .length_bytes = sizeof data,
                              .iov = &w->iov,
                              .iov_count = 1,
                              .done = written};
    blk_submit(f->blk, &w->req);
}

static void end_all(struct fixture *f, struct write *writes, unsigned count, unsigned round)
{
    for (unsigned i = 0, turns = 0; i < count; turns++) {
        sim_answer_one();
        sim_turn();
        while (i < count && !writes[i].busy)
            i++;
        if (turns > PATIENCE) {
            volume_die(blk_state(f->blk), -EIO, "the test ends it");
            fail_msg("round %u: write %u of %u is never answered", round, i, count);
        }
    }
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(writes[i].req.result, 0);
}

static void open_crowded(struct fixture *f)
{
    struct superblock sb = {.geometry = {LAYOUT_RAID1, 2, 16384, REGION, REGIONS * REGION, 0}};
    struct member_places places;
    struct err err = {0};
    superblock_places(&sb.geometry, 0, &places);
    sim_world = (struct sim_world){.random = 1, .loop = f->env.loop, .automatic = true, .fuse = -1};
    for (unsigned i = 0; i < sb.geometry.members; i++) {
        char stack[32];
        sb.index = i;
        sim_disk_make(i, places.end, places.end);
        snprintf(stack, sizeof stack, "sim:%u", i);
        fixture_open(f, stack, 0);
        if (member_create(f->blk, &sb, false, &err))
            fail_msg("%s", err.text);
        fixture_close(f);
    }
    fixture_open(f,
                 "{\"driver\":\"volume\",\"layout\":\"raid1\",\"tick\":0,\"cool\":0,\"hot-regions\":2,\"eject\":0,"
                 "\"members\":[\"sim:0\",\"sim:1\"]}",
                 0);
}

/* Two become cold, and are written to meanwhile; and so are others, which become hot. */
static void who_waits_for_a_cold_region_goes_on(void **state)
{
    struct fixture *f = *state;
    static struct write writes[COOLED + HEATED];
    open_crowded(f);
    for (unsigned round = 0; round < ROUNDS; round++) {
        sim_world.automatic = false;
        for (unsigned i = 0; i < COOLED; i++)
            begin(f, &writes[i], i);
        end_all(f, writes, COOLED, round);
        volume_tick(blk_state(f->blk));
        for (unsigned i = 0; i < COOLED + HEATED; i++)
            begin(f, &writes[i], i);
        end_all(f, writes, COOLED + HEATED, round);
        sim_world.automatic = true;
        sim_answer_all();
        for (int i = 0; i < PATIENCE && ((struct volume *)blk_state(f->blk))->hot_count; i++) {
            volume_tick(blk_state(f->blk));
            sim_turn();
        }
        assert_int_equal(((struct volume *)blk_state(f->blk))->hot_count, 0);
    }
    fixture_close(f);
    for (unsigned i = 0; i < 2; i++)
        sim_disk_free(i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_waits_for_a_cold_region_goes_on, fixture_setup, fixture_teardown),
    };
    blk_driver_register(&sim_driver);
    replication_drivers_register();
    return cmocka_run_group_tests_name("volume_crowd", tests, NULL, NULL);
}
