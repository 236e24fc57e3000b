/* What the tests of the NBD client need: a fixture (fixture.h), a lying server (fake_server.h), and requests that one
 * line begins and one line waits for. */
#ifndef TESTS_UNIT_NBD_PEER_H
#define TESTS_UNIT_NBD_PEER_H

#include "tests/unit/fixture.h"

#include "tests/unit/fake_server.h"

enum { KIB = 1024, MIB = 1 << 20 };

struct peer {
    struct fixture *f;
    struct fake_server *server;
    char stack[400];
};

/* For cmocka: *state is a struct peer whose server does not listen yet. */
int peer_setup(void **state);
int peer_teardown(void **state);

#define WITH_PEER(test) cmocka_unit_test_setup_teardown(test, peer_setup, peer_teardown)

/* The stack that reaches the server; options is JSON, as in "\"reconnect\":0", or empty. */
const char *peer_stack(struct peer *p, const char *options);
/* Makes the server listen and opens the client. */
void peer_serve(struct peer *p, const char *options);

struct pending {
    struct blk_req req;
    struct iovec iov;
    bool done;
};

void peer_begin(struct peer *p, struct pending *w, enum blk_op op, uint64_t offset, void *data, uint64_t length_bytes);
int peer_end(struct peer *p, struct pending *w); /* its result */

int peer_flush(struct peer *p);
/* 4 KiB of that byte; returns the result. */
int peer_write(struct peer *p, uint64_t offset, int byte, uint32_t flags);
/* 4 KiB of that byte have to be there. */
void peer_assert_reads(struct peer *p, uint64_t offset, int byte);
/* Turns the loop for a while. */
void peer_turn(struct peer *p, unsigned ms);

#endif
