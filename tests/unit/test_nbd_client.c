/* The NBD client in transmission: honest servers of all kinds, and lies. */
#include "tests/unit/nbd_peer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "node/base/err.h"

static struct peer *peer_of(void **state)
{
    return *state;
}

/* ---- honest servers ---- */

static void round_trip(struct peer *p)
{
    static char out[300 * KIB], in[300 * KIB];
    struct blk_extent e[4];
    uint32_t n;
    fixture_pattern(out, 4096, sizeof out, 3);
    assert_int_equal(fixture_io(p->f, BLK_WRITE, 0, 4096, out, sizeof out), 0);
    assert_int_equal(fixture_io(p->f, BLK_READ, 0, 4096, in, sizeof in), 0);
    assert_memory_equal(in, out, sizeof in);
    assert_int_equal(fixture_io(p->f, BLK_ZERO, BLK_FUA, 4096, NULL, 8192), 0);
    assert_int_equal(fixture_io(p->f, BLK_TRIM, 0, 16384, NULL, 4096), 0);
    peer_assert_reads(p, 8192, 0);
    assert_int_equal(peer_flush(p), 0);
    assert_int_equal(fixture_extents(p->f, 0, MIB, e, 4, &n), 0);
    if (p->server->allocation && (p->server->structured || p->server->extended)) {
        assert_int_equal(n, 2);
        assert_int_equal(e[0].length_bytes, MIB / 2);
        assert_int_equal(e[0].flags, 0);
        assert_int_equal(e[1].flags, BLK_EXTENT_HOLE | BLK_EXTENT_ZERO);
        assert_int_equal(e[0].length_bytes + e[1].length_bytes, MIB);
    } else {
        assert_int_equal(n, 1);
        assert_int_equal(e[0].length_bytes, MIB);
        assert_int_equal(e[0].flags, 0);
    }
}

static void structured_replies(void **state)
{
    peer_serve(peer_of(state), "");
    round_trip(peer_of(state));
}

static void extended_headers(void **state)
{
    peer_of(state)->server->extended = true;
    peer_serve(peer_of(state), "");
    round_trip(peer_of(state));
}

static void simple_replies(void **state)
{
    struct peer *p = peer_of(state);
    p->server->structured = false;
    p->server->no_go = true;
    peer_serve(p, "");
    round_trip(p);
}

static void limits(void **state)
{
    struct peer *p = peer_of(state);
    p->server->min_block = 4096;
    p->server->preferred_block = 65536;
    p->server->max_payload = 131072 + 100;
    p->server->size_bytes = MIB - 1;
    peer_serve(p, "");
    assert_int_equal(blk_limits(p->f->blk)->align_bytes, 4096);
    assert_int_equal(blk_limits(p->f->blk)->preferred_bytes, 65536);
    assert_int_equal(blk_limits(p->f->blk)->max_transfer_bytes, 131072);
    assert_int_equal(blk_size(p->f->blk), MIB - 4096);
    assert_int_equal(blk_can(p->f->blk), BLK_CAN_EXTENTS | BLK_CAN_TRIM | BLK_CAN_ZERO);
}

/* Whoever cuts his requests to what a server takes must be left with something. */
static void too_little_at_a_time(void **state)
{
    struct peer *p = peer_of(state);
    struct err err = {0};
    struct blk *blk = NULL;
    char stack[512];
    p->server->min_block = 1;
    p->server->preferred_block = 1;
    p->server->max_payload = 512;
    fake_server_listen(p->server);
    assert_int_equal(blk_open(&p->f->env, peer_stack(p, ""), 0, &blk, &err), -EPROTO);
    assert_non_null(strstr(err.text, "no more than 512 bytes"));
    fake_server_lock(p->server);
    p->server->min_block = 32768;
    p->server->preferred_block = 32768;
    p->server->max_payload = 65536;
    fake_server_unlock(p->server);
    snprintf(stack, sizeof stack, "[{\"driver\":\"align\"},%s]", peer_stack(p, ""));
    assert_int_equal(blk_open(&p->f->env, stack, 0, &blk, &err), -EINVAL);
    assert_non_null(strstr(err.text, "three blocks"));
}

static void long_zeroes_in_pieces(void **state)
{
    struct peer *p = peer_of(state);
    p->server->size_bytes = UINT64_C(1) << 44;
    peer_serve(p, "");
    assert_int_equal(fixture_io(p->f, BLK_ZERO, 0, MIB, NULL, UINT64_C(10) << 30), 0);
    assert_int_equal(fake_server_seen(p->server, NBD_CMD_WRITE_ZEROES), 10);
    assert_int_equal(p->server->longest, UINT64_C(1) << 30);
}

static void long_zeroes_at_once(void **state)
{
    struct peer *p = peer_of(state);
    p->server->size_bytes = UINT64_C(1) << 44;
    p->server->extended = true;
    peer_serve(p, "");
    assert_int_equal(fixture_io(p->f, BLK_ZERO, 0, MIB, NULL, UINT64_C(10) << 30), 0);
    assert_int_equal(fake_server_seen(p->server, NBD_CMD_WRITE_ZEROES), 1);
}

static void resizes(void **state)
{
    struct peer *p = peer_of(state);
    p->server->flags |= NBD_FLAG_SEND_RESIZE;
    peer_serve(p, "");
    assert_int_equal(fixture_io(p->f, BLK_RESIZE, 0, MIB / 2, NULL, 0), 0);
    assert_int_equal(blk_size(p->f->blk), MIB / 2);
    assert_int_equal(p->server->size_bytes, MIB / 2);
    assert_int_equal(fake_server_seen(p->server, NBD_CMD_FLUSH), 1);
    fake_server_crash(p->server, -1);
    peer_assert_reads(p, 0, 0); /* the smaller size is what the export has to have now */
}

static void fua_by_flush(void **state)
{
    struct peer *p = peer_of(state);
    p->server->flags &= (uint16_t)~NBD_FLAG_SEND_FUA;
    peer_serve(p, "");
    assert_int_equal(peer_write(p, 0, 1, BLK_FUA), 0);
    assert_int_equal(fake_server_seen(p->server, NBD_CMD_FLUSH), 1);
    assert_int_equal(p->server->stable[100], 1);
}

static void no_flush(void **state)
{
    struct peer *p = peer_of(state);
    p->server->flags &= (uint16_t)~NBD_FLAG_SEND_FLUSH;
    peer_serve(p, "");
    assert_int_equal(peer_write(p, 0, 1, 0), 0);
    assert_int_equal(peer_flush(p), 0);
    assert_int_equal(fake_server_seen(p->server, NBD_CMD_FLUSH), 0);
}

static enum fake_verdict fail_flushes(struct fake_connection *c, const struct fake_request *r)
{
    uint8_t reply[26];
    struct emit e = emit_to(reply, sizeof reply);
    if (r->type != NBD_CMD_FLUSH || !c->server->left)
        return FAKE_HONEST;
    c->server->left--;
    emit_u32(&e, NBD_SIMPLE_REPLY_MAGIC);
    emit_u32(&e, c->server->lie);
    emit_u64(&e, r->cookie);
    fake_send(c, &e);
    return FAKE_ANSWERED;
}

static void failed_flush_ends_trust(void **state)
{
    struct peer *p = peer_of(state);
    p->server->hook = fail_flushes;
    p->server->lie = NBD_EIO;
    p->server->left = 1;
    peer_serve(p, "");
    assert_int_equal(peer_write(p, 0, 1, 0), 0);
    assert_int_equal(peer_flush(p), -EIO);
    assert_int_equal(peer_flush(p), -EIO);
    assert_int_equal(peer_write(p, 0, 1, BLK_FUA), -EIO);
    assert_int_equal(peer_write(p, 0, 1, 0), 0);
    assert_int_equal(fake_server_seen(p->server, NBD_CMD_FLUSH), 1);
}

static void shutdown_is_waited_out(void **state)
{
    struct peer *p = peer_of(state);
    p->server->hook = fail_flushes;
    p->server->lie = NBD_ESHUTDOWN;
    p->server->left = 2;
    peer_serve(p, "");
    assert_int_equal(peer_write(p, 0, 1, 0), 0);
    assert_int_equal(peer_flush(p), 0);
    assert_int_equal(fake_server_seen(p->server, NBD_CMD_FLUSH), 3);
    assert_int_equal(p->server->connected, 3);
}

/* ---- lies in transmission ---- */

struct lie {
    uint16_t on; /* which command */
    bool extended, simple;
    uint32_t magic;
    uint16_t flags, type;
    int64_t cookie, offset; /* added to the right one */
    uint64_t length;        /* of the payload, as the header says it */
    uint64_t body[5];       /* 64-bit words ... */
    unsigned words;
    unsigned tail; /* ... and so many bytes of zeroes */
};

#define STRUCTURED .magic = NBD_STRUCTURED_REPLY_MAGIC
#define EXTENDED .extended = true, .magic = NBD_EXTENDED_REPLY_MAGIC
#define DONE .flags = NBD_REPLY_FLAG_DONE

/* The request is always for 4096 bytes at 8192. */
static const struct lie lies[] = {
    {.on = NBD_CMD_READ, .magic = 0x12345678},
    {.on = NBD_CMD_READ, .magic = NBD_SIMPLE_REPLY_MAGIC}, /* although structured was agreed on */
    {.on = NBD_CMD_READ, .magic = NBD_EXTENDED_REPLY_MAGIC, DONE},
    {.on = NBD_CMD_READ, .simple = true, STRUCTURED, DONE},
    {.on = NBD_CMD_READ, .simple = true, .magic = NBD_SIMPLE_REPLY_MAGIC, .cookie = 1},
    {.on = NBD_CMD_READ, .extended = true, .magic = NBD_SIMPLE_REPLY_MAGIC},
    {.on = NBD_CMD_READ, .extended = true, STRUCTURED, DONE},
    {.on = NBD_CMD_READ, STRUCTURED, DONE, .cookie = 1},
    {.on = NBD_CMD_READ, STRUCTURED, DONE, .cookie = 1 << 16},
    {.on = NBD_CMD_READ, STRUCTURED, DONE, .cookie = INT64_MAX},
    {.on = NBD_CMD_READ,
     EXTENDED,
     DONE,
     .offset = 1,
     .type = 1,
     .length = 4104,
     .body = {8192},
     .words = 1,
     .tail = 4096},
    {.on = NBD_CMD_READ, STRUCTURED, DONE},                         /* success without data */
    {.on = NBD_CMD_READ, STRUCTURED, DONE, .length = 4, .tail = 4}, /* NONE with a payload */
    {.on = NBD_CMD_READ, STRUCTURED},                               /* NONE that is not the last */
    {.on = NBD_CMD_READ, STRUCTURED, .flags = 3},
    {.on = NBD_CMD_READ, STRUCTURED, DONE, .type = 4711, .length = 4, .tail = 4},
    {.on = NBD_CMD_READ, STRUCTURED, DONE, .type = 1, .length = 8, .body = {8192}, .words = 1}, /* no data */
    {.on = NBD_CMD_READ, STRUCTURED, DONE, .type = 1, .length = 7, .body = {8192}, .words = 1},
    {.on = NBD_CMD_READ, STRUCTURED, DONE, .type = 1, .length = 4103, .body = {8192}, .words = 1, .tail = 4095},
    {.on = NBD_CMD_READ, STRUCTURED, DONE, .type = 1, .length = 4105, .body = {8192}, .words = 1, .tail = 4097},
    {.on = NBD_CMD_READ, STRUCTURED, DONE, .type = 1, .length = UINT32_MAX, .body = {8192}, .words = 1},
    {.on = NBD_CMD_READ, EXTENDED, DONE, .type = 1, .length = UINT64_MAX, .body = {8192}, .words = 1},
    {.on = NBD_CMD_READ, STRUCTURED, DONE, .type = 1, .length = 4104, .body = {8193}, .words = 1, .tail = 4096},
    {.on = NBD_CMD_READ, STRUCTURED, DONE, .type = 1, .length = 4104, .body = {8191}, .words = 1, .tail = 4096},
    {.on = NBD_CMD_READ, STRUCTURED, DONE, .type = 1, .length = 4104, .body = {UINT64_MAX}, .words = 1, .tail = 4096},
    {.on = NBD_CMD_READ, STRUCTURED, DONE, .type = 2, .length = 12, .body = {8192}, .words = 1, .tail = 4}, /* empty */
    {.on = NBD_CMD_READ, STRUCTURED, DONE, .type = 2, .length = 12, .body = {8192, UINT64_C(4097) << 32}, .words = 2},
    {.on = NBD_CMD_READ, STRUCTURED, DONE, .type = 2, .length = 12, .body = {8192, UINT64_C(4095) << 32}, .words = 2},
    {.on = NBD_CMD_READ,
     STRUCTURED,
     DONE,
     .type = 2,
     .length = 12,
     .body = {UINT64_MAX, UINT64_C(2) << 32},
     .words = 2},
    {.on = NBD_CMD_READ, STRUCTURED, DONE, .type = 2, .length = 16, .body = {8192, UINT64_C(4096) << 32}, .words = 2},
    {.on = NBD_CMD_READ, STRUCTURED, DONE, .type = 5, .length = 12, .tail = 12}, /* a status for a
                                                                                    read */
    {.on = NBD_CMD_READ, STRUCTURED, DONE, .type = 0x8001, .length = 5, .tail = 5},
    {.on = NBD_CMD_READ, STRUCTURED, DONE, .type = 0x8001, .length = 6, .tail = 6}, /* error 0 */
    {.on = NBD_CMD_READ,
     STRUCTURED,
     DONE,
     .type = 0x8001,
     .length = 8,
     .body = {UINT64_C(5) << 32 | 0xffff0000},
     .words = 1},
    {.on = NBD_CMD_READ, STRUCTURED, DONE, .type = 0x8001, .length = 8, .body = {UINT64_C(5) << 32}, .words = 1},
    {.on = NBD_CMD_READ, STRUCTURED, DONE, .type = 0x8001, .length = 1 << 20},
    {.on = NBD_CMD_READ, STRUCTURED, DONE, .type = 0x8002, .length = 14, .body = {UINT64_C(5) << 32, 0}, .words = 2},
    {.on = NBD_CMD_READ, STRUCTURED, DONE, .type = 0x8002, .length = 6, .body = {UINT64_C(5) << 32}, .words = 1},
    {.on = NBD_CMD_READ, STRUCTURED, DONE, .type = 0xffff, .length = 1 << 20},
    {.on = NBD_CMD_WRITE, STRUCTURED, DONE, .type = 1, .length = 4104, .body = {8192}, .words = 1, .tail = 4096},
    {.on = NBD_CMD_WRITE, STRUCTURED, DONE, .type = 2, .length = 12, .body = {8192, UINT64_C(4096) << 32}, .words = 2},
    {.on = NBD_CMD_WRITE, STRUCTURED, DONE, .type = 5, .length = 12, .tail = 12},
    {.on = NBD_CMD_BLOCK_STATUS, STRUCTURED, DONE},
    {.on = NBD_CMD_BLOCK_STATUS, .magic = NBD_SIMPLE_REPLY_MAGIC},
    {.on = NBD_CMD_BLOCK_STATUS, STRUCTURED, DONE, .type = 5, .length = 4, .tail = 4},
    {.on = NBD_CMD_BLOCK_STATUS, STRUCTURED, DONE, .type = 5, .length = 13, .tail = 13},
    {.on = NBD_CMD_BLOCK_STATUS,
     STRUCTURED,
     DONE,
     .type = 5,
     .length = 12,
     .body = {UINT64_C(78) << 32 | 4096},
     .words = 1,
     .tail = 4}, /* another context */
    {.on = NBD_CMD_BLOCK_STATUS,
     STRUCTURED,
     DONE,
     .type = 5,
     .length = 12,
     .body = {UINT64_C(77) << 32},
     .words = 1,
     .tail = 4}, /* an extent of length 0 */
    {.on = NBD_CMD_BLOCK_STATUS, STRUCTURED, DONE, .type = 5, .length = 4 + 8 * ((1 << 20) + 1)},
    {.on = NBD_CMD_BLOCK_STATUS,
     STRUCTURED,
     DONE,
     .type = 6,
     .length = 24,
     .body = {UINT64_C(77) << 32 | 1, 4096, 0},
     .words = 3}, /* the extended kind */
    {.on = NBD_CMD_BLOCK_STATUS,
     EXTENDED,
     DONE,
     .type = 5,
     .length = 12,
     .body = {UINT64_C(77) << 32 | 4096},
     .words = 1,
     .tail = 4}, /* the compact kind */
    {.on = NBD_CMD_BLOCK_STATUS,
     EXTENDED,
     DONE,
     .type = 6,
     .length = 24,
     .body = {UINT64_C(77) << 32 | 2, 4096, 0},
     .words = 3}, /* miscounted */
    {.on = NBD_CMD_BLOCK_STATUS,
     EXTENDED,
     DONE,
     .type = 6,
     .length = 24,
     .body = {UINT64_C(77) << 32 | 1, 0, 0},
     .words = 3},
    {.on = NBD_CMD_BLOCK_STATUS, STRUCTURED, DONE, .type = 1, .length = 4104, .body = {8192}, .words = 1, .tail = 4096},
};

static enum fake_verdict lie_in_transmission(struct fake_connection *c, const struct fake_request *r)
{
    const struct lie *lie = &lies[c->server->lie];
    static uint8_t bytes[8192];
    if (r->type != lie->on || !c->server->left)
        return FAKE_HONEST;
    c->server->left--;
    struct emit e = emit_to(bytes, sizeof bytes);
    uint64_t cookie = r->cookie + (uint64_t)lie->cookie;
    emit_u32(&e, lie->magic);
    if (lie->magic == NBD_SIMPLE_REPLY_MAGIC) {
        emit_u32(&e, 0);
        emit_u64(&e, cookie);
    } else {
        emit_u16(&e, lie->flags);
        emit_u16(&e, lie->type);
        emit_u64(&e, cookie);
        if (lie->magic == NBD_EXTENDED_REPLY_MAGIC)
            emit_u64(&e, r->offset + (uint64_t)lie->offset);
        if (lie->magic == NBD_EXTENDED_REPLY_MAGIC)
            emit_u64(&e, lie->length);
        else
            emit_u32(&e, (uint32_t)lie->length);
    }
    for (unsigned i = 0; i < lie->words; i++)
        emit_u64(&e, lie->body[i]);
    for (unsigned i = 0; i < lie->tail; i++)
        emit_bytes(&e, "", 1);
    fake_send(c, &e);
    return FAKE_ANSWERED;
}

static void suffer(struct peer *p, unsigned index, unsigned times, int result)
{
    static char b[4096];
    struct blk_extent e[4];
    const struct lie *lie = &lies[index];
    p->server->hook = lie_in_transmission;
    p->server->lie = index;
    p->server->left = times;
    p->server->structured = !lie->simple;
    p->server->extended = lie->extended;
    memset(p->server->disk, 0x5a, FAKE_DISK_BYTES);
    peer_serve(p, "\"reconnect\":\"20s\"");
    uint32_t n;
    int got = lie->on == NBD_CMD_BLOCK_STATUS
                  ? fixture_extents(p->f, 8192, 4096, e, 4, &n)
                  : fixture_io(p->f, lie->on == NBD_CMD_READ ? BLK_READ : BLK_WRITE, 0, 8192, b, 4096);
    if (got != result)
        fail_msg("lie %u (%u times): result %d, wanted %d", index, times, got, result);
    if (!result && p->server->connected != times + 1)
        fail_msg("lie %u did not break the connection", index);
    if (!result && lie->on == NBD_CMD_READ)
        peer_assert_reads(p, 8192, 0x5a);
}

/* Each breaks the connection; the next time the truth is told and taken. */
static void lies_told_once(void **state)
{
    for (unsigned i = 0; i < sizeof lies / sizeof *lies; i++) {
        suffer(peer_of(state), i, 1, 0);
        peer_teardown(state);
        peer_setup(state);
    }
}

/* A server that does not stop lying about a request fails that request, and not after the whole
 * time of an outage. */
static void lies_told_forever(void **state)
{
    suffer(peer_of(state), 22, 1000, -EIO);
    assert_int_equal(peer_of(state)->server->connected, 3);
}

struct piece {
    uint64_t at, length;
    bool hole;
};

static struct piece pieces[20];

static enum fake_verdict send_pieces(struct fake_connection *c, const struct fake_request *r)
{
    static uint8_t bytes[32 * KIB];
    if (r->type != NBD_CMD_READ || !c->server->left)
        return FAKE_HONEST;
    c->server->left--;
    struct emit e = emit_to(bytes, sizeof bytes);
    for (unsigned i = 0; i < 20 && pieces[i].length; i++) {
        bool last = i == 19 || !pieces[i + 1].length;
        emit_u32(&e, NBD_STRUCTURED_REPLY_MAGIC);
        emit_u16(&e, last ? NBD_REPLY_FLAG_DONE : 0);
        emit_u16(&e, pieces[i].hole ? NBD_REPLY_TYPE_OFFSET_HOLE : NBD_REPLY_TYPE_OFFSET_DATA);
        emit_u64(&e, r->cookie);
        emit_u32(&e, (uint32_t)(pieces[i].hole ? 12 : 8 + pieces[i].length));
        emit_u64(&e, r->offset + pieces[i].at);
        if (pieces[i].hole)
            emit_u32(&e, (uint32_t)pieces[i].length);
        else
            emit_bytes(&e, c->server->disk + r->offset + pieces[i].at, pieces[i].length);
    }
    fake_send(c, &e);
    return FAKE_ANSWERED;
}

static int read_in_pieces(struct peer *p, const struct piece *list, unsigned count, char *in)
{
    fake_server_lock(p->server);
    memset(pieces, 0, sizeof pieces);
    memcpy(pieces, list, count * sizeof *list);
    p->server->left = 1;
    fake_server_unlock(p->server);
    return fixture_io(p->f, BLK_READ, 0, 8192, in, 16 * KIB);
}

static void chunks_in_any_order(void **state)
{
    struct peer *p = peer_of(state);
    static char in[16 * KIB], want[16 * KIB];
    static const struct piece shuffled[] = {
        {12288, 4096, false}, {0, 1000, false}, {4096, 8192, true}, {1000, 3096, false}};
    static const struct piece twice[] = {{0, 10000, false}, {9999, 16384 - 9999, false}};
    static const struct piece inside[] = {{0, 16384, true}, {100, 1, true}};
    static const struct piece gap[] = {{0, 10000, false}, {10001, 16384 - 10001, false}};
    struct piece scattered[18];
    p->server->hook = send_pieces;
    fixture_pattern(p->server->disk, 0, FAKE_DISK_BYTES, 9);
    peer_serve(p, "");
    fixture_pattern(want, 8192, sizeof want, 9);
    assert_int_equal(read_in_pieces(p, shuffled, 4, in), 0);
    memset(want + 4096, 0, 8192);
    assert_memory_equal(in, want, sizeof in);
    assert_int_equal(p->server->connected, 1);
    fixture_pattern(want, 8192, sizeof want, 9);
    assert_int_equal(read_in_pieces(p, twice, 2, in), 0);
    assert_memory_equal(in, want, sizeof in);
    assert_int_equal(p->server->connected, 2); /* the lie broke the connection, the second answer was right */
    assert_int_equal(read_in_pieces(p, inside, 2, in), 0);
    assert_memory_equal(in, want, sizeof in);
    assert_int_equal(p->server->connected, 3);
    assert_int_equal(read_in_pieces(p, gap, 2, in), 0);
    assert_memory_equal(in, want, sizeof in);
    assert_int_equal(p->server->connected, 4);
    for (unsigned i = 0; i < 18; i++)
        scattered[i] = (struct piece){i * 2 % 18 * 100 + (i >= 9) * 100, 100, false};
    assert_int_equal(read_in_pieces(p, scattered, 18, in), -EIO); /* cannot be judged: an error, not a guess */
    assert_int_equal(p->server->connected, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PEER(structured_replies),
        WITH_PEER(extended_headers),
        WITH_PEER(simple_replies),
        WITH_PEER(limits),
        WITH_PEER(too_little_at_a_time),
        WITH_PEER(long_zeroes_in_pieces),
        WITH_PEER(long_zeroes_at_once),
        WITH_PEER(resizes),
        WITH_PEER(fua_by_flush),
        WITH_PEER(no_flush),
        WITH_PEER(failed_flush_ends_trust),
        WITH_PEER(shutdown_is_waited_out),
        WITH_PEER(lies_told_once),
        WITH_PEER(lies_told_forever),
        WITH_PEER(chunks_in_any_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
