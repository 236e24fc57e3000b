/* drover-drill: drills in virtual time, on a cluster that was written down. What people call is `drover drill
 * simulate`, which starts it with the cluster on its standard input, or with the name of its file.
 *
 * Exit status: 0 no rule was broken, 1 one was or there is no answer, 2 a bad command line. */
#include <argp.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/base/err.h"
#include "node/base/sandbox.h"
#include "node/drill/campaign.h"
#include "node/drill/cluster.h"

const char *argp_program_version = "drover-drill " DROVER_VERSION;

enum key { KEY_CLUSTER = 256, KEY_KIND, KEY_NODE, KEY_SCHEDULES, KEY_SEED, KEY_JSON };
enum { EXIT_OK = 0, EXIT_WRONG = 1, EXIT_USAGE = 2, SCHEDULES = 1000 };

struct arguments {
    const char *cluster, *node;
    struct campaign_plan plan;
    bool json;
};

static const struct argp_option options[] = {
    {"cluster", KEY_CLUSTER, "FILE", 0, "as `drover cluster export` writes it (standard input)", 0},
    {"kind", KEY_KIND, "KIND", 0, "of the faults; any: all in turn (any)", 0},
    {"node", KEY_NODE, "NODE", 0, "that is hit; without it, each in turn", 0},
    {"schedules", KEY_SCHEDULES, "N", 0, "how many (1000)", 0},
    {"seed", KEY_SEED, "N", 0, "of the first one; the same seed gives the same (1)", 0},
    {"json", KEY_JSON, NULL, 0, "for programs", 0},
    {0},
};

static uint64_t number(const char *text, const char *option, struct argp_state *state)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || n > INT64_MAX / 2)
        argp_error(state, "--%s: '%s' is no such number", option, text);
    return n;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    struct err err = {0};
    switch (key) {
    case KEY_CLUSTER:
        a->cluster = arg;
        return 0;
    case KEY_KIND:
        if (campaign_kind_find(arg, &a->plan.kind, &err))
            argp_error(state, "%s", err.text);
        return 0;
    case KEY_NODE:
        a->node = arg;
        return 0;
    case KEY_SCHEDULES:
        a->plan.schedules = number(arg, "schedules", state);
        if (!a->plan.schedules)
            argp_error(state, "--schedules: 1 at least");
        return 0;
    case KEY_SEED:
        a->plan.seed = number(arg, "seed", state);
        return 0;
    case KEY_JSON:
        a->json = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The file is open; nothing of it is read before all rights are gone. */
static char *read_all(FILE *file, const char *name, size_t *len, struct err *err)
{
    char *text = malloc(CLUSTER_TEXT_MAX + 1);
    *len = text ? fread(text, 1, CLUSTER_TEXT_MAX + 1, file) : 0;
    if (text && !ferror(file) && *len <= CLUSTER_TEXT_MAX)
        return text;
    if (!text)
        err_set(err, ENOMEM, "no memory for %s", name);
    else if (ferror(file))
        err_set(err, EIO, "%s cannot be read: %s", name, strerror(errno));
    else
        err_set(err, EFBIG, "%s is larger than %d MiB", name, CLUSTER_TEXT_MAX >> 20);
    free(text);
    return NULL;
}

static int load(const char *name, struct cluster *cluster, struct err *err)
{
    const struct sandbox sandbox = {0};
    FILE *file = name ? fopen(name, "r") : stdin;
    size_t len;
    if (!file)
        return err_set(err, errno, "--cluster %s: %s", name, strerror(errno));
    name = name ? name : "the cluster";
    int rc = sandbox_enter(&sandbox, err);
    char *text = rc ? NULL : read_all(file, name, &len, err);
    if (text)
        rc = cluster_read(cluster, name, text, len, err);
    free(text);
    return text ? rc : -err->code;
}

static int run(struct arguments *a, struct campaign *campaign, struct cluster *cluster, struct err *err)
{
    int rc = load(a->cluster, cluster, err);
    if (rc)
        return rc;
    if (a->node) {
        a->plan.node = cluster_find_node(cluster, a->node);
        if (a->plan.node < 0)
            return err_set(err, ENOENT, "--node: there is no node '%s'", a->node);
    }
    return campaign_run(campaign, cluster, &a->plan, err);
}

static void say(const struct campaign *campaign, bool json)
{
    if (!json) {
        campaign_print(stdout, campaign);
        return;
    }
    json_t *report = campaign_json(campaign);
    json_dumpf(report, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(report);
}

int main(int argc, char **argv)
{
    struct arguments a = {.plan = {.kind = CAMPAIGN_ANY, .node = CAMPAIGN_NO_NODE, .schedules = SCHEDULES, .seed = 1}};
    const struct argp argp = {.options = options, .parser = parse, .doc = "Drills on a cluster, in virtual time."};
    struct campaign campaign = {0};
    struct cluster cluster = {0};
    struct err err = {0};
    argp_err_exit_status = EXIT_USAGE;
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    int rc = run(&a, &campaign, &cluster, &err);
    if (rc)
        fprintf(stderr, "drover: %s\n", err.text);
    else
        say(&campaign, a.json);
    bool broken = rc || campaign.wrong_count || fflush(stdout);
    campaign_fini(&campaign);
    cluster_fini(&cluster);
    fflush(stdout);
    _exit(broken ? EXIT_WRONG
                 : EXIT_OK); /* nobody may trace us any more, which a search for leaks at exit would have to */
}
