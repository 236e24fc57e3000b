#include "node/agent/volume_move_place.h"

#include <errno.h>
#include <jansson.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "node/agent/complete_network.h"
#include "node/agent/complete_volume.h"
#include "node/agent/member.h"
#include "node/agent/migration.h"
#include "node/agent/pool_room.h"
#include "node/agent/presence.h"
#include "node/agent/volume_member.h"

enum { NODE_MAX = 128, GROUP_GRAIN = 4 << 20 /* of an LVM volume */ };

/* ---- whether ---- */

static bool grows(const struct object *v)
{
    json_int_t is = json_integer_value(json_object_get(v->state, "bytes"));
    return is < json_integer_value(object_spec(v, "size")) || !strcmp(member_text(v->state, "phase"), "growing");
}

static bool is_scrubbed(const struct object *v)
{
    return json_integer_value(json_object_get(json_object_get(v->state, "scrub"), "done")) <
           json_integer_value(json_object_get(v->value, "scrub"));
}

int volume_move_may_begin(const struct mirror *m, const struct object *v, bool alone, struct complete_error *e)
{
    const struct object *move = volume_move_of(m, v), *guest = volume_guest(m, v);
    if (json_is_true(json_object_get(v->value, "deleting")))
        return complete_refuse(e, 409, "being-deleted", NULL, "volume %s is being deleted", v->name);
    if (move)
        return complete_refuse(e, 409, "moves-already", NULL,
                               "volume %s is on its way to pool %s: wait, or cancel the task", v->name,
                               object_spec_text(move, "to"));
    if (!json_is_true(json_object_get(v->state, "made")) && strcmp(member_text(v->state, "phase"), "ready"))
        return complete_refuse(e, 409, "not-made", NULL, "volume %s is not made yet", v->name);
    if (grows(v))
        return complete_refuse(e, 409, "grows", NULL, "volume %s is being made larger: wait until it is", v->name);
    if (is_scrubbed(v))
        return complete_refuse(e, 409, "is-scrubbed", NULL, "volume %s is being scrubbed: wait until that is done",
                               v->name);
    if (alone && guest && migration_of(m, guest))
        return complete_refuse(e, 409, "guest-migrates", NULL,
                               "guest %s, which has volume %s, is on its way to another node: wait until it is there",
                               guest->name, v->name);
    return 0;
}

/* ---- where to ---- */

static const struct object *pool_of_member(const struct mirror *m, const struct object *v, size_t index)
{
    return mirror_named(m, OBJECT_POOL, json_string_value(json_array_get(object_spec(v, "pools"), index)));
}

static bool is_on(const struct object *pool, const char *node)
{
    return pool && !strcmp(object_spec_text(pool, "node"), node);
}

/* "0 on n1, 1 on n2" */
static const char *describe_members(const struct mirror *m, const struct object *v, char *text, size_t room)
{
    size_t used = 0;
    text[0] = 0;
    for (size_t i = 0; i < json_array_size(object_spec(v, "pools")) && used < room; i++) {
        const struct object *pool = pool_of_member(m, v, i);
        used += (size_t)snprintf(text + used, room - used, "%s%zu on %s", i ? ", " : "", i,
                                 pool ? object_spec_text(pool, "node") : "no node");
    }
    return text;
}

static int choose_member(const struct mirror *m, const struct object *v, int member, struct volume_move_wish *w,
                         struct complete_error *e)
{
    char text[160];
    size_t count = json_array_size(object_spec(v, "pools"));
    w->index = -1;
    w->from = mirror_named(m, OBJECT_POOL, object_spec_text(v, "pool"));
    if (!volume_has_layout(v) && member > 0)
        return complete_refuse(e, 422, "no-layout", "member", "volume %s has no layout, so it has no members", v->name);
    if (!volume_has_layout(v))
        return 0;
    if (member < 0 && count == 1)
        member = 0;
    if (member < 0)
        return complete_refuse(e, 422, "which-member", "member", "say which member of volume %s moves: %s", v->name,
                               describe_members(m, v, text, sizeof text));
    if ((size_t)member >= count)
        return complete_refuse(e, 404, "member-not-found", "member", "volume %s has the members 0 to %zu", v->name,
                               count - 1);
    w->index = member;
    w->from = pool_of_member(m, v, (size_t)member);
    return 0;
}

/* In front of what a guest sees of an encrypted one without a layout lies its header. */
static uint64_t bytes_of(const struct mirror *m, const struct object *v, int index)
{
    const struct object *member = index < 0 ? NULL : volume_member_at(m, v->id, index);
    uint64_t bytes =
        (uint64_t)json_integer_value(index < 0 ? json_object_get(v->state, "bytes") : object_spec(member, "bytes"));
    return index < 0 && *member_text(v->value, "key") ? bytes + VOLUME_HEADER_BYTES : bytes;
}

static bool is_candidate(const struct object *pool, const char *node)
{
    return is_on(pool, node) && !json_is_true(json_object_get(pool->value, "deleting"));
}

static bool is_device(const struct object *pool)
{
    return !strcmp(object_spec_text(pool, "driver"), "block");
}

static uint64_t taken_of(const struct volume_move_wish *w, const struct object *pool)
{
    return (uint64_t)json_integer_value(json_object_get(w->taken, pool->name));
}

uint64_t volume_move_coming(const struct mirror *m, const struct object *pool)
{
    uint64_t coming = 0;
    for (const struct object *o = mirror_next(m, OBJECT_VOLUME_MOVE, NULL); o;
         o = mirror_next(m, OBJECT_VOLUME_MOVE, o->name)) {
        uint64_t bytes = (uint64_t)json_integer_value(object_spec(o, "bytes"));
        uint64_t done = (uint64_t)json_integer_value(json_object_get(o->state, "done_bytes"));
        if (o->value && !volume_move_has_ended(o) && !strcmp(object_spec_text(o, "to"), pool->name) && done < bytes)
            coming += bytes - done;
    }
    return coming;
}

static bool has_room(const struct mirror *m, const struct object *pool, const struct volume_move_wish *w)
{
    return pool_room_fits(pool, w->bytes + taken_of(w, pool) + volume_move_coming(m, pool));
}

/* A volume group has parts, and the disk is to be as large afterwards. */
static bool is_multiple(const struct object *pool, const struct volume_move_wish *w)
{
    return w->index >= 0 || strcmp(object_spec_text(pool, "driver"), "lvm") != 0 || w->bytes % GROUP_GRAIN == 0;
}

static const struct object *choose_pool(const struct mirror *m, const char *node, const struct volume_move_wish *w)
{
    const struct object *first = NULL, *device = NULL; /* in the place of none: it is said what is wrong with it */
    for (const struct object *p = mirror_next(m, OBJECT_POOL, NULL); p; p = mirror_next(m, OBJECT_POOL, p->name)) {
        if (!is_candidate(p, node))
            continue;
        if (is_device(p)) {
            device = device ? device : p;
            continue;
        }
        if (has_room(m, p, w) && is_multiple(p, w))
            return p;
        first = first ? first : p;
    }
    return first ? first : device;
}

static int find_pool(const struct mirror *m, const char *to, struct volume_move_wish *w, struct complete_error *e)
{
    char node[NODE_MAX];
    const char *colon = strchr(to, ':');
    snprintf(node, sizeof node, "%.*s", (int)(colon ? colon - to : (ptrdiff_t)strlen(to)), to);
    const struct object *n = mirror_named(m, OBJECT_NODE, node);
    if (!n)
        return complete_refuse(e, 422, "reference-not-found", "to", "there is no node '%s'", node);
    if (!presence_is_alive(n))
        return complete_refuse(e, 409, "node-away", "to", "node %s is not there at the moment", node);
    if (json_is_true(object_spec(n, "drained")) && json_is_true(object_spec(n, "drain_volumes")))
        return complete_refuse(e, 409, "drained", "to",
                               "node %s is drained, and of volumes, too: `drover node undrain %s` or take another",
                               node, node);
    w->to = colon ? mirror_named(m, OBJECT_POOL, colon + 1) : choose_pool(m, node, w);
    if (!w->to && colon)
        return complete_refuse(e, 422, "reference-not-found", "to", "there is no pool '%s'", colon + 1);
    if (!w->to)
        return complete_refuse(e, 409, "no-pool", "to",
                               "node %s has no pool: `drover pool create NAME --node %s --path ...`", node, node);
    if (!is_on(w->to, node))
        return complete_refuse(e, 422, "invalid", "to", "pool %s is node %s's", w->to->name,
                               object_spec_text(w->to, "node"));
    return 0;
}

static int check_plain(const struct volume_move_wish *w, struct complete_error *e)
{
    if (is_device(w->to))
        return complete_refuse(e, 409, "pool-is-a-device", "to",
                               "pool %s is one device, and would change the size of the disk: take a directory or a "
                               "volume group",
                               w->to->name);
    if (!is_multiple(w->to, w))
        return complete_refuse(e, 409, "no-multiple", "to",
                               "pool %s is a volume group and has parts of 4 MiB, the volume has %llu bytes: make it a "
                               "multiple of 4M (`drover volume resize`), or take a directory",
                               w->to->name, (unsigned long long)w->bytes);
    return 0;
}

int volume_move_choose(const struct mirror *m, const struct object *v, const char *to, int member,
                       struct volume_move_wish *w, struct complete_error *e)
{
    if (choose_member(m, v, member, w, e))
        return -EINVAL;
    w->bytes = bytes_of(m, v, w->index);
    if (!w->from)
        return complete_refuse(e, 409, "no-pool", NULL, "the pool of volume %s is gone", v->name);
    if (!presence_is_alive(mirror_named(m, OBJECT_NODE, object_spec_text(w->from, "node"))))
        return complete_refuse(e, 409, "node-away", NULL, "node %s, which has the bytes, is not there at the moment%s",
                               object_spec_text(w->from, "node"),
                               w->index < 0 ? "" : ": `drover volume replace` makes a fresh member");
    if (find_pool(m, to, w, e))
        return -EINVAL;
    if (w->to == w->from)
        return complete_refuse(e, 409, "is-there", "to", "it is in pool %s already", w->to->name);
    if (!has_room(m, w->to, w))
        return complete_refuse(e, 409, "no-room", "to",
                               "pool %s has no room for %llu bytes: %lld are free, and %llu are on their way there. "
                               "Make room, or name another pool (NODE:POOL)",
                               w->to->name, (unsigned long long)(w->bytes + taken_of(w, w->to)),
                               (long long)json_integer_value(json_object_get(w->to->state, "free_bytes")),
                               (unsigned long long)volume_move_coming(m, w->to));
    if (w->index < 0)
        return check_plain(w, e);
    json_t *spec = json_deep_copy(json_object_get(v->value, "spec"));
    int rc = complete_replacement(m, v, (unsigned)w->index, w->to->name, spec, e);
    json_decref(spec);
    return rc;
}

bool volume_move_local(const struct mirror *m, const struct object *v, const char *from, const char *to, int *member)
{
    size_t count = json_array_size(object_spec(v, "pools"));
    *member = -1;
    if (!volume_has_layout(v))
        return is_on(mirror_named(m, OBJECT_POOL, object_spec_text(v, "pool")), from);
    for (size_t i = 0; i < count; i++)
        if (is_on(pool_of_member(m, v, i), from))
            *member = (int)i;
        else if (is_on(pool_of_member(m, v, i), to)) {
            *member = -1;
            return false; /* it is there as well as here */
        }
    return *member >= 0;
}
