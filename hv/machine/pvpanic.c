/* See pvpanic.h. */
#include "hv/machine/pvpanic.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "hv/bus.h"
#include "hv/device.h"
#include "hv/machine/alarm.h"
#include "hv/state.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { VERSION = 1, UNDERSTOOD = PVPANIC_PANICKED | PVPANIC_CRASH_LOADED };

struct pvpanic {
    struct device device;
    struct bus_region region;
    struct bus *bus;
    struct alarm *alarm;
    uint8_t told; /* events since the last reset */
};

static uint64_t port_read(void *device, uint64_t offset, unsigned size)
{
    (void)device;
    (void)offset;
    (void)size;
    return UNDERSTOOD;
}

static void port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct pvpanic *p = device;
    (void)offset;
    (void)size;
    unsigned news = value & UNDERSTOOD & ~(unsigned)p->told;
    p->told |= (uint8_t)news;
    if (news & PVPANIC_CRASH_LOADED)
        p->alarm->panicked(p->alarm, ALARM_DUMPS);
    if (news & PVPANIC_PANICKED)
        p->alarm->panicked(p->alarm, ALARM_PANICKED);
}

static const struct bus_ops port_ops = {port_read, port_write};

bool pvpanic_panicked(const struct pvpanic *p)
{
    return p->told & PVPANIC_PANICKED;
}

static void pvpanic_reset(struct device *device)
{
    CONTAINER_OF(device, struct pvpanic, device)->told = 0;
}

static bool pvpanic_is_new(struct device *device)
{
    return !CONTAINER_OF(device, struct pvpanic, device)->told;
}

static void pvpanic_state(struct device *device, struct state *s)
{
    struct pvpanic *p = CONTAINER_OF(device, struct pvpanic, device);
    state_u8(s, "told", &p->told);
    state_check(s, !(p->told & ~UNDERSTOOD), "events that this device does not have");
}

struct pvpanic *pvpanic_new(struct bus *bus, struct alarm *alarm, struct err *err)
{
    struct pvpanic *p = calloc(1, sizeof *p);
    if (!p) {
        err_set(err, ENOMEM, "no memory for the panic port");
        return NULL;
    }
    p->bus = bus;
    p->alarm = alarm;
    p->device = (struct device){.name = "pvpanic",
                                .version = VERSION,
                                .reset = pvpanic_reset,
                                .is_new = pvpanic_is_new,
                                .state = pvpanic_state};
    p->region = (struct bus_region){
        .name = "pvpanic", .ops = &port_ops, .device = p, .space = BUS_PORTS, .base = PVPANIC_PORT, .bytes = 1};
    if (bus_plug(bus, &p->region, "the panic port", err)) {
        free(p);
        return NULL;
    }
    return p;
}

void pvpanic_free(struct pvpanic *p)
{
    if (!p)
        return;
    bus_lock(p->bus);
    bus_remove(p->bus, &p->region);
    bus_unlock(p->bus);
    free(p);
}

struct device *pvpanic_device(struct pvpanic *p)
{
    return &p->device;
}
