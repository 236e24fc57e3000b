#include "tests/unit/virtio_guest.h"

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "hv/device.h"
#include "hv/machine/pci.h"
#include "hv/machine/reset.h"
#include "hv/state.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"

enum { BAR_BASE = 0xe0000000, MSIX_BASE = 0xe0010000, PORTS_BASE = 0xc100, MSI_ADDRESS = 0xfee00000, GSI = 11 };
enum { PORTS_BAR = 2 };

static const uint64_t patience_ns = 30ull * 1000000000;

/* ---- the board ---- */

static void set_line(struct irq *irq, unsigned gsi, bool level)
{
    struct virtio_guest *g = CONTAINER_OF(irq, struct virtio_guest, irq);
    assert_int_equal(gsi, GSI);
    atomic_store(&g->line, level);
}

static void take_msi(struct irq *irq, uint64_t address, uint32_t data)
{
    struct virtio_guest *g = CONTAINER_OF(irq, struct virtio_guest, irq);
    assert_int_equal(address, MSI_ADDRESS);
    assert_true(data < GUEST_VECTORS);
    atomic_fetch_add(&g->msis[data], 1);
}

struct virtio_guest *virtio_guest_new(void)
{
    struct err err = {0};
    struct virtio_guest *g = calloc(1, sizeof *g);
    g->memory = memory_new(GUEST_MEMORY_BYTES, &err);
    g->bus = bus_new(&err);
    g->irq.set = set_line;
    g->irq.msi = take_msi;
    irq_share_init(&g->lines, &g->irq);
    g->pci = pci_new(g->bus, &g->lines, NULL, &err);
    g->io = io_thread_new("test-io", 2, &err);
    if (!g->memory || !g->bus || !g->pci || !g->io)
        fail_msg("%s", err.text);
    bus_lock(g->bus);
    for (unsigned i = 0; i < PCI_PIRQS; i++)
        pci_route(g->pci, i, GSI);
    bus_unlock(g->bus);
    g->next_buffer = GUEST_BUFFERS;
    return g;
}

void virtio_guest_free(struct virtio_guest *g)
{
    virtio_guest_unplug(g);
    io_thread_free(g->io);
    pci_free(g->pci);
    irq_share_fini(&g->lines);
    bus_free(g->bus);
    memory_free(g->memory);
    free(g);
}

static uint32_t config_get(struct virtio_guest *g, unsigned offset, unsigned size)
{
    bus_lock(g->bus);
    uint32_t v = pci_config_read(g->pci, g->slot * 8, offset, size);
    bus_unlock(g->bus);
    return v;
}

static void config_set(struct virtio_guest *g, unsigned offset, unsigned size, uint32_t value)
{
    bus_lock(g->bus);
    pci_config_write(g->pci, g->slot * 8, offset, size, value);
    bus_unlock(g->bus);
}

static void look_up_capability(struct virtio_guest *g, unsigned cap)
{
    uint64_t at = g->bar + config_get(g, cap + VIRTIO_PCI_CAP_OFFSET, 4);
    if (config_get(g, cap + VIRTIO_PCI_CAP_BAR, 1) == PORTS_BAR) {
        assert_int_equal(config_get(g, cap + VIRTIO_PCI_CAP_CFG_TYPE, 1), VIRTIO_PCI_CAP_NOTIFY_CFG);
        assert_false(g->notify); /* a driver takes the first of them */
        g->port = PORTS_BASE + config_get(g, cap + VIRTIO_PCI_CAP_OFFSET, 4);
        g->port_step = config_get(g, cap + VIRTIO_PCI_NOTIFY_CAP_MULT, 4);
        return;
    }
    switch (config_get(g, cap + VIRTIO_PCI_CAP_CFG_TYPE, 1)) {
    case VIRTIO_PCI_CAP_COMMON_CFG:
        g->common = at;
        break;
    case VIRTIO_PCI_CAP_ISR_CFG:
        g->isr = at;
        break;
    case VIRTIO_PCI_CAP_DEVICE_CFG:
        g->config = at;
        break;
    case VIRTIO_PCI_CAP_NOTIFY_CFG:
        g->notify = at;
        g->notify_step = config_get(g, cap + VIRTIO_PCI_NOTIFY_CAP_MULT, 4);
        break;
    default:
        break;
    }
}

static void enable_msix(struct virtio_guest *g, unsigned cap)
{
    unsigned count = (config_get(g, cap + 2, 2) & 0x7ff) + 1;
    for (unsigned i = 0; i < count && i < GUEST_VECTORS; i++) {
        virtio_guest_write(g, MSIX_BASE + 16 * i, 4, MSI_ADDRESS);
        virtio_guest_write(g, MSIX_BASE + 16 * i + 4, 4, 0);
        virtio_guest_write(g, MSIX_BASE + 16 * i + 8, 4, i);
        virtio_guest_write(g, MSIX_BASE + 16 * i + 12, 4, 0);
    }
    config_set(g, cap + 2, 2, 0x8000);
}

void virtio_guest_plug(struct virtio_guest *g, struct virtio_device *device, bool msix)
{
    struct err err = {0};
    g->device = device;
    g->vp = virtio_pci_new(device, 0, g->bus, &err);
    if (!g->vp)
        fail_msg("%s", err.text);
    bus_lock(g->bus);
    int rc = virtio_pci_plug(g->vp, g->pci, GUEST_SLOT, &err);
    bus_unlock(g->bus);
    if (rc)
        fail_msg("%s", err.text);
    virtio_guest_find(g, GUEST_SLOT, msix);
    assert_int_equal(config_get(g, PCI_DEVICE_ID, 2), 0x1040 + device->id);
}

void virtio_guest_find(struct virtio_guest *g, unsigned slot, bool msix)
{
    g->slot = slot;
    g->msix = msix;
    g->bar = BAR_BASE;
    assert_int_equal(config_get(g, PCI_VENDOR_ID, 2), 0x1af4);
    assert_int_equal(config_get(g, PCI_REVISION_ID, 1), 1);
    config_set(g, PCI_BAR_0, 4, BAR_BASE);
    config_set(g, PCI_BAR_0 + 4, 4, MSIX_BASE);
    config_set(g, PCI_BAR_0 + 4 * PORTS_BAR, 4, PORTS_BASE);
    config_set(g, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    g->notify = 0;
    assert_true(config_get(g, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST);
    for (unsigned cap = config_get(g, PCI_CAPABILITY_LIST, 1), n = 0; cap; cap = config_get(g, cap + 1, 1)) {
        assert_true(++n < 32);
        uint32_t id = config_get(g, cap, 1);
        if (id == PCI_CAP_VENDOR)
            look_up_capability(g, cap);
        else if (id == PCI_CAP_MSIX && msix)
            enable_msix(g, cap);
    }
    assert_true(g->common && g->isr && g->notify && g->port);
}

void virtio_guest_unplug(struct virtio_guest *g)
{
    if (!g->vp)
        return;
    bus_lock(g->bus);
    virtio_pci_unplug(g->vp);
    bus_unlock(g->bus);
    virtio_pci_free(g->vp);
    g->vp = NULL;
}

/* ---- registers ---- */

uint64_t virtio_guest_read(struct virtio_guest *g, uint64_t address, unsigned size)
{
    return bus_read(g->bus, BUS_MEMORY, address, size);
}

void virtio_guest_write(struct virtio_guest *g, uint64_t address, unsigned size, uint64_t value)
{
    bus_write(g->bus, BUS_MEMORY, address, size, value);
}

uint8_t virtio_guest_status(struct virtio_guest *g)
{
    return (uint8_t)virtio_guest_read(g, g->common + VIRTIO_PCI_COMMON_STATUS, 1);
}

void virtio_guest_set_status(struct virtio_guest *g, uint8_t status)
{
    virtio_guest_write(g, g->common + VIRTIO_PCI_COMMON_STATUS, 1, status);
}

uint64_t virtio_guest_config(struct virtio_guest *g, unsigned offset, unsigned size)
{
    return virtio_guest_read(g, g->config + offset, size);
}

static bool status_is_zero(void *context)
{
    return virtio_guest_status(context) == 0;
}

void virtio_guest_reset(struct virtio_guest *g)
{
    virtio_guest_set_status(g, 0);
    virtio_guest_wait_for(status_is_zero, g);
}

void virtio_guest_negotiate(struct virtio_guest *g, uint64_t wanted)
{
    virtio_guest_reset(g);
    virtio_guest_set_status(g, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    virtio_guest_set_status(g, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    uint64_t offered = 0;
    for (unsigned i = 0; i < 2; i++) {
        virtio_guest_write(g, g->common + VIRTIO_PCI_COMMON_DFSELECT, 4, i);
        offered |= virtio_guest_read(g, g->common + VIRTIO_PCI_COMMON_DF, 4) << 32 * i;
    }
    assert_true(offered >> VIRTIO_F_VERSION_1 & 1);
    g->features = offered & (wanted | 1ull << VIRTIO_F_VERSION_1);
    for (unsigned i = 0; i < 2; i++) {
        virtio_guest_write(g, g->common + VIRTIO_PCI_COMMON_GFSELECT, 4, i);
        virtio_guest_write(g, g->common + VIRTIO_PCI_COMMON_GF, 4, (uint32_t)(g->features >> 32 * i));
    }
    virtio_guest_set_status(g, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK);
    assert_true(virtio_guest_status(g) & VIRTIO_CONFIG_S_FEATURES_OK);
}

static void write_address(struct virtio_guest *g, unsigned offset, uint64_t gpa)
{
    virtio_guest_write(g, g->common + offset, 4, (uint32_t)gpa);
    virtio_guest_write(g, g->common + offset + 4, 4, (uint32_t)(gpa >> 32));
}

void virtio_guest_set_queue(struct virtio_guest *g, unsigned queue)
{
    struct guest_queue *q = &g->queues[queue];
    virtio_guest_write(g, g->common + VIRTIO_PCI_COMMON_Q_SELECT, 2, queue);
    uint16_t size = (uint16_t)virtio_guest_read(g, g->common + VIRTIO_PCI_COMMON_Q_SIZE, 2);
    assert_true(size);
    size = size < GUEST_QUEUE_SIZE_MAX ? size : GUEST_QUEUE_SIZE_MAX;
    uint64_t base = GUEST_RINGS + queue * 0x10000;
    *q = (struct guest_queue){.desc = base, .avail = base + 0x4000, .used = base + 0x8000, .size = size};
    memset(virtio_guest_at(g, base, 0x10000), 0, 0x10000);
    virtio_guest_write(g, g->common + VIRTIO_PCI_COMMON_Q_SIZE, 2, size);
    if (g->msix)
        virtio_guest_write(g, g->common + VIRTIO_PCI_COMMON_Q_MSIX, 2, queue + 1);
    write_address(g, VIRTIO_PCI_COMMON_Q_DESCLO, q->desc);
    write_address(g, VIRTIO_PCI_COMMON_Q_AVAILLO, q->avail);
    write_address(g, VIRTIO_PCI_COMMON_Q_USEDLO, q->used);
    virtio_guest_write(g, g->common + VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

void virtio_guest_start(struct virtio_guest *g, uint64_t features)
{
    virtio_guest_negotiate(g, features);
    if (g->msix)
        virtio_guest_write(g, g->common + VIRTIO_PCI_COMMON_MSIX, 2, 0);
    unsigned count = (unsigned)virtio_guest_read(g, g->common + VIRTIO_PCI_COMMON_NUMQ, 2);
    assert_true(count && count <= GUEST_QUEUES_MAX);
    for (unsigned i = 0; i < count; i++)
        virtio_guest_set_queue(g, i);
    virtio_guest_set_status(g, virtio_guest_status(g) | VIRTIO_CONFIG_S_DRIVER_OK);
}

/* ---- rings ---- */

uint64_t virtio_guest_alloc(struct virtio_guest *g, uint64_t bytes)
{
    uint64_t at = g->next_buffer;
    g->next_buffer += (bytes + 63) & ~63ull;
    assert_true(g->next_buffer <= GUEST_MEMORY_BYTES);
    return at;
}

uint8_t *virtio_guest_at(struct virtio_guest *g, uint64_t gpa, uint64_t bytes)
{
    uint8_t *at = memory_at_writable(g->memory, gpa, bytes);
    assert_non_null(at);
    return at;
}

static _Atomic uint16_t *word(struct virtio_guest *g, uint64_t gpa)
{
    return (_Atomic uint16_t *)(void *)virtio_guest_at(g, gpa, 2);
}

static void put_descriptor(struct virtio_guest *g, uint64_t table, uint16_t i, const struct guest_buffer *b,
                           uint16_t flags, uint16_t next)
{
    struct vring_desc d = {.addr = b->gpa, .len = b->bytes, .flags = flags, .next = next};
    memcpy(virtio_guest_at(g, table + 16ull * i, 16), &d, sizeof d);
}

static void make_available(struct virtio_guest *g, struct guest_queue *q, uint16_t head)
{
    atomic_store_explicit(word(g, q->avail + 4 + 2ull * (q->next_avail % q->size)), head, memory_order_relaxed);
    q->next_avail++;
    atomic_store_explicit(word(g, q->avail + 2), q->next_avail, memory_order_release);
}

uint16_t virtio_guest_add(struct virtio_guest *g, unsigned queue, const struct guest_buffer *readable, unsigned reads,
                          const struct guest_buffer *writable, unsigned writes)
{
    struct guest_queue *q = &g->queues[queue];
    uint16_t head = q->next_desc;
    for (unsigned i = 0; i < reads + writes; i++) {
        uint16_t at = q->next_desc, next = (uint16_t)((at + 1) % q->size);
        uint16_t flags =
            (uint16_t)((i + 1 < reads + writes ? VRING_DESC_F_NEXT : 0) | (i >= reads ? VRING_DESC_F_WRITE : 0));
        put_descriptor(g, q->desc, at, i < reads ? &readable[i] : &writable[i - reads], flags, next);
        q->next_desc = next;
    }
    make_available(g, q, head);
    return head;
}

void virtio_guest_add_indirect(struct virtio_guest *g, unsigned queue, const struct guest_buffer *readable,
                               unsigned reads, const struct guest_buffer *writable, unsigned writes)
{
    struct guest_queue *q = &g->queues[queue];
    unsigned count = reads + writes;
    struct guest_buffer table = {virtio_guest_alloc(g, 16ull * count), 16 * count};
    for (unsigned i = 0; i < count; i++)
        put_descriptor(g, table.gpa, (uint16_t)i, i < reads ? &readable[i] : &writable[i - reads],
                       (uint16_t)((i + 1 < count ? VRING_DESC_F_NEXT : 0) | (i >= reads ? VRING_DESC_F_WRITE : 0)),
                       (uint16_t)(i + 1));
    put_descriptor(g, q->desc, q->next_desc, &table, VRING_DESC_F_INDIRECT, 0);
    make_available(g, q, q->next_desc);
    q->next_desc = (uint16_t)((q->next_desc + 1) % q->size);
}

void virtio_guest_kick(struct virtio_guest *g, unsigned queue)
{
    virtio_guest_write(g, g->common + VIRTIO_PCI_COMMON_Q_SELECT, 2, queue);
    uint64_t off = virtio_guest_read(g, g->common + VIRTIO_PCI_COMMON_Q_NOFF, 2);
    if (g->by_port) /* by turns, for both must do the same */
        bus_write(g->bus, BUS_PORTS, g->port + off * g->port_step, 2, queue);
    else
        virtio_guest_write(g, g->notify + off * g->notify_step, 2, queue);
    g->by_port = !g->by_port;
}

bool virtio_guest_used(struct virtio_guest *g, unsigned queue, uint16_t *head, uint32_t *bytes)
{
    struct guest_queue *q = &g->queues[queue];
    if (atomic_load_explicit(word(g, q->used + 2), memory_order_acquire) == q->last_used)
        return false;
    struct vring_used_elem e;
    memcpy(&e, virtio_guest_at(g, q->used + 4 + 8ull * (q->last_used % q->size), sizeof e), sizeof e);
    q->last_used++;
    *head = (uint16_t)e.id;
    if (bytes)
        *bytes = e.len;
    if (g->features >> VIRTIO_RING_F_EVENT_IDX & 1)
        atomic_store(word(g, q->avail + 4 + 2ull * q->size), q->last_used);
    return true;
}

void virtio_guest_wait_for(bool (*what)(void *context), void *context)
{
    uint64_t end_ns = clock_ns() + patience_ns;
    while (!what(context)) {
        if (clock_ns() > end_ns)
            fail_msg("waited in vain");
        sched_yield();
    }
}

struct used_wait {
    struct virtio_guest *g;
    unsigned queue;
    uint16_t head;
    uint32_t bytes;
};

static bool something_used(void *context)
{
    struct used_wait *w = context;
    return virtio_guest_used(w->g, w->queue, &w->head, &w->bytes);
}

uint16_t virtio_guest_wait(struct virtio_guest *g, unsigned queue, uint32_t *bytes)
{
    struct used_wait w = {.g = g, .queue = queue};
    virtio_guest_wait_for(something_used, &w);
    if (bytes)
        *bytes = w.bytes;
    return w.head;
}

/* ---- pause and state ---- */

struct pause_wait {
    struct loop_message message;
    bool paused;
};

static void paused(struct loop_message *message)
{
    CONTAINER_OF(message, struct pause_wait, message)->paused = true;
}

static void nothing(void *context)
{
    (void)context;
}

void virtio_guest_drop_loop(struct virtio_guest *g, struct loop *loop)
{
    io_thread_call(g->io, nothing, NULL);
    pthread_mutex_lock(&g->device->lock); /* a pause is told with it held, by the queue's own I/O thread */
    pthread_mutex_unlock(&g->device->lock);
    loop_free(loop);
}

void virtio_guest_pause(struct virtio_guest *g)
{
    struct err err = {0};
    struct loop *loop = loop_new(&err);
    struct pause_wait wait = {.message.deliver = paused};
    assert_non_null(loop);
    bus_lock(g->bus);
    virtio_device_pause(g->device, loop, &wait.message);
    bus_unlock(g->bus);
    while (!wait.paused)
        loop_step(loop);
    virtio_guest_drop_loop(g, loop);
}

void virtio_guest_resume(struct virtio_guest *g)
{
    bus_lock(g->bus);
    virtio_device_resume(g->device);
    bus_unlock(g->bus);
}

static void *save(struct virtio_guest *g, size_t *bytes)
{
    struct err err = {0};
    struct state *s = state_save_new();
    struct device *device = virtio_pci_device(g->vp);
    const void *data;
    bus_lock(g->bus);
    assert_true(state_begin(s, device->name, device->instance, device->version));
    device->state(device, s);
    state_end(s);
    bus_unlock(g->bus);
    if (state_fini(s, &data, bytes, &err))
        fail_msg("%s", err.text);
    void *copy = malloc(*bytes);
    memcpy(copy, data, *bytes);
    state_free(s);
    return copy;
}

static void load(struct virtio_guest *g, const void *data, size_t bytes)
{
    struct err err = {0};
    struct state *s = state_load_new(data, bytes);
    struct device *device = virtio_pci_device(g->vp);
    bus_lock(g->bus);
    assert_true(state_begin(s, device->name, device->instance, device->version));
    device->state(device, s);
    state_end(s);
    bus_unlock(g->bus);
    if (state_fini(s, NULL, NULL, &err))
        fail_msg("%s", err.text);
    state_free(s);
}

void virtio_guest_round_trip(struct virtio_guest *g, struct virtio_guest *to)
{
    size_t first_bytes, second_bytes;
    virtio_guest_pause(g);
    void *first = save(g, &first_bytes);
    if (!to)
        to = g;
    else
        virtio_guest_pause(to);
    if (to != g) {
        memcpy(virtio_guest_at(to, 0, GUEST_MEMORY_BYTES), virtio_guest_at(g, 0, GUEST_MEMORY_BYTES),
               GUEST_MEMORY_BYTES);
        memcpy(to->queues, g->queues, sizeof to->queues);
        to->features = g->features;
        to->next_buffer = g->next_buffer;
    }
    load(to, first, first_bytes);
    void *second = save(to, &second_bytes);
    assert_int_equal(first_bytes, second_bytes);
    assert_memory_equal(first, second, first_bytes);
    free(first);
    free(second);
}
