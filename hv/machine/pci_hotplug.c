/* See pci_hotplug.h. */
#include "hv/machine/pci_hotplug.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "hv/device.h"
#include "hv/machine/pci.h"
#include "hv/machine/piix4_pm.h"
#include "hv/state.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum hotplug_register { UP = 0, DOWN = 4, EJECT = 8, REMOVABLE = 12, BUS = 16 };
enum { STATE_FORMAT = 1 };

struct pci_hotplug {
    struct device device;
    struct pci *pci;
    struct piix4_pm *pm;
    struct pci_hotplug_owner *owner;
    struct bus_region region;
    uint32_t up, down; /* one bit a slot */
};

static uint32_t bit_of(unsigned slot)
{
    assert(slot >= PCI_HOTPLUG_FIRST && slot < PCI_SLOTS);
    return 1u << slot;
}

void pci_hotplug_plugged(struct pci_hotplug *h, unsigned slot)
{
    h->up |= bit_of(slot);
    piix4_pm_event(h->pm, PCI_HOTPLUG_EVENT);
}

void pci_hotplug_ask(struct pci_hotplug *h, unsigned slot)
{
    h->down |= bit_of(slot);
    piix4_pm_event(h->pm, PCI_HOTPLUG_EVENT);
}

/* ---- registers ---- */

static uint64_t hotplug_read(void *device, uint64_t offset, unsigned size)
{
    struct pci_hotplug *h = device;
    if (size != 4)
        return UINT64_MAX;
    uint32_t up = h->up;
    switch (offset) {
    case UP:
        h->up = 0;
        return up;
    case DOWN:
        return h->down;
    case EJECT:
    case BUS:
        return 0;
    case REMOVABLE:
        return UINT32_MAX << PCI_HOTPLUG_FIRST & UINT32_MAX;
    default:
        return UINT64_MAX;
    }
}

static void hotplug_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct pci_hotplug *h = device;
    if (offset != EJECT || size != 4)
        return;
    for (unsigned slot = PCI_HOTPLUG_FIRST; slot < PCI_SLOTS; slot++) {
        if (!(value >> slot & 1))
            continue;
        h->up &= ~bit_of(slot);
        h->down &= ~bit_of(slot);
        if (pci_at(h->pci, slot, 0))
            h->owner->ejected(h->owner, slot);
    }
}

static const struct bus_ops hotplug_ops = {.read = hotplug_read, .write = hotplug_write};

/* ---- the device ---- */

static void hotplug_reset(struct device *device)
{
    struct pci_hotplug *h = CONTAINER_OF(device, struct pci_hotplug, device);
    h->up = h->down = 0;
}

static void hotplug_state(struct device *device, struct state *s)
{
    struct pci_hotplug *h = CONTAINER_OF(device, struct pci_hotplug, device);
    state_u32(s, "up", &h->up);
    state_u32(s, "down", &h->down);
}

struct pci_hotplug *pci_hotplug_new(struct pci *pci, struct piix4_pm *pm, struct pci_hotplug_owner *owner,
                                    struct err *err)
{
    struct pci_hotplug *h = calloc(1, sizeof *h);
    if (!h) {
        err_set(err, ENOMEM, "no memory for PCI hot-plug");
        return NULL;
    }
    *h = (struct pci_hotplug){
        .device = {.name = "pci-hotplug", .version = STATE_FORMAT, .reset = hotplug_reset, .state = hotplug_state},
        .pci = pci,
        .pm = pm,
        .owner = owner,
        .region = {.name = "pci-hotplug",
                   .ops = &hotplug_ops,
                   .device = h,
                   .space = BUS_PORTS,
                   .base = PCI_HOTPLUG_PORTS,
                   .bytes = PCI_HOTPLUG_BYTES},
    };
    bus_lock(pci_bus(pci));
    int rc = bus_add(pci_bus(pci), &h->region);
    bus_unlock(pci_bus(pci));
    if (rc) {
        err_set(err, -rc, "ports ae00h to ae13h are taken");
        free(h);
        return NULL;
    }
    return h;
}

void pci_hotplug_free(struct pci_hotplug *h)
{
    if (!h)
        return;
    bus_lock(pci_bus(h->pci));
    bus_remove(pci_bus(h->pci), &h->region);
    bus_unlock(pci_bus(h->pci));
    free(h);
}

struct device *pci_hotplug_device(struct pci_hotplug *h)
{
    return &h->device;
}
