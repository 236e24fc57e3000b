/* What droverd is made of, for the files that make, begin and end it. Thread: the loop's. */
#ifndef NODE_AGENT_AGENT_INSIDE_H
#define NODE_AGENT_AGENT_INSIDE_H

#include <limits.h>
#include <stdbool.h>
#include <sys/signalfd.h>

#include "node/agent/agent.h"
#include "node/agent/balance_question.h"
#include "node/agent/balancer_unit.h"
#include "node/agent/boot_copy.h"
#include "node/agent/cgroup.h"
#include "node/agent/cluster.h"
#include "node/agent/drill_faults.h"
#include "node/agent/guest_plan.h"
#include "node/agent/guest_unit.h"
#include "node/agent/identity.h"
#include "node/agent/image_unit.h"
#include "node/agent/migrations.h"
#include "node/agent/node_config.h"
#include "node/agent/power_watch.h"
#include "node/agent/service.h"
#include "node/agent/volume_unit.h"
#include "node/base/err.h"
#include "node/base/loop.h"

struct api;
struct audit;
struct balance_moves;
struct balance_routes;
struct balancer_unit;
struct boot_copies;
struct cluster;
struct consoles;
struct drain;
struct drill_routes;
struct drills;
struct events;
struct failover_routes;
struct failovers;
struct failsafe;
struct forecasts;
struct give_aways;
struct guests;
struct homes;
struct http_server;
struct images;
struct load;
struct loop;
struct measured;
struct membership;
struct metrics;
struct migration_requests;
struct migrations;
struct networks;
struct objects;
struct pool_room;
struct presence;
struct refusals;
struct renewal;
struct report;
struct room_turns;
struct store;
struct tasks;
struct tls_context;
struct token_table;
struct tokens;
struct volume_moves;
struct volumes;
struct worker;

struct agent {
    const struct agent_config *config;
    struct node_config node;
    char guests_dir[PATH_MAX], exports_dir[PATH_MAX], tls_dir[PATH_MAX], api_path[PATH_MAX], audit_path[PATH_MAX];
    char guest_program[PATH_MAX], nbd_program[PATH_MAX], img_program[PATH_MAX], import_program[PATH_MAX];
    char fault_program[PATH_MAX], power_program[PATH_MAX];
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
    struct power_place power_place;
    struct power_watch *power_watch;
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
    struct measured *measured;
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
    struct room_turns *room_turns;
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

/* Others may have the store, too: it is not a file of this node alone. */
bool agent_is_shared(const struct agent *agent);

/* Paths, and the folders that must be there. */
int agent_places_make(struct agent *agent, struct err *err);
/* What the parts are lent; the loop is there. */
void agent_places_fill(struct agent *agent);

/* Everything that answers people and other nodes, and the sockets that it is asked by. */
int agent_api_open(struct agent *agent, struct err *err);
/* Certificates, once the API is there. */
int agent_api_renewal(struct agent *agent, struct err *err);

/* What there is of it ends, however far it had come; guests run on. */
void agent_close(struct agent *agent);

#endif
