/* See nbd_session.h.
 *
 *     IDLE --start--> WAITING --timer--> DIALING --socket--> SHAKING --offer--> UP
 *      ^ ^               | end              | failed            | failed         | broke, end, left
 *      | '---------------'                  |                   v                v
 *      '<-------------- down() -------------'<--- down() --- CLOSING <-----------'
 *
 * The one timer is the delay in WAITING, the deadline of the attempt in DIALING and SHAKING, and
 * that of a goodbye in UP. */
#include "nbd/nbd_session.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/base/container.h"

static const uint64_t goodbye_ns = 1000000000;

static void become(struct nbd_session *s, enum nbd_session_state next)
{
    static const uint8_t allowed[] = {
        [SESSION_IDLE] = 1 << SESSION_WAITING,
        [SESSION_WAITING] = 1 << SESSION_DIALING | 1 << SESSION_IDLE,
        [SESSION_DIALING] = 1 << SESSION_SHAKING | 1 << SESSION_CLOSING | 1 << SESSION_IDLE,
        [SESSION_SHAKING] = 1 << SESSION_UP | 1 << SESSION_CLOSING,
        [SESSION_UP] = 1 << SESSION_CLOSING,
        [SESSION_CLOSING] = 1 << SESSION_IDLE,
    };
    assert(allowed[s->state] >> next & 1);
    (void)allowed;
    s->state = next;
}

/* ---- down ---- */

static void closed(struct stream *stream)
{
    struct nbd_session *s = CONTAINER_OF(CONTAINER_OF(stream, struct nbd_wire, stream), struct nbd_session, wire);
    become(s, SESSION_IDLE);
    free(s->buffer);
    s->buffer = NULL;
    s->down(s);
}

static void close_wire(struct nbd_session *s)
{
    loop_timer_clear(s->loop, &s->timer);
    become(s, SESSION_CLOSING);
    nbd_link_stop(&s->link);
    stream_close(&s->wire.stream, closed);
}

void nbd_session_end(struct nbd_session *s, int code, const char *format, ...)
{
    char text[ERR_TEXT_MAX];
    va_list args;
    if (s->state == SESSION_IDLE || s->state == SESSION_CLOSING)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    err_set(&s->err, code, "%s", text);
    switch (s->state) {
    case SESSION_WAITING:
        loop_timer_clear(s->loop, &s->timer);
        become(s, SESSION_IDLE);
        return;
    case SESSION_DIALING:
        nbd_dial_cancel(&s->dial);
        return;
    case SESSION_SHAKING:
        nbd_handshake_cancel(&s->handshake);
        close_wire(s);
        return;
    default:
        close_wire(s);
    }
}

static void broke(struct nbd_link *link)
{
    struct nbd_session *s = CONTAINER_OF(link, struct nbd_session, link);
    s->err = link->err;
    close_wire(s);
}

void nbd_session_leave(struct nbd_session *s)
{
    if (s->state != SESSION_UP) {
        nbd_session_end(s, ESHUTDOWN, "the client ends");
        return;
    }
    nbd_link_leave(&s->link);
    loop_timer_set(s->loop, &s->timer, loop_now_ns(s->loop) + goodbye_ns);
}

/* ---- up ---- */

static void shaken(struct nbd_handshake *handshake, int result)
{
    struct nbd_session *s = CONTAINER_OF(handshake, struct nbd_session, handshake);
    if (result) {
        s->err = handshake->err;
        close_wire(s);
        return;
    }
    loop_timer_clear(s->loop, &s->timer);
    s->offer = handshake->offer;
    become(s, SESSION_UP);
    nbd_link_start(&s->link, &s->wire, &s->offer, s->buffer, broke);
    s->up(s);
}

static void dialled(struct nbd_dial *dial, int fd)
{
    struct nbd_session *s = CONTAINER_OF(dial, struct nbd_session, dial);
    if (fd < 0) {
        if (fd != -ECANCELED) /* by nbd_session_end(), which knew better */
            s->err = dial->err;
        loop_timer_clear(s->loop, &s->timer);
        become(s, SESSION_IDLE);
        s->down(s);
        return;
    }
    stream_init(&s->wire.stream, s->loop, fd);
    s->buffer = malloc(NBD_LINK_BUFFER_BYTES);
    if (!s->buffer) {
        err_set(&s->err, ENOMEM, "no memory for a connection");
        close_wire(s);
        return;
    }
    become(s, SESSION_SHAKING);
    nbd_handshake_start(&s->handshake, &s->wire, &s->target->wish, s->buffer, shaken);
}

static void timer_fired(struct loop_timer *timer)
{
    struct nbd_session *s = CONTAINER_OF(timer, struct nbd_session, timer);
    if (s->state == SESSION_WAITING) {
        become(s, SESSION_DIALING);
        loop_timer_set(s->loop, &s->timer, loop_now_ns(s->loop) + s->target->timeout_ns);
        nbd_dial_start(&s->dial, s->loop, &s->target->peer, dialled);
    } else if (s->state == SESSION_UP) {
        nbd_session_end(s, ESHUTDOWN, "the server does not take the goodbye");
    } else {
        nbd_session_end(s, ETIMEDOUT, "the server does not answer within %.3g s (%s)",
                        (double)s->target->timeout_ns / 1e9, s->state == SESSION_DIALING ? "connecting" : "handshake");
    }
}

void nbd_session_start(struct nbd_session *s, uint64_t delay_ns)
{
    s->err = (struct err){0};
    become(s, SESSION_WAITING);
    loop_timer_set(s->loop, &s->timer, loop_now_ns(s->loop) + delay_ns);
}

int nbd_session_init(struct nbd_session *s, struct loop *loop, const struct nbd_target *target, unsigned commands)
{
    static_assert((int)NBD_HANDSHAKE_BUFFER_BYTES <= (int)NBD_LINK_BUFFER_BYTES, "one buffer serves both");
    *s = (struct nbd_session){.loop = loop, .target = target, .timer.fire = timer_fired};
    return nbd_link_init(&s->link, loop, commands);
}

void nbd_session_fini(struct nbd_session *s)
{
    assert(s->state == SESSION_IDLE);
    nbd_link_fini(&s->link);
}
