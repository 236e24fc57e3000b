/* Layouts as people write them: what is taken, and what the rest is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "node/agent/layout.h"

static void takes(const char *text, unsigned members, unsigned columns, unsigned quorum, unsigned spare, bool voter)
{
    struct layout l;
    char why[160];
    assert_int_equal(layout_parse(text, &l, why, sizeof why), 0);
    assert_int_equal(l.members, members);
    assert_int_equal(l.columns, columns);
    assert_int_equal(l.quorum, quorum);
    assert_int_equal(l.spare, spare);
    assert_int_equal(l.wants_voter, voter);
}

static void knows_what_each_needs(void **state)
{
    (void)state;
    takes("raid0:1", 1, 1, 0, 0, false);
    takes("raid0:3", 3, 3, 0, 0, false);
    takes("raid1:2", 2, 1, 0, 1, true);
    takes("raid1:3", 3, 1, 0, 2, true);
    takes("raid10:6", 6, 3, 0, 1, true);
    takes("replica:1", 1, 1, 0, 0, false);
    takes("replica:2", 2, 1, 0, 1, true); /* a majority of two could lose neither */
    takes("replica:3", 3, 1, 2, 1, false);
    takes("replica:4", 4, 1, 3, 1, false);
    takes("replica:5", 5, 1, 3, 2, false);
    takes("raid0:16", 16, 16, 0, 0, false);
    takes("raid5:3", 3, 2, 0, 1, false);
    takes("raid5:16", 16, 15, 0, 1, false);
    takes("raid6:4", 4, 2, 0, 2, true); /* any two could be what is left, or what went on without them */
    takes("raid6:5", 5, 3, 0, 2, false);
}

static void refuses(const char *text, const char *because)
{
    struct layout l = {.members = 77};
    char why[160] = "";
    assert_true(layout_parse(text, &l, why, sizeof why) < 0);
    assert_non_null(strstr(why, because));
    assert_int_equal(l.members, 77);
}

static void says_what_is_wrong(void **state)
{
    (void)state;
    static const char *const none[] = {"",          ":",        "raid1",     "raid1:",   "raid1:x",
                                       "raid1:2x",  "raid1:-2", "raid:2",    "raid11:2", "RAID1:2",
                                       "raid1:2:2", "raid1: 2", "raid1:0002"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        refuses(none[i], "is no layout");
    refuses("raid1:1", "raid1 has 2 to 16 members");
    refuses("raid0:0", "raid0 has 1 to 16 members");
    refuses("raid1:17", "2 to 16");
    refuses("raid10:3", "even");
    refuses("raid10:5", "even");
    refuses("raid10:2", "even");
    refuses("raid5:2", "raid5 has 3 to 16 members");
    refuses("raid6:3", "raid6 has 4 to 16 members");
}

/* More than the format's own arithmetic asks for (docs/member-format.md): 4 bytes for each 4096, a bit for each 64 KiB
 * and member, whole regions of 4 MiB, superblocks, 128 records of the journal with parity, and the fence. */
static void leaves_room(void **state)
{
    (void)state;
    static const char *const texts[] = {"raid0:16", "raid1:2", "raid10:6", "replica:3",
                                        "raid1:16", "raid5:3", "raid6:16"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (uint64_t bytes = 1 << 20; bytes <= 1ull << 50; bytes *= 4) {
            struct layout l;
            char why[160];
            assert_int_equal(layout_parse(texts[i], &l, why, sizeof why), 0);
            uint64_t region = 4 << 20, data = (bytes / l.columns + region) / region * region;
            uint64_t maps = (l.members + 1) * (data / (64 << 10) / 8 / 4088 + 2) * 4096;
            uint64_t least = data + data / 1024 + maps + (2 << 20) + (64 << 10) + (l.parity ? 128 * (68 << 10) : 0);
            assert_true(layout_member_bytes(&l, bytes, 0) >= least);
        }
    assert_int_equal(layout_witness_bytes(), 192 << 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_what_each_needs),
        cmocka_unit_test(says_what_is_wrong),
        cmocka_unit_test(leaves_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
