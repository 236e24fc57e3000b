#include "node/agent/member_probe.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/member.h"
#include "node/agent/mirror.h"
#include "node/agent/probe.h"
#include "node/agent/volume_member.h"

struct member_probe {
    const struct mirror *mirror;
    struct probe *servers;
};

/* "nbds://10.0.0.1:40001/ID" -> "10.0.0.1:40001" */
static bool server_of(const char *uri, char name[PROBE_SERVER_MAX])
{
    const char *at = strstr(uri, "://");
    size_t bytes = at ? strcspn(at + 3, "/") : 0;
    if (!bytes || bytes >= PROBE_SERVER_MAX)
        return false;
    memcpy(name, at + 3, bytes);
    name[bytes] = 0;
    return true;
}

static void want(struct member_probe *p, const char *uri, bool told)
{
    char name[PROBE_SERVER_MAX];
    if (server_of(uri, name))
        probe_want(p->servers, name, told);
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
    probe_begin(p->servers);
    for (const struct object *o = mirror_next(p->mirror, OBJECT_MEMBER, NULL); o;
         o = mirror_next(p->mirror, OBJECT_MEMBER, o->name))
        if (!volume_member_is_up(p->mirror, o))
            want(p, member_text(o->state, "uri"), false);
    want_for_others(p);
    probe_end(p->servers);
}

bool member_probe_answers(const struct member_probe *p, const char *uri)
{
    char name[PROBE_SERVER_MAX];
    return p && server_of(uri, name) && probe_answers(p->servers, name);
}

json_t *member_probe_reached(const struct member_probe *p)
{
    json_t *names = json_array();
    unsigned at = 0;
    for (const char *name = probe_next_marked(p->servers, &at); name; name = probe_next_marked(p->servers, &at))
        json_array_append_new(names, json_string(name));
    return names;
}

bool member_probe_is_reached(const json_t *reaches, const char *uri)
{
    char name[PROBE_SERVER_MAX];
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
    struct probe *servers = p ? probe_new() : NULL;
    if (!servers) {
        free(p);
        return NULL;
    }
    *p = (struct member_probe){.mirror = mirror, .servers = servers};
    return p;
}

void member_probe_free(struct member_probe *p)
{
    if (p)
        probe_free(p->servers);
    free(p);
}
