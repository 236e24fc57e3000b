/* See virtio_vsock.h.
 *
 *     transmit queue -> packet -> link -> socket          receive queue <- packet <- ready links, replies
 *
 * What is to be said to the guest is a set of wishes per link; links that have some stand in a line (ready) and get one
 * packet at a time, so that none starves the others. Resets for connections that do not exist have no link: they wait
 * in a short list, and while it is full nothing more is taken from the guest. */
#include "hv/virtio/virtio_vsock.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_vsock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hv/acceptor.h"
#include "hv/state.h"
#include "hv/virtio/chain.h"
#include "hv/virtio/io_thread.h"
#include "hv/virtio/virtio_device.h"
#include "hv/virtio/vsock_link.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum {
    RX,
    TX,
    EVENTS,
    QUEUES,
    QUEUE_SIZE = 256,
    PIECES = 64,
    HASHES = 64,
    REPLIES = 64,
    GREETERS = 16, /* clients that have not said which port: the oldest must go */
    FIRST_PORT = 1 << 30,
    HEADER = sizeof(struct virtio_vsock_hdr),
    PACKET_BYTES_MAX = 64 << 10,
};

TAILQ_HEAD(link_line, vsock_link);
LIST_HEAD(link_list, vsock_link);

struct reply {
    uint64_t cid;
    uint32_t host_port, guest_port;
};

struct virtio_vsock {
    struct virtio_device device;
    struct virtio_queue queues[QUEUES];
    struct io_thread *io;
    struct virtio_vsock_host *host;
    uint64_t cid;
    /* the I/O thread's */
    struct vsock_link links[VIRTIO_VSOCK_LINKS];
    struct link_list by_ports[HASHES], idle;
    struct link_line ready, greeters;
    unsigned greeter_count;
    struct reply replies[REPLIES];
    unsigned reply_first, reply_count;
    bool transmit_waits; /* for room among the replies */
    bool reset_event;    /* connections were lost: the guest must learn it */
    uint32_t next_port;
    struct acceptor acceptor;
    struct iovec pieces[QUEUES][PIECES];
};

static struct virtio_vsock *vsock_of(struct virtio_device *d)
{
    return CONTAINER_OF(d, struct virtio_vsock, device);
}

/* ---- links ---- */

static struct link_list *hash(struct virtio_vsock *vs, uint32_t host_port, uint32_t guest_port)
{
    return &vs->by_ports[(host_port * 31 + guest_port) % HASHES];
}

static struct vsock_link *find(struct virtio_vsock *vs, uint32_t host_port, uint32_t guest_port)
{
    struct vsock_link *link;
    LIST_FOREACH (link, hash(vs, host_port, guest_port), place)
        if (link->host_port == host_port && link->guest_port == guest_port)
            return link;
    return NULL;
}

static struct vsock_link *take_idle(struct virtio_vsock *vs, int fd, enum vsock_phase phase)
{
    struct vsock_link *link = LIST_FIRST(&vs->idle);
    if (!link)
        return NULL;
    LIST_REMOVE(link, place);
    vsock_link_open(link, fd, phase);
    return link;
}

static void name(struct virtio_vsock *vs, struct vsock_link *link, uint32_t host_port, uint32_t guest_port)
{
    link->host_port = host_port;
    link->guest_port = guest_port;
    LIST_INSERT_HEAD(hash(vs, host_port, guest_port), link, place);
}

static void leave_greeters(struct virtio_vsock *vs, struct vsock_link *link)
{
    TAILQ_REMOVE(&vs->greeters, link, ready);
    vs->greeter_count--;
}

static void drop(struct virtio_vsock *vs, struct vsock_link *link)
{
    if (link->phase == VSOCK_GREETS)
        leave_greeters(vs, link);
    else
        LIST_REMOVE(link, place);
    if (link->listed)
        TAILQ_REMOVE(&vs->ready, link, ready);
    link->listed = false;
    vsock_link_drop(link);
}

static void drop_all(void *context)
{
    struct virtio_vsock *vs = context;
    for (unsigned i = 0; i < VIRTIO_VSOCK_LINKS; i++)
        if (vs->links[i].phase != VSOCK_FREE && vs->links[i].phase != VSOCK_DYING)
            drop(vs, &vs->links[i]);
    vs->reply_count = 0;
    vs->transmit_waits = false;
}

/* Stands in the line as long as it has wishes. */
static void stand_in_line(struct virtio_vsock *vs, struct vsock_link *link)
{
    bool open = link->phase == VSOCK_OPEN || link->phase == VSOCK_ASKS;
    if (open && link->guest_is_done && link->guest_is_deaf && vsock_link_is_flushed(link))
        link->wishes |= VSOCK_WISH_RESET;
    bool wanted = open && link->wishes;
    if (wanted == link->listed)
        return;
    if (wanted)
        TAILQ_INSERT_TAIL(&vs->ready, link, ready);
    else
        TAILQ_REMOVE(&vs->ready, link, ready);
    link->listed = wanted;
}

/* ---- to the guest ---- */

static void write_header(const struct virtio_vsock *vs, const struct vsock_link *link, const struct chain *c,
                         uint16_t op, uint32_t flags, uint32_t len)
{
    struct virtio_vsock_hdr h = {
        .src_cid = VIRTIO_VSOCK_HOST_CID,
        .dst_cid = vs->cid,
        .src_port = link->host_port,
        .dst_port = link->guest_port,
        .len = len,
        .type = VIRTIO_VSOCK_TYPE_STREAM,
        .op = op,
        .flags = flags,
        .buf_alloc = VIRTIO_VSOCK_BUFFER_BYTES,
        .fwd_cnt = link->taken,
    };
    chain_write(c, 0, &h, sizeof h);
}

static void say_reply(struct virtio_vsock *vs, const struct chain *c)
{
    const struct reply *r = &vs->replies[vs->reply_first];
    struct virtio_vsock_hdr h = {
        .src_cid = r->cid,
        .dst_cid = vs->cid,
        .src_port = r->host_port,
        .dst_port = r->guest_port,
        .type = VIRTIO_VSOCK_TYPE_STREAM,
        .op = VIRTIO_VSOCK_OP_RST,
    };
    chain_write(c, 0, &h, sizeof h);
    vs->reply_first = (vs->reply_first + 1) % REPLIES;
    vs->reply_count--;
}

/* Bytes of the packet; 0: there was nothing to say after all. */
static uint64_t say_data(struct virtio_vsock *vs, struct vsock_link *link, const struct chain *c)
{
    struct iovec iov[PIECES];
    uint64_t room = c->writable_bytes - HEADER;
    uint32_t credit = vsock_link_credit(link);
    link->wishes &= ~(unsigned)VSOCK_WISH_DATA;
    if (link->guest_is_deaf || link->host_is_done)
        return 0;
    if (!credit) {
        link->waits_credit = true;
        link->wishes |= VSOCK_WISH_CREDIT_REQUEST;
        return 0;
    }
    room = room < credit ? room : credit;
    room = room < PACKET_BYTES_MAX ? room : PACKET_BYTES_MAX;
    ssize_t n = vsock_link_read(link, iov, chain_slice_writable(c, HEADER, room, iov, PIECES));
    if (n > 0) {
        link->wishes |= VSOCK_WISH_DATA; /* perhaps more */
        write_header(vs, link, c, VIRTIO_VSOCK_OP_RW, 0, (uint32_t)n);
        return HEADER + (uint64_t)n;
    }
    if (n == -EAGAIN) {
        vsock_link_watch_in(link);
    } else if (n == 0) {
        link->host_is_done = true;
        link->wishes |= VSOCK_WISH_SHUTDOWN;
    } else {
        link->wishes |= VSOCK_WISH_RESET;
    }
    return 0;
}

static uint64_t say(struct virtio_vsock *vs, struct vsock_link *link, const struct chain *c)
{
    static const struct {
        unsigned wish;
        uint16_t op;
        uint32_t flags;
    } packets[] = {{VSOCK_WISH_REQUEST, VIRTIO_VSOCK_OP_REQUEST, 0},
                   {VSOCK_WISH_RESPONSE, VIRTIO_VSOCK_OP_RESPONSE, 0},
                   {VSOCK_WISH_CREDIT_UPDATE, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0},
                   {VSOCK_WISH_CREDIT_REQUEST, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0},
                   {VSOCK_WISH_SHUTDOWN, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND}};
    if (link->wishes & VSOCK_WISH_RESET) {
        write_header(vs, link, c, VIRTIO_VSOCK_OP_RST, 0, 0);
        drop(vs, link);
        return HEADER;
    }
    for (unsigned i = 0; i < sizeof packets / sizeof *packets; i++) {
        if (!(link->wishes & packets[i].wish))
            continue;
        if (link->wishes & VSOCK_WISH_DATA && packets[i].wish == VSOCK_WISH_SHUTDOWN)
            break;
        link->wishes &= ~packets[i].wish;
        write_header(vs, link, c, packets[i].op, packets[i].flags, 0);
        link->taken_told = link->taken; /* every header says it */
        return HEADER;
    }
    uint64_t bytes = say_data(vs, link, c);
    if (bytes)
        link->taken_told = link->taken;
    return bytes;
}

/* One packet of whoever is next. */
static uint64_t say_next(struct virtio_vsock *vs, const struct chain *c)
{
    if (vs->reply_count) {
        say_reply(vs, c);
        return HEADER;
    }
    struct vsock_link *link = TAILQ_FIRST(&vs->ready);
    uint64_t bytes = say(vs, link, c);
    if (link->listed) { /* to the end of the line */
        TAILQ_REMOVE(&vs->ready, link, ready);
        link->listed = false;
    }
    stand_in_line(vs, link);
    return bytes;
}

static bool has_something_to_say(const struct virtio_vsock *vs)
{
    return vs->reply_count || !TAILQ_EMPTY(&vs->ready);
}

static void pump(struct virtio_vsock *vs)
{
    struct virtio_queue *vq = &vs->queues[RX];
    struct chain c = {.iov = vs->pieces[RX], .room = PIECES};
    if (!virtio_queue_serves(vq))
        return;
    queue_quiet(&vq->ring);
    while (has_something_to_say(vs)) {
        if (!queue_pop(&vq->ring, &c)) {
            if (queue_listen(&vq->ring) && !vq->ring.broken)
                continue;
            break;
        }
        if (c.readable_bytes || c.writable_bytes <= HEADER) {
            queue_refuse(&vq->ring, "a buffer for packets that cannot be written to, or is too short");
            break;
        }
        uint64_t bytes = say_next(vs, &c);
        if (bytes)
            queue_push(&vq->ring, &c, bytes);
        else
            queue_unpop(&vq->ring, 1);
    }
    queue_publish(&vq->ring);
    if (vs->transmit_waits && vs->reply_count < REPLIES) {
        vs->transmit_waits = false;
        virtio_queue_poke(&vs->queues[TX]);
    }
}

/* ---- a link has changed ---- */

static void greeted(struct virtio_vsock *vs, struct vsock_link *link)
{
    link->wishes = 0;
    int rc = vsock_link_greet(link);
    if (rc == 0) {
        vsock_link_watch_in(link);
    } else if (rc < 0) {
        drop(vs, link);
    } else {
        leave_greeters(vs, link);
        link->phase = VSOCK_ASKS;
        link->greeted = true;
        link->wishes = VSOCK_WISH_REQUEST;
        name(vs, link, vs->next_port++, link->guest_port);
    }
}

static void changed(struct vsock_link *link)
{
    struct virtio_vsock *vs = link->owner;
    if (link->phase == VSOCK_FREE) {
        LIST_INSERT_HEAD(&vs->idle, link, place);
        return;
    }
    if (link->phase == VSOCK_GREETS)
        greeted(vs, link);
    stand_in_line(vs, link);
    pump(vs);
}

/* ---- from the guest ---- */

static void refuse(struct virtio_vsock *vs, const struct virtio_vsock_hdr *h)
{
    if (h->op == VIRTIO_VSOCK_OP_RST)
        return;
    vs->replies[(vs->reply_first + vs->reply_count++) % REPLIES] =
        (struct reply){.cid = h->dst_cid, .host_port = h->dst_port, .guest_port = h->src_port};
}

static void take_credit(struct vsock_link *link, const struct virtio_vsock_hdr *h)
{
    link->peer_alloc = h->buf_alloc;
    link->peer_taken = h->fwd_cnt;
    if (link->waits_credit && vsock_link_credit(link)) {
        link->waits_credit = false;
        link->wishes |= VSOCK_WISH_DATA;
    }
}

static void accept_guest(struct virtio_vsock *vs, const struct virtio_vsock_hdr *h)
{
    int fd = vs->host && !LIST_EMPTY(&vs->idle) ? vs->host->dial(vs->host, h->dst_port) : -ECONNREFUSED;
    if (fd < 0) {
        refuse(vs, h);
        return;
    }
    struct vsock_link *link = take_idle(vs, fd, VSOCK_OPEN);
    name(vs, link, h->dst_port, h->src_port);
    take_credit(link, h);
    link->wishes = VSOCK_WISH_RESPONSE;
    vsock_link_watch_in(link);
    stand_in_line(vs, link);
}

static void answered(struct vsock_link *link)
{
    char line[32];
    link->phase = VSOCK_OPEN;
    if (link->greeted) {
        int n = snprintf(line, sizeof line, "OK %u\n", link->host_port);
        if (send(link->fd, line, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) != n)
            link->wishes |= VSOCK_WISH_RESET;
    }
    vsock_link_watch_in(link);
}

static void shut_down(struct vsock_link *link, uint32_t flags)
{
    if (flags & VIRTIO_VSOCK_SHUTDOWN_RCV)
        link->guest_is_deaf = true;
    if (flags & VIRTIO_VSOCK_SHUTDOWN_SEND && !link->guest_is_done)
        vsock_link_finish(link);
}

static void take_data(struct vsock_link *link, const struct chain *c, uint32_t len)
{
    struct iovec iov[PIECES];
    int n = chain_slice_readable(c, HEADER, len, iov, PIECES);
    if (link->guest_is_done || n < 0 || (len && vsock_link_write(link, iov, n, len) < 0))
        link->wishes |= VSOCK_WISH_RESET;
}

/* A packet for a link that exists. */
static void take_for(struct virtio_vsock *vs, struct vsock_link *link, const struct virtio_vsock_hdr *h,
                     const struct chain *c)
{
    bool open = link->phase == VSOCK_OPEN;
    take_credit(link, h);
    switch (h->op) {
    case VIRTIO_VSOCK_OP_RST:
        drop(vs, link);
        return;
    case VIRTIO_VSOCK_OP_RESPONSE:
        if (!open)
            answered(link);
        else
            link->wishes |= VSOCK_WISH_RESET;
        break;
    case VIRTIO_VSOCK_OP_RW:
        if (open)
            take_data(link, c, h->len);
        else
            link->wishes |= VSOCK_WISH_RESET;
        break;
    case VIRTIO_VSOCK_OP_SHUTDOWN:
        shut_down(link, h->flags);
        break;
    case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
        break;
    case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
        link->wishes |= VSOCK_WISH_CREDIT_UPDATE;
        break;
    default: /* also a request for what is connected already */
        link->wishes |= VSOCK_WISH_RESET;
    }
    stand_in_line(vs, link);
}

static void take_packet(struct virtio_vsock *vs, const struct chain *c)
{
    struct virtio_vsock_hdr h;
    chain_read(c, 0, &h, sizeof h);
    if (h.src_cid != vs->cid)
        return; /* from nobody we know: nobody to answer */
    if (h.dst_cid != VIRTIO_VSOCK_HOST_CID || h.type != VIRTIO_VSOCK_TYPE_STREAM ||
        h.len > c->readable_bytes - HEADER) {
        refuse(vs, &h);
        return;
    }
    struct vsock_link *link = find(vs, h.dst_port, h.src_port);
    if (link)
        take_for(vs, link, &h, c);
    else if (h.op == VIRTIO_VSOCK_OP_REQUEST)
        accept_guest(vs, &h);
    else
        refuse(vs, &h);
}

static void transmit(struct virtio_vsock *vs, struct virtio_queue *vq)
{
    struct chain c = {.iov = vs->pieces[TX], .room = PIECES};
    do {
        queue_quiet(&vq->ring);
        for (;;) {
            vs->transmit_waits = vs->reply_count == REPLIES;
            if (vs->transmit_waits || !queue_pop(&vq->ring, &c))
                break;
            if (c.readable_bytes < HEADER) {
                queue_refuse(&vq->ring, "a packet without a header");
                break;
            }
            take_packet(vs, &c);
            queue_push(&vq->ring, &c, 0);
        }
        queue_publish(&vq->ring);
        pump(vs);
    } while (!vs->transmit_waits && queue_listen(&vq->ring));
}

static void tell_event(struct virtio_vsock *vs, struct virtio_queue *vq)
{
    struct chain c = {.iov = vs->pieces[EVENTS], .room = PIECES};
    struct virtio_vsock_event event = {.id = VIRTIO_VSOCK_EVENT_TRANSPORT_RESET};
    if (!vs->reset_event || !queue_pop(&vq->ring, &c))
        return;
    vs->reset_event = false;
    queue_push(&vq->ring, &c, chain_write(&c, 0, &event, sizeof event));
    queue_publish(&vq->ring);
}

static void kick(struct virtio_queue *vq)
{
    struct virtio_vsock *vs = vsock_of(vq->device);
    if (vq->index == RX)
        pump(vs);
    else if (vq->index == TX)
        transmit(vs, vq);
    else
        tell_event(vs, vq);
}

/* ---- from the host ---- */

static void welcome(struct virtio_vsock *vs, int fd)
{
    if (vs->greeter_count == GREETERS)
        drop(vs, TAILQ_FIRST(&vs->greeters));
    struct vsock_link *link = take_idle(vs, fd, VSOCK_GREETS);
    if (!link) {
        close(fd);
        return;
    }
    TAILQ_INSERT_TAIL(&vs->greeters, link, ready);
    vs->greeter_count++;
    vsock_link_watch_in(link);
}

static void came(struct acceptor *acceptor, int fd)
{
    welcome(CONTAINER_OF(acceptor, struct virtio_vsock, acceptor), fd);
    acceptor_ask(acceptor);
}

static void start_listening(void *context)
{
    struct virtio_vsock *vs = context;
    acceptor_ask(&vs->acceptor);
}

struct connecting {
    struct virtio_vsock *vs;
    int fd, rc;
    uint32_t port;
};

static void connect_now(void *context)
{
    struct connecting *c = context;
    struct vsock_link *link = take_idle(c->vs, c->fd, VSOCK_ASKS);
    c->rc = link ? 0 : -EBUSY;
    if (!link)
        return;
    name(c->vs, link, c->vs->next_port++, c->port);
    link->wishes = VSOCK_WISH_REQUEST;
    stand_in_line(c->vs, link);
    pump(c->vs);
}

int virtio_vsock_connect(struct virtio_vsock *vs, int fd, uint32_t port)
{
    struct connecting c = {.vs = vs, .fd = fd, .port = port};
    io_thread_call(vs->io, connect_now, &c);
    return c.rc;
}

/* ---- registers ---- */

static void config_read(struct virtio_device *d, uint8_t *to)
{
    struct virtio_vsock_config c = {.guest_cid = vsock_of(d)->cid};
    memcpy(to, &c, sizeof c);
}

static void reset(struct virtio_device *d)
{
    struct virtio_vsock *vs = vsock_of(d);
    io_thread_call(vs->io, drop_all, vs);
    vs->reset_event = false;
}

static void state(struct virtio_device *d, struct state *s)
{
    struct virtio_vsock *vs = vsock_of(d);
    if (!state_loading(s))
        return;
    io_thread_call(vs->io, drop_all, vs);
    vs->reset_event = true;
}

static const struct virtio_device_ops ops = {.config_read = config_read, .reset = reset, .state = state, .kick = kick};

/* ---- beginning and end ---- */

int virtio_vsock_new(struct memory *memory, struct io_thread *io, const struct virtio_vsock_options *o,
                     struct virtio_vsock **out, struct err *err)
{
    if (o->cid <= VIRTIO_VSOCK_HOST_CID || o->cid == UINT32_MAX)
        return err_set(err, EINVAL, "a guest's vsock number is 3 to %u, not %u", UINT32_MAX - 1, o->cid);
    struct virtio_vsock *vs = calloc(1, sizeof *vs);
    if (!vs)
        return err_set(err, ENOMEM, "no memory for vsock");
    vs->io = io;
    vs->host = o->host;
    vs->cid = o->cid;
    vs->next_port = FIRST_PORT;
    acceptor_init(&vs->acceptor, io_thread_loop(io), o->listen_fd, "vsock", came);
    TAILQ_INIT(&vs->ready);
    TAILQ_INIT(&vs->greeters);
    for (unsigned i = VIRTIO_VSOCK_LINKS; i--;) {
        vsock_link_init(&vs->links[i], io, vs, changed);
        LIST_INSERT_HEAD(&vs->idle, &vs->links[i], place);
    }
    for (unsigned i = 0; i < QUEUES; i++) {
        vs->queues[i].io = io;
        vs->queues[i].size_max = QUEUE_SIZE;
    }
    vs->device = (struct virtio_device){.ops = &ops,
                                        .name = "virtio-vsock",
                                        .id = VIRTIO_ID_VSOCK,
                                        .config_bytes = sizeof(struct virtio_vsock_config),
                                        .queues = vs->queues,
                                        .queue_count = QUEUES,
                                        .memory = memory};
    int rc = virtio_device_init(&vs->device, err);
    if (rc) {
        free(vs);
        return rc;
    }
    io_thread_call(io, start_listening, vs);
    *out = vs;
    return 0;
}

static void end_all(void *context)
{
    struct virtio_vsock *vs = context;
    drop_all(vs);
    acceptor_end(&vs->acceptor);
}

struct ending {
    struct virtio_vsock *vs;
    bool done;
};

static void look_whether_done(void *context)
{
    struct ending *e = context;
    e->done = !acceptor_busy(&e->vs->acceptor);
    for (unsigned i = 0; i < VIRTIO_VSOCK_LINKS; i++)
        e->done &= e->vs->links[i].phase == VSOCK_FREE;
}

void virtio_vsock_free(struct virtio_vsock *vs)
{
    if (!vs)
        return;
    virtio_device_fini(&vs->device);
    io_thread_call(vs->io, end_all, vs);
    struct ending e = {.vs = vs};
    while (!e.done) /* what was cancelled comes back within a turn or two of the loop */
        io_thread_call(vs->io, look_whether_done, &e);
    free(vs);
}

struct virtio_device *virtio_vsock_device(struct virtio_vsock *vs)
{
    return &vs->device;
}
