/* See pci.h. Ports CF8h to CFFh: the address and data of configuration mechanism #1, and among them the reset control
 * register CF9h, which the PIIX puts there (82371AB data sheet, 4.2.7). */
#include "hv/machine/pci.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "hv/device.h"
#include "hv/machine/pci_bar.h"
#include "hv/machine/reset.h"
#include "hv/state.h"
#include "hv/trace.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum {
    PORT_BASE = 0xcf8,
    PORT_BYTES = 8,
    OFFSET_RESET = 1,
    OFFSET_DATA = 4,
    RESET_SYSTEM = 2, /* hard reset; kept */
    RESET_CPU = 4,    /* rising: reset now */
    FUNCTIONS = PCI_SLOTS * PCI_SLOT_FUNCTIONS,
    MULTI_FUNCTION = 0x80,
    STATE_FORMAT = 1,
};
static const uint32_t address_enable = 1u << 31;
static const uint32_t address_mask = 0x80fffffc;

struct pci {
    struct device device;
    struct bus *bus;
    struct irq_share *lines;
    struct reset *reset;
    struct bus_region ports;
    uint32_t address; /* CF8h */
    uint8_t reset_control;
    uint8_t route[PCI_PIRQS];
    struct pci_function *at[FUNCTIONS];
};

/* ---- configuration space ---- */

uint32_t pci_config_read(struct pci *pci, unsigned devfn, unsigned offset, unsigned size)
{
    struct pci_function *f = devfn < FUNCTIONS ? pci->at[devfn] : NULL;
    if (!f || offset + size > PCI_CONFIG_BYTES)
        return UINT32_MAX >> (32 - 8 * size);
    return pci_function_read(f, offset, size);
}

void pci_config_write(struct pci *pci, unsigned devfn, unsigned offset, unsigned size, uint32_t value)
{
    struct pci_function *f = devfn < FUNCTIONS ? pci->at[devfn] : NULL;
    trace_all(TRACE_PCI, "slot %u.%u, register %#x, %u bytes: write %#x", devfn >> 3, devfn & 7, offset, size, value);
    if (f && offset + size <= PCI_CONFIG_BYTES)
        pci_function_write(f, offset, size, value);
}

/* A bus that is not ours has functions past the last. */
static unsigned devfn_of(uint32_t address)
{
    return address & address_enable ? address >> 8 & 0xffff : FUNCTIONS;
}

static uint64_t ports_read(void *device, uint64_t offset, unsigned size)
{
    struct pci *pci = device;
    if (offset >= OFFSET_DATA)
        return pci_config_read(pci, devfn_of(pci->address), (pci->address & 0xfc) + (unsigned)offset - OFFSET_DATA,
                               size);
    if (offset == 0 && size == 4)
        return pci->address;
    if (offset == OFFSET_RESET && size == 1)
        return pci->reset_control;
    return UINT64_MAX;
}

static void write_reset_control(struct pci *pci, uint8_t value)
{
    bool now = value & RESET_CPU;
    pci->reset_control = value & RESET_SYSTEM;
    if (now)
        reset_restart(pci->reset, "port cf9h");
}

static void ports_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct pci *pci = device;
    if (offset >= OFFSET_DATA)
        pci_config_write(pci, devfn_of(pci->address), (pci->address & 0xfc) + (unsigned)offset - OFFSET_DATA, size,
                         (uint32_t)value);
    else if (offset == 0 && size == 4)
        pci->address = (uint32_t)value & address_mask;
    else if (offset == OFFSET_RESET && size == 1)
        write_reset_control(pci, (uint8_t)value);
}

static const struct bus_ops ports_ops = {.read = ports_read, .write = ports_write};

/* ---- interrupts ---- */

static unsigned pirq_of(const struct pci_function *f)
{
    return (f->slot + f->config[PCI_INTERRUPT_PIN] + 2u) % PCI_PIRQS; /* slot + pin - 2 */
}

void pci_route(struct pci *pci, unsigned pirq, unsigned gsi)
{
    assert(pirq < PCI_PIRQS);
    pci->route[pirq] = gsi < IRQ_GSI_COUNT ? (uint8_t)gsi : IRQ_NOWHERE;
    for (unsigned i = 0; i < FUNCTIONS; i++) {
        struct pci_function *f = pci->at[i];
        if (f && f->config[PCI_INTERRUPT_PIN] && pirq_of(f) == pirq)
            irq_source_route(pci->lines, &f->intx, pci->route[pirq]);
    }
}

/* ---- functions come and go ---- */

void pci_remap(struct pci *pci, struct pci_function *f)
{
    bool room = pci_bar_unmap(pci->bus, f);
    pci_bar_map(pci->bus, f);
    for (unsigned i = 0; room && i < FUNCTIONS; i++)
        if (pci->at[i])
            pci_bar_map(pci->bus, pci->at[i]);
}

int pci_add(struct pci *pci, struct pci_function *f, unsigned slot, unsigned function, struct err *err)
{
    assert(slot < PCI_SLOTS && function < PCI_SLOT_FUNCTIONS && !f->pci);
    bus_assert_locked(pci->bus);
    unsigned devfn = slot * PCI_SLOT_FUNCTIONS + function;
    if (pci->at[devfn])
        return err_set(err, EBUSY, "PCI slot %u has %s already: choose another", slot, pci->at[devfn]->name);
    struct pci_function *first = pci->at[slot * PCI_SLOT_FUNCTIONS];
    if (function > 0 && !first)
        return err_set(err, EINVAL, "PCI slot %u needs a function 0 before %s", slot, f->name);
    if (function > 0)
        first->config[PCI_HEADER_TYPE] |= MULTI_FUNCTION;
    pci->at[devfn] = f;
    f->slot = (uint8_t)slot;
    f->function = (uint8_t)function;
    if (f->config[PCI_INTERRUPT_PIN])
        irq_source_route(pci->lines, &f->intx, pci->route[pirq_of(f)]);
    pthread_mutex_lock(&f->lock);
    f->pci = pci;
    pthread_mutex_unlock(&f->lock);
    pci_function_commit(f);
    return 0;
}

void pci_remove(struct pci_function *f)
{
    struct pci *pci = f->pci;
    if (!pci)
        return;
    bus_assert_locked(pci->bus);
    pci_bar_unmap_all(pci->bus, f);
    pci->at[f->slot * PCI_SLOT_FUNCTIONS + f->function] = NULL;
    pthread_mutex_lock(&f->lock);
    irq_source_set(pci->lines, &f->intx, false);
    f->pci = NULL;
    pthread_mutex_unlock(&f->lock);
    irq_source_route(pci->lines, &f->intx, IRQ_NOWHERE);
    for (unsigned i = 0; i < FUNCTIONS; i++)
        if (pci->at[i])
            pci_bar_map(pci->bus, pci->at[i]);
}

struct pci_function *pci_at(const struct pci *pci, unsigned slot, unsigned function)
{
    assert(slot < PCI_SLOTS && function < PCI_SLOT_FUNCTIONS);
    return pci->at[slot * PCI_SLOT_FUNCTIONS + function];
}

/* ---- the bus itself ---- */

static void pci_reset(struct device *device)
{
    struct pci *pci = CONTAINER_OF(device, struct pci, device);
    pci->address = 0;
    pci->reset_control = 0;
}

/* Routes belong to the ISA bridge, BARs and interrupts to the functions. */
static void pci_state(struct device *device, struct state *s)
{
    struct pci *pci = CONTAINER_OF(device, struct pci, device);
    state_u32(s, "address", &pci->address);
    state_u8(s, "reset-control", &pci->reset_control);
    pci->address &= address_mask;
    pci->reset_control &= RESET_SYSTEM;
}

struct pci *pci_new(struct bus *bus, struct irq_share *lines, struct reset *reset, struct err *err)
{
    struct pci *pci = calloc(1, sizeof *pci);
    if (!pci) {
        err_set(err, ENOMEM, "no memory for the PCI bus");
        return NULL;
    }
    pci->device = (struct device){.name = "pci", .version = STATE_FORMAT, .reset = pci_reset, .state = pci_state};
    pci->bus = bus;
    pci->lines = lines;
    pci->reset = reset;
    memset(pci->route, IRQ_NOWHERE, sizeof pci->route);
    pci->ports = (struct bus_region){
        .name = "pci", .ops = &ports_ops, .device = pci, .space = BUS_PORTS, .base = PORT_BASE, .bytes = PORT_BYTES};
    bus_lock(bus);
    int rc = bus_add(bus, &pci->ports);
    bus_unlock(bus);
    if (rc) {
        err_set(err, -rc, "ports cf8h to cffh are taken");
        free(pci);
        return NULL;
    }
    return pci;
}

void pci_free(struct pci *pci)
{
    if (!pci)
        return;
    bus_lock(pci->bus);
    for (unsigned i = 0; i < FUNCTIONS; i++)
        if (pci->at[i])
            pci_remove(pci->at[i]);
    bus_remove(pci->bus, &pci->ports);
    bus_unlock(pci->bus);
    free(pci);
}

struct device *pci_device(struct pci *pci)
{
    return &pci->device;
}

struct bus *pci_bus(const struct pci *pci)
{
    return pci->bus;
}

struct irq_share *pci_lines(const struct pci *pci)
{
    return pci->lines;
}
