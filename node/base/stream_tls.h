/* The TLS half of a stream; stream.c is the only user. See stream.h. */
#ifndef NODE_BASE_STREAM_TLS_H
#define NODE_BASE_STREAM_TLS_H

#include "node/base/stream.h"

/* received and started/sent of the stream are set; the call only arranges that they will be called. */
void stream_tls_begin(struct stream *s, struct tls_context *context, const char *peer_name,
                      void (*started)(struct stream *, int));
void stream_tls_recv(struct stream *s, struct iovec *iov, int count);
void stream_tls_send(struct stream *s, struct iovec *iov, int count);
void stream_tls_shutdown(struct stream *s); /* before the socket is shut down */
void stream_tls_fini(struct stream *s);
bool stream_tls_busy(const struct stream *s); /* on the socket, for its own ends */

/* stream.c's: to be called when something that stream_close() may be waiting for has come back. */
void stream_settle(struct stream *s);

#endif
