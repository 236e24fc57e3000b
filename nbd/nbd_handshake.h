/* The client's side of the handshake: from a connected stream to an export that is ready for
 * requests.
 *
 * Source: proto.md, "Handshake" and "Option types". Thread: the loop's. The server is not trusted:
 * every reply is bounded in size and number, and only one that the last option allows is taken. */
#ifndef NBD_NBD_HANDSHAKE_H
#define NBD_NBD_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nbd/nbd_proto.h"
#include "nbd/nbd_wire.h"
#include "node/base/err.h"

struct tls_context;

/* What the client asks for; outlives the handshake. */
struct nbd_wish {
    const char *export;        /* at most NBD_STRING_MAX_BYTES */
    struct tls_context *tls;   /* NULL: in clear */
    const char *tls_peer_name; /* what the server's certificate must say; NULL: any */
};

/* What the server offers. */
struct nbd_offer {
    uint64_t size_bytes;
    uint16_t flags;     /* enum nbd_transmission_flag */
    uint32_t min_block; /* powers of two; 0: the server said nothing */
    uint32_t preferred_block;
    uint32_t max_payload_bytes;
    bool structured, extended; /* which replies; neither: simple ones */
    bool allocation;           /* BLOCK_STATUS may be asked for base:allocation, which is context_id */
    uint32_t context_id;
};

enum nbd_handshake_state {
    HANDSHAKE_GREETING,
    HANDSHAKE_OPTION_HEADER,
    HANDSHAKE_OPTION_BODY,
    HANDSHAKE_TLS,
    HANDSHAKE_NAME_REPLY,
    HANDSHAKE_ABORTING,
    HANDSHAKE_ENDED,
};

enum { NBD_HANDSHAKE_BUFFER_BYTES = 16 << 10 };

struct nbd_handshake {
    void (*done)(struct nbd_handshake *handshake, int result);
    struct nbd_offer offer; /* valid after done(0) */
    struct err err;         /* after done(-errno) */

    struct nbd_wire *wire;
    const struct nbd_wish *wish;
    enum nbd_handshake_state state;
    uint8_t *buffer;   /* NBD_HANDSHAKE_BUFFER_BYTES */
    size_t have, need; /* bytes in the buffer; bytes that make the next step possible */
    bool greeted, no_zeroes, got_export, sending;
    uint32_t client_flags;
    uint32_t option; /* that was asked last */
    uint32_t reply_type, reply_bytes;
    unsigned replies; /* to that option, so far */
    struct iovec in, out;
    uint8_t message[NBD_OPTION_BYTES + NBD_STRING_MAX_BYTES + 64];
};

/* done(), later: 0, the stream has nothing outstanding; or -errno with handshake->err, the stream
 * has to be closed: -EPROTO the server breaks the protocol, -ENOENT no such export, -EACCES TLS or
 * authorization, -ECONNRESET, ... The wire and the buffer stay the caller's. */
void nbd_handshake_start(struct nbd_handshake *handshake, struct nbd_wire *wire, const struct nbd_wish *wish,
                         uint8_t *buffer, void (*done)(struct nbd_handshake *handshake, int result));
/* done() is not called any more; the stream has to be closed. */
void nbd_handshake_cancel(struct nbd_handshake *handshake);

/* Makes a foreign text fit to be shown: at most size - 1 bytes, control characters become '?'.
 * Returns out. */
char *nbd_printable(const uint8_t *text, size_t len_bytes, char *out, size_t size);

#endif
