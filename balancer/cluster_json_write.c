#include "balancer/cluster_json.h"

#include <jansson.h>
#include <string.h>

#include "balancer/model.h"

json_t *cluster_json_warnings(const struct cluster_json *cluster)
{
    json_t *lines = json_array();
    const char *text = cluster->warnings;
    while (*text && json_array_size(lines) < CLUSTER_JSON_WARNINGS_SHOWN) {
        size_t n = strcspn(text, "\n");
        json_array_append_new(lines, json_stringn(text, n));
        text += n + (text[n] == '\n');
    }
    int more = cluster->unsaid;
    for (; *text; text++)
        more += *text == '\n';
    if (more)
        json_array_append_new(lines, json_sprintf("and %d more", more));
    return lines;
}

/* Is it this guest's entry? */
static bool is_of(const json_t *entry, const struct model *m, int guest)
{
    const char *name = json_string_value(json_object_get(entry, "name"));
    return name && guest < m->guest_count && !strcmp(name, model_guest_name(m, guest));
}

/* Guests have the model's order, with those between them that were left out. */
char *cluster_json_write(const char *text, size_t len, const struct model *m)
{
    json_t *root = json_loadb(text, len, 0, NULL), *entry;
    size_t i;
    int g = 0;
    json_array_foreach (json_object_get(root, "guests"), i, entry) {
        if (!is_of(entry, m, g))
            continue;
        if (m->at[g] >= 0)
            json_object_set_new(entry, "node", json_string(model_node_name(m, m->at[g])));
        g++;
    }
    char *written = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    return written;
}
