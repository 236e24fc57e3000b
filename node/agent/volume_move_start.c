#include "node/agent/volume_move_start.h"

#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/member.h"
#include "node/agent/task.h"
#include "node/agent/volume_member.h"
#include "node/agent/volume_move_change.h"
#include "node/base/err.h"

struct start {
    struct volume_move_started started;
    void (*done)(void *context, int rc, const struct volume_move_started *started, const struct err *err);
    void *context;
};

static void made(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct start *s = context;
    (void)revision;
    s->done(s->context, rc, &s->started, err);
    free(s);
}

int volume_move_start(struct cluster *cluster, const struct object *volume, json_t *move, const char *node,
                      const char *by,
                      void (*done)(void *context, int rc, const struct volume_move_started *started,
                                   const struct err *err),
                      void *context, struct err *err)
{
    json_t *task = move ? task_make(TASK_MOVE, move, node, by) : NULL;
    struct start *s = task ? calloc(1, sizeof *s) : NULL;
    struct change *change = s ? change_new(cluster) : NULL;
    if (!change) {
        json_decref(move);
        json_decref(task);
        free(s);
        return err_set(err, ENOMEM, "out of memory");
    }
    *s = (struct start){.done = done, .context = context};
    snprintf(s->started.id, sizeof s->started.id, "%s", member_text(move, "id"));
    snprintf(s->started.task, sizeof s->started.task, "%s", member_text(task, "name"));
    change_put(change, OBJECT_TASK, member_text(task, "id"), task, 0);
    const struct object *guest = volume_guest(cluster_mirror(cluster), volume);
    if (guest) /* which does not begin to migrate at the same time */
        change_check(change, OBJECT_GUEST, guest->id, guest->revision);
    volume_move_put(change, volume, move);
    change_commit(change, made, s);
    return 0;
}
