#include "node/agent/probe.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "node/base/clock.h"

enum { ASK_MS = 500, PATIENCE_MS = 1500, FRESH_MS = 3000, PAUSE_MS = 1000 };

struct server {
    char name[PROBE_SERVER_MAX]; /* "": free */
    int fd;                      /* on its way; -1: none */
    bool wanted, marked, answered;
    uint64_t asked_ms, answered_ms, heard_ms;
};

struct probe {
    uint64_t round_ms; /* the last one */
    struct server servers[PROBES_MAX];
};

static struct server *find(const struct probe *p, const char *name)
{
    for (unsigned i = 0; i < PROBES_MAX; i++)
        if (!strcmp(p->servers[i].name, name))
            return (struct server *)(uintptr_t)&p->servers[i];
    return NULL;
}

/* ---- one connection ---- */

static int connect_to(const char *name)
{
    char host[PROBE_SERVER_MAX];
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    snprintf(host, sizeof host, "%s", *name == '[' ? name + 1 : name);
    char *port = strrchr(host, ':');
    if (!port || port == host)
        return -1;
    port[port[-1] == ']' ? -1 : 0] = 0;
    if (getaddrinfo(host, port + 1, &hints, &found))
        return -1;
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) && errno != EINPROGRESS) {
        close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    return fd;
}

/* error: of the connection, 0: it was made. */
static void end(struct server *s, int error, uint64_t now)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    s->answered = !error;
    s->answered_ms = now;
    if (!error || error == ECONNREFUSED || error == ECONNRESET)
        s->heard_ms = now;
}

static void look(struct server *s, uint64_t now)
{
    struct pollfd p = {.fd = s->fd, .events = POLLOUT};
    int error = 0;
    socklen_t len = sizeof error;
    if (poll(&p, 1, 0) > 0)
        end(s, getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len) ? errno : error, now);
    else if (now - s->asked_ms >= PATIENCE_MS)
        end(s, ETIMEDOUT, now);
}

static void ask(struct server *s, uint64_t now)
{
    s->asked_ms = now;
    s->fd = connect_to(s->name);
    if (s->fd < 0)
        end(s, EHOSTUNREACH, now);
    else
        look(s, now);
}

/* ---- all of them ---- */

void probe_begin(struct probe *p)
{
    for (unsigned i = 0; i < PROBES_MAX; i++)
        p->servers[i].wanted = p->servers[i].marked = false;
}

void probe_want(struct probe *p, const char *name, bool mark)
{
    if (!*name || strlen(name) >= PROBE_SERVER_MAX)
        return;
    struct server *s = find(p, name);
    if (!s && (s = find(p, ""))) {
        *s = (struct server){.fd = -1, .heard_ms = clock_ms()};
        snprintf(s->name, sizeof s->name, "%s", name);
    }
    if (!s)
        return;
    s->wanted = true;
    s->marked |= mark;
}

void probe_end(struct probe *p)
{
    uint64_t now = clock_ms();
    bool paused = now - p->round_ms >= PAUSE_MS; /* this process stood, and nobody was asked */
    p->round_ms = now;
    for (unsigned i = 0; i < PROBES_MAX; i++) {
        struct server *s = &p->servers[i];
        if (!*s->name)
            continue;
        if (paused)
            s->heard_ms = now;
        if (s->fd >= 0)
            look(s, now);
        else if (s->wanted && now - s->asked_ms >= ASK_MS)
            ask(s, now);
        if (!s->wanted) {
            end(s, ECANCELED, now);
            *s->name = 0;
        }
    }
}

static bool answers(const struct server *s)
{
    return s->answered && clock_ms() - s->answered_ms < FRESH_MS;
}

bool probe_answers(const struct probe *p, const char *name)
{
    const struct server *s = *name ? find(p, name) : NULL;
    return s && answers(s);
}

uint64_t probe_silent_ms(const struct probe *p, const char *name)
{
    const struct server *s = *name ? find(p, name) : NULL;
    uint64_t now = clock_ms();
    return s && now - p->round_ms < PAUSE_MS ? now - s->heard_ms : 0;
}

const char *probe_next_marked(const struct probe *p, unsigned *at)
{
    while (*at < PROBES_MAX) {
        const struct server *s = &p->servers[(*at)++];
        if (*s->name && s->marked && answers(s))
            return s->name;
    }
    return NULL;
}

struct probe *probe_new(void)
{
    struct probe *p = calloc(1, sizeof *p);
    for (unsigned i = 0; p && i < PROBES_MAX; i++)
        p->servers[i].fd = -1;
    return p;
}

void probe_free(struct probe *p)
{
    for (unsigned i = 0; p && i < PROBES_MAX; i++)
        if (p->servers[i].fd >= 0)
            close(p->servers[i].fd);
    free(p);
}
