/* The server against a client that says anything. The first byte of the input chooses how far an honest client got
 * before the rest is said: nothing, the greeting, or transmission with simple, structured or extended headers and
 * contexts. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "nbd/nbd_proto.h"
#include "nbd/nbd_server.h"
#include "node/base/container.h"
#include "node/base/emit.h"
#include "node/base/stream.h"
#include "tests/fuzz/fuzz_env.h"

enum { SAID_MAX = 1 << 16, HEARD_BYTES = 1 << 16 };

struct talker {
    struct stream stream;
    uint8_t said[SAID_MAX];
    uint8_t heard[HEARD_BYTES];
    struct iovec out, in;
    bool closed;
};

static void closed(struct stream *s)
{
    CONTAINER_OF(s, struct talker, stream)->closed = true;
}

static void heard(struct stream *s, ssize_t result)
{
    struct talker *t = CONTAINER_OF(s, struct talker, stream);
    if (result <= 0) {
        stream_close(s, closed);
        return;
    }
    t->in = (struct iovec){t->heard, HEARD_BYTES};
    stream_recv(s, &t->in, 1, heard);
}

static void said(struct stream *s, int result)
{
    (void)result;
    shutdown(s->fd, SHUT_WR);
}

static void option(struct emit *e, uint32_t number, const void *data, uint32_t len)
{
    emit_u64(e, NBD_OPTION_MAGIC);
    emit_u32(e, number);
    emit_u32(e, len);
    emit_bytes(e, data, len);
}

/* What an honest client says to get to the chosen state. */
static void introduce(struct emit *e, unsigned state)
{
    static const uint8_t contexts[] = {0,   0,   0,   0,   0,   0,   0,   1,   0,   0,   0,   15,  'b', 'a',
                                       's', 'e', ':', 'a', 'l', 'l', 'o', 'c', 'a', 't', 'i', 'o', 'n'};
    static const uint8_t go[] = {0, 0, 0, 0, 0, 1, 0, 3};
    if (state == 0)
        return;
    emit_u32(e, NBD_HANDSHAKE_FIXED_NEWSTYLE | NBD_HANDSHAKE_NO_ZEROES);
    if (state == 1)
        return;
    if (state == 3)
        option(e, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
    if (state >= 4)
        option(e, NBD_OPT_EXTENDED_HEADERS, NULL, 0);
    if (state == 3 || state == 5)
        option(e, NBD_OPT_SET_META_CONTEXT, contexts, sizeof contexts);
    option(e, NBD_OPT_GO, go, sizeof go);
}

static struct nbd_server *server_with_export(void)
{
    struct nbd_server_config config = nbd_server_defaults;
    config.max_in_flight = 8;
    config.max_memory_bytes = 4 << 20;
    struct nbd_server *server = nbd_server_new(fuzz_env(), &config);
    struct nbd_export *export;
    if (!server || nbd_export_new("", &export, NULL) || blk_open(fuzz_env(), "mem:1M", 0, &export->blk, NULL))
        abort();
    export->can_resize = true;
    nbd_server_add(server, export, NULL);
    struct nbd_export *fenced;
    if (nbd_export_new("f", &fenced, NULL) ||
        blk_open(fuzz_env(), "[{\"driver\":\"fence\"},{\"driver\":\"mem\",\"size\":131072}]", 0, &fenced->blk, NULL))
        abort();
    nbd_server_add(server, fenced, NULL);
    return server;
}

static void drained(void *context, bool failed)
{
    (void)failed;
    *(bool *)context = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct talker t;
    int fds[2];
    bool done = false;
    if (!size)
        return 0;
    struct nbd_server *server = server_with_export();
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
        abort();
    struct emit e = emit_to(t.said, SAID_MAX);
    introduce(&e, data[0] % 6);
    emit_bytes(&e, data + 1, size - 1);
    t.closed = false;
    stream_init(&t.stream, fuzz_env()->loop, fds[1]);
    nbd_server_adopt(server, fds[0], NULL, NULL);
    t.in = (struct iovec){t.heard, HEARD_BYTES};
    stream_recv(&t.stream, &t.in, 1, heard);
    t.out = (struct iovec){t.said, emit_len(&e)};
    if (emit_len(&e))
        stream_send(&t.stream, &t.out, 1, said);
    else
        shutdown(fds[1], SHUT_WR);
    while (!t.closed || nbd_server_connections(server))
        loop_step(fuzz_env()->loop);
    nbd_server_drain(server, drained, &done);
    while (!done)
        loop_step(fuzz_env()->loop);
    nbd_server_free(server);
    return 0;
}
