#include "node/agent/volume_move_request.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#include "node/agent/api.h"
#include "node/agent/cluster.h"
#include "node/agent/kind.h"
#include "node/agent/member.h"
#include "node/agent/object_answer.h"
#include "node/agent/volume_move.h"
#include "node/agent/volume_move_place.h"
#include "node/agent/volume_move_start.h"
#include "node/base/err.h"
#include "node/base/uuid.h"

/* One that is on its way to the store. */
struct request {
    struct api_call *call;
    struct cluster *cluster;
};

static void made(void *context, int rc, const struct task_started *started, const struct err *err)
{
    struct request *r = context;
    const struct object *o = mirror_find(cluster_mirror(r->cluster), OBJECT_VOLUME_MOVE, started->id);
    if (rc) {
        object_refuse(r->call, rc, err);
    } else if (!o || !o->value) {
        api_error(r->call, 409, "changed-meanwhile", NULL, "the move is gone again");
    } else {
        api_reply(r->call, 200, object_view_with_task(o, started->task));
    }
    free(r);
}

static void begin(struct api_call *call, struct cluster *cluster, const struct object *volume, json_t *move,
                  const char *node)
{
    struct err err = {0};
    struct request *r = calloc(1, sizeof *r);
    if (!r) {
        api_error(call, 500, "out-of-memory", NULL, "out of memory");
        json_decref(move);
        return;
    }
    *r = (struct request){call, cluster};
    if (!volume_move_start(cluster, volume, move, node, call->who.name, made, r, &err))
        return;
    api_error_err(call, "no-move", &err);
    free(r);
}

static void move_it(void *context, struct api_call *call)
{
    struct cluster *cluster = context;
    const struct mirror *m = cluster_mirror(cluster);
    const json_t *member = json_object_get(call->body, "member");
    struct complete_error wrong;
    char id[UUID_TEXT_BYTES], bytes[UUID_TEXT_BYTES];
    struct volume_move_wish wish = {.id = id, .member = bytes, .migration = "", .by = call->who.name};
    const struct object *volume = object_wanted(call, m);
    if (!volume)
        return;
    if (volume_move_may_begin(m, volume, true, &wrong) ||
        volume_move_choose(m, volume, member_text(call->body, "to"),
                           json_is_integer(member) ? (int)json_integer_value(member) : -1, &wish, &wrong)) {
        api_error(call, wrong.status, wrong.code, wrong.field, "%s", wrong.text);
        return;
    }
    uuid_make(id);
    uuid_make(bytes);
    json_t *move = volume_move_make(volume, &wish);
    if (call->dry_run) {
        json_object_set_new(move, "revision", json_integer(0));
        json_object_set_new(move, "state",
                            json_pack("{s:s, s:s, s:I, s:I}", "phase", "waiting", "reason", "", "done_bytes",
                                      (json_int_t)0, "total_bytes", (json_int_t)wish.bytes));
        api_reply(call, 200, move);
        return;
    }
    begin(call, cluster, volume, move, object_spec_text(wish.from, "node"));
}

static const struct schema_field fields[] = {
    {.name = "to",
     .type = SCHEMA_STRING,
     .flags = SCHEMA_REQUIRED,
     .min = 1,
     .max = 127,
     .description = "NODE, whose pool with room is chosen, or NODE:POOL"},
    {.name = "member",
     .type = SCHEMA_INT,
     .min = 0,
     .max = 15,
     .description = "of a volume with a layout: which one moves; left out: it has only one"},
    {.name = NULL},
};
static const struct schema wish_schema = {"VolumeMoveRequest", "Where the bytes of a volume are to move.", fields};

int volume_move_request_add(struct cluster *cluster, struct api *api, struct err *err)
{
    static struct route route = {
        .method = HTTP_POST,
        .path = "/v1/volumes/{name}/move",
        .role = ROLE_OPERATOR,
        .flags = ROUTE_DRY_RUN,
        .id = "volume_move",
        .tag = "volume",
        .summary = "Moves the bytes of a volume, or of one of its members, to another pool while it is used.",
        .request = &wish_schema,
        .handle = move_it,
    };
    route.response = kind_of(OBJECT_VOLUME_MOVE)->answer;
    return api_add_routes(api, &route, 1, cluster, err);
}
