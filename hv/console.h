/* The host's end of a character device of the guest: terminal, pseudo terminal, or a unix socket with one client at a
 * time.
 *
 *     guest's device --console_write()--> ring --> file          (any thread; bus locked)
 *     file --> console_guest.input() as long as there is room()  (main loop; bus locked)
 *
 * While nobody listens (a socket without a client) the ring keeps the newest output, so whoever comes sees the last
 * 64 KiB. While somebody listens and is slow, the ring fills and console_write() takes less: the device then looks busy
 * to the guest, until writable() is called. A pseudo terminal does not say whether anybody is there: it is never waited
 * for, and who reads it slower than the guest prints misses something.
 *
 * Threads: main loop, but for console_write() and console_room_again(). */
#ifndef HV_CONSOLE_H
#define HV_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/guest_config.h"

struct bus;
struct console;
struct err;
struct loop;

enum { CONSOLE_RING_BYTES = 64 << 10 };

/* The device behind it. All with the bus locked, on the main loop. */
struct console_guest {
    size_t (*room)(struct console_guest *guest); /* how much input it would take now */
    void (*input)(struct console_guest *guest, const uint8_t *data, size_t bytes);
    void (*writable)(struct console_guest *guest); /* console_write() takes more again; may be NULL */
};

/* Opens what the endpoint says, before the seal. label: "console", for the log, which says where it is (a pty's path).
 * quit() is called on the main loop when a terminal's user types Ctrl-A x. */
struct console *console_new(struct loop *loop, struct bus *bus, const struct guest_endpoint *endpoint,
                            const char *label, void (*quit)(void *context), void *context, struct err *err);
/* Writes out what is left, for which it waits while a reader takes something every two seconds, up to ten; restores a
 * terminal. */
void console_free(struct console *console);
void console_attach(struct console *console, struct console_guest *guest); /* NULL: detach */

/* Takes up to `bytes`; how many it took. */
size_t console_write(struct console *console, const uint8_t *data, size_t bytes);
/* The device has room for input again. Bus locked, any thread. */
void console_room_again(struct console *console);

/* A client's socket, as if it had connected. Owned from here on, if 0; -EBUSY with a text: somebody is there. */
int console_adopt(struct console *console, int fd, struct err *err);

#endif
