/* A drill as a page: every bracket is closed again, nothing of a cluster's texts becomes markup, and the picture has a
 * lane for each who was followed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "node/cli/drill_page.h"

enum { DEPTH_MAX = 32, NAME_MAX_BYTES = 32 };

static char *page_of(const char *json)
{
    char *text = NULL;
    size_t bytes = 0;
    json_t *drill = json_loads(json, 0, NULL);
    assert_non_null(drill);
    FILE *f = open_memstream(&text, &bytes);
    drill_page_write(f, drill);
    fclose(f);
    json_decref(drill);
    return text;
}

/* Every element ends, in the order in which they began, and no attribute's text is open at the end. */
static bool is_well_formed(const char *at)
{
    char open[DEPTH_MAX][NAME_MAX_BYTES];
    unsigned depth = 0;
    while ((at = strchr(at, '<'))) {
        const char *close = strchr(++at, '>');
        if (!close)
            return false;
        if (*at == '!') {
            at = close;
            continue;
        }
        bool ends = *at == '/', empty = close[-1] == '/';
        at += ends;
        size_t n = strcspn(at, " />");
        unsigned quotes = 0;
        for (const char *c = at; c < close; c++)
            quotes += *c == '"';
        if (quotes % 2 || !n || n >= NAME_MAX_BYTES)
            return false;
        if (ends) {
            if (!depth-- || strncmp(open[depth], at, n) != 0 || open[depth][n])
                return false;
        } else if (!empty) {
            if (depth == DEPTH_MAX)
                return false;
            memcpy(open[depth], at, n);
            open[depth++][n] = 0;
        }
        at = close;
    }
    return !depth;
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;
    for (const char *at = text; (at = strstr(at, what)); at++)
        n++;
    return n;
}

#define GUEST(name, more) "{\"guest\":\"" name "\",\"node\":\"n2\",\"protected\":true,\"failovers\":1" more "}"
#define DRILL(guests, reason)                                                                                          \
    "{\"name\":\"20261126-1\",\"spec\":{\"kind\":\"partition\",\"node\":\"n2\",\"by\":\"local:root\",\"for_ms\":"      \
    "12000,"                                                                                                           \
    "\"abort_if\":\"silent > 3s\"},\"state\":{\"phase\":\"done\",\"reason\":\"" reason                                 \
    "\",\"conductor\":\"n1\",\"began_ms\":1000,\"fault_ms\":2000,\"heal_at_ms\":14000,\"guests\":[" guests             \
    "],\"result\":{\"rto_ms\":6500,\"lost_writes\":0,\"silent_ms\":9000,\"canaries\":1},\"blast\":{\"guests\":[{"      \
    "\"guest\":"                                                                                                       \
    "\"web\",\"effect\":\"runs again on another "                                                                      \
    "node\",\"next\":\"n3\"}],\"volumes\":[{\"volume\":\"web\",\"members\":3,"                                         \
    "\"left\":2,\"needed\":2}]},\"timeline\":[{\"ms\":1000,\"kind\":\"fault\",\"at\":\"x\",\"text\":\"fault\"},{"      \
    "\"ms\":7000,"                                                                                                     \
    "\"kind\":\"node\",\"text\":\"lost\"},{\"ms\":13000,\"kind\":\"node\",\"text\":\"back\"},{\"ms\":16000,\"kind\":"  \
    "\"phase\","                                                                                                       \
    "\"text\":\"done\"}]}}"

static void whole(void **state)
{
    (void)state;
    char *text = page_of(
        DRILL(GUEST("web", ",\"canary\":true,\"outage_ms\":6500,\"up_ms\":8500,\"acked\":40,\"lost\":0") "," GUEST(
                  "db", ",\"outage_ms\":0"),
              ""));
    assert_true(is_well_formed(text));
    assert_int_equal(count(text, "class=\"name\""), 5); /* fault, node, two guests, events */
    assert_int_equal(count(text, "<rect class=\"down\""), 2);
    assert_int_equal(count(text, "<rect class=\"fault\""), 1);
    assert_int_equal(count(text, "<circle"), 4);
    assert_non_null(strstr(text, "6.5 s"));
    assert_non_null(strstr(text, "2 of 3 members in sync left, 2 needed"));
    assert_null(strstr(text, "<script"));
    assert_null(strstr(text, "silent > 3s"));
    assert_non_null(strstr(text, "silent &gt; 3s"));
    free(text);
}

/* Nothing that anybody wrote becomes part of the page's form. */
static void hostile(void **state)
{
    (void)state;
    char *text = page_of(DRILL(GUEST("<script>alert(1)</script>", ""), "\\u0001</p><b title='x' \\\"y\\\">&"));
    assert_true(is_well_formed(text));
    assert_null(strstr(text, "<script"));
    assert_null(strstr(text, "<b title"));
    assert_null(strchr(text, 1));
    assert_non_null(strstr(text, "&lt;script&gt;alert(1)&lt;/script&gt;"));
    free(text);
}

/* One that has only begun, and an answer that has nothing of it all. */
static void bare(void **state)
{
    static const char *const drills[] = {"{}", "{\"spec\":{},\"state\":{}}", "{\"spec\":3,\"state\":[]}",
                                         "{\"state\":{\"timeline\":[{\"ms\":-5}],\"guests\":[{}],\"fault_ms\":5}}"};
    (void)state;
    for (size_t i = 0; i < sizeof drills / sizeof *drills; i++) {
        char *text = page_of(drills[i]);
        assert_true(is_well_formed(text));
        assert_int_equal(count(text, "<svg"), 1);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(whole), cmocka_unit_test(hostile), cmocka_unit_test(bare)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
