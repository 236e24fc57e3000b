/* See openapi.h. One pass over the routes fills `paths`; the schemas that they name are put under `components` as they
 * are met. */
#include "node/agent/openapi.h"

#include <stdio.h>
#include <string.h>

#include "node/agent/api.h"
#include "node/agent/route.h"

enum { REF_MAX = 128, PATH_MAX_BYTES = 256 };

static void set(json_t *object, const char *key, json_t *value)
{
    json_object_set_new(object, key, value);
}

static json_t *text(const char *value)
{
    return json_string(value);
}

static json_t *reference(const char *kind, const char *name)
{
    char ref[REF_MAX];
    snprintf(ref, sizeof ref, "#/components/%s/%s", kind, name);
    return json_pack("{s:s}", "$ref", ref);
}

/* The first use of a schema brings it in. */
static json_t *schema_reference(json_t *schemas, const struct schema *schema)
{
    if (!json_object_get(schemas, schema->name))
        set(schemas, schema->name, schema_emit(schema));
    return reference("schemas", schema->name);
}

/* ---- parameters ---- */

static json_t *parameter(const char *where, const char *name, bool required, json_t *schema, const char *description)
{
    json_t *p = json_pack("{s:s, s:s, s:b, s:o}", "name", name, "in", where, "required", required, "schema", schema);
    if (description)
        set(p, "description", text(description));
    return p;
}

static void add_path_parameters(json_t *list, const char *path)
{
    for (const char *p = strchr(path, '{'); p; p = strchr(p + 1, '{')) {
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(p + 1, "}"), p + 1);
        json_array_append_new(list, parameter("path", name, true, json_pack("{s:s}", "type", "string"), NULL));
    }
}

static void add_parameters(json_t *list, const struct route *r)
{
    static const struct {
        uint32_t flag;
        const char *name;
    } shared[] = {
        {ROUTE_PAGED, "limit"}, {ROUTE_PAGED, "after"}, {ROUTE_DRY_RUN, "dry_run"}, {ROUTE_IF_MATCH, "if_match"}};
    add_path_parameters(list, r->path);
    for (const struct schema_field *f = r->query; f && f->name; f++)
        json_array_append_new(list,
                              parameter("query", f->name, f->flags & SCHEMA_REQUIRED, schema_emit_field(f), NULL));
    for (unsigned i = 0; i < sizeof shared / sizeof *shared; i++)
        if (r->flags & shared[i].flag)
            json_array_append_new(list, reference("parameters", shared[i].name));
    if (api_changes(r)) {
        json_array_append_new(list, reference("parameters", "idempotency_key"));
        json_array_append_new(list, reference("parameters", "reason"));
    }
}

static json_t *shared_parameters(void)
{
    json_t *all = json_object();
    set(all, "limit",
        parameter("query", "limit", false,
                  json_pack("{s:s, s:i, s:i, s:i}", "type", "integer", "minimum", 1, "maximum", API_PAGE_MAX, "default",
                            API_PAGE_DEFAULT),
                  "How many objects at most."));
    set(all, "after",
        parameter("query", "after", false, json_pack("{s:s}", "type", "string"),
                  "Go on behind this name: `next` of the page before."));
    set(all, "dry_run",
        parameter("query", "dry_run", false, json_pack("{s:s, s:b}", "type", "boolean", "default", 0),
                  "Check everything and say what would happen; change nothing."));
    set(all, "if_match",
        parameter("header", "If-Match", true, json_pack("{s:s}", "type", "string"),
                  "The ETag of the object that the change was made from, or *."));
    set(all, "idempotency_key",
        parameter("header", "Idempotency-Key", false,
                  json_pack("{s:s, s:i, s:i}", "type", "string", "minLength", 1, "maxLength", 128),
                  "The same key with the same request gets the same answer for a day."));
    set(all, "reason",
        parameter("header", "X-Drover-Reason", false, json_pack("{s:s, s:i}", "type", "string", "maxLength", 512),
                  "Why; for the audit log."));
    return all;
}

/* ---- answers ---- */

static json_t *content(const char *type, json_t *schema)
{
    return json_pack("{s:{s:o}}", type, "schema", schema);
}

static json_t *page_of(json_t *item)
{
    return json_pack("{s:s, s:{s:{s:s, s:o}, s:{s:[ss], s:s}}, s:[ss], s:b}", "type", "object", "properties", "items",
                     "type", "array", "items", item, "next", "type", "string", "null", "description",
                     "What to give as `after` for the next page; null: this was the last.", "required", "items", "next",
                     "additionalProperties", 0);
}

static json_t *header(const char *description)
{
    return json_pack("{s:{s:s}, s:s}", "schema", "type", "string", "description", description);
}

static const char *success(const struct route *r, const char **description)
{
    if (r->flags & ROUTE_WEBSOCKET) {
        *description = "The connection is a WebSocket from here on.";
        return "101";
    }
    if (r->flags & ROUTE_CREATES) {
        *description = "The object was made; its place is in Location.";
        return "201";
    }
    if (r->flags & ROUTE_NO_CONTENT) {
        *description = "Done.";
        return "204";
    }
    *description = "The answer.";
    return "200";
}

static void add_success(json_t *responses, json_t *schemas, const struct route *r)
{
    const char *description, *status = success(r, &description);
    json_t *response = json_pack("{s:s}", "description", description), *headers = json_object();
    if (r->flags & ROUTE_CREATES)
        set(headers, "Location", header("Where it is."));
    if (json_object_size(headers))
        json_object_set(response, "headers", headers);
    json_decref(headers);
    if (r->text) {
        set(response, "content",
            content(r->text, json_pack("{s:s}", "type", strstr(r->text, "json") ? "object" : "string")));
    } else if (r->response) {
        json_t *schema = schema_reference(schemas, r->response);
        set(response, "content", content("application/json", r->flags & ROUTE_PAGED ? page_of(schema) : schema));
    }
    set(responses, status, response);
    if ((r->flags & ROUTE_DRY_RUN) && strcmp(status, "200") != 0)
        set(responses, "200", json_pack("{s:s}", "description", "A dry run: what would happen."));
    if (r->method == HTTP_GET && !(r->flags & ROUTE_WEBSOCKET))
        set(responses, "304", json_pack("{s:s}", "description", "If-None-Match has the object's ETag."));
}

static void add_errors(json_t *responses, const struct route *r)
{
    static const struct {
        const char *status;
        const char *description;
        uint32_t flags; /* only with one of these; 0: always */
        bool with_body, only_changes, only_credentials;
    } errors[] = {
        {"400", "The request is not well formed.", 0, false, false, false},
        {"401", "No credential, or not a right one.", 0, false, false, true},
        {"403", "The role does not allow it.", 0, false, false, true},
        {"404", "There is no such object.", 0, false, false, false},
        {"406", "No representation that Accept allows.", 0, false, false, false},
        {"409", "It conflicts with what is there.", 0, false, true, false},
        {"412", "The object has changed: its ETag is another.", ROUTE_IF_MATCH, false, false, false},
        {"413", "The body is too large.", 0, true, false, false},
        {"415", "The body is no JSON.", 0, true, false, false},
        {"422", "A field is wrong; `field` says which.", 0, true, false, false},
        {"426", "This is a WebSocket; ask for an upgrade.", ROUTE_WEBSOCKET, false, false, false},
        {"428", "If-Match is missing.", ROUTE_IF_MATCH, false, false, false},
        {"500", "A fault of the server.", 0, false, false, false},
        {"503", "Not now; Retry-After says when.", 0, false, false, false},
        {"507", "There is no room for it.", 0, false, true, false},
    };
    for (unsigned i = 0; i < sizeof errors / sizeof *errors; i++) {
        if ((errors[i].flags && !(r->flags & errors[i].flags)) || (errors[i].with_body && !r->request) ||
            (errors[i].only_changes && !api_changes(r)) || (errors[i].only_credentials && r->flags & ROUTE_OPEN))
            continue;
        set(responses, errors[i].status,
            json_pack("{s:s, s:{s:{s:{s:s}}}}", "description", errors[i].description, "content",
                      "application/problem+json", "schema", "$ref", "#/components/schemas/Problem"));
    }
}

/* ---- operations ---- */

static json_t *operation(const struct route *r, json_t *schemas)
{
    json_t *o = json_pack("{s:s, s:s, s:[s], s:s}", "operationId", r->id, "summary", r->summary, "tags", r->tag,
                          "x-drover-role", r->flags & ROUTE_OPEN ? "none" : role_name(r->role));
    json_t *parameters = json_array(), *responses = json_object();
    add_parameters(parameters, r);
    if (json_array_size(parameters))
        json_object_set(o, "parameters", parameters);
    json_decref(parameters);
    if (r->request)
        set(o, "requestBody",
            json_pack("{s:b, s:o}", "required", 1, "content",
                      content("application/json", schema_reference(schemas, r->request))));
    add_success(responses, schemas, r);
    add_errors(responses, r);
    set(o, "responses", responses);
    if (r->flags & ROUTE_OPEN)
        set(o, "security", json_array());
    if (r->flags & ROUTE_WEBSOCKET)
        set(o, "x-drover-websocket", json_true());
    return o;
}

static json_t *problem_schema(void)
{
    return json_pack("{s:s, s:s, s:{s:{s:s}, s:{s:s}, s:{s:s}, s:{s:s, s:s}, s:{s:s, s:s}, s:{s:s, s:s}}, s:[sssss]}",
                     "type", "object", "description", "An error (RFC 9457).", "properties", "type", "type", "string",
                     "title", "type", "string", "status", "type", "integer", "code", "type", "string", "description",
                     "Stable; for programs.", "detail", "type", "string", "description",
                     "What is wrong and what would be right; for people.", "field", "type", "string", "description",
                     "The offending field, as in spec.disks[1].size.", "required", "type", "title", "status", "code",
                     "detail");
}

static void method_key(enum http_method method, char key[16])
{
    const char *name = http_method_name(method);
    unsigned i;
    for (i = 0; name[i] && i < 15; i++)
        key[i] = (char)(name[i] | 0x20);
    key[i] = 0;
}

json_t *openapi_document(const struct route_table *table, const char *version)
{
    json_t *paths = json_object(), *schemas = json_object();
    set(schemas, "Problem", problem_schema());
    for (unsigned i = 0; i < route_table_count(table); i++) {
        const struct route *r = route_table_at(table, i);
        char key[16];
        json_t *path = json_object_get(paths, r->path);
        if (!path) {
            path = json_object();
            set(paths, r->path, path);
        }
        method_key(r->method, key);
        set(path, key, operation(r, schemas));
    }
    return json_pack(
        "{s:s, s:{s:s, s:s, s:s}, s:[{s:s}], s:[{s:[]}, {s:[]}], s:o, s:{s:o, s:o, s:{s:{s:s, s:s}, s:{s:s}}}}",
        "openapi", "3.1.0", "info", "title", "Drover", "version", version, "description",
        "The API of a Drover cluster; any node answers it.", "servers", "url", "/", "security", "token", "certificate",
        "paths", paths, "components", "schemas", schemas, "parameters", shared_parameters(), "securitySchemes", "token",
        "type", "http", "scheme", "bearer", "certificate", "type", "mutualTLS");
}
