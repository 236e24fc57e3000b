/* A network card on a socket pair (bare frames), and on a tap where the machine lets us have one (its own network
 * namespace, root). */
#include "tests/unit/virtio_guest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <net/ethernet.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hv/virtio/net_port.h"
#include "hv/virtio/virtio_net.h"
#include "node/base/err.h"

enum { RX = 0, TX = 1, CTRL = 2, BUFFER = 2048, FRAME_MAX = 1514 };

static const uint8_t mac[6] = {0x52, 0x54, 0, 1, 2, 3};
static const uint64_t everything = ~0ull;

struct card {
    struct virtio_guest *g;
    struct virtio_net *vn;
    int fds[2]; /* the device's, ours */
    uint64_t rx[64], tx, control;
    unsigned rx_next;
};

static struct card begin_at(int device_fd, int our_fd, bool tap, uint16_t mtu)
{
    struct err err = {0};
    struct card c = {.g = virtio_guest_new(), .fds = {device_fd, our_fd}};
    struct virtio_net_options o = {
        .mtu = mtu, .tap = tap, .pairs = 1, .fds = &c.fds[0], .ios = &c.g->io, .io_count = 1};
    memcpy(o.mac, mac, sizeof mac);
    if (virtio_net_new(c.g->memory, &o, &c.vn, &err))
        fail_msg("%s", err.text);
    virtio_guest_plug(c.g, virtio_net_device(c.vn), true);
    for (unsigned i = 0; i < 64; i++)
        c.rx[i] = virtio_guest_alloc(c.g, BUFFER);
    c.tx = virtio_guest_alloc(c.g, 65536 + 64);
    c.control = virtio_guest_alloc(c.g, 4096);
    return c;
}

static struct card begin(uint16_t mtu)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), 0);
    return begin_at(fds[0], fds[1], false, mtu);
}

static void end(struct card *c)
{
    virtio_guest_unplug(c->g);
    virtio_net_free(c->vn);
    virtio_guest_free(c->g);
    close(c->fds[0]);
    if (c->fds[1] >= 0)
        close(c->fds[1]);
}

static void give_buffers(struct card *c, unsigned count, uint32_t bytes)
{
    for (unsigned i = 0; i < count; i++) {
        struct guest_buffer b = {c->rx[c->rx_next++ % 64], bytes};
        virtio_guest_add(c->g, RX, NULL, 0, &b, 1);
    }
    virtio_guest_kick(c->g, RX);
}

static void make_frame(uint8_t *frame, size_t bytes, uint32_t seed, const uint8_t *to)
{
    fixture_pattern(frame, 0, bytes, seed);
    memcpy(frame, to, 6);
}

static void host_sends(struct card *c, size_t bytes, uint32_t seed, const uint8_t *to)
{
    uint8_t frame[65536];
    make_frame(frame, bytes, seed, to);
    assert_int_equal(send(c->fds[1], frame, bytes, 0), bytes);
}

/* The buffer at head holds this frame, in one piece. Descriptors are used in turn, so head tells the buffer. */
static void guest_has(struct card *c, uint16_t head, uint32_t used, size_t bytes, uint32_t seed, const uint8_t *to)
{
    uint8_t expected[FRAME_MAX + NET_HEADER_BYTES] = {0};
    expected[10] = 1; /* num_buffers */
    make_frame(expected + NET_HEADER_BYTES, bytes, seed, to);
    assert_int_equal(used, bytes + NET_HEADER_BYTES);
    assert_memory_equal(virtio_guest_at(c->g, c->rx[head % 64], BUFFER), expected, used);
}

/* What is in the buffer for sending. */
static void send_again(struct card *c, size_t bytes)
{
    struct guest_buffer b[] = {{c->tx, 9}, {c->tx + 9, 20}, {c->tx + 29, (uint32_t)bytes + NET_HEADER_BYTES - 29}};
    virtio_guest_add(c->g, TX, b, 3, NULL, 0);
    virtio_guest_kick(c->g, TX);
}

static void guest_sends(struct card *c, size_t bytes, uint32_t seed)
{
    memset(virtio_guest_at(c->g, c->tx, NET_HEADER_BYTES), 0, NET_HEADER_BYTES);
    make_frame(virtio_guest_at(c->g, c->tx + NET_HEADER_BYTES, bytes), bytes, seed, mac);
    send_again(c, bytes);
}

static uint8_t command(struct card *c, uint8_t class, uint8_t cmd, const void *data, uint32_t bytes)
{
    uint8_t *at = virtio_guest_at(c->g, c->control, 4096);
    at[0] = class;
    at[1] = cmd;
    if (bytes)
        memcpy(at + 2, data, bytes);
    at[4000] = 0xee;
    struct guest_buffer out[] = {{c->control, 2}, {c->control + 2, bytes}}, in = {c->control + 4000, 1};
    virtio_guest_add(c->g, CTRL, out, bytes ? 2 : 1, &in, 1);
    virtio_guest_kick(c->g, CTRL);
    virtio_guest_wait(c->g, CTRL, NULL);
    return at[4000];
}

/* ---- sockets ---- */

static void tells_what_it_is(void **state)
{
    (void)state;
    struct card c = begin(1400);
    virtio_guest_start(c.g, everything);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(virtio_guest_config(c.g, i, 1), mac[i]);
    assert_int_equal(virtio_guest_config(c.g, 6, 2), VIRTIO_NET_S_LINK_UP);
    assert_int_equal(virtio_guest_config(c.g, 10, 2), 1400);
    assert_false(c.g->features >> VIRTIO_NET_F_CSUM & 1); /* a socket offloads nothing */
    assert_false(c.g->features >> VIRTIO_NET_F_MQ & 1);
    end(&c);
}

static void frames_go_both_ways(uint64_t features)
{
    struct card c = begin(0);
    uint8_t frame[FRAME_MAX], expected[FRAME_MAX];
    uint32_t used;
    virtio_guest_start(c.g, features);
    give_buffers(&c, 64, BUFFER);
    for (unsigned i = 0; i < 300; i++) {
        size_t bytes = 60 + 97 * i % (FRAME_MAX - 60);
        host_sends(&c, bytes, i, mac);
        uint16_t head = virtio_guest_wait(c.g, RX, &used);
        guest_has(&c, head, used, bytes, i, mac);
        give_buffers(&c, 1, BUFFER);
        guest_sends(&c, bytes, i + 1000);
        virtio_guest_wait(c.g, TX, NULL);
        assert_int_equal(recv(c.fds[1], frame, sizeof frame, 0), bytes);
        make_frame(expected, bytes, i + 1000, mac);
        assert_memory_equal(frame, expected, bytes);
    }
    struct virtio_net_stats stats;
    virtio_net_stats(c.vn, &stats);
    assert_int_equal(stats.received_packets, 300);
    assert_int_equal(stats.sent_packets, 300);
    assert_int_equal(stats.received_dropped + stats.sent_dropped, 0);
    end(&c);
}

static void frames_go_both_ways_merged_and_not(void **state)
{
    (void)state;
    frames_go_both_ways(everything);
    frames_go_both_ways(0);
}

static void large_frames_fill_several_buffers(void **state)
{
    (void)state;
    enum { JUMBO = 5000, SMALL = 1024 };
    struct card c = begin(9000);
    virtio_guest_start(c.g, everything);
    give_buffers(&c, 64, SMALL);
    for (unsigned round = 0; round < 40; round++) {
        uint8_t expected[JUMBO + NET_HEADER_BYTES] = {0};
        expected[10] = 5;
        make_frame(expected + NET_HEADER_BYTES, JUMBO, round, mac);
        host_sends(&c, JUMBO, round, mac);
        for (uint32_t at = 0, used; at < sizeof expected; at += used) {
            uint16_t head = virtio_guest_wait(c.g, RX, &used);
            assert_int_equal(used, sizeof expected - at < SMALL ? sizeof expected - at : SMALL);
            assert_memory_equal(virtio_guest_at(c.g, c.rx[head % 64], SMALL), expected + at, used);
        }
        give_buffers(&c, 5, SMALL);
    }
    end(&c);
}

static bool has_dropped(void *context)
{
    struct virtio_net_stats stats;
    virtio_net_stats(context, &stats);
    return stats.received_dropped;
}

static void frames_that_do_not_fit_are_dropped(void **state)
{
    (void)state;
    struct card c = begin(0);
    uint32_t used;
    virtio_guest_start(c.g, 0); /* no merging: a frame must fit one buffer */
    give_buffers(&c, 2, 1526);
    host_sends(&c, 4000, 1, mac);
    virtio_guest_wait_for(has_dropped, c.vn);
    host_sends(&c, 1000, 2, mac);
    uint16_t head = virtio_guest_wait(c.g, RX, &used);
    guest_has(&c, head, used, 1000, 2, mac);
    end(&c);
}

static void waits_for_buffers(void **state)
{
    (void)state;
    struct card c = begin(0);
    uint16_t head;
    uint32_t used;
    virtio_guest_start(c.g, everything);
    for (unsigned i = 0; i < 8; i++)
        host_sends(&c, 100, i, mac);
    assert_false(virtio_guest_used(c.g, RX, &head, NULL));
    for (unsigned i = 0; i < 8; i++) {
        give_buffers(&c, 1, BUFFER);
        head = virtio_guest_wait(c.g, RX, &used);
        guest_has(&c, head, used, 100, i, mac);
    }
    end(&c);
}

static bool both_full(void *context)
{
    struct card *c = context;
    uint16_t head;
    virtio_guest_used(c->g, TX, &head, NULL);
    struct pollfd p = {.fd = c->fds[0], .events = POLLOUT};
    return poll(&p, 1, 0) == 0;
}

static void a_full_socket_holds_the_guest_up(void **state)
{
    (void)state;
    struct card c = begin(0);
    uint8_t frame[FRAME_MAX], expected[FRAME_MAX];
    unsigned sent = 0;
    virtio_guest_start(c.g, everything);
    /* one frame at a time until the socket takes no more, then three on top */
    while (!both_full(&c)) {
        if (sent)
            send_again(&c, FRAME_MAX);
        else
            guest_sends(&c, FRAME_MAX, 7);
        sent++;
        assert_true(sent < 5000);
        struct pollfd p = {.fd = c.fds[0], .events = POLLOUT};
        uint16_t head;
        while (!virtio_guest_used(c.g, TX, &head, NULL) && poll(&p, 1, 0))
            sched_yield();
    }
    for (unsigned i = 0; i < 3; i++, sent++)
        send_again(&c, FRAME_MAX);
    virtio_guest_pause(c.g); /* what could not be sent goes back to the ring */
    virtio_guest_resume(c.g);
    make_frame(expected, FRAME_MAX, 7, mac);
    for (unsigned i = 0; i < sent; i++) {
        assert_int_equal(recv(c.fds[1], frame, sizeof frame, 0), FRAME_MAX);
        assert_memory_equal(frame, expected, FRAME_MAX);
    }
    end(&c);
}

static bool link_is_down(void *context)
{
    return !(virtio_guest_config(context, 6, 2) & VIRTIO_NET_S_LINK_UP);
}

static void a_lost_peer_is_an_unplugged_cable(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    struct card c = begin_at(fds[0], fds[1], false, 0);
    virtio_guest_start(c.g, everything);
    give_buffers(&c, 4, BUFFER);
    host_sends(&c, 100, 1, mac);
    virtio_guest_wait(c.g, RX, NULL);
    close(c.fds[1]);
    c.fds[1] = -1;
    virtio_guest_wait_for(link_is_down, c.g);
    guest_sends(&c, 100, 1); /* goes nowhere, and is given back */
    virtio_guest_wait(c.g, TX, NULL);
    end(&c);
}

/* ---- the control queue ---- */

static void passes(struct card *c, const uint8_t *to, bool expected)
{
    static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    uint32_t used;
    host_sends(c, 100, 1, to);
    host_sends(c, 200, 2, broadcast); /* always passes: shows that the first one was dealt with */
    uint16_t head = virtio_guest_wait(c->g, RX, &used);
    if (expected) {
        guest_has(c, head, used, 100, 1, to);
        head = virtio_guest_wait(c->g, RX, &used);
        give_buffers(c, 1, BUFFER);
    }
    guest_has(c, head, used, 200, 2, broadcast);
    give_buffers(c, 1, BUFFER);
}

static void filters_as_it_is_told(void **state)
{
    (void)state;
    static const uint8_t other[6] = {0x52, 0x54, 0, 9, 9, 9}, group[6] = {0x33, 0x33, 0, 0, 0, 1};
    static const uint8_t group2[6] = {0x33, 0x33, 0, 0, 0, 2}, off = 0, on = 1;
    struct card c = begin(0);
    virtio_guest_start(c.g, everything);
    give_buffers(&c, 32, BUFFER);
    passes(&c, other, true); /* promiscuous at the beginning */
    assert_int_equal(command(&c, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &off, 1), VIRTIO_NET_OK);
    passes(&c, mac, true);
    passes(&c, other, false);
    passes(&c, group, false);
    assert_int_equal(command(&c, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLMULTI, &on, 1), VIRTIO_NET_OK);
    passes(&c, group, true);
    assert_int_equal(command(&c, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLMULTI, &off, 1), VIRTIO_NET_OK);
    uint8_t tables[20] = {1, 0, 0, 0}; /* one unicast address, one group */
    memcpy(tables + 4, other, 6);
    tables[10] = 1;
    memcpy(tables + 14, group, 6);
    assert_int_equal(command(&c, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, tables, 20), VIRTIO_NET_OK);
    passes(&c, other, true);
    passes(&c, group, true);
    passes(&c, group2, false);
    virtio_guest_round_trip(c.g, NULL);
    virtio_guest_resume(c.g);
    passes(&c, other, true);
    passes(&c, group2, false);
    tables[10] = 200; /* more than there are: nothing changes */
    assert_int_equal(command(&c, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, tables, 20), VIRTIO_NET_ERR);
    passes(&c, other, true);
    assert_int_equal(command(&c, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, group, 6), VIRTIO_NET_ERR);
    assert_int_equal(command(&c, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, other, 6), VIRTIO_NET_OK);
    assert_int_equal(virtio_guest_config(c.g, 5, 1), 9);
    uint8_t many[4 + 70 * 6 + 4] = {70}; /* more than the filter has room for: all of the kind pass */
    for (unsigned i = 0; i < 70; i++)
        many[4 + 6 * i] = 2;
    assert_int_equal(command(&c, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, many, sizeof many), VIRTIO_NET_OK);
    passes(&c, mac, true);
    passes(&c, group, false);
    virtio_guest_start(c.g, everything); /* a reset: as at the beginning */
    c.rx_next = 0;
    give_buffers(&c, 32, BUFFER);
    passes(&c, group, true);
    assert_int_equal(virtio_guest_config(c.g, 5, 1), mac[5]);
    end(&c);
}

static void refuses_senseless_commands(void **state)
{
    (void)state;
    struct card c = begin(0);
    uint8_t zeroes[64] = {0};
    virtio_guest_start(c.g, everything);
    static const uint8_t bad[][3] = {
        {VIRTIO_NET_CTRL_RX, 6, 1},
        {VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 0},
        {VIRTIO_NET_CTRL_MAC, 0, 3},
        {VIRTIO_NET_CTRL_MAC, 0, 7},
        {VIRTIO_NET_CTRL_MAC, 2, 6},
        {VIRTIO_NET_CTRL_MAC, 1, 5},
        {VIRTIO_NET_CTRL_VLAN, 0, 2},
        {VIRTIO_NET_CTRL_ANNOUNCE, 1, 0},
        {VIRTIO_NET_CTRL_MQ, 0, 2},
        {VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, 8},
        {77, 0, 0},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(command(&c, bad[i][0], bad[i][1], zeroes, bad[i][2]), VIRTIO_NET_ERR);
    end(&c);
}

static void announces_itself(void **state)
{
    (void)state;
    struct card c = begin(0);
    virtio_guest_start(c.g, everything);
    virtio_net_announce(c.vn);
    assert_int_equal(virtio_guest_config(c.g, 6, 2), VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
    assert_int_equal(atomic_load(&c.g->msis[0]), 1);
    assert_int_equal(command(&c, VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, NULL, 0), VIRTIO_NET_OK);
    assert_int_equal(virtio_guest_config(c.g, 6, 2), VIRTIO_NET_S_LINK_UP);
    virtio_net_set_link(c.vn, false);
    virtio_net_set_link(c.vn, false);
    assert_int_equal(virtio_guest_config(c.g, 6, 2), 0);
    assert_int_equal(atomic_load(&c.g->msis[0]), 2);
    end(&c);
}

static void features_must_go_together(void **state)
{
    (void)state;
    struct card c = begin(0);
    virtio_guest_reset(c.g);
    virtio_guest_set_status(c.g, 3);
    virtio_guest_write(c.g, c.g->common + 8, 4, 1);
    virtio_guest_write(c.g, c.g->common + 12, 4, 1);
    virtio_guest_write(c.g, c.g->common + 8, 4, 0);
    virtio_guest_write(c.g, c.g->common + 12, 4, 1u << VIRTIO_NET_F_CTRL_RX); /* without CTRL_VQ */
    virtio_guest_set_status(c.g, 3 | VIRTIO_CONFIG_S_FEATURES_OK);
    assert_int_equal(virtio_guest_status(c.g), 3);
    end(&c);
}

/* ---- pause, state, hostility ---- */

static void moves_to_another_card(void **state)
{
    (void)state;
    struct card c = begin(0), to = begin(0);
    uint32_t used;
    virtio_guest_start(c.g, everything);
    give_buffers(&c, 32, BUFFER);
    for (unsigned i = 0; i < 20; i++) { /* the window is full of buffers that were taken and not used */
        host_sends(&c, 500, i, mac);
        uint16_t head = virtio_guest_wait(c.g, RX, &used);
        guest_has(&c, head, used, 500, i, mac);
    }
    virtio_guest_round_trip(c.g, to.g);
    to.rx_next = c.rx_next;
    virtio_guest_resume(to.g);
    for (unsigned i = 20; i < 32; i++) {
        host_sends(&to, 500, i, mac);
        uint16_t head = virtio_guest_wait(to.g, RX, &used);
        guest_has(&to, head, used, 500, i, mac);
    }
    guest_sends(&to, 700, 3);
    virtio_guest_wait(to.g, TX, NULL);
    end(&c);
    end(&to);
}

static bool needs_reset(void *context)
{
    return virtio_guest_status(context) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

static void stands_hostile_buffers(void **state)
{
    (void)state;
    struct card c = begin(0);
    virtio_guest_start(c.g, everything);
    struct guest_buffer b = {c.rx[0], 2000}, tiny = {c.rx[0], 5};
    virtio_guest_add(c.g, RX, &b, 1, NULL, 0); /* readable */
    virtio_guest_kick(c.g, RX);
    virtio_guest_wait_for(needs_reset, c.g);
    virtio_guest_start(c.g, everything);
    give_buffers(&c, 2, BUFFER);
    virtio_guest_add(c.g, RX, NULL, 0, &tiny, 1); /* no room for a header, behind two good ones */
    virtio_guest_kick(c.g, RX);
    host_sends(&c, 100, 1, mac);
    host_sends(&c, 100, 1, mac);
    host_sends(&c, 100, 1, mac);
    virtio_guest_wait_for(needs_reset, c.g);
    virtio_guest_start(c.g, everything);
    virtio_guest_add(c.g, TX, &tiny, 1, NULL, 0); /* shorter than a header: dropped */
    virtio_guest_kick(c.g, TX);
    virtio_guest_wait(c.g, TX, NULL);
    virtio_guest_add(c.g, CTRL, &b, 1, NULL, 0);
    virtio_guest_kick(c.g, CTRL);
    virtio_guest_wait_for(needs_reset, c.g);
    end(&c);
}

static void refuses_odd_options(void **state)
{
    (void)state;
    struct virtio_guest *g = virtio_guest_new();
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    struct virtio_net_options good = {.pairs = 1, .fds = fds, .ios = &g->io, .io_count = 1}, bad[6];
    for (unsigned i = 0; i < 6; i++)
        bad[i] = good;
    bad[0].pairs = 0;
    bad[1].pairs = 2;
    bad[2].mac[0] = 1;
    bad[3].mtu = 20;
    bad[4].queue_size = 100;
    bad[5].tap = true; /* a pipe is not */
    for (unsigned i = 0; i < 6; i++) {
        struct err err = {0};
        struct virtio_net *vn;
        assert_true(virtio_net_new(g->memory, &bad[i], &vn, &err) < 0);
        assert_true(strlen(err.text) > 10);
    }
    close(fds[0]);
    close(fds[1]);
    virtio_guest_free(g);
}

/* ---- a tap ---- */

enum { TAP_QUEUES_MAX = 2, BIG = 14 + 20 + 20 + 4000, HOST_HEADER = sizeof(struct virtio_net_hdr) };

/* A tap of our own in a network of its own, up, and a packet socket on its other side; false: this machine does not let
 * us. */
static bool make_tap(int *taps, unsigned queues, int *outside)
{
    struct ifreq r;
    memset(&r, 0, sizeof r);
    if (unshare(CLONE_NEWNET) < 0)
        return false;
    r.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (queues > 1 ? IFF_MULTI_QUEUE : 0));
    short flags = r.ifr_flags;
    for (unsigned i = 0; i < queues; i++) {
        r.ifr_flags = flags;
        taps[i] = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
        if (taps[i] < 0 || ioctl(taps[i], TUNSETIFF, &r) < 0)
            return false;
    }
    *outside = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));
    if (*outside < 0 || ioctl(*outside, SIOCGIFFLAGS, &r) < 0)
        return false;
    r.ifr_flags |= IFF_UP;
    if (ioctl(*outside, SIOCSIFFLAGS, &r) < 0 || ioctl(*outside, SIOCGIFINDEX, &r) < 0)
        return false;
    struct sockaddr_ll a = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = r.ifr_ifindex};
    return bind(*outside, (struct sockaddr *)&a, sizeof a) == 0;
}

/* The host's own chatter comes in between. */
static void outside_sees(struct card *c, size_t skip, const uint8_t *expected, size_t bytes)
{
    static uint8_t frame[70000];
    ssize_t n;
    do
        n = recv(c->fds[1], frame, sizeof frame, 0);
    while (n != (ssize_t)(bytes + skip) || memcmp(frame + skip, expected, bytes) != 0);
}

static void frames_cross_a_tap(void **state)
{
    (void)state;
    int tap = -1, outside = -1;
    uint8_t expected[FRAME_MAX];
    if (!make_tap(&tap, 1, &outside))
        skip();
    struct card c = begin_at(tap, outside, true, 0);
    virtio_guest_start(c.g, everything);
    assert_true(c.g->features >> VIRTIO_NET_F_CSUM & 1);
    assert_true(c.g->features >> VIRTIO_NET_F_GUEST_TSO4 & 1);
    give_buffers(&c, 64, BUFFER);
    for (unsigned i = 0; i < 20; i++) {
        size_t bytes = 100 + 60 * i;
        guest_sends(&c, bytes, i);
        virtio_guest_wait(c.g, TX, NULL);
        make_frame(expected, bytes, i, mac);
        outside_sees(&c, 0, expected, bytes);
    }
    uint64_t offloads = 0; /* and none at all: the tap must take that, too */
    assert_int_equal(command(&c, VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, &offloads, 8),
                     VIRTIO_NET_OK);
    offloads = 1ull << VIRTIO_NET_F_MRG_RXBUF;
    assert_int_equal(command(&c, VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, &offloads, 8),
                     VIRTIO_NET_ERR);
    end(&c);
}

/* A TCP segment of 4000 bytes, to be cut by whoever must; its checksum is partial. */
static void make_segment(uint8_t *frame)
{
    static const uint8_t head[54] = {[12] = 8,
                                     [14] = 0x45,
                                     [16] = (BIG - 14) >> 8,
                                     [17] = (BIG - 14) & 255,
                                     [22] = 64,
                                     [23] = 6,
                                     [26] = 10,
                                     [29] = 1,
                                     [30] = 10,
                                     [33] = 2,
                                     [34] = 0x12,
                                     [36] = 0x34,
                                     [46] = 5 << 4,
                                     [47] = 0x10,
                                     [48] = 0xff};
    fixture_pattern(frame, 0, BIG, 11);
    memcpy(frame, head, sizeof head);
    memcpy(frame, mac, sizeof mac);
    frame[6] = 2; /* from 02:00:.. */
}

static struct virtio_net_hdr segment_header(void)
{
    return (struct virtio_net_hdr){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                   .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
                                   .hdr_len = 54,
                                   .gso_size = 1400,
                                   .csum_start = 34,
                                   .csum_offset = 16};
}

static void segments_cross_a_tap_uncut(void **state)
{
    (void)state;
    int tap = -1, outside = -1, on = 1;
    uint8_t frame[HOST_HEADER + BIG], got[64 + BIG];
    if (!make_tap(&tap, 1, &outside) || setsockopt(outside, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) < 0)
        skip();
    struct card c = begin_at(tap, outside, true, 0);
    struct virtio_net_hdr h = segment_header();
    virtio_guest_start(c.g, everything);
    give_buffers(&c, 60, 1526);

    make_segment(frame);
    memset(virtio_guest_at(c.g, c.tx, NET_HEADER_BYTES), 0, NET_HEADER_BYTES);
    memcpy(virtio_guest_at(c.g, c.tx, sizeof h), &h, sizeof h);
    memcpy(virtio_guest_at(c.g, c.tx + NET_HEADER_BYTES, BIG), frame, BIG);
    send_again(&c, BIG);
    virtio_guest_wait(c.g, TX, NULL);
    outside_sees(&c, HOST_HEADER, frame, BIG);

    memcpy(frame, &h, sizeof h);
    make_segment(frame + HOST_HEADER);
    assert_int_equal(send(outside, frame, sizeof frame, 0), sizeof frame);
    struct virtio_net_hdr_v1 seen;
    size_t at;
    do { /* until it is not the host's chatter */
        uint32_t used;
        unsigned left = 1;
        for (at = 0; left; left--, at += used) {
            uint16_t head = virtio_guest_wait(c.g, RX, &used);
            assert_true(at + used <= sizeof got);
            memcpy(got + at, virtio_guest_at(c.g, c.rx[head % 64], used), used);
            memcpy(&seen, got, sizeof seen);
            left = at ? left : seen.num_buffers;
        }
    } while (at != NET_HEADER_BYTES + BIG);
    assert_int_equal(seen.num_buffers, 3);
    assert_int_equal(seen.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
    assert_int_equal(seen.gso_size, 1400);
    assert_int_equal(seen.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
    assert_memory_equal(got + NET_HEADER_BYTES, frame + HOST_HEADER, BIG);
    end(&c);
}

static uint8_t pairs_command(struct card *c, unsigned queue, uint16_t pairs)
{
    uint8_t *at = virtio_guest_at(c->g, c->control, 64);
    struct guest_buffer out = {c->control, 4}, in = {c->control + 32, 1};
    memcpy(at, (const uint8_t[]){VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, (uint8_t)pairs, 0}, 4);
    virtio_guest_add(c->g, queue, &out, 1, &in, 1);
    virtio_guest_kick(c->g, queue);
    virtio_guest_wait(c->g, queue, NULL);
    return at[32];
}

static void several_pairs_share_a_tap(void **state)
{
    (void)state;
    struct err err = {0};
    struct card c = {.fds = {-1, -1}};
    int taps[TAP_QUEUES_MAX] = {-1, -1};
    uint8_t expected[FRAME_MAX];
    if (!make_tap(taps, TAP_QUEUES_MAX, &c.fds[1]))
        skip();
    c.g = virtio_guest_new();
    struct io_thread *ios[2] = {c.g->io, io_thread_new("test-io-2", 1, &err)};
    struct virtio_net_options o = {.tap = true, .pairs = 2, .fds = taps, .ios = ios, .io_count = 2};
    assert_int_equal(virtio_net_new(c.g->memory, &o, &c.vn, &err), 0);
    virtio_guest_plug(c.g, virtio_net_device(c.vn), true);
    c.control = virtio_guest_alloc(c.g, 4096);
    c.tx = virtio_guest_alloc(c.g, 4096);
    virtio_guest_start(c.g, everything & ~(1ull << VIRTIO_NET_F_MQ)); /* one pair: control is queue 2 */
    assert_int_equal(virtio_guest_config(c.g, 8, 2), 2);
    assert_int_equal(pairs_command(&c, 2, 1), VIRTIO_NET_ERR);
    virtio_guest_start(c.g, everything);
    assert_int_equal(pairs_command(&c, 4, 0), VIRTIO_NET_ERR);
    assert_int_equal(pairs_command(&c, 4, 3), VIRTIO_NET_ERR);
    assert_int_equal(pairs_command(&c, 4, 2), VIRTIO_NET_OK);
    for (unsigned i = 0; i < 10; i++) { /* by turns on both, from both I/O threads */
        make_frame(expected, 200 + i, i, mac);
        memset(virtio_guest_at(c.g, c.tx, NET_HEADER_BYTES), 0, NET_HEADER_BYTES);
        memcpy(virtio_guest_at(c.g, c.tx + NET_HEADER_BYTES, 200 + i), expected, 200 + i);
        struct guest_buffer b = {c.tx, NET_HEADER_BYTES + 200 + i};
        virtio_guest_add(c.g, i % 2 ? 3 : 1, &b, 1, NULL, 0);
        virtio_guest_kick(c.g, i % 2 ? 3 : 1);
        virtio_guest_wait(c.g, i % 2 ? 3 : 1, NULL);
        outside_sees(&c, 0, expected, 200 + i);
    }
    virtio_guest_round_trip(c.g, NULL);
    virtio_guest_resume(c.g);
    assert_int_equal(pairs_command(&c, 4, 1), VIRTIO_NET_OK);
    virtio_guest_unplug(c.g);
    virtio_net_free(c.vn);
    io_thread_free(ios[1]);
    virtio_guest_free(c.g);
    close(taps[0]);
    close(taps[1]);
    close(c.fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_what_it_is),
        cmocka_unit_test(frames_go_both_ways_merged_and_not),
        cmocka_unit_test(large_frames_fill_several_buffers),
        cmocka_unit_test(frames_that_do_not_fit_are_dropped),
        cmocka_unit_test(waits_for_buffers),
        cmocka_unit_test(a_full_socket_holds_the_guest_up),
        cmocka_unit_test(a_lost_peer_is_an_unplugged_cable),
        cmocka_unit_test(filters_as_it_is_told),
        cmocka_unit_test(refuses_senseless_commands),
        cmocka_unit_test(announces_itself),
        cmocka_unit_test(features_must_go_together),
        cmocka_unit_test(moves_to_another_card),
        cmocka_unit_test(stands_hostile_buffers),
        cmocka_unit_test(refuses_odd_options),
        cmocka_unit_test(frames_cross_a_tap),
        cmocka_unit_test(segments_cross_a_tap_uncut),
        cmocka_unit_test(several_pairs_share_a_tap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
