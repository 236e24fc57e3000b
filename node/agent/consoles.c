/* See consoles.h.
 *
 *     ASKING --the guest took its end--> OPEN --either side hangs up--> ENDING --nothing in flight--> freed
 *
 * Back-pressure: the guest's end is not read while the client does not take what was sent; the client is paused while
 * the guest does not. */
#include "node/agent/consoles.h"

#include <errno.h>
#include <jansson.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "node/agent/api.h"
#include "node/agent/cluster.h"
#include "node/agent/guest_link.h"
#include "node/agent/guest_unit.h"
#include "node/agent/guests.h"
#include "node/agent/websocket.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/loop.h"

enum { BUFFER_BYTES = 4096, TYPED_MAX = 64 << 10 };

struct consoles {
    struct loop *loop;
    struct cluster *cluster;
    struct guests *guests;
};

struct console {
    struct consoles *consoles;
    struct api_call *api_call;
    struct guest_call guest_call;
    struct websocket *websocket;
    int fd, guest_fd;
    bool receiving, sending, ending, stalled;
    struct loop_op receive_op, send_op;
    char out[BUFFER_BYTES];                   /* from the guest */
    char typed[TYPED_MAX], flying[TYPED_MAX]; /* to the guest: what waits, and what is on its way */
    size_t typed_bytes, flying_bytes, flying_at;
};

static void receive(struct console *c);
static void send_typed(struct console *c);

static void free_if_idle(struct console *c)
{
    if (c->receiving || c->sending || c->websocket || !c->ending)
        return;
    close(c->fd);
    free(c);
}

static void end(struct console *c)
{
    if (c->ending)
        return;
    c->ending = true;
    if (c->receiving)
        loop_cancel(c->consoles->loop, &c->receive_op);
    if (c->sending)
        loop_cancel(c->consoles->loop, &c->send_op);
    if (c->websocket)
        websocket_close(c->websocket, WEBSOCKET_NORMAL, "the console is gone");
}

/* ---- from the guest ---- */

static void received(struct loop_op *op, int result, uint32_t flags)
{
    struct console *c = CONTAINER_OF(op, struct console, receive_op);
    (void)flags;
    c->receiving = false;
    if (result <= 0)
        end(c);
    else if (!c->ending && websocket_send(c->websocket, false, c->out, (size_t)result) == -EAGAIN)
        c->stalled = true; /* drained() goes on; these bytes are lost, as on a line that nobody reads */
    if (!c->ending && !c->stalled)
        receive(c);
    free_if_idle(c);
}

static void receive(struct console *c)
{
    c->receiving = true;
    c->receive_op.done = received;
    io_uring_prep_recv(loop_sqe(c->consoles->loop, &c->receive_op), c->fd, c->out, sizeof c->out, 0);
}

static void drained(struct websocket *websocket, void *context)
{
    struct console *c = context;
    (void)websocket;
    if (!c->stalled || c->ending)
        return;
    c->stalled = false;
    receive(c);
}

/* ---- to the guest ---- */

static void sent(struct loop_op *op, int result, uint32_t flags)
{
    struct console *c = CONTAINER_OF(op, struct console, send_op);
    (void)flags;
    c->sending = false;
    if (result <= 0)
        end(c);
    else
        c->flying_at += (size_t)result;
    if (!c->ending)
        send_typed(c);
    free_if_idle(c);
}

static void send_typed(struct console *c)
{
    if (c->sending)
        return;
    if (c->flying_at == c->flying_bytes) {
        memcpy(c->flying, c->typed, c->typed_bytes);
        c->flying_bytes = c->typed_bytes;
        c->flying_at = c->typed_bytes = 0;
        websocket_pause(c->websocket, false);
    }
    if (c->flying_at == c->flying_bytes)
        return;
    c->sending = true;
    c->send_op.done = sent;
    io_uring_prep_send(loop_sqe(c->consoles->loop, &c->send_op), c->fd, c->flying + c->flying_at,
                       c->flying_bytes - c->flying_at, MSG_NOSIGNAL);
}

static void message(struct websocket *websocket, void *context, bool text, const char *data, size_t bytes)
{
    struct console *c = context;
    (void)text;
    if (c->ending)
        return;
    if (bytes > sizeof c->typed - c->typed_bytes) {
        websocket_close(websocket, WEBSOCKET_TOO_BIG, "so much cannot be typed at once");
        return;
    }
    memcpy(c->typed + c->typed_bytes, data, bytes);
    c->typed_bytes += bytes;
    websocket_pause(websocket, c->typed_bytes > sizeof c->typed / 2);
    send_typed(c);
}

static void closed(struct websocket *websocket, void *context, unsigned code)
{
    struct console *c = context;
    (void)websocket;
    (void)code;
    c->websocket = NULL;
    end(c);
    free_if_idle(c);
}

static const struct websocket_events console_events = {.message = message, .drained = drained, .closed = closed};

/* ---- opening ---- */

static void guest_answered(struct guest_call *call, int rc, const json_t *answer, const char *text)
{
    struct console *c = CONTAINER_OF(call, struct console, guest_call);
    (void)answer;
    close(c->guest_fd);
    if (rc) {
        api_error(c->api_call, 409, "no-console", NULL, "the guest does not give its console: %s", text);
        c->ending = true;
        free_if_idle(c);
        return;
    }
    c->websocket = api_accept_websocket(c->api_call, &console_events, c);
    if (!c->websocket) {
        c->ending = true;
        free_if_idle(c);
        return;
    }
    receive(c);
}

static struct guest_unit *find_unit(struct consoles *cs, struct api_call *call)
{
    const struct mirror *m = cluster_mirror(cs->cluster);
    const char *name = api_parameter(call, "name");
    const struct object *o = mirror_named(m, OBJECT_GUEST, name);
    struct guest_unit *unit = o && cs->guests ? guests_find(cs->guests, o->id) : NULL;
    const char *node = o ? object_spec_text(o, "node") : "";
    if (!o)
        api_error(call, 404, "guest-not-found", NULL, "there is no guest '%s'", name);
    else if (strcmp(node, cluster_node(cs->cluster)))
        api_error(call, 409, "other-node", NULL, "guest %s does not run here: its node is %s", name, node);
    else if (!unit)
        api_error(call, 409, "not-running", NULL,
                  "guest %s does not run, or its agent has just been started: ask again", name);
    else if (guest_unit_phase(unit) != GUEST_PHASE_RUNNING)
        api_error(call, 409, "not-running", NULL, "guest %s does not run: it is %s", name,
                  guest_phase_name(guest_unit_phase(unit)));
    else
        return unit;
    return NULL;
}

static void open_console(void *context, struct api_call *call)
{
    struct consoles *cs = context;
    struct guest_unit *unit = find_unit(cs, call);
    int pair[2];
    if (!unit)
        return;
    struct console *c = calloc(1, sizeof *c);
    if (!c || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
        free(c);
        api_error(call, 500, "out-of-memory", NULL, "out of memory");
        return;
    }
    c->consoles = cs;
    c->api_call = call;
    c->fd = pair[0];
    c->guest_fd = pair[1];
    c->guest_call =
        (struct guest_call){.done = guest_answered, .type = CONTROL_CONSOLE, .fds = {c->guest_fd}, .fd_count = 1};
    if (guest_unit_call(unit, &c->guest_call))
        guest_answered(&c->guest_call, -ENOTCONN, NULL, "it does not run");
}

static const struct route routes[] = {
    {HTTP_GET, "/v1/guests/{name}/console", ROLE_OPERATOR, ROUTE_WEBSOCKET, "guest_console", "guest",
     "The guest's serial console.", NULL, NULL, NULL, NULL, open_console},
};

struct consoles *consoles_new(struct loop *loop, struct cluster *cluster, struct api *api, struct err *err)
{
    struct consoles *cs = calloc(1, sizeof *cs);
    if (!cs) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    cs->loop = loop;
    cs->cluster = cluster;
    if (api_add_routes(api, routes, sizeof routes / sizeof *routes, cs, err)) {
        free(cs);
        return NULL;
    }
    return cs;
}

void consoles_attach(struct consoles *cs, struct guests *guests)
{
    cs->guests = guests;
}

void consoles_free(struct consoles *cs)
{
    free(cs);
}
