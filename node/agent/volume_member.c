#include "node/agent/volume_member.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "node/agent/change.h"
#include "node/agent/member.h"
#include "node/agent/presence.h"
#include "node/base/uuid.h"

/* ---- layouts ---- */

bool volume_has_layout(const struct object *volume)
{
    return *object_spec_text(volume, "layout");
}

bool volume_layout(const struct object *volume, struct layout *layout)
{
    char why[160];
    return !layout_parse(object_spec_text(volume, "layout"), layout, why, sizeof why);
}

/* ---- making ---- */

/* LUKS lies above the layout, so its header is part of what the members hold. */
static json_int_t with_header(const json_t *spec, json_int_t bytes)
{
    return bytes && json_is_true(json_object_get(spec, "encrypted")) ? bytes + VOLUME_HEADER_BYTES : bytes;
}

static json_int_t bytes_of(const json_t *spec, const char *key)
{
    return with_header(spec, json_integer_value(json_object_get(spec, key)));
}

uint64_t volume_member_volume_bytes(const struct object *volume)
{
    return (uint64_t)bytes_of(json_object_get(volume->value, "spec"), "size");
}

/* value: the volume's. NULL: it has a layout that is not known here. */
static json_t *value_of(const json_t *value, int index, const char *id, const char *pool, bool replacement)
{
    struct layout l;
    char why[160];
    const json_t *spec = json_object_get(value, "spec");
    if (layout_parse(member_text(spec, "layout"), &l, why, sizeof why))
        return NULL;
    json_int_t volume_bytes = bytes_of(spec, "size"), room_bytes = bytes_of(spec, "room");
    uint64_t bytes = index == WITNESS ? layout_witness_bytes()
                                      : layout_member_bytes(&l, (uint64_t)volume_bytes, (uint64_t)room_bytes);
    json_t *name = json_sprintf("%s.%s", member_text(value, "id"), id);
    return json_pack("{s:s, s:s, s:o, s:{s:s, s:i, s:s, s:s, s:i, s:i, s:b, s:I, s:I, s:I, s:b}}", "kind",
                     object_kind_name(OBJECT_MEMBER), "id", id, "name", name, "spec", "volume",
                     member_text(value, "id"), "index", index, "pool", pool, "layout", l.name, "members",
                     (int)l.members, "quorum", (int)l.quorum, "voted", *member_text(spec, "witness") != 0,
                     "volume_bytes", volume_bytes, "room_bytes", room_bytes, "bytes", (json_int_t)bytes, "replacement",
                     replacement);
}

/* fresh: the id of one that takes another's place; NULL: it is there from the beginning. */
static void add(struct change *change, const json_t *value, int index, const char *fresh)
{
    char id[UUID_TEXT_BYTES];
    const json_t *spec = json_object_get(value, "spec");
    const char *pool = index == WITNESS
                           ? member_text(spec, "witness")
                           : json_string_value(json_array_get(json_object_get(spec, "pools"), (size_t)index));
    if (fresh)
        snprintf(id, sizeof id, "%s", fresh);
    else
        uuid_make(id);
    json_t *member = value_of(value, index, id, pool, fresh);
    if (member)
        change_put(change, OBJECT_MEMBER, id, member, 0);
}

json_t *volume_member_value(const struct object *volume, int index, const char *id, const char *pool)
{
    json_t *value = value_of(volume->value, index, id, pool, false);
    if (value)
        json_object_set_new(json_object_get(value, "spec"), "copied", json_true());
    return value;
}

json_t *volume_member_plain(const char *volume, const char *id, const char *pool, int64_t bytes)
{
    return json_pack("{s:s, s:s, s:o, s:{s:s, s:i, s:s, s:I}}", "kind", object_kind_name(OBJECT_MEMBER), "id", id,
                     "name", json_sprintf("%s.%s", volume, id), "spec", "volume", volume, "index", 0, "pool", pool,
                     "bytes", (json_int_t)bytes);
}

void volume_member_add_all(struct change *change, const json_t *value)
{
    const json_t *spec = json_object_get(value, "spec");
    for (size_t i = 0; i < json_array_size(json_object_get(spec, "pools")); i++)
        add(change, value, (int)i, NULL);
    if (*member_text(spec, "witness"))
        add(change, value, WITNESS, NULL);
}

static void drop(struct change *change, const struct object *member)
{
    json_t *value = json_deep_copy(member->value);
    json_object_set_new(value, "deleting", json_true());
    change_put(change, OBJECT_MEMBER, member->id, value, member->revision);
}

/* The volume's next one, NULL at the end: their names begin with its id. */
static const struct object *next_of(const struct mirror *m, const char *volume, const struct object *after)
{
    const struct object *o = mirror_next(m, OBJECT_MEMBER, after ? after->name : volume);
    return o && !strcmp(object_spec_text(o, "volume"), volume) ? o : NULL;
}

static bool is_leaving(const struct object *member)
{
    return json_is_true(json_object_get(member->value, "deleting"));
}

void volume_member_resize(const struct mirror *m, struct change *change, const json_t *value)
{
    struct layout l;
    char why[160];
    const json_t *spec = json_object_get(value, "spec");
    json_int_t volume_bytes = bytes_of(spec, "size"), room_bytes = bytes_of(spec, "room");
    const char *id = member_text(value, "id");
    if (layout_parse(member_text(spec, "layout"), &l, why, sizeof why))
        return;
    uint64_t bytes = layout_member_bytes(&l, (uint64_t)volume_bytes, (uint64_t)room_bytes);
    for (const struct object *o = next_of(m, id, NULL); o; o = next_of(m, id, o)) {
        if (is_leaving(o))
            continue;
        json_t *member = json_deep_copy(o->value), *of = json_object_get(member, "spec");
        json_object_set_new(of, "volume_bytes", json_integer(volume_bytes));
        if (json_integer_value(json_object_get(of, "index")) != WITNESS)
            json_object_set_new(of, "bytes", json_integer((json_int_t)bytes));
        change_put(change, OBJECT_MEMBER, o->id, member, o->revision);
    }
}

void volume_member_drop_retired(const struct mirror *m, struct change *change, const char *volume)
{
    for (const struct object *o = next_of(m, volume, NULL); o; o = next_of(m, volume, o))
        if (!is_leaving(o) && json_is_true(json_object_get(o->value, "retired")))
            drop(change, o);
}

void volume_member_drop_all(const struct mirror *m, struct change *change, const char *volume)
{
    for (const struct object *o = next_of(m, volume, NULL); o; o = next_of(m, volume, o))
        if (!is_leaving(o))
            drop(change, o);
}

void volume_member_replace(const struct mirror *m, struct change *change, const json_t *value)
{
    const json_t *replaced = json_object_get(value, "replaced");
    int index = (int)json_integer_value(json_object_get(replaced, "index"));
    const struct object *old = volume_member_at(m, member_text(value, "id"), index);
    if (old)
        drop(change, old);
    add(change, value, index, member_text(replaced, "id"));
}

/* ---- looking ---- */

const char *volume_data(const struct object *volume)
{
    const char *data = member_text(volume->value, "data");
    return *data ? data : volume->id;
}

bool volume_state_is_current(const struct object *volume)
{
    const char *data = member_text(volume->state, "data");
    return !strcmp(*data ? data : volume->id, volume_data(volume));
}

/* On its way to a place that another one has, or it has left it. */
static bool is_beside(const struct object *member)
{
    return json_is_true(json_object_get(member->value, "arriving")) ||
           json_is_true(json_object_get(member->value, "retired"));
}

const struct object *volume_member_at(const struct mirror *m, const char *volume, int index)
{
    for (const struct object *o = next_of(m, volume, NULL); o; o = next_of(m, volume, o))
        if (!is_leaving(o) && !is_beside(o) && json_integer_value(object_spec(o, "index")) == index)
            return o;
    return NULL;
}

bool volume_member_is_any(const struct mirror *m, const char *volume)
{
    return next_of(m, volume, NULL);
}

static const char *node_of_pool(const struct mirror *m, const char *name)
{
    const struct object *pool = mirror_named(m, OBJECT_POOL, name);
    return pool ? object_spec_text(pool, "node") : "";
}

const char *volume_member_node(const struct mirror *m, const struct object *member)
{
    return node_of_pool(m, object_spec_text(member, "pool"));
}

bool volume_member_is_up(const struct mirror *m, const struct object *member)
{
    return presence_is_alive(mirror_named(m, OBJECT_NODE, volume_member_node(m, member)));
}

bool volume_member_all_large(const struct mirror *m, const struct object *volume, int *index)
{
    for (int i = 0; i < (int)json_array_size(object_spec(volume, "pools")); i++) {
        const struct object *member = volume_member_at(m, volume->id, i);
        if (member && volume_member_is_up(m, member) &&
            json_integer_value(json_object_get(member->state, "bytes")) <
                json_integer_value(object_spec(member, "bytes"))) {
            *index = i;
            return false;
        }
    }
    return true;
}

const struct object *volume_guest(const struct mirror *m, const struct object *volume)
{
    for (const struct object *g = mirror_next(m, OBJECT_GUEST, NULL); g; g = mirror_next(m, OBJECT_GUEST, g->name)) {
        const json_t *disks = object_spec(g, "disks");
        for (size_t i = 0; i < json_array_size(disks); i++)
            if (!strcmp(member_text(json_array_get(disks, i), "volume"), volume->name))
                return g;
    }
    return NULL;
}

const char *volume_home(const struct mirror *m, const struct object *volume)
{
    bool made = json_is_true(json_object_get(volume->state, "made"));
    const struct object *guest = made ? volume_guest(m, volume) : NULL;
    const json_t *pools = object_spec(volume, "pools");
    const char *home = "";
    if (guest)
        return object_spec_text(guest, "node");
    for (size_t i = 0; i < json_array_size(pools); i++) {
        const char *node = node_of_pool(m, json_string_value(json_array_get(pools, i)));
        if (presence_is_alive(mirror_named(m, OBJECT_NODE, node)))
            return node;
        home = *home ? home : node;
    }
    return home;
}
