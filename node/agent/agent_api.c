/* The API: what answers, the sockets, and the certificates. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "node/agent/agent_inside.h"
#include "node/agent/api.h"
#include "node/agent/audit.h"
#include "node/agent/balance_routes.h"
#include "node/agent/balancer_unit.h"
#include "node/agent/cluster.h"
#include "node/agent/consoles.h"
#include "node/agent/drill_routes.h"
#include "node/agent/events.h"
#include "node/agent/failover_routes.h"
#include "node/agent/forecasts.h"
#include "node/agent/http_server.h"
#include "node/agent/membership.h"
#include "node/agent/metrics.h"
#include "node/agent/migration_request.h"
#include "node/agent/object_create.h"
#include "node/agent/objects.h"
#include "node/agent/presence.h"
#include "node/agent/refusals.h"
#include "node/agent/renewal.h"
#include "node/agent/room_turn.h"
#include "node/agent/tasks.h"
#include "node/agent/token.h"
#include "node/agent/tokens.h"
#include "node/agent/volume_move_request.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/tls.h"

/* A node whose certificate is good and whose object is there. */
static bool is_member(void *context, const char *name)
{
    struct agent *a = context;
    return mirror_named(cluster_mirror(a->cluster), OBJECT_NODE, name);
}

static void requested(void *context, struct http_request *request)
{
    api_request(((struct agent *)context)->api, request);
}

static bool may_send(void *context, const struct http_request *request)
{
    return api_may_send(((struct agent *)context)->api, request);
}

static struct tls_context *open_credentials(const struct agent *a, struct err *err)
{
    struct tls_context *tls = tls_context_x509(TLS_SERVER, a->tls_dir, true, err);
    if (tls)
        tls_context_peer_optional(tls); /* nodes show one, people have tokens */
    return tls;
}

/* The node has a new certificate, or refuses another key. What dials reads the files for each connection. */
static void renewed(void *context)
{
    struct agent *a = context;
    struct err err = {0};
    struct tls_context *tls = a->tls ? open_credentials(a, &err) : NULL;
    if (tls) {
        http_server_credentials(a->http, tls);
        tls_context_free(a->tls);
        a->tls = tls;
    } else if (a->tls) {
        log_warn("the API goes on with the old certificate: %s", err.text);
    }
    export_place_renewed(&a->export_place);
    if (a->balancer)
        balancer_unit_renew(a->balancer);
    presence_refresh(a->presence);
}

int agent_api_renewal(struct agent *a, struct err *err)
{
    const struct renewal_place place = {.loop = a->loop,
                                        .cluster = a->cluster,
                                        .membership = a->membership,
                                        .address = a->node.address,
                                        .tls = a->tls_dir,
                                        .renewed = renewed,
                                        .context = a};
    const struct refusals_place refused = {a->loop, a->cluster, a->tls_dir, renewed, a};
    if (!a->has_tls)
        return 0;
    a->renewal = renewal_new(&place, err);
    a->refusals = a->renewal ? refusals_new(&refused, err) : NULL;
    return a->refusals ? 0 : -EIO;
}

int agent_api_open(struct agent *a, struct err *err)
{
    struct audit_config audit = {.path = a->audit_path};
    a->audit = audit_new(a->loop, &audit, err);
    a->tokens = a->audit ? token_table_new() : NULL;
    struct api_config config = {
        .loop = a->loop,
        .version = a->config->version,
        .tokens = a->tokens,
        .audit = a->audit,
        .node_is_member = is_member,
        .context = a,
    };
    a->api = a->tokens ? api_new(&config, err) : NULL;
    a->token_keeper = a->api ? tokens_new(a->cluster, a->tokens, a->api, err) : NULL;
    a->membership = a->token_keeper ? membership_new(a->cluster, a->token_keeper, &a->node, a->config->state,
                                                     a->api_address, a->api, err)
                                    : NULL;
    a->events = a->membership ? events_new(a->cluster, a->api, err) : NULL;
    a->consoles = a->events ? consoles_new(a->loop, a->cluster, a->api, err) : NULL;
    a->metrics = a->consoles ? metrics_new(a->cluster, &a->cgroups, a->config->version, a->tls_dir, a->api, err) : NULL;
    a->failover_routes = a->metrics ? failover_routes_new(a->cluster, a->api, err) : NULL;
    a->room_turns = a->failover_routes ? room_turns_new() : NULL;
    const struct object_place place = {a->cluster, a->config->state, a->room_turns};
    a->objects = a->room_turns ? objects_new(&place, agent_is_shared(a), a->api, err) : NULL;
    a->drill_routes = a->objects ? drill_routes_new(a->cluster, a->node.store, a->api, err) : NULL;
    a->forecasts = a->drill_routes ? forecasts_new(a->loop, a->cluster, a->has_tls ? a->tls_dir : NULL, err) : NULL;
    a->migration_requests =
        a->forecasts ? migration_requests_new(a->cluster, a->forecasts, a->config->state, a->room_turns, a->api, err)
                     : NULL;
    a->balance_routes = a->migration_requests ? balance_routes_new(a->cluster, &a->balance_place, a->api, err) : NULL;
    if (!a->balance_routes || tasks_add_routes(a->api, a->cluster, err) ||
        volume_move_request_add(a->cluster, a->api, err))
        return -EIO;
    a->http = http_server_new(a->loop, NULL, requested, a, err);
    if (!a->http)
        return -EIO;
    http_server_gate(a->http, may_send);
    int rc = http_server_listen(a->http, a->api_path, 0600, NULL, err);
    if (!rc && *a->node.listen) {
        a->tls = open_credentials(a, err);
        rc = a->tls ? http_server_listen(a->http, a->node.listen, 0, a->tls, err) : -EIO;
    }
    if (!rc && *a->node.listen)
        snprintf(a->api_address, sizeof a->api_address, "https://%s", http_server_address(a->http, 1) + 4);
    return rc;
}
