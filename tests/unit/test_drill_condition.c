/* When a drill ends before its time: what is taken, what is not, and when it holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "node/agent/drill_canary.h"
#include "node/agent/drill_condition.h"

static bool holds(const char *text, enum drill_measure measure, uint64_t value)
{
    struct drill_condition c;
    char why[DRILL_CONDITION_TEXT_MAX];
    uint64_t values[DRILL_MEASURE_COUNT] = {0};
    assert_int_equal(drill_condition_parse(text, &c, why, sizeof why), 0);
    values[measure] = value;
    return drill_condition_holds(&c, values, why, sizeof why);
}

static void taken(void **state)
{
    (void)state;
    assert_false(holds("", DRILL_OTHERS_DOWN, 1000));
    assert_false(holds("others-down > 0", DRILL_OTHERS_DOWN, 0));
    assert_true(holds("others-down > 0", DRILL_OTHERS_DOWN, 1));
    assert_false(holds("nodes-away >= 2", DRILL_NODES_AWAY, 1));
    assert_true(holds("nodes-away>=2", DRILL_NODES_AWAY, 2));
    assert_false(holds("silent > 20s", DRILL_SILENT_MS, 20000));
    assert_true(holds("silent > 20s", DRILL_SILENT_MS, 20001));
    assert_true(holds("down >= 500ms", DRILL_DOWN_MS, 500));
    assert_true(holds("lost-writes > 0 or down > 2m", DRILL_DOWN_MS, 120001));
    assert_true(holds("lost-writes > 0 or down > 2m", DRILL_LOST_WRITES, 1));
    assert_false(holds("lost-writes > 0 or down > 2m", DRILL_SILENT_MS, UINT32_MAX));
    assert_true(holds("volumes-suspended > 0 or guests-down > 3", DRILL_GUESTS_DOWN, 4));
}

#define THREE "down > 1s or down > 1s or down > 1s"
#define TOO_MANY THREE " or " THREE " or " THREE

static void not_taken(void **state)
{
    static const char *const texts[] = {"silence > 3s",
                                        "silent > 3",
                                        "others-down > 3s",
                                        "others-down < 3",
                                        "others-down",
                                        "others-down >",
                                        "> 3",
                                        "others-down > 0 and nodes-away > 1",
                                        "others-down > 0 or",
                                        "others-down > -1",
                                        "others-down > 99999999999",
                                        "down > 3h",
                                        TOO_MANY,
                                        "%s%n"};
    struct drill_condition c;
    char why[DRILL_CONDITION_TEXT_MAX];
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_true(drill_condition_parse(texts[i], &c, why, sizeof why) < 0);
        assert_non_null(strstr(why, "write for example"));
    }
}

/* What a canary says on its console, among everything else that is said there. */
static void words(void **state)
{
    struct drill_word w = {0};
    (void)state;
    static const char right[] = "drover-canary 17 12 0 00c0ffee\r",
                      end[] = "drover-canary 999999999999999 0 1 ffffffff";
    assert_true(drill_word_parse(right, strlen(right), &w));
    assert_true(w.acked == 17 && w.had == 12 && w.holes == 0 && w.start == 0xc0ffee);
    assert_true(drill_word_parse(end, strlen(end), &w));
    assert_true(w.acked == 999999999999999 && w.holes == 1);
    static const char *const wrong[] = {"",
                                        "drover-canary",
                                        "drover-canary ",
                                        "drover-canary 1 2",
                                        "drover-canary 1 2 3",
                                        "drover-canary 1 2 3 4 5",
                                        "drover-canary 1 2 3 123456789",
                                        "drover-canary -1 2 3 4",
                                        "drover-canary 1 2 x 4",
                                        "drover-canary 99999999999999999999 0 0 1",
                                        " drover-canary 1 2 3 4",
                                        "echo drover-canary 1 2 3 4"};
    struct drill_word before = w;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(drill_word_parse(wrong[i], strlen(wrong[i]), &w));
    assert_memory_equal(&w, &before, sizeof w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(taken), cmocka_unit_test(not_taken), cmocka_unit_test(words)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
