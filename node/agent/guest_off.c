#include "node/agent/guest_off.h"

#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/member.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"
#include "node/base/timestamp.h"
#include "node/base/uuid.h"

enum { AGAIN_MS = 1000 };

struct guest_off {
    struct loop *loop;
    struct cluster *cluster;
    struct loop_job *look;
    struct loop_timer timer;
    char started[TIMESTAMP_BYTES]; /* the last time that somebody asked for it */
    uint64_t revision, again_ms;   /* of the guest, in the last try; and when that one is repeated */
    char id[UUID_TEXT_BYTES];
    struct log_limit limit;
    bool writing, freed;
};

static void written(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct guest_off *off = context;
    (void)revision;
    off->writing = false;
    if (rc && rc != -ESTALE)
        log_limited(&off->limit, LOG_LEVEL_WARN, "guest %s has switched itself off, which is not written yet: %s",
                    off->id, err->text);
    if (off->freed) {
        free(off);
        return;
    }
    off->again_ms = clock_ms() + AGAIN_MS;
    loop_timer_set(off->loop, &off->timer, clock_ns() + AGAIN_MS * 1000000ull);
    loop_defer(off->loop, off->look);
}

static void fire(struct loop_timer *timer)
{
    struct guest_off *off = CONTAINER_OF(timer, struct guest_off, timer);
    loop_defer(off->loop, off->look);
}

static void write_down(struct guest_off *off, const struct object *guest)
{
    struct change *change = change_new(off->cluster);
    if (!change)
        return;
    json_t *value = json_deep_copy(guest->value);
    json_object_set_new(json_object_get(value, "spec"), "running", json_false());
    change_put(change, OBJECT_GUEST, guest->id, value, guest->revision);
    off->revision = guest->revision;
    off->writing = true;
    change_commit(change, written, off);
}

struct guest_off *guest_off_new(struct loop *loop, struct cluster *cluster, const struct object *guest,
                                struct loop_job *look)
{
    struct guest_off *off = calloc(1, sizeof *off);
    if (!off)
        return NULL;
    off->loop = loop;
    off->cluster = cluster;
    off->look = look;
    off->timer.fire = fire;
    off->limit = (struct log_limit){.burst = 1, .interval_ms = 60000};
    snprintf(off->id, sizeof off->id, "%s", guest->id);
    snprintf(off->started, sizeof off->started, "%s", member_text(guest->value, "started"));
    return off;
}

bool guest_off_holds(struct guest_off *off, const struct object *guest)
{
    if (!json_is_true(object_spec(guest, "running")) || strcmp(off->started, member_text(guest->value, "started")) != 0)
        return false;
    if (!off->writing && (off->revision != guest->revision || clock_ms() >= off->again_ms))
        write_down(off, guest);
    return true;
}

void guest_off_free(struct guest_off *off)
{
    if (!off)
        return;
    loop_timer_clear(off->loop, &off->timer);
    off->freed = true;
    if (!off->writing)
        free(off);
}
