/* See fault.h.
 *
 *     submit -> rules -> none fires ------------------------------------------> forward
 *                        one fires -> [wait in `waiting` until due] -> torn --> child write, then
 * fail error -> fail else --> forward
 *
 * `waiting` is in the order of the due times (scratch[0]), first come first out among equals, and
 * one timer is set for its head. The rule a waiting request met is in scratch[1]: rules live as
 * long as the layer. */
#include "nbd/fault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nbd/blk_driver.h"
#include "nbd/fault_rule.h"
#include "node/base/container.h"
#include "node/base/err.h"

struct fault_config {
    uint64_t seed;
    const struct json_t *rules;
};

struct fault {
    struct blk *blk;
    struct fault_rules *rules;
    int flush_failed; /* -errno of the flush that was made to fail */
    struct blk_req_list waiting;
    struct loop_timer timer;
};

/* ---- torn writes ---- */

static int cut_vector(struct iovec *cut, const struct blk_req *req, uint64_t length_bytes)
{
    int n = 0;
    for (; n < req->iov_count && length_bytes; n++) {
        cut[n] = req->iov[n];
        if (cut[n].iov_len > length_bytes)
            cut[n].iov_len = length_bytes;
        length_bytes -= cut[n].iov_len;
    }
    return n;
}

static void torn(struct blk_req *child)
{
    struct blk_req *req = child->parent;
    const struct fault_rule *rule = req->scratch[1].ptr;
    free(req->scratch[2].ptr);
    blk_child_put(req->blk, child);
    blk_complete(req, rule->error);
}

static void tear(struct blk *blk, struct blk_req *req, const struct fault_rule *rule)
{
    uint64_t mask = blk_limits(blk)->align_bytes - 1;
    uint64_t length_bytes = (rule->torn_bytes < req->length_bytes ? rule->torn_bytes : req->length_bytes) & ~mask;
    /* an allocation, and no steady state: a tear is rare by nature */
    struct iovec *iov = calloc((size_t)req->iov_count + 1, sizeof *iov);
    if (!length_bytes || !iov) {
        free(iov);
        blk_complete(req, rule->error);
        return;
    }
    struct blk_req *child = blk_child(blk, req);
    req->scratch[2].ptr = iov;
    child->op = BLK_WRITE;
    child->flags = req->flags;
    child->offset = req->offset;
    child->length_bytes = length_bytes;
    child->iov = iov;
    child->iov_count = cut_vector(iov, req, length_bytes);
    child->done = torn;
    blk_submit(blk_below(blk), child);
}

/* ---- acting ---- */

static void act(struct fault *fault, struct blk_req *req, const struct fault_rule *rule)
{
    if (rule->tears) {
        tear(fault->blk, req, rule);
    } else if (rule->error) {
        if (req->op == BLK_FLUSH && rule->error != -ENOTCONN)
            fault->flush_failed = rule->error;
        blk_complete(req, rule->error);
    } else {
        blk_forward(fault->blk, req);
    }
}

static void set_timer(struct fault *fault)
{
    struct blk_req *first = STAILQ_FIRST(&fault->waiting);
    if (first)
        loop_timer_set(blk_environment(fault->blk)->loop, &fault->timer, first->scratch[0].u64);
}

static void due(struct loop_timer *timer)
{
    struct fault *fault = CONTAINER_OF(timer, struct fault, timer);
    uint64_t now_ns = loop_now_ns(blk_environment(fault->blk)->loop);
    struct blk_req_list ready = STAILQ_HEAD_INITIALIZER(ready);
    struct blk_req *req;
    while ((req = STAILQ_FIRST(&fault->waiting)) && req->scratch[0].u64 <= now_ns) {
        STAILQ_REMOVE_HEAD(&fault->waiting, link);
        STAILQ_INSERT_TAIL(&ready, req, link);
    }
    set_timer(fault);
    while ((req = STAILQ_FIRST(&ready))) {
        STAILQ_REMOVE_HEAD(&ready, link);
        act(fault, req, req->scratch[1].ptr);
    }
}

static void hold(struct fault *fault, struct blk_req *req, uint64_t delay_ns)
{
    uint64_t due_ns = loop_now_ns(blk_environment(fault->blk)->loop) + delay_ns;
    struct blk_req *after = NULL, *at;
    req->scratch[0].u64 = due_ns;
    STAILQ_FOREACH (at, &fault->waiting, link) {
        if (at->scratch[0].u64 > due_ns)
            break;
        after = at;
    }
    if (after)
        STAILQ_INSERT_AFTER(&fault->waiting, after, req, link);
    else
        STAILQ_INSERT_HEAD(&fault->waiting, req, link);
    set_timer(fault);
}

static void fault_submit(struct blk *blk, struct blk_req *req)
{
    struct fault *fault = blk_state(blk);
    if (fault->flush_failed && (req->op == BLK_FLUSH || req->flags & BLK_FUA)) {
        blk_complete(req, fault->flush_failed);
        return;
    }
    struct fault_rule *rule = fault_rules_ask(fault->rules, req);
    if (!rule) {
        blk_forward(blk, req);
        return;
    }
    req->scratch[1].ptr = rule;
    if (rule->delay_ns)
        hold(fault, req, rule->delay_ns);
    else
        act(fault, req, rule);
}

static int fault_open(struct blk *blk, const void *config, struct err *err)
{
    const struct fault_config *c = config;
    struct fault *fault = blk_state(blk);
    fault->rules = calloc(1, sizeof *fault->rules);
    if (!fault->rules)
        return err_set(err, ENOMEM, "no memory for rules");
    int rc = fault_rules_parse(c->rules, c->seed, fault->rules, err);
    if (rc) {
        free(fault->rules);
        return rc;
    }
    fault->blk = blk;
    fault->timer.fire = due;
    STAILQ_INIT(&fault->waiting);
    return 0;
}

static void fault_close(struct blk *blk)
{
    struct fault *fault = blk_state(blk);
    free(fault->rules);
}

static const struct blk_option fault_options[] = {
    {.name = "seed",
     .type = BLK_OPTION_UINT,
     .field = offsetof(struct fault_config, seed),
     .help = "what the dice of probability start from"},
    {.name = "rules",
     .type = BLK_OPTION_JSON,
     .field = offsetof(struct fault_config, rules),
     .required = true,
     .help = "array of {op, offset, length, after, count, probability, error, delay, torn}"},
    {.name = NULL},
};

const struct blk_driver fault_driver = {
    .name = "fault",
    .filter = true,
    .options = fault_options,
    .config_bytes = sizeof(struct fault_config),
    .state_bytes = sizeof(struct fault),
    .open = fault_open,
    .close = fault_close,
    .submit = fault_submit,
};
