/* drover-balancer: plans, capacity and simulation from files, and the balancer of a running cluster. The work is in the
 * library; here are the commands.
 *
 * `run` is a program of its own, beside this one: what it needs to speak with the store is 30 shared libraries, and a
 * plan of a small cluster is made in less time than they take to be linked. */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "balancer/command.h"

const char *argp_program_version = "drover-balancer " DROVER_VERSION;

/* Does not come back but for a failure. */
static int become_run(int argc, char **argv)
{
    char path[4096];
    ssize_t len = readlink("/proc/self/exe", path, sizeof path - sizeof "-run");
    (void)argc;
    if (len > 0) {
        memcpy(path + len, "-run", sizeof "-run");
        execv(path, argv);
    }
    fprintf(stderr, "drover-balancer: %s cannot be started: %s\n", len > 0 ? path : "the program beside this one",
            strerror(errno));
    return EXIT_WRONG;
}

static const struct {
    const char *name, *about;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"plan", "who should move where, and in which order", command_plan},
    {"capacity", "what still fits, and how many nodes may be lost", command_capacity},
    {"consolidate", "which nodes could sleep, and which must be woken", command_consolidate},
    {"simulate", "what a policy would do over a trace of loads", command_simulate},
    {"run", "the balancer of a running cluster; droverd starts it", become_run},
    {"answer", "one question of droverd", command_answer},
};

enum { COMMAND_COUNT = sizeof commands / sizeof *commands };

static void usage(FILE *out)
{
    fprintf(out, "Usage: drover-balancer COMMAND [OPTION...]\n"
                 "Finds a better place for the guests of a cluster, and the safe way there.\n\nCommands:\n");
    for (int i = 0; i < COMMAND_COUNT; i++)
        fprintf(out, "  %-12s %s\n", commands[i].name, commands[i].about);
    fprintf(out, "\n  -?, --help     this list; 'drover-balancer COMMAND --help' for a command's options\n"
                 "  -V, --version  the version\n");
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        usage(stderr);
        return EXIT_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-?")) {
        usage(stdout);
        return EXIT_OK;
    }
    if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
        puts(argp_program_version);
        return EXIT_OK;
    }
    for (int i = 0; i < COMMAND_COUNT; i++) {
        static char name[64];
        if (strcmp(argv[1], commands[i].name) != 0)
            continue;
        snprintf(name, sizeof name, "drover-balancer %s", commands[i].name);
        argv[1] = name;
        argp_err_exit_status = EXIT_USAGE;
        return commands[i].run(argc - 1, argv + 1);
    }
    fprintf(stderr, "drover-balancer: there is no command '%s'; --help lists them\n", argv[1]);
    return EXIT_USAGE;
}
