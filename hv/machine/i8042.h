/* The keyboard controller with a keyboard that answers every command and on which nobody types. No mouse.
 *
 * Kernels look for it, firmware asks it to open the A20 gate (which is always open), and all of them reset the machine
 * through it. Threads: with the bus locked; main for new and free.
 * Source: IBM PS/2 technical reference, "Keyboard and auxiliary device controller"; "Keyboards (101- and 102-key)". */
#ifndef HV_MACHINE_I8042_H
#define HV_MACHINE_I8042_H

struct bus;
struct device;
struct err;
struct i8042;
struct irq;
struct reset;

enum { I8042_DATA = 0x60, I8042_COMMAND = 0x64, I8042_GSI = 1 };

struct i8042 *i8042_new(struct bus *bus, struct irq *irq, struct reset *reset, struct err *err);
void i8042_free(struct i8042 *i8042);
struct device *i8042_device(struct i8042 *i8042);

#endif
