#include "node/agent/complete.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "node/agent/complete_network.h"
#include "node/agent/complete_volume.h"
#include "node/agent/kind.h"
#include "node/agent/drill_ask.h"
#include "node/agent/member.h"
#include "node/agent/placement.h"
#include "node/agent/presence.h"
#include "node/agent/start_order.h"
#include "node/agent/volume_member.h"

__attribute__((format(printf, 5, 6))) int complete_refuse(struct complete_error *e, int status, const char *code,
                                                          const char *field, const char *format, ...)
{
    va_list args;
    e->status = status;
    e->code = code;
    snprintf(e->field, sizeof e->field, "%s", field);
    va_start(args, format);
    vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    return -EINVAL;
}

/* The object of that name, which may be given as an id; the name takes its place. */
const struct object *complete_resolve(const struct mirror *m, enum object_kind kind, json_t *holder, const char *key,
                                      const char *field, struct complete_error *e)
{
    const char *text = member_text(holder, key);
    const struct object *o = mirror_named(m, kind, text);
    if (!o)
        o = mirror_find(m, kind, text);
    if (!o || !o->value || json_is_true(json_object_get(o->value, "deleting"))) {
        complete_refuse(e, 422, "reference-not-found", field, "there is no %s '%s'", object_kind_name(kind), text);
        return NULL;
    }
    json_object_set_new(holder, key, json_string(o->name));
    return o;
}

/* ---- pools, images ---- */

static int complete_pool(const struct mirror *m, json_t *spec, struct complete_error *e)
{
    const struct object *node = complete_resolve(m, OBJECT_NODE, spec, "node", "spec.node", e);
    const char *path = member_text(spec, "path");
    const char *driver = member_text(spec, "driver");
    if (!node)
        return -EINVAL;
    if (strcmp(driver, "directory") && strncmp(path, "/dev/", 5))
        return complete_refuse(e, 422, "invalid", "spec.path", "a %s pool's path is below /dev, such as /dev/%s",
                               driver, strcmp(driver, "lvm") ? "sdb" : "vg0");
    for (const struct object *p = mirror_next(m, OBJECT_POOL, NULL); p; p = mirror_next(m, OBJECT_POOL, p->name))
        if (!strcmp(object_spec_text(p, "node"), node->name) && !strcmp(object_spec_text(p, "path"), path))
            return complete_refuse(e, 409, "in-use", "spec.path", "pool %s is at this path of the node already",
                                   p->name);
    return 0;
}

static int complete_image(const struct mirror *m, json_t *spec, struct complete_error *e)
{
    const struct object *pool = complete_resolve(m, OBJECT_POOL, spec, "pool", "spec.pool", e);
    if (!pool)
        return -EINVAL;
    if (strcmp(object_spec_text(pool, "driver"), "directory"))
        return complete_refuse(e, 422, "invalid", "spec.pool", "images are files: pool %s is no directory", pool->name);
    return 0;
}

/* ---- guests ---- */

static int complete_node(const struct mirror *m, const char *id, json_t *spec, struct complete_error *e)
{
    const struct placement_guest guest = {.id = id, .spec = spec, .shown_on = ""};
    char why[PLACEMENT_WHY_MAX] = "";
    if (!json_is_string(json_object_get(spec, "node"))) {
        const struct object *node = placement_choose(m, &guest, &(struct placement_choice){0}, why);
        if (!node)
            return complete_refuse(e, 409, "no-node", "spec.node", "%s", why);
        json_object_set_new(spec, "node", json_string(node->name));
        return 0;
    }
    const struct object *node = complete_resolve(m, OBJECT_NODE, spec, "node", "spec.node", e);
    if (!node)
        return -EINVAL;
    if (json_is_true(object_spec(node, "drained")))
        return complete_refuse(e, 409, "drained", "spec.node",
                               "node %s is drained: `drover node undrain %s` or take another", node->name, node->name);
    if (!placement_allows(m, &guest, node, why))
        return complete_refuse(e, 409, "placement", "spec.node", "not on node %s: %s", node->name, why);
    return 0;
}

/* Another guest that has the volume, and one of the two would write; or alone: whoever begins with a volume that has a
 * layout ends all others' use of it. */
static const struct object *other_user(const struct mirror *m, const char *id, const struct object *of, bool read_only)
{
    const char *volume = of->name;
    bool alone = volume_has_layout(of);
    for (const struct object *g = mirror_next(m, OBJECT_GUEST, NULL); g; g = mirror_next(m, OBJECT_GUEST, g->name)) {
        const json_t *disks = object_spec(g, "disks");
        for (size_t i = 0; strcmp(g->id, id) && i < json_array_size(disks); i++) {
            const json_t *disk = json_array_get(disks, i);
            bool same = !strcmp(member_text(disk, "volume"), volume);
            if (same && (alone || !read_only || !json_is_true(json_object_get(disk, "read_only"))))
                return g;
        }
    }
    return NULL;
}

static int complete_disks(const struct mirror *m, const char *id, json_t *spec, struct complete_error *e)
{
    json_t *disks = json_object_get(spec, "disks"), *disk;
    size_t i;
    char field[64];
    json_array_foreach (disks, i, disk) {
        snprintf(field, sizeof field, "spec.disks[%zu].volume", i);
        const struct object *volume = complete_resolve(m, OBJECT_VOLUME, disk, "volume", field, e);
        if (!volume)
            return -EINVAL;
        const struct object *user = other_user(m, id, volume, json_is_true(json_object_get(disk, "read_only")));
        if (user)
            return complete_refuse(e, 409, "in-use", field, "volume %s belongs to guest %s", volume->name, user->name);
        for (size_t j = 0; j < i; j++)
            if (!strcmp(member_text(json_array_get(disks, j), "volume"), volume->name))
                return complete_refuse(e, 422, "invalid", field, "volume %s is there twice", volume->name);
    }
    return 0;
}

static int complete_boot(const struct mirror *m, json_t *spec, struct complete_error *e)
{
    json_t *boot = json_object_get(spec, "boot");
    if (!boot)
        return json_array_size(json_object_get(spec, "disks"))
                   ? 0
                   : complete_refuse(e, 422, "invalid", "spec.disks",
                                     "a guest boots from its first disk, or from spec.boot");
    if (!complete_resolve(m, OBJECT_IMAGE, boot, "kernel", "spec.boot.kernel", e))
        return -EINVAL;
    if (json_object_get(boot, "initrd") && !complete_resolve(m, OBJECT_IMAGE, boot, "initrd", "spec.boot.initrd", e))
        return -EINVAL;
    return 0;
}

/* A protected guest is taken over without a word of the node that had it. So that this one can write nothing any more,
 * its disks must be fenced; so that they are there at all, they must survive a node. */
static int check_protected(const struct mirror *m, const json_t *spec, struct complete_error *e)
{
    const json_t *disks = json_object_get(spec, "disks");
    if (json_is_true(json_object_get(spec, "ha")) && !json_array_size(disks)) /* and could move while it runs */
        return complete_refuse(e, 422, "invalid", "spec.ha",
                               "a protected guest has a disk: without one there is nothing to keep");
    for (size_t i = 0; json_is_true(json_object_get(spec, "ha")) && i < json_array_size(disks); i++) {
        const json_t *disk = json_array_get(disks, i);
        const struct object *v = mirror_named(m, OBJECT_VOLUME, member_text(disk, "volume"));
        struct layout l;
        if (!v)
            continue;
        if (!volume_has_layout(v))
            return complete_refuse(
                e, 409, "not-fenced", "spec.ha",
                "volume %s is on one node, and goes with it: a protected guest's volumes have a layout "
                "(drover volume create --layout replica:3)",
                v->name);
        if (!volume_layout(v, &l) || !l.spare)
            return complete_refuse(e, 409, "not-redundant", "spec.ha",
                                   "volume %s does not survive the loss of a node: take replica:3, raid1:2 or raid5:3",
                                   v->name);
        if (l.wants_voter && !*object_spec_text(v, "witness"))
            return complete_refuse(
                e, 409, "no-witness", "spec.ha",
                "volume %s has no witness, so one member alone cannot tell whether it is the newest: "
                "make it where there is a pool on a further node",
                v->name);
    }
    return 0;
}

/* name: NULL of a guest that is new, which nobody can need yet. */
static int check_order(const struct mirror *m, const char *name, const json_t *spec, struct complete_error *e)
{
    char way[256];
    const json_t *after = json_object_get(spec, "ha_after");
    for (size_t i = 0; i < json_array_size(after); i++) {
        const char *needed = json_string_value(json_array_get(after, i));
        if (!mirror_named(m, OBJECT_GUEST, needed))
            return complete_refuse(e, 422, "reference-not-found", "spec.ha_after", "there is no guest '%s'", needed);
    }
    if (name && start_order_is_circular(m, name, spec, way, sizeof way))
        return complete_refuse(e, 422, "circular", "spec.ha_after", "a circle in which no guest would start: %s", way);
    return 0;
}

static int complete_guest(const struct mirror *m, const char *id, json_t *spec, struct complete_error *e)
{
    int rc = placement_complete(m, spec, e);
    rc = rc ? rc : complete_node(m, id, spec, e);
    if (!rc)
        rc = complete_disks(m, id, spec, e);
    if (!rc)
        rc = check_protected(m, spec, e);
    if (!rc)
        rc = check_order(m, NULL, spec, e);
    if (!rc)
        rc = complete_boot(m, spec, e);
    return rc ? rc : complete_guest_networks(m, id, spec, e);
}

/* ---- all ---- */

int complete_spec(const struct mirror *m, enum object_kind kind, const char *id, json_t *spec, struct complete_error *e)
{
    switch (kind) {
    case OBJECT_POOL:
        return complete_pool(m, spec, e);
    case OBJECT_IMAGE:
        return complete_image(m, spec, e);
    case OBJECT_VOLUME:
        return complete_volume(m, spec, e);
    case OBJECT_NETWORK:
        return complete_network(m, spec, e);
    case OBJECT_GUEST:
        return complete_guest(m, id, spec, e);
    case OBJECT_DRILL_SCHEDULE:
        return drill_ask_check(m, spec, "spec.", e);
    default:
        return 0;
    }
}

/* A guest goes to another node while nothing of it runs; or, when its node cannot be asked, if that one could not write
 * to any of its disks any more: volumes with a layout are fenced. */
static int check_move(const struct mirror *m, const struct object *o, const json_t *spec, struct complete_error *e)
{
    const char *from = object_spec_text(o, "node"), *phase = member_text(o->state, "phase");
    const struct object *node = mirror_named(m, OBJECT_NODE, from);
    bool up = presence_is_alive(node);
    const json_t *disks = json_object_get(spec, "disks");
    if (up && o->state && strcmp(phase, "stopped") != 0)
        return complete_refuse(e, 409, "running", "spec.node", "guest %s is %s on node %s: stop it first", o->name,
                               phase, from);
    for (size_t i = 0; !up && i < json_array_size(disks); i++) {
        const json_t *disk = json_array_get(disks, i);
        const struct object *volume = mirror_named(m, OBJECT_VOLUME, member_text(disk, "volume"));
        if (volume && !volume_has_layout(volume))
            return complete_refuse(e, 409, "not-fenced", "spec.node",
                                   "node %s is away and may still write to volume %s, which has no layout", from,
                                   volume->name);
    }
    return 0;
}

static int complete_guest_change(const struct mirror *m, const struct object *o, json_t *spec, struct complete_error *e)
{
    bool moves = strcmp(member_text(spec, "node"), object_spec_text(o, "node")) != 0;
    int rc = moves ? complete_node(m, o->id, spec, e) : 0; /* where it is it may stay, whatever its rules say now */
    if (!rc && strcmp(member_text(spec, "node"), object_spec_text(o, "node")) != 0)
        rc = check_move(m, o, spec, e);
    return rc ? rc : complete_boot(m, spec, e);
}

int complete_change(const struct mirror *m, const struct object *o, json_t *spec, struct complete_error *e)
{
    bool moves = strcmp(member_text(spec, "node"), object_spec_text(o, "node")) != 0;
    if (o->kind == OBJECT_GUEST &&
        (check_protected(m, spec, e) || check_order(m, o->name, spec, e) || placement_complete(m, spec, e)))
        return -EINVAL;
    if (o->kind == OBJECT_NODE && !json_is_true(json_object_get(spec, "drained")))
        json_object_del(spec, "drain_volumes"); /* the next time it is drained it is asked anew */
    bool boots = !json_equal(json_object_get(spec, "boot"), object_spec(o, "boot"));
    if (o->kind == OBJECT_GUEST && (moves || boots))
        return complete_guest_change(m, o, spec, e);
    return o->kind == OBJECT_VOLUME ? complete_volume_change(m, o, spec, e) : 0;
}
