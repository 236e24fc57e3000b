#include "node/agent/boot_image.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "node/agent/member.h"
#include "node/agent/migration.h"
#include "node/agent/placement.h"
#include "node/agent/presence.h"

/* ---- bytes ---- */

static bool is_ready(const struct object *image)
{
    return !strcmp(member_text(image->state, "phase"), "ready");
}

static bool is_at(const struct object *image, const char *node)
{
    return is_ready(image) && !strcmp(member_text(image->state, "node"), node);
}

static bool is_same(const char *a, const char *b)
{
    return *a && !strcmp(a, b);
}

/* By what they are, or by what was wanted of what they were unpacked from. */
static bool has_bytes_of(const struct object *a, const struct object *b)
{
    return a == b || is_same(boot_image_sum(a), boot_image_sum(b)) ||
           is_same(object_spec_text(a, "sha256"), object_spec_text(b, "sha256"));
}

/* The next image with the bytes of that one, itself among them. */
static const struct object *next_same(const struct mirror *m, const struct object *image, const struct object *after)
{
    const struct object *i = mirror_next(m, OBJECT_IMAGE, after ? after->name : NULL);
    while (i && !has_bytes_of(i, image))
        i = mirror_next(m, OBJECT_IMAGE, i->name);
    return i;
}

const struct object *boot_image_here(const struct mirror *m, const char *name, const char *node)
{
    const struct object *named = mirror_named(m, OBJECT_IMAGE, name), *i;
    if (!named || is_at(named, node))
        return named;
    for (i = next_same(m, named, NULL); i && !is_at(i, node); i = next_same(m, named, i))
        ;
    return i;
}

const char *boot_image_sum(const struct object *image)
{
    return member_text(image->state, "content_sha256");
}

const char *boot_image_obstacle(const struct object *image)
{
    bool large = json_integer_value(json_object_get(image->state, "bytes")) > BOOT_IMAGE_BYTES_MAX;
    return large ? "it is larger than the 1G that is copied for booting: import it there, too" : "";
}

/* What a node says of its copy; NULL: it has none. */
static const json_t *copy_at(const struct object *node, const struct object *image)
{
    return json_object_get(json_object_get(node->state, "boot_images"), boot_image_sum(image));
}

static bool is_copied(const struct object *node, const struct object *image)
{
    return !strcmp(member_text(copy_at(node, image), "phase"), "ready");
}

bool boot_image_is_held(const struct mirror *m, const struct object *image, const struct object *node)
{
    return is_at(image, node->name) || is_copied(node, image) || boot_image_here(m, image->name, node->name);
}

/* ---- who wants them ---- */

static bool names(const struct mirror *m, const struct object *image, const char *name)
{
    const struct object *named = *name ? mirror_named(m, OBJECT_IMAGE, name) : NULL;
    return named && has_bytes_of(named, image);
}

static const json_t *boot_of(const struct object *guest)
{
    return json_is_true(json_object_get(guest->value, "deleting")) ? NULL : object_spec(guest, "boot");
}

bool boot_image_concerns(const struct mirror *m, const struct object *guest, const char *node)
{
    return boot_of(guest) &&
           (migration_concerns(m, guest, node) || placement_admits(json_object_get(guest->value, "spec"), node, NULL));
}

static bool boots(const struct mirror *m, const struct object *guest, const struct object *image)
{
    const json_t *boot = boot_of(guest);
    return boot && (names(m, image, member_text(boot, "kernel")) || names(m, image, member_text(boot, "initrd")));
}

static const struct object *next_booting(const struct mirror *m, const struct object *image, const struct object *after)
{
    const struct object *g = mirror_next(m, OBJECT_GUEST, after ? after->name : NULL);
    while (g && !boots(m, g, image))
        g = mirror_next(m, OBJECT_GUEST, g->name);
    return g;
}

bool boot_image_is_booted(const struct mirror *m, const struct object *image)
{
    return next_booting(m, image, NULL);
}

bool boot_image_is_wanted(const struct mirror *m, const struct object *image, const struct object *node)
{
    for (const struct object *g = next_booting(m, image, NULL); g; g = next_booting(m, image, g))
        if (boot_image_concerns(m, g, node->name))
            return true;
    return false;
}

/* Nodes that are there and do not hold it. */
static const struct object *next_without(const struct mirror *m, const struct object *image, const struct object *after)
{
    const struct object *n = mirror_next(m, OBJECT_NODE, after ? after->name : NULL);
    while (n && (!presence_is_alive(n) || boot_image_is_held(m, image, n)))
        n = mirror_next(m, OBJECT_NODE, n->name);
    return n;
}

bool boot_image_is_lacking(const struct mirror *m, const struct object *image)
{
    const struct object *n = *boot_image_sum(image) ? next_without(m, image, NULL) : NULL; /* mostly none */
    if (!n || !boot_image_is_booted(m, image))
        return false;
    for (; n; n = next_without(m, image, n))
        if (boot_image_is_wanted(m, image, n))
            return true;
    return false;
}

/* ---- who serves them ---- */

static bool has_node(const struct mirror *m, const struct object *image)
{
    return is_ready(image) && presence_is_alive(mirror_named(m, OBJECT_NODE, member_text(image->state, "node")));
}

/* The next node that is there with a copy. */
static const struct object *next_copied(const struct mirror *m, const struct object *image, const struct object *after)
{
    const struct object *n = mirror_next(m, OBJECT_NODE, after ? after->name : NULL);
    while (n && (!presence_is_alive(n) || !is_copied(n, image)))
        n = mirror_next(m, OBJECT_NODE, n->name);
    return n;
}

const char *boot_image_source(const struct mirror *m, const struct object *image, const char *node)
{
    const char *source = NULL;
    for (const struct object *i = next_same(m, image, NULL); i; i = next_same(m, image, i)) {
        if (!has_node(m, i) || is_at(i, node))
            continue;
        source = member_text(i->state, "uri");
        if (*source)
            return source;
    }
    for (const struct object *n = next_copied(m, image, NULL); n; n = next_copied(m, image, n)) {
        source = member_text(copy_at(n, image), "uri");
        if (*source)
            return source;
    }
    return source;
}

bool boot_image_is_served_by(const struct mirror *m, const struct object *image, const char *node)
{
    for (const struct object *i = next_same(m, image, NULL); i; i = next_same(m, image, i))
        if (has_node(m, i))
            return false;
    const struct object *first = next_copied(m, image, NULL);
    return first && !strcmp(first->name, node);
}

/* ---- what is told ---- */

static const char *reason_of(const struct object *image, const struct object *node)
{
    const json_t *copy = copy_at(node, image);
    const char *why = member_text(copy, "reason");
    if (*boot_image_obstacle(image))
        return boot_image_obstacle(image);
    if (!*boot_image_sum(image))
        return "its checksum is not known yet";
    return *why ? why : copy ? "it is being copied" : "it is to be copied";
}

static bool allows(const struct mirror *m, const char *name, const struct object *node, char *why)
{
    const struct object *image = *name ? mirror_named(m, OBJECT_IMAGE, name) : NULL;
    if (!image || boot_image_is_held(m, image, node))
        return true;
    if (why)
        snprintf(why, PLACEMENT_WHY_MAX, "it has no copy of image %.64s yet: %.180s", name, reason_of(image, node));
    return false;
}

bool boot_image_allows(const struct mirror *m, const json_t *spec, const struct object *node, char *why)
{
    const json_t *boot = json_object_get(spec, "boot");
    return !boot ||
           (allows(m, member_text(boot, "kernel"), node, why) && allows(m, member_text(boot, "initrd"), node, why));
}

json_t *boot_image_state(const struct mirror *m, const struct object *image)
{
    json_t *state = image->state ? json_copy(image->state) : json_object();
    if (!boot_image_is_booted(m, image))
        return state;
    json_t *copies = json_array(), *lacking = json_array();
    for (const struct object *n = mirror_next(m, OBJECT_NODE, NULL); n; n = mirror_next(m, OBJECT_NODE, n->name))
        if (is_copied(n, image))
            json_array_append_new(copies, json_string(n->name));
    for (const struct object *n = next_without(m, image, NULL); n; n = next_without(m, image, n))
        if (boot_image_is_wanted(m, image, n))
            json_array_append_new(lacking, json_pack("{s:s, s:s}", "node", n->name, "reason", reason_of(image, n)));
    json_object_set_new(state, "copies", copies);
    json_object_set_new(state, "lacking", lacking);
    return state;
}
