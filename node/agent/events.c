#include "node/agent/events.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "node/agent/api.h"
#include "node/agent/cluster.h"
#include "node/agent/object_answer.h"
#include "node/agent/websocket.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { FOLLOWERS_MAX = 64 };

struct follower {
    struct events *events;
    struct websocket *websocket;
    LIST_ENTRY(follower) link;
};

struct events {
    struct cluster *cluster;
    struct mirror_listener listener;
    LIST_HEAD(, follower) followers;
    unsigned count;
};

static void send_all(struct events *e, const char *text, size_t bytes)
{
    struct follower *f, *next;
    for (f = LIST_FIRST(&e->followers); f; f = next) {
        next = LIST_NEXT(f, link);
        if (websocket_send(f->websocket, true, text, bytes) == -EAGAIN)
            websocket_close(f->websocket, WEBSOCKET_TRY_AGAIN, "too slow");
    }
}

static void object_changed(struct mirror_listener *listener, const struct object *object, enum object_part part)
{
    struct events *e = CONTAINER_OF(listener, struct events, listener);
    (void)part;
    if (LIST_EMPTY(&e->followers) || object->kind == OBJECT_TOKEN || object->kind == OBJECT_LOAD ||
        object->kind == OBJECT_HOURS || object->kind == OBJECT_BALANCER || object->kind == OBJECT_ROOM)
        return;
    json_t *event = json_pack("{s:s, s:s, s:s, s:s, s:o?}", "kind", object_kind_name(object->kind), "id", object->id,
                              "name", object->name, "change", object->value ? "put" : "deleted", "object",
                              object->value ? object_view(object) : json_null());
    char *text = json_dumps(event, JSON_COMPACT);
    if (text)
        send_all(e, text, strlen(text));
    free(text);
    json_decref(event);
}

/* ---- followers ---- */

static void message(struct websocket *websocket, void *context, bool text, const char *data, size_t bytes)
{
    (void)context;
    (void)text;
    (void)data;
    (void)bytes;
    websocket_close(websocket, WEBSOCKET_POLICY, "nothing is to be said here");
}

static void closed(struct websocket *websocket, void *context, unsigned code)
{
    struct follower *f = context;
    (void)websocket;
    (void)code;
    LIST_REMOVE(f, link);
    f->events->count--;
    free(f);
}

static const struct websocket_events follower_events = {.message = message, .closed = closed};

static void follow(void *context, struct api_call *call)
{
    struct events *e = context;
    struct follower *f = e->count < FOLLOWERS_MAX ? calloc(1, sizeof *f) : NULL;
    if (!f) {
        api_unavailable(call, 10, "too-many", "%u follow already, which is the limit", e->count);
        return;
    }
    f->events = e;
    f->websocket = api_accept_websocket(call, &follower_events, f);
    if (!f->websocket) {
        free(f);
        return;
    }
    LIST_INSERT_HEAD(&e->followers, f, link);
    e->count++;
}

static const struct route routes[] = {
    {HTTP_GET, "/v1/events", ROLE_VIEWER, ROUTE_WEBSOCKET, "event_follow", "event", "What happens, as it happens.",
     NULL, NULL, NULL, NULL, follow},
};

struct events *events_new(struct cluster *cluster, struct api *api, struct err *err)
{
    struct events *e = calloc(1, sizeof *e);
    if (!e) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    e->cluster = cluster;
    e->listener.changed = object_changed;
    LIST_INIT(&e->followers);
    if (api_add_routes(api, routes, sizeof routes / sizeof *routes, e, err)) {
        free(e);
        return NULL;
    }
    mirror_listen(cluster_mirror(cluster), &e->listener);
    return e;
}

void events_free(struct events *e)
{
    if (!e)
        return;
    mirror_unlisten(&e->listener);
    free(e);
}
