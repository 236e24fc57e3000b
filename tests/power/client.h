/* One NBD connection of a test over a unix socket: simple replies, the cookie is the caller's number.
 *
 * Thread: client_send() from one, client_receive() from one other, at the same time. */
#ifndef TESTS_POWER_CLIENT_H
#define TESTS_POWER_CLIENT_H

#include <stddef.h>
#include <stdint.h>

struct client {
    int fd; /* -1: not connected; may be polled */
    uint64_t size_bytes;
    uint16_t flags; /* enum nbd_transmission_flag */
    uint8_t head[16];
    size_t head_bytes; /* of an incomplete reply */
};

struct client_request {
    uint16_t type, flags; /* enum nbd_cmd, enum nbd_cmd_flag */
    uint64_t cookie, offset;
    uint32_t length;
    const uint8_t *payload; /* WRITE: length bytes */
};

/* Errors: -errno of connect(); -EPROTO when the server is no such server. client is written on success. */
int client_connect(struct client *client, const char *socket_path);
/* Waits until all is on its way. Errors: -errno. */
int client_send(struct client *client, const struct client_request *request);
/* Takes one reply that is there, without waiting. 1: cookie and error are set; 0: nothing complete yet;
 * -EPIPE: the server is gone; -EPROTO, -errno. */
int client_receive(struct client *client, uint64_t *cookie, uint32_t *error);
/* Reads, and waits for it; nothing else may be in flight. Errors: -errno, -EIO: the server said no. */
int client_read(struct client *client, uint64_t offset, uint32_t length, uint8_t *data);
void client_close(struct client *client);

#endif
