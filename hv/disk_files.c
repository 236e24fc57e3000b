#include "hv/disk_files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hv/stack_files.h"
#include "nbd/blk.h"
#include "nbd/blk_driver.h"
#include "nbd/nbd_credentials.h"
#include "node/base/err.h"

/* A descriptor that came with the description is copied: a raw layer's stays its owner's, a key's was ours to close. */
static int keep_handed(struct disk_files *f, json_t *object, bool key, struct err *err)
{
    int fd = (int)json_integer_value(json_object_get(object, "fd"));
    if (f->count == DISK_FILES_MAX)
        return err_set(err, E2BIG, "the stack has more than %d files", DISK_FILES_MAX);
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0)
        return err_set(err, errno, "fd %d: %s", fd, strerror(errno));
    if (key)
        close(fd);
    f->fds[f->count++] = copy;
    json_object_set_new(object, "fd", json_integer(copy));
    return 0;
}

int disk_files_open(struct disk_files *f, const char *stack, bool read_only, struct err *err)
{
    int opened[DISK_FILES_MAX];
    unsigned count = 0;
    size_t i;
    json_t *layer;
    *f = (struct disk_files){0};
    int rc = blk_stack_parse(stack, &f->layers, err);
    if (rc)
        return rc;
    json_array_foreach (f->layers, i, layer) {
        json_t *object = stack_files_namer(layer);
        if (!rc && json_is_integer(json_object_get(object, "fd")))
            rc = keep_handed(f, object, object != layer, err);
    }
    unsigned kept = f->count;
    rc = rc ? rc : nbd_credentials_keep(f->layers, err);
    rc = rc ? rc : stack_files_open(f->layers, read_only, opened, DISK_FILES_MAX - kept, &count, err);
    unsigned next = 0;
    json_array_foreach (f->layers, i, layer) {
        json_t *object = stack_files_namer(layer);
        json_int_t fd = json_integer_value(json_object_get(object, "fd"));
        bool ours = false;
        for (unsigned k = 0; k < kept; k++)
            ours |= fd == f->fds[k];
        if (rc || !object || ours || next == count)
            continue;
        json_object_set_new(object, "fd", json_integer(opened[next++])); /* it was its place in the list */
    }
    for (unsigned k = 0; !rc && k < count; k++)
        f->fds[f->count++] = opened[k];
    if (rc)
        disk_files_close(f);
    return rc;
}

/* "nbd://10.0.0.1:4000/ID@3" with another number; what has none stays. */
static void set_uri_epoch(json_t *layer, uint64_t epoch)
{
    const char *uri = json_string_value(json_object_get(layer, "uri")), *at = uri ? strrchr(uri, '@') : NULL;
    if (at && at[1] && strspn(at + 1, "0123456789") == strlen(at + 1))
        json_object_set_new(layer, "uri", json_sprintf("%.*s@%" PRIu64, (int)(at - uri), uri, epoch));
}

static void set_epoch(json_t *layers, uint64_t epoch)
{
    const char *key;
    json_t *value;
    size_t i;
    if (json_is_object(layers)) {
        set_uri_epoch(layers, epoch);
        if (json_object_get(layers, "epoch"))
            json_object_set_new(layers, "epoch", json_integer((json_int_t)epoch));
        json_object_foreach (layers, key, value)
            set_epoch(value, epoch);
    } else {
        json_array_foreach (layers, i, value)
            set_epoch(value, epoch);
    }
}

void disk_files_set_epoch(struct disk_files *f, uint64_t epoch)
{
    set_epoch(f->layers, epoch);
}

void disk_files_close(struct disk_files *f)
{
    for (unsigned i = 0; i < f->count; i++)
        close(f->fds[i]);
    json_decref(f->layers);
    *f = (struct disk_files){0};
}

char *disk_files_stack(const struct disk_files *f)
{
    json_t *layers = json_deep_copy(f->layers), *layer;
    size_t i;
    json_array_foreach (layers, i, layer) {
        json_t *object = stack_files_namer(layer);
        if (!object || object == layer)
            continue;
        int fd = (int)json_integer_value(json_object_get(object, "fd")), copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        lseek(fd, 0, SEEK_SET); /* a key is read, and its descriptor closed, each time */
        json_object_set_new(object, "fd", json_integer(copy));
    }
    char *text = layers ? json_dumps(layers, JSON_COMPACT) : NULL;
    json_decref(layers);
    return text;
}

uint32_t disk_files_needs(const struct disk_files *f)
{
    char *text = json_dumps(f->layers, JSON_COMPACT);
    uint32_t needs = 0;
    if (!text || strstr(text, "nbd"))
        needs |= BLK_NEEDS_SOCKETS;
    if (!text || (strstr(text, "nbd") && strstr(text, "+unix")))
        needs |= BLK_NEEDS_PATHS;
    free(text);
    return needs;
}
