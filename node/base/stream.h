/* A byte stream on a connected socket, in clear or under TLS: the one way Drover's network code moves bytes.
 *
 * Thread: the loop's. At most one receive and one send are outstanding. No callback runs inside the call that asked
 * for it. A stream is embedded in its owner and found back with CONTAINER_OF.
 *
 *     stream_init -> [stream_start_tls] -> stream_recv / stream_send ... -> [stream_shutdown] -> stream_close ->
 * closed()
 */
#ifndef NODE_BASE_STREAM_H
#define NODE_BASE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "node/base/loop.h"

struct stream;
struct stream_tls;
struct tls_context;

struct stream {
    struct loop *loop;
    int fd;
    bool local;             /* a unix socket */
    struct stream_tls *tls; /* NULL: in clear */
    bool down;              /* stream_shutdown() was called */

    /* receiving */
    struct loop_op rx_op;
    struct msghdr rx_message;
    void (*received)(struct stream *stream, ssize_t result);
    /* sending */
    struct loop_op tx_op;
    struct msghdr tx_message;
    void (*sent)(struct stream *stream, int result);
    /* closing */
    void (*closed)(struct stream *stream);
    struct loop_job close_job;
};

/* Takes over fd (a connected stream socket). */
void stream_init(struct stream *stream, struct loop *loop, int fd);

/* Makes both directions TLS from here on; bytes already received in clear must have been dropped by the caller
 * (plaintext injected before the handshake is an attack). peer_name: for a client, the name the server's certificate
 * must have; NULL otherwise. started(result): 0, or -EPROTO, -EACCES (certificate or key refused), -ECONNRESET.
 * stream_tls_error() then has a sentence. */
void stream_start_tls(struct stream *stream, struct tls_context *context, const char *peer_name,
                      void (*started)(struct stream *stream, int result));
/* Name of the authenticated peer: the subject's common name, or the PSK identity; NULL: none, or in clear. */
const char *stream_peer_name(const struct stream *stream);
/* True if the certificate's common name or one of its DNS names, or the PSK identity, is `name`. */
bool stream_peer_is(const struct stream *stream, const char *name);
const char *stream_tls_error(const struct stream *stream);

/* Receives 1 byte or more into iov, which stays valid until received(): result > 0 bytes, 0 the peer has closed,
 * -errno. */
void stream_recv(struct stream *stream, struct iovec *iov, int count,
                 void (*received)(struct stream *stream, ssize_t result));

/* Sends everything; sent(0) or sent(-errno). The stream may change the iov array meanwhile. */
void stream_send(struct stream *stream, struct iovec *iov, int count, void (*sent)(struct stream *stream, int result));

/* Bytes that were sent and that the peer has not taken yet, with the kernel's own overhead; 0 where the kernel cannot
 * tell (all but unix sockets). One system call. */
unsigned stream_unread_bytes(const struct stream *stream);

bool stream_receiving(const struct stream *stream);
bool stream_sending(const struct stream *stream);

/* Ends both directions: outstanding calls come back soon, with what had already arrived or with an error. */
void stream_shutdown(struct stream *stream);

/* Shuts down and, once every outstanding call has come back, closes the socket, frees what the stream holds and calls
 * closed(); only then may the owner be freed. Once. */
void stream_close(struct stream *stream, void (*closed)(struct stream *stream));

#endif
