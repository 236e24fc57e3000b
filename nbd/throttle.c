/* See throttle.h. */
#include "nbd/throttle.h"

#include <errno.h>

#include "nbd/blk_driver.h"
#include "nbd/bucket.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { BURSTS_PER_SECOND = 10 };

struct throttle_config {
    uint64_t iops, bps, iops_burst, bps_burst;
};

struct throttle {
    struct blk *blk;
    struct bucket ops, bytes;
    uint64_t bytes_burst;
    struct blk_req_list queue;
    struct loop_timer timer;
};

static bool costs(const struct blk_req *req)
{
    return req->op == BLK_READ || req->op == BLK_WRITE || req->op == BLK_ZERO || req->op == BLK_TRIM;
}

static uint64_t cost_bytes(const struct throttle *t, const struct blk_req *req)
{
    bool moves_data = req->op == BLK_READ || req->op == BLK_WRITE;
    if (!costs(req))
        return 0;
    return moves_data || req->length_bytes < t->bytes_burst ? req->length_bytes : t->bytes_burst;
}

static uint64_t ready_ns(const struct throttle *t, const struct blk_req *req)
{
    uint64_t ops = bucket_ready_ns(&t->ops, costs(req));
    uint64_t bytes = bucket_ready_ns(&t->bytes, cost_bytes(t, req));
    return ops > bytes ? ops : bytes;
}

/* Lets out what may go, in order, and sets the timer for the first that may not. */
static void release(struct throttle *t)
{
    struct loop *loop = blk_environment(t->blk)->loop;
    uint64_t now_ns = loop_now_ns(loop);
    struct blk_req *req;
    while ((req = STAILQ_FIRST(&t->queue)) && ready_ns(t, req) <= now_ns) {
        STAILQ_REMOVE_HEAD(&t->queue, link);
        if (costs(req)) {
            bucket_take(&t->ops, 1, now_ns);
            bucket_take(&t->bytes, cost_bytes(t, req), now_ns);
        }
        blk_forward(t->blk, req);
    }
    if (req)
        loop_timer_set(loop, &t->timer, ready_ns(t, req));
}

static void due(struct loop_timer *timer)
{
    release(CONTAINER_OF(timer, struct throttle, timer));
}

static void throttle_submit(struct blk *blk, struct blk_req *req)
{
    struct throttle *t = blk_state(blk);
    bool waiting = !STAILQ_EMPTY(&t->queue);
    STAILQ_INSERT_TAIL(&t->queue, req, link);
    if (!waiting)
        release(t);
}

static uint64_t burst_of(uint64_t given, uint64_t rate)
{
    if (given)
        return given;
    return rate > BURSTS_PER_SECOND ? rate / BURSTS_PER_SECOND : 1;
}

static int throttle_open(struct blk *blk, const void *config, struct err *err)
{
    const struct throttle_config *c = config;
    struct throttle *t = blk_state(blk);
    uint64_t now_ns = loop_now_ns(blk_environment(blk)->loop);
    if (!c->iops && !c->bps)
        return err_set(err, EINVAL, "limits nothing: give iops, bps or both, at least 1");
    if (c->iops_burst && !c->iops)
        return err_set(err, EINVAL, "iops-burst needs iops");
    if (c->bps_burst && !c->bps)
        return err_set(err, EINVAL, "bps-burst needs bps");
    t->blk = blk;
    t->bytes_burst = c->bps ? burst_of(c->bps_burst, c->bps) : UINT64_MAX;
    t->ops = bucket_of(c->iops, burst_of(c->iops_burst, c->iops), now_ns);
    t->bytes = bucket_of(c->bps, t->bytes_burst, now_ns);
    t->timer.fire = due;
    STAILQ_INIT(&t->queue);
    return 0;
}

static void throttle_close(struct blk *blk)
{
    (void)blk; /* nothing is in flight, so nothing waits and no timer is set */
}

static const struct blk_option throttle_options[] = {
    {.name = "iops",
     .type = BLK_OPTION_UINT,
     .field = offsetof(struct throttle_config, iops),
     .help = "operations a second"},
    {.name = "bps",
     .type = BLK_OPTION_SIZE,
     .field = offsetof(struct throttle_config, bps),
     .help = "bytes a second, as in 50M"},
    {.name = "iops-burst",
     .type = BLK_OPTION_UINT,
     .field = offsetof(struct throttle_config, iops_burst),
     .help = "operations at once after a pause"},
    {.name = "bps-burst",
     .type = BLK_OPTION_SIZE,
     .field = offsetof(struct throttle_config, bps_burst),
     .help = "bytes at once after a pause, as in 10M"},
    {.name = NULL},
};

const struct blk_driver throttle_driver = {
    .name = "throttle",
    .filter = true,
    .options = throttle_options,
    .config_bytes = sizeof(struct throttle_config),
    .state_bytes = sizeof(struct throttle),
    .open = throttle_open,
    .close = throttle_close,
    .submit = throttle_submit,
};
