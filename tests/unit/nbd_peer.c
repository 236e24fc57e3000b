/* See nbd_peer.h. */
#include "tests/unit/nbd_peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/container.h"

int peer_setup(void **state)
{
    struct peer *p = calloc(1, sizeof *p);
    void *f;
    fixture_setup(&f);
    p->f = f;
    p->server = fake_server_new();
    *state = p;
    return 0;
}

int peer_teardown(void **state)
{
    struct peer *p = *state;
    void *f = p->f;
    fixture_teardown(&f);
    fake_server_free(p->server);
    free(p);
    return 0;
}

const char *peer_stack(struct peer *p, const char *options)
{
    snprintf(p->stack, sizeof p->stack, "{\"driver\":\"nbd\",\"uri\":\"nbd+unix:///?socket=%s\"%s%s}", p->server->path,
             *options ? "," : "", options);
    return p->stack;
}

void peer_serve(struct peer *p, const char *options)
{
    fake_server_listen(p->server);
    fixture_open(p->f, peer_stack(p, options), 0);
}

static void pending_done(struct blk_req *req)
{
    CONTAINER_OF(req, struct pending, req)->done = true;
}

void peer_begin(struct peer *p, struct pending *w, enum blk_op op, uint64_t offset, void *data, uint64_t length_bytes)
{
    *w = (struct pending){.iov = {data, length_bytes}};
    w->req = (struct blk_req){
        .op = op, .offset = offset, .length_bytes = length_bytes, .iov = &w->iov, .iov_count = 1, .done = pending_done};
    blk_submit(p->f->blk, &w->req);
}

int peer_end(struct peer *p, struct pending *w)
{
    while (!w->done)
        loop_step(p->f->env.loop);
    return w->req.result;
}

int peer_write(struct peer *p, uint64_t offset, int byte, uint32_t flags)
{
    static char b[4 * KIB];
    memset(b, byte, sizeof b);
    return fixture_io(p->f, BLK_WRITE, flags, offset, b, sizeof b);
}

void peer_assert_reads(struct peer *p, uint64_t offset, int byte)
{
    static char b[4 * KIB], want[4 * KIB];
    memset(want, byte, sizeof want);
    assert_int_equal(fixture_io(p->f, BLK_READ, 0, offset, b, sizeof b), 0);
    assert_memory_equal(b, want, sizeof b);
}

int peer_flush(struct peer *p)
{
    return fixture_io(p->f, BLK_FLUSH, 0, 0, NULL, 0);
}

struct stopwatch {
    struct loop_timer timer;
    bool over;
};

static void stop_watch(struct loop_timer *timer)
{
    CONTAINER_OF(timer, struct stopwatch, timer)->over = true;
}

void peer_turn(struct peer *p, unsigned ms)
{
    struct stopwatch watch = {.timer.fire = stop_watch};
    loop_timer_set(p->f->env.loop, &watch.timer, loop_now_ns(p->f->env.loop) + ms * UINT64_C(1000000));
    while (!watch.over)
        loop_step(p->f->env.loop);
}
