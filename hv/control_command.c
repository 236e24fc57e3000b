/* See control_command.h. Files are opened here, with the user's rights, and handed to the guest, which could not open
 * any. */
#include "hv/control_command.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "hv/control.h"
#include "hv/guest_arguments.h"
#include "hv/guest_config.h"
#include "hv/migrate_command.h"
#include "hv/stack_files.h"
#include "hv/tap.h"
#include "nbd/blk_driver.h"
#include "node/base/err.h"
#include "node/base/units.h"
#include "node/base/whole_file.h"
#include "replication/volume.h"

struct command {
    const char *name;
    enum control_type type;
    const char *arguments, *help;
    unsigned arguments_min, arguments_max;
};

static const struct command commands[] = {
    {"status", CONTROL_STATUS, "", "what it is and what it does now", 0, 0},
    {"stats", CONTROL_STATS, "", "counters of vCPUs, disks, networks and memory", 0, 0},
    {"pause", CONTROL_PAUSE, "", "its vCPUs stop, its time stands still", 0, 0},
    {"resume", CONTROL_RESUME, "", "it goes on", 0, 0},
    {"powerdown", CONTROL_POWERDOWN, "", "press the power button: the guest shuts down if it wants to", 0, 0},
    {"reset", CONTROL_RESET, "", "press the reset button", 0, 0},
    {"stop", CONTROL_STOP, "", "end the process at once", 0, 0},
    {"save", CONTROL_SAVE, "FILE", "write the guest to a new file; it is paused then. `run --load FILE` goes on", 1, 1},
    {"balloon", CONTROL_BALLOON, "SIZE", "how much memory the guest should keep", 1, 1},
    {"resize", CONTROL_RESIZE, "DISK SIZE", "make a disk (0, 1, ...) larger; its image must allow it", 2, 2},
    {"disk-add", CONTROL_DISK_ADD, "STACK [serial=TEXT] [read-only=true] [queues=N] [slot=N]",
     "a disk more; files of its stack are opened here", 1, 5},
    {"disk-remove", CONTROL_DISK_REMOVE, "DISK", "ask the guest to let a disk go; `watch` says when it has", 1, 1},
    {"net-add", CONTROL_NET_ADD, "tap=NAME|fd=N,mac=ADDRESS[,mtu=N][,queues=N]", "a network more, opened here", 1, 1},
    {"net-remove", CONTROL_NET_REMOVE, "NET", "ask the guest to let a network go", 1, 1},
    {"volume-attach", CONTROL_VOLUME, "DISK MEMBER STACK",
     "a member of a volume is there (again), or another in its place; -1: its witness. Nothing of it is opened here", 3,
     3},
    {"volume-scrub", CONTROL_VOLUME, "DISK", "compare all copies and checksums of a volume, and repair", 1, 1},
    {"volume-rate", CONTROL_VOLUME, "DISK SIZE", "how many bytes a second members are filled with; 0: no limit", 2, 2},
    {"migrate", CONTROL_MIGRATE,
     "tcp:HOST:PORT|unix:PATH --key-file FILE [--max-downtime 100ms] [--within 60s] [--bandwidth SIZE] [--streams N] "
     "[--hold] "
     "[--no-throttle] [--patience 10s] [--post-copy]",
     "move it, while it runs, to the process that listens there (`run --incoming`) and has the same 32 bytes of key; "
     "--post-copy: where it would be given up, the guest goes first and its last pages follow",
     3, 17},
    {"forecast", CONTROL_FORECAST,
     "[--max-downtime 100ms] [--within 60s] [--bandwidth SIZE] [--no-throttle] [--look 200ms] "
     "[--connect 40ms] [--switch 6ms] [--post-copy]",
     "what a migration would cost, and whether it could be as wished, with what earlier ones have shown of the link; "
     "looks at what the guest writes",
     0, 14},
    {"migration", CONTROL_MIGRATION, "", "how far the last migration is, or what became of it", 0, 0},
    {"migrate-go", CONTROL_MIGRATE_GO, "", "--hold, at \"ready\": the guest is the destination's, this process ends", 0,
     0},
    {"migrate-resume", CONTROL_MIGRATE_RESUME, "tcp:HOST:PORT|unix:PATH [--streams N]",
     "in the middle of post-copy, when the link broke: connect anew, and go on", 1, 3},
    {"migrate-cancel", CONTROL_MIGRATE_CANCEL, "", "the guest stays here", 0, 0},
    {"incoming-go", CONTROL_INCOMING_GO, "", "--hold, at \"ready\", asked of the destination: the guest runs there", 0,
     0},
    {"watch", CONTROL_WATCH, "", "print an event per line until the guest ends", 0, 0},
    {"console", CONTROL_CONSOLE, "", "talk to its serial port; Ctrl-A x leaves", 0, 0},
    {"gdb", CONTROL_GDB, "", "for a debugger: in GDB, target remote | drover-guest ctl unix:PATH gdb", 0, 0},
};
enum { COMMAND_COUNT = sizeof commands / sizeof *commands, ESCAPE = 1 };

static void usage(FILE *out)
{
    fprintf(out, "Usage: drover-guest ctl unix:PATH COMMAND [ARGUMENT...]\nAsk something of a running guest.\n\n");
    for (unsigned i = 0; i < COMMAND_COUNT; i++)
        fprintf(out, "  %s%s%s\n        %s\n", commands[i].name, *commands[i].arguments ? " " : "",
                commands[i].arguments, commands[i].help);
    fprintf(out, "\nAnswers are JSON. Exit codes: 0 done, 1 refused or not there, 2 a bad command line.\n");
}

__attribute__((format(printf, 1, 2))) static int bad_usage(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "drover-guest ctl: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    return 2;
}

static const struct command *find(const char *name)
{
    for (unsigned i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

/* ---- what goes along ---- */

static int add_size(json_t *body, const char *text)
{
    uint64_t bytes;
    struct err err;
    if (units_parse_size(text, &bytes, &err))
        return bad_usage("%s", err.text);
    json_object_set_new(body, "bytes", json_integer((json_int_t)bytes));
    return 0;
}

static int add_number(json_t *body, const char *key, const char *command, const char *text)
{
    char *end;
    long n = strtol(text, &end, 10);
    if (*end || !*text || n < 0)
        return bad_usage("%s: '%s' is no %s: write its number, 0 for the first", command, text, key);
    json_object_set_new(body, key, json_integer(n));
    return 0;
}

static int failed(const char *command, const struct err *err)
{
    fprintf(stderr, "drover-guest ctl: %s: %s\n", command, err->text);
    return 1;
}

/* serial=TEXT and such, as in "disks". */
static int add_disk_option(json_t *body, const char *text)
{
    const char *value = strchr(text, '=');
    char key[32];
    if (!value || value == text || value - text >= (long)sizeof key)
        return bad_usage("disk-add: '%s': write KEY=VALUE, as in serial=data", text);
    snprintf(key, sizeof key, "%.*s", (int)(value++ - text), text);
    if (strcmp(key, "queues") == 0 || strcmp(key, "slot") == 0)
        return add_number(body, key, "disk-add", value);
    bool is_truth = strcmp(key, "read-only") == 0;
    if (is_truth && strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
        return bad_usage("disk-add: %s: write true or false", key);
    json_object_set_new(body, key, is_truth ? json_boolean(strcmp(value, "true") == 0) : json_string(value));
    return 0;
}

static int prepare_disk(char **arguments, struct message *m, json_t *body)
{
    struct err err;
    json_t *layers;
    blk_drivers_register();
    replication_drivers_register();
    if (blk_stack_parse(arguments[0], &layers, &err))
        return failed("disk-add", &err);
    json_object_set_new(body, "stack", layers);
    int rc = 0;
    for (char **a = arguments + 1; !rc && *a; a++)
        rc = add_disk_option(body, *a);
    if (!rc && stack_files_open(layers, json_is_true(json_object_get(body, "read-only")), m->fds, MESSAGE_FDS_MAX,
                                &m->fd_count, &err))
        rc = failed("disk-add", &err);
    return rc;
}

static int prepare_volume(const struct command *c, char **arguments, json_t *body)
{
    struct err err;
    json_t *layers;
    const char *verb = strchr(c->name, '-') + 1;
    json_object_set_new(body, "verb", json_string(verb));
    int rc = add_number(body, "disk", c->name, arguments[0]);
    if (!rc && !strcmp(verb, "rate"))
        return add_size(body, arguments[1]);
    if (rc || strcmp(verb, "attach") != 0)
        return rc;
    if (!strcmp(arguments[1], "-1"))
        json_object_set_new(body, "member", json_integer(-1));
    else if ((rc = add_number(body, "member", c->name, arguments[1])))
        return rc;
    blk_drivers_register();
    if (blk_stack_parse(arguments[2], &layers, &err))
        return failed(c->name, &err);
    json_object_set_new(body, "stack", layers);
    return 0;
}

static int prepare_net(const char *text, struct message *m, json_t *body)
{
    struct err err;
    struct guest_net net;
    json_t *object = guest_net_parse(text, &err);
    if (!object || guest_net_from_json(&net, object, &err)) {
        json_decref(object);
        return bad_usage("net-add: %s", err.text);
    }
    json_object_update(body, object);
    json_decref(object);
    int rc = 0;
    if (net.tap)
        rc = tap_open(net.tap, net.queues, m->fds, &err);
    else if ((m->fds[0] = fcntl((int)net.fd, F_DUPFD_CLOEXEC, 3)) < 0)
        rc = err_set(&err, errno, "fd %u: %s", net.fd, strerror(errno));
    if (!rc)
        m->fd_count = net.queues;
    guest_net_fini(&net);
    return rc ? failed("net-add", &err) : 0;
}

static int prepare_save(const char *path, struct message *m)
{
    m->fds[0] = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (m->fds[0] < 0) {
        fprintf(stderr, "drover-guest ctl: cannot create %s: %s\n", path, strerror(errno));
        return 1;
    }
    m->fd_count = 1;
    return 0;
}

static int prepare(const struct command *c, char **arguments, struct message *m, json_t *body)
{
    int rc;
    switch (c->type) {
    case CONTROL_BALLOON:
        return add_size(body, arguments[0]);
    case CONTROL_RESIZE:
        rc = add_number(body, "disk", c->name, arguments[0]);
        return rc ? rc : add_size(body, arguments[1]);
    case CONTROL_SAVE:
        return prepare_save(arguments[0], m);
    case CONTROL_VOLUME:
        return prepare_volume(c, arguments, body);
    case CONTROL_DISK_ADD:
        return prepare_disk(arguments, m, body);
    case CONTROL_NET_ADD:
        return prepare_net(arguments[0], m, body);
    case CONTROL_MIGRATE:
        return migrate_command_prepare(arguments, m, body);
    case CONTROL_MIGRATE_RESUME:
        return migrate_command_resume(arguments, m);
    case CONTROL_FORECAST:
        return migrate_command_forecast(arguments, body);
    case CONTROL_DISK_REMOVE:
        return add_number(body, "disk", c->name, arguments[0]);
    case CONTROL_NET_REMOVE:
        return add_number(body, "net", c->name, arguments[0]);
    default:
        return 0;
    }
}

/* ---- the console ---- */

/* Bytes one way; false at the end, or when Ctrl-A x was typed. */
static bool pass_on(int from, int to, bool escapes, bool *escape)
{
    char bytes[4096], kept[4096];
    ssize_t n = read(from, bytes, sizeof bytes);
    size_t count = 0;
    if (n <= 0)
        return false;
    for (ssize_t i = 0; i < n; i++) {
        bool escaped = *escape;
        *escape = escapes && !escaped && bytes[i] == ESCAPE;
        if (escaped && bytes[i] == 'x')
            return false;
        if (!*escape)
            kept[count++] = bytes[i];
    }
    for (size_t at = 0; at < count;) {
        ssize_t done = write(to, kept + at, count - at);
        if (done <= 0)
            return false;
        at += (size_t)done;
    }
    return true;
}

/* Bytes both ways. one_sided: goes on listening when its input has ended. */
static void talk(int socket, bool one_sided)
{
    struct termios saved, raw;
    bool terminal = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &saved) == 0, escape = false, none = false;
    if (terminal) {
        raw = saved;
        cfmakeraw(&raw);
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    struct pollfd fds[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = socket, .events = POLLIN}};
    while (poll(fds, 2, -1) > 0) {
        if (fds[1].revents && !pass_on(socket, STDOUT_FILENO, false, &none))
            break;
        if (fds[0].revents && !pass_on(STDIN_FILENO, socket, terminal, &escape)) {
            if (terminal || !one_sided)
                break;
            fds[0].fd = -1; /* a script's input has ended; the answer may not have */
        }
    }
    if (terminal)
        tcsetattr(STDIN_FILENO, TCSANOW, &saved);
}

/* ---- asking ---- */

/* A watcher's answer is no event, and not printed among them. */
static int print_answer(const struct message *m, const struct command *c)
{
    json_t *body = json_loadb(m->body, m->body_bytes, 0, NULL);
    const char *text = json_string_value(json_object_get(body, "text"));
    int rc = 0;
    if (m->type == CONTROL_ERROR) {
        fprintf(stderr, "drover-guest ctl: %s: %s\n", c->name, text ? text : "refused");
        rc = 1;
    } else if (json_object_size(body) && c->type != CONTROL_WATCH) {
        json_dumpf(body, stdout, JSON_INDENT(2));
        printf("\n");
    }
    json_decref(body);
    return rc;
}

static int watch(int socket, struct message *m)
{
    struct err err;
    while (message_receive(socket, m, &err) == 0) {
        message_close_files(m);
        printf("%s\n", m->body);
        fflush(stdout);
    }
    return 0;
}

static int ask(int socket, const struct command *c, struct message *m)
{
    struct err err;
    int pair[2] = {-1, -1};
    bool talks = c->type == CONTROL_CONSOLE || c->type == CONTROL_GDB;
    if (talks) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
            return bad_usage("no socket: %s", strerror(errno));
        m->fds[m->fd_count++] = pair[1];
    }
    int rc = message_send(socket, m, &err);
    message_close_files(m);
    if (!rc)
        rc = message_receive(socket, m, &err);
    if (rc == -EPIPE && c->type == CONTROL_STOP)
        return 0; /* it was faster than its answer */
    if (rc)
        return failed(c->name, &err);
    message_close_files(m);
    rc = print_answer(m, c);
    if (!rc && c->type == CONTROL_WATCH)
        rc = watch(socket, m);
    if (!rc && talks)
        talk(pair[0], c->type == CONTROL_CONSOLE);
    return rc;
}

/* The guest has made sure of the file; what its directory calls it is ours to make sure of. */
static int keep_name(const char *path)
{
    int rc = whole_file_keep_name(path);
    if (rc)
        fprintf(stderr, "drover-guest ctl: save: cannot make sure of the name %s: %s\n", path, strerror(-rc));
    return rc ? 1 : 0;
}

int control_command(int argc, char **argv)
{
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-?") == 0)) {
        usage(stdout);
        return 0;
    }
    if (argc < 3) {
        usage(stderr);
        return 2;
    }
    const struct command *c = find(argv[2]);
    if (strncmp(argv[1], "unix:", 5) != 0)
        return bad_usage("'%s': say where the guest is, as in unix:/run/web1.sock", argv[1]);
    if (!c)
        return bad_usage("'%s' is not a command: see `drover-guest ctl --help`", argv[2]);
    if ((unsigned)argc - 3 < c->arguments_min || (unsigned)argc - 3 > c->arguments_max)
        return bad_usage("write: %s %s", c->name, c->arguments);
    struct err err;
    int socket;
    if (message_connect(argv[1] + 5, &socket, &err)) {
        fprintf(stderr, "drover-guest ctl: %s\n", err.text);
        return 1;
    }
    struct message *m = calloc(1, sizeof *m);
    json_t *body = json_object();
    int rc = m ? prepare(c, argv + 3, m, body) : 1;
    if (!rc) {
        m->type = (uint16_t)c->type;
        m->id = 1;
        m->body_bytes = json_dumpb(body, m->body, MESSAGE_BODY_MAX, JSON_COMPACT);
        rc = ask(socket, c, m);
        if (rc && c->type == CONTROL_SAVE)
            unlink(argv[3]); /* half a guest is no guest */
        else if (c->type == CONTROL_SAVE)
            rc = keep_name(argv[3]);
    }
    json_decref(body);
    free(m);
    close(socket);
    return rc;
}
