/* See luks.h. */
#include "nbd/luks.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "nbd/blk_driver.h"
#include "nbd/luks_transfer.h"
#include "nbd/luks_volume.h"
#include "node/base/container.h"
#include "node/base/log.h"

enum { ANY_SLOT = LUKS_SLOTS_MAX };

struct luks_config {
    const json_t *key;
    uint64_t slot;
    bool discard;
};

struct luks {
    struct luks_transfer transfer; /* first: luks_transfer.c finds it as the layer's state */
    bool discard;
};

/* ---- requests ---- */

static struct blk_req *child_of(struct luks *luks, struct blk_req *req)
{
    struct blk_req *child = blk_child(luks->transfer.blk, req);
    child->op = req->op;
    child->flags = req->flags;
    child->offset = luks->transfer.payload_offset + req->offset;
    child->length_bytes = req->length_bytes;
    return child;
}

static void pass(struct luks *luks, struct blk_req *req)
{
    blk_forward_at(luks->transfer.blk, req, luks->transfer.payload_offset + req->offset);
}

/* What reads as zeroes below does not here; neighbours may become alike by that. */
static void extents_told(struct blk_req *child)
{
    struct blk_req *req = child->parent;
    int result = child->result;
    uint32_t n = 0;
    for (uint32_t i = 0; i < child->extent_count && !result; i++) {
        struct blk_extent e = req->extents[i];
        e.flags &= ~(uint32_t)BLK_EXTENT_ZERO;
        if (n && req->extents[n - 1].flags == e.flags && req->extents[n - 1].depth == e.depth)
            req->extents[n - 1].length_bytes += e.length_bytes;
        else
            req->extents[n++] = e;
    }
    req->extent_count = n;
    blk_child_put(req->blk, child);
    blk_complete(req, result);
}

static void ask_extents(struct luks *luks, struct blk_req *req)
{
    struct blk_req *child = child_of(luks, req);
    child->extents = req->extents;
    child->extent_max = req->extent_max;
    child->done = extents_told;
    blk_submit(blk_below(luks->transfer.blk), child);
}

static void resized(struct blk_req *child)
{
    struct blk_req *req = child->parent;
    struct luks *luks = blk_state(req->blk);
    int result = child->result;
    blk_child_put(req->blk, child);
    if (result || req->offset <= blk_size(req->blk))
        blk_complete(req, result);
    else
        luks_transfer_zero(&luks->transfer, req, blk_size(req->blk), req->offset);
}

static void resize(struct luks *luks, struct blk_req *req)
{
    struct blk_req *child;
    if (req->offset > INT64_MAX - luks->transfer.payload_offset) {
        blk_complete(req, -EINVAL);
        return;
    }
    child = child_of(luks, req);
    child->length_bytes = 0;
    child->done = resized;
    blk_submit(blk_below(luks->transfer.blk), child);
}

static void luks_submit(struct blk *blk, struct blk_req *req)
{
    struct luks *luks = blk_state(blk);
    switch (req->op) {
    case BLK_READ:
        luks_transfer_read(&luks->transfer, req);
        return;
    case BLK_WRITE:
        luks_transfer_write(&luks->transfer, req);
        return;
    case BLK_ZERO:
        luks_transfer_zero(&luks->transfer, req, req->offset, req->offset + req->length_bytes);
        return;
    case BLK_TRIM:
        if (luks->discard)
            pass(luks, req);
        else
            blk_complete(req, 0);
        return;
    case BLK_EXTENTS:
        ask_extents(luks, req);
        return;
    case BLK_RESIZE:
        resize(luks, req);
        return;
    case BLK_FLUSH:
        blk_forward(blk, req);
        return;
    case BLK_CACHE:
        pass(luks, req);
        return;
    case BLK_OP_COUNT:
        break;
    }
    blk_complete(req, -EINVAL);
}

/* ---- opening ---- */

struct aside {
    struct worker_task task;
    void (*call)(void *argument);
    void *argument;
    bool done;
};

static void aside_run(struct worker_task *task)
{
    struct aside *a = CONTAINER_OF(task, struct aside, task);
    a->call(a->argument);
}

static void aside_done(struct worker_task *task)
{
    CONTAINER_OF(task, struct aside, task)->done = true;
}

/* On a worker, while the loop goes on: a passphrase is made to take long. */
static void run_aside(void *context, void (*call)(void *argument), void *argument)
{
    const struct blk_env *env = context;
    struct aside a = {.task = {.run = aside_run, .done = aside_done}, .call = call, .argument = argument};
    worker_submit(env->worker, &a.task);
    while (!a.done)
        loop_step(env->loop);
}

static int read_key(const json_t *option, struct luks_key *key, bool *master, struct err *err)
{
    const json_t *file = json_object_get(option, "file"), *fd = json_object_get(option, "fd");
    const json_t *is_master = json_object_get(option, "master");
    if (!json_is_object(option) || !file == !fd || (file && !json_is_string(file)) ||
        json_object_size(option) != 1 + (size_t) !!is_master || (is_master && !json_is_boolean(is_master)))
        return err_set(err, EINVAL, "key must be {\"file\": PATH} or {\"fd\": NUMBER}, and may have \"master\": true");
    if (fd && (!json_is_integer(fd) || json_integer_value(fd) < 3 || json_integer_value(fd) > 65535))
        return err_set(err, EINVAL, "key: fd must be the number of an open descriptor, from 3 on");
    *master = json_is_true(is_master);
    return file ? luks_key_read_file(json_string_value(file), key, err)
                : luks_key_read_descriptor((int)json_integer_value(fd), key, err);
}

static int find_volume_key(struct luks_volume *v, const struct luks_config *c, struct luks_key *key, struct err *err)
{
    struct luks_key given = {0};
    bool master = false;
    int slot, rc = read_key(c->key, &given, &master, err);
    if (!rc && !master)
        rc = luks_volume_unlock(v, &given, c->slot == ANY_SLOT ? -1 : (int)c->slot, &slot, key, err);
    else if (!rc && !(rc = luks_volume_verify(v, &given, err))) {
        *key = given;
        return 0;
    }
    luks_key_fini(&given);
    return rc;
}

static int describe(struct blk *blk, const struct luks_header *h, struct err *err)
{
    const struct blk_limits *below = blk_limits(blk_below(blk));
    struct blk_limits limits = *below;
    uint32_t can = blk_can(blk_below(blk));
    if (h->payload_offset % below->align_bytes)
        return err_set(err, EINVAL, "the data begins at %" PRIu64 ", and the layer below wants multiples of %u",
                       h->payload_offset, below->align_bytes);
    if (limits.align_bytes < h->sector_bytes)
        limits.align_bytes = h->sector_bytes;
    if (limits.preferred_bytes < limits.align_bytes)
        limits.preferred_bytes = limits.align_bytes;
    blk_set_limits(blk, &limits);
    blk_set_size(blk, h->payload_bytes / limits.align_bytes * limits.align_bytes);
    can = (can & ~(uint32_t)(BLK_CAN_FAST_ZERO | (h->payload_fixed ? BLK_CAN_RESIZE : 0))) | BLK_CAN_ZERO;
    blk_set_can(blk, can);
    return 0;
}

static void warn_of_copies(const struct luks_volume *v)
{
    for (int i = 0; i < 2 && v->header.version == 2; i++)
        if (v->copies[i].state != LUKS_COPY_GOOD)
            log_warn("luks %s: the %s header is %s%s: `drover-img luks check --repair` makes it like the other",
                     v->header.uuid, i ? "second" : "first",
                     v->copies[i].state == LUKS_COPY_OLD ? "older than the other" : "damaged: ",
                     v->copies[i].state == LUKS_COPY_OLD ? "" : v->copies[i].why.text);
}

static int luks_open(struct blk *blk, const void *config, struct err *err)
{
    const struct luks_config *c = config;
    struct luks *luks = blk_state(blk);
    struct luks_io_blk io;
    struct luks_volume v = {0};
    struct luks_key key = {0};
    struct luks_cipher *cipher = NULL;
    luks_io_blk(blk_below(blk), &io);
    int rc = luks_volume_load(&io.io, &v, err);
    v.aside = run_aside;
    v.aside_context = (void *)(uintptr_t)blk_environment(blk);
    if (!rc)
        rc = describe(blk, &v.header, err);
    if (!rc)
        rc = find_volume_key(&v, c, &key, err);
    if (!rc)
        rc = luks_cipher_new(key.bytes, key.len_bytes, v.header.sector_bytes, &cipher, err);
    if (!rc) {
        warn_of_copies(&v);
        luks->discard = c->discard;
        luks_transfer_init(&luks->transfer, blk, cipher, v.header.payload_offset, v.header.iv_tweak);
    }
    luks_key_fini(&key);
    luks_volume_fini(&v);
    return rc;
}

static void luks_close(struct blk *blk)
{
    struct luks *luks = blk_state(blk);
    luks_transfer_fini(&luks->transfer);
}

static const struct blk_option luks_options[] = {
    {.name = "key",
     .type = BLK_OPTION_JSON,
     .field = offsetof(struct luks_config, key),
     .required = true,
     .help = "{\"file\": PATH} or {\"fd\": N}: the passphrase; with \"master\": true the volume key"},
    {.name = "keyslot",
     .type = BLK_OPTION_UINT,
     .field = offsetof(struct luks_config, slot),
     .max = LUKS_SLOTS_MAX - 1,
     .preset = ANY_SLOT,
     .help = "try only this keyslot"},
    {.name = "discard",
     .type = BLK_OPTION_BOOL,
     .field = offsetof(struct luks_config, discard),
     .preset = true,
     .help = "trims pass to the layer below, and show there what is not used"},
    {.name = NULL},
};

const struct blk_driver luks_driver = {
    .name = "luks",
    .filter = true,
    .options = luks_options,
    .config_bytes = sizeof(struct luks_config),
    .state_bytes = sizeof(struct luks),
    .open = luks_open,
    .close = luks_close,
    .submit = luks_submit,
};
