/* A console for the guest (hvc0): virtio-console with one port. To the host it is what a serial port is
 * (hv/machine/serial.h): bytes, with back-pressure in both directions.
 *
 *     guest -> queue -> ring of 4 KiB -> host->output()                    I/O thread | main loop
 *     virtio_console_input() -> ring of 4 KiB -> queue -> guest            main loop  | I/O thread
 *     host->room() when there is place again
 *
 * Threads: main; where it says so with the bus locked. Source: virtio 1.2, 5.3. */
#ifndef HV_VIRTIO_VIRTIO_CONSOLE_H
#define HV_VIRTIO_VIRTIO_CONSOLE_H

#include <stddef.h>
#include <stdint.h>

struct bus;
struct err;
struct io_thread;
struct loop;
struct memory;
struct virtio_console;
struct virtio_device;

enum { VIRTIO_CONSOLE_RING_BYTES = 4096 };

/* Called on the main loop, with the bus locked. */
struct virtio_console_host {
    /* How many bytes it took. After fewer than all, virtio_console_output_ready() is called when it takes more. */
    size_t (*output)(struct virtio_console_host *host, const uint8_t *data, size_t bytes);
    void (*room)(struct virtio_console_host *host); /* virtio_console_room() is no longer 0; may be NULL */
};

struct virtio_console_parts { /* all outlive it */
    struct memory *memory;
    struct bus *bus;
    struct loop *loop; /* the main one */
    struct io_thread *io;
    struct virtio_console_host *host;
};

int virtio_console_new(const struct virtio_console_parts *parts, struct virtio_console **vc, struct err *err);
void virtio_console_free(struct virtio_console *vc); /* without the bus lock; NULL is accepted */
struct virtio_device *virtio_console_device(struct virtio_console *vc);

/* With the bus locked: */
size_t virtio_console_room(struct virtio_console *vc);
size_t virtio_console_input(struct virtio_console *vc, const uint8_t *data, size_t bytes); /* how many it took */
/* Also to be called once when a guest that was loaded goes on: bytes may have been waiting when it was saved. */
void virtio_console_output_ready(struct virtio_console *vc);
void virtio_console_set_size(struct virtio_console *vc, uint16_t columns, uint16_t rows); /* the terminal's */

#endif
