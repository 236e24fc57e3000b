/* drover-power: whether a node has power, by somebody who knows without asking the node. droverd runs it when a node is
 * silent; an operator, to try what /etc/drover/power.json says. Prints "on" or "off"; exit status 1: nobody knows. */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <jansson.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "node/agent/member.h"
#include "node/agent/power_file.h"
#include "node/agent/power_redfish.h"
#include "node/base/err.h"

enum { KEY_FILE = 0x100, WORDS_MAX = 64, PASSWORD_MAX = 256, CA_MAX = 1 << 17, OUTPUT_MAX = 1 << 16 };

const char *argp_program_version = "drover-power " DROVER_VERSION;

struct line {
    const char *file, *node;
};

static const struct argp_option options[] = {
    {"file", KEY_FILE, "FILE", 0, "how each node is asked (" POWER_FILE ")", 1}, {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct line *l = state->input;
    if (key == KEY_FILE)
        l->file = arg;
    else if (key == ARGP_KEY_ARG && !l->node)
        l->node = arg;
    else if (key == ARGP_KEY_ARG)
        argp_error(state, "'%s' is one too many", arg);
    else if (key == ARGP_KEY_END && !l->node)
        argp_error(state, "which NODE?");
    else
        return key == ARGP_KEY_END ? 0 : ARGP_ERR_UNKNOWN;
    return 0;
}

static _Noreturn void fail(const char *text)
{
    fprintf(stderr, "drover-power: %s\n", text);
    exit(EXIT_FAILURE);
}

/* NUL-terminated; what nobody may read is read before the rights are given up. */
static void read_whole(const char *path, char *text, size_t room)
{
    char reason[ERR_TEXT_MAX];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, room - 1);
    if (n < 0 || (size_t)n == room - 1) {
        snprintf(reason, sizeof reason, "%s: %s", path, strerror(n < 0 ? errno : EFBIG));
        fail(reason);
    }
    close(fd);
    text[n] = 0;
}

/* The password is in memory now: no core, nobody's eyes, and a hostile controller finds nobody, who writes little. */
static void give_up_privileges(void)
{
    const struct rlimit none = {0, 0}, little = {OUTPUT_MAX, OUTPUT_MAX};
    setrlimit(RLIMIT_CORE, &none);
    setrlimit(RLIMIT_FSIZE, &little);
    prctl(PR_SET_DUMPABLE, 0);
    if (geteuid() == 0) {
        const struct passwd *user = getpwnam("nobody");
        if (!user || setgroups(0, NULL) || setresgid(user->pw_gid, user->pw_gid, user->pw_gid) ||
            setresuid(user->pw_uid, user->pw_uid, user->pw_uid))
            fail("the user nobody cannot be taken on");
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        fail("privileges cannot be given up");
}

/* The password at descriptor 3, in a pipe that is nobody's, so that it can be opened as /dev/fd/3, too. */
static void hand_over(char *password, size_t len)
{
    int ends[2];
    if (pipe(ends) || write(ends[1], password, len) != (ssize_t)len || (ends[0] != 3 && dup2(ends[0], 3) < 0))
        fail("the password cannot be handed over");
    explicit_bzero(password, len);
    for (int fd = ends[1]; fd > 3; fd--)
        close(fd);
}

static _Noreturn void run_program(const json_t *way)
{
    const json_t *words = json_object_get(way, "program");
    const char *password_file = member_text(way, "password_file");
    char *argv[WORDS_MAX + 1], password[PASSWORD_MAX] = "", text[ERR_TEXT_MAX];
    size_t count = json_array_size(words);
    if (count > WORDS_MAX)
        fail("the program has more than 64 words");
    for (size_t i = 0; i < count; i++)
        argv[i] = (char *)(uintptr_t)json_string_value(json_array_get(words, i));
    argv[count] = NULL;
    if (*password_file)
        read_whole(password_file, password, sizeof password);
    give_up_privileges();
    if (*password_file)
        hand_over(password, strlen(password));
    execv(argv[0], argv);
    snprintf(text, sizeof text, "%s: %s", argv[0], strerror(errno));
    fail(text);
}

static bool ask_controller(const json_t *way)
{
    static char ca[CA_MAX];
    char password[PASSWORD_MAX];
    struct err err = {0};
    bool off = false;
    const char *ca_file = member_text(way, "ca");
    read_whole(member_text(way, "password_file"), password, sizeof password);
    password[strcspn(password, "\r\n")] = 0;
    if (*ca_file)
        read_whole(ca_file, ca, sizeof ca);
    give_up_privileges();
    int rc = power_redfish_ask(way, *ca_file ? ca : NULL, password, &off, &err);
    explicit_bzero(password, sizeof password);
    if (rc)
        fail(err.text);
    return off;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        options,
        parse,
        "NODE",
        "Whether a node has power, without asking the node: by its management controller, or "
        "by a program.",
        NULL,
        NULL,
        NULL};
    struct line line = {.file = POWER_FILE};
    struct err err = {0};
    char text[ERR_TEXT_MAX + 64];
    argp_parse(&argp, argc, argv, 0, NULL, &line);
    json_t *ways = power_file_load(line.file, &err);
    if (!ways)
        fail(err.text);
    const json_t *way = json_object_get(ways, line.node);
    if (!way) {
        snprintf(text, sizeof text, "%s says nothing of '%s'", line.file, line.node);
        fail(text);
    }
    if (!strcmp(power_file_kind(way), "program"))
        run_program(way);
    puts(ask_controller(way) ? "off" : "on");
    fflush(stdout);
    _exit(EXIT_SUCCESS); /* nobody may trace us any more, which a search for leaks at exit would have to */
}
