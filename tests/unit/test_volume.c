/* The driver "volume" over memory and files: it reads back what was written, goes on when a member fails, fills members
 * that come back, repairs what is rotten, and refuses what it must. */
#include "tests/unit/volume_lab.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/err.h"
#include "replication/member_create.h"

/* ---- tests ---- */

static void test_layouts(void **state)
{
    static const struct {
        enum layout layout;
        unsigned members;
    } shapes[] = {{LAYOUT_RAID0, 3}, {LAYOUT_RAID1, 2}, {LAYOUT_RAID10, 4}, {LAYOUT_REPLICA, 3}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct lab lab;
        lab_make(&lab, *state, shapes[i].layout, shapes[i].members, i & 1);
        fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
        uint64_t size = blk_size(lab.f->blk);
        assert_int_equal(size, geometry_volume_bytes(&lab.g));
        uint8_t zero[4096], got[4096];
        memset(zero, 0, sizeof zero);
        assert_int_equal(fixture_io(lab.f, BLK_READ, 0, size - 4096, got, 4096), 0);
        assert_memory_equal(got, zero, 4096);
        lab_write(&lab, 0, (uint32_t)size, 1);
        lab_write(&lab, 12288, 4096 * 77, 2);
        assert_int_equal(fixture_io(lab.f, BLK_ZERO, 0, 8192, NULL, 4096), 0);
        for (int reopened = 0; reopened < 2; reopened++) {
            lab_expect(&lab, 0, 8192, 1);
            assert_int_equal(fixture_io(lab.f, BLK_READ, 0, 8192, got, 4096), 0);
            assert_memory_equal(got, zero, 4096);
            lab_expect(&lab, 12288, 4096 * 77, 2);
            lab_expect(&lab, 12288 + 4096 * 77, (uint32_t)size - 12288 - 4096 * 77, 1);
            assert_int_equal(fixture_io(lab.f, BLK_FLUSH, 0, 0, NULL, 0), 0);
            fixture_close(lab.f);
            fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
        }
        assert_int_equal(lab_status(&lab).hot_regions, 0); /* closed cleanly */
        fixture_close(lab.f);
        if (shapes[i].layout != LAYOUT_RAID0)
            assert_true(lab_same_data(&lab, 0, 1));
    }
}

/* A member is away while another owner writes; it is refused alone, and filled when it is back. */
static void test_away_and_back(void **state)
{
    struct lab lab;
    struct err err = {0};
    lab_make(&lab, *state, LAYOUT_RAID1, 2, true);
    fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
    lab_write(&lab, 0, 1 << 20, 1);
    fixture_close(lab.f);
    fixture_open(lab.f, lab_stack(&lab, 1, NULL), 0);
    lab_write(&lab, 65536, 8192, 2);
    assert_int_equal(lab_status(&lab).members[0].state, MEMBER_ABSENT);
    fixture_close(lab.f);
    struct blk *blk;
    assert_int_equal(blk_open(&lab.f->env, lab_stack(&lab, 2, NULL), 0, &blk, &err), -ENOMEDIUM);
    if (!strstr(err.text, "member 1 "))
        fail_msg("%s", err.text);
    fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
    lab_expect(&lab, 65536, 8192, 2);
    lab_until_in_sync(&lab, 0);
    struct volume_status s = lab_status(&lab);
    assert_int_equal(s.members[0].counts.resynced_bytes, 8192); /* no more than was changed */
    lab_expect(&lab, 65536, 8192, 2);
    fixture_close(lab.f);
    assert_true(lab_same_data(&lab, 0, 1));
    fixture_open(lab.f, lab_stack(&lab, 2, NULL), 0); /* and now it may serve alone */
    lab_expect(&lab, 65536, 8192, 2);
    fixture_close(lab.f);
}

/* A member was away and is back; then the owner dies, and the other member with it. The one that is left is enough,
 * with the witness, and is not asked for the set before. */
static void test_dies_after_return(void **state)
{
    struct lab lab;
    lab_make(&lab, *state, LAYOUT_RAID1, 2, true);
    fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
    lab_write(&lab, 0, 65536, 0);
    fixture_close(lab.f);
    fixture_open(lab.f, lab_stack(&lab, 2, NULL), 0);
    lab_write(&lab, 0, 65536, 1);
    fixture_close(lab.f);
    fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
    lab_until_in_sync(&lab, 1);
    lab_write(&lab, 0, 4096, 2); /* waits for what was to be told of the set */
    char *as_left = malloc(lab.places.end);
    lab_pread(&lab, 1, as_left, lab.places.end, 0);
    fixture_close(lab.f);
    lab_pwrite(&lab, 1, as_left, lab.places.end, 0);
    free(as_left);
    fixture_open(lab.f, lab_stack(&lab, 1, NULL), 0);
    lab_expect(&lab, 0, 4096, 2);
    lab_expect(&lab, 4096, 65536 - 4096, 1);
    fixture_close(lab.f);
}

static void test_replaced(void **state)
{
    struct lab lab;
    lab_make(&lab, *state, LAYOUT_REPLICA, 3, false);
    fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
    lab_write(&lab, 0, LAB_MEMBER, 1);
    fixture_close(lab.f);
    lab_make_member(&lab, 1, true);
    fixture_open(lab.f, lab_stack(&lab, 0, ",\"force\":true"), 0);
    assert_int_not_equal(lab_status(&lab).members[1].state, MEMBER_IN_SYNC);
    lab_write(&lab, 4096, 4096, 2);
    lab_until_in_sync(&lab, 1);
    fixture_close(lab.f);
    assert_true(lab_same_data(&lab, 0, 1) && lab_same_data(&lab, 0, 2));
}

/* Rot on one copy, in any place of it: the right data is served and the copy is repaired. */
static void test_rot(void **state)
{
    struct lab lab;
    lab_make(&lab, *state, LAYOUT_RAID1, 2, false);
    fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
    lab_write(&lab, 0, LAB_MEMBER, 1);
    fixture_close(lab.f);
    lab_damage(&lab, 0, lab.places.data, 64 << 10);
    lab_damage(&lab, 1, lab.places.data + (128 << 10), 64 << 10);
    lab_damage(&lab, 0, lab.places.sums + lab.places.sum_stride, 512);
    assert_false(lab_same_data(&lab, 0, 1));
    fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
    for (int i = 0; i < 3; i++)
        lab_expect(&lab, 0, LAB_MEMBER, 1);
    fixture_close(lab.f);
    /* the same rot on both copies: an error, no garbage */
    lab_damage(&lab, 0, lab.places.data + 512 * 1024, 512);
    lab_damage(&lab, 1, lab.places.data + 512 * 1024, 512);
    fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
    uint8_t got[8192];
    assert_int_equal(fixture_io(lab.f, BLK_READ, 0, 512 * 1024, got, 4096), -EIO);
    assert_int_equal(lab_status(&lab).counts.unreadable, 1);
    lab_expect(&lab, 512 * 1024 + 4096, 4096, 1);
    lab_write(&lab, 512 * 1024, 4096, 2);
    lab_expect(&lab, 512 * 1024, 4096, 2);
    fixture_close(lab.f);
}

static void test_scrub(void **state)
{
    struct lab lab;
    lab_make(&lab, *state, LAYOUT_RAID10, 4, false);
    fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
    lab_write(&lab, 0, 2 * LAB_MEMBER, 1);
    fixture_close(lab.f);
    for (unsigned i = 0; i < 4; i++)
        lab_damage(&lab, i, lab.places.data + i * 65536, 4096);
    fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
    assert_int_equal(lab_scrub(&lab), 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(lab_status(&lab).members[i].counts.repaired, 1);
    fixture_close(lab.f);
    assert_true(lab_same_data(&lab, 0, 1) && lab_same_data(&lab, 2, 3));
}

static void test_attach(void **state)
{
    struct lab lab;
    struct err err = {0};
    char stack[256];
    lab_make(&lab, *state, LAYOUT_RAID1, 2, true);
    fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0); /* the witness hears of the volume */
    fixture_close(lab.f);
    fixture_open(lab.f, lab_stack(&lab, 2, NULL), 0);
    lab_write(&lab, 0, 1 << 20, 1);
    snprintf(stack, sizeof stack, "raw:%s", lab.files[1]);
    struct blk *volume = volume_in(lab.f->blk);
    assert_int_equal(volume_attach(volume, 0, stack, &err), -EBUSY);
    assert_int_equal(volume_attach(volume, 7, stack, &err), -EINVAL);
    assert_int_equal(volume_attach(volume, 1, "raw:/nowhere", &err), -ENOENT);
    assert_int_equal(volume_attach(volume, 1, stack, &err), 0);
    lab_until_in_sync(&lab, 1);
    fixture_close(lab.f);
    assert_true(lab_same_data(&lab, 0, 1));
}

/* Nobody writes or reads. The witness falls silent, and a member; both are missed, and taken back when they answer
 * again. */
static void test_idle(void **state)
{
    struct lab lab;
    char stack[1024];
    lab_make(&lab, *state, LAYOUT_RAID1, 2, true);
    snprintf(stack, sizeof stack,
             "{\"driver\":\"volume\",\"layout\":\"raid1\",\"tick\":\"0.01\",\"ask\":\"0.02\",\"members\":[\"raw:%s\","
             "[{\"driver\":\"fault\",\"rules\":[{\"op\":\"read\",\"after\":60,\"count\":3,\"error\":\"EIO\"}]},"
             "{\"driver\":\"raw\",\"file\":\"%s\"}]],\"witness\":[{\"driver\":\"fault\",\"rules\":["
             "{\"op\":\"read\",\"after\":20,\"count\":3,\"error\":\"EIO\"}]},{\"driver\":\"raw\",\"file\":\"%s\"}]}",
             lab.files[0], lab.files[1], lab.witness);
    fixture_open(lab.f, stack, 0);
    assert_int_equal(lab_status(&lab).members[1].state, MEMBER_IN_SYNC);
    assert_true(lab_status(&lab).has_witness);
    while (!lab_status(&lab).witness_lost)
        loop_step(lab.f->env.loop);
    assert_false(lab_status(&lab).has_witness);
    while (!lab_status(&lab).has_witness)
        loop_step(lab.f->env.loop);
    while (lab_status(&lab).members[1].state != MEMBER_LOST)
        loop_step(lab.f->env.loop);
    assert_int_equal(lab_status(&lab).members[1].counts.lost, 1);
    lab_until_in_sync(&lab, 1);
    assert_int_equal(lab_status(&lab).members[0].counts.lost, 0);
    fixture_close(lab.f);
}

/* All members fall silent for longer than a request would wait. Nobody asked for anything, so nothing failed. */
static void test_idle_alone(void **state)
{
    struct lab lab;
    char stack[1024];
    lab_make(&lab, *state, LAYOUT_RAID1, 2, false);
    snprintf(stack, sizeof stack,
             "{\"driver\":\"volume\",\"layout\":\"raid1\",\"tick\":\"0.01\",\"ask\":\"0.02\",\"suspend\":\"0.2\","
             "\"members\":["
             "[{\"driver\":\"fault\",\"rules\":[{\"op\":\"read\",\"after\":30,\"count\":200,\"error\":\"EIO\"}]},"
             "{\"driver\":\"raw\",\"file\":\"%s\"}],"
             "[{\"driver\":\"fault\",\"rules\":[{\"op\":\"read\",\"after\":30,\"count\":200,\"error\":\"EIO\"}]},"
             "{\"driver\":\"raw\",\"file\":\"%s\"}]]}",
             lab.files[0], lab.files[1]);
    fixture_open(lab.f, stack, 0);
    while (!lab_status(&lab).suspended)
        loop_step(lab.f->env.loop);
    while (lab_status(&lab).suspended && !lab_status(&lab).dead)
        loop_step(lab.f->env.loop);
    assert_int_equal(lab_status(&lab).dead, 0);
    lab_write(&lab, 0, 65536, 3);
    lab_expect(&lab, 0, 65536, 3);
    fixture_close(lab.f);
}

static void open_alone(struct lab *lab, const char *error)
{
    char stack[1024];
    snprintf(stack, sizeof stack,
             "{\"driver\":\"volume\",\"layout\":\"raid0\",\"tick\":\"0.01\",\"members\":["
             "[{\"driver\":\"fault\",\"rules\":[{\"op\":\"flush\",\"after\":4,\"count\":3,\"error\":\"%s\"}]},"
             "{\"driver\":\"raw\",\"file\":\"%s\"}]]}",
             error, lab->files[0]);
    fixture_open(lab->f, stack, 0);
}

/* The only member is not reached for a while, just as a flush comes: that waits, and nothing is the worse for it. One
 * that it fails is never made good. */
static void test_flush_waits(void **state)
{
    struct lab lab;
    lab_make(&lab, *state, LAYOUT_RAID0, 1, false);
    open_alone(&lab, "ENOTCONN");
    for (unsigned i = 0; i < 12; i++) {
        lab_write(&lab, i * UINT64_C(65536), 65536, i);
        assert_int_equal(fixture_io(lab.f, BLK_FLUSH, 0, 0, NULL, 0), 0);
    }
    assert_false(lab_status(&lab).suspended);
    fixture_close(lab.f);
    open_alone(&lab, "EIO");
    int rc = 0;
    for (unsigned i = 0; i < 12 && !rc; i++)
        rc = fixture_io(lab.f, BLK_FLUSH, 0, 0, NULL, 0);
    assert_int_equal(rc, -EIO);
    assert_int_equal(fixture_io(lab.f, BLK_FLUSH, 0, 0, NULL, 0), -EIO);
    fixture_close(lab.f);
}

static const char *blank_witness(struct lab *lab)
{
    struct err err = {0};
    char stack[256];
    const char *file = fixture_file(lab->f, 192 << 10);
    struct superblock sb = {.geometry = lab->g, .has_witness = true, .journal_bytes = lab->journal_bytes};
    memcpy(sb.volume, "a volume of test", UUID_BYTES);
    snprintf(stack, sizeof stack, "raw:%s", file);
    fixture_open(lab->f, stack, 0);
    assert_int_equal(member_create_witness(lab->f->blk, &sb, true, &err), 0);
    fixture_close(lab->f);
    return file;
}

/* One that is lost is replaced by a blank one: nobody's word until it was told, and then a vote as any. */
static void test_another_witness(void **state)
{
    struct lab lab;
    struct err err = {0};
    struct blk *blk;
    char stack[256];
    lab_make(&lab, *state, LAYOUT_RAID1, 2, true);
    fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
    fixture_close(lab.f);
    fixture_open(lab.f, lab_stack(&lab, 1, NULL), 0); /* it goes on without member 0, and the old witness knows */
    lab_write(&lab, 0, 65536, 1);
    fixture_close(lab.f);

    lab.witness = blank_witness(&lab);
    assert_int_equal(blk_open(&lab.f->env, lab_stack(&lab, 2, NULL), 0, &blk, &err), -ENOMEDIUM);
    fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
    lab_until_in_sync(&lab, 0);
    fixture_close(lab.f);

    /* an owner that runs without one is given another, and tells it at once */
    const char *blank = blank_witness(&lab);
    lab.witness = "/nowhere";
    fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
    assert_false(lab_status(&lab).has_witness);
    snprintf(stack, sizeof stack, "raw:%s", blank);
    assert_int_equal(volume_attach_witness(volume_in(lab.f->blk), stack, &err), 0);
    while (!lab_status(&lab).has_witness)
        loop_step(lab.f->env.loop);
    fixture_close(lab.f);
    lab.witness = blank;
    fixture_open(lab.f, lab_stack(&lab, 2, NULL), 0);
    lab_expect(&lab, 0, 65536, 1);
    fixture_close(lab.f);
}

static void test_refusals(void **state)
{
    struct lab lab;
    struct err err = {0};
    struct blk *blk;
    lab_make(&lab, *state, LAYOUT_RAID1, 2, false);
    assert_int_equal(blk_open(&lab.f->env, lab_stack(&lab, 3, NULL), 0, &blk, &err), -EINVAL);
    assert_int_equal(blk_open(&lab.f->env, lab_stack(&lab, 2, NULL), 0, &blk, &err), -ENOMEDIUM);
    fixture_open(lab.f, lab_stack(&lab, 0, ",\"epoch\":7"), 0);
    fixture_close(lab.f);
    assert_int_equal(blk_open(&lab.f->env, lab_stack(&lab, 0, ",\"epoch\":6"), 0, &blk, &err), -ESTALE);
    fixture_open(lab.f, lab_stack(&lab, 0, ",\"epoch\":7"), 0);
    uint8_t got[4096];
    assert_int_equal(fixture_io(lab.f, BLK_READ, 0, 512, got, 512), -EINVAL);
    fixture_close(lab.f);
    const char *first = lab.files[0];
    lab.files[0] = lab.files[1], lab.files[1] = first;
    assert_int_equal(blk_open(&lab.f->env, lab_stack(&lab, 0, NULL), 0, &blk, &err), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_layouts, lab_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_away_and_back, lab_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_dies_after_return, lab_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_replaced, lab_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_rot, lab_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_scrub, lab_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_attach, lab_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_idle, lab_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_flush_waits, lab_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_idle_alone, lab_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_another_witness, lab_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_refusals, lab_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
