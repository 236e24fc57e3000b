/* Paravirtual devices in PCI slots, and how one leaves while the guest runs.
 *
 *     PLUGGED --asked--> ASKED --the guest ejects it--> EJECTED --main loop--> RESTING --nothing in flight--> gone
 *                          |                               |
 *                          +----------- a reset -----------+----------------------------------------------> gone
 *
 * A guest may let a device go that it was not asked for: it stays in its slot, is there again after the next reset, and
 * leaves at once when it is asked for then. Phases change with the bus locked. While the board is at rest
 * (board_quiesce) nothing goes on to RESTING: it does so when the board is resumed. */
#include <errno.h>

#include "hv/board_inside.h"
#include "hv/bus.h"
#include "hv/virtio/virtio_device.h"
#include "hv/virtio/virtio_pci.h"
#include "node/base/container.h"
#include "node/base/err.h"

static struct board_virtio *in_slot(struct board *b, unsigned slot)
{
    for (unsigned i = 0; i < BOARD_VIRTIO_MAX; i++)
        if (b->virtio[i].device && b->virtio[i].slot == slot)
            return &b->virtio[i];
    return NULL;
}

struct board_virtio *board_virtio_of(struct board *b, enum board_kind kind, unsigned index)
{
    for (unsigned i = 0; i < BOARD_VIRTIO_MAX; i++)
        if (b->virtio[i].device && b->virtio[i].kind == kind && b->virtio[i].index == index)
            return &b->virtio[i];
    return NULL;
}

static void eject_posted(struct loop_message *message);

int board_plug(struct board *b, const struct board_virtio *what, struct err *err)
{
    struct board_virtio *v = b->virtio;
    unsigned slot = what->slot ? what->slot : BOARD_FIRST_SLOT;
    int rc;
    while (v < b->virtio + BOARD_VIRTIO_MAX && v->device)
        v++;
    bus_lock(b->parts.bus);
    while (!what->slot && slot < PCI_SLOTS && pci_at(b->pci, slot, 0))
        slot++;
    if (slot == PCI_SLOTS || v == b->virtio + BOARD_VIRTIO_MAX)
        rc = err_set(err, ENOSPC, "every PCI slot is taken");
    else
        rc = virtio_pci_plug(what->pci, b->pci, slot, err);
    if (!rc) {
        *v = (struct board_virtio){.board = b,
                                   .pci = what->pci,
                                   .device = what->device,
                                   .kind = what->kind,
                                   .index = what->index,
                                   .slot = slot,
                                   .rests = true,
                                   .ejected.deliver = eject_posted};
        TAILQ_INSERT_TAIL(&b->devices, virtio_pci_device(v->pci), link);
        if (b->complete)
            pci_hotplug_plugged(b->hotplug, slot);
    }
    bus_unlock(b->parts.bus);
    return rc;
}

/* ---- leaving ---- */

/* Bus locked: the guest sees it no longer. */
static void leave_slot(struct board_virtio *v)
{
    struct board *b = v->board;
    virtio_pci_unplug(v->pci);
    TAILQ_REMOVE(&b->devices, virtio_pci_device(v->pci), link);
    v->phase = BOARD_EJECTED;
}

static void post_eject(struct board_virtio *v)
{
    if (v->posted)
        return;
    v->posted = true;
    loop_post(v->board->parts.loop, &v->ejected);
}

/* Nothing is in flight. */
static void finish(struct board_virtio *v)
{
    struct board *b = v->board;
    enum board_kind kind = v->kind;
    unsigned index = v->index;
    loop_unpost(b->parts.loop, &v->ejected);
    bus_lock(b->parts.bus);
    v->device = NULL;
    v->pci = NULL;
    bus_unlock(b->parts.bus);
    v->rests = true;
    if (kind == BOARD_DISK)
        board_free_disk(b, index);
    else
        board_free_net(b, index);
    b->parts.events->removed(b->parts.events, kind == BOARD_DISK ? "disk" : "net", index);
}

void board_rested(struct loop_message *message)
{
    struct board_virtio *v = CONTAINER_OF(message, struct board_virtio, paused);
    v->rests = true;
    bus_lock(v->board->parts.bus);
    if (v->phase == BOARD_EJECTED && !v->board->quiet)
        post_eject(v);
    bus_unlock(v->board->parts.bus);
}

static void rested(struct loop_message *message)
{
    struct board_virtio *v = CONTAINER_OF(message, struct board_virtio, paused);
    if (!v->cut_short) {
        finish(v);
        return;
    }
    bus_lock(v->board->parts.bus);
    v->phase = BOARD_EJECTED;
    bus_unlock(v->board->parts.bus);
    board_rested(message);
}

static void eject_posted(struct loop_message *message)
{
    struct board_virtio *v = CONTAINER_OF(message, struct board_virtio, ejected);
    bus_lock(v->board->parts.bus);
    v->posted = false;
    bool goes = v->phase == BOARD_EJECTED && !v->board->quiet && v->rests;
    if (goes)
        v->phase = BOARD_RESTING;
    bus_unlock(v->board->parts.bus);
    if (!goes)
        return; /* board_resume_leaving() or board_rested() posts it again */
    v->rests = v->cut_short = false;
    v->paused.deliver = rested;
    virtio_device_pause(v->device, v->board->parts.loop, &v->paused);
}

void board_ejected(struct pci_hotplug_owner *owner, unsigned slot)
{
    struct board_virtio *v = in_slot(CONTAINER_OF(owner, struct board, hotplug_owner), slot);
    if (v && v->phase == BOARD_ASKED) {
        leave_slot(v);
        post_eject(v);
    } else if (v) {
        v->let_go = true;
        log_info("the guest has let the device in slot %u go", slot);
    }
}

int board_remove(struct board *b, enum board_kind kind, unsigned index, struct err *err)
{
    struct board_virtio *v = board_virtio_of(b, kind, index);
    if (!v)
        return err_set(err, ENODEV, "there is no %s %u", kind == BOARD_DISK ? "disk" : "net", index);
    bus_lock(b->parts.bus);
    if (v->phase == BOARD_PLUGGED && v->let_go) {
        leave_slot(v);
        post_eject(v);
    } else if (v->phase <= BOARD_ASKED) {
        v->phase = BOARD_ASKED;
        pci_hotplug_ask(b->hotplug, v->slot);
    }
    bus_unlock(b->parts.bus);
    return 0;
}

void board_resume_leaving(struct board *b)
{
    bus_lock(b->parts.bus);
    for (unsigned i = 0; i < BOARD_VIRTIO_MAX; i++) {
        struct board_virtio *v = &b->virtio[i];
        if (v->device && v->phase == BOARD_RESTING)
            v->cut_short = true; /* it is told to rest, and may not yet */
        else if (v->device && v->phase == BOARD_EJECTED)
            post_eject(v);
    }
    bus_unlock(b->parts.bus);
}

void board_reset_leaving(struct board *b)
{
    for (unsigned i = 0; i < BOARD_VIRTIO_MAX; i++) {
        struct board_virtio *v = &b->virtio[i];
        if (!v->device)
            continue;
        bus_lock(b->parts.bus);
        v->let_go = false;
        if (v->phase == BOARD_ASKED)
            leave_slot(v);
        bool goes = v->phase == BOARD_EJECTED;
        bus_unlock(b->parts.bus);
        if (goes)
            finish(v);
    }
}
