#include "node/agent/migration_request.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/api.h"
#include "node/agent/cluster.h"
#include "node/agent/complete.h"
#include "node/agent/forecasts.h"
#include "node/agent/kind.h"
#include "node/agent/member.h"
#include "node/agent/migration.h"
#include "node/agent/migration_volumes.h"
#include "node/agent/migration_start.h"
#include "node/agent/object_answer.h"
#include "node/agent/placement.h"
#include "node/agent/presence.h"
#include "node/agent/room_turn.h"
#include "node/agent/volume_move.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/uuid.h"

struct migration_requests {
    struct cluster *cluster;
    struct forecasts *forecasts;
    const char *state; /* folder */
    struct room_turns *turns;
};

/* One that waits for its turn, or is on its way to the store. */
struct request {
    struct room_turn turn;
    struct api_call *call;
    const struct migration_requests *all;
};

/* NULL: answered. */
static const struct object *find_destination(struct api_call *call, const struct mirror *m, const struct object *guest)
{
    const char *name = member_text(call->body, "to"), *from = object_spec_text(guest, "node");
    const struct placement_guest rules = placement_guest_of(guest, true);
    char why[PLACEMENT_WHY_MAX] = "";
    bool forced = json_is_true(json_object_get(call->body, "force"));
    bool both = json_is_true(json_object_get(call->body, "with_volumes"));
    const struct object *to = *name  ? mirror_named(m, OBJECT_NODE, name)
                              : both ? migration_volumes_node(m, guest, NULL)
                                     : NULL;
    if (!to && !*name)
        to = placement_choose(m, &rules, &(struct placement_choice){.except = from}, why);
    if (!to && *name)
        api_error(call, 422, "reference-not-found", "to", "there is no node '%s'", name);
    else if (!to)
        api_error(call, 409, "no-node", "to", "%s", why);
    else if (!strcmp(to->name, from))
        api_error(call, 409, "is-there", "to", "guest %s is on node %s already", guest->name, from);
    else if (!presence_is_alive(to))
        api_error(call, 409, "node-away", "to", "node %s is not there at the moment", to->name);
    else if (json_is_true(object_spec(to, "drained")))
        api_error(call, 409, "drained", "to", "node %s is drained: `drover node undrain %s` or take another", to->name,
                  to->name);
    else if (*name && !forced && !placement_allows(m, &rules, to, why))
        api_error(call, 409, "placement", "to", "not to node %s: %s (--force does it nevertheless)", to->name, why);
    else
        return to;
    return NULL;
}

static bool can_move(struct api_call *call, const struct mirror *m, const struct object *guest)
{
    const struct object *going = migration_of(m, guest), *move = volume_move_of_guest(m, guest);
    if (json_is_true(json_object_get(guest->value, "deleting")))
        api_error(call, 409, "being-deleted", NULL, "guest %s is being deleted", guest->name);
    else if (going)
        api_error(call, 409, "migrates-already", NULL, "guest %s is on its way to node %s", guest->name,
                  object_spec_text(going, "to"));
    else if (move)
        api_error(call, 409, "volume-moves", NULL,
                  "volume %s of guest %s is on its way to pool %s: wait until it is there, or cancel the task",
                  object_spec_text(move, "volume"), guest->name, object_spec_text(move, "to"));
    else if (!json_is_true(object_spec(guest, "running")) || strcmp(member_text(guest->state, "phase"), "running"))
        api_error(call, 409, "not-running", NULL, "guest %s does not run: only what runs can migrate", guest->name);
    else
        return true;
    return false;
}

static bool choose(const struct migration_requests *requests, struct api_call *call, struct request *r);

static void finish(struct request *r)
{
    struct room_turns *turns = r->all->turns;
    free(r);
    room_turns_done(turns);
}

static void begin(struct room_turn *turn)
{
    struct request *r = CONTAINER_OF(turn, struct request, turn);
    if (!choose(r->all, r->call, r))
        finish(r);
}

static void crowded(struct room_turn *turn)
{
    struct request *r = CONTAINER_OF(turn, struct request, turn);
    object_crowded(r->call);
    finish(r);
}

static void made(void *context, int rc, const struct task_started *started, const struct err *err)
{
    struct request *r = context;
    const struct object *m = mirror_find(cluster_mirror(r->all->cluster), OBJECT_MIGRATION, started->id);
    if (rc == -EAGAIN) {
        room_turn_again(&r->turn); /* as things are now */
        return;
    }
    if (rc) {
        object_refuse(r->call, rc, err);
    } else if (!m || !m->value) {
        api_error(r->call, 409, "changed-meanwhile", NULL, "the migration is gone again");
    } else {
        api_reply(r->call, 200, object_view_with_task(m, started->task));
    }
    finish(r);
}

/* What of its volumes is to go with it can. */
static bool may_move_along(const struct migration_requests *requests, struct api_call *call, const struct object *guest,
                           const char *to, const struct migration_goals *goals)
{
    struct complete_error wrong;
    if (!goals->with_volumes)
        return true;
    json_t *migration = migration_make(guest, "", to, "", goals, ""), *moves = json_array();
    int rc = migration_volumes_choose(cluster_mirror(requests->cluster), guest, migration, moves, &wrong);
    if (rc)
        api_error(call, wrong.status, wrong.code, "with_volumes", "%s", wrong.text);
    json_decref(migration);
    json_decref(moves);
    return !rc;
}

/* What would be made, and what it would cost. */
static void show(const struct migration_requests *requests, struct api_call *call, const struct object *guest,
                 const char *to, const struct migration_goals *goals)
{
    char id[UUID_TEXT_BYTES];
    struct complete_error wrong;
    uuid_make(id);
    json_t *migration = migration_make(guest, id, to, "", goals, call->who.name), *moves = json_array();
    if (goals->with_volumes)
        migration_volumes_choose(cluster_mirror(requests->cluster), guest, migration, moves, &wrong);
    json_decref(moves);
    json_object_del(migration, "key");
    json_object_set_new(migration, "revision", json_integer(0));
    forecasts_answer(requests->forecasts, call, guest, migration, goals);
}

/* False: answered; else made() comes. */
static bool make(const struct object *guest, const char *to, const struct migration_goals *goals, struct request *r)
{
    struct err err = {0};
    if (!migration_start(r->all->cluster, r->all->state, guest, to, goals, r->call->who.name, NULL, made, r, &err))
        return true;
    api_error_err(r->call, "no-migration", &err);
    return false;
}

/* What was wished; else as the guest's policy has it. False: answered. */
static bool read_post_copy(struct api_call *call, const struct object *guest, struct migration_goals *goals)
{
    const json_t *wish = json_object_get(call->body, "post_copy");
    enum migration_post_copy policy = migration_post_copy(guest);
    goals->post_copy = wish ? json_is_true(wish) : policy == MIGRATION_POST_COPY_ALLOWED;
    if (goals->post_copy && policy == MIGRATION_POST_COPY_NEVER)
        api_error(
            call, 409, "post-copy-never", "post_copy",
            "guest %s is never to run before all of its memory is there: move it without --post-copy, or allow it "
            "(`drover guest set %s --post-copy asked`)",
            guest->name, guest->name);
    return !goals->post_copy || policy != MIGRATION_POST_COPY_NEVER;
}

/* r: NULL of what is only to be shown. False: answered; else made() comes. */
static bool choose(const struct migration_requests *requests, struct api_call *call, struct request *r)
{
    const struct mirror *m = cluster_mirror(requests->cluster);
    const struct object *guest = object_wanted(call, m);
    const struct object *to = guest && can_move(call, m, guest) ? find_destination(call, m, guest) : NULL;
    if (!to)
        return false;
    struct migration_goals goals = {
        .with_volumes = json_is_true(json_object_get(call->body, "with_volumes")),
        .max_downtime_ms = (uint64_t)json_integer_value(json_object_get(call->body, "max_downtime_ms")),
        .within_s = (uint64_t)json_integer_value(json_object_get(call->body, "within_s")),
    };
    if (!read_post_copy(call, guest, &goals) || !may_move_along(requests, call, guest, to->name, &goals))
        return false;
    if (r)
        return make(guest, to->name, &goals, r);
    show(requests, call, guest, to->name, &goals);
    return false;
}

static void migrate(void *context, struct api_call *call)
{
    struct migration_requests *requests = context;
    struct request *r = call->dry_run ? NULL : calloc(1, sizeof *r);
    if (call->dry_run) {
        choose(requests, call, NULL);
    } else if (!r) {
        api_error(call, 500, "out-of-memory", NULL, "out of memory");
    } else {
        *r = (struct request){.turn = {.begin = begin, .crowded = crowded}, .call = call, .all = requests};
        room_turns_wait(requests->turns, &r->turn);
    }
}

static const struct schema_field fields[] = {
    {.name = "to", .type = SCHEMA_REF, .description = "node; chosen if left out"},
    {.name = "force",
     .type = SCHEMA_BOOL,
     .default_json = "false",
     .description = "to that node although a placement rule forbids it, or it has no room"},
    {.name = "max_downtime_ms",
     .type = SCHEMA_INT,
     .min = 1,
     .max = 60000,
     .default_json = "300",
     .description = "how long the guest may stand still"},
    {.name = "within_s",
     .type = SCHEMA_INT,
     .min = 1,
     .max = 86400,
     .default_json = "600",
     .description = "it is given up if it takes longer"},
    {.name = "post_copy",
     .type = SCHEMA_BOOL,
     .description =
         "where it would be given up the guest goes, and its last pages follow; if left out as its spec has it"},
    {.name = "with_volumes",
     .type = SCHEMA_BOOL,
     .default_json = "false",
     .description = "what of its volumes is on the node that it leaves moves before it"},
    {.name = NULL},
};
static const struct schema wish = {"Migrate", "Where a guest is to move, and what that may cost.", fields};

struct migration_requests *migration_requests_new(struct cluster *cluster, struct forecasts *forecasts,
                                                  const char *state, struct room_turns *turns, struct api *api,
                                                  struct err *err)
{
    static struct route route = {
        .method = HTTP_POST,
        .path = "/v1/guests/{name}/migrate",
        .role = ROLE_OPERATOR,
        .flags = ROUTE_DRY_RUN,
        .id = "guest_migrate",
        .tag = "guest",
        .summary = "Moves the running guest to another node.",
        .request = &wish,
        .handle = migrate,
    };
    struct migration_requests *r = calloc(1, sizeof *r);
    if (!r) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    *r = (struct migration_requests){cluster, forecasts, state, turns};
    route.response = kind_of(OBJECT_MIGRATION)->answer;
    if (api_add_routes(api, &route, 1, r, err)) {
        free(r);
        return NULL;
    }
    return r;
}

void migration_requests_free(struct migration_requests *r)
{
    free(r);
}
