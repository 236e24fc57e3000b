#include "node/agent/boot_copies.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/agent/boot_image.h"
#include "node/agent/cluster.h"
#include "node/agent/member.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/loop.h"

enum { AT_ONCE = 4, COPIES_MAX = 64 };
#define TOTAL_BYTES_MAX (UINT64_C(8) << 30)

struct holding {
    struct boot_copy *copy;
    const struct object *image; /* while they are evaluated; NULL: nobody wants it */
    LIST_ENTRY(holding) link;
};

struct boot_copies {
    struct cluster *cluster;
    struct boot_copy_place place;
    char directory[PATH_MAX - 128];
    struct mirror_listener listener;
    struct loop_job job;
    json_t *told;
    void (*changed)(void *context);
    void *context;
    LIST_HEAD(, holding) all;
};

static struct holding *find(const struct boot_copies *c, const char *sum)
{
    struct holding *h;
    LIST_FOREACH (h, &c->all, link)
        if (!strcmp(boot_copy_sum(h->copy), sum))
            return h;
    return NULL;
}

static void copy_changed(void *context)
{
    struct boot_copies *c = context;
    loop_defer(c->place.loop, &c->job);
}

static struct holding *take_in(struct boot_copies *c, const char *sum)
{
    struct holding *h = calloc(1, sizeof *h);
    if (h)
        h->copy = boot_copy_new(&c->place, sum, copy_changed, c);
    if (!h || !h->copy) {
        free(h);
        return NULL;
    }
    LIST_INSERT_HEAD(&c->all, h, link);
    return h;
}

static void let_go(struct holding *h, bool remove)
{
    LIST_REMOVE(h, link);
    boot_copy_free(h->copy, remove);
    free(h);
}

/* ---- which are wanted ---- */

static uint64_t bytes_of(const struct object *image)
{
    return (uint64_t)json_integer_value(json_object_get(image->state, "bytes"));
}

/* It is a file's name here, and another node's word. */
static bool is_sum(const char *name)
{
    return strlen(name) == BOOT_IMAGE_SUM_BYTES - 1 && strspn(name, "0123456789abcdef") == strlen(name);
}

static void want(struct boot_copies *c, const char *name)
{
    const struct mirror *m = cluster_mirror(c->cluster);
    const struct object *image = *name ? mirror_named(m, OBJECT_IMAGE, name) : NULL;
    const char *sum = image ? boot_image_sum(image) : "";
    struct holding *h = *sum ? find(c, sum) : NULL;
    if (!is_sum(sum) || (h && h->image) || bytes_of(image) > BOOT_IMAGE_BYTES_MAX ||
        boot_image_here(m, name, cluster_node(c->cluster)))
        return;
    if (h || (h = take_in(c, sum)))
        h->image = image;
}

static void want_all(struct boot_copies *c)
{
    const struct mirror *m = cluster_mirror(c->cluster);
    for (const struct object *g = mirror_next(m, OBJECT_GUEST, NULL); g; g = mirror_next(m, OBJECT_GUEST, g->name)) {
        const json_t *boot = object_spec(g, "boot");
        if (!boot_image_concerns(m, g, cluster_node(c->cluster)))
            continue;
        want(c, member_text(boot, "kernel"));
        want(c, member_text(boot, "initrd"));
    }
}

/* What this node's copies may take is bounded: what comes first stays. */
struct budget {
    uint64_t bytes;
    unsigned copies, busy;
};

static bool counts(const struct holding *h)
{
    return boot_copy_path(h->copy) || boot_copy_is_busy(h->copy);
}

static struct budget spent(const struct boot_copies *c)
{
    struct budget b = {0};
    const struct holding *h;
    LIST_FOREACH (h, &c->all, link) {
        b.busy += boot_copy_is_busy(h->copy);
        b.copies += counts(h);
        b.bytes += counts(h) ? bytes_of(h->image) : 0;
    }
    return b;
}

static void make(struct boot_copies *c, struct holding *h, struct budget *b)
{
    const char *source = boot_image_source(cluster_mirror(c->cluster), h->image, cluster_node(c->cluster));
    uint64_t bytes = bytes_of(h->image);
    if (b->copies == COPIES_MAX || b->bytes + bytes > TOTAL_BYTES_MAX) {
        boot_copy_wait(h->copy, "this node's copies have reached their limit: 64 images, 8G");
    } else if (!source) {
        boot_copy_wait(h->copy, "no node that has it is there");
    } else if (!*source || b->busy == AT_ONCE) {
        boot_copy_wait(h->copy, "");
    } else {
        boot_copy_make(h->copy, source, bytes);
        if (!counts(h))
            return;
        b->copies++;
        b->busy++;
        b->bytes += bytes;
    }
}

static void tell(struct boot_copies *c)
{
    json_t *state = boot_copies_state(c);
    if (json_equal(state, c->told)) {
        json_decref(state);
        return;
    }
    json_decref(c->told);
    c->told = state;
    c->changed(c->context);
}

static void evaluate(struct loop_job *job)
{
    struct boot_copies *c = CONTAINER_OF(job, struct boot_copies, job);
    const struct mirror *m = cluster_mirror(c->cluster);
    const char *self = cluster_node(c->cluster);
    struct holding *h, *next;
    if (!cluster_is_current(c->cluster))
        return;
    LIST_FOREACH (h, &c->all, link)
        h->image = NULL;
    want_all(c);
    for (h = LIST_FIRST(&c->all); h; h = next) {
        next = LIST_NEXT(h, link);
        if (!h->image)
            let_go(h, true);
    }
    struct budget b = spent(c);
    LIST_FOREACH (h, &c->all, link) {
        if (!counts(h))
            make(c, h, &b);
        bool first = boot_copy_is_serving(h->copy) || boot_image_is_served_by(m, h->image, self);
        boot_copy_serve(h->copy, first && boot_image_is_lacking(m, h->image));
    }
    tell(c);
}

static void object_changed(struct mirror_listener *listener, const struct object *object, enum object_part part)
{
    struct boot_copies *c = CONTAINER_OF(listener, struct boot_copies, listener);
    bool guests = object->kind == OBJECT_GUEST && part == OBJECT_VALUE;
    if (guests || object->kind == OBJECT_MIGRATION || object->kind == OBJECT_IMAGE || object->kind == OBJECT_NODE)
        loop_defer(c->place.loop, &c->job);
}

/* ---- life ---- */

/* What is there from before is used, or removed once the cluster is known; what is not whole goes at once. */
static void take_in_all(struct boot_copies *c)
{
    char path[PATH_MAX];
    DIR *directory = opendir(c->directory);
    struct dirent *entry;
    while (directory && (entry = readdir(directory))) {
        snprintf(path, sizeof path, "%s/%.100s", c->directory, entry->d_name);
        if (is_sum(entry->d_name))
            take_in(c, entry->d_name);
        else if (entry->d_name[0] != '.')
            unlink(path);
    }
    if (directory)
        closedir(directory);
}

struct boot_copies *boot_copies_new(struct cluster *cluster, const struct boot_copy_place *place, const char *state,
                                    void (*changed)(void *context), void *context, struct err *err)
{
    struct boot_copies *c = calloc(1, sizeof *c);
    if (!c) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    *c = (struct boot_copies){.cluster = cluster, .place = *place, .changed = changed, .context = context};
    c->place.directory = c->directory;
    c->listener.changed = object_changed;
    c->job.run = evaluate;
    LIST_INIT(&c->all);
    int n = snprintf(c->directory, sizeof c->directory, "%s/boot", state);
    if (n >= (int)sizeof c->directory || (mkdir(c->directory, 0700) && errno != EEXIST)) {
        err_set(err, errno, "the folder %s/boot cannot be made: %s", state, strerror(errno));
        free(c);
        return NULL;
    }
    take_in_all(c);
    mirror_listen(cluster_mirror(cluster), &c->listener);
    loop_defer(place->loop, &c->job);
    return c;
}

void boot_copies_free(struct boot_copies *c)
{
    if (!c)
        return;
    mirror_unlisten(&c->listener);
    while (!LIST_EMPTY(&c->all))
        let_go(LIST_FIRST(&c->all), false);
    json_decref(c->told);
    loop_forget(c->place.loop, &c->job);
    free(c);
}

/* ---- what others see ---- */

const char *boot_copies_path(const struct boot_copies *c, const char *sum)
{
    const struct holding *h = c && *sum ? find(c, sum) : NULL;
    return h ? boot_copy_path(h->copy) : NULL;
}

const char *boot_copies_reason(const struct boot_copies *c, const char *sum)
{
    const struct holding *h = c && *sum ? find(c, sum) : NULL;
    return h ? boot_copy_reason(h->copy) : "";
}

json_t *boot_copies_state(const struct boot_copies *c)
{
    json_t *state = json_object();
    const struct holding *h;
    LIST_FOREACH (h, &c->all, link)
        json_object_set_new(state, boot_copy_sum(h->copy), boot_copy_state(h->copy));
    return state;
}
