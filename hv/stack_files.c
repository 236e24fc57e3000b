#include "hv/stack_files.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "nbd/raw_file.h"
#include "node/base/err.h"

static bool is_driver(const json_t *layer, const char *name)
{
    const char *driver = json_string_value(json_object_get(layer, "driver"));
    return driver && strcmp(driver, name) == 0;
}

json_t *stack_files_namer(json_t *layer)
{
    json_t *key = json_object_get(layer, "key");
    if (is_driver(layer, "raw"))
        return layer;
    return is_driver(layer, "luks") && json_is_object(key) ? key : NULL;
}

static int open_raw(const json_t *layer, bool read_only, int *fd, struct err *err)
{
    struct raw_config config = {
        .file = json_string_value(json_object_get(layer, "file")),
        .direct = json_is_true(json_object_get(layer, "direct")),
        .read_only = json_is_true(json_object_get(layer, "read-only")),
    };
    *fd = raw_file_descriptor(&config, read_only || config.read_only, err);
    return *fd < 0 ? err_prefix(err, "raw") : 0;
}

static int open_key(json_t *key, int *fd, struct err *err)
{
    const char *path = json_string_value(json_object_get(key, "file"));
    if (!path)
        return err_set(err, EINVAL, "luks: key must be {\"file\": PATH}");
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (*fd < 0)
        return err_set(err, errno, "luks: cannot open the key file '%.120s': %s", path, strerror(errno));
    json_object_del(key, "file"); /* a key has one of the two */
    return 0;
}

int stack_files_open(json_t *layers, bool read_only, int *fds, unsigned max, unsigned *count, struct err *err)
{
    size_t i;
    json_t *layer;
    int rc = 0;
    *count = 0;
    json_array_foreach (layers, i, layer) {
        json_t *object = stack_files_namer(layer);
        if (rc || !object || json_object_get(object, "fd"))
            continue;
        if (*count == max) {
            rc = err_set(err, E2BIG, "the stack has more than %u files", max);
            continue;
        }
        rc = object == layer ? open_raw(layer, read_only, &fds[*count], err) : open_key(object, &fds[*count], err);
        if (!rc)
            json_object_set_new(object, "fd", json_integer((*count)++));
    }
    while (rc && *count)
        close(fds[--*count]);
    return rc;
}

int stack_files_take(json_t *layers, const int *fds, unsigned count, struct err *err)
{
    size_t i;
    json_t *layer;
    unsigned used = 0; /* a bit per file */
    json_array_foreach (layers, i, layer) {
        json_t *object = stack_files_namer(layer);
        const json_t *place = json_object_get(object, "fd");
        json_int_t n = json_integer_value(place);
        if (!object)
            continue;
        if (!json_is_integer(place) || n < 0 || n >= count)
            return err_set(err, EINVAL, "stack: layer %zu: its file must come with the request, and fd be its place",
                           i);
        used |= 1u << n;
        /* the driver closes a key's file once it was read, as the request will do with its own */
        int fd = object == layer ? fds[n] : fcntl(fds[n], F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
            return err_set(err, errno, "stack: layer %zu: its key: %s", i, strerror(errno));
        json_object_set_new(object, "fd", json_integer(fd));
    }
    return used == (1u << count) - 1 ? 0 : err_set(err, EINVAL, "stack: a file came that no layer names");
}
