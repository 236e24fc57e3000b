#include "node/agent/drill_routes.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/api.h"
#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/drill.h"
#include "node/agent/drill_ask.h"
#include "node/agent/drill_blast.h"
#include "node/agent/drill_kind.h"
#include "node/agent/kind.h"
#include "node/agent/member.h"
#include "node/agent/object_answer.h"
#include "node/agent/record_name.h"
#include "node/agent/task.h"
#include "node/base/err.h"
#include "node/base/uuid.h"

enum { LIST_MAX = 300 };

struct drill_routes {
    struct cluster *cluster;
    const char *store;
};

/* One on its way to the store. */
struct request {
    struct api_call *call;
    struct cluster *cluster;
    char id[UUID_TEXT_BYTES], task[RECORD_NAME_BYTES];
};

/* ---- beginning ---- */

static void made(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct request *r = context;
    const struct object *o = mirror_find(cluster_mirror(r->cluster), OBJECT_DRILL, r->id);
    (void)revision;
    if (rc) {
        object_refuse(r->call, rc, err);
    } else if (!o || !o->value) {
        api_error(r->call, 409, "changed-meanwhile", NULL, "the drill is gone again");
    } else if (r->call->route->flags & ROUTE_CREATES) {
        object_reply_created(r->call, o, r->task);
    } else {
        api_reply(r->call, 200, object_view(o));
    }
    free(r);
}

/* With the change that it is for; NULL: answered. */
static struct request *request_for(struct api_call *call, struct cluster *cluster, const char *id,
                                   struct change **change)
{
    struct request *r = calloc(1, sizeof *r);
    *change = r ? change_new(cluster) : NULL;
    if (!*change) {
        free(r);
        api_error(call, 500, "out-of-memory", NULL, "out of memory");
        return NULL;
    }
    r->call = call;
    r->cluster = cluster;
    snprintf(r->id, sizeof r->id, "%s", id);
    return r;
}

static void commit(const struct drill_routes *routes, struct api_call *call, json_t *value)
{
    struct change *change;
    struct request *r = request_for(call, routes->cluster, member_text(value, "id"), &change);
    const char *conductor = member_text(json_object_get(value, "spec"), "conductor");
    json_t *task = r ? task_make(TASK_DRILL, value, conductor, call->who.name) : NULL;
    if (!r) {
        json_decref(value);
        return;
    }
    if (task) {
        snprintf(r->task, sizeof r->task, "%s", member_text(task, "name"));
        change_put(change, OBJECT_TASK, member_text(task, "id"), task, 0);
    }
    change_put(change, OBJECT_DRILL, r->id, value, 0);
    change_commit(change, made, r);
}

/* "web1 (runs again on another node), web2 (...)": for who has not confirmed it yet. */
static void list_guests(const json_t *blast, char *text, size_t room)
{
    size_t i, used = 0;
    json_t *line;
    text[0] = 0;
    json_array_foreach (json_object_get(blast, "guests"), i, line)
        if (used < room)
            used += (size_t)snprintf(text + used, room - used, "%s%s (%s)", i ? ", " : "", member_text(line, "guest"),
                                     member_text(line, "effect"));
}

static void begin(struct drill_routes *r, struct api_call *call, json_t *spec)
{
    struct drill_blast b;
    char text[LIST_MAX];
    if (!drill_blast_make(&b, cluster_mirror(r->cluster), spec, "", r->store)) {
        json_decref(spec);
        api_error(call, 500, "out-of-memory", NULL, "out of memory");
        return;
    }
    json_t *value = drill_make(spec);
    list_guests(b.json, text, sizeof text);
    if (b.code) {
        api_error(call, 409, b.code, NULL, "%s", b.text);
    } else if (call->dry_run) {
        json_object_del(value, "key");
        json_object_set_new(value, "revision", json_integer(0));
        json_object_set_new(value, "state", json_pack("{s:O}", "blast", b.json));
        api_reply(call, 200, json_incref(value));
    } else if (!json_is_true(json_object_get(call->body, "confirm"))) {
        api_error(call, 409, "not-confirmed", "confirm",
                  "this hits %s%s: say --yes (\"confirm\": true) if that is meant; --dry-run shows all of it",
                  *text ? "the guests " : "no guest", text);
    } else {
        commit(r, call, json_incref(value));
    }
    json_decref(value);
    json_decref(b.json);
}

static void run(void *context, struct api_call *call)
{
    struct drill_routes *r = context;
    const struct mirror *m = cluster_mirror(r->cluster);
    struct complete_error wrong;
    if (drill_ask_check(m, call->body, "", &wrong))
        api_error(call, wrong.status, wrong.code, wrong.field, "%s", wrong.text);
    else
        begin(r, call, drill_ask_spec(m, call->body, call->who.name, cluster_node(r->cluster)));
}

/* ---- aborting ---- */

static void abort_drill(void *context, struct api_call *call)
{
    struct drill_routes *routes = context;
    const struct object *o = object_wanted(call, cluster_mirror(routes->cluster));
    if (!o)
        return;
    if (drill_has_ended(o)) {
        api_error(call, 409, "drill-ended", NULL, "drill %s has ended", o->name);
        return;
    }
    struct change *change;
    struct request *r = request_for(call, routes->cluster, o->id, &change);
    if (!r)
        return;
    change_put(change, OBJECT_DRILL, o->id, drill_aborted(o, call->who.name), o->revision);
    change_commit(change, made, r);
}

/* ---- the table ---- */

enum { ROUTE_COUNT = 2 };

static struct route routes[ROUTE_COUNT];

struct drill_routes *drill_routes_new(struct cluster *cluster, const char *store, struct api *api, struct err *err)
{
    struct drill_routes *r = calloc(1, sizeof *r);
    const struct route all[ROUTE_COUNT] = {
        {HTTP_POST, "/v1/drills", ROLE_ADMIN, ROUTE_DRY_RUN | ROUTE_CREATES, "drill_run", "drill",
         "Puts a fault into a node on purpose, if nothing speaks against it, and follows what comes of it.",
         &drill_run_request, kind_of(OBJECT_DRILL)->answer, NULL, NULL, run},
        {HTTP_POST, "/v1/drills/{name}/abort", ROLE_OPERATOR, 0, "drill_abort", "drill",
         "Ends the fault of a drill before its time, and lets it heal.", NULL, kind_of(OBJECT_DRILL)->answer, NULL,
         NULL, abort_drill},
    };
    if (!r) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    *r = (struct drill_routes){cluster, store};
    memcpy(routes, all, sizeof all);
    if (api_add_routes(api, routes, ROUTE_COUNT, r, err)) {
        free(r);
        return NULL;
    }
    return r;
}

void drill_routes_free(struct drill_routes *r)
{
    free(r);
}
