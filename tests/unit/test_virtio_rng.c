/* Randomness: it comes, it differs, and only so much of it. */
#include "tests/unit/virtio_guest.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "hv/virtio/virtio_rng.h"
#include "node/base/clock.h"
#include "node/base/err.h"

struct source {
    struct virtio_guest *g;
    struct virtio_rng *rng;
    uint64_t at;
};

static struct source begin(uint64_t rate)
{
    struct err err = {0};
    struct source s = {.g = virtio_guest_new()};
    if (virtio_rng_new(s.g->memory, s.g->io, rate, &s.rng, &err))
        fail_msg("%s", err.text);
    virtio_guest_plug(s.g, virtio_rng_device(s.rng), true);
    s.at = virtio_guest_alloc(s.g, 65536);
    virtio_guest_start(s.g, ~0ull);
    return s;
}

static void end(struct source *s)
{
    virtio_guest_unplug(s->g);
    virtio_rng_free(s->rng);
    virtio_guest_free(s->g);
}

static uint32_t ask(struct source *s, uint32_t bytes)
{
    struct guest_buffer b = {s->at, bytes};
    uint32_t used;
    virtio_guest_add(s->g, 0, NULL, 0, &b, 1);
    virtio_guest_kick(s->g, 0);
    virtio_guest_wait(s->g, 0, &used);
    return used;
}

static void fills_buffers(void **state)
{
    (void)state;
    struct source s = begin(0);
    uint8_t first[64], zeroes[64] = {0};
    assert_int_equal(ask(&s, 64), 64);
    memcpy(first, virtio_guest_at(s.g, s.at, 64), 64);
    assert_memory_not_equal(first, zeroes, 64);
    assert_int_equal(ask(&s, 64), 64);
    assert_memory_not_equal(first, virtio_guest_at(s.g, s.at, 64), 64);
    assert_int_equal(ask(&s, 65536), 4096); /* a piece at a time */
    memset(virtio_guest_at(s.g, s.at, 100), 0, 100);
    assert_int_equal(ask(&s, 50), 50);
    assert_memory_equal(virtio_guest_at(s.g, s.at + 50, 50), zeroes, 50); /* and not a byte more */
    virtio_guest_round_trip(s.g, NULL);
    virtio_guest_resume(s.g);
    assert_int_equal(ask(&s, 64), 64);
    end(&s);
}

static void gives_no_more_than_the_rate(void **state)
{
    (void)state;
    struct source s = begin(64 << 10);
    uint64_t start_ns = clock_ns();
    for (unsigned i = 0; i < 20; i++) /* 80 KiB: one second's worth at once, and a quarter more */
        assert_int_equal(ask(&s, 4096), 4096);
    assert_true(clock_ns() - start_ns >= 200000000); /* from below: a slow machine cannot fail it */
    struct guest_buffer b = {s.at, 4096};
    for (unsigned i = 0; i < 4; i++)
        virtio_guest_add(s.g, 0, NULL, 0, &b, 1);
    virtio_guest_kick(s.g, 0);
    virtio_guest_reset(s.g); /* while the timer waits */
    virtio_guest_start(s.g, ~0ull);
    assert_int_equal(ask(&s, 16), 16);
    end(&s);
}

/* A device goes while kicks come: one may be faster than the cancellation of the wait for it. Here they always are,
 * since what is waited for never waits. */
static void ends_among_kicks(void **state)
{
    (void)state;
    struct source s = begin(0);
    int kick_fd = virtio_rng_device(s.rng)->queues[0].kick_fd, bell = dup(kick_fd), zero = open("/dev/zero", O_RDWR);
    uint64_t one = 1;
    assert_int_equal(ask(&s, 64), 64);
    assert_int_equal(dup2(zero, kick_fd), kick_fd);
    assert_int_equal(write(bell, &one, sizeof one), sizeof one); /* the last one that was waited for */
    assert_int_equal(ask(&s, 64), 64);
    alarm(60); /* it would wait for ever */
    end(&s);
    alarm(0);
    close(bell);
    close(zero);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(fills_buffers), cmocka_unit_test(gives_no_more_than_the_rate),
                                       cmocka_unit_test(ends_among_kicks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
