#include "node/agent/object_request.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/agent/api.h"
#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/member.h"
#include "node/agent/object_answer.h"
#include "node/agent/volume_member.h"
#include "node/base/err.h"

struct object_request *object_request_new(struct api_call *call, struct cluster *cluster, const char *id)
{
    struct object_request *r = calloc(1, sizeof *r);
    struct change *change = r ? change_new(cluster) : NULL;
    if (!change) {
        free(r);
        api_error(call, 500, "out-of-memory", NULL, "out of memory");
        return NULL;
    }
    r->call = call;
    r->cluster = cluster;
    r->change = change;
    r->kind = object_kind_wanted(call);
    snprintf(r->id, sizeof r->id, "%s", id);
    return r;
}

void object_request_free(struct object_request *r)
{
    json_decref(r->last);
    free(r);
}

void object_request_done(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct object_request *r = context;
    struct api_call *call = r->call;
    char etag[API_ETAG_MAX];
    const struct object *o = mirror_find(cluster_mirror(r->cluster), r->kind, r->id);
    if (rc) {
        object_refuse(call, rc, err);
    } else if (r->deleted) {
        api_reply_empty(call);
    } else if ((!o || !o->value) && r->last) { /* its node was quicker than the answer */
        const struct object gone = {.kind = r->kind, .value = r->last, .revision = revision};
        api_reply(call, 200, object_view_with_task(&gone, r->task));
    } else if (!o || !o->value) { /* and deleted by somebody else at once */
        api_error(call, 409, "changed-meanwhile", NULL, "it was made and is gone again: somebody else deleted it");
    } else if (r->created) {
        object_reply_created(call, o, r->task);
    } else {
        object_etag(o, etag);
        api_reply_etag(call, 200, object_view_with_task(o, r->task), etag);
    }
    object_request_free(r);
}

/* ---- tasks ---- */

bool object_has_body(enum object_kind kind)
{
    return kind == OBJECT_GUEST || kind == OBJECT_VOLUME || kind == OBJECT_IMAGE;
}

static const char *node_of(const struct mirror *mirror, enum object_kind kind, const json_t *spec)
{
    if (kind == OBJECT_GUEST)
        return member_text(spec, "node");
    const char *first = json_string_value(json_array_get(json_object_get(spec, "pools"), 0));
    const struct object *pool = mirror_named(mirror, OBJECT_POOL, first ? first : member_text(spec, "pool"));
    return pool ? object_spec_text(pool, "node") : "";
}

void object_request_task(struct object_request *r, enum task_verb verb, const json_t *value)
{
    if (verb == TASK_VERB_COUNT)
        return;
    const struct mirror *mirror = cluster_mirror(r->cluster);
    const struct object *volume = r->kind == OBJECT_VOLUME ? mirror_find(mirror, r->kind, r->id) : NULL;
    const char *node = volume && volume_has_layout(volume) ? volume_home(mirror, volume)
                                                           : node_of(mirror, r->kind, json_object_get(value, "spec"));
    json_t *task = task_make(verb, value, node, r->call->who.name);
    if (!task)
        return; /* what was asked for is done all the same */
    snprintf(r->task, sizeof r->task, "%s", member_text(task, "name"));
    change_put(r->change, OBJECT_TASK, member_text(task, "id"), task, 0);
}
