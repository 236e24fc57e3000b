#include "node/agent/failover_routes.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#include "node/agent/api.h"
#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/failover_view.h"
#include "node/agent/failovers.h"
#include "node/agent/object_answer.h"
#include "node/agent/power_watch.h"
#include "node/agent/tenure.h"
#include "node/base/clock.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/timestamp.h"

struct failover_routes {
    struct cluster *cluster;
    struct failovers *failovers;
    const struct power_watch *power;
    struct tenure *tenure;
};

struct switching {
    struct failover_routes *routes;
    struct api_call *call;
    bool armed;
};

/* ---- what there is ---- */

static const struct schema_field guest_fields[] = {
    {.name = "guest", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED, .description = "its name"},
    {.name = "node", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "where it runs"},
    {.name = "priority",
     .type = SCHEMA_INT,
     .flags = SCHEMA_REQUIRED,
     .description = "larger ones are restarted first"},
    {.name = "next",
     .type = SCHEMA_STRING,
     .flags = SCHEMA_REQUIRED,
     .description = "where it would go; empty: nowhere"},
    {.name = "reason", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "why nowhere"},
    {.name = "failovers", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "how often it was taken over"},
    {.name = "last", .type = SCHEMA_OBJECT, .description = "when last, from where, why"},
    {.name = NULL},
};
static const struct schema_field guest_line = {.type = SCHEMA_OBJECT, .fields = guest_fields};
static const struct schema_field sentence = {.type = SCHEMA_STRING};
static const struct schema_field power_fields[] = {
    {.name = "node",
     .type = SCHEMA_STRING,
     .flags = SCHEMA_REQUIRED,
     .description = "empty: of none, there is a mistake in the file that says who is asked"},
    {.name = "by",
     .type = SCHEMA_STRING,
     .flags = SCHEMA_REQUIRED,
     .description = "who is asked: redfish, its management controller; or a program"},
    {.name = "answer", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "on, off; empty: none so far"},
    {.name = "error", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "why there is none"},
    {.name = NULL},
};
static const struct schema_field power_line = {.type = SCHEMA_OBJECT, .fields = power_fields};
static const struct schema_field status_fields[] = {
    {.name = "armed",
     .type = SCHEMA_BOOL,
     .flags = SCHEMA_REQUIRED,
     .description = "guests of lost nodes are taken over"},
    {.name = "by", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "who said so; empty: nobody yet"},
    {.name = "at", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "when"},
    {.name = "this_node",
     .type = SCHEMA_STRING,
     .flags = SCHEMA_REQUIRED,
     .description = "why the node that answers takes nothing over now; empty: it does"},
    {.name = "nodes_to_lose",
     .type = SCHEMA_INT,
     .flags = SCHEMA_REQUIRED,
     .description =
         "so many nodes may be lost now, whichever, and all protected guests run; the store has to survive it, "
         "too"},
    {.name = "protected",
     .type = SCHEMA_INT,
     .flags = SCHEMA_REQUIRED,
     .description = "guests that are protected and run"},
    {.name = "warnings",
     .type = SCHEMA_ARRAY,
     .flags = SCHEMA_REQUIRED,
     .item = &sentence,
     .description = "guests that would not run again"},
    {.name = "guests",
     .type = SCHEMA_ARRAY,
     .flags = SCHEMA_REQUIRED,
     .item = &guest_line,
     .description = "each of them"},
    {.name = "power",
     .type = SCHEMA_ARRAY,
     .item = &power_line,
     .description = "of the nodes that this one asks for: have they power?"},
    {.name = NULL},
};
static const struct schema status_answer = {"Failover", "Whether guests survive the loss of nodes.", status_fields};

static bool is_ready(struct failover_routes *r, struct api_call *call)
{
    if (r->failovers)
        return true;
    api_unavailable(call, 1, "starting", "the node is only just starting");
    return false;
}

static json_t *status(const struct failover_routes *r)
{
    json_t *status = failovers_status(r->failovers);
    json_object_set_new(status, "power", power_watch_status(r->power));
    return status;
}

static void show(void *context, struct api_call *call)
{
    struct failover_routes *r = context;
    if (is_ready(r, call))
        api_reply(call, 200, status(r));
}

/* ---- arming ---- */

static void switched(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct switching *s = context;
    (void)revision;
    if (rc) {
        object_refuse(s->call, rc, err);
    } else {
        log_warn("fail-over is %s by %s", s->armed ? "armed" : "disarmed", s->call->who.name);
        api_reply(s->call, 200, status(s->routes));
    }
    free(s);
}

static void set_armed(struct failover_routes *r, struct api_call *call, bool armed)
{
    const struct object *o = failover_record(cluster_mirror(r->cluster));
    char at[TIMESTAMP_BYTES];
    if (!is_ready(r, call))
        return;
    struct switching *s = calloc(1, sizeof *s);
    struct change *change = s ? change_new(r->cluster) : NULL;
    if (!change) {
        free(s);
        api_error(call, 500, "out-of-memory", NULL, "out of memory");
        return;
    }
    *s = (struct switching){r, call, armed};
    change_put(change, OBJECT_FAILOVER, FAILOVER_RECORD,
               json_pack("{s:s, s:s, s:s, s:{s:b, s:s, s:s}}", "kind", object_kind_name(OBJECT_FAILOVER), "id",
                         FAILOVER_RECORD, "name", FAILOVER_RECORD, "spec", "armed", armed, "by", call->who.name, "at",
                         timestamp(at)),
               o ? o->revision : 0);
    change_commit(change, switched, s);
}

static void arm(void *context, struct api_call *call)
{
    set_armed(context, call, true);
}

static void disarm(void *context, struct api_call *call)
{
    set_armed(context, call, false);
}

/* ---- pledges ---- */

static const struct schema_field pledge_fields[] = {
    {.name = "pledged",
     .type = SCHEMA_BOOL,
     .flags = SCHEMA_REQUIRED,
     .description = "this node takes nothing over for milliseconds; false: the store answers it"},
    {.name = "milliseconds", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "from the question on"},
    {.name = NULL},
};
static const struct schema pledge_answer = {"Pledge", "What a node promises another one.", pledge_fields};

static void pledge(void *context, struct api_call *call)
{
    struct failover_routes *r = context;
    if (!is_ready(r, call))
        return;
    bool pledged = tenure_pledge(r->tenure, clock_boot_ns());
    api_reply(call, 200, json_pack("{s:b, s:i}", "pledged", pledged, "milliseconds", pledged ? TENURE_PLEDGE_MS : 0));
}

static const struct route routes[] = {
    {HTTP_GET, "/v1/ha", ROLE_VIEWER, 0, "ha_show", "ha", "Whether guests survive the loss of nodes.", NULL,
     &status_answer, NULL, NULL, show},
    {HTTP_POST, "/v1/ha/arm", ROLE_ADMIN, 0, "ha_arm", "ha", "Guests of lost nodes are taken over from now on.", NULL,
     &status_answer, NULL, NULL, arm},
    {HTTP_POST, "/v1/ha/disarm", ROLE_ADMIN, 0, "ha_disarm", "ha",
     "Guests of lost nodes are not taken over, until it is armed again: for work on the network.", NULL, &status_answer,
     NULL, NULL, disarm},
    {HTTP_POST, "/v1/ha/pledge", ROLE_ADMIN, ROUTE_NO_AUDIT, "ha_pledge", "ha",
     "Another node asks this one to take nothing over, because the store does not answer it.", NULL, &pledge_answer,
     NULL, NULL, pledge},
};

/* ---- life ---- */

struct failover_routes *failover_routes_new(struct cluster *cluster, struct api *api, struct err *err)
{
    struct failover_routes *r = calloc(1, sizeof *r);
    if (!r) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    r->cluster = cluster;
    if (api_add_routes(api, routes, sizeof routes / sizeof *routes, r, err)) {
        free(r);
        return NULL;
    }
    return r;
}

void failover_routes_attach(struct failover_routes *r, struct failovers *failovers, const struct power_watch *power,
                            struct tenure *tenure)
{
    r->failovers = failovers;
    r->power = power;
    r->tenure = tenure;
}

void failover_routes_free(struct failover_routes *r)
{
    free(r);
}
