/* Frames of a migration: what is packed is unpacked, and what cannot be is refused with words. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/migrate_wire.h"
#include "node/base/err.h"

static void test_there_and_back(void **state)
{
    (void)state;
    static const struct migrate_frame frames[] = {{MIGRATE_HELLO, 2, 1},
                                                  {MIGRATE_PAGES, 4096, 0x123456789000},
                                                  {MIGRATE_PAGES, MIGRATE_RUN_BYTES, UINT64_MAX},
                                                  {MIGRATE_PACKED, 5, 0x123456789000},
                                                  {MIGRATE_PACKED, MIGRATE_RUN_BYTES + 3, 0},
                                                  {MIGRATE_ZEROES, 4, 4096},
                                                  {MIGRATE_MARK, 0, 7},
                                                  {MIGRATE_STATE, 256 << 10, 1 << 20},
                                                  {MIGRATE_MISSING, MIGRATE_MISSING_BYTES, 1 << 30},
                                                  {MIGRATE_NEED, 0, 0x123456789000},
                                                  {MIGRATE_RESUMED, 0, 12},
                                                  {MIGRATE_FAILED, MIGRATE_JSON_MAX, 0}};
    for (unsigned i = 0; i < sizeof frames / sizeof *frames; i++) {
        uint8_t header[MIGRATE_HEADER_BYTES];
        struct migrate_frame f;
        struct err err;
        migrate_frame_pack(&frames[i], header);
        assert_int_equal(migrate_frame_unpack(&f, header, &err), 0);
        assert_int_equal(f.type, frames[i].type);
        assert_int_equal(f.bytes, frames[i].bytes);
        assert_int_equal(f.number, frames[i].number);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const struct migrate_frame frames[] = {{MIGRATE_PAGES, 4095, 0},
                                                  {MIGRATE_PAGES, 0, 0},
                                                  {MIGRATE_PAGES, MIGRATE_RUN_BYTES + 4096, 0},
                                                  {MIGRATE_ZEROES, 5, 0},
                                                  {MIGRATE_MARK, 1, 0},
                                                  {MIGRATE_STATE, 0, 0},
                                                  {MIGRATE_HELLO, 1 << 30, 1},
                                                  {MIGRATE_GO, 4, 0},
                                                  {MIGRATE_STATE, (256 << 10) + 1, 0},
                                                  {MIGRATE_MISSING, 12, 0},
                                                  {MIGRATE_MISSING, MIGRATE_MISSING_BYTES + 8, 0},
                                                  {MIGRATE_NEED, 1, 0},
                                                  {MIGRATE_COMPLETE, 0, 0},
                                                  {MIGRATE_PACKED, 4, 0},
                                                  {MIGRATE_PACKED, MIGRATE_RUN_BYTES + 4, 0}};
    struct migrate_frame f = {MIGRATE_MARK, 1, 2};
    struct err err;
    uint8_t header[MIGRATE_HEADER_BYTES];
    for (unsigned i = 0; i < sizeof frames / sizeof *frames; i++) {
        migrate_frame_pack(&frames[i], header);
        err.text[0] = 0;
        assert_int_equal(migrate_frame_unpack(&f, header, &err), -EPROTO);
        assert_non_null(strstr(err.text, migrate_type_name(frames[i].type)));
        assert_int_equal(f.number, 2);
    }
    migrate_frame_pack(&(struct migrate_frame){MIGRATE_MARK, 0, 0}, header);
    for (unsigned at = 1; at < 4; at++) {
        header[at] = 1;
        assert_int_equal(migrate_frame_unpack(&f, header, &err), -EPROTO);
        header[at] = 0;
    }
    for (unsigned type = 0; type < 256; type += type == 0 ? MIGRATE_TYPE_COUNT : 1) {
        header[0] = (uint8_t)type;
        assert_int_equal(migrate_frame_unpack(&f, header, &err), -EPROTO);
    }
}

/* One chunk, one connection: or an older content could come after a newer one. */
static void test_streams(void **state)
{
    (void)state;
    for (unsigned streams = 1; streams <= MIGRATE_STREAMS_MAX; streams++) {
        unsigned seen = 0;
        for (uint64_t gpa = 0; gpa < 64u << 20; gpa += 4096) {
            unsigned s = migrate_stream_of(gpa, streams);
            assert_true(s < streams);
            assert_int_equal(s, migrate_stream_of(gpa & ~((UINT64_C(1) << MIGRATE_CHUNK_SHIFT) - 1), streams));
            seen |= 1u << s;
        }
        assert_int_equal(seen, (1u << streams) - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
