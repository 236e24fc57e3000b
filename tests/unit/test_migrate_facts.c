/* What a destination must have: everything that does not fit is in the answer, and more than is needed is fine. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <jansson.h>

#include "hv/migrate_facts.h"
#include "node/base/err.h"

static const char guest[] =
    "{'vcpus': 2, 'cpu': {'model': 'baseline-v2', 'vendor': 'AuthenticAMD', 'xcr0': 3, 'tsc-khz': 2000000,"
    " 'features': [[1, 0, 0, 0, 1, 0]]}, 'slots': [{'gpa': 0, 'bytes': 2097152, 'rom': false}],"
    " 'devices': [{'slot': 2, 'device': 'virtio-blk', 'queues': 1, 'features': 64}, {'slot': 3, 'device': 'virtio-net',"
    " 'queues': 3, 'features': 5}], 'nets': [{'mac': '52:54:00:00:00:01', 'mtu': 0}]}";

static json_t *parse(const char *text)
{
    char copy[2048];
    snprintf(copy, sizeof copy, "%s", text);
    for (char *p = copy; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    json_t *json = json_loads(copy, 0, NULL);
    assert_non_null(json);
    return json;
}

static void set(json_t *object, const char *path, json_t *value)
{
    char copy[128], *rest = copy, *part;
    snprintf(copy, sizeof copy, "%s", path);
    json_t *at = object;
    while ((part = strsep(&rest, "."))) {
        if (!rest) {
            json_object_set_new(at, part, value);
            return;
        }
        at = json_is_array(at) ? json_array_get(at, (size_t)(*part - '0')) : json_object_get(at, part);
    }
}

static void test_differences(void **state)
{
    (void)state;
    const struct {
        const char *path;
        json_t *value;
        const char *words;
    } cases[] = {
        {"vcpus", json_integer(4), "it has 2 vCPUs, here are 4"},
        {"cpu.model", json_string("host"), "the processor model is baseline-v2 there, host here"},
        {"cpu.vendor", json_string("GenuineIntel"), "by GenuineIntel here"},
        {"cpu.xcr0", json_integer(1), "states of XSAVE are missing here: 0x2"},
        {"cpu.features", json_array(), "1 features of the processor are missing here: sse3"},
        {"slots", json_pack("[{s:i, s:i, s:b}]", "gpa", 0, "bytes", 4194304, "rom", 0), "2 MiB of memory, here are 4"},
        {"devices.0.device", json_string("virtio-rng"), "slot 2 has virtio-blk there, virtio-rng here"},
        {"devices.1.queues", json_integer(5), "virtio-net in slot 3 has 3 queues there, 5 here"},
        {"devices.1.features", json_integer(1), "virtio features 0x4 are missing"},
        {"nets.0.mac", json_string("52:54:00:00:00:02"), "nets[0] is 52:54:00:00:00:01 there, 52:54:00:00:00:02 here"},
    };
    json_t *source = parse(guest), *all = parse(guest);
    struct err err = {0};
    assert_int_equal(migrate_facts_fit(source, all, &err), 0);
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *here = parse(guest);
        set(here, cases[i].path, json_incref(cases[i].value));
        set(all, cases[i].path, cases[i].value);
        assert_int_equal(migrate_facts_fit(source, here, &err), -ENOTSUP);
        if (!strstr(err.text, cases[i].words))
            fail_msg("%s: %s", cases[i].words, err.text);
        assert_non_null(strstr(err.text, "1 things do not fit"));
        json_decref(here);
    }
    assert_int_equal(migrate_facts_fit(source, all, &err), -ENOTSUP);
    assert_non_null(strstr(err.text, "9 things do not fit"));
    json_decref(source);
    json_decref(all);
}

static void test_more_is_fine(void **state)
{
    (void)state;
    json_t *source = parse(guest), *here = parse(guest);
    struct err err;
    set(here, "cpu.xcr0", json_integer(7));
    set(here, "devices.1.features", json_integer(7));
    set(here, "devices.0.features", json_integer(0)); /* a disk that is not open yet */
    set(here, "cpu.features", json_pack("[[i, i, i, i, i, i]]", 1, 0, 0, 0, 3, 3));
    assert_int_equal(migrate_facts_fit(source, here, &err), 0);
    json_decref(source);
    json_decref(here);
}

/* Foreign: anything may be missing or of another kind. */
static void test_nonsense(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{}", "{'cpu': [], 'slots': 3, 'devices': {'a': 1}, 'nets': 'x', 'vcpus': 'two'}",
        "{'devices': [1, [], null], 'slots': [null], 'cpu': {'features': [[], [1], 7]}}"};
    json_t *here = parse(guest);
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct err err;
        json_t *source = parse(texts[i]);
        assert_int_equal(migrate_facts_fit(source, here, &err), -ENOTSUP);
        json_decref(source);
    }
    json_decref(here);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_differences),
        cmocka_unit_test(test_more_is_fine),
        cmocka_unit_test(test_nonsense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
