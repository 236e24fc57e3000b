#include "hv/disk_move.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hv/disk.h"
#include "hv/disk_inside.h"
#include "hv/stack_files.h"
#include "hv/stack_move.h"
#include "hv/virtio/io_thread.h"
#include "nbd/blk.h"
#include "nbd/move.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/loop.h"
#include "replication/volume.h"

/* ---- the new place, before anything waits for it ---- */

static void probe(struct loop_message *message)
{
    struct disk_probe *p = CONTAINER_OF(message, struct disk_probe, ask);
    struct blk *to = NULL;
    p->result = blk_open(io_thread_env(p->disk->parts.io), p->stack, 0, &to, &p->err);
    if (!p->result) {
        if (blk_read_only(to))
            p->result = err_set(&p->err, EROFS, "the new place is read-only");
        blk_close(to);
    }
    loop_post(p->loop, &p->answer);
}

static void probed(struct loop_message *message)
{
    struct disk_probe *p = CONTAINER_OF(message, struct disk_probe, answer);
    free(p->stack);
    p->answered = true;
    p->busy &= !p->left; /* who waits still has the disk kept */
}

static int check_to(const json_t *body, struct err *err)
{
    const json_t *to = json_object_get(body, "to");
    return json_is_array(to) && json_array_size(to) ? 0
                                                    : err_set(err, EINVAL, "to: must be a list of layers, top first");
}

/* A server that does not answer is no reason to make the guest stand again and again. */
int disk_move_error(int rc, struct err *err)
{
    if (rc == -ETIMEDOUT || rc == -EAGAIN || rc == -EBUSY || rc == -EPIPE)
        err->code = EHOSTUNREACH;
    return rc ? -err->code : 0;
}

int disk_move_probe(struct disk *d, const json_t *body, struct loop *loop, bool (*give_up)(void *context),
                    void *context, struct err *err)
{
    int rc = check_to(body, err);
    if (rc)
        return rc;
    struct disk_probe *p = &d->probe;
    *p = (struct disk_probe){.disk = d,
                             .loop = loop,
                             .stack = json_dumps(json_object_get(body, "to"), JSON_COMPACT),
                             .ask.deliver = probe,
                             .answer.deliver = probed};
    if (!p->stack)
        return err_set(err, ENOMEM, "no memory");
    p->busy = true;
    io_thread_post(d->parts.io, &p->ask);
    while (!p->answered) {
        p->left = give_up(context);
        if (p->left)
            return err_set(err, ECANCELED, "the guest ended before the new place was opened");
        loop_step(loop);
    }
    p->busy = false;
    if (!p->result)
        return 0;
    *err = p->err;
    err_prefix(err, "to");
    return disk_move_error(p->result, err);
}

/* ---- the description ---- */

int disk_move_begin(struct disk *d, const json_t *body, struct err *err)
{
    const json_t *to = json_object_get(body, "to"), *member = json_object_get(body, "member"),
                 *rate = json_object_get(body, "rate");
    int rc = check_to(body, err);
    if (rc)
        return rc;
    if (member && (!json_is_integer(member) || json_integer_value(member) < 0))
        return err_set(err, EINVAL, "member: must be a number");
    if (rate && (!json_is_integer(rate) || json_integer_value(rate) < 0))
        return err_set(err, EINVAL, "rate: must be a number, 0 for no limit");
    json_t *move = json_pack("{s:s, s:o, s:b, s:I}", "driver", "move", "to", json_deep_copy(to), "exact", !member,
                             "rate", json_integer_value(rate));
    return stack_move_insert(d->files.layers, member ? (int)json_integer_value(member) : -1, move, err);
}

static bool is_named(json_t *layers, int fd)
{
    size_t i;
    json_t *layer;
    json_array_foreach (layers, i, layer) {
        const json_t *object = stack_files_namer(layer);
        if (object && json_integer_value(json_object_get(object, "fd")) == fd)
            return true;
    }
    return false;
}

/* What was left is not held open: its space is free when its node has removed it. */
static void drop_unnamed(struct disk_files *f)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < f->count; i++)
        if (is_named(f->layers, f->fds[i]))
            f->fds[kept++] = f->fds[i];
        else
            close(f->fds[i]);
    f->count = kept;
}

void disk_move_forget(struct disk *d, bool there)
{
    if (stack_move_remove(d->files.layers, there) && there)
        drop_unnamed(&d->files);
}

bool disk_moves(const struct disk *d)
{
    int member;
    return stack_move_find(d->files.layers, &member);
}

/* ---- what is open ---- */

static struct blk *layer_of(struct blk *top)
{
    struct volume_status s;
    struct blk *found = move_in(top), *volume = volume_in(top);
    if (found || !volume)
        return found;
    volume_status(volume, &s);
    for (unsigned i = 0; i < s.geometry.members && !found; i++)
        found = move_in(volume_member(volume, i));
    return found;
}

bool disk_move_waits(struct blk *top)
{
    struct move_status s = {.waits = false};
    struct blk *move = layer_of(top);
    if (move)
        move_status(move, &s);
    return s.waits;
}

struct deciding {
    struct disk *disk;
    bool settles, there;
    struct err *err;
    int rc;
};

static void decide(void *context)
{
    struct deciding *d = context;
    struct blk *top = d->disk->blk, *move = top ? layer_of(top) : NULL;
    if (!move && top && !d->settles)
        d->rc = 0; /* the member that it belonged to was lost, or replaced */
    else if (!move)
        d->rc = err_set(d->err, EINVAL, "nothing that the disk lies on is moving");
    else
        d->rc = d->settles ? move_settle(move, d->err) : move_end(move, d->there, d->err);
}

int disk_move_settle(struct disk *d, struct err *err)
{
    struct deciding all = {.disk = d, .settles = true, .err = err};
    io_thread_call(d->parts.io, decide, &all);
    return all.rc;
}

int disk_move_end(struct disk *d, bool there, struct err *err)
{
    struct deciding all = {.disk = d, .there = there, .err = err};
    io_thread_call(d->parts.io, decide, &all);
    return all.rc;
}

struct looking {
    const struct disk *disk;
    bool found;
};

static void look(void *context)
{
    struct looking *l = context;
    l->found = l->disk->blk && layer_of(l->disk->blk);
}

bool disk_move_is_open(const struct disk *d)
{
    struct looking l = {.disk = d};
    io_thread_call(d->parts.io, look, &l);
    return l.found;
}

json_t *disk_move_json(struct blk *top, const struct disk_files *files)
{
    struct move_status s;
    struct blk *move = layer_of(top);
    int member = -1;
    const json_t *layer = stack_move_find(files->layers, &member);
    const char *uri = json_string_value(json_object_get(json_array_get(json_object_get(layer, "to"), 0), "uri"));
    if (!move && !layer)
        return NULL;
    if (move)
        move_status(move, &s);
    else
        s = (struct move_status){.phase = MOVE_HERE, .reason = "the member that moves was lost, or replaced"};
    return json_pack("{s:s, s:I, s:I, s:b, s:s, s:i, s:s}", "phase", move_phase_name(s.phase), "done_bytes",
                     (json_int_t)s.done_bytes, "total_bytes", (json_int_t)s.total_bytes, "waits", s.waits, "reason",
                     s.reason, "member", member, "uri", uri ? uri : "");
}
