#include "balancer/command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/base/err.h"

enum key { KEY_CLUSTER = 512, KEY_POLICY, KEY_GROUP, KEY_STRICT }; /* beyond every command's own */

static const struct argp_option options[] = {
    {"cluster", KEY_CLUSTER, "FILE", 0, "the cluster: Drover's JSON, or Ganeti's text format if the name ends in .data",
     0},
    {"policy", KEY_POLICY, "FILE", 0, "weights, limits, costs and patience (JSON)", 0},
    {"group", KEY_GROUP, "NAME", 0, "the node group, where a Ganeti file has several", 0},
    {"strict", KEY_STRICT, NULL, 0, "refuse a cluster with entries that cannot be used, which are left out otherwise",
     0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct command_files *files = state->input;
    switch (key) {
    case KEY_CLUSTER:
        files->cluster = arg;
        break;
    case KEY_POLICY:
        files->policy = arg;
        break;
    case KEY_GROUP:
        files->group = arg;
        break;
    case KEY_STRICT:
        files->strict = true;
        break;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not an option", arg);
        break;
    case ARGP_KEY_END:
        if (!files->cluster)
            argp_error(state, "--cluster FILE is needed");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp argp = {.options = options, .parser = parse};
const struct argp_child command_files_argp[2] = {{&argp, 0, NULL, 0}, {0}};

uint64_t command_number(const char *text, struct argp_state *state, const char *option, uint64_t max)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (*end || end == text || *text == '-' || errno || number > max)
        argp_error(state, "--%s: '%s' is not a whole number of 0 to %llu", option, text, (unsigned long long)max);
    return number;
}

int command_run(const struct command_files *files,
                int (*act)(void *context, const struct command_cluster *cluster, const struct policy *policy,
                           struct err *err),
                void *context)
{
    struct command_cluster c;
    struct policy policy;
    struct err err = {0};
    int rc = command_load(&c, &policy, files, &err);
    if (rc == 0) {
        rc = act(context, &c, &policy, &err);
        command_unload(&c);
    }
    if (rc < 0)
        fprintf(stderr, "drover-balancer: %s\n", err.text);
    return rc < 0 ? EXIT_WRONG : EXIT_OK;
}
