#include "node/agent/presence.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <time.h>

#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/processor.h"
#include "node/agent/renewal.h"
#include "node/agent/tenure.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"
#include "node/base/store.h"

enum {
    ALONE_TTL_MS = 9000,
    ALONE_KEEP_MS = 3000,
    RETRY_MS = 500,
    REFRESH_MS = 30000, /* of the state's figures */
    KEEPS_MAX = 8,      /* renewals on their way */
    TEXT_MAX = 128
};

/* A renewal on its way. */
struct keep {
    struct presence *presence;
    struct store_lease lease;
    uint64_t sent_ns; /* CLOCK_BOOTTIME */
    bool busy;
};

struct presence {
    struct loop *loop;
    struct cluster *cluster;
    char id[TEXT_MAX], address[TEXT_MAX], api[TEXT_MAX], version[TEXT_MAX], instance[TEXT_MAX];
    time_t started;
    bool shared;
    const struct renewal *renewal;
    struct store_lease lease; /* the one that is granted, or given back */
    int64_t lease_id;
    uint64_t lease_sent_ns; /* of its newest renewal that was answered */
    struct keep keeps[KEEPS_MAX];
    struct tenure tenure;
    void (*tick)(void *context);
    void *tick_context;
    struct loop_timer timer, keep_timer; /* of the steps; of renewals */
    enum { STEP_OBJECT, STEP_GRANT, STEP_STATE, STEP_KEPT } step;
    bool busy, fresh, leaving; /* fresh: the state is the first one of its lease */
    json_t *said, *told;       /* presence_say(): as it is, and as it was written last */
    struct log_limit limit;
};

static void next(struct presence *p, uint64_t ms)
{
    if (!p->leaving)
        loop_timer_set(p->loop, &p->timer, clock_ns() + ms * 1000000);
}

static void tell(struct presence *p)
{
    if (p->tick && !p->leaving)
        p->tick(p->tick_context);
}

static void trouble(struct presence *p, const struct err *err)
{
    log_limited(&p->limit, LOG_LEVEL_WARN, "this node is not in the cluster at the moment: %s", err->text);
    next(p, RETRY_MS);
}

/* ---- the object ---- */

static void object_written(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct presence *p = context;
    (void)revision;
    p->busy = false;
    if (rc && rc != -ESTALE) {
        trouble(p, err);
        return;
    }
    /* Somebody else's change is looked at again; but if nobody has this name, it is the identity that is taken. */
    if (rc && !mirror_named(cluster_mirror(p->cluster), OBJECT_NODE, cluster_node(p->cluster))) {
        struct err removed;
        err_set(&removed, EPERM,
                "it was removed (`drover node remove`): to use it again, remove its state (/var/lib/drover) and let it "
                "join");
        trouble(p, &removed);
        return;
    }
    next(p, rc ? RETRY_MS : 0);
}

/* A node has two names, its own and its identity, for as long as the cluster lasts: whoever removes it frees the first
 * one only, so that one that was removed does not come back by itself. */
static void write_object(struct presence *p)
{
    const char *name = cluster_node(p->cluster);
    const struct object *o = mirror_named(cluster_mirror(p->cluster), OBJECT_NODE, name);
    if (o && strcmp(o->id, p->id)) {
        struct err err;
        err_set(&err, EEXIST, "another node is called %s: give this one a name of its own", name);
        trouble(p, &err);
        return;
    }
    const char *key = p->renewal ? renewal_key(p->renewal) : "";
    if (o && !strcmp(object_spec_text(o, "address"), p->address) &&
        (!*key || !strcmp(object_spec_text(o, "key"), key))) {
        p->step = STEP_GRANT;
        next(p, 0);
        return;
    }
    struct change *change = change_new(p->cluster);
    json_t *value =
        o ? json_deep_copy(o->value)
          : json_pack("{s:s, s:s, s:s, s:{s:b}}", "kind", "node", "id", p->id, "name", name, "spec", "drained", 0);
    if (!change || !value) {
        change_drop(change);
        json_decref(value);
        next(p, RETRY_MS);
        return;
    }
    json_object_set_new(json_object_get(value, "spec"), "address", json_string(p->address));
    if (*key)
        json_object_set_new(json_object_get(value, "spec"), "key", json_string(key));
    change_put(change, OBJECT_NODE, p->id, value, o ? o->revision : 0);
    if (!o) {
        change_take_name(change, OBJECT_NODE, name, p->id);
        change_take_name(change, OBJECT_NODE, p->id, p->id);
    }
    p->busy = true;
    change_commit(change, object_written, p);
}

/* ---- the state ---- */

static void state_written(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct presence *p = context;
    (void)revision; /* the mirror shows it: also whether somebody has taken a guest over before */
    p->busy = false;
    if (rc == -ENOENT) {
        p->step = STEP_GRANT;
        p->lease_id = 0;
    }
    if (rc == -ESTALE) { /* what was there is seen in a moment */
        next(p, RETRY_MS);
        return;
    }
    if (rc) {
        trouble(p, err);
        return;
    }
    if (p->fresh && p->lease_id) {
        p->fresh = false;
        tenure_begin(&p->tenure, p->lease_sent_ns, clock_boot_ns());
        tell(p);
    }
    if (p->step == STEP_STATE)
        p->step = STEP_KEPT;
    next(p, p->step == STEP_KEPT && json_equal(p->said, p->told) ? REFRESH_MS : 0);
}

static void write_state(struct presence *p)
{
    struct sysinfo info;
    struct change *change = change_new(p->cluster);
    sysinfo(&info);
    json_t *state = json_pack("{s:b, s:s, s:s, s:s, s:I, s:i, s:I, s:I, s:f}", "alive", 1, "version", p->version,
                              "instance", p->instance, "api", p->api, "started_s", (json_int_t)p->started, "cpus",
                              get_nprocs(), "memory_bytes", (json_int_t)info.totalram * info.mem_unit, "free_bytes",
                              (json_int_t)(info.freeram + info.bufferram) * info.mem_unit, "load",
                              (double)(info.loads[0] * 100 / (1 << SI_LOAD_SHIFT)) / 100);
    json_object_set_new(state, "cpu_models", processor_models_here());
    if (p->renewal) {
        json_object_set_new(state, "certificate_end_s", json_integer(renewal_end_s(p->renewal)));
        json_object_set_new(state, "authority", json_boolean(renewal_is_authority(p->renewal)));
    }
    json_object_update(state, p->said);
    if (!change) {
        json_decref(state);
        next(p, RETRY_MS);
        return;
    }
    json_decref(p->told);
    p->told = json_copy(p->said);
    /* Over what is seen only: what an agent before this one had under way may come late, and would tie the node to a
     * lease that nobody keeps. */
    const struct object *o = mirror_find(cluster_mirror(p->cluster), OBJECT_NODE, p->id);
    change_put_state_leased(change, OBJECT_NODE, p->id, state,
                            o && o->state ? (int64_t)o->state_revision : STORE_ABSENT, p->lease_id);
    p->busy = true;
    change_commit(change, state_written, p);
}

/* ---- the lease ---- */

static uint32_t ttl_ms(const struct presence *p)
{
    return p->shared ? TENURE_TTL_MS : ALONE_TTL_MS;
}

static void granted(struct store_lease *lease, int result)
{
    struct presence *p = CONTAINER_OF(lease, struct presence, lease);
    p->busy = false;
    if (result) {
        trouble(p, &lease->err);
        return;
    }
    p->lease_id = lease->id;
    p->fresh = true;
    p->step = STEP_STATE;
    loop_timer_set(p->loop, &p->keep_timer, clock_ns());
    next(p, 0);
}

static void ask_lease(struct presence *p)
{
    p->lease = (struct store_lease){.ttl_ms = ttl_ms(p), .done = granted};
    p->lease_sent_ns = clock_boot_ns();
    p->busy = true;
    store_lease_grant(cluster_store(p->cluster), &p->lease);
}

static void lose_lease(struct presence *p)
{
    log_warn("this node was away too long, and comes back");
    p->lease_id = 0;
    tenure_lost(&p->tenure);
    p->step = STEP_GRANT;
    if (!p->busy)
        next(p, 0);
    tell(p);
}

static void kept(struct store_lease *lease, int result)
{
    struct keep *k = CONTAINER_OF(lease, struct keep, lease);
    struct presence *p = k->presence;
    k->busy = false;
    if (p->leaving || lease->id != p->lease_id)
        return; /* of one that is over */
    if (result == -ENOENT) {
        lose_lease(p);
    } else if (result) {
        log_limited(&p->limit, LOG_LEVEL_WARN, "this node's lease was not renewed: %s", lease->err.text);
    } else {
        if (k->sent_ns > p->lease_sent_ns)
            p->lease_sent_ns = k->sent_ns;
        tenure_kept(&p->tenure, k->sent_ns, clock_boot_ns()); /* nothing before the state is there */
        tell(p);
    }
}

/* Somebody has taken the state out of the store although its lease lives: others count this node as lost, so it does.
 */
static void renew_state(struct presence *p)
{
    const struct object *o = mirror_find(cluster_mirror(p->cluster), OBJECT_NODE, p->id);
    if (!p->tenure.held || p->busy || p->step != STEP_KEPT || !cluster_is_current(p->cluster) || (o && o->state))
        return;
    log_warn("this node's state has gone from the store, and is written again");
    tenure_lost(&p->tenure);
    p->fresh = true;
    p->step = STEP_STATE;
    next(p, 0);
}

static void keep_lease(struct loop_timer *timer)
{
    struct presence *p = CONTAINER_OF(timer, struct presence, keep_timer);
    struct keep *k = p->keeps;
    if (p->leaving)
        return;
    renew_state(p);
    while (k < p->keeps + KEEPS_MAX && k->busy)
        k++;
    if (p->lease_id && k < p->keeps + KEEPS_MAX) {
        *k = (struct keep){.presence = p,
                           .sent_ns = clock_boot_ns(),
                           .busy = true,
                           .lease = {.id = p->lease_id, .ttl_ms = ttl_ms(p), .done = kept}};
        store_lease_keep(cluster_store(p->cluster), &k->lease);
    }
    loop_timer_set(p->loop, timer, clock_ns() + (p->shared ? TENURE_KEEP_MS : ALONE_KEEP_MS) * UINT64_C(1000000));
    tell(p);
}

static void timer_fired(struct loop_timer *timer)
{
    struct presence *p = CONTAINER_OF(timer, struct presence, timer);
    if (p->busy || p->leaving)
        return;
    switch (p->step) {
    case STEP_OBJECT:
        write_object(p);
        break;
    case STEP_GRANT:
        ask_lease(p);
        break;
    case STEP_STATE:
    case STEP_KEPT:
        write_state(p);
        break;
    }
}

/* ---- what others see ---- */

bool presence_is_alive(const struct object *node)
{
    return node && json_is_true(json_object_get(node->state, "alive"));
}

bool presence_takes_guests(const struct object *node)
{
    return presence_is_alive(node) && !json_is_true(object_spec(node, "drained"));
}

/* ---- life ---- */

struct presence *presence_new(struct loop *loop, struct cluster *cluster, const struct presence_config *config)
{
    struct presence *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->said = json_object();
    p->told = json_object();
    p->loop = loop;
    p->cluster = cluster;
    p->started = time(NULL);
    snprintf(p->id, sizeof p->id, "%s", config->id);
    snprintf(p->address, sizeof p->address, "%s", config->address);
    snprintf(p->api, sizeof p->api, "%s", config->api);
    snprintf(p->version, sizeof p->version, "%s", config->version);
    snprintf(p->instance, sizeof p->instance, "%s", config->instance);
    p->shared = config->shared;
    p->renewal = config->renewal;
    p->timer.fire = timer_fired;
    p->keep_timer.fire = keep_lease;
    p->limit = (struct log_limit){.burst = 2, .interval_ms = 60000};
    next(p, 0);
    return p;
}

void presence_refresh(struct presence *p)
{
    if (p->step == STEP_KEPT && !p->busy)
        next(p, 0);
}

void presence_say(struct presence *p, const char *key, json_t *value)
{
    if (json_array_size(value) || json_object_size(value)) {
        json_object_set_new(p->said, key, value);
    } else {
        json_object_del(p->said, key);
        json_decref(value);
    }
    if (!json_equal(p->said, p->told))
        presence_refresh(p);
}

static void revoked(struct store_lease *lease, int result)
{
    struct presence *p = CONTAINER_OF(lease, struct presence, lease);
    (void)result; /* it would end by itself */
    p->busy = false;
}

const struct tenure *presence_tenure(const struct presence *p)
{
    return &p->tenure;
}

struct tenure *presence_tenure_of(struct presence *p)
{
    return &p->tenure;
}

void presence_listen(struct presence *p, void (*tick)(void *context), void *context)
{
    p->tick = tick;
    p->tick_context = context;
}

int64_t presence_lease(const struct presence *p)
{
    return p->step == STEP_KEPT && !p->leaving ? p->lease_id : 0;
}

uint64_t presence_lease_age_ms(const struct presence *p)
{
    return p->tenure.kept_ns ? (clock_boot_ns() - p->tenure.kept_ns) / 1000000 : 0;
}

void presence_stay(struct presence *p)
{
    p->leaving = true;
    loop_timer_clear(p->loop, &p->timer);
    loop_timer_clear(p->loop, &p->keep_timer);
}

void presence_leave(struct presence *p)
{
    presence_stay(p);
    if (p->busy || !p->lease_id)
        return;
    p->lease = (struct store_lease){.id = p->lease_id, .done = revoked};
    p->busy = true;
    store_lease_revoke(cluster_store(p->cluster), &p->lease);
}

bool presence_busy(const struct presence *p)
{
    bool busy = p->busy;
    for (unsigned i = 0; i < KEEPS_MAX; i++)
        busy |= p->keeps[i].busy;
    return busy;
}

void presence_free(struct presence *p)
{
    if (p) {
        json_decref(p->said);
        json_decref(p->told);
    }
    free(p);
}
