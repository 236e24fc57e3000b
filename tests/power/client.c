/* See client.h. Source: proto.md, "Newstyle negotiation", "Request message", "Simple reply message". */
#include "tests/power/client.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "nbd/nbd_proto.h"

enum { PATIENCE_S = 60, GREETING_BYTES = 18, INFO_EXPORT_BYTES = 12, OPTION_BODY_MAX_BYTES = 4096 };

static int send_all(int fd, const void *data, size_t length)
{
    const uint8_t *at = data;
    while (length) {
        ssize_t n = send(fd, at, length, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        at += n;
        length -= (size_t)n;
    }
    return 0;
}

static int receive_all(int fd, void *data, size_t length)
{
    uint8_t *at = data;
    while (length) {
        ssize_t n = recv(fd, at, length, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EPIPE;
        at += n;
        length -= (size_t)n;
    }
    return 0;
}

static uint16_t u16_at(const uint8_t *at)
{
    uint16_t v;
    memcpy(&v, at, sizeof v);
    return be16toh(v);
}

static uint32_t u32_at(const uint8_t *at)
{
    uint32_t v;
    memcpy(&v, at, sizeof v);
    return be32toh(v);
}

static uint64_t u64_at(const uint8_t *at)
{
    uint64_t v;
    memcpy(&v, at, sizeof v);
    return be64toh(v);
}

/* ---- negotiation ---- */

static int take_option_reply(struct client *client, uint32_t *kind)
{
    uint8_t head[NBD_OPTION_REPLY_BYTES], body[OPTION_BODY_MAX_BYTES];
    int rc = receive_all(client->fd, head, sizeof head);
    if (rc)
        return rc;
    uint32_t length = u32_at(head + 16);
    *kind = u32_at(head + 12);
    if (u64_at(head) != NBD_OPTION_REPLY_MAGIC || length > sizeof body)
        return -EPROTO;
    rc = receive_all(client->fd, body, length);
    if (!rc && *kind == NBD_REP_INFO && length == INFO_EXPORT_BYTES && u16_at(body) == NBD_INFO_EXPORT) {
        client->size_bytes = u64_at(body + 2);
        client->flags = u16_at(body + 10);
    }
    return rc;
}

static int negotiate(struct client *client)
{
    uint8_t greeting[GREETING_BYTES];
    int rc = receive_all(client->fd, greeting, sizeof greeting);
    if (rc)
        return rc;
    if (u64_at(greeting) != NBD_MAGIC || u64_at(greeting + 8) != NBD_OPTION_MAGIC)
        return -EPROTO;
    struct __attribute__((packed)) {
        uint32_t flags;
        uint64_t magic;
        uint32_t option, length, name_length;
        uint16_t info_count, info; /* who is told the block size may also be refused an odd request */
    } go = {
        .flags = htobe32(NBD_HANDSHAKE_FIXED_NEWSTYLE | NBD_HANDSHAKE_NO_ZEROES),
        .magic = htobe64(NBD_OPTION_MAGIC),
        .option = htobe32(NBD_OPT_GO),
        .length = htobe32(8),
        .info_count = htobe16(1),
        .info = htobe16(NBD_INFO_BLOCK_SIZE),
    };
    rc = send_all(client->fd, &go, sizeof go);
    uint32_t kind = NBD_REP_INFO;
    while (!rc && kind == NBD_REP_INFO)
        rc = take_option_reply(client, &kind);
    return rc ? rc : kind == NBD_REP_ACK && client->flags ? 0 : -EPROTO;
}

int client_connect(struct client *client, const char *socket_path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct client c = {.fd = -1};
    if (strlen(socket_path) >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    strcpy(address.sun_path, socket_path);
    c.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c.fd < 0)
        return -errno;
    struct timeval patience = {.tv_sec = PATIENCE_S}; /* so that a server that hangs ends in a message */
    setsockopt(c.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(c.fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    int rc = connect(c.fd, (struct sockaddr *)&address, sizeof address) < 0 ? -errno : negotiate(&c);
    if (rc)
        client_close(&c);
    else
        *client = c;
    return rc;
}

void client_close(struct client *client)
{
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
}

/* ---- transmission ---- */

int client_send(struct client *client, const struct client_request *request)
{
    struct __attribute__((packed)) {
        uint32_t magic;
        uint16_t flags, type;
        uint64_t cookie, offset;
        uint32_t length;
    } head = {
        .magic = htobe32(NBD_REQUEST_MAGIC),
        .flags = htobe16(request->flags),
        .type = htobe16(request->type),
        .cookie = htobe64(request->cookie),
        .offset = htobe64(request->offset),
        .length = htobe32(request->length),
    };
    int rc = send_all(client->fd, &head, sizeof head);
    if (!rc && request->payload)
        rc = send_all(client->fd, request->payload, request->length);
    return rc;
}

int client_receive(struct client *client, uint64_t *cookie, uint32_t *error)
{
    size_t room = sizeof client->head - client->head_bytes;
    ssize_t n = recv(client->fd, client->head + client->head_bytes, room, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n < 0 && errno == ECONNRESET)
        return -EPIPE;
    if (n <= 0)
        return n < 0 ? -errno : -EPIPE;
    client->head_bytes += (size_t)n;
    if (client->head_bytes < sizeof client->head)
        return 0;
    client->head_bytes = 0;
    *error = u32_at(client->head + 4);
    *cookie = u64_at(client->head + 8);
    return u32_at(client->head) == NBD_SIMPLE_REPLY_MAGIC ? 1 : -EPROTO;
}

int client_read(struct client *client, uint64_t offset, uint32_t length, uint8_t *data)
{
    uint8_t head[NBD_SIMPLE_REPLY_BYTES];
    struct client_request request = {.type = NBD_CMD_READ, .offset = offset, .length = length};
    int rc = client_send(client, &request);
    if (!rc)
        rc = receive_all(client->fd, head, sizeof head);
    if (rc)
        return rc;
    if (u32_at(head) != NBD_SIMPLE_REPLY_MAGIC)
        return -EPROTO;
    return u32_at(head + 4) ? -EIO : receive_all(client->fd, data, length);
}
