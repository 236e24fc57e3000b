#include "balancer/json_text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "node/base/err.h"
#include "node/base/units.h"

json_t *json_text_parse(const struct json_text *t)
{
    json_error_t error;
    json_t *root = json_loadb(t->text, t->len, JSON_REJECT_DUPLICATES, &error);
    if (!root) {
        err_set(t->err, EINVAL, "%s:%d: not JSON: %s", t->name, error.line < 1 ? 1 : error.line, error.text);
        return NULL;
    }
    if (json_is_object(root))
        return root;
    json_decref(root);
    err_set(t->err, EINVAL, "%s:1: the file must be one JSON object: { ... }", t->name);
    return NULL;
}

/* Where this name is next written in quotes. */
static const char *find_name(const struct json_text *t, const char *from, const char *name)
{
    size_t len = strlen(name);
    const char *end = t->text + t->len;
    for (const char *at = from; at && at < end; at++) {
        at = len && len + 2 <= (size_t)(end - at) ? memmem(at, (size_t)(end - at), name, len) : NULL;
        if (!at)
            return NULL;
        if (at > t->text && at[-1] == '"' && at + len < end && at[len] == '"')
            return at;
    }
    return NULL;
}

int json_text_refuse(const struct json_text *t, const char *key, const char *format, ...)
{
    char reason[300], path[200] = "";
    va_list list;
    va_start(list, format);
    vsnprintf(reason, sizeof reason, format, list);
    va_end(list);
    const char *at = t->text;
    bool lost = false; /* what is behind a name that is not written so is anywhere */
    for (int i = 0; i <= t->depth; i++) {
        const char *name = i < t->depth ? t->path[i] : key;
        if (!name)
            continue;
        const char *found = lost ? NULL : find_name(t, at, name);
        lost |= !found;
        at = found ? found : at;
        size_t used = strlen(path);
        snprintf(path + used, sizeof path - used, "%s%.80s", used ? "." : "", name);
    }
    int line = 1;
    for (const char *c = t->text; c < at; c++)
        line += *c == '\n';
    if (!t->len)
        return err_set(t->err, EINVAL, "%s: %s: %s", t->name, path[0] ? path : "all of it", reason);
    return err_set(t->err, EINVAL, "%s:%d: %s: %s", t->name, line, path[0] ? path : "the file", reason);
}

int json_text_number(const struct json_text *t, json_t *object, const char *key, double min, double max, double *to)
{
    json_t *value = json_object_get(object, key);
    if (!value)
        return 0;
    if (!json_is_number(value))
        return json_text_refuse(t, key, "a number is needed");
    double number = json_number_value(value);
    if (!(number >= min && number <= max))
        return json_text_refuse(t, key, "%g is not between %g and %g", number, min, max);
    *to = number;
    return 0;
}

int json_text_bool(const struct json_text *t, json_t *object, const char *key, bool *to)
{
    json_t *value = json_object_get(object, key);
    if (value && !json_is_boolean(value))
        return json_text_refuse(t, key, "true or false is needed");
    if (value)
        *to = json_is_true(value);
    return 0;
}

int json_text_string(const struct json_text *t, json_t *object, const char *key, const char **to)
{
    json_t *value = json_object_get(object, key);
    if (value && (!json_is_string(value) || !json_string_length(value) || json_string_length(value) > 255))
        return json_text_refuse(t, key, "a text of 1 to 255 characters is needed");
    if (value)
        *to = json_string_value(value);
    return 0;
}

int json_text_duration(const struct json_text *t, json_t *object, const char *key, double *to)
{
    json_t *value = json_object_get(object, key);
    uint64_t ns;
    if (!value || json_is_number(value))
        return json_text_number(t, object, key, 0, 1e9, to);
    if (!json_is_string(value) || units_parse_duration(json_string_value(value), &ns, NULL) < 0)
        return json_text_refuse(t, key, "a duration is needed: seconds, or a text like \"30m\"");
    *to = (double)ns / 1e9;
    return 0;
}

int json_text_size(const struct json_text *t, json_t *object, const char *key, bool mib, double *to)
{
    json_t *value = json_object_get(object, key);
    uint64_t bytes;
    if (!value)
        return 0;
    if (json_is_string(value) && units_parse_size(json_string_value(value), &bytes, NULL) == 0) {
        *to = (double)bytes / (mib ? 1048576 : 1);
        return 0;
    }
    double number = 0;
    if (!json_is_number(value))
        return json_text_refuse(t, key, "a size is needed: bytes, or a text like \"16G\"");
    int rc = json_text_number(t, object, key, 0, 1e18, &number);
    if (rc == 0)
        *to = number / (mib ? 1048576 : 1);
    return rc;
}

int json_text_known(const struct json_text *t, json_t *object, const char *const *keys)
{
    const char *key;
    json_t *value;
    json_object_foreach (object, key, value) {
        const char *const *known = keys;
        while (*known && strcmp(*known, key) != 0)
            known++;
        if (!*known)
            return json_text_refuse(t, key, "no such field; docs/balancer.md has the list");
    }
    return 0;
}
