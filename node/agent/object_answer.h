/* What the API answers of an object: how it is shown, and what became of a change of it. Thread: the loop's. */
#ifndef NODE_AGENT_OBJECT_ANSWER_H
#define NODE_AGENT_OBJECT_ANSWER_H

#include "node/agent/mirror.h"

struct api_call;
struct err;
struct json_t;

/* As the API shows it, without its key; new reference. */
struct json_t *object_view(const struct object *object);
/* With the task that says what becomes of it; "": none does. */
struct json_t *object_view_with_task(const struct object *object, const char *task);
/* etag: API_ETAG_MAX bytes. object: NULL: there is none yet. */
void object_etag(const struct object *object, char *etag);

/* What the route is tagged with. */
enum object_kind object_kind_wanted(const struct api_call *call);
/* The object that the call's path names, by name or by id, of the kind its route is tagged with. NULL: answered with
 * 404. */
const struct object *object_wanted(struct api_call *call, const struct mirror *mirror);

/* Answers a call that made it; task: as above. */
void object_reply_created(struct api_call *call, const struct object *object, const char *task);
/* Answers a call whose change came to nothing; rc and err as change_done() has them. */
void object_refuse(struct api_call *call, int rc, const struct err *err);
/* ... because others were given room all the time (room_turn.h). */
void object_crowded(struct api_call *call);

#endif
