#include "node/agent/export_unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "node/agent/process.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"

enum { ID_MAX = 64, ANSWER_MS = 20, ANSWER_TRIES = 500, WAIT_MS = 1000, PORT_TRIES = 10, TASKS = 64 };

struct export_unit {
    struct export_place *place;
    char id[ID_MAX], path[PATH_MAX], uri[256], candidate[256], known_uri[256];
    bool wanted, freed;
    enum export_mode mode;
    bool looked;   /* for a server that another agent started */
    bool renewing; /* the server ends because the next one is to read new certificates */
    unsigned tries, port_tries;
    void (*changed)(void *context);
    void *context;
    struct process process;
    struct loop_timer timer;
    LIST_ENTRY(export_unit) link;
};

static void set_timer(struct export_unit *u, uint64_t ms)
{
    loop_timer_set(u->place->loop, &u->timer, clock_ns() + ms * 1000000);
}

static void set_uri(struct export_unit *u, const char *uri)
{
    if (!strcmp(u->uri, uri))
        return;
    snprintf(u->uri, sizeof u->uri, "%s", uri);
    if (!u->freed)
        u->changed(u->context);
}

/* ---- the server's unix socket ---- */

/* The pid of whoever listens there; 0: nobody. */
static pid_t listener(const struct export_unit *u)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int n = snprintf(address.sun_path, sizeof address.sun_path, "%s/%s.nbd", u->place->directory, u->id);
    int fd = n < (int)sizeof address.sun_path ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
    struct ucred peer = {0};
    socklen_t len = sizeof peer;
    if (fd >= 0 && (connect(fd, (const struct sockaddr *)&address, sizeof address) ||
                    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len)))
        peer.pid = 0;
    if (fd >= 0)
        close(fd);
    return peer.pid;
}

/* ---- start ---- */

/* The port of "nbds://10.0.0.1:40001/ID"; 0: there is none. */
static int port_of(const char *uri)
{
    const char *colon = strrchr(uri, ':');
    return colon ? atoi(colon + 1) : 0;
}

/* That port if it is free, or any that is (0). Whoever takes it in between makes the server fail, and the next one is
 * tried. */
static int free_port(const char *text, int port)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int on = 1;
    bool is_six = inet_pton(AF_INET6, text, &six.sin6_addr) == 1;
    if (!is_six && inet_pton(AF_INET, text, &four.sin_addr) != 1)
        return -EINVAL;
    int fd = socket(is_six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr *address = is_six ? (struct sockaddr *)&six : (struct sockaddr *)&four;
    socklen_t len = is_six ? sizeof six : sizeof four;
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on); /* connections of the last server may linger */
    int rc = fd < 0 || bind(fd, address, len) || getsockname(fd, address, &len) ? -errno : 0;
    if (fd >= 0)
        close(fd);
    return rc ? rc : ntohs(is_six ? six.sin6_port : four.sin_port);
}

static int log_file(const struct export_unit *u)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s.log", u->place->directory, u->id);
    return open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
}

/* ID=STACK, as drover-nbd takes it; the caller's to free. NULL: out of memory. */
static char *export_text(const struct export_unit *u)
{
    char *text = NULL;
    json_t *stack =
        json_pack("[{s:s, s:s, s:b}]", "driver", "raw", "file", u->path, "lock-late", u->mode == EXPORT_LATE);
    if (u->mode == EXPORT_FENCED)
        json_array_insert_new(stack, 0, json_pack("{s:s}", "driver", "fence"));
    char *layers = json_dumps(stack, JSON_COMPACT);
    if (!layers || asprintf(&text, "%s=%s", u->id, layers) < 0)
        text = NULL;
    free(layers);
    json_decref(stack);
    return text;
}

static int start(struct export_unit *u, struct err *err)
{
    char host[64], local[PATH_MAX + 8], tcp[128];
    const char *tls = u->place->tls;
    int port = free_port(u->place->address, port_of(*u->candidate ? u->candidate : u->known_uri));
    if (port == -EADDRINUSE && ++u->port_tries < PORT_TRIES)
        return err_set(err, EADDRINUSE, "its port is in use still");
    if (port < 0) /* somebody else has it: who is connected to the old one is lost */
        port = free_port(u->place->address, 0);
    if (port < 0)
        return err_set(err, -port, "no port can be had at %s: %s", u->place->address, strerror(-port));
    snprintf(host, sizeof host, strchr(u->place->address, ':') ? "[%s]" : "%s", u->place->address);
    snprintf(local, sizeof local, "unix:%s/%s.nbd", u->place->directory, u->id);
    snprintf(tcp, sizeof tcp, "tcp:%s:%d", host, port);
    snprintf(u->candidate, sizeof u->candidate, "%s://%s:%d/%s", tls ? "nbds" : "nbd", host, port, u->id);
    const char *argv[16] = {"drover-nbd", "--listen", local, "--listen", tcp};
    unsigned n = 5;
    if (tls) {
        argv[n++] = "--tls";
        argv[n++] = "require";
        argv[n++] = "--tls-x509";
        argv[n++] = tls;
    }
    if (u->mode == EXPORT_READ_ONLY)
        argv[n++] = "--read-only";
    char *export = export_text(u);
    if (!export)
        return err_set(err, ENOMEM, "out of memory");
    argv[n++] = "--export";
    argv[n++] = export;
    if (u->mode == EXPORT_FENCED)
        argv[n++] = "--resize"; /* a member: by the volume's owner */
    int output = log_file(u);
    struct process_start s = {.program = u->place->program, .argv = (char *const *)(uintptr_t)argv, .output = output};
    int rc = process_start(&u->process, &s, err);
    free(export);
    if (output >= 0)
        close(output);
    if (rc)
        return rc;
    if (cgroup_set(u->place->cgroups, u->id, &(struct cgroup_limits){.tasks = TASKS}, err) ||
        cgroup_add(u->place->cgroups, u->id, u->process.pid, err))
        log_warn("export %s: %s", u->id, err->text);
    u->tries = u->port_tries = 0;
    set_timer(u, ANSWER_MS);
    return 0;
}

static void start_or_wait(struct export_unit *u)
{
    struct err err = {0};
    if (!start(u, &err))
        return;
    log_warn("export %s: %s", u->id, err.text);
    set_timer(u, WAIT_MS);
}

static void timer_fired(struct loop_timer *timer)
{
    struct export_unit *u = CONTAINER_OF(timer, struct export_unit, timer);
    if (!u->process.pid)
        start_or_wait(u);
    else if (listener(u) == u->process.pid)
        set_uri(u, u->candidate);
    else if (++u->tries < ANSWER_TRIES)
        set_timer(u, ANSWER_MS);
    else
        process_signal(&u->process, SIGKILL);
}

/* ---- end ---- */

static void free_if_idle(struct export_unit *u)
{
    if (u->freed && process_idle(&u->process))
        free(u);
}

static void released(struct process *process)
{
    free_if_idle(CONTAINER_OF(process, struct export_unit, process));
}

static void remove_traces(const struct export_unit *u)
{
    static const char *const suffixes[] = {"nbd", "log"};
    char path[PATH_MAX];
    cgroup_remove(u->place->cgroups, u->id, NULL);
    for (unsigned i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s.%s", u->place->directory, u->id, suffixes[i]);
        unlink(path);
    }
}

static void ended(struct process *process, int status)
{
    struct export_unit *u = CONTAINER_OF(process, struct export_unit, process);
    char how[64];
    if (!u->wanted) {
        remove_traces(u);
        free_if_idle(u);
        return;
    }
    if (u->renewing) { /* who asks there waits for the moment that this takes */
        u->renewing = false;
        start_or_wait(u);
        return;
    }
    log_warn("export %s: its server %s, see %s/%s.log", u->id, process_describe(status, how, sizeof how),
             u->place->directory, u->id);
    set_timer(u, WAIT_MS);
    set_uri(u, "");
}

/* ---- what is wanted ---- */

static void adopt(struct export_unit *u)
{
    struct err err;
    pid_t pid = listener(u);
    u->looked = true;
    if (!pid || process_adopt(&u->process, pid, process_start_ticks(pid), &err))
        return;
    if (u->wanted && *u->known_uri)
        set_uri(u, u->known_uri);
    else
        process_signal(&u->process, SIGTERM); /* if it is wanted, nobody knows its port: ended() starts another one */
}

void export_unit_want(struct export_unit *u, const char *path, enum export_mode mode)
{
    bool was_wanted = u->wanted;
    u->wanted = path;
    u->mode = mode;
    if (path)
        snprintf(u->path, sizeof u->path, "%s", path);
    if (!u->looked)
        adopt(u);
    else if (u->wanted == was_wanted)
        return;
    if (!u->wanted) {
        loop_timer_clear(u->place->loop, &u->timer);
        process_signal(&u->process, SIGTERM);
        set_uri(u, "");
    } else if (!u->process.pid) {
        start_or_wait(u);
    }
}

void export_place_renewed(struct export_place *place)
{
    struct export_unit *u;
    if (!place->tls)
        return;
    LIST_FOREACH (u, &place->units, link)
        if (u->wanted && u->process.pid) {
            u->renewing = true;
            process_signal(&u->process, SIGTERM);
        }
}

/* ---- life ---- */

struct export_unit *export_unit_new(struct export_place *place, const char *id, const char *known_uri,
                                    void (*changed)(void *context), void *context)
{
    struct export_unit *u = calloc(1, sizeof *u);
    if (!u)
        return NULL;
    u->place = place;
    snprintf(u->id, sizeof u->id, "%s", id);
    snprintf(u->known_uri, sizeof u->known_uri, "%s", known_uri);
    u->changed = changed;
    u->context = context;
    u->timer.fire = timer_fired;
    process_init(&u->process, place->loop, ended);
    u->process.released = released;
    LIST_INSERT_HEAD(&place->units, u, link);
    return u;
}

void export_unit_free(struct export_unit *u)
{
    if (!u)
        return;
    loop_timer_clear(u->place->loop, &u->timer);
    LIST_REMOVE(u, link);
    u->freed = true;
    if (u->wanted)
        process_forget(&u->process);
    free_if_idle(u);
}

const char *export_unit_uri(const struct export_unit *u)
{
    return u->uri;
}

void export_source(const char *uri, const char *tls, char *text, size_t room)
{
    if (*uri && tls)
        snprintf(text, room, "%s?tls-certificates=%s", uri, tls);
    else
        snprintf(text, room, "%s", uri);
}
