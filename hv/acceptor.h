/* Takes clients from a listening socket, one whenever its owner asks for one.
 *
 * Who comes while nobody is asked for waits in the socket's queue. Where descriptors or memory are out, accept() would
 * say so again at once: the next attempt comes a little later, and the log says why.
 *
 * Threads: the loop's. */
#ifndef HV_ACCEPTOR_H
#define HV_ACCEPTOR_H

#include <stdbool.h>

#include "node/base/log.h"
#include "node/base/loop.h"

struct acceptor {
    struct loop *loop;
    int listener; /* -1: nobody comes; the owner closes it at the end */
    void (*came)(struct acceptor *acceptor, int fd);
    const char *what;

    struct loop_op op;
    struct loop_timer again;
    struct log_limit complaints;
    bool busy, wanted, ended;
};

/* what: for the log. came: the client, owned from there on; the next one comes only if it is asked for. */
void acceptor_init(struct acceptor *acceptor, struct loop *loop, int listener, const char *what,
                   void (*came)(struct acceptor *acceptor, int fd));
void acceptor_ask(struct acceptor *acceptor); /* for one client; may be called again while it has not come */
void acceptor_withdraw(struct acceptor *acceptor);
/* Nobody comes from here on; it and its listener may go once it is busy no longer. */
void acceptor_end(struct acceptor *acceptor);
bool acceptor_busy(const struct acceptor *acceptor);

#endif
