#include "node/agent/tending.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/agent/cluster.h"
#include "node/agent/guest_handed.h"
#include "node/agent/guest_plan.h"
#include "node/agent/layout.h"
#include "node/agent/member.h"
#include "node/agent/owner.h"
#include "node/agent/process.h"
#include "node/agent/process_file.h"
#include "node/agent/volume_member.h"
#include "node/agent/volume_unit.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"

enum { ID_MAX = 64, STATUS_MAX = 16384, WORDS = 12 };

struct tending {
    struct volume_watch_place place;
    const struct volume_place *volumes;
    char id[ID_MAX];
    struct volume_work work;
    char members[LAYOUT_MEMBERS_MAX][ID_MAX]; /* that it was begun with; "": without that one */
    char witness[ID_MAX];
    struct owner_claim *claim;
    struct process process;
    int output;
    json_t *status;
    bool freed;
    void (*ended)(void *context, int rc, const struct err *err);
    void *context;
};

static void release(struct tending *t)
{
    if (t->output >= 0)
        close(t->output);
    json_decref(t->status);
    free(t);
}

/* ---- the program ---- */

static bool is_reached(const struct mirror *m, const struct object *member)
{
    return member && *member_text(member->state, "uri") && volume_member_is_up(m, member);
}

/* The stack with epochs and, for an encrypted one, its key among the files. NULL with err. */
static char *stack_of(struct tending *t, const struct object *volume, const json_t *epochs, struct guest_handed *handed,
                      struct err *err)
{
    const struct mirror *m = cluster_mirror(t->place.cluster);
    json_t *stack = guest_plan_volume(m, volume, t->place.plan_place, err);
    if (!stack)
        return NULL;
    for (unsigned i = 0; i < json_array_size(object_spec(volume, "pools")) && i < LAYOUT_MEMBERS_MAX; i++) {
        const struct object *member = volume_member_at(m, t->id, (int)i);
        snprintf(t->members[i], ID_MAX, "%s", is_reached(m, member) ? member->id : "");
    }
    const struct object *witness = volume_member_at(m, t->id, WITNESS);
    snprintf(t->witness, ID_MAX, "%s", is_reached(m, witness) ? witness->id : "");
    json_t *config = json_pack("{s:[{s:o}]}", "disks", "stack", stack);
    int rc = guest_handed_keys(handed, config, t->volumes->state, err);
    if (!rc)
        rc = guest_handed_epochs(config, epochs, err);
    char *text = rc ? NULL : json_dumps(stack, JSON_COMPACT);
    json_decref(config);
    return text;
}

static int start(struct tending *t, const struct object *volume, const json_t *epochs, struct err *err)
{
    struct guest_handed handed = {.count = 0};
    char grow[40], rate[40];
    const char *argv[WORDS] = {"drover-img", "volume", "tend"};
    unsigned n = 3;
    json_int_t bps = json_integer_value(object_spec(volume, "resync_rate"));
    snprintf(grow, sizeof grow, "--grow=%lld", (long long)t->work.grow_bytes);
    snprintf(rate, sizeof rate, "--rate=%lld", (long long)bps);
    if (t->work.grow_bytes)
        argv[n++] = grow;
    if (bps)
        argv[n++] = rate;
    if (t->work.scrub)
        argv[n++] = "--scrub";
    char *stack = stack_of(t, volume, epochs, &handed, err);
    argv[n++] = stack;
    t->output = stack ? process_file_output(err) : -1;
    int rc = t->output < 0 ? -EIO : 0;
    struct process_start s = {.program = t->volumes->img,
                              .argv = (char *const *)(uintptr_t)argv,
                              .output = t->output,
                              .fds = handed.fds,
                              .fd_count = handed.count};
    if (!rc)
        rc = process_start(&t->process, &s, err);
    guest_handed_close(&handed);
    free(stack);
    return rc;
}

static void claimed(void *context, int rc, const json_t *epochs, const struct err *why)
{
    struct tending *t = context;
    struct err err = {0};
    const struct object *volume = mirror_find(cluster_mirror(t->place.cluster), OBJECT_VOLUME, t->id);
    t->claim = NULL;
    if (rc)
        err = *why;
    else if (!volume || !volume->value)
        rc = err_set(&err, ENOENT, "the volume is gone");
    else
        rc = start(t, volume, epochs, &err);
    if (rc)
        t->ended(t->context, rc, &err);
    else
        log_info("volume %s: no guest has it, and it is looked after:%s%s%s", volume->name,
                 t->work.grow_bytes ? " made larger" : "", t->work.fill ? " filled" : "",
                 t->work.scrub ? " scrubbed" : "");
}

static void process_ended(struct process *process, int status)
{
    struct tending *t = CONTAINER_OF(process, struct tending, process);
    struct err err = {0};
    char text[ERR_TEXT_MAX / 2], how[64];
    if (t->freed) {
        release(t);
        return;
    }
    if (!status)
        tending_look(t);
    else if (*process_file_last_words(t->output, text, sizeof text))
        err_set(&err, EIO, "%s", text);
    else
        err_set(&err, EIO, "drover-img %s", process_describe(status, how, sizeof how));
    t->ended(t->context, status ? -EIO : 0, &err);
}

/* ---- what it says ---- */

void tending_look(struct tending *t)
{
    static char text[STATUS_MAX];
    json_t *status = t->output < 0 ? NULL : json_loads(process_file_last_line(t->output, text, sizeof text), 0, NULL);
    if (json_is_array(json_object_get(status, "members"))) {
        json_decref(t->status);
        t->status = status;
    } else {
        json_decref(status); /* a line of the log, or one that is being written */
    }
}

const json_t *tending_status(const struct tending *t)
{
    return t->status;
}

bool tending_means(const struct tending *t, unsigned index, const char *member)
{
    return index < LAYOUT_MEMBERS_MAX && (!*t->members[index] || !strcmp(t->members[index], member));
}

bool tending_means_witness(const struct tending *t, const char *member)
{
    return !*t->witness || !strcmp(t->witness, member);
}

int64_t tending_scrubbed(const struct tending *t)
{
    return json_integer_value(json_object_get(json_object_get(t->status, "scrub"), "runs")) ? t->work.scrub : 0;
}

bool tending_does(const struct tending *t, const struct mirror *m, const struct object *volume,
                  const struct volume_work *work)
{
    if (work->grow_bytes > t->work.grow_bytes || work->scrub > t->work.scrub)
        return false;
    const struct object *witness = volume_member_at(m, t->id, WITNESS);
    if (!t->claim && is_reached(m, witness) && strcmp(witness->id, t->witness) != 0)
        return false;
    for (unsigned i = 0; i < json_array_size(object_spec(volume, "pools")) && i < LAYOUT_MEMBERS_MAX && !t->claim;
         i++) {
        const struct object *member = volume_member_at(m, t->id, (int)i);
        if (is_reached(m, member) && strcmp(member->id, t->members[i]) != 0)
            return false;
    }
    return true;
}

/* ---- life ---- */

struct tending *tending_new(const struct volume_watch_place *place, const struct volume_place *volumes,
                            const struct object *volume, const struct volume_work *work,
                            void (*ended)(void *context, int rc, const struct err *err), void *context, struct err *err)
{
    struct tending *t = calloc(1, sizeof *t);
    json_t *ids = json_pack("[s]", volume->id);
    if (t) {
        t->place = *place;
        t->volumes = volumes;
        t->work = *work;
        t->ended = ended;
        t->context = context;
        t->output = -1;
        snprintf(t->id, sizeof t->id, "%s", volume->id);
        process_init(&t->process, volumes->loop, process_ended);
        t->claim = owner_claim(place->cluster, NULL, ids, NULL, claimed, t, err);
    } else {
        err_set(err, ENOMEM, "out of memory");
    }
    json_decref(ids);
    if (t && t->claim)
        return t;
    free(t);
    return NULL;
}

void tending_stop(struct tending *t)
{
    if (t->process.pid)
        process_signal(&t->process, SIGTERM);
}

void tending_free(struct tending *t)
{
    if (!t)
        return;
    owner_claim_forget(t->claim);
    if (!t->process.pid) {
        release(t);
        return;
    }
    t->freed = true;
    process_signal(&t->process, SIGTERM);
}
