/* See control.h. A client reads one message, is answered, and is read again: what a client can make us hold is one
 * message each way.
 *
 *     RECEIVING --message--> answer --SENDING--> RECEIVING           events are sent in between, when nothing is on its
 * way |                              |
 *         +-- hung up, bad message ------+--> ended: the slot is free once nothing is in flight */
#include "hv/control.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hv/acceptor.h"
#include "hv/trace.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/loop.h"

enum { CLIENT_MAX = 8, LAST_WORDS_NS = 1000000000 };

#define IN(state) (1u << (state))
enum {
    ALWAYS = (1u << GUEST_STATE_COUNT) - 1,
    ALIVE = IN(GUEST_PAUSED) | IN(GUEST_RUNNING),
    HERE = ALIVE | IN(GUEST_FAILED)
};

static const struct {
    const char *name;
    unsigned states; /* in which it is permitted */
    unsigned files_min, files_max;
} permits[CONTROL_REQUEST_COUNT] = {
    [CONTROL_STATUS] = {"status", ALWAYS, 0, 0},
    [CONTROL_STATS] = {"stats", ALWAYS, 0, 0},
    [CONTROL_WATCH] = {"watch", ALWAYS, 0, 0},
    [CONTROL_PAUSE] = {"pause", ALIVE, 0, 0},
    [CONTROL_RESUME] = {"resume", ALIVE, 0, 0},
    [CONTROL_STOP] = {"stop", ALWAYS, 0, 0},
    [CONTROL_POWERDOWN] = {"powerdown", IN(GUEST_RUNNING), 0, 0},
    [CONTROL_RESET] = {"reset", HERE, 0, 0},
    [CONTROL_SAVE] = {"save", ALIVE, 1, 1},
    [CONTROL_BALLOON] = {"balloon", ALIVE, 0, 0},
    [CONTROL_RESIZE] = {"resize", ALIVE, 0, 0},
    [CONTROL_CONSOLE] = {"console", ALWAYS, 1, 1},
    [CONTROL_DISK_ADD] = {"disk-add", ALIVE, 0, MESSAGE_FDS_MAX},
    [CONTROL_DISK_REMOVE] = {"disk-remove", ALIVE, 0, 0},
    [CONTROL_NET_ADD] = {"net-add", ALIVE, 1, MESSAGE_FDS_MAX},
    [CONTROL_NET_REMOVE] = {"net-remove", ALIVE, 0, 0},
    [CONTROL_GDB] = {"gdb", HERE, 1, 1},
    [CONTROL_MIGRATE] = {"migrate", ALIVE, 2, MESSAGE_FDS_MAX},
    [CONTROL_MIGRATION] = {"migration", ALWAYS, 0, 0},
    [CONTROL_MIGRATE_GO] = {"migrate-go", ALIVE, 0, 0},
    [CONTROL_MIGRATE_RESUME] = {"migrate-resume", ALIVE, 1, MESSAGE_FDS_MAX},
    [CONTROL_MIGRATE_CANCEL] = {"migrate-cancel", HERE, 0, 0},
    [CONTROL_INCOMING_GO] = {"incoming-go", IN(GUEST_INCOMING), 0, 0},
    [CONTROL_VOLUME] = {"volume", HERE, 0, 0},
    [CONTROL_LEASE] = {"lease", ALWAYS, 0, 0},
    [CONTROL_FORECAST] = {"forecast", ALIVE, 0, 0},
};

struct client {
    struct control *control;
    int fd; /* -1: free */
    bool watches, receiving, serving, sending, ended;
    bool event_waits, request_waits; /* for what is on its way out */
    struct loop_op receive_op, send_op;
    struct message in, out;
    struct message_wire in_wire, out_wire;
    struct message event; /* the newest one, while another message is on its way */
};

struct control {
    struct loop *loop;
    struct control_handler *handler;
    struct acceptor acceptor; /* asked for a client as long as there is room for one */
    bool ending, hurried;
    struct loop_timer last_words;
    struct client *clients[CLIENT_MAX];
};

static void receive(struct client *cl);
static void serve(struct client *cl);

const char *control_state_name(enum guest_state state)
{
    static const char *const names[GUEST_STATE_COUNT] = {"paused", "running", "failed", "incoming"};
    return names[state];
}

const char *control_name(enum control_type type)
{
    return type < CONTROL_REQUEST_COUNT ? permits[type].name : NULL;
}

/* ---- ends ---- */

static void drop(struct client *cl)
{
    struct control *c = cl->control;
    if (!cl->ended) {
        cl->ended = true;
        if (cl->receiving)
            loop_cancel(c->loop, &cl->receive_op);
        if (cl->sending)
            loop_cancel(c->loop, &cl->send_op);
    }
    if (cl->receiving || cl->sending)
        return;
    close(cl->fd);
    for (unsigned i = 0; i < CLIENT_MAX; i++)
        if (c->clients[i] == cl)
            c->clients[i] = NULL;
    free(cl);
    acceptor_ask(&c->acceptor);
}

/* ---- answers and events ---- */

static void send_out(struct client *cl)
{
    message_pack(&cl->out_wire, &cl->out);
    cl->sending = true;
    io_uring_prep_sendmsg(loop_sqe(cl->control->loop, &cl->send_op), cl->fd, &cl->out_wire.msg, MSG_NOSIGNAL);
}

/* The text of a JSON value into a message; what does not fit is an error of ours. */
static void fill(struct message *m, enum control_type type, uint32_t id, const json_t *body)
{
    size_t n = json_dumpb(body, m->body, MESSAGE_BODY_MAX, JSON_COMPACT);
    m->type = (uint16_t)(n > MESSAGE_BODY_MAX ? CONTROL_ERROR : type);
    m->id = id;
    m->body_bytes = n > MESSAGE_BODY_MAX ? 0 : n;
    m->fd_count = 0;
}

static void answer(struct client *cl, int rc, json_t *body, const struct err *err)
{
    json_t *sent = rc ? json_pack("{s:i, s:s}", "code", -rc, "text", err->text) : body ? body : json_object();
    fill(&cl->out, rc ? CONTROL_ERROR : CONTROL_OK, cl->in.id, sent);
    json_decref(sent);
    send_out(cl);
}

static void sent(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct client *cl = CONTAINER_OF(op, struct client, send_op);
    (void)cqe_flags;
    cl->sending = false;
    if (result < 0 || cl->ended || cl->control->ending) {
        if (cl->request_waits)
            message_close_files(&cl->in);
        drop(cl);
        return;
    }
    if (cl->event_waits) {
        cl->event_waits = false;
        cl->out = cl->event;
        send_out(cl);
    } else if (cl->request_waits) {
        cl->request_waits = false;
        serve(cl);
    } else {
        receive(cl);
    }
}

static void tell_health(struct control *c, json_t *body)
{
    json_t *health = c->handler->health ? c->handler->health(c->handler) : NULL;
    json_object_update(body, health);
    json_decref(health);
}

void control_tell(struct control *c, const char *event, const char *text, json_t *more)
{
    if (!c) {
        json_decref(more);
        return;
    }
    json_t *body = json_pack("{s:s, s:s, s:s}", "event", event, "state",
                             control_state_name(c->handler->state(c->handler)), "text", text);
    tell_health(c, body);
    json_object_update(body, more);
    json_decref(more);
    for (unsigned i = 0; i < CLIENT_MAX; i++) {
        struct client *cl = c->clients[i];
        if (!cl || !cl->watches || cl->ended)
            continue;
        fill(&cl->event, CONTROL_EVENT, 0, body);
        if (cl->sending || cl->serving) {
            cl->event_waits = true; /* a newer one takes its place: what counts is the state it tells */
        } else {
            cl->out = cl->event;
            send_out(cl);
        }
    }
    json_decref(body);
}

void control_event(struct control *c, const char *event, const char *text)
{
    control_tell(c, event, text, NULL);
}

/* ---- requests ---- */

static int judge(struct client *cl, struct err *err)
{
    const struct message *m = &cl->in;
    enum guest_state state = cl->control->handler->state(cl->control->handler);
    if (m->type >= CONTROL_REQUEST_COUNT || !permits[m->type].name)
        return err_set(err, EOPNOTSUPP, "request %u is not known to this guest's program", m->type);
    if (!(permits[m->type].states & IN(state)))
        return err_set(err, EBUSY, "%s: not while the guest is %s", permits[m->type].name, control_state_name(state));
    if (m->fd_count < permits[m->type].files_min || m->fd_count > permits[m->type].files_max)
        return err_set(err, EINVAL, "%s: came with %u files instead of %u", permits[m->type].name, m->fd_count,
                       permits[m->type].files_min);
    return 0;
}

static void serve(struct client *cl)
{
    struct control_handler *h = cl->control->handler;
    struct err err = {0};
    json_error_t why;
    json_t *result = NULL, *body = NULL;
    cl->serving = true; /* which may turn the loop */
    int rc = judge(cl, &err);
    if (!rc) {
        body = json_loadb(cl->in.body, cl->in.body_bytes, JSON_REJECT_DUPLICATES, &why);
        if (!json_is_object(body))
            rc = err_set(&err, EINVAL, "%s: the body must be a JSON object", permits[cl->in.type].name);
    }
    if (!rc && cl->in.type == CONTROL_WATCH) {
        cl->watches = true;
        result = json_pack("{s:s}", "state", control_state_name(h->state(h)));
        tell_health(cl->control, result);
    } else if (!rc) {
        rc = h->handle(h, &(struct control_request){cl->in.type, body, cl->in.fds, cl->in.fd_count}, &result, &err);
    }
    trace_debug(TRACE_CONTROL, "request %u, %s: %s", cl->in.type, control_name((enum control_type)cl->in.type),
                rc ? err.text : "done");
    message_close_files(&cl->in);
    json_decref(body);
    cl->serving = false;
    answer(cl, rc, result, &err);
}

static void received(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct client *cl = CONTAINER_OF(op, struct client, receive_op);
    struct err err;
    (void)cqe_flags;
    cl->receiving = false;
    int rc = message_unpack(&cl->in_wire, result, &err);
    if (rc || cl->ended) {
        if (!rc)
            message_close_files(&cl->in);
        else if (rc == -EPROTO)
            log_warn("control: %s", err.text);
        drop(cl);
    } else if (cl->sending) {
        cl->request_waits = true; /* an event: an answer has left before the next request is read */
    } else {
        serve(cl);
    }
}

static void receive(struct client *cl)
{
    if (cl->receiving)
        return;
    message_expect(&cl->in_wire, &cl->in);
    cl->receiving = true;
    io_uring_prep_recvmsg(loop_sqe(cl->control->loop, &cl->receive_op), cl->fd, &cl->in_wire.msg, MSG_CMSG_CLOEXEC);
}

/* ---- clients ---- */

static struct client **free_place(struct control *c)
{
    for (unsigned i = 0; i < CLIENT_MAX; i++)
        if (!c->clients[i])
            return &c->clients[i];
    return NULL;
}

static void came(struct acceptor *acceptor, int fd)
{
    struct control *c = CONTAINER_OF(acceptor, struct control, acceptor);
    struct client *cl = *free_place(c) = calloc(1, sizeof *cl);
    if (cl) {
        *cl = (struct client){.control = c, .fd = fd, .receive_op.done = received, .send_op.done = sent};
        receive(cl);
    } else {
        close(fd);
    }
    if (free_place(c))
        acceptor_ask(acceptor);
}

struct control *control_new(struct loop *loop, int listener, struct control_handler *handler, struct err *err)
{
    struct control *c = calloc(1, sizeof *c);
    if (!c) {
        err_set(err, ENOMEM, "no memory for the control socket");
        return NULL;
    }
    *c = (struct control){.loop = loop, .handler = handler};
    acceptor_init(&c->acceptor, loop, listener, "control", came);
    acceptor_ask(&c->acceptor);
    return c;
}

static bool busy(const struct control *c)
{
    bool any = acceptor_busy(&c->acceptor);
    for (unsigned i = 0; i < CLIENT_MAX; i++)
        any |= c->clients[i] != NULL;
    return any;
}

static void drop_clients(struct control *c)
{
    for (unsigned i = 0; i < CLIENT_MAX; i++)
        if (c->clients[i] && (!c->clients[i]->sending || c->hurried))
            drop(c->clients[i]);
}

static void hurry(struct loop_timer *timer)
{
    CONTAINER_OF(timer, struct control, last_words)->hurried = true;
}

void control_free(struct control *c)
{
    if (!c)
        return;
    c->ending = true;
    acceptor_end(&c->acceptor);
    c->last_words.fire = hurry;
    loop_timer_set(c->loop, &c->last_words, clock_ns() + LAST_WORDS_NS);
    while (drop_clients(c), busy(c))
        loop_step(c->loop);
    loop_timer_clear(c->loop, &c->last_words);
    close(c->acceptor.listener);
    free(c);
}
