#include "node/agent/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "node/agent/cluster.h"
#include "node/agent/member.h"
#include "node/agent/presence.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"

static bool read_instance(const char *path, char text[UUID_TEXT_BYTES])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd < 0 ? -1 : read(fd, text, UUID_TEXT_BYTES - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    return n == UUID_TEXT_BYTES - 1;
}

/* Whole or not there: an agent that dies here leaves none that is cut. */
static int write_instance(const char *path, const char *text)
{
    char fresh[PATH_MAX + 8];
    snprintf(fresh, sizeof fresh, "%s.new", path);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));
    int rc = n < 0 ? -errno : (size_t)n != strlen(text) ? -ENOSPC : 0;
    if (fd >= 0)
        close(fd);
    return !rc && rename(fresh, path) ? -errno : rc;
}

int identity_open(struct identity *i, const char *run, struct err *err)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/instance", run) >= (int)sizeof path)
        return err_set(err, ENAMETOOLONG, "'%s' is too long a path", run);
    if (read_instance(path, i->instance))
        return 0;
    uuid_make(i->instance);
    int rc = write_instance(path, i->instance);
    return rc ? err_set(err, -rc, "%s cannot be written: %s", path, strerror(-rc)) : 0;
}

/* Of an older Drover there is no telling which one it is: it is taken for this one. */
static const char *other(const struct identity *i, const struct object *node)
{
    const char *instance = presence_is_alive(node) ? member_text(node->state, "instance") : "";
    return *instance && strcmp(instance, i->instance) ? instance : NULL;
}

static const struct object *this_node(const struct identity *i)
{
    return mirror_find(cluster_mirror(i->cluster), OBJECT_NODE, i->node_id);
}

static void look(struct loop_job *job)
{
    struct identity *i = CONTAINER_OF(job, struct identity, job);
    if (!i->waiting || other(i, this_node(i)))
        return;
    identity_close(i);
    i->is_ours(i->context);
}

static void changed(struct mirror_listener *listener, const struct object *object, enum object_part part)
{
    struct identity *i = CONTAINER_OF(listener, struct identity, listener);
    (void)object;
    (void)part;
    loop_defer(i->loop, &i->job);
}

void identity_wait(struct identity *i, struct loop *loop, struct cluster *cluster, const char *node_id,
                   void (*is_ours)(void *context), void *context)
{
    i->loop = loop;
    i->cluster = cluster;
    i->node_id = node_id;
    i->is_ours = is_ours;
    i->context = context;
    const struct object *node = this_node(i);
    if (!other(i, node)) {
        is_ours(context);
        return;
    }
    log_warn(
        "node %s is in use elsewhere: another droverd (%s) keeps its state. This one waits until that has gone; if its "
        "disk is a copy, remove its state (/var/lib/drover) and let it join",
        node->name, member_text(node->state, "api"));
    i->waiting = true;
    i->listener.changed = changed;
    i->job.run = look;
    mirror_listen(cluster_mirror(cluster), &i->listener);
}

void identity_close(struct identity *i)
{
    if (i->waiting)
        mirror_unlisten(&i->listener);
    i->waiting = false;
}
