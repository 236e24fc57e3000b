#include "node/agent/member_probe.h"

#include <errno.h>
#include <jansson.h>
#include <netdb.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "node/agent/member.h"
#include "node/agent/mirror.h"
#include "node/agent/volume_member.h"
#include "node/base/clock.h"

enum { SERVER_MAX = 96, ASK_MS = 500, PATIENCE_MS = 1500, FRESH_MS = 3000 };

struct server {
    char name[SERVER_MAX]; /* HOST:PORT; "": free */
    int fd;                /* on its way; -1: none */
    bool wanted, answered;
    bool told; /* what it answers is for others */
    uint64_t asked_ms, answered_ms;
};

struct member_probe {
    const struct mirror *mirror;
    struct server servers[MEMBER_PROBES_MAX];
};

/* "nbds://10.0.0.1:40001/ID" -> "10.0.0.1:40001" */
static bool server_of(const char *uri, char name[SERVER_MAX])
{
    const char *at = strstr(uri, "://");
    size_t bytes = at ? strcspn(at + 3, "/") : 0;
    if (!bytes || bytes >= SERVER_MAX)
        return false;
    memcpy(name, at + 3, bytes);
    name[bytes] = 0;
    return true;
}

static struct server *find(struct member_probe *p, const char *name)
{
    for (unsigned i = 0; i < MEMBER_PROBES_MAX; i++)
        if (!strcmp(p->servers[i].name, name))
            return &p->servers[i];
    return NULL;
}

/* ---- one connection ---- */

static int connect_to(const char *name)
{
    char host[SERVER_MAX];
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

static void end(struct server *s, bool answered, uint64_t now)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    s->answered = answered;
    s->answered_ms = now;
}

static void look(struct server *s, uint64_t now)
{
    struct pollfd p = {.fd = s->fd, .events = POLLOUT};
    int error = 0;
    socklen_t len = sizeof error;
    if (poll(&p, 1, 0) > 0)
        end(s, !getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len) && !error, now);
    else if (now - s->asked_ms >= PATIENCE_MS)
        end(s, false, now);
}

static void ask(struct server *s, uint64_t now)
{
    s->asked_ms = now;
    s->fd = connect_to(s->name);
    if (s->fd < 0)
        end(s, false, now);
    else
        look(s, now);
}

/* ---- all of them ---- */

static void want(struct member_probe *p, const char *uri, bool told)
{
    char name[SERVER_MAX];
    if (!server_of(uri, name))
        return;
    struct server *s = find(p, name);
    if (!s && (s = find(p, ""))) {
        *s = (struct server){.fd = -1};
        snprintf(s->name, sizeof s->name, "%s", name);
    }
    if (!s)
        return;
    s->wanted = true;
    s->told |= told;
}

static void want_members(struct member_probe *p, const struct object *volume)
{
    struct layout l;
    if (!volume || !volume_layout(volume, &l))
        return;
    for (int i = WITNESS; i < (int)l.members; i++) {
        const struct object *member = volume_member_at(p->mirror, volume->id, i);
        if (member)
            want(p, member_text(member->state, "uri"), true);
    }
}

/* Of guests that their nodes cannot run. */
static void want_for_others(struct member_probe *p)
{
    const struct mirror *m = p->mirror;
    for (const struct object *g = mirror_next(m, OBJECT_GUEST, NULL); g; g = mirror_next(m, OBJECT_GUEST, g->name)) {
        const json_t *disks = json_object_get(g->state, "stuck") ? object_spec(g, "disks") : NULL;
        for (size_t i = 0; i < json_array_size(disks); i++)
            want_members(p, mirror_named(m, OBJECT_VOLUME, member_text(json_array_get(disks, i), "volume")));
    }
}

void member_probe_tick(struct member_probe *p)
{
    uint64_t now = clock_ms();
    for (unsigned i = 0; i < MEMBER_PROBES_MAX; i++)
        p->servers[i].wanted = p->servers[i].told = false;
    for (const struct object *o = mirror_next(p->mirror, OBJECT_MEMBER, NULL); o;
         o = mirror_next(p->mirror, OBJECT_MEMBER, o->name))
        if (!volume_member_is_up(p->mirror, o))
            want(p, member_text(o->state, "uri"), false);
    want_for_others(p);
    for (unsigned i = 0; i < MEMBER_PROBES_MAX; i++) {
        struct server *s = &p->servers[i];
        if (!*s->name)
            continue;
        if (s->fd >= 0)
            look(s, now);
        else if (s->wanted && now - s->asked_ms >= ASK_MS)
            ask(s, now);
        if (!s->wanted) {
            end(s, false, now);
            *s->name = 0;
        }
    }
}

static bool answers(const struct server *s)
{
    return s->answered && clock_ms() - s->answered_ms < FRESH_MS;
}

bool member_probe_answers(const struct member_probe *p, const char *uri)
{
    char name[SERVER_MAX];
    if (!p || !server_of(uri, name))
        return false;
    for (unsigned i = 0; i < MEMBER_PROBES_MAX; i++)
        if (!strcmp(p->servers[i].name, name))
            return answers(&p->servers[i]);
    return false;
}

json_t *member_probe_reached(const struct member_probe *p)
{
    json_t *names = json_array();
    for (unsigned i = 0; i < MEMBER_PROBES_MAX; i++)
        if (*p->servers[i].name && p->servers[i].told && answers(&p->servers[i]))
            json_array_append_new(names, json_string(p->servers[i].name));
    return names;
}

bool member_probe_is_reached(const json_t *reaches, const char *uri)
{
    char name[SERVER_MAX];
    bool found = false;
    if (!server_of(uri, name))
        return false;
    for (size_t i = 0; i < json_array_size(reaches) && !found; i++) {
        const char *one = json_string_value(json_array_get(reaches, i));
        found = one && !strcmp(one, name);
    }
    return found;
}

struct member_probe *member_probe_new(const struct mirror *mirror)
{
    struct member_probe *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->mirror = mirror;
    for (unsigned i = 0; i < MEMBER_PROBES_MAX; i++)
        p->servers[i].fd = -1;
    return p;
}

void member_probe_free(struct member_probe *p)
{
    for (unsigned i = 0; p && i < MEMBER_PROBES_MAX; i++)
        if (p->servers[i].fd >= 0)
            close(p->servers[i].fd);
    free(p);
}
