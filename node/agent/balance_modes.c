#include "node/agent/balance_modes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "node/agent/member.h"
#include "node/agent/mirror.h"
#include "node/agent/placement.h"
#include "node/base/err.h"

static const char *const modes[] = {"off", "advise", "automatic", "default", NULL};
static const struct schema_field one_mode = {.type = SCHEMA_ENUM, .values = modes, .description = "of this part"};
const struct schema_field balance_modes_field = {
    .name = "groups",
    .type = SCHEMA_MAP,
    .item = &one_mode,
    .max = BALANCE_MODES_MAX,
    .description = "modes of parts of the cluster: by a group of guests (GROUP), guest/NAME, node/NAME, rack/NAME or "
                   "site/NAME; a change names those that change, `default` takes one away"};

static const struct schema_field shown_fields[] = {
    {.name = "group", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "as the policy has it"},
    {.name = "mode", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "off, advise or automatic"},
    {.name = "guests", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "that are in it now"},
    {.name = "nodes", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "likewise"},
    {.name = "shown", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "all of it in words"},
    {.name = NULL},
};
static const struct schema_field shown = {.type = SCHEMA_OBJECT, .fields = shown_fields};
const struct schema_field balance_modes_answer = {
    .name = "groups", .type = SCHEMA_ARRAY, .item = &shown, .description = "parts with a mode of their own"};

/* "node/n3": what it is of, and its name; NULL: a group of guests. */
static const char *kind_of(const char *key, char kind[8])
{
    const char *slash = strchr(key, '/');
    if (!slash || slash - key >= 8)
        return NULL;
    snprintf(kind, 8, "%.*s", (int)(slash - key), key);
    return slash + 1;
}

static bool is_key(const char *key)
{
    static const char *const kinds[] = {"guest", "node", "rack", "site", NULL};
    char kind[8];
    struct placement_group group;
    const char *name = kind_of(key, kind);
    if (!name)
        return !strchr(key, ':') && placement_parse(key, &group);
    for (const char *const *k = kinds; *k; k++)
        if (!strcmp(*k, kind))
            return *name && !strchr(name, '/');
    return false;
}

int balance_modes_change(json_t *spec, const json_t *wanted, struct err *err)
{
    json_t *groups = json_deep_copy(json_object_get(spec, "groups")), *mode;
    const char *key;
    if (!groups)
        groups = json_object();
    json_object_foreach ((json_t *)(uintptr_t)wanted, key, mode) {
        if (!strcmp(json_string_value(mode), "default")) {
            json_object_del(groups, key);
        } else if (is_key(key)) {
            json_object_set(groups, key, mode);
        } else {
            json_decref(groups);
            return err_set(err, EINVAL,
                           "'%s' is no group: write GROUP, as guests name it in their affinity or anti_affinity, or "
                           "guest/NAME, node/NAME, rack/NAME or site/NAME",
                           key);
        }
    }
    if (json_object_size(groups) > BALANCE_MODES_MAX) {
        json_decref(groups);
        return err_set(err, EINVAL, "over %d groups with a mode of their own", BALANCE_MODES_MAX);
    }
    if (json_object_size(groups))
        json_object_set(spec, "groups", groups);
    else
        json_object_del(spec, "groups");
    json_decref(groups);
    return 0;
}

static bool names(const json_t *list, const char *group)
{
    size_t len = strlen(group);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (text && !strncmp(text, group, len) && (!text[len] || text[len] == ':'))
            return true;
    }
    return false;
}

static int guests_in(const struct mirror *m, const char *group)
{
    int count = 0;
    for (const struct object *o = mirror_next(m, OBJECT_GUEST, NULL); o; o = mirror_next(m, OBJECT_GUEST, o->name))
        count += names(object_spec(o, "affinity"), group) || names(object_spec(o, "anti_affinity"), group);
    return count;
}

/* kind: "rack" or "site". */
static int nodes_in(const struct mirror *m, const char *kind, const char *name)
{
    int count = 0;
    for (const struct object *o = mirror_next(m, OBJECT_NODE, NULL); o; o = mirror_next(m, OBJECT_NODE, o->name))
        count += !strcmp(member_text(object_spec(o, "labels"), kind), name);
    return count;
}

json_t *balance_modes_show(const struct mirror *m, const json_t *groups)
{
    json_t *list = json_array(), *mode;
    const char *key;
    json_object_foreach ((json_t *)(uintptr_t)groups, key, mode) {
        char kind[8];
        const char *name = kind_of(key, kind);
        int guests = name ? !strcmp(kind, "guest") && mirror_named(m, OBJECT_GUEST, name) : guests_in(m, key);
        int nodes = !name                   ? 0
                    : !strcmp(kind, "node") ? mirror_named(m, OBJECT_NODE, name) != NULL
                                            : nodes_in(m, kind, name);
        json_array_append_new(
            list, json_pack("{s:s, s:O, s:i, s:i, s:o}", "group", key, "mode", mode, "guests", guests, "nodes", nodes,
                            "shown",
                            json_sprintf("%s: %s (%d guests, %d nodes)", key, json_string_value(mode), guests, nodes)));
    }
    if (json_array_size(list))
        return list;
    json_decref(list);
    return NULL;
}
