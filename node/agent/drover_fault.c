/* drover-fault: one fault of a drill, put into the node that it runs on, and taken out again. A process of its own and
 * in a control group of its own, because it must live when the agent and everything else of the node does not.
 *
 *     configuration (fault_config.h) --> cut, kill, stall --wait--> heal --> droverd again, if nobody else starts it
 *                                                          | until its time is over (CLOCK_BOOTTIME), SIGTERM,
 *                                                          | or a datagram "end KEY" at FAULT_PORT
 *
 * It heals without a word of anybody. If it is killed itself: the cut is forgotten by the kernel in time (fault_cut.h),
 * a hold says until when it holds (fault_hold.h), and who was stopped is let go on by a child that waits for our end.
 *
 * Exit code 0: the fault was there, and is healed. Standard error: what was done, or why not. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "node/agent/fault_config.h"
#include "node/agent/fault_cut.h"
#include "node/agent/fault_hold.h"
#include "node/agent/fault_kill.h"
#include "node/base/clock.h"
#include "node/base/err.h"
#include "node/base/log.h"

enum { CONFIG_FD = 3, CONFIG_MAX = 64 << 10, DATAGRAM_MAX = 256, AGAIN_MS = 50, STALL_PAUSE_MS = 20 };

struct fault {
    struct fault_config config;
    uint64_t end_ns;         /* CLOCK_BOOTTIME */
    int udp, signals, guard; /* guard: its child lets go on who was stopped when this end is closed */
    const char *why;         /* it ended */
};

static int read_config(struct fault_config *c, struct err *err)
{
    static char text[CONFIG_MAX];
    size_t used = 0;
    ssize_t n;
    while (used < sizeof text && (n = read(CONFIG_FD, text + used, sizeof text - used)) > 0)
        used += (size_t)n;
    close(CONFIG_FD);
    return fault_config_read(c, json_loadb(text, used, JSON_REJECT_DUPLICATES, NULL), err);
}

/* ---- who may end it ---- */

static int listen_udp(const struct fault_config *c, struct err *err)
{
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)c->port)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)c->port)};
    bool is_six = inet_pton(AF_INET6, c->address, &six.sin6_addr) == 1;
    if (!is_six && inet_pton(AF_INET, c->address, &four.sin_addr) != 1)
        return err_set(err, EINVAL, "%s is no IP address", c->address);
    int fd = socket(is_six ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const void *address = is_six ? (const void *)&six : (const void *)&four;
    if (fd >= 0 && !bind(fd, address, is_six ? sizeof six : sizeof four))
        return fd;
    int error = errno;
    if (fd >= 0)
        close(fd);
    return err_set(err, error, "UDP port %u of %s cannot be had, so nobody could end the fault early: %s", c->port,
                   c->address, strerror(error));
}

static int take_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static bool is_told(struct fault *f)
{
    char said[DATAGRAM_MAX], right[DATAGRAM_MAX];
    struct signalfd_siginfo info;
    snprintf(right, sizeof right, "end %s", f->config.key);
    if (read(f->signals, &info, sizeof info) > 0) {
        f->why = "a signal";
        return true;
    }
    for (ssize_t n; (n = recv(f->udp, said, sizeof said - 1, 0)) >= 0;) {
        said[n] = 0;
        if (!strcmp(said, right)) {
            f->why = "somebody ended the drill";
            return true;
        }
    }
    return false;
}

/* False: it is over. */
static bool wait_ms(struct fault *f, uint64_t ms)
{
    struct pollfd p[2] = {{.fd = f->udp, .events = POLLIN}, {.fd = f->signals, .events = POLLIN}};
    uint64_t now = clock_boot_ns();
    if (now >= f->end_ns) {
        f->why = "its time is over";
        return false;
    }
    uint64_t left = (f->end_ns - now) / 1000000 + 1;
    poll(p, 2, (int)(left < ms ? left : ms));
    return !is_told(f);
}

/* ---- the fault ---- */

/* A child that does nothing but wait for our end, whatever that is, and then lets everybody go on. */
static int begin_guard(struct fault *f, struct err *err)
{
    int ends[2];
    char byte;
    if (pipe2(ends, O_CLOEXEC))
        return err_set(err, errno, "no pipe can be had: %s", strerror(errno));
    pid_t child = fork();
    if (child < 0)
        return err_set(err, errno, "no process can be had: %s", strerror(errno));
    if (!child) {
        close(ends[1]);
        close(f->udp);
        while (read(ends[0], &byte, 1) < 0 && errno == EINTR)
            continue;
        fault_kill_group(&f->config, f->config.group, SIGCONT);
        _exit(EXIT_SUCCESS);
    }
    close(ends[0]);
    f->guard = ends[1];
    return 0;
}

static int begin(struct fault *f, struct err *err)
{
    const struct fault_config *c = &f->config;
    int rc = f->config.stall_ms ? begin_guard(f, err) : 0;
    f->end_ns = clock_boot_ns() + c->for_ms * 1000000;
    if (!rc && *c->hold)
        rc = fault_hold_write(c->hold, f->end_ns, err);
    if (!rc)
        rc = fault_cut_begin(c, err); /* before anybody dies: nobody outside is to see connections end */
    if (rc) {
        fault_hold_remove(c->hold);
        return rc;
    }
    log_warn("drill %s: cut %s, kill %s, for %llu ms", c->drill, fault_cut_name(c->cut), fault_kill_name(c->kill),
             (unsigned long long)c->for_ms);
    if (c->kill == FAULT_KILL_AGENT)
        fault_kill_agent(c);
    else if (c->kill == FAULT_KILL_NODE)
        fault_kill_node(c);
    return 0;
}

static void last(struct fault *f)
{
    const struct fault_config *c = &f->config;
    bool on = true;
    while (on && c->stall_ms) { /* what the server is asked for takes so long, most of the time */
        fault_kill_group(c, c->group, SIGSTOP);
        on = wait_ms(f, c->stall_ms);
        fault_kill_group(c, c->group, SIGCONT);
        on = on && wait_ms(f, STALL_PAUSE_MS);
    }
    while (on && c->kill == FAULT_KILL_GROUP) { /* also those that are started again meanwhile */
        fault_kill_group(c, c->group, SIGKILL);
        on = wait_ms(f, AGAIN_MS);
    }
    while (on)
        on = wait_ms(f, FAULT_MS_MAX);
}

/* ---- healing ---- */

/* Out of the drill's group: what becomes of us is the agent. */
static void leave_group(const struct fault_config *c)
{
    size_t i;
    json_t *text;
    json_array_foreach (json_object_get(c->json, "groups"), i, text) {
        char path[FAULT_HOLD_PATH_MAX];
        const char *top = json_string_value(text), *slash = strrchr(top, '/');
        snprintf(path, sizeof path, "%.*s/cgroup.procs", (int)(slash ? slash - top : 0), top);
        FILE *f = fopen(path, "we");
        if (f) {
            fprintf(f, "%d\n", (int)getpid());
            fclose(f);
        }
    }
}

static void heal(struct fault *f)
{
    const struct fault_config *c = &f->config;
    const json_t *restart = json_object_get(c->json, "restart");
    char *argv[FAULT_ARGV_MAX + 1] = {NULL};
    struct err err = {0};
    sigset_t none;
    if (fault_cut_end(&err))
        log_error("drill %s: the cut is not taken away, the kernel forgets it in time: %s", c->drill, err.text);
    bool is_waited_for = *c->hold && fault_hold_is_waited_for(c->hold);
    if (*c->hold)
        fault_hold_remove(c->hold);
    log_warn("drill %s: healed, because %s", c->drill, f->why);
    if (is_waited_for || !json_array_size(restart))
        return;
    for (size_t i = 0; i < json_array_size(restart); i++)
        argv[i] = (char *)(uintptr_t)json_string_value(json_array_get(restart, i));
    close(f->udp);
    close(f->signals);
    leave_group(c);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv(argv[0], argv);
    log_error("drill %s: %s cannot be started again: %s", c->drill, argv[0], strerror(errno));
}

int main(void)
{
    struct fault f = {.udp = -1, .signals = -1, .guard = -1, .why = "?"};
    struct err err = {0};
    log_init("drover-fault", LOG_LEVEL_INFO);
    int rc = read_config(&f.config, &err);
    if (!rc) {
        f.signals = take_signals();
        f.udp = listen_udp(&f.config, &err);
        rc = f.udp < 0 ? f.udp : begin(&f, &err);
        if (!rc) {
            last(&f);
            heal(&f);
        }
        fault_config_fini(&f.config);
    }
    if (rc)
        log_error("%s", err.text);
    return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}
