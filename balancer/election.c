#include "balancer/election.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/log.h"
#include "node/base/timestamp.h"

static const char key[] = "/drover/state/balancer/leader";

bool election_is_won(const struct election *e)
{
    return e->revision && clock_ns() < e->valid_until_ns;
}

struct store_change election_check(const struct election *e)
{
    return (struct store_change){.kind = STORE_CHECK, .key = key, .expected = e->revision};
}

void election_lost(struct election *e, const char *why)
{
    if (!e->revision)
        return;
    log_warn("this node's balancer is not the elected one any more: %s", why);
    e->revision = 0;
    e->lease_id = 0;
    e->changed(e);
}

static void leave(struct election *e)
{
    void (*gone)(void *context) = e->gone;
    e->gone = NULL;
    if (gone)
        gone(e->gone_context);
}

/* ---- standing for it ---- */

static void revoked(struct store_lease *lease, int result)
{
    struct election *e = CONTAINER_OF(lease, struct election, lease);
    (void)result; /* it would end by itself */
    e->busy = false;
    if (e->resigned)
        leave(e);
}

static void revoke(struct election *e)
{
    e->lease = (struct store_lease){.id = e->lease_id, .done = revoked};
    e->lease_id = 0;
    e->revision = 0;
    e->busy = true;
    store_lease_revoke(e->store, &e->lease);
}

static void put(struct store_commit *commit, int result)
{
    struct election *e = CONTAINER_OF(commit, struct election, commit);
    e->busy = false;
    if (result || e->resigned) {
        if (result != -ESTALE && !e->resigned)
            log_debug("not elected: %s", commit->err.text);
        revoke(e); /* also if it may have been put */
        return;
    }
    e->revision = commit->revision;
    log_info("this node's balancer is elected");
    e->changed(e);
}

static void granted(struct store_lease *lease, int result)
{
    struct election *e = CONTAINER_OF(lease, struct election, lease);
    char at[TIMESTAMP_BYTES];
    e->busy = false;
    if (result) {
        if (e->resigned)
            leave(e);
        return; /* the timer tries again */
    }
    e->lease_id = lease->id;
    e->valid_until_ns = lease->valid_until_ns;
    if (e->resigned) {
        revoke(e);
        return;
    }
    snprintf(e->value, sizeof e->value, "{\"node\":\"%.100s\",\"since\":\"%s\"}", e->node, timestamp(at));
    e->change = (struct store_change){.kind = STORE_PUT,
                                      .key = key,
                                      .value = e->value,
                                      .value_len = strlen(e->value),
                                      .expected = STORE_ABSENT,
                                      .lease = e->lease_id};
    e->commit = (struct store_commit){.changes = &e->change, .count = 1, .done = put};
    e->busy = true;
    store_commit(e->store, &e->commit);
}

static void stand(struct election *e)
{
    e->lease = (struct store_lease){.ttl_ms = ELECTION_TTL_MS, .done = granted};
    e->busy = true;
    store_lease_grant(e->store, &e->lease);
}

/* ---- staying elected ---- */

static void kept(struct store_lease *lease, int result)
{
    struct election *e = CONTAINER_OF(lease, struct election, lease);
    e->busy = false;
    if (e->resigned) {
        revoke(e);
        return;
    }
    if (!result)
        e->valid_until_ns = lease->valid_until_ns;
    else if (result == -ENOENT)
        election_lost(e, "its lease has ended");
}

static void keep(struct election *e)
{
    e->lease = (struct store_lease){.id = e->lease_id, .ttl_ms = ELECTION_TTL_MS, .done = kept};
    e->busy = true;
    store_lease_keep(e->store, &e->lease);
}

static void tick(struct loop_timer *timer)
{
    struct election *e = CONTAINER_OF(timer, struct election, timer);
    if (!e->busy && e->revision)
        keep(e);
    else if (!e->busy && !e->seen)
        stand(e);
    loop_timer_set(e->loop, timer, clock_ns() + ELECTION_TICK_MS * UINT64_C(1000000));
}

void election_saw(struct election *e, int present)
{
    bool was = e->seen;
    e->seen = present != 0;
    if (was && !e->seen && !e->busy && !e->revision)
        stand(e); /* at once */
    if (!present && e->revision && e->valid_until_ns < clock_ns())
        election_lost(e, "its key has gone");
}

/* ---- life ---- */

void election_begin(struct election *e)
{
    e->seen = true; /* until somebody has looked */
    e->timer.fire = tick;
    loop_timer_set(e->loop, &e->timer, clock_ns());
}

void election_resign(struct election *e, void (*gone)(void *context), void *context)
{
    e->resigned = true;
    e->gone = gone;
    e->gone_context = context;
    loop_timer_clear(e->loop, &e->timer);
    if (e->busy)
        return;
    if (e->lease_id)
        revoke(e);
    else
        leave(e);
}
