/* MSI-X of a PCI function: the table and the pending bits, in a 4 KiB BAR of their own (table at 0, pending bits at
 * 800h), and the capability.
 *
 * A vector that is notified while its entry, the function or bus mastering is masked stays pending, and is sent when
 * the last of them is unmasked. Threads: as said. Source: PCI Local Bus Specification 3.0, 6.8.2. */
#ifndef HV_MACHINE_PCI_MSIX_H
#define HV_MACHINE_PCI_MSIX_H

#include <stdbool.h>
#include <stdint.h>

struct pci_function;
struct state;

enum { PCI_MSIX_MAX = 128 };

/* Before pci_add(); vectors: 1 to PCI_MSIX_MAX. -ENOMEM. */
int pci_msix_init(struct pci_function *f, unsigned bar, unsigned vectors);

/* Any thread, also while the guest writes the table. False: MSI-X is off (use pci_intx) or the function is not on a
 * bus. A vector past the table (virtio's ffffh) is nobody's and true. */
bool pci_msix_notify(struct pci_function *f, unsigned vector);
bool pci_msix_enabled(struct pci_function *f); /* any thread */
unsigned pci_msix_vectors(const struct pci_function *f);

/* ---- for pci.c, with the bus locked ---- */

void pci_msix_changed(struct pci_function *f); /* the capability or COMMAND was written */
void pci_msix_reset(struct pci_function *f);
void pci_msix_state(struct pci_function *f, struct state *s);
void pci_msix_free(struct pci_function *f);

#endif
