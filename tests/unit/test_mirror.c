/* The mirror: what it keeps, in which order, whom it tells, and what it makes of stale and foreign news. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "node/agent/kind.h"
#include "node/agent/mirror.h"
#include "node/base/container.h"

struct ear {
    struct mirror_listener listener;
    unsigned news;
    enum object_part part;
    char last[64];
};

static void heard(struct mirror_listener *listener, const struct object *object, enum object_part part)
{
    struct ear *ear = CONTAINER_OF(listener, struct ear, listener);
    ear->news++;
    ear->part = part;
    snprintf(ear->last, sizeof ear->last, "%s %s%s", object_kind_name(object->kind), object->id,
             object->value || object->state ? "" : " gone");
}

static int put(struct mirror *m, const char *key, const char *text, uint64_t revision)
{
    return mirror_put(m, key, text, strlen(text), revision);
}

static int put_guest(struct mirror *m, const char *id, const char *name, uint64_t revision)
{
    char key[64], text[256];
    snprintf(key, sizeof key, "/drover/guest/%s", id);
    snprintf(
        text, sizeof text,
        "{\"kind\":\"guest\",\"id\":\"%s\",\"name\":\"%s\",\"spec\":{\"node\":\"n1\",\"disks\":[{\"volume\":\"v\"}]}}",
        id, name);
    return put(m, key, text, revision);
}

static void test_order(void **state)
{
    (void)state;
    struct mirror *m = mirror_new();
    assert_null(mirror_next(m, OBJECT_GUEST, NULL));
    assert_int_equal(put_guest(m, "3", "b", 1), 0);
    assert_int_equal(put_guest(m, "1", "c", 2), 0);
    assert_int_equal(put_guest(m, "2", "a", 3), 0);
    assert_int_equal(mirror_count(m, OBJECT_GUEST), 3);
    const struct object *o = mirror_next(m, OBJECT_GUEST, NULL);
    assert_string_equal(o->name, "a");
    o = mirror_next(m, OBJECT_GUEST, o->name);
    assert_string_equal(o->name, "b");
    assert_string_equal(mirror_next(m, OBJECT_GUEST, "bb")->name, "c"); /* a page may begin after one that is gone */
    assert_null(mirror_next(m, OBJECT_GUEST, "c"));
    assert_string_equal(mirror_find(m, OBJECT_GUEST, "1")->name, "c");
    assert_string_equal(mirror_named(m, OBJECT_GUEST, "b")->id, "3");
    assert_null(mirror_named(m, OBJECT_VOLUME, "b"));
    assert_string_equal(object_spec_text(o, "node"), "n1");
    assert_string_equal(object_spec_text(o, "none"), "");
    mirror_free(m);
}

static void test_parts(void **state)
{
    (void)state;
    struct mirror *m = mirror_new();
    struct ear ear = {.listener.changed = heard};
    mirror_listen(m, &ear.listener);
    assert_int_equal(put(m, "/drover/state/guest/1", "{\"phase\":\"running\"}", 5), 0);
    assert_int_equal(ear.news, 1);
    assert_int_equal(ear.part, OBJECT_STATE);
    assert_int_equal(mirror_count(m, OBJECT_GUEST), 0); /* nobody wants it */
    assert_int_equal(put_guest(m, "1", "a", 6), 0);
    assert_int_equal(ear.part, OBJECT_VALUE);
    const struct object *o = mirror_find(m, OBJECT_GUEST, "1");
    assert_int_equal(o->revision, 6);
    assert_int_equal(o->state_revision, 5);
    mirror_delete(m, "/drover/guest/1", 7);
    assert_null(mirror_named(m, OBJECT_GUEST, "a"));
    assert_non_null(mirror_find(m, OBJECT_GUEST, "1"));
    mirror_delete(m, "/drover/state/guest/1", 8);
    assert_null(mirror_find(m, OBJECT_GUEST, "1"));
    assert_string_equal(ear.last, "guest 1 gone");
    assert_int_equal(ear.news, 4);
    mirror_unlisten(&ear.listener);
    mirror_free(m);
}

static void test_stale(void **state)
{
    (void)state;
    struct mirror *m = mirror_new();
    assert_int_equal(put_guest(m, "1", "new", 20), 0);
    assert_int_equal(put_guest(m, "1", "old", 15), 0);
    assert_string_equal(mirror_find(m, OBJECT_GUEST, "1")->name, "new");
    mirror_delete(m, "/drover/guest/1", 18);
    assert_non_null(mirror_named(m, OBJECT_GUEST, "new"));
    mirror_delete(m, "/drover/guest/1", 21);
    assert_null(mirror_named(m, OBJECT_GUEST, "new"));
    mirror_free(m);
}

/* After everything was read anew, what was not there is gone, each part for itself. */
static void test_sweep(void **state)
{
    (void)state;
    struct mirror *m = mirror_new();
    put_guest(m, "1", "a", 1);
    put_guest(m, "2", "b", 2);
    put(m, "/drover/state/guest/1", "{}", 3);
    mirror_begin(m);
    put_guest(m, "1", "a", 1);
    mirror_sweep(m);
    assert_null(mirror_find(m, OBJECT_GUEST, "2"));
    assert_non_null(mirror_named(m, OBJECT_GUEST, "a"));
    assert_null(mirror_find(m, OBJECT_GUEST, "1")->state);
    mirror_free(m);
}

static void test_stir(void **state)
{
    (void)state;
    struct mirror *m = mirror_new();
    struct ear ear = {.listener.changed = heard};
    put_guest(m, "1", "b", 1);
    put_guest(m, "2", "a", 2);
    put(m, "/drover/state/load/n1", "{}", 3); /* nobody wants it */
    mirror_listen(m, &ear.listener);
    mirror_stir(m);
    assert_int_equal(ear.news, 1);
    assert_int_equal(ear.part, OBJECT_VALUE);
    assert_string_equal(ear.last, "guest 2");
    mirror_unlisten(&ear.listener);
    mirror_free(m);
}

static void test_foreign(void **state)
{
    (void)state;
    struct mirror *m = mirror_new();
    assert_int_equal(put(m, "/drover/guest/1", "[]", 1), -EBADMSG);
    assert_int_equal(put(m, "/drover/guest/1", "{", 1), -EBADMSG);
    assert_int_equal(put(m, "/drover/guest/1", "{\"name\":\"a\"}", 1), -EBADMSG);
    assert_int_equal(put(m, "/drover/guest/1", "{\"name\":1,\"spec\":{}}", 1), -EBADMSG);
    assert_int_equal(put(m, "/drover/guest/1/2", "{}", 1), 0);
    assert_int_equal(put(m, "/drover/name/guest/a", "1", 1), 0);
    assert_int_equal(put(m, "/drover/unheard-of/1", "{}", 1), 0);
    assert_int_equal(put(m, "/other/guest/1", "{}", 1), 0);
    mirror_delete(m, "/drover/guest/none", 2);
    assert_int_equal(mirror_count(m, OBJECT_GUEST), 0);
    assert_null(mirror_find(m, OBJECT_GUEST, "1"));
    mirror_free(m);
}

static const char *unreadable(const struct mirror *m, const char *after)
{
    const struct object *o = mirror_unreadable(m, OBJECT_GUEST, after);
    return o ? o->id : "";
}

/* What the store has and cannot be read is known by its key, until it can be, is gone, or is not there any more when
 * all is read anew. */
static void test_unreadable(void **state)
{
    (void)state;
    struct mirror *m = mirror_new();
    put_guest(m, "1", "a", 1);
    assert_int_equal(put(m, "/drover/state/guest/1", "[]", 2), -EBADMSG);
    assert_string_equal(unreadable(m, NULL), ""); /* a state comes again */
    assert_int_equal(put(m, "/drover/guest/3", "{\"name\":\"a\"}", 3), -EBADMSG);
    assert_int_equal(put(m, "/drover/guest/2", "[]", 4), -EBADMSG);
    assert_int_equal(put(m, "/drover/guest/1", "no", 5), -EBADMSG);
    assert_string_equal(unreadable(m, NULL), "1");
    assert_string_equal(unreadable(m, "1"), "2");
    assert_string_equal(unreadable(m, "10"), "2");
    assert_string_equal(unreadable(m, "2"), "3");
    assert_string_equal(unreadable(m, "3"), "");
    assert_null(mirror_unreadable(m, OBJECT_NODE, NULL));
    assert_null(mirror_find(m, OBJECT_GUEST, "2"));
    put_guest(m, "1", "a", 6);
    assert_string_equal(unreadable(m, NULL), "2");
    assert_int_equal(put(m, "/drover/guest/1", "no", 5), -EBADMSG); /* older */
    assert_string_equal(unreadable(m, NULL), "2");
    mirror_delete(m, "/drover/guest/2", 3); /* older */
    assert_string_equal(unreadable(m, NULL), "2");
    mirror_delete(m, "/drover/guest/2", 7);
    assert_string_equal(unreadable(m, NULL), "3");
    assert_int_equal(put(m, "/drover/guest/4", "[]", 8), -EBADMSG);
    mirror_begin(m);
    assert_int_equal(put(m, "/drover/guest/4", "[]", 8), -EBADMSG);
    mirror_sweep(m);
    assert_string_equal(unreadable(m, NULL), "4");
    mirror_free(m);
}

static void test_references(void **state)
{
    (void)state;
    struct mirror *m = mirror_new();
    char text[64];
    put_guest(m, "1", "a", 1);
    put(m, "/drover/volume/2", "{\"name\":\"v\",\"spec\":{\"pool\":\"p\"}}", 2);
    put(m, "/drover/volume/3", "{\"name\":\"w\",\"spec\":{\"pool\":\"p\"}}", 3);
    assert_true(kind_is_used(m, mirror_named(m, OBJECT_VOLUME, "v"), text, sizeof text));
    assert_string_equal(text, "guest a");
    assert_false(kind_is_used(m, mirror_named(m, OBJECT_VOLUME, "w"), text, sizeof text));
    mirror_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),      cmocka_unit_test(test_parts),      cmocka_unit_test(test_stale),
        cmocka_unit_test(test_sweep),      cmocka_unit_test(test_stir),       cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_unreadable), cmocka_unit_test(test_references),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
