/* See pci.h: what a function is by itself, on a bus or not. */
#include "hv/machine/pci.h"

#include <assert.h>

#include "hv/machine/pci_msix.h"
#include "hv/state.h"

enum {
    HEADER_BYTES = 64,
    CACHE_LINE_SIZE = 0x0c,
    LATENCY_TIMER = 0x0d,
    COMMAND_WRITABLE = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY |
                       PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE,
};

void pci_function_init(struct pci_function *f, const char *name, const struct pci_id *id, const struct pci_ops *ops,
                       void *owner)
{
    assert(id->pin <= PCI_PIRQS);
    *f = (struct pci_function){.name = name, .owner = owner, .ops = ops, .config_used = HEADER_BYTES};
    pthread_mutex_init(&f->lock, NULL);
    irq_source_init(&f->intx, IRQ_NOWHERE);
    pci_set(f, PCI_VENDOR_ID, 2, id->vendor);
    pci_set(f, PCI_DEVICE_ID, 2, id->device);
    pci_set(f, PCI_REVISION_ID, 1, id->revision);
    pci_set(f, PCI_CLASS_PROG, 3, id->class);
    pci_set(f, PCI_SUBSYSTEM_VENDOR_ID, 2, id->subsystem_vendor);
    pci_set(f, PCI_SUBSYSTEM_ID, 2, id->subsystem);
    pci_set(f, PCI_INTERRUPT_PIN, 1, id->pin);
    f->writable[PCI_COMMAND] = COMMAND_WRITABLE & 0xff;
    f->writable[PCI_COMMAND + 1] = COMMAND_WRITABLE >> 8;
    f->writable[CACHE_LINE_SIZE] = 0xff;
    f->writable[LATENCY_TIMER] = 0xff;
    f->writable[PCI_INTERRUPT_LINE] = 0xff;
}

void pci_function_fini(struct pci_function *f)
{
    assert(!f->pci);
    pci_msix_free(f);
    pthread_mutex_destroy(&f->lock);
}

unsigned pci_add_capability(struct pci_function *f, uint8_t id, unsigned bytes)
{
    unsigned at = f->config_used;
    assert(bytes >= 2 && at + bytes <= PCI_CONFIG_BYTES && !f->pci);
    f->config[at] = id;
    f->config[at + 1] = f->config[PCI_CAPABILITY_LIST];
    f->config[PCI_CAPABILITY_LIST] = (uint8_t)at;
    f->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
    f->config_used = (at + bytes + 3) & ~3u;
    return at;
}

/* With the function's lock. */
static void drive_pin(struct pci_function *f)
{
    if (f->pci)
        irq_source_set(pci_lines(f->pci), &f->intx, f->intx_level && !f->intx_disabled);
}

void pci_intx(struct pci_function *f, bool level)
{
    pthread_mutex_lock(&f->lock);
    f->intx_level = level;
    drive_pin(f);
    pthread_mutex_unlock(&f->lock);
}

void pci_function_commit(struct pci_function *f)
{
    uint32_t command = pci_get(f, PCI_COMMAND, 2);
    atomic_store_explicit(&f->bus_master, command & PCI_COMMAND_MASTER, memory_order_relaxed);
    if (f->pci)
        pci_remap(f->pci, f);
    pthread_mutex_lock(&f->lock);
    f->intx_disabled = command & PCI_COMMAND_INTX_DISABLE;
    drive_pin(f);
    pthread_mutex_unlock(&f->lock);
    pci_msix_changed(f);
}

/* ---- the guest ---- */

uint32_t pci_function_read(struct pci_function *f, unsigned offset, unsigned size)
{
    assert(offset + size <= PCI_CONFIG_BYTES);
    pthread_mutex_lock(&f->lock);
    uint8_t interrupt = f->intx_level ? PCI_STATUS_INTERRUPT : 0;
    pthread_mutex_unlock(&f->lock);
    f->config[PCI_STATUS] = (uint8_t)((f->config[PCI_STATUS] & ~PCI_STATUS_INTERRUPT) | interrupt);
    if (f->ops && f->ops->config_read)
        f->ops->config_read(f, offset, size);
    return pci_get(f, offset, size);
}

void pci_function_write(struct pci_function *f, unsigned offset, unsigned size, uint32_t value)
{
    assert(offset + size <= PCI_CONFIG_BYTES);
    for (unsigned i = 0; i < size; i++, value >>= 8) {
        unsigned at = offset + i;
        unsigned bits = f->writable[at], old = f->config[at];
        f->config[at] = (uint8_t)(((old & ~bits) | (value & bits)) & ~(value & f->clearable[at]));
    }
    pci_function_commit(f);
    if (f->ops && f->ops->config_written)
        f->ops->config_written(f, offset, size);
}

/* ---- reset and state ---- */

void pci_function_reset(struct pci_function *f)
{
    for (unsigned i = 0; i < HEADER_BYTES; i++)
        f->config[i] &= (uint8_t) ~(f->writable[i] | f->clearable[i]);
    pthread_mutex_lock(&f->lock);
    f->intx_level = false;
    pthread_mutex_unlock(&f->lock);
    pci_msix_reset(f);
    pci_function_commit(f);
}

void pci_function_state(struct pci_function *f, struct state *s)
{
    uint8_t config[PCI_CONFIG_BYTES];
    memcpy(config, f->config, sizeof config);
    config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTERRUPT; /* follows from intx */
    state_bytes(s, "pci-config", config, sizeof config);
    state_check(s, memcmp(config, f->config, PCI_COMMAND) == 0, "the PCI function is another device");
    pthread_mutex_lock(&f->lock);
    state_bool(s, "pci-intx", &f->intx_level);
    pthread_mutex_unlock(&f->lock);
    pci_msix_state(f, s);
    if (!state_loading(s) || state_failed(s))
        return;
    for (unsigned i = 0; i < PCI_CONFIG_BYTES; i++) {
        unsigned bits = f->writable[i] | f->clearable[i];
        f->config[i] = (uint8_t)((f->config[i] & ~bits) | (config[i] & bits));
    }
    pci_function_commit(f);
}
