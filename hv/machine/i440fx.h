/* The 82441FX host bridge, slot 0: what firmware recognises this machine by (vendor, device, and the subsystem
 * 1af4:1100 of emulated machines), and the PAM and SMRAM registers.
 *
 * The registers are stored and have no effect: C0000h to FFFFFh is RAM for reading and writing at all times, with a
 * copy of the firmware in it, which is what shadowing through PAM ends in. Threads: main for new and free. Source:
 * Intel 82441FX data sheet, 3.2. */
#ifndef HV_MACHINE_I440FX_H
#define HV_MACHINE_I440FX_H

struct device;
struct err;
struct i440fx;
struct pci;

struct i440fx *i440fx_new(struct pci *pci, struct err *err); /* adds itself to the bus */
void i440fx_free(struct i440fx *bridge);
struct device *i440fx_device(struct i440fx *bridge);

#endif
