/* PCI hot-plug by ACPI: how a guest learns that a slot was filled, or is asked to give one back.
 *
 *     plug:   pci_add() -> pci_hotplug_plugged() -> event -> the guest's _E01 reads UP, Notify(slot, 1)
 *     unplug: pci_hotplug_ask() -> event -> DOWN, Notify(slot, 3) -> driver lets go -> _EJ0 -> ejected()
 *
 * Registers at ports AE00h, 4 bytes each and only in one access: 0 UP and 4 DOWN (one bit a slot; reading UP clears
 * it), 8 EJECT (write a slot's bit), 12 REMOVABLE (what may be ejected), 16 BUS (0). Slots below PCI_HOTPLUG_FIRST are
 * the board's. dsdt.asl is the other side. A reset forgets what was asked.
 *
 * Threads: with the bus locked; main for new and free. Source: ACPI 6.4 ch. 6.3; the ports are those that QEMU
 * documents in docs/specs/acpi_pci_hotplug. */
#ifndef HV_MACHINE_PCI_HOTPLUG_H
#define HV_MACHINE_PCI_HOTPLUG_H

struct device;
struct err;
struct pci;
struct pci_hotplug;
struct piix4_pm;

enum { PCI_HOTPLUG_PORTS = 0xae00, PCI_HOTPLUG_BYTES = 20, PCI_HOTPLUG_EVENT = 1, PCI_HOTPLUG_FIRST = 2 };

struct pci_hotplug_owner {
    /* The guest lets this slot go, asked or not; it has a function 0. From a vCPU's thread: pci_remove() it now and
     * free it later, or leave it. */
    void (*ejected)(struct pci_hotplug_owner *owner, unsigned slot);
};

struct pci_hotplug *pci_hotplug_new(struct pci *pci, struct piix4_pm *pm, struct pci_hotplug_owner *owner,
                                    struct err *err);
void pci_hotplug_free(struct pci_hotplug *hotplug);
struct device *pci_hotplug_device(struct pci_hotplug *hotplug);

void pci_hotplug_plugged(struct pci_hotplug *hotplug, unsigned slot);
void pci_hotplug_ask(struct pci_hotplug *hotplug, unsigned slot); /* as often as you like */

#endif
