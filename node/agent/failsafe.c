#include "node/agent/failsafe.h"

#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/cluster.h"
#include "node/agent/failover.h"
#include "node/agent/member.h"
#include "node/agent/peer_client.h"
#include "node/agent/tenure.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/http_client.h"
#include "node/base/log.h"

enum { ANSWER_MAX = 16 << 10, TIMEOUT_MS = 1500, URL_MAX = 400 };

struct question {
    struct failsafe *failsafe;
    struct http_client_request request;
    char url[URL_MAX], name[64];
    bool busy;
};

struct failsafe {
    struct cluster *cluster;
    struct tenure *tenure;
    void (*moved)(void *context);
    void *context;
    struct http_client *client;
    struct question questions[FAILOVER_NODES_MAX];
    unsigned asked, pledged, waiting; /* of this round */
    uint64_t asked_ns;
    bool on;
    char why[256]; /* the round before came to nothing */
    struct log_limit limit;
    void (*closed)(void *context);
    void *closed_context;
};

/* ---- a round ---- */

static void end_round(struct failsafe *f)
{
    uint64_t now = clock_boot_ns();
    bool good = f->pledged == f->asked && tenure_extend(f->tenure, f->asked_ns, now);
    if (good && !f->on)
        log_warn("the store answers nobody: all %u other nodes pledge to take nothing over, so guests run on",
                 f->asked);
    if (!good)
        log_limited(&f->limit, LOG_LEVEL_WARN, "the store does not answer, and protected guests will be frozen: %s",
                    f->pledged == f->asked ? "it is too late for pledges" : f->why);
    f->on = good;
    if (good)
        f->moved(f->context);
}

static void answered(struct http_client_request *request, int result)
{
    struct question *q = CONTAINER_OF(request, struct question, request);
    struct failsafe *f = q->failsafe;
    json_t *body = !result && request->status == 200 ? json_loadb(request->answer, request->answer_len, 0, NULL) : NULL;
    bool pledged = json_is_true(json_object_get(body, "pledged"));
    if (!body)
        snprintf(f->why, sizeof f->why, "node %s does not say whether the store answers it: %.100s", q->name,
                 result ? request->err.text : "it refuses to");
    else if (!pledged)
        snprintf(f->why, sizeof f->why, "the store answers node %s", q->name);
    json_decref(body);
    q->busy = false;
    f->pledged += pledged;
    if (!--f->waiting && !f->closed)
        end_round(f);
}

static void ask(struct failsafe *f, struct question *q, const struct object *node, const char *api)
{
    *q = (struct question){.failsafe = f, .busy = true};
    snprintf(q->url, sizeof q->url, "%s/v1/ha/pledge", api);
    snprintf(q->name, sizeof q->name, "%s", node->name);
    q->request = (struct http_client_request){.method = "POST",
                                              .url = q->url,
                                              .answer_max = ANSWER_MAX,
                                              .connect_ms = TIMEOUT_MS,
                                              .timeout_ms = TIMEOUT_MS,
                                              .done = answered};
    f->waiting++;
    http_client_send(f->client, &q->request);
}

static void begin_round(struct failsafe *f, uint64_t now)
{
    const struct mirror *m = cluster_mirror(f->cluster);
    struct question *q = f->questions;
    f->asked_ns = now;
    f->asked = f->pledged = 0;
    for (const struct object *n = mirror_next(m, OBJECT_NODE, NULL); n; n = mirror_next(m, OBJECT_NODE, n->name)) {
        const char *api = member_text(n->state, "api");
        if (!strcmp(n->name, cluster_node(f->cluster)))
            continue;
        f->asked++;
        if (*api && f->client && q < f->questions + FAILOVER_NODES_MAX)
            ask(f, q++, n, api);
        else
            snprintf(f->why, sizeof f->why, "node %.60s was away before, and cannot be asked", n->name);
    }
    if (!f->waiting)
        end_round(f);
}

void failsafe_tick(struct failsafe *f)
{
    uint64_t now = clock_boot_ns();
    if (!tenure_asks(f->tenure, now)) {
        if (f->on && now < f->tenure->kept_ns + TENURE_ASK_MS * UINT64_C(1000000))
            log_info("the store answers again");
        f->on = f->on && now >= f->tenure->kept_ns + TENURE_ASK_MS * UINT64_C(1000000);
        return;
    }
    if (!f->waiting && !f->closed && now - f->asked_ns >= TENURE_ASK_EVERY_MS * UINT64_C(1000000))
        begin_round(f, now);
}

bool failsafe_is_on(const struct failsafe *f)
{
    return f->on;
}

/* ---- life ---- */

struct failsafe *failsafe_new(struct loop *loop, struct cluster *cluster, struct tenure *tenure, const char *tls,
                              void (*moved)(void *context), void *context, struct err *err)
{
    struct failsafe *f = calloc(1, sizeof *f);
    if (!f) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    f->cluster = cluster;
    f->tenure = tenure;
    f->moved = moved;
    f->context = context;
    f->limit = (struct log_limit){.burst = 2, .interval_ms = 30000};
    if (tls && !(f->client = peer_client_new(loop, tls, err))) {
        free(f);
        return NULL;
    }
    return f;
}

static void client_closed(void *context)
{
    struct failsafe *f = context;
    void (*closed)(void *) = f->closed;
    void *closed_context = f->closed_context;
    free(f);
    closed(closed_context);
}

void failsafe_close(struct failsafe *f, void (*closed)(void *context), void *context)
{
    f->closed = closed;
    f->closed_context = context;
    if (f->client)
        http_client_close(f->client, client_closed, f);
    else
        client_closed(f);
}
