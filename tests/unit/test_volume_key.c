/* Keys of volumes: only the same cluster opens them, for the same volume. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "node/agent/volume_key.h"
#include "node/base/err.h"

static char state_folder[40], key_path[64];

static int setup(void **state)
{
    struct err err;
    (void)state;
    strcpy(state_folder, "/tmp/drover-key-XXXXXX");
    assert_non_null(mkdtemp(state_folder));
    snprintf(key_path, sizeof key_path, "%s/volume.key", state_folder);
    return volume_key_make_cluster(state_folder, &err);
}

static int teardown(void **state)
{
    (void)state;
    unlink(key_path);
    return rmdir(state_folder);
}

static void round_trip(void **state)
{
    char wrapped[VOLUME_KEY_WRAPPED_TEXT], other[VOLUME_KEY_WRAPPED_TEXT], one[VOLUME_KEY_TEXT], two[VOLUME_KEY_TEXT];
    struct err err;
    struct stat st;
    (void)state;
    assert_int_equal(stat(key_path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(volume_key_new(state_folder, "v1", wrapped, &err), 0);
    assert_int_equal(volume_key_new(state_folder, "v1", other, &err), 0);
    assert_string_not_equal(wrapped, other);
    assert_int_equal(strlen(wrapped), VOLUME_KEY_WRAPPED_TEXT - 1);
    assert_int_equal(volume_key_unwrap(state_folder, "v1", wrapped, one, &err), 0);
    assert_int_equal(strspn(one, "0123456789abcdef"), VOLUME_KEY_TEXT - 1);
    int fd = volume_key_file(state_folder, "v1", wrapped, &err);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, two, sizeof two), VOLUME_KEY_TEXT - 1);
    assert_memory_equal(one, two, VOLUME_KEY_TEXT - 1);
    close(fd);
}

static void strangers(void **state)
{
    char wrapped[VOLUME_KEY_WRAPPED_TEXT], changed[VOLUME_KEY_WRAPPED_TEXT], key[VOLUME_KEY_TEXT],
        cluster[VOLUME_KEY_TEXT];
    struct err err;
    (void)state;
    assert_int_equal(volume_key_new(state_folder, "v1", wrapped, &err), 0);
    assert_int_equal(volume_key_unwrap(state_folder, "v2", wrapped, key, &err), -EBADMSG);
    for (size_t i = 0; i < sizeof wrapped - 1; i += 7) {
        strcpy(changed, wrapped);
        changed[i] = changed[i] == 'f' ? '0' : 'f';
        assert_int_equal(volume_key_unwrap(state_folder, "v1", changed, key, &err), -EBADMSG);
    }
    assert_int_equal(volume_key_unwrap(state_folder, "v1", "", key, &err), -EBADMSG);
    assert_int_equal(volume_key_unwrap(state_folder, "v1", "xyz", key, &err), -EBADMSG);
    assert_int_equal(volume_key_read_cluster(state_folder, cluster, &err), 0);
    cluster[0] = cluster[0] == '0' ? '1' : '0';
    assert_int_equal(volume_key_write_cluster(state_folder, cluster, &err), 0);
    assert_int_equal(volume_key_unwrap(state_folder, "v1", wrapped, key, &err), -EBADMSG);
}

static void no_key(void **state)
{
    char wrapped[VOLUME_KEY_WRAPPED_TEXT];
    struct err err;
    (void)state;
    assert_int_equal(volume_key_make_cluster(state_folder, &err), -EEXIST);
    assert_int_equal(volume_key_write_cluster(state_folder, "abc", &err), -EINVAL);
    assert_int_equal(truncate(key_path, 63), 0);
    assert_int_equal(volume_key_new(state_folder, "v1", wrapped, &err), -EINVAL);
    assert_non_null(strstr(err.text, "bring it from another node"));
    unlink(key_path);
    assert_int_equal(volume_key_new(state_folder, "v1", wrapped, &err), -ENOENT);
    assert_non_null(strstr(err.text, key_path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(strangers, setup, teardown),
        cmocka_unit_test_setup_teardown(no_key, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
