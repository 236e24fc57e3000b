/* See virtio_pci.h.
 *
 * Doorbells. A driver finds its notification area twice, and takes the first it meets: ports in BAR 2, then registers
 * in BAR 0. A write to a port tells the processor that virtualises it all there is to know; for a write to memory
 * AMD's does not, so the kernel decodes the guest's instruction and executes it in software, and the exit costs several
 * times as much. A guest without room for the ports has the registers. */
#include "hv/virtio/virtio_pci.h"

#include <assert.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "hv/bus.h"
#include "hv/device.h"
#include "hv/machine/pci.h"
#include "hv/machine/pci_msix.h"
#include "hv/state.h"
#include "hv/virtio/virtio_device.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum {
    VENDOR = 0x1af4,
    DEVICE_BASE = 0x1040,
    SUBSYSTEM_BASE = 0x40,
    REGISTERS_BAR = 0,
    MSIX_BAR = 1,
    REGISTERS_BYTES = 0x4000,
    AREA_BYTES = 0x1000,
    NOTIFY_STEP = 4,
    PORTS_BAR = 2,
    PORTS_STEP = 2,
    PORTS_BYTES = 128,
    COMMON_BYTES = VIRTIO_PCI_COMMON_Q_RESET + 2,
    ISR_BYTES = 1,
    ISR_QUEUE = 1,
    ISR_CONFIG = 2,
    STATE_VERSION_NOW = 1,
};

enum area { AREA_COMMON, AREA_ISR, AREA_DEVICE, AREA_NOTIFY };

static_assert(VIRTIO_QUEUES_MAX * PORTS_STEP <= PORTS_BYTES, "a port for each queue");

/* Where a queue's doorbell is heard. */
enum bell { BELL_REGISTER, BELL_PORT, BELL_COUNT };

struct virtio_pci {
    struct pci_function function;
    struct device device;
    struct virtio_device *virtio;
    struct bus *bus;
    struct bus_doorbell doorbells[BELL_COUNT][VIRTIO_QUEUES_MAX];
    uint32_t device_feature_select, driver_feature_select;
    uint16_t queue_select;
    unsigned window; /* offset of the capability through which BAR 0 is reached by configuration accesses */
    pthread_mutex_t isr_lock;
    uint8_t isr; /* under isr_lock, together with the level of INTx */
};

/* ---- interrupts: any thread ---- */

static void interrupt(struct virtio_device *d, struct virtio_queue *vq)
{
    struct virtio_pci *vp = d->transport;
    uint16_t vector = atomic_load(vq ? &vq->vector : &d->config_vector);
    if (pci_msix_notify(&vp->function, vector))
        return;
    pthread_mutex_lock(&vp->isr_lock);
    vp->isr |= vq ? ISR_QUEUE : ISR_CONFIG;
    pci_intx(&vp->function, true);
    pthread_mutex_unlock(&vp->isr_lock);
}

static uint8_t take_isr(struct virtio_pci *vp)
{
    pthread_mutex_lock(&vp->isr_lock);
    uint8_t isr = vp->isr;
    vp->isr = 0;
    pci_intx(&vp->function, false);
    pthread_mutex_unlock(&vp->isr_lock);
    return isr;
}

/* ---- common configuration ---- */

static struct virtio_queue *selected(struct virtio_pci *vp)
{
    return vp->queue_select < vp->virtio->queue_count ? &vp->virtio->queues[vp->queue_select] : NULL;
}

static uint32_t feature_word(uint64_t features, uint32_t select)
{
    return select < 2 ? (uint32_t)(features >> 32 * select) : 0;
}

static void fill_common(struct virtio_pci *vp, struct virtio_pci_common_cfg *c)
{
    struct virtio_device *d = vp->virtio;
    c->device_status = virtio_device_status(d); /* first: it may end a reset */
    c->device_feature_select = vp->device_feature_select;
    c->device_feature = feature_word(virtio_device_offers(d), vp->device_feature_select);
    c->guest_feature_select = vp->driver_feature_select;
    c->guest_feature = feature_word(d->features, vp->driver_feature_select);
    c->msix_config = atomic_load(&d->config_vector);
    c->num_queues = (uint16_t)d->queue_count;
    c->config_generation = atomic_load(&d->generation);
    c->queue_select = vp->queue_select;
    const struct virtio_queue *vq = selected(vp);
    if (!vq)
        return;
    c->queue_size = vq->ring.size;
    c->queue_msix_vector = atomic_load(&vq->vector);
    c->queue_enable = vq->enabled;
    c->queue_notify_off = (uint16_t)vq->index;
    c->queue_desc_lo = (uint32_t)vq->ring.desc_gpa;
    c->queue_desc_hi = (uint32_t)(vq->ring.desc_gpa >> 32);
    c->queue_avail_lo = (uint32_t)vq->ring.avail_gpa;
    c->queue_avail_hi = (uint32_t)(vq->ring.avail_gpa >> 32);
    c->queue_used_lo = (uint32_t)vq->ring.used_gpa;
    c->queue_used_hi = (uint32_t)(vq->ring.used_gpa >> 32);
}

static uint64_t common_read(struct virtio_pci *vp, uint32_t offset, unsigned size)
{
    uint8_t all[COMMON_BYTES] = {0};
    struct virtio_pci_common_cfg c = {0};
    uint64_t value = 0;
    if (offset + size > COMMON_BYTES)
        return 0;
    fill_common(vp, &c);
    memcpy(all, &c, sizeof c);
    memcpy(&value, all + offset, size);
    return value;
}

static void set_half(uint64_t *address, bool high, uint32_t value)
{
    *address = high ? (*address & UINT32_MAX) | (uint64_t)value << 32 : (*address & ~(uint64_t)UINT32_MAX) | value;
}

static uint16_t vector_of(struct virtio_pci *vp, uint32_t value)
{
    return value < pci_msix_vectors(&vp->function) ? (uint16_t)value : VIRTIO_NO_VECTOR;
}

/* Registers of the selected queue; they stand still while it is enabled. */
static void queue_write(struct virtio_pci *vp, uint32_t offset, uint32_t value)
{
    struct virtio_queue *vq = selected(vp);
    if (!vq)
        return;
    if (offset == VIRTIO_PCI_COMMON_Q_MSIX) {
        atomic_store(&vq->vector, vector_of(vp, value));
        return;
    }
    if (vq->enabled || !virtio_device_is_configurable(vp->virtio))
        return;
    switch (offset) {
    case VIRTIO_PCI_COMMON_Q_SIZE:
        if (value && value <= vq->size_max && !(value & (value - 1)))
            vq->ring.size = (uint16_t)value;
        break;
    case VIRTIO_PCI_COMMON_Q_ENABLE:
        vq->enabled = value == 1;
        break;
    case VIRTIO_PCI_COMMON_Q_DESCLO:
    case VIRTIO_PCI_COMMON_Q_DESCHI:
        set_half(&vq->ring.desc_gpa, offset == VIRTIO_PCI_COMMON_Q_DESCHI, value);
        break;
    case VIRTIO_PCI_COMMON_Q_AVAILLO:
    case VIRTIO_PCI_COMMON_Q_AVAILHI:
        set_half(&vq->ring.avail_gpa, offset == VIRTIO_PCI_COMMON_Q_AVAILHI, value);
        break;
    case VIRTIO_PCI_COMMON_Q_USEDLO:
    case VIRTIO_PCI_COMMON_Q_USEDHI:
        set_half(&vq->ring.used_gpa, offset == VIRTIO_PCI_COMMON_Q_USEDHI, value);
        break;
    default:
        break;
    }
}

static void driver_feature(struct virtio_pci *vp, uint32_t value)
{
    struct virtio_device *d = vp->virtio;
    if (vp->driver_feature_select > 1 || !virtio_device_is_configurable(d) || d->status & VIRTIO_CONFIG_S_FEATURES_OK)
        return;
    set_half(&d->features, vp->driver_feature_select == 1, value);
}

static void common_write(struct virtio_pci *vp, uint32_t offset, uint32_t value)
{
    switch (offset) {
    case VIRTIO_PCI_COMMON_DFSELECT:
        vp->device_feature_select = value;
        break;
    case VIRTIO_PCI_COMMON_GFSELECT:
        vp->driver_feature_select = value;
        break;
    case VIRTIO_PCI_COMMON_GF:
        driver_feature(vp, value);
        break;
    case VIRTIO_PCI_COMMON_MSIX:
        atomic_store(&vp->virtio->config_vector, vector_of(vp, value));
        break;
    case VIRTIO_PCI_COMMON_STATUS:
        virtio_device_set_status(vp->virtio, (uint8_t)value);
        if (!value)
            take_isr(vp);
        break;
    case VIRTIO_PCI_COMMON_Q_SELECT:
        vp->queue_select = (uint16_t)value;
        break;
    default:
        queue_write(vp, offset, value);
    }
}

/* ---- BAR 0 ---- */

static uint64_t registers_read(void *device, uint64_t offset, unsigned size)
{
    struct virtio_pci *vp = device;
    uint32_t at = (uint32_t)(offset % AREA_BYTES);
    switch ((enum area)(offset / AREA_BYTES)) {
    case AREA_COMMON:
        return common_read(vp, at, size);
    case AREA_ISR:
        return at ? 0 : take_isr(vp);
    case AREA_DEVICE:
        return virtio_device_config_read(vp->virtio, at, size);
    case AREA_NOTIFY:
        break;
    }
    return 0;
}

static void registers_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct virtio_pci *vp = device;
    uint32_t at = (uint32_t)(offset % AREA_BYTES);
    switch ((enum area)(offset / AREA_BYTES)) {
    case AREA_COMMON:
        common_write(vp, at, (uint32_t)value);
        if (size == 8)
            common_write(vp, at + 4, (uint32_t)(value >> 32));
        break;
    case AREA_DEVICE:
        virtio_device_config_write(vp->virtio, at, size, value);
        break;
    case AREA_NOTIFY: /* where the doorbell could not be hung up */
        if (at / NOTIFY_STEP < vp->virtio->queue_count)
            virtio_queue_poke(&vp->virtio->queues[at / NOTIFY_STEP]);
        break;
    case AREA_ISR:
        break;
    }
}

static const struct bus_ops registers = {registers_read, registers_write};

/* ---- BAR 2: doorbells alone ---- */

static uint64_t ports_read(void *device, uint64_t offset, unsigned size)
{
    (void)device;
    (void)offset;
    (void)size;
    return 0;
}

static void ports_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct virtio_pci *vp = device;
    (void)size;
    (void)value;
    if (offset / PORTS_STEP < vp->virtio->queue_count) /* where the doorbell could not be hung up */
        virtio_queue_poke(&vp->virtio->queues[offset / PORTS_STEP]);
}

static const struct bus_ops ports = {ports_read, ports_write};

/* ---- doorbells ---- */

static void hang_up(struct virtio_pci *vp, enum bell where, bool mapped, uint64_t first)
{
    bool port = where == BELL_PORT;
    for (unsigned i = 0; i < vp->virtio->queue_count; i++) {
        struct bus_doorbell *bell = &vp->doorbells[where][i];
        bus_doorbell_remove(vp->bus, bell);
        if (!mapped)
            continue;
        bell->space = port ? BUS_PORTS : BUS_MEMORY;
        bell->address = first + (port ? PORTS_STEP : NOTIFY_STEP) * (uint64_t)i;
        bell->size = 0;
        bell->fd = vp->virtio->queues[i].kick_fd;
        bus_doorbell_add(vp->bus, bell); /* refused: the BAR's own write does it */
    }
}

static void bar_moved(struct pci_function *f, unsigned bar, bool mapped)
{
    uint64_t base = f->bar[bar].region.base;
    if (bar == REGISTERS_BAR)
        hang_up(f->owner, BELL_REGISTER, mapped, base + AREA_NOTIFY * AREA_BYTES);
    else if (bar == PORTS_BAR)
        hang_up(f->owner, BELL_PORT, mapped, base);
}

/* ---- the window: BAR 0 through configuration space (virtio 1.2, 4.1.4.9) ---- */

/* The access that the window describes, if `offset` is its data and it makes sense. */
static bool window_access(struct virtio_pci *vp, unsigned offset, unsigned size, uint32_t *at, uint32_t *length)
{
    const struct pci_function *f = &vp->function;
    unsigned data = vp->window + sizeof(struct virtio_pci_cap);
    if (offset >= data + 4 || offset + size <= data)
        return false;
    *at = pci_get(f, vp->window + VIRTIO_PCI_CAP_OFFSET, 4);
    *length = pci_get(f, vp->window + VIRTIO_PCI_CAP_LENGTH, 4);
    return f->config[vp->window + VIRTIO_PCI_CAP_BAR] == REGISTERS_BAR &&
           (*length == 1 || *length == 2 || *length == 4) && *at % *length == 0 && *at < REGISTERS_BYTES;
}

static void config_read(struct pci_function *f, unsigned offset, unsigned size)
{
    struct virtio_pci *vp = f->owner;
    uint32_t at, length;
    if (window_access(vp, offset, size, &at, &length))
        pci_set(f, vp->window + sizeof(struct virtio_pci_cap), 4, (uint32_t)registers_read(vp, at, length));
}

static void config_written(struct pci_function *f, unsigned offset, unsigned size)
{
    struct virtio_pci *vp = f->owner;
    uint32_t at, length;
    if (window_access(vp, offset, size, &at, &length))
        registers_write(vp, at, length, pci_get(f, vp->window + sizeof(struct virtio_pci_cap), length));
}

static const struct pci_ops pci_ops = {
    .config_read = config_read, .config_written = config_written, .bar_moved = bar_moved};

/* ---- making it ---- */

static unsigned add_capability(struct pci_function *f, uint8_t type, unsigned bytes, enum area area, uint32_t length)
{
    unsigned cap = pci_add_capability(f, PCI_CAP_VENDOR, bytes);
    f->config[cap + VIRTIO_PCI_CAP_LEN] = (uint8_t)bytes;
    f->config[cap + VIRTIO_PCI_CAP_CFG_TYPE] = type;
    f->config[cap + VIRTIO_PCI_CAP_BAR] = REGISTERS_BAR;
    pci_set(f, cap + VIRTIO_PCI_CAP_OFFSET, 4, area * AREA_BYTES);
    pci_set(f, cap + VIRTIO_PCI_CAP_LENGTH, 4, length);
    return cap;
}

static void add_ports_capability(struct virtio_pci *vp)
{
    struct pci_function *f = &vp->function;
    unsigned cap = add_capability(f, VIRTIO_PCI_CAP_NOTIFY_CFG, sizeof(struct virtio_pci_cap) + 4, AREA_NOTIFY,
                                  PORTS_STEP * vp->virtio->queue_count);
    f->config[cap + VIRTIO_PCI_CAP_BAR] = PORTS_BAR;
    pci_set(f, cap + VIRTIO_PCI_CAP_OFFSET, 4, 0);
    pci_set(f, cap + VIRTIO_PCI_NOTIFY_CAP_MULT, 4, PORTS_STEP);
}

static void add_capabilities(struct virtio_pci *vp)
{
    struct pci_function *f = &vp->function;
    enum { CAP = sizeof(struct virtio_pci_cap) };
    add_capability(f, VIRTIO_PCI_CAP_COMMON_CFG, CAP, AREA_COMMON, COMMON_BYTES);
    add_capability(f, VIRTIO_PCI_CAP_ISR_CFG, CAP, AREA_ISR, ISR_BYTES);
    if (vp->virtio->config_bytes)
        add_capability(f, VIRTIO_PCI_CAP_DEVICE_CFG, CAP, AREA_DEVICE, vp->virtio->config_bytes);
    unsigned notify =
        add_capability(f, VIRTIO_PCI_CAP_NOTIFY_CFG, CAP + 4, AREA_NOTIFY, NOTIFY_STEP * vp->virtio->queue_count);
    pci_set(f, notify + VIRTIO_PCI_NOTIFY_CAP_MULT, 4, NOTIFY_STEP);
    vp->window = add_capability(f, VIRTIO_PCI_CAP_PCI_CFG, CAP + 4, AREA_COMMON, 0);
    f->writable[vp->window + VIRTIO_PCI_CAP_BAR] = 0xff;
    memset(&f->writable[vp->window + VIRTIO_PCI_CAP_OFFSET], 0xff, 12); /* offset, length, data */
    add_ports_capability(vp); /* last, so a driver meets it first: each is put in front of the list */
}

static uint32_t class_of(uint16_t id)
{
    switch (id) {
    case VIRTIO_ID_NET:
        return 0x020000;
    case VIRTIO_ID_BLOCK:
        return 0x010000;
    case VIRTIO_ID_CONSOLE:
        return 0x078000;
    case VIRTIO_ID_VSOCK:
        return 0x028000;
    default:
        return 0x00ff00;
    }
}

static void reset(struct device *device)
{
    struct virtio_pci *vp = CONTAINER_OF(device, struct virtio_pci, device);
    virtio_device_reset(vp->virtio);
    take_isr(vp);
    vp->device_feature_select = vp->driver_feature_select = 0;
    vp->queue_select = 0;
    pci_function_reset(&vp->function);
}

static void state(struct device *device, struct state *s)
{
    struct virtio_pci *vp = CONTAINER_OF(device, struct virtio_pci, device);
    pci_function_state(&vp->function, s);
    state_u32(s, "device-feature-select", &vp->device_feature_select);
    state_u32(s, "driver-feature-select", &vp->driver_feature_select);
    state_u16(s, "queue-select", &vp->queue_select);
    state_u8(s, "isr", &vp->isr);
    virtio_device_state(vp->virtio, s);
    if (state_loading(s))
        pci_intx(&vp->function, vp->isr != 0);
}

struct virtio_pci *virtio_pci_new(struct virtio_device *d, uint32_t instance, struct bus *bus, struct err *err)
{
    struct virtio_pci *vp = calloc(1, sizeof *vp);
    if (!vp) {
        err_set(err, ENOMEM, "no memory for %s", d->name);
        return NULL;
    }
    const struct pci_id id = {
        .vendor = VENDOR,
        .device = (uint16_t)(DEVICE_BASE + d->id),
        .subsystem_vendor = VENDOR,
        .subsystem = (uint16_t)(SUBSYSTEM_BASE + d->id),
        .class = class_of(d->id),
        .revision = 1,
        .pin = 1,
    };
    vp->virtio = d;
    vp->bus = bus;
    pthread_mutex_init(&vp->isr_lock, NULL);
    pci_function_init(&vp->function, d->name, &id, &pci_ops, vp);
    pci_add_bar(&vp->function, REGISTERS_BAR, PCI_BAR_MEM32, REGISTERS_BYTES, &registers, vp);
    pci_add_bar(&vp->function, PORTS_BAR, PCI_BAR_PORTS, PORTS_BYTES, &ports, vp);
    if (pci_msix_init(&vp->function, MSIX_BAR, d->queue_count + 1)) {
        err_set(err, ENOMEM, "no memory for %s", d->name);
        virtio_pci_free(vp);
        return NULL;
    }
    add_capabilities(vp);
    vp->device = (struct device){
        .name = d->name, .instance = instance, .version = STATE_VERSION_NOW, .reset = reset, .state = state};
    d->interrupt = interrupt;
    d->transport = vp;
    return vp;
}

static void interrupt_nobody(struct virtio_device *d, struct virtio_queue *vq)
{
    (void)d;
    (void)vq;
}

void virtio_pci_free(struct virtio_pci *vp)
{
    if (!vp)
        return;
    virtio_device_reset(vp->virtio);
    vp->virtio->interrupt = interrupt_nobody;
    pci_function_fini(&vp->function);
    pthread_mutex_destroy(&vp->isr_lock);
    free(vp);
}

int virtio_pci_plug(struct virtio_pci *vp, struct pci *pci, unsigned slot, struct err *err)
{
    return pci_add(pci, &vp->function, slot, 0, err);
}

void virtio_pci_unplug(struct virtio_pci *vp)
{
    pci_remove(&vp->function);
    for (unsigned i = 0; i < vp->virtio->queue_count; i++)
        for (unsigned where = 0; where < BELL_COUNT; where++)
            bus_doorbell_remove(vp->bus, &vp->doorbells[where][i]);
}

struct device *virtio_pci_device(struct virtio_pci *vp)
{
    return &vp->device;
}

struct pci_function *virtio_pci_function(struct virtio_pci *vp)
{
    return &vp->function;
}
