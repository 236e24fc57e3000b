/* Records of ways out of a block come back as they were written. */
#include "tests/unit/fixture.h"

#include <string.h>

#include "hv/dbt/emit.h"
#include "hv/dbt/record.h"

enum { BYTES = 1 << 17, ENTRY = 1001, INDEX = 0x12345, FAR_BACK = 0xfff0 };

static uint8_t code[BYTES];

static struct emit *block(void)
{
    static struct emit e;
    memset(code, 0xcc, sizeof code);
    e = (struct emit){.base = code, .end = BYTES, .at = ENTRY - RECORD_HEAD_BYTES};
    emit_u32(&e, INDEX);
    return &e;
}

static void check_exit(uint32_t at, const struct exit_record *in)
{
    const uint64_t linear = 0xffffffff81000123;
    struct exit_record out;
    struct emit *e = block();
    e->at = at;
    record_write_exit(e, ENTRY, linear, in);
    assert_int_equal(e->at, at + 8);
    assert_int_equal(record_block(code, at), INDEX);
    record_read_exit(code, at, linear, &out);
    assert_int_equal(out.block, INDEX);
    assert_int_equal(out.target, in->target);
    assert_int_equal(out.patch, in->patch);
    assert_int_equal(out.parked, in->parked);
}

static void exits(void **state)
{
    (void)state;
    check_exit(ENTRY + 30, &(struct exit_record){.target = 0xffffffff81000123, .patch = ENTRY + 1});
    check_exit(ENTRY + 30, &(struct exit_record){.target = 0xffffffff80000000, .patch = ENTRY + 26});
    check_exit(ENTRY + FAR_BACK, &(struct exit_record){.target = 0xffffffff81000fff, .patch = ENTRY + 1});
    check_exit(ENTRY + FAR_BACK, &(struct exit_record){.target = 0x10, .parked = true});
    check_exit(ENTRY + 30, &(struct exit_record){.target = 0xffffffff01000123, .parked = true});
}

static void check_site(uint32_t at, const struct site *in)
{
    struct site out;
    struct emit *e = block();
    e->at = at;
    record_write_site(e, ENTRY, in);
    assert_int_equal(e->at, at + 8);
    record_read_site(code, at, &out);
    assert_int_equal(out.block, INDEX);
    assert_int_equal(out.resume, in->resume);
    assert_int_equal(out.offset, in->offset);
    assert_int_equal(out.length, in->length);
    assert_int_equal(out.scratch[0], in->scratch[0]);
    assert_int_equal(out.scratch[1], in->scratch[1]);
    assert_int_equal(out.parked, in->parked);
    assert_int_equal(out.more, in->more);
}

static void sites(void **state)
{
    (void)state;
    check_site(ENTRY + 50, &(struct site){.offset = 0, .length = 1, .scratch = {EMIT_NO_REGISTER, EMIT_NO_REGISTER}});
    check_site(ENTRY + FAR_BACK, &(struct site){.resume = ENTRY + FAR_BACK - 1,
                                                .offset = 4095,
                                                .length = 15,
                                                .scratch = {15, 0},
                                                .parked = true,
                                                .more = 127});
    check_site(ENTRY + 50,
               &(struct site){.resume = ENTRY + 5, .offset = 77, .length = 3, .scratch = {1, 2}, .more = 1});
}

static void what_a_record_reaches(void **state)
{
    (void)state;
    assert_true(record_reaches(0x80000000, 0));
    assert_false(record_reaches(0x80000001, 0));
    assert_true(record_reaches(0, 0x7fffffff));
    assert_false(record_reaches(0, 0x80000000));
    assert_true(record_reaches(~0ull, 5)); /* addresses wrap */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exits),
        cmocka_unit_test(sites),
        cmocka_unit_test(what_a_record_reaches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
