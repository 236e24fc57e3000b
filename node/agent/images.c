#include "node/agent/images.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "node/agent/boot_image.h"
#include "node/agent/cluster.h"
#include "node/agent/image_unit.h"
#include "node/agent/member.h"
#include "node/agent/report.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/loop.h"

struct picture {
    struct image_unit *unit;
    LIST_ENTRY(picture) link;
};

struct images {
    struct cluster *cluster;
    struct report *report;
    const struct image_place *place;
    struct mirror_listener listener;
    struct loop_job job;
    LIST_HEAD(, picture) pictures;
};

static struct picture *find(struct images *im, const char *id)
{
    struct picture *p;
    LIST_FOREACH (p, &im->pictures, link)
        if (!strcmp(image_unit_id(p->unit), id))
            return p;
    return NULL;
}

static void unit_changed(void *context, struct image_unit *unit)
{
    struct images *im = context;
    const struct object *o = mirror_find(cluster_mirror(im->cluster), OBJECT_IMAGE, image_unit_id(unit));
    loop_defer(im->place->loop, &im->job);
    if (!o || !o->value || image_unit_phase(unit) == IMAGE_GONE)
        return;
    json_t *state = image_unit_state(unit);
    json_object_set_new(state, "node", json_string(cluster_node(im->cluster)));
    report_state(im->report, OBJECT_IMAGE, image_unit_id(unit), state);
}

static const char *node_of_pool(const struct images *im, const char *pool)
{
    const struct object *o = mirror_named(cluster_mirror(im->cluster), OBJECT_POOL, pool);
    return o ? object_spec_text(o, "node") : "";
}

/* A volume that is still to be made from it, on another node. */
static bool makes_elsewhere(const struct images *im, const struct object *o)
{
    const struct mirror *m = cluster_mirror(im->cluster);
    for (const struct object *v = mirror_next(m, OBJECT_VOLUME, NULL); v; v = mirror_next(m, OBJECT_VOLUME, v->name))
        if (!strcmp(object_spec_text(v, "image"), o->name) && strcmp(member_text(v->state, "phase"), "ready") &&
            strcmp(node_of_pool(im, object_spec_text(v, "pool")), cluster_node(im->cluster)))
            return true;
    return false;
}

static struct picture *take_in(struct images *im, const struct object *o, const struct object *pool)
{
    struct picture *p = calloc(1, sizeof *p);
    if (p)
        p->unit = image_unit_new(im->place, o->id, object_spec_text(pool, "path"), object_spec_text(o, "source"),
                                 object_spec_text(o, "sha256"), o->state, unit_changed, im);
    if (!p || !p->unit) {
        free(p);
        return NULL;
    }
    LIST_INSERT_HEAD(&im->pictures, p, link);
    return p;
}

static void want(struct images *im, const struct object *o)
{
    const struct object *pool = mirror_named(cluster_mirror(im->cluster), OBJECT_POOL, object_spec_text(o, "pool"));
    if (!pool || strcmp(object_spec_text(pool, "node"), cluster_node(im->cluster)))
        return;
    struct picture *p = find(im, o->id);
    if (!p && !(p = take_in(im, o, pool)))
        return;
    const struct mirror *m = cluster_mirror(im->cluster);
    image_unit_want(p->unit, (struct image_wish){.served = makes_elsewhere(im, o) || boot_image_is_lacking(m, o),
                                                 .summed = !*boot_image_sum(o) && boot_image_is_booted(m, o),
                                                 .deleted = json_is_true(json_object_get(o->value, "deleting"))});
    if (image_unit_phase(p->unit) == IMAGE_GONE)
        report_deleted(im->report, o);
}

static void evaluate(struct loop_job *job)
{
    struct images *im = CONTAINER_OF(job, struct images, job);
    const struct mirror *m = cluster_mirror(im->cluster);
    if (!cluster_is_current(im->cluster))
        return;
    for (const struct object *o = mirror_next(m, OBJECT_IMAGE, NULL); o; o = mirror_next(m, OBJECT_IMAGE, o->name))
        want(im, o);
    struct picture *p, *next;
    for (p = LIST_FIRST(&im->pictures); p; p = next) {
        next = LIST_NEXT(p, link);
        const struct object *o = mirror_find(m, OBJECT_IMAGE, image_unit_id(p->unit));
        if (o && o->value)
            continue;
        LIST_REMOVE(p, link);
        image_unit_free(p->unit);
        free(p);
    }
}

static void object_changed(struct mirror_listener *listener, const struct object *object, enum object_part part)
{
    struct images *im = CONTAINER_OF(listener, struct images, listener);
    bool wanted = object->kind == OBJECT_POOL || object->kind == OBJECT_GUEST;
    bool any = object->kind == OBJECT_IMAGE || object->kind == OBJECT_VOLUME || object->kind == OBJECT_MIGRATION ||
               object->kind == OBJECT_NODE; /* who has copied what */
    if (any || (wanted && part == OBJECT_VALUE))
        loop_defer(im->place->loop, &im->job);
}

struct images *images_new(struct cluster *cluster, struct report *report, const struct image_place *place,
                          struct err *err)
{
    struct images *im = calloc(1, sizeof *im);
    if (!im) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    im->cluster = cluster;
    im->report = report;
    im->place = place;
    im->listener.changed = object_changed;
    im->job.run = evaluate;
    LIST_INIT(&im->pictures);
    mirror_listen(cluster_mirror(cluster), &im->listener);
    loop_defer(place->loop, &im->job);
    return im;
}

void images_free(struct images *im)
{
    struct picture *p;
    if (!im)
        return;
    mirror_unlisten(&im->listener);
    while ((p = LIST_FIRST(&im->pictures))) {
        LIST_REMOVE(p, link);
        image_unit_free(p->unit);
        free(p);
    }
    loop_forget(im->place->loop, &im->job);
    free(im);
}
