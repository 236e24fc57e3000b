/* The HTTP server and the API behind it against a client that says anything: heads, bodies through routes and schemas,
 * WebSocket frames. The first byte of the input says what is put in front of the rest: nothing, an honest upgrade, or
 * the head of a POST or a PATCH with the rest as its body; the second one, where the input is cut in two pieces.
 *
 * What must hold: every call is answered, nothing is left, and a body that was taken once is taken again unchanged. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "node/agent/api.h"
#include "node/agent/http_conn.h"
#include "node/agent/websocket.h"
#include "node/base/err.h"

enum { SAID_MAX = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const colours[] = {"red", "green", "blue", NULL};
static const struct schema_field tag = {.type = SCHEMA_STRING, .min = 1, .max = 20};
static const struct schema_field disk_fields[] = {
    {.name = "volume", .type = SCHEMA_REF, .flags = SCHEMA_REQUIRED},
    {.name = "size", .type = SCHEMA_SIZE, .min = 1 << 20, .max = INT64_C(1) << 44},
    {.name = NULL},
};
static const struct schema_field disk = {.type = SCHEMA_OBJECT, .fields = disk_fields};
static const struct schema_field fields[] = {
    {.name = "name", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED},
    {.name = "revision", .type = SCHEMA_INT, .flags = SCHEMA_READ_ONLY},
    {.name = "size", .type = SCHEMA_SIZE},
    {.name = "wait", .type = SCHEMA_DURATION},
    {.name = "on", .type = SCHEMA_BOOL, .default_json = "true"},
    {.name = "ratio", .type = SCHEMA_NUMBER, .min = 0, .max = 1},
    {.name = "id", .type = SCHEMA_UUID},
    {.name = "ip", .type = SCHEMA_IP, .flags = SCHEMA_NULLABLE},
    {.name = "net", .type = SCHEMA_CIDR},
    {.name = "address", .type = SCHEMA_IP_CIDR},
    {.name = "mac", .type = SCHEMA_MAC},
    {.name = "at", .type = SCHEMA_TIME},
    {.name = "url", .type = SCHEMA_URL},
    {.name = "colour", .type = SCHEMA_ENUM, .values = colours},
    {.name = "tags", .type = SCHEMA_ARRAY, .item = &tag, .max = 8, .flags = SCHEMA_UNIQUE},
    {.name = "labels", .type = SCHEMA_MAP, .item = &tag},
    {.name = "disks", .type = SCHEMA_ARRAY, .item = &disk},
    {.name = "text", .type = SCHEMA_TEXT},
    {.name = NULL},
};
static const struct schema schema = {.name = "Thing", .fields = fields};
static const struct schema_field query[] = {{.name = "size", .type = SCHEMA_SIZE}, {.name = NULL}};

/* What a check leaves is right, and stays as it is. */
static void take(void *context, struct api_call *call)
{
    struct schema_error error;
    json_t *again = json_deep_copy(call->body);
    enum schema_mode mode = call->route->method == HTTP_PATCH ? SCHEMA_PATCH : SCHEMA_WHOLE;
    (void)context;
    if (schema_check(&schema, again, mode, &error) || !json_equal(again, call->body)) {
        fprintf(stderr, "%s: %s\n", error.path, error.text);
        abort();
    }
    json_decref(again);
    api_reply_etag(call, 200, json_incref(call->body), "1");
}

static void show(void *context, struct api_call *call)
{
    (void)context;
    api_reply_page(call, json_pack("[s]", api_parameter(call, "name")), call->after);
}

static void heard(struct websocket *w, void *context, bool text, const char *data, size_t len)
{
    (void)context;
    if (data[len])
        abort();
    if (len == 1)
        websocket_close(w, 4000, data);
    else if (websocket_send(w, text, data, len))
        websocket_pause(w, true);
}

static void drained(struct websocket *w, void *context)
{
    (void)context;
    websocket_pause(w, false);
}

static unsigned open_websockets;

static void ended(struct websocket *w, void *context, unsigned code)
{
    (void)w, (void)context;
    if (!code)
        abort();
    open_websockets--;
}

static const struct websocket_events events = {.message = heard, .drained = drained, .closed = ended};

static void echo(void *context, struct api_call *call)
{
    (void)context;
    open_websockets += api_accept_websocket(call, &events, NULL) != NULL;
}

static const struct route routes[] = {
    {HTTP_POST, "/v1/things", ROLE_OPERATOR, ROUTE_DRY_RUN, "create", "thing", "", .request = &schema, .handle = take},
    {HTTP_PATCH, "/v1/things/{name}", ROLE_OPERATOR, ROUTE_IF_MATCH, "change", "thing", "", .request = &schema,
     .handle = take},
    {HTTP_GET, "/v1/things/{name}", ROLE_VIEWER, ROUTE_PAGED, "show", "thing", "", .query = query, .handle = show},
    {HTTP_GET, "/v1/echo", ROLE_VIEWER, ROUTE_WEBSOCKET, "echo", "test", "", .handle = echo},
};

static struct loop *loop;
static struct api *api;
static struct http_server *server;

static void begin(void)
{
    struct err err = {0};
    log_init("fuzz", LOG_LEVEL_ERROR);
    loop = loop_new(&err);
    struct api_config config = {.loop = loop, .version = "fuzz", .tokens = token_table_new()};
    api = loop ? api_new(&config, &err) : NULL;
    if (!api || api_add_routes(api, routes, sizeof routes / sizeof *routes, NULL, &err))
        abort();
    server = http_server_new(loop, NULL, api_request, api, &err);
    http_server_gate(server, api_may_send);
}

/* What stands in front of the input's rest of n bytes. */
static size_t introduce(unsigned how, size_t n, char *text, size_t room)
{
    static const char upgrade[] = "GET /v1/echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    int len = 0;
    if (how == 1)
        len = snprintf(text, room, "%s", upgrade);
    else if (how >= 2)
        len = snprintf(text, room,
                       "%s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nIf-Match: *\r\n"
                       "Idempotency-Key: %u\r\nContent-Length: %zu\r\n\r\n",
                       how == 2 ? "POST /v1/things" : "PATCH /v1/things/a", (unsigned)n & 7, n);
    return (size_t)len;
}

static void hear(int fd)
{
    static char buffer[1 << 16];
    while (recv(fd, buffer, sizeof buffer, MSG_DONTWAIT) > 0)
        ;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char said[SAID_MAX + 1024];
    int pair[2];
    if (!server)
        begin();
    if (size < 2 || size > SAID_MAX)
        return 0;
    size_t len = introduce(data[0] & 3, size - 2, said, 1024);
    memcpy(said + len, data + 2, size - 2);
    len += size - 2;
    size_t cut = len * data[1] / 255;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        abort();
    http_conn_new(server, pair[0], NULL);
    if (cut && send(pair[1], said, cut, MSG_NOSIGNAL) == (ssize_t)cut) {
        loop_step(loop);
        hear(pair[1]);
    }
    if (len > cut && send(pair[1], said + cut, len - cut, MSG_NOSIGNAL) < 0 && errno != EPIPE && errno != ECONNRESET)
        abort();
    shutdown(pair[1], SHUT_WR);
    while (http_server_counts(server).connections) {
        hear(pair[1]);
        loop_step(loop);
    }
    close(pair[1]);
    if (api_calls_under_way(api) || http_server_counts(server).body_bytes || open_websockets ||
        http_server_counts(server).websockets)
        abort();
    return 0;
}
