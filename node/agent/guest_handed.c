#include "node/agent/guest_handed.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "node/agent/guest_unit.h"
#include "node/agent/member.h"
#include "node/agent/volume_key.h"
#include "node/base/err.h"
#include "node/base/listen.h"

void guest_handed_close(struct guest_handed *h)
{
    while (h->count)
        if (h->fds[--h->count] >= 0)
            close(h->fds[h->count]);
}

int guest_handed_add(struct guest_handed *h, int fd)
{
    if (fd >= 0 && h->count < PROCESS_FDS_MAX) {
        h->fds[h->count++] = fd;
        return PROCESS_FIRST_FD + (int)h->count - 1;
    }
    if (fd >= 0)
        close(fd);
    return fd < 0 ? fd : -EMFILE;
}

/* The layer of a stack that has that member; NULL: none has. */
static json_t *layer_with(const json_t *stack, const char *key)
{
    for (size_t i = 0; i < json_array_size(stack); i++)
        if (json_object_get(json_array_get(stack, i), key))
            return json_array_get(stack, i);
    return NULL;
}

int guest_handed_keys(struct guest_handed *h, json_t *config, const char *state, struct err *err)
{
    json_t *disks = json_object_get(config, "disks");
    for (size_t i = 0; i < json_array_size(disks); i++) {
        json_t *layer = layer_with(json_object_get(json_array_get(disks, i), "stack"), "key");
        const json_t *key = json_object_get(layer, "key");
        if (!layer)
            continue;
        int fd = h->count == PROCESS_FDS_MAX
                     ? err_set(err, EMFILE, "more than %d encrypted disks", PROCESS_FDS_MAX - 1)
                     : volume_key_file(state, member_text(key, "volume"), member_text(key, "wrapped"), err);
        if (fd < 0)
            return fd;
        json_object_set_new(layer, "key", json_pack("{s:i}", "fd", guest_handed_add(h, fd)));
    }
    return 0;
}

/* Also to where it moves. */
static void add_epoch(json_t *stack, json_int_t epoch)
{
    json_t *layer;
    size_t i;
    json_array_foreach (stack, i, layer) {
        if (json_object_get(layer, "uri"))
            json_object_set_new(layer, "uri", json_sprintf("%s@%lld", member_text(layer, "uri"), (long long)epoch));
        add_epoch(json_object_get(layer, "to"), epoch);
    }
}

int guest_handed_epochs(json_t *config, const json_t *epochs, struct err *err)
{
    const json_t *disks = json_object_get(config, "disks");
    for (size_t i = 0; i < json_array_size(disks); i++) {
        json_t *layer = layer_with(json_object_get(json_array_get(disks, i), "stack"), "volume");
        if (!layer)
            continue;
        json_int_t epoch = json_integer_value(json_object_get(epochs, member_text(layer, "volume")));
        if (!epoch)
            return err_set(err, EAGAIN, "a volume of the guest has changed since it was claimed");
        json_object_del(layer, "volume");
        json_object_set_new(layer, "epoch", json_integer(epoch));
        json_t *members = json_object_get(layer, "members");
        for (size_t n = 0; n < json_array_size(members); n++)
            add_epoch(json_array_get(members, n), epoch);
        add_epoch(json_object_get(layer, "witness"), epoch);
    }
    return 0;
}

int guest_handed_incoming(struct guest_handed *h, json_t *config, const struct guest_place *place, const json_t *in,
                          char *told, struct err *err)
{
    char address[GUEST_HANDED_ADDRESS_BYTES];
    int fd;
    snprintf(address, sizeof address, strchr(place->address, ':') ? "tcp:[%s]:0" : "tcp:%s:0", place->address);
    int rc = listen_open(address, &fd, 1, err);
    if (rc < 0)
        return rc;
    listen_describe(fd, told, GUEST_HANDED_ADDRESS_BYTES);
    int listener = guest_handed_add(h, fd);
    int key = guest_handed_add(
        h, volume_key_bytes_file(place->state, member_text(in, "migration"), member_text(in, "key"), err));
    if (listener < 0 || key < 0)
        return *err->text ? -err->code : err_set(err, EMFILE, "too many encrypted disks to be moved");
    json_object_set_new(config, "incoming", json_integer(listener));
    json_object_set_new(config, "migration-key", json_integer(key));
    return 0;
}
