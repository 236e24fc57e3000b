#include "node/agent/volume_move_change.h"

#include <jansson.h>
#include <stdint.h>
#include <string.h>

#include "node/agent/change.h"
#include "node/agent/member.h"
#include "node/agent/volume_member.h"
#include "node/agent/volume_move.h"
#include "node/base/store.h"
#include "node/base/uuid.h"

/* ---- the new bytes ---- */

static void put_member(struct change *change, const struct object *volume, const json_t *move)
{
    const json_t *spec = json_object_get(move, "spec");
    int index = (int)json_integer_value(json_object_get(spec, "index"));
    json_t *member = index < 0
                         ? volume_member_plain(volume->id, member_text(spec, "member"), member_text(spec, "to"),
                                               json_integer_value(json_object_get(spec, "bytes")))
                         : volume_member_value(volume, index, member_text(spec, "member"), member_text(spec, "to"));
    if (!member)
        return;
    json_object_set_new(member, "arriving", json_true());
    change_put(change, OBJECT_MEMBER, member_text(spec, "member"), member, 0);
}

void volume_move_put(struct change *change, const struct object *volume, json_t *move)
{
    json_t *value = json_deep_copy(volume->value);
    json_object_set_new(value, "move", json_string(member_text(move, "id")));
    put_member(change, volume, move);
    change_put(change, OBJECT_VOLUME, volume->id, value, volume->revision);
    change_put(change, OBJECT_VOLUME_MOVE, member_text(move, "id"), move, 0);
}

void volume_move_set(struct change *change, const struct object *move, const char *key, json_t *value)
{
    json_t *all = json_deep_copy(move->value);
    if (value)
        json_object_set_new(all, key, value);
    else
        json_object_del(all, key);
    change_put(change, OBJECT_VOLUME_MOVE, move->id, all, move->revision);
}

static void put_leaving(struct change *change, const struct object *member)
{
    json_t *value = json_deep_copy(member->value);
    json_object_set_new(value, "deleting", json_true());
    change_put(change, OBJECT_MEMBER, member->id, value, member->revision);
}

void volume_move_remake(struct change *change, const struct mirror *m, const struct object *move)
{
    const struct object *volume = volume_move_volume(m, move), *member = volume_move_member(m, move);
    char id[UUID_TEXT_BYTES];
    json_t *value = json_deep_copy(move->value);
    uuid_make(id);
    json_object_set_new(json_object_get(value, "spec"), "member", json_string(id));
    json_object_del(value, "offline");
    if (member)
        put_leaving(change, member);
    put_member(change, volume, value);
    change_put(change, OBJECT_VOLUME_MOVE, move->id, value, move->revision);
}

/* ---- the switch-over ---- */

/* A volume without a layout: the new bytes become its own, and the old ones an object by themselves. What is observed
 * of either goes along, so that nobody is without it for a moment. */
static void switch_plain(struct change *change, const struct object *volume, const struct object *member,
                         const struct object *move)
{
    const char *old = volume_data(volume);
    json_t *value = json_deep_copy(volume->value), *state = json_deep_copy(member->state),
           *last = json_deep_copy(volume->state);
    json_object_set_new(json_object_get(value, "spec"), "pool", json_string(object_spec_text(move, "to")));
    json_object_set_new(value, "data", json_string(member->id));
    json_object_set_new(state, "data", json_string(member->id));
    json_object_set(state, "bytes", json_object_get(volume->state, "bytes"));
    json_t *retired = volume_member_plain(volume->id, old, object_spec_text(move, "from"),
                                          json_integer_value(object_spec(move, "bytes")));
    json_object_set_new(retired, "retired", json_true());
    change_put(change, OBJECT_VOLUME, volume->id, value, volume->revision);
    change_put_state(change, OBJECT_VOLUME, volume->id, state, (int64_t)volume->state_revision);
    change_delete(change, OBJECT_MEMBER, member->id, member->revision);
    change_delete_state(change, OBJECT_MEMBER, member->id);
    change_put(change, OBJECT_MEMBER, old, retired, 0);
    change_put_state(change, OBJECT_MEMBER, old, last, STORE_ANY);
}

static void switch_member(struct change *change, const struct mirror *m, const struct object *volume,
                          const struct object *member, const struct object *move)
{
    int index = volume_move_index(move);
    const struct object *old = volume_member_at(m, volume->id, index);
    json_t *value = json_deep_copy(volume->value), *arrived = json_deep_copy(member->value);
    json_array_set_new(json_object_get(json_object_get(value, "spec"), "pools"), (size_t)index,
                       json_string(object_spec_text(move, "to")));
    json_object_del(arrived, "arriving");
    json_object_set_new(arrived, "came", json_true());
    if (old) {
        json_t *retired = json_deep_copy(old->value);
        json_object_set_new(retired, "retired", json_true());
        change_put(change, OBJECT_MEMBER, old->id, retired, old->revision);
    }
    change_put(change, OBJECT_VOLUME, volume->id, value, volume->revision);
    change_put(change, OBJECT_MEMBER, member->id, arrived, member->revision);
}

void volume_move_switch(struct change *change, const struct mirror *m, const struct object *move)
{
    const struct object *volume = volume_move_volume(m, move), *member = volume_move_member(m, move);
    json_t *value = json_deep_copy(move->value);
    if (volume && member && volume_has_layout(volume))
        switch_member(change, m, volume, member, move);
    else if (volume && member)
        switch_plain(change, volume, member, move);
    json_object_set_new(value, "switched", json_true());
    json_object_del(value, "offline");
    change_put(change, OBJECT_VOLUME_MOVE, move->id, value, move->revision);
}

/* ---- the end ---- */

void volume_move_close(struct change *change, const struct mirror *m, const struct object *move)
{
    const struct object *volume = volume_move_volume(m, move), *member = volume_move_member(m, move);
    if (volume && volume_move_of(m, volume) == move) {
        json_t *value = json_deep_copy(volume->value);
        json_object_del(value, "move");
        change_put(change, OBJECT_VOLUME, volume->id, value, volume->revision);
    }
    if (!volume_move_is_switched(move) && member)
        put_leaving(change, member);
    else if (volume_move_is_switched(move))
        volume_member_drop_retired(m, change, object_spec_text(move, "volume_id"));
}
