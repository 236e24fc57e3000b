/* Port 92h of a PC: the fast reset, and the fast way to the A20 gate, which is always open here.
 *
 * Threads: with the bus locked; main for new and free. Source: IBM PS/2 technical reference, "System control port A".
 */
#ifndef HV_MACHINE_PORT92_H
#define HV_MACHINE_PORT92_H

struct bus;
struct device;
struct err;
struct port92;
struct reset;

struct port92 *port92_new(struct bus *bus, struct reset *reset, struct err *err);
void port92_free(struct port92 *port);
struct device *port92_device(struct port92 *port);

#endif
