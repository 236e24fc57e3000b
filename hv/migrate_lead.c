/* The protocol, from the source's side, in the order in which it happens. */
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "hv/migrate_crew.h"
#include "hv/migrate_pack.h"
#include "hv/migrate_source_inside.h"
#include "hv/migrate_words.h"
#include "node/base/clock.h"

enum { NS_PER_MS = 1000000, STATE_PART = 256 << 10, STOP_TRIES = 5, FIRST_FIXED_MS = 4, QUICK_MS = 2 };

enum { TELLING_BYTES = 1 << 20 }; /* a round of less measures answers rather than bytes */

/* The destination waits for GO 15 s from its READY on. Said later than that after FINAL, it might meet a destination
 * that has given up. */
#define GO_LIMIT_NS UINT64_C(8000000000)

/* ---- messages ---- */

/* Waits for one type of answer; the destination's refusals and failures become our error. words: a new object, or
 * NULL; not wanted: NULL. */
static int expect_words(struct migrate_source *m, enum migrate_type type, uint64_t *number, json_t **words,
                        struct err *err)
{
    struct migrate_link *l = &m->links[0];
    struct migrate_frame f = {.number = 0};
    json_t *body = NULL;
    int rc = migrate_link_get_frame(l, &f, err);
    if (!rc && f.bytes)
        rc = migrate_words_get(l, f.bytes, &body, err);
    if (!rc && (f.type == MIGRATE_REFUSED || f.type == MIGRATE_FAILED)) {
        const char *text = json_string_value(json_object_get(body, "text"));
        rc = err_set(err, f.type == MIGRATE_REFUSED ? ENOTSUP : EREMOTEIO, "the destination %s: %.400s",
                     f.type == MIGRATE_REFUSED ? "refuses the guest" : "failed", text ? text : "it does not say why");
    } else if (!rc && f.type != type) {
        rc = err_set(err, EPROTO, "the destination sent %s where %s was due", migrate_type_name(f.type),
                     migrate_type_name(type));
    }
    *number = f.number;
    if (words)
        *words = rc ? NULL : json_incref(body);
    json_decref(body);
    return rc;
}

/* words: as expect_words() */
static int expect_said(struct migrate_source *m, enum migrate_type type, uint64_t number, json_t **words,
                       struct err *err)
{
    uint64_t came = 0;
    int rc = expect_words(m, type, &came, words, err);
    if (!rc && came != number)
        rc = err_set(err, EPROTO, "the destination sent %s %llu where %llu was due", migrate_type_name(type),
                     (unsigned long long)came, (unsigned long long)number);
    return rc;
}

static int expect(struct migrate_source *m, enum migrate_type type, uint64_t number, struct err *err)
{
    return expect_said(m, type, number, NULL, err);
}

/* A write failed: the destination may have said why. */
static int ask_why(struct migrate_source *m, int rc, struct err *err)
{
    struct err words;
    if (rc != -EPIPE || !migrate_link_is_open(&m->links[0]))
        return rc;
    m->links[0].failed = 0;
    m->links[0].patience_ns = 1000ull * NS_PER_MS;
    int other = 0;
    for (unsigned i = 0; i < 64 && !other; i++) /* answers that are on their way are no reasons */
        other = expect(m, MIGRATE_TYPE_COUNT, 0, &words);
    m->links[0].failed = rc;
    if (other != -EREMOTEIO && other != -ENOTSUP)
        return rc;
    *err = words;
    return other;
}

/* ---- steps ---- */

int migrate_lead_connect(struct migrate_source *m, struct err *err)
{
    int rc = 0;
    for (unsigned i = 0; i < m->request.streams && !rc; i++) {
        int fd = m->request.fds[i];
        uint64_t sent = m->links[i].sent_bytes;
        m->request.fds[i] = -1;
        rc = migrate_link_open(&m->links[i], fd, m->wake, m->request.patience_ns, m->contexts[i], err);
        atomic_fetch_add(&m->links[i].sent_bytes, sent);
    }
    return rc;
}

struct call {
    struct migrate_source *m;
    json_t *json;
    struct err *err;
    unsigned throttle;
    int rc;
};

static void make_senders(struct migrate_source *m)
{
    for (unsigned i = 0; i < m->request.streams; i++)
        m->senders[i] = (struct migrate_sender){.memory = m->memory,
                                                .link = &m->links[i],
                                                .stream = i,
                                                .streams = m->request.streams,
                                                .pace = migrate_round_pace,
                                                .context = m,
                                                .sums = m->sums,
                                                .copy = m->copies + i * (size_t)MIGRATE_RUN_BYTES};
}

static void facts(void *context)
{
    struct call *c = context;
    c->json = c->m->host->facts(c->m->host);
}

/* Whether pages may come after the guest: both sides have to be ready for it. */
static void agree_on_late(struct migrate_source *m, uint64_t version, const json_t *welcome)
{
    const char *why = json_string_value(json_object_get(welcome, "post-copy-reason"));
    if (!m->request.goal.late)
        return;
    m->may_late = version >= MIGRATE_VERSION_LATE && json_is_true(json_object_get(welcome, "post-copy"));
    if (version < MIGRATE_VERSION_LATE)
        why = "its program is older";
    snprintf(m->late_why_not, sizeof m->late_why_not, "%s", m->may_late ? "" : why ? why : "it does not say why");
    m->request.goal.late = m->may_late;
}

static int greet(struct migrate_source *m, struct err *err)
{
    struct call c = {.m = m};
    migrate_crew_on_main(m->crew, facts, &c);
    if (!c.json)
        return err_set(err, ENOMEM, "no memory for a message");
    json_object_set_new(c.json, "streams", json_integer(m->request.streams));
    json_object_set_new(c.json, "hold", json_boolean(m->request.hold));
    json_object_set_new(c.json, "oldest", json_integer(MIGRATE_VERSION_OLDEST));
    json_object_set_new(c.json, "post-copy", json_boolean(m->request.goal.late));
    int rc = migrate_words_put(&m->links[0], MIGRATE_HELLO, MIGRATE_VERSION, c.json, err);
    json_decref(c.json);
    uint64_t version = 0;
    json_t *welcome = NULL;
    rc = rc ? rc : expect_words(m, MIGRATE_WELCOME, &version, &welcome, err);
    if (!rc && (version < MIGRATE_VERSION_OLDEST || version > MIGRATE_VERSION))
        rc = err_set(err, EPROTO, "the destination wants version %llu of migrations, which it was not offered",
                     (unsigned long long)version);
    if (!rc)
        agree_on_late(m, version, welcome);
    json_decref(welcome);
    for (unsigned i = 0; !rc && version >= MIGRATE_VERSION_PACKED && i < m->request.streams; i++) {
        m->senders[i].wire_bytes = &m->wire_bytes;
        m->senders[i].pack = migrate_pack_new(err);
        rc = m->senders[i].pack ? 0 : -ENOMEM;
    }
    return rc;
}

static void log_start(void *context)
{
    struct call *c = context;
    c->rc = c->m->host->log_start(c->m->host, c->err);
}

static void log_take(void *context)
{
    struct call *c = context;
    c->m->host->log_take(c->m->host, c->m->bitmaps);
}

static void set_throttle(void *context)
{
    struct call *c = context;
    c->m->host->throttle(c->m->host, c->throttle);
}

static void prepare(void *context)
{
    struct call *c = context;
    c->m->host->prepare(c->m->host);
}

static void stop(void *context)
{
    struct call *c = context;
    c->rc = c->m->host->stop(c->m->host, &c->m->state, &c->m->state_bytes, &c->m->last, c->err);
}

static uint64_t words_of(const struct migrate_source *m, unsigned slot)
{
    return (memory_slot(m->memory, slot)->bytes / MEMORY_PAGE_BYTES + 63) / 64;
}

static uint64_t take_dirty(struct migrate_source *m)
{
    struct call c = {.m = m};
    uint64_t pages = 0;
    migrate_crew_on_main(m->crew, log_take, &c);
    for (unsigned i = 0; i < memory_slot_count(m->memory); i++)
        for (uint64_t w = 0; w < words_of(m, i); w++)
            pages += (unsigned)__builtin_popcountll(m->bitmaps[i][w]);
    return pages * MEMORY_PAGE_BYTES;
}

/* What the bitmaps have has not been sent: what was written meanwhile is added. *fresh: that alone, in bytes. */
static int take_more(struct migrate_source *m, uint64_t *fresh, struct err *err)
{
    uint64_t *before[MEMORY_SLOT_MAX] = {0};
    int rc = 0;
    unsigned count = memory_slot_count(m->memory);
    for (unsigned i = 0; i < count && !rc; i++) {
        size_t bytes = words_of(m, i) * sizeof(uint64_t);
        before[i] = malloc(bytes);
        if (before[i])
            memcpy(before[i], m->bitmaps[i], bytes);
        else
            rc = err_set(err, ENOMEM, "no memory for a dirty log");
    }
    *fresh = rc ? 0 : take_dirty(m);
    for (unsigned i = 0; i < count; i++) {
        for (uint64_t w = 0; !rc && w < words_of(m, i); w++)
            m->bitmaps[i][w] |= before[i][w];
        free(before[i]);
    }
    return rc;
}

static uint64_t sent_bytes(struct migrate_source *m)
{
    uint64_t sent = 0;
    for (unsigned i = 0; i < m->request.streams; i++)
        sent += atomic_load(&m->links[i].sent_bytes);
    return sent;
}

/* Pages that have been dealt with, as if none were compressed, and none the same as before. */
static uint64_t moved_bytes(struct migrate_source *m)
{
    uint64_t moved = sent_bytes(m);
    for (unsigned i = 0; i < m->request.streams; i++)
        moved += m->senders[i].saved_bytes + m->senders[i].same_pages * MEMORY_PAGE_BYTES;
    return moved;
}

/* One round, until the destination has it. The bandwidth is that of pages, which may be more than the link's: what is
 * left is pages, too. */
static int one_round(struct migrate_source *m, bool everything, struct migrate_sample *s, struct err *err)
{
    uint64_t began = clock_ns(), before = moved_bytes(m), sent = sent_bytes(m);
    int rc = migrate_round_run(m, everything, err);
    rc = rc ? rc : expect(m, MIGRATE_SYNCED, m->round, err);
    s->round_ns = clock_ns() - began;
    s->sent_bytes = moved_bytes(m) - before;
    sent = sent_bytes(m) - sent;
    pthread_mutex_lock(&m->lock);
    m->figures.copied_bytes += sent >= TELLING_BYTES ? sent : 0;
    m->figures.copied_ns += sent >= TELLING_BYTES ? s->round_ns : 0;
    pthread_mutex_unlock(&m->lock);
    if (s->sent_bytes >= TELLING_BYTES || !s->bandwidth)
        s->bandwidth = (uint64_t)((double)s->sent_bytes * 1e9 / (double)(s->round_ns + 1)) + 1;
    return rc;
}

static void note(struct migrate_source *m, const struct migrate_sample *s, const struct migrate_plan *plan)
{
    pthread_mutex_lock(&m->lock);
    m->figures.round = s->round + 1;
    m->figures.left_bytes = s->left_bytes;
    m->figures.bandwidth = s->bandwidth;
    m->figures.throttle = plan->throttle;
    m->figures.plan = *plan;
    if (!m->figures.first && plan->ends) {
        m->figures.first = true;
        m->figures.first_remaining_ns = s->elapsed_ns + plan->remaining_ns;
        m->figures.first_downtime_ns = plan->downtime_ns;
    }
    pthread_mutex_unlock(&m->lock);
}

/* What makes the stop short, disks being flushed above all, is done while the guest runs. */
static bool quickly_prepared(struct migrate_source *m)
{
    struct call c = {.m = m};
    uint64_t began = clock_ns();
    migrate_crew_on_main(m->crew, prepare, &c);
    return clock_ns() - began < QUICK_MS * (uint64_t)NS_PER_MS;
}

/* How fast the guest writes in a moment: in a whole round it may write to the same places many times. */
static int probe(struct migrate_source *m, struct migrate_sample *s, struct err *err)
{
    struct pollfd wake = {.fd = m->wake, .events = POLLIN};
    uint64_t began = clock_ns(), fresh = 0;
    poll(&wake, 1, MIGRATE_PROBE_MS);
    int rc = take_more(m, &fresh, err);
    s->write_rate = (uint64_t)((double)fresh * 1e9 / (double)(clock_ns() - began)) + 1;
    return rc;
}

/* How well everything compresses says little of what the guest writes to: after the first round, that would have to fit
 * as it is, too. */
static bool is_sure(struct migrate_source *m, const struct migrate_sample *s)
{
    double sent = (double)sent_bytes(m) + 1;
    return s->round || (double)s->left_bytes / sent * (double)s->round_ns + (double)s->fixed_ns <=
                           (double)m->request.goal.downtime_ns;
}

/* Rounds until what is left fits. */
static int copy(struct migrate_source *m, struct migrate_sample *s, struct err *err)
{
    uint64_t began = m->figures.began_ns;
    bool prepared = false;
    pthread_mutex_lock(&m->lock);
    m->figures.connect_ns = clock_ns() - began;
    pthread_mutex_unlock(&m->lock);
    for (s->round = 0;; s->round++) {
        struct migrate_plan plan;
        int rc = one_round(m, !s->round, s, err);
        if (rc)
            return rc;
        if (s->round == 0)
            s->before_bytes = UINT64_MAX;
        s->left_bytes = take_dirty(m);
        s->elapsed_ns = clock_ns() - began;
        s->stalled_rounds = s->left_bytes >= s->before_bytes / 10 * 9 ? s->stalled_rounds + 1 : 0;
        s->write_rate = 0;
        if (migrate_plan_wants_rate(&m->request.goal, s) && (rc = probe(m, s, err)))
            return rc;
        migrate_plan(&m->request.goal, s, &plan);
        note(m, s, &plan);
        if (!migrate_source_enter(m, MIGRATE_PHASE_COPY))
            return err_set(err, ECANCELED, "the migration was cancelled");
        if (plan.step == MIGRATE_STEP_GIVE_UP)
            return err_set(err, ETIME, "%s%s%s", plan.text,
                           *m->late_why_not ? "; the destination has no post-copy: " : "", m->late_why_not);
        if (plan.step == MIGRATE_STEP_LATE) {
            pthread_mutex_lock(&m->lock);
            m->late = true;
            pthread_mutex_unlock(&m->lock);
            return 0;
        }
        bool stops = plan.step == MIGRATE_STEP_STOP && is_sure(m, s);
        if (stops && (prepared || quickly_prepared(m)))
            return 0;
        prepared |= stops; /* which took time: what was written meanwhile goes first */
        if (plan.throttle != s->throttle) {
            struct call c = {.m = m, .throttle = plan.throttle};
            migrate_crew_on_main(m->crew, set_throttle, &c);
            s->throttle = plan.throttle;
        }
        s->before_bytes = s->left_bytes;
    }
}

static int send_state(struct migrate_source *m, struct err *err)
{
    const uint8_t *from = m->state;
    int rc = 0;
    for (size_t at = 0; !rc && at < m->state_bytes; at += STATE_PART) {
        size_t n = m->state_bytes - at < STATE_PART ? m->state_bytes - at : STATE_PART;
        struct migrate_frame f = {MIGRATE_STATE, (uint32_t)n, at};
        rc = migrate_link_put(&m->links[0], &f, from + at, err);
    }
    return rc ? rc : migrate_words_put(&m->links[0], MIGRATE_FINAL, m->state_bytes, m->last, err);
}

static int stop_guest(struct migrate_source *m, struct err *err)
{
    struct call c = {.m = m, .err = err, .rc = -EAGAIN};
    for (unsigned i = 0; c.rc == -EAGAIN && i < STOP_TRIES; i++) {
        pthread_mutex_lock(&m->lock);
        m->figures.stopped_ns = clock_ns();
        pthread_mutex_unlock(&m->lock);
        migrate_crew_on_main(m->crew, stop, &c);
    }
    m->stopped = !c.rc;
    return c.rc;
}

/* Waits for the agent's word. The connection may break meanwhile: nothing follows from it. */
static int hold(struct migrate_source *m, struct err *err)
{
    struct pollfd fds[2] = {{.fd = m->wake, .events = POLLIN}, {.fd = m->nudge, .events = POLLIN}};
    if (!migrate_source_enter(m, MIGRATE_PHASE_HELD))
        return err_set(err, ECANCELED, "the migration was cancelled");
    for (;;) {
        pthread_mutex_lock(&m->lock);
        bool go = m->go, cancelled = m->cancelled;
        pthread_mutex_unlock(&m->lock);
        if (cancelled)
            return err_set(err, ECANCELED, "the migration was cancelled");
        if (go)
            return 0;
        poll(fds, 2, -1);
    }
}

static int hand_over(struct migrate_source *m, struct err *err)
{
    uint64_t fresh, began, before = moved_bytes(m);
    int rc = stop_guest(m, err);
    rc = rc ? rc : take_more(m, &fresh, err);
    began = clock_ns();
    rc = rc ? rc : migrate_round_run(m, false, err);
    pthread_mutex_lock(&m->lock);
    m->figures.last_ns = clock_ns() - began;
    m->figures.last_bytes = moved_bytes(m) - before;
    pthread_mutex_unlock(&m->lock);
    rc = rc ? rc : send_state(m, err);
    m->final_ns = clock_ns();
    rc = rc ? rc : expect(m, MIGRATE_SYNCED, m->round, err);
    rc = rc ? rc : expect(m, MIGRATE_READY, 0, err);
    if (!rc && m->request.hold)
        return hold(m, err);
    if (!rc && clock_ns() - m->final_ns > GO_LIMIT_NS)
        return err_set(err, ETIMEDOUT, "the destination was ready too late to be sure that it still waits");
    return rc;
}

/* All that the destination does not have becomes a list, which goes in the place of the pages; ROM goes itself. */
static int hand_over_early(struct migrate_source *m, struct err *err)
{
    uint64_t fresh;
    int rc = stop_guest(m, err);
    rc = rc ? rc : take_more(m, &fresh, err);
    rc = rc ? rc : migrate_missing_init(&m->missing, m->memory, err);
    for (unsigned i = 0; !rc && i < memory_slot_count(m->memory); i++)
        if (!memory_slot(m->memory, i)->read_only) {
            migrate_missing_set(&m->missing, i, m->bitmaps[i]);
            memset(m->bitmaps[i], 0, words_of(m, i) * sizeof(uint64_t));
        }
    rc = rc ? rc : migrate_round_run(m, false, err);
    migrate_round_end(m);
    pthread_mutex_lock(&m->lock);
    m->figures.late_bytes = m->missing.pages * MEMORY_PAGE_BYTES;
    pthread_mutex_unlock(&m->lock);
    rc = rc ? rc : migrate_missing_send(&m->missing, &m->links[0], err);
    if (!rc)
        json_object_set_new(m->last, "post-copy", json_true());
    rc = rc ? rc : send_state(m, err);
    m->final_ns = clock_ns();
    return rc ? rc : migrate_late_lead(m, err);
}

void migrate_lead_started(struct migrate_source *m, const json_t *words)
{
    uint64_t took = clock_ns() - m->figures.stopped_ns;
    json_int_t runs_us = json_integer_value(json_object_get(words, "runs-us"));
    bool believed = runs_us > 0 && (uint64_t)runs_us <= (clock_ns() - m->final_ns) / 1000;
    m->figures.downtime_ns = took - (believed ? (uint64_t)runs_us * 1000 : 0);
}

static int go(struct migrate_source *m, struct err *err)
{
    struct migrate_frame f = {MIGRATE_GO, 0, 0};
    json_t *words = NULL;
    int rc = migrate_link_put(&m->links[0], &f, NULL, err);
    rc = rc ? rc : migrate_link_flush(&m->links[0], err);
    rc = rc ? rc : expect_said(m, MIGRATE_STARTED, 0, &words, err);
    pthread_mutex_lock(&m->lock);
    m->figures.over_ns = clock_ns();
    migrate_lead_started(m, words);
    pthread_mutex_unlock(&m->lock);
    json_decref(words);
    return rc;
}

static bool is_held_for_others(struct migrate_source *m)
{
    pthread_mutex_lock(&m->lock);
    bool held = m->abandoned && m->phase == MIGRATE_PHASE_HELD;
    pthread_mutex_unlock(&m->lock);
    return held;
}

/* The destination need not guess; unless it may be the owner already. */
static void say_why(struct migrate_source *m)
{
    struct migrate_link *l = &m->links[0];
    struct err ignored;
    if (is_held_for_others(m))
        return;
    if (!migrate_link_is_open(l) || (l->out_bytes && !m->attempt) || (l->failed && l->failed != -ECANCELED))
        return;
    l->failed = 0;
    if (l->out_bytes) { /* whole frames, of which a part may be under way */
        l->wake = -1;
        l->patience_ns = 1000ull * NS_PER_MS;
        if (migrate_link_flush(l, &ignored))
            return;
    }
    json_t *words = json_pack("{s:s}", "text", m->why.text);
    migrate_words_put(l, MIGRATE_FAILED, 0, words, &ignored);
    json_decref(words);
}

void migrate_lead(struct migrate_source *m)
{
    struct err *err = &m->why;
    struct migrate_sample s = {.fixed_ns = FIRST_FIXED_MS * (uint64_t)NS_PER_MS};
    struct call c = {.m = m, .err = err};
    make_senders(m);
    int rc = migrate_lead_connect(m, err);
    rc = rc ? rc : greet(m, err);
    if (!rc) {
        migrate_crew_on_main(m->crew, log_start, &c);
        rc = c.rc;
        m->logging = !rc;
    }
    rc = rc ? rc : copy(m, &s, err);
    if (!rc && !migrate_source_enter(m, MIGRATE_PHASE_STOP))
        rc = err_set(err, ECANCELED, "the migration was cancelled");
    bool late = m->late;
    rc = rc ? rc : late ? hand_over_early(m, err) : hand_over(m, err);
    migrate_round_end(m);
    if (!rc && !late && !migrate_source_enter(m, MIGRATE_PHASE_GONE))
        rc = err_set(err, ECANCELED, "the migration was cancelled");
    if (rc) {
        m->rc = ask_why(m, rc, err);
        say_why(m);
    } else if (!late) {
        m->rc = go(m, err);
    }
    migrate_late_end(m);
}
