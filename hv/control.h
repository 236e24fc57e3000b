/* The control socket of a guest: who may ask what, and when, by the table in node/base/guest_message.h.
 *
 * Threads: the main loop's. */
#ifndef HV_CONTROL_H
#define HV_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "node/base/guest_message.h"
#include "node/base/message.h"

struct control;
struct err;
struct json_t;
struct loop;

struct control_request {
    enum control_type type;
    const struct json_t *body; /* an object */
    int *fds;                  /* taken by setting to -1; the rest is closed */
    unsigned fd_count;
};

struct control_handler {
    enum guest_state (*state)(struct control_handler *handler);
    struct json_t *(*health)(struct control_handler *handler); /* a new object, told with every event, and to who begins
                                                                  to watch; NULL: {} */
    /* Only what the table permits arrives. answer: a new object, or NULL for {}. Errors: -errno with a text. */
    int (*handle)(struct control_handler *handler, struct control_request *request, struct json_t **answer,
                  struct err *err);
};

/* listener: from message_listen(); owned from here on. */
struct control *control_new(struct loop *loop, int listener, struct control_handler *handler, struct err *err);
/* Answers that are on their way arrive, if their clients take them within a second. */
void control_free(struct control *control);

/* Tells all who watch: {"event": event, "state": state, "text": text}. NULL: nobody does. */
void control_event(struct control *control, const char *event, const char *text);
/* The same with more keys: an object, taken over; NULL: none. */
void control_tell(struct control *control, const char *event, const char *text, struct json_t *more);

const char *control_state_name(enum guest_state state);
/* "pause" ... or NULL. */
const char *control_name(enum control_type type);

#endif
