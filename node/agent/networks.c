/* See networks.h. A chore is made of what the mirror says at that moment and owns it all; what changes meanwhile makes
 * the next one, and one that failed is done again. */
#include "node/agent/networks.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/cluster.h"
#include "node/agent/guest_network.h"
#include "node/agent/guest_plan.h"
#include "node/agent/guest_unit.h"
#include "node/agent/guests.h"
#include "node/agent/link.h"
#include "node/agent/member.h"
#include "node/agent/network.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"
#include "node/base/worker.h"

enum { SETTLE_MS = 500, AGAIN_MS = 5000 };

struct networks {
    struct loop *loop;
    struct worker *worker;
    struct cluster *cluster;
    struct guests *guests;
    const struct guest_plan_place *place;
    struct mirror_listener listener;
    struct loop_timer timer;
    struct worker_task task;
    json_t *plans;  /* of the chore: what guest_network_refresh() takes, one for each network that has guests here */
    json_t *wanted; /* of the chore: ids of guests and networks that stay, as keys */
    bool busy, dirty, freed;
    struct err err;
    int rc;
    struct log_limit limit;
};

/* ---- on a worker thread ---- */

static bool keep(enum link_role role, const char *id, unsigned index, void *context)
{
    const struct networks *n = context;
    (void)role;
    (void)index;
    return json_object_get(n->wanted, id);
}

/* What one network lacks keeps nothing from the others; the first error is told. */
static void work(struct worker_task *task)
{
    struct networks *n = CONTAINER_OF(task, struct networks, task);
    n->rc = network_sweep(keep, n, NULL, &n->err);
    for (size_t i = 0; i < json_array_size(n->plans); i++) {
        struct err err = {0};
        int rc = guest_network_refresh(json_array_get(n->plans, i), &err);
        if (rc && !n->rc) {
            n->rc = rc;
            n->err = err;
        }
    }
}

/* ---- the chore ---- */

/* A copy: the worker's references are not counted together with ours. */
static void add_plan(struct networks *n, const struct object *network)
{
    json_t *plan = guest_plan_network(cluster_mirror(n->cluster), network, n->place);
    json_array_append_new(n->plans, json_deep_copy(plan));
    json_decref(plan);
}

/* Whoever runs here keeps its networks; they are brought up to date. */
static void add_guest(struct networks *n, const struct guest_unit *unit)
{
    const struct mirror *m = cluster_mirror(n->cluster);
    const struct object *guest = mirror_find(m, OBJECT_GUEST, guest_unit_id(unit));
    const json_t *cards = guest ? object_spec(guest, "networks") : NULL;
    json_object_set_new(n->wanted, guest_unit_id(unit), json_true());
    for (size_t i = 0; i < json_array_size(cards); i++) {
        const char *name = member_text(json_array_get(cards, i), "network");
        const struct object *network = mirror_named(m, OBJECT_NETWORK, name);
        if (!network || json_object_get(n->wanted, network->id))
            continue;
        json_object_set_new(n->wanted, network->id, json_true());
        if (guest_unit_phase(unit) == GUEST_PHASE_RUNNING)
            add_plan(n, network);
    }
}

static void done(struct worker_task *task);

static void begin(struct networks *n)
{
    n->dirty = false;
    if (!cluster_is_current(n->cluster))
        return;
    n->plans = json_array();
    n->wanted = json_object();
    for (struct guest_unit *u = guests_next(n->guests, NULL); u; u = guests_next(n->guests, u))
        if (guest_unit_phase(u) != GUEST_PHASE_STOPPED)
            add_guest(n, u);
    n->busy = true;
    n->err = (struct err){0};
    n->task = (struct worker_task){.run = work, .done = done};
    worker_submit(n->worker, &n->task);
}

static void drop_chore(struct networks *n)
{
    json_decref(n->plans);
    json_decref(n->wanted);
    n->plans = n->wanted = NULL;
    n->busy = false;
}

static void done(struct worker_task *task)
{
    struct networks *n = CONTAINER_OF(task, struct networks, task);
    drop_chore(n);
    if (n->freed) {
        free(n);
        return;
    }
    if (n->rc)
        log_limited(&n->limit, LOG_LEVEL_WARN, "networks: %s", n->err.text);
    if (n->dirty || n->rc)
        loop_timer_set(n->loop, &n->timer, clock_ns() + (n->dirty ? SETTLE_MS : AGAIN_MS) * 1000000ull);
}

static void timer_fired(struct loop_timer *timer)
{
    struct networks *n = CONTAINER_OF(timer, struct networks, timer);
    if (!n->busy)
        begin(n);
}

/* Nodes that come, go, or have another address; the states of nodes do not matter. */
static void object_changed(struct mirror_listener *listener, const struct object *object, enum object_part part)
{
    struct networks *n = CONTAINER_OF(listener, struct networks, listener);
    bool matters = object->kind == OBJECT_NETWORK || object->kind == OBJECT_NODE || !object->value;
    if (!matters || part != OBJECT_VALUE || n->dirty)
        return;
    n->dirty = true;
    if (!n->busy)
        loop_timer_set(n->loop, &n->timer, clock_ns() + SETTLE_MS * 1000000ull);
}

/* ---- life ---- */

struct networks *networks_new(struct loop *loop, struct worker *worker, struct cluster *cluster,
                              const struct guest_plan_place *place, struct guests *guests, struct err *err)
{
    struct networks *n = calloc(1, sizeof *n);
    if (!n) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    n->loop = loop;
    n->worker = worker;
    n->cluster = cluster;
    n->guests = guests;
    n->place = place;
    n->listener.changed = object_changed;
    n->timer.fire = timer_fired;
    n->limit = (struct log_limit){.burst = 3, .interval_ms = 60000};
    mirror_listen(cluster_mirror(cluster), &n->listener);
    n->dirty = true;
    loop_timer_set(loop, &n->timer, clock_ns() + SETTLE_MS * 1000000ull);
    return n;
}

void networks_free(struct networks *n)
{
    if (!n)
        return;
    mirror_unlisten(&n->listener);
    loop_timer_clear(n->loop, &n->timer);
    n->freed = true;
    if (!n->busy)
        free(n);
}
