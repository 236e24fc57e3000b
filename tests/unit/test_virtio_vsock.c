/* Stream sockets between guest and host, packet by packet. */
#include "tests/unit/virtio_guest.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_vsock.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "hv/virtio/virtio_vsock.h"
#include "hv/virtio/vsock_path.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { RX = 0, TX = 1, EVENTS = 2, CID = 42, BUFFER = 4096, BUFFERS = 32, HEADER = sizeof(struct virtio_vsock_hdr) };
enum { HTTP = 80, CLOSED = 81, GUEST_PORT = 5000, GUEST_ALLOC = 1 << 20 };

struct world {
    struct virtio_guest *g;
    struct virtio_vsock *vs;
    struct virtio_vsock_host host;
    int ends[300]; /* ours, of the sockets that dial() gives */
    unsigned dialled;
    int listen_fd;
    struct sockaddr_un address;
    uint64_t rx[BUFFERS], tx;
    uint32_t alloc, taken; /* the guest's words in every header */
};

static int dial(struct virtio_vsock_host *host, uint32_t port)
{
    struct world *w = CONTAINER_OF(host, struct world, host);
    int fds[2];
    if (port != HTTP)
        return -ECONNREFUSED;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    w->ends[w->dialled++] = fds[1];
    return fds[0];
}

static void give_buffer(struct world *w, unsigned i)
{
    struct guest_buffer b = {w->rx[i % BUFFERS], BUFFER};
    virtio_guest_add(w->g, RX, NULL, 0, &b, 1);
}

static void start(struct world *w)
{
    virtio_guest_start(w->g, ~0ull);
    for (unsigned i = 0; i < BUFFERS; i++)
        give_buffer(w, i);
    virtio_guest_kick(w->g, RX);
}

static struct world *begin(bool listens)
{
    struct err err = {0};
    struct world *w = calloc(1, sizeof *w);
    w->g = virtio_guest_new();
    w->host.dial = dial;
    w->alloc = GUEST_ALLOC;
    w->listen_fd = -1;
    if (listens) {
        w->address.sun_family = AF_UNIX; /* an abstract address: no file to remove */
        snprintf(w->address.sun_path + 1, sizeof w->address.sun_path - 1, "drover-test-%d-%p", getpid(), (void *)w);
        w->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(w->listen_fd, (struct sockaddr *)&w->address, sizeof w->address), 0);
        assert_int_equal(listen(w->listen_fd, 8), 0);
    }
    struct virtio_vsock_options o = {.cid = CID, .listen_fd = w->listen_fd, .host = &w->host};
    if (virtio_vsock_new(w->g->memory, w->g->io, &o, &w->vs, &err))
        fail_msg("%s", err.text);
    virtio_guest_plug(w->g, virtio_vsock_device(w->vs), true);
    for (unsigned i = 0; i < BUFFERS; i++)
        w->rx[i] = virtio_guest_alloc(w->g, BUFFER);
    w->tx = virtio_guest_alloc(w->g, 80 << 10);
    start(w);
    return w;
}

static void end(struct world *w)
{
    virtio_guest_unplug(w->g);
    virtio_vsock_free(w->vs);
    virtio_guest_free(w->g);
    for (unsigned i = 0; i < w->dialled; i++)
        close(w->ends[i]);
    if (w->listen_fd >= 0)
        close(w->listen_fd);
    free(w);
}

static struct virtio_vsock_hdr header(const struct world *w, uint16_t op, uint32_t guest_port, uint32_t host_port)
{
    return (struct virtio_vsock_hdr){.src_cid = CID,
                                     .dst_cid = VIRTIO_VSOCK_HOST_CID,
                                     .src_port = guest_port,
                                     .dst_port = host_port,
                                     .type = VIRTIO_VSOCK_TYPE_STREAM,
                                     .op = op,
                                     .buf_alloc = w->alloc,
                                     .fwd_cnt = w->taken};
}

/* Sends and waits until the device has taken it. */
static void say_all(struct world *w, const struct virtio_vsock_hdr *h, const void *data, uint32_t bytes)
{
    struct guest_buffer b[] = {{w->tx, HEADER}, {w->tx + HEADER, bytes}};
    memcpy(virtio_guest_at(w->g, w->tx, HEADER), h, HEADER);
    if (bytes)
        memcpy(virtio_guest_at(w->g, w->tx + HEADER, bytes), data, bytes);
    virtio_guest_add(w->g, TX, b, bytes ? 2 : 1, NULL, 0);
    virtio_guest_kick(w->g, TX);
    virtio_guest_wait(w->g, TX, NULL);
}

static void say(struct world *w, uint16_t op, uint32_t guest_port, uint32_t host_port)
{
    struct virtio_vsock_hdr h = header(w, op, guest_port, host_port);
    say_all(w, &h, NULL, 0);
}

static void say_data(struct world *w, uint32_t guest_port, const void *data, uint32_t bytes)
{
    struct virtio_vsock_hdr h = header(w, VIRTIO_VSOCK_OP_RW, guest_port, HTTP);
    h.len = bytes;
    say_all(w, &h, data, bytes);
}

/* The next packet to the guest; its buffer goes back at once. data: BUFFER bytes, or NULL. */
static struct virtio_vsock_hdr hear(struct world *w, uint8_t *data)
{
    struct virtio_vsock_hdr h;
    uint32_t used;
    uint16_t head = virtio_guest_wait(w->g, RX, &used);
    unsigned i = head % BUFFERS;
    memcpy(&h, virtio_guest_at(w->g, w->rx[i], HEADER), HEADER);
    assert_int_equal(used, HEADER + h.len);
    if (data && h.len)
        memcpy(data, virtio_guest_at(w->g, w->rx[i] + HEADER, h.len), h.len);
    assert_int_equal(h.src_cid, VIRTIO_VSOCK_HOST_CID);
    assert_int_equal(h.dst_cid, CID);
    struct guest_buffer b = {w->rx[i], BUFFER};
    virtio_guest_add(w->g, RX, NULL, 0, &b, 1);
    virtio_guest_kick(w->g, RX);
    return h;
}

static struct virtio_vsock_hdr hear_op(struct world *w, uint16_t op, uint32_t guest_port, uint32_t host_port)
{
    struct virtio_vsock_hdr h = hear(w, NULL);
    assert_int_equal(h.op, op);
    assert_int_equal(h.dst_port, guest_port);
    assert_int_equal(h.src_port, host_port);
    return h;
}

static int open_one(struct world *w, uint32_t guest_port)
{
    say(w, VIRTIO_VSOCK_OP_REQUEST, guest_port, HTTP);
    struct virtio_vsock_hdr h = hear_op(w, VIRTIO_VSOCK_OP_RESPONSE, guest_port, HTTP);
    assert_int_equal(h.buf_alloc, VIRTIO_VSOCK_BUFFER_BYTES);
    return w->ends[w->dialled - 1];
}

static void read_exactly(int fd, uint8_t *to, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        ssize_t n = read(fd, to + at, bytes - at);
        assert_true(n > 0);
        at += (size_t)n;
    }
}

/* ---- tests ---- */

static void the_guest_calls(void **state)
{
    (void)state;
    struct world *w = begin(false);
    uint8_t data[BUFFER];
    assert_int_equal(virtio_guest_config(w->g, 0, 8), CID);
    int fd = open_one(w, GUEST_PORT);
    say_data(w, GUEST_PORT, "GET /", 5);
    read_exactly(fd, data, 5);
    assert_memory_equal(data, "GET /", 5);
    assert_int_equal(write(fd, "hello guest", 11), 11);
    struct virtio_vsock_hdr h = hear(w, data);
    assert_int_equal(h.op, VIRTIO_VSOCK_OP_RW);
    assert_int_equal(h.len, 11);
    assert_int_equal(h.fwd_cnt, 5);
    assert_memory_equal(data, "hello guest", 11);
    shutdown(fd, SHUT_WR); /* the host has said everything */
    h = hear_op(w, VIRTIO_VSOCK_OP_SHUTDOWN, GUEST_PORT, HTTP);
    assert_int_equal(h.flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
    say_data(w, GUEST_PORT, "more", 4); /* the guest has not */
    read_exactly(fd, data, 4);
    h = header(w, VIRTIO_VSOCK_OP_SHUTDOWN, GUEST_PORT, HTTP);
    h.flags = VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND;
    say_all(w, &h, NULL, 0);
    hear_op(w, VIRTIO_VSOCK_OP_RST, GUEST_PORT, HTTP);
    assert_int_equal(read(fd, data, 1), 0);
    say_data(w, GUEST_PORT, "x", 1); /* nobody there any more */
    hear_op(w, VIRTIO_VSOCK_OP_RST, GUEST_PORT, HTTP);
    end(w);
}

static void nobody_answers_at_a_closed_port(void **state)
{
    (void)state;
    struct world *w = begin(false);
    say(w, VIRTIO_VSOCK_OP_REQUEST, GUEST_PORT, CLOSED);
    hear_op(w, VIRTIO_VSOCK_OP_RST, GUEST_PORT, CLOSED);
    open_one(w, GUEST_PORT);
    end(w);
}

static void nonsense_is_reset(void **state)
{
    (void)state;
    struct world *w = begin(false);
    static const uint16_t ops[] = {VIRTIO_VSOCK_OP_INVALID,  VIRTIO_VSOCK_OP_RESPONSE,      VIRTIO_VSOCK_OP_RW,
                                   VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 4711};
    for (unsigned i = 0; i < sizeof ops / sizeof *ops; i++) {
        say(w, ops[i], GUEST_PORT, HTTP);
        hear_op(w, VIRTIO_VSOCK_OP_RST, GUEST_PORT, HTTP);
    }
    say(w, VIRTIO_VSOCK_OP_RST, GUEST_PORT, HTTP); /* not answered */
    struct virtio_vsock_hdr h = header(w, VIRTIO_VSOCK_OP_REQUEST, 1, HTTP);
    h.src_cid = 7; /* not this guest: not answered */
    say_all(w, &h, NULL, 0);
    h = header(w, VIRTIO_VSOCK_OP_REQUEST, 2, HTTP);
    h.type = VIRTIO_VSOCK_TYPE_SEQPACKET;
    say_all(w, &h, NULL, 0);
    hear_op(w, VIRTIO_VSOCK_OP_RST, 2, HTTP);
    h = header(w, VIRTIO_VSOCK_OP_RW, 3, HTTP);
    h.len = 100; /* there are 10 */
    say_all(w, &h, "0123456789", 10);
    hear_op(w, VIRTIO_VSOCK_OP_RST, 3, HTTP);
    open_one(w, 4);
    say(w, VIRTIO_VSOCK_OP_REQUEST, 4, HTTP); /* twice */
    hear_op(w, VIRTIO_VSOCK_OP_RST, 4, HTTP);
    open_one(w, 4);
    say(w, VIRTIO_VSOCK_OP_RESPONSE, 4, HTTP); /* to no question */
    hear_op(w, VIRTIO_VSOCK_OP_RST, 4, HTTP);
    end(w);
}

static int client(struct world *w)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&w->address, sizeof w->address), 0);
    return fd;
}

static void the_host_calls(void **state)
{
    (void)state;
    struct world *w = begin(true);
    uint8_t data[BUFFER];
    char line[64];
    int fd = client(w);
    assert_int_equal(write(fd, "CONNECT 12", 10), 10); /* in two pieces, with the first data behind */
    assert_int_equal(write(fd, "34\nearly", 8), 8);
    struct virtio_vsock_hdr h = hear(w, NULL);
    assert_int_equal(h.op, VIRTIO_VSOCK_OP_REQUEST);
    assert_int_equal(h.dst_port, 1234);
    uint32_t port = h.src_port;
    say(w, VIRTIO_VSOCK_OP_RESPONSE, 1234, port);
    int n = snprintf(line, sizeof line, "OK %u\n", port);
    read_exactly(fd, data, (size_t)n);
    assert_memory_equal(data, line, n);
    h = hear(w, data);
    assert_int_equal(h.op, VIRTIO_VSOCK_OP_RW);
    assert_memory_equal(data, "early", 5);
    say(w, VIRTIO_VSOCK_OP_RST, 1234, port);
    assert_int_equal(read(fd, data, 1), 0);
    close(fd);

    static const char *const bad[] = {"HELLO\n",
                                      "CONNECT \n",
                                      "CONNECT -1\n",
                                      "CONNECT 4294967295\n",
                                      "CONNECT 12x\n",
                                      "CONNECT 000000000000000000000000\n",
                                      "\n"};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        fd = client(w);
        assert_int_equal(write(fd, bad[i], strlen(bad[i])), strlen(bad[i]));
        assert_true(read(fd, data, 1) <= 0); /* closed; with what it sent unread, perhaps by a reset */
        close(fd);
    }
    int silent[40]; /* more than may say nothing at once: the oldest go */
    for (unsigned i = 0; i < 40; i++)
        silent[i] = client(w);
    assert_int_equal(read(silent[0], data, 1), 0);
    assert_int_equal(write(silent[39], "CONNECT 7\n", 10), 10);
    h = hear(w, NULL);
    assert_int_equal(h.dst_port, 7);
    for (unsigned i = 0; i < 40; i++)
        close(silent[i]);
    end(w);
}

static void a_socket_is_handed_over(void **state)
{
    (void)state;
    struct world *w = begin(false);
    uint8_t data[BUFFER];
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(write(fds[1], "now", 3), 3);
    assert_int_equal(virtio_vsock_connect(w->vs, fds[0], 22), 0);
    struct virtio_vsock_hdr h = hear(w, NULL);
    assert_int_equal(h.op, VIRTIO_VSOCK_OP_REQUEST);
    say(w, VIRTIO_VSOCK_OP_RESPONSE, 22, h.src_port);
    h = hear(w, data); /* no "OK": just the data */
    assert_int_equal(h.op, VIRTIO_VSOCK_OP_RW);
    assert_memory_equal(data, "now", 3);
    close(fds[1]);
    end(w);
}

static void keeps_to_the_guests_credit(void **state)
{
    (void)state;
    struct world *w = begin(false);
    uint8_t data[BUFFER], sent[30000], got[30000];
    w->alloc = 1000;
    int fd = open_one(w, GUEST_PORT);
    fixture_pattern(sent, 0, sizeof sent, 5);
    assert_int_equal(write(fd, sent, sizeof sent), sizeof sent);
    for (size_t at = 0; at < sizeof sent;) {
        size_t round = 0;
        for (;;) {
            struct virtio_vsock_hdr h = hear(w, data);
            if (h.op == VIRTIO_VSOCK_OP_CREDIT_REQUEST)
                break;
            assert_int_equal(h.op, VIRTIO_VSOCK_OP_RW);
            round += h.len;
            assert_true(round <= 1000);
            memcpy(got + at, data, h.len);
            at += h.len;
            if (at == sizeof sent)
                break;
        }
        assert_true(round == 1000 || at == sizeof sent);
        w->taken += (uint32_t)round;
        say(w, VIRTIO_VSOCK_OP_CREDIT_UPDATE, GUEST_PORT, HTTP);
    }
    assert_memory_equal(got, sent, sizeof sent);
    end(w);
}

static void gives_credit_and_holds_the_guest_to_it(void **state)
{
    (void)state;
    enum { PIECE = 32 << 10 };
    struct world *w = begin(false);
    uint8_t *piece = malloc(PIECE), *back = malloc(PIECE);
    int fd = open_one(w, GUEST_PORT);
    int small = 4096;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    fixture_pattern(piece, 0, PIECE, 3);
    uint32_t sent = 0, taken = 0;
    /* an honest guest, a reader who comes in the end */
    while (sent - taken + PIECE <= VIRTIO_VSOCK_BUFFER_BYTES) {
        uint16_t head;
        say_data(w, GUEST_PORT, piece, PIECE);
        sent += PIECE;
        struct virtio_vsock_hdr h = header(w, VIRTIO_VSOCK_OP_CREDIT_REQUEST, GUEST_PORT, HTTP);
        say_all(w, &h, NULL, 0);
        do {
            h = hear(w, NULL);
            assert_int_equal(h.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
            taken = h.fwd_cnt;
        } while (virtio_guest_used(w->g, RX, &head, NULL) && (w->g->queues[RX].last_used--, true));
        assert_true(sent < 64u << 20);
    }
    assert_true(sent > VIRTIO_VSOCK_BUFFER_BYTES);
    virtio_guest_pause(w->g);
    virtio_guest_resume(w->g);
    for (uint32_t at = 0; at < sent; at += PIECE) {
        read_exactly(fd, back, PIECE);
        assert_memory_equal(back, piece, PIECE);
    }
    struct virtio_vsock_hdr h;
    do { /* as it drains, the guest learns of it without asking */
        h = hear(w, NULL);
        assert_int_equal(h.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
    } while (sent - h.fwd_cnt >= VIRTIO_VSOCK_BUFFER_BYTES / 2);
    for (unsigned i = 0; i < 32; i++) /* one that does not care */
        say_data(w, GUEST_PORT, piece, PIECE);
    do
        h = hear(w, NULL);
    while (h.op == VIRTIO_VSOCK_OP_CREDIT_UPDATE);
    assert_int_equal(h.op, VIRTIO_VSOCK_OP_RST);
    free(piece);
    free(back);
    end(w);
}

static void has_room_for_so_many(void **state)
{
    (void)state;
    struct world *w = begin(false);
    for (unsigned i = 0; i < VIRTIO_VSOCK_LINKS; i++)
        open_one(w, 10000 + i);
    say(w, VIRTIO_VSOCK_OP_REQUEST, 9, HTTP);
    hear_op(w, VIRTIO_VSOCK_OP_RST, 9, HTTP);
    say(w, VIRTIO_VSOCK_OP_RST, 10007, HTTP);
    struct virtio_vsock_hdr h;
    do { /* the place is free as soon as nothing waits for the socket any more */
        say(w, VIRTIO_VSOCK_OP_REQUEST, 9, HTTP);
        h = hear(w, NULL);
    } while (h.op == VIRTIO_VSOCK_OP_RST);
    assert_int_equal(h.op, VIRTIO_VSOCK_OP_RESPONSE);
    end(w);
}

static void a_flood_of_resets_is_bounded(void **state)
{
    (void)state;
    struct world *w = begin(false);
    struct virtio_vsock_hdr h = header(w, VIRTIO_VSOCK_OP_RW, 1, HTTP);
    struct guest_buffer b = {w->tx, HEADER};
    enum { FLOOD = 200 };
    memcpy(virtio_guest_at(w->g, w->tx, HEADER), &h, HEADER);
    for (unsigned i = 0; i < FLOOD; i++)
        virtio_guest_add(w->g, TX, &b, 1, NULL, 0);
    virtio_guest_kick(w->g, TX);
    for (unsigned i = 0; i < FLOOD; i++) /* every one is answered, as fast as we give buffers */
        hear_op(w, VIRTIO_VSOCK_OP_RST, 1, HTTP);
    for (unsigned i = 0; i < FLOOD; i++)
        virtio_guest_wait(w->g, TX, NULL);
    end(w);
}

static void connections_end_with_a_move(void **state)
{
    (void)state;
    struct world *w = begin(false), *to = begin(false);
    uint8_t byte;
    int fd = open_one(to, 1);
    open_one(w, GUEST_PORT);
    virtio_guest_round_trip(w->g, to->g);
    assert_int_equal(read(fd, &byte, 1), 0); /* what was there before the load is gone */
    virtio_guest_resume(to->g);
    struct guest_buffer b = {virtio_guest_alloc(to->g, 64), 4};
    *virtio_guest_at(to->g, b.gpa, 1) = 0xee;
    virtio_guest_add(to->g, EVENTS, NULL, 0, &b, 1);
    virtio_guest_kick(to->g, EVENTS);
    virtio_guest_wait(to->g, EVENTS, NULL);
    assert_int_equal(*virtio_guest_at(to->g, b.gpa, 1), VIRTIO_VSOCK_EVENT_TRANSPORT_RESET);
    say_data(to, GUEST_PORT, "x", 1);
    hear_op(to, VIRTIO_VSOCK_OP_RST, GUEST_PORT, HTTP);
    open_one(to, GUEST_PORT);
    end(w);
    end(to);
}

static void a_reset_ends_connections(void **state)
{
    (void)state;
    struct world *w = begin(false);
    uint8_t byte;
    int fd = open_one(w, GUEST_PORT);
    virtio_guest_reset(w->g);
    assert_int_equal(read(fd, &byte, 1), 0);
    start(w);
    open_one(w, GUEST_PORT);
    end(w);
}

static bool needs_reset(void *context)
{
    return virtio_guest_status(context) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

static void short_buffers_break_the_queue(void **state)
{
    (void)state;
    struct world *w = begin(false);
    struct guest_buffer b = {w->tx, HEADER - 1};
    virtio_guest_add(w->g, TX, &b, 1, NULL, 0);
    virtio_guest_kick(w->g, TX);
    virtio_guest_wait_for(needs_reset, w->g);
    virtio_guest_start(w->g, ~0ull);
    b.bytes = HEADER;
    virtio_guest_add(w->g, RX, NULL, 0, &b, 1);
    struct virtio_vsock_hdr h = header(w, VIRTIO_VSOCK_OP_RW, 1, HTTP);
    say_all(w, &h, NULL, 0);
    virtio_guest_wait_for(needs_reset, w->g);
    end(w);
}

static void ports_are_paths(void **state)
{
    (void)state;
    char path[64];
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct vsock_path p;
    snprintf(path, sizeof path, "/tmp/drover-test-vsock-%d", getpid());
    snprintf(a.sun_path, sizeof a.sun_path, "%s_%d", path, HTTP);
    vsock_path_init(&p, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 1), 0);
    int client_fd = p.host.dial(&p.host, HTTP);
    assert_true(client_fd >= 0);
    close(client_fd);
    unlink(a.sun_path);
    assert_int_equal(p.host.dial(&p.host, HTTP), -ENOENT);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_guest_calls),
        cmocka_unit_test(nobody_answers_at_a_closed_port),
        cmocka_unit_test(nonsense_is_reset),
        cmocka_unit_test(the_host_calls),
        cmocka_unit_test(a_socket_is_handed_over),
        cmocka_unit_test(keeps_to_the_guests_credit),
        cmocka_unit_test(gives_credit_and_holds_the_guest_to_it),
        cmocka_unit_test(has_room_for_so_many),
        cmocka_unit_test(a_flood_of_resets_is_bounded),
        cmocka_unit_test(connections_end_with_a_move),
        cmocka_unit_test(a_reset_ends_connections),
        cmocka_unit_test(short_buffers_break_the_queue),
        cmocka_unit_test(ports_are_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
