/* A serial port: 16550A with its FIFOs. No line, so no speed: what the guest writes goes out at once, as far as the
 * host takes it; then the port looks busy until serial_output_ready().
 *
 *     guest -> THR -> FIFO of 16 -> host->output()
 *     serial_input() -> FIFO of 16 -> RBR -> guest; host->room() when there is place again
 *
 * Nothing blocks and nothing grows. Threads: with the bus locked; main for new and free.
 * Source: National Semiconductor PC16550D data sheet. */
#ifndef HV_MACHINE_SERIAL_H
#define HV_MACHINE_SERIAL_H

#include <stddef.h>
#include <stdint.h>

struct bus;
struct device;
struct err;
struct irq;
struct serial;

struct serial_host {
    /* How many bytes it took. After fewer than all, serial_output_ready() is called when it takes more. */
    size_t (*output)(struct serial_host *host, const uint8_t *data, size_t bytes);
    void (*room)(struct serial_host *host); /* serial_room() is no longer 0; may be NULL */
};

enum { SERIAL_COM1 = 0x3f8, SERIAL_COM1_GSI = 4, SERIAL_COM2 = 0x2f8, SERIAL_COM2_GSI = 3 };

/* Adds itself to the bus. instance tells ports apart in the state. host outlives it; NULL: it leads nowhere. */
struct serial *serial_new(struct bus *bus, struct irq *irq, uint16_t port, unsigned gsi, uint32_t instance,
                          struct serial_host *host, struct err *err);
void serial_free(struct serial *serial);
struct device *serial_device(struct serial *serial);

size_t serial_room(const struct serial *serial);
/* At most serial_room() bytes; the rest is lost, and the guest told of an overrun. */
void serial_input(struct serial *serial, const uint8_t *data, size_t bytes);
/* Also to be called once when a guest that was loaded goes on: bytes may have been waiting when it was saved. */
void serial_output_ready(struct serial *serial);

#endif
