/* Power cuts, on the real server and raw driver.
 *
 *      load.c  --NBD, 4 connections-->  drover-nbd  --pwrite, fallocate, fdatasync-->  recorder.c (FUSE)
 *         |                                                                               |
 *         +---------- ISSUE, ACK ---------->  history.c  <------- PUT, SYNC_* -----------+
 *                                                 |
 *                                              judge.c: every instant, every subset, every tear
 *
 * The server is killed and restarted now and then. Afterwards faults are worked into copies of the very history
 * that held (mutation.c), and the judge must find them: a run that could not have failed fails.
 *
 * Everything lives in a process and a mount namespace of its own: whatever ends it takes servers, mounts and files
 * along. */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/power/history.h"
#include "tests/power/judge.h"
#include "tests/power/load.h"
#include "tests/power/mutation.h"
#include "tests/power/recorder.h"
#include "tests/power/served.h"
#include "tests/power/stamp.h"

enum { EXIT_SKIPPED = 77, SECTORS = 2048, DIRECT_SECTORS = 8, KILLS = 8, TRIES_MAX = 500, EVENTS_PER_REQUEST = 8 };

#define PLACE "/mnt" /* hidden by a tmpfs in our namespace */
#define DISK PLACE "/disk"

struct options {
    int program_fd;
    uint64_t seed;
    uint32_t requests, rounds;
};

/* A raw driver has more than one way to do things. */
struct variant {
    const char *name, *stack;
    uint32_t align_sectors;
    bool can_punch;
};

static const struct variant variants[] = {
    {"buffered", "raw:" DISK "/image", 1, true},
    {"buffered, no holes", "raw:" DISK "/image", 1, false},
    {"direct", "[{\"driver\":\"raw\",\"file\":\"" DISK "/image\",\"direct\":true}]", DIRECT_SECTORS, true},
    {"direct, no holes", "[{\"driver\":\"raw\",\"file\":\"" DISK "/image\",\"direct\":true}]", DIRECT_SECTORS, false},
};

struct run {
    const struct options *options;
    const struct variant *variant;
    uint64_t seed;
    struct dice dice;
    struct history history;
    struct recorder *recorder;
    struct served served;
    struct load load;
    uint8_t *read, *expected;
};

static int complain(const struct run *run, const char *what, int rc)
{
    fprintf(stderr, "%s, seed %llu: %s: %s\n", run->variant->name, (unsigned long long)run->seed, what, strerror(-rc));
    return rc;
}

/* ---- one run ---- */

/* What a client reads is what the disk holds; that the disk holds what it should is the judge's. */
static int compare(struct run *run, struct client *client)
{
    uint32_t bytes = SECTORS * SECTOR_BYTES;
    int rc = client_read(client, 0, bytes, run->read);
    if (rc)
        return complain(run, "reading everything", rc);
    recorder_read(run->recorder, run->expected);
    return memcmp(run->read, run->expected, bytes) ? complain(run, "reads are not what is on the disk", -EIO) : 0;
}

static int start_server(struct run *run)
{
    struct client first = {.fd = -1};
    int rc = served_start(&run->served, &first);
    if (rc)
        return complain(run, "starting the server", rc);
    rc = compare(run, &first);
    if (rc) {
        client_close(&first);
        return rc;
    }
    rc = load_join(&run->load, &first);
    return rc ? complain(run, "connecting", rc) : 0;
}

static int drive(struct run *run)
{
    uint32_t left = run->options->requests;
    int rc = start_server(run);
    for (int kills = 0; kills < KILLS && !rc; kills++) {
        uint32_t n = dice_roll(&run->dice, 2 * left / (uint32_t)(KILLS + 1 - kills));
        left -= n;
        rc = load_run(&run->load, n);
        if (rc)
            return complain(run, "sending requests", rc);
        served_kill(&run->served);
        rc = load_leave(&run->load);
        if (!rc)
            rc = start_server(run);
    }
    if (!rc)
        rc = load_run(&run->load, left);
    if (!rc)
        rc = load_settle(&run->load);
    return rc ? complain(run, "sending requests", rc) : 0;
}

static int finish(struct run *run)
{
    struct client last = {.fd = -1};
    int rc = load_leave(&run->load);
    if (!rc)
        rc = client_connect(&last, run->served.socket_path);
    if (rc)
        return complain(run, "connecting at the end", rc);
    rc = compare(run, &last);
    client_close(&last);
    if (rc)
        return rc;
    return served_stop(&run->served) ? complain(run, "the server did not end well", -ECHILD) : 0;
}

static int record(struct run *run)
{
    struct recorder_config config = {.directory = DISK, .can_punch = run->variant->can_punch, .seed = run->seed};
    run->served = (struct served){.program_fd = run->options->program_fd,
                                  .stack = run->variant->stack,
                                  .socket_path = PLACE "/socket",
                                  .log_path = PLACE "/log"};
    int rc = load_init(&run->load, &run->history, PLACE "/socket", run->variant->align_sectors, run->seed + 1);
    if (!rc)
        rc = recorder_start(&run->history, &config, &run->recorder);
    if (rc) {
        complain(run, "mounting the recorder", rc);
    } else {
        rc = drive(run);
        if (!rc)
            rc = finish(run);
    }
    served_kill(&run->served);
    load_leave(&run->load);
    load_fini(&run->load);
    recorder_stop(run->recorder);
    return rc;
}

/* ---- judging ---- */

static int judge(const struct run *run)
{
    const struct history *h = &run->history;
    struct judge_finding finding;
    struct judge_tally tally;
    int rc = h->full ? -ENOSPC : judge_history(h, &finding, &tally);
    if (rc)
        return complain(run, "the history cannot be judged", rc);
    uint32_t kinds[HISTORY_START + 1] = {0}, during = 0;
    for (uint32_t i = 0; i < h->event_count; i++) {
        kinds[h->events[i].kind]++;
        during += h->events[i].kind == HISTORY_PUT && kinds[HISTORY_SYNC_BEGIN] > kinds[HISTORY_SYNC_END];
    }
    printf(
        "%s, seed %llu: %u requests, %u acknowledged, %u changes of the disk (%u during a sync), %u syncs, %u kills; "
        "%llu instants, %llu values judged, up to 2^%u images at one instant: %s\n",
        run->variant->name, (unsigned long long)run->seed, kinds[HISTORY_ISSUE], kinds[HISTORY_ACK], kinds[HISTORY_PUT],
        during, kinds[HISTORY_SYNC_END], kinds[HISTORY_START] - 1, (unsigned long long)tally.instants,
        (unsigned long long)tally.values, tally.unsynced_max, judge_rule_name(finding.rule));
    if (finding.rule == JUDGE_HOLDS)
        return 0;
    history_tell(h, finding.event, finding.sector);
    fprintf(stderr, "broken (%s): sector %u would say %u\n", judge_rule_name(finding.rule), finding.sector,
            finding.value);
    return -EILSEQ;
}

/* 1: breaks the rule it should; 0: another, or none; -errno. */
static int try_mutation(const struct run *run, const struct mutation *mutation, struct dice *dice)
{
    struct history copy;
    struct judge_finding finding = {.rule = JUDGE_HOLDS};
    struct judge_tally tally;
    int rc = history_copy(&copy, &run->history);
    if (rc)
        return rc;
    if (mutation->apply(&copy, dice))
        rc = judge_history(&copy, &finding, &tally);
    history_fini(&copy);
    return rc ? rc : finding.rule == mutation->rule;
}

static int prove_judge(struct run *run)
{
    for (int i = 0; i < MUTATION_COUNT; i++) {
        int tries = 0, found = 0;
        while (tries < TRIES_MAX && !found) {
            found = try_mutation(run, mutations + i, &run->dice);
            tries++;
        }
        if (found <= 0) {
            fprintf(stderr, "if %s, the judge does not find it, in %d tries\n", mutations[i].fault, tries);
            return complain(run, "the judge", found ? found : -ENOTRECOVERABLE);
        }
        printf("    if %s: found, try %d\n", mutations[i].fault, tries);
    }
    return 0;
}

static int run_once(const struct options *options, const struct variant *variant, uint64_t seed)
{
    struct run run = {.options = options, .variant = variant, .seed = seed, .dice = {seed + 2}};
    int rc =
        history_init(&run.history, SECTORS, options->requests * EVENTS_PER_REQUEST + 64, options->requests * 160 + 64);
    run.read = malloc(SECTORS * SECTOR_BYTES);
    run.expected = malloc(SECTORS * SECTOR_BYTES);
    if (!rc && run.read && run.expected) {
        rc = record(&run);
        if (!rc)
            rc = judge(&run);
        if (!rc)
            rc = prove_judge(&run);
    } else {
        rc = complain(&run, "starting", -ENOMEM);
    }
    free(run.read);
    free(run.expected);
    history_fini(&run.history);
    return rc;
}

/* ---- the program ---- */

static const struct argp_option argp_options[] = {
    {"seed", 's', "N", 0, "of the first round (1)", 0},
    {"requests", 'n', "N", 0, "a run (4000)", 0},
    {"rounds", 'r', "N", 0, "with seeds that count up (1)", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case 's':
        o->seed = strtoull(arg, NULL, 0);
        return 0;
    case 'n':
        o->requests = (uint32_t)strtoul(arg, NULL, 0);
        if (o->requests < 100 || o->requests > 1000000)
            argp_error(state, "--requests: 100 to 1000000");
        return 0;
    case 'r':
        o->rounds = (uint32_t)strtoul(arg, NULL, 0);
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num)
            return ARGP_ERR_UNKNOWN;
        o->program_fd = open(arg, O_RDONLY | O_CLOEXEC);
        if (o->program_fd < 0)
            argp_failure(state, 2, errno, "%s", arg);
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_usage(state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* NULL, or why this machine cannot run the test. */
static const char *leave_the_others(void)
{
    if (geteuid() != 0)
        return "needs root";
    if (access("/dev/fuse", R_OK | W_OK) < 0)
        return "needs /dev/fuse";
    if (unshare(CLONE_NEWNS | CLONE_NEWPID) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("none", PLACE, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=4M") < 0 || mkdir(DISK, 0755) < 0)
        return "may not make namespaces and mounts here";
    return NULL;
}

/* Its exit status; EXIT_FAILURE if it did not exit. */
static int run_in_child(int (*run)(const struct options *), const struct options *options)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0)
        exit(run(options));
    if (pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status))
        return WEXITSTATUS(status);
    fprintf(stderr, "the test did not run to its end\n");
    return EXIT_FAILURE;
}

static int run_rounds(const struct options *options)
{
    for (uint32_t round = 0; round < options->rounds; round++)
        for (size_t v = 0; v < sizeof variants / sizeof *variants; v++)
            if (run_once(options, variants + v, options->seed + round))
                return EXIT_FAILURE;
    return EXIT_SUCCESS;
}

/* The first process of its namespace, with which all others end. The servers cannot be bound to their parent in another
 * way: a process that gives up root also forgets whose death is its own. */
static int be_first(const struct options *options)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0)
        _exit(run_in_child(run_rounds, options)); /* no leak check: it cannot stop a first process */
    perror("mounting /proc");
    _exit(EXIT_FAILURE);
}

int main(int argc, char **argv)
{
    struct options options = {.seed = 1, .requests = 4000, .rounds = 1};
    struct argp argp = {argp_options, parse, "DROVER_NBD", "Power cuts on the raw driver, recorded and judged.",
                        NULL,         NULL,  NULL};
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    setvbuf(stdout, NULL, _IOLBF, 0);
    const char *missing = leave_the_others();
    if (missing) {
        printf("skipped: %s\n", missing);
        return EXIT_SKIPPED;
    }
    _exit(run_in_child(be_first, &options)); /* no leak check: it wants a thread, and the namespace is over */
}
