/* A real server of the API's machinery around a toy: things with a name, a size and a colour. For http_test.py and
 * contract.py.
 *
 * usage: api_server DIRECTORY [HEAD_MS BODY_MS IDLE_MS]
 * Makes an authority, certificates (node n1; a stranger by another authority) and a unix socket in DIRECTORY, listens
 * on a free port of 127.0.0.1 with TLS and on another one without, and says where and which tokens there are in a line
 * of JSON. Ends when its standard input does. */
#include <errno.h>
#include <liburing.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "node/agent/api.h"
#include "node/agent/audit.h"
#include "node/agent/certificate.h"
#include "node/agent/http_server.h"
#include "node/agent/websocket.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"
#include "node/base/tls.h"

enum { THINGS_MAX = 64, FLOOD_BYTES = 4096 };

struct thing {
    char name[64];
    json_t *json;
    unsigned revision;
};

struct world {
    struct loop *loop;
    struct thing things[THINGS_MAX];
    unsigned count, made;
    struct http_server *server;
    unsigned closed, closed_code;
};

static struct world world;

/* ---- schemas ---- */

static const char *const colours[] = {"red", "green", "blue", NULL};
static const struct schema_field tag_item = {.type = SCHEMA_STRING, .min = 1, .max = 20};
static const struct schema_field label_item = {.type = SCHEMA_STRING, .max = 63};
static const struct schema_field disk_fields[] = {
    {.name = "volume", .type = SCHEMA_REF, .flags = SCHEMA_REQUIRED},
    {.name = "size", .type = SCHEMA_SIZE, .min = 1 << 20, .max = INT64_C(1) << 44},
    {.name = NULL},
};
static const struct schema_field disk_item = {.type = SCHEMA_OBJECT, .fields = disk_fields};
static const struct schema_field spec_fields[] = {
    {.name = "size", .type = SCHEMA_SIZE, .flags = SCHEMA_REQUIRED, .min = 1 << 20, .description = "How large."},
    {.name = "colour", .type = SCHEMA_ENUM, .values = colours, .default_json = "\"red\""},
    {.name = "count", .type = SCHEMA_INT, .min = 1, .max = 64, .default_json = "1"},
    {.name = "address", .type = SCHEMA_IP},
    {.name = "mac", .type = SCHEMA_MAC},
    {.name = "tags", .type = SCHEMA_ARRAY, .item = &tag_item, .max = 8, .flags = SCHEMA_UNIQUE},
    {.name = "labels", .type = SCHEMA_MAP, .item = &label_item},
    {.name = "disks", .type = SCHEMA_ARRAY, .item = &disk_item, .max = 8},
    {.name = "note", .type = SCHEMA_TEXT, .flags = SCHEMA_NULLABLE, .max = 200000},
    {.name = NULL},
};
static const struct schema_field thing_fields[] = {
    {.name = "name", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED},
    {.name = "spec",
     .type = SCHEMA_OBJECT,
     .flags = SCHEMA_REQUIRED,
     .fields = spec_fields,
     .example = "{\"size\":\"1G\"}"},
    {.name = "revision", .type = SCHEMA_INT, .flags = SCHEMA_READ_ONLY | SCHEMA_REQUIRED},
    {.name = NULL},
};
static const struct schema_field patch_fields[] = {
    {.name = "spec", .type = SCHEMA_OBJECT, .fields = spec_fields, .example = "{\"count\":2}"},
    {.name = NULL},
};
static const struct schema_field painted_fields[] = {
    {.name = "painted", .type = SCHEMA_BOOL, .flags = SCHEMA_REQUIRED},
    {.name = NULL},
};
static const struct schema_field delay_query[] = {
    {.name = "ms", .type = SCHEMA_INT, .min = 0, .max = 60000, .default_json = "10"},
    {.name = "bytes", .type = SCHEMA_INT, .min = 0, .max = 8 << 20, .default_json = "10"},
    {.name = NULL},
};
static const struct schema thing_schema = {.name = "Thing", .description = "A thing.", .fields = thing_fields};
static const struct schema patch_schema = {.name = "ThingChange", .fields = patch_fields};
static const struct schema painted_schema = {.name = "Painted", .fields = painted_fields};

/* ---- things ---- */

static struct thing *find(const char *name)
{
    for (unsigned i = 0; i < world.count; i++)
        if (strcmp(world.things[i].name, name) == 0)
            return &world.things[i];
    return NULL;
}

static struct thing *find_or_refuse(struct api_call *call)
{
    struct thing *t = find(api_parameter(call, "name"));
    if (!t)
        api_error(call, 404, "thing-not-found", NULL, "there is no thing '%s'", api_parameter(call, "name"));
    return t;
}

static json_t *view(const struct thing *t)
{
    json_t *v = json_copy(t->json);
    json_object_set_new(v, "revision", json_integer(t->revision));
    return v;
}

static const char *etag_of(const struct thing *t)
{
    static char etag[32];
    snprintf(etag, sizeof etag, "%u", t->revision);
    return etag;
}

static void thing_list(void *context, struct api_call *call)
{
    json_t *items = json_array();
    const char *next = NULL;
    unsigned i = 0;
    (void)context;
    while (call->after && i < world.count && strcmp(world.things[i].name, call->after) <= 0)
        i++;
    for (; i < world.count && json_array_size(items) < call->limit; i++)
        json_array_append_new(items, view(&world.things[i]));
    if (i && i < world.count)
        next = world.things[i - 1].name;
    api_reply_page(call, items, next);
}

static void thing_create(void *context, struct api_call *call)
{
    char location[128];
    const char *name = json_string_value(json_object_get(call->body, "name"));
    unsigned at = 0;
    (void)context;
    if (find(name)) {
        api_error(call, 409, "thing-exists", "name", "there is a thing '%s' already", name);
        return;
    }
    if (call->dry_run) {
        api_reply(call, 200,
                  json_pack("{s:O, s:O, s:i}", "name", json_object_get(call->body, "name"), "spec",
                            json_object_get(call->body, "spec"), "revision", 0));
        return;
    }
    if (world.count == THINGS_MAX) {
        api_error_err(call, "things-full", &(struct err){ENOSPC, "there is no room for a further thing"});
        return;
    }
    while (at < world.count && strcmp(world.things[at].name, name) < 0)
        at++;
    memmove(&world.things[at + 1], &world.things[at], (world.count++ - at) * sizeof *world.things);
    struct thing *t = &world.things[at];
    *t = (struct thing){.json = json_incref(call->body), .revision = ++world.made};
    snprintf(t->name, sizeof t->name, "%s", name);
    snprintf(location, sizeof location, "/v1/things/%s", t->name);
    api_reply_created(call, view(t), etag_of(t), location);
}

static void thing_show(void *context, struct api_call *call)
{
    struct thing *t = find_or_refuse(call);
    (void)context;
    if (t)
        api_reply_etag(call, 200, view(t), etag_of(t));
}

static void thing_change(void *context, struct api_call *call)
{
    struct thing *t = find_or_refuse(call);
    (void)context;
    if (!t || !api_if_match(call, etag_of(t)))
        return;
    json_t *changed = json_deep_copy(t->json), *spec = json_object_get(call->body, "spec");
    if (spec)
        json_object_update(json_object_get(changed, "spec"), spec);
    if (call->dry_run) {
        json_object_set_new(changed, "revision", json_integer(t->revision));
        api_reply(call, 200, changed);
        return;
    }
    json_decref(t->json);
    t->json = changed;
    t->revision = ++world.made;
    api_reply_etag(call, 200, view(t), etag_of(t));
}

static void thing_delete(void *context, struct api_call *call)
{
    struct thing *t = find_or_refuse(call);
    (void)context;
    if (!t || !api_if_match(call, etag_of(t)))
        return;
    if (call->dry_run) {
        api_reply(call, 200, json_object());
        return;
    }
    json_decref(t->json);
    memmove(t, t + 1, (size_t)(&world.things[--world.count] - t) * sizeof *t);
    api_reply_empty(call);
}

/* ---- answers that come later ---- */

struct delayed {
    struct loop_timer timer;
    struct api_call *call;
};

static void delayed_fire(struct loop_timer *timer)
{
    struct delayed *d = CONTAINER_OF(timer, struct delayed, timer);
    if (api_changes(d->call->route)) {
        api_reply(d->call, 200, json_pack("{s:b}", "painted", 1));
    } else {
        size_t bytes = (size_t)json_integer_value(json_object_get(d->call->query, "bytes"));
        char *text = calloc(1, bytes + 1);
        memset(text, 'x', bytes);
        api_reply_text(d->call, "text/plain", text, bytes);
        free(text);
    }
    free(d);
}

static void later(struct api_call *call, unsigned ms)
{
    struct delayed *d = calloc(1, sizeof *d);
    d->call = call;
    d->timer.fire = delayed_fire;
    loop_timer_set(world.loop, &d->timer, loop_now_ns(world.loop) + ms * UINT64_C(1000000));
}

static void thing_paint(void *context, struct api_call *call)
{
    (void)context;
    if (find_or_refuse(call))
        later(call, 20);
}

static void slow_get(void *context, struct api_call *call)
{
    (void)context;
    later(call, (unsigned)json_integer_value(json_object_get(call->query, "ms")));
}

static void health(void *context, struct api_call *call)
{
    (void)context;
    api_reply_text(call, "text/plain", "well\n", 5);
}

static void counts_get(void *context, struct api_call *call)
{
    struct http_counts c = http_server_counts(world.server);
    (void)context;
    api_reply(call, 200,
              json_pack("{s:I, s:I, s:I, s:I, s:i, s:i, s:I, s:i, s:i, s:i}", "accepted", (json_int_t)c.accepted,
                        "refused", (json_int_t)c.refused, "requests", (json_int_t)c.requests, "broken",
                        (json_int_t)c.broken, "connections", (int)c.connections, "websockets", (int)c.websockets,
                        "body_bytes", (json_int_t)c.body_bytes, "calls", (int)api_calls_under_way(call->api),
                        "websockets_closed", (int)world.closed, "closed_code", (int)world.closed_code));
}

static void who_get(void *context, struct api_call *call)
{
    (void)context;
    api_reply(call, 200,
              json_pack("{s:s, s:s, s:s, s:s}", "who", call->who.name, "role", role_name(call->who.role), "from",
                        call->http->remote, "peer", call->http->peer));
}

static void secret(void *context, struct api_call *call)
{
    (void)context;
    api_reply_created(call, json_pack("{s:s}", "secret", "told once"), NULL, "/v1/secrets/1");
}

static void join(void *context, struct api_call *call)
{
    (void)context;
    api_reply(call, 200, json_pack("{s:s}", "who", call->who.name));
}

/* ---- WebSockets ---- */

static void ws_closed(struct websocket *w, void *context, unsigned code)
{
    (void)w, (void)context;
    world.closed++;
    world.closed_code = code;
}

struct pause {
    struct loop_timer timer;
    struct websocket *websocket;
};

static void pause_ends(struct loop_timer *timer)
{
    websocket_pause(CONTAINER_OF(timer, struct pause, timer)->websocket, false);
}

/* "pause": reads nothing for a moment; the client waits for what it said meanwhile. */
static void pause_for_a_moment(struct websocket *w)
{
    static struct pause pause;
    pause = (struct pause){.timer.fire = pause_ends, .websocket = w};
    websocket_pause(w, true);
    loop_timer_set(world.loop, &pause.timer, loop_now_ns(world.loop) + UINT64_C(50000000));
}

static void echo_message(struct websocket *w, void *context, bool text, const char *data, size_t len)
{
    (void)context;
    if (text && strcmp(data, "pause") == 0)
        pause_for_a_moment(w);
    if (text && strcmp(data, "close") == 0)
        websocket_close(w, 4001, "as you wish");
    else if (websocket_send(w, text, data, len))
        websocket_close(w, WEBSOCKET_TRY_AGAIN, "too fast");
}

static const struct websocket_events echo_events = {.message = echo_message, .closed = ws_closed};

static void echo(void *context, struct api_call *call)
{
    (void)context;
    api_accept_websocket(call, &echo_events, NULL);
}

/* Sends as much as it is let; its client may read or not. */
static void flood_more(struct websocket *w, void *context)
{
    static unsigned number;
    char text[FLOOD_BYTES + 1];
    (void)context;
    do {
        snprintf(text, sizeof text, "%0*u", FLOOD_BYTES, number);
    } while (websocket_send(w, true, text, FLOOD_BYTES) == 0 && ++number);
}

static void flood_message(struct websocket *w, void *context, bool text, const char *data, size_t len)
{
    (void)text, (void)data, (void)len;
    flood_more(w, context);
}

static const struct websocket_events flood_events = {
    .message = flood_message, .drained = flood_more, .closed = ws_closed};

static void flood(void *context, struct api_call *call)
{
    (void)context;
    api_accept_websocket(call, &flood_events, NULL);
}

/* ---- routes ---- */

static const struct route routes[] = {
    {HTTP_GET, "/v1/things", ROLE_VIEWER, ROUTE_PAGED, "thing_list", "thing", "All things.", .response = &thing_schema,
     .handle = thing_list},
    {HTTP_POST, "/v1/things", ROLE_OPERATOR, ROUTE_CREATES | ROUTE_DRY_RUN, "thing_create", "thing", "Makes a thing.",
     .request = &thing_schema, .response = &thing_schema, .handle = thing_create},
    {HTTP_GET, "/v1/things/{name}", ROLE_VIEWER, 0, "thing_show", "thing", "One thing.", .response = &thing_schema,
     .handle = thing_show},
    {HTTP_PATCH, "/v1/things/{name}", ROLE_OPERATOR, ROUTE_IF_MATCH | ROUTE_DRY_RUN, "thing_change", "thing",
     "Changes a thing.", .request = &patch_schema, .response = &thing_schema, .handle = thing_change},
    {HTTP_DELETE, "/v1/things/{name}", ROLE_ADMIN, ROUTE_IF_MATCH | ROUTE_DRY_RUN | ROUTE_NO_CONTENT, "thing_delete",
     "thing", "Deletes a thing.", .handle = thing_delete},
    {HTTP_POST, "/v1/things/{name}/paint", ROLE_OPERATOR, 0, "thing_paint", "thing", "Paints a thing.",
     .response = &painted_schema, .handle = thing_paint},
    {HTTP_GET, "/v1/slow", ROLE_VIEWER, 0, "slow", "test", "Answers later.", .text = "text/plain", .query = delay_query,
     .handle = slow_get},
    {HTTP_GET, "/v1/who", ROLE_VIEWER, 0, "who", "test", "Who asks.", .handle = who_get},
    {HTTP_GET, "/v1/counts", ROLE_VIEWER, 0, "counts", "test", "What the server counts.", .handle = counts_get},
    {HTTP_GET, "/v1/echo", ROLE_VIEWER, ROUTE_WEBSOCKET, "echo", "test", "Says what it hears.", .handle = echo},
    {HTTP_GET, "/v1/flood", ROLE_OPERATOR, ROUTE_WEBSOCKET, "flood", "test", "Says too much.", .handle = flood},
    {HTTP_POST, "/v1/join", ROLE_ADMIN, ROUTE_JOIN | ROUTE_NO_AUDIT, "join", "test", "Joins.", .handle = join},
    {HTTP_POST, "/v1/secrets", ROLE_ADMIN, ROUTE_CREATES | ROUTE_SECRET, "secret_create", "test", "Tells a secret.",
     .handle = secret},
    {HTTP_GET, "/healthz", ROLE_NONE, ROUTE_OPEN, "health", "test", "Is it well?", .text = "text/plain",
     .handle = health},
};

/* ---- beginning and end ---- */

static void must(int rc, const struct err *err)
{
    if (rc < 0) {
        fprintf(stderr, "api_server: %s\n", err->text);
        exit(1);
    }
}

static void make_certificates(const char *directory, const char *folder, const char *cluster, const char *node)
{
    char path[512];
    struct err err = {0};
    struct certificate_pair ca, pair;
    must(certificate_make_ca(cluster, CERTIFICATE_CA_DAYS, &ca, &err), &err);
    struct certificate_subject subject = {node, {"localhost", "127.0.0.1", "::1"}, 3};
    must(certificate_make_node(&ca, &subject, CERTIFICATE_NODE_DAYS, &pair, &err), &err);
    snprintf(path, sizeof path, "%s/%s", directory, folder);
    must(certificate_store(path, ca.certificate, &pair, &err), &err);
    certificate_pair_free(&pair);
    certificate_pair_free(&ca);
}

static void add_token(struct token_table *table, json_t *said, const char *name, enum token_kind kind, enum role role,
                      int64_t expires_s, bool revoked)
{
    struct token token = {.kind = kind, .role = role, .expires_s = expires_s};
    char text[TOKEN_TEXT_MAX];
    struct err err = {0};
    snprintf(token.name, sizeof token.name, "%s", name);
    must(token_make(&token, time(NULL), text, &err), &err);
    token.revoked = revoked;
    token_table_put(table, &token);
    json_object_set_new(said, name, json_string(text));
    token_wipe(text);
}

static json_t *make_tokens(struct token_table *table)
{
    json_t *said = json_object();
    add_token(table, said, "viewer", TOKEN_ACCESS, ROLE_VIEWER, 0, false);
    add_token(table, said, "operator", TOKEN_ACCESS, ROLE_OPERATOR, 0, false);
    add_token(table, said, "admin", TOKEN_ACCESS, ROLE_ADMIN, time(NULL) + 3600, false);
    add_token(table, said, "expired", TOKEN_ACCESS, ROLE_ADMIN, 1000, false);
    add_token(table, said, "revoked", TOKEN_ACCESS, ROLE_ADMIN, 0, true);
    add_token(table, said, "joiner", TOKEN_JOIN, ROLE_NONE, 0, false);
    return said;
}

static bool is_member(void *context, const char *name)
{
    (void)context;
    return strcmp(name, "gone") != 0;
}

static void server_closed(void *context)
{
    (void)context;
    loop_stop(world.loop);
}

static void input_ended(struct loop_op *op, int result, uint32_t cqe_flags)
{
    (void)op, (void)result, (void)cqe_flags;
    http_server_close(world.server, server_closed, NULL);
}

int main(int argc, char **argv)
{
    char path[512], audit_path[512];
    struct err err = {0};
    if (argc < 2)
        return 2;
    log_init("api_server", LOG_LEVEL_INFO);
    signal(SIGXFSZ, SIG_IGN); /* a full disk is an error, not the end */
    world.loop = loop_new(&err);
    must(world.loop ? 0 : -1, &err);
    make_certificates(argv[1], "pki", "test cluster", "n1");
    make_certificates(argv[1], "stranger", "another cluster", "n1");
    struct token_table *tokens = token_table_new();
    json_t *said = make_tokens(tokens);
    snprintf(audit_path, sizeof audit_path, "%s/audit.jsonl", argv[1]);
    struct audit *audit = audit_new(world.loop, &(struct audit_config){.path = audit_path}, &err);
    must(audit ? 0 : -1, &err);
    struct api_config config = {
        .loop = world.loop, .version = "test", .tokens = tokens, .audit = audit, .node_is_member = is_member};
    struct api *api = api_new(&config, &err);
    must(api ? 0 : -1, &err);
    must(api_add_routes(api, routes, sizeof routes / sizeof *routes, NULL, &err), &err);
    struct http_limits limits = http_limits_default;
    limits.connections_per_address = 32;
    if (argc == 5) {
        limits.head_ms = (unsigned)atoi(argv[2]);
        limits.body_ms = (unsigned)atoi(argv[3]);
        limits.idle_ms = limits.ping_ms = (unsigned)atoi(argv[4]);
    }
    world.server = http_server_new(world.loop, &limits, api_request, api, &err);
    http_server_gate(world.server, api_may_send);
    snprintf(path, sizeof path, "%s/pki", argv[1]);
    struct tls_context *tls = tls_context_x509(TLS_SERVER, path, true, &err);
    must(tls ? 0 : -1, &err);
    tls_context_peer_optional(tls);
    snprintf(path, sizeof path, "unix:%s/api.sock", argv[1]);
    must(http_server_listen(world.server, "tcp:127.0.0.1:0", 0600, tls, &err), &err);
    must(http_server_listen(world.server, "tcp:127.0.0.1:0", 0600, NULL, &err), &err);
    must(http_server_listen(world.server, path, 0600, NULL, &err), &err);
    json_object_set_new(said, "tls", json_string(http_server_address(world.server, 0)));
    json_object_set_new(said, "clear", json_string(http_server_address(world.server, 1)));
    json_object_set_new(said, "unix", json_string(http_server_address(world.server, 2)));
    json_dumpf(said, stdout, JSON_COMPACT);
    printf("\n");
    fflush(stdout);
    json_decref(said);
    struct loop_op input = {.done = input_ended};
    char byte;
    io_uring_prep_read(loop_sqe(world.loop, &input), 0, &byte, 1, 0);
    loop_run(world.loop);
    while (api_calls_under_way(api) || !audit_idle(audit))
        loop_step(world.loop);
    http_server_free(world.server);
    for (unsigned i = 0; i < world.count; i++)
        json_decref(world.things[i].json);
    api_free(api);
    audit_free(audit);
    token_table_free(tokens);
    tls_context_free(tls);
    loop_free(world.loop);
    return 0;
}
