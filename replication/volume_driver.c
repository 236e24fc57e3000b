/* The driver "volume": options, opening and closing, and the tick that looks after everything that takes its time. */
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/buffer_pool.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "replication/volume_core.h"
#include "replication/witness_disk.h"

#define SECOND_NS UINT64_C(1000000000)

/* Of suspend. EVER is a hundred years: it can be added to a clock. */
#define SUSPEND_PRESET (60 * SECOND_NS)
#define SUSPEND_EVER (UINT64_C(3155760000) * SECOND_NS)
#define SUSPEND_UNSAID UINT64_MAX

enum { REGIONS_PRESET = 1024, HOT_PRESET = 256, MAX_TRANSFER_BYTES = 32 << 20 };

struct volume_config {
    int layout;
    const struct json_t *members, *witness;
    uint64_t epoch, eject_ns, suspend_ns, cool_ns, resync_bps, regions, hot_regions, tick_ns, ask_ns;
    bool force;
};

/* ---- for the other files ---- */

void volume_log(const struct volume *v, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_info("volume %02x%02x%02x%02x: %s", v->sb.volume[0], v->sb.volume[1], v->sb.volume[2], v->sb.volume[3], text);
}

void *volume_buffer(struct volume *v, size_t len_bytes)
{
    void *buffer = buffer_get(blk_environment(v->blk)->buffers, len_bytes);
    if (!buffer) {
        log_error("no memory for a buffer of %zu bytes", len_bytes);
        abort(); /* Rule Zero: the request was accepted and could never complete */
    }
    return buffer;
}

void volume_buffer_put(struct volume *v, void *buffer, size_t len_bytes)
{
    if (buffer)
        buffer_put(blk_environment(v->blk)->buffers, buffer, len_bytes);
}

/* ---- the tick ---- */

static bool suspended_too_long(const struct volume *v)
{
    return v->suspended_ns && loop_now_ns(v->loop) - v->suspended_ns >= v->suspend_ns;
}

/* What takes longer than a member may take is not waited for. */
static void eject_slow(struct volume *v)
{
    uint64_t now_ns = loop_now_ns(v->loop);
    for (unsigned i = 0; i < v->geometry.members && v->eject_ns; i++) {
        struct member *m = &v->members[i];
        const struct member_io *oldest = TAILQ_FIRST(&m->outstanding);
        if (!oldest || now_ns - oldest->begin_ns < v->eject_ns)
            continue;
        if (!(m->abandoned_ns && now_ns - m->abandoned_ns < v->eject_ns)) {
            m->abandoned_ns = now_ns;
            blk_abandon(m->blk);
        }
        if (volume_targets(v) & member_bit(i))
            member_lose(v, i, "to answer in time", -ETIMEDOUT);
    }
}

void volume_tick(struct volume *v)
{
    if (v->dead || v->closing)
        return;
    if (v->suspended_ns && !v->pieces && !v->grow.req)
        v->suspended_ns = loop_now_ns(v->loop); /* it is requests that wait for so long, and there are none */
    if (suspended_too_long(v) && !change_settled(v)) {
        volume_die(v, -EIO, "too few members for too long");
        return;
    }
    eject_slow(v);
    return_probe(v);
    ask_idle(v);
    volume_recover(v);
    cool_some(v, false);
    region_forget_ahead(v);
    if (!v->round.running)
        region_round(v);
    resync_kick(v);
}

static void tick_fired(struct loop_timer *timer)
{
    struct volume *v = CONTAINER_OF(timer, struct volume, tick);
    volume_tick(v);
    loop_timer_set(v->loop, &v->tick, loop_now_ns(v->loop) + v->tick_ns);
}

/* ---- opening ---- */

static char *stack_of(const json_t *json)
{
    return json_is_string(json) ? strdup(json_string_value(json)) : json_dumps(json, JSON_COMPACT);
}

/* A member is not waited for as a lone disk is: the others go on without it. */
char *volume_impatient(const char *stack, uint64_t eject_ns, struct err *err)
{
    json_t *layers, *layer;
    size_t i;
    char text[32];
    if (blk_stack_parse(stack, &layers, err))
        return NULL;
    snprintf(text, sizeof text, "%llums", (unsigned long long)(eject_ns / 1000000));
    json_array_foreach (layers, i, layer) {
        const char *name = json_string_value(json_object_get(layer, "driver"));
        if (name && strcmp(name, "nbd") == 0 && !json_object_get(layer, "reconnect"))
            json_object_set_new(layer, "reconnect", json_string(text));
    }
    char *changed = json_dumps(layers, JSON_COMPACT);
    json_decref(layers);
    return changed;
}

static void open_member(struct volume *v, unsigned index, const json_t *json)
{
    struct member *m = &v->members[index];
    struct err err = {0};
    char *stack = stack_of(json);
    if (!stack || strcmp(stack, "missing") == 0) {
        free(stack);
        return;
    }
    char *wanted = volume_impatient(stack, v->eject_ns, &err);
    if (!wanted || blk_open(blk_environment(v->blk), wanted, 0, &m->blk, &err)) {
        m->blk = NULL;
        log_warn("volume: member %u: %s", index, err.text);
    } else if (blk_read_only(m->blk) || blk_limits(m->blk)->align_bytes > BLOCK_BYTES ||
               !(blk_can(m->blk) & BLK_CAN_ZERO)) {
        log_warn("volume: member %u is read-only, or cannot do what a member must", index);
        blk_close(m->blk);
        m->blk = NULL;
    }
    free(wanted);
    free(stack);
}

/* One that is not there is done without like a member, as long as the members are votes enough. */
static int open_witness(struct volume *v, const json_t *json, struct err *err)
{
    char *stack = json ? stack_of(json) : NULL, *wanted;
    struct err why = {0};
    v->witness_given = json;
    if (!json || (stack && strcmp(stack, "missing") == 0)) {
        free(stack);
        return 0;
    }
    wanted = stack ? volume_impatient(stack, v->eject_ns, &why) : NULL;
    int rc = wanted ? witness_disk_open(blk_environment(v->blk), wanted, &v->witness, &why) : -EINVAL;
    free(wanted);
    free(stack);
    if (rc == -EINVAL) {
        *err = why;
        return err_prefix(err, "witness");
    }
    if (rc)
        log_warn("volume: the witness is not there: %s", why.text);
    return 0;
}

int volume_attach_witness(struct blk *volume, const char *stack, struct err *err)
{
    struct volume *v = blk_state(volume);
    struct witness *fresh;
    if (!v->witness_given)
        return err_set(err, EINVAL, "the volume has no witness");
    if (v->change.running)
        return err_set(err, EBUSY, "the witness is being told something: try again");
    char *wanted = volume_impatient(stack, v->eject_ns, err);
    int rc = wanted ? witness_disk_open(blk_environment(volume), wanted, &fresh, err) : -EINVAL;
    free(wanted);
    if (rc)
        return err_prefix(err, "witness");
    if (v->change.running) { /* begun while it was opened */
        fresh->free(fresh);
        return err_set(err, EBUSY, "the witness is being told something: try again");
    }
    change_witness(v, fresh);
    return 0;
}

static int volume_init(struct volume *v, struct blk *blk, const struct volume_config *c, struct err *err)
{
    v->blk = blk;
    v->loop = blk_environment(blk)->loop;
    v->eject_ns = c->eject_ns;
    v->suspend_ns = c->suspend_ns;
    if (c->suspend_ns == SUSPEND_UNSAID) /* a guest that waits goes on by itself, one whose disk failed does not */
        v->suspend_ns = blk_is_patient(blk) ? SUSPEND_EVER : SUSPEND_PRESET;
    v->cool_ns = c->cool_ns;
    v->tick_ns = c->tick_ns;
    v->ask_ns = c->ask_ns;
    v->resync.bps = c->resync_bps;
    v->hot_max = (unsigned)c->hot_regions;
    v->region_max = (unsigned)c->regions;
    v->tick.fire = tick_fired;
    resync_init(v);
    for (int i = 0; i < REGION_BUCKETS; i++)
        TAILQ_INIT(&v->buckets[i]);
    TAILQ_INIT(&v->lru);
    TAILQ_INIT(&v->idle_pieces);
    TAILQ_INIT(&v->held);
    TAILQ_INIT(&v->idle_ios);
    STAILQ_INIT(&v->round.now);
    STAILQ_INIT(&v->round.next);
    v->change.slots = aligned_alloc(4096, MEMBERS_MAX * SUPERBLOCK_BYTES);
    bool bad = !v->change.slots;
    for (unsigned i = 0; i < MEMBERS_MAX && !bad; i++) {
        struct member *m = &v->members[i];
        m->volume = v;
        m->index = i;
        TAILQ_INIT(&m->outstanding);
        bad = !(m->slots = aligned_alloc(4096, SUPERBLOCK_SLOTS * SUPERBLOCK_BYTES));
    }
    return bad ? err_set(err, ENOMEM, "no memory for a volume") : 0;
}

static void release(struct volume *v)
{
    for (unsigned i = 0; i < MEMBERS_MAX; i++) {
        blk_close(v->members[i].blk);
        free(v->members[i].slots);
        bit_map_fini(&v->missed[i]);
    }
    if (v->witness)
        v->witness->free(v->witness);
    if (v->lru.tqh_last)
        region_free_all(v);
    struct piece *p;
    while ((p = TAILQ_FIRST(&v->idle_pieces))) {
        TAILQ_REMOVE(&v->idle_pieces, p, link);
        free(p);
    }
    struct member_io *io;
    while ((io = TAILQ_FIRST(&v->idle_ios))) {
        TAILQ_REMOVE(&v->idle_ios, io, link);
        free(io);
    }
    journal_fini(v);
    bit_map_fini(&v->hot);
    bit_map_fini(&v->stored);
    bit_map_fini(&v->unequal);
    free(v->round.buffer);
    free(v->change.slots);
}

static void announce(struct volume *v)
{
    uint32_t needs = 0;
    for (unsigned m = 0; m < v->geometry.members; m++)
        needs |= v->members[m].blk ? blk_needs(v->members[m].blk) : 0;
    blk_set_size(v->blk, geometry_volume_bytes(&v->geometry));
    blk_set_limits(v->blk, &(struct blk_limits){BLOCK_BYTES, BLOCK_BYTES, MAX_TRANSFER_BYTES});
    blk_set_can(v->blk,
                BLK_CAN_TRIM | BLK_CAN_ZERO | BLK_CAN_MULTI_CONN | (v->geometry.room_bytes ? BLK_CAN_RESIZE : 0));
    blk_set_needs(v->blk, needs);
}

static int volume_open(struct blk *blk, const void *config, struct err *err)
{
    const struct volume_config *c = config;
    struct volume *v = blk_state(blk);
    size_t count = json_array_size(c->members);
    struct assembly_wish wish = {(enum layout)c->layout, (unsigned)count, c->epoch, c->force};
    if (!count || count > MEMBERS_MAX)
        return err_set(err, EINVAL, "members must be an array of 1 to %d stacks, or \"missing\"", MEMBERS_MAX);
    int rc = volume_init(v, blk, c, err);
    if (!rc)
        rc = open_witness(v, c->witness, err);
    for (unsigned i = 0; i < count && !rc; i++)
        open_member(v, i, json_array_get(c->members, i));
    v->geometry.members = (unsigned)count;
    if (!rc)
        rc = volume_assemble(v, &wish, err);
    if (rc) {
        volume_settle_io(v);
        release(v);
        return rc;
    }
    announce(v);
    if (v->tick_ns)
        loop_timer_set(v->loop, &v->tick, loop_now_ns(v->loop) + v->tick_ns);
    return 0;
}

/* ---- closing ---- */

static bool busy(const struct volume *v)
{
    bool probing = false;
    for (unsigned m = 0; m < v->geometry.members; m++)
        probing |= v->members[m].probing || !TAILQ_EMPTY(&v->members[m].outstanding);
    return probing || v->pieces || v->round.running || v->cool.running || v->change.running || v->resync.running ||
           v->journal.flushing || v->grow.running || v->witness_asked;
}

void volume_settle_io(struct volume *v)
{
    resync_stop(v);
    while (busy(v))
        loop_step(v->loop);
}

/* Everything cold and flushed, and so noted: the next owner has nothing to compare. If a member fails now, it is as if
 * the owner had fallen. */
static void close_cleanly(struct volume *v)
{
    for (unsigned tries = 0;
         v->hot_count && change_settled(v) && !v->dead && !v->flush_error && tries <= v->region_count; tries++) {
        cool_some(v, true);
        volume_settle_io(v);
    }
    if (v->dead || !change_settled(v))
        return;
    v->cool_ns = 0;
    region_forget_ahead(v);
    region_round(v);
    volume_settle_io(v);
    v->sb.clean = !v->hot.set;
    change_note(v);
    volume_settle_io(v);
}

static void volume_close(struct blk *blk)
{
    struct volume *v = blk_state(blk);
    loop_timer_clear(v->loop, &v->tick);
    resync_stop(v);
    while (v->change.running)
        loop_step(v->loop);
    v->closing = true;
    if (!change_settled(v) && !v->dead)
        volume_die(v, -EIO, "closed while too few members were there");
    volume_settle_io(v);
    close_cleanly(v);
    release(v);
}

static const char *const layouts[] = {"raid0", "raid1", "raid10", "raid5", "raid6", "replica", NULL};

static const struct blk_option volume_options[] = {
    {.name = "layout",
     .type = BLK_OPTION_CHOICE,
     .field = offsetof(struct volume_config, layout),
     .required = true,
     .choices = layouts,
     .help = "as the members were made"},
    {.name = "members",
     .type = BLK_OPTION_JSON,
     .field = offsetof(struct volume_config, members),
     .required = true,
     .help = "array of stacks, in the members' order; \"missing\" for one that is not there"},
    {.name = "witness",
     .type = BLK_OPTION_JSON,
     .field = offsetof(struct volume_config, witness),
     .help = "stack of a small disk that remembers who is in sync; \"missing\" if it is not there"},
    {.name = "epoch",
     .type = BLK_OPTION_UINT,
     .field = offsetof(struct volume_config, epoch),
     .help = "of the owner; an older one than a member has seen is refused"},
    {.name = "force",
     .type = BLK_OPTION_BOOL,
     .field = offsetof(struct volume_config, force),
     .help = "serve what is there although a later state may exist elsewhere; that is thrown away then"},
    {.name = "eject",
     .type = BLK_OPTION_DURATION,
     .field = offsetof(struct volume_config, eject_ns),
     .preset = 5 * SECOND_NS,
     .help = "a member that takes longer to answer is lost; 0: it is waited for"},
    {.name = "suspend",
     .type = BLK_OPTION_DURATION,
     .field = offsetof(struct volume_config, suspend_ns),
     .max = 1000000 * SECOND_NS,
     .preset = SUSPEND_UNSAID,
     .help = "how long requests wait while too few members are there (60s; for a guest's disk without end)"},
    {.name = "cool",
     .type = BLK_OPTION_DURATION,
     .field = offsetof(struct volume_config, cool_ns),
     .preset = 5 * SECOND_NS,
     .help = "a region that was not written for that long needs no comparing after a crash"},
    {.name = "ask",
     .type = BLK_OPTION_DURATION,
     .field = offsetof(struct volume_config, ask_ns),
     .preset = 2 * SECOND_NS,
     .help = "a member that had nothing to answer for that long is asked whether it is there; 0: never"},
    {.name = "resync-rate",
     .type = BLK_OPTION_SIZE,
     .field = offsetof(struct volume_config, resync_bps),
     .help = "bytes a second for members that are filled; 0: as fast as the foreground allows"},
    {.name = "regions",
     .type = BLK_OPTION_UINT,
     .field = offsetof(struct volume_config, regions),
     .min = 4,
     .max = 1 << 20,
     .preset = REGIONS_PRESET,
     .help = "regions whose checksums are kept in memory"},
    {.name = "hot-regions",
     .type = BLK_OPTION_UINT,
     .field = offsetof(struct volume_config, hot_regions),
     .min = 2,
     .max = 1 << 16,
     .preset = HOT_PRESET,
     .help = "regions that may have to be compared after a crash"},
    {.name = "tick",
     .type = BLK_OPTION_DURATION,
     .field = offsetof(struct volume_config, tick_ns),
     .preset = SECOND_NS / 4,
     .help = "how often members are looked after; 0: never (tests)"},
    {.name = NULL},
};

const struct blk_driver volume_driver = {
    .name = "volume",
    .options = volume_options,
    .config_bytes = sizeof(struct volume_config),
    .state_bytes = sizeof(struct volume),
    .open = volume_open,
    .close = volume_close,
    .submit = volume_submit,
};

void replication_drivers_register(void)
{
    blk_driver_register(&volume_driver);
}
