/* See pci_bar.h. */
#include "hv/machine/pci_bar.h"

#include <assert.h>

#include "hv/machine/pci.h"
#include "hv/trace.h"

enum { PORTS_MAX_BYTES = 256, BAR_MIN_PORTS = 4, BAR_MIN_MEMORY = 16, ADDRESS_BITS_MAX = 52 };

static bool is_wide(enum pci_bar_type type)
{
    return type == PCI_BAR_MEM64 || type == PCI_BAR_MEM64_PREFETCH;
}

static uint8_t type_bits(enum pci_bar_type type)
{
    switch (type) {
    case PCI_BAR_PORTS:
        return 1;
    case PCI_BAR_MEM64:
        return 4;
    case PCI_BAR_MEM64_PREFETCH:
        return 12;
    case PCI_BAR_NONE:
    case PCI_BAR_MEM32:
        break;
    }
    return 0;
}

void pci_add_bar(struct pci_function *f, unsigned bar, enum pci_bar_type type, uint64_t bytes,
                 const struct bus_ops *ops, void *device)
{
    bool ports = type == PCI_BAR_PORTS;
    assert(type != PCI_BAR_NONE && bar + is_wide(type) < PCI_BARS && !f->pci);
    assert(f->bar[bar].type == PCI_BAR_NONE && (bytes & (bytes - 1)) == 0);
    assert(ports ? bytes >= BAR_MIN_PORTS && bytes <= PORTS_MAX_BYTES
                 : bytes >= BAR_MIN_MEMORY && bytes <= (uint64_t)1 << 31);
    f->bar[bar] = (struct pci_bar){
        .type = type,
        .region =
            {.name = f->name, .ops = ops, .device = device, .space = ports ? BUS_PORTS : BUS_MEMORY, .bytes = bytes},
    };
    unsigned at = PCI_BAR_0 + 4 * bar;
    uint32_t mask = ~(uint32_t)(bytes - 1);
    pci_set(f, at, 4, type_bits(type));
    memcpy(&f->writable[at], &mask, sizeof mask);
    if (is_wide(type))
        memset(&f->writable[at + 4], 0xff, 4);
}

/* Where a BAR is to be; 0: nowhere. */
static uint64_t place_of(const struct pci_function *f, unsigned i)
{
    const struct pci_bar *bar = &f->bar[i];
    unsigned at = PCI_BAR_0 + 4 * i;
    bool ports = bar->type == PCI_BAR_PORTS;
    if (bar->type == PCI_BAR_NONE || !(pci_get(f, PCI_COMMAND, 2) & (ports ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)))
        return 0;
    uint64_t base = pci_get(f, at, 4) & ~(uint32_t)(bar->region.bytes - 1);
    if (is_wide(bar->type))
        base |= (uint64_t)pci_get(f, at + 4, 4) << 32;
    uint64_t space_bytes = ports ? 1u << 16 : (uint64_t)1 << (is_wide(bar->type) ? ADDRESS_BITS_MAX : 32);
    /* both are multiples of bytes, so nothing overflows and the last byte of the space is in the last place alone */
    return base < space_bytes - bar->region.bytes ? base : 0;
}

static void moved(struct pci_function *f, unsigned bar, bool mapped)
{
    if (f->ops && f->ops->bar_moved)
        f->ops->bar_moved(f, bar, mapped);
}

static void unmap(struct bus *bus, struct pci_function *f, unsigned i)
{
    bus_remove(bus, &f->bar[i].region);
    moved(f, i, false);
}

bool pci_bar_unmap(struct bus *bus, struct pci_function *f)
{
    bool any = false;
    for (unsigned i = 0; i < PCI_BARS; i++)
        if (f->bar[i].region.added && f->bar[i].region.base != place_of(f, i)) {
            unmap(bus, f, i);
            any = true;
        }
    return any;
}

void pci_bar_map(struct bus *bus, struct pci_function *f)
{
    for (unsigned i = 0; i < PCI_BARS; i++) {
        struct bus_region *region = &f->bar[i].region;
        uint64_t base = place_of(f, i);
        if (!base || region->added)
            continue;
        region->base = base;
        int rc = bus_add(bus, region);
        trace_debug(TRACE_PCI, "%s: BAR %u is at %s %#llx%s", f->name, i,
                    region->space == BUS_PORTS ? "port" : "address", (unsigned long long)base,
                    rc ? ", where something else is: it is not there" : "");
        if (rc == 0)
            moved(f, i, true);
    }
}

void pci_bar_unmap_all(struct bus *bus, struct pci_function *f)
{
    for (unsigned i = 0; i < PCI_BARS; i++)
        if (f->bar[i].region.added)
            unmap(bus, f, i);
}
