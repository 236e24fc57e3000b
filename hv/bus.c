/* See bus.h. Regions of a space are kept sorted by base and do not overlap, so a lookup is a binary search. Doorbells
 * have a lock of their own that nobody holds while a device works. */
#include "hv/bus.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hv/trace.h"
#include "node/base/err.h"

enum { SPACES = 2, REGION_MAX = 512, DOORBELL_MAX = 1024 };

struct space {
    unsigned count;
    struct bus_region *regions[REGION_MAX];
};

struct bus {
    pthread_mutex_t lock;
    struct space spaces[SPACES];
    struct bus_listener *listener;
    pthread_mutex_t doorbell_lock;
    unsigned doorbell_count;
    struct bus_doorbell *doorbells[DOORBELL_MAX];
    pthread_t owner; /* of lock; for the assertion only */
    bool locked;
};

struct bus *bus_new(struct err *err)
{
    struct bus *bus = calloc(1, sizeof *bus);
    if (!bus) {
        err_set(err, ENOMEM, "no memory for the bus");
        return NULL;
    }
    pthread_mutex_init(&bus->lock, NULL);
    pthread_mutex_init(&bus->doorbell_lock, NULL);
    return bus;
}

void bus_free(struct bus *bus)
{
    if (!bus)
        return;
    pthread_mutex_destroy(&bus->lock);
    pthread_mutex_destroy(&bus->doorbell_lock);
    free(bus);
}

void bus_lock(struct bus *bus)
{
    pthread_mutex_lock(&bus->lock);
    bus->owner = pthread_self();
    bus->locked = true;
}

void bus_unlock(struct bus *bus)
{
    bus->locked = false;
    pthread_mutex_unlock(&bus->lock);
}

void bus_assert_locked(const struct bus *bus)
{
    assert(bus->locked && pthread_equal(bus->owner, pthread_self()));
    (void)bus;
}

/* ---- regions ---- */

/* The first region that ends behind address. */
static unsigned position(const struct space *space, uint64_t address)
{
    unsigned low = 0, high = space->count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        const struct bus_region *r = space->regions[middle];
        if (r->base + (r->bytes - 1) < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int bus_add(struct bus *bus, struct bus_region *region)
{
    bus_assert_locked(bus);
    struct space *space = &bus->spaces[region->space];
    uint64_t last = region->base + (region->bytes - 1);
    if (!region->bytes || last < region->base || region->added)
        return -EINVAL;
    if (space->count == REGION_MAX)
        return -ENOSPC;
    unsigned at = position(space, region->base);
    if (at < space->count && space->regions[at]->base <= last)
        return -EBUSY;
    memmove(&space->regions[at + 1], &space->regions[at], (space->count - at) * sizeof *space->regions);
    space->regions[at] = region;
    space->count++;
    region->added = true;
    return 0;
}

int bus_plug(struct bus *bus, struct bus_region *region, const char *what, struct err *err)
{
    bus_lock(bus);
    int rc = bus_add(bus, region);
    bus_unlock(bus);
    return rc ? err_set(err, -rc, "the bus has no place for %s", what) : 0;
}

void bus_remove(struct bus *bus, struct bus_region *region)
{
    bus_assert_locked(bus);
    if (!region->added)
        return;
    struct space *space = &bus->spaces[region->space];
    unsigned at = position(space, region->base);
    assert(at < space->count && space->regions[at] == region);
    space->count--;
    memmove(&space->regions[at], &space->regions[at + 1], (space->count - at) * sizeof *space->regions);
    region->added = false;
}

static struct bus_region *find(struct bus *bus, enum bus_space space, uint64_t address)
{
    const struct space *s = &bus->spaces[space];
    unsigned at = position(s, address);
    return at < s->count && s->regions[at]->base <= address ? s->regions[at] : NULL;
}

static uint64_t ones(unsigned size)
{
    return size >= 8 ? UINT64_MAX : (1ull << (8 * size)) - 1;
}

static bool fits(const struct bus_region *r, uint64_t address, unsigned size)
{
    return size <= r->bytes && address - r->base <= r->bytes - size;
}

static const char *const space_names[] = {[BUS_PORTS] = "port", [BUS_MEMORY] = "address"};

/* Each port; in memory each page. */
static uint64_t unknown_key(enum bus_space space, uint64_t address)
{
    return space == BUS_PORTS ? address : address >> 12 | 1ull << 63;
}

static uint64_t read_locked(struct bus *bus, enum bus_space space, uint64_t address, unsigned size)
{
    struct bus_region *r = find(bus, space, address);
    if (r && fits(r, address, size)) {
        uint64_t read = r->ops->read(r->device, address - r->base, size) & ones(size);
        trace_all(TRACE_BUS, "%s: %s %#llx, %u bytes: read %#llx", r->name, space_names[space],
                  (unsigned long long)address, size, (unsigned long long)read);
        return read;
    }
    if (size == 1) {
        trace_once(TRACE_BUS, unknown_key(space, address), "nothing is at %s %#llx", space_names[space],
                   (unsigned long long)address);
        return 0xff;
    }
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= read_locked(bus, space, address + i, 1) << (8 * i);
    return value;
}

static void write_locked(struct bus *bus, enum bus_space space, uint64_t address, unsigned size, uint64_t value)
{
    struct bus_region *r = find(bus, space, address);
    if (r && fits(r, address, size)) {
        trace_all(TRACE_BUS, "%s: %s %#llx, %u bytes: write %#llx", r->name, space_names[space],
                  (unsigned long long)address, size, (unsigned long long)(value & ones(size)));
        r->ops->write(r->device, address - r->base, size, value & ones(size));
        return;
    }
    if (size == 1)
        trace_once(TRACE_BUS, unknown_key(space, address), "nothing is at %s %#llx", space_names[space],
                   (unsigned long long)address);
    for (unsigned i = 0; size > 1 && i < size; i++)
        write_locked(bus, space, address + i, 1, value >> (8 * i));
}

uint64_t bus_read(struct bus *bus, enum bus_space space, uint64_t address, unsigned size)
{
    bus_lock(bus);
    uint64_t value = read_locked(bus, space, address, size);
    bus_unlock(bus);
    return value;
}

static bool ring(struct bus *bus, enum bus_space space, uint64_t address, unsigned size)
{
    int fd = -1;
    pthread_mutex_lock(&bus->doorbell_lock);
    for (unsigned i = 0; i < bus->doorbell_count; i++) {
        const struct bus_doorbell *d = bus->doorbells[i];
        if (d->address == address && d->space == space && (!d->size || d->size == size)) {
            fd = d->fd;
            break;
        }
    }
    /* under the lock, so that the fd cannot be closed meanwhile; an eventfd that is full is rung already */
    const uint64_t one = 1;
    if (fd >= 0 && write(fd, &one, sizeof one) < 0)
        assert(errno == EAGAIN);
    pthread_mutex_unlock(&bus->doorbell_lock);
    return fd >= 0;
}

void bus_write(struct bus *bus, enum bus_space space, uint64_t address, unsigned size, uint64_t value)
{
    if (ring(bus, space, address, size))
        return;
    bus_lock(bus);
    write_locked(bus, space, address, size, value);
    bus_unlock(bus);
}

/* ---- doorbells ---- */

int bus_doorbell_add(struct bus *bus, struct bus_doorbell *doorbell)
{
    bus_assert_locked(bus);
    int rc = 0;
    pthread_mutex_lock(&bus->doorbell_lock);
    if (doorbell->added)
        rc = -EINVAL;
    else if (bus->doorbell_count == DOORBELL_MAX)
        rc = -ENOSPC;
    else
        bus->doorbells[bus->doorbell_count++] = doorbell;
    pthread_mutex_unlock(&bus->doorbell_lock);
    if (rc)
        return rc;
    doorbell->added = true;
    if (bus->listener)
        bus->listener->doorbell(bus->listener, doorbell, true);
    return 0;
}

void bus_doorbell_remove(struct bus *bus, struct bus_doorbell *doorbell)
{
    bus_assert_locked(bus);
    if (!doorbell->added)
        return;
    pthread_mutex_lock(&bus->doorbell_lock);
    for (unsigned i = 0; i < bus->doorbell_count; i++)
        if (bus->doorbells[i] == doorbell) {
            bus->doorbells[i] = bus->doorbells[--bus->doorbell_count];
            break;
        }
    pthread_mutex_unlock(&bus->doorbell_lock);
    doorbell->added = false;
    if (bus->listener)
        bus->listener->doorbell(bus->listener, doorbell, false);
}

void bus_listen(struct bus *bus, struct bus_listener *listener)
{
    bus_assert_locked(bus);
    bus->listener = listener;
    for (unsigned i = 0; listener && i < bus->doorbell_count; i++)
        listener->doorbell(listener, bus->doorbells[i], true);
}
