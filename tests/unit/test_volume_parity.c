/* raid5 and raid6 over files: they read back what was written, also without as many members as there are parities;
 * these are filled when they are back; rot is found, served right and repaired; what cannot be had is an error and
 * stays one. A write that fails takes nothing with it. */
#include "tests/unit/volume_lab.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/err.h"
#include "replication/checksum.h"
#include "replication/parity.h"

static const struct {
    enum layout layout;
    unsigned members;
} shapes[] = {{LAYOUT_RAID5, 3}, {LAYOUT_RAID5, 5}, {LAYOUT_RAID6, 4}, {LAYOUT_RAID6, 6}};

enum { SHAPES = sizeof shapes / sizeof *shapes };

/* Every stripe on the disk is a codeword. */
static void check_stripes(const struct lab *lab)
{
    struct parity parity;
    uint8_t *vectors[MEMBERS_MAX], *there[PARITY_MAX];
    const struct geometry *g = &lab->g;
    unsigned columns = geometry_columns(g), chunk = g->chunk_bytes;
    parity_init(&parity, columns, geometry_parity(g));
    for (unsigned i = 0; i < g->members; i++)
        vectors[i] = aligned_alloc(4096, chunk);
    for (unsigned i = 0; i < parity.parity; i++)
        there[i] = aligned_alloc(4096, chunk);
    for (uint64_t stripe = 0; stripe < LAB_MEMBER / chunk; stripe++) {
        for (unsigned i = 0; i < g->members; i++)
            lab_pread(lab, geometry_vector_member(g, stripe, i), i < columns ? vectors[i] : there[i - columns], chunk,
                      lab->places.data + stripe * chunk);
        parity_encode(&parity, chunk, vectors);
        for (unsigned i = 0; i < parity.parity; i++)
            assert_memory_equal(vectors[columns + i], there[i], chunk);
    }
    for (unsigned i = 0; i < g->members; i++)
        free(vectors[i]);
    for (unsigned i = 0; i < parity.parity; i++)
        free(there[i]);
}

static void exercise(struct lab *lab, uint8_t *model, unsigned rounds)
{
    uint64_t blocks = blk_size(lab->f->blk) / 4096;
    uint8_t *data = malloc(64 * 4096);
    for (unsigned i = 0; i < rounds; i++) {
        uint64_t count = 1 + (uint64_t)rand() % (rand() % 3 ? 5 : 64), first = (uint64_t)rand() % (blocks - count);
        uint32_t flags = rand() % 4 ? 0 : BLK_FUA;
        if (rand() % 3 == 0) {
            assert_int_equal(fixture_io(lab->f, BLK_READ, 0, first * 4096, data, count * 4096), 0);
            assert_memory_equal(data, model + first * 4096, count * 4096);
        } else if (rand() % 5 == 0) {
            memset(model + first * 4096, 0, count * 4096);
            assert_int_equal(fixture_io(lab->f, BLK_ZERO, flags, first * 4096, NULL, count * 4096), 0);
        } else {
            fixture_pattern(model + first * 4096, first * 4096, count * 4096, (uint32_t)rand());
            assert_int_equal(fixture_io(lab->f, BLK_WRITE, flags, first * 4096, model + first * 4096, count * 4096), 0);
        }
    }
    free(data);
}

static void expect_all(struct lab *lab, const uint8_t *model)
{
    uint64_t size = blk_size(lab->f->blk);
    uint8_t *data = malloc(size);
    assert_int_equal(fixture_io(lab->f, BLK_READ, 0, 0, data, size), 0);
    assert_memory_equal(data, model, size);
    free(data);
}

/* With all members; without as many as may be missing; with these filled again; and never with one less. */
static void test_life(void **state)
{
    srand(5);
    for (unsigned s = 0; s < SHAPES; s++) {
        struct lab lab;
        struct err err = {0};
        struct blk *blk;
        lab_make(&lab, *state, shapes[s].layout, shapes[s].members, s & 2);
        unsigned parity = geometry_parity(&lab.g);
        uint8_t *model = calloc(1, geometry_volume_bytes(&lab.g));
        fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
        assert_int_equal(blk_size(lab.f->blk), geometry_volume_bytes(&lab.g));
        expect_all(&lab, model);
        exercise(&lab, model, 300);
        expect_all(&lab, model);
        fixture_close(lab.f);
        check_stripes(&lab);
        for (unsigned first = 0; first < lab.g.members; first++) {
            member_set missing = 0;
            for (unsigned i = 0; i < parity; i++)
                missing |= UINT32_C(1) << (first + i) % lab.g.members;
            fixture_open(lab.f, lab_stack(&lab, missing, NULL), 0);
            expect_all(&lab, model);
            exercise(&lab, model, 100);
            expect_all(&lab, model);
            fixture_close(lab.f);
            member_set more = missing | UINT32_C(1) << (first + parity) % lab.g.members;
            assert_int_equal(blk_open(&lab.f->env, lab_stack(&lab, more, NULL), 0, &blk, &err), -ENOMEDIUM);
            if (!strstr(err.text, "too few members"))
                fail_msg("%s", err.text);
            fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
            expect_all(&lab, model);
            exercise(&lab, model, 30);
            for (unsigned i = 0; i < lab.g.members; i++)
                lab_until_in_sync(&lab, i);
            exercise(&lab, model, 30);
            expect_all(&lab, model);
            for (unsigned i = 0; i < lab.g.members; i++)
                assert_int_equal(lab_status(&lab).members[i].counts.repaired, 0);
            fixture_close(lab.f);
            check_stripes(&lab);
        }
        free(model);
    }
}

static void test_replaced(void **state)
{
    for (unsigned s = 0; s < SHAPES; s++) {
        struct lab lab;
        lab_make(&lab, *state, shapes[s].layout, shapes[s].members, false);
        uint32_t size = (uint32_t)geometry_volume_bytes(&lab.g);
        fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
        lab_write(&lab, 0, size, 1);
        fixture_close(lab.f);
        lab_make_member(&lab, 1, true);
        fixture_open(lab.f, lab_stack(&lab, 0, ",\"force\":true"), 0);
        assert_int_not_equal(lab_status(&lab).members[1].state, MEMBER_IN_SYNC);
        lab_write(&lab, 4096, 4096, 2);
        lab_until_in_sync(&lab, 1);
        assert_int_equal(lab_status(&lab).members[1].counts.resynced_bytes, LAB_MEMBER);
        fixture_close(lab.f);
        check_stripes(&lab);
    }
}

/* Only what was changed is copied. */
static void test_partial_resync(void **state)
{
    struct lab lab;
    lab_make(&lab, *state, LAYOUT_RAID5, 3, false);
    fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
    lab_write(&lab, 0, 2 * LAB_MEMBER, 1);
    fixture_close(lab.f);
    fixture_open(lab.f, lab_stack(&lab, 1, NULL), 0);
    lab_write(&lab, 0, 65536, 2);
    fixture_close(lab.f);
    fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
    lab_until_in_sync(&lab, 0);
    uint64_t copied = lab_status(&lab).members[0].counts.resynced_bytes;
    assert_true(copied && copied <= 32768); /* 64 KiB over two columns, chunks of 16 KiB */
    lab_expect(&lab, 0, 65536, 2);
    fixture_close(lab.f);
    check_stripes(&lab);
}

static void test_rot(void **state)
{
    for (unsigned s = 0; s < SHAPES; s++) {
        struct lab lab;
        lab_make(&lab, *state, shapes[s].layout, shapes[s].members, false);
        uint32_t size = (uint32_t)geometry_volume_bytes(&lab.g);
        unsigned members = lab.g.members, parity = geometry_parity(&lab.g);
        fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
        lab_write(&lab, 0, size, 1);
        fixture_close(lab.f);
        for (unsigned i = 0; i < members; i++) /* as many in one row as can be made good */
            for (unsigned j = 0; j < parity; j++)
                lab_damage(&lab, (i + j) % members, lab.places.data + i * 65536, 16384);
        lab_damage(&lab, 0, lab.places.sums + 4 * lab.places.sum_stride, 256); /* and checksums themselves */
        fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
        lab_expect(&lab, 0, size, 1);
        assert_int_equal(lab_scrub(&lab), 0);
        uint64_t repaired = 0;
        for (unsigned i = 0; i < members; i++)
            repaired += lab_status(&lab).members[i].counts.repaired;
        assert_true(repaired >= members * parity * 4);
        assert_int_equal(lab_status(&lab).counts.unreadable, 0);
        assert_int_equal(lab_scrub(&lab), 0);
        uint64_t now = 0;
        for (unsigned i = 0; i < members; i++)
            now += lab_status(&lab).members[i].counts.repaired;
        assert_int_equal(now, repaired);
        fixture_close(lab.f);
        check_stripes(&lab);
    }
}

static int read_block(struct lab *lab, uint64_t block)
{
    uint8_t got[4096], want[4096];
    fixture_pattern(want, block * 4096, sizeof want, 1);
    int rc = fixture_io(lab->f, BLK_READ, 0, block * 4096, got, 4096);
    if (!rc)
        assert_memory_equal(got, want, 4096);
    return rc;
}

/* More is bad than the parity can make good: an error for these blocks, whatever is written beside them and whoever is
 * filled; and good again when they are written. */
static void test_too_much_rot(void **state)
{
    struct lab lab;
    lab_make(&lab, *state, LAYOUT_RAID5, 3, false);
    fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
    lab_write(&lab, 0, 2 * LAB_MEMBER, 1);
    fixture_close(lab.f);
    uint64_t other = lab.g.chunk_bytes / 4096; /* the block beside block 0 in its row */
    lab_damage(&lab, geometry_data_member(&lab.g, 0, 0), lab.places.data, 512);
    lab_damage(&lab, geometry_data_member(&lab.g, 0, 1), lab.places.data, 512);
    fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
    assert_int_equal(read_block(&lab, 0), -EIO);
    assert_int_equal(read_block(&lab, other), -EIO);
    assert_int_equal(read_block(&lab, 1), 0);
    assert_int_equal(lab_scrub(&lab), -EIO);
    lab_write(&lab, 0, 4096, 1); /* the parity cannot be made */
    assert_int_equal(read_block(&lab, 0), 0);
    assert_int_equal(read_block(&lab, other), -EIO);
    fixture_close(lab.f);
    unsigned away = geometry_data_member(&lab.g, 0, 1);
    lab_make_member(&lab, away, true);
    fixture_open(lab.f, lab_stack(&lab, 0, ",\"force\":true"), 0);
    assert_int_equal(read_block(&lab, other), -EIO);
    lab_until_in_sync(&lab, away);
    assert_int_equal(read_block(&lab, other), -EIO);
    assert_int_equal(read_block(&lab, 0), 0);
    fixture_close(lab.f);
    fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
    assert_int_equal(read_block(&lab, other), -EIO);
    lab_write(&lab, other * 4096, 4096, 1);
    lab_expect(&lab, 0, 2 * LAB_MEMBER, 1);
    assert_int_equal(lab_scrub(&lab), 0);
    fixture_close(lab.f);
    check_stripes(&lab);
}

/* A parity that is not that of its data, although its checksum is right: only a scrub can see that. */
static void test_wrong_parity(void **state)
{
    for (unsigned s = 0; s < SHAPES; s++) {
        struct lab lab;
        uint8_t block[4096];
        lab_make(&lab, *state, shapes[s].layout, shapes[s].members, false);
        uint32_t size = (uint32_t)geometry_volume_bytes(&lab.g);
        fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
        lab_write(&lab, 0, size, 1);
        fixture_close(lab.f);
        unsigned member = geometry_parity_member(&lab.g, 3, geometry_parity(&lab.g) - 1);
        uint64_t at = 3 * (uint64_t)lab.g.chunk_bytes;
        memset(block, 0x55, sizeof block);
        uint32_t sum = htobe32(checksum_block(block));
        lab_pwrite(&lab, member, block, sizeof block, lab.places.data + at);
        lab_pwrite(&lab, member, &sum, sizeof sum, lab.places.sums + at / 4096 * sizeof sum);
        fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
        assert_int_equal(lab_scrub(&lab), 0);
        assert_int_equal(lab_status(&lab).counts.differing, 1);
        assert_int_equal(lab_scrub(&lab), 0);
        assert_int_equal(lab_status(&lab).counts.differing, 1);
        lab_expect(&lab, 0, size, 1);
        fixture_close(lab.f);
        check_stripes(&lab);
    }
}

/* After a flush that nobody can make good a write fails, and that is all that it does: what was there before can be
 * read, and is what a member that was lost is filled with. */
static void test_write_after_failed_flush(void **state)
{
    struct lab lab;
    char stack[1024];
    lab_make(&lab, *state, LAYOUT_RAID5, 3, false);
    uint32_t size = (uint32_t)geometry_volume_bytes(&lab.g), step = 3 * lab.g.chunk_bytes / 2;
    uint8_t *other = malloc(size);
    fixture_pattern(other, 0, size, 2);
    fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
    lab_write(&lab, 0, size, 1);
    fixture_close(lab.f);
    snprintf(stack, sizeof stack,
             "{\"driver\":\"volume\",\"layout\":\"raid5\",\"tick\":\"0.01\",\"members\":["
             "[{\"driver\":\"fault\",\"rules\":[{\"op\":\"flush\",\"error\":\"EIO\"}]},"
             "{\"driver\":\"raw\",\"file\":\"%s\"}],\"raw:%s\",\"missing\"]}",
             lab.files[0], lab.files[1]);
    fixture_open(lab.f, stack, 0);
    for (uint32_t at = 0; at < size; at += LAB_REGION) /* all become hot: that needs a member with FUA */
        lab_write(&lab, at, 4096, 1);
    assert_int_equal(fixture_io(lab.f, BLK_FLUSH, 0, 0, NULL, 0), -EIO);
    for (uint32_t at = 0; at + step <= size; at += step) { /* beginnings and middles of stripes */
        assert_int_equal(fixture_io(lab.f, BLK_WRITE, 0, at, other, 8192), -EIO);
        assert_int_equal(fixture_io(lab.f, BLK_ZERO, 0, at, NULL, 4096), -EIO);
    }
    assert_int_equal(fixture_io(lab.f, BLK_WRITE, 0, 0, other, size), -EIO);
    lab_expect(&lab, 0, size, 1);
    assert_int_equal(lab_status(&lab).counts.unreadable, 0);
    fixture_close(lab.f);
    free(other);
    fixture_open(lab.f, lab_stack(&lab, 0, NULL), 0);
    lab_until_in_sync(&lab, 2);
    lab_expect(&lab, 0, size, 1);
    assert_int_equal(lab_scrub(&lab), 0);
    fixture_close(lab.f);
    check_stripes(&lab);
}

static void test_no_journal(void **state)
{
    struct lab lab;
    struct err err = {0};
    struct blk *blk;
    lab_make(&lab, *state, LAYOUT_RAID5, 3, false);
    lab.journal_bytes = 0;
    for (unsigned i = 0; i < 3; i++)
        lab_make_member(&lab, i, false);
    assert_int_equal(blk_open(&lab.f->env, lab_stack(&lab, 0, NULL), 0, &blk, &err), -EINVAL);
    if (!strstr(err.text, "no journal"))
        fail_msg("%s", err.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_life, lab_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_replaced, lab_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_partial_resync, lab_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_rot, lab_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_too_much_rot, lab_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_wrong_parity, lab_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_write_after_failed_flush, lab_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_no_journal, lab_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
