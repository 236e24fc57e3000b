/* Volumes in a simulated world: one seed chooses layout, requests, the order of all answers, and every fault: members
 * that go and come back, owners that fall at any moment (opening and closing too), power that is lost, blocks that rot.
 *
 * What must hold, for each block: a read says what was written last and acknowledged; after a fall, that or something
 * that was begun after the last acknowledged flush; never anything else, and an error only where rot took all copies
 * that are there. In the end all members come back, all become equal, and their checksums are right.
 *
 *     test_volume_sim [FIRST [COUNT]]      default: 0 100 */
#include "tests/unit/fixture.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "replication/checksum.h"
#include "replication/member_create.h"
#include "replication/volume_core.h"
#include "tests/unit/sim_disk.h"

enum {
    REGION = 256 << 10,
    REGIONS = 3,
    REGIONS_MAX = 8, /* more than are kept in memory */
    BLOCKS_MAX = 3 * REGIONS_MAX * REGION / BLOCK_BYTES,
    JOURNAL = 8 * JOURNAL_SLOT_BYTES,
    CLIENT_OPS = 6,
    OP_BLOCKS = 24,
    FOCUS = 48,
    VALUES = 24,
    WITNESS = SIM_DISKS - 1,
};

/* ---- what a block may hold ---- */

struct block {
    uint64_t values[VALUES]; /* [0]: durable for sure; then what was written since, in order */
    unsigned count;
    unsigned sure; /* values before this one cannot be read any more, but for a fall */
    bool certain;  /* the last value was acknowledged or read: nothing else can be read */
    bool busy;     /* a request is under way */
    bool rotten;   /* some copy was damaged */
};

struct op {
    struct blk_req req;
    struct iovec iov;
    uint8_t data[OP_BLOCKS * BLOCK_BYTES];
    uint64_t first, count, value;
    bool busy, ended;
    unsigned marks[BLOCKS_MAX]; /* flush: how many values each block had */
};

/* It is made larger: one at a time. */
struct grow {
    struct blk_req req;
    bool busy, ended;
    uint64_t asked_bytes; /* of each member; may have become so although nobody said so. 0: nothing was asked */
};

struct sim {
    struct fixture *f;
    uint64_t seed;
    struct geometry g;
    struct member_places places;
    uint64_t journal_bytes;
    bool witness;
    uint64_t blocks, next_value;
    uint64_t focus; /* requests are for the first so many blocks */
    struct block block[BLOCKS_MAX];
    struct op ops[CLIENT_OPS];
    struct grow grow;
    struct blk *volume;
    uint64_t goings; /* members that went, in this life */
    uint64_t falls, refusals, reads, errors, acks;
};

static struct sim sim;
static uint64_t total_falls, total_reads, total_acks, total_refusals, total_errors, total_writes, total_grown;

#define SIM_FAIL(...)                                                                                                  \
    do {                                                                                                               \
        fprintf(stderr, "seed %" PRIu64 " (%s over %u%s): ", sim.seed, layout_name(sim.g.layout), sim.g.members,       \
                sim.witness ? " and a witness" : "");                                                                  \
        fail_msg(__VA_ARGS__);                                                                                         \
    } while (0)

static void fill(uint8_t *data, uint64_t block, uint64_t value)
{
    uint64_t *words = (uint64_t *)(void *)data;
    for (unsigned i = 0; i < BLOCK_BYTES / 8; i++)
        words[i] = value ? value * UINT64_C(0x9e3779b97f4a7c15) + block + i : 0;
}

/* -1: none of the block's values. */
static int value_of(uint64_t block, const uint8_t *data)
{
    const struct block *b = &sim.block[block];
    uint8_t want[BLOCK_BYTES];
    for (unsigned i = b->count; i--;) {
        fill(want, block, b->values[i]);
        if (memcmp(want, data, BLOCK_BYTES) == 0)
            return (int)i;
    }
    return -1;
}

static void wrote(uint64_t block, uint64_t value)
{
    struct block *b = &sim.block[block];
    if (b->count == VALUES)
        SIM_FAIL("the test keeps too few values");
    b->values[b->count++] = value;
}

static void made_durable(uint64_t block, unsigned index)
{
    struct block *b = &sim.block[block];
    memmove(b->values, b->values + index, (b->count - index) * sizeof *b->values);
    b->count -= index;
    b->sure = b->sure > index ? b->sure - index : 0;
}

static void read_is(uint64_t block, const uint8_t *data)
{
    struct block *b = &sim.block[block];
    int i = value_of(block, data);
    /* A region that is hot when the owner falls has no checksums on record: rot and what was being written look alike.
     */
    if (i < 0 && b->rotten && sim.falls)
        return;
    uint64_t word;
    memcpy(&word, data, sizeof word);
    if (i < 0 || (unsigned)i < b->sure || (b->certain && (unsigned)i != b->sure))
        SIM_FAIL("block %" PRIu64 " reads as value #%d of %u (sure from %u%s); %" PRIu64 " falls, first word %" PRIx64,
                 block, i, b->count, b->sure, b->certain ? ", certain" : "", sim.falls, word);
    b->sure = (unsigned)i;
    b->certain = true;
}

/* ---- the client ---- */

static void op_done(struct blk_req *req)
{
    CONTAINER_OF(req, struct op, req)->ended = true;
}

static void settle(struct op *op)
{
    op->busy = false;
    op->ended = false;
    int result = op->req.result;
    sim.errors += result != 0;
    if (op->req.op == BLK_FLUSH) {
        for (uint64_t i = 0; i < sim.blocks && !result; i++)
            if (op->marks[i] && op->marks[i] <= sim.block[i].count)
                made_durable(i, op->marks[i] - 1);
        sim.acks += !result;
        return;
    }
    for (uint64_t i = op->first; i < op->first + op->count; i++) {
        struct block *b = &sim.block[i];
        b->busy = false;
        if (op->req.op == BLK_READ) {
            if (!result)
                read_is(i, op->data + (i - op->first) * BLOCK_BYTES);
            else if (!b->rotten && !sim_world.frozen && !sim.goings && result == -EIO && op->count == 1)
                SIM_FAIL("block %" PRIu64 " cannot be read", i);
            sim.reads++;
            continue;
        }
        if (!result) {
            b->sure = b->count - 1;
            b->certain = true;
            if (op->req.flags & BLK_FUA)
                made_durable(i, b->count - 1);
            sim.acks++;
        } else {
            b->certain = false;
        }
    }
}

static bool all_free(uint64_t first, uint64_t count)
{
    for (uint64_t i = first; i < first + count; i++)
        if (sim.block[i].busy || sim.block[i].count > VALUES - 2)
            return false;
    return true;
}

static void submit(struct op *op, enum blk_op kind, uint32_t flags)
{
    op->busy = true;
    op->ended = false;
    op->iov = (struct iovec){op->data, op->count * BLOCK_BYTES};
    op->req.op = kind;
    op->req.flags = flags;
    op->req.offset = kind == BLK_FLUSH ? 0 : op->first * BLOCK_BYTES;
    op->req.length_bytes = kind == BLK_FLUSH ? 0 : op->count * BLOCK_BYTES;
    op->req.iov = &op->iov;
    op->req.iov_count = 1;
    op->req.done = op_done;
    blk_submit(sim.volume, &op->req);
}

static void flush(struct op *op)
{
    for (uint64_t i = 0; i < sim.blocks; i++) {
        const struct block *b = &sim.block[i];
        op->marks[i] = b->busy || !b->certain ? 0 : b->sure + 1;
    }
    submit(op, BLK_FLUSH, 0);
}

static void begin_op(void)
{
    struct op *op = &sim.ops[sim_roll(CLIENT_OPS)];
    if (op->busy)
        return;
    uint32_t what = sim_roll(12);
    if (what == 0) {
        for (int i = 0; i < CLIENT_OPS; i++) /* one at a time: its marks would go stale */
            if (sim.ops[i].busy && sim.ops[i].req.op == BLK_FLUSH)
                return;
        flush(op);
        return;
    }
    op->count = 1 + (sim_roll(3) ? sim_roll(3) : sim_roll(OP_BLOCKS));
    op->first = sim_roll((uint32_t)(sim.focus > op->count ? sim.focus - op->count : 1));
    for (int i = 0; i < CLIENT_OPS; i++)
        if (sim.ops[i].busy && sim.ops[i].req.op == BLK_FLUSH && what < 8 && sim_roll(2))
            return;
    if (!all_free(op->first, op->count))
        return;
    for (uint64_t i = op->first; i < op->first + op->count; i++)
        sim.block[i].busy = true;
    if (what >= 8) {
        submit(op, BLK_READ, 0);
        return;
    }
    uint32_t flags = sim_roll(4) ? 0 : BLK_FUA;
    uint64_t value = what == 1 ? 0 : ++sim.next_value;
    for (uint64_t i = op->first; i < op->first + op->count; i++) {
        fill(op->data + (i - op->first) * BLOCK_BYTES, i, value);
        wrote(i, value);
        sim.block[i].certain = false;
    }
    submit(op, value ? BLK_WRITE : BLK_ZERO, flags);
}

/* ---- growing ---- */

static void grow_done(struct blk_req *req)
{
    CONTAINER_OF(req, struct grow, req)->ended = true;
}

static void begin_growing(void)
{
    struct grow *g = &sim.grow;
    if (g->busy || g->asked_bytes || sim.g.member_bytes == sim.g.room_bytes) /* one that failed may still come true */
        return;
    struct geometry larger = sim.g;
    larger.member_bytes += REGION * (1 + sim_roll((uint32_t)((sim.g.room_bytes - sim.g.member_bytes) / REGION)));
    g->busy = true;
    g->asked_bytes = larger.member_bytes;
    g->req = (struct blk_req){.op = BLK_RESIZE, .offset = geometry_volume_bytes(&larger), .done = grow_done};
    blk_submit(sim.volume, &g->req);
}

/* What is new are zeroes, and durable as such. */
static void has_grown_to(uint64_t member_bytes)
{
    bool everywhere = sim.focus == sim.blocks;
    sim.g.member_bytes = member_bytes;
    superblock_places(&sim.g, sim.journal_bytes, &sim.places);
    for (; sim.blocks < geometry_volume_bytes(&sim.g) / BLOCK_BYTES; sim.blocks++)
        sim.block[sim.blocks] = (struct block){.count = 1, .certain = true};
    if (everywhere)
        sim.focus = sim.blocks;
    total_grown++;
}

static void settle_growing(void)
{
    struct grow *g = &sim.grow;
    if (!g->busy || !g->ended)
        return;
    g->busy = g->ended = false;
    if (g->req.result)
        return;
    has_grown_to(g->asked_bytes);
    g->asked_bytes = 0;
}

/* Whoever opens it finds the size that was acknowledged, or the one that was asked for then: for good. */
static void check_size(void)
{
    uint64_t size = blk_size(sim.volume);
    struct geometry asked = sim.g;
    asked.member_bytes = sim.grow.asked_bytes;
    if (sim.grow.asked_bytes && size == geometry_volume_bytes(&asked) && size != geometry_volume_bytes(&sim.g))
        has_grown_to(sim.grow.asked_bytes);
    if (size != geometry_volume_bytes(&sim.g))
        SIM_FAIL("the volume has %" PRIu64 " bytes, and %" PRIu64 " were acknowledged", size,
                 geometry_volume_bytes(&sim.g));
    sim.grow.asked_bytes = 0;
}

static void settle_ended(void)
{
    settle_growing();
    for (int i = 0; i < CLIENT_OPS; i++)
        if (sim.ops[i].busy && sim.ops[i].ended)
            settle(&sim.ops[i]);
}

static bool client_idle(void)
{
    for (int i = 0; i < CLIENT_OPS; i++)
        if (sim.ops[i].busy)
            return false;
    return !sim.grow.busy;
}

/* ---- the owner ---- */

static const char *stack_of(member_set missing)
{
    static char text[512];
    char *at = text, *end = text + sizeof text;
    at += snprintf(at, (size_t)(end - at),
                   "{\"driver\":\"volume\",\"layout\":\"%s\",\"tick\":0,\"cool\":0,\"regions\":4,\"hot-regions\":2,"
                   "\"eject\":0,\"members\":[",
                   layout_name(sim.g.layout));
    for (unsigned i = 0; i < sim.g.members; i++)
        if (missing >> i & 1)
            at += snprintf(at, (size_t)(end - at), "%s\"missing\"", i ? "," : "");
        else
            at += snprintf(at, (size_t)(end - at), "%s\"sim:%u\"", i ? "," : "", i);
    at += snprintf(at, (size_t)(end - at), "]");
    if (sim.witness)
        at += snprintf(at, (size_t)(end - at), ",\"witness\":\"sim:%d\"", WITNESS);
    snprintf(at, (size_t)(end - at), "}");
    return text;
}

/* SIM_WATCH=BLOCK: says what the disks hold of it whenever that changes. */
static void watch(void)
{
    static uint64_t last[MEMBERS_MAX];
    const char *which = getenv("SIM_WATCH");
    uint64_t block = which ? strtoull(which, NULL, 10) : 0, offset, now[MEMBERS_MAX] = {0};
    unsigned column;
    uint32_t run;
    if (!which)
        return;
    geometry_locate(&sim.g, block * BLOCK_BYTES, &column, &offset, &run);
    for (unsigned m = 0; m < sim.g.members; m++)
        if (geometry_parity(&sim.g) || geometry_holders(&sim.g, column) & member_bit(m)) {
            uint64_t word;
            memcpy(&word, sim_world.disks[m].now + sim.places.data + offset, sizeof word);
            now[m] = (word - block) * UINT64_C(0xf1de83e19937733d);
        }
    if (memcmp(now, last, sizeof now) == 0)
        return;
    memcpy(last, now, sizeof now);
    printf("block %" PRIu64 ":", block);
    for (unsigned m = 0; m < sim.g.members; m++)
        printf(" %" PRIu64, now[m]);
    printf(" (member %u, %u values, sure %u%s)\n", column, sim.block[block].count, sim.block[block].sure,
           sim.block[block].certain ? ", certain" : "");
    fflush(stdout);
}

/* The owner is gone; any disk may lose power with it. */
static void aftermath(void)
{
    bool all = sim_roll(3) == 0;
    sim.falls++;
    if (getenv("SIM_WATCH"))
        printf("fall %" PRIu64 "\n", sim.falls);
    for (unsigned i = 0; i < SIM_DISKS; i++)
        if (sim_world.disks[i].now && (all || sim_roll(4) == 0))
            sim_power_loss(i);
    for (uint64_t i = 0; i < sim.blocks; i++) {
        sim.block[i].sure = 0;
        sim.block[i].certain = sim.block[i].count == 1;
    }
    watch();
    for (unsigned i = 0; i < SIM_DISKS; i++)
        sim_world.disks[i].lossy = false; /* the next owner has nothing to lose */
    sim_world.frozen = false;
    sim_world.fuse = -1;
}

static void drained(void *context)
{
    *(bool *)context = true;
}

static void close_volume(void)
{
    bool done = false;
    sim_world.automatic = true;
    sim_answer_all();
    blk_drain(sim.volume, drained, &done);
    unsigned turns = 0;
    while (!done) {
        turns++;
        sim_turn();
        watch();
        if (turns > 2000 && !sim_world.frozen) /* too few members: requests wait for them */
            sim_freeze();
        if (sim_world.frozen && !done && turns > 4000)
            volume_die(blk_state(sim.volume), -EIO, "the simulation ends it");
        settle_ended();
    }
    settle_ended();
    blk_close(sim.volume);
    sim.volume = NULL;
}

static void fall(void)
{
    sim_freeze();
    volume_die(blk_state(sim.volume), -EIO, "the owner falls");
    close_volume();
    aftermath();
}

/* True: it serves. */
static bool open_volume(member_set missing, bool may_fall)
{
    struct err err = {0};
    sim_world.automatic = true;
    sim_world.fuse = may_fall && sim_roll(4) == 0 ? (int64_t)sim_roll(12) : -1;
    int rc = blk_open(&sim.f->env, stack_of(missing), 0, &sim.volume, &err);
    if (rc)
        sim.volume = NULL;
    sim.refusals += rc != 0;
    if (sim_world.frozen) {
        if (!rc)
            fall();
        else
            aftermath();
        return false;
    }
    sim_world.fuse = -1;
    if (rc && !missing)
        SIM_FAIL("all members are there, and yet: %s", err.text);
    sim_world.automatic = false;
    sim.goings = 0;
    if (!rc)
        check_size();
    return !rc;
}

/* ---- faults ---- */

static void rot(void)
{
    unsigned disk = sim_roll(sim.g.members);
    struct sim_disk *d = &sim_world.disks[disk];
    uint64_t block = sim_roll((uint32_t)(sim.g.member_bytes / BLOCK_BYTES));
    uint64_t at = sim.places.data + block * BLOCK_BYTES + sim_roll(BLOCK_BYTES);
    if (sim_roll(4) == 0) { /* a checksum rots, too */
        at = sim.places.sums + block * BLOCK_BYTES / REGION * sim.places.sum_stride;
        at += block % (REGION / BLOCK_BYTES) * 4 + sim_roll(4);
    }
    d->now[at] ^= 1;
    d->safe[at] ^= 1;
    for (uint64_t i = 0; i < sim.blocks; i++) { /* whatever lies there */
        unsigned column;
        uint64_t offset;
        uint32_t run;
        geometry_locate(&sim.g, i * BLOCK_BYTES, &column, &offset, &run);
        if (offset / BLOCK_BYTES == block)
            sim.block[i].rotten = true;
    }
}

static void come_and_go(void)
{
    struct volume *v = blk_state(sim.volume);
    unsigned disk = sim_roll(sim.g.members + sim.witness);
    struct sim_disk *d = &sim_world.disks[disk < sim.g.members ? disk : WITNESS];
    if (d->away) {
        d->away = false;
        return;
    }
    d->away = true;
    sim.goings++;
    if (sim_roll(3))
        return;
    sim_power_loss(disk < sim.g.members ? disk : WITNESS);
    d->lossy = true;
    if (disk == WITNESS || disk >= sim.g.members || !(v->settled & member_bit(disk)) ||
        geometry_can_serve(&sim.g, v->settled & v->in_sync & ~member_bit(disk)))
        return;
    for (uint64_t i = 0; i < sim.blocks; i++) { /* nobody stands in for it: what was not flushed may be gone */
        sim.block[i].sure = 0;
        sim.block[i].certain = sim.block[i].count == 1;
    }
}

/* ---- one seed ---- */

static void make_world(uint64_t seed)
{
    static const struct {
        enum layout layout;
        unsigned members;
        bool witness;
    } shapes[] = {
        {LAYOUT_RAID1, 2, false},  {LAYOUT_RAID1, 2, true},  {LAYOUT_REPLICA, 3, false}, {LAYOUT_REPLICA, 3, true},
        {LAYOUT_RAID10, 4, false}, {LAYOUT_RAID0, 2, false}, {LAYOUT_RAID5, 3, false},   {LAYOUT_RAID5, 4, true},
        {LAYOUT_RAID6, 4, false},  {LAYOUT_RAID6, 5, false},
    };
    memset(&sim.block, 0, sizeof sim.block);
    sim.seed = seed;
    sim_world.random = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
    sim_world.frozen = false;
    sim_world.fuse = -1;
    sim_world.whole_from = UINT64_MAX;
    for (int i = 0; i < 8; i++)
        sim_roll(2);
    const char *only = getenv("SIM_SHAPE");
    unsigned s = sim_roll(sizeof shapes / sizeof *shapes);
    s = only ? (unsigned)atoi(only) % (sizeof shapes / sizeof *shapes) : s;
    sim.g = (struct geometry){
        shapes[s].layout,    shapes[s].members, 16384, REGION, (sim_roll(4) ? REGIONS : REGIONS_MAX) * REGION,
        REGIONS_MAX * REGION};
    sim.grow = (struct grow){.busy = false};
    sim.witness = shapes[s].witness;
    sim.journal_bytes = geometry_parity(&sim.g) ? JOURNAL : 0;
    superblock_places(&sim.g, sim.journal_bytes, &sim.places);
    sim_world.whole_from = sim.places.data;
    sim.blocks = geometry_volume_bytes(&sim.g) / BLOCK_BYTES;
    sim.focus = sim_roll(2) ? sim.blocks : FOCUS;
    sim.falls = sim.refusals = sim.reads = sim.errors = sim.acks = 0;
    for (uint64_t i = 0; i < sim.blocks; i++) {
        sim.block[i].count = 1;
        sim.block[i].certain = true;
    }
    sim_world.automatic = true;
    for (unsigned i = 0; i < sim.g.members; i++) {
        struct superblock sb = {
            .geometry = sim.g, .index = i, .has_witness = sim.witness, .journal_bytes = sim.journal_bytes};
        struct err err = {0};
        char stack[32];
        sim_disk_make(i, sim.places.end, sim.places.data + sim.g.room_bytes);
        snprintf(stack, sizeof stack, "sim:%u", i);
        fixture_open(sim.f, stack, 0);
        if (member_create(sim.f->blk, &sb, false, &err))
            SIM_FAIL("%s", err.text);
        fixture_close(sim.f);
    }
    if (sim.witness) {
        struct superblock sb = {.geometry = sim.g, .has_witness = true, .journal_bytes = sim.journal_bytes};
        char stack[32];
        sim_disk_make(WITNESS, 128 << 10, 128 << 10);
        snprintf(stack, sizeof stack, "sim:%d", WITNESS);
        fixture_open(sim.f, stack, 0);
        assert_int_equal(member_create_witness(sim.f->blk, &sb, false, NULL), 0);
        fixture_close(sim.f);
    }
}

static void live(unsigned steps, bool rots)
{
    for (; steps; steps--) {
        uint32_t what = sim_roll(100);
        if (what < 20)
            begin_op();
        else if (what < 26)
            volume_tick(blk_state(sim.volume));
        else if (what < 28 && sim_roll(3) == 0)
            come_and_go();
        else if (what == 28 && rots && sim_roll(4) == 0)
            rot();
        else if (what == 29 && sim_roll(3) == 0)
            begin_growing();
        else
            sim_answer_one();
        sim_turn();
        settle_ended();
        watch();
    }
}

static void all_back(void)
{
    for (unsigned i = 0; i < SIM_DISKS; i++)
        sim_world.disks[i].away = false;
}

static void check_parity(void)
{
    struct parity parity;
    uint8_t *vectors[MEMBERS_MAX], *made[PARITY_MAX];
    unsigned columns = geometry_columns(&sim.g);
    parity_init(&parity, columns, geometry_parity(&sim.g));
    for (unsigned i = 0; i < PARITY_MAX; i++)
        made[i] = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES);
    for (uint64_t at = 0; at < sim.g.member_bytes; at += BLOCK_BYTES) {
        const uint8_t *there[PARITY_MAX];
        for (unsigned i = 0; i < sim.g.members; i++) {
            unsigned m = geometry_vector_member(&sim.g, at / sim.g.chunk_bytes, i);
            vectors[i] = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES);
            memcpy(vectors[i], sim_world.disks[m].now + sim.places.data + at, BLOCK_BYTES);
            if (i >= columns)
                there[i - columns] = vectors[i];
        }
        for (unsigned i = 0; i < parity.parity; i++)
            vectors[columns + i] = made[i];
        parity_encode(&parity, BLOCK_BYTES, vectors);
        for (unsigned i = 0; i < parity.parity; i++)
            if (memcmp(made[i], there[i], BLOCK_BYTES) != 0)
                SIM_FAIL("parity %u at %" PRIu64 " of the members' data is not that of the data in the end", i, at);
        for (unsigned i = 0; i < columns; i++)
            free(vectors[i]);
        for (unsigned i = 0; i < parity.parity; i++)
            free((void *)(uintptr_t)there[i]);
    }
    for (unsigned i = 0; i < PARITY_MAX; i++)
        free(made[i]);
}

static void check_equal(bool rots)
{
    if (geometry_parity(&sim.g) && !rots)
        check_parity();
    for (unsigned m = 0; m < sim.g.members; m++) {
        const struct sim_disk *d = &sim_world.disks[m];
        unsigned mate = m / geometry_copies(&sim.g) * geometry_copies(&sim.g);
        if (memcmp(d->now + sim.places.data, sim_world.disks[mate].now + sim.places.data, sim.g.member_bytes) != 0 &&
            !rots) {
            uint64_t at = 0;
            while (d->now[sim.places.data + at] == sim_world.disks[mate].now[sim.places.data + at])
                at++;
            SIM_FAIL("members %u and %u differ in the end, first at %" PRIu64 " of their data (block %" PRIu64 ")", m,
                     mate, at, at / BLOCK_BYTES);
        }
        for (uint64_t b = 0; b < sim.g.member_bytes / BLOCK_BYTES && !rots; b++) {
            uint32_t sum;
            memcpy(&sum,
                   d->now + sim.places.sums + b * BLOCK_BYTES / REGION * sim.places.sum_stride +
                       b % (REGION / BLOCK_BYTES) * 4,
                   4);
            if (be32toh(sum) != checksum_block(d->now + sim.places.data + b * BLOCK_BYTES))
                SIM_FAIL("member %u: the checksum of block %" PRIu64 " is wrong in the end", m, b);
        }
    }
}

static void end(bool rots)
{
    struct volume *v = blk_state(sim.volume);
    all_back();
    for (unsigned turns = 0; v->in_sync != geometry_all(&sim.g) || v->settled != v->in_sync || !client_idle();
         turns++) {
        volume_tick(v);
        while (sim_answer_one())
            sim_turn();
        sim_turn();
        settle_ended();
        watch();
        if (v->dead)
            SIM_FAIL("the volume is dead in the end");
        if (turns > 5000 && rots)
            break;
        if (turns > 5000)
            SIM_FAIL("members %x of %x are in sync, %x settled, %x filled: it does not end", v->in_sync,
                     geometry_all(&sim.g), v->settled, v->receiving);
    }
    sim_world.automatic = true;
    sim_answer_all();
    for (uint64_t i = 0; i < sim.blocks; i++) {
        struct op *op = &sim.ops[0];
        op->first = i;
        op->count = 1;
        submit(op, BLK_READ, 0);
        while (!op->ended)
            sim_turn();
        settle(op);
    }
    close_volume();
    check_equal(rots);
}

static void run_seed(uint64_t seed)
{
    make_world(seed);
    bool rots = sim_roll(3) == 0 && !getenv("SIM_NO_ROT");
    unsigned lives = 1 + sim_roll(5);
    while (lives) {
        member_set missing = sim_roll(2) ? 0 : sim_roll(UINT32_C(1) << sim.g.members);
        if (missing && sim_roll(2)) /* the loss of one with the owner */
            missing = UINT32_C(1) << sim_roll(sim.g.members);
        if (!open_volume(missing, true) && !open_volume(0, true) && !open_volume(0, false))
            SIM_FAIL("it does not open");
        live(200 + sim_roll(600), rots);
        all_back();
        lives--;
        if (sim_roll(3)) {
            fall();
        } else { /* in order; but the owner may fall while it closes */
            sim_world.fuse = sim_roll(2) ? (int64_t)sim_roll(20) : -1;
            close_volume();
            aftermath();
        }
    }
    if (!open_volume(0, false))
        SIM_FAIL("it does not open in the end");
    end(rots);
    for (unsigned i = 0; i < SIM_DISKS; i++)
        sim_disk_free(i);
    total_falls += sim.falls, total_reads += sim.reads, total_acks += sim.acks, total_refusals += sim.refusals;
    total_errors += sim.errors;
}

static uint64_t first_seed, seed_count = 100;

static void test_seeds(void **state)
{
    sim.f = *state;
    sim_world.loop = sim.f->env.loop;
    log_init("sim", getenv("SIM_LOG") ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR);
    blk_driver_register(&sim_driver);
    replication_drivers_register();
    for (uint64_t seed = first_seed; seed < first_seed + seed_count; seed++)
        run_seed(seed);
    total_writes = sim_world.writes;
    printf("%" PRIu64 " seeds: %" PRIu64 " falls, %" PRIu64 " refusals, %" PRIu64 " blocks acknowledged, %" PRIu64
           " read, %" PRIu64 " requests failed, %" PRIu64 " writes to disks, grown %" PRIu64 " times\n",
           seed_count, total_falls, total_refusals, total_acks, total_reads, total_errors, total_writes, total_grown);
    assert_true(seed_count < 100 || (total_falls > seed_count && total_refusals && total_errors && total_grown));
}

int main(int argc, char **argv)
{
    if (argc > 1)
        first_seed = strtoull(argv[1], NULL, 10);
    if (argc > 2)
        seed_count = strtoull(argv[2], NULL, 10);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_seeds, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
