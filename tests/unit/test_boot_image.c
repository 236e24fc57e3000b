/* Who holds what guests boot from: who wants it, who serves it, where it is copied from, and that nobody moves where it
 * is not. Three nodes; the kernel "k" was imported on n1. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "node/agent/boot_image.h"
#include "node/agent/failover_view.h"
#include "node/agent/placement.h"

#define SUM "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

__attribute__((format(printf, 3, 4))) static void put(struct mirror *m, const char *key, const char *format, ...)
{
    static uint64_t revision;
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *c = text; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    assert_int_equal(mirror_put(m, key, text, strlen(text), ++revision), 0);
}

/* copy: what it says of its copy of "k", or "": it has none. */
static void put_node(struct mirror *m, int i, bool alive, const char *copy)
{
    char key[64], copies[512] = "";
    snprintf(key, sizeof key, "/drover/node/n%d-id", i);
    put(m, key, "{'kind':'node','id':'n%d-id','name':'n%d','spec':{}}", i, i);
    snprintf(key, sizeof key, "/drover/state/node/n%d-id", i);
    if (*copy)
        snprintf(copies, sizeof copies, ",'boot_images':{'" SUM "':{%s}}", copy);
    put(m, key, "{'alive':%s,'memory_bytes':8589934592%s}", alive ? "true" : "false", copies);
}

static void put_image(struct mirror *m, const char *name, int node, const char *state)
{
    char key[64];
    snprintf(key, sizeof key, "/drover/image/%s-id", name);
    put(m, key, "{'kind':'image','id':'%s-id','name':'%s','spec':{'pool':'p%d'}}", name, name, node);
    snprintf(key, sizeof key, "/drover/state/image/%s-id", name);
    put(m, key, "{'node':'n%d','bytes':4096,'uri':'nbd://n%d/%s'%s}", node, node, name, state);
}

static void put_guest(struct mirror *m, const char *more)
{
    put(m, "/drover/guest/g-id",
        "{'kind':'guest','id':'g-id','name':'g','spec':{'node':'n1','running':true,'ha':true,'memory':1048576,"
        "'boot':{'kernel':'k'}%s}}",
        more);
    put(m, "/drover/state/guest/g-id", "{'phase':'running','node':'n1'}");
}

static struct mirror *cluster(void)
{
    struct mirror *m = mirror_new();
    for (int i = 1; i <= 3; i++)
        put_node(m, i, true, "");
    put_image(m, "k", 1, ",'phase':'ready','content_sha256':'" SUM "'");
    put_guest(m, "");
    return m;
}

static const struct object *node(const struct mirror *m, const char *name)
{
    return mirror_named(m, OBJECT_NODE, name);
}

static const struct object *image(const struct mirror *m, const char *name)
{
    return mirror_named(m, OBJECT_IMAGE, name);
}

static void test_wanted(void **state)
{
    struct mirror *m = cluster();
    (void)state;
    assert_true(boot_image_is_booted(m, image(m, "k")));
    assert_true(boot_image_is_held(m, image(m, "k"), node(m, "n1")));
    assert_false(boot_image_is_held(m, image(m, "k"), node(m, "n2")));
    assert_true(boot_image_is_wanted(m, image(m, "k"), node(m, "n2")));
    assert_true(boot_image_is_lacking(m, image(m, "k")));
    put_node(m, 2, true, "'phase':'ready'");
    assert_true(boot_image_is_held(m, image(m, "k"), node(m, "n2")));
    assert_true(boot_image_is_lacking(m, image(m, "k"))); /* by n3 */
    put_node(m, 3, false, "");
    assert_false(boot_image_is_lacking(m, image(m, "k")));
    put_node(m, 3, true, "'phase':'copying'");
    assert_true(boot_image_is_lacking(m, image(m, "k")));
    put_guest(m, ",'avoid':['n3']");
    assert_false(boot_image_is_wanted(m, image(m, "k"), node(m, "n3")));
    assert_false(boot_image_is_lacking(m, image(m, "k")));
    put_guest(m, ",'pin':['n2']");
    assert_true(boot_image_is_wanted(m, image(m, "k"), node(m, "n1"))); /* it is there */
    mirror_free(m);
}

static void test_no_sum(void **state)
{
    struct mirror *m = cluster();
    (void)state;
    put_image(m, "k", 1, ",'phase':'ready'");
    put_node(m, 2, true, "'phase':'ready'"); /* of something */
    assert_false(boot_image_is_held(m, image(m, "k"), node(m, "n2")));
    assert_false(boot_image_is_lacking(m, image(m, "k"))); /* there is nothing to ask for yet */
    assert_string_equal(boot_image_obstacle(image(m, "k")), "");
    put(m, "/drover/state/image/k-id", "{'node':'n1','phase':'ready','bytes':1073741825}");
    assert_non_null(strstr(boot_image_obstacle(image(m, "k")), "larger"));
    mirror_free(m);
}

/* Another image with the same bytes serves as well, and so does a copy when no image is left. */
static void test_sources(void **state)
{
    struct mirror *m = cluster();
    (void)state;
    assert_string_equal(boot_image_source(m, image(m, "k"), "n2"), "nbd://n1/k");
    put_image(m, "same", 2, ",'phase':'ready','content_sha256':'" SUM "'");
    assert_ptr_equal(boot_image_here(m, "k", "n2"), image(m, "same"));
    assert_true(boot_image_is_booted(m, image(m, "same")));
    assert_true(boot_image_is_lacking(m, image(m, "same")));
    put_node(m, 1, false, "");
    assert_string_equal(boot_image_source(m, image(m, "k"), "n3"), "nbd://n2/same");
    put_image(m, "same", 2, ",'phase':'importing'");
    assert_null(boot_image_source(m, image(m, "k"), "n3"));
    put_node(m, 2, true, "'phase':'ready','uri':''");
    assert_string_equal(boot_image_source(m, image(m, "k"), "n3"), ""); /* soon */
    assert_true(boot_image_is_served_by(m, image(m, "k"), "n2"));
    assert_false(boot_image_is_served_by(m, image(m, "k"), "n3"));
    put_node(m, 2, true, "'phase':'ready','uri':'nbd://n2/copy'");
    assert_string_equal(boot_image_source(m, image(m, "k"), "n3"), "nbd://n2/copy");
    put_node(m, 1, true, "");
    assert_false(boot_image_is_served_by(m, image(m, "k"), "n2"));
    assert_string_equal(boot_image_source(m, image(m, "k"), "n3"), "nbd://n1/k");
    /* its node has lost it: it is unpacked again, and the copies stay what they are */
    put_image(m, "k", 1, ",'phase':'importing','content_sha256':'" SUM "'");
    assert_true(boot_image_is_held(m, image(m, "k"), node(m, "n2")));
    assert_string_equal(boot_image_source(m, image(m, "k"), "n1"), "nbd://n2/copy");
    mirror_free(m);
}

static void test_moves(void **state)
{
    struct mirror *m = cluster();
    char why[PLACEMENT_WHY_MAX] = "";
    (void)state;
    struct placement_guest moves = placement_guest_of(mirror_named(m, OBJECT_GUEST, "g"), true);
    struct placement_guest anew = placement_guest_of(mirror_named(m, OBJECT_GUEST, "g"), false);
    assert_true(placement_allows(m, &anew, node(m, "n2"), why)); /* it may wait there */
    assert_false(placement_allows(m, &moves, node(m, "n2"), why));
    assert_string_equal(why, "it has no copy of image k yet: it is to be copied");
    put_node(m, 2, true, "'phase':'failed','reason':'it has another sum'");
    assert_false(placement_allows(m, &moves, node(m, "n2"), why));
    assert_string_equal(why, "it has no copy of image k yet: it has another sum");
    put_node(m, 2, true, "'phase':'ready','reason':''");
    assert_true(placement_allows(m, &moves, node(m, "n2"), why));
    assert_ptr_equal(placement_choose(m, &moves, &(struct placement_choice){.except = "n1"}, why), node(m, "n2"));
    mirror_free(m);
}

static void test_failover(void **state)
{
    struct mirror *m = cluster();
    struct failover_scene scene;
    const char *reason = "";
    (void)state;
    put_node(m, 1, false, "");
    assert_true(failover_scene_make(&scene, m, NULL, "n2"));
    assert_int_equal(scene.view.guests[0].able, 1);
    assert_int_equal(scene.view.guests[0].bare, 6);
    assert_int_equal(failover_place(&scene.view, &scene.view.guests[0], &reason), FAILOVER_NOBODY);
    assert_non_null(strstr(reason, "has a copy of the images"));
    failover_scene_free(&scene);
    put_node(m, 3, true, "'phase':'ready'");
    assert_true(failover_scene_make(&scene, m, NULL, "n2"));
    assert_int_equal(failover_place(&scene.view, &scene.view.guests[0], &reason), 2);
    failover_scene_free(&scene);
    put_guest(m, ",'avoid':['n2','n3']");
    assert_true(failover_scene_make(&scene, m, NULL, "n2"));
    assert_int_equal(failover_place(&scene.view, &scene.view.guests[0], &reason), FAILOVER_NOBODY);
    assert_string_equal(reason, "no other node may have it by its placement rules");
    failover_scene_free(&scene);
    mirror_free(m);
}

static void test_shown(void **state)
{
    struct mirror *m = cluster();
    (void)state;
    put_node(m, 2, true, "'phase':'ready'");
    put_node(m, 3, true, "'phase':'copying'");
    json_t *shown = boot_image_state(m, image(m, "k"));
    json_t *wanted = json_pack("[{s:s, s:s}]", "node", "n3", "reason", "it is being copied");
    assert_true(json_equal(json_object_get(shown, "lacking"), wanted));
    json_decref(wanted);
    wanted = json_pack("[s]", "n2");
    assert_true(json_equal(json_object_get(shown, "copies"), wanted));
    json_decref(wanted);
    json_decref(shown);
    assert_null(json_object_get(image(m, "k")->state, "copies")); /* that is not the object's */
    mirror_delete(m, "/drover/guest/g-id", 1000000);
    shown = boot_image_state(m, image(m, "k"));
    assert_null(json_object_get(shown, "lacking"));
    assert_false(boot_image_is_wanted(m, image(m, "k"), node(m, "n2")));
    json_decref(shown);
    mirror_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wanted), cmocka_unit_test(test_no_sum),   cmocka_unit_test(test_sources),
        cmocka_unit_test(test_moves),  cmocka_unit_test(test_failover), cmocka_unit_test(test_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
