#include "node/agent/load_storage.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/layout.h"
#include "node/agent/member.h"
#include "node/agent/mirror.h"
#include "node/agent/volume_member.h"

enum { DISKS_MAX = 64 };

static uint64_t count_of(const json_t *object, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(object, key));
    return n > 0 ? (uint64_t)n : 0;
}

/* ---- what is done ---- */

/* NULL: there is no more room. */
static struct load_share *share_of(struct load_storage *s, unsigned disk, unsigned member)
{
    for (unsigned i = 0; i < s->count; i++)
        if (s->shares[i].disk == disk && s->shares[i].member == member)
            return &s->shares[i];
    if (s->count == LOAD_SHARES_MAX)
        return NULL;
    struct load_share *more = realloc(s->shares, (s->count + 1) * sizeof *more);
    if (!more)
        return NULL;
    s->shares = more;
    more[s->count] = (struct load_share){.disk = disk, .member = member};
    return &more[s->count++];
}

/* What is larger: the bytes, or so many operations. */
static void add(struct load_storage *s, unsigned disk, unsigned member, uint64_t ops, uint64_t bytes, uint64_t now_us)
{
    struct load_share *share = share_of(s, disk, member);
    uint64_t work = bytes / LOAD_OPERATION_BYTES > ops ? bytes : ops * LOAD_OPERATION_BYTES;
    if (share)
        load_meter_add(&share->work, work, now_us, LOAD_UNIT_BYTES);
}

static void look_at(struct load_storage *s, const json_t *disk, uint64_t now_us)
{
    static const char *const operations[] = {"read", "write"};
    const json_t *members = json_object_get(json_object_get(disk, "volume"), "members");
    unsigned number = (unsigned)count_of(disk, "disk");
    uint64_t bytes = 0, ops = 0;
    for (unsigned i = 0; i < 2; i++) {
        bytes += count_of(json_object_get(disk, operations[i]), "bytes");
        ops += count_of(json_object_get(disk, operations[i]), "ops");
    }
    if (!json_array_size(members))
        add(s, number, 0, ops, bytes, now_us);
    for (unsigned i = 0; i < json_array_size(members) && i < LAYOUT_MEMBERS_MAX; i++) {
        const json_t *member = json_array_get(members, i);
        add(s, number, i, count_of(member, "ops"), count_of(member, "bytes"), now_us);
    }
}

void load_storage_look(struct load_storage *s, const json_t *stats, uint64_t now_us)
{
    const json_t *disks = json_object_get(stats, "disks");
    for (size_t i = 0; i < json_array_size(disks) && i < DISKS_MAX; i++)
        look_at(s, json_array_get(disks, i), now_us);
}

/* ---- and where ---- */

/* "": nobody knows. */
static const char *node_of(const struct mirror *m, const struct object *guest, const struct load_share *share)
{
    const json_t *disk = json_array_get(object_spec(guest, "disks"), share->disk);
    const char *name = member_text(disk, "volume");
    const struct object *volume = *name ? mirror_named(m, OBJECT_VOLUME, name) : NULL, *member = volume;
    if (volume && volume_has_layout(volume))
        member = volume_member_at(m, volume->id, (int)share->member);
    return member ? volume_member_node(m, member) : "";
}

json_t *load_storage_nodes(const struct load_storage *s, const struct mirror *m, const struct object *guest)
{
    json_t *nodes = json_object();
    for (unsigned i = 0; guest && i < s->count; i++) {
        int rate = load_meter_p95(&s->shares[i].work);
        const char *node = rate > 0 ? node_of(m, guest, &s->shares[i]) : "";
        if (*node)
            json_object_set_new(nodes, node, json_integer(json_integer_value(json_object_get(nodes, node)) + rate));
    }
    if (json_object_size(nodes))
        return nodes;
    json_decref(nodes);
    return NULL;
}

void load_storage_forget(struct load_storage *s)
{
    free(s->shares);
    *s = (struct load_storage){0};
}
