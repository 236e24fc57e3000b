/* Where things of this node are, and what its parts are lent. */
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/agent/agent_inside.h"
#include "node/agent/balance_question.h"
#include "node/agent/balancer_unit.h"
#include "node/agent/drill_faults.h"
#include "node/agent/guest_network.h"
#include "node/agent/guest_seed.h"
#include "node/agent/guest_unit.h"
#include "node/agent/image_unit.h"
#include "node/agent/volume_unit.h"
#include "node/base/err.h"

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

int agent_places_make(struct agent *a, struct err *err)
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

void agent_places_fill(struct agent *a)
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

bool agent_is_shared(const struct agent *a)
{
    return strncmp(a->node.store, "sqlite:", 7) != 0;
}
