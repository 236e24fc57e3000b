/* A disk as a driver sees it, on stacks of memory, files and faults. A filter of our own ("probe") tells which flags
 * arrive below the device, and keeps requests for as long as a test wants. */
#include "tests/unit/virtio_guest.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/virtio/virtio_blk.h"
#include "nbd/blk_driver.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { MIB = 1 << 20, DISK = 8 * MIB, DATA_MAX = 512 << 10 };

/* ---- the probe ---- */

static atomic_uint probe_flags, probe_align;
static atomic_bool probe_keeps;
static struct blk_req_list kept = STAILQ_HEAD_INITIALIZER(kept); /* the I/O thread's */
static struct blk *kept_by;

static void probe_submit(struct blk *blk, struct blk_req *req)
{
    atomic_store(&probe_flags, req->flags);
    if (!atomic_load(&probe_keeps)) {
        blk_forward(blk, req);
        return;
    }
    kept_by = blk;
    STAILQ_INSERT_TAIL(&kept, req, link);
}

static int probe_open(struct blk *blk, const void *config, struct err *err)
{
    (void)config;
    (void)err;
    struct blk_limits limits = *blk_limits(blk);
    if (atomic_load(&probe_align))
        limits.align_bytes = limits.preferred_bytes = atomic_load(&probe_align);
    blk_set_limits(blk, &limits);
    return 0;
}

static void probe_close(struct blk *blk)
{
    (void)blk;
}

static const struct blk_driver probe = {
    .name = "probe", .filter = true, .open = probe_open, .close = probe_close, .submit = probe_submit};

static void let_go(void *context)
{
    struct blk_req *req;
    (void)context;
    atomic_store(&probe_keeps, false);
    while ((req = STAILQ_FIRST(&kept))) {
        STAILQ_REMOVE_HEAD(&kept, link);
        blk_forward(kept_by, req);
    }
}

/* ---- a disk and its guest ---- */

struct disk {
    struct virtio_guest *g;
    struct blk *blk;
    struct virtio_blk *vb;
    const char *stack;
    uint32_t flags;
    uint64_t header, data, status;
    unsigned queue;
};

static void open_stack(void *context)
{
    struct disk *d = context;
    struct err err = {0};
    if (blk_open(io_thread_env(d->g->io), d->stack, d->flags, &d->blk, &err))
        fail_msg("%s: %s", d->stack, err.text);
}

static void close_stack(void *context)
{
    blk_close(((struct disk *)context)->blk);
}

static struct disk begin(const char *stack, uint32_t flags, const struct virtio_blk_options *options)
{
    struct err err = {0};
    struct disk d = {.g = virtio_guest_new(), .stack = stack, .flags = flags};
    io_thread_call(d.g->io, open_stack, &d);
    if (virtio_blk_new(d.g->memory, d.g->io, d.blk, options, &d.vb, &err))
        fail_msg("%s", err.text);
    virtio_guest_plug(d.g, virtio_blk_device(d.vb), true);
    d.header = virtio_guest_alloc(d.g, 64);
    d.data = virtio_guest_alloc(d.g, DATA_MAX);
    d.status = virtio_guest_alloc(d.g, 64);
    return d;
}

static void end(struct disk *d)
{
    io_thread_call(d->g->io, let_go, NULL);
    virtio_guest_unplug(d->g);
    virtio_blk_free(d->vb);
    io_thread_call(d->g->io, close_stack, d);
    virtio_guest_free(d->g);
}

static const uint64_t everything = ~0ull;
static const struct virtio_blk_options plain = {0};

static void put_header(struct disk *d, uint32_t type, uint64_t sector)
{
    struct virtio_blk_outhdr h = {.type = type, .sector = sector};
    memcpy(virtio_guest_at(d->g, d->header, sizeof h), &h, sizeof h);
    *virtio_guest_at(d->g, d->status, 1) = 0xee;
}

/* Makes a request available whose data is d->data. */
static void send(struct disk *d, uint32_t type, uint64_t sector, uint32_t bytes)
{
    bool writes = type == VIRTIO_BLK_T_OUT || type == VIRTIO_BLK_T_DISCARD || type == VIRTIO_BLK_T_WRITE_ZEROES;
    struct guest_buffer readable[2] = {{d->header, sizeof(struct virtio_blk_outhdr)}, {d->data, bytes}};
    struct guest_buffer writable[2] = {{d->data, bytes}, {d->status, 1}};
    put_header(d, type, sector);
    if (writes)
        virtio_guest_add(d->g, d->queue, readable, bytes ? 2 : 1, writable + 1, 1);
    else
        virtio_guest_add(d->g, d->queue, readable, 1, bytes ? writable : writable + 1, bytes ? 2 : 1);
    virtio_guest_kick(d->g, d->queue);
}

static uint8_t ask(struct disk *d, uint32_t type, uint64_t sector, uint32_t bytes)
{
    send(d, type, sector, bytes);
    virtio_guest_wait(d->g, d->queue, NULL);
    return *virtio_guest_at(d->g, d->status, 1);
}

static uint8_t ask_range(struct disk *d, uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
    struct virtio_blk_discard_write_zeroes r = {.sector = sector, .num_sectors = sectors, .flags = flags};
    memcpy(virtio_guest_at(d->g, d->data, sizeof r), &r, sizeof r);
    return ask(d, type, 0, sizeof r);
}

static uint8_t *data(struct disk *d)
{
    return virtio_guest_at(d->g, d->data, DATA_MAX);
}

static void write_pattern(struct disk *d, uint64_t sector, uint32_t bytes, uint32_t seed)
{
    fixture_pattern(data(d), sector * 512, bytes, seed);
    assert_int_equal(ask(d, VIRTIO_BLK_T_OUT, sector, bytes), VIRTIO_BLK_S_OK);
}

static void reads_as(struct disk *d, uint64_t sector, uint32_t bytes, uint32_t seed)
{
    uint8_t *expected = calloc(1, bytes);
    if (seed)
        fixture_pattern(expected, sector * 512, bytes, seed);
    memset(data(d), 0xcc, bytes);
    assert_int_equal(ask(d, VIRTIO_BLK_T_IN, sector, bytes), VIRTIO_BLK_S_OK);
    assert_memory_equal(data(d), expected, bytes);
    free(expected);
}

/* ---- tests ---- */

static void tells_what_it_is(void **state)
{
    (void)state;
    struct virtio_blk_options o = {.serial = "volume-17", .queues = 3};
    struct disk d = begin("mem:8M", 0, &o);
    virtio_guest_start(d.g, everything);
    assert_int_equal(virtio_guest_config(d.g, offsetof(struct virtio_blk_config, capacity), 4), DISK / 512);
    assert_int_equal(virtio_guest_config(d.g, offsetof(struct virtio_blk_config, blk_size), 4), 512);
    assert_int_equal(virtio_guest_config(d.g, offsetof(struct virtio_blk_config, physical_block_exp), 1), 3);
    assert_int_equal(virtio_guest_config(d.g, offsetof(struct virtio_blk_config, num_queues), 2), 3);
    assert_int_equal(virtio_guest_config(d.g, offsetof(struct virtio_blk_config, wce), 1), 1);
    uint64_t seg = virtio_guest_config(d.g, offsetof(struct virtio_blk_config, seg_max), 4);
    uint64_t size = virtio_guest_config(d.g, offsetof(struct virtio_blk_config, size_max), 4);
    assert_in_range(seg, 1, 254);
    assert_true(size >= 4096 && seg * size <= 64u << 20);
    assert_true(d.g->features >> VIRTIO_BLK_F_DISCARD & 1);
    assert_false(d.g->features >> VIRTIO_BLK_F_RO & 1);
    assert_int_equal(ask(&d, VIRTIO_BLK_T_GET_ID, 0, 20), VIRTIO_BLK_S_OK);
    assert_string_equal((char *)data(&d), "volume-17");
    end(&d);
}

static void keeps_what_is_written(const char *stack, uint64_t features)
{
    struct virtio_blk_options o = {.queues = 2};
    struct disk d = begin(stack, 0, &o);
    virtio_guest_start(d.g, features);
    for (unsigned i = 0; i < 40; i++) {
        d.queue = i % 2;
        write_pattern(&d, 37 * i, 512 * (1 + i % 9), i + 1);
        if (i % 7 == 0)
            assert_int_equal(ask(&d, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
    }
    for (unsigned i = 0; i < 40; i++) {
        d.queue = i % 2;
        reads_as(&d, 37 * i, 512 * (1 + i % 9), i + 1);
    }
    write_pattern(&d, DISK / 512 - DATA_MAX / 512, DATA_MAX, 99); /* up to the end */
    reads_as(&d, DISK / 512 - DATA_MAX / 512, DATA_MAX, 99);
    end(&d);
}

static void memory_keeps_what_is_written(void **state)
{
    (void)state;
    keeps_what_is_written("mem:8M", everything);
    keeps_what_is_written("mem:8M", 0);
}

static void a_file_keeps_what_is_written(void **state)
{
    char stack[256];
    const char *path = fixture_file(*state, DISK);
    snprintf(stack, sizeof stack, "raw:%s", path);
    keeps_what_is_written(stack, everything);
    uint8_t bytes[512], expected[512];
    fixture_pattern(expected, 37 * 512, sizeof expected, 2);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_int_equal(fseek(f, 37 * 512, SEEK_SET), 0);
    assert_int_equal(fread(bytes, 1, sizeof bytes, f), sizeof bytes);
    fclose(f);
    assert_memory_equal(bytes, expected, sizeof bytes);
}

/* Header, data and status cut in pieces of odd sizes, and in one indirect table. */
static void takes_any_framing(void **state)
{
    (void)state;
    struct disk d = begin("mem:8M", 0, &plain);
    virtio_guest_start(d.g, everything);
    fixture_pattern(data(&d), 512, 1024, 5);
    put_header(&d, VIRTIO_BLK_T_OUT, 1);
    uint64_t joined = virtio_guest_alloc(d.g, 2048); /* the end of the header and the first data in one piece */
    memcpy(virtio_guest_at(d.g, joined, 9), virtio_guest_at(d.g, d.header + 7, 9), 9);
    memcpy(virtio_guest_at(d.g, joined + 9, 100), data(&d), 100);
    struct guest_buffer out[] = {{d.header, 7}, {joined, 109}, {d.data + 100, 1}, {d.data + 101, 923}};
    struct guest_buffer status = {d.status, 1};
    virtio_guest_add_indirect(d.g, 0, out, 4, &status, 1);
    virtio_guest_kick(d.g, 0);
    virtio_guest_wait(d.g, 0, NULL);
    assert_int_equal(*virtio_guest_at(d.g, d.status, 1), VIRTIO_BLK_S_OK);
    reads_as(&d, 1, 1024, 5);

    put_header(&d, VIRTIO_BLK_T_IN, 1);
    memset(virtio_guest_at(d.g, joined, 2048), 0, 2048);
    struct guest_buffer header = {d.header, 16};
    struct guest_buffer in[] = {{joined, 3}, {joined + 100, 1022}}; /* the status is the last byte of 1022 */
    uint32_t used;
    virtio_guest_add(d.g, 0, &header, 1, in, 2);
    virtio_guest_kick(d.g, 0);
    virtio_guest_wait(d.g, 0, &used);
    assert_int_equal(used, 1025);
    fixture_pattern(data(&d), 512, 1024, 5);
    assert_memory_equal(virtio_guest_at(d.g, joined, 3), data(&d), 3);
    assert_memory_equal(virtio_guest_at(d.g, joined + 100, 1021), data(&d) + 3, 1021);
    assert_int_equal(*virtio_guest_at(d.g, joined + 100 + 1021, 1), VIRTIO_BLK_S_OK);
    end(&d);
}

static void discards_and_zeroes(void **state)
{
    (void)state;
    struct disk d = begin("[{\"driver\":\"probe\"},{\"driver\":\"mem\",\"size\":\"8M\"}]", 0, &plain);
    virtio_guest_start(d.g, everything);
    write_pattern(&d, 0, DATA_MAX, 3);
    assert_int_equal(ask_range(&d, VIRTIO_BLK_T_WRITE_ZEROES, 8, 16, 0), VIRTIO_BLK_S_OK);
    assert_int_equal(atomic_load(&probe_flags), BLK_NO_HOLE);
    reads_as(&d, 0, 8 * 512, 3);
    reads_as(&d, 8, 16 * 512, 0);
    reads_as(&d, 24, 8 * 512, 3);
    assert_int_equal(ask_range(&d, VIRTIO_BLK_T_WRITE_ZEROES, 128, 256, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP),
                     VIRTIO_BLK_S_OK);
    assert_int_equal(atomic_load(&probe_flags), 0);
    reads_as(&d, 128, 256 * 512, 0);
    assert_int_equal(ask_range(&d, VIRTIO_BLK_T_DISCARD, 512, 128, 0), VIRTIO_BLK_S_OK);
    reads_as(&d, 512, 128 * 512, 0); /* mem's way of discarding */
    assert_int_equal(ask_range(&d, VIRTIO_BLK_T_DISCARD, 0, 8, 1), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(ask_range(&d, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 2), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(ask_range(&d, VIRTIO_BLK_T_DISCARD, DISK / 512, 1, 0), VIRTIO_BLK_S_IOERR);
    assert_int_equal(ask_range(&d, VIRTIO_BLK_T_DISCARD, UINT64_MAX, 1, 0), VIRTIO_BLK_S_IOERR);
    assert_int_equal(ask_range(&d, VIRTIO_BLK_T_DISCARD, 0, UINT32_MAX, 0), VIRTIO_BLK_S_IOERR);
    assert_int_equal(ask(&d, VIRTIO_BLK_T_DISCARD, 0, 15), VIRTIO_BLK_S_IOERR);
    assert_int_equal(ask(&d, VIRTIO_BLK_T_DISCARD, 0, 16 * 17), VIRTIO_BLK_S_IOERR);
    end(&d);
}

static void takes_several_ranges(void **state)
{
    (void)state;
    struct disk d = begin("mem:8M", 0, &plain);
    virtio_guest_start(d.g, everything);
    write_pattern(&d, 0, 64 * 512, 3);
    struct virtio_blk_discard_write_zeroes r[3] = {
        {.sector = 1, .num_sectors = 2}, {.sector = 10, .num_sectors = 0}, {.sector = 20, .num_sectors = 1}};
    memcpy(data(&d), r, sizeof r);
    assert_int_equal(ask(&d, VIRTIO_BLK_T_WRITE_ZEROES, 0, sizeof r), VIRTIO_BLK_S_OK);
    reads_as(&d, 0, 512, 3);
    reads_as(&d, 1, 1024, 0);
    reads_as(&d, 3, 17 * 512, 3);
    reads_as(&d, 20, 512, 0);
    reads_as(&d, 21, 512, 3);
    end(&d);
}

static void errors_are_told(void **state)
{
    (void)state;
    struct disk d =
        begin("[{\"driver\":\"fault\",\"rules\":[{\"op\":\"read\",\"offset\":\"1M\",\"length\":\"4K\","
              "\"error\":\"EIO\"},{\"op\":\"flush\",\"error\":\"EIO\"}]},{\"driver\":\"mem\",\"size\":\"8M\"}]",
              0, &plain);
    virtio_guest_start(d.g, everything);
    write_pattern(&d, 2048, 4096, 1);
    assert_int_equal(ask(&d, VIRTIO_BLK_T_IN, 2048, 512), VIRTIO_BLK_S_IOERR);
    reads_as(&d, 2056, 512, 0);
    assert_int_equal(ask(&d, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_IOERR);
    assert_int_equal(ask(&d, VIRTIO_BLK_T_IN, DISK / 512, 512), VIRTIO_BLK_S_IOERR);
    assert_int_equal(ask(&d, VIRTIO_BLK_T_IN, DISK / 512 - 1, 1024), VIRTIO_BLK_S_IOERR);
    assert_int_equal(ask(&d, VIRTIO_BLK_T_OUT, UINT64_MAX / 512 + 1, 512), VIRTIO_BLK_S_IOERR);
    assert_int_equal(ask(&d, VIRTIO_BLK_T_OUT, UINT64_MAX, 512), VIRTIO_BLK_S_IOERR);
    assert_int_equal(ask(&d, VIRTIO_BLK_T_IN, 0, 511), VIRTIO_BLK_S_IOERR);
    assert_int_equal(ask(&d, VIRTIO_BLK_T_SCSI_CMD, 0, 0), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(ask(&d, 0xffffffff, 0, 512), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(ask(&d, VIRTIO_BLK_T_IN, 0, 0), VIRTIO_BLK_S_OK);
    assert_int_equal(virtio_guest_status(d.g) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
    end(&d);
}

static bool needs_reset(void *context)
{
    return virtio_guest_status(context) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

static void senseless_requests_break_the_queue(void **state)
{
    (void)state;
    struct disk d = begin("mem:8M", 0, &plain);
    struct guest_buffer shorter = {d.header, 15}, header = {d.header, 16}, status = {d.status, 1};
    virtio_guest_start(d.g, everything);
    virtio_guest_add(d.g, 0, &shorter, 1, &status, 1);
    virtio_guest_kick(d.g, 0);
    virtio_guest_wait_for(needs_reset, d.g);
    virtio_guest_start(d.g, everything);
    write_pattern(&d, 0, 512, 3);
    virtio_guest_add(d.g, 0, &header, 1, NULL, 0);
    virtio_guest_kick(d.g, 0);
    virtio_guest_wait_for(needs_reset, d.g);
    virtio_guest_start(d.g, everything);
    reads_as(&d, 0, 512, 3);
    end(&d);
}

static unsigned kept_count;

static void count_kept(void *context)
{
    struct blk_req *req;
    (void)context;
    kept_count = 0;
    STAILQ_FOREACH (req, &kept, link)
        kept_count++;
}

static bool all_are_kept(void *context)
{
    const struct disk *d = context;
    io_thread_call(d->g->io, count_kept, NULL);
    return kept_count == d->g->queues[0].size;
}

/* While as many are out as there can be, one more is announced: nobody waits for it for ever. */
static void one_more_than_there_are_breaks_the_queue(void **state)
{
    (void)state;
    struct disk d = begin("[{\"driver\":\"probe\"},{\"driver\":\"mem\",\"size\":\"8M\"}]", 0, &plain);
    virtio_guest_start(d.g, everything);
    struct guest_queue *q = &d.g->queues[0];
    atomic_store(&probe_keeps, true);
    send(&d, VIRTIO_BLK_T_IN, 0, 512);
    uint8_t *avail = virtio_guest_at(d.g, q->avail, 4 + 2ull * q->size);
    for (unsigned i = 1; i < q->size; i++)
        memcpy(avail + 4 + 2 * i, avail + 4, 2); /* the same again and again */
    _Atomic uint16_t *idx = (_Atomic uint16_t *)(void *)(avail + 2);
    atomic_store(idx, q->size);
    virtio_guest_kick(d.g, 0);
    virtio_guest_wait_for(all_are_kept, &d);
    atomic_store(idx, (uint16_t)(q->size + 1));
    virtio_guest_kick(d.g, 0);
    virtio_guest_wait_for(needs_reset, d.g);
    io_thread_call(d.g->io, let_go, NULL);
    virtio_guest_reset(d.g);
    virtio_guest_start(d.g, everything);
    write_pattern(&d, 0, 512, 3);
    reads_as(&d, 0, 512, 3);
    end(&d);
}

static void a_read_only_disk_stays_as_it_is(void **state)
{
    (void)state;
    struct disk d = begin("mem:8M", BLK_OPEN_READ_ONLY, &plain);
    virtio_guest_start(d.g, everything);
    assert_true(d.g->features >> VIRTIO_BLK_F_RO & 1);
    assert_false(d.g->features >> VIRTIO_BLK_F_DISCARD & 1);
    assert_int_equal(ask(&d, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_IOERR);
    assert_int_equal(ask_range(&d, VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_UNSUPP);
    reads_as(&d, 0, 512, 0);
    end(&d);
}

static unsigned flags_of_a_write(struct disk *d)
{
    atomic_store(&probe_flags, 0xff);
    write_pattern(d, 0, 512, 1);
    return atomic_load(&probe_flags);
}

static void the_write_cache_is_the_drivers(void **state)
{
    (void)state;
    static const char stack[] = "[{\"driver\":\"probe\"},{\"driver\":\"mem\",\"size\":\"8M\"}]";
    struct disk d = begin(stack, 0, &plain);
    unsigned wce = offsetof(struct virtio_blk_config, wce);
    virtio_guest_start(d.g, 0); /* no FLUSH: every write is durable */
    assert_int_equal(flags_of_a_write(&d), BLK_FUA);
    virtio_guest_start(d.g, 1ull << VIRTIO_BLK_F_FLUSH);
    assert_int_equal(flags_of_a_write(&d), 0);
    virtio_guest_start(d.g, 1ull << VIRTIO_BLK_F_FLUSH | 1ull << VIRTIO_BLK_F_CONFIG_WCE);
    assert_int_equal(flags_of_a_write(&d), 0);
    virtio_guest_write(d.g, d.g->config + wce, 1, 0);
    assert_int_equal(virtio_guest_config(d.g, wce, 1), 0);
    assert_int_equal(flags_of_a_write(&d), BLK_FUA);
    virtio_guest_round_trip(d.g, NULL);
    virtio_guest_resume(d.g);
    assert_int_equal(flags_of_a_write(&d), BLK_FUA);
    virtio_guest_start(d.g, everything); /* a reset turns it on again */
    assert_int_equal(flags_of_a_write(&d), 0);
    end(&d);
    struct virtio_blk_options through = {.write_through = true};
    d = begin(stack, 0, &through);
    virtio_guest_start(d.g, everything);
    assert_int_equal(virtio_guest_config(d.g, wce, 1), 0);
    assert_int_equal(flags_of_a_write(&d), BLK_FUA);
    end(&d);
}

static void large_blocks_are_told(void **state)
{
    (void)state;
    static const char stack[] = "[{\"driver\":\"probe\"},{\"driver\":\"mem\",\"size\":\"8M\"}]";
    atomic_store(&probe_align, 4096);
    struct disk d = begin(stack, 0, &plain);
    virtio_guest_start(d.g, everything);
    assert_int_equal(virtio_guest_config(d.g, offsetof(struct virtio_blk_config, blk_size), 4), 4096);
    assert_int_equal(virtio_guest_config(d.g, offsetof(struct virtio_blk_config, discard_sector_alignment), 4), 8);
    write_pattern(&d, 8, 4096, 1);
    assert_int_equal(ask(&d, VIRTIO_BLK_T_OUT, 1, 4096), VIRTIO_BLK_S_IOERR);
    reads_as(&d, 8, 4096, 1);
    end(&d);
    atomic_store(&probe_align, 65536);
    struct err err = {0};
    struct virtio_blk *vb;
    d = (struct disk){.g = virtio_guest_new(), .stack = stack};
    io_thread_call(d.g->io, open_stack, &d);
    assert_int_equal(virtio_blk_new(d.g->memory, d.g->io, d.blk, &plain, &vb, &err), -EINVAL);
    assert_non_null(strstr(err.text, "65536"));
    atomic_store(&probe_align, 0);
    io_thread_call(d.g->io, close_stack, &d);
    virtio_guest_free(d.g);
}

struct growth {
    struct virtio_blk_resize resize;
    bool done;
};

static void grown(struct loop_message *message)
{
    CONTAINER_OF(message, struct growth, resize.done)->done = true;
}

static bool config_interrupt_came(void *context)
{
    return atomic_load(&((struct virtio_guest *)context)->msis[0]);
}

static void grows_before_the_guests_eyes(void **state)
{
    char stack[256];
    snprintf(stack, sizeof stack, "raw:%s", fixture_file(*state, DISK));
    struct err err = {0};
    struct disk d = begin(stack, 0, &plain);
    virtio_guest_start(d.g, everything);
    assert_int_equal(ask(&d, VIRTIO_BLK_T_IN, DISK / 512, 512), VIRTIO_BLK_S_IOERR);
    struct loop *loop = loop_new(&err);
    struct growth growth = {.resize = {.size_bytes = 2 * DISK, .loop = loop, .done.deliver = grown}};
    virtio_blk_resize(d.vb, &growth.resize);
    while (!growth.done)
        loop_step(loop);
    virtio_guest_drop_loop(d.g, loop);
    assert_int_equal(growth.resize.result, 0);
    assert_int_equal(virtio_guest_config(d.g, 0, 8), 2 * DISK / 512);
    virtio_guest_wait_for(config_interrupt_came, d.g);
    reads_as(&d, DISK / 512, 512, 0);
    end(&d);
}

static bool is_kept(void *context)
{
    (void)context;
    return atomic_load(&probe_flags) != 0xff;
}

static void reset_and_pause_wait_for_the_disk(void **state)
{
    (void)state;
    struct disk d = begin("[{\"driver\":\"probe\"},{\"driver\":\"mem\",\"size\":\"8M\"}]", 0, &plain);
    virtio_guest_start(d.g, everything);
    write_pattern(&d, 0, 4096, 9);
    atomic_store(&probe_keeps, true);
    atomic_store(&probe_flags, 0xff);
    memset(data(&d), 0, 4096);
    send(&d, VIRTIO_BLK_T_IN, 0, 4096);
    virtio_guest_wait_for(is_kept, NULL);
    virtio_guest_set_status(d.g, 0);
    assert_int_not_equal(virtio_guest_status(d.g), 0);
    io_thread_call(d.g->io, let_go, NULL);
    virtio_guest_reset(d.g);
    virtio_guest_start(d.g, everything);
    reads_as(&d, 0, 4096, 9);

    atomic_store(&probe_keeps, true);
    atomic_store(&probe_flags, 0xff);
    send(&d, VIRTIO_BLK_T_IN, 0, 4096);
    virtio_guest_wait_for(is_kept, NULL);
    struct err err = {0};
    struct loop *loop = loop_new(&err);
    struct loop_message message = {0};
    virtio_device_pause(virtio_blk_device(d.vb), loop, &message);
    uint16_t head;
    assert_false(virtio_guest_used(d.g, 0, &head, NULL));
    io_thread_call(d.g->io, let_go, NULL);
    virtio_guest_wait(d.g, 0, NULL); /* finished although paused: nothing is left in flight */
    virtio_guest_resume(d.g);
    loop_unpost(loop, &message);
    virtio_guest_drop_loop(d.g, loop);
    reads_as(&d, 0, 4096, 9);
    end(&d);
}

static void moves_to_another_device(void **state)
{
    (void)state;
    struct disk d = begin("mem:8M", 0, &plain), to = begin("mem:8M", 0, &plain);
    virtio_guest_start(d.g, everything);
    virtio_guest_start(to.g, everything);
    write_pattern(&to, 0, 4096, 4); /* the disk's content travels by other means */
    virtio_guest_reset(to.g);
    write_pattern(&d, 0, 4096, 4);
    send(&d, VIRTIO_BLK_T_FLUSH, 0, 0);
    virtio_guest_round_trip(d.g, to.g);
    virtio_guest_resume(to.g);
    virtio_guest_wait(to.g, 0, NULL); /* the flush was done before the move */
    reads_as(&to, 0, 4096, 4);
    end(&d);
    end(&to);
}

/* Many requests at once on two queues, in any order, against a model. */
static void serves_many_at_once(void **state)
{
    (void)state;
    enum { SLOTS = 24, ROUNDS = 60, BLOCK = 4096 };
    struct virtio_blk_options o = {.queues = 2};
    struct disk d = begin("mem:8M", 0, &o);
    virtio_guest_start(d.g, everything);
    uint64_t headers = virtio_guest_alloc(d.g, 64 * SLOTS), blocks = virtio_guest_alloc(d.g, BLOCK * SLOTS);
    uint32_t model[SLOTS] = {0};
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < SLOTS; i++) {
            bool write = (round + i) % 3 == 0;
            struct virtio_blk_outhdr h = {.type = write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, .sector = 8 * i};
            struct guest_buffer header = {headers + 64 * i, 16}, block = {blocks + BLOCK * i, BLOCK};
            struct guest_buffer status = {headers + 64 * i + 32, 1}, out[] = {header, block}, in[] = {block, status};
            memcpy(virtio_guest_at(d.g, header.gpa, 16), &h, sizeof h);
            *virtio_guest_at(d.g, status.gpa, 1) = 0xee;
            if (write) {
                model[i] = round * SLOTS + i + 1;
                fixture_pattern(virtio_guest_at(d.g, block.gpa, BLOCK), BLOCK * i, BLOCK, model[i]);
                virtio_guest_add(d.g, i % 2, out, 2, &status, 1);
            } else {
                memset(virtio_guest_at(d.g, block.gpa, BLOCK), 0xcc, BLOCK);
                virtio_guest_add(d.g, i % 2, &header, 1, in, 2);
            }
        }
        virtio_guest_kick(d.g, 0);
        virtio_guest_kick(d.g, 1);
        for (unsigned i = 0; i < SLOTS; i++)
            virtio_guest_wait(d.g, i % 2, NULL);
        for (unsigned i = 0; i < SLOTS; i++) {
            uint8_t expected[BLOCK] = {0};
            if (model[i])
                fixture_pattern(expected, BLOCK * i, BLOCK, model[i]);
            assert_int_equal(*virtio_guest_at(d.g, headers + 64 * i + 32, 1), VIRTIO_BLK_S_OK);
            assert_memory_equal(virtio_guest_at(d.g, blocks + BLOCK * i, BLOCK), expected, BLOCK);
        }
    }
    end(&d);
}

static void refuses_odd_options(void **state)
{
    (void)state;
    static const struct virtio_blk_options bad[] = {{.queues = 17},
                                                    {.queue_size = 3},
                                                    {.queue_size = 2},
                                                    {.queue_size = 2048},
                                                    {.serial = "123456789012345678901"}};
    struct disk d = begin("mem:8M", 0, &plain);
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err err = {0};
        struct virtio_blk *vb;
        assert_int_equal(virtio_blk_new(d.g->memory, d.g->io, d.blk, &bad[i], &vb, &err), -EINVAL);
        assert_true(strlen(err.text) > 10);
    }
    end(&d);
}

static int group_setup(void **state)
{
    blk_driver_register(&probe);
    return fixture_setup(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_what_it_is),
        cmocka_unit_test(memory_keeps_what_is_written),
        cmocka_unit_test(a_file_keeps_what_is_written),
        cmocka_unit_test(takes_any_framing),
        cmocka_unit_test(discards_and_zeroes),
        cmocka_unit_test(takes_several_ranges),
        cmocka_unit_test(errors_are_told),
        cmocka_unit_test(senseless_requests_break_the_queue),
        cmocka_unit_test(one_more_than_there_are_breaks_the_queue),
        cmocka_unit_test(a_read_only_disk_stays_as_it_is),
        cmocka_unit_test(the_write_cache_is_the_drivers),
        cmocka_unit_test(large_blocks_are_told),
        cmocka_unit_test(grows_before_the_guests_eyes),
        cmocka_unit_test(reset_and_pause_wait_for_the_disk),
        cmocka_unit_test(moves_to_another_device),
        cmocka_unit_test(serves_many_at_once),
        cmocka_unit_test(refuses_odd_options),
    };
    return cmocka_run_group_tests(tests, group_setup, fixture_teardown);
}
