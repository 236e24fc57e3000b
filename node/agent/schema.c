/* See schema.h. One recursive walk over value and table; the path is built on the way down and cut on the way up. */
#include "node/agent/schema.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/schema_value.h"
#include "node/base/utf8.h"

enum { STRING_MAX = 1024, TEXT_MAX = 64 << 10, ARRAY_MAX = 1000, MAP_MAX = 64, NAMES_MAX = 64 };

struct walk {
    struct schema_error *error;
    enum schema_mode mode;
    unsigned depth;
    char path[SCHEMA_PATH_MAX];
    size_t path_len;
};

__attribute__((format(printf, 2, 3))) static int fail(struct walk *w, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(w->error->text, sizeof w->error->text, format, args);
    va_end(args);
    memcpy(w->error->path, w->path, w->path_len);
    w->error->path[w->path_len] = 0;
    return -EINVAL;
}

/* Names that people send are part of the path: it is cut, not refused, when they are long. */
__attribute__((format(printf, 2, 3))) static size_t enter(struct walk *w, const char *format, ...)
{
    size_t before = w->path_len, room = sizeof w->path - before;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(w->path + before, room, format, args);
    va_end(args);
    w->path_len = n < 0 ? before : (size_t)n < room ? before + (size_t)n : sizeof w->path - 1;
    while (w->path_len > before && !utf8_valid(w->path + before, w->path_len - before))
        w->path_len--;
    return before;
}

static size_t enter_member(struct walk *w, const char *name)
{
    return enter(w, "%s%.100s", w->path_len ? "." : "", name);
}

static void leave(struct walk *w, size_t before)
{
    w->path_len = before;
}

/* ---- what it is, for messages ---- */

static const char *type_word(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_NULL:
        return "null";
    default:
        return "true or false";
    }
}

/* A short piece of the value, to be named in a message. */
static const char *shown(const json_t *v, char *text, size_t len)
{
    const char *s = json_string_value(v);
    if (s) {
        size_t n = strlen(s), max = len > 50 ? 40 : len - 10;
        size_t cut = n > max ? max : n;
        while (cut && !utf8_valid(s, cut))
            cut--;
        snprintf(text, len, "'%.*s%s'", (int)cut, s, cut < n ? "..." : "");
    } else if (json_is_integer(v)) {
        snprintf(text, len, "%lld", (long long)json_integer_value(v));
    } else if (json_is_real(v)) {
        snprintf(text, len, "%g", json_real_value(v));
    } else {
        snprintf(text, len, "%s", json_is_true(v) ? "true" : json_is_false(v) ? "false" : type_word(v));
    }
    return text;
}

static int want(struct walk *w, const struct schema_field *f, const json_t *v, const char *what)
{
    char text[64];
    const char *example = f->example ? f->example : schema_value_example(f->type);
    return fail(w, "%s is no %s%s%s", shown(v, text, sizeof text), what, example ? "; write for example " : "",
                example ? example : "");
}

/* ---- names ---- */

const char *schema_nearest(const char *text, const char *const *names, unsigned count)
{
    enum { LONGEST = 48 };
    const char *best = NULL;
    size_t len = strlen(text), best_distance = len / 3 + 1;
    if (!len || len > LONGEST)
        return NULL;
    for (unsigned k = 0; k < count; k++) {
        size_t row[LONGEST + 1], n = strlen(names[k]);
        if (n > LONGEST)
            continue;
        for (size_t j = 0; j <= n; j++)
            row[j] = j;
        for (size_t i = 1; i <= len; i++) {
            size_t diagonal = row[0];
            row[0] = i;
            for (size_t j = 1; j <= n; j++) {
                size_t above = row[j], change = diagonal + (text[i - 1] != names[k][j - 1]);
                size_t gap = (above < row[j - 1] ? above : row[j - 1]) + 1;
                row[j] = change < gap ? change : gap;
                diagonal = above;
            }
        }
        if (row[n] <= best_distance && (!best || row[n] < best_distance)) {
            best = names[k];
            best_distance = row[n];
        }
    }
    return best;
}

const struct schema_field *schema_find(const struct schema_field *fields, const char *name)
{
    for (; fields && fields->name; fields++)
        if (strcmp(fields->name, name) == 0)
            return fields;
    return NULL;
}

static int unknown(struct walk *w, const struct schema_field *fields, const char *name)
{
    const char *names[NAMES_MAX] = {NULL};
    char list[300] = "";
    unsigned count = 0;
    size_t at = 0;
    for (; fields->name && count < NAMES_MAX; fields++)
        if (w->mode == SCHEMA_ANSWER || !(fields->flags & SCHEMA_READ_ONLY))
            names[count++] = fields->name;
    size_t before = enter_member(w, name);
    const char *near = schema_nearest(name, names, count);
    for (unsigned i = 0; i < count && at < sizeof list; i++)
        at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "", names[i]);
    int rc = near ? fail(w, "there is no such field; did you mean '%s'?", near)
                  : fail(w, "there is no such field; there are: %s", *list ? list : "none");
    leave(w, before);
    return rc;
}

/* ---- values ---- */

static int check_value(struct walk *w, const struct schema_field *f, json_t *v, json_t **instead);

static int check_int(struct walk *w, const struct schema_field *f, const json_t *v)
{
    if (f->type == SCHEMA_NUMBER ? !json_is_number(v) : !json_is_integer(v))
        return want(w, f, v, f->type == SCHEMA_NUMBER ? "number" : "whole number");
    double n = json_number_value(v);
    if (f->min == 0 && f->max == 0)
        return 0;
    if (f->type == SCHEMA_INT ? json_integer_value(v) < f->min || json_integer_value(v) > f->max
                              : n < (double)f->min || n > (double)f->max) {
        char text[64];
        return fail(w, "%s is not in the range from %lld to %lld", shown(v, text, sizeof text), (long long)f->min,
                    (long long)f->max);
    }
    return 0;
}

/* "20G" or 21474836480 becomes 21474836480; "30s" or 30000 becomes 30000. */
static int check_quantity(struct walk *w, const struct schema_field *f, const json_t *v, json_t **instead)
{
    const char *what = f->type == SCHEMA_SIZE ? "size" : "duration";
    uint64_t quantity;
    char text[64];
    if (json_is_integer(v) && json_integer_value(v) >= 0)
        quantity = (uint64_t)json_integer_value(v);
    else if (!json_is_string(v) || !schema_value_quantity(f->type, json_string_value(v), &quantity))
        return want(w, f, v, what);
    if ((f->min || f->max) && (quantity < (uint64_t)f->min || (f->max && quantity > (uint64_t)f->max))) {
        char low[32], high[32];
        schema_value_format(f->type, (uint64_t)f->min, low, sizeof low);
        schema_value_format(f->type, (uint64_t)f->max, high, sizeof high);
        return f->max ? fail(w, "%s is not in the range from %s to %s", shown(v, text, sizeof text), low, high)
                      : fail(w, "%s is under %s", shown(v, text, sizeof text), low);
    }
    if (!json_is_integer(v)) {
        *instead = json_integer((json_int_t)quantity);
        return *instead ? 0 : fail(w, "no memory");
    }
    return 0;
}

static int check_string(struct walk *w, const struct schema_field *f, const json_t *v, json_t **instead)
{
    char text[64], canonical[SCHEMA_CANONICAL_MAX] = "";
    const char *s = json_string_value(v);
    if (!s)
        return want(w, f, v, schema_value_word(f->type));
    size_t len = json_string_length(v);
    bool is_free = f->type == SCHEMA_STRING || f->type == SCHEMA_TEXT;
    size_t max = is_free && f->max ? (size_t)f->max : f->type == SCHEMA_TEXT ? TEXT_MAX : STRING_MAX;
    if (len > max)
        return fail(w, "%zu bytes are too long; at most %zu", len, max);
    if (is_free && len < (size_t)f->min)
        return len ? fail(w, "%s is too short; at least %lld bytes", shown(v, text, sizeof text), (long long)f->min)
                   : fail(w, "must not be empty");
    for (size_t i = 0; i < len; i++)
        if (((unsigned char)s[i] < 0x20 || s[i] == 0x7f) &&
            !(f->type == SCHEMA_TEXT && (s[i] == '\n' || s[i] == '\t' || s[i] == '\r')))
            return fail(w, "holds a control character");
    const char *wrong = schema_value_judge(f->type, s, canonical);
    if (wrong)
        return *wrong ? fail(w, "%s %s", shown(v, text, sizeof text), wrong)
                      : want(w, f, v, schema_value_word(f->type));
    if (*canonical && strcmp(canonical, s) != 0) {
        *instead = json_string(canonical);
        return *instead ? 0 : fail(w, "no memory");
    }
    return 0;
}

static int check_enum(struct walk *w, const struct schema_field *f, const json_t *v)
{
    const char *s = json_string_value(v);
    char list[256] = "", text[64];
    unsigned count = 0;
    size_t at = 0;
    for (; f->values[count]; count++) {
        if (s && strcmp(s, f->values[count]) == 0)
            return 0;
        if (at < sizeof list)
            at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", count ? ", " : "", f->values[count]);
    }
    const char *near = s ? schema_nearest(s, f->values, count) : NULL;
    return fail(w, "%s is none of: %s%s%s%s", shown(v, text, sizeof text), list, near ? "; did you mean '" : "",
                near ? near : "", near ? "'?" : "");
}

static int check_unique(struct walk *w, const json_t *array)
{
    for (size_t i = 1; i < json_array_size(array); i++)
        for (size_t j = 0; j < i; j++)
            if (json_equal(json_array_get(array, i), json_array_get(array, j))) {
                size_t before = enter(w, "[%zu]", i);
                int rc = fail(w, "is there twice");
                leave(w, before);
                return rc;
            }
    return 0;
}

static int check_array(struct walk *w, const struct schema_field *f, json_t *v)
{
    size_t max = f->max ? (size_t)f->max : ARRAY_MAX, size = json_array_size(v);
    if (!json_is_array(v))
        return want(w, f, v, "array");
    if (size > max || size < (size_t)f->min)
        return fail(w, "has %zu entries; from %lld to %zu are allowed", size, (long long)f->min, max);
    for (size_t i = 0; i < size; i++) {
        json_t *instead = NULL;
        size_t before = enter(w, "[%zu]", i);
        int rc = check_value(w, f->item, json_array_get(v, i), &instead);
        leave(w, before);
        if (!rc && instead)
            rc = json_array_set_new(v, i, instead) ? fail(w, "no memory") : 0;
        if (rc)
            return rc;
    }
    return f->flags & SCHEMA_UNIQUE ? check_unique(w, v) : 0;
}

static int check_map(struct walk *w, const struct schema_field *f, json_t *v)
{
    size_t max = f->max ? (size_t)f->max : MAP_MAX;
    const char *key;
    json_t *value;
    void *next;
    if (!json_is_object(v))
        return want(w, f, v, "object");
    if (json_object_size(v) > max)
        return fail(w, "has %zu entries; at most %zu are allowed", json_object_size(v), max);
    json_object_foreach_safe(v, next, key, value)
    {
        json_t *instead = NULL;
        size_t before = enter_member(w, key);
        int rc = schema_value_is_key(key) ? check_value(w, f->item, value, &instead)
                                          : fail(w, "a key has 1 to 63 letters, digits, '-', '_', '.' or '/'");
        leave(w, before);
        if (!rc && instead)
            rc = json_object_set_new(v, key, instead) ? fail(w, "no memory") : 0;
        if (rc)
            return rc;
    }
    return 0;
}

static int fill_in(struct walk *w, const struct schema_field *fields, json_t *v)
{
    for (const struct schema_field *f = fields; f->name; f++) {
        if (json_object_get(v, f->name))
            continue;
        size_t before = enter_member(w, f->name);
        int rc = 0;
        bool asked = !(f->flags & SCHEMA_READ_ONLY) || w->mode == SCHEMA_ANSWER;
        if ((f->flags & SCHEMA_REQUIRED) && asked && !((f->flags & SCHEMA_WRITE_ONLY) && w->mode == SCHEMA_ANSWER)) {
            const char *example = f->example ? f->example : schema_value_example(f->type);
            rc = fail(w, "is missing%s%s", example ? "; write for example " : "", example ? example : "");
        } else if (f->default_json && w->mode == SCHEMA_WHOLE) {
            json_t *value = json_loads(f->default_json, JSON_DECODE_ANY, NULL);
            if (!value || json_object_set_new(v, f->name, value))
                rc = fail(w, "no memory");
        }
        leave(w, before);
        if (rc)
            return rc;
    }
    return 0;
}

static int check_member(struct walk *w, const struct schema_field *f, json_t *object, json_t *value)
{
    json_t *instead = NULL;
    size_t before = enter_member(w, f->name);
    int rc;
    if ((f->flags & SCHEMA_READ_ONLY) && w->mode != SCHEMA_ANSWER)
        rc = fail(w, "is set by the cluster and cannot be given");
    else if ((f->flags & SCHEMA_WRITE_ONLY) && w->mode == SCHEMA_ANSWER)
        rc = fail(w, "is a secret and must not be shown");
    else
        rc = check_value(w, f, value, &instead);
    leave(w, before);
    if (!rc && instead)
        rc = json_object_set_new(object, f->name, instead) ? fail(w, "no memory") : 0;
    return rc;
}

static int check_object(struct walk *w, const struct schema_field *fields, json_t *v)
{
    const char *key;
    json_t *value;
    void *next;
    if (!json_is_object(v))
        return fail(w, "is %s; an object is wanted", type_word(v));
    json_object_foreach_safe(v, next, key, value)
    {
        const struct schema_field *f = schema_find(fields, key);
        bool is_null = json_is_null(value); /* a check may put another value in its place */
        int rc = f ? check_member(w, f, v, value) : unknown(w, fields, key);
        if (rc)
            return rc;
        if (is_null && w->mode == SCHEMA_WHOLE)
            json_object_del(v, key); /* as if it were not there: its default appears */
    }
    return w->mode == SCHEMA_PATCH ? 0 : fill_in(w, fields, v);
}

static int check_by_type(struct walk *w, const struct schema_field *f, json_t *v, json_t **instead)
{
    switch (f->type) {
    case SCHEMA_INT:
    case SCHEMA_NUMBER:
        return check_int(w, f, v);
    case SCHEMA_BOOL:
        return json_is_boolean(v) ? 0 : want(w, f, v, "bool");
    case SCHEMA_SIZE:
    case SCHEMA_DURATION:
        return check_quantity(w, f, v, instead);
    case SCHEMA_ENUM:
        return check_enum(w, f, v);
    case SCHEMA_OBJECT:
        if (f->fields)
            return check_object(w, f->fields, v);
        return json_is_object(v) ? 0 : want(w, f, v, "object");
    case SCHEMA_MAP:
        return check_map(w, f, v);
    case SCHEMA_ARRAY:
        return check_array(w, f, v);
    case SCHEMA_ANY:
        return 0;
    default:
        return check_string(w, f, v, instead);
    }
}

static int check_value(struct walk *w, const struct schema_field *f, json_t *v, json_t **instead)
{
    if (json_is_null(v) && f->type != SCHEMA_ANY) {
        bool may = (f->flags & SCHEMA_NULLABLE) && !((f->flags & SCHEMA_REQUIRED) && w->mode != SCHEMA_ANSWER);
        return may ? 0 : fail(w, "must not be null");
    }
    if (w->depth == SCHEMA_DEPTH_MAX)
        return fail(w, "is nested over %d levels deep", SCHEMA_DEPTH_MAX);
    w->depth++;
    int rc = check_by_type(w, f, v, instead);
    w->depth--;
    if (!rc && f->check) {
        const char *wrong = f->check(*instead ? *instead : v);
        if (wrong)
            rc = fail(w, "%s", wrong);
    }
    if (rc && *instead) {
        json_decref(*instead);
        *instead = NULL;
    }
    return rc;
}

int schema_check(const struct schema *schema, json_t *value, enum schema_mode mode, struct schema_error *error)
{
    struct walk w = {.error = error, .mode = mode};
    *error = (struct schema_error){0};
    return check_object(&w, schema->fields, value);
}

json_t *schema_from_text(const struct schema_field *f, const char *text, struct schema_error *error)
{
    struct walk w = {.error = error, .mode = SCHEMA_WHOLE};
    json_t *v = NULL, *instead = NULL;
    *error = (struct schema_error){0};
    size_t before = enter_member(&w, f->name);
    if (f->type == SCHEMA_INT || f->type == SCHEMA_NUMBER) {
        v = json_loads(text, JSON_DECODE_ANY, NULL);
        if (v && !json_is_number(v)) {
            json_decref(v);
            v = NULL;
        }
    } else if (f->type == SCHEMA_BOOL && (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)) {
        v = json_boolean(*text == 't');
    }
    if (!v)
        v = json_string(text);
    if (!v) {
        fail(&w, "is no UTF-8");
        return NULL;
    }
    int rc = check_value(&w, f, v, &instead);
    leave(&w, before);
    if (!rc && !instead)
        return v;
    json_decref(v);
    return rc ? NULL : instead;
}
