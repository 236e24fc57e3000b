/* geometry.c and checksum.c: every layout is a bijection from the volume's bytes to the members' data, parts are what
 * byte-by-byte arithmetic says, and parity never shares a member with its data. */
#include "tests/unit/fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "replication/checksum.h"
#include "replication/geometry.h"

static const struct geometry shapes[] = {
    {LAYOUT_RAID0, 1, 4096, 262144, 524288, 0},   {LAYOUT_RAID0, 3, 8192, 262144, 524288, 0},
    {LAYOUT_RAID1, 2, 65536, 262144, 524288, 0},  {LAYOUT_REPLICA, 3, 65536, 262144, 524288, 0},
    {LAYOUT_RAID10, 4, 16384, 262144, 524288, 0}, {LAYOUT_RAID10, 6, 262144, 262144, 524288, 0},
    {LAYOUT_RAID5, 3, 4096, 262144, 524288, 0},   {LAYOUT_RAID5, 4, 65536, 262144, 524288, 0},
    {LAYOUT_RAID6, 4, 16384, 262144, 524288, 0},  {LAYOUT_RAID6, 7, 65536, 262144, 524288, 0},
};

enum { SHAPES = sizeof shapes / sizeof *shapes };

static void test_bijection(void **state)
{
    (void)state;
    for (int s = 0; s < SHAPES; s++) {
        const struct geometry *g = &shapes[s];
        assert_int_equal(geometry_check(g, NULL), 0);
        uint64_t blocks = g->member_bytes / BLOCK_BYTES, volume = geometry_volume_bytes(g);
        uint8_t *taken = calloc(MEMBERS_MAX, blocks);
        for (uint64_t at = 0; at < volume; at += BLOCK_BYTES) {
            unsigned column;
            uint64_t offset;
            uint32_t run;
            geometry_locate(g, at, &column, &offset, &run);
            assert_true(column < g->members && offset < g->member_bytes && run >= BLOCK_BYTES);
            assert_int_equal(taken[column * blocks + offset / BLOCK_BYTES]++, 0);
            assert_int_equal(offset / g->region_bytes, at / geometry_span_bytes(g));
        }
        for (uint64_t stripe = 0; stripe < g->member_bytes / g->chunk_bytes; stripe++)
            for (unsigned p = 0; p < geometry_parity(g); p++)
                for (uint64_t b = 0; b < g->chunk_bytes / BLOCK_BYTES; b++) {
                    uint64_t block = stripe * g->chunk_bytes / BLOCK_BYTES + b;
                    assert_int_equal(taken[geometry_parity_member(g, stripe, p) * blocks + block]++, 0);
                }
        unsigned columns = geometry_columns(g) + geometry_parity(g);
        for (uint64_t i = 0; i < columns * blocks; i++)
            assert_int_equal(taken[i], 1);
        free(taken);
    }
}

static void test_parts(void **state)
{
    (void)state;
    srand(7);
    for (int round = 0; round < 20000; round++) {
        const struct geometry *g = &shapes[(unsigned)rand() % SHAPES];
        if (geometry_parity(g))
            continue;
        uint64_t span = geometry_span_bytes(g), blocks = span / BLOCK_BYTES;
        uint64_t first = (uint64_t)rand() % blocks, count = 1 + (uint64_t)rand() % (blocks - first);
        uint64_t region = (uint64_t)rand() % geometry_regions(g), offset = region * span + first * BLOCK_BYTES;
        struct geometry_part parts[MEMBERS_MAX];
        unsigned n = geometry_parts(g, offset, (uint32_t)(count * BLOCK_BYTES), parts);
        uint64_t total = 0, at = offset;
        for (unsigned i = 0; i < n; i++)
            total += parts[i].length_bytes;
        assert_int_equal(total, count * BLOCK_BYTES);
        for (; at < offset + count * BLOCK_BYTES; at += BLOCK_BYTES) {
            unsigned column, i = 0;
            uint64_t there;
            uint32_t run;
            geometry_locate(g, at, &column, &there, &run);
            while (i < n && parts[i].column != column)
                i++;
            assert_true(i < n);
            assert_true(there >= parts[i].offset && there < parts[i].offset + parts[i].length_bytes);
        }
    }
}

static void test_who_can_serve(void **state)
{
    (void)state;
    const struct geometry mirror = shapes[2], pairs = shapes[4], five = shapes[7], six = shapes[8], none = shapes[1];
    assert_true(geometry_can_serve(&mirror, 1) && geometry_can_serve(&mirror, 2) && !geometry_can_serve(&mirror, 0));
    assert_true(geometry_can_serve(&pairs, 5) && geometry_can_serve(&pairs, 10) && !geometry_can_serve(&pairs, 3));
    assert_true(geometry_can_serve(&five, 7) && geometry_can_serve(&five, 14) && !geometry_can_serve(&five, 6));
    assert_true(geometry_can_serve(&six, 3) && geometry_can_serve(&six, 12) && !geometry_can_serve(&six, 8));
    assert_true(geometry_can_serve(&none, 7) && !geometry_can_serve(&none, 6));
}

static void test_bad_shapes(void **state)
{
    (void)state;
    struct geometry g = shapes[4];
    g.members = 5;
    assert_int_equal(geometry_check(&g, NULL), -EINVAL);
    g = shapes[0];
    g.chunk_bytes = 2048;
    assert_int_equal(geometry_check(&g, NULL), -EINVAL);
    g = shapes[0];
    g.chunk_bytes = 524288;
    assert_int_equal(geometry_check(&g, NULL), -EINVAL);
    g = shapes[0];
    g.member_bytes = 262145;
    assert_int_equal(geometry_check(&g, NULL), -EINVAL);
    g.member_bytes = 0;
    assert_int_equal(geometry_check(&g, NULL), -EINVAL);
    g = shapes[8];
    g.members = 17;
    assert_int_equal(geometry_check(&g, NULL), -EINVAL);
    g.layout = LAYOUT_COUNT;
    assert_int_equal(geometry_check(&g, NULL), -EINVAL);
}

/* Bit by bit, from the polynomial. */
static uint32_t slow_crc(const uint8_t *data, size_t n)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
    }
    return ~crc;
}

static void test_checksum(void **state)
{
    static uint8_t zero[BLOCK_BYTES], data[BLOCK_BYTES];
    (void)state;
    fixture_pattern(data, 0, sizeof data, 3);
    assert_int_equal(checksum_block(zero), 0);
    assert_int_equal(checksum_block(data), slow_crc(data, BLOCK_BYTES) ^ slow_crc(zero, BLOCK_BYTES));
    for (size_t n = 0; n < BLOCK_BYTES; n += 97) {
        assert_int_equal(checksum_bytes(zero, n), 0);
        assert_int_equal(checksum_bytes(data, n), slow_crc(data, n) ^ slow_crc(zero, n));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bijection),  cmocka_unit_test(test_parts),    cmocka_unit_test(test_who_can_serve),
        cmocka_unit_test(test_bad_shapes), cmocka_unit_test(test_checksum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
