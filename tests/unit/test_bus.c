/* The bus: who answers, what nobody answers, accesses across the end of a region, doorbells. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "hv/bus.h"
#include "node/base/container.h"
#include "node/base/err.h"

struct device {
    struct bus_region region;
    uint8_t bytes[16];
    unsigned reads, writes, last_size;
};

static uint64_t device_read(void *device, uint64_t offset, unsigned size)
{
    struct device *d = device;
    uint64_t v = 0;
    d->reads++;
    for (unsigned i = 0; i < size; i++)
        v |= (uint64_t)d->bytes[offset + i] << (8 * i);
    return v;
}

static void device_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct device *d = device;
    d->writes++;
    d->last_size = size;
    for (unsigned i = 0; i < size; i++)
        d->bytes[offset + i] = (uint8_t)(value >> (8 * i));
}

static const struct bus_ops ops = {device_read, device_write};

static void add(struct bus *bus, struct device *d, enum bus_space space, uint64_t base, uint64_t bytes, int expected)
{
    d->region = (struct bus_region){"test", &ops, d, space, base, bytes, false};
    bus_lock(bus);
    assert_int_equal(bus_add(bus, &d->region), expected);
    bus_unlock(bus);
}

static void test_regions(void **state)
{
    (void)state;
    struct err err;
    struct bus *bus = bus_new(&err);
    struct device a = {0}, b = {0}, c = {0};
    add(bus, &a, BUS_PORTS, 0x3f8, 8, 0);
    add(bus, &b, BUS_PORTS, 0x400, 8, 0);
    add(bus, &c, BUS_PORTS, 0x3ff, 2, -EBUSY);
    add(bus, &c, BUS_PORTS, 0x3f0, 9, -EBUSY);
    add(bus, &c, BUS_PORTS, UINT64_MAX, 2, -EINVAL);
    add(bus, &c, BUS_PORTS, 0x10, 0, -EINVAL);
    add(bus, &c, BUS_MEMORY, 0x3f8, 8, 0); /* the other space */
    bus_write(bus, BUS_PORTS, 0x3f9, 1, 0xffab);
    assert_int_equal(a.bytes[1], 0xab);
    assert_int_equal(bus_read(bus, BUS_PORTS, 0x3f9, 1), 0xab);
    assert_int_equal(bus_read(bus, BUS_MEMORY, 0x3f9, 1), 0);
    assert_int_equal(bus_read(bus, BUS_PORTS, 0x80, 1), 0xff);
    assert_int_equal(bus_read(bus, BUS_PORTS, 0x80, 4), 0xffffffff);
    bus_write(bus, BUS_PORTS, 0x80, 4, 1);
    bus_lock(bus);
    bus_remove(bus, &a.region);
    bus_remove(bus, &a.region);
    bus_unlock(bus);
    assert_int_equal(bus_read(bus, BUS_PORTS, 0x3f9, 1), 0xff);
    assert_int_equal(bus_read(bus, BUS_PORTS, 0x400, 1), 0);
    bus_free(bus);
}

/* The last byte of one region, the first of its neighbour, and nothing behind it. */
static void test_split(void **state)
{
    (void)state;
    struct err err;
    struct bus *bus = bus_new(&err);
    struct device a = {0}, b = {0};
    add(bus, &a, BUS_MEMORY, 0x1000, 8, 0);
    add(bus, &b, BUS_MEMORY, 0x1008, 2, 0);
    bus_write(bus, BUS_MEMORY, 0x1007, 4, 0x44332211);
    assert_int_equal(a.bytes[7], 0x11);
    assert_int_equal(b.bytes[0], 0x22);
    assert_int_equal(b.bytes[1], 0x33);
    assert_int_equal(a.last_size, 1);
    assert_int_equal(bus_read(bus, BUS_MEMORY, 0x1007, 4), 0xff332211);
    assert_int_equal(bus_read(bus, BUS_MEMORY, 0x0fff, 2), 0x00ff);
    bus_write(bus, BUS_MEMORY, 0x1000, 8, 0x0102030405060708);
    assert_int_equal(a.last_size, 8);
    assert_int_equal(bus_read(bus, BUS_MEMORY, 0x1000, 8), 0x0102030405060708);
    bus_free(bus);
}

struct engine {
    struct bus_listener listener;
    unsigned added, removed;
};

static void heard(struct bus_listener *listener, const struct bus_doorbell *doorbell, bool added)
{
    struct engine *e = CONTAINER_OF(listener, struct engine, listener);
    (void)doorbell;
    *(added ? &e->added : &e->removed) += 1;
}

static void test_doorbells(void **state)
{
    (void)state;
    struct err err;
    struct bus *bus = bus_new(&err);
    struct device d = {0};
    struct engine engine = {.listener.doorbell = heard};
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct bus_doorbell bell = {BUS_MEMORY, 0x2004, 2, fd, false}, any = {BUS_MEMORY, 0x2008, 0, fd, false};
    add(bus, &d, BUS_MEMORY, 0x2000, 16, 0);
    bus_lock(bus);
    assert_int_equal(bus_doorbell_add(bus, &bell), 0);
    assert_int_equal(bus_doorbell_add(bus, &bell), -EINVAL);
    bus_listen(bus, &engine.listener);
    assert_int_equal(engine.added, 1);
    assert_int_equal(bus_doorbell_add(bus, &any), 0);
    assert_int_equal(engine.added, 2);
    bus_unlock(bus);
    uint64_t rings = 0;
    bus_write(bus, BUS_MEMORY, 0x2004, 2, 1);
    bus_write(bus, BUS_MEMORY, 0x2008, 4, 1);
    assert_int_equal(read(fd, &rings, sizeof rings), sizeof rings);
    assert_int_equal(rings, 2);
    assert_int_equal(d.writes, 0);
    bus_write(bus, BUS_MEMORY, 0x2004, 4, 1); /* another size: the device's */
    assert_int_equal(d.writes, 1);
    bus_lock(bus);
    bus_doorbell_remove(bus, &bell);
    bus_doorbell_remove(bus, &bell);
    bus_unlock(bus);
    assert_int_equal(engine.removed, 1);
    bus_write(bus, BUS_MEMORY, 0x2004, 2, 1);
    assert_int_equal(d.writes, 2);
    assert_int_equal(read(fd, &rings, sizeof rings), -1);
    close(fd);
    bus_free(bus);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_regions), cmocka_unit_test(test_split),
                                       cmocka_unit_test(test_doorbells)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
