/* The agent's end of a guest's control socket (node/base/guest_message.h): asks, one question at a time, and hears what
 * happens to the guest.
 *
 * Thread: the loop's. Callbacks come from the loop, never from inside a call. */
#ifndef NODE_AGENT_GUEST_LINK_H
#define NODE_AGENT_GUEST_LINK_H

#include <sys/queue.h>

#include "node/base/guest_message.h"

struct err;
struct guest_link;
struct json_t;
struct loop;

struct guest_link_handler {
    /* The guest answers: it is past its jail. state: as its events name it. */
    void (*open)(struct guest_link_handler *handler, const char *state);
    /* The guest's state changed: event and text as the guest says. */
    void (*event)(struct guest_link_handler *handler, const char *event, const char *state, const char *text);
    /* NULL is fine. Before each of the two: what it says of its health, {"trouble": "panicked", ...}, {}: it is well.
     */
    void (*health)(struct guest_link_handler *handler, const struct json_t *health);
    /* The guest's process hung up or spoke nonsense; only guest_link_close() is left to do. */
    void (*lost)(struct guest_link_handler *handler, const char *why);
};

enum { GUEST_CALL_FDS_MAX = 8 /* a message's */ };

/* A question. done() exactly once: rc 0 with the guest's answer (its own, valid meanwhile), or -errno with a text;
 * -EPIPE if the link was lost or closed before. */
struct guest_call {
    void (*done)(struct guest_call *call, int rc, const struct json_t *answer, const char *text);
    enum control_type type;
    struct json_t *body;         /* taken; NULL: {} */
    int fds[GUEST_CALL_FDS_MAX]; /* copies of them are given to the guest; they stay the caller's until done() */
    unsigned fd_count;
    STAILQ_ENTRY(guest_call) link;
};

/* Connects and asks to hear events. */
int guest_link_open(struct loop *loop, const char *path, struct guest_link_handler *handler, struct guest_link **link,
                    struct err *err);
/* NULL is fine. Questions that wait are done with -EPIPE before this returns; the handler is not called any more. */
void guest_link_close(struct guest_link *link);
/* The process at the other end. */
int guest_link_pid(const struct guest_link *link);
void guest_link_call(struct guest_link *link, struct guest_call *call);

#endif
