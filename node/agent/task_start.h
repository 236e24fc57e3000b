/* The beginning of what a task follows: the task and all else that begins it in one change, all or nothing.
 *
 *     task_start_new() --> what begins is put into task_start_change() --> task_start_commit() --> done(), once
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_TASK_START_H
#define NODE_AGENT_TASK_START_H

#include "node/agent/record_name.h"
#include "node/agent/task.h"
#include "node/base/uuid.h"

struct change;
struct cluster;
struct err;
struct json_t;
struct task_start;

/* id: of what has begun; task: the name of the task that follows it. */
struct task_started {
    char id[UUID_TEXT_BYTES], task[RECORD_NAME_BYTES];
};

/* rc and err as change_done() has them. */
typedef void task_start_done(void *context, int rc, const struct task_started *started, const struct err *err);

/* A task for that object on that node. NULL: out of memory. */
struct task_start *task_start_new(struct cluster *cluster, enum task_verb verb, const struct json_t *object,
                                  const char *node, const char *by, task_start_done *done, void *context);
struct change *task_start_change(struct task_start *start);
void task_start_commit(struct task_start *start);

#endif
