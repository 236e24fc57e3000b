#include "node/agent/object_answer.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "node/agent/api.h"
#include "node/agent/kind.h"
#include "node/base/err.h"

enum { STORE_RETRY_S = 2 };

json_t *object_view(const struct object *object)
{
    json_t *view = json_copy(object->value);
    json_object_del(view, "key"); /* wrapped as it is, nobody needs it */
    json_object_del(view, "replaced");
    json_object_del(view, "data"); /* state.path and state.uri have it */
    json_object_del(view, "started");
    json_object_del(view, "scrub"); /* state.scrub says what came of it */
    json_object_set_new(view, "revision", json_integer((json_int_t)object->revision));
    json_object_set_new(view, "state", object->state ? json_incref(object->state) : json_object());
    return view;
}

void object_etag(const struct object *object, char *etag)
{
    snprintf(etag, API_ETAG_MAX, "%" PRIu64, object ? object->revision : 0);
}

enum object_kind object_kind_wanted(const struct api_call *call)
{
    return (enum object_kind)object_kind_of(call->route->tag);
}

const struct object *object_wanted(struct api_call *call, const struct mirror *mirror)
{
    enum object_kind kind = object_kind_wanted(call);
    const char *name = api_parameter(call, "name");
    const struct object *o = mirror_named(mirror, kind, name);
    if (!o)
        o = mirror_find(mirror, kind, name);
    if (o && o->value)
        return o;
    char code[64];
    snprintf(code, sizeof code, "%s-not-found", object_kind_name(kind));
    api_error(call, 404, code, NULL, "there is no %s '%s'; `drover %s list` shows those there are",
              object_kind_name(kind), name, object_kind_name(kind));
    return NULL;
}

void object_refuse(struct api_call *call, int rc, const struct err *err)
{
    if (rc == -ESTALE || rc == -EAGAIN)
        api_error(call, 409, "changed-meanwhile", NULL,
                  "somebody else changed it at the same time: look again and repeat");
    else if (rc == -EHOSTUNREACH)
        api_unavailable(call, STORE_RETRY_S, "store-unreachable", "the store is away, so nothing was changed: %s",
                        err->text);
    else if (rc == -ETIMEDOUT)
        api_unavailable(call, STORE_RETRY_S, "store-silent",
                        "the store did not answer, so the change may have been made or not: look again (%s)",
                        err->text);
    else
        api_error_err(call, "store-refused", err);
}

json_t *object_view_with_task(const struct object *o, const char *task)
{
    json_t *view = object_view(o);
    if (*task)
        json_object_set_new(view, "task", json_string(task));
    return view;
}

void object_reply_created(struct api_call *call, const struct object *o, const char *task)
{
    char etag[API_ETAG_MAX], location[160];
    object_etag(o, etag);
    snprintf(location, sizeof location, "/v1/%s/%s", kind_of(o->kind)->plural, o->name);
    api_reply_created(call, object_view_with_task(o, task), etag, location);
}

void object_crowded(struct api_call *call)
{
    api_unavailable(call, STORE_RETRY_S, "crowded", "others are given room before, so nothing was changed: repeat it");
}
