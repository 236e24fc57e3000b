#include "node/agent/agent.h"

#include <errno.h>
#include <liburing.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>

#include "node/agent/agent_inside.h"
#include "node/agent/balance_moves.h"
#include "node/agent/balancer_unit.h"
#include "node/agent/boot_copies.h"
#include "node/agent/cgroup.h"
#include "node/agent/cluster.h"
#include "node/agent/consoles.h"
#include "node/agent/drain.h"
#include "node/agent/drills.h"
#include "node/agent/failover_routes.h"
#include "node/agent/failovers.h"
#include "node/agent/failsafe.h"
#include "node/agent/forecasts.h"
#include "node/agent/give_aways.h"
#include "node/agent/guests.h"
#include "node/agent/homes.h"
#include "node/agent/identity.h"
#include "node/agent/images.h"
#include "node/agent/load.h"
#include "node/agent/measured.h"
#include "node/agent/member_probe.h"
#include "node/agent/metrics.h"
#include "node/agent/migrations.h"
#include "node/agent/networks.h"
#include "node/agent/node_config.h"
#include "node/agent/pool_room.h"
#include "node/agent/presence.h"
#include "node/agent/report.h"
#include "node/agent/service.h"
#include "node/agent/tasks.h"
#include "node/agent/volume_moves.h"
#include "node/agent/volumes.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"
#include "node/base/store.h"
#include "node/base/store_tls.h"
#include "node/base/tls.h"
#include "node/base/worker.h"

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
    if (a->power_watch)
        power_watch_tick(a->power_watch);
}

static int begin_failover(struct agent *a, struct err *err)
{
    const char *tls = a->has_tls ? a->tls_dir : NULL;
    struct tenure *tenure = presence_tenure_of(a->presence);
    if (!agent_is_shared(a)) { /* the routes answer, and there is nobody to lose */
        a->failovers = failovers_new(a->loop, a->cluster, tenure, err);
    } else {
        a->failsafe = failsafe_new(a->loop, a->cluster, tenure, tls, tenure_moved, a, err);
        a->failovers = a->failsafe ? failovers_new(a->loop, a->cluster, tenure, err) : NULL;
    }
    const struct give_aways_place place = {a->cluster, a->guests, a->failovers, tenure, a->audit};
    a->give_aways = a->failovers ? give_aways_new(&place, err) : NULL;
    a->power_place = (struct power_place){.loop = a->loop,
                                          .cluster = a->cluster,
                                          .audit = a->audit,
                                          .program = a->power_program,
                                          .file = a->config->power};
    a->power_watch = a->give_aways ? power_watch_new(&a->power_place) : NULL;
    if (!a->power_watch)
        return -ENOMEM;
    a->plan_place.probe = failovers_probe(a->failovers);
    failover_routes_attach(a->failover_routes, a->failovers, a->power_watch, tenure);
    metrics_attach_failover(a->metrics, a->presence, a->failovers, a->give_aways, a->failsafe, a->power_watch);
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
    if (a->balance_moves && agent_is_shared(a))
        a->balancer = balancer_unit_new(&a->balancer_place, err);
    if (!a->balance_moves || (agent_is_shared(a) && !a->balancer))
        return -ENOMEM;
    metrics_attach_balance(a->metrics, a->balance_moves);
    return 0;
}

static int begin(struct agent *a, struct err *err)
{
    int rc = agent_api_open(a, err);
    if (!rc)
        rc = agent_api_renewal(a, err);
    if (rc)
        return rc;
    struct presence_config presence = {.id = a->node.id,
                                       .address = a->node.address,
                                       .api = a->api_address,
                                       .version = a->config->version,
                                       .instance = a->identity.instance,
                                       .shared = agent_is_shared(a),
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
    a->drain = a->migrations ? drain_new(a->loop, a->cluster, a->presence, a->config->state, err) : NULL;
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
    if (agent_is_shared(a))
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
        rc = agent_places_make(a, err);
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
    agent_places_fill(a);
    a->store = open_store(a, err);
    if (!a->store)
        return -EIO;
    a->cluster_handler.current = current;
    a->cluster = cluster_new(a->loop, a->store, a->node.node, &a->cluster_handler, err);
    a->measured = a->cluster ? measured_new(cluster_mirror(a->cluster), clock_ms) : NULL;
    a->balance_place.measured = a->measured;
    return a->measured ? 0 : -ENOMEM;
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
    agent_close(a);
    free(a);
    return rc;
}
