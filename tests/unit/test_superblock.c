/* superblock.c and bit_map.c: what is written comes back, torn and rotten bytes are seen, and nothing overlaps. */
#include "tests/unit/fixture.h"

#include <stdlib.h>
#include <string.h>

#include "replication/bit_map.h"
#include "replication/superblock.h"

static struct superblock sample(uint64_t sequence)
{
    struct superblock sb = {
        .sequence = sequence,
        .geometry = {LAYOUT_RAID5, 4, 65536, 4 << 20, 64 << 20, 0},
        .index = 2,
        .has_witness = true,
        .journal_bytes = 8 << 20,
        .stamp = {7, 12},
        .in_sync = 0xd,
    };
    memcpy(sb.volume, "0123456789abcdef", UUID_BYTES);
    memcpy(sb.cluster, "fedcba9876543210", UUID_BYTES);
    sb.left[1] = (struct stamp){7, 11};
    sb.history[0] = (struct superblock_past){{7, 12}, 0xd};
    sb.history[1] = (struct superblock_past){{7, 11}, 0xf};
    return sb;
}

static enum superblock_verdict parse(const uint8_t *a, const uint8_t *b, struct superblock *sb)
{
    const void *const slots[SUPERBLOCK_SLOTS] = {a, b};
    return superblock_read(slots, sb);
}

static void test_round_trip(void **state)
{
    static uint8_t a[SUPERBLOCK_BYTES], b[SUPERBLOCK_BYTES];
    struct superblock one = sample(4), two = sample(5), got;
    (void)state;
    two.clean = true;
    superblock_write(&one, a);
    superblock_write(&two, b);
    assert_int_equal(parse(a, b, &got), SUPERBLOCK_OK);
    assert_memory_equal(&got, &two, sizeof got);
    assert_int_equal(parse(b, a, &got), SUPERBLOCK_OK);
    assert_int_equal(got.sequence, 5);
    assert_int_not_equal(superblock_slot_offset(4), superblock_slot_offset(5));
}

/* A write of the younger slot that stopped at any sector leaves the elder one speaking, or is whole. */
static void test_torn(void **state)
{
    static uint8_t old[SUPERBLOCK_BYTES], elder[SUPERBLOCK_BYTES], young[SUPERBLOCK_BYTES], torn[SUPERBLOCK_BYTES];
    struct superblock s3 = sample(3), s4 = sample(4), s5 = sample(5), got;
    (void)state;
    s5.stamp.generation++;
    superblock_write(&s3, old);
    superblock_write(&s4, elder);
    superblock_write(&s5, young);
    for (size_t cut = 0; cut <= SUPERBLOCK_BYTES; cut += 512) {
        memcpy(torn, young, cut);
        memcpy(torn + cut, old + cut, SUPERBLOCK_BYTES - cut);
        assert_int_equal(parse(elder, torn, &got), SUPERBLOCK_OK);
        assert_int_equal(got.sequence, cut == SUPERBLOCK_BYTES ? 5 : 4);
    }
}

static void test_rotten(void **state)
{
    static uint8_t a[SUPERBLOCK_BYTES], none[SUPERBLOCK_BYTES];
    struct superblock sb = sample(4), got;
    (void)state;
    superblock_write(&sb, a);
    for (unsigned bit = 0; bit < SUPERBLOCK_BYTES * 8; bit++) {
        a[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(parse(a, none, &got), SUPERBLOCK_DAMAGED);
        a[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(parse(a, none, &got), SUPERBLOCK_OK);
    assert_int_equal(parse(none, none, &got), SUPERBLOCK_NONE);
}

/* Bytes with a right checksum that contradict themselves are no superblock. */
static void test_contradictions(void **state)
{
    static uint8_t a[SUPERBLOCK_BYTES], none[SUPERBLOCK_BYTES];
    struct superblock sb, got;
    (void)state;
    sb = sample(1), sb.index = 4, superblock_write(&sb, a);
    assert_int_equal(parse(a, none, &got), SUPERBLOCK_DAMAGED);
    sb = sample(1), sb.geometry.members = 2, superblock_write(&sb, a);
    assert_int_equal(parse(a, none, &got), SUPERBLOCK_DAMAGED);
    sb = sample(1), sb.in_sync = 0x10d, superblock_write(&sb, a);
    assert_int_equal(parse(a, none, &got), SUPERBLOCK_DAMAGED);
    sb = sample(1), sb.history[1].in_sync = 0x10000, superblock_write(&sb, a);
    assert_int_equal(parse(a, none, &got), SUPERBLOCK_DAMAGED);
    sb = sample(1), sb.in_sync = 1, superblock_write(&sb, a); /* a set that could not serve */
    assert_int_equal(parse(a, none, &got), SUPERBLOCK_DAMAGED);
    sb = sample(1), sb.stamp = (struct stamp){0, 0}, superblock_write(&sb, a); /* fresh, and yet in sync */
    assert_int_equal(parse(a, none, &got), SUPERBLOCK_DAMAGED);
}

/* A volume that may grow has a version of its own; older ones stay what they were, byte for byte. */
static void test_room(void **state)
{
    static uint8_t a[SUPERBLOCK_BYTES], none[SUPERBLOCK_BYTES];
    struct superblock sb = sample(1), got;
    struct member_places small, large;
    (void)state;
    superblock_write(&sb, a);
    assert_int_equal(a[11], 1);
    superblock_places(&sb.geometry, sb.journal_bytes, &small);
    sb.geometry.room_bytes = 16 * sb.geometry.member_bytes;
    superblock_write(&sb, a);
    assert_int_equal(a[11], 2);
    assert_int_equal(parse(a, none, &got), SUPERBLOCK_OK);
    assert_memory_equal(&got, &sb, sizeof got);
    superblock_places(&sb.geometry, sb.journal_bytes, &large);
    assert_true(large.journal > small.journal && large.data >= small.data);
    assert_int_equal(large.end, large.data + sb.geometry.member_bytes);
    struct member_places grown;
    sb.geometry.member_bytes = sb.geometry.room_bytes; /* nothing moves */
    superblock_places(&sb.geometry, sb.journal_bytes, &grown);
    grown.end = large.end;
    assert_memory_equal(&grown, &large, sizeof grown);
    superblock_write(&sb, a);
    assert_int_equal(parse(a, none, &got), SUPERBLOCK_OK);
    sb.geometry.room_bytes -= sb.geometry.region_bytes; /* less than it has */
    superblock_write(&sb, a);
    assert_int_equal(parse(a, none, &got), SUPERBLOCK_DAMAGED);
}

static void test_places(void **state)
{
    struct member_places p;
    struct geometry g = sample(1).geometry;
    (void)state;
    superblock_places(&g, 8 << 20, &p);
    assert_true(p.hot >= SUPERBLOCK_SLOT_STRIDE + SUPERBLOCK_BYTES);
    assert_true(p.missed[0] >= p.hot + p.hot_bytes);
    for (unsigned i = 1; i < g.members; i++)
        assert_true(p.missed[i] >= p.missed[i - 1] + p.missed_bytes);
    assert_true(p.sums >= p.missed[3] + p.missed_bytes);
    assert_true(p.journal >= p.sums + geometry_regions(&g) * p.sum_stride);
    assert_true(p.data >= p.journal + (8 << 20) && p.end == p.data + g.member_bytes);
    assert_true(p.hot_bytes * 8 >= geometry_regions(&g) && p.missed_bytes * 8 >= geometry_regions(&g) * GRANULES);
    assert_int_equal((p.hot | p.missed[0] | p.sums | p.sum_stride | p.journal | p.data) % BLOCK_BYTES, 0);
}

static void test_map(void **state)
{
    enum { BITS = 3 * 8 * BIT_MAP_SECTOR_BITS + 77 };
    struct bit_map map, other;
    uint8_t *bytes = malloc(bit_map_bytes(BITS)), *model = calloc(BITS, 1);
    (void)state;
    assert_int_equal(bit_map_init(&map, BITS) | bit_map_init(&other, BITS), 0);
    srand(1);
    for (int i = 0; i < 20000; i++) {
        uint64_t bit = (uint64_t)rand() % BITS;
        model[bit] = rand() & 1;
        model[bit] ? bit_map_set(&map, bit) : bit_map_clear(&map, bit);
    }
    uint64_t set = 0, next = bit_map_next(&map, 0);
    for (uint64_t bit = 0; bit < BITS; bit++) {
        assert_int_equal(bit_map_test(&map, bit), model[bit]);
        set += model[bit];
        if (model[bit]) {
            assert_int_equal(next, bit);
            next = bit_map_next(&map, bit + 1);
        }
    }
    assert_int_equal(next, BITS);
    assert_int_equal(map.set, set);
    for (size_t b = 0; b < bit_map_blocks(&map); b++)
        memcpy(bytes + b * BIT_MAP_BLOCK_BYTES, bit_map_seal(&map, b), BIT_MAP_BLOCK_BYTES);
    assert_int_equal(bit_map_merge(&other, bytes), 0);
    for (uint64_t bit = 0; bit < BITS; bit++)
        assert_int_equal(bit_map_test(&other, bit), model[bit]);
    /* one rotten bit in sector 5: all of its bits count as set, and no other's */
    bytes[5 * BIT_MAP_SECTOR_BYTES + 100] ^= 4;
    bit_map_clear_all(&other);
    assert_int_equal(bit_map_merge(&other, bytes), 1);
    for (uint64_t bit = 0; bit < BITS; bit++)
        assert_int_equal(bit_map_test(&other, bit), bit / BIT_MAP_SECTOR_BITS == 5 ? 1 : model[bit]);
    memset(bytes, 0, map.bytes); /* zeroes are a valid map with nothing in it */
    bit_map_clear_all(&other);
    assert_int_equal(bit_map_merge(&other, bytes), 0);
    assert_int_equal(other.set, 0);
    bit_map_fini(&map);
    bit_map_fini(&other);
    free(bytes);
    free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_torn),
        cmocka_unit_test(test_rotten),     cmocka_unit_test(test_contradictions),
        cmocka_unit_test(test_places),     cmocka_unit_test(test_room),
        cmocka_unit_test(test_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
