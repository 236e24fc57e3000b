#include "node/cli/special.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "node/cli/command.h"

enum { WORDS_MAX = 64, NAME_BYTES = 16 };

int special_become(const char *program, char *const *words)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - NAME_BYTES);
    path[n > 0 ? n : 0] = 0;
    char *slash = strrchr(path, '/');
    snprintf(slash ? slash + 1 : path, NAME_BYTES, "%s", program);
    execv(path, words);
    execvp(program, words);
    fprintf(stderr, "drover: %s cannot be started: %s\n", program, strerror(errno));
    return 1;
}

static int hand_over(const char *option, const char *what, int argc, char **argv)
{
    char *words[WORDS_MAX];
    if (argc < 2 || argc > WORDS_MAX - 4) {
        fprintf(stderr, "drover: %s is missing; `droverd --help` shows what else it takes\n", what);
        return 2;
    }
    int count = 0;
    words[count++] = (char *)(uintptr_t) "droverd";
    if (argv[1][0] != '-')
        words[count++] = (char *)(uintptr_t)option;
    for (int i = 1; i < argc; i++)
        words[count++] = argv[i];
    words[count] = NULL;
    return special_become("droverd", words);
}

int special_init(const struct command *command, int argc, char **argv)
{
    (void)command;
    return hand_over("--init", "the cluster's NAME", argc, argv);
}

int special_join(const struct command *command, int argc, char **argv)
{
    (void)command;
    return hand_over("--join", "the invitation's FILE", argc, argv);
}

int special_verify_audit(const struct command *command, int argc, char **argv)
{
    (void)command;
    return hand_over("--verify-audit", "the audit log's FILE", argc, argv);
}

int special_store(const struct command *command, int argc, char **argv)
{
    (void)command;
    return hand_over("--move-store", "the new store's URI", argc, argv);
}
