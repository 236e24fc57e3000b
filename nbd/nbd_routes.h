/* The connections of one client to one export, as a whole: which may be used, what is done again
 * after a loss.
 *
 * Thread: the loop's. Callbacks run from the loop, never inside a call.
 *
 * A server is lost when the last connection to it is: what it had acknowledged may be gone with it,
 * so the log is replayed before any other request is sent. As long as one connection of a server
 * that says CAN_MULTI_CONN lives, nothing was lost. But a connection that has gone silent looks
 * alive: the server may have died and be back, and a new connection would then reach a server that
 * forgot. So a new connection is used only after an older one has answered a request that was sent
 * since (a probe); if none does, they are all lost. */
#ifndef NBD_NBD_ROUTES_H
#define NBD_NBD_ROUTES_H

#include <stdbool.h>
#include <stdint.h>

#include "nbd/nbd_session.h"
#include "nbd/nbd_unflushed.h"
#include "node/base/err.h"
#include "node/base/log.h"

enum { NBD_ROUTES_MAX = 16, NBD_REPLAYS_MAX = 16, NBD_PROBE_BYTES = 64 << 10 };

enum nbd_route_role {
    ROUTE_DOWN,
    ROUTE_PARKED,    /* up, and waiting for a proof, or for the end of a replay */
    ROUTE_PROVING,   /* covered by the probe that is on its way */
    ROUTE_REPLAYING, /* the log is being replayed here */
    ROUTE_LIVE,
};

enum nbd_routes_state {
    ROUTES_LOST,
    ROUTES_REPLAYING,
    ROUTES_LIVE,
    ROUTES_ENDING,
};

struct nbd_route {
    struct nbd_routes *routes;
    enum nbd_route_role role;
    uint64_t delay_ns; /* before the next attempt */
    struct nbd_session session;
};

struct nbd_replay {
    struct nbd_command command;
    struct nbd_routes *routes;
    struct iovec data[2];
    bool busy;
};

struct nbd_routes {
    /* The state may have changed, or there may be room where there was none. */
    void (*changed)(struct nbd_routes *routes);
    /* A command of the caller's comes back without an answer. */
    void (*returned)(struct nbd_routes *routes, struct nbd_command *command);

    struct loop *loop;
    struct nbd_target target;
    const char *name; /* for the log */
    struct nbd_unflushed log;
    bool lossy; /* acknowledged changes may be lost, and no flush has said so yet */
    enum nbd_routes_state state;
    struct nbd_offer offer; /* the first one; later ones must be as good */
    bool has_offer;
    uint64_t size_bytes; /* what the export must still have */
    struct err err;      /* why the last attempt failed */
    struct log_limit limit;
    unsigned count, live, losses; /* losses: how often the last connection went */
    struct nbd_route route[NBD_ROUTES_MAX];

    struct nbd_command probe;
    bool unproven, probing; /* a route may be PARKED; the probe is on its way */
    uint8_t *probe_data;
    struct iovec probe_iov;

    struct nbd_route *replay_on;
    uint64_t replay_place;
    unsigned replays, replayed; /* on their way; in all */
    struct nbd_replay replay[NBD_REPLAYS_MAX];
};

/* target and log have been set up. commands: per connection. Errors: -ENOMEM. */
int nbd_routes_init(struct nbd_routes *routes, struct loop *loop, unsigned commands);
/* Every session must be IDLE: nbd_routes_leave(), then turn the loop until nbd_routes_idle(). */
void nbd_routes_fini(struct nbd_routes *routes);
void nbd_routes_leave(struct nbd_routes *routes);
bool nbd_routes_idle(const struct nbd_routes *routes);

/* Begins with the first connection, or tries another one (up to count connections in all). */
void nbd_routes_add(struct nbd_routes *routes);
/* A link with room for a command, the one with the fewest; NULL: none now, changed() will come. */
struct nbd_link *nbd_routes_pick(struct nbd_routes *routes);
/* The server answered on that link: the connection is good. */
void nbd_routes_progress(struct nbd_link *link);

#endif
