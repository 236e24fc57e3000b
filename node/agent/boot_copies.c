/* See boot_copies.h. A copy has the name ID.part until it is whole and durable, so whatever is called ID can be used
 * after any crash. */
#include "node/agent/boot_copies.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/agent/cluster.h"
#include "node/agent/export_unit.h"
#include "node/agent/member.h"
#include "node/agent/migration.h"
#include "node/agent/process.h"
#include "node/agent/process_file.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"
#include "node/base/whole_file.h"

enum { ID_MAX = 64, RETRY_MS = 2000 };

struct copy {
    struct boot_copies *copies;
    char id[ID_MAX], path[PATH_MAX], part[PATH_MAX];
    bool wanted, whole, freed;
    struct process process;
    int output;
    struct loop_timer timer;
    struct err reason;
    LIST_ENTRY(copy) link;
};

struct boot_copies {
    struct cluster *cluster;
    const struct boot_copies_place *place;
    char directory[PATH_MAX - 2 * ID_MAX];
    struct mirror_listener listener;
    struct loop_job job;
    void (*changed)(void *context);
    void *context;
    LIST_HEAD(, copy) all;
};

static struct copy *find(const struct boot_copies *c, const char *id)
{
    struct copy *k;
    LIST_FOREACH (k, &c->all, link)
        if (!strcmp(k->id, id))
            return k;
    return NULL;
}

/* ---- making one ---- */

static void fail(struct copy *k)
{
    log_warn("the copy of image %s: %s", k->id, k->reason.text);
    loop_timer_set(k->copies->place->loop, &k->timer, clock_ns() + RETRY_MS * 1000000ull);
    k->copies->changed(k->copies->context);
}

static void ended(struct process *process, int status)
{
    struct copy *k = CONTAINER_OF(process, struct copy, process);
    char text[ERR_TEXT_MAX / 2], how[64];
    process_file_last_words(k->output, text, sizeof text);
    close(k->output);
    if (k->freed) {
        free(k);
        return;
    }
    int rc = status ? -EIO : whole_file_publish(k->part, k->path);
    if (rc) {
        err_set(&k->reason, EIO, "%s",
                *text    ? text
                : status ? process_describe(status, how, sizeof how)
                         : strerror(-rc));
        fail(k);
        return;
    }
    k->whole = true;
    k->reason = (struct err){0};
    k->copies->changed(k->copies->context);
}

/* Its node serves it once it has seen that a guest elsewhere boots from it. */
static void begin(struct copy *k)
{
    const struct boot_copies *c = k->copies;
    const struct object *image = mirror_find(cluster_mirror(c->cluster), OBJECT_IMAGE, k->id);
    const char *uri = image ? member_text(image->state, "uri") : "";
    char source[1024];
    if (!*uri || k->process.pid || k->whole)
        return;
    export_source(uri, c->place->tls, source, sizeof source);
    const char *argv[] = {"drover-img", "copy", "--progress=never", source, k->part, NULL};
    unlink(k->part);
    k->output = process_file_output(&k->reason);
    struct process_start s = {.program = c->place->img, .argv = (char *const *)(uintptr_t)argv, .output = k->output};
    if (k->output >= 0 && !process_start(&k->process, &s, &k->reason))
        return;
    if (k->output >= 0)
        close(k->output);
    fail(k);
}

static void try_again(struct loop_timer *timer)
{
    begin(CONTAINER_OF(timer, struct copy, timer));
}

/* ---- which are wanted ---- */

static struct copy *take_in(struct boot_copies *c, const char *id)
{
    struct copy *k = calloc(1, sizeof *k);
    if (!k)
        return NULL;
    k->copies = c;
    snprintf(k->id, sizeof k->id, "%s", id);
    snprintf(k->path, sizeof k->path, "%s/%s", c->directory, id);
    snprintf(k->part, sizeof k->part, "%s/%s.part", c->directory, id);
    k->timer.fire = try_again;
    k->whole = !access(k->path, F_OK);
    process_init(&k->process, c->place->loop, ended);
    LIST_INSERT_HEAD(&c->all, k, link);
    return k;
}

static void let_go(struct copy *k)
{
    LIST_REMOVE(k, link);
    loop_timer_clear(k->copies->place->loop, &k->timer);
    k->freed = true;
    if (k->process.pid)
        process_signal(&k->process, SIGTERM); /* ended() frees it */
    else
        free(k);
}

static void want(struct boot_copies *c, const char *name)
{
    const struct object *image = mirror_named(cluster_mirror(c->cluster), OBJECT_IMAGE, name);
    if (!image || !strcmp(member_text(image->state, "node"), cluster_node(c->cluster)))
        return;
    struct copy *k = find(c, image->id);
    if (!k && !(k = take_in(c, image->id)))
        return;
    k->wanted = true;
    begin(k);
}

static void want_all(struct boot_copies *c)
{
    const struct mirror *m = cluster_mirror(c->cluster);
    for (const struct object *g = mirror_next(m, OBJECT_GUEST, NULL); g; g = mirror_next(m, OBJECT_GUEST, g->name)) {
        const json_t *boot = object_spec(g, "boot");
        if (!boot || !migration_concerns(m, g, cluster_node(c->cluster)))
            continue;
        want(c, member_text(boot, "kernel"));
        want(c, member_text(boot, "initrd"));
    }
}

static void evaluate(struct loop_job *job)
{
    struct boot_copies *c = CONTAINER_OF(job, struct boot_copies, job);
    struct copy *k, *next;
    if (!cluster_is_current(c->cluster))
        return;
    LIST_FOREACH (k, &c->all, link)
        k->wanted = false;
    want_all(c);
    for (k = LIST_FIRST(&c->all); k; k = next) {
        next = LIST_NEXT(k, link);
        if (k->wanted)
            continue;
        unlink(k->path);
        unlink(k->part);
        let_go(k);
    }
}

static void object_changed(struct mirror_listener *listener, const struct object *object, enum object_part part)
{
    struct boot_copies *c = CONTAINER_OF(listener, struct boot_copies, listener);
    bool guests = object->kind == OBJECT_GUEST && part == OBJECT_VALUE;
    if (guests || object->kind == OBJECT_MIGRATION || object->kind == OBJECT_IMAGE)
        loop_defer(c->place->loop, &c->job);
}

/* ---- life ---- */

/* What is there from before, so that it is used, or removed. */
static void take_in_all(struct boot_copies *c)
{
    DIR *directory = opendir(c->directory);
    struct dirent *entry;
    while (directory && (entry = readdir(directory)))
        if (entry->d_name[0] != '.' && strlen(entry->d_name) < ID_MAX && !strchr(entry->d_name, '.'))
            take_in(c, entry->d_name);
    if (directory)
        closedir(directory);
}

struct boot_copies *boot_copies_new(struct cluster *cluster, const struct boot_copies_place *place,
                                    void (*changed)(void *context), void *context, struct err *err)
{
    struct boot_copies *c = calloc(1, sizeof *c);
    if (!c) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    *c = (struct boot_copies){.cluster = cluster, .place = place, .changed = changed, .context = context};
    c->listener.changed = object_changed;
    c->job.run = evaluate;
    LIST_INIT(&c->all);
    int n = snprintf(c->directory, sizeof c->directory, "%s/boot", place->state);
    if (n >= (int)sizeof c->directory || (mkdir(c->directory, 0700) && errno != EEXIST)) {
        err_set(err, errno, "the folder %s/boot cannot be made: %s", place->state, strerror(errno));
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
        let_go(LIST_FIRST(&c->all));
    free(c);
}

const char *boot_copies_path(const struct boot_copies *c, const char *id)
{
    const struct copy *k = c ? find(c, id) : NULL;
    return k && k->whole ? k->path : NULL;
}

const char *boot_copies_reason(const struct boot_copies *c, const char *id)
{
    const struct copy *k = c ? find(c, id) : NULL;
    return k ? k->reason.text : "";
}
