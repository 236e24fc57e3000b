/* See port61.h. */
#include "hv/machine/port61.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "hv/bus.h"
#include "hv/device.h"
#include "hv/machine/pit.h"
#include "hv/state.h"
#include "hv/timers.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { PORT = 0x61, VERSION = 1, REFRESH_NS = 15085 };
enum { GATE = 0x01, WRITABLE = 0x0f, REFRESH = 0x10, OUTPUT = 0x20 };

struct port61 {
    struct device device;
    struct bus_region region;
    struct bus *bus;
    struct timers *timers;
    struct pit *pit;
    uint8_t written;
};

static uint64_t port_read(void *device, uint64_t offset, unsigned size)
{
    struct port61 *p = device;
    (void)offset;
    (void)size;
    uint8_t refresh = timers_now_ns(p->timers) / REFRESH_NS % 2 ? REFRESH : 0;
    return p->written | refresh | (pit_output(p->pit) ? OUTPUT : 0);
}

static void port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct port61 *p = device;
    (void)offset;
    (void)size;
    p->written = value & WRITABLE;
    pit_set_gate(p->pit, value & GATE);
}

static const struct bus_ops port_ops = {port_read, port_write};

static void port61_reset(struct device *device)
{
    struct port61 *p = CONTAINER_OF(device, struct port61, device);
    p->written = 0;
    pit_set_gate(p->pit, false);
}

static void port61_state(struct device *device, struct state *s)
{
    struct port61 *p = CONTAINER_OF(device, struct port61, device);
    state_u8(s, "written", &p->written); /* the gate is the timer's */
    state_check(s, !(p->written & ~WRITABLE), "bits are set that cannot be written");
}

struct port61 *port61_new(struct bus *bus, struct timers *timers, struct pit *pit, struct err *err)
{
    struct port61 *p = calloc(1, sizeof *p);
    if (!p) {
        err_set(err, ENOMEM, "no memory for port 61h");
        return NULL;
    }
    p->bus = bus;
    p->timers = timers;
    p->pit = pit;
    p->device = (struct device){.name = "port61", .version = VERSION, .reset = port61_reset, .state = port61_state};
    p->region = (struct bus_region){
        .name = "port61", .ops = &port_ops, .device = p, .space = BUS_PORTS, .base = PORT, .bytes = 1};
    if (bus_plug(bus, &p->region, "port 61h", err)) {
        free(p);
        return NULL;
    }
    return p;
}

void port61_free(struct port61 *p)
{
    if (!p)
        return;
    bus_lock(p->bus);
    bus_remove(p->bus, &p->region);
    bus_unlock(p->bus);
    free(p);
}

struct device *port61_device(struct port61 *p)
{
    return &p->device;
}
