#include "node/agent/room_claim.h"

#include <jansson.h>

#include "node/agent/change.h"
#include "node/base/store.h"

static void claim(struct change *change, const struct mirror *mirror, const char *id, const char *guest)
{
    const struct object *room = mirror_find(mirror, OBJECT_ROOM, id);
    change_claim(change, OBJECT_ROOM, id, json_pack("{s:s}", "guest", guest),
                 room ? (int64_t)room->state_revision : STORE_ABSENT);
}

void room_claim(struct change *change, const struct mirror *mirror, const char *node, const char *guest,
                const json_t *spec)
{
    const struct object *n = mirror_named(mirror, OBJECT_NODE, node);
    if (n && json_is_true(json_object_get(spec, "running")))
        claim(change, mirror, n->id, guest);
    if (json_array_size(json_object_get(spec, "affinity")) || json_array_size(json_object_get(spec, "anti_affinity")))
        claim(change, mirror, "groups", guest);
}

void room_forget(struct change *change, const struct object *node)
{
    change_delete_state(change, OBJECT_ROOM, node->id);
}
