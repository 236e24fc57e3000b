#include "node/agent/complete_volume.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "node/agent/complete_network.h"
#include "node/agent/layout.h"
#include "node/agent/member.h"
#include "node/agent/pool_room.h"
#include "node/agent/presence.h"
#include "node/agent/volume_member.h"

enum { VOLUME_GRAIN = 4096, ROOM_TIMES = 8 /* its size: what a volume may grow to if nobody says so */ };

/* ---- sizes and devices ---- */

static int check_size(const json_t *spec, struct complete_error *e)
{
    if (json_integer_value(json_object_get(spec, "size")) % VOLUME_GRAIN)
        return complete_refuse(e, 422, "invalid", "spec.size", "must be a multiple of %d bytes", VOLUME_GRAIN);
    return 0;
}

static bool has_pool(const struct object *volume, const char *pool)
{
    const json_t *pools = object_spec(volume, "pools");
    bool found = !strcmp(object_spec_text(volume, "pool"), pool) || !strcmp(object_spec_text(volume, "witness"), pool);
    for (size_t i = 0; i < json_array_size(pools) && !found; i++)
        found = !strcmp(json_string_value(json_array_get(pools, i)), pool);
    return found;
}

/* Whoever has the device of a block pool already; NULL: nobody, or the pool is no device. */
static const struct object *device_user(const struct mirror *m, const struct object *pool)
{
    if (strcmp(object_spec_text(pool, "driver"), "block"))
        return NULL;
    for (const struct object *v = mirror_next(m, OBJECT_VOLUME, NULL); v; v = mirror_next(m, OBJECT_VOLUME, v->name))
        if (has_pool(v, pool->name))
            return v;
    return NULL;
}

/* A whole device is one volume. Of two that are made at the same moment the node refuses one (volumes.c). */
static int check_device(const struct mirror *m, const struct object *pool, const char *field, struct complete_error *e)
{
    const struct object *user = device_user(m, pool);
    return user ? complete_refuse(e, 409, "in-use", field, "pool %s is one device, and volume %s has it", pool->name,
                                  user->name)
                : 0;
}

static int check_image(const struct mirror *m, json_t *spec, struct complete_error *e)
{
    if (!json_is_string(json_object_get(spec, "image"))) {
        json_object_del(spec, "image");
        return 0;
    }
    const struct object *image = complete_resolve(m, OBJECT_IMAGE, spec, "image", "spec.image", e);
    if (!image)
        return -EINVAL;
    json_int_t bytes = json_integer_value(json_object_get(image->state, "bytes"));
    if (json_integer_value(json_object_get(spec, "size")) < bytes)
        return complete_refuse(e, 422, "too-small", "spec.size", "image %s has %lld bytes", image->name,
                               (long long)bytes);
    return 0;
}

/* Only what is elsewhere as well can be made anew. */
static int check_replacing(const json_t *spec, const char *layout, struct complete_error *e)
{
    struct layout l;
    char why[160];
    if (!json_integer_value(json_object_get(spec, "replace_after_s")))
        return 0;
    if (!*layout)
        return complete_refuse(e, 422, "invalid", "spec.replace_after_s", "goes with a layout, such as replica:3");
    if (!layout_parse(layout, &l, why, sizeof why) && !l.spare)
        return complete_refuse(e, 422, "invalid", "spec.replace_after_s",
                               "a member of %s cannot be replaced: what is on it is nowhere else", layout);
    return 0;
}

static json_int_t room_of(const json_t *spec)
{
    return json_integer_value(json_object_get(spec, "room"));
}

/* Checksums and maps of a member have their room from the beginning. */
static int complete_room(json_t *spec, struct complete_error *e)
{
    json_int_t size = json_integer_value(json_object_get(spec, "size"));
    if (!room_of(spec))
        json_object_set_new(spec, "room", json_integer(ROOM_TIMES * size));
    if (room_of(spec) < size || room_of(spec) % VOLUME_GRAIN)
        return complete_refuse(e, 422, "invalid", "spec.room",
                               "must be a multiple of %d bytes, and not less than the size", VOLUME_GRAIN);
    return 0;
}

/* ---- where members are put ---- */

/* Places that were taken: pools, and what their nodes are in (the node itself, a rack, a site). */
struct places {
    const struct object *pools[LAYOUT_MEMBERS_MAX + 1];
    const char *domains[LAYOUT_MEMBERS_MAX + 1];
    unsigned count;
};

static const char *spread_of(const json_t *spec)
{
    const char *spread = member_text(spec, "spread");
    return *spread ? spread : "node";
}

/* What two members may not share. A node without the label is in a rack of its own. */
static const char *domain_of(const struct object *node, const char *spread)
{
    const char *label = strcmp(spread, "node") ? member_text(object_spec(node, "labels"), spread) : "";
    return *label ? label : node->name;
}

static bool is_taken(const struct places *p, const char *domain)
{
    for (unsigned i = 0; i < p->count; i++)
        if (!strcmp(p->domains[i], domain))
            return true;
    return false;
}

static const struct object *node_of(const struct mirror *m, const struct object *pool)
{
    return mirror_named(m, OBJECT_NODE, object_spec_text(pool, "node"));
}

/* How much is in a pool already, in volumes and members. */
static unsigned users_of(const struct mirror *m, const struct object *pool)
{
    unsigned users = 0;
    for (const struct object *v = mirror_next(m, OBJECT_VOLUME, NULL); v; v = mirror_next(m, OBJECT_VOLUME, v->name))
        users += has_pool(v, pool->name);
    return users;
}

static bool may_be_chosen(const struct mirror *m, const struct object *pool)
{
    return presence_takes_guests(node_of(m, pool)) &&
           strcmp(object_spec_text(pool, "driver"), "block") && /* a device is somebody's own choice */
           !json_is_true(json_object_get(pool->value, "deleting"));
}

/* The emptiest pool with room for so many bytes whose node is nowhere near the places that are taken; NULL: there is
 * none. */
static const struct object *choose(const struct mirror *m, const struct places *taken, const char *spread,
                                   uint64_t bytes)
{
    const struct object *best = NULL;
    unsigned least = 0;
    for (const struct object *p = mirror_next(m, OBJECT_POOL, NULL); p; p = mirror_next(m, OBJECT_POOL, p->name)) {
        if (!may_be_chosen(m, p) || is_taken(taken, domain_of(node_of(m, p), spread)) || !pool_room_fits(p, bytes))
            continue;
        unsigned users = users_of(m, p);
        if (!best || users < least) {
            best = p;
            least = users;
        }
    }
    return best;
}

static void take(const struct mirror *m, struct places *taken, const struct object *pool, const char *spread)
{
    taken->pools[taken->count] = pool;
    taken->domains[taken->count++] = domain_of(node_of(m, pool), spread);
}

/* "p1 on n1, p2 on n2": what there is to choose from. */
static const char *describe_pools(const struct mirror *m, char *text, size_t room)
{
    size_t used = 0;
    text[0] = 0;
    for (const struct object *p = mirror_next(m, OBJECT_POOL, NULL); p && used < room;
         p = mirror_next(m, OBJECT_POOL, p->name))
        if (may_be_chosen(m, p))
            used += (size_t)snprintf(text + used, room - used, "%s%s on %s", used ? ", " : "", p->name,
                                     object_spec_text(p, "node"));
    return *text ? text : "none";
}

static int too_few(const struct mirror *m, const struct layout *l, unsigned found, const char *spread,
                   struct complete_error *e)
{
    char pools[160];
    return complete_refuse(e, 409, "too-few-nodes", "spec.layout",
                           "%s:%u needs pools on %u different %ss that are up, and there are %u: %s", l->name,
                           l->members, l->members, spread, found, describe_pools(m, pools, sizeof pools));
}

static int no_room(const struct object *pool, uint64_t bytes, struct complete_error *e)
{
    return complete_refuse(
        e, 409, "no-room", "spec.size", "pool %s has no room for a member of %llu bytes: %lld are free", pool->name,
        (unsigned long long)bytes, (long long)json_integer_value(json_object_get(pool->state, "free_bytes")));
}

/* Those that somebody named. */
static int take_named(const struct mirror *m, const struct layout *l, json_t *pools, const char *spread, uint64_t bytes,
                      struct places *taken, struct complete_error *e)
{
    if (json_array_size(pools) != l->members)
        return complete_refuse(e, 422, "invalid", "spec.pools", "%s:%u needs %u pools, and %zu are given", l->name,
                               l->members, l->members, json_array_size(pools));
    for (size_t i = 0; i < l->members; i++) {
        char field[64];
        snprintf(field, sizeof field, "spec.pools[%zu]", i);
        json_t *holder = json_pack("{s:O}", "pool", json_array_get(pools, i));
        const struct object *pool = complete_resolve(m, OBJECT_POOL, holder, "pool", field, e);
        json_decref(holder);
        const struct object *node = pool ? node_of(m, pool) : NULL;
        if (!pool || check_device(m, pool, field, e))
            return -EINVAL;
        if (!node)
            return complete_refuse(e, 409, "no-node", field, "the node of pool %s is gone", pool->name);
        if (is_taken(taken, domain_of(node, spread)))
            return complete_refuse(e, 422, "invalid", field, "pool %s is in the same %s as another member (%s)",
                                   pool->name, spread, domain_of(node, spread));
        if (!pool_room_fits(pool, bytes))
            return no_room(pool, bytes, e);
        take(m, taken, pool, spread);
    }
    return 0;
}

static int take_chosen(const struct mirror *m, const struct layout *l, const char *spread, uint64_t bytes,
                       struct places *taken, struct complete_error *e)
{
    while (taken->count < l->members) {
        const struct object *pool = choose(m, taken, spread, bytes);
        const struct object *full = pool ? NULL : choose(m, taken, spread, 0);
        if (full)
            return no_room(full, bytes, e);
        if (!pool)
            return too_few(m, l, taken->count, spread, e);
        take(m, taken, pool, spread);
    }
    return 0;
}

/* A witness is of use only where no member is. Without a place for it the volume is as good as the layout alone. */
static int take_witness(const struct mirror *m, const struct layout *l, json_t *spec, struct places *taken,
                        struct complete_error *e)
{
    const char *spread = spread_of(spec);
    if (!json_is_string(json_object_get(spec, "witness"))) {
        const struct object *pool = l->wants_voter ? choose(m, taken, spread, layout_witness_bytes()) : NULL;
        json_object_del(spec, "witness");
        if (pool)
            json_object_set_new(spec, "witness", json_string(pool->name));
        return 0;
    }
    if (!l->wants_voter)
        return complete_refuse(e, 422, "invalid", "spec.witness", "%s:%u has no witness", l->name, l->members);
    const struct object *pool = complete_resolve(m, OBJECT_POOL, spec, "witness", "spec.witness", e);
    const struct object *node = pool ? node_of(m, pool) : NULL;
    if (!pool || check_device(m, pool, "spec.witness", e))
        return -EINVAL;
    if (!node || is_taken(taken, domain_of(node, spread)))
        return complete_refuse(e, 422, "invalid", "spec.witness", "a witness is on a %s where no member is", spread);
    return 0;
}

static int complete_members(const struct mirror *m, json_t *spec, struct complete_error *e)
{
    struct layout l;
    char why[160];
    struct places taken = {.count = 0};
    if (json_is_string(json_object_get(spec, "pool")))
        return complete_refuse(e, 422, "invalid", "spec.pool", "a volume with a layout is in spec.pools");
    if (layout_parse(member_text(spec, "layout"), &l, why, sizeof why))
        return complete_refuse(e, 422, "invalid", "spec.layout", "%s", why);
    if (complete_room(spec, e) || check_replacing(spec, member_text(spec, "layout"), e))
        return -EINVAL;
    json_t *pools = json_object_get(spec, "pools");
    uint64_t bytes =
        layout_member_bytes(&l, (uint64_t)json_integer_value(json_object_get(spec, "size")), (uint64_t)room_of(spec));
    int rc = json_array_size(pools) ? take_named(m, &l, pools, spread_of(spec), bytes, &taken, e)
                                    : take_chosen(m, &l, spread_of(spec), bytes, &taken, e);
    if (!rc)
        rc = take_witness(m, &l, spec, &taken, e);
    if (rc)
        return rc;
    pools = json_array();
    for (unsigned i = 0; i < l.members; i++)
        json_array_append_new(pools, json_string(taken.pools[i]->name));
    json_object_set_new(spec, "pools", pools);
    return 0;
}

/* ---- all ---- */

static int complete_plain(const struct mirror *m, json_t *spec, struct complete_error *e)
{
    static const char *const of_layouts[] = {"pools", "spread", "witness", "room", "replace_after_s"};
    for (unsigned i = 0; i < sizeof of_layouts / sizeof *of_layouts; i++)
        if (json_object_get(spec, of_layouts[i]))
            return complete_refuse(e, 422, "invalid", "spec.layout", "spec.%s goes with a layout, such as replica:3",
                                   of_layouts[i]);
    if (!json_is_string(json_object_get(spec, "pool")))
        return complete_refuse(e, 422, "required", "spec.pool",
                               "is missing: name the pool, or a layout for several of them");
    const struct object *pool = complete_resolve(m, OBJECT_POOL, spec, "pool", "spec.pool", e);
    return pool ? check_device(m, pool, "spec.pool", e) : -EINVAL;
}

int complete_volume(const struct mirror *m, json_t *spec, struct complete_error *e)
{
    static const char *const names[] = {"pool", "layout", "pools", "spread", "witness", "room", "replace_after_s"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (json_is_null(json_object_get(spec, names[i])))
            json_object_del(spec, names[i]);
    int rc = json_object_get(spec, "layout") ? complete_members(m, spec, e) : complete_plain(m, spec, e);
    if (!rc)
        rc = check_size(spec, e);
    return rc ? rc : check_image(m, spec, e);
}

/* What member `index` lies on can become so large: files and logical volumes while their pools have room, a device if
 * it is so large already. */
static int check_member_grows(const struct mirror *m, const struct object *o, int index, uint64_t bytes, uint64_t more,
                              struct complete_error *e)
{
    const char *name = json_string_value(json_array_get(object_spec(o, "pools"), (size_t)index));
    const struct object *pool = mirror_named(m, OBJECT_POOL, name);
    const struct object *member = volume_member_at(m, o->id, index);
    json_int_t is = member ? json_integer_value(json_object_get(member->state, "bytes")) : 0;
    if (!pool || !strcmp(object_spec_text(pool, "driver"), "block"))
        return !pool || (uint64_t)is >= bytes
                   ? 0
                   : complete_refuse(e, 409, "cannot-grow", "spec.size",
                                     "member %d is the device of pool %s, which has %lld bytes, and %llu are needed: "
                                     "replace it by one in a larger pool first (drover volume replace %s %d --pool)",
                                     index, pool->name, (long long)is, (unsigned long long)bytes, o->name, index);
    return pool_room_fits(pool, more) ? 0 : no_room(pool, more, e);
}

/* What its members lie on must be able to become larger, and their maps must have room. */
static int check_growing(const struct mirror *m, const struct object *o, json_int_t wanted, struct complete_error *e)
{
    struct layout l;
    json_int_t room = json_integer_value(object_spec(o, "room")), is = json_integer_value(object_spec(o, "size"));
    const json_t *pools = object_spec(o, "pools");
    if (!room)
        return complete_refuse(
            e, 409, "cannot-grow", "spec.size",
            "volume %s was made before volumes with a layout could grow: make a new one, give both to a "
            "guest, copy there, and delete this one",
            o->name);
    if (wanted > room)
        return complete_refuse(e, 422, "too-large", "spec.size",
                               "volume %s was made with room for %lld bytes: make a new one and copy it", o->name,
                               (long long)room);
    if (!json_is_true(json_object_get(o->state, "made")))
        return complete_refuse(e, 409, "not-made", "spec.size", "volume %s is not made yet", o->name);
    if (!volume_layout(o, &l))
        return 0;
    uint64_t bytes = layout_member_bytes(&l, (uint64_t)wanted, (uint64_t)room);
    uint64_t more = bytes - layout_member_bytes(&l, (uint64_t)is, (uint64_t)room);
    for (size_t i = 0; i < json_array_size(pools); i++)
        if (check_member_grows(m, o, (int)i, bytes, more, e))
            return -EINVAL;
    return 0;
}

int complete_volume_change(const struct mirror *m, const struct object *o, const json_t *spec, struct complete_error *e)
{
    json_int_t is = json_integer_value(object_spec(o, "size")),
               wanted = json_integer_value(json_object_get(spec, "size"));
    if (wanted < is)
        return complete_refuse(e, 422, "too-small", "spec.size", "a volume only grows: it has %lld bytes",
                               (long long)is);
    if (wanted > is && *member_text(o->value, "move"))
        return complete_refuse(e, 409, "moves", "spec.size",
                               "volume %s is on its way to another pool: wait until it is there", o->name);
    if (wanted > is && *object_spec_text(o, "layout"))
        if (check_growing(m, o, wanted, e))
            return -EINVAL;
    if (check_replacing(spec, object_spec_text(o, "layout"), e))
        return -EINVAL;
    return check_size(spec, e);
}

int complete_replacement(const struct mirror *m, const struct object *o, int index, const char *name, json_t *spec,
                         struct complete_error *e)
{
    struct layout l;
    char why[160];
    struct places taken = {.count = 0};
    json_t *pools = json_object_get(spec, "pools");
    if (layout_parse(object_spec_text(o, "layout"), &l, why, sizeof why) || index >= (int)json_array_size(pools))
        return complete_refuse(e, 422, "invalid", "index", "volume %s has no member %d", o->name, index);
    uint64_t bytes = index == WITNESS ? layout_witness_bytes()
                                      : layout_member_bytes(&l, (uint64_t)json_integer_value(object_spec(o, "size")),
                                                            (uint64_t)json_integer_value(object_spec(o, "room")));
    for (size_t i = 0; i < json_array_size(pools); i++) {
        const struct object *p = mirror_named(m, OBJECT_POOL, json_string_value(json_array_get(pools, i)));
        if ((int)i != index && p && node_of(m, p))
            take(m, &taken, p, spread_of(spec));
    }
    const struct object *witness = mirror_named(m, OBJECT_POOL, object_spec_text(o, "witness"));
    if (witness && index != WITNESS && node_of(m, witness))
        take(m, &taken, witness, spread_of(spec));
    json_t *holder = json_pack("{s:s}", "pool", name);
    const struct object *pool =
        *name ? complete_resolve(m, OBJECT_POOL, holder, "pool", "pool", e) : choose(m, &taken, spread_of(spec), bytes);
    json_decref(holder);
    if (!pool)
        return *name ? -EINVAL
                     : complete_refuse(e, 409, "too-few-nodes", "pool",
                                       "no pool is left on a %s without a member of the volume; name one",
                                       spread_of(spec));
    if (check_device(m, pool, "pool", e))
        return -EINVAL;
    if (!node_of(m, pool) || is_taken(&taken, domain_of(node_of(m, pool), spread_of(spec))))
        return complete_refuse(e, 422, "invalid", "pool", "pool %s is where another member or the witness is",
                               pool->name);
    if (index == WITNESS)
        return json_object_set_new(spec, "witness", json_string(pool->name));
    return json_array_set_new(pools, (size_t)index, json_string(pool->name));
}
