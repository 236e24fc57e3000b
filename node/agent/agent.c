#include "node/agent/agent.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <liburing.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/agent/api.h"
#include "node/agent/audit.h"
#include "node/agent/balance_moves.h"
#include "node/agent/balance_question.h"
#include "node/agent/balance_routes.h"
#include "node/agent/balancer_unit.h"
#include "node/agent/boot_copies.h"
#include "node/agent/cgroup.h"
#include "node/agent/cluster.h"
#include "node/agent/consoles.h"
#include "node/agent/drain.h"
#include "node/agent/drill_faults.h"
#include "node/agent/drill_routes.h"
#include "node/agent/drills.h"
#include "node/agent/events.h"
#include "node/agent/failover_routes.h"
#include "node/agent/failovers.h"
#include "node/agent/failsafe.h"
#include "node/agent/forecasts.h"
#include "node/agent/guest_network.h"
#include "node/agent/guest_seed.h"
#include "node/agent/guest_unit.h"
#include "node/agent/guests.h"
#include "node/agent/give_aways.h"
#include "node/agent/homes.h"
#include "node/agent/identity.h"
#include "node/agent/http_server.h"
#include "node/agent/image_unit.h"
#include "node/agent/images.h"
#include "node/agent/load.h"
#include "node/agent/member_probe.h"
#include "node/agent/membership.h"
#include "node/agent/metrics.h"
#include "node/agent/migration_request.h"
#include "node/agent/migrations.h"
#include "node/agent/networks.h"
#include "node/agent/node_config.h"
#include "node/agent/objects.h"
#include "node/agent/pool_room.h"
#include "node/agent/presence.h"
#include "node/agent/refusals.h"
#include "node/agent/renewal.h"
#include "node/agent/report.h"
#include "node/agent/service.h"
#include "node/agent/tasks.h"
#include "node/agent/token.h"
#include "node/agent/tokens.h"
#include "node/agent/volume_unit.h"
#include "node/agent/volume_move_request.h"
#include "node/agent/volume_moves.h"
#include "node/agent/volumes.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"
#include "node/base/store.h"
#include "node/base/store_tls.h"
#include "node/base/tls.h"
#include "node/base/worker.h"

enum { LAST_TURNS = 200, LAST_TURN_MS = 20 };

struct agent {
    const struct agent_config *config;
    struct node_config node;
    char guests_dir[PATH_MAX], exports_dir[PATH_MAX], tls_dir[PATH_MAX], api_path[PATH_MAX], audit_path[PATH_MAX];
    char guest_program[PATH_MAX], nbd_program[PATH_MAX], img_program[PATH_MAX], import_program[PATH_MAX];
    char fault_program[PATH_MAX];
    char balancer_program[PATH_MAX], balancer_log[PATH_MAX];
    char api_address[320];
    bool has_tls, failed;

    struct loop *loop;
    struct worker *worker;
    struct store *store;
    struct cluster *cluster;
    struct identity identity;
    struct cluster_handler cluster_handler;
    struct cgroups cgroups;

    struct guest_place guest_place;
    struct guest_plan_place plan_place;
    struct export_place export_place;
    struct volume_place volume_place;
    struct image_place image_place;
    struct boot_copy_place boot_place;

    struct report *report;
    struct presence *presence;
    struct failovers *failovers;
    struct give_aways *give_aways;
    struct failover_routes *failover_routes;
    struct failsafe *failsafe;
    bool failsafe_closed, bound; /* bound: guests outlive this agent that must not outlive the lease */
    struct guests *guests;
    struct volumes *volumes;
    struct homes *homes;
    struct volume_moves *volume_moves;
    struct pool_room *pool_room;
    struct images *images;
    struct networks *networks;
    struct tasks *tasks;
    struct boot_copies *boot_copies;
    struct migrations_place migrations_place;
    struct migrations *migrations;
    struct drain *drain;
    struct drill_faults_place drill_place;
    struct drills *drills;
    struct drill_routes *drill_routes;
    struct balance_place balance_place;
    struct balance_routes *balance_routes;
    struct balance_moves *balance_moves;
    struct balancer_place balancer_place;
    struct balancer_unit *balancer; /* NULL: the store is this node's alone, so there is nobody to balance with */
    struct load *load;

    struct token_table *tokens;
    struct tokens *token_keeper;
    struct membership *membership;
    struct renewal *renewal;
    struct refusals *refusals;
    bool renewal_closed;
    struct events *events;
    struct consoles *consoles;
    struct metrics *metrics;
    struct objects *objects;
    struct forecasts *forecasts;
    bool forecasts_closed;
    struct migration_requests *migration_requests;
    struct audit *audit;
    struct api *api;
    struct http_server *http;
    struct tls_context *tls;
    bool http_closed, cluster_closed, store_closed;

    struct service_watch service_watch;
    int signal_fd;
    struct signalfd_siginfo signal_info;
    struct loop_op signal_op;
    struct err err;
};

/* ---- what a guest needs beside its process ---- */

static int prepare_guest(void *context, const char *id, const json_t *plan, struct err *err)
{
    (void)context;
    int rc = guest_network_prepare(id, plan, err);
    return rc ? rc : guest_seed_write(json_object_get(plan, "seed"), err);
}

static int announce_guest(void *context, const char *id, const json_t *plan, struct err *err)
{
    (void)context;
    return guest_network_announce(id, plan, err);
}

static int clean_guest(void *context, const char *id, const json_t *plan, struct err *err)
{
    (void)context;
    return guest_network_clean(id, plan, err);
}

/* ---- places ---- */

static int make_folder(const char *path, struct err *err)
{
    struct stat st;
    if (mkdir(path, 0700) && errno != EEXIST)
        return err_set(err, errno, "the folder %s cannot be made: %s", path, strerror(errno));
    if (stat(path, &st) || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() || st.st_mode & 077)
        return err_set(err, EPERM, "%s must be a folder that belongs to this user and is closed to others (mode 0700)",
                       path);
    return 0;
}

static int make_places(struct agent *a, struct err *err)
{
    const struct agent_config *c = a->config;
    snprintf(a->guests_dir, sizeof a->guests_dir, "%s/guests", c->run);
    snprintf(a->exports_dir, sizeof a->exports_dir, "%s/exports", c->run);
    snprintf(a->api_path, sizeof a->api_path, "unix:%s/api.sock", c->run);
    snprintf(a->tls_dir, sizeof a->tls_dir, "%s/tls", c->state);
    snprintf(a->audit_path, sizeof a->audit_path, "%s/audit.log", c->state);
    snprintf(a->guest_program, sizeof a->guest_program, "%s/drover-guest", c->programs);
    snprintf(a->nbd_program, sizeof a->nbd_program, "%s/drover-nbd", c->programs);
    snprintf(a->img_program, sizeof a->img_program, "%s/drover-img", c->programs);
    snprintf(a->import_program, sizeof a->import_program, "%s/drover-import", c->programs);
    snprintf(a->fault_program, sizeof a->fault_program, "%s/drover-fault", c->programs);
    snprintf(a->balancer_program, sizeof a->balancer_program, "%s/drover-balancer", c->programs);
    snprintf(a->balancer_log, sizeof a->balancer_log, "%s/balancer.log", c->run);
    a->has_tls = !access(a->tls_dir, F_OK);
    mkdir(c->run, 0755);
    int rc = make_folder(a->guests_dir, err);
    return rc ? rc : make_folder(a->exports_dir, err);
}

static void fill_places(struct agent *a)
{
    const char *tls = a->has_tls ? a->tls_dir : NULL;
    a->guest_place = (struct guest_place){
        .loop = a->loop,
        .worker = a->worker,
        .cgroups = &a->cgroups,
        .program = a->guest_program,
        .directory = a->guests_dir,
        .state = a->config->state,
        .address = a->node.address,
        .prepare = prepare_guest,
        .announce = announce_guest,
        .clean = clean_guest,
        .context = a,
    };
    a->plan_place = (struct guest_plan_place){
        .node = a->node.node, .address = a->node.address, .directory = a->guests_dir, .tls = tls};
    a->export_place = (struct export_place){
        .loop = a->loop,
        .cgroups = &a->cgroups,
        .program = a->nbd_program,
        .directory = a->exports_dir,
        .address = a->node.address,
        .tls = tls,
    };
    a->volume_place = (struct volume_place){
        .loop = a->loop, .exports = &a->export_place, .img = a->img_program, .state = a->config->state};
    a->boot_place = (struct boot_copy_place){
        .loop = a->loop, .exports = &a->export_place, .img = a->img_program, .import = a->import_program, .tls = tls};
    a->drill_place = (struct drill_faults_place){.loop = a->loop,
                                                 .cgroups = &a->cgroups,
                                                 .program = a->fault_program,
                                                 .run = a->config->run,
                                                 .address = a->node.address,
                                                 .state = a->config->state,
                                                 .store = a->node.store};
    a->balance_place = (struct balance_place){.loop = a->loop, .program = a->balancer_program};
    a->balancer_place = (struct balancer_place){
        .loop = a->loop,
        .cgroups = &a->cgroups,
        .program = a->balancer_program,
        .store = a->node.store,
        .state = a->config->state,
        .node = a->node.node,
        .log = a->balancer_log,
    };
    a->image_place = (struct image_place){.loop = a->loop, .exports = &a->export_place, .import = a->import_program};
}

/* ---- the API ---- */

/* A node whose certificate is good and whose object is there. */
static bool is_member(void *context, const char *name)
{
    struct agent *a = context;
    return mirror_named(cluster_mirror(a->cluster), OBJECT_NODE, name);
}

static void requested(void *context, struct http_request *request)
{
    api_request(((struct agent *)context)->api, request);
}

static bool may_send(void *context, const struct http_request *request)
{
    return api_may_send(((struct agent *)context)->api, request);
}

/* A store of one node: nobody else could take anything over. */
static bool is_shared(const struct agent *a)
{
    return strncmp(a->node.store, "sqlite:", 7) != 0;
}

static struct tls_context *open_credentials(const struct agent *a, struct err *err)
{
    struct tls_context *tls = tls_context_x509(TLS_SERVER, a->tls_dir, true, err);
    if (tls)
        tls_context_peer_optional(tls); /* nodes show one, people have tokens */
    return tls;
}

/* The node has a new certificate, or refuses another key. What dials reads the files for each connection. */
static void renewed(void *context)
{
    struct agent *a = context;
    struct err err = {0};
    struct tls_context *tls = a->tls ? open_credentials(a, &err) : NULL;
    if (tls) {
        http_server_credentials(a->http, tls);
        tls_context_free(a->tls);
        a->tls = tls;
    } else if (a->tls) {
        log_warn("the API goes on with the old certificate: %s", err.text);
    }
    export_place_renewed(&a->export_place);
    if (a->balancer)
        balancer_unit_renew(a->balancer);
    presence_refresh(a->presence);
}

static int begin_renewal(struct agent *a, struct err *err)
{
    const struct renewal_place place = {.loop = a->loop,
                                        .cluster = a->cluster,
                                        .membership = a->membership,
                                        .address = a->node.address,
                                        .tls = a->tls_dir,
                                        .renewed = renewed,
                                        .context = a};
    const struct refusals_place refused = {a->loop, a->cluster, a->tls_dir, renewed, a};
    if (!a->has_tls)
        return 0;
    a->renewal = renewal_new(&place, err);
    a->refusals = a->renewal ? refusals_new(&refused, err) : NULL;
    return a->refusals ? 0 : -EIO;
}

static int open_api(struct agent *a, struct err *err)
{
    struct audit_config audit = {.path = a->audit_path};
    a->audit = audit_new(a->loop, &audit, err);
    a->tokens = a->audit ? token_table_new() : NULL;
    struct api_config config = {
        .loop = a->loop,
        .version = a->config->version,
        .tokens = a->tokens,
        .audit = a->audit,
        .node_is_member = is_member,
        .context = a,
    };
    a->api = a->tokens ? api_new(&config, err) : NULL;
    a->token_keeper = a->api ? tokens_new(a->cluster, a->tokens, a->api, err) : NULL;
    a->membership = a->token_keeper ? membership_new(a->cluster, a->token_keeper, &a->node, a->config->state,
                                                     a->api_address, a->api, err)
                                    : NULL;
    a->events = a->membership ? events_new(a->cluster, a->api, err) : NULL;
    a->consoles = a->events ? consoles_new(a->loop, a->cluster, a->api, err) : NULL;
    a->metrics = a->consoles ? metrics_new(a->cluster, &a->cgroups, a->config->version, a->tls_dir, a->api, err) : NULL;
    a->failover_routes = a->metrics ? failover_routes_new(a->cluster, a->api, err) : NULL;
    a->objects = a->failover_routes ? objects_new(a->cluster, a->config->state, is_shared(a), a->api, err) : NULL;
    a->drill_routes = a->objects ? drill_routes_new(a->cluster, a->node.store, a->api, err) : NULL;
    a->forecasts = a->drill_routes ? forecasts_new(a->loop, a->cluster, a->has_tls ? a->tls_dir : NULL, err) : NULL;
    a->migration_requests =
        a->forecasts ? migration_requests_new(a->cluster, a->forecasts, a->config->state, a->api, err) : NULL;
    a->balance_routes = a->migration_requests ? balance_routes_new(a->cluster, &a->balance_place, a->api, err) : NULL;
    if (!a->balance_routes || tasks_add_routes(a->api, a->cluster, err) ||
        volume_move_request_add(a->cluster, a->api, err))
        return -EIO;
    a->http = http_server_new(a->loop, NULL, requested, a, err);
    if (!a->http)
        return -EIO;
    http_server_gate(a->http, may_send);
    int rc = http_server_listen(a->http, a->api_path, 0600, NULL, err);
    if (!rc && *a->node.listen) {
        a->tls = open_credentials(a, err);
        rc = a->tls ? http_server_listen(a->http, a->node.listen, 0, a->tls, err) : -EIO;
    }
    if (!rc && *a->node.listen)
        snprintf(a->api_address, sizeof a->api_address, "https://%s", http_server_address(a->http, 1) + 4);
    return rc;
}

/* ---- fail-over ---- */

static void tenure_moved(void *context)
{
    struct agent *a = context;
    if (a->guests)
        guests_tenure(a->guests);
}

static void ticked(void *context)
{
    struct agent *a = context;
    if (a->failsafe)
        failsafe_tick(a->failsafe);
    tenure_moved(a);
    if (!a->failovers)
        return;
    failovers_tick(a->failovers);
    presence_say(a->presence, "reaches", member_probe_reached(failovers_probe(a->failovers)));
    if (a->give_aways)
        give_aways_tick(a->give_aways);
}

static int begin_failover(struct agent *a, struct err *err)
{
    const char *tls = a->has_tls ? a->tls_dir : NULL;
    struct tenure *tenure = presence_tenure_of(a->presence);
    if (!is_shared(a)) { /* the routes answer, and there is nobody to lose */
        a->failovers = failovers_new(a->loop, a->cluster, tenure, err);
    } else {
        a->failsafe = failsafe_new(a->loop, a->cluster, tenure, tls, tenure_moved, a, err);
        a->failovers = a->failsafe ? failovers_new(a->loop, a->cluster, tenure, err) : NULL;
    }
    const struct give_aways_place place = {a->cluster, a->guests, a->failovers, tenure, a->audit};
    a->give_aways = a->failovers ? give_aways_new(&place, err) : NULL;
    if (!a->give_aways)
        return -ENOMEM;
    a->plan_place.probe = failovers_probe(a->failovers);
    failover_routes_attach(a->failover_routes, a->failovers, tenure);
    metrics_attach_failover(a->metrics, a->presence, a->failovers, a->give_aways, a->failsafe);
    presence_listen(a->presence, ticked, a);
    return 0;
}

/* ---- beginning ---- */

static void boot_copy_changed(void *context)
{
    struct agent *a = context;
    presence_say(a->presence, "boot_images", boot_copies_state(a->boot_copies));
    if (a->guests)
        guests_look(a->guests);
}

static int begin_balancing(struct agent *a, struct err *err)
{
    const struct load_place load = {.loop = a->loop,
                                    .cluster = a->cluster,
                                    .cgroups = &a->cgroups,
                                    .guests = a->guests,
                                    .presence = a->presence,
                                    .node_id = a->node.id};
    a->load = load_new(&load, err);
    a->balance_moves = a->load ? balance_moves_new(a->loop, a->cluster, a->config->state, err) : NULL;
    if (a->balance_moves && is_shared(a))
        a->balancer = balancer_unit_new(&a->balancer_place, err);
    if (!a->balance_moves || (is_shared(a) && !a->balancer))
        return -ENOMEM;
    metrics_attach_balance(a->metrics, a->balance_moves);
    return 0;
}

static int begin(struct agent *a, struct err *err)
{
    int rc = open_api(a, err);
    if (!rc)
        rc = begin_renewal(a, err);
    if (rc)
        return rc;
    struct presence_config presence = {.id = a->node.id,
                                       .address = a->node.address,
                                       .api = a->api_address,
                                       .version = a->config->version,
                                       .instance = a->identity.instance,
                                       .shared = is_shared(a),
                                       .renewal = a->renewal};
    a->report = report_new(a->loop, a->cluster);
    a->presence = a->report ? presence_new(a->loop, a->cluster, &presence) : NULL;
    if (!a->presence)
        return err_set(err, ENOMEM, "out of memory");
    a->guest_place.cluster = a->cluster;
    a->guest_place.tenure = presence_tenure(a->presence);
    a->boot_copies = boot_copies_new(a->cluster, &a->boot_place, a->config->state, boot_copy_changed, a, err);
    if (!a->boot_copies)
        return -err->code;
    a->plan_place.copies = a->boot_copies;
    a->guests = guests_new(a->cluster, a->report, &a->guest_place, &a->plan_place, err);
    if (a->guests)
        consoles_attach(a->consoles, a->guests);
    forecasts_attach(a->forecasts, a->guests);
    metrics_attach(a->metrics, a->guests, a->http);
    a->volumes = a->guests ? volumes_new(a->cluster, a->report, &a->volume_place, err) : NULL;
    const struct volume_watch_place watch_place = {a->cluster, a->guests, &a->plan_place, a->audit};
    a->homes = a->volumes ? homes_new(a->loop, a->report, &watch_place, &a->volume_place, err) : NULL;
    a->volume_moves = a->homes ? volume_moves_new(a->loop, a->report, &watch_place, &a->volume_place, err) : NULL;
    a->pool_room = a->volume_moves ? pool_room_new(a->loop, a->cluster, a->report, err) : NULL;
    a->images = a->pool_room ? images_new(a->cluster, a->report, &a->image_place, err) : NULL;
    a->networks = a->images ? networks_new(a->loop, a->worker, a->cluster, &a->plan_place, a->guests, err) : NULL;
    a->tasks = a->networks ? tasks_new(a->loop, a->cluster, a->report, err) : NULL;
    if (!a->tasks)
        return -ENOMEM;
    a->migrations_place = (struct migrations_place){
        .loop = a->loop, .worker = a->worker, .report = a->report, .guests = a->guests, .state = a->config->state};
    a->migrations = migrations_new(a->cluster, &a->migrations_place, err);
    a->drain = a->migrations ? drain_new(a->loop, a->cluster, a->config->state, err) : NULL;
    a->drills = a->drain ? drills_new(a->cluster, &a->drill_place, a->report, a->guests, err) : NULL;
    return a->drills && !begin_balancing(a, err) ? begin_failover(a, err) : -ENOMEM;
}

static void entered(void *context)
{
    struct agent *a = context;
    if (begin(a, &a->err)) {
        a->failed = true;
        loop_stop(a->loop);
        return;
    }
    log_info("node %s of cluster %s is up%s%s", a->node.node, a->node.cluster, *a->api_address ? ", API at " : "",
             a->api_address);
    service_say("READY=1");
    service_watch_begin(&a->service_watch, a->loop);
}

static void current(struct cluster_handler *handler)
{
    struct agent *a = CONTAINER_OF(handler, struct agent, cluster_handler);
    if (is_shared(a))
        identity_wait(&a->identity, a->loop, a->cluster, a->node.id, entered, a);
    else
        entered(a);
}

static void signalled(struct loop_op *op, int result, uint32_t flags)
{
    struct agent *a = CONTAINER_OF(op, struct agent, signal_op);
    (void)flags;
    if (result == (int)sizeof a->signal_info)
        log_info("ended by signal %u; guests run on", a->signal_info.ssi_signo);
    loop_stop(a->loop);
}

static int take_signals(struct agent *a, struct err *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a full quota is an error of a write, not the end of the agent */
    a->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
    if (a->signal_fd < 0)
        return err_set(err, errno, "signals cannot be watched: %s", strerror(errno));
    a->signal_op.done = signalled;
    io_uring_prep_read(loop_sqe(a->loop, &a->signal_op), a->signal_fd, &a->signal_info, sizeof a->signal_info, 0);
    return 0;
}

static struct store *open_store(struct agent *a, struct err *err)
{
    struct tls_client_files files;
    store_tls_files(a->config->state, &files);
    struct store_options options = {.ca_file = files.ca, .cert_file = files.certificate, .key_file = files.key};
    return store_open(a->node.store, a->loop, a->has_tls ? &options : NULL, err);
}

static int open_agent(struct agent *a, struct err *err)
{
    int rc = node_config_read(a->config->state, &a->node, err);
    if (!rc)
        rc = make_places(a, err);
    if (!rc)
        rc = identity_open(&a->identity, a->config->run, err);
    if (rc)
        return rc;
    a->loop = loop_new(err);
    if (!a->loop)
        return -EIO;
    if (cgroups_open(&a->cgroups, a->config->cgroups, a->node.node, err))
        log_warn("%s", err->text);
    rc = take_signals(a, err); /* before there are threads */
    a->worker = rc ? NULL : worker_new(a->loop, 1, err);
    if (!a->worker)
        return -EIO;
    fill_places(a);
    a->store = open_store(a, err);
    if (!a->store)
        return -EIO;
    a->cluster_handler.current = current;
    a->cluster = cluster_new(a->loop, a->store, a->node.node, &a->cluster_handler, err);
    return a->cluster ? 0 : -ENOMEM;
}

/* ---- ending ---- */

static void http_was_closed(void *context)
{
    ((struct agent *)context)->http_closed = true;
}

static void cluster_was_closed(void *context)
{
    ((struct agent *)context)->cluster_closed = true;
}

static void store_was_closed(void *context)
{
    ((struct agent *)context)->store_closed = true;
}

struct last_turn {
    struct loop_timer timer;
    bool over;
};

static void turn_over(struct loop_timer *timer)
{
    CONTAINER_OF(timer, struct last_turn, timer)->over = true;
}

/* Turns of the loop until that is so, or a while has passed. */
static void turn_until(struct agent *a, bool (*so)(const struct agent *a))
{
    for (unsigned i = 0; i < LAST_TURNS && !so(a); i++) {
        struct last_turn turn = {.timer.fire = turn_over};
        loop_timer_set(a->loop, &turn.timer, loop_now_ns(a->loop) + LAST_TURN_MS * 1000000ull);
        while (!turn.over && !so(a))
            loop_step(a->loop);
        loop_timer_clear(a->loop, &turn.timer);
    }
}

static bool api_is_quiet(const struct agent *a)
{
    return !a->http || a->http_closed;
}

static void failsafe_was_closed(void *context)
{
    ((struct agent *)context)->failsafe_closed = true;
}

static void forecasts_were_closed(void *context)
{
    ((struct agent *)context)->forecasts_closed = true;
}

static bool has_foretold(const struct agent *a)
{
    return !a->forecasts || a->forecasts_closed;
}

static bool has_failed_over(const struct agent *a)
{
    return (!a->failsafe || a->failsafe_closed) && (!a->failovers || !failovers_busy(a->failovers)) &&
           !give_aways_busy(a->give_aways);
}

static bool has_drilled(const struct agent *a)
{
    return !drills_busy(a->drills);
}

static bool has_stopped_balancing(const struct agent *a)
{
    return !a->balancer || !balancer_unit_busy(a->balancer);
}

static void renewal_was_closed(void *context)
{
    ((struct agent *)context)->renewal_closed = true;
}

static bool has_renewed(const struct agent *a)
{
    return !a->renewal || a->renewal_closed;
}

static bool has_left(const struct agent *a)
{
    return (!a->presence || !presence_busy(a->presence)) && (!a->report || !report_busy(a->report));
}

static bool cluster_is_closed(const struct agent *a)
{
    return !a->cluster || a->cluster_closed;
}

static bool store_is_closed(const struct agent *a)
{
    return !a->store || a->store_closed;
}

static bool is_idle(const struct agent *a)
{
    return !loop_in_flight(a->loop);
}

static void close_parts(struct agent *a)
{
    service_watch_end(&a->service_watch);
    identity_close(&a->identity);
    if (a->http)
        http_server_close(a->http, http_was_closed, a);
    turn_until(a, api_is_quiet);
    if (a->forecasts)
        forecasts_close(a->forecasts, forecasts_were_closed, a);
    turn_until(a, has_foretold);
    if (a->presence)
        presence_listen(a->presence, NULL, NULL);
    if (a->failsafe)
        failsafe_close(a->failsafe, failsafe_was_closed, a);
    turn_until(a, has_failed_over);
    a->bound = a->guests && guests_are_bound(a->guests);
    drills_stop(a->drills);
    turn_until(a, has_drilled);
    if (a->balancer)
        balancer_unit_end(a->balancer);
    turn_until(a, has_stopped_balancing);
    balancer_unit_free(a->balancer);
    balance_moves_free(a->balance_moves);
    load_free(a->load);
    tasks_free(a->tasks);
    drain_free(a->drain);
    migrations_free(a->migrations);
    boot_copies_free(a->boot_copies);
    networks_free(a->networks);
    guests_free(a->guests);
    volume_moves_free(a->volume_moves);
    homes_free(a->homes);
    pool_room_free(a->pool_room);
    volumes_free(a->volumes);
    images_free(a->images);
    if (a->report)
        report_stop(a->report);
    if (a->presence && a->bound)
        presence_stay(a->presence); /* they run on under it, until the next agent renews it */
    else if (a->presence)
        presence_leave(a->presence);
    turn_until(a, has_left);
    refusals_free(a->refusals);
    if (a->renewal)
        renewal_close(a->renewal, renewal_was_closed, a);
    turn_until(a, has_renewed);
    if (a->cluster)
        cluster_close(a->cluster, cluster_was_closed, a);
    turn_until(a, cluster_is_closed);
    if (a->store)
        store_close(a->store, store_was_closed, a);
    turn_until(a, store_is_closed);
    loop_cancel(a->loop, &a->signal_op);
    turn_until(a, is_idle);
}

static void close_agent(struct agent *a)
{
    if (!a->loop)
        return;
    close_parts(a);
    http_server_free(a->http);
    balance_routes_free(a->balance_routes);
    migration_requests_free(a->migration_requests);
    drill_routes_free(a->drill_routes);
    if (!drills_busy(a->drills))
        drills_free(a->drills);
    objects_free(a->objects);
    failover_routes_free(a->failover_routes);
    if (!give_aways_busy(a->give_aways))
        give_aways_free(a->give_aways);
    if (!a->failovers || !failovers_busy(a->failovers))
        failovers_free(a->failovers);
    metrics_free(a->metrics);
    consoles_free(a->consoles);
    events_free(a->events);
    membership_free(a->membership);
    tokens_free(a->token_keeper);
    api_free(a->api);
    token_table_free(a->tokens);
    audit_free(a->audit);
    tls_context_free(a->tls);
    presence_free(a->presence);
    report_free(a->report);
    cluster_free(a->cluster);
    worker_free(a->worker);
    cgroups_remove(&a->cgroups, NULL); /* stays while a guest or a server is in it */
    if (a->signal_fd >= 0)
        close(a->signal_fd);
    loop_free(a->loop);
}

int agent_run(const struct agent_config *config, struct err *err)
{
    struct agent *a = calloc(1, sizeof *a);
    if (!a)
        return err_set(err, ENOMEM, "out of memory");
    a->config = config;
    a->signal_fd = -1;
    int rc = open_agent(a, err);
    if (!rc) {
        loop_run(a->loop);
        if (a->failed) {
            *err = a->err;
            rc = -(err->code ? err->code : EIO);
        }
    }
    close_agent(a);
    free(a);
    return rc;
}
