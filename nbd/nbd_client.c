/* See nbd_client.h. The layers of the client, from the top:
 *
 *     nbd_client    requests of the block layer: queue, pause, give up           nbd_task       a
 * request as commands nbd_routes    all connections: which are good, loss, replay nbd_unflushed the
 * log nbd_session   one connection: dial, handshake, transmission, close         nbd_dial,
 * nbd_handshake nbd_link      transmission: commands and answers nbd_receive, nbd_coverage
 *
 * A request:   submit --> waiting --> task on a link --> answered --> done
 *                            ^  '------------. |               '--> next command: again
 *                            '-- (FIFO)       again <-- link broke
 *
 * `again` goes before `waiting`. When no connection is live both wait, until one is or `outage`
 * fires; then everything fails, and so does what is submitted later, until a connection is live
 * (given_up). */
#include "nbd/nbd_client.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nbd/blk_driver.h"
#include "nbd/nbd_credentials.h"
#include "nbd/nbd_routes.h"
#include "nbd/nbd_task.h"
#include "nbd/nbd_uri.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/tls.h"

enum { LIES_MAX = 3, LEAST_TRANSFER_BYTES = 16 << 10, MAX_TRANSFER_BYTES = 64 << 20 };

/* Of reconnect, in nanoseconds. EVER is a hundred years: it can be added to a clock. */
#define SECOND_NS UINT64_C(1000000000)
#define RECONNECT_PRESET (60 * SECOND_NS)
#define RECONNECT_EVER (UINT64_C(3155760000) * SECOND_NS)
#define RECONNECT_UNSAID UINT64_MAX

struct nbd_config {
    struct nbd_place place;
    uint64_t connections, in_flight, reconnect_ns, replay_log_bytes, open_timeout_ns;
};

struct nbd_client {
    struct blk *blk;
    struct loop *loop;
    struct nbd_uri uri;
    char name[128]; /* for the log */
    struct tls_context *tls;
    struct nbd_routes routes;
    struct nbd_task *tasks;
    struct nbd_task_list idle, again;
    struct blk_req_list waiting;
    uint64_t reconnect_ns;
    struct loop_timer outage;
    bool opened, given_up;
    int flush_failed; /* -errno of a flush that the server failed */
};

/* ---- requests and tasks ---- */

static void dispatch(struct nbd_client *client);

static void finish(struct nbd_task *task, int result)
{
    struct nbd_client *client = task->client;
    struct blk_req *req = task->req;
    task->req = NULL;
    TAILQ_INSERT_HEAD(&client->idle, task, entry);
    if (req->op == BLK_RESIZE && !result)
        client->routes.size_bytes = req->offset;
    blk_complete(req, result);
}

/* No answer came. It is tried again, unless that has been going on for too long. */
static void keep(struct nbd_task *task)
{
    struct nbd_client *client = task->client;
    uint64_t now_ns = loop_now_ns(client->loop);
    bool hopeless = task->broken_ns && now_ns - task->broken_ns >= client->reconnect_ns;
    task->lies += task->command.suspect;
    if (!task->broken_ns)
        task->broken_ns = now_ns;
    if (hopeless || client->given_up || task->lies >= LIES_MAX)
        finish(task, task->lies >= LIES_MAX ? -EIO : -ENOTCONN);
    else
        TAILQ_INSERT_TAIL(&client->again, task, entry);
}

static void command_done(struct nbd_command *command)
{
    struct nbd_task *task = CONTAINER_OF(command, struct nbd_task, command);
    struct nbd_client *client = task->client;
    struct nbd_link *link = task->link;
    int result;
    if (command->result == -ESHUTDOWN) {
        nbd_link_break(link, ESHUTDOWN, "the server is shutting down");
        keep(task);
        dispatch(client);
        return;
    }
    nbd_routes_progress(link);
    bool over = nbd_task_advance(task, link->offer, &client->routes.log, &result);
    if (command->type == NBD_CMD_FLUSH && result) {
        log_error("nbd: %s: the server failed a flush: %s; nothing is reported durable any more "
                  "until it is reopened",
                  client->name, strerror(-result));
        client->flush_failed = -EIO;
    }
    if (over)
        finish(task, result);
    else
        TAILQ_INSERT_HEAD(&client->again, task, entry);
    dispatch(client);
}

static struct nbd_task *next_task(struct nbd_client *client)
{
    struct nbd_task *task = TAILQ_FIRST(&client->again);
    if (task) {
        TAILQ_REMOVE(&client->again, task, entry);
        return task;
    }
    struct blk_req *req = STAILQ_FIRST(&client->waiting);
    task = TAILQ_FIRST(&client->idle);
    if (!req || !task)
        return NULL;
    STAILQ_REMOVE_HEAD(&client->waiting, link);
    TAILQ_REMOVE(&client->idle, task, entry);
    task->req = req;
    task->done_bytes = task->broken_ns = 0;
    task->flushing = false;
    task->lies = 0;
    return task;
}

static void dispatch(struct nbd_client *client)
{
    struct nbd_link *link;
    struct nbd_task *task;
    while ((link = nbd_routes_pick(&client->routes)) && (task = next_task(client))) {
        nbd_task_prepare(task, link->offer, &client->routes.log, client->routes.losses);
        task->link = link;
        nbd_link_submit(link, &task->command);
    }
}

/* ---- outage ---- */

/* Completes what is held back: everything, or the flushes only. Returns how many there were. */
static unsigned fail_held(struct nbd_client *client, bool flushes_only, int error)
{
    struct nbd_task_list again = TAILQ_HEAD_INITIALIZER(again);
    struct blk_req_list waiting = STAILQ_HEAD_INITIALIZER(waiting);
    struct nbd_task *task;
    struct blk_req *req;
    unsigned count = 0;
    TAILQ_CONCAT(&again, &client->again, entry);
    STAILQ_CONCAT(&waiting, &client->waiting);
    while ((task = TAILQ_FIRST(&again))) {
        TAILQ_REMOVE(&again, task, entry);
        if (flushes_only && task->req->op != BLK_FLUSH) {
            TAILQ_INSERT_TAIL(&client->again, task, entry);
            continue;
        }
        count++;
        finish(task, error);
    }
    while ((req = STAILQ_FIRST(&waiting))) {
        STAILQ_REMOVE_HEAD(&waiting, link);
        if (flushes_only && req->op != BLK_FLUSH) {
            STAILQ_INSERT_TAIL(&client->waiting, req, link);
            continue;
        }
        count++;
        blk_complete(req, error);
    }
    return count;
}

static void give_up(struct nbd_client *client)
{
    client->given_up = true;
    unsigned count = fail_held(client, false, -ENOTCONN);
    log_error("nbd: %s: no connection for %.3g s: %u requests failed (%s)", client->name,
              (double)client->reconnect_ns / 1e9, count, client->routes.err.text);
}

/* The connections go, and with them what is under way; new ones are tried for at once. */
static void nbd_abandon(struct blk *blk)
{
    struct nbd_client *client = blk_state(blk);
    if (client->given_up)
        return;
    loop_timer_clear(client->loop, &client->outage);
    err_set(&client->routes.err, ETIMEDOUT, "it does not answer");
    give_up(client);
    for (unsigned i = 0; i < client->routes.count; i++)
        if (client->routes.route[i].session.state == SESSION_UP)
            nbd_session_end(&client->routes.route[i].session, ETIMEDOUT, "it does not answer");
}

static void nbd_make_patient(struct blk *blk)
{
    struct nbd_client *client = blk_state(blk);
    client->reconnect_ns = RECONNECT_EVER;
    client->given_up = false;
    loop_timer_clear(client->loop, &client->outage);
}

static void outage_fired(struct loop_timer *timer)
{
    give_up(CONTAINER_OF(timer, struct nbd_client, outage));
}

static void changed(struct nbd_routes *routes)
{
    struct nbd_client *client = CONTAINER_OF(routes, struct nbd_client, routes);
    if (!client->opened || routes->state == ROUTES_ENDING)
        return;
    if (routes->state == ROUTES_LIVE) {
        if (client->outage.slot || client->given_up)
            log_info("nbd: %s: connected again", client->name);
        loop_timer_clear(client->loop, &client->outage);
        client->given_up = false;
        if (routes->lossy && fail_held(client, true, -EIO))
            routes->lossy = false;
        dispatch(client);
    } else if (!client->outage.slot && !client->given_up) {
        if (client->reconnect_ns)
            loop_timer_set(client->loop, &client->outage, loop_now_ns(client->loop) + client->reconnect_ns);
        else
            give_up(client);
    }
}

static void returned(struct nbd_routes *routes, struct nbd_command *command)
{
    (void)routes;
    keep(CONTAINER_OF(command, struct nbd_task, command));
}

/* ---- the driver: submit ---- */

static void one_data_extent(struct blk_req *req)
{
    *req->extents = (struct blk_extent){.length_bytes = req->length_bytes, .depth = 1};
    req->extent_count = 1;
    blk_complete(req, 0);
}

static void nbd_submit(struct blk *blk, struct blk_req *req)
{
    struct nbd_client *client = blk_state(blk);
    struct nbd_routes *routes = &client->routes;
    bool flush = req->op == BLK_FLUSH;
    if (client->flush_failed && (flush || req->flags & BLK_FUA)) {
        blk_complete(req, client->flush_failed);
    } else if (flush && (!(routes->offer.flags & NBD_FLAG_SEND_FLUSH) || blk_read_only(blk))) {
        blk_complete(req, 0);
    } else if (req->op == BLK_EXTENTS && !routes->offer.allocation) {
        one_data_extent(req);
    } else if (client->given_up) {
        blk_complete(req, -ENOTCONN);
    } else if (flush && routes->lossy && routes->state == ROUTES_LIVE) {
        routes->lossy = false;
        blk_complete(req, -EIO);
    } else {
        STAILQ_INSERT_TAIL(&client->waiting, req, link);
        dispatch(client);
    }
}

/* ---- the driver: open and close ---- */

static const char *peer_name(const struct nbd_uri *uri)
{
    if (!uri->tls || *uri->tls_psk_file || !uri->tls_verify_peer)
        return NULL;
    if (*uri->tls_hostname)
        return uri->tls_hostname;
    return uri->local ? NULL : uri->host; /* on a Unix socket any certificate of our authority will do */
}

static void name_it(struct nbd_client *client)
{
    const struct nbd_uri *u = &client->uri;
    if (u->local)
        snprintf(client->name, sizeof client->name, "%.60s export '%.40s'", u->socket, u->export);
    else
        snprintf(client->name, sizeof client->name, "%.60s port %u export '%.40s'", u->host, u->port, u->export);
}

static int make_tasks(struct nbd_client *client, size_t count)
{
    client->tasks = calloc(count, sizeof *client->tasks);
    if (!client->tasks)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        client->tasks[i].client = client;
        client->tasks[i].command.done = command_done;
        TAILQ_INSERT_TAIL(&client->idle, &client->tasks[i], entry);
    }
    return 0;
}

static void disconnect(struct nbd_client *client)
{
    nbd_routes_leave(&client->routes);
    while (!nbd_routes_idle(&client->routes))
        loop_step(client->loop);
}

static int connect_first(struct nbd_client *client, struct err *err)
{
    struct nbd_routes *routes = &client->routes;
    nbd_routes_add(routes);
    while (routes->state != ROUTES_LIVE && routes->route[0].session.state != SESSION_IDLE)
        loop_step(client->loop);
    if (routes->state == ROUTES_LIVE)
        return 0;
    return err_set(err, routes->err.code, "%s: %s", client->name, routes->err.text);
}

static int announce(struct nbd_client *client, struct err *err)
{
    struct blk *blk = client->blk;
    const struct nbd_offer *o = &client->routes.offer;
    uint32_t align = o->min_block ? o->min_block : o->size_bytes % 512 ? 1 : 512;
    uint32_t preferred = o->preferred_block > 512 ? o->preferred_block : o->min_block ? 512 : 4096;
    uint32_t max = o->max_payload_bytes ? o->max_payload_bytes : NBD_MIN_MAX_PAYLOAD_BYTES;
    if (max > MAX_TRANSFER_BYTES)
        max = MAX_TRANSFER_BYTES;
    static const struct {
        uint16_t flag;
        uint32_t can;
    } abilities[] = {
        {NBD_FLAG_SEND_TRIM, BLK_CAN_TRIM},           {NBD_FLAG_SEND_WRITE_ZEROES, BLK_CAN_ZERO},
        {NBD_FLAG_SEND_FAST_ZERO, BLK_CAN_FAST_ZERO}, {NBD_FLAG_SEND_RESIZE, BLK_CAN_RESIZE},
        {NBD_FLAG_SEND_CACHE, BLK_CAN_CACHE},         {NBD_FLAG_CAN_MULTI_CONN, BLK_CAN_MULTI_CONN},
        {NBD_FLAG_ROTATIONAL, BLK_IS_ROTATIONAL},
    };
    uint32_t can = BLK_CAN_EXTENTS;
    for (size_t i = 0; i < sizeof abilities / sizeof *abilities; i++)
        can |= o->flags & abilities[i].flag ? abilities[i].can : 0;
    if (max < LEAST_TRANSFER_BYTES)
        return err_set(err, EPROTO, "%s: the server takes no more than %u bytes at a time, and %u are needed at least",
                       client->name, max, LEAST_TRANSFER_BYTES);
    if (max < align)
        return err_set(err, EPROTO, "%s: the server's block sizes contradict each other", client->name);
    blk_set_size(blk, o->size_bytes & ~(uint64_t)(align - 1));
    blk_set_limits(blk, &(struct blk_limits){.align_bytes = align,
                                             .preferred_bytes = preferred > align ? preferred : align,
                                             .max_transfer_bytes = max & ~(align - 1)});
    blk_set_can(blk, can);
    blk_set_needs(blk, BLK_NEEDS_SOCKETS | (client->uri.local ? BLK_NEEDS_PATHS : 0));
    if (o->flags & NBD_FLAG_READ_ONLY)
        blk_set_read_only(blk);
    return 0;
}

static void release(struct nbd_client *client)
{
    nbd_routes_fini(&client->routes);
    nbd_unflushed_fini(&client->routes.log);
    free(client->tasks);
    tls_context_free(client->tls);
}

static int nbd_open(struct blk *blk, const void *config, struct err *err)
{
    const struct nbd_config *c = config;
    struct nbd_client *client = blk_state(blk);
    struct nbd_routes *routes = &client->routes;
    client->blk = blk;
    client->loop = blk_environment(blk)->loop;
    client->reconnect_ns = c->reconnect_ns;
    if (c->reconnect_ns == RECONNECT_UNSAID)
        client->reconnect_ns = blk_is_patient(blk) ? RECONNECT_EVER : RECONNECT_PRESET;
    client->outage.fire = outage_fired;
    TAILQ_INIT(&client->idle);
    TAILQ_INIT(&client->again);
    STAILQ_INIT(&client->waiting);
    int rc = nbd_place_uri(&c->place, &client->uri, err);
    if (rc)
        return rc;
    name_it(client);
    rc = nbd_peer_resolve(&client->uri, &routes->target.peer, err);
    if (!rc)
        rc = nbd_credentials_open(&client->uri, &client->tls, err);
    if (rc)
        return rc;
    routes->changed = changed;
    routes->returned = returned;
    routes->name = client->name;
    routes->target.timeout_ns = c->open_timeout_ns;
    routes->target.wish = (struct nbd_wish){client->uri.export, client->tls, peer_name(&client->uri)};
    nbd_unflushed_init(&routes->log, c->replay_log_bytes);
    if (nbd_routes_init(routes, client->loop, (unsigned)c->in_flight) ||
        make_tasks(client, c->connections * c->in_flight)) {
        release(client);
        return err_set(err, ENOMEM, "no memory for a client");
    }
    rc = connect_first(client, err);
    if (!rc)
        rc = announce(client, err);
    if (rc) {
        disconnect(client);
        release(client);
        return rc;
    }
    client->opened = true;
    if (routes->offer.flags & NBD_FLAG_CAN_MULTI_CONN)
        for (uint64_t i = 1; i < c->connections; i++)
            nbd_routes_add(routes);
    return 0;
}

static void nbd_close(struct blk *blk)
{
    struct nbd_client *client = blk_state(blk);
    loop_timer_clear(client->loop, &client->outage);
    disconnect(client);
    release(client);
}

static const struct blk_option nbd_options[] = {
    {.name = "uri",
     .type = BLK_OPTION_STRING,
     .field = offsetof(struct nbd_config, place.uri),
     .required = true,
     .help = "nbd://HOST[:PORT]/EXPORT, nbds://..., nbd+unix:///EXPORT?socket=PATH or nbds+unix://..."},
    {.name = "export",
     .type = BLK_OPTION_STRING,
     .field = offsetof(struct nbd_config, place.export),
     .help = "instead of the URI's"},
    {.name = "connections",
     .type = BLK_OPTION_UINT,
     .field = offsetof(struct nbd_config, connections),
     .min = 1,
     .max = NBD_ROUTES_MAX,
     .preset = 1,
     .help = "more than one only if the server allows it"},
    {.name = "in-flight",
     .type = BLK_OPTION_UINT,
     .field = offsetof(struct nbd_config, in_flight),
     .min = 1,
     .max = NBD_LINK_COMMANDS_MAX,
     .preset = 64,
     .help = "requests per connection; more of them wait"},
    {.name = "reconnect",
     .type = BLK_OPTION_DURATION,
     .field = offsetof(struct nbd_config, reconnect_ns),
     .max = 1000000 * SECOND_NS,
     .preset = RECONNECT_UNSAID,
     .help = "how long requests wait for a lost server; 0: not at all (60s; for a guest's disk without end)"},
    {.name = "replay-log",
     .type = BLK_OPTION_SIZE,
     .field = offsetof(struct nbd_config, replay_log_bytes),
     .max = UINT64_C(1) << 36,
     .preset = 32 << 20,
     .help = "memory for changes that are not flushed yet; 0: none"},
    {.name = "open-timeout",
     .type = BLK_OPTION_DURATION,
     .field = offsetof(struct nbd_config, open_timeout_ns),
     .min = 1000000,
     .max = 3600 * SECOND_NS,
     .preset = 10 * SECOND_NS,
     .help = "for connecting and shaking hands, each time"},
    {.name = "tls-certificates",
     .type = BLK_OPTION_STRING,
     .field = offsetof(struct nbd_config, place.tls_certificates),
     .help = "directory with ca-cert.pem and so on"},
    {.name = "tls-psk-file",
     .type = BLK_OPTION_STRING,
     .field = offsetof(struct nbd_config, place.tls_psk_file),
     .help = "file with IDENTITY:HEXKEY lines"},
    {.name = "tls-hostname",
     .type = BLK_OPTION_STRING,
     .field = offsetof(struct nbd_config, place.tls_hostname),
     .help = "the name that the server's certificate must have"},
    {.name = NULL},
};

const struct blk_driver nbd_driver = {
    .name = "nbd",
    .short_option = "uri",
    .options = nbd_options,
    .config_bytes = sizeof(struct nbd_config),
    .state_bytes = sizeof(struct nbd_client),
    .open = nbd_open,
    .close = nbd_close,
    .submit = nbd_submit,
    .abandon = nbd_abandon,
    .make_patient = nbd_make_patient,
};
