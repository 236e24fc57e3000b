#include "balancer/snapshot_rules.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "balancer/model.h"
#include "balancer/snapshot.h"

enum { GROUP_NAME_MAX = 96 };

static const char *const scopes[] = {"node", "rack", "site"};

/* ---- one guest ---- */

static json_t *known(const json_t *list, const json_t *without, const json_t *nodes)
{
    json_t *some = json_array();
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (name && json_object_get(nodes, name) && !snapshot_has(without, name) && !snapshot_has(some, name))
            json_array_append_new(some, json_string(name));
    }
    return some;
}

/* avoid: what it says, and nodes without its images. */
static void put_pins(json_t *to, const json_t *spec, const json_t *avoid, const json_t *nodes)
{
    const json_t *pin = json_object_get(spec, "pin");
    bool pinned = json_array_size(pin) > 0;
    if (!pinned && !json_array_size(avoid))
        return;
    json_t *list = known(pinned ? pin : avoid, pinned ? avoid : NULL, nodes);
    if (json_array_size(list))
        json_object_set(to, pinned ? "pinned" : "avoid", list);
    else if (pinned) /* to nodes that are gone: anywhere else is as wrong as here */
        json_object_update_new(to,
                               json_pack("{s:b, s:s}", "movable", 0, "fixed", "it is pinned to nodes that are gone"));
    json_decref(list);
}

/* ---- what it boots from (node/agent/boot_image.h) ---- */

static bool is_same(const char *a, const char *b)
{
    return *a && !strcmp(a, b);
}

static json_t *image_named(json_t *images, const char *name)
{
    json_t *image;
    const char *id;
    json_object_foreach (images, id, image)
        if (!strcmp(snapshot_text(json_object_get(image, "value"), "name"), name))
            return image;
    return NULL;
}

/* It has copied it, or has imported it or the same. */
static bool holds(const json_t *node, const char *node_name, const json_t *image, json_t *images)
{
    const char *sum = snapshot_text(json_object_get(image, "state"), "content_sha256"), *id;
    const char *source = snapshot_text(json_object_get(json_object_get(image, "value"), "spec"), "sha256");
    const json_t *copies = json_object_get(json_object_get(node, "state"), "boot_images"), *one;
    if (!strcmp(snapshot_text(json_object_get(copies, sum), "phase"), "ready"))
        return true;
    json_t *other;
    json_object_foreach (images, id, other) {
        one = json_object_get(other, "state");
        bool here = !strcmp(snapshot_text(one, "phase"), "ready") && !strcmp(snapshot_text(one, "node"), node_name);
        if (here &&
            (other == image || is_same(sum, snapshot_text(one, "content_sha256")) ||
             is_same(source, snapshot_text(json_object_get(json_object_get(other, "value"), "spec"), "sha256"))))
            return true;
    }
    return false;
}

static void add_lacking(json_t *avoid, const char *name, const char *at, json_t *nodes, json_t *images)
{
    const json_t *image = *name ? image_named(images, name) : NULL;
    json_t *node;
    const char *node_name;
    if (!image)
        return;
    json_object_foreach (nodes, node_name, node)
        if (strcmp(node_name, at) != 0 && !snapshot_has(avoid, node_name) && !holds(node, node_name, image, images))
            json_array_append_new(avoid, json_string(node_name));
}

/* A guest that sees its host's processor needs the same one; else the model that it was given. */
static void put_processor(json_t *to, const json_t *spec, const json_t *node)
{
    const json_t *offered = json_object_get(json_object_get(node, "state"), "cpu_models");
    const char *model = snapshot_text(spec, "cpu"), *needs = NULL;
    for (size_t i = 0; i < json_array_size(offered); i++) {
        const char *text = json_string_value(json_array_get(offered, i));
        if (text && (!strcmp(model, "host") ? !strncmp(text, "host-", 5) : !strcmp(text, model)))
            needs = text;
    }
    if (needs) /* where its own node says nothing, nothing is known */
        json_object_set_new(to, "cpu_models", json_pack("[s]", needs));
}

void snapshot_rules_guest(json_t *to, const json_t *spec, const json_t *node, json_t *nodes, json_t *images)
{
    const json_t *boot = json_object_get(spec, "boot"), *said = json_object_get(spec, "avoid");
    json_t *avoid = json_is_array(said) ? json_copy((json_t *)(uintptr_t)said) : json_array();
    if (boot) {
        add_lacking(avoid, snapshot_text(boot, "kernel"), snapshot_text(spec, "node"), nodes, images);
        add_lacking(avoid, snapshot_text(boot, "initrd"), snapshot_text(spec, "node"), nodes, images);
    }
    put_pins(to, spec, avoid, nodes);
    json_decref(avoid);
    put_processor(to, spec, node);
}

/* ---- groups ---- */

struct rule {
    char name[GROUP_NAME_MAX]; /* "apart db" */
    int scope;
    bool hard;
};

/* GROUP[:rack|:site][:soft]; the agent has checked it, so what is none is left out. */
static bool parse(const char *text, bool apart, struct rule *r)
{
    size_t n = strcspn(text, ":");
    *r = (struct rule){.hard = true};
    if (!n || n >= GROUP_NAME_MAX - 16)
        return false;
    snprintf(r->name, sizeof r->name, "%s %.*s", apart ? "apart" : "together", (int)n, text);
    for (text += n; *text; text += n) {
        text++;
        n = strcspn(text, ":");
        bool soft = n == 4 && !strncmp(text, "soft", n), found = soft;
        r->hard &= !soft;
        for (int s = 0; s < 3 && !found; s++)
            if (n == 4 && !strncmp(text, scopes[s], n)) {
                r->scope = s;
                found = true;
            }
        if (!found)
            return false;
    }
    return true;
}

/* groups: by name {"keep", "scope": number, "hard", "guests"}. */
static void join(json_t *groups, const struct rule *r, bool apart, const char *guest)
{
    json_t *group = json_object_get(groups, r->name);
    if (!group) {
        group = json_pack("{s:s, s:s, s:i, s:b, s:[]}", "name", r->name, "keep", apart ? "apart" : "together", "scope",
                          0, "hard", 0, "guests");
        json_object_set_new(groups, r->name, group);
    }
    if (r->scope > (int)json_integer_value(json_object_get(group, "scope")))
        json_object_set_new(group, "scope", json_integer(r->scope));
    if (r->hard)
        json_object_set_new(group, "hard", json_true());
    json_t *members = json_object_get(group, "guests");
    if (json_array_size(members) < MODEL_MEMBERS_MAX)
        json_array_append_new(members, json_string(guest));
}

static void join_all(json_t *groups, const json_t *list, bool apart, const char *name)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        struct rule rule;
        if (text && parse(text, apart, &rule))
            join(groups, &rule, apart, name);
    }
}

json_t *snapshot_rules_groups(json_t *guests)
{
    json_t *groups = json_object(), *list = json_array(), *guest, *group;
    const char *key;
    json_object_foreach (guests, key, guest) {
        const json_t *value = json_object_get(guest, "value"), *spec = json_object_get(value, "spec");
        const json_t *apart = json_object_get(spec, "anti_affinity"), *together = json_object_get(spec, "affinity");
        if (!apart && !together)
            continue;
        if (!*snapshot_text(value, "name"))
            continue; /* one that is left out holds the others, if they are to be in other racks or sites */
        join_all(groups, apart, true, snapshot_text(value, "name"));
        join_all(groups, together, false, snapshot_text(value, "name"));
    }
    json_object_foreach (groups, key, group) {
        json_int_t scope = json_integer_value(json_object_get(group, "scope"));
        json_object_set_new(group, "scope", json_string(scopes[scope]));
        json_array_append(list, group);
    }
    json_decref(groups);
    return list;
}
