#include "node/agent/migration_start.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/complete.h"
#include "node/agent/member.h"
#include "node/agent/migration.h"
#include "node/agent/migration_volumes.h"
#include "node/agent/room_claim.h"
#include "node/agent/volume_key.h"
#include "node/base/err.h"

static bool moves_along(const json_t *moves, const struct object *volume)
{
    for (size_t i = 0; i < json_array_size(moves); i++)
        if (!strcmp(member_text(json_object_get(json_array_get(moves, i), "spec"), "volume_id"), volume->id))
            return true;
    return false;
}

/* The bytes of none of them have begun to move. */
static void check_volumes(struct change *change, const struct mirror *mirror, const struct object *guest,
                          const json_t *moves)
{
    const json_t *disks = object_spec(guest, "disks");
    for (size_t i = 0; i < json_array_size(disks); i++) {
        const struct object *v = mirror_named(mirror, OBJECT_VOLUME, member_text(json_array_get(disks, i), "volume"));
        if (v && !moves_along(moves, v))
            change_check(change, OBJECT_VOLUME, v->id, v->revision);
    }
}

static void put_all(struct change *change, const struct mirror *mirror, const struct object *guest, json_t *migration,
                    const json_t *moves, const struct migration_origin *origin)
{
    json_t *value = json_deep_copy(guest->value), *spec = json_object_get(migration, "spec");
    if (origin) {
        json_object_set_new(spec, "plan", json_string(origin->plan));
        json_object_set_new(spec, "move", json_integer(origin->move));
        change_check(change, OBJECT_PLAN, origin->plan, origin->revision);
    }
    json_object_set_new(value, "migration", json_string(member_text(migration, "id")));
    check_volumes(change, mirror, guest, moves);
    migration_volumes_put(change, mirror, moves);
    room_claim(change, mirror, member_text(spec, "to"), guest->id, json_object_get(value, "spec"));
    change_put(change, OBJECT_MIGRATION, member_text(migration, "id"), migration, 0);
    change_put(change, OBJECT_GUEST, guest->id, value, guest->revision);
}

int migration_start(struct cluster *cluster, const char *state, const struct object *guest, const char *to,
                    const struct migration_goals *goals, const char *by, const struct migration_origin *origin,
                    task_start_done *done, void *context, struct err *err)
{
    char id[UUID_TEXT_BYTES], key[VOLUME_KEY_WRAPPED_TEXT];
    struct complete_error wrong = {0};
    uuid_make(id);
    int rc = volume_key_new(state, id, key, err);
    if (rc)
        return rc;
    json_t *migration = migration_make(guest, id, to, key, goals, by);
    json_t *moves = json_array();
    if (migration && goals->with_volumes &&
        migration_volumes_choose(cluster_mirror(cluster), guest, migration, moves, &wrong)) {
        json_decref(migration);
        json_decref(moves);
        return err_set(err, EBUSY, "%s", wrong.text);
    }
    struct task_start *s =
        migration ? task_start_new(cluster, TASK_MIGRATE, migration, object_spec_text(guest, "node"), by, done, context)
                  : NULL;
    if (s) {
        put_all(task_start_change(s), cluster_mirror(cluster), guest, migration, moves, origin);
        task_start_commit(s);
    } else {
        json_decref(migration);
        rc = err_set(err, ENOMEM, "out of memory");
    }
    json_decref(moves);
    return rc;
}
