/* A console in both directions, with a host that takes what it likes. */
#include "tests/unit/virtio_guest.h"

#include <linux/virtio_console.h>
#include <stdlib.h>
#include <string.h>

#include "hv/virtio/virtio_console.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { RX = 0, TX = 1, LOG = 64 << 10 };

struct terminal {
    struct virtio_console_host host;
    struct virtio_guest *g;
    struct virtio_console *vc;
    struct loop *loop;
    size_t takes; /* how much it takes from now on */
    unsigned rooms;
    size_t bytes;
    uint8_t log[LOG];
    uint64_t out, in;
};

static size_t output(struct virtio_console_host *host, const uint8_t *data, size_t bytes)
{
    struct terminal *t = CONTAINER_OF(host, struct terminal, host);
    bus_assert_locked(t->g->bus);
    size_t n = bytes < t->takes ? bytes : t->takes;
    assert_true(t->bytes + n <= LOG);
    memcpy(t->log + t->bytes, data, n);
    t->bytes += n;
    t->takes -= n;
    return n;
}

static void room(struct virtio_console_host *host)
{
    CONTAINER_OF(host, struct terminal, host)->rooms++;
}

static struct terminal *begin(void)
{
    struct err err = {0};
    struct terminal *t = calloc(1, sizeof *t);
    t->host = (struct virtio_console_host){output, room};
    t->g = virtio_guest_new();
    t->loop = loop_new(&err);
    t->takes = LOG;
    struct virtio_console_parts parts = {t->g->memory, t->g->bus, t->loop, t->g->io, &t->host};
    if (virtio_console_new(&parts, &t->vc, &err))
        fail_msg("%s", err.text);
    virtio_guest_plug(t->g, virtio_console_device(t->vc), true);
    t->out = virtio_guest_alloc(t->g, 32 << 10);
    t->in = virtio_guest_alloc(t->g, 32 << 10);
    return t;
}

static void end(struct terminal *t)
{
    virtio_guest_unplug(t->g);
    virtio_console_free(t->vc);
    virtio_guest_free(t->g);
    loop_free(t->loop);
    free(t);
}

static void say(struct terminal *t, uint64_t at, uint32_t bytes)
{
    struct guest_buffer b = {t->out + at, bytes};
    virtio_guest_add(t->g, TX, &b, 1, NULL, 0);
    virtio_guest_kick(t->g, TX);
}

static void wait_for_output(struct terminal *t, size_t bytes)
{
    while (t->bytes < bytes)
        loop_step(t->loop);
}

static size_t type(struct terminal *t, const void *data, size_t bytes)
{
    bus_lock(t->g->bus);
    size_t n = virtio_console_input(t->vc, data, bytes);
    bus_unlock(t->g->bus);
    return n;
}

static void allow(struct terminal *t, size_t bytes)
{
    t->takes = bytes;
    bus_lock(t->g->bus);
    virtio_console_output_ready(t->vc);
    bus_unlock(t->g->bus);
}

/* ---- tests ---- */

static void writes(void **state)
{
    (void)state;
    struct terminal *t = begin();
    virtio_guest_start(t->g, ~0ull);
    memcpy(virtio_guest_at(t->g, t->out, 32), "login: password: ", 17);
    say(t, 0, 7);
    say(t, 7, 10);
    wait_for_output(t, 17);
    assert_memory_equal(t->log, "login: password: ", 17);
    virtio_guest_wait(t->g, TX, NULL);
    virtio_guest_wait(t->g, TX, NULL);
    end(t);
}

static void a_slow_host_holds_the_guest_up(void **state)
{
    (void)state;
    struct terminal *t = begin();
    uint16_t head;
    virtio_guest_start(t->g, ~0ull);
    fixture_pattern(virtio_guest_at(t->g, t->out, 20000), 0, 20000, 7);
    t->takes = 100;
    say(t, 0, 20000); /* more than the ring holds */
    wait_for_output(t, 100);
    assert_false(virtio_guest_used(t->g, TX, &head, NULL));
    virtio_guest_pause(t->g);
    virtio_guest_resume(t->g);
    for (size_t at = 100; at < 20000; at += 700) {
        allow(t, 700);
        wait_for_output(t, at + 700 < 20000 ? at + 700 : 20000);
    }
    virtio_guest_wait(t->g, TX, NULL);
    assert_int_equal(t->bytes, 20000);
    assert_memory_equal(t->log, virtio_guest_at(t->g, t->out, 20000), 20000);
    end(t);
}

static void reads(void **state)
{
    (void)state;
    struct terminal *t = begin();
    uint32_t used;
    virtio_guest_start(t->g, ~0ull);
    assert_int_equal(type(t, "too early", 9), 9); /* waits for a buffer */
    struct guest_buffer b = {t->in, 6};
    virtio_guest_add(t->g, RX, NULL, 0, &b, 1);
    virtio_guest_kick(t->g, RX);
    virtio_guest_wait(t->g, RX, &used);
    assert_int_equal(used, 6);
    assert_memory_equal(virtio_guest_at(t->g, t->in, 6), "too ea", 6);
    b.bytes = 100;
    virtio_guest_add(t->g, RX, NULL, 0, &b, 1);
    virtio_guest_kick(t->g, RX);
    virtio_guest_wait(t->g, RX, &used);
    assert_int_equal(used, 3);
    virtio_guest_add(t->g, RX, NULL, 0, &b, 1);
    virtio_guest_kick(t->g, RX);
    assert_int_equal(type(t, "x", 1), 1);
    virtio_guest_wait(t->g, RX, &used);
    assert_int_equal(used, 1);
    end(t);
}

static void a_slow_guest_holds_the_host_up(void **state)
{
    (void)state;
    struct terminal *t = begin();
    uint8_t data[6000];
    uint32_t used;
    fixture_pattern(data, 0, sizeof data, 3);
    virtio_guest_start(t->g, ~0ull);
    assert_int_equal(type(t, data, sizeof data), VIRTIO_CONSOLE_RING_BYTES);
    assert_int_equal(type(t, data, 1), 0);
    bus_lock(t->g->bus);
    assert_int_equal(virtio_console_room(t->vc), 0);
    bus_unlock(t->g->bus);
    size_t done = VIRTIO_CONSOLE_RING_BYTES;
    for (size_t got = 0; got < sizeof data; got += used) {
        struct guest_buffer b = {t->in + got, 333};
        t->rooms = 0;
        virtio_guest_add(t->g, RX, NULL, 0, &b, 1);
        virtio_guest_kick(t->g, RX);
        virtio_guest_wait(t->g, RX, &used);
        while (done < sizeof data && !t->rooms)
            loop_step(t->loop);
        done += type(t, data + done, sizeof data - done);
    }
    assert_memory_equal(virtio_guest_at(t->g, t->in, sizeof data), data, sizeof data);
    end(t);
}

static void tells_its_size(void **state)
{
    (void)state;
    struct terminal *t = begin();
    virtio_guest_start(t->g, ~0ull);
    assert_int_equal(virtio_guest_config(t->g, 0, 4), 80 | 25 << 16);
    bus_lock(t->g->bus);
    virtio_console_set_size(t->vc, 132, 50);
    virtio_console_set_size(t->vc, 132, 50);
    bus_unlock(t->g->bus);
    assert_int_equal(virtio_guest_config(t->g, 0, 4), 132 | 50 << 16);
    assert_int_equal(atomic_load(&t->g->msis[0]), 1);
    virtio_guest_write(t->g, t->g->config + offsetof(struct virtio_console_config, emerg_wr), 4, '!');
    wait_for_output(t, 1);
    assert_int_equal(t->log[0], '!');
    end(t);
}

static void moves_with_what_is_under_way(void **state)
{
    (void)state;
    struct terminal *t = begin(), *to = begin();
    uint32_t used;
    virtio_guest_start(t->g, ~0ull);
    fixture_pattern(virtio_guest_at(t->g, t->out, 9000), 0, 9000, 7);
    t->takes = 1000;
    say(t, 0, 9000);
    wait_for_output(t, 1000);
    assert_int_equal(type(t, "typed before", 12), 12);
    virtio_guest_round_trip(t->g, to->g);
    virtio_guest_resume(to->g);
    allow(to, LOG);
    wait_for_output(to, 8000);
    virtio_guest_wait(to->g, TX, NULL);
    assert_memory_equal(to->log, virtio_guest_at(t->g, t->out + 1000, 8000), 8000);
    struct guest_buffer b = {to->in, 100};
    virtio_guest_add(to->g, RX, NULL, 0, &b, 1);
    virtio_guest_kick(to->g, RX);
    virtio_guest_wait(to->g, RX, &used);
    assert_int_equal(used, 12);
    assert_memory_equal(virtio_guest_at(to->g, to->in, 12), "typed before", 12);
    end(t);
    end(to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes),         cmocka_unit_test(a_slow_host_holds_the_guest_up),
        cmocka_unit_test(reads),          cmocka_unit_test(a_slow_guest_holds_the_host_up),
        cmocka_unit_test(tells_its_size), cmocka_unit_test(moves_with_what_is_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
