/* From the text of a stack to open layers.
 *
 *     raw:disk.img                                      one driver and its main option
 *     [{"driver":"throttle","iops":500}, {"driver":"raw","file":"disk.img"}]      top first
 *     @stack.json                                       the same, from a file
 *
 * The layers are opened from the bottom up. Every complaint names the layer and the option. */
#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "nbd/blk_node.h"
#include "node/base/err.h"
#include "node/base/units.h"

enum { DRIVERS_MAX = 32, LAYERS_MAX = 16 };

static const struct blk_driver *drivers[DRIVERS_MAX];
static unsigned driver_count;

const struct blk_driver *blk_driver_at(unsigned i)
{
    return i < driver_count ? drivers[i] : NULL;
}

static const struct blk_driver *driver_named(const char *name, size_t len)
{
    for (unsigned i = 0; i < driver_count; i++)
        if (strlen(drivers[i]->name) == len && memcmp(drivers[i]->name, name, len) == 0)
            return drivers[i];
    return NULL;
}

void blk_driver_register(const struct blk_driver *driver)
{
    assert(driver_count < DRIVERS_MAX && !driver_named(driver->name, strlen(driver->name)));
    drivers[driver_count++] = driver;
}

static void append(char *text, size_t size, const char *word)
{
    size_t n = strlen(text);
    if (n + strlen(word) + 3 < size) {
        strcpy(text + n, n ? ", " : "");
        strcat(text, word);
    }
}

static int unknown_driver(const char *name, struct err *err)
{
    char known[256] = "";
    for (unsigned i = 0; i < driver_count; i++)
        append(known, sizeof known, drivers[i]->name);
    return err_set(err, EINVAL, "unknown driver '%.40s' (there are: %s)", name, known);
}

static const struct blk_option *option_named(const struct blk_driver *d, const char *name)
{
    for (const struct blk_option *o = d->options; o && o->name; o++)
        if (strcmp(o->name, name) == 0)
            return o;
    return NULL;
}

/* ---- one option ---- */

static int set_number(const struct blk_option *o, json_t *value, uint64_t *field, struct err *err)
{
    uint64_t v;
    if (json_is_integer(value) && json_integer_value(value) >= 0) {
        v = (uint64_t)json_integer_value(value);
        if (o->type == BLK_OPTION_DURATION && __builtin_mul_overflow(v, UINT64_C(1000000000), &v))
            return err_set(err, EINVAL, "%s is too long", o->name);
    } else if (json_is_string(value)) {
        const char *text = json_string_value(value);
        int rc = o->type == BLK_OPTION_DURATION ? units_parse_duration(text, &v, err) : units_parse_size(text, &v, err);
        if (rc)
            return err_prefix(err, "%s", o->name);
    } else {
        return err_set(err, EINVAL, "%s must be a number, not negative", o->name);
    }
    if (v < o->min || (o->max && v > o->max))
        return err_set(err, EINVAL, "%s must be from %llu to %llu", o->name, (unsigned long long)o->min,
                       (unsigned long long)(o->max ? o->max : INT64_MAX));
    *field = v;
    return 0;
}

static int set_bool(const struct blk_option *o, json_t *value, bool *field, struct err *err)
{
    const char *text = json_is_string(value) ? json_string_value(value) : "";
    if (json_is_boolean(value))
        *field = json_is_true(value);
    else if (strcmp(text, "on") == 0 || strcmp(text, "off") == 0)
        *field = text[1] == 'n';
    else
        return err_set(err, EINVAL, "%s must be true or false", o->name);
    return 0;
}

static int set_choice(const struct blk_option *o, json_t *value, int *field, struct err *err)
{
    char known[256] = "";
    for (int i = 0; o->choices[i]; i++) {
        if (json_is_string(value) && strcmp(o->choices[i], json_string_value(value)) == 0) {
            *field = i;
            return 0;
        }
        append(known, sizeof known, o->choices[i]);
    }
    return err_set(err, EINVAL, "%s must be one of: %s", o->name, known);
}

static int set_option(const struct blk_option *o, json_t *value, void *config, struct err *err)
{
    void *field = (char *)config + o->field;
    switch (o->type) {
    case BLK_OPTION_STRING:
        if (!json_is_string(value))
            return err_set(err, EINVAL, "%s must be a text", o->name);
        *(const char **)field = json_string_value(value);
        return 0;
    case BLK_OPTION_SIZE:
    case BLK_OPTION_DURATION:
    case BLK_OPTION_UINT:
        return set_number(o, value, field, err);
    case BLK_OPTION_BOOL:
        return set_bool(o, value, field, err);
    case BLK_OPTION_CHOICE:
        return set_choice(o, value, field, err);
    case BLK_OPTION_JSON:
        *(const json_t **)field = value;
        return 0;
    }
    return err_set(err, EINVAL, "%s has an unknown type", o->name);
}

static int unknown_option(const struct blk_driver *d, const char *name, struct err *err)
{
    char known[256] = "";
    for (const struct blk_option *o = d->options; o && o->name; o++)
        append(known, sizeof known, o->name);
    return err_set(err, EINVAL, "unknown option '%.40s' (there are: %s)", name, known);
}

static int fill_config(const struct blk_driver *d, json_t *layer, void *config, struct err *err)
{
    const char *key;
    json_t *value;
    for (const struct blk_option *o = d->options; o && o->name; o++)
        if (o->type == BLK_OPTION_SIZE || o->type == BLK_OPTION_DURATION || o->type == BLK_OPTION_UINT)
            *(uint64_t *)(void *)((char *)config + o->field) = o->preset;
        else if (o->type == BLK_OPTION_BOOL)
            *(bool *)((char *)config + o->field) = o->preset;
    json_object_foreach (layer, key, value) {
        if (strcmp(key, "driver") == 0)
            continue;
        const struct blk_option *o = option_named(d, key);
        int rc = o ? set_option(o, value, config, err) : unknown_option(d, key, err);
        if (rc)
            return rc;
    }
    for (const struct blk_option *o = d->options; o && o->name; o++)
        if (o->required && !json_object_get(layer, o->name))
            return err_set(err, EINVAL, "%s is missing (%s)", o->name, o->help);
    return 0;
}

/* ---- one layer ---- */

static struct blk *node_new(const struct blk_env *env, const struct blk_driver *d, struct blk *below)
{
    struct blk *blk = calloc(1, sizeof *blk);
    if (!blk)
        return NULL;
    blk->state = calloc(1, d->state_bytes ? d->state_bytes : 1);
    if (!blk->state) {
        free(blk);
        return NULL;
    }
    blk->driver = d;
    blk->env = *env;
    STAILQ_INIT(&blk->children);
    blk->limits = (struct blk_limits){1, 4096, 64u << 20};
    if (below) {
        blk->below = below;
        blk->size_bytes = below->size_bytes;
        blk->limits = below->limits;
        blk->can = below->can;
        blk->needs = below->needs;
        blk->read_only = below->read_only;
    }
    return blk;
}

static void node_free(struct blk *blk)
{
    struct blk_req *child;
    while ((child = STAILQ_FIRST(&blk->children))) {
        STAILQ_REMOVE_HEAD(&blk->children, link);
        free(child);
    }
    free(blk->state);
    free(blk);
}

/* Takes over `below`, also on failure (it is closed then). */
static int open_layer(const struct blk_env *env, json_t *layer, uint32_t flags, struct blk *below, struct blk **out,
                      struct err *err)
{
    const char *name = json_string_value(json_object_get(layer, "driver"));
    const struct blk_driver *d = name ? driver_named(name, strlen(name)) : NULL;
    struct blk *blk = NULL;
    void *config = NULL;
    int rc;
    if (!name)
        rc = err_set(err, EINVAL, "a layer must be an object with a \"driver\"");
    else if (!d)
        rc = unknown_driver(name, err);
    else if (d->filter && !below)
        rc = err_set(err, EINVAL, "%s: needs a layer below it", name);
    else if (!d->filter && below)
        rc = err_set(err, EINVAL, "%s: must be the last layer", name);
    else if (!(config = calloc(1, d->config_bytes + 1)) || !(blk = node_new(env, d, below)))
        rc = err_set(err, ENOMEM, "%s: no memory", name);
    else if ((rc = fill_config(d, layer, config, err)))
        err_prefix(err, "%s", name);
    else {
        blk->read_only |= (flags & BLK_OPEN_READ_ONLY) != 0;
        blk->patient = flags & BLK_OPEN_PATIENT;
        rc = d->open(blk, config, err);
        if (rc)
            err_prefix(err, "%s", name);
    }
    free(config);
    if (rc) {
        if (blk)
            node_free(blk);
        blk_close(below);
        return rc;
    }
    *out = blk;
    return 0;
}

void blk_close(struct blk *blk)
{
    while (blk) {
        struct blk *below = blk->below;
        assert(!blk->in_flight);
        blk->driver->close(blk);
        node_free(blk);
        blk = below;
    }
}

/* ---- the whole text ---- */

static json_t *parse_short(const char *stack, struct err *err)
{
    const char *colon = strchr(stack, ':');
    size_t len = colon ? (size_t)(colon - stack) : strlen(stack);
    const struct blk_driver *d = driver_named(stack, len);
    if (!d) {
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)(len < sizeof name ? len : sizeof name - 1), stack);
        if (!colon)
            err_set(err, EINVAL, "'%.80s' is not a stack: write DRIVER:VALUE, as in raw:disk.img, or JSON", stack);
        else
            unknown_driver(name, err);
        return NULL;
    }
    if (!colon || !colon[1] || !d->short_option) {
        err_set(err, EINVAL, d->short_option ? "%s: write %s:VALUE" : "%s: write it as JSON (%s)", d->name, d->name);
        return NULL;
    }
    json_t *json = json_pack("[{s:s, s:s}]", "driver", d->name, d->short_option, colon + 1);
    if (!json)
        err_set(err, EINVAL, "%s: what stands behind the colon is not UTF-8", d->name);
    return json;
}

static json_t *parse_text(const char *stack, struct err *err)
{
    json_error_t where = {0};
    json_t *json;
    if (*stack == '@')
        json = json_load_file(stack + 1, JSON_REJECT_DUPLICATES, &where);
    else if (*stack == '[' || *stack == '{')
        json = json_loads(stack, JSON_REJECT_DUPLICATES, &where);
    else
        return parse_short(stack, err);
    if (!json)
        err_set(err, EINVAL, "%s: line %d, column %d: %s", *stack == '@' ? stack + 1 : "stack", where.line,
                where.column, where.text);
    return json;
}

int blk_stack_parse(const char *stack, json_t **layers, struct err *err)
{
    json_t *json = parse_text(stack, err);
    if (!json)
        return -EINVAL;
    if (json_is_object(json))
        json = json_pack("[o]", json);
    size_t count = json_array_size(json);
    if (count == 0 || count > LAYERS_MAX) {
        json_decref(json);
        return err_set(err, EINVAL, "a stack is an array of 1 to %d drivers, top first", LAYERS_MAX);
    }
    *layers = json;
    return 0;
}

int blk_open(const struct blk_env *env, const char *stack, uint32_t flags, struct blk **out, struct err *err)
{
    json_t *json = NULL;
    struct blk *top = NULL;
    int rc = blk_stack_parse(stack, &json, err);
    size_t count = json_array_size(json);
    while (!rc && count) {
        rc = open_layer(env, json_array_get(json, --count), flags, top, &top, err);
        if (rc)
            top = NULL;
    }
    json_decref(json);
    if (!rc)
        *out = top;
    return rc;
}
