#include "node/agent/task_start.h"

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/agent/change.h"
#include "node/agent/member.h"

struct task_start {
    struct task_started started;
    struct change *change;
    task_start_done *done;
    void *context;
};

struct task_start *task_start_new(struct cluster *cluster, enum task_verb verb, const json_t *object, const char *node,
                                  const char *by, task_start_done *done, void *context)
{
    json_t *task = task_make(verb, object, node, by);
    struct task_start *s = task ? calloc(1, sizeof *s) : NULL;
    struct change *change = s ? change_new(cluster) : NULL;
    if (!change) {
        json_decref(task);
        free(s);
        return NULL;
    }
    *s = (struct task_start){.change = change, .done = done, .context = context};
    snprintf(s->started.id, sizeof s->started.id, "%s", member_text(object, "id"));
    snprintf(s->started.task, sizeof s->started.task, "%s", member_text(task, "name"));
    change_put(change, OBJECT_TASK, member_text(task, "id"), task, 0);
    return s;
}

struct change *task_start_change(struct task_start *s)
{
    return s->change;
}

static void made(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct task_start *s = context;
    (void)revision;
    s->done(s->context, rc, &s->started, err);
    free(s);
}

void task_start_commit(struct task_start *s)
{
    change_commit(s->change, made, s);
}
