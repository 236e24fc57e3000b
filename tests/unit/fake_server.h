/* An NBD server for tests that can lie, cut, stay mute and crash. It runs in threads of its own on
 * a Unix socket, one per connection, with blocking calls, and shares no code with the client but
 * the numbers of the protocol.
 *
 * It has two copies of its disk: `disk` is what reads see, `stable` is what a crash leaves: a flush
 * copies one into the other. Threads: fake_server_*() from the test's thread; hooks run on a
 * connection's thread, under the lock. */
#ifndef TESTS_UNIT_FAKE_SERVER_H
#define TESTS_UNIT_FAKE_SERVER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nbd/nbd_proto.h"
#include "node/base/emit.h"

enum { FAKE_DISK_BYTES = 1 << 20, FAKE_CONNECTIONS_MAX = 256, FAKE_CONTEXT = 77 };

struct fake_server;

struct fake_connection {
    struct fake_server *server;
    int fd, number;  /* number: from 0, in the order of connecting */
    unsigned served; /* requests */
    bool extended, structured;
    pthread_t thread;
};

struct fake_request {
    uint16_t type, flags;
    uint64_t cookie, offset, length;
    uint8_t *payload;
};

enum fake_verdict {
    FAKE_HONEST,   /* answer it as it should be */
    FAKE_ANSWERED, /* the hook has answered */
    FAKE_CUT,      /* close this connection */
    FAKE_MUTE,     /* never answer on this connection again, and leave it open */
};

struct fake_server {
    /* behaviour: to be changed under the lock (fake_server_lock) once the server runs */
    uint64_t size_bytes; /* what it claims; only FAKE_DISK_BYTES are there */
    uint16_t flags;
    bool structured, extended, allocation, no_go;
    uint32_t min_block, preferred_block, max_payload; /* min_block 0: says nothing */
    enum fake_verdict (*hook)(struct fake_connection *c, const struct fake_request *r);
    /* true: the option has been answered */
    bool (*option_hook)(struct fake_connection *c, uint32_t option);
    const void *greeting; /* instead of the right one */
    size_t greeting_bytes;
    unsigned lie;  /* for the hooks: which */
    unsigned left; /* for the hooks: how often */

    /* what happened */
    unsigned seen[16]; /* commands by type */
    unsigned connected;
    uint64_t longest;
    uint16_t last_flags;

    char path[108];
    int listener;
    pthread_t acceptor;
    pthread_mutex_t lock;
    struct fake_connection connections[FAKE_CONNECTIONS_MAX];
    unsigned count;
    bool stopping;
    uint8_t disk[FAKE_DISK_BYTES], stable[FAKE_DISK_BYTES];
};

/* A server with sane defaults, not yet listening. */
struct fake_server *fake_server_new(void);
void fake_server_free(struct fake_server *s); /* stops it first */
void fake_server_listen(struct fake_server *s);
/* Nobody listens any more; connections are cut. */
void fake_server_leave(struct fake_server *s);
/* What was not flushed is lost; connections are cut, but for number `except` (-1: none). */
void fake_server_crash(struct fake_server *s, int except);
void fake_server_cut(struct fake_server *s, int number);
void fake_server_lock(struct fake_server *s);
void fake_server_unlock(struct fake_server *s);
unsigned fake_server_seen(struct fake_server *s, unsigned type);

/* For hooks: sends everything, or gives up when the other side is gone. */
void fake_send(struct fake_connection *c, const struct emit *e);
void fake_option_reply(struct fake_connection *c, uint32_t option, uint32_t type, const void *data, uint32_t len);

#endif
