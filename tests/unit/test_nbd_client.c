/* The NBD client against a server that lies, cuts, forgets and stays mute (fake_server.h). */
#include "tests/unit/fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "node/base/container.h"
#include "node/base/err.h"
#include "tests/unit/fake_server.h"

enum { KIB = 1024, MIB = 1 << 20 };

struct peer {
    struct fixture *f;
    struct fake_server *server;
    char stack[400];
};

static struct peer *peer_of(void **state)
{
    return *state;
}

static int setup(void **state)
{
    struct peer *p = calloc(1, sizeof *p);
    void *f;
    fixture_setup(&f);
    p->f = f;
    p->server = fake_server_new();
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct peer *p = *state;
    void *f = p->f;
    fixture_teardown(&f);
    fake_server_free(p->server);
    free(p);
    return 0;
}

static const char *stack(struct peer *p, const char *options)
{
    snprintf(p->stack, sizeof p->stack,
             "{\"driver\":\"nbd\",\"uri\":\"nbd+unix:///?socket=%s\"%s%s}", p->server->path,
             *options ? "," : "", options);
    return p->stack;
}

static void serve(struct peer *p, const char *options)
{
    fake_server_listen(p->server);
    fixture_open(p->f, stack(p, options), 0);
}

/* ---- requests ---- */

struct pending {
    struct blk_req req;
    struct iovec iov;
    bool done;
};

static void pending_done(struct blk_req *req)
{
    CONTAINER_OF(req, struct pending, req)->done = true;
}

static void begin(struct peer *p, struct pending *w, enum blk_op op, uint64_t offset, void *data,
                  uint64_t length)
{
    *w = (struct pending){.iov = {data, length}};
    w->req = (struct blk_req){.op = op,
                              .offset = offset,
                              .length_bytes = length,
                              .iov = &w->iov,
                              .iov_count = 1,
                              .done = pending_done};
    blk_submit(p->f->blk, &w->req);
}

static int end(struct peer *p, struct pending *w)
{
    while (!w->done)
        loop_step(p->f->env.loop);
    return w->req.result;
}

static int write_byte(struct peer *p, uint64_t offset, int byte, uint32_t flags)
{
    static char b[4 * KIB];
    memset(b, byte, sizeof b);
    return fixture_io(p->f, BLK_WRITE, flags, offset, b, sizeof b);
}

static void assert_reads(struct peer *p, uint64_t offset, int byte)
{
    static char b[4 * KIB], want[4 * KIB];
    memset(want, byte, sizeof want);
    assert_int_equal(fixture_io(p->f, BLK_READ, 0, offset, b, sizeof b), 0);
    assert_memory_equal(b, want, sizeof b);
}

static int flush(struct peer *p)
{
    return fixture_io(p->f, BLK_FLUSH, 0, 0, NULL, 0);
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
    assert_reads(p, 8192, 0);
    assert_int_equal(flush(p), 0);
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
    serve(peer_of(state), "");
    round_trip(peer_of(state));
}

static void extended_headers(void **state)
{
    peer_of(state)->server->extended = true;
    serve(peer_of(state), "");
    round_trip(peer_of(state));
}

static void simple_replies(void **state)
{
    struct peer *p = peer_of(state);
    p->server->structured = false;
    p->server->no_go = true;
    serve(p, "");
    round_trip(p);
}

static void limits(void **state)
{
    struct peer *p = peer_of(state);
    p->server->min_block = 4096;
    p->server->preferred_block = 65536;
    p->server->max_payload = 131072 + 100;
    p->server->size_bytes = MIB - 1;
    serve(p, "");
    assert_int_equal(blk_limits(p->f->blk)->align_bytes, 4096);
    assert_int_equal(blk_limits(p->f->blk)->preferred_bytes, 65536);
    assert_int_equal(blk_limits(p->f->blk)->max_transfer_bytes, 131072);
    assert_int_equal(blk_size(p->f->blk), MIB - 4096);
    assert_int_equal(blk_can(p->f->blk), BLK_CAN_EXTENTS | BLK_CAN_TRIM | BLK_CAN_ZERO);
}

static void long_zeroes_in_pieces(void **state)
{
    struct peer *p = peer_of(state);
    p->server->size_bytes = UINT64_C(1) << 44;
    serve(p, "");
    assert_int_equal(fixture_io(p->f, BLK_ZERO, 0, MIB, NULL, UINT64_C(10) << 30), 0);
    assert_int_equal(fake_server_seen(p->server, NBD_CMD_WRITE_ZEROES), 10);
    assert_int_equal(p->server->longest, UINT64_C(1) << 30);
}

static void long_zeroes_at_once(void **state)
{
    struct peer *p = peer_of(state);
    p->server->size_bytes = UINT64_C(1) << 44;
    p->server->extended = true;
    serve(p, "");
    assert_int_equal(fixture_io(p->f, BLK_ZERO, 0, MIB, NULL, UINT64_C(10) << 30), 0);
    assert_int_equal(fake_server_seen(p->server, NBD_CMD_WRITE_ZEROES), 1);
}

static void resizes(void **state)
{
    struct peer *p = peer_of(state);
    p->server->flags |= NBD_FLAG_SEND_RESIZE;
    serve(p, "");
    assert_int_equal(fixture_io(p->f, BLK_RESIZE, 0, MIB / 2, NULL, 0), 0);
    assert_int_equal(blk_size(p->f->blk), MIB / 2);
    assert_int_equal(p->server->size_bytes, MIB / 2);
    assert_int_equal(fake_server_seen(p->server, NBD_CMD_FLUSH), 1);
    fake_server_crash(p->server, -1);
    assert_reads(p, 0, 0); /* the smaller size is what the export has to have now */
}

static void fua_by_flush(void **state)
{
    struct peer *p = peer_of(state);
    p->server->flags &= (uint16_t)~NBD_FLAG_SEND_FUA;
    serve(p, "");
    assert_int_equal(write_byte(p, 0, 1, BLK_FUA), 0);
    assert_int_equal(fake_server_seen(p->server, NBD_CMD_FLUSH), 1);
    assert_int_equal(p->server->stable[100], 1);
}

static void no_flush(void **state)
{
    struct peer *p = peer_of(state);
    p->server->flags &= (uint16_t)~NBD_FLAG_SEND_FLUSH;
    serve(p, "");
    assert_int_equal(write_byte(p, 0, 1, 0), 0);
    assert_int_equal(flush(p), 0);
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
    serve(p, "");
    assert_int_equal(write_byte(p, 0, 1, 0), 0);
    assert_int_equal(flush(p), -EIO);
    assert_int_equal(flush(p), -EIO);
    assert_int_equal(write_byte(p, 0, 1, BLK_FUA), -EIO);
    assert_int_equal(write_byte(p, 0, 1, 0), 0);
    assert_int_equal(fake_server_seen(p->server, NBD_CMD_FLUSH), 1);
}

static void shutdown_is_waited_out(void **state)
{
    struct peer *p = peer_of(state);
    p->server->hook = fail_flushes;
    p->server->lie = NBD_ESHUTDOWN;
    p->server->left = 2;
    serve(p, "");
    assert_int_equal(write_byte(p, 0, 1, 0), 0);
    assert_int_equal(flush(p), 0);
    assert_int_equal(fake_server_seen(p->server, NBD_CMD_FLUSH), 3);
    assert_int_equal(p->server->connected, 3);
}

/* ---- lies in the handshake ---- */

static void refuses_with(struct peer *p, const char *about)
{
    struct err err = {0};
    struct blk *blk = NULL;
    if (p->server->listener < 0)
        fake_server_listen(p->server);
    assert_true(blk_open(&p->f->env, stack(p, "\"open-timeout\":\"300ms\""), 0, &blk, &err) < 0);
    assert_null(blk);
    if (!strstr(err.text, about))
        fail_msg("'%s' does not say '%s'", err.text, about);
    if (!strstr(err.text, p->server->path))
        fail_msg("'%s' does not name the server", err.text);
}

static void bad_greetings(void **state)
{
    struct peer *p = peer_of(state);
    static const char ssh[] = "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n";
    uint8_t bytes[160] = {0};
    p->server->greeting = ssh;
    p->server->greeting_bytes = sizeof ssh - 1;
    refuses_with(p, "this is no NBD server");
    struct emit e = emit_to(bytes, sizeof bytes);
    emit_u64(&e, NBD_MAGIC);
    emit_u64(&e, NBD_OLDSTYLE_MAGIC);
    emit_u64(&e, MIB);
    fake_server_lock(p->server);
    p->server->greeting = bytes;
    p->server->greeting_bytes = 152;
    fake_server_unlock(p->server);
    refuses_with(p, "oldstyle");
    bytes[8]++;
    refuses_with(p, "unknown style");
    p->server->greeting_bytes = 17;
    refuses_with(p, "does not answer within 0.3 s (handshake)");
}

enum option_lie {
    LIE_MAGIC,
    LIE_OPTION,
    LIE_HUGE,
    LIE_TYPE,
    LIE_ENDLESS,
    LIE_ACK_DATA,
    LIE_NO_EXPORT,
    LIE_SIZE,
    LIE_FLAGS,
    LIE_BLOCK_ODD,
    LIE_BLOCK_HUGE,
    LIE_BLOCK_ORDER,
    LIE_INFO_SHORT,
    LIE_INFO_LONG,
    LIE_CONTEXT_OTHER,
    LIE_CONTEXT_TWICE,
    LIE_MORE,
    LIE_UNKNOWN_EXPORT,
    LIE_TLS,
    LIE_SHUTDOWN,
    LIE_CLOSE,
};

static void info(struct fake_connection *c, uint16_t type, unsigned len, uint64_t a, uint32_t b,
                 uint32_t d)
{
    uint8_t body[32] = {0};
    struct emit e = emit_to(body, sizeof body);
    emit_u16(&e, type);
    if (type == NBD_INFO_EXPORT) {
        emit_u64(&e, a);
        emit_u16(&e, (uint16_t)b);
    } else {
        emit_u32(&e, (uint32_t)a);
        emit_u32(&e, b);
        emit_u32(&e, d);
    }
    fake_option_reply(c, NBD_OPT_GO, NBD_REP_INFO, body, len);
}

static bool lie_about_context(struct fake_connection *c, enum option_lie lie)
{
    static const char context[] = "\0\0\0\1base:allocation", other[] = "\0\0\0\1base:allocatioN";
    if (lie != LIE_CONTEXT_OTHER && lie != LIE_CONTEXT_TWICE)
        return false;
    for (int i = 0; i < 2; i++)
        fake_option_reply(c, NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT,
                          lie == LIE_CONTEXT_OTHER ? other : context, sizeof other - 1);
    return true;
}

static bool lie_about_option(struct fake_connection *c, uint32_t option)
{
    static const uint8_t much[9000];
    enum option_lie lie = c->server->lie;
    uint16_t flags = c->server->flags;
    if (option == NBD_OPT_SET_META_CONTEXT)
        return lie_about_context(c, lie);
    if (option != NBD_OPT_GO || lie == LIE_CONTEXT_OTHER || lie == LIE_CONTEXT_TWICE)
        return false;
    switch (lie) {
    case LIE_MAGIC:
        send(c->fd, much, 20, MSG_NOSIGNAL);
        return true;
    case LIE_OPTION:
        fake_option_reply(c, NBD_OPT_LIST, NBD_REP_ACK, NULL, 0);
        return true;
    case LIE_HUGE:
        fake_option_reply(c, option, NBD_REP_ERR_UNKNOWN, much, sizeof much);
        return true;
    case LIE_TYPE:
        fake_option_reply(c, option, NBD_REP_SERVER, much, 4);
        return true;
    case LIE_ENDLESS:
        for (int i = 0; i < 1000; i++)
            info(c, NBD_INFO_DESCRIPTION, 14, 0, 0, 0);
        return true;
    case LIE_ACK_DATA:
        fake_option_reply(c, option, NBD_REP_ACK, much, 7);
        return true;
    case LIE_NO_EXPORT:
        fake_option_reply(c, option, NBD_REP_ACK, NULL, 0);
        return true;
    case LIE_SIZE:
        info(c, NBD_INFO_EXPORT, 12, UINT64_C(1) << 63, flags, 0);
        break;
    case LIE_FLAGS:
        info(c, NBD_INFO_EXPORT, 12, MIB, 0, 0);
        break;
    case LIE_BLOCK_ODD:
        info(c, NBD_INFO_BLOCK_SIZE, 14, 513, 1024, MIB);
        break;
    case LIE_BLOCK_HUGE:
        info(c, NBD_INFO_BLOCK_SIZE, 14, 1 << 17, 1 << 17, MIB);
        break;
    case LIE_BLOCK_ORDER:
        info(c, NBD_INFO_BLOCK_SIZE, 14, 4096, 512, MIB);
        break;
    case LIE_INFO_SHORT:
        info(c, NBD_INFO_EXPORT, 11, MIB, flags, 0);
        break;
    case LIE_INFO_LONG:
        info(c, NBD_INFO_BLOCK_SIZE, 15, 512, 512, MIB);
        break;
    case LIE_UNKNOWN_EXPORT:
        fake_option_reply(c, option, NBD_REP_ERR_UNKNOWN, "ask \x1b[31mBob", 12);
        return true;
    case LIE_TLS:
        fake_option_reply(c, option, NBD_REP_ERR_TLS_REQD, NULL, 0);
        return true;
    case LIE_SHUTDOWN:
        fake_option_reply(c, option, NBD_REP_ERR_SHUTDOWN, NULL, 0);
        return true;
    case LIE_CLOSE:
        shutdown(c->fd, SHUT_RDWR);
        return true;
    default: { /* LIE_MORE, in one piece, so that it is there together */
        uint8_t bytes[128];
        struct emit e = emit_to(bytes, sizeof bytes);
        emit_u64(&e, NBD_OPTION_REPLY_MAGIC);
        emit_u32(&e, option);
        emit_u32(&e, NBD_REP_INFO);
        emit_u32(&e, 12);
        emit_u16(&e, NBD_INFO_EXPORT);
        emit_u64(&e, MIB);
        emit_u16(&e, flags);
        emit_u64(&e, NBD_OPTION_REPLY_MAGIC);
        emit_u32(&e, option);
        emit_u32(&e, NBD_REP_ACK);
        emit_u32(&e, 0);
        emit_bytes(&e, much, 16);
        fake_send(c, &e);
        return true;
    }
    }
    fake_option_reply(c, option, NBD_REP_ACK, NULL, 0);
    return true;
}

static void lies_in_the_handshake(void **state)
{
    struct peer *p = peer_of(state);
    static const char *const about[] = {
        [LIE_MAGIC] = "wrong magic number",
        [LIE_OPTION] = "answers option 3 while GO was asked",
        [LIE_HUGE] = "answers GO with 9000 bytes",
        [LIE_TYPE] = "a reply of an unexpected type",
        [LIE_ENDLESS] = "too many replies",
        [LIE_ACK_DATA] = "with 7 bytes of data",
        [LIE_NO_EXPORT] = "without saying the export's size",
        [LIE_SIZE] = "impossible size",
        [LIE_FLAGS] = "no transmission flags",
        [LIE_BLOCK_ODD] = "minimum block size",
        [LIE_BLOCK_HUGE] = "minimum block size",
        [LIE_BLOCK_ORDER] = "preferred block size",
        [LIE_INFO_SHORT] = "wrong length",
        [LIE_INFO_LONG] = "wrong length",
        [LIE_CONTEXT_OTHER] = "context that was not asked for",
        [LIE_CONTEXT_TWICE] = "same metadata context twice",
        [LIE_MORE] = "more than it was asked for",
        [LIE_UNKNOWN_EXPORT] = "no such export (\"ask ?[31mBob\")",
        [LIE_TLS] = "write nbds://",
        [LIE_SHUTDOWN] = "shutting down",
        [LIE_CLOSE] = "closed the connection in the handshake",
    };
    p->server->option_hook = lie_about_option;
    for (unsigned i = 0; i <= LIE_CLOSE; i++) {
        fake_server_lock(p->server);
        p->server->lie = i;
        fake_server_unlock(p->server);
        refuses_with(p, about[i]);
    }
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
    {.on = NBD_CMD_READ,
     STRUCTURED,
     DONE,
     .type = 1,
     .length = 8,
     .body = {8192},
     .words = 1}, /* no data */
    {.on = NBD_CMD_READ, STRUCTURED, DONE, .type = 1, .length = 7, .body = {8192}, .words = 1},
    {.on = NBD_CMD_READ,
     STRUCTURED,
     DONE,
     .type = 1,
     .length = 4103,
     .body = {8192},
     .words = 1,
     .tail = 4095},
    {.on = NBD_CMD_READ,
     STRUCTURED,
     DONE,
     .type = 1,
     .length = 4105,
     .body = {8192},
     .words = 1,
     .tail = 4097},
    {.on = NBD_CMD_READ,
     STRUCTURED,
     DONE,
     .type = 1,
     .length = UINT32_MAX,
     .body = {8192},
     .words = 1},
    {.on = NBD_CMD_READ,
     EXTENDED,
     DONE,
     .type = 1,
     .length = UINT64_MAX,
     .body = {8192},
     .words = 1},
    {.on = NBD_CMD_READ,
     STRUCTURED,
     DONE,
     .type = 1,
     .length = 4104,
     .body = {8193},
     .words = 1,
     .tail = 4096},
    {.on = NBD_CMD_READ,
     STRUCTURED,
     DONE,
     .type = 1,
     .length = 4104,
     .body = {8191},
     .words = 1,
     .tail = 4096},
    {.on = NBD_CMD_READ,
     STRUCTURED,
     DONE,
     .type = 1,
     .length = 4104,
     .body = {UINT64_MAX},
     .words = 1,
     .tail = 4096},
    {.on = NBD_CMD_READ,
     STRUCTURED,
     DONE,
     .type = 2,
     .length = 12,
     .body = {8192},
     .words = 1,
     .tail = 4}, /* empty */
    {.on = NBD_CMD_READ,
     STRUCTURED,
     DONE,
     .type = 2,
     .length = 12,
     .body = {8192, UINT64_C(4097) << 32},
     .words = 2},
    {.on = NBD_CMD_READ,
     STRUCTURED,
     DONE,
     .type = 2,
     .length = 12,
     .body = {8192, UINT64_C(4095) << 32},
     .words = 2},
    {.on = NBD_CMD_READ,
     STRUCTURED,
     DONE,
     .type = 2,
     .length = 12,
     .body = {UINT64_MAX, UINT64_C(2) << 32},
     .words = 2},
    {.on = NBD_CMD_READ,
     STRUCTURED,
     DONE,
     .type = 2,
     .length = 16,
     .body = {8192, UINT64_C(4096) << 32},
     .words = 2},
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
    {.on = NBD_CMD_READ,
     STRUCTURED,
     DONE,
     .type = 0x8001,
     .length = 8,
     .body = {UINT64_C(5) << 32},
     .words = 1}, /* rest */
    {.on = NBD_CMD_READ, STRUCTURED, DONE, .type = 0x8001, .length = 1 << 20},
    {.on = NBD_CMD_READ,
     STRUCTURED,
     DONE,
     .type = 0x8002,
     .length = 14,
     .body = {UINT64_C(5) << 32, 0},
     .words = 2},
    {.on = NBD_CMD_READ,
     STRUCTURED,
     DONE,
     .type = 0x8002,
     .length = 6,
     .body = {UINT64_C(5) << 32},
     .words = 1},
    {.on = NBD_CMD_READ, STRUCTURED, DONE, .type = 0xffff, .length = 1 << 20},
    {.on = NBD_CMD_WRITE,
     STRUCTURED,
     DONE,
     .type = 1,
     .length = 4104,
     .body = {8192},
     .words = 1,
     .tail = 4096},
    {.on = NBD_CMD_WRITE,
     STRUCTURED,
     DONE,
     .type = 2,
     .length = 12,
     .body = {8192, UINT64_C(4096) << 32},
     .words = 2},
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
    {.on = NBD_CMD_BLOCK_STATUS,
     STRUCTURED,
     DONE,
     .type = 1,
     .length = 4104,
     .body = {8192},
     .words = 1,
     .tail = 4096},
};

static enum fake_verdict lie_in_transmission(struct fake_connection *c,
                                             const struct fake_request *r)
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
    serve(p, "\"reconnect\":\"20s\"");
    uint32_t n;
    int got =
        lie->on == NBD_CMD_BLOCK_STATUS
            ? fixture_extents(p->f, 8192, 4096, e, 4, &n)
            : fixture_io(p->f, lie->on == NBD_CMD_READ ? BLK_READ : BLK_WRITE, 0, 8192, b, 4096);
    if (got != result)
        fail_msg("lie %u (%u times): result %d, wanted %d", index, times, got, result);
    if (!result && p->server->connected != times + 1)
        fail_msg("lie %u did not break the connection", index);
    if (!result && lie->on == NBD_CMD_READ)
        assert_reads(p, 8192, 0x5a);
}

/* Each breaks the connection; the next time the truth is told and taken. */
static void lies_told_once(void **state)
{
    for (unsigned i = 0; i < sizeof lies / sizeof *lies; i++) {
        suffer(peer_of(state), i, 1, 0);
        teardown(state);
        setup(state);
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
    serve(p, "");
    fixture_pattern(want, 8192, sizeof want, 9);
    assert_int_equal(read_in_pieces(p, shuffled, 4, in), 0);
    memset(want + 4096, 0, 8192);
    assert_memory_equal(in, want, sizeof in);
    assert_int_equal(p->server->connected, 1);
    fixture_pattern(want, 8192, sizeof want, 9);
    assert_int_equal(read_in_pieces(p, twice, 2, in), 0);
    assert_memory_equal(in, want, sizeof in);
    assert_int_equal(p->server->connected,
                     2); /* the lie broke the connection, the second answer was right */
    assert_int_equal(read_in_pieces(p, inside, 2, in), 0);
    assert_memory_equal(in, want, sizeof in);
    assert_int_equal(p->server->connected, 3);
    assert_int_equal(read_in_pieces(p, gap, 2, in), 0);
    assert_memory_equal(in, want, sizeof in);
    assert_int_equal(p->server->connected, 4);
    for (unsigned i = 0; i < 18; i++)
        scattered[i] = (struct piece){i * 2 % 18 * 100 + (i >= 9) * 100, 100, false};
    assert_int_equal(read_in_pieces(p, scattered, 18, in),
                     -EIO); /* cannot be judged: an error, not a guess */
    assert_int_equal(p->server->connected, 4);
}

/* ---- loss ---- */

static void replays_unflushed_writes(void **state)
{
    struct peer *p = peer_of(state);
    serve(p, "");
    assert_int_equal(write_byte(p, 0, 1, 0), 0);
    assert_int_equal(flush(p), 0);
    assert_int_equal(write_byte(p, 4096, 2, 0), 0);
    assert_int_equal(write_byte(p, 4096, 3, 0), 0);
    assert_int_equal(write_byte(p, 16384, 4, 0), 0);
    assert_int_equal(fixture_io(p->f, BLK_ZERO, 0, 16384, NULL, 512), 0);
    fake_server_crash(p->server, -1);
    assert_int_equal(p->server->disk[4096], 0);
    assert_reads(p, 4096, 3);
    assert_reads(p, 0, 1);
    assert_int_equal(p->server->disk[16384], 0);
    assert_int_equal(p->server->disk[16384 + 512], 4);
    assert_int_equal(fake_server_seen(p->server, NBD_CMD_WRITE), 4 + 3);
    assert_int_equal(flush(p), 0);
    fake_server_crash(p->server, -1);
    assert_reads(p, 4096, 3);
    assert_int_equal(fake_server_seen(p->server, NBD_CMD_WRITE),
                     4 + 3); /* nothing was left to do again */
}

static void durable_writes_are_not_undone(void **state)
{
    struct peer *p = peer_of(state);
    serve(p, "");
    assert_int_equal(write_byte(p, 0, 1, 0), 0);
    assert_int_equal(write_byte(p, 0, 2, BLK_FUA), 0);
    fake_server_crash(p->server, -1);
    assert_reads(p, 0, 2);
}

static void overflowing_log_is_confessed_once(void **state)
{
    struct peer *p = peer_of(state);
    serve(p, "\"replay-log\":\"16K\"");
    for (int i = 0; i < 4; i++)
        assert_int_equal(write_byte(p, (uint64_t)i * 4096, 7, 0), 0);
    fake_server_crash(p->server, -1);
    assert_reads(p, 0, 0);
    assert_int_equal(write_byte(p, 0, 8, 0), 0);
    assert_int_equal(flush(p), -EIO);
    assert_int_equal(flush(p), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(write_byte(p, (uint64_t)i * 4096, 9, 0), 0);
    assert_int_equal(flush(p), 0);
    assert_int_equal(write_byte(p, 0, 10, 0), 0); /* fits again */
    fake_server_crash(p->server, -1);
    assert_reads(p, 0, 10);
    assert_reads(p, 3 * 4096, 9);
    assert_int_equal(flush(p), 0);
}

static void no_log(void **state)
{
    struct peer *p = peer_of(state);
    serve(p, "\"replay-log\":0");
    assert_int_equal(write_byte(p, 0, 1, 0), 0);
    assert_int_equal(flush(p), 0);
    fake_server_crash(p->server, -1);
    assert_reads(p, 0, 1);
    assert_int_equal(flush(p), 0); /* nothing was lost */
    assert_int_equal(write_byte(p, 0, 2, 0), 0);
    fake_server_crash(p->server, -1);
    assert_reads(p, 0, 1);
    assert_int_equal(flush(p), -EIO);
    assert_int_equal(flush(p), 0);
}

static enum fake_verdict cut_some(struct fake_connection *c, const struct fake_request *r)
{
    if (r->type != c->server->lie || !c->server->left)
        return FAKE_HONEST;
    c->server->left--;
    if (r->type == NBD_CMD_WRITE) /* it was done, but the client does not know */
        memcpy(c->server->disk + r->offset, r->payload, r->length);
    return FAKE_CUT;
}

static void requests_survive_cuts(void **state)
{
    struct peer *p = peer_of(state);
    static char b[16][4096];
    struct pending w[16];
    p->server->hook = cut_some;
    p->server->lie = NBD_CMD_WRITE;
    p->server->left = 5;
    serve(p, "");
    for (unsigned i = 0; i < 16; i++) {
        memset(b[i], (int)i + 1, sizeof b[i]);
        begin(p, &w[i], BLK_WRITE, i * 4096, b[i], sizeof b[i]);
    }
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(end(p, &w[i]), 0);
    for (unsigned i = 0; i < 16; i++)
        assert_reads(p, i * 4096, (int)i + 1);
    assert_int_equal(p->server->connected, 6);
}

static void flush_in_flight_at_a_loss(void **state)
{
    struct peer *p = peer_of(state);
    p->server->hook = cut_some;
    p->server->lie = NBD_CMD_FLUSH;
    p->server->left = 1;
    serve(p, "");
    assert_int_equal(write_byte(p, 0, 1, 0), 0);
    assert_int_equal(flush(p), 0);
    assert_int_equal(p->server->stable[0], 1);
    assert_int_equal(fake_server_seen(p->server, NBD_CMD_WRITE), 2);
}

static void fails_at_once_without_reconnect(void **state)
{
    struct peer *p = peer_of(state);
    p->server->hook = cut_some;
    p->server->lie = NBD_CMD_READ;
    p->server->left = 1;
    serve(p, "\"reconnect\":0");
    char b[512];
    assert_int_equal(fixture_io(p->f, BLK_READ, 0, 0, b, 512), -EIO);
    /* it does connect again, though */
    while (fixture_io(p->f, BLK_READ, 0, 0, b, 512))
        loop_step(p->f->env.loop);
    assert_int_equal(p->server->connected, 2);
}

static void gives_up_and_comes_back(void **state)
{
    struct peer *p = peer_of(state);
    char b[512];
    serve(p, "\"reconnect\":\"200ms\"");
    assert_int_equal(write_byte(p, 0, 1, 0), 0);
    fake_server_leave(p->server);
    assert_int_equal(fixture_io(p->f, BLK_READ, 0, 0, b, 512), -EIO);
    assert_int_equal(fixture_io(p->f, BLK_FLUSH, 0, 0, NULL, 0), -EIO);
    memset(p->server->disk, 0, FAKE_DISK_BYTES);
    fake_server_listen(p->server);
    while (fixture_io(p->f, BLK_READ, 0, 0, b, 512))
        loop_step(p->f->env.loop);
    assert_int_equal(b[0], 1); /* the log was kept for it */
    assert_int_equal(flush(p), 0);
}

static void another_export_is_refused(void **state)
{
    struct peer *p = peer_of(state);
    char b[512];
    serve(p, "\"reconnect\":\"300ms\"");
    assert_int_equal(fixture_io(p->f, BLK_READ, 0, 0, b, 512), 0);
    fake_server_lock(p->server);
    p->server->size_bytes = MIB / 2;
    fake_server_unlock(p->server);
    fake_server_crash(p->server, -1);
    assert_int_equal(fixture_io(p->f, BLK_READ, 0, 0, b, 512), -EIO);
    assert_int_equal(fake_server_seen(p->server, NBD_CMD_READ), 1);
    assert_true(p->server->connected > 1);
}

static void closes_politely(void **state)
{
    struct peer *p = peer_of(state);
    serve(p, "");
    fixture_close(p->f);
    while (!fake_server_seen(p->server, NBD_CMD_DISC))
        usleep(1000);
    assert_int_equal(fake_server_seen(p->server, NBD_CMD_DISC), 1);
}

/* ---- several connections ---- */

/* Until each of the connections from `first` to `last` has served something: it is in use then. */
static void wait_in_use(struct peer *p, unsigned first, unsigned last)
{
    for (bool all = false; !all;) {
        struct pending w[8];
        char b[8][512];
        for (unsigned i = 0; i < 8; i++) /* enough at a time to go over every live connection */
            begin(p, &w[i], BLK_READ, i * 512, b[i], 512);
        for (unsigned i = 0; i < 8; i++)
            assert_int_equal(end(p, &w[i]), 0);
        fake_server_lock(p->server);
        all = p->server->connected > last;
        for (unsigned i = first; all && i <= last; i++)
            all = p->server->connections[i].served;
        fake_server_unlock(p->server);
    }
}

static void one_connection_if_the_server_says_so(void **state)
{
    struct peer *p = peer_of(state);
    serve(p, "\"connections\":4");
    for (int i = 0; i < 20; i++)
        assert_reads(p, 0, 0);
    assert_int_equal(p->server->connected, 1);
}

static void nothing_is_lost_while_one_lives(void **state)
{
    struct peer *p = peer_of(state);
    p->server->flags |= NBD_FLAG_CAN_MULTI_CONN;
    serve(p, "\"connections\":3");
    wait_in_use(p, 0, 2);
    assert_int_equal(write_byte(p, 0, 1, 0), 0);
    fake_server_cut(p->server, 0);
    fake_server_cut(p->server, 1);
    assert_reads(p, 0, 1);
    wait_in_use(p, 2, 4);
    assert_reads(p, 0, 1);
    assert_int_equal(fake_server_seen(p->server, NBD_CMD_WRITE), 1); /* no replay */
    assert_int_equal(flush(p), 0);
}

static enum fake_verdict second_is_mute(struct fake_connection *c, const struct fake_request *r)
{
    (void)r;
    return c->server->lie && c->number == (int)c->server->lie ? FAKE_MUTE : FAKE_HONEST;
}

struct stopwatch {
    struct loop_timer timer;
    bool over;
};

static void stop_watch(struct loop_timer *timer)
{
    CONTAINER_OF(timer, struct stopwatch, timer)->over = true;
}

/* The server dies and is back, but the client does not hear of it on one of its connections. */
static void a_silent_connection_proves_nothing(void **state)
{
    struct peer *p = peer_of(state);
    p->server->flags |= NBD_FLAG_CAN_MULTI_CONN;
    p->server->hook = second_is_mute;
    serve(p, "\"connections\":2");
    wait_in_use(p, 0, 1);
    assert_int_equal(write_byte(p, 0, 1, 0), 0);
    fake_server_lock(p->server);
    p->server->lie = 1;
    fake_server_unlock(p->server);
    fake_server_crash(p->server, 1); /* connection 1 stays open, and mute */
    char b[512] = {0};
    struct pending read;
    begin(p, &read, BLK_READ, 0, b, 512);
    unsigned connected = 0;
    while (connected < 3) {
        loop_step(p->f->env.loop);
        fake_server_lock(p->server);
        connected = p->server->connected;
        fake_server_unlock(p->server);
    }
    struct stopwatch watch = {.timer.fire = stop_watch};
    loop_timer_set(p->f->env.loop, &watch.timer, loop_now_ns(p->f->env.loop) + 300000000);
    while (!watch.over) /* time for a client that is wrong to read from the new connection */
        loop_step(p->f->env.loop);
    assert_false(read.done);
    fake_server_cut(p->server, 1);
    assert_int_equal(end(p, &read), 0);
    assert_int_equal(b[0], 1); /* what the new server had forgotten was done again first */
    assert_int_equal(flush(p), 0);
}

#define WITH_PEER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PEER(structured_replies),
        WITH_PEER(extended_headers),
        WITH_PEER(simple_replies),
        WITH_PEER(limits),
        WITH_PEER(long_zeroes_in_pieces),
        WITH_PEER(long_zeroes_at_once),
        WITH_PEER(resizes),
        WITH_PEER(fua_by_flush),
        WITH_PEER(no_flush),
        WITH_PEER(failed_flush_ends_trust),
        WITH_PEER(shutdown_is_waited_out),
        WITH_PEER(bad_greetings),
        WITH_PEER(lies_in_the_handshake),
        WITH_PEER(lies_told_once),
        WITH_PEER(lies_told_forever),
        WITH_PEER(chunks_in_any_order),
        WITH_PEER(replays_unflushed_writes),
        WITH_PEER(durable_writes_are_not_undone),
        WITH_PEER(overflowing_log_is_confessed_once),
        WITH_PEER(no_log),
        WITH_PEER(requests_survive_cuts),
        WITH_PEER(flush_in_flight_at_a_loss),
        WITH_PEER(fails_at_once_without_reconnect),
        WITH_PEER(gives_up_and_comes_back),
        WITH_PEER(another_export_is_refused),
        WITH_PEER(closes_politely),
        WITH_PEER(one_connection_if_the_server_says_so),
        WITH_PEER(nothing_is_lost_while_one_lives),
        WITH_PEER(a_silent_connection_proves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
