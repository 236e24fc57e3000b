/* Power cuts while a header is changed: at every instant, with any of the writes that were not flushed, and with
 * sectors of them missing, the volume opens with the old or with the new key. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/luks_disk.h"

enum { DISK_BYTES = (2 << 20) + (64 << 10), SEEDS = 8 };

enum change { ADD, REPLACE, REMOVE, REPAIR, CHANGES };

static struct luks_disk disk;

static int setup(void **state)
{
    (void)state;
    luks_disk_init(&disk, DISK_BYTES);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    luks_disk_fini(&disk);
    return 0;
}

static int apply(struct luks_volume *v, enum change change, struct err *err)
{
    struct luks_key old = luks_disk_key("old"), fresh = luks_disk_key("new"), key = {0};
    int slot, rc = luks_volume_unlock(v, &old, -1, &slot, &key, err);
    if (!rc && change == ADD)
        rc = luks_change_add(v, &key, &fresh, &luks_disk_cost, -1, &slot, err);
    else if (!rc && change == REPLACE)
        rc = luks_change_replace(v, (unsigned)slot, &key, &fresh, &luks_disk_cost, &slot, err);
    else if (!rc && change == REMOVE)
        rc = luks_change_remove(v, (unsigned)slot, err);
    else if (!rc)
        rc = luks_change_repair(v, err);
    luks_key_fini(&old);
    luks_key_fini(&fresh);
    luks_key_fini(&key);
    return rc;
}

static void record(enum change change)
{
    struct err err = {0};
    struct luks_volume v = {0};
    luks_disk_mark(&disk);
    if (luks_volume_load(&disk.io, &v, &err) || apply(&v, change, &err))
        fail_msg("%s", err.text);
    luks_volume_fini(&v);
}

/* For every image: one of the two must open it; `kept`, if not NULL, must in any case. */
static void judge(const char *kept)
{
    unsigned events = disk.event_count, old_only = 0, new_opens = 0;
    assert_true(events >= 2);
    for (unsigned n = 0; n <= events; n++) {
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            luks_disk_cut(&disk, n, seed);
            int old = luks_disk_opens(&disk, "old"), fresh = luks_disk_opens(&disk, "new");
            int third = kept ? luks_disk_opens(&disk, kept) : 0;
            if ((old < 0 && fresh < 0 && !kept) || third < 0)
                fail_msg("after %u of %u events, seed %u: old %d, new %d, %s %d", n, events, (unsigned)seed, old, fresh,
                         kept ? kept : "-", third);
            old_only += old >= 0 && fresh < 0;
            new_opens += fresh >= 0;
        }
    }
    print_message("%u events: %u images, only the old key opens %u, the new one %u\n", events, (events + 1) * SEEDS,
                  old_only, new_opens);
    assert_true(old_only); /* the cuts reached before the change */
}

static void fill_slots(unsigned count)
{
    struct err err = {0};
    for (unsigned i = 0; i < count; i++) {
        struct luks_volume v = {0};
        struct luks_key old = luks_disk_key("old"), other = luks_disk_key("other"), key = {0};
        int slot;
        assert_int_equal(luks_volume_load(&disk.io, &v, &err), 0);
        assert_int_equal(luks_volume_unlock(&v, &old, -1, &slot, &key, &err), 0);
        assert_int_equal(luks_change_add(&v, &key, &other, &luks_disk_cost, -1, &slot, &err), 0);
        luks_key_fini(&old);
        luks_key_fini(&other);
        luks_key_fini(&key);
        luks_volume_fini(&v);
    }
}

static void change2(void **state)
{
    (void)state;
    for (enum change c = ADD; c <= REPLACE; c++) {
        luks_disk_format(&disk, 2, "old");
        record(c);
        assert_true(luks_disk_opens(&disk, "new") > 0);
        assert_true(c == ADD || luks_disk_opens(&disk, "old") == -EACCES);
        judge(NULL);
    }
}

/* The second copy is older, and speaks of an area that is free in the first one. */
static void change2_after_a_cut(void **state)
{
    (void)state;
    luks_disk_format(&disk, 2, "old");
    record(REPLACE);
    for (unsigned n = 0; n <= disk.event_count; n++) {
        struct luks_disk cut;
        luks_disk_init(&cut, DISK_BYTES);
        luks_disk_cut(&disk, n, 5);
        memcpy(cut.bytes, disk.bytes, DISK_BYTES);
        struct luks_disk kept = disk;
        disk = cut;
        if (luks_disk_opens(&disk, "old") >= 0) {
            record(REPLACE);
            judge(NULL);
        }
        luks_disk_fini(&disk);
        disk = kept;
    }
}

static void remove_and_repair2(void **state)
{
    (void)state;
    luks_disk_format(&disk, 2, "old");
    fill_slots(1);
    record(REMOVE);
    judge("other");
    for (int i = 0; i < 2; i++) {
        luks_disk_format(&disk, 2, "old");
        disk.bytes[i ? 16384 + 5000 : 5000] ^= 1;
        record(REPAIR);
        judge("old");
    }
}

/* Slot 6 of LUKS1 lies across two sectors: the first five others are filled, so that it is the one that changes. */
static void change1(void **state)
{
    (void)state;
    for (unsigned filled = 0; filled <= 5; filled += 5)
        for (enum change c = ADD; c <= REPLACE; c++) {
            luks_disk_format(&disk, 1, "old");
            fill_slots(filled);
            record(c);
            assert_true(luks_disk_opens(&disk, "new") == (int)filled + 1);
            judge(NULL);
        }
}

/* The judge can fail: an order without flushes loses the key. */
static void finds_a_wrong_order(void **state)
{
    (void)state;
    luks_disk_format(&disk, 2, "old");
    record(REPLACE);
    unsigned lost = 0;
    unsigned writes = 0;
    for (unsigned i = 0; i < disk.event_count; i++)
        if (disk.events[i].len_bytes)
            disk.events[writes++] = disk.events[i];
    disk.event_count = writes;
    for (uint64_t seed = 2; seed < 40; seed++) {
        luks_disk_cut(&disk, disk.event_count, seed);
        lost += luks_disk_opens(&disk, "old") < 0 && luks_disk_opens(&disk, "new") < 0;
    }
    assert_true(lost);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(change2, setup, teardown),
        cmocka_unit_test_setup_teardown(change2_after_a_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(remove_and_repair2, setup, teardown),
        cmocka_unit_test_setup_teardown(change1, setup, teardown),
        cmocka_unit_test_setup_teardown(finds_a_wrong_order, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
