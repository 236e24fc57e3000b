#include "node/agent/objects.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/api.h"
#include "node/agent/boot_image.h"
#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/complete.h"
#include "node/agent/complete_volume.h"
#include "node/agent/kind.h"
#include "node/agent/member.h"
#include "node/agent/object_answer.h"
#include "node/agent/object_create.h"
#include "node/agent/object_request.h"
#include "node/agent/refusals.h"
#include "node/agent/room_claim.h"
#include "node/agent/task.h"
#include "node/agent/volume_key.h"
#include "node/agent/volume_member.h"
#include "node/base/err.h"
#include "node/base/timestamp.h"
#include "node/base/uuid.h"

struct objects {
    struct object_place place;
    bool shared;
};

static struct cluster *cluster_of(void *context)
{
    return ((struct objects *)context)->place.cluster;
}

static const struct mirror *mirror_of(void *context)
{
    return cluster_mirror(cluster_of(context));
}

/* ---- reading ---- */

/* With what other objects say of it. */
static json_t *view_among(const struct mirror *mirror, const struct object *object)
{
    json_t *view = object_view(object);
    if (object->kind == OBJECT_IMAGE)
        json_object_set_new(view, "state", boot_image_state(mirror, object));
    return view;
}

static void list(void *context, struct api_call *call)
{
    const struct mirror *mirror = mirror_of(context);
    enum object_kind kind = object_kind_wanted(call);
    json_t *items = json_array();
    const struct object *o = mirror_next(mirror, kind, call->after);
    const char *last = NULL;
    for (unsigned i = 0; o && i < call->limit; i++) {
        json_array_append_new(items, view_among(mirror, o));
        last = o->name;
        o = mirror_next(mirror, kind, o->name);
    }
    api_reply_page(call, items, o ? last : NULL);
}

static void show(void *context, struct api_call *call)
{
    char etag[API_ETAG_MAX];
    const struct mirror *mirror = mirror_of(context);
    const struct object *o = object_wanted(call, mirror);
    if (!o)
        return;
    object_etag(o, etag);
    api_reply_etag(call, 200, view_among(mirror, o), etag);
}

/* ---- creating ---- */

/* A path is read with the agent's rights: whoever may name one may read every file of the node. */
static bool may_name_source(struct api_call *call)
{
    const char *source = json_string_value(json_object_get(json_object_get(call->body, "spec"), "source"));
    if (!source || source[0] != '/' || call->who.role >= ROLE_ADMIN)
        return true;
    api_error(call, 403, "role", "spec.source",
              "a file of the node needs the role admin; an http:// or https:// URL does not");
    return false;
}

/* False: answered. */
static bool may_protect(const struct objects *objects, struct api_call *call)
{
    if (objects->shared || object_kind_wanted(call) != OBJECT_GUEST ||
        !json_is_true(json_object_get(json_object_get(call->body, "spec"), "ha")))
        return true;
    api_error(
        call, 409, "one-node-store", "spec.ha",
        "the store is a file of this node: nobody else could take the guest over (`drover cluster store etcd:...`)");
    return false;
}

static void create(void *context, struct api_call *call)
{
    const struct objects *objects = context;
    if (may_name_source(call) && may_protect(objects, call))
        object_create(&objects->place, call);
}

/* ---- changing ---- */

/* A guest that is given another node: one that is away must still be, or it runs there as soon as it runs here; and it
 * takes room on the other. */
static void check_nodes(const struct mirror *mirror, struct change *change, const struct object *o, const json_t *value)
{
    const struct object *from = mirror_named(mirror, OBJECT_NODE, object_spec_text(o, "node"));
    const json_t *spec = json_object_get(value, "spec");
    const char *to = member_text(spec, "node");
    if (!strcmp(object_spec_text(o, "node"), to))
        return;
    if (from && !from->state)
        change_check_no_state(change, OBJECT_NODE, from->id);
    room_claim(change, mirror, to, o->id, spec);
}

/* verb: of the task that follows; TASK_VERB_COUNT: none. */
static void put(struct api_call *call, struct cluster *cluster, const struct object *o, json_t *value,
                enum task_verb verb)
{
    if (call->dry_run) {
        const struct object after = {.kind = o->kind, .value = value, .revision = o->revision};
        api_reply(call, 200, object_view(&after));
        json_decref(value);
        return;
    }
    struct object_request *r = object_request_new(call, cluster, o->id);
    if (!r) {
        json_decref(value);
        return;
    }
    struct change *change = r->change;
    change_put(change, o->kind, o->id, json_incref(value), o->revision);
    if (o->kind == OBJECT_GUEST)
        check_nodes(cluster_mirror(cluster), change, o, value);
    if (o->kind == OBJECT_VOLUME && verb == TASK_DELETE)
        volume_member_drop_all(cluster_mirror(cluster), change, o->id);
    if (o->kind == OBJECT_VOLUME && verb == TASK_RESIZE && volume_has_layout(o))
        volume_member_resize(cluster_mirror(cluster), change, value);
    if (verb == TASK_REPLACE)
        volume_member_replace(cluster_mirror(cluster), change, value);
    object_request_task(r, verb, value);
    if (verb == TASK_DELETE)
        r->last = json_incref(value);
    json_decref(value);
    change_commit(change, object_request_done, r);
}

static bool may_change(struct api_call *call, const struct object *o)
{
    if (!json_is_true(json_object_get(o->value, "deleting")))
        return true;
    api_error(call, 409, "being-deleted", NULL, "%s %s is being deleted", object_kind_name(o->kind), o->name);
    return false;
}

/* Its bytes are not on their way to another pool. */
static bool stays(struct api_call *call, const struct object *o)
{
    if (o->kind != OBJECT_VOLUME || !*member_text(o->value, "move"))
        return true;
    api_error(call, 409, "moves", NULL, "volume %s is on its way to another pool: wait, or cancel the task", o->name);
    return false;
}

static enum task_verb verb_of_change(const struct object *o, const json_t *spec)
{
    const json_t *running = json_object_get(spec, "running");
    if (o->kind == OBJECT_VOLUME && !json_equal(json_object_get(spec, "size"), object_spec(o, "size")))
        return TASK_RESIZE;
    if (o->kind == OBJECT_GUEST && !json_equal(running, object_spec(o, "running")))
        return json_is_true(running) ? TASK_START : TASK_STOP;
    return TASK_VERB_COUNT;
}

/* Somebody asks for it: one that stays down begins anew, and one that has just switched itself off is not meant. */
static void note_start(json_t *value)
{
    char now[TIMESTAMP_BYTES];
    json_object_set_new(value, "started", json_string(timestamp(now)));
}

static void change(void *context, struct api_call *call)
{
    char etag[API_ETAG_MAX];
    struct complete_error wrong;
    const struct object *o = object_wanted(call, mirror_of(context));
    if (!o || !may_change(call, o) || !may_protect(context, call))
        return;
    object_etag(o, etag);
    if (!api_if_match(call, etag))
        return;
    json_t *value = json_deep_copy(o->value), *spec = json_object_get(value, "spec"), *member;
    const char *key;
    json_object_foreach (json_object_get(call->body, "spec"), key, member) {
        if (json_is_null(member))
            json_object_del(spec, key);
        else
            json_object_set(spec, key, member);
    }
    if (complete_change(mirror_of(context), o, spec, &wrong)) {
        api_error(call, wrong.status, wrong.code, wrong.field, "%s", wrong.text);
        json_decref(value);
        return;
    }
    enum task_verb verb = verb_of_change(o, spec);
    if (verb == TASK_START)
        note_start(value);
    put(call, cluster_of(context), o, value, verb);
}

static void set_running(void *context, struct api_call *call, bool running, bool hurry)
{
    const struct object *o = object_wanted(call, mirror_of(context));
    if (!o || !may_change(call, o))
        return;
    json_t *value = json_deep_copy(o->value);
    json_object_set_new(json_object_get(value, "spec"), "running", json_boolean(running));
    if (hurry)
        json_object_set_new(value, "hurry", json_true());
    else
        json_object_del(value, "hurry");
    if (running)
        note_start(value);
    if (running && !strcmp(member_text(o->state, "phase"), "stopped"))
        json_object_del(value, "moved"); /* it opens its disks anew, those of its node directly */
    put(call, cluster_of(context), o, value, running ? TASK_START : TASK_STOP);
}

static void start(void *context, struct api_call *call)
{
    set_running(context, call, true, false);
}

static void stop(void *context, struct api_call *call)
{
    set_running(context, call, false, json_is_true(json_object_get(call->query, "force")));
}

/* ---- deleting ---- */

/* No agent has anything of it: its record goes at once, with its state, or only as long as it has none. */
static void forget(struct api_call *call, struct cluster *cluster, const struct object *o,
                   void (*state)(struct change *change, enum object_kind kind, const char *id))
{
    if (call->dry_run) {
        api_reply_empty(call);
        return;
    }
    struct object_request *r = object_request_new(call, cluster, o->id);
    if (!r)
        return;
    struct change *gone = r->change;
    r->deleted = true;
    change_delete(gone, o->kind, o->id, o->revision);
    state(gone, o->kind, o->id);
    change_free_name(gone, o->kind, o->name);
    if (o->kind == OBJECT_NODE) {
        refusals_add(gone, o);
        room_forget(gone, o);
    }
    change_commit(gone, object_request_done, r);
}

static void delete (void *context, struct api_call *call)
{
    struct cluster *cluster = cluster_of(context);
    char user[128];
    const struct object *o = object_wanted(call, cluster_mirror(cluster));
    if (!o || !stays(call, o))
        return;
    if (kind_is_used(cluster_mirror(cluster), o, user, sizeof user)) {
        api_error(call, 409, "in-use", NULL, "%s %s is used by %s: delete that first", object_kind_name(o->kind),
                  o->name, user);
        return;
    }
    if (object_has_body(o->kind)) {
        json_t *value = json_deep_copy(o->value);
        json_object_set_new(value, "deleting", json_true());
        if (o->kind == OBJECT_GUEST)
            json_object_set_new(json_object_get(value, "spec"), "running", json_false());
        put(call, cluster, o, value, TASK_DELETE);
        return;
    }
    forget(call, cluster, o, change_delete_state);
}

/* ---- nodes that leave ---- */

/* What nobody is there for any more. Its identity keeps its other name (presence.c), so that it does not come back by
 * itself; its key is refused; what it keeps in memory, its state, goes with its lease. */
static void remove_node(void *context, struct api_call *call)
{
    struct cluster *cluster = cluster_of(context);
    char user[128];
    const struct object *o = object_wanted(call, cluster_mirror(cluster));
    if (!o)
        return;
    if (o->state) {
        api_error(call, 409, "node-there", NULL,
                  "node %s is there: `drover node drain %s`, then stop its agent (systemctl disable --now droverd)",
                  o->name, o->name);
        return;
    }
    if (kind_is_used(cluster_mirror(cluster), o, user, sizeof user)) {
        api_error(call, 409, "in-use", NULL, "node %s has %s: that must go first", o->name, user);
        return;
    }
    forget(call, cluster, o, change_check_no_state);
}

/* ---- members of volumes ---- */

/* The volume of the call, if it has a layout and stays; NULL: answered. */
static const struct object *layout_wanted(struct api_call *call, const struct mirror *mirror)
{
    const struct object *o = object_wanted(call, mirror);
    if (!o || !may_change(call, o) || !stays(call, o))
        return NULL;
    if (volume_has_layout(o))
        return o;
    api_error(call, 409, "no-layout", NULL, "volume %s has no layout, so it has no members", o->name);
    return NULL;
}

/* Nobody gives a copy away while another one is missing. False: answered. */
static bool may_be_replaced(struct api_call *call, const struct object *o, int index)
{
    struct layout l;
    const json_t *lines = json_object_get(o->state, "members");
    if (!volume_layout(o, &l) || (!l.spare && index != WITNESS)) {
        api_error(call, 409, "no-copies", NULL, "a member of %s cannot be replaced: what is on it is nowhere else",
                  object_spec_text(o, "layout"));
        return false;
    }
    for (size_t i = 0; i < l.members; i++) {
        const char *condition = member_text(json_array_get(lines, i), "condition");
        if ((int)i == index || !strcmp(condition, "in-sync"))
            continue;
        api_error(call, 409, "not-in-sync", NULL, "member %zu is %s: all %s must be in sync before %s is replaced", i,
                  *condition ? condition : "not made yet", index == WITNESS ? "members" : "others",
                  index == WITNESS ? "the witness" : api_parameter(call, "index"));
        return false;
    }
    return true;
}

/* Which one the path names; false: answered. */
static bool place_wanted(struct api_call *call, const struct object *o, int *index)
{
    const char *text = api_parameter(call, "index");
    size_t members = json_array_size(object_spec(o, "pools"));
    if (!strcmp(text, "witness") && *object_spec_text(o, "witness")) {
        *index = WITNESS;
        return true;
    }
    if (*text && strspn(text, "0123456789") == strlen(text) && strlen(text) <= 2 && (size_t)atoi(text) < members) {
        *index = atoi(text);
        return true;
    }
    api_error(call, 404, "member-not-found", NULL, "volume %s has the members 0 to %zu, %s, and no '%.16s'", o->name,
              members - 1, *object_spec_text(o, "witness") ? "a witness" : "no witness", text);
    return false;
}

static void replace(void *context, struct api_call *call)
{
    struct cluster *cluster = cluster_of(context);
    struct mirror *mirror = cluster_mirror(cluster);
    struct complete_error wrong;
    int index;
    const struct object *o = layout_wanted(call, mirror);
    if (!o || !place_wanted(call, o, &index) || !may_be_replaced(call, o, index))
        return;
    json_t *value = json_deep_copy(o->value);
    if (complete_replacement(mirror, o, index, member_text(call->body, "pool"), json_object_get(value, "spec"),
                             &wrong)) {
        api_error(call, wrong.status, wrong.code, wrong.field, "%s", wrong.text);
        json_decref(value);
        return;
    }
    char id[UUID_TEXT_BYTES];
    uuid_make(id);
    json_object_set_new(value, "replaced", json_pack("{s:i, s:s}", "index", index, "id", id));
    put(call, cluster, o, value, TASK_REPLACE);
}

/* It is the process that owns a volume that compares its copies: its guest's, or one that looks after it. */
static void scrub(void *context, struct api_call *call)
{
    const struct object *o = layout_wanted(call, mirror_of(context));
    if (!o)
        return;
    json_t *value = json_deep_copy(o->value);
    json_object_set_new(value, "scrub", json_integer(json_integer_value(json_object_get(o->value, "scrub")) + 1));
    put(call, cluster_of(context), o, value, TASK_SCRUB);
}

static const struct schema_field replace_fields[] = {
    {.name = "pool", .type = SCHEMA_REF, .description = "where the new member is put; chosen if left out"},
    {.name = NULL},
};
static const struct schema replace_request = {"MemberReplace", "Where a fresh member is put.", replace_fields};

/* ---- keys ---- */

static void tell_key(void *context, struct api_call *call)
{
    const struct objects *objects = context;
    char passphrase[VOLUME_KEY_TEXT];
    struct err err = {0};
    const struct object *o = object_wanted(call, mirror_of(context));
    if (!o)
        return;
    if (!*member_text(o->value, "key")) {
        api_error(call, 409, "not-encrypted", NULL, "volume %s is not encrypted", o->name);
        return;
    }
    if (volume_key_unwrap(objects->place.state, o->id, member_text(o->value, "key"), passphrase, &err)) {
        api_error_err(call, "no-volume-key", &err);
        return;
    }
    api_reply(call, 200, json_pack("{s:s, s:s}", "volume", o->name, "passphrase", passphrase));
    explicit_bzero(passphrase, sizeof passphrase);
}

static const struct schema_field key_fields[] = {
    {.name = "volume", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED, .description = "whose it is"},
    {.name = "passphrase",
     .type = SCHEMA_STRING,
     .flags = SCHEMA_REQUIRED,
     .description = "which opens its LUKS header"},
    {.name = NULL},
};
static const struct schema key_answer = {"VolumeKey", "What opens an encrypted volume without Drover.", key_fields};

/* ---- the table ---- */

#define LIST(kind, plural, title)                                                                                      \
    {                                                                                                                  \
        HTTP_GET, "/v1/" plural, ROLE_VIEWER, ROUTE_PAGED, kind "_list", kind, "All " plural ", by name.", NULL,       \
            title, NULL, NULL, list                                                                                    \
    }
#define SHOW(kind, plural, title)                                                                                      \
    {                                                                                                                  \
        HTTP_GET, "/v1/" plural "/{name}", ROLE_VIEWER, 0, kind "_show", kind, "One " kind ".", NULL, title, NULL,     \
            NULL, show                                                                                                 \
    }
#define CREATE(kind, plural, role, request, title)                                                                     \
    {                                                                                                                  \
        HTTP_POST, "/v1/" plural, role, ROUTE_DRY_RUN | ROUTE_CREATES, kind "_create", kind, "Makes a " kind ".",      \
            request, title, NULL, NULL, create                                                                         \
    }
#define CHANGE(kind, plural, request, title)                                                                           \
    {                                                                                                                  \
        HTTP_PATCH, "/v1/" plural "/{name}", ROLE_OPERATOR, ROUTE_DRY_RUN | ROUTE_IF_MATCH, kind "_change", kind,      \
            "Changes a " kind ".", request, title, NULL, NULL, change                                                  \
    }
#define DELETE(kind, plural, role, flags, title)                                                                       \
    {                                                                                                                  \
        HTTP_DELETE, "/v1/" plural "/{name}", role, ROUTE_DRY_RUN | (flags), kind "_delete", kind,                     \
            "Deletes a " kind ".", NULL, title, NULL, NULL, delete                                                     \
    }

static const struct schema_field stop_query[] = {
    {.name = "force", .type = SCHEMA_BOOL, .default_json = "false", .description = "pull the plug"},
    {.name = NULL},
};

enum { ROUTE_COUNT = 47 };

/* The schemas are those of kind.c, so the table is made at run time, once. */
static struct route routes[ROUTE_COUNT];

static unsigned fill_routes(void)
{
    const struct kind *n = kind_of(OBJECT_NODE), *p = kind_of(OBJECT_POOL), *i = kind_of(OBJECT_IMAGE),
                      *v = kind_of(OBJECT_VOLUME), *w = kind_of(OBJECT_NETWORK), *g = kind_of(OBJECT_GUEST),
                      *t = kind_of(OBJECT_TASK), *j = kind_of(OBJECT_MIGRATION), *d = kind_of(OBJECT_DRILL),
                      *ds = kind_of(OBJECT_DRILL_SCHEDULE), *b = kind_of(OBJECT_PLAN),
                      *vm = kind_of(OBJECT_VOLUME_MOVE);
    const struct route all[] = {
        LIST("node", "nodes", n->answer),
        SHOW("node", "nodes", n->answer),
        CHANGE("node", "nodes", n->change, n->answer),
        {HTTP_DELETE, "/v1/nodes/{name}", ROLE_ADMIN, ROUTE_DRY_RUN | ROUTE_NO_CONTENT, "node_remove", "node",
         "Takes a node that is not there and has nothing out of the cluster.", NULL, NULL, NULL, NULL, remove_node},
        LIST("pool", "pools", p->answer),
        SHOW("pool", "pools", p->answer),
        CREATE("pool", "pools", ROLE_ADMIN, p->create, p->answer),
        DELETE("pool", "pools", ROLE_ADMIN, ROUTE_NO_CONTENT, NULL),
        LIST("image", "images", i->answer),
        SHOW("image", "images", i->answer),
        CREATE("image", "images", ROLE_OPERATOR, i->create, i->answer),
        DELETE("image", "images", ROLE_OPERATOR, 0, i->answer),
        LIST("volume", "volumes", v->answer),
        SHOW("volume", "volumes", v->answer),
        CREATE("volume", "volumes", ROLE_OPERATOR, v->create, v->answer),
        CHANGE("volume", "volumes", v->change, v->answer),
        DELETE("volume", "volumes", ROLE_OPERATOR, 0, v->answer),
        {HTTP_POST, "/v1/volumes/{name}/members/{index}/replace", ROLE_OPERATOR, ROUTE_DRY_RUN, "volume_replace",
         "volume",
         "Puts a fresh member in the place of one, which is filled while the volume is in use; or a blank witness in "
         "the "
         "place of the witness (index \"witness\").",
         &replace_request, v->answer, NULL, NULL, replace},
        {HTTP_POST, "/v1/volumes/{name}/scrub", ROLE_OPERATOR, ROUTE_DRY_RUN, "volume_scrub", "volume",
         "Compares all copies and checksums of a volume that is in use, and repairs what differs.", NULL, v->answer,
         NULL, NULL, scrub},
        {HTTP_POST, "/v1/volumes/{name}/key", ROLE_ADMIN, ROUTE_SECRET, "volume_key", "volume",
         "The passphrase of an encrypted volume, for who must read it without Drover. Asking for it is audited.", NULL,
         &key_answer, NULL, NULL, tell_key},
        LIST("network", "networks", w->answer),
        SHOW("network", "networks", w->answer),
        CREATE("network", "networks", ROLE_OPERATOR, w->create, w->answer),
        DELETE("network", "networks", ROLE_OPERATOR, ROUTE_NO_CONTENT, NULL),
        LIST("task", "tasks", t->answer),
        SHOW("task", "tasks", t->answer),
        LIST("migration", "migrations", j->answer),
        SHOW("migration", "migrations", j->answer),
        LIST("volume-move", "volume-moves", vm->answer),
        SHOW("volume-move", "volume-moves", vm->answer),
        LIST("drill", "drills", d->answer),
        SHOW("drill", "drills", d->answer),
        LIST("drill-schedule", "drill-schedules", ds->answer),
        SHOW("drill-schedule", "drill-schedules", ds->answer),
        CREATE("drill-schedule", "drill-schedules", ROLE_ADMIN, ds->create, ds->answer),
        DELETE("drill-schedule", "drill-schedules", ROLE_ADMIN, ROUTE_NO_CONTENT, NULL),
        LIST("plan", "plans", b->answer),
        SHOW("plan", "plans", b->answer),
        LIST("guest", "guests", g->answer),
        SHOW("guest", "guests", g->answer),
        CREATE("guest", "guests", ROLE_OPERATOR, g->create, g->answer),
        CHANGE("guest", "guests", g->change, g->answer),
        DELETE("guest", "guests", ROLE_OPERATOR, 0, g->answer),
        {HTTP_POST, "/v1/guests/{name}/start", ROLE_OPERATOR, ROUTE_DRY_RUN, "guest_start", "guest",
         "The guest is to run from now on.", NULL, g->answer, NULL, NULL, start},
        {HTTP_POST, "/v1/guests/{name}/stop", ROLE_OPERATOR, ROUTE_DRY_RUN, "guest_stop", "guest",
         "The guest is not to run: its power button is pressed, and its plug pulled if that does not help.", NULL,
         g->answer, NULL, stop_query, stop},
    };
    _Static_assert(sizeof all / sizeof *all <= ROUTE_COUNT, "ROUTE_COUNT");
    memcpy(routes, all, sizeof all);
    return sizeof all / sizeof *all;
}

struct objects *objects_new(const struct object_place *place, bool shared, struct api *api, struct err *err)
{
    struct objects *objects = calloc(1, sizeof *objects);
    if (!objects) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    *objects = (struct objects){*place, shared};
    if (api_add_routes(api, routes, fill_routes(), objects, err)) {
        free(objects);
        return NULL;
    }
    return objects;
}

void objects_free(struct objects *objects)
{
    free(objects);
}
