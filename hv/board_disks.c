/* The disks of a board: those of the configuration, and those that come and go while the guest runs.
 *
 * All are served by one I/O thread, made before the process is sealed; a guest that was started without disks has none,
 * and later disks share the thread of the other devices. */
#include <errno.h>
#include <jansson.h>

#include "hv/board_inside.h"
#include "hv/bus.h"
#include "hv/disk.h"
#include "hv/guest_jail.h"
#include "hv/virtio/io_thread.h"
#include "nbd/blk.h"
#include "nbd/nbd_credentials.h"
#include "node/base/err.h"

enum { IO_WORKERS = 2 };

struct network_change {
    bool host;
    struct err *err;
    int rc;
};

static void change_on_thread(void *context)
{
    struct network_change *n = context;
    n->rc = guest_jail_network(n->host, n->err);
}

static int change_network(struct io_thread *io, bool host, struct err *err)
{
    struct network_change change = {.host = host, .err = err};
    io_thread_call(io, change_on_thread, &change);
    return change.rc;
}

static int make(struct board *b, struct io_thread *io, const struct guest_disk *config, unsigned index, struct err *err)
{
    struct disk_parts parts = {.memory = b->parts.memory,
                               .bus = b->parts.bus,
                               .io = io,
                               .config = config,
                               .index = index,
                               .closed = guest_config_is_incoming(b->parts.config) && !b->complete};
    struct disk *d = b->disks[index] = disk_new(&parts, err);
    if (!d)
        return -1;
    struct board_virtio v = {
        .pci = disk_pci(d), .device = disk_virtio(d), .kind = BOARD_DISK, .index = index, .slot = config->slot};
    int rc = board_plug(b, &v, err);
    return rc ? err_prefix(err, "disks[%u]", index) : 0;
}

/* What a disk may move to is not known yet; its servers will know the guest by these. */
static int keep_certificates(const struct guest_config *c, struct err *err)
{
    if (!c->tls_certificates)
        return 0;
    json_t *layers = json_pack("[{s:s, s:s, s:s}]", "driver", "nbd", "uri", "nbds://0.0.0.0/any", "tls-certificates",
                               c->tls_certificates);
    int rc = layers ? nbd_credentials_keep(layers, err) : err_set(err, ENOMEM, "no memory");
    json_decref(layers);
    return rc ? err_prefix(err, "tls-certificates") : 0;
}

int board_build_disks(struct board *b, struct err *err)
{
    const struct guest_config *c = b->parts.config;
    if (!c->disk_count)
        return 0;
    b->disk_io = io_thread_new("disks", IO_WORKERS, err);
    int rc = b->disk_io ? change_network(b->disk_io, true, err) : -1;
    rc = rc ? rc : keep_certificates(c, err);
    for (unsigned i = 0; !rc && i < c->disk_count; i++)
        rc = c->disks[i].stack ? make(b, b->disk_io, &c->disks[i], i, err) : 0;
    if (rc || board_needs(b) & BLK_NEEDS_SOCKETS) /* it stays there, to connect again */
        return rc;
    return change_network(b->disk_io, false, err);
}

void board_free_disk(struct board *b, unsigned index)
{
    disk_free(b->disks[index]);
    b->disks[index] = NULL;
    guest_disk_fini(&b->later_disks[index]);
}

void board_free_disks(struct board *b)
{
    for (unsigned i = 0; i < GUEST_DISK_MAX; i++)
        board_free_disk(b, i);
    io_thread_free(b->disk_io);
}

/* ---- while the guest runs ---- */

int board_add_disk(struct board *b, struct guest_disk *config, unsigned *index, struct err *err)
{
    unsigned i = 0;
    while (i < GUEST_DISK_MAX && b->disks[i])
        i++;
    if (i == GUEST_DISK_MAX)
        return err_set(err, ENOSPC, "the guest has %d disks: remove one first", GUEST_DISK_MAX);
    b->later_disks[i] = *config;
    *config = (struct guest_disk){0};
    int rc = make(b, b->disk_io ? b->disk_io : board_paravirtual_io(b), &b->later_disks[i], i, err);
    if (rc) {
        board_free_disk(b, i);
        return err->code ? -err->code : -EINVAL;
    }
    *index = i;
    return 0;
}

int board_remove_disk(struct board *b, unsigned index, struct err *err)
{
    if (index < GUEST_DISK_MAX && b->disks[index] && disk_is_resizing(b->disks[index]))
        return err_set(err, EBUSY, "disks[%u]: is being resized, or its volume changed", index);
    return board_remove(b, BOARD_DISK, index, err);
}

static unsigned count_disks(const struct board *b)
{
    unsigned count = 0;
    for (unsigned i = 0; i < GUEST_DISK_MAX; i++)
        count += b->disks[i] != NULL;
    return count;
}

/* The disk, if it is there and stays; NULL with the reason. */
struct disk *board_disk(struct board *b, unsigned index, struct err *err)
{
    struct board_virtio *v = board_virtio_of(b, BOARD_DISK, index);
    if (!v) {
        err_set(err, ENODEV, "disk %u: there are %u disks", index, count_disks(b));
        return NULL;
    }
    bus_lock(b->parts.bus);
    bool stays = v->phase == BOARD_PLUGGED;
    bus_unlock(b->parts.bus);
    if (!stays)
        err_set(err, EBUSY, "disks[%u]: is being removed", index);
    return stays ? b->disks[index] : NULL;
}

int board_resize_disk(struct board *b, unsigned index, uint64_t bytes, bool (*give_up)(void *context), void *context,
                      struct err *err)
{
    struct disk *d = board_disk(b, index, err);
    return d ? disk_resize(d, bytes, b->parts.loop, give_up, context, err) : -err->code;
}

int board_change_volume(struct board *b, unsigned index, const json_t *body, bool (*give_up)(void *context),
                        void *context, struct err *err)
{
    struct disk *d = board_disk(b, index, err);
    return d ? disk_change_volume(d, body, b->parts.loop, give_up, context, err) : -err->code;
}

/* ---- all of them ---- */

int board_flush_disks(struct board *b, struct err *err)
{
    int rc = 0;
    for (unsigned i = 0; i < GUEST_DISK_MAX; i++)
        if (b->disks[i] && !rc)
            rc = disk_flush(b->disks[i], err);
    return rc;
}

json_t *board_close_disks(struct board *b)
{
    json_t *told = json_array();
    for (unsigned i = 0; i < GUEST_DISK_MAX; i++)
        if (b->disks[i]) {
            disk_close(b->disks[i]);
            json_array_append_new(told, disk_told(b->disks[i]));
        }
    return told;
}

int board_open_disks(struct board *b, struct err *err)
{
    int rc = 0;
    for (unsigned i = 0; i < GUEST_DISK_MAX; i++)
        if (b->disks[i] && !rc)
            rc = disk_open(b->disks[i], err);
    return rc;
}

bool board_disks_are_open(const struct board *b)
{
    bool open = true;
    for (unsigned i = 0; i < GUEST_DISK_MAX; i++)
        open &= !b->disks[i] || disk_is_open(b->disks[i]);
    return open;
}

int board_tell_disks(struct board *b, const json_t *told, struct err *err)
{
    for (unsigned i = 0; i < GUEST_DISK_MAX; i++) {
        size_t n;
        const json_t *one, *found = NULL;
        json_array_foreach (told, n, one)
            if (json_integer_value(json_object_get(one, "disk")) == (json_int_t)i)
                found = one;
        if (b->disks[i] && !found)
            return err_set(err, EPROTO, "disks[%u]: the source does not say what the guest knows of it", i);
        if (b->disks[i])
            disk_set_told(b->disks[i], found);
    }
    return 0;
}

int board_set_epoch(struct board *b, unsigned index, uint64_t epoch, struct err *err)
{
    if (index >= GUEST_DISK_MAX || !b->disks[index])
        return err_set(err, ENODEV, "disk %u: there are %u disks", index, count_disks(b));
    disk_set_epoch(b->disks[index], epoch);
    return 0;
}

uint32_t board_needs(const struct board *b)
{
    uint32_t needs = b->parts.config->connects ? BLK_NEEDS_SOCKETS : 0;
    for (unsigned i = 0; i < GUEST_DISK_MAX; i++)
        needs |= b->disks[i] ? disk_needs(b->disks[i]) : 0;
    return needs;
}

bool board_is_resizing(const struct board *b)
{
    bool any = false;
    for (unsigned i = 0; i < GUEST_DISK_MAX; i++)
        any |= b->disks[i] && disk_is_resizing(b->disks[i]);
    return any;
}

int board_stuck_disk(struct board *b)
{
    int stuck = -1;
    for (unsigned i = 0; i < GUEST_DISK_MAX; i++) {
        bool still = b->disks[i] && disk_stands_still(b->disks[i]); /* each of them is asked, each time */
        const struct board_virtio *v = still && stuck < 0 ? board_virtio_of(b, BOARD_DISK, i) : NULL;
        if (v && !v->rests)
            stuck = (int)i;
    }
    return stuck;
}

json_t *board_disk_stats(struct board *b)
{
    json_t *disks = json_array();
    for (unsigned i = 0; i < GUEST_DISK_MAX; i++) {
        const struct board_virtio *v = board_virtio_of(b, BOARD_DISK, i);
        if (v)
            json_array_append_new(disks, disk_stats(b->disks[i], v->slot));
    }
    return disks;
}
