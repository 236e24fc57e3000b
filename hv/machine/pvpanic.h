/* The port by which a guest's kernel tells that it has panicked: one byte at 505h, ACPI device QEMU0001. Debian's
 * kernel finds it with its module pvpanic-mmio.
 *
 * Reading tells which events are understood, writing tells that they have happened. Threads: with the bus locked; main
 * for new and free. Source: QEMU's docs/specs/pvpanic.rst. */
#ifndef HV_MACHINE_PVPANIC_H
#define HV_MACHINE_PVPANIC_H

#include <stdbool.h>

struct alarm;
struct bus;
struct device;
struct err;
struct pvpanic;

enum { PVPANIC_PORT = 0x505, PVPANIC_PANICKED = 1, PVPANIC_CRASH_LOADED = 2 };

struct pvpanic *pvpanic_new(struct bus *bus, struct alarm *alarm, struct err *err);
void pvpanic_free(struct pvpanic *panic);
struct device *pvpanic_device(struct pvpanic *panic);

/* The kernel has panicked (and no other one takes over) since the last reset. */
bool pvpanic_panicked(const struct pvpanic *panic);

#endif
