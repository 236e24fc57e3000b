#include "node/agent/volume_move_request.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/api.h"
#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/kind.h"
#include "node/agent/member.h"
#include "node/agent/objects.h"
#include "node/agent/record_name.h"
#include "node/agent/task.h"
#include "node/agent/volume_member.h"
#include "node/agent/volume_move.h"
#include "node/agent/volume_move_change.h"
#include "node/agent/volume_move_place.h"
#include "node/base/err.h"
#include "node/base/uuid.h"

/* One that is on its way to the store. */
struct request {
    struct api_call *call;
    struct cluster *cluster;
    char id[UUID_TEXT_BYTES], task[RECORD_NAME_BYTES];
};

static void made(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct request *r = context;
    const struct object *o = mirror_find(cluster_mirror(r->cluster), OBJECT_VOLUME_MOVE, r->id);
    (void)revision;
    if (rc) {
        objects_refuse(r->call, rc, err);
    } else if (!o || !o->value) {
        api_error(r->call, 409, "changed-meanwhile", NULL, "the move is gone again");
    } else {
        json_t *view = objects_view(o);
        json_object_set_new(view, "task", json_string(r->task));
        api_reply(r->call, 200, view);
    }
    free(r);
}

static void begin(struct api_call *call, struct cluster *cluster, const struct object *volume, json_t *move,
                  const char *node)
{
    struct request *r = calloc(1, sizeof *r);
    struct change *change = r ? change_new(cluster) : NULL;
    json_t *task = change ? task_make(TASK_MOVE, move, node, call->who.name) : NULL;
    if (!task) {
        api_error(call, 500, "out-of-memory", NULL, "out of memory");
        change_drop(change);
        json_decref(move);
        free(r);
        return;
    }
    *r = (struct request){.call = call, .cluster = cluster};
    snprintf(r->id, sizeof r->id, "%s", member_text(move, "id"));
    snprintf(r->task, sizeof r->task, "%s", member_text(task, "name"));
    change_put(change, OBJECT_TASK, member_text(task, "id"), task, 0);
    const struct object *guest = volume_guest(cluster_mirror(cluster), volume);
    if (guest) /* which does not begin to migrate at the same time */
        change_check(change, OBJECT_GUEST, guest->id, guest->revision);
    volume_move_put(change, volume, move);
    change_commit(change, made, r);
}

static void move_it(void *context, struct api_call *call)
{
    struct cluster *cluster = context;
    const struct mirror *m = cluster_mirror(cluster);
    const json_t *member = json_object_get(call->body, "member");
    struct complete_error wrong;
    char id[UUID_TEXT_BYTES], bytes[UUID_TEXT_BYTES];
    struct volume_move_wish wish = {.id = id, .member = bytes, .migration = "", .by = call->who.name};
    const struct object *volume = objects_wanted(call, m);
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
