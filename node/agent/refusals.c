#include "node/agent/refusals.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/mirror.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"
#include "node/base/whole_file.h"

enum { KEY_DIGITS = 64, TEXT_MAX = 16 << 20 };

struct refusals {
    struct refusals_place place;
    struct mirror_listener listener;
    struct loop_timer timer;
    char path[PATH_MAX];
    char *text; /* what is in the file */
    size_t len;
};

static int append(struct refusals *r, const char *key, const char *name)
{
    char *more = realloc(r->text, r->len + strlen(key) + strlen(name) + 3);
    if (!more)
        return -ENOMEM;
    r->text = more;
    r->len += (size_t)sprintf(more + r->len, "%s %s\n", key, name);
    return 0;
}

/* Those that the store names and the file does not. */
static void look(struct loop_timer *timer)
{
    struct refusals *r = CONTAINER_OF(timer, struct refusals, timer);
    const struct mirror *m = cluster_mirror(r->place.cluster);
    size_t before = r->len;
    int rc = 0;
    for (const struct object *o = mirror_next(m, OBJECT_REMOVED_NODE, NULL); o && !rc;
         o = mirror_next(m, OBJECT_REMOVED_NODE, o->name)) {
        const char *key = object_spec_text(o, "key");
        if (strlen(key) == KEY_DIGITS && !strstr(r->text, key))
            rc = append(r, key, object_spec_text(o, "node"));
    }
    if (r->len == before)
        return;
    if (!rc)
        rc = whole_file_write(r->path, r->text, r->len, 0644);
    if (rc) {
        r->len = before; /* the next change of a node tries again */
        r->text[before] = 0;
        log_warn("the keys of removed nodes are not refused yet: %s: %s", r->path, strerror(-rc));
        return;
    }
    log_info("keys of removed nodes are refused: %s", r->path);
    r->place.changed(r->place.context);
}

static void object_changed(struct mirror_listener *listener, const struct object *object, enum object_part part)
{
    struct refusals *r = CONTAINER_OF(listener, struct refusals, listener);
    (void)part;
    if (object->kind == OBJECT_REMOVED_NODE || object->kind == OBJECT_NODE)
        loop_timer_set(r->place.loop, &r->timer, clock_ns()); /* several at once are looked at once */
}

static int read_file(struct refusals *r, struct err *err)
{
    FILE *file = fopen(r->path, "re");
    long size = 0;
    if (!file && errno != ENOENT)
        return err_set(err, errno, "'%.3000s': %s", r->path, strerror(errno));
    if (file && (fseek(file, 0, SEEK_END) || (size = ftell(file)) < 0 || size > TEXT_MAX || fseek(file, 0, SEEK_SET))) {
        fclose(file);
        return err_set(err, EFBIG, "'%.3000s' cannot be read, or is over 16 MiB", r->path);
    }
    r->text = calloc(1, (size_t)size + 1);
    if (r->text && file)
        r->len = fread(r->text, 1, (size_t)size, file);
    if (file)
        fclose(file);
    return r->text ? 0 : err_set(err, ENOMEM, "out of memory");
}

struct refusals *refusals_new(const struct refusals_place *place, struct err *err)
{
    struct refusals *r = calloc(1, sizeof *r);
    if (!r) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    r->place = *place;
    r->listener.changed = object_changed;
    r->timer.fire = look;
    snprintf(r->path, sizeof r->path, "%s/refused-keys", place->tls);
    if (read_file(r, err)) {
        free(r);
        return NULL;
    }
    mirror_listen(cluster_mirror(place->cluster), &r->listener);
    loop_timer_set(place->loop, &r->timer, clock_ns());
    return r;
}

void refusals_free(struct refusals *r)
{
    if (!r)
        return;
    mirror_unlisten(&r->listener);
    loop_timer_clear(r->place.loop, &r->timer);
    free(r->text);
    free(r);
}

void refusals_add(struct change *change, const struct object *node)
{
    const char *key = object_spec_text(node, "key");
    if (!*key)
        return; /* of a node that came before keys were written down */
    change_put(change, OBJECT_REMOVED_NODE, node->id,
               json_pack("{s:s, s:s, s:s, s:{s:s, s:s}}", "kind", object_kind_name(OBJECT_REMOVED_NODE), "id", node->id,
                         "name", node->id, "spec", "node", node->name, "key", key),
               0);
}
