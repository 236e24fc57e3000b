/* A file or device of this node, served to other nodes by a drover-nbd of its own while that is wanted.
 *
 *     IDLE --wanted--> STARTING --answers on its unix socket--> SERVING --ended--> WAITING --a second--> STARTING
 *      ^                                                           | not wanted: SIGTERM, what is in flight is answered
 *      +-----------------------------------------------------------+
 *
 * A server that has ended is followed by one at the same address if that can be had, because guests that run go on
 * asking there. The server outlives the agent. One that serves already is adopted, if it is wanted and its address is
 * still known; otherwise it is ended. Thread: the loop's. */
#ifndef NODE_AGENT_EXPORT_UNIT_H
#define NODE_AGENT_EXPORT_UNIT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#include "node/agent/cgroup.h"

struct export_unit;
struct loop;

struct export_place {
    struct loop *loop;
    const struct cgroups *cgroups;
    const char *program;   /* drover-nbd, an absolute path */
    const char *directory; /* of root's, mode 0700: sockets and logs */
    const char *address;   /* IP address that other nodes reach this one at */
    const char *tls;       /* folder of certificates; NULL: in clear */
    LIST_HEAD(, export_unit) units;
};

/* The certificates are new: each server is followed by one that has read them, at the same address. */
void export_place_renewed(struct export_place *place);

/* IDLE. changed(): the URI came or went. known_uri: what it was served at before, or "". NULL: out of memory. */
struct export_unit *export_unit_new(struct export_place *place, const char *id, const char *known_uri,
                                    void (*changed)(void *context), void *context);
enum export_mode {
    EXPORT_WRITABLE,
    EXPORT_LATE, /* ... and claimed only before the first change: a guest of this node has it still, and will be
                    elsewhere */
    EXPORT_READ_ONLY,
    EXPORT_FENCED, /* begins with a fence (nbd/fence.h), and is asked for as ID@EPOCH */
};

/* path: what is to be served, always the same; NULL: nothing. mode counts when a server is started. */
void export_unit_want(struct export_unit *unit, const char *path, enum export_mode mode);
/* A server that is wanted runs on; the end of one that is not is waited for, as long as the loop turns. */
void export_unit_free(struct export_unit *unit);
/* "nbds://10.0.0.1:40001/ID"; "": nobody is served at the moment. */
const char *export_unit_uri(const struct export_unit *unit);

/* How drover-img reads what another node serves at that URI ("": nothing, and so is the text). tls: as above. */
void export_source(const char *uri, const char *tls, char *text, size_t room);

#endif
