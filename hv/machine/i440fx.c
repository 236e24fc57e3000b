/* See i440fx.h. */
#include "hv/machine/i440fx.h"

#include <errno.h>
#include <stdlib.h>

#include "hv/device.h"
#include "hv/machine/pci.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { PAM_0 = 0x59, PAM_COUNT = 7, SMRAM = 0x72, SMRAM_RESET = 0x02, STATE_FORMAT = 1 };

struct i440fx {
    struct device device;
    struct pci_function f;
};

static void power_on(struct i440fx *bridge)
{
    memset(&bridge->f.config[PAM_0], 0, PAM_COUNT);
    bridge->f.config[SMRAM] = SMRAM_RESET;
    pci_set(&bridge->f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    pci_function_commit(&bridge->f);
}

static void i440fx_reset(struct device *device)
{
    struct i440fx *bridge = CONTAINER_OF(device, struct i440fx, device);
    pci_function_reset(&bridge->f);
    power_on(bridge);
}

static void i440fx_state(struct device *device, struct state *s)
{
    pci_function_state(&CONTAINER_OF(device, struct i440fx, device)->f, s);
}

struct i440fx *i440fx_new(struct pci *pci, struct err *err)
{
    const struct pci_id id = {.vendor = 0x8086,
                              .device = 0x1237,
                              .subsystem_vendor = 0x1af4,
                              .subsystem = 0x1100,
                              .class = 0x060000,
                              .revision = 2};
    struct i440fx *bridge = calloc(1, sizeof *bridge);
    if (!bridge) {
        err_set(err, ENOMEM, "no memory for the host bridge");
        return NULL;
    }
    bridge->device =
        (struct device){.name = "i440fx", .version = STATE_FORMAT, .reset = i440fx_reset, .state = i440fx_state};
    pci_function_init(&bridge->f, "i440fx", &id, NULL, bridge);
    memset(&bridge->f.writable[PAM_0], 0xff, PAM_COUNT);
    bridge->f.writable[SMRAM] = 0xff;
    power_on(bridge);
    bus_lock(pci_bus(pci));
    int rc = pci_add(pci, &bridge->f, 0, 0, err);
    bus_unlock(pci_bus(pci));
    if (rc) {
        i440fx_free(bridge);
        return NULL;
    }
    return bridge;
}

void i440fx_free(struct i440fx *bridge)
{
    if (!bridge)
        return;
    if (bridge->f.pci) {
        struct bus *bus = pci_bus(bridge->f.pci);
        bus_lock(bus);
        pci_remove(&bridge->f);
        bus_unlock(bus);
    }
    pci_function_fini(&bridge->f);
    free(bridge);
}

struct device *i440fx_device(struct i440fx *bridge)
{
    return &bridge->device;
}
