/* Port 61h of a PC: the gate of the speaker's timer, its output, and the bit that toggled with every memory refresh,
 * which old delay loops count. There is no speaker.
 *
 * Threads: with the bus locked; main for new and free. Source: Intel 82371AB data sheet, "NMI status and control". */
#ifndef HV_MACHINE_PORT61_H
#define HV_MACHINE_PORT61_H

struct bus;
struct device;
struct err;
struct pit;
struct port61;
struct timers;

struct port61 *port61_new(struct bus *bus, struct timers *timers, struct pit *pit, struct err *err);
void port61_free(struct port61 *port);
struct device *port61_device(struct port61 *port);

#endif
