/* Power cuts over whole volumes: all nodes lose power at once, at any moment, and one of them never comes back.
 *
 *     load -> volume -> disks whose writes and flushes are recorded, with what the client was told by then
 *     for each event: what the disks may hold then -> a volume is opened from it -> all of it is read -> judged
 *
 * After a cut a disk has what it had when its last flush began to be answered and what was written with FUA, and of the
 * rest all, nothing, or any blocks (of its metadata, any sectors). Each cut is tried with all disks, and without each
 * one that may be missing.
 *
 * A block may be what the last write was that is promised (acknowledged with FUA, or before a flush that was
 * acknowledged), or what any later one was. Nothing else, and no error.
 *
 *     volume_cut [SEED [ROUNDS]]      default: 1 1 */
#include "tests/unit/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "replication/journal_record.h"
#include "replication/member_create.h"
#include "replication/volume_core.h"
#include "tests/unit/sim_disk.h"

enum {
    REGION = 256 << 10,
    EVENTS_MAX = 4096,
    REQUESTS = 60,
    AT_ONCE = 3,
    BLOCKS = 32, /* that the load writes to */
    REQUEST_BLOCKS = 12,
    WITNESS = SIM_DISKS - 1,
};

struct event {
    unsigned disk;
    bool flush, durable;
    uint64_t offset;
    uint32_t length_bytes;
    uint8_t *data;
};

struct request {
    struct blk_req req;
    struct iovec iov;
    uint8_t data[REQUEST_BLOCKS * BLOCK_BYTES];
    uint64_t first, count;
    unsigned issued, acknowledged; /* events by then */
    bool done;
};

struct lab {
    struct fixture *f;
    struct geometry g;
    struct member_places places;
    uint64_t journal_bytes;
    struct event events[EVENTS_MAX];
    unsigned event_count;
    uint8_t *first[SIM_DISKS]; /* before the first event */
    struct request requests[REQUESTS];
};

static struct lab lab;
static uint64_t first_seed = 1, rounds = 1;

static void fill(uint8_t *data, uint64_t block, uint64_t value)
{
    uint64_t *words = (uint64_t *)(void *)data;
    for (unsigned i = 0; i < BLOCK_BYTES / 8; i++)
        words[i] = value ? value * UINT64_C(0x9e3779b97f4a7c15) + block + i : 0;
}

static void observe(unsigned disk, const struct blk_req *req)
{
    assert_true(lab.event_count < EVENTS_MAX);
    struct event *e = &lab.events[lab.event_count++];
    *e = (struct event){disk,        req->op == BLK_FLUSH,        req->flags & BLK_FUA,
                        req->offset, (uint32_t)req->length_bytes, NULL};
    e->data = e->flush ? NULL : calloc(1, e->length_bytes);
    uint32_t at = 0;
    for (int i = 0; req->op == BLK_WRITE && i < req->iov_count; at += (uint32_t)req->iov[i++].iov_len)
        memcpy(e->data + at, req->iov[i].iov_base, req->iov[i].iov_len);
}

/* ---- the load ---- */

static void request_done(struct blk_req *req)
{
    struct request *r = CONTAINER_OF(req, struct request, req);
    assert_int_equal(req->result, 0);
    r->acknowledged = lab.event_count;
    r->done = true;
}

static bool meets_one_of(const struct request *batch, const struct request *r)
{
    for (; batch < r; batch++)
        if (batch->first < r->first + r->count && r->first < batch->first + batch->count)
            return true;
    return false;
}

static void submit(struct request *r, const struct request *batch)
{
    uint32_t what = sim_roll(10);
    enum blk_op op = what == 0 ? BLK_FLUSH : what == 1 ? BLK_ZERO : BLK_WRITE;
    uint64_t number = (uint64_t)(r - lab.requests) + 1;
    do {
        r->count = op == BLK_FLUSH ? 0 : 1 + sim_roll(sim_roll(2) ? 3 : REQUEST_BLOCKS);
        r->first = sim_roll(BLOCKS - REQUEST_BLOCKS);
    } while (r->count && meets_one_of(batch, r));
    for (uint64_t i = 0; i < r->count; i++)
        fill(r->data + i * BLOCK_BYTES, r->first + i, number);
    r->iov = (struct iovec){r->data, r->count * BLOCK_BYTES};
    r->req.op = op;
    r->req.flags = op != BLK_FLUSH && sim_roll(4) == 0 ? BLK_FUA : 0;
    r->req.offset = r->first * BLOCK_BYTES * (op != BLK_FLUSH);
    r->req.length_bytes = r->count * BLOCK_BYTES;
    r->req.iov = &r->iov;
    r->req.iov_count = 1;
    r->req.done = request_done;
    r->issued = lab.event_count;
    blk_submit(lab.f->blk, &r->req);
}

static bool all_done(unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++)
        if (!lab.requests[i].done)
            return false;
    return true;
}

static void run_load(void)
{
    sim_world.automatic = false;
    for (unsigned n = 0; n < REQUESTS; n += AT_ONCE) {
        for (unsigned i = n; i < n + AT_ONCE; i++)
            submit(&lab.requests[i], &lab.requests[n]);
        while (!all_done(n, n + AT_ONCE)) {
            sim_answer_one();
            sim_turn();
            if (sim_roll(20) == 0)
                volume_tick(blk_state(lab.f->blk));
        }
    }
    sim_world.automatic = true;
}

/* ---- a cut ---- */

enum luck { LUCK_ALL, LUCK_NONE, LUCK_SOME, LUCK_COUNT };

/* disk as it may be after `count` events. */
static void cut_disk(unsigned disk, unsigned count, enum luck luck)
{
    struct sim_disk *d = &sim_world.disks[disk];
    unsigned flushed = 0;
    memcpy(d->now, lab.first[disk], d->size_bytes);
    for (unsigned i = 0; i < count; i++)
        if (lab.events[i].disk == disk && lab.events[i].flush)
            flushed = i;
    for (unsigned i = 0; i < count; i++) {
        const struct event *e = &lab.events[i];
        uint32_t unit = e->offset >= sim_world.whole_from ? BLOCK_BYTES : 512;
        if (e->disk != disk || e->flush)
            continue;
        for (uint32_t at = 0; at < e->length_bytes; at += unit)
            if (e->durable || i < flushed || luck == LUCK_ALL || (luck == LUCK_SOME && sim_roll(2)))
                memcpy(d->now + e->offset + at, e->data + at, unit);
    }
    memcpy(d->safe, d->now, d->size_bytes);
}

static bool promised(const struct request *r, unsigned events)
{
    if (!r->done || r->acknowledged > events)
        return false;
    bool is = r->req.flags & BLK_FUA;
    for (unsigned i = 0; i < REQUESTS && !is; i++) {
        const struct request *f = &lab.requests[i];
        is = f->req.op == BLK_FLUSH && f->acknowledged <= events && f->issued >= r->acknowledged && f > r &&
             (unsigned)(f - lab.requests) / AT_ONCE > (unsigned)(r - lab.requests) / AT_ONCE;
    }
    return is;
}

static void judge_block(uint64_t block, const uint8_t *data, unsigned events, const char *what)
{
    uint8_t want[BLOCK_BYTES];
    for (unsigned i = REQUESTS; i--;) {
        const struct request *r = &lab.requests[i];
        if (r->req.op == BLK_FLUSH || block < r->first || block >= r->first + r->count || r->issued > events)
            continue;
        fill(want, block, r->req.op == BLK_ZERO ? 0 : i + 1);
        if (memcmp(want, data, BLOCK_BYTES) == 0)
            return;
        if (promised(r, events))
            fail_msg("%s, after event %u: block %llu is not what request %u wrote, nor a later one", what, events,
                     (unsigned long long)block, i);
    }
    fill(want, block, 0);
    if (memcmp(want, data, BLOCK_BYTES) != 0)
        fail_msg("%s, after event %u: block %llu is nothing that was written", what, events, (unsigned long long)block);
}

static const char *stack_of(unsigned missing)
{
    static char text[512];
    int n = snprintf(text, sizeof text,
                     "{\"driver\":\"volume\",\"layout\":\"%s\",\"tick\":0,\"cool\":0,\"regions\":4,\"hot-regions\":2,"
                     "\"eject\":0,\"witness\":\"sim:%d\",\"members\":[",
                     layout_name(lab.g.layout), WITNESS);
    for (unsigned i = 0; i < lab.g.members; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, i == missing ? "%s\"missing\"" : "%s\"sim:%u\"", i ? "," : "",
                      i);
    snprintf(text + n, sizeof text - (size_t)n, "]}");
    return text;
}

static void try_cut(unsigned events, enum luck luck, unsigned missing)
{
    static uint8_t data[BLOCKS * BLOCK_BYTES];
    char what[64];
    for (unsigned i = 0; i < SIM_DISKS; i++)
        if (sim_world.disks[i].now)
            cut_disk(i, events, luck);
    snprintf(what, sizeof what, "%s, %s unflushed, without member %d", layout_name(lab.g.layout),
             luck == LUCK_ALL    ? "all"
             : luck == LUCK_NONE ? "nothing"
                                 : "some",
             missing < lab.g.members ? (int)missing : -1);
    fixture_open(lab.f, stack_of(missing), 0);
    if (fixture_io(lab.f, BLK_READ, 0, 0, data, sizeof data))
        fail_msg("%s, after event %u: cannot be read", what, events);
    for (uint64_t b = 0; b < BLOCKS; b++)
        judge_block(b, data + b * BLOCK_BYTES, events, what);
    fixture_close(lab.f);
}

/* ---- one layout ---- */

static void make_disk(unsigned disk, uint64_t size_bytes, bool witness)
{
    struct superblock sb = {
        .geometry = lab.g, .index = witness ? 0 : disk, .has_witness = true, .journal_bytes = lab.journal_bytes};
    struct err err = {0};
    char stack[32];
    sim_disk_make(disk, size_bytes, size_bytes);
    snprintf(stack, sizeof stack, "sim:%u", disk);
    fixture_open(lab.f, stack, 0);
    if (witness ? member_create_witness(lab.f->blk, &sb, false, &err) : member_create(lab.f->blk, &sb, false, &err))
        fail_msg("%s", err.text);
    fixture_close(lab.f);
}

static unsigned cut_everywhere(enum layout layout, unsigned members)
{
    unsigned cuts = 0;
    lab.g = (struct geometry){layout, members, 16384, REGION, REGION, 0};
    lab.journal_bytes = geometry_parity(&lab.g) ? 16 * JOURNAL_SLOT_BYTES : 0;
    superblock_places(&lab.g, lab.journal_bytes, &lab.places);
    memset(lab.requests, 0, sizeof lab.requests);
    lab.event_count = 0;
    sim_world.whole_from = lab.places.data;
    sim_world.frozen = false;
    sim_world.fuse = -1;
    sim_world.automatic = true;
    for (unsigned i = 0; i < members; i++)
        make_disk(i, lab.places.end, false);
    make_disk(WITNESS, 128 << 10, true);
    fixture_open(lab.f, stack_of(members), 0);
    for (unsigned i = 0; i < SIM_DISKS; i++)
        if (sim_world.disks[i].now)
            memcpy(lab.first[i] = malloc(sim_world.disks[i].size_bytes), sim_world.disks[i].now,
                   sim_world.disks[i].size_bytes);
    sim_world.observe = observe;
    run_load();
    fixture_close(lab.f);
    sim_world.observe = NULL;
    for (unsigned events = 0; events <= lab.event_count; events++)
        for (unsigned missing = 0; missing <= members; missing++, cuts++)
            try_cut(events, (enum luck)sim_roll(LUCK_COUNT), missing);
    printf("%s over %u: %u events, %u cuts\n", layout_name(layout), members, lab.event_count, cuts);
    for (unsigned i = 0; i < lab.event_count; i++)
        free(lab.events[i].data);
    for (unsigned i = 0; i < SIM_DISKS; i++) {
        free(lab.first[i]);
        lab.first[i] = NULL;
        sim_disk_free(i);
    }
    return cuts;
}

static void test_cuts(void **state)
{
    lab.f = *state;
    sim_world.loop = lab.f->env.loop;
    log_init("cut", LOG_LEVEL_ERROR);
    blk_driver_register(&sim_driver);
    replication_drivers_register();
    for (uint64_t seed = first_seed; seed < first_seed + rounds; seed++) {
        sim_world.random = seed * UINT64_C(0x9e3779b97f4a7c15);
        assert_true(cut_everywhere(LAYOUT_RAID1, 2) > 100);
        assert_true(cut_everywhere(LAYOUT_RAID5, 3) > 100);
        assert_true(cut_everywhere(LAYOUT_RAID6, 4) > 100);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1)
        first_seed = strtoull(argv[1], NULL, 10);
    if (argc > 2)
        rounds = strtoull(argv[2], NULL, 10);
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_cuts, fixture_setup, fixture_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
