/* From a guest's plan to the files of its seed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/agent/guest_seed.h"
#include "node/base/err.h"

enum { TEXT_MAX = 4096 };

static char directory[] = "/tmp/drover-guest-seed-XXXXXX", path[64];

static int make_directory(void **state)
{
    (void)state;
    if (!mkdtemp(directory))
        return -1;
    snprintf(path, sizeof path, "%s/g.seed", directory);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(directory);
}

static json_t *plan(void)
{
    static const char text[] =
        "{'instance_id':'0f6c', 'hostname':'web1', 'ssh_keys':['ssh-ed25519 AAAA me'], 'cards':["
        "{'mac':'52:54:00:01:02:03', 'address':'10.7.0.2', 'subnet':'10.7.0.0/24', 'mtu':1450,"
        " 'gateway':'10.7.0.1', 'dns':['192.0.2.53', '192.0.2.54']},"
        "{'mac':'52:54:00:01:02:04', 'address':'fd00:7::2', 'subnet':'fd00:7::/64', 'mtu':1280, 'gateway':null}]}";
    char quoted[sizeof text];
    json_error_t where;
    for (size_t i = 0; i < sizeof text; i++)
        quoted[i] = text[i] == '\'' ? '"' : text[i];
    json_t *p = json_loads(quoted, 0, &where);
    if (!p)
        fail_msg("%s", where.text);
    json_object_set_new(p, "path", json_string(path));
    return p;
}

static void read_back(const char *name, char text[TEXT_MAX])
{
    struct archive *a = archive_read_new();
    struct archive_entry *entry;
    bool found = false;
    memset(text, 0, TEXT_MAX);
    assert_int_equal(archive_read_support_format_iso9660(a), ARCHIVE_OK);
    assert_int_equal(archive_read_open_filename(a, path, 2048), ARCHIVE_OK);
    while (!found && archive_read_next_header(a, &entry) == ARCHIVE_OK) {
        found = strcmp(archive_entry_pathname(entry), name) == 0;
        if (found)
            assert_true(archive_read_data(a, text, TEXT_MAX - 1) > 0);
    }
    archive_read_free(a);
    assert_true(found);
}

static void assert_has(const char *name, const char *words)
{
    char text[TEXT_MAX];
    read_back(name, text);
    if (!strstr(text, words))
        fail_msg("'%s' is not in %s:\n%s", words, name, text);
}

static void writes_what_the_plan_says(void **state)
{
    (void)state;
    json_t *p = plan();
    struct err err = {.code = 0};
    if (guest_seed_write(p, &err))
        fail_msg("%s", err.text);
    assert_has("meta-data", "\"instance-id\": \"0f6c\"");
    assert_has("meta-data", "ssh-ed25519 AAAA me");
    assert_has("user-data", "\"hostname\": \"web1\"");
    assert_has("network-config", "\"10.7.0.2/24\"");
    assert_has("network-config", "\"via\": \"10.7.0.1\"");
    assert_has("network-config", "\"192.0.2.54\"");
    assert_has("network-config", "\"fd00:7::2/64\"");
    assert_has("network-config", "\"mtu\": 1280");
    json_object_set_new(p, "user_data", json_string("#!/bin/sh\ntrue\n"));
    assert_int_equal(guest_seed_write(p, &err), 0);
    assert_has("user-data", "#!/bin/sh\ntrue\n");
    json_decref(p);
}

static void assert_refused(json_t *p, const char *words)
{
    struct err err = {.code = 0};
    int rc = guest_seed_write(p, &err);
    if (rc != -EINVAL || !strstr(err.text, words))
        fail_msg("%d '%s' does not say '%s'", rc, err.text, words);
    json_decref(p);
}

static void refuses_a_bad_plan(void **state)
{
    (void)state;
    static const char *const members[] = {"mac", "address", "subnet"};
    for (unsigned i = 0; i < sizeof members / sizeof *members; i++) {
        json_t *p = plan();
        json_object_set_new(json_array_get(json_object_get(p, "cards"), 1), members[i], json_string("x"));
        assert_refused(p, "'x'");
        p = plan();
        json_object_set_new(json_array_get(json_object_get(p, "cards"), 0), members[i], json_integer(7));
        assert_refused(p, "''");
    }
    json_t *p = plan();
    json_array_append_new(json_object_get(p, "ssh_keys"), json_null());
    assert_refused(p, "ssh_keys[1]");
    p = plan();
    json_array_append_new(json_object_get(json_array_get(json_object_get(p, "cards"), 0), "dns"), json_null());
    assert_refused(p, "''");
    p = plan();
    json_object_set_new(p, "hostname", json_string("-"));
    assert_refused(p, "hostname");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_what_the_plan_says),
        cmocka_unit_test(refuses_a_bad_plan),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
