/* The world of the etcd back end: one server for a whole group of tests, whose keys each test removes first. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/container.h"
#include "node/base/http_client.h"
#include "node/base/loop.h"
#include "tests/unit/etcd_process.h"
#include "tests/unit/store_world.h"

static struct etcd_cluster cluster;
static char shared_path[512];

static void start(struct store_world *w, bool tls)
{
    struct err err = {0};
    w->loop = loop_new(&err);
    if (!w->loop)
        fail_msg("%s", err.text);
    if (cluster.count && cluster.tls != tls)
        store_world_etcd_finish();
    if (!cluster.count) {
        store_world_directory(shared_path, sizeof shared_path);
        etcd_cluster_start(&cluster, shared_path, 1, tls);
    }
}

static void start_plain(struct store_world *w)
{
    start(w, false);
}

static void start_tls(struct store_world *w)
{
    start(w, true);
}

void store_world_etcd_finish(void)
{
    if (!cluster.count)
        return;
    etcd_cluster_stop(&cluster);
    store_world_remove(shared_path);
    cluster.count = 0;
}

static void stop(struct store_world *w)
{
    assert_int_equal(loop_in_flight(w->loop), 0);
    loop_free(w->loop);
}

static void turn(struct store_world *w)
{
    loop_step(w->loop);
    etcd_expect_running(); /* else a test might wait for ever */
}

struct store *store_world_etcd_open(struct store_world *w, const struct etcd_cluster *c, uint32_t timeout_ms)
{
    char uri[600], ca[600], cert[600], key[600];
    struct err err = {0};
    etcd_cluster_uri(c, uri, sizeof uri);
    snprintf(ca, sizeof ca, "%s/ca.pem", c->path);
    snprintf(cert, sizeof cert, "%s/client.pem", c->path);
    snprintf(key, sizeof key, "%s/client.key", c->path);
    struct store_options options = {.ca_file = ca, .cert_file = cert, .key_file = key, .timeout_ms = timeout_ms};
    if (!c->tls)
        options.ca_file = options.cert_file = options.key_file = NULL;
    struct store *s = store_open(uri, w->loop, &options, &err);
    if (!s)
        fail_msg("%s", err.text);
    return s;
}

static struct store *open_world(struct store_world *w)
{
    w->store = store_world_etcd_open(w, &cluster, 20000); /* it may still be starting */
    world_clear(w);
    return w->store;
}

struct post {
    struct http_client_request request;
    bool done;
    int result;
    char *text;
    size_t size;
};

static void post_done(struct http_client_request *request, int result)
{
    struct post *p = CONTAINER_OF(request, struct post, request);
    p->done = true;
    p->result = result;
    if (p->text)
        snprintf(p->text, p->size, "%s", request->answer);
}

static void note_closed(void *context)
{
    *(bool *)context = true;
}

/* The answer's body is copied into `answer`, if that is not NULL. */
static int post(struct store_world *w, const struct etcd_cluster *c, int member, const char *path, const char *body,
                char *answer, size_t size)
{
    char url[100], ca[600], cert[600], key[600];
    struct err err = {0};
    bool closed = false;
    snprintf(url, sizeof url, "%s://127.0.0.1:%d%s", c->tls ? "https" : "http", c->members[member].client_port, path);
    snprintf(ca, sizeof ca, "%s/ca.pem", c->path);
    snprintf(cert, sizeof cert, "%s/client.pem", c->path);
    snprintf(key, sizeof key, "%s/client.key", c->path);
    const struct http_client_options options = {.ca_file = ca, .cert_file = cert, .key_file = key}, none = {0};
    struct http_client *http = http_client_new(w->loop, c->tls ? &options : &none, &err);
    assert_non_null(http);
    struct post p = {.request = {.method = "POST",
                                 .url = url,
                                 .body = body,
                                 .body_len = strlen(body),
                                 .answer_max = 10000,
                                 .timeout_ms = 10000,
                                 .done = post_done},
                     .text = answer,
                     .size = size};
    http_client_send(http, &p.request);
    while (!p.done)
        loop_step(w->loop);
    http_client_close(http, note_closed, &closed);
    while (!closed)
        loop_step(w->loop);
    return p.result ? p.result : p.request.status == 200 ? 0 : -EPROTO;
}

void store_world_etcd_post(struct store_world *w, const struct etcd_cluster *c, const char *path, const char *body)
{
    assert_int_equal(post(w, c, 0, path, body, NULL, 0), 0);
}

bool store_world_etcd_leads(struct store_world *w, const struct etcd_cluster *c, int member)
{
    char status[4096] = "", id[64] = "", leader[80];
    if (post(w, c, member, "/v3/maintenance/status", "{}", status, sizeof status))
        return false;
    const char *at = strstr(status, "\"member_id\":\"");
    if (!at || sscanf(at, "\"member_id\":\"%63[0-9]", id) != 1)
        return false;
    snprintf(leader, sizeof leader, "\"leader\":\"%s\"", id);
    return strstr(status, leader);
}

static void compact(struct store_world *w, int64_t revision)
{
    char body[64];
    snprintf(body, sizeof body, "{\"revision\":\"%lld\"}", (long long)revision);
    store_world_etcd_post(w, &cluster, "/v3/kv/compaction", body);
}

const struct store_world_kind store_world_etcd = {"etcd", start_plain, stop, turn, open_world, compact};
const struct store_world_kind store_world_etcd_tls = {"etcd over TLS", start_tls, stop, turn, open_world, compact};
