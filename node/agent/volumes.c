#include "node/agent/volumes.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "node/agent/cluster.h"
#include "node/agent/member.h"
#include "node/agent/migration.h"
#include "node/agent/report.h"
#include "node/agent/volume_member.h"
#include "node/agent/volume_unit.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"

enum { ID_MAX = 64 };

struct holding {
    enum object_kind kind; /* a volume, or a member of one */
    char object[ID_MAX];   /* whose bytes they are; it may be another one after a move */
    struct volume_unit *unit;
    LIST_ENTRY(holding) link;
};

/* Both are bytes in the pool that spec.pool names; a volume with a layout has none of its own (homes.c). */
static const enum object_kind kinds[] = {OBJECT_VOLUME, OBJECT_MEMBER};
enum { KIND_COUNT = sizeof kinds / sizeof *kinds };

struct volumes {
    struct cluster *cluster;
    struct report *report;
    const struct volume_place *place;
    struct mirror_listener listener;
    struct loop_job job;
    bool anybody_moves; /* since the last look: otherwise no volume has to be asked about */
    LIST_HEAD(, holding) holdings;
};

/* What the file or device is named after. */
static const char *data_of(const struct object *o)
{
    return o->kind == OBJECT_VOLUME ? volume_data(o) : o->id;
}

static struct holding *find(struct volumes *v, const char *id)
{
    struct holding *h;
    LIST_FOREACH (h, &v->holdings, link)
        if (!strcmp(volume_unit_id(h->unit), id))
            return h;
    return NULL;
}

/* ---- what is told ---- */

static void unit_changed(void *context, struct volume_unit *unit)
{
    struct volumes *v = context;
    const struct holding *h = find(v, volume_unit_id(unit));
    const struct object *o = h ? mirror_find(cluster_mirror(v->cluster), h->kind, h->object) : NULL;
    enum volume_phase phase = volume_unit_phase(unit);
    loop_defer(v->place->loop, &v->job);
    if (!o || !o->value || phase == VOLUME_GONE)
        return;
    json_t *state = json_pack("{s:s, s:s, s:b, s:s, s:s, s:I, s:s}", "node", cluster_node(v->cluster), "phase",
                              volume_phase_name(phase), "made", volume_unit_made(unit), "path", volume_unit_path(unit),
                              "uri", volume_unit_uri(unit), "bytes", (json_int_t)volume_unit_bytes(unit), "reason",
                              volume_unit_reason(unit));
    if (strcmp(h->object, volume_unit_id(unit)) != 0)
        json_object_set_new(state, "data", json_string(volume_unit_id(unit)));
    report_state(v->report, h->kind, h->object, state);
}

/* ---- what is wanted ---- */

static const struct object *pool_of(const struct volumes *v, const struct object *o)
{
    const struct object *pool = mirror_named(cluster_mirror(v->cluster), OBJECT_POOL, object_spec_text(o, "pool"));
    return pool && !strcmp(object_spec_text(pool, "node"), cluster_node(v->cluster)) ? pool : NULL;
}

static bool has_disk(const struct object *guest, const char *volume)
{
    const json_t *disks = object_spec(guest, "disks");
    for (size_t i = 0; i < json_array_size(disks); i++)
        if (!strcmp(member_text(json_array_get(disks, i), "volume"), volume))
            return true;
    return false;
}

static bool moves(const struct mirror *m, const struct object *guest)
{
    return migration_moved(guest) || migration_of(m, guest);
}

static bool does_anybody_move(const struct mirror *m)
{
    for (const struct object *g = mirror_next(m, OBJECT_GUEST, NULL); g; g = mirror_next(m, OBJECT_GUEST, g->name))
        if (moves(m, g))
            return true;
    return false;
}

/* A guest of this node that has it is on its way to another one, or has come over the network. */
static bool is_moving(const struct volumes *v, const struct object *o)
{
    const struct mirror *m = cluster_mirror(v->cluster);
    if (!v->anybody_moves)
        return false;
    for (const struct object *g = mirror_next(m, OBJECT_GUEST, NULL); g; g = mirror_next(m, OBJECT_GUEST, g->name))
        if (moves(m, g) && has_disk(g, o->name))
            return true;
    return false;
}

static bool is_used_elsewhere(const struct volumes *v, const struct object *o)
{
    const struct mirror *m = cluster_mirror(v->cluster);
    for (const struct object *g = mirror_next(m, OBJECT_GUEST, NULL); g; g = mirror_next(m, OBJECT_GUEST, g->name))
        if (strcmp(object_spec_text(g, "node"), cluster_node(v->cluster)) && has_disk(g, o->name))
            return true;
    return false;
}

bool volumes_source(struct cluster *cluster, const struct volume_place *place, const struct object *o, char *source,
                    size_t room)
{
    const char *name = object_spec_text(o, "image");
    source[0] = 0;
    if (!*name)
        return true;
    const struct object *image = mirror_named(cluster_mirror(cluster), OBJECT_IMAGE, name);
    if (!image || strcmp(member_text(image->state, "phase"), "ready"))
        return false;
    bool here = !strcmp(member_text(image->state, "node"), cluster_node(cluster));
    if (here)
        snprintf(source, room, "raw:%s", member_text(image->state, "path"));
    else
        export_source(member_text(image->state, "uri"), place->exports->tls, source, room);
    return *source;
}

static enum volume_driver driver_of(const struct object *pool)
{
    const char *driver = object_spec_text(pool, "driver");
    return !strcmp(driver, "lvm") ? VOLUME_LVM : !strcmp(driver, "block") ? VOLUME_BLOCK : VOLUME_DIRECTORY;
}

/* Its bytes are there, also while it cannot be grown; the phases are those of agents that did not say so yet. */
static bool is_made(const struct object *o)
{
    const char *phase = member_text(o->state, "phase");
    return json_is_true(json_object_get(o->state, "made")) || !strcmp(phase, "ready") || !strcmp(phase, "growing") ||
           !strcmp(phase, "deleting");
}

static struct holding *take_in(struct volumes *v, const struct object *o)
{
    struct holding *h = calloc(1, sizeof *h);
    if (h)
        h->unit = volume_unit_new(v->place, data_of(o), is_made(o), member_text(o->state, "uri"), unit_changed, v);
    if (!h || !h->unit) {
        free(h);
        return NULL;
    }
    snprintf(h->object, sizeof h->object, "%s", o->id);
    h->kind = o->kind;
    LIST_INSERT_HEAD(&v->holdings, h, link);
    return h;
}

/* A device is one volume's: whose bytes are on it already, or of those that came at the same time the one with the
 * smallest id. NULL: this one may have it. */
static const struct object *holder_of_device(const struct volumes *v, const struct object *o, const struct object *pool)
{
    const struct mirror *m = cluster_mirror(v->cluster);
    if (driver_of(pool) != VOLUME_BLOCK || is_made(o))
        return NULL;
    for (unsigned k = 0; k < KIND_COUNT; k++)
        for (const struct object *w = mirror_next(m, kinds[k], NULL); w; w = mirror_next(m, kinds[k], w->name))
            if (w != o && !strcmp(object_spec_text(w, "pool"), pool->name) && (is_made(w) || strcmp(w->id, o->id) < 0))
                return w;
    return NULL;
}

static void report_taken(struct volumes *v, const struct object *o, const struct object *holder)
{
    report_state(v->report, o->kind, o->id,
                 json_pack("{s:s, s:s, s:s, s:s, s:I, s:o}", "node", cluster_node(v->cluster), "phase",
                           volume_phase_name(VOLUME_FAILED), "path", "", "uri", "", "bytes", (json_int_t)0, "reason",
                           json_sprintf("the pool's device is %s %s's: delete one of them",
                                        object_kind_name(holder->kind), holder->name)));
}

static struct volume_part part_of(const struct object *o)
{
    struct volume_part p = {
        .members = (unsigned)json_integer_value(object_spec(o, "members")),
        .quorum = (unsigned)json_integer_value(object_spec(o, "quorum")),
        .index = (int)json_integer_value(object_spec(o, "index")),
        .voted = json_is_true(object_spec(o, "voted")),
        .replacement = json_is_true(object_spec(o, "replacement")),
        .copied = json_is_true(object_spec(o, "copied")),
        .volume_bytes = (uint64_t)json_integer_value(object_spec(o, "volume_bytes")),
        .room_bytes = (uint64_t)json_integer_value(object_spec(o, "room_bytes")),
    };
    snprintf(p.volume, sizeof p.volume, "%s", object_spec_text(o, "volume"));
    snprintf(p.layout, sizeof p.layout, "%s", object_spec_text(o, "layout"));
    return p;
}

static void want(struct volumes *v, const struct object *o, const struct object *pool)
{
    char source[1024];
    bool deleting = json_is_true(json_object_get(o->value, "deleting"));
    struct holding *h = find(v, data_of(o));
    const struct object *holder = h || deleting ? NULL : holder_of_device(v, o, pool);
    if (holder) {
        report_taken(v, o, holder);
        return;
    }
    if (!volumes_source(v->cluster, v->place, o, source, sizeof source) && !is_made(o) && !deleting)
        return; /* waits for its image */
    if (!h && !(h = take_in(v, o)))
        return;
    h->kind = o->kind;
    snprintf(h->object, sizeof h->object, "%s", o->id);
    bool is_member = o->kind == OBJECT_MEMBER, is_part = is_member && *object_spec_text(o, "layout");
    struct volume_part part = part_of(o);
    /* what a move has left is served as long as somebody may have it, who claims it still */
    bool moving = json_is_true(json_object_get(o->value, "retired")) || is_moving(v, o);
    struct volume_want w = {
        .driver = driver_of(pool),
        .pool_path = object_spec_text(pool, "path"),
        .bytes = (uint64_t)json_integer_value(object_spec(o, is_member ? "bytes" : "size")),
        .source = source,
        .key = member_text(o->value, "key"),
        .key_of = o->id,
        .part = is_part ? &part : NULL,
        /* the owner of a member is fenced, wherever it runs */
        .served = is_member || is_used_elsewhere(v, o) || moving,
        .moving = !is_part && moving,
        .deleting = deleting,
    };
    volume_unit_want(h->unit, &w);
    if (o->kind == OBJECT_VOLUME && !volume_state_is_current(o))
        unit_changed(v, h->unit); /* what others said of the bytes before these */
    if (volume_unit_phase(h->unit) == VOLUME_GONE)
        report_deleted(v->report, o);
}

static void drop_strangers(struct volumes *v)
{
    struct holding *h, *next;
    for (h = LIST_FIRST(&v->holdings); h; h = next) {
        next = LIST_NEXT(h, link);
        const struct object *o = mirror_find(cluster_mirror(v->cluster), h->kind, h->object);
        if (o && o->value && !strcmp(data_of(o), volume_unit_id(h->unit)))
            continue;
        LIST_REMOVE(h, link);
        volume_unit_free(h->unit);
        free(h);
    }
}

static void evaluate(struct loop_job *job)
{
    struct volumes *v = CONTAINER_OF(job, struct volumes, job);
    const struct mirror *m = cluster_mirror(v->cluster);
    if (!cluster_is_current(v->cluster))
        return;
    v->anybody_moves = does_anybody_move(m);
    for (unsigned k = 0; k < KIND_COUNT; k++)
        for (const struct object *o = mirror_next(m, kinds[k], NULL); o; o = mirror_next(m, kinds[k], o->name)) {
            const struct object *pool = pool_of(v, o);
            if (pool)
                want(v, o, pool);
        }
    drop_strangers(v);
}

static void object_changed(struct mirror_listener *listener, const struct object *object, enum object_part part)
{
    struct volumes *v = CONTAINER_OF(listener, struct volumes, listener);
    bool wanted = object->kind == OBJECT_VOLUME || object->kind == OBJECT_MEMBER || object->kind == OBJECT_POOL ||
                  object->kind == OBJECT_GUEST;
    if (object->kind == OBJECT_IMAGE || (wanted && part == OBJECT_VALUE))
        loop_defer(v->place->loop, &v->job);
}

struct volumes *volumes_new(struct cluster *cluster, struct report *report, const struct volume_place *place,
                            struct err *err)
{
    struct volumes *v = calloc(1, sizeof *v);
    if (!v) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    v->cluster = cluster;
    v->report = report;
    v->place = place;
    v->listener.changed = object_changed;
    v->job.run = evaluate;
    LIST_INIT(&v->holdings);
    mirror_listen(cluster_mirror(cluster), &v->listener);
    loop_defer(place->loop, &v->job);
    return v;
}

void volumes_free(struct volumes *v)
{
    struct holding *h;
    if (!v)
        return;
    mirror_unlisten(&v->listener);
    while ((h = LIST_FIRST(&v->holdings))) {
        LIST_REMOVE(h, link);
        volume_unit_free(h->unit);
        free(h);
    }
    loop_forget(v->place->loop, &v->job);
    free(v);
}
