/* See disk_volume.h. Attaching connects to a server, so it is done by a message and not by a call that the main loop
 * would wait for; meanwhile the volume serves. */
#include "hv/disk_volume.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "hv/virtio/io_thread.h"
#include "node/base/container.h"
#include "replication/volume.h"
#include "replication/volume_json.h"

/* ---- on the I/O thread ---- */

static void scrubbed(void *context, int result)
{
    struct disk_volume *v = context;
    struct volume_status s;
    if (!v->blk) /* it ends because the disk is closed */
        return;
    volume_status(v->blk, &s);
    volume_scrubs_end(&v->scrubs, &s, result);
}

static int scrub(struct disk_volume *v)
{
    struct volume_status s;
    volume_status(v->blk, &s);
    int rc = volume_scrub(v->blk, scrubbed, v);
    if (rc)
        return err_set(&v->err, -rc, "the volume cannot be scrubbed now: %s",
                       rc == -EALREADY ? "it is being done" : strerror(-rc));
    volume_scrubs_begin(&v->scrubs, &s);
    return 0;
}

static void make_change(struct loop_message *message)
{
    struct disk_volume *v = CONTAINER_OF(message, struct disk_volume, change);
    if (!v->blk) {
        v->result = err_set(&v->err, EBUSY, "the disk is closed at the moment");
        loop_post(v->loop, &v->answer);
        return;
    }
    switch (v->verb) {
    case DISK_VOLUME_ATTACH:
        v->result = v->member == UINT32_MAX ? volume_attach_witness(v->blk, v->stack, &v->err)
                                            : volume_attach(v->blk, v->member, v->stack, &v->err);
        break;
    case DISK_VOLUME_SCRUB:
        v->result = scrub(v);
        break;
    case DISK_VOLUME_RATE:
        volume_set_resync_rate(v->blk, v->bytes);
        v->resync_bps = v->bytes;
        v->result = 0;
        break;
    }
    loop_post(v->loop, &v->answer);
}

json_t *disk_volume_json(const struct disk_volume *v)
{
    return volume_json(v->blk, v->top, &v->scrubs, v->resync_bps);
}

/* ---- main loop ---- */

static void answered(struct loop_message *message)
{
    struct disk_volume *v = CONTAINER_OF(message, struct disk_volume, answer);
    v->changing = false;
}

static int take_attach(struct disk_volume *v, const json_t *body, struct err *err)
{
    const json_t *member = json_object_get(body, "member"), *stack = json_object_get(body, "stack");
    json_int_t n = json_integer_value(member);
    if (!json_is_integer(member) || n < -1 || n >= MEMBERS_MAX)
        return err_set(err, EINVAL, "member: must be a number from 0 to %d, or -1 for the witness", MEMBERS_MAX - 1);
    if (!json_is_array(stack))
        return err_set(err, EINVAL, "stack: must be a list of layers, top first");
    v->verb = DISK_VOLUME_ATTACH;
    v->member = n < 0 ? UINT32_MAX : (unsigned)n;
    v->stack = json_dumps(stack, JSON_COMPACT);
    return v->stack ? 0 : err_set(err, ENOMEM, "no memory for a stack");
}

static int take(struct disk_volume *v, const json_t *body, struct err *err)
{
    const char *verb = json_string_value(json_object_get(body, "verb"));
    const json_t *bytes = json_object_get(body, "bytes");
    if (verb && !strcmp(verb, "attach"))
        return take_attach(v, body, err);
    if (verb && !strcmp(verb, "scrub")) {
        v->verb = DISK_VOLUME_SCRUB;
        return 0;
    }
    if (!verb || strcmp(verb, "rate") != 0)
        return err_set(err, EINVAL, "verb: must be attach, scrub or rate");
    if (!json_is_integer(bytes) || json_integer_value(bytes) < 0)
        return err_set(err, EINVAL, "bytes: must be a number, 0 for no limit");
    v->verb = DISK_VOLUME_RATE;
    v->bytes = (uint64_t)json_integer_value(bytes);
    return 0;
}

int disk_volume_change(struct disk_volume *v, const json_t *body, struct loop *loop, bool (*give_up)(void *context),
                       void *context, struct err *err)
{
    if (!v->blk)
        return err_set(err, EINVAL, "the disk is no volume over several members");
    if (v->changing)
        return err_set(err, EBUSY, "the volume is being changed already");
    int rc = take(v, body, err);
    if (rc)
        return rc;
    v->loop = loop;
    v->change.deliver = make_change;
    v->answer.deliver = answered;
    v->changing = true;
    io_thread_post(v->io, &v->change);
    while (v->changing) {
        if (give_up(context))
            return err_set(err, ECANCELED, "the guest ended before its volume was changed");
        loop_step(loop);
    }
    free(v->stack);
    v->stack = NULL;
    if (v->result)
        *err = v->err;
    return v->result;
}
