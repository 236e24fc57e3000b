/* droverd: the agent of a node. Its main function, and the three things it can be told to do instead of running. */
#include <argp.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/agent/agent.h"
#include "node/agent/audit.h"
#include "node/agent/fault_hold.h"
#include "node/agent/node_setup.h"
#include "node/agent/power_file.h"
#include "node/agent/node_store.h"
#include "node/agent/service.h"
#include "node/base/err.h"
#include "node/base/log.h"

enum {
    KEY_STATE = 0x1000,
    KEY_RUN,
    KEY_PROGRAMS,
    KEY_CGROUPS,
    KEY_INIT,
    KEY_JOIN,
    KEY_NODE,
    KEY_VERIFY_AUDIT,
    KEY_ADDRESS,
    KEY_LISTEN,
    KEY_STORE,
    KEY_MOVE_STORE,
    KEY_POWER
};

const char *argp_program_version = "droverd " DROVER_VERSION;

struct line {
    struct agent_config agent;
    struct node_setup setup;
    const char *join, *move_store, *audit;
    bool init, verbose;
    char programs[PATH_MAX];
};

static const struct argp_option options[] = {
    {"state", KEY_STATE, "FOLDER", 0, "what survives a reboot (/var/lib/drover)", 1},
    {"run", KEY_RUN, "FOLDER", 0, "sockets and logs (/run/drover)", 1},
    {"programs", KEY_PROGRAMS, "FOLDER", 0, "drover-guest, drover-nbd, drover-img, drover-import (droverd's own)", 1},
    {"cgroups", KEY_CGROUPS, "FOLDER", 0, "where control groups are mounted (/sys/fs/cgroup)", 1},
    {"power", KEY_POWER, "FILE", 0, "how one learns whether a node has power (" POWER_FILE ")", 1},
    {"verbose", 'v', NULL, 0, "log more", 1},
    {NULL, 0, NULL, 0, "Instead of running:", 2},
    {"init", KEY_INIT, "CLUSTER", 0, "begin a cluster of that name with this node, then exit", 2},
    {"join", KEY_JOIN, "FILE", 0, "take this node into the cluster that made the join token in FILE, then exit", 2},
    {"move-store", KEY_MOVE_STORE, "URI", 0, "copy everything into that store and use it from now on, then exit", 2},
    {"verify-audit", KEY_VERIFY_AUDIT, "FILE", 0, "check an audit log and the older files beside it, then exit", 2},
    {"node", KEY_NODE, "NAME", 0, "of this node (its host name)", 2},
    {"address", KEY_ADDRESS, "IP", 0, "where other nodes reach it", 2},
    {"listen", KEY_LISTEN, "tcp:IP:PORT", 0, "where its API is, beside the unix socket (port 7480 of the address)", 2},
    {"store", KEY_STORE, "URI", 0, "sqlite:PATH (in the state folder) or etcd:https://HOST:2379,...", 2},
    {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct line *l = state->input;
    switch (key) {
    case KEY_STATE:
        l->agent.state = arg;
        return 0;
    case KEY_RUN:
        l->agent.run = arg;
        return 0;
    case KEY_PROGRAMS:
        l->agent.programs = arg;
        return 0;
    case KEY_CGROUPS:
        l->agent.cgroups = arg;
        return 0;
    case KEY_POWER:
        l->agent.power = arg;
        return 0;
    case 'v':
        l->verbose = true;
        return 0;
    case KEY_INIT:
        l->init = true;
        l->setup.cluster = arg;
        return 0;
    case KEY_JOIN:
        l->join = arg;
        return 0;
    case KEY_MOVE_STORE:
        l->move_store = arg;
        return 0;
    case KEY_VERIFY_AUDIT:
        l->audit = arg;
        return 0;
    case KEY_NODE:
        l->setup.node = arg;
        return 0;
    case KEY_ADDRESS:
        l->setup.address = arg;
        return 0;
    case KEY_LISTEN:
        l->setup.listen = arg;
        return 0;
    case KEY_STORE:
        l->setup.store = arg;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is one too many", arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The folder this program is in. */
static void find_programs(struct line *l)
{
    ssize_t n = readlink("/proc/self/exe", l->programs, sizeof l->programs - 1);
    l->programs[n > 0 ? n : 0] = 0;
    char *slash = strrchr(l->programs, '/');
    if (slash)
        *slash = 0;
    if (!l->agent.programs)
        l->agent.programs = l->programs;
}

static int verify_audit(const char *path, struct err *err)
{
    struct audit_report r;
    int rc = audit_verify_all(path, &r, err);
    if (!rc)
        printf("%llu lines in %u files, numbers %llu to %llu, %llu torn by a crash; the last hash is %s\n",
               (unsigned long long)r.lines, r.files, (unsigned long long)r.first_seq, (unsigned long long)r.last_seq,
               (unsigned long long)r.torn, r.last_hash);
    return rc;
}

/* A drill may have switched this node off for a while. */
static int run(const struct agent_config *config, struct err *err)
{
    char hold[FAULT_HOLD_PATH_MAX];
    fault_hold_path(config->run, hold);
    if (!access(hold, F_OK))
        service_say("EXTEND_TIMEOUT_USEC=660000000");
    if (fault_hold_wait(hold))
        log_warn("a drill kept this node switched off until now");
    return agent_run(config, err);
}

int main(int argc, char **argv)
{
    static const struct argp argp = {options,
                                     parse,
                                     NULL,
                                     "The agent of a node: works towards what the cluster wants of it.\v"
                                     "SIGTERM ends the agent; its guests run on and are adopted by the next one.",
                                     NULL,
                                     NULL,
                                     NULL};
    struct line l = {.agent = {.state = "/var/lib/drover",
                               .run = "/run/drover",
                               .cgroups = "/sys/fs/cgroup",
                               .power = POWER_FILE,
                               .version = DROVER_VERSION}};
    struct err err = {0};
    argp_err_exit_status = 2;
    argp_parse(&argp, argc, argv, 0, NULL, &l);
    find_programs(&l);
    log_init("droverd", l.verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
    l.setup.state = l.agent.state;
    int rc = l.init         ? node_setup_init(&l.setup, &err)
             : l.join       ? node_setup_join(&l.setup, l.join, &err)
             : l.move_store ? node_store_move(l.agent.state, l.move_store, &err)
             : l.audit      ? verify_audit(l.audit, &err)
                            : run(&l.agent, &err);
    if (rc)
        log_error("%s", err.text);
    return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}
