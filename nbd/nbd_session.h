/* One connection's whole life: waited for, dialled, shaken hands on, in transmission, closed; then
 * again.
 *
 * Thread: the loop's. The callbacks run from the loop, never inside a call. */
#ifndef NBD_NBD_SESSION_H
#define NBD_NBD_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "nbd/nbd_dial.h"
#include "nbd/nbd_handshake.h"
#include "nbd/nbd_link.h"
#include "nbd/nbd_wire.h"
#include "node/base/err.h"
#include "node/base/loop.h"

enum nbd_session_state {
    SESSION_IDLE,
    SESSION_WAITING,
    SESSION_DIALING,
    SESSION_SHAKING,
    SESSION_UP,
    SESSION_CLOSING,
};

/* What all sessions of a client have in common; outlives them. */
struct nbd_target {
    struct nbd_peer peer;
    struct nbd_wish wish;
    uint64_t timeout_ns; /* from dialling to the end of the handshake */
};

struct nbd_session {
    /* The handshake is over: session->offer is set, session->link takes commands. */
    void (*up)(struct nbd_session *session);
    /* An attempt failed, or the connection is gone; session->err says why. The state is IDLE;
     * commands without an answer are to be taken back with nbd_link_recover(). */
    void (*down)(struct nbd_session *session);
    struct err err;

    struct loop *loop;
    const struct nbd_target *target;
    enum nbd_session_state state;
    struct nbd_offer offer;
    struct nbd_dial dial;
    struct nbd_wire wire;
    struct nbd_handshake handshake;
    struct nbd_link link;
    uint8_t *buffer; /* NBD_LINK_BUFFER_BYTES, while connected */
    struct loop_timer timer;
};

/* commands: as in nbd_link_init(). Errors: -ENOMEM. */
int nbd_session_init(struct nbd_session *session, struct loop *loop, const struct nbd_target *target,
                     unsigned commands);
/* The session must be IDLE. */
void nbd_session_fini(struct nbd_session *session);

/* Begins an attempt after delay_ns. The session must be IDLE. */
void nbd_session_start(struct nbd_session *session, uint64_t delay_ns);
/* Ends whatever is going on, for that reason; down() follows unless the session was IDLE or
 * WAITING. */
__attribute__((format(printf, 3, 4))) void nbd_session_end(struct nbd_session *session, int code, const char *format,
                                                           ...);
/* The same, with goodbye to the server if the session is UP. */
void nbd_session_leave(struct nbd_session *session);

#endif
