#include "node/agent/volume_copy.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/agent/cluster.h"
#include "node/agent/guest_plan.h"
#include "node/agent/member.h"
#include "node/agent/owner.h"
#include "node/agent/process.h"
#include "node/agent/process_file.h"
#include "node/agent/volume_member.h"
#include "node/agent/volume_move.h"
#include "node/agent/volume_unit.h"
#include "node/agent/volume_watch.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"

enum { ID_MAX = 64 };

struct volume_copy {
    struct volume_watch_place place;
    const struct volume_place *volumes;
    char move[ID_MAX];
    struct owner_claim *claim;
    uint64_t epoch;
    struct process process;
    int output;
    bool freed;
    void (*ended)(void *context, int rc, const struct err *err);
    void *context;
};

static void release(struct volume_copy *c)
{
    if (c->output >= 0)
        close(c->output);
    free(c);
}

/* ---- the program ---- */

static char *server(const struct volume_copy *c, const char *uri)
{
    json_t *layer = json_pack("{s:s, s:s}", "driver", "nbd", "reconnect", "5s");
    json_object_set_new(layer, "uri",
                        c->epoch ? json_sprintf("%s@%llu", uri, (unsigned long long)c->epoch) : json_string(uri));
    if (c->place.plan_place->tls)
        json_object_set_new(layer, "tls-certificates", json_string(c->place.plan_place->tls));
    json_t *stack = json_pack("[o]", layer);
    char *text = stack ? json_dumps(stack, JSON_COMPACT) : NULL;
    json_decref(stack);
    return text;
}

/* The bytes as they are, with what is in front of them. */
static char *source(const struct volume_copy *c, const struct object *move, const struct object *volume)
{
    if (volume_has_layout(volume)) {
        const struct object *old =
            volume_member_at(cluster_mirror(c->place.cluster), volume->id, volume_move_index(move));
        return server(c, old ? member_text(old->state, "uri") : "");
    }
    json_t *stack = json_pack("[{s:s, s:s}]", "driver", "raw", "file", member_text(volume->state, "path"));
    char *text = stack ? json_dumps(stack, JSON_COMPACT) : NULL;
    json_decref(stack);
    return text;
}

static int start(struct volume_copy *c, const struct object *move, const struct object *volume, struct err *err)
{
    char *from = source(c, move, volume), *to = server(c, volume_move_uri(cluster_mirror(c->place.cluster), move));
    const char *argv[] = {"drover-img", "copy", "--progress=never", "--no-create", from, to, NULL};
    c->output = from && to ? process_file_output(err) : -1;
    struct process_start s = {.program = c->volumes->img, .argv = (char *const *)(uintptr_t)argv, .output = c->output};
    int rc = c->output < 0 ? -EIO : process_start(&c->process, &s, err);
    free(from);
    free(to);
    return rc;
}

static void begin(struct volume_copy *c, int rc, struct err *err)
{
    const struct mirror *m = cluster_mirror(c->place.cluster);
    const struct object *move = mirror_find(m, OBJECT_VOLUME_MOVE, c->move);
    const struct object *volume = move && move->value ? volume_move_volume(m, move) : NULL;
    if (!rc)
        rc = volume ? start(c, move, volume, err) : err_set(err, ENOENT, "the volume is gone");
    if (rc)
        c->ended(c->context, rc, err);
    else
        log_info("volume %s: no guest has it, and it is copied to pool %s", volume->name, object_spec_text(move, "to"));
}

static void claimed(void *context, int rc, const json_t *epochs, const struct err *why)
{
    struct volume_copy *c = context;
    struct err err = {0};
    const struct object *move = mirror_find(cluster_mirror(c->place.cluster), OBJECT_VOLUME_MOVE, c->move);
    c->claim = NULL;
    if (rc)
        err = *why;
    else if (move && move->value)
        c->epoch = (uint64_t)json_integer_value(json_object_get(epochs, object_spec_text(move, "volume_id")));
    begin(c, rc, &err);
}

static void process_ended(struct process *process, int status)
{
    struct volume_copy *c = CONTAINER_OF(process, struct volume_copy, process);
    struct err err = {0};
    char text[ERR_TEXT_MAX / 2], how[64];
    if (c->freed) {
        release(c);
        return;
    }
    if (status && *process_file_last_words(c->output, text, sizeof text))
        err_set(&err, EIO, "%s", text);
    else if (status)
        err_set(&err, EIO, "drover-img %s", process_describe(status, how, sizeof how));
    c->ended(c->context, status ? -EIO : 0, &err);
}

/* ---- life ---- */

struct volume_copy *volume_copy_new(const struct volume_watch_place *place, const struct volume_place *volumes,
                                    const struct object *move,
                                    void (*ended)(void *context, int rc, const struct err *err), void *context,
                                    struct err *err)
{
    const struct object *volume = volume_move_volume(cluster_mirror(place->cluster), move);
    struct volume_copy *c = volume ? calloc(1, sizeof *c) : NULL;
    int rc = 0;
    if (!c) {
        err_set(err, volume ? ENOMEM : ENOENT, volume ? "out of memory" : "the volume is gone");
        return NULL;
    }
    *c = (struct volume_copy){.place = *place, .volumes = volumes, .output = -1, .ended = ended, .context = context};
    snprintf(c->move, sizeof c->move, "%s", move->id);
    process_init(&c->process, volumes->loop, process_ended);
    if (volume_has_layout(volume)) {
        json_t *ids = json_pack("[s]", volume->id);
        c->claim = owner_claim(place->cluster, NULL, ids, NULL, claimed, c, err);
        rc = c->claim ? 0 : -EAGAIN;
        json_decref(ids);
    } else {
        rc = start(c, move, volume, err);
    }
    if (!rc)
        return c;
    release(c);
    return NULL;
}

uint64_t volume_copy_epoch(const struct volume_copy *c)
{
    return c->epoch;
}

void volume_copy_free(struct volume_copy *c)
{
    if (!c)
        return;
    owner_claim_forget(c->claim);
    if (!c->process.pid) {
        release(c);
        return;
    }
    c->freed = true;
    process_signal(&c->process, SIGTERM);
}
