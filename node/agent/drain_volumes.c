#include "node/agent/drain_volumes.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "node/agent/cluster.h"
#include "node/agent/complete.h"
#include "node/agent/member.h"
#include "node/agent/presence.h"
#include "node/agent/volume_member.h"
#include "node/agent/volume_move.h"
#include "node/agent/volume_move_place.h"
#include "node/agent/volume_move_start.h"
#include "node/agent/volume_work.h"
#include "node/base/clock.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/uuid.h"

enum { AGAIN_MS = 30000, NOBODY = -2 };

/* A volume that was sent away; it is not sent again before that. */
struct sent {
    struct drain_volumes *all; /* NULL: the agent ends */
    char volume[UUID_TEXT_BYTES];
    uint64_t again_ms;
    bool starting;
    LIST_ENTRY(sent) link;
};

struct drain_volumes {
    struct cluster *cluster;
    struct log_limit limit;
    LIST_HEAD(, sent) list;
};

/* ---- where to ---- */

/* Its guest's node before others, then the one with the most room. */
static double worth(const struct mirror *m, const struct object *volume, const struct volume_move_wish *w)
{
    const struct object *guest = volume_guest(m, volume);
    bool with_guest = guest && !strcmp(object_spec_text(guest, "node"), object_spec_text(w->to, "node"));
    double left = json_number_value(json_object_get(w->to->state, "free_bytes")) - (double)volume_move_coming(m, w->to);
    return with_guest ? 1e30 : left;
}

/* wish: of the best; its `to` NULL: nobody takes it, and *why says so of the last that was asked. */
static void choose(const struct mirror *m, const char *here, const struct object *volume, int member,
                   struct volume_move_wish *wish, struct complete_error *why)
{
    double best = -1;
    struct volume_move_wish at = *wish;
    snprintf(why->text, sizeof why->text, "no other node takes guests and volumes now");
    for (const struct object *n = mirror_next(m, OBJECT_NODE, NULL); n; n = mirror_next(m, OBJECT_NODE, n->name)) {
        if (!strcmp(n->name, here) || !presence_takes_guests(n) ||
            volume_move_choose(m, volume, n->name, member, &at, why) || worth(m, volume, &at) <= best)
            continue;
        best = worth(m, volume, &at);
        *wish = at;
    }
}

/* ---- which ---- */

static bool is_here(const struct mirror *m, const char *here, const char *pool)
{
    const struct object *p = mirror_named(m, OBJECT_POOL, pool);
    return p && !strcmp(object_spec_text(p, "node"), here);
}

/* Which member of it is here; -1: it has no layout, NOBODY: nothing of it is. */
static int part_here(const struct mirror *m, const char *here, const struct object *volume)
{
    const json_t *pools = object_spec(volume, "pools");
    if (!volume_has_layout(volume))
        return is_here(m, here, object_spec_text(volume, "pool")) ? -1 : NOBODY;
    for (size_t i = 0; i < json_array_size(pools); i++)
        if (is_here(m, here, json_string_value(json_array_get(pools, i))))
            return (int)i;
    return NOBODY;
}

/* A guest of this node uses it, and takes it along. */
static bool goes_with_guest(const struct mirror *m, const char *here, const struct object *volume)
{
    const struct object *guest = volume_guest(m, volume);
    return guest && !strcmp(object_spec_text(guest, "node"), here) && volume_work_is_guests(m, volume);
}

static struct sent *find(const struct drain_volumes *d, const char *volume)
{
    struct sent *s;
    LIST_FOREACH (s, &d->list, link)
        if (!strcmp(s->volume, volume))
            return s;
    return NULL;
}

static bool is_time(const struct drain_volumes *d, const struct object *volume)
{
    const struct sent *s = find(d, volume->id);
    return !s || (!s->starting && clock_ms() >= s->again_ms);
}

bool drain_volumes_starting(const struct drain_volumes *d)
{
    const struct sent *s;
    LIST_FOREACH (s, &d->list, link)
        if (s->starting)
            return true;
    return false;
}

unsigned drain_volumes_under_way(const struct drain_volumes *d)
{
    const struct mirror *m = cluster_mirror(d->cluster);
    const char *here = cluster_node(d->cluster);
    unsigned n = 0;
    const struct sent *s;
    for (const struct object *o = mirror_next(m, OBJECT_VOLUME_MOVE, NULL); o;
         o = mirror_next(m, OBJECT_VOLUME_MOVE, o->name))
        n += o->value && !volume_move_has_ended(o) && !*object_spec_text(o, "migration") &&
             is_here(m, here, object_spec_text(o, "from"));
    LIST_FOREACH (s, &d->list, link)
        n += s->starting;
    return n;
}

/* ---- sending them away ---- */

static void started(void *context, int rc, const struct task_started *what, const struct err *err)
{
    struct sent *s = context;
    (void)what;
    s->starting = false;
    if (!s->all) {
        free(s);
        return;
    }
    if (rc)
        log_limited(&s->all->limit, LOG_LEVEL_WARN, "a volume is to leave this drained node: %s", err->text);
}

static struct sent *remember(struct drain_volumes *d, const struct object *volume)
{
    struct sent *s = find(d, volume->id);
    if (!s && (s = calloc(1, sizeof *s))) {
        s->all = d;
        snprintf(s->volume, sizeof s->volume, "%s", volume->id);
        LIST_INSERT_HEAD(&d->list, s, link);
    }
    if (s)
        s->again_ms = clock_ms() + AGAIN_MS;
    return s;
}

/* True: one more is under way. */
static bool send_away(struct drain_volumes *d, const struct object *volume, int member)
{
    const struct mirror *m = cluster_mirror(d->cluster);
    const char *here = cluster_node(d->cluster);
    char id[UUID_TEXT_BYTES], bytes[UUID_TEXT_BYTES], by[80];
    struct complete_error why;
    struct err err = {0};
    struct volume_move_wish wish = {.id = id, .member = bytes, .migration = "", .by = by};
    struct sent *s = remember(d, volume);
    snprintf(by, sizeof by, "node:%.60s", here);
    if (volume_move_may_begin(m, volume, true, &why) == 0)
        choose(m, here, volume, member, &wish, &why);
    if (!wish.to) {
        log_limited(&d->limit, LOG_LEVEL_WARN, "volume %s stays on this drained node: %s", volume->name, why.text);
        return false;
    }
    uuid_make(id);
    uuid_make(bytes);
    json_t *move = s ? volume_move_make(volume, &wish) : NULL;
    if (!move)
        return false;
    s->starting = true;
    if (!volume_move_start(d->cluster, volume, move, here, by, started, s, &err))
        return true;
    s->starting = false;
    log_warn("volume %s is to leave this drained node: %s", volume->name, err.text);
    return false;
}

/* Those that need not be waited for. */
static void forget_others(struct drain_volumes *d)
{
    const struct mirror *m = cluster_mirror(d->cluster);
    struct sent *s, *next;
    for (s = LIST_FIRST(&d->list); s; s = next) {
        next = LIST_NEXT(s, link);
        const struct object *v = mirror_find(m, OBJECT_VOLUME, s->volume);
        if (s->starting || (v && v->value && clock_ms() < s->again_ms))
            continue;
        LIST_REMOVE(s, link);
        free(s);
    }
}

/* A guest that runs takes it along. */
static void say_guest(struct drain_volumes *d, const struct object *volume)
{
    const struct object *guest = volume_guest(cluster_mirror(d->cluster), volume);
    const char *phase = member_text(guest->state, "phase");
    if (strcmp(phase, "running") != 0 && remember(d, volume))
        log_limited(&d->limit, LOG_LEVEL_WARN, "volume %s stays on this drained node: guest %s, which has it, is %s",
                    volume->name, guest->name, *phase ? phase : "not started yet");
}

static void say_witness(struct drain_volumes *d, const struct object *volume)
{
    const struct mirror *m = cluster_mirror(d->cluster);
    if (!is_here(m, cluster_node(d->cluster), object_spec_text(volume, "witness")) || !remember(d, volume))
        return;
    log_limited(&d->limit, LOG_LEVEL_WARN,
                "the witness of volume %s stays on this drained node: `drover volume replace %s witness`", volume->name,
                volume->name);
}

void drain_volumes_go(struct drain_volumes *d)
{
    const struct mirror *m = cluster_mirror(d->cluster);
    const char *here = cluster_node(d->cluster);
    bool sent = false;
    forget_others(d);
    for (const struct object *v = mirror_next(m, OBJECT_VOLUME, NULL); v && !sent;
         v = mirror_next(m, OBJECT_VOLUME, v->name)) {
        int member = part_here(m, here, v);
        if (json_is_true(json_object_get(v->value, "deleting")) || volume_move_of(m, v) || !is_time(d, v))
            continue;
        if (member != NOBODY && goes_with_guest(m, here, v))
            say_guest(d, v);
        else if (member != NOBODY)
            sent = send_away(d, v, member);
        else
            say_witness(d, v);
    }
}

/* ---- life ---- */

struct drain_volumes *drain_volumes_new(struct cluster *cluster, struct err *err)
{
    struct drain_volumes *d = calloc(1, sizeof *d);
    if (!d) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    d->cluster = cluster;
    d->limit = (struct log_limit){.burst = 5, .interval_ms = 60000};
    LIST_INIT(&d->list);
    return d;
}

void drain_volumes_free(struct drain_volumes *d)
{
    struct sent *s, *next;
    if (!d)
        return;
    for (s = LIST_FIRST(&d->list); s; s = next) {
        next = LIST_NEXT(s, link);
        LIST_REMOVE(s, link);
        s->all = NULL;
        if (!s->starting) /* else started() frees it */
            free(s);
    }
    free(d);
}
