/* See guest_link.h.
 *
 *     OPEN --hang-up, nonsense--> LOST --close--> CLOSING --nothing in flight--> freed
 *       +----------------------close-----------------^
 *
 * The first question is the link's own: WATCH. */
#include "node/agent/guest_link.h"

#include <errno.h>
#include <jansson.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/loop.h"
#include "node/base/message.h"

struct guest_link {
    struct loop *loop;
    struct guest_link_handler *handler;
    int fd;
    bool receiving, sending, lost, closing;
    struct loop_op receive_op, send_op;
    struct loop_job lost_job;
    STAILQ_HEAD(, guest_call) calls; /* the first one was asked */
    struct guest_call watch;
    uint32_t id;
    struct err why;
    struct message in, out;
    struct message_wire in_wire, out_wire;
};

static void receive(struct guest_link *l);
static void ask(struct guest_link *l);

static void free_if_idle(struct guest_link *l)
{
    if (!l->closing || l->receiving || l->sending || l->lost_job.queued)
        return;
    close(l->fd);
    free(l);
}

static void end_calls(struct guest_link *l, const char *text)
{
    struct guest_call *call;
    while ((call = STAILQ_FIRST(&l->calls))) {
        STAILQ_REMOVE_HEAD(&l->calls, link);
        json_decref(call->body);
        call->body = NULL;
        call->done(call, -EPIPE, NULL, text);
    }
}

static void tell_lost(struct loop_job *job)
{
    struct guest_link *l = CONTAINER_OF(job, struct guest_link, lost_job);
    if (l->closing) {
        free_if_idle(l);
        return;
    }
    end_calls(l, l->why.text);
    if (!l->closing) /* by one of the calls */
        l->handler->lost(l->handler, l->why.text);
}

static void lose(struct guest_link *l)
{
    if (l->lost)
        return;
    l->lost = true;
    loop_defer(l->loop, &l->lost_job);
}

/* ---- what comes in ---- */

static void take_event(struct guest_link *l, const json_t *body)
{
    const char *event = json_string_value(json_object_get(body, "event"));
    const char *state = json_string_value(json_object_get(body, "state"));
    const char *text = json_string_value(json_object_get(body, "text"));
    if (l->handler->health)
        l->handler->health(l->handler, body);
    l->handler->event(l->handler, event ? event : "", state ? state : "", text ? text : "");
}

static void take_answer(struct guest_link *l, const json_t *body)
{
    struct guest_call *call = STAILQ_FIRST(&l->calls);
    if (!call || l->in.id != l->id) {
        err_set(&l->why, EPROTO, "the guest answers what nobody asked");
        lose(l);
        return;
    }
    STAILQ_REMOVE_HEAD(&l->calls, link);
    int code = (int)json_integer_value(json_object_get(body, "code"));
    const char *text = json_string_value(json_object_get(body, "text"));
    bool failed = l->in.type != CONTROL_OK;
    ask(l);
    call->done(call, failed ? -(code > 0 ? code : EIO) : 0, failed ? NULL : body, text ? text : "");
}

static void received(struct loop_op *op, int result, uint32_t flags)
{
    (void)flags;
    struct guest_link *l = CONTAINER_OF(op, struct guest_link, receive_op);
    l->receiving = false;
    if (message_unpack(&l->in_wire, result, &l->why)) {
        lose(l);
        free_if_idle(l);
        return;
    }
    message_close_files(&l->in);
    if (l->closing) {
        free_if_idle(l);
        return;
    }
    json_t *body = json_loadb(l->in.body, l->in.body_bytes, JSON_REJECT_DUPLICATES, NULL);
    bool event = l->in.type == CONTROL_EVENT;
    receive(l); /* the message is parsed: its place is free for the next */
    if (!json_is_object(body)) {
        err_set(&l->why, EPROTO, "the guest does not speak JSON");
        lose(l);
    } else if (event) {
        take_event(l, body);
    } else {
        take_answer(l, body);
    }
    json_decref(body);
}

static void receive(struct guest_link *l)
{
    message_expect(&l->in_wire, &l->in);
    l->receiving = true;
    l->receive_op.done = received;
    io_uring_prep_recvmsg(loop_sqe(l->loop, &l->receive_op), l->fd, &l->in_wire.msg, MSG_CMSG_CLOEXEC);
}

/* ---- what goes out ---- */

static void sent(struct loop_op *op, int result, uint32_t flags)
{
    (void)flags;
    struct guest_link *l = CONTAINER_OF(op, struct guest_link, send_op);
    l->sending = false;
    if (result < 0 && !l->lost) {
        err_set(&l->why, -result, "cannot ask the guest: %s", strerror(-result));
        lose(l);
    }
    free_if_idle(l);
}

static void ask(struct guest_link *l)
{
    struct guest_call *call = STAILQ_FIRST(&l->calls);
    if (!call || l->lost || l->closing)
        return;
    json_t *empty = call->body ? NULL : json_object();
    size_t n = json_dumpb(call->body ? call->body : empty, l->out.body, MESSAGE_BODY_MAX, JSON_COMPACT);
    json_decref(empty);
    json_decref(call->body);
    call->body = NULL;
    l->out.body_bytes = n > MESSAGE_BODY_MAX ? 0 : n; /* the guest will say that this is no JSON */
    l->out.type = (uint16_t)call->type;
    l->out.id = ++l->id;
    l->out.fd_count = call->fd_count;
    memcpy(l->out.fds, call->fds, call->fd_count * sizeof *call->fds);
    message_pack(&l->out_wire, &l->out);
    l->sending = true;
    l->send_op.done = sent;
    io_uring_prep_sendmsg(loop_sqe(l->loop, &l->send_op), l->fd, &l->out_wire.msg, MSG_NOSIGNAL);
}

void guest_link_call(struct guest_link *l, struct guest_call *call)
{
    bool idle = STAILQ_EMPTY(&l->calls);
    STAILQ_INSERT_TAIL(&l->calls, call, link);
    if (l->lost)
        loop_defer(l->loop, &l->lost_job);
    else if (idle)
        ask(l);
}

/* ---- life ---- */

int guest_link_pid(const struct guest_link *l)
{
    struct ucred peer = {0};
    socklen_t len = sizeof peer;
    return getsockopt(l->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) ? 0 : peer.pid;
}

static void watched(struct guest_call *call, int rc, const json_t *answer, const char *text)
{
    struct guest_link *l = CONTAINER_OF(call, struct guest_link, watch);
    const char *state = json_string_value(json_object_get(answer, "state"));
    if (!rc && l->handler->health)
        l->handler->health(l->handler, answer);
    if (!rc)
        l->handler->open(l->handler, state ? state : "");
    if (!rc || rc == -EPIPE)
        return;
    err_set(&l->why, -rc, "the guest says nothing about itself: %s", text);
    lose(l);
}

int guest_link_open(struct loop *loop, const char *path, struct guest_link_handler *handler, struct guest_link **link,
                    struct err *err)
{
    int fd;
    int rc = message_connect(path, &fd, err);
    if (rc)
        return rc;
    struct guest_link *l = calloc(1, sizeof *l);
    if (!l) {
        close(fd);
        return err_set(err, ENOMEM, "out of memory");
    }
    l->loop = loop;
    l->handler = handler;
    l->fd = fd;
    l->lost_job.run = tell_lost;
    l->watch = (struct guest_call){.done = watched, .type = CONTROL_WATCH};
    STAILQ_INIT(&l->calls);
    receive(l);
    guest_link_call(l, &l->watch);
    *link = l;
    return 0;
}

void guest_link_close(struct guest_link *l)
{
    if (!l || l->closing)
        return;
    l->closing = true;
    end_calls(l, "the link to the guest was closed");
    if (l->receiving)
        loop_cancel(l->loop, &l->receive_op);
    if (l->sending)
        loop_cancel(l->loop, &l->send_op);
    if (!l->lost_job.queued)
        loop_defer(l->loop, &l->lost_job); /* frees it, if nothing is in flight */
}
