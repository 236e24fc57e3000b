#include "node/agent/object_create.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>

#include "node/agent/api.h"
#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/complete.h"
#include "node/agent/member.h"
#include "node/agent/object_answer.h"
#include "node/agent/object_request.h"
#include "node/agent/room_claim.h"
#include "node/agent/room_turn.h"
#include "node/agent/volume_key.h"
#include "node/agent/volume_member.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/uuid.h"

/* A guest that waits for its turn, or whose node is being chosen. */
struct making {
    struct room_turn turn;
    const struct object_place *place;
    struct api_call *call;
    json_t *wish; /* its spec before anything was chosen */
};

static bool name_is_free(struct api_call *call, const struct mirror *mirror, const char *name)
{
    enum object_kind kind = object_kind_wanted(call);
    if (!mirror_named(mirror, kind, name))
        return true;
    api_error(call, 409, "name-taken", "name", "there is a %s '%s' already", object_kind_name(kind), name);
    return false;
}

/* An encrypted volume's key is made with the volume. False: answered. */
static bool add_key(const struct object_place *place, struct api_call *call, const char *id, json_t *value)
{
    char wrapped[VOLUME_KEY_WRAPPED_TEXT];
    struct err err = {0};
    if (object_kind_wanted(call) != OBJECT_VOLUME ||
        !json_is_true(json_object_get(json_object_get(value, "spec"), "encrypted")))
        return true;
    if (volume_key_new(place->state, id, wrapped, &err)) {
        api_error(call, 409, "no-volume-key", "spec.encrypted", "%s", err.text);
        return false;
    }
    json_object_set_new(value, "key", json_string(wrapped));
    return true;
}

/* value: complete. making: as below. */
static bool put(const struct object_place *place, struct api_call *call, const char *id, json_t *value,
                struct making *making, change_done *done)
{
    enum object_kind kind = object_kind_wanted(call);
    const json_t *spec = json_object_get(value, "spec");
    struct object_request *r = add_key(place, call, id, value) ? object_request_new(call, place->cluster, id) : NULL;
    if (!r)
        return false;
    struct change *change = r->change;
    r->created = true;
    r->context = making;
    change_put(change, kind, id, json_incref(value), 0);
    if (making)
        room_claim(change, cluster_mirror(place->cluster), member_text(spec, "node"), id, spec);
    if (kind == OBJECT_VOLUME)
        volume_member_add_all(change, value);
    object_request_task(r, object_has_body(kind) ? TASK_CREATE : TASK_VERB_COUNT, value);
    change_take_name(change, kind, member_text(value, "name"), id);
    change_commit(change, done, r);
    return true;
}

/* making: of a guest that is made; NULL: of what needs no room. False: answered; else done() comes. */
static bool make(const struct object_place *place, struct api_call *call, struct making *making, change_done *done)
{
    const struct mirror *m = cluster_mirror(place->cluster);
    struct complete_error wrong;
    enum object_kind kind = object_kind_wanted(call);
    const char *name = json_string_value(json_object_get(call->body, "name"));
    json_t *spec = json_object_get(call->body, "spec");
    char id[UUID_TEXT_BYTES];
    uuid_make(id);
    if (!name_is_free(call, m, name))
        return false;
    if (complete_spec(m, kind, id, spec, &wrong)) {
        api_error(call, wrong.status, wrong.code, wrong.field, "%s", wrong.text);
        return false;
    }
    json_t *value =
        json_pack("{s:s, s:s, s:s, s:O}", "kind", object_kind_name(kind), "id", id, "name", name, "spec", spec);
    if (call->dry_run) {
        json_object_set_new(value, "revision", json_integer(0));
        json_object_set_new(value, "state", json_object());
        api_reply(call, 200, value);
        return false;
    }
    bool under_way = put(place, call, id, value, making, done);
    json_decref(value);
    return under_way;
}

/* ---- guests ---- */

static void made(void *context, int rc, uint64_t revision, const struct err *err);

static void finish(struct making *making)
{
    struct room_turns *turns = making->place->turns;
    json_decref(making->wish);
    free(making);
    room_turns_done(turns);
}

static void begin(struct room_turn *turn)
{
    struct making *making = CONTAINER_OF(turn, struct making, turn);
    json_object_set_new(making->call->body, "spec", json_deep_copy(making->wish));
    if (!make(making->place, making->call, making, made))
        finish(making);
}

static void made(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct object_request *r = context;
    struct making *making = r->context;
    if (rc == -EAGAIN) {
        object_request_free(r);
        room_turn_again(&making->turn);
        return;
    }
    object_request_done(r, rc, revision, err);
    finish(making);
}

static void crowded(struct room_turn *turn)
{
    struct making *making = CONTAINER_OF(turn, struct making, turn);
    object_crowded(making->call);
    finish(making);
}

void object_create(const struct object_place *place, struct api_call *call)
{
    if (object_kind_wanted(call) != OBJECT_GUEST || call->dry_run) {
        make(place, call, NULL, object_request_done);
        return;
    }
    struct making *making = calloc(1, sizeof *making);
    if (!making) {
        api_error(call, 500, "out-of-memory", NULL, "out of memory");
        return;
    }
    making->turn.begin = begin;
    making->turn.crowded = crowded;
    making->place = place;
    making->call = call;
    making->wish = json_deep_copy(json_object_get(call->body, "spec"));
    room_turns_wait(place->turns, &making->turn);
}
