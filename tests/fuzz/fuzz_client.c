/* The client against a server that says anything: the input is what the server says, to each connection anew. Reads
 * that succeed must have been answered; whatever happens, the stack closes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <liburing.h>

#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/listen.h"
#include "node/base/stream.h"
#include "tests/fuzz/fuzz_env.h"

enum { HEARD_BYTES = 1 << 16, REQUESTS = 6, SAID_MAX = 1 << 16, CONNECTIONS_MAX = 8 };

struct liar {
    struct stream stream;
    struct iovec out, in;
    uint8_t said[SAID_MAX], heard[HEARD_BYTES];
};

static struct loop_op accept_op;
static int listener = -1;
static const uint8_t *lie;
static size_t lie_bytes;
static unsigned liars;

static void gone(struct stream *s)
{
    free(CONTAINER_OF(s, struct liar, stream));
    liars--;
}

static void heard(struct stream *s, ssize_t result)
{
    struct liar *l = CONTAINER_OF(s, struct liar, stream);
    if (result <= 0) {
        stream_close(s, gone);
        return;
    }
    l->in = (struct iovec){l->heard, HEARD_BYTES};
    stream_recv(s, &l->in, 1, heard);
}

static void said(struct stream *s, int result)
{
    (void)result;
    shutdown(s->fd, SHUT_WR);
}

static void arm(void)
{
    io_uring_prep_accept(loop_sqe(fuzz_env()->loop, &accept_op), listener, NULL, NULL, 0);
}

static void accepted(struct loop_op *op, int fd, uint32_t cqe_flags)
{
    (void)op;
    (void)cqe_flags;
    arm();
    struct liar *l = fd >= 0 && liars < CONNECTIONS_MAX ? calloc(1, sizeof *l) : NULL;
    if (!l) {
        if (fd >= 0)
            close(fd);
        return;
    }
    liars++;
    stream_init(&l->stream, fuzz_env()->loop, fd);
    size_t n = lie_bytes < SAID_MAX ? lie_bytes : SAID_MAX;
    memcpy(l->said, lie, n);
    l->out = (struct iovec){l->said, n};
    if (n)
        stream_send(&l->stream, &l->out, 1, said);
    else
        shutdown(fd, SHUT_WR);
    l->in = (struct iovec){l->heard, HEARD_BYTES};
    stream_recv(&l->stream, &l->in, 1, heard);
}

static const char *server_stack(void)
{
    static char path[64], stack[256];
    if (listener < 0) {
        char address[96];
        snprintf(path, sizeof path, "/tmp/drover-fuzz-%d.sock", getpid());
        snprintf(address, sizeof address, "unix:%s", path);
        if (listen_open(address, &listener, 1, NULL) != 1)
            abort();
        snprintf(stack, sizeof stack,
                 "[{\"driver\":\"nbd\",\"uri\":\"nbd+unix:///?socket=%s\",\"reconnect\":0,\"connections\":2}]", path);
        accept_op.done = accepted;
        arm();
    }
    return stack;
}

static unsigned waiting;

static void finished(struct blk_req *req)
{
    (void)req;
    waiting--;
}

static void use(struct blk *blk)
{
    static const enum blk_op ops[REQUESTS] = {BLK_READ, BLK_EXTENTS, BLK_WRITE, BLK_ZERO, BLK_FLUSH, BLK_READ};
    static char data[REQUESTS][4096];
    static struct blk_req requests[REQUESTS];
    static struct iovec iov[REQUESTS];
    static struct blk_extent extents[16];
    for (unsigned i = 0; i < REQUESTS; i++) {
        iov[i] = (struct iovec){data[i], sizeof data[i]};
        requests[i] = (struct blk_req){.op = ops[i],
                                       .length_bytes = ops[i] == BLK_FLUSH ? 0 : sizeof data[i],
                                       .iov = &iov[i],
                                       .iov_count = 1,
                                       .extents = extents,
                                       .extent_max = 16,
                                       .done = finished};
        waiting++;
        blk_submit(blk, &requests[i]);
    }
    while (waiting)
        loop_step(fuzz_env()->loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    struct blk *blk = NULL;
    const char *stack = (fuzz_env(), server_stack());
    lie = data;
    lie_bytes = size;
    if (blk_open(fuzz_env(), stack, 0, &blk, &err) == 0) {
        use(blk);
        blk_close(blk);
    } else if (!*err.text) {
        abort();
    }
    while (liars)
        loop_step(fuzz_env()->loop);
    return 0;
}
