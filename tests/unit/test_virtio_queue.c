/* Split rings without a device: what honest drivers do, and what hostile ones could. */
#include "tests/unit/fixture.h"

#include <linux/virtio_ring.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "hv/memory.h"
#include "hv/virtio/chain.h"
#include "hv/virtio/queue.h"
#include "node/base/container.h"

enum {
    RAM = 4 << 20,
    SIZE = 8,
    ROOM = 16,
    DESC = 0x1000,
    AVAIL = 0x2000,
    USED = 0x3000,
    TABLE = 0x4000,
    DATA = 0x10000
};

struct ring {
    struct queue q;
    struct memory *memory;
    unsigned signals, failures;
    const char *why;
    struct iovec iov[ROOM];
    struct chain chain;
};

static void signalled(struct queue *q)
{
    CONTAINER_OF(q, struct ring, q)->signals++;
}

static void failed(struct queue *q, const char *why)
{
    struct ring *r = CONTAINER_OF(q, struct ring, q);
    r->failures++;
    r->why = why;
}

static int setup(void **state)
{
    struct ring *r = calloc(1, sizeof *r);
    r->memory = memory_new(RAM, NULL);
    r->q = (struct queue){.memory = r->memory,
                          .signal = signalled,
                          .failed = failed,
                          .desc_gpa = DESC,
                          .avail_gpa = AVAIL,
                          .used_gpa = USED,
                          .size = SIZE,
                          .indirect = true};
    r->chain.iov = r->iov;
    r->chain.room = ROOM;
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct ring *r = *state;
    memory_free(r->memory);
    free(r);
    return 0;
}

static void open_ring(struct ring *r)
{
    assert_null(queue_open(&r->q));
}

static uint8_t *at(struct ring *r, uint64_t gpa)
{
    return memory_at_writable(r->memory, gpa, 1);
}

static void set_word(struct ring *r, uint64_t gpa, uint16_t value)
{
    memcpy(at(r, gpa), &value, sizeof value);
}

static uint16_t get_word(struct ring *r, uint64_t gpa)
{
    uint16_t value;
    memcpy(&value, at(r, gpa), sizeof value);
    return value;
}

static void set_desc(struct ring *r, uint64_t table, unsigned i, uint64_t gpa, uint32_t len, uint16_t flags,
                     uint16_t next)
{
    struct vring_desc d = {.addr = gpa, .len = len, .flags = flags, .next = next};
    memcpy(at(r, table + 16 * i), &d, sizeof d);
}

static void offer(struct ring *r, uint16_t head)
{
    uint16_t idx = get_word(r, AVAIL + 2);
    set_word(r, AVAIL + 4 + 2ull * (idx % SIZE), head);
    set_word(r, AVAIL + 2, (uint16_t)(idx + 1));
}

static void refuses(struct ring *r, const char *part_of_why)
{
    assert_false(queue_pop(&r->q, &r->chain));
    assert_int_equal(r->failures, 1);
    assert_non_null(strstr(r->why, part_of_why));
    assert_true(r->q.broken);
    assert_false(queue_pop(&r->q, &r->chain)); /* and says so once */
    assert_int_equal(r->failures, 1);
    assert_false(queue_listen(&r->q));
    assert_int_equal(r->q.out, 0);
}

/* ---- honest ---- */

static void takes_and_gives_back(void **state)
{
    struct ring *r = *state;
    open_ring(r);
    assert_false(queue_pop(&r->q, &r->chain));
    set_desc(r, DESC, 3, DATA, 16, VRING_DESC_F_NEXT, 5);
    set_desc(r, DESC, 5, DATA + 0x1000, 512, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
    set_desc(r, DESC, 1, DATA + 0x3000, 1, VRING_DESC_F_WRITE, 0);
    offer(r, 3);
    assert_true(queue_pop(&r->q, &r->chain));
    assert_int_equal(r->chain.readable, 1);
    assert_int_equal(r->chain.writable, 2);
    assert_int_equal(r->chain.readable_bytes, 16);
    assert_int_equal(r->chain.writable_bytes, 513);
    assert_ptr_equal(r->iov[0].iov_base, at(r, DATA));
    assert_ptr_equal(r->iov[2].iov_base, at(r, DATA + 0x3000));
    assert_false(queue_pop(&r->q, &r->chain));
    queue_push(&r->q, &r->chain, 513);
    assert_int_equal(get_word(r, USED + 2), 0); /* not yet */
    queue_publish(&r->q);
    assert_int_equal(get_word(r, USED + 2), 1);
    struct vring_used_elem e;
    memcpy(&e, at(r, USED + 4), sizeof e);
    assert_int_equal(e.id, 3);
    assert_int_equal(e.len, 513);
    assert_int_equal(r->signals, 1);
    queue_publish(&r->q); /* nothing new */
    assert_int_equal(r->signals, 1);
    assert_int_equal(r->failures, 0);
}

static void neighbours_are_one_piece(void **state)
{
    struct ring *r = *state;
    open_ring(r);
    set_desc(r, DESC, 0, DATA, 100, VRING_DESC_F_NEXT, 1);
    set_desc(r, DESC, 1, DATA + 100, 28, VRING_DESC_F_NEXT, 2);
    set_desc(r, DESC, 2, DATA + 128, 0, VRING_DESC_F_NEXT, 3); /* empty: no piece at all */
    set_desc(r, DESC, 3, DATA + 128, 64, VRING_DESC_F_WRITE, 0);
    offer(r, 0);
    assert_true(queue_pop(&r->q, &r->chain));
    assert_int_equal(r->chain.readable, 1);
    assert_int_equal(r->chain.writable, 1); /* not joined with a readable one */
    assert_int_equal(r->iov[0].iov_len, 128);
}

static void indices_wrap(void **state)
{
    struct ring *r = *state;
    r->q.next_avail = r->q.next_used = 0xfffc;
    set_word(r, AVAIL + 2, 0xfffc);
    set_word(r, USED + 2, 0xfffc);
    open_ring(r);
    for (unsigned i = 0; i < 20; i++) {
        set_desc(r, DESC, i % SIZE, DATA + i, 1, VRING_DESC_F_WRITE, 0);
        offer(r, (uint16_t)(i % SIZE));
        assert_true(queue_pop(&r->q, &r->chain));
        assert_ptr_equal(r->iov[0].iov_base, at(r, DATA + i));
        queue_push(&r->q, &r->chain, 1);
        queue_publish(&r->q);
        assert_int_equal(get_word(r, USED + 2), (uint16_t)(0xfffc + i + 1));
    }
    assert_int_equal(r->signals, 20);
}

static void a_turn_ends(void **state)
{
    struct ring *r = *state;
    unsigned taken = 0;
    open_ring(r);
    set_desc(r, DESC, 0, DATA, 1, VRING_DESC_F_WRITE, 0);
    offer(r, 0);
    queue_begin_turn(&r->q);
    while (queue_pop(&r->q, &r->chain)) {
        queue_push(&r->q, &r->chain, 1);
        queue_publish(&r->q);
        offer(r, 0); /* as fast as it is emptied */
        taken++;
    }
    assert_int_equal(taken, QUEUE_TURN);
    assert_false(queue_listen(&r->q));
    assert_true(queue_end_turn(&r->q));
    assert_true(queue_listen(&r->q));
    queue_begin_turn(&r->q);
    assert_true(queue_pop(&r->q, &r->chain));
    queue_push(&r->q, &r->chain, 1);
    assert_false(queue_pop(&r->q, &r->chain));
    assert_false(queue_end_turn(&r->q)); /* it was emptied */
}

static void indirect_tables(void **state)
{
    struct ring *r = *state;
    open_ring(r);
    for (unsigned i = 0; i < 12; i++) /* more than the queue has entries */
        set_desc(r, TABLE, i, DATA + 0x1000 * i, 10, (uint16_t)(i < 11 ? VRING_DESC_F_NEXT : 0), (uint16_t)(i + 1));
    set_desc(r, DESC, 0, DATA + 0x20000, 4, VRING_DESC_F_NEXT, 1); /* direct ones may stand before */
    set_desc(r, DESC, 1, TABLE, 16 * 12, VRING_DESC_F_INDIRECT, 0);
    offer(r, 0);
    assert_true(queue_pop(&r->q, &r->chain));
    assert_int_equal(r->chain.readable, 13);
    assert_int_equal(r->chain.readable_bytes, 124);
}

static void puts_back(void **state)
{
    struct ring *r = *state;
    open_ring(r);
    for (unsigned i = 0; i < 3; i++) {
        set_desc(r, DESC, i, DATA + i, 1, VRING_DESC_F_WRITE, 0);
        offer(r, (uint16_t)i);
    }
    for (unsigned i = 0; i < 3; i++)
        assert_true(queue_pop(&r->q, &r->chain));
    queue_unpop(&r->q, 2);
    assert_int_equal(r->q.out, 1);
    assert_true(queue_pop(&r->q, &r->chain));
    assert_int_equal(r->chain.head, 1);
}

static void interrupts_on_demand(void **state)
{
    struct ring *r = *state;
    open_ring(r);
    set_desc(r, DESC, 0, DATA, 1, VRING_DESC_F_WRITE, 0);
    set_word(r, AVAIL, VRING_AVAIL_F_NO_INTERRUPT);
    offer(r, 0);
    assert_true(queue_pop(&r->q, &r->chain));
    queue_push(&r->q, &r->chain, 1);
    queue_publish(&r->q);
    assert_int_equal(r->signals, 0);
    queue_close(&r->q);
    r->q.event_idx = true;
    open_ring(r);
    set_word(r, AVAIL + 4 + 2 * SIZE, 3); /* wake me when index 3 is used: at the 4th */
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(r->signals, 0);
        offer(r, 0);
        assert_true(queue_pop(&r->q, &r->chain));
        queue_push(&r->q, &r->chain, 1);
        queue_publish(&r->q);
        assert_int_equal(r->signals, i == 2); /* the first one was used before */
        if (r->signals)
            break;
    }
    assert_int_equal(r->signals, 1);
}

static void kicks_on_demand(void **state)
{
    struct ring *r = *state;
    open_ring(r);
    queue_quiet(&r->q);
    assert_int_equal(get_word(r, USED), VRING_USED_F_NO_NOTIFY);
    assert_false(queue_listen(&r->q));
    assert_int_equal(get_word(r, USED), 0);
    set_desc(r, DESC, 0, DATA, 1, VRING_DESC_F_WRITE, 0);
    offer(r, 0);
    assert_true(queue_listen(&r->q));
    queue_close(&r->q);
    r->q.event_idx = true;
    open_ring(r);
    assert_true(queue_pop(&r->q, &r->chain));
    assert_false(queue_listen(&r->q));
    assert_int_equal(get_word(r, USED + 4 + 8 * SIZE), 1); /* kick at the next */
}

static void the_dirty_log_knows(void **state)
{
    struct ring *r = *state;
    uint64_t bitmap[RAM / 4096 / 64];
    open_ring(r);
    memory_log_start(r->memory);
    set_desc(r, DESC, 0, DATA, 16, VRING_DESC_F_NEXT, 1);
    set_desc(r, DESC, 1, DATA + 0x5000, 0x3000, VRING_DESC_F_WRITE, 0);
    offer(r, 0);
    assert_true(queue_pop(&r->q, &r->chain));
    queue_push(&r->q, &r->chain, 0x1001);
    queue_publish(&r->q);
    memory_log_take(r->memory, 0, bitmap);
    uint64_t expected = 1ull << (USED >> 12) | 1ull << ((DATA + 0x5000) >> 12) | 1ull << ((DATA + 0x6000) >> 12);
    assert_int_equal(bitmap[0], expected);
    memory_log_stop(r->memory);
}

static void chains_are_cut_anywhere(void **state)
{
    (void)state;
    uint8_t bytes[64], to[64] = {0};
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i;
    struct iovec iov[] = {{bytes, 3}, {bytes + 10, 1}, {bytes + 20, 5}, {bytes + 40, 2}, {bytes + 50, 6}};
    struct chain c = {.iov = iov, .room = 5, .readable = 3, .writable = 2, .readable_bytes = 9, .writable_bytes = 8};
    assert_int_equal(chain_read(&c, 2, to, 5), 5);
    const uint8_t expected[] = {2, 10, 20, 21, 22};
    assert_memory_equal(to, expected, 5);
    assert_int_equal(chain_read(&c, 8, to, 50), 1);
    assert_int_equal(chain_read(&c, 9, to, 1), 0);
    assert_int_equal(chain_write(&c, 1, "abc", 3), 3);
    assert_int_equal(bytes[41], 'a');
    assert_int_equal(bytes[51], 'c');
    assert_int_equal(chain_write(&c, 7, "xyz", 3), 1);
    struct iovec part[4];
    assert_int_equal(chain_slice_readable(&c, 2, 4, part, 4), 3);
    assert_ptr_equal(part[0].iov_base, bytes + 2);
    assert_int_equal(part[2].iov_len, 2);
    assert_int_equal(chain_slice_readable(&c, 2, 4, part, 2), -1);
    assert_int_equal(chain_slice_writable(&c, 2, 7, part, 4), -1);
    assert_int_equal(chain_slice_writable(&c, 2, 6, part, 4), 1);
}

/* ---- hostile ---- */

static void refuses_bad_rings(void **state)
{
    struct ring *r = *state;
    static const struct {
        uint64_t desc, avail, used;
        uint16_t size;
    } bad[] = {{DESC + 8, AVAIL, USED, 8},      {DESC, AVAIL + 1, USED, 8},
               {DESC, AVAIL, USED + 2, 8},      {RAM - 16, AVAIL, USED, 8},
               {DESC, RAM - 2, USED, 8},        {DESC, AVAIL, RAM - 4, 8},
               {DESC, AVAIL, USED, 7},          {DESC, AVAIL, USED, 0},
               {DESC, AVAIL, USED, 2048},       {UINT64_MAX - 15, AVAIL, USED, 8},
               {DESC, UINT64_MAX - 1, USED, 8}, {DESC, AVAIL, UINT64_MAX - 3, 8}};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        r->q.desc_gpa = bad[i].desc;
        r->q.avail_gpa = bad[i].avail;
        r->q.used_gpa = bad[i].used;
        r->q.size = bad[i].size;
        assert_non_null(queue_open(&r->q));
        assert_false(r->q.opened);
        assert_false(queue_pop(&r->q, &r->chain));
    }
}

static void refuses_loops(void **state)
{
    struct ring *r = *state;
    open_ring(r);
    set_desc(r, DESC, 0, DATA, 1, VRING_DESC_F_NEXT, 1);
    set_desc(r, DESC, 1, DATA + 1, 1, VRING_DESC_F_NEXT, 0);
    offer(r, 0);
    refuses(r, "loop");
}

static void refuses_a_loop_of_one(void **state)
{
    struct ring *r = *state;
    open_ring(r);
    set_desc(r, DESC, 0, DATA, 0, VRING_DESC_F_NEXT, 0);
    offer(r, 0);
    refuses(r, "loop");
}

static void refuses_indirect_loops(void **state)
{
    struct ring *r = *state;
    open_ring(r);
    set_desc(r, TABLE, 0, DATA, 1, VRING_DESC_F_NEXT, 0);
    set_desc(r, DESC, 0, TABLE, 32, VRING_DESC_F_INDIRECT, 0);
    offer(r, 0);
    refuses(r, "loop");
}

static void refuses_nested_tables(void **state)
{
    struct ring *r = *state;
    open_ring(r);
    set_desc(r, TABLE, 0, TABLE, 16, VRING_DESC_F_INDIRECT, 0);
    set_desc(r, DESC, 0, TABLE, 16, VRING_DESC_F_INDIRECT, 0);
    offer(r, 0);
    refuses(r, "within");
}

/* The queue's own descriptors as an indirect table: the same address does not make it the same table. */
static void refuses_its_own_table_within_itself(void **state)
{
    struct ring *r = *state;
    open_ring(r);
    set_desc(r, DESC, 0, DESC, 16 * SIZE, VRING_DESC_F_INDIRECT, 0);
    offer(r, 0);
    refuses(r, "within");
}

static void refuses_odd_tables(void **state)
{
    static const struct {
        uint64_t gpa;
        uint32_t len;
        uint16_t flags;
    } bad[] = {{TABLE, 0, 0}, {TABLE, 17, 0}, {TABLE, 16, VRING_DESC_F_NEXT}, {TABLE, 16 * 1025, 0}, {RAM - 16, 32, 0}};
    struct ring *r = *state;
    open_ring(r);
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        r->q.broken = false;
        r->failures = 0;
        set_desc(r, DESC, 0, bad[i].gpa, bad[i].len, VRING_DESC_F_INDIRECT | bad[i].flags, 0);
        if (!i)
            offer(r, 0);
        refuses(r, "indirect");
    }
}

static void refuses_tables_not_negotiated(void **state)
{
    struct ring *r = *state;
    r->q.indirect = false;
    open_ring(r);
    set_desc(r, TABLE, 0, DATA, 1, 0, 0);
    set_desc(r, DESC, 0, TABLE, 16, VRING_DESC_F_INDIRECT, 0);
    offer(r, 0);
    refuses(r, "negotiated");
}

static void refuses_buffers_outside(void **state)
{
    static const struct {
        uint64_t gpa;
        uint32_t len;
    } bad[] = {{RAM, 1}, {RAM - 1, 2}, {UINT64_MAX, 1}, {UINT64_MAX - 4, 16}, {3ull << 30, 4096}, {0, UINT32_MAX}};
    struct ring *r = *state;
    open_ring(r);
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        r->q.broken = false;
        r->failures = 0;
        set_desc(r, DESC, 0, bad[i].gpa, bad[i].len, i % 2 ? VRING_DESC_F_WRITE : 0, 0);
        if (!i)
            offer(r, 0);
        refuses(r, "not in memory");
    }
}

static void refuses_writes_to_rom(void **state)
{
    struct ring *r = *state;
    assert_int_equal(memory_add_rom(r->memory, 0xfff00000, "rom", 3, NULL), 0);
    open_ring(r);
    set_desc(r, DESC, 0, 0xfff00000, 3, 0, 0);
    set_desc(r, DESC, 1, 0xfff00000, 3, VRING_DESC_F_WRITE, 0);
    offer(r, 0);
    offer(r, 1);
    assert_true(queue_pop(&r->q, &r->chain));
    queue_push(&r->q, &r->chain, 0);
    refuses(r, "not in memory");
}

static void refuses_far_heads_and_successors(void **state)
{
    struct ring *r = *state;
    open_ring(r);
    offer(r, SIZE);
    refuses(r, "outside");
    r->q.broken = false;
    r->failures = 0;
    set_word(r, AVAIL + 4, 0);
    set_desc(r, DESC, 0, DATA, 1, VRING_DESC_F_NEXT, SIZE);
    refuses(r, "successor");
}

static void refuses_huge_indices(void **state)
{
    struct ring *r = *state;
    open_ring(r);
    set_word(r, AVAIL + 2, SIZE + 1);
    refuses(r, "more chains");
    r->q.broken = false;
    r->failures = 0;
    set_word(r, AVAIL + 2, 0xffff); /* behind us is far ahead of us */
    refuses(r, "more chains");
}

static void never_has_more_out_than_entries(void **state)
{
    struct ring *r = *state;
    open_ring(r);
    set_desc(r, DESC, 0, DATA, 1, VRING_DESC_F_WRITE, 0);
    for (unsigned i = 0; i < SIZE; i++)
        offer(r, 0); /* one head again and again */
    for (unsigned i = 0; i < SIZE; i++)
        assert_true(queue_pop(&r->q, &r->chain));
    offer(r, 0);
    assert_false(queue_pop(&r->q, &r->chain));
    assert_non_null(strstr(r->why, "more chains"));
    assert_int_equal(r->q.out, SIZE);
}

static void refuses_disorder_and_crowds(void **state)
{
    struct ring *r = *state;
    open_ring(r);
    set_desc(r, DESC, 0, DATA, 1, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
    set_desc(r, DESC, 1, DATA + 9, 1, 0, 0);
    offer(r, 0);
    refuses(r, "follows");
    r->q.broken = false;
    r->failures = 0;
    for (unsigned i = 0; i < ROOM + 1; i++)
        set_desc(r, TABLE, i, DATA + 0x100 * i, 1, (uint16_t)(i < ROOM ? VRING_DESC_F_NEXT : 0), (uint16_t)(i + 1));
    set_desc(r, DESC, 0, TABLE, 16 * (ROOM + 1), VRING_DESC_F_INDIRECT, 0);
    refuses(r, "too many");
}

static void survives_a_refused_chain(void **state)
{
    struct ring *r = *state;
    open_ring(r);
    set_desc(r, DESC, 0, DATA, 1, 0, 0);
    offer(r, 0);
    assert_true(queue_pop(&r->q, &r->chain));
    queue_refuse(&r->q, "nonsense");
    assert_int_equal(r->q.out, 0);
    assert_int_equal(r->q.next_avail, 0);
    assert_string_equal(r->why, "nonsense");
}

#ifndef __SANITIZE_THREAD__ /* the race is the test */
struct scribble {
    struct ring *r;
    atomic_bool stop;
};

static void *scribbler(void *arg)
{
    struct scribble *s = arg;
    uint64_t x = 88172645463325252u;
    while (!atomic_load(&s->stop)) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        uint64_t where = x % 4 ? DESC + x % (SIZE * 16) : TABLE + x % 256;
        *(volatile uint8_t *)at(s->r, where) = (uint8_t)(x >> 56 & (x & 1024 ? 0x07 : 0xff));
    }
    return NULL;
}

/* Every piece that comes out lies in memory, whatever the other side writes meanwhile. */
static void stands_a_ring_that_changes(void **state)
{
    struct ring *r = *state;
    struct scribble s = {.r = r};
    pthread_t thread;
    const uint8_t *low = at(r, 0), *high = low + RAM;
    open_ring(r);
    assert_int_equal(pthread_create(&thread, NULL, scribbler, &s), 0);
    for (unsigned i = 0, taken = 0; i < 400000 && taken < 2000; i++) {
        set_word(r, AVAIL + 2, (uint16_t)(r->q.next_avail + 1));
        set_word(r, AVAIL + 4 + 2ull * (r->q.next_avail % SIZE), (uint16_t)(i % SIZE));
        r->q.broken = false;
        if (!queue_pop(&r->q, &r->chain))
            continue;
        taken++;
        uint64_t sum = 0;
        for (unsigned p = 0; p < r->chain.readable + r->chain.writable; p++) {
            const uint8_t *piece = r->iov[p].iov_base;
            assert_true(piece >= low && piece < high && r->iov[p].iov_len <= (size_t)(high - piece));
            sum += r->iov[p].iov_len;
        }
        assert_int_equal(sum, r->chain.readable_bytes + r->chain.writable_bytes);
        queue_push(&r->q, &r->chain, 0);
    }
    atomic_store(&s.stop, true);
    pthread_join(thread, NULL);
}
#endif

#define RING_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RING_TEST(takes_and_gives_back),
        RING_TEST(neighbours_are_one_piece),
        RING_TEST(indices_wrap),
        RING_TEST(a_turn_ends),
        RING_TEST(indirect_tables),
        RING_TEST(puts_back),
        RING_TEST(interrupts_on_demand),
        RING_TEST(kicks_on_demand),
        RING_TEST(the_dirty_log_knows),
        RING_TEST(chains_are_cut_anywhere),
        RING_TEST(refuses_bad_rings),
        RING_TEST(refuses_loops),
        RING_TEST(refuses_a_loop_of_one),
        RING_TEST(refuses_indirect_loops),
        RING_TEST(refuses_nested_tables),
        RING_TEST(refuses_its_own_table_within_itself),
        RING_TEST(refuses_odd_tables),
        RING_TEST(refuses_tables_not_negotiated),
        RING_TEST(refuses_buffers_outside),
        RING_TEST(refuses_writes_to_rom),
        RING_TEST(refuses_far_heads_and_successors),
        RING_TEST(refuses_huge_indices),
        RING_TEST(never_has_more_out_than_entries),
        RING_TEST(refuses_disorder_and_crowds),
        RING_TEST(survives_a_refused_chain),
#ifndef __SANITIZE_THREAD__
        RING_TEST(stands_a_ring_that_changes),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
