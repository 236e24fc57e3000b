#include "node/agent/start_order.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "node/agent/failover_view.h"
#include "node/agent/member.h"
#include "node/agent/mirror.h"
#include "node/agent/presence.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { ID_MAX = 64, WAY_MAX = 64 };

/* ---- who runs since when, as this agent sees it ---- */

struct running {
    char id[ID_MAX];
    uint64_t since_ms;
    LIST_ENTRY(running) link;
};

struct start_order {
    struct mirror *mirror;
    const char *self;
    struct mirror_listener listener;
    LIST_HEAD(, running) running;
};

static struct running *find(struct start_order *o, const char *id)
{
    struct running *r;
    LIST_FOREACH (r, &o->running, link)
        if (!strcmp(r->id, id))
            return r;
    return NULL;
}

/* Where it belongs, by that node's own word. */
static bool is_running(const struct mirror *m, const struct object *g)
{
    const char *node = object_spec_text(g, "node");
    return !strcmp(member_text(g->state, "phase"), "running") && !strcmp(member_text(g->state, "node"), node) &&
           presence_is_alive(mirror_named(m, OBJECT_NODE, node));
}

static void note(struct start_order *o, const struct object *g)
{
    struct running *r = find(o, g->id);
    bool runs = g->value && is_running(o->mirror, g);
    if (runs && !r && (r = calloc(1, sizeof *r))) {
        snprintf(r->id, sizeof r->id, "%s", g->id);
        r->since_ms = clock_ms();
        LIST_INSERT_HEAD(&o->running, r, link);
    } else if (!runs && r) {
        LIST_REMOVE(r, link);
        free(r);
    }
}

static void note_all(struct start_order *o)
{
    const struct object *g = mirror_next(o->mirror, OBJECT_GUEST, NULL);
    for (; g; g = mirror_next(o->mirror, OBJECT_GUEST, g->name))
        note(o, g);
}

static void object_changed(struct mirror_listener *listener, const struct object *object, enum object_part part)
{
    struct start_order *o = CONTAINER_OF(listener, struct start_order, listener);
    (void)part;
    if (object->kind == OBJECT_GUEST)
        note(o, object);
    else if (object->kind == OBJECT_NODE)
        note_all(o);
}

struct start_order *start_order_new(struct mirror *mirror, const char *self)
{
    struct start_order *o = calloc(1, sizeof *o);
    if (!o)
        return NULL;
    o->mirror = mirror;
    o->self = self;
    o->listener.changed = object_changed;
    LIST_INIT(&o->running);
    note_all(o);
    mirror_listen(mirror, &o->listener);
    return o;
}

void start_order_free(struct start_order *o)
{
    struct running *r;
    if (!o)
        return;
    mirror_unlisten(&o->listener);
    while ((r = LIST_FIRST(&o->running))) {
        LIST_REMOVE(r, link);
        free(r);
    }
    free(o);
}

/* ---- what stands in the way ---- */

/* Its node is away, and that node's grace is over. */
static const char *lost_hopeless(const struct start_order *o, const struct object *g)
{
    struct failover_scene s;
    const char *why = "its node is away, and it is not protected", *reason = "";
    if (!json_is_true(object_spec(g, "ha")) || !failover_scene_make(&s, o->mirror, NULL, o->self))
        return why;
    for (unsigned i = 0; i < s.view.guest_count; i++)
        if (s.objects[i] == g) {
            bool placed = failover_place(&s.view, &s.view.guests[i], &reason) != FAILOVER_NOBODY;
            why = !s.view.armed ? "its node is away, and fail-over is disarmed" : placed ? NULL : reason;
        }
    failover_scene_free(&s);
    return why;
}

static const char *hopeless(const struct start_order *o, const struct object *g, uint64_t held_ms)
{
    if (!g || !g->value)
        return "it is not there";
    if (!json_is_true(object_spec(g, "running")) || json_is_true(json_object_get(g->value, "deleting")))
        return "it is switched off";
    if (!strcmp(member_text(g->state, "phase"), "failed"))
        return "it stays down";
    if (presence_is_alive(mirror_named(o->mirror, OBJECT_NODE, object_spec_text(g, "node"))) ||
        held_ms < START_GRACE_MS)
        return NULL;
    return lost_hopeless(o, g);
}

bool start_order_may(struct start_order *o, const struct object *guest, uint64_t held_ms, struct err *why)
{
    char text[ERR_TEXT_MAX];
    const json_t *after = object_spec(guest, "ha_after");
    struct start_question q = {.delay_ms = (uint64_t)json_integer_value(object_spec(guest, "ha_delay")),
                               .held_ms = held_ms};
    for (size_t i = 0; i < json_array_size(after) && q.need_count < START_NEEDS_MAX; i++) {
        const char *name = json_string_value(json_array_get(after, i));
        const struct object *g = mirror_named(o->mirror, OBJECT_GUEST, name);
        const struct running *r = g ? find(o, g->id) : NULL;
        uint64_t runs_ms = r ? clock_ms() - r->since_ms : 0;
        q.needs[q.need_count++] = (struct start_need){.name = name,
                                                      .runs = runs_ms >= START_STEADY_MS,
                                                      .runs_ms = runs_ms,
                                                      .hopeless = r ? NULL : hopeless(o, g, held_ms)};
    }
    bool may = start_order_decide(&q, text, sizeof text);
    *why = (struct err){0};
    if (*text)
        err_set(why, EAGAIN, "%s", text);
    return may;
}

/* ---- circles ---- */

struct walk {
    const struct mirror *mirror;
    const char *goal;
    const char *way[WAY_MAX]; /* from the goal on */
    unsigned depth;
    const char *dead[WAY_MAX]; /* from which the goal is not reached */
    unsigned dead_count;
};

static bool is_dead(const struct walk *w, const char *name)
{
    for (unsigned i = 0; i < w->dead_count; i++)
        if (!strcmp(w->dead[i], name))
            return true;
    return false;
}

/* Does `name`, the last of the way, lead back to the goal? */
static bool leads_back(struct walk *w, const json_t *after)
{
    for (size_t i = 0; i < json_array_size(after); i++) {
        const char *next = json_string_value(json_array_get(after, i));
        if (!strcmp(next, w->goal))
            return true;
        const struct object *g = mirror_named(w->mirror, OBJECT_GUEST, next);
        if (!g || w->depth == WAY_MAX || is_dead(w, g->name))
            continue;
        if (!strcmp(g->name, w->goal))
            return true;
        w->way[w->depth++] = g->name;
        if (leads_back(w, object_spec(g, "ha_after")))
            return true;
        w->depth--;
        if (w->dead_count < WAY_MAX)
            w->dead[w->dead_count++] = g->name;
    }
    return false;
}

bool start_order_is_circular(const struct mirror *m, const char *name, const json_t *spec, char *text, size_t room)
{
    struct walk w = {.mirror = m, .goal = name};
    if (!leads_back(&w, json_object_get(spec, "ha_after")))
        return false;
    size_t used = (size_t)snprintf(text, room, "%s needs ", name);
    for (unsigned i = 0; i < w.depth && used < room; i++)
        used += (size_t)snprintf(text + used, room - used, "%s, which needs ", w.way[i]);
    if (used < room)
        snprintf(text + used, room - used, "%s", name);
    return true;
}
