/* What a migration of this guest would cost (migrate_forecast.h), from a look at what it writes. The dirty log runs for
 * a moment while the guest does: on our own engine each page that it writes costs it a slow store once in that time, as
 * in a migration; under KVM a fault. Its memory is sampled for pages of zeroes, which are not sent, and for what
 * compressing the others takes and leaves.
 *
 * Thread: the main loop's. */
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "hv/guest_inside.h"
#include "hv/memory.h"
#include "hv/migrate_forecast.h"
#include "hv/migrate_pack.h"
#include "nbd/zeroes.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { NS_PER_MS = 1000000, PAGE = MEMORY_PAGE_BYTES, SAMPLES = 4096, POINT_COUNT = 8 };
enum { PACK_EVERY = SAMPLES / MIGRATE_PACKED_MAX, PACK_BYTES = 64 << 10 };
enum { LOOK_MS = 200, LOOK_MS_MIN = 20, LOOK_MS_MAX = 5000, CONNECT_MS = 40, FIXED_MS = 6, ROUND_MS = 2 };
enum { STREAMS = 2 }; /* as agents have, and `drover-guest ctl migrate` */
#define NS_PER_S UINT64_C(1000000000)

/* A link of 1 Gbit/s, less what TCP and TLS take: where nobody has measured it. */
static const uint64_t bandwidth_assumed = 112000000;

/* When a curve has its points, in percent of the look: writes to the same places show soon. */
static const unsigned char point_at[POINT_COUNT] = {3, 6, 12, 25, 40, 60, 80, 100};

/* ---- the look ---- */

struct guest_look {
    struct guest *guest;
    struct loop_timer timer;
    uint64_t began_ns, look_ns;
    unsigned points;
    struct migrate_curve_point curve[POINT_COUNT];
    bool over, taken; /* taken: the log is somebody else's now */
};

static void set_timer(struct guest_look *l)
{
    loop_timer_set(l->guest->loop, &l->timer, l->began_ns + l->look_ns / 100 * point_at[l->points]);
}

static void looked(struct loop_timer *timer)
{
    struct guest_look *l = CONTAINER_OF(timer, struct guest_look, timer);
    struct guest *g = l->guest;
    g->engine->log_sync(g->vm);
    l->curve[l->points++] = (struct migrate_curve_point){clock_ns() - l->began_ns, memory_log_bytes(g->memory)};
    l->over = l->points == POINT_COUNT;
    if (!l->over)
        set_timer(l);
}

void guest_look_end(struct guest *g)
{
    struct guest_look *l = g->look;
    if (!l)
        return;
    g->look = NULL;
    l->taken = true;
    loop_timer_clear(g->loop, &l->timer);
    g->engine->log_stop(g->vm);
}

/* Turns the loop. */
static int look(struct guest *g, struct guest_look *l, struct err *err)
{
    int rc = g->engine->log_start(g->vm, err);
    if (rc)
        return rc;
    l->guest = g;
    l->timer.fire = looked;
    l->began_ns = clock_ns();
    g->look = l;
    set_timer(l);
    while (!l->over && !l->taken && !g->quitting)
        loop_step(g->loop);
    if (l->taken)
        return err_set(err, EBUSY, "a migration of the guest has begun");
    guest_look_end(g);
    return l->over ? 0 : err_set(err, ECANCELED, "the guest ended");
}

/* ---- its memory ---- */

struct sampling {
    uint64_t stride; /* bytes from one page that is looked at to the next; 0: none is */
    uint64_t seen, full;
    struct migrate_pack *pack; /* NULL: no memory for it */
    struct migrate_outlook *outlook;
    bool hot[SAMPLES]; /* of those that are full: it was written to during the look */
};

/* A page, and those with it that are no zeroes, as a migration would send them. */
static void compress(struct sampling *s, const uint8_t *at, uint64_t bytes)
{
    const uint8_t *out;
    size_t n = PAGE;
    while (n < bytes && n < PACK_BYTES && !zeroes(at + n, PAGE))
        n += PAGE;
    uint64_t spent;
    size_t packed = migrate_pack_pages(s->pack, at, n, &out, &spent);
    s->outlook->packed[s->outlook->packs++] =
        (struct migrate_packed){(double)spent / (double)n, (double)(packed ? packed : n) / (double)n};
}

static void look_at_page(struct sampling *s, const uint8_t *at, uint64_t bytes, bool hot)
{
    bool full = !zeroes(at, PAGE);
    if (full && s->full < SAMPLES)
        s->hot[s->full] = hot;
    if (full && s->pack && s->full % PACK_EVERY == 0 && s->outlook->packs < MIGRATE_PACKED_MAX)
        compress(s, at, bytes);
    s->seen++;
    s->full += full;
}

/* What the memory's file holds, in bytes. */
static uint64_t walk(const struct memory *m, struct sampling *s)
{
    uint64_t total = 0, next = 0;
    int fd = memory_fd(m);
    for (unsigned i = 0; i < memory_slot_count(m); i++) {
        const struct memory_slot *slot = memory_slot(m, i);
        uint64_t at = slot->fd_offset, end = at + slot->bytes;
        while (at < end) {
            off_t data = lseek(fd, (off_t)at, SEEK_DATA), hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
            if (data < 0 || (uint64_t)data >= end)
                break;
            at = hole < 0 || (uint64_t)hole > end ? end : (uint64_t)hole;
            uint64_t bytes = at - (uint64_t)data;
            for (; s->stride && next < total + bytes; next += s->stride) {
                uint64_t place = (uint64_t)data - slot->fd_offset + next - total;
                look_at_page(s, slot->host + place, total + bytes - next, memory_log_has(m, i, place / PAGE));
            }
            total += bytes;
        }
    }
    return total;
}

/* Where in what a first round sends the pages are that are written to. */
static void slice(const struct sampling *s, struct migrate_outlook *o)
{
    unsigned count[MIGRATE_SLICES] = {0};
    uint64_t all = s->full < SAMPLES ? s->full : SAMPLES;
    for (uint64_t i = 0; i < all; i++)
        count[i * MIGRATE_SLICES / all]++;
    for (uint64_t i = 0; i < all; i++)
        o->hot[i * MIGRATE_SLICES / all] += s->hot[i] ? 1.0 / count[i * MIGRATE_SLICES / all] : 0;
}

/* The log is stopped, and still has what it had. */
static void look_at_memory(const struct memory *m, struct migrate_outlook *o)
{
    struct err ignored;
    struct sampling s = {.stride = 0};
    uint64_t held = walk(m, &s);
    s = (struct sampling){
        .stride = (held / SAMPLES / PAGE + 1) * PAGE, .pack = migrate_pack_new(&ignored), .outlook = o};
    walk(m, &s);
    migrate_pack_free(s.pack);
    slice(&s, o);
    o->present_bytes = s.seen ? (uint64_t)((double)held * (double)s.full / (double)s.seen) : 0;
}

/* ---- control ---- */

static int number_in(const json_t *body, const char *key, double preset, double min, double max, double *value,
                     struct err *err)
{
    const json_t *v = json_object_get(body, key);
    *value = v ? json_number_value(v) : preset;
    if ((v && !json_is_number(v)) || !(*value >= min && *value <= max))
        return err_set(err, EINVAL, "%s: must be a number from %.0f to %.0f", key, min, max);
    return 0;
}

struct wish {
    struct migrate_goal goal;
    struct migrate_outlook outlook;
    uint64_t look_ns;
    bool assumed;
};

static int read_wish(const json_t *body, struct wish *w, struct err *err)
{
    double look_ms = 0, bandwidth = 0, connect_ms = 0, round_ms = 0, fixed_ms = 0;
    int rc = guest_migrate_goal(body, &w->goal, err);
    rc = rc ? rc : number_in(body, "look-ms", LOOK_MS, LOOK_MS_MIN, LOOK_MS_MAX, &look_ms, err);
    rc = rc ? rc : number_in(body, "bandwidth", 0, 0, 1e15, &bandwidth, err);
    rc = rc ? rc : number_in(body, "connect-ms", CONNECT_MS, 0, 1e6, &connect_ms, err);
    rc = rc ? rc : number_in(body, "round-ms", ROUND_MS, 0, 1e6, &round_ms, err);
    rc = rc ? rc : number_in(body, "fixed-ms", FIXED_MS, 0, 1e6, &fixed_ms, err);
    if (rc)
        return rc;
    w->assumed = bandwidth < 1;
    w->look_ns = (uint64_t)(look_ms * NS_PER_MS);
    w->outlook.streams = STREAMS;
    w->outlook.bandwidth = w->assumed ? bandwidth_assumed : (uint64_t)bandwidth;
    w->outlook.connect_ns = (uint64_t)(connect_ms * NS_PER_MS);
    w->outlook.round_ns = (uint64_t)(round_ms * NS_PER_MS);
    w->outlook.fixed_ns = (uint64_t)(fixed_ms * NS_PER_MS);
    return 0;
}

static json_t *tell(const struct wish *w, const struct migrate_forecast *f)
{
    const struct migrate_curve_point *last = &w->outlook.curve[POINT_COUNT - 1];
    json_t *all = json_pack("{s:b, s:I, s:f, s:f, s:i, s:i, s:I, s:I, s:I, s:b, s:f, s:f}", "holds", f->holds, "bytes",
                            (json_int_t)f->bytes, "seconds", (double)f->total_ns / 1e9, "downtime-ms",
                            (double)f->downtime_ns / 1e6, "rounds", (int)f->rounds, "throttle",
                            (int)f->throttle / MIGRATE_THROTTLE_PERCENT, "memory", (json_int_t)w->outlook.present_bytes,
                            "dirty-rate", (json_int_t)((double)last->bytes * (double)NS_PER_S / (double)(last->ns + 1)),
                            "bandwidth", (json_int_t)w->outlook.bandwidth, "bandwidth-assumed", w->assumed, "look-ms",
                            (double)last->ns / 1e6, "compresses-to", f->left);
    if (all && (f->late || f->needs_late))
        json_object_set_new(all, f->late ? "post-copy" : "needs-post-copy", json_true());
    if (all && f->late)
        json_object_set_new(all, "post-copy-seconds", json_real((double)f->late_ns / 1e9));
    if (all && !f->holds)
        json_object_set_new(all, "reason", json_string(f->text));
    return all;
}

int guest_forecast(struct guest *g, const json_t *body, json_t **answer, struct err *err)
{
    struct wish w = {0};
    struct guest_look l = {0};
    struct migrate_forecast f;
    int rc = guest_late_wait(g, err);
    if (rc)
        return rc;
    if (guest_is_moving(g))
        return err_set(err, EBUSY, "the guest is on its way already");
    if (g->look)
        return err_set(err, EBUSY, "somebody else looks at what the guest writes: try again in a moment");
    rc = read_wish(body, &w, err);
    if (rc)
        return rc;
    l.look_ns = w.look_ns;
    rc = look(g, &l, err);
    if (rc)
        return rc;
    w.outlook.memory_bytes = memory_size(g->memory);
    look_at_memory(g->memory, &w.outlook);
    w.outlook.points = POINT_COUNT;
    memcpy(w.outlook.curve, l.curve, sizeof l.curve);
    migrate_forecast(&w.goal, &w.outlook, &f);
    *answer = tell(&w, &f);
    return 0;
}
