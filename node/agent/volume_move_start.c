#include "node/agent/volume_move_start.h"

#include <errno.h>
#include <jansson.h>

#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/volume_member.h"
#include "node/agent/volume_move_change.h"
#include "node/base/err.h"

int volume_move_start(struct cluster *cluster, const struct object *volume, json_t *move, const char *node,
                      const char *by, task_start_done *done, void *context, struct err *err)
{
    struct task_start *s = move ? task_start_new(cluster, TASK_MOVE, move, node, by, done, context) : NULL;
    if (!s) {
        json_decref(move);
        return err_set(err, ENOMEM, "out of memory");
    }
    const struct object *guest = volume_guest(cluster_mirror(cluster), volume);
    if (guest) /* which does not begin to migrate at the same time */
        change_check(task_start_change(s), OBJECT_GUEST, guest->id, guest->revision);
    volume_move_put(task_start_change(s), volume, move);
    task_start_commit(s);
    return 0;
}
