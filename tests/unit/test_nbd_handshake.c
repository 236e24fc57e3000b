/* The NBD client in the handshake, against servers that lie. */
#include "tests/unit/nbd_peer.h"

#include <string.h>
#include <sys/socket.h>

#include "node/base/err.h"

static struct peer *peer_of(void **state)
{
    return *state;
}

/* ---- lies in the handshake ---- */

static void refuses_with(struct peer *p, const char *about)
{
    struct err err = {0};
    struct blk *blk = NULL;
    if (p->server->listener < 0)
        fake_server_listen(p->server);
    assert_true(blk_open(&p->f->env, peer_stack(p, "\"open-timeout\":\"300ms\""), 0, &blk, &err) < 0);
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

static void info(struct fake_connection *c, uint16_t type, unsigned len, uint64_t a, uint32_t b, uint32_t d)
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
        fake_option_reply(c, NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, lie == LIE_CONTEXT_OTHER ? other : context,
                          sizeof other - 1);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PEER(bad_greetings),
        WITH_PEER(lies_in_the_handshake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
