/* PCI: bus 0 with 32 slots of 8 functions, reached by configuration mechanism #1 (ports CF8h and CFCh).
 *
 *     device (virtio-blk ...) --embeds--> struct pci_function --pci_add()--> struct pci --> bus, interrupt lines
 *
 * A function is its 256 bytes of configuration space with a mask of the bits a guest may write, six BARs and an
 * interrupt pin. The owner fills it once and adds it, before the guest runs or while it runs (hot-plug):
 *
 *     pci_function_init(&f, "virtio-blk", &id, &ops, device);
 *     pci_add_bar(&f, 4, PCI_BAR_MEM64, 16384, &registers, device);
 *     pci_msix_init(&f, 1, vectors);                   (pci_msix.h)
 *     cap = pci_add_capability(&f, PCI_CAP_VENDOR, 16);
 *     pci_add(pci, &f, slot, 0, &err);
 *
 * BARs are (un)mapped as BARs and COMMAND are written. Where a guest lays one over another region the newcomer is not
 * reachable; it becomes so when the other goes away. A BAR at 0, or one that reaches the last byte of its space (as
 * sizing makes it), is not mapped.
 *
 * Threads: with the bus locked, but where it says "any thread". Lock order: bus, pci_function.lock, irq_share.
 * Source: PCI Local Bus Specification 3.0 ch. 6. */
#ifndef HV_MACHINE_PCI_H
#define HV_MACHINE_PCI_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "hv/bus.h"
#include "hv/machine/irq_share.h"

struct device;
struct err;
struct pci;
struct pci_function;
struct pci_msix;
struct reset;
struct state;

enum { PCI_CONFIG_BYTES = 256, PCI_SLOTS = 32, PCI_SLOT_FUNCTIONS = 8, PCI_BARS = 6, PCI_PIRQS = 4 };

enum pci_register {
    PCI_VENDOR_ID = 0x00,
    PCI_DEVICE_ID = 0x02,
    PCI_COMMAND = 0x04,
    PCI_STATUS = 0x06,
    PCI_REVISION_ID = 0x08,
    PCI_CLASS_PROG = 0x09,
    PCI_HEADER_TYPE = 0x0e,
    PCI_BAR_0 = 0x10,
    PCI_SUBSYSTEM_VENDOR_ID = 0x2c,
    PCI_SUBSYSTEM_ID = 0x2e,
    PCI_CAPABILITY_LIST = 0x34,
    PCI_INTERRUPT_LINE = 0x3c,
    PCI_INTERRUPT_PIN = 0x3d,
};

enum pci_command {
    PCI_COMMAND_IO = 0x1,
    PCI_COMMAND_MEMORY = 0x2,
    PCI_COMMAND_MASTER = 0x4,
    PCI_COMMAND_PARITY = 0x40,
    PCI_COMMAND_SERR = 0x100,
    PCI_COMMAND_INTX_DISABLE = 0x400,
};

enum { PCI_STATUS_INTERRUPT = 0x8, PCI_STATUS_CAP_LIST = 0x10 };
enum { PCI_CAP_VENDOR = 0x09, PCI_CAP_MSIX = 0x11 };

enum pci_bar_type { PCI_BAR_NONE, PCI_BAR_PORTS, PCI_BAR_MEM32, PCI_BAR_MEM64, PCI_BAR_MEM64_PREFETCH };

struct pci_id {
    uint16_t vendor, device, subsystem_vendor, subsystem;
    uint32_t class; /* class, subclass, programming interface: 0x020000 = Ethernet */
    uint8_t revision;
    uint8_t pin; /* 1 to 4: INTA to INTD; 0: none */
};

/* All of them may be NULL. */
struct pci_ops {
    /* A guest is about to read these bytes of the configuration space: the last chance to put them right. */
    void (*config_read)(struct pci_function *f, unsigned offset, unsigned size);
    /* A guest has written them; masks are applied, BARs are mapped, MSI-X knows. */
    void (*config_written)(struct pci_function *f, unsigned offset, unsigned size);
    /* f->bar[bar].region.base is mapped now, or no longer: for doorbells in it. */
    void (*bar_moved)(struct pci_function *f, unsigned bar, bool mapped);
};

struct pci_bar {
    struct bus_region region; /* bytes, base (while region.added) */
    enum pci_bar_type type;
};

struct pci_function {
    const char *name;
    void *owner;
    const struct pci_ops *ops;
    uint8_t config[PCI_CONFIG_BYTES];
    uint8_t writable[PCI_CONFIG_BYTES];  /* bits a guest may change */
    uint8_t clearable[PCI_CONFIG_BYTES]; /* bits that writing a 1 clears */
    struct pci_bar bar[PCI_BARS];
    struct pci_msix *msix; /* NULL: has none */
    unsigned config_used;  /* where the next capability goes */
    uint8_t slot, function;
    struct pci *pci; /* NULL: not added */

    atomic_bool bus_master; /* COMMAND's bit, for any thread */
    pthread_mutex_t lock;   /* what follows, and MSI-X */
    bool intx_level;        /* what the device says */
    bool intx_disabled;     /* COMMAND's bit */
    struct irq_source intx; /* what leaves the function */
};

/* ---- the bus; main thread, no lock needed for new and free ---- */

struct pci *pci_new(struct bus *bus, struct irq_share *lines, struct reset *reset, struct err *err);
void pci_free(struct pci *pci); /* removes the functions that are left */
struct device *pci_device(struct pci *pci);
struct bus *pci_bus(const struct pci *pci);
struct irq_share *pci_lines(const struct pci *pci);

/* -EBUSY: there is one; -EINVAL: function above 0 in a slot without function 0. */
int pci_add(struct pci *pci, struct pci_function *f, unsigned slot, unsigned function, struct err *err);
/* Unmaps it and lowers its interrupt; one that was not added is fine. */
void pci_remove(struct pci_function *f);
struct pci_function *pci_at(const struct pci *pci, unsigned slot, unsigned function); /* NULL: none */

/* Where the interrupt pins go: PIRQ n (0 = A) to a line, or IRQ_NOWHERE. Pin p (1 = A) of slot s is PIRQ (s + p - 2)
 * modulo 4, as the firmware and _PRT say. */
void pci_route(struct pci *pci, unsigned pirq, unsigned gsi);

/* devfn: slot * 8 + function. As the ports do it: size 1, 2 or 4; a hole reads as ones. */
uint32_t pci_config_read(struct pci *pci, unsigned devfn, unsigned offset, unsigned size);
void pci_config_write(struct pci *pci, unsigned devfn, unsigned offset, unsigned size, uint32_t value);

/* ---- a function ---- */

void pci_function_init(struct pci_function *f, const char *name, const struct pci_id *id, const struct pci_ops *ops,
                       void *owner);
void pci_function_fini(struct pci_function *f); /* after pci_remove(); frees MSI-X */

/* bytes: a power of two; ports 4 to 256, memory 16 to 2^31 (take 4096 at least). A 64-bit BAR uses bar + 1, too. */
void pci_add_bar(struct pci_function *f, unsigned bar, enum pci_bar_type type, uint64_t bytes,
                 const struct bus_ops *ops, void *device);
/* Returns its offset in config; the caller fills in what follows the two bytes of its header, and masks. */
unsigned pci_add_capability(struct pci_function *f, uint8_t id, unsigned bytes);

/* Power-on: COMMAND and BARs zero, MSI-X off, interrupt low. Called by the owner's device.reset, which then sets what
 * else differs. */
void pci_function_reset(struct pci_function *f);
/* Inside a section of the owner's: fields "pci-...". Loading keeps what no guest can write, and maps BARs. */
void pci_function_state(struct pci_function *f, struct state *s);

/* The level of the interrupt pin. Any thread. */
void pci_intx(struct pci_function *f, bool level);
/* May it reach memory? To be asked before DMA. Any thread. */
static inline bool pci_bus_master(const struct pci_function *f)
{
    return atomic_load_explicit(&f->bus_master, memory_order_relaxed);
}

/* ---- between pci*.c ---- */

/* The guest's access to the configuration space; offset + size <= PCI_CONFIG_BYTES, size 1, 2 or 4. */
uint32_t pci_function_read(struct pci_function *f, unsigned offset, unsigned size);
void pci_function_write(struct pci_function *f, unsigned offset, unsigned size, uint32_t value);
/* Makes true what COMMAND, BARs and MSI-X say. */
void pci_function_commit(struct pci_function *f);
/* The BARs of f, and of whoever waits for the room that they gave up. */
void pci_remap(struct pci *pci, struct pci_function *f);

static inline uint32_t pci_get(const struct pci_function *f, unsigned offset, unsigned size)
{
    uint32_t v = 0;
    memcpy(&v, &f->config[offset], size);
    return v;
}

static inline void pci_set(struct pci_function *f, unsigned offset, unsigned size, uint32_t value)
{
    memcpy(&f->config[offset], &value, size);
}

#endif
