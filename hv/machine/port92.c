/* See port92.h. */
#include "hv/machine/port92.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "hv/bus.h"
#include "hv/device.h"
#include "hv/machine/reset.h"
#include "hv/state.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { PORT = 0x92, VERSION = 1, FAST_RESET = 0x01, A20 = 0x02 };

struct port92 {
    struct device device;
    struct bus_region region;
    struct bus *bus;
    struct reset *reset;
    uint8_t value;
};

static uint64_t port_read(void *device, uint64_t offset, unsigned size)
{
    const struct port92 *p = device;
    (void)offset;
    (void)size;
    return p->value;
}

static void port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct port92 *p = device;
    (void)offset;
    (void)size;
    uint8_t before = p->value;
    p->value = (uint8_t)value;
    if (value & FAST_RESET && !(before & FAST_RESET))
        reset_restart(p->reset, "port 92h");
}

static const struct bus_ops port_ops = {port_read, port_write};

static void port92_reset(struct device *device)
{
    CONTAINER_OF(device, struct port92, device)->value = A20;
}

static void port92_state(struct device *device, struct state *s)
{
    state_u8(s, "value", &CONTAINER_OF(device, struct port92, device)->value);
}

struct port92 *port92_new(struct bus *bus, struct reset *reset, struct err *err)
{
    struct port92 *p = calloc(1, sizeof *p);
    if (!p) {
        err_set(err, ENOMEM, "no memory for port 92h");
        return NULL;
    }
    p->bus = bus;
    p->reset = reset;
    p->value = A20;
    p->device = (struct device){.name = "port92", .version = VERSION, .reset = port92_reset, .state = port92_state};
    p->region = (struct bus_region){
        .name = "port92", .ops = &port_ops, .device = p, .space = BUS_PORTS, .base = PORT, .bytes = 1};
    if (bus_plug(bus, &p->region, "port 92h", err)) {
        free(p);
        return NULL;
    }
    return p;
}

void port92_free(struct port92 *p)
{
    if (!p)
        return;
    bus_lock(p->bus);
    bus_remove(p->bus, &p->region);
    bus_unlock(p->bus);
    free(p);
}

struct device *port92_device(struct port92 *p)
{
    return &p->device;
}
