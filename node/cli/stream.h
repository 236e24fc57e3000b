/* A WebSocket to the API (RFC 6455): for the serial console and for events. Thread: one. */
#ifndef NODE_CLI_STREAM_H
#define NODE_CLI_STREAM_H

#include <stdbool.h>
#include <stddef.h>

struct client;
struct client_answer;
struct err;
struct stream;

enum { STREAM_MESSAGE_MAX = 1 << 20 };

/* NULL: err says why; the answer is what the API said instead (status 0: nothing), and is the caller's to free. */
struct stream *stream_open(struct client *client, const char *path, struct client_answer *answer, struct err *err);
void stream_close(struct stream *stream);

/* For poll(). What came already is taken first: call stream_next() until -EAGAIN before waiting. */
int stream_fd(const struct stream *stream);
/* The next message's bytes, valid until the next call. -EAGAIN: none is whole yet; -EPIPE: the other end has closed,
 * err says why. */
int stream_next(struct stream *stream, const char **data, size_t *len_bytes, struct err *err);
int stream_send(struct stream *stream, bool text, const void *data, size_t len_bytes, struct err *err);

#endif
