/* The end of it, part by part: the later ones may need what is closed last. */
#include <stdbool.h>
#include <unistd.h>

#include "node/agent/agent_inside.h"
#include "node/agent/api.h"
#include "node/agent/audit.h"
#include "node/agent/balance_moves.h"
#include "node/agent/balance_routes.h"
#include "node/agent/balancer_unit.h"
#include "node/agent/boot_copies.h"
#include "node/agent/cgroup.h"
#include "node/agent/cluster.h"
#include "node/agent/consoles.h"
#include "node/agent/drain.h"
#include "node/agent/drill_routes.h"
#include "node/agent/drills.h"
#include "node/agent/events.h"
#include "node/agent/failover_routes.h"
#include "node/agent/failovers.h"
#include "node/agent/failsafe.h"
#include "node/agent/forecasts.h"
#include "node/agent/give_aways.h"
#include "node/agent/guests.h"
#include "node/agent/homes.h"
#include "node/agent/http_server.h"
#include "node/agent/identity.h"
#include "node/agent/images.h"
#include "node/agent/load.h"
#include "node/agent/measured.h"
#include "node/agent/membership.h"
#include "node/agent/metrics.h"
#include "node/agent/migration_request.h"
#include "node/agent/migrations.h"
#include "node/agent/networks.h"
#include "node/agent/objects.h"
#include "node/agent/pool_room.h"
#include "node/agent/presence.h"
#include "node/agent/refusals.h"
#include "node/agent/renewal.h"
#include "node/agent/report.h"
#include "node/agent/room_turn.h"
#include "node/agent/service.h"
#include "node/agent/tasks.h"
#include "node/agent/token.h"
#include "node/agent/tokens.h"
#include "node/agent/volume_moves.h"
#include "node/agent/volumes.h"
#include "node/base/container.h"
#include "node/base/loop.h"
#include "node/base/store.h"
#include "node/base/tls.h"
#include "node/base/worker.h"

enum { LAST_TURNS = 200, LAST_TURN_MS = 20 };

static void http_was_closed(void *context)
{
    ((struct agent *)context)->http_closed = true;
}

static void cluster_was_closed(void *context)
{
    ((struct agent *)context)->cluster_closed = true;
}

static void store_was_closed(void *context)
{
    ((struct agent *)context)->store_closed = true;
}

struct last_turn {
    struct loop_timer timer;
    bool over;
};

static void turn_over(struct loop_timer *timer)
{
    CONTAINER_OF(timer, struct last_turn, timer)->over = true;
}

/* Turns of the loop until that is so, or a while has passed. */
static void turn_until(struct agent *a, bool (*so)(const struct agent *a))
{
    for (unsigned i = 0; i < LAST_TURNS && !so(a); i++) {
        struct last_turn turn = {.timer.fire = turn_over};
        loop_timer_set(a->loop, &turn.timer, loop_now_ns(a->loop) + LAST_TURN_MS * 1000000ull);
        while (!turn.over && !so(a))
            loop_step(a->loop);
        loop_timer_clear(a->loop, &turn.timer);
    }
}

static bool api_is_quiet(const struct agent *a)
{
    return !a->http || a->http_closed;
}

static void failsafe_was_closed(void *context)
{
    ((struct agent *)context)->failsafe_closed = true;
}

static void forecasts_were_closed(void *context)
{
    ((struct agent *)context)->forecasts_closed = true;
}

static bool has_foretold(const struct agent *a)
{
    return !a->forecasts || a->forecasts_closed;
}

static bool has_failed_over(const struct agent *a)
{
    return (!a->failsafe || a->failsafe_closed) && (!a->failovers || !failovers_busy(a->failovers)) &&
           !give_aways_busy(a->give_aways) && (!a->power_watch || !power_watch_busy(a->power_watch));
}

static bool has_drilled(const struct agent *a)
{
    return !drills_busy(a->drills);
}

static bool has_stopped_balancing(const struct agent *a)
{
    return !a->balancer || !balancer_unit_busy(a->balancer);
}

static void renewal_was_closed(void *context)
{
    ((struct agent *)context)->renewal_closed = true;
}

static bool has_renewed(const struct agent *a)
{
    return !a->renewal || a->renewal_closed;
}

static bool has_left(const struct agent *a)
{
    return (!a->presence || !presence_busy(a->presence)) && (!a->report || !report_busy(a->report));
}

static bool cluster_is_closed(const struct agent *a)
{
    return !a->cluster || a->cluster_closed;
}

static bool store_is_closed(const struct agent *a)
{
    return !a->store || a->store_closed;
}

static bool is_idle(const struct agent *a)
{
    return !loop_in_flight(a->loop);
}

static void close_parts(struct agent *a)
{
    service_watch_end(&a->service_watch);
    identity_close(&a->identity);
    if (a->http)
        http_server_close(a->http, http_was_closed, a);
    turn_until(a, api_is_quiet);
    if (a->room_turns)
        room_turns_end(a->room_turns);
    if (a->forecasts)
        forecasts_close(a->forecasts, forecasts_were_closed, a);
    turn_until(a, has_foretold);
    if (a->presence)
        presence_listen(a->presence, NULL, NULL);
    if (a->power_watch)
        power_watch_stop(a->power_watch);
    if (a->failsafe)
        failsafe_close(a->failsafe, failsafe_was_closed, a);
    turn_until(a, has_failed_over);
    a->bound = a->guests && guests_are_bound(a->guests);
    drills_stop(a->drills);
    turn_until(a, has_drilled);
    if (a->balancer)
        balancer_unit_end(a->balancer);
    turn_until(a, has_stopped_balancing);
    balancer_unit_free(a->balancer);
    balance_moves_free(a->balance_moves);
    load_free(a->load);
    tasks_free(a->tasks);
    drain_free(a->drain);
    migrations_free(a->migrations);
    boot_copies_free(a->boot_copies);
    networks_free(a->networks);
    guests_free(a->guests);
    volume_moves_free(a->volume_moves);
    homes_free(a->homes);
    pool_room_free(a->pool_room);
    volumes_free(a->volumes);
    images_free(a->images);
    if (a->report)
        report_stop(a->report);
    if (a->presence && a->bound)
        presence_stay(a->presence); /* they run on under it, until the next agent renews it */
    else if (a->presence)
        presence_leave(a->presence);
    turn_until(a, has_left);
    refusals_free(a->refusals);
    if (a->renewal)
        renewal_close(a->renewal, renewal_was_closed, a);
    turn_until(a, has_renewed);
    if (a->cluster)
        cluster_close(a->cluster, cluster_was_closed, a);
    turn_until(a, cluster_is_closed);
    if (a->store)
        store_close(a->store, store_was_closed, a);
    turn_until(a, store_is_closed);
    loop_cancel(a->loop, &a->signal_op);
    turn_until(a, is_idle);
}

void agent_close(struct agent *a)
{
    if (!a->loop)
        return;
    close_parts(a);
    http_server_free(a->http);
    balance_routes_free(a->balance_routes);
    migration_requests_free(a->migration_requests);
    drill_routes_free(a->drill_routes);
    if (!drills_busy(a->drills))
        drills_free(a->drills);
    objects_free(a->objects);
    room_turns_free(a->room_turns);
    failover_routes_free(a->failover_routes);
    if (!give_aways_busy(a->give_aways))
        give_aways_free(a->give_aways);
    if (!a->failovers || !failovers_busy(a->failovers))
        failovers_free(a->failovers);
    if (!a->power_watch || !power_watch_busy(a->power_watch))
        power_watch_free(a->power_watch);
    metrics_free(a->metrics);
    consoles_free(a->consoles);
    events_free(a->events);
    membership_free(a->membership);
    tokens_free(a->token_keeper);
    api_free(a->api);
    token_table_free(a->tokens);
    audit_free(a->audit);
    tls_context_free(a->tls);
    presence_free(a->presence);
    report_free(a->report);
    measured_free(a->measured);
    cluster_free(a->cluster);
    worker_free(a->worker);
    cgroups_remove(&a->cgroups, NULL); /* stays while a guest or a server is in it */
    if (a->signal_fd >= 0)
        close(a->signal_fd);
    loop_free(a->loop);
}
