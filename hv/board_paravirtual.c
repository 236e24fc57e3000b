/* The paravirtual devices that are no disks: networks, console, random numbers, balloon, vsock. One I/O thread serves
 * them: a network's work is mostly the kernel's, and the others have little. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hv/board_inside.h"
#include "hv/bus.h"
#include "hv/guest_jail.h"
#include "hv/memory.h"
#include "hv/tap.h"
#include "hv/virtio/io_thread.h"
#include "hv/virtio/virtio_balloon.h"
#include "hv/virtio/virtio_console.h"
#include "hv/virtio/virtio_net.h"
#include "hv/virtio/virtio_pci.h"
#include "hv/virtio/virtio_rng.h"
#include "hv/virtio/virtio_vsock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/listen.h"

struct net {
    struct virtio_net *virtio; /* NULL: none */
    struct virtio_pci *pci;
    int fds[GUEST_QUEUE_MAX];
    unsigned fd_count;
};

struct paravirtual {
    struct io_thread *io;
    struct virtio_pci *pcis[BOARD_VIRTIO_MAX];
    unsigned pci_count;

    struct net nets[GUEST_NET_MAX];
    struct virtio_rng *rng;
    struct virtio_balloon *balloon;
    struct virtio_vsock *vsock;
    int vsock_listener; /* -1: none */

    struct virtio_console *port;
    struct virtio_console_host host;
    struct console *console;
    struct console_guest guest;
};

static int plug(struct board *b, struct virtio_device *device, unsigned instance, struct err *err)
{
    struct paravirtual *v = b->paravirtual;
    struct virtio_pci *pci = virtio_pci_new(device, instance, b->parts.bus, err);
    if (!pci)
        return -1;
    v->pcis[v->pci_count++] = pci;
    struct board_virtio what = {.pci = pci, .device = device, .kind = BOARD_OTHER, .index = instance};
    return board_plug(b, &what, err);
}

/* ---- networks ---- */

static int open_tap(const struct guest_net *net, int *fds, struct err *err)
{
    int rc = guest_jail_network(true, err);
    if (rc)
        return rc;
    rc = tap_open(net->tap, net->queues, fds, err);
    int back = guest_jail_network(false, rc ? NULL : err);
    for (unsigned i = 0; !rc && back && i < net->queues; i++)
        close(fds[i]);
    return rc ? rc : back;
}

/* n->fds are there, and its own from here on. */
static int make_net(struct board *b, const struct guest_net *c, unsigned i, struct err *err)
{
    struct paravirtual *v = b->paravirtual;
    struct net *n = &v->nets[i];
    struct virtio_net_options options = {
        .mtu = (uint16_t)c->mtu,
        .tap = c->tap != NULL,
        .pairs = c->queues,
        .fds = n->fds,
        .ios = &v->io,
        .io_count = 1,
    };
    memcpy(options.mac, c->mac, sizeof options.mac);
    n->fd_count = c->queues;
    int rc = virtio_net_new(b->parts.memory, &options, &n->virtio, err);
    if (rc)
        return rc;
    n->pci = virtio_pci_new(virtio_net_device(n->virtio), i, b->parts.bus, err);
    if (!n->pci)
        return -ENOMEM;
    struct board_virtio what = {
        .pci = n->pci, .device = virtio_net_device(n->virtio), .kind = BOARD_NET, .index = i, .slot = c->slot};
    return board_plug(b, &what, err);
}

static int build_net(struct board *b, unsigned i, struct err *err)
{
    const struct guest_net *c = &b->parts.config->nets[i];
    struct net *n = &b->paravirtual->nets[i];
    n->fds[0] = (int)c->fd;
    int rc = c->tap ? open_tap(c, n->fds, err) : 0;
    return rc ? rc : make_net(b, c, i, err);
}

int board_add_net(struct board *b, const struct guest_net *config, const int *fds, unsigned *index, struct err *err)
{
    struct paravirtual *v = b->paravirtual;
    unsigned i = 0;
    while (i < GUEST_NET_MAX && v->nets[i].virtio)
        i++;
    if (i == GUEST_NET_MAX)
        return err_set(err, ENOSPC, "the guest has %d networks: remove one first", GUEST_NET_MAX);
    memcpy(v->nets[i].fds, fds, config->queues * sizeof *fds);
    int rc = make_net(b, config, i, err);
    if (rc) {
        v->nets[i].fd_count = 0; /* the caller's still */
        board_free_net(b, i);
        return err_prefix(err, "nets[%u]", i);
    }
    *index = i;
    return 0;
}

int board_remove_net(struct board *b, unsigned index, struct err *err)
{
    return board_remove(b, BOARD_NET, index, err);
}

/* ---- hvc0 ---- */

static size_t port_prints(struct virtio_console_host *host, const uint8_t *data, size_t bytes)
{
    return console_write(CONTAINER_OF(host, struct paravirtual, host)->console, data, bytes);
}

static void port_has_room(struct virtio_console_host *host)
{
    console_room_again(CONTAINER_OF(host, struct paravirtual, host)->console);
}

static size_t room(struct console_guest *guest)
{
    return virtio_console_room(CONTAINER_OF(guest, struct paravirtual, guest)->port);
}

static void input(struct console_guest *guest, const uint8_t *data, size_t bytes)
{
    virtio_console_input(CONTAINER_OF(guest, struct paravirtual, guest)->port, data, bytes);
}

static void writable(struct console_guest *guest)
{
    virtio_console_output_ready(CONTAINER_OF(guest, struct paravirtual, guest)->port);
}

static int build_console(struct board *b, struct err *err)
{
    const struct board_parts *p = &b->parts;
    struct paravirtual *v = b->paravirtual;
    if (p->config->virtio_console.kind == GUEST_CONSOLE_NONE)
        return 0;
    v->host = (struct virtio_console_host){port_prints, port_has_room};
    v->guest = (struct console_guest){room, input, writable};
    v->console = console_new(p->loop, p->bus, &p->config->virtio_console, "virtio-console", p->quit, p->context, err);
    if (!v->console)
        return -1;
    struct virtio_console_parts parts = {p->memory, p->bus, p->loop, v->io, &v->host};
    int rc = virtio_console_new(&parts, &v->port, err);
    return rc ? rc : plug(b, virtio_console_device(v->port), 0, err);
}

/* ---- the others ---- */

static int build_rng(struct board *b, struct err *err)
{
    struct paravirtual *v = b->paravirtual;
    if (!b->parts.config->rng)
        return 0;
    int rc = virtio_rng_new(b->parts.memory, v->io, 0, &v->rng, err);
    return rc ? rc : plug(b, virtio_rng_device(v->rng), 0, err);
}

static int build_balloon(struct board *b, struct err *err)
{
    struct paravirtual *v = b->paravirtual;
    if (!b->parts.config->balloon)
        return 0;
    int rc = virtio_balloon_new(b->parts.memory, v->io, &v->balloon, err);
    return rc ? rc : plug(b, virtio_balloon_device(v->balloon), 0, err);
}

/* Programs of the host reach the guest's ports through a unix socket; a guest finds nobody, since a sealed process
 * connects to nothing. */
static int build_vsock(struct board *b, struct err *err)
{
    struct paravirtual *v = b->paravirtual;
    const struct guest_config *c = b->parts.config;
    char address[sizeof "unix:" + 128];
    if (!c->vsock_cid)
        return 0;
    snprintf(address, sizeof address, "unix:%s", c->vsock_path);
    int rc = listen_open(address, &v->vsock_listener, 1, err);
    if (rc < 0)
        return err_prefix(err, "vsock-path");
    struct virtio_vsock_options options = {.cid = c->vsock_cid, .listen_fd = v->vsock_listener};
    rc = virtio_vsock_new(b->parts.memory, v->io, &options, &v->vsock, err);
    return rc ? rc : plug(b, virtio_vsock_device(v->vsock), 0, err);
}

int board_build_paravirtual(struct board *b, struct err *err)
{
    b->paravirtual = calloc(1, sizeof *b->paravirtual);
    if (!b->paravirtual)
        return err_set(err, ENOMEM, "no memory for devices");
    b->paravirtual->vsock_listener = -1;
    b->paravirtual->io = io_thread_new("devices", 1, err);
    int rc = b->paravirtual->io ? 0 : -1;
    for (unsigned i = 0; !rc && i < b->parts.config->net_count; i++) {
        const struct guest_net *c = &b->parts.config->nets[i];
        rc = c->tap || c->fd != UINT32_MAX ? build_net(b, i, err) : 0;
        if (rc)
            err_prefix(err, "nets[%u]", i);
    }
    rc = rc ? rc : build_console(b, err);
    rc = rc ? rc : build_rng(b, err);
    rc = rc ? rc : build_balloon(b, err);
    return rc ? rc : build_vsock(b, err);
}

void board_free_net(struct board *b, unsigned index)
{
    struct net *n = &b->paravirtual->nets[index];
    virtio_pci_free(n->pci);
    virtio_net_free(n->virtio);
    for (unsigned i = 0; i < n->fd_count; i++)
        close(n->fds[i]);
    *n = (struct net){0};
}

struct io_thread *board_paravirtual_io(struct board *b)
{
    return b->paravirtual->io;
}

/* Nobody turns the loop from here to the end of the port, so it prints no more. */
void board_let_go_paravirtual(struct board *b)
{
    struct paravirtual *v = b->paravirtual;
    board_paravirtual_goes_on(b);
    console_free(v->console);
    v->console = NULL;
}

void board_free_paravirtual(struct board *b)
{
    struct paravirtual *v = b->paravirtual;
    if (!v)
        return;
    for (unsigned i = 0; i < v->pci_count; i++)
        virtio_pci_free(v->pcis[i]);
    for (unsigned i = 0; i < GUEST_NET_MAX; i++)
        board_free_net(b, i);
    virtio_vsock_free(v->vsock);
    if (v->vsock_listener >= 0)
        close(v->vsock_listener);
    virtio_balloon_free(v->balloon);
    virtio_rng_free(v->rng);
    board_let_go_paravirtual(b);
    virtio_console_free(v->port);
    io_thread_free(v->io);
    free(v);
    b->paravirtual = NULL;
}

void board_paravirtual_listen(struct board *b)
{
    struct paravirtual *v = b->paravirtual;
    if (v->port)
        console_attach(v->console, &v->guest);
}

void board_paravirtual_goes_on(struct board *b)
{
    struct paravirtual *v = b->paravirtual;
    if (!v->port)
        return;
    bus_lock(b->parts.bus);
    virtio_console_output_ready(v->port);
    bus_unlock(b->parts.bus);
}

/* ---- balloon and counters ---- */

int board_balloon(struct board *b, uint64_t keep_bytes, struct err *err)
{
    struct paravirtual *v = b->paravirtual;
    uint64_t all = memory_size(b->parts.memory);
    if (!v->balloon)
        return err_set(err, ENODEV, "the guest has no balloon: it was started with --no-balloon");
    if (keep_bytes > all || !keep_bytes)
        return err_set(err, EINVAL, "bytes: must be from 1 to the guest's memory, %llu", (unsigned long long)all);
    bus_lock(b->parts.bus);
    virtio_balloon_set_target(v->balloon, all - keep_bytes);
    bus_unlock(b->parts.bus);
    return 0;
}

static json_t *net_stats(const struct virtio_net *net, unsigned index, unsigned slot)
{
    struct virtio_net_stats s;
    virtio_net_stats(net, &s);
    return json_pack("{s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:I}", "net", (int)index, "slot", (int)slot,
                     "received-packets", (json_int_t)s.received_packets, "received-bytes", (json_int_t)s.received_bytes,
                     "received-dropped", (json_int_t)s.received_dropped, "sent-packets", (json_int_t)s.sent_packets,
                     "sent-bytes", (json_int_t)s.sent_bytes, "sent-dropped", (json_int_t)s.sent_dropped);
}

/* What the guest did not say is left out. */
static void tell(json_t *object, const char *name, uint64_t value)
{
    if (value != UINT64_MAX)
        json_object_set_new(object, name, json_integer((json_int_t)value));
}

static json_t *balloon_stats(struct virtio_balloon *balloon)
{
    struct virtio_balloon_stats s;
    json_t *o = json_object();
    virtio_balloon_stats(balloon, &s);
    virtio_balloon_ask_stats(balloon); /* for the next time */
    tell(o, "target", s.target);
    tell(o, "inflated", s.inflated);
    tell(o, "given-bytes", s.given_bytes);
    tell(o, "reported-free-bytes", s.free_bytes);
    tell(o, "guest-free", s.free);
    tell(o, "guest-available", s.available);
    tell(o, "guest-total", s.total);
    tell(o, "guest-caches", s.caches);
    tell(o, "swapped-in", s.swapped_in);
    tell(o, "swapped-out", s.swapped_out);
    tell(o, "major-faults", s.major_faults);
    tell(o, "minor-faults", s.minor_faults);
    return o;
}

void board_paravirtual_stats(struct board *b, json_t *all)
{
    struct paravirtual *v = b->paravirtual;
    json_t *nets = json_array();
    for (unsigned i = 0; i < GUEST_NET_MAX; i++)
        if (v->nets[i].virtio)
            json_array_append_new(nets, net_stats(v->nets[i].virtio, i, board_virtio_of(b, BOARD_NET, i)->slot));
    json_object_set_new(all, "nets", nets);
    if (v->balloon)
        json_object_set_new(all, "balloon", balloon_stats(v->balloon));
}

void board_announce(struct board *b)
{
    for (unsigned i = 0; i < GUEST_NET_MAX; i++) {
        struct virtio_net *vn = b->paravirtual->nets[i].virtio;
        if (!vn)
            continue;
        virtio_net_announce_for(vn);
        bus_lock(b->parts.bus);
        virtio_net_announce(vn);
        bus_unlock(b->parts.bus);
    }
}
