/* What the fuzz targets of paravirtual devices share: a board with one device, driven as the bytes say.
 *
 * The first byte chooses among the features, the second is the number of register writes (six bytes each: u16 offset in
 * the BAR, u32 value, whose size follows from the offset's two lowest bits); what follows is the guest's memory from 0
 * on. Ring i is at FUZZ_RING_BYTES * i: descriptors, then (at 256) the available and (at 512) the used ring. */
#ifndef TESTS_FUZZ_FUZZ_VIRTIO_H
#define TESTS_FUZZ_FUZZ_VIRTIO_H

#include <stddef.h>
#include <stdint.h>

#include "hv/bus.h"
#include "hv/memory.h"
#include "hv/virtio/io_thread.h"
#include "hv/virtio/virtio_device.h"

enum { FUZZ_MEMORY_BYTES = 2 << 20, FUZZ_RING_BYTES = 1024, FUZZ_QUEUE_SIZE = 16 };

/* libFuzzer's entry point. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Made at the first call. */
struct memory *fuzz_virtio_memory(void);
struct io_thread *fuzz_virtio_io(void);
struct bus *fuzz_virtio_bus(void);
void fuzz_virtio_lock(void); /* the bus */
void fuzz_virtio_unlock(void);

/* Plugged at the first call: the host may ask something of it from there on. */
void fuzz_virtio_plug(struct virtio_device *device);

/* The device (virtio_device_init() was called; plugged at the first call) from reset to reset. */
void fuzz_virtio_run(struct virtio_device *device, const uint8_t *data, size_t size);

#endif
