/* The port 402h to which firmware writes what it does, a byte at a time. Reading E9h tells that it is there. It has no
 * state.
 *
 * Threads: with the bus locked; main for new and free. */
#ifndef HV_MACHINE_DEBUGCON_H
#define HV_MACHINE_DEBUGCON_H

#include <stdint.h>

struct bus;
struct debugcon;
struct err;

struct debugcon_host {
    void (*output)(struct debugcon_host *host, uint8_t byte); /* does not wait */
};

struct debugcon *debugcon_new(struct bus *bus, struct debugcon_host *host, struct err *err);
void debugcon_free(struct debugcon *debugcon);

#endif
