/* See piix3.h. */
#include "hv/machine/piix3.h"

#include <errno.h>
#include <stdlib.h>

#include "hv/device.h"
#include "hv/machine/pci.h"
#include "hv/state.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { OWN_REGISTERS = 0x40, ROUTE_OFF = 0x80, STATE_FORMAT = 1 };
/* Lines that the timer, the keyboard, the cascade, the clock and the FPU own: a route there goes nowhere. */
static const uint32_t reserved_lines = 1u << 0 | 1u << 1 | 1u << 2 | 1u << 8 | 1u << 13;

struct piix3 {
    struct device device;
    struct pci_function f;
};

static void route(struct piix3 *bridge)
{
    for (unsigned pirq = 0; bridge->f.pci && pirq < PCI_PIRQS; pirq++) {
        uint8_t reg = bridge->f.config[PIIX3_PIRQ_ROUTE + pirq];
        bool nowhere = (reg & ROUTE_OFF) || (reserved_lines >> (reg & 15) & 1);
        pci_route(bridge->f.pci, pirq, nowhere ? IRQ_NOWHERE : reg & 15);
    }
}

static void config_written(struct pci_function *f, unsigned offset, unsigned size)
{
    if (offset < PIIX3_PIRQ_ROUTE + PCI_PIRQS && offset + size > PIIX3_PIRQ_ROUTE)
        route(f->owner);
}

static const struct pci_ops piix3_ops = {.config_written = config_written};

static void power_on(struct piix3 *bridge)
{
    memset(&bridge->f.config[OWN_REGISTERS], 0, PCI_CONFIG_BYTES - OWN_REGISTERS);
    memset(&bridge->f.config[PIIX3_PIRQ_ROUTE], ROUTE_OFF, PCI_PIRQS);
    pci_set(&bridge->f, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    pci_function_commit(&bridge->f);
    route(bridge);
}

static void piix3_reset(struct device *device)
{
    struct piix3 *bridge = CONTAINER_OF(device, struct piix3, device);
    pci_function_reset(&bridge->f);
    power_on(bridge);
}

static void piix3_state(struct device *device, struct state *s)
{
    struct piix3 *bridge = CONTAINER_OF(device, struct piix3, device);
    pci_function_state(&bridge->f, s);
    if (state_loading(s))
        route(bridge);
}

struct piix3 *piix3_new(struct pci *pci, struct err *err)
{
    const struct pci_id id = {
        .vendor = 0x8086, .device = 0x7000, .subsystem_vendor = 0x1af4, .subsystem = 0x1100, .class = 0x060100};
    struct piix3 *bridge = calloc(1, sizeof *bridge);
    if (!bridge) {
        err_set(err, ENOMEM, "no memory for the ISA bridge");
        return NULL;
    }
    bridge->device =
        (struct device){.name = "piix3", .version = STATE_FORMAT, .reset = piix3_reset, .state = piix3_state};
    pci_function_init(&bridge->f, "piix3", &id, &piix3_ops, bridge);
    memset(&bridge->f.writable[OWN_REGISTERS], 0xff, PCI_CONFIG_BYTES - OWN_REGISTERS);
    bus_lock(pci_bus(pci));
    int rc = pci_add(pci, &bridge->f, PIIX3_SLOT, 0, err);
    if (rc == 0)
        power_on(bridge);
    bus_unlock(pci_bus(pci));
    if (rc) {
        piix3_free(bridge);
        return NULL;
    }
    return bridge;
}

void piix3_free(struct piix3 *bridge)
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

struct device *piix3_device(struct piix3 *bridge)
{
    return &bridge->device;
}
