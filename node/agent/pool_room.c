/* See pool_room.h. What is reported is rounded down, so that a pool in use does not fill the store with its numbers. */
#include "node/agent/pool_room.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "node/agent/cluster.h"
#include "node/agent/report.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/loop.h"

enum { LOOK_MS = 10000, PARTS = 64 /* of a pool: the grain of what is reported */ };

struct pool_room {
    struct loop *loop;
    struct cluster *cluster;
    struct report *report;
    struct mirror_listener listener;
    struct loop_job job;
    struct loop_timer timer;
};

static void look_at(struct pool_room *r, const struct object *pool)
{
    struct statvfs fs;
    if (strcmp(object_spec_text(pool, "driver"), "directory") || statvfs(object_spec_text(pool, "path"), &fs))
        return;
    uint64_t bytes = fs.f_blocks * fs.f_frsize, left = fs.f_bavail * fs.f_frsize, grain = bytes / PARTS + 1;
    json_t *state =
        json_pack("{s:I, s:I}", "bytes", (json_int_t)bytes, "free_bytes", (json_int_t)(left / grain * grain));
    report_state(r->report, OBJECT_POOL, pool->id, state);
}

static void look(struct loop_job *job)
{
    struct pool_room *r = CONTAINER_OF(job, struct pool_room, job);
    const struct mirror *m = cluster_mirror(r->cluster);
    if (!cluster_is_current(r->cluster))
        return;
    for (const struct object *o = mirror_next(m, OBJECT_POOL, NULL); o; o = mirror_next(m, OBJECT_POOL, o->name))
        if (!strcmp(object_spec_text(o, "node"), cluster_node(r->cluster)))
            look_at(r, o);
}

static void fired(struct loop_timer *timer)
{
    struct pool_room *r = CONTAINER_OF(timer, struct pool_room, timer);
    loop_defer(r->loop, &r->job);
    loop_timer_set(r->loop, &r->timer, clock_ns() + LOOK_MS * 1000000ull);
}

static void object_changed(struct mirror_listener *listener, const struct object *object, enum object_part part)
{
    struct pool_room *r = CONTAINER_OF(listener, struct pool_room, listener);
    bool moves = object->kind == OBJECT_VOLUME_MOVE; /* one that has ended is in the room that is left */
    if ((object->kind == OBJECT_POOL || moves) && part == OBJECT_VALUE)
        loop_defer(r->loop, &r->job);
}

struct pool_room *pool_room_new(struct loop *loop, struct cluster *cluster, struct report *report, struct err *err)
{
    struct pool_room *r = calloc(1, sizeof *r);
    if (!r) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    r->loop = loop;
    r->cluster = cluster;
    r->report = report;
    r->listener.changed = object_changed;
    r->job.run = look;
    r->timer.fire = fired;
    mirror_listen(cluster_mirror(cluster), &r->listener);
    loop_defer(loop, &r->job);
    loop_timer_set(loop, &r->timer, clock_ns() + LOOK_MS * 1000000ull);
    return r;
}

void pool_room_free(struct pool_room *r)
{
    if (!r)
        return;
    loop_timer_clear(r->loop, &r->timer);
    mirror_unlisten(&r->listener);
    loop_forget(r->loop, &r->job);
    free(r);
}

bool pool_room_fits(const struct object *pool, uint64_t bytes)
{
    const json_t *left = json_object_get(pool->state, "free_bytes");
    return !json_is_integer(left) || (uint64_t)json_integer_value(left) >= bytes;
}
