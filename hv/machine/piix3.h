/* The 82371SB (PIIX3) ISA bridge, slot 1 function 0: routes the four PCI interrupts to ISA lines (registers 60h to
 * 63h).
 *
 * The line is the IOAPIC's pin of the same number, too. Everything else on an ISA bus (timers, serial ports) is a
 * device of its own; further registers hold what is written. Threads: main for new and free. Source: Intel
 * 82371FB/82371SB data sheet, 2.2. */
#ifndef HV_MACHINE_PIIX3_H
#define HV_MACHINE_PIIX3_H

struct device;
struct err;
struct pci;
struct piix3;

enum { PIIX3_SLOT = 1, PIIX3_PIRQ_ROUTE = 0x60 };

struct piix3 *piix3_new(struct pci *pci, struct err *err); /* adds itself to the bus */
void piix3_free(struct piix3 *bridge);
struct device *piix3_device(struct piix3 *bridge);

#endif
