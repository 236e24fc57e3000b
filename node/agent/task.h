/* A task: the record of one change that takes its time, from the request to its end. What is done is driven by the
 * objects alone; a task says how far that is, and remembers how it went.
 *
 *     value   {"kind":"task", "id":..., "name":..., "spec":{"verb", "object_kind", "object_id", "object", "node", "by",
 * "began"}, "cancel": true once somebody cancels it} state   {"phase", "reason", "done_bytes", "total_bytes", "ended",
 * "log":[{"at", "text"}]}, written by spec.node
 *
 *     running --object is as wanted--> done
 *        |----its node gave up-------> failed
 *        +----wanted otherwise-------> cancelled
 *
 * Names begin with the time, so that lists are in the order of time. Threads: any. */
#ifndef NODE_AGENT_TASK_H
#define NODE_AGENT_TASK_H

#include <stdbool.h>
#include <stdint.h>

#include "node/agent/mirror.h"

struct json_t;

enum task_verb {
    TASK_CREATE,
    TASK_RESIZE,
    TASK_START,
    TASK_STOP,
    TASK_DELETE,
    TASK_MIGRATE,
    TASK_MOVE,
    TASK_REPLACE,
    TASK_SCRUB,
    TASK_FAILOVER,
    TASK_DRILL,
    TASK_VERB_COUNT
};
enum task_phase { TASK_RUNNING, TASK_DONE, TASK_FAILED, TASK_CANCELLED, TASK_PHASE_COUNT };

/* A new task for that object as it is wanted; new reference, NULL: out of memory. node: whose work it is. */
struct json_t *task_make(enum task_verb verb, const struct json_t *object, const char *node, const char *by);

enum task_verb task_verb_of(const struct object *task);
const char *task_verb_name(enum task_verb verb);
const char *task_phase_name(enum task_phase phase);
/* From its state; TASK_RUNNING if nobody has looked at it yet. */
enum task_phase task_phase_of(const struct object *task);

struct task_outcome {
    enum task_phase phase;
    const char *reason; /* of a failure or an end before its time; what it waits for; "" */
    const char *step;   /* what the object's node does now: its phase; "" */
    uint64_t done_bytes, total_bytes;
};

/* How far it is. object: what it is about, or NULL when that is gone. The texts are the object's or constant. */
struct task_outcome task_judge(const struct object *task, const struct object *object);

#endif
