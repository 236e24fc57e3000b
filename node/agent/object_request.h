/* A change of an object that is on its way to the store for a call. Thread: the loop's. */
#ifndef NODE_AGENT_OBJECT_REQUEST_H
#define NODE_AGENT_OBJECT_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "node/agent/mirror.h"
#include "node/agent/record_name.h"
#include "node/agent/task.h"
#include "node/base/uuid.h"

struct api_call;
struct change;
struct cluster;
struct err;
struct json_t;

struct object_request {
    struct api_call *call;
    struct cluster *cluster;
    struct change *change;                             /* for it, to be committed in any case */
    enum object_kind kind;                             /* of the call's route */
    char id[UUID_TEXT_BYTES], task[RECORD_NAME_BYTES]; /* task "": none follows */
    bool created, deleted;
    struct json_t *last; /* of one that is to be deleted: how it was when that was asked; NULL: it stays */
    void *context;       /* the caller's */
};

/* id: the object's. NULL: answered. */
struct object_request *object_request_new(struct api_call *call, struct cluster *cluster, const char *id);
void object_request_free(struct object_request *request);

/* A task that follows it, in the same change; TASK_VERB_COUNT: none. value: the object as it is wanted from now on. */
void object_request_task(struct object_request *request, enum task_verb verb, const struct json_t *value);

/* A change_done(): answers the call and frees the request, its context. */
void object_request_done(void *context, int rc, uint64_t revision, const struct err *err);

/* Whoever has bytes or a process somewhere: what becomes of it takes its time, and its node deletes it. */
bool object_has_body(enum object_kind kind);

#endif
