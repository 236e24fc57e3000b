/* Query, body and Accept of a call; see api.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "node/agent/api_state.h"

enum { NAMES_MAX = 32 };

/* ---- Accept (RFC 9110, 12.5.1) ---- */

static bool range_matches(const char *range, size_t len, const char *type)
{
    const char *slash = strchr(type, '/');
    size_t major = (size_t)(slash - type) + 1;
    if (len == 3 && memcmp(range, "*/*", 3) == 0)
        return true;
    if (len == major + 1 && strncasecmp(range, type, major) == 0 && range[major] == '*')
        return true;
    return len == strlen(type) && strncasecmp(range, type, len) == 0;
}

bool api_accepts(const char *accept, const char *type)
{
    if (!accept || !*accept)
        return true;
    for (const char *p = accept; *p;) {
        p += strspn(p, " \t,");
        size_t entry = strcspn(p, ","), len = strcspn(p, ";, \t");
        const char *quality = memmem(p, entry, "q=0", 3);
        bool never = quality && strspn(quality + 3, ".0") == strcspn(quality + 3, ", ;\t");
        if (!never && range_matches(p, len, type))
            return true;
        p += entry;
    }
    return false;
}

/* ---- query ---- */

static const struct schema_field paged_fields[] = {
    {.name = "limit", .type = SCHEMA_INT, .min = 1, .max = API_PAGE_MAX},
    {.name = "after", .type = SCHEMA_STRING, .min = 1, .max = 255},
    {.name = NULL},
};
static const struct schema_field dry_run_fields[] = {
    {.name = "dry_run", .type = SCHEMA_BOOL},
    {.name = NULL},
};

static const struct schema_field *query_field(const struct route *r, const char *name)
{
    const struct schema_field *f = schema_find(r->query, name);
    if (!f && r->flags & ROUTE_PAGED)
        f = schema_find(paged_fields, name);
    if (!f && r->flags & ROUTE_DRY_RUN)
        f = schema_find(dry_run_fields, name);
    return f;
}

static unsigned add_names(const struct schema_field *fields, const char **names, unsigned count)
{
    for (; fields && fields->name && count < NAMES_MAX; fields++)
        names[count++] = fields->name;
    return count;
}

static void refuse_parameter(struct api_call *call, const char *name)
{
    const char *names[NAMES_MAX] = {NULL};
    const struct route *r = call->route;
    unsigned count = add_names(r->query, names, 0);
    if (r->flags & ROUTE_PAGED)
        count = add_names(paged_fields, names, count);
    if (r->flags & ROUTE_DRY_RUN)
        count = add_names(dry_run_fields, names, count);
    const char *near = schema_nearest(name, names, count);
    api_error(call, 400, "parameter-unknown", name, "there is no query parameter '%.60s'%s%s%s", name,
              near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* The server's own parameters; the route's go to call->query. */
static bool take_parameter(struct api_call *call, const char *name, json_t *value)
{
    if (schema_find(call->route->query, name))
        return json_object_set_new(call->query, name, value) == 0;
    if (strcmp(name, "limit") == 0)
        call->limit = (unsigned)json_integer_value(value);
    else if (strcmp(name, "after") == 0)
        call->after = http_query(call->http, "after");
    else
        call->dry_run = json_is_true(value);
    json_decref(value);
    return true;
}

static bool check_missing(struct api_call *call)
{
    for (const struct schema_field *f = call->route->query; f && f->name; f++) {
        if (json_object_get(call->query, f->name))
            continue;
        if (f->flags & SCHEMA_REQUIRED) {
            api_error(call, 400, "parameter-missing", f->name, "the query parameter '%s' is missing", f->name);
            return false;
        }
        if (f->default_json)
            json_object_set_new(call->query, f->name, json_loads(f->default_json, JSON_DECODE_ANY, NULL));
    }
    return true;
}

bool api_take_query(struct api_call *call)
{
    call->limit = API_PAGE_DEFAULT;
    call->query = json_object();
    if (!call->query) {
        api_unavailable(call, 1, "no-memory", "there is no memory for the request");
        return false;
    }
    for (unsigned i = 0; i < call->http->query_count; i++) {
        struct schema_error wrong;
        const struct http_parameter *p = &call->http->query[i];
        const struct schema_field *f = query_field(call->route, p->name);
        if (!f) {
            refuse_parameter(call, p->name);
            return false;
        }
        json_t *value = schema_from_text(f, p->value, &wrong);
        if (!value) {
            api_error(call, 400, "parameter-invalid", wrong.path, "%s: %s", wrong.path, wrong.text);
            return false;
        }
        if (!take_parameter(call, p->name, value)) {
            api_unavailable(call, 1, "no-memory", "there is no memory for the request");
            return false;
        }
    }
    return check_missing(call);
}

/* ---- body ---- */

static bool is_json(const struct api_call *call)
{
    const char *type = call->http->field[HTTP_CONTENT_TYPE];
    size_t len = type ? strcspn(type, "; \t") : 0;
    static const char json[] = "application/json", merge[] = "application/merge-patch+json";
    return (len == sizeof json - 1 && strncasecmp(type, json, len) == 0) ||
           (call->route->method == HTTP_PATCH && len == sizeof merge - 1 && strncasecmp(type, merge, len) == 0);
}

/* NULL: answered. */
static json_t *parse(struct api_call *call)
{
    json_error_t wrong;
    if (!call->http->body_bytes)
        return json_object();
    json_t *body = json_loadb(call->http->body, call->http->body_bytes, JSON_REJECT_DUPLICATES, &wrong);
    if (body && json_is_object(body))
        return body;
    if (body)
        api_error(call, 400, "bad-json", NULL, "the body is no JSON object");
    else
        api_error(call, 400, "bad-json", NULL, "the body is no JSON: line %d, column %d: %s", wrong.line, wrong.column,
                  wrong.text);
    json_decref(body);
    return NULL;
}

bool api_take_body(struct api_call *call)
{
    struct schema_error wrong;
    if (!call->route->request) {
        if (!call->http->body_bytes)
            return true;
        api_error(call, 400, "body-unexpected", NULL, "this takes no body");
        return false;
    }
    if (call->http->body_bytes && !is_json(call)) {
        api_error(call, 415, "not-json", NULL, "send the body with Content-Type: application/json");
        return false;
    }
    json_t *body = parse(call);
    if (!body)
        return false;
    call->body = body;
    enum schema_mode mode = call->route->method == HTTP_PATCH ? SCHEMA_PATCH : SCHEMA_WHOLE;
    if (schema_check(call->route->request, call->body, mode, &wrong)) {
        api_error(call, 422, "field-invalid", wrong.path, "%s%s%s", wrong.path, *wrong.path ? ": " : "", wrong.text);
        return false;
    }
    const char *name = json_string_value(json_object_get(call->body, "name"));
    if (!call->target)
        call->target = name;
    return true;
}
