/* The power management function of the 82371AB (PIIX4), slot 1 function 3: ACPI's fixed hardware.
 *
 * Power button, PM timer, general purpose events, the system control interrupt (line 9, shared and level), soft-off,
 * and the command port B2h, through which ACPI is switched on: there is no SMM, the port does it itself. The registers
 * are at 600h from power-on, where SeaBIOS would put them.
 *
 * Threads: with the bus locked; main for new and free.
 * Source: ACPI 6.4 ch. 4.8; Intel 82371AB data sheet, ch. 7. */
#ifndef HV_MACHINE_PIIX4_PM_H
#define HV_MACHINE_PIIX4_PM_H

struct device;
struct err;
struct pci;
struct piix4_pm;
struct reset;
struct timers;

enum {
    PIIX4_PM_FUNCTION = 3,
    PIIX4_PM_SCI = 9,
    PIIX4_PM_BASE = 0x600,
    PIIX4_PM_EVENT = PIIX4_PM_BASE,       /* status and enable, 2 bytes each */
    PIIX4_PM_CONTROL = PIIX4_PM_BASE + 4, /* 2 bytes */
    PIIX4_PM_TIMER = PIIX4_PM_BASE + 8,   /* 4 bytes, 24 bits of which count */
    PIIX4_PM_GPE0 = PIIX4_PM_BASE + 12,   /* status and enable, 2 bytes each */
    PIIX4_PM_COMMAND = 0xb2,
    PIIX4_PM_ACPI_ENABLE = 0xf1,
    PIIX4_PM_ACPI_DISABLE = 0xf0,
    PIIX4_PM_SLEEP_S5 = 0, /* SLP_TYP of soft-off */
    PIIX4_PM_TIMER_HZ = 3579545,
};

struct piix4_pm *piix4_pm_new(struct pci *pci, struct timers *timers, struct reset *reset, struct err *err);
void piix4_pm_free(struct piix4_pm *pm);
struct device *piix4_pm_device(struct piix4_pm *pm);

void piix4_pm_power_button(struct piix4_pm *pm);
/* Event 0 to 15 happened; its status bit stays until the guest clears it. */
void piix4_pm_event(struct piix4_pm *pm, unsigned event);

#endif
