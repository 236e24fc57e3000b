/* See virtio_net.h. Queues: receive 0, send 0, receive 1, send 1, ..., control. A driver that does not use several
 * pairs finds the control queue behind the first pair, whatever the device could do (virtio 1.2, 5.1.2). */
#include "hv/virtio/virtio_net.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "hv/state.h"
#include "hv/virtio/chain.h"
#include "hv/virtio/net_filter.h"
#include "hv/virtio/net_lane.h"
#include "hv/virtio/net_port.h"
#include "hv/virtio/virtio_device.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum {
    CONTROL_PIECES = 32,
    TABLE_MAX = 4096,                          /* addresses of a command's table */
    FRAME_EXTRA_BYTES = NET_HEADER_BYTES + 18, /* header, Ethernet, one VLAN tag */
    SEGMENT_BYTES_MAX = 65535,
    MTU_DEFAULT = 1500,
    MTU_MIN = 68,
    CONFIG_BYTES = offsetof(struct virtio_net_config, speed),
};

static const uint64_t guest_offloads = 1ull << VIRTIO_NET_F_GUEST_CSUM | 1ull << VIRTIO_NET_F_GUEST_TSO4 |
                                       1ull << VIRTIO_NET_F_GUEST_TSO6 | 1ull << VIRTIO_NET_F_GUEST_ECN;

struct pair {
    struct net_port port;
    struct net_rx rx;
    struct net_tx tx;
};

struct virtio_net {
    struct virtio_device device;
    uint8_t mac[NET_ADDRESS_BYTES];
    uint16_t mtu;
    unsigned pair_count;
    struct pair *pairs;
    struct net_filter filter;
    _Atomic uint16_t link; /* VIRTIO_NET_S_* */
    _Atomic uint16_t active_pairs;
    _Atomic uint64_t offloads; /* of guest_offloads, what the driver wants now */
    struct virtio_queue queues[2 * VIRTIO_NET_PAIRS_MAX + 1];
    struct iovec control_pieces[CONTROL_PIECES];
};

static struct virtio_net *net_of(struct virtio_device *d)
{
    return CONTAINER_OF(d, struct virtio_net, device);
}

static unsigned control_index(const struct virtio_net *vn)
{
    return virtio_has(&vn->device, VIRTIO_NET_F_MQ) ? 2 * vn->pair_count : 2;
}

static uint32_t largest_bytes(const struct virtio_net *vn)
{
    uint64_t offloads = atomic_load(&vn->offloads);
    if (offloads >> VIRTIO_NET_F_GUEST_TSO4 & 1 || offloads >> VIRTIO_NET_F_GUEST_TSO6 & 1)
        return FRAME_EXTRA_BYTES + SEGMENT_BYTES_MAX;
    return FRAME_EXTRA_BYTES + (vn->mtu > MTU_DEFAULT ? vn->mtu : MTU_DEFAULT);
}

/* ---- the control queue ---- */

struct command {
    const struct chain *chain;
    uint64_t at; /* what follows class and command */
};

static bool take(struct command *c, void *to, size_t n)
{
    bool all = chain_read(c->chain, c->at, to, n) == n;
    c->at += n;
    return all;
}

static bool take_u16(struct command *c, uint16_t *v)
{
    return take(c, v, sizeof *v); /* little-endian, as we are */
}

static bool control_rx(struct virtio_net *vn, uint8_t mode, struct command *c)
{
    uint8_t on;
    return take(c, &on, 1) && net_filter_set_mode(&vn->filter, mode, on);
}

/* Both tables: how many, and the addresses. Read twice, because a bad command must change nothing. */
static bool control_tables(struct virtio_net *vn, struct command *c, bool add)
{
    uint8_t address[NET_ADDRESS_BYTES];
    for (unsigned table = 0; table < 2; table++) {
        uint32_t count;
        if (!take(c, &count, sizeof count) || count > TABLE_MAX)
            return false;
        for (; count; count--) {
            if (!take(c, address, sizeof address))
                return false;
            if (add)
                net_filter_add(&vn->filter, address);
        }
    }
    return true;
}

static bool control_mac(struct virtio_net *vn, uint8_t command, struct command *c)
{
    uint8_t address[NET_ADDRESS_BYTES];
    if (command == VIRTIO_NET_CTRL_MAC_ADDR_SET) {
        if (!take(c, address, sizeof address) || address[0] & 1)
            return false;
        net_filter_set_own(&vn->filter, address);
        return true;
    }
    struct command again = *c;
    if (command != VIRTIO_NET_CTRL_MAC_TABLE_SET || !control_tables(vn, c, false))
        return false;
    net_filter_clear(&vn->filter);
    return control_tables(vn, &again, true);
}

static void attach_pairs(struct virtio_net *vn)
{
    for (unsigned i = 0; vn->pair_count > 1 && i < vn->pair_count; i++)
        net_port_attach(&vn->pairs[i].port, i < atomic_load(&vn->active_pairs));
}

static bool control_pairs(struct virtio_net *vn, uint8_t command, struct command *c)
{
    uint16_t count;
    if (command != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET || !virtio_has(&vn->device, VIRTIO_NET_F_MQ) ||
        !take_u16(c, &count) || !count || count > vn->pair_count)
        return false;
    atomic_store(&vn->active_pairs, count);
    attach_pairs(vn);
    return true;
}

static void apply_offloads(struct virtio_net *vn)
{
    net_port_set_offloads(&vn->pairs[0].port, atomic_load(&vn->offloads));
    for (unsigned i = 0; i < vn->pair_count; i++)
        atomic_store(&vn->pairs[i].rx.largest_bytes, largest_bytes(vn));
}

static bool control_offloads(struct virtio_net *vn, uint8_t command, struct command *c)
{
    uint64_t wanted;
    if (command != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET || !virtio_has(&vn->device, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) ||
        !take(c, &wanted, sizeof wanted) || wanted & ~(vn->device.features & guest_offloads))
        return false;
    atomic_store(&vn->offloads, wanted);
    apply_offloads(vn);
    return true;
}

static bool control_announce(struct virtio_net *vn, uint8_t command)
{
    if (command != VIRTIO_NET_CTRL_ANNOUNCE_ACK)
        return false;
    atomic_fetch_and(&vn->link, (uint16_t)~VIRTIO_NET_S_ANNOUNCE);
    return true;
}

static bool control(struct virtio_net *vn, const struct chain *chain)
{
    struct command c = {.chain = chain};
    struct virtio_net_ctrl_hdr h;
    if (!take(&c, &h, sizeof h))
        return false;
    switch (h.class) {
    case VIRTIO_NET_CTRL_RX:
        return control_rx(vn, h.cmd, &c);
    case VIRTIO_NET_CTRL_MAC:
        return control_mac(vn, h.cmd, &c);
    case VIRTIO_NET_CTRL_ANNOUNCE:
        return control_announce(vn, h.cmd);
    case VIRTIO_NET_CTRL_MQ:
        return control_pairs(vn, h.cmd, &c);
    case VIRTIO_NET_CTRL_GUEST_OFFLOADS:
        return control_offloads(vn, h.cmd, &c);
    default:
        return false;
    }
}

static void run_control(struct virtio_net *vn, struct virtio_queue *vq)
{
    struct chain c = {.iov = vn->control_pieces, .room = CONTROL_PIECES};
    do {
        while (queue_pop(&vq->ring, &c)) {
            if (!c.writable_bytes) {
                queue_refuse(&vq->ring, "a control command without room for its answer");
                return;
            }
            uint8_t ack = control(vn, &c) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
            chain_write(&c, 0, &ack, 1);
            queue_push(&vq->ring, &c, 1);
        }
        queue_publish(&vq->ring);
    } while (queue_listen(&vq->ring));
}

/* ---- queues: their I/O threads ---- */

static void start(struct virtio_queue *vq)
{
    struct virtio_net *vn = net_of(vq->device);
    if (vq->index % 2 || vq->index == control_index(vn) || vq->index / 2 >= vn->pair_count)
        return;
    struct pair *pair = &vn->pairs[vq->index / 2];
    if (vn->pair_count > 1)
        net_port_attach(&pair->port, vq->index / 2 < atomic_load(&vn->active_pairs));
    if (!vq->index)
        net_port_set_offloads(&pair->port, atomic_load(&vn->offloads));
    net_rx_start(&pair->rx, virtio_has(vq->device, VIRTIO_NET_F_MRG_RXBUF), largest_bytes(vn));
}

static void kick(struct virtio_queue *vq)
{
    struct virtio_net *vn = net_of(vq->device);
    if (vq->index == control_index(vn))
        run_control(vn, vq);
    else if (vq->index / 2 >= vn->pair_count)
        return; /* the last queue, where the control queue is another one */
    else if (vq->index % 2)
        net_tx_run(&vn->pairs[vq->index / 2].tx);
    else
        net_rx_run(&vn->pairs[vq->index / 2].rx);
}

static void stop(struct virtio_queue *vq)
{
    struct virtio_net *vn = net_of(vq->device);
    if (vq->index == control_index(vn) || vq->index / 2 >= vn->pair_count)
        virtio_queue_stopped(vq);
    else if (vq->index % 2)
        net_tx_stop(&vn->pairs[vq->index / 2].tx);
    else
        net_rx_stop(&vn->pairs[vq->index / 2].rx);
}

static void gone(struct net_rx *rx)
{
    struct virtio_net *vn = net_of(rx->vq->device);
    log_warn("virtio-net: the other side of the network is gone; the guest sees a cable unplugged");
    virtio_net_set_link(vn, false);
}

/* ---- registers ---- */

static void config_read(struct virtio_device *d, uint8_t *to)
{
    struct virtio_net *vn = net_of(d);
    struct virtio_net_config c = {
        .status = atomic_load(&vn->link), .max_virtqueue_pairs = (uint16_t)vn->pair_count, .mtu = vn->mtu};
    net_filter_own(&vn->filter, c.mac);
    memcpy(to, &c, CONFIG_BYTES);
}

static bool needs(uint64_t features, unsigned feature, unsigned other)
{
    return !(features >> feature & 1) || features >> other & 1;
}

/* Virtio 1.2, 5.1.3.1; called when the driver is done with choosing. */
static bool features_fit(struct virtio_device *d, uint64_t f)
{
    struct virtio_net *vn = net_of(d);
    static const unsigned pairs[][2] = {
        {VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_CSUM},
        {VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_GUEST_CSUM},
        {VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_CSUM},
        {VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_CSUM},
        {VIRTIO_NET_F_CTRL_RX, VIRTIO_NET_F_CTRL_VQ},
        {VIRTIO_NET_F_CTRL_MAC_ADDR, VIRTIO_NET_F_CTRL_VQ},
        {VIRTIO_NET_F_GUEST_ANNOUNCE, VIRTIO_NET_F_CTRL_VQ},
        {VIRTIO_NET_F_MQ, VIRTIO_NET_F_CTRL_VQ},
        {VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, VIRTIO_NET_F_CTRL_VQ},
    };
    for (unsigned i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (!needs(f, pairs[i][0], pairs[i][1]))
            return false;
    atomic_store(&vn->offloads, f & guest_offloads);
    if (f >> VIRTIO_NET_F_CTRL_RX & 1)
        net_filter_start(&vn->filter);
    return true;
}

static void reset(struct virtio_device *d)
{
    struct virtio_net *vn = net_of(d);
    net_filter_reset(&vn->filter, vn->mac);
    atomic_fetch_and(&vn->link, (uint16_t)~VIRTIO_NET_S_ANNOUNCE);
    atomic_store(&vn->active_pairs, 1);
    atomic_store(&vn->offloads, 0);
}

/* The link's state is the host's: the one where the guest was has nothing to say here. */
static void state(struct virtio_device *d, struct state *s)
{
    struct virtio_net *vn = net_of(d);
    uint16_t pairs = atomic_load(&vn->active_pairs);
    uint64_t offloads = atomic_load(&vn->offloads);
    bool announce = atomic_load(&vn->link) & VIRTIO_NET_S_ANNOUNCE;
    state_u16(s, "active-pairs", &pairs);
    state_u64(s, "offloads", &offloads);
    state_bool(s, "announce", &announce);
    state_check(s, pairs && pairs <= vn->pair_count, "the guest uses more queue pairs than there are here");
    state_check(s, !(offloads & ~(d->features & guest_offloads)), "an offload that was not negotiated");
    net_filter_state(&vn->filter, s);
    atomic_store(&vn->active_pairs, pairs);
    atomic_store(&vn->offloads, offloads);
    if (announce)
        atomic_fetch_or(&vn->link, VIRTIO_NET_S_ANNOUNCE);
    else
        atomic_fetch_and(&vn->link, (uint16_t)~VIRTIO_NET_S_ANNOUNCE);
}

static const struct virtio_device_ops ops = {
    .config_read = config_read,
    .features_fit = features_fit,
    .reset = reset,
    .state = state,
    .start = start,
    .stop = stop,
    .kick = kick,
};

/* ---- beginning and end ---- */

static uint64_t features_of(const struct virtio_net_options *o)
{
    uint64_t f = 1ull << VIRTIO_NET_F_MAC | 1ull << VIRTIO_NET_F_STATUS | 1ull << VIRTIO_NET_F_MRG_RXBUF |
                 1ull << VIRTIO_NET_F_CTRL_VQ | 1ull << VIRTIO_NET_F_CTRL_RX | 1ull << VIRTIO_NET_F_CTRL_RX_EXTRA |
                 1ull << VIRTIO_NET_F_CTRL_MAC_ADDR | 1ull << VIRTIO_NET_F_GUEST_ANNOUNCE;
    if (o->mtu)
        f |= 1ull << VIRTIO_NET_F_MTU;
    if (o->pairs > 1)
        f |= 1ull << VIRTIO_NET_F_MQ;
    if (o->tap)
        f |= guest_offloads | 1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_HOST_TSO4 |
             1ull << VIRTIO_NET_F_HOST_TSO6 | 1ull << VIRTIO_NET_F_HOST_ECN | 1ull << VIRTIO_NET_F_CTRL_GUEST_OFFLOADS;
    return f;
}

static int check(const struct virtio_net_options *o, struct err *err)
{
    if (!o->pairs || o->pairs > VIRTIO_NET_PAIRS_MAX)
        return err_set(err, EINVAL, "a network card has 1 to %d queue pairs, not %u", VIRTIO_NET_PAIRS_MAX, o->pairs);
    if (o->pairs > 1 && !o->tap)
        return err_set(err, EINVAL, "several queue pairs need a tap");
    if (o->mac[0] & 1)
        return err_set(err, EINVAL, "a network card's address must not be a group's: %02x:... is odd", o->mac[0]);
    if (o->mtu && o->mtu < MTU_MIN)
        return err_set(err, EINVAL, "an MTU of %u bytes is less than %d", o->mtu, MTU_MIN);
    if (o->queue_size && (o->queue_size < 16 || o->queue_size > QUEUE_SIZE_MAX || o->queue_size & (o->queue_size - 1)))
        return err_set(err, EINVAL, "a queue has 16 to %d entries, a power of two, not %u", QUEUE_SIZE_MAX,
                       o->queue_size);
    return 0;
}

static int make_pair(struct virtio_net *vn, unsigned i, const struct virtio_net_options *o, struct err *err)
{
    struct pair *pair = &vn->pairs[i];
    pair->rx.vq = &vn->queues[2 * i];
    pair->tx.vq = &vn->queues[2 * i + 1];
    pair->rx.port = pair->tx.port = &pair->port;
    pair->rx.filter = &vn->filter;
    pair->rx.gone = gone;
    net_tx_init(&pair->tx);
    if (!net_rx_init(&pair->rx))
        return err_set(err, ENOMEM, "no memory for a network card");
    return net_port_init(&pair->port, o->fds[i], o->tap, err);
}

static void release(struct virtio_net *vn)
{
    for (unsigned i = 0; i < vn->pair_count; i++)
        net_rx_fini(&vn->pairs[i].rx);
    net_filter_fini(&vn->filter);
    free(vn->pairs);
    free(vn);
}

int virtio_net_new(struct memory *memory, const struct virtio_net_options *o, struct virtio_net **out, struct err *err)
{
    int rc = check(o, err);
    if (rc)
        return rc;
    struct virtio_net *vn = calloc(1, sizeof *vn);
    if (vn)
        vn->pairs = calloc(o->pairs, sizeof *vn->pairs);
    if (!vn || !vn->pairs) {
        free(vn);
        return err_set(err, ENOMEM, "no memory for a network card");
    }
    memcpy(vn->mac, o->mac, sizeof vn->mac);
    vn->mtu = o->mtu;
    vn->pair_count = o->pairs;
    net_filter_init(&vn->filter, vn->mac);
    atomic_store(&vn->link, VIRTIO_NET_S_LINK_UP);
    vn->device = (struct virtio_device){.ops = &ops,
                                        .name = "virtio-net",
                                        .id = VIRTIO_ID_NET,
                                        .config_bytes = CONFIG_BYTES,
                                        .queues = vn->queues,
                                        .queue_count = 2 * o->pairs + 1,
                                        .offered = features_of(o),
                                        .memory = memory};
    for (unsigned i = 0; i < vn->device.queue_count; i++) {
        vn->queues[i].io = o->ios[i == 2 * o->pairs ? 0 : i / 2 % o->io_count];
        vn->queues[i].size_max = o->queue_size ? o->queue_size : VIRTIO_NET_QUEUE_SIZE;
    }
    for (unsigned i = 0; i < o->pairs && !rc; i++)
        rc = make_pair(vn, i, o, err);
    if (!rc)
        rc = virtio_device_init(&vn->device, err);
    if (rc) {
        release(vn);
        return rc;
    }
    *out = vn;
    return 0;
}

void virtio_net_free(struct virtio_net *vn)
{
    if (!vn)
        return;
    virtio_device_fini(&vn->device);
    release(vn);
}

struct virtio_device *virtio_net_device(struct virtio_net *vn)
{
    return &vn->device;
}

/* ---- from outside ---- */

void virtio_net_announce(struct virtio_net *vn)
{
    atomic_fetch_or(&vn->link, VIRTIO_NET_S_ANNOUNCE);
    virtio_device_config_changed(&vn->device);
}

void virtio_net_announce_for(struct virtio_net *vn)
{
    enum { FRAME_BYTES = 60, RARP_AT = 12 };
    /* RFC 903: Ethernet, IPv4, "who am I" by and about our own address */
    static const uint8_t rarp[] = {0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3};
    uint8_t header[NET_HEADER_BYTES] = {0}, frame[FRAME_BYTES] = {0}, mac[6];
    net_filter_own(&vn->filter, mac);
    memset(frame, 0xff, sizeof mac);
    memcpy(frame + 6, mac, sizeof mac);
    memcpy(frame + RARP_AT, rarp, sizeof rarp);
    memcpy(frame + RARP_AT + 10, mac, sizeof mac);
    memcpy(frame + RARP_AT + 20, mac, sizeof mac);
    struct iovec iov[2] = {{header, sizeof header}, {frame, sizeof frame}};
    int rc = net_port_send(&vn->pairs[0].port, iov, 2);
    if (rc)
        log_warn("virtio-net: cannot announce the guest: %s", strerror(-rc));
}

void virtio_net_set_link(struct virtio_net *vn, bool up)
{
    uint16_t before = up ? atomic_fetch_or(&vn->link, VIRTIO_NET_S_LINK_UP)
                         : atomic_fetch_and(&vn->link, (uint16_t)~VIRTIO_NET_S_LINK_UP);
    if (up != (before & VIRTIO_NET_S_LINK_UP))
        virtio_device_config_changed(&vn->device);
}

void virtio_net_stats(const struct virtio_net *vn, struct virtio_net_stats *stats)
{
    memset(stats, 0, sizeof *stats);
    for (unsigned i = 0; i < vn->pair_count; i++) {
        const struct net_counters *rx = &vn->pairs[i].rx.counters, *tx = &vn->pairs[i].tx.counters;
        stats->received_packets += atomic_load(&rx->packets);
        stats->received_bytes += atomic_load(&rx->bytes);
        stats->received_dropped += atomic_load(&rx->dropped);
        stats->sent_packets += atomic_load(&tx->packets);
        stats->sent_bytes += atomic_load(&tx->bytes);
        stats->sent_dropped += atomic_load(&tx->dropped);
    }
}
