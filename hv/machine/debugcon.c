/* See debugcon.h. */
#include "hv/machine/debugcon.h"

#include <errno.h>
#include <stdlib.h>

#include "hv/bus.h"
#include "node/base/err.h"

enum { PORT = 0x402, PRESENT = 0xe9 };

struct debugcon {
    struct bus_region region;
    struct bus *bus;
    struct debugcon_host *host;
};

static uint64_t port_read(void *device, uint64_t offset, unsigned size)
{
    (void)device;
    (void)offset;
    (void)size;
    return PRESENT;
}

static void port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct debugcon *d = device;
    (void)offset;
    (void)size;
    d->host->output(d->host, (uint8_t)value);
}

static const struct bus_ops port_ops = {port_read, port_write};

struct debugcon *debugcon_new(struct bus *bus, struct debugcon_host *host, struct err *err)
{
    struct debugcon *d = calloc(1, sizeof *d);
    if (!d) {
        err_set(err, ENOMEM, "no memory for the debug port");
        return NULL;
    }
    d->bus = bus;
    d->host = host;
    d->region = (struct bus_region){
        .name = "debugcon", .ops = &port_ops, .device = d, .space = BUS_PORTS, .base = PORT, .bytes = 1};
    if (bus_plug(bus, &d->region, "the debug port", err)) {
        free(d);
        return NULL;
    }
    return d;
}

void debugcon_free(struct debugcon *d)
{
    if (!d)
        return;
    bus_lock(d->bus);
    bus_remove(d->bus, &d->region);
    bus_unlock(d->bus);
    free(d);
}
