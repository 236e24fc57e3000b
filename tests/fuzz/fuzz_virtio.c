#include "tests/fuzz/fuzz_virtio.h"

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stdlib.h>
#include <string.h>

#include "hv/bus.h"
#include "hv/irq.h"
#include "hv/machine/irq_share.h"
#include "hv/machine/pci.h"
#include "hv/virtio/virtio_pci.h"
#include "nbd/blk_driver.h"
#include "node/base/log.h"

enum { BAR = 0xe0000000, MSIX = 0xe0010000, SLOT = 1, COMMON = BAR, NOTIFY = BAR + 0x3000, WRITE_BYTES = 6 };

static void no_line(struct irq *irq, unsigned gsi, bool level)
{
    (void)irq;
    (void)gsi;
    (void)level;
}

static void no_message(struct irq *irq, uint64_t address, uint32_t data)
{
    (void)irq;
    (void)address;
    (void)data;
}

static struct irq irq = {no_line, no_message};
static struct irq_share lines;
static struct memory *memory;
static struct bus *bus;
static struct pci *pci;
static struct io_thread *io;
static struct virtio_pci *plugged;

static void make_board(void)
{
    if (memory)
        return;
    log_init("fuzz", LOG_LEVEL_ERROR);
    blk_drivers_register();
    memory = memory_new(FUZZ_MEMORY_BYTES, NULL);
    bus = bus_new(NULL);
    irq_share_init(&lines, &irq);
    pci = bus ? pci_new(bus, &lines, NULL, NULL) : NULL;
    io = io_thread_new("fuzz-io", 1, NULL);
    if (!memory || !pci || !io)
        abort();
}

struct memory *fuzz_virtio_memory(void)
{
    make_board();
    return memory;
}

struct io_thread *fuzz_virtio_io(void)
{
    make_board();
    return io;
}

struct bus *fuzz_virtio_bus(void)
{
    make_board();
    return bus;
}

void fuzz_virtio_lock(void)
{
    bus_lock(bus);
}

void fuzz_virtio_unlock(void)
{
    bus_unlock(bus);
}

void fuzz_virtio_plug(struct virtio_device *device)
{
    if (plugged)
        return;
    plugged = virtio_pci_new(device, 0, bus, NULL);
    bus_lock(bus);
    if (!plugged || virtio_pci_plug(plugged, pci, SLOT, NULL))
        abort();
    pci_config_write(pci, SLOT * 8, PCI_BAR_0, 4, BAR);
    pci_config_write(pci, SLOT * 8, PCI_BAR_0 + 4, 4, MSIX);
    pci_config_write(pci, SLOT * 8, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    bus_unlock(bus);
}

static void put(uint64_t address, unsigned size, uint64_t value)
{
    bus_write(bus, BUS_MEMORY, address, size, value);
}

static void set_queue(unsigned i)
{
    put(COMMON + VIRTIO_PCI_COMMON_Q_SELECT, 2, i);
    put(COMMON + VIRTIO_PCI_COMMON_Q_SIZE, 2, FUZZ_QUEUE_SIZE);
    put(COMMON + VIRTIO_PCI_COMMON_Q_DESCLO, 4, FUZZ_RING_BYTES * i);
    put(COMMON + VIRTIO_PCI_COMMON_Q_AVAILLO, 4, FUZZ_RING_BYTES * i + 256);
    put(COMMON + VIRTIO_PCI_COMMON_Q_USEDLO, 4, FUZZ_RING_BYTES * i + 512);
    put(COMMON + VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

static void start(struct virtio_device *device, uint8_t choice)
{
    uint64_t all = virtio_device_offers(device);
    /* bit i of the choice leaves out each feature whose number is i modulo 8 */
    uint64_t left_out = 0x0101010101010101u * choice & ~(1ull << VIRTIO_F_VERSION_1);
    uint64_t features = choice == 0xff ? 1ull << VIRTIO_F_VERSION_1 : all & ~left_out;
    put(COMMON + VIRTIO_PCI_COMMON_STATUS, 1, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    for (unsigned i = 0; i < 2; i++) {
        put(COMMON + VIRTIO_PCI_COMMON_GFSELECT, 4, i);
        put(COMMON + VIRTIO_PCI_COMMON_GF, 4, (uint32_t)(features >> 32 * i));
    }
    put(COMMON + VIRTIO_PCI_COMMON_STATUS, 1, 3 | VIRTIO_CONFIG_S_FEATURES_OK);
    for (unsigned i = 0; i < device->queue_count; i++)
        set_queue(i);
    put(COMMON + VIRTIO_PCI_COMMON_STATUS, 1, 3 | VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void nothing(void *context)
{
    (void)context;
}

static void kick_all(const struct virtio_device *device)
{
    for (unsigned i = 0; i < device->queue_count; i++)
        put(NOTIFY + 4 * i, 2, i);
    for (unsigned i = 0; i < 3; i++) /* kicks, then what they cause */
        io_thread_call(io, nothing, NULL);
}

void fuzz_virtio_run(struct virtio_device *device, const uint8_t *data, size_t size)
{
    fuzz_virtio_plug(device);
    if (size < 2)
        return;
    size_t writes = data[1] % 16, head = 2 + writes * WRITE_BYTES;
    if (size < head)
        return;
    uint8_t *ram = memory_at_writable(memory, 0, FUZZ_MEMORY_BYTES);
    size_t content = size - head < FUZZ_MEMORY_BYTES ? size - head : FUZZ_MEMORY_BYTES;
    memset(ram, 0, 64 << 10);
    memcpy(ram, data + head, content);
    start(device, data[0]);
    kick_all(device);
    for (size_t i = 0; i < writes; i++) {
        const uint8_t *w = data + 2 + i * WRITE_BYTES;
        uint32_t value;
        uint16_t offset;
        memcpy(&offset, w, sizeof offset);
        memcpy(&value, w + 2, sizeof value);
        put(BAR + (offset & 0x3fff), 1u << (offset & 3), value);
        bus_read(bus, BUS_MEMORY, BAR + (offset & 0x3fff), 1u << (offset & 3));
    }
    kick_all(device);
    do
        put(COMMON + VIRTIO_PCI_COMMON_STATUS, 1, 0);
    while (bus_read(bus, BUS_MEMORY, COMMON + VIRTIO_PCI_COMMON_STATUS, 1));
}
