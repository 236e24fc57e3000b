/* Volumes that become larger: with members that are there, that are away, that cannot; what is refused; and that
 * nothing of an old format is read differently. What happens when owners and members fall meanwhile is
 * test_volume_sim.c's. */
#include "tests/unit/volume_lab.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/base/err.h"
#include "replication/volume_core.h"

enum { GROWN = 3 /* times what it was */ };

static int grow(struct lab *lab, uint64_t bytes)
{
    return fixture_io(lab->f, BLK_RESIZE, 0, bytes, NULL, 0);
}

static void expect_zeroes(struct lab *lab, uint64_t offset, uint32_t length)
{
    uint8_t *got = malloc(length);
    memset(got, 0xee, length);
    assert_int_equal(fixture_io(lab->f, BLK_READ, 0, offset, got, length), 0);
    for (uint32_t i = 0; i < length; i++)
        assert_int_equal(got[i], 0);
    free(got);
}

static void test_layouts(void **state)
{
    static const struct {
        enum layout layout;
        unsigned members;
    } shapes[] = {{LAYOUT_RAID0, 3},   {LAYOUT_RAID1, 2}, {LAYOUT_RAID10, 4},
                  {LAYOUT_REPLICA, 3}, {LAYOUT_RAID5, 4}, {LAYOUT_RAID6, 4}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct lab lab;
        lab_make_with_room(&lab, *state, shapes[i].layout, shapes[i].members, i == 1);
        fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
        uint32_t size = (uint32_t)blk_size(lab.f->blk), larger = GROWN * size, again = larger + 4096;
        lab_write(&lab, 0, size, 1);
        assert_int_equal(grow(&lab, larger), 0);
        assert_int_equal(blk_size(lab.f->blk), larger);
        expect_zeroes(&lab, size, larger - size);
        lab_expect(&lab, 0, size, 1);
        lab_write(&lab, size - 4096, 8192, 2); /* across the old end */
        lab_write(&lab, larger - 65536, 65536, 3);
        fixture_close(lab.f);
        fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
        assert_int_equal(blk_size(lab.f->blk), larger);
        lab_expect(&lab, 0, size - 4096, 1);
        lab_expect(&lab, size - 4096, 8192, 2);
        lab_expect(&lab, larger - 65536, 65536, 3);
        expect_zeroes(&lab, size + 4096, larger - 65536 - size - 4096);
        assert_int_equal(grow(&lab, again),
                         0); /* one block more is a region more; the maps have more sectors than one */
        lab_expect(&lab, larger - 65536, 65536, 3);
        expect_zeroes(&lab, larger, 4096);
        assert_int_equal(lab_scrub(&lab), 0);
        fixture_close(lab.f);
    }
}

/* One is away while it grows, and the next owner begins without it as well; when it comes back it is made as large, and
 * filled: with parity and copies. The new part of the maps lies in blocks that were not there before. */
static void test_away(void **state)
{
    static const struct {
        enum layout layout;
        unsigned members;
    } shapes[] = {{LAYOUT_RAID1, 2}, {LAYOUT_RAID5, 3}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct lab lab;
        lab_make_with_room(&lab, *state, shapes[i].layout, shapes[i].members, i == 0);
        fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
        uint32_t size = (uint32_t)blk_size(lab.f->blk);
        uint64_t larger = LAB_ROOM * (uint64_t)geometry_columns(&lab.g);
        lab_write(&lab, 0, size, 1);
        fixture_close(lab.f);
        fixture_open(lab.f, lab_stack(&lab, 2, NULL), 0);
        assert_int_equal(grow(&lab, larger), 0);
        lab_write(&lab, larger - 65536, 65536, 2);
        fixture_close(lab.f);
        fixture_open(lab.f, lab_stack(&lab, 2, NULL), 0);
        lab_expect(&lab, larger - 65536, 65536, 2);
        fixture_close(lab.f);
        fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
        assert_int_equal(blk_size(lab.f->blk), larger);
        lab_until_in_sync(&lab, 1);
        fixture_close(lab.f);
        fixture_open(lab.f, lab_stack(&lab, 1, NULL), 0); /* and now it stands in for another one */
        lab_expect(&lab, 0, size, 1);
        lab_expect(&lab, larger - 65536, 65536, 2);
        expect_zeroes(&lab, size, 1 << 20);
        fixture_close(lab.f);
    }
}

/* What a member's device has where it was not needed so far is no part of the volume. */
static void test_garbage_behind(void **state)
{
    struct lab lab;
    lab_make_with_room(&lab, *state, LAYOUT_RAID1, 2, false);
    uint8_t *garbage = malloc(LAB_MEMBER);
    memset(garbage, 0xa5, LAB_MEMBER);
    for (unsigned m = 0; m < 2; m++)
        lab_pwrite(&lab, m, garbage, LAB_MEMBER, lab.places.end);
    free(garbage);
    fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
    assert_int_equal(grow(&lab, 2 * LAB_MEMBER), 0);
    expect_zeroes(&lab, LAB_MEMBER, LAB_MEMBER);
    fixture_close(lab.f);
}

static void test_refusals(void **state)
{
    struct lab lab;
    lab_make_with_room(&lab, *state, LAYOUT_RAID1, 2, false);
    fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
    lab_write(&lab, 0, LAB_MEMBER, 1);
    assert_int_equal(grow(&lab, LAB_MEMBER - 4096), -EINVAL); /* none becomes smaller */
    assert_int_equal(grow(&lab, LAB_MEMBER + 512), -EINVAL);
    assert_int_equal(grow(&lab, LAB_ROOM + UINT64_C(4096)), -EFBIG);
    assert_int_equal(grow(&lab, UINT64_C(1) << 62), -EFBIG);
    assert_int_equal(grow(&lab, LAB_MEMBER), 0);
    assert_int_equal(grow(&lab, LAB_ROOM), 0);
    lab_expect(&lab, 0, LAB_MEMBER, 1);
    fixture_close(lab.f);

    lab_make(&lab, *state, LAYOUT_RAID1, 2, false); /* made without room */
    fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
    assert_int_equal(grow(&lab, 2 * LAB_MEMBER), -EOPNOTSUPP);
    fixture_close(lab.f);
}

/* One member cannot be made larger: nothing has changed, for none of them, and it is no loss. */
static void test_member_that_cannot(void **state)
{
    struct lab lab;
    char stack[1024];
    lab_make_with_room(&lab, *state, LAYOUT_RAID1, 2, false);
    snprintf(
        stack, sizeof stack,
        "{\"driver\":\"volume\",\"layout\":\"raid1\",\"tick\":\"0.01\",\"members\":[\"raw:%s\",[{\"driver\":\"fault\","
        "\"rules\":[{\"op\":\"resize\",\"error\":\"ENOSPC\"}]},{\"driver\":\"raw\",\"file\":\"%s\"}]]}",
        lab.files[0], lab.files[1]);
    fixture_open(lab.f, stack, 0);
    lab_write(&lab, 0, 65536, 1);
    assert_int_equal(grow(&lab, 2 * LAB_MEMBER), -ENOSPC);
    assert_int_equal(blk_size(lab.f->blk), LAB_MEMBER);
    struct volume_status s = lab_status(&lab);
    assert_int_equal(s.members[0].state, MEMBER_IN_SYNC);
    assert_int_equal(s.members[1].state, MEMBER_IN_SYNC);
    lab_expect(&lab, 0, 65536, 1);
    fixture_close(lab.f);
    fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0); /* there is room now */
    assert_int_equal(blk_size(lab.f->blk), LAB_MEMBER);
    assert_int_equal(grow(&lab, 2 * LAB_MEMBER), 0);
    lab_expect(&lab, 0, 65536, 1);
    fixture_close(lab.f);
}

/* A guest's disk waits for its members without end, as one over a single server does: whoever is cut off for an hour
 * goes on when the network is back. Somebody else's requests fail. */
static void test_patience(void **state)
{
    struct lab lab;
    lab_make(&lab, *state, LAYOUT_RAID1, 2, false);
    fixture_open(lab.f, lab_stack(&lab, 0, NULL), BLK_OPEN_PATIENT);
    const struct volume *v = blk_state(volume_in(lab.f->blk));
    assert_true(v->suspend_ns > UINT64_C(1000000000) * 3600 * 24 * 365);
    fixture_close(lab.f);
    fixture_open(lab.f, lab_stack(&lab, 0, ",\"suspend\":\"5s\""), BLK_OPEN_PATIENT);
    v = blk_state(volume_in(lab.f->blk));
    assert_int_equal(v->suspend_ns, UINT64_C(5000000000));
    fixture_close(lab.f);
    fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
    v = blk_state(volume_in(lab.f->blk));
    assert_int_equal(v->suspend_ns, UINT64_C(60000000000));
    fixture_close(lab.f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_layouts, lab_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_away, lab_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_garbage_behind, lab_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_refusals, lab_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_member_that_cannot, lab_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_patience, lab_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
