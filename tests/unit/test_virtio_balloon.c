/* The balloon: memory leaves the host, comes back empty, and figures arrive. */
#include "tests/unit/virtio_guest.h"

#include <linux/virtio_balloon.h>
#include <linux/virtio_config.h>
#include <string.h>
#include <sys/stat.h>

#include "hv/virtio/virtio_balloon.h"
#include "node/base/err.h"

enum { INFLATE = 0, DEFLATE = 1, STATS = 2, REPORT = 3, PAGE = 4096 };
enum { SLACK = 64 << 10 }; /* rings and lists are touched for the first time meanwhile */

struct balloon {
    struct virtio_guest *g;
    struct virtio_balloon *vb;
    uint64_t list, pages;
};

static struct balloon begin(uint64_t features)
{
    struct err err = {0};
    struct balloon b = {.g = virtio_guest_new()};
    if (virtio_balloon_new(b.g->memory, b.g->io, &b.vb, &err))
        fail_msg("%s", err.text);
    virtio_guest_plug(b.g, virtio_balloon_device(b.vb), true);
    virtio_guest_start(b.g, features);
    b.list = virtio_guest_alloc(b.g, 8192);
    b.pages = 8 << 20;
    memset(virtio_guest_at(b.g, b.pages, 4 << 20), 0xaa, 4 << 20);
    return b;
}

static void end(struct balloon *b)
{
    virtio_guest_unplug(b->g);
    virtio_balloon_free(b->vb);
    virtio_guest_free(b->g);
}

static uint64_t host_bytes(struct balloon *b)
{
    struct stat st;
    assert_int_equal(fstat(memory_fd(b->g->memory), &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

static void send_pages(struct balloon *b, unsigned queue, const uint32_t *pages, uint32_t count)
{
    struct guest_buffer list = {b->list, 4 * count};
    memcpy(virtio_guest_at(b->g, b->list, list.bytes), pages, list.bytes);
    virtio_guest_add(b->g, queue, &list, 1, NULL, 0);
    virtio_guest_kick(b->g, queue);
    virtio_guest_wait(b->g, queue, NULL);
}

static bool is_all(struct balloon *b, uint64_t gpa, uint64_t bytes, uint8_t value)
{
    const uint8_t *at = virtio_guest_at(b->g, gpa, bytes);
    for (uint64_t i = 0; i < bytes; i++)
        if (at[i] != value)
            return false;
    return true;
}

static void memory_leaves_the_host(void **state)
{
    (void)state;
    struct balloon b = begin(~0ull);
    uint32_t pages[256], first = (uint32_t)(b.pages / PAGE);
    uint64_t before = host_bytes(&b);
    for (unsigned i = 0; i < 256; i++) /* not in order */
        pages[i] = first + (i * 37) % 256;
    send_pages(&b, INFLATE, pages, 256);
    assert_true(host_bytes(&b) <= before - (1 << 20) + SLACK);
    assert_true(is_all(&b, b.pages, 1 << 20, 0));
    assert_true(is_all(&b, b.pages + (1 << 20), PAGE, 0xaa));
    struct virtio_balloon_stats stats;
    virtio_balloon_stats(b.vb, &stats);
    assert_int_equal(stats.given_bytes, 1 << 20);
    send_pages(&b, DEFLATE, pages, 256);
    memset(virtio_guest_at(b.g, b.pages, PAGE), 1, PAGE);
    end(&b);
}

static void nonsense_is_passed_over(void **state)
{
    (void)state;
    struct balloon b = begin(~0ull);
    uint32_t first = (uint32_t)(b.pages / PAGE);
    uint32_t pages[] = {UINT32_MAX, first + 1, GUEST_MEMORY_BYTES / PAGE, 0xfffff, first + 1, first + 3, UINT32_MAX};
    uint64_t bitmap[GUEST_MEMORY_BYTES / PAGE / 64];
    memory_log_start(b.g->memory);
    send_pages(&b, INFLATE, pages, sizeof pages / sizeof *pages);
    memory_log_take(b.g->memory, 0, bitmap);
    memory_log_stop(b.g->memory);
    assert_true(is_all(&b, b.pages, PAGE, 0xaa));
    assert_true(is_all(&b, b.pages + PAGE, PAGE, 0));
    assert_true(is_all(&b, b.pages + 2 * PAGE, PAGE, 0xaa));
    assert_true(is_all(&b, b.pages + 3 * PAGE, PAGE, 0));
    assert_int_equal(bitmap[first / 64] >> (first % 64) & 15, 2 | 8);
    struct guest_buffer odd = {b.list, 7}; /* one number and a bit */
    virtio_guest_add(b.g, INFLATE, &odd, 1, NULL, 0);
    virtio_guest_kick(b.g, INFLATE);
    virtio_guest_wait(b.g, INFLATE, NULL);
    end(&b);
}

static bool needs_reset(void *context)
{
    return virtio_guest_status(context) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* The same numbers again and again would keep the thread that serves other devices for long. */
static void too_many_at_once_break_the_queue(void **state)
{
    (void)state;
    struct balloon b = begin(~0ull);
    struct guest_buffer list = {b.pages, 20 * 1024};
    virtio_guest_add(b.g, INFLATE, &list, 1, NULL, 0);
    virtio_guest_kick(b.g, INFLATE);
    virtio_guest_wait_for(needs_reset, b.g);
    assert_true(is_all(&b, b.pages, PAGE, 0xaa));
    end(&b);
}

static void target_and_actual(void **state)
{
    (void)state;
    struct balloon b = begin(~0ull);
    struct virtio_balloon_stats stats;
    bus_lock(b.g->bus);
    virtio_balloon_set_target(b.vb, 4 << 20);
    bus_unlock(b.g->bus);
    assert_int_equal(virtio_guest_config(b.g, 0, 4), 1024);
    assert_int_equal(atomic_load(&b.g->msis[0]), 1);
    virtio_guest_write(b.g, b.g->config + 4, 4, 1000);
    virtio_balloon_stats(b.vb, &stats);
    assert_int_equal(stats.target, 4 << 20);
    assert_int_equal(stats.inflated, 1000 * PAGE);
    bus_lock(b.g->bus);
    virtio_balloon_set_target(b.vb, UINT64_MAX);
    bus_unlock(b.g->bus);
    assert_int_equal(virtio_guest_config(b.g, 0, 4), GUEST_MEMORY_BYTES / PAGE);
    virtio_guest_round_trip(b.g, NULL);
    assert_int_equal(virtio_guest_config(b.g, 4, 4), 1000);
    end(&b);
}

struct update_wait {
    struct balloon *b;
    uint64_t updates;
};

static bool is_updated(void *context)
{
    struct update_wait *w = context;
    struct virtio_balloon_stats stats;
    virtio_balloon_stats(w->b->vb, &stats);
    return stats.updates > w->updates;
}

static void figures_arrive(void **state)
{
    (void)state;
    struct balloon b = begin(~0ull);
    struct virtio_balloon_stats stats;
    uint16_t head;
    struct virtio_balloon_stat entries[] = {{VIRTIO_BALLOON_S_MEMFREE, 1000000},
                                            {VIRTIO_BALLOON_S_AVAIL, 2000000},
                                            {999, 5},
                                            {VIRTIO_BALLOON_S_MEMTOT, 3000000}};
    virtio_balloon_stats(b.vb, &stats);
    assert_int_equal(stats.free, UINT64_MAX);
    virtio_balloon_ask_stats(b.vb); /* there is nothing to ask with yet */
    struct guest_buffer list = {b.list, sizeof entries};
    for (unsigned i = 0; i < 3; i++) {
        memcpy(virtio_guest_at(b.g, b.list, sizeof entries), entries, sizeof entries);
        virtio_balloon_stats(b.vb, &stats);
        struct update_wait wait = {&b, stats.updates};
        virtio_guest_add(b.g, STATS, &list, 1, NULL, 0);
        virtio_guest_kick(b.g, STATS);
        virtio_guest_wait_for(is_updated, &wait);
        assert_false(virtio_guest_used(b.g, STATS, &head, NULL)); /* kept until somebody asks */
        virtio_guest_pause(b.g);
        virtio_guest_resume(b.g);
        virtio_balloon_ask_stats(b.vb); /* comes after the start, which was posted before */
        virtio_guest_wait(b.g, STATS, NULL);
    }
    virtio_balloon_stats(b.vb, &stats);
    assert_int_equal(stats.free, 1000000);
    assert_int_equal(stats.available, 2000000);
    assert_int_equal(stats.total, 3000000);
    assert_int_equal(stats.swapped_in, UINT64_MAX);
    end(&b);
}

static void report(struct balloon *b, unsigned queue)
{
    struct guest_buffer ranges[] = {{b->pages, 1 << 20}, {b->pages + (2 << 20), 1 << 20}, {b->pages + (3 << 20), 100}};
    uint64_t before = host_bytes(b);
    memory_log_start(b->g->memory);
    virtio_guest_add(b->g, queue, NULL, 0, ranges, 3);
    virtio_guest_kick(b->g, queue);
    virtio_guest_wait(b->g, queue, NULL);
    assert_true(memory_log_bytes(b->g->memory) <= 4 * PAGE); /* the queue itself */
    memory_log_stop(b->g->memory);
    assert_true(host_bytes(b) <= before - (2 << 20) + SLACK);
    assert_true(is_all(b, b->pages + (1 << 20), 1 << 20, 0xaa));
    assert_true(is_all(b, b->pages + (3 << 20), PAGE, 0xaa)); /* a part of a page stays */
    assert_true(is_all(b, b->pages, 1 << 20, 0));
}

static void free_pages_are_reported(void **state)
{
    (void)state;
    struct balloon b = begin(~0ull);
    report(&b, REPORT);
    end(&b);
    b = begin(~0ull & ~(1ull << VIRTIO_BALLOON_F_STATS_VQ)); /* the queue moves up */
    report(&b, REPORT - 1);
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_leaves_the_host),
        cmocka_unit_test(nonsense_is_passed_over),
        cmocka_unit_test(too_many_at_once_break_the_queue),
        cmocka_unit_test(target_and_actual),
        cmocka_unit_test(figures_arrive),
        cmocka_unit_test(free_pages_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
