#include "node/agent/forming.h"

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
#include "node/agent/volume_key.h"
#include "node/agent/volume_member.h"
#include "node/agent/volume_unit.h"
#include "node/agent/volumes.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { ID_MAX = 64, SOURCE_MAX = 1024 };

/* In this order; either may be left out. */
enum step { STEP_HEADER, STEP_COPY, STEP_COUNT };

struct forming {
    struct volume_watch_place place;
    const struct volume_place *volumes;
    char id[ID_MAX], source[SOURCE_MAX], key[VOLUME_KEY_WRAPPED_TEXT];
    struct owner_claim *claim;
    json_t *layer; /* the volume's, with the epoch */
    enum step step;
    struct process process;
    int output;
    bool freed;
    void (*formed)(void *context, int rc, const struct err *err);
    void *context;
};

static void release(struct forming *f)
{
    json_decref(f->layer);
    free(f);
}

/* ---- programs ---- */

/* The layers above the volume: what a program opens. */
static char *stack_for(const struct forming *f)
{
    json_t *stack = json_pack("[O]", f->layer);
    if (f->step == STEP_COPY) {
        if (*f->key)
            json_array_insert_new(stack, 0, json_pack("{s:s, s:{s:i}}", "driver", "luks", "key", "fd", 3));
        json_array_insert_new(stack, 0, json_pack("{s:s}", "driver", "align"));
    }
    char *text = json_dumps(stack, JSON_COMPACT);
    json_decref(stack);
    return text;
}

static bool is_wanted(const struct forming *f, enum step step)
{
    return step == STEP_HEADER ? *f->key : *f->source;
}

static int start(struct forming *f, char *stack, struct err *err)
{
    /* the passphrase is random, so nothing is gained by making each try of it slow */
    const char *header[] = {"drover-img",        "luks",         "create",     "--force", "--kdf=pbkdf2",
                            "--iterations=1000", "--offset=16M", "--key-fd=3", stack,     NULL};
    const char *copy[] = {"drover-img", "copy", "--progress=never", "--no-create", f->source, stack, NULL};
    const char **argv = f->step == STEP_HEADER ? header : copy;
    struct process_start s = {.program = f->volumes->img, .argv = (char *const *)(uintptr_t)argv, .output = f->output};
    int key = *f->key ? volume_key_file(f->volumes->state, f->id, f->key, err) : -1;
    if (*f->key && key < 0)
        return key;
    s.fds = &key;
    s.fd_count = key >= 0;
    int rc = process_start(&f->process, &s, err);
    if (key >= 0)
        close(key);
    return rc;
}

static void run_step(struct forming *f)
{
    struct err err = {0};
    while (f->step < STEP_COUNT && !is_wanted(f, f->step))
        f->step++;
    if (f->step == STEP_COUNT) {
        f->formed(f->context, 0, &err);
        return;
    }
    char *stack = stack_for(f);
    f->output = stack ? process_file_output(&err) : err_set(&err, ENOMEM, "out of memory");
    int rc = f->output < 0 ? f->output : start(f, stack, &err);
    free(stack);
    if (!rc)
        return;
    if (f->output >= 0)
        close(f->output);
    f->formed(f->context, rc, &err);
}

static void ended(struct process *process, int status)
{
    struct forming *f = CONTAINER_OF(process, struct forming, process);
    struct err err = {0};
    char text[ERR_TEXT_MAX / 2], how[64];
    if (status && *process_file_last_words(f->output, text, sizeof text))
        err_set(&err, EIO, "%s", text);
    else if (status)
        err_set(&err, EIO, "drover-img %s", process_describe(status, how, sizeof how));
    close(f->output);
    if (f->freed) {
        release(f);
    } else if (status) {
        f->formed(f->context, -EIO, &err);
    } else {
        f->step++;
        run_step(f);
    }
}

/* ---- the volume ---- */

static void add_epoch(json_t *stack, json_int_t epoch)
{
    json_t *layer = json_array_get(stack, 0);
    json_object_set_new(layer, "uri", json_sprintf("%s@%lld", member_text(layer, "uri"), (long long)epoch));
}

/* Every member must be there: who was not would have to be filled. */
static json_t *make_layer(const struct forming *f, const struct object *volume, json_int_t epoch, struct err *err)
{
    const struct mirror *m = cluster_mirror(f->place.cluster);
    struct layout l;
    json_t *members = json_array(), *stack;
    if (!volume_layout(volume, &l)) {
        err_set(err, EINVAL, "this node does not know the layout %s", object_spec_text(volume, "layout"));
        json_decref(members);
        return NULL;
    }
    for (unsigned i = 0; i < l.members && members; i++) {
        stack = guest_plan_member(m, volume, (int)i, f->place.plan_place);
        if (stack) {
            add_epoch(stack, epoch);
            json_array_append_new(members, stack);
            continue;
        }
        err_set(err, EAGAIN, "member %u is not served yet", i);
        json_decref(members);
        members = NULL;
    }
    if (!members)
        return NULL;
    json_t *layer =
        json_pack("{s:s, s:s, s:I, s:o}", "driver", "volume", "layout", l.name, "epoch", epoch, "members", members);
    if (!*object_spec_text(volume, "witness"))
        return layer;
    stack = guest_plan_member(m, volume, WITNESS, f->place.plan_place);
    if (stack)
        add_epoch(stack, epoch);
    json_object_set_new(layer, "witness", stack ? stack : json_string("missing"));
    return layer;
}

static void claimed(void *context, int rc, const json_t *epochs, const struct err *why)
{
    struct forming *f = context;
    struct err err = {0};
    const struct object *volume = mirror_find(cluster_mirror(f->place.cluster), OBJECT_VOLUME, f->id);
    f->claim = NULL;
    if (rc) {
        f->formed(f->context, rc, why);
        return;
    }
    if (volume && volume->value)
        f->layer = make_layer(f, volume, json_integer_value(json_object_get(epochs, f->id)), &err);
    else
        err_set(&err, ENOENT, "the volume is gone");
    if (f->layer)
        run_step(f);
    else
        f->formed(f->context, -err.code, &err);
}

/* ---- life ---- */

struct forming *forming_new(const struct volume_watch_place *place, const struct volume_place *volumes,
                            const struct object *volume, void (*formed)(void *context, int rc, const struct err *err),
                            void *context, struct err *err)
{
    struct forming *f = calloc(1, sizeof *f);
    json_t *ids = json_pack("[s]", volume->id);
    if (f) {
        f->place = *place;
        f->volumes = volumes;
        f->formed = formed;
        f->context = context;
        snprintf(f->id, sizeof f->id, "%s", volume->id);
        snprintf(f->key, sizeof f->key, "%s", member_text(volume->value, "key"));
        process_init(&f->process, volumes->loop, ended);
    } else {
        err_set(err, ENOMEM, "out of memory");
    }
    if (f && !volumes_source(place->cluster, volumes, volume, f->source, sizeof f->source))
        err_set(err, EAGAIN, "waits for image %s", object_spec_text(volume, "image"));
    else if (f)
        f->claim = owner_claim(place->cluster, NULL, ids, NULL, claimed, f, err);
    json_decref(ids);
    if (f && f->claim)
        return f;
    free(f);
    return NULL;
}

void forming_free(struct forming *f)
{
    if (!f)
        return;
    owner_claim_forget(f->claim);
    if (!f->process.pid) {
        release(f);
        return;
    }
    f->freed = true;
    process_signal(&f->process, SIGKILL);
}
