/* A virtio device on the PCI bus ("modern" only), with MSI-X and, for a guest that does not use it, INTx.
 *
 *     BAR 0, 16 KiB:  0000 common   1000 ISR   2000 device configuration   3000 notify, 4 bytes a queue
 *     BAR 1, 4 KiB:   MSI-X
 *
 * A write to a notify word rings the queue's eventfd (a doorbell of the bus): its I/O thread wakes, and neither the bus
 * lock nor another thread is in the way. Vectors: as many as queues, and one for the configuration.
 *
 * Threads: new, plug, free from the main thread, unplug from any; plug and unplug with the bus locked, free without.
 * Source: virtio 1.2, 4.1. */
#ifndef HV_VIRTIO_VIRTIO_PCI_H
#define HV_VIRTIO_VIRTIO_PCI_H

#include <stdint.h>

struct bus;
struct device;
struct err;
struct pci;
struct pci_function;
struct virtio_device;
struct virtio_pci;

/* device: initialized, and outlives it. instance: tells devices of one kind apart in the state. NULL: no memory. */
struct virtio_pci *virtio_pci_new(struct virtio_device *device, uint32_t instance, struct bus *bus, struct err *err);
/* Unplugged before. Resets the device, which waits for what is in flight. NULL is accepted. */
void virtio_pci_free(struct virtio_pci *vp);

int virtio_pci_plug(struct virtio_pci *vp, struct pci *pci, unsigned slot, struct err *err);
void virtio_pci_unplug(struct virtio_pci *vp); /* one that is not plugged is fine */

/* For the machine: reset and state of function and device together (pause the device first). */
struct device *virtio_pci_device(struct virtio_pci *vp);
struct pci_function *virtio_pci_function(struct virtio_pci *vp);

#endif
