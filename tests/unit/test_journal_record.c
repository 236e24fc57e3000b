/* journal_record.c: what is written is read; whatever byte is changed, or wherever it is cut off, it is no record; and
 * what no owner writes is none either. */
#include "tests/unit/fixture.h"

#include <stdlib.h>
#include <string.h>

#include "replication/checksum.h"
#include "replication/journal_record.h"

static const struct geometry shape = {LAYOUT_RAID5, 4, 65536, 4 << 20, 64 << 20, 0};
static const uint8_t volume[UUID_BYTES] = "a volume of test";
static uint32_t sums[JOURNAL_SUMS_MAX];

enum { SLOTS = 16, NUMBER = 77, SLOT = NUMBER % SLOTS };

static struct journal_record sample(void)
{
    return (struct journal_record){JOURNAL_DATA, 3, NUMBER, 70, 8 << 20, 65536, 2, 0xd};
}

static bool accepted(const struct journal_record *r)
{
    uint8_t head[JOURNAL_HEAD_BYTES] __attribute__((aligned(8)));
    struct journal_record got;
    journal_record_write(r, volume, sums, head);
    return journal_record_read(head, volume, &shape, 2, SLOT, SLOTS, &got);
}

static void test_round_trip(void **state)
{
    (void)state;
    for (enum journal_kind kind = JOURNAL_NOTHING; kind <= JOURNAL_SUMS; kind++) {
        uint8_t head[JOURNAL_HEAD_BYTES] __attribute__((aligned(8)));
        struct journal_record r = sample(), got;
        r.kind = kind;
        for (unsigned i = 0; i < JOURNAL_SUMS_MAX; i++)
            sums[i] = (uint32_t)rand();
        journal_record_write(&r, volume, sums, head);
        assert_true(journal_record_read(head, volume, &shape, 2, SLOT, SLOTS, &got));
        assert_int_equal(got.kind, r.kind);
        assert_true(got.term == r.term && got.number == r.number && got.floor == r.floor);
        assert_true(got.offset == r.offset && got.length_bytes == r.length_bytes);
        assert_true(got.index == r.index && got.members == r.members);
        if (kind == JOURNAL_DATA || kind == JOURNAL_SUMS)
            assert_memory_equal(journal_record_sums(head), sums, r.length_bytes / BLOCK_BYTES * 4);
        for (unsigned at = 0; at < JOURNAL_HEAD_BYTES; at++) {
            head[at] ^= 0x20;
            assert_false(journal_record_read(head, volume, &shape, 2, SLOT, SLOTS, &got));
            head[at] ^= 0x20;
        }
        for (unsigned cut = 512; cut < JOURNAL_HEAD_BYTES; cut += 512) { /* torn: the rest is another record's */
            uint8_t torn[JOURNAL_HEAD_BYTES] __attribute__((aligned(8)));
            struct journal_record older = r;
            older.number -= SLOTS;
            older.floor = 0;
            journal_record_write(&older, volume, sums, torn);
            memcpy(torn, head, cut);
            assert_false(journal_record_read(torn, volume, &shape, 2, SLOT, SLOTS, &got));
        }
    }
}

static void test_refused(void **state)
{
    (void)state;
    struct journal_record r = sample();
    uint8_t head[JOURNAL_HEAD_BYTES] __attribute__((aligned(8)));
    struct journal_record got;
    assert_true(accepted(&r));
    r.length_bytes = JOURNAL_PAYLOAD_BYTES + BLOCK_BYTES;
    assert_false(accepted(&r));
    r.length_bytes = 512;
    assert_false(accepted(&r));
    r = sample(), r.kind = 9;
    assert_false(accepted(&r));
    r = sample(), r.offset = shape.member_bytes;
    assert_false(accepted(&r));
    r = sample(), r.offset = UINT64_MAX - 4095;
    assert_false(accepted(&r));
    r = sample(), r.offset += shape.region_bytes - BLOCK_BYTES; /* into the next region */
    assert_false(accepted(&r));
    r = sample(), r.floor = r.number + 1;
    assert_false(accepted(&r));
    r = sample(), r.members = 0x1d;
    assert_false(accepted(&r));
    r = sample(), r.members = 0x9; /* not this member */
    assert_false(accepted(&r));
    r = sample(), r.number++; /* another slot's */
    assert_false(accepted(&r));
    r = sample();
    journal_record_write(&r, volume, sums, head);
    assert_false(journal_record_read(head, volume, &shape, 1, SLOT, SLOTS, &got));
    assert_false(journal_record_read(head, (const uint8_t *)"another volume's", &shape, 2, SLOT, SLOTS, &got));
    memset(head, 0, sizeof head);
    assert_false(journal_record_read(head, volume, &shape, 2, SLOT, SLOTS, &got));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
