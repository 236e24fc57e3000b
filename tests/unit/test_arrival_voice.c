/* What the process of a guest says whose last pages follow it, as an agent hears it that is not always there: by
 * nothing that is older than what it is judged with may the guest be ended. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/agent/arrival_voice.h"

enum { LOOK = 300, BEGIN = 100000 };

static enum migration_there look(struct arrival_voice *v, bool gone, uint64_t now)
{
    arrival_voice_look(v, gone, false, true, now);
    arrival_voice_ask(v, now);
    return arrival_voice_judge(v, now);
}

/* Looks as they come by themselves, with no answer: until the process is taken for mute, or that time has passed. */
static uint64_t until_mute(struct arrival_voice *v, bool gone, uint64_t now, uint64_t end)
{
    while (look(v, gone, now) != MIGRATION_THERE_MUTE && now < end)
        now += LOOK;
    return now;
}

static void test_says(void **state)
{
    (void)state;
    static const enum migration_there words[] = {MIGRATION_THERE_FED, MIGRATION_THERE_WHOLE, MIGRATION_THERE_NONE,
                                                 MIGRATION_THERE_MUTE};
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++) {
        struct arrival_voice v = {0};
        assert_int_equal(look(&v, false, BEGIN), MIGRATION_THERE_FED);
        arrival_voice_hear(&v, words[i]);
        assert_int_equal(look(&v, false, BEGIN + LOOK), words[i]);
    }
}

static void test_mute(void **state)
{
    (void)state;
    struct arrival_voice v = {0};
    uint64_t now = until_mute(&v, true, BEGIN, BEGIN + 60000);
    assert_in_range(now, BEGIN + 5000, BEGIN + 7000);
    arrival_voice_hear(&v, MIGRATION_THERE_FED);
    assert_int_equal(arrival_voice_judge(&v, now + 60000), MIGRATION_THERE_FED); /* nothing was asked since */
    assert_int_equal(look(&v, true, now + LOOK), MIGRATION_THERE_FED);
    uint64_t again = until_mute(&v, true, now + LOOK, now + 60000);
    assert_in_range(again, now + 5000, now + 7000);
}

/* The agent is not there while the last page comes and the source ends; what it asks then is answered "done". */
static void test_stall(void **state)
{
    (void)state;
    static const enum migration_there before[] = {MIGRATION_THERE_FED, MIGRATION_THERE_MUTE};
    for (unsigned i = 0; i < 2; i++) {
        struct arrival_voice v = {0};
        look(&v, false, BEGIN);
        arrival_voice_hear(&v, before[i]);
        assert_int_equal(look(&v, true, BEGIN + 60000), MIGRATION_THERE_FED);
        arrival_voice_hear(&v, MIGRATION_THERE_WHOLE);
        assert_int_equal(look(&v, true, BEGIN + 60001), MIGRATION_THERE_WHOLE);
    }
}

/* ... and so if there was a question on its way, whose answer it has not read. */
static void test_stall_while_asked(void **state)
{
    (void)state;
    struct arrival_voice v = {0};
    assert_int_equal(look(&v, false, BEGIN), MIGRATION_THERE_FED);
    assert_int_equal(look(&v, true, BEGIN + 60000), MIGRATION_THERE_FED);
    arrival_voice_hear(&v, MIGRATION_THERE_MUTE); /* as it was before */
    assert_int_equal(look(&v, true, BEGIN + 60001), MIGRATION_THERE_FED);
    arrival_voice_hear(&v, MIGRATION_THERE_MUTE);
    assert_int_equal(look(&v, true, BEGIN + 60002), MIGRATION_THERE_MUTE);
}

/* The connections are broken, then made anew, all comes, and the source ends: known at once. */
static void test_broken_before(void **state)
{
    (void)state;
    struct arrival_voice v = {0};
    look(&v, false, BEGIN);
    arrival_voice_hear(&v, MIGRATION_THERE_MUTE);
    assert_int_equal(look(&v, false, BEGIN + LOOK), MIGRATION_THERE_MUTE);
    assert_int_equal(look(&v, true, BEGIN + 2 * LOOK), MIGRATION_THERE_FED);
    arrival_voice_hear(&v, MIGRATION_THERE_MUTE); /* asked before that was known */
    assert_int_equal(look(&v, true, BEGIN + 3 * LOOK), MIGRATION_THERE_FED);
    arrival_voice_hear(&v, MIGRATION_THERE_MUTE);
    assert_int_equal(look(&v, true, BEGIN + 4 * LOOK), MIGRATION_THERE_MUTE);
    arrival_voice_look(&v, true, true, true, BEGIN + 5 * LOOK); /* the same of a node that is lost */
    assert_int_equal(arrival_voice_judge(&v, BEGIN + 5 * LOOK), MIGRATION_THERE_FED);
}

/* While it is told to go on nobody can ask it; that it took long says nothing of afterwards. */
static void test_goes_on(void **state)
{
    (void)state;
    struct arrival_voice v = {0};
    enum migration_there said = MIGRATION_THERE_FED;
    uint64_t now = BEGIN;
    for (; said != MIGRATION_THERE_MUTE; now += LOOK) {
        assert_in_range(now, BEGIN, BEGIN + 7000);
        arrival_voice_look(&v, false, false, false, now);
        arrival_voice_ask(&v, now);
        said = arrival_voice_judge(&v, now);
    }
    assert_int_equal(look(&v, true, now), MIGRATION_THERE_FED);
    assert_in_range(until_mute(&v, true, now, now + 60000), now + 5000, now + 7000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_says),          cmocka_unit_test(test_mute),
        cmocka_unit_test(test_stall),         cmocka_unit_test(test_stall_while_asked),
        cmocka_unit_test(test_broken_before), cmocka_unit_test(test_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
