/* The base address registers of a function: where they point, and the bus regions that follow them.
 *
 * Sizing needs nothing here: the mask of writable bits says the size. For pci*.c alone. Threads: bus locked. */
#ifndef HV_MACHINE_PCI_BAR_H
#define HV_MACHINE_PCI_BAR_H

#include <stdbool.h>

struct bus;
struct pci_function;

/* Unmaps those that moved or are switched off; true if there were any: others may fit now. */
bool pci_bar_unmap(struct bus *bus, struct pci_function *f);
/* Maps those that are switched on, have a place, and fit. */
void pci_bar_map(struct bus *bus, struct pci_function *f);
/* All of them, whatever the registers say. */
void pci_bar_unmap_all(struct bus *bus, struct pci_function *f);

#endif
