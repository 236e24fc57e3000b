/* Post-copy, the source's side: the guest stands, or runs at its destination already, which asks for the pages that it
 * touches; the others are pushed meanwhile, over all connections. Nobody changes a page any more, so it matters to
 * nobody which connection it takes. Each worker reads from its connection what is needed before it sends anything else.
 *
 *     SERVING --a connection breaks--> all leave theirs --> BROKEN --resume: new ones, the list of the destination-->
 * SERVING
 *        '--COMPLETE, and go was said--> over
 *
 * A break before the guest may run there is as at any other time: it stays here (unless it is held). */
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hv/migrate_crew.h"
#include "hv/migrate_source_inside.h"
#include "hv/migrate_words.h"
#include "node/base/clock.h"
#include "node/base/log.h"

enum { PUSH_PAGES = 16, NEAR_PAGES = 8, NS_PER_MS = 1000000 };

/* The destination waits for GO 15 s from its READY on. */
#define GO_LIMIT_NS UINT64_C(8000000000)

/* ---- pages ---- */

static int send_run(struct migrate_source *m, unsigned stream, const struct migrate_run *run, struct err *err)
{
    int rc = migrate_pages_send_some(&m->senders[stream], run->slot, run->page * MEMORY_PAGE_BYTES,
                                     (uint64_t)run->count * MEMORY_PAGE_BYTES, err);
    return rc ? rc : migrate_link_flush(&m->links[stream], err);
}

/* One that is not missing any more is on its way. */
static int send_needed(struct migrate_source *m, unsigned stream, uint64_t gpa, struct err *err)
{
    struct migrate_run run;
    atomic_fetch_add(&m->needs, 1);
    if (!migrate_missing_near(&m->missing, gpa, NEAR_PAGES, &run))
        return 0;
    m->senders[stream].pace = migrate_round_charge;
    int rc = send_run(m, stream, &run, err);
    m->senders[stream].pace = migrate_round_pace;
    return rc;
}

/* ---- what the destination says ---- */

static void note_start(struct migrate_source *m, const json_t *words)
{
    pthread_mutex_lock(&m->lock);
    migrate_lead_started(m, words);
    pthread_mutex_unlock(&m->lock);
    m->started = true;
}

static void note_complete(struct migrate_source *m, const json_t *words)
{
    double longest_ms = json_number_value(json_object_get(words, "longest-wait-ms"));
    pthread_mutex_lock(&m->lock);
    m->figures.longest_wait_ns = longest_ms > 0 && longest_ms < 1e12 ? (uint64_t)(longest_ms * 1e6) : 0;
    m->figures.over_ns = clock_ns();
    pthread_mutex_unlock(&m->lock);
    m->complete = true;
}

static int take_words(struct migrate_source *m, const struct migrate_frame *f, struct err *err)
{
    json_t *words = NULL;
    int rc = migrate_words_get(&m->links[0], f->bytes, &words, err);
    if (rc)
        return rc;
    const char *text = json_string_value(json_object_get(words, "text"));
    if (f->type == MIGRATE_READY)
        m->ready = true;
    else if (f->type == MIGRATE_STARTED)
        note_start(m, words);
    else if (f->type == MIGRATE_COMPLETE)
        note_complete(m, words);
    else
        rc = err_set(err, EREMOTEIO, "the destination failed: %.400s", text ? text : "it does not say why");
    json_decref(words);
    return rc;
}

static int take_frame(struct migrate_source *m, unsigned stream, struct err *err)
{
    struct migrate_frame f;
    int rc = migrate_link_get_frame(&m->links[stream], &f, err);
    if (rc)
        return rc;
    if (f.type == MIGRATE_NEED)
        return send_needed(m, stream, f.number, err);
    bool words =
        f.type == MIGRATE_READY || f.type == MIGRATE_STARTED || f.type == MIGRATE_COMPLETE || f.type == MIGRATE_FAILED;
    if (!stream && words)
        return take_words(m, &f, err);
    if (!stream && f.type == MIGRATE_SYNCED && f.number == m->round)
        return 0;
    return err_set(err, EPROTO, "the destination sent %s on connection %u at a time when it cannot",
                   migrate_type_name(f.type), stream);
}

/* ---- the leader's decisions ---- */

static bool is_cancelled(struct migrate_source *m)
{
    pthread_mutex_lock(&m->lock);
    bool cancelled = m->cancelled;
    pthread_mutex_unlock(&m->lock);
    return cancelled;
}

static bool may_go(struct migrate_source *m)
{
    pthread_mutex_lock(&m->lock);
    bool go = m->ready && !m->gone && (m->go || !m->request.hold);
    pthread_mutex_unlock(&m->lock);
    return go;
}

/* From here on the guest never runs here again. */
static int go(struct migrate_source *m, struct err *err)
{
    if (!m->request.hold && clock_ns() - m->final_ns > GO_LIMIT_NS)
        return err_set(err, ETIMEDOUT, "the destination was ready too late to be sure that it still waits");
    pthread_mutex_lock(&m->lock);
    m->figures.late_ns = clock_ns();
    pthread_mutex_unlock(&m->lock);
    if (!migrate_source_enter(m, MIGRATE_PHASE_LATE))
        return err_set(err, ECANCELED, "the migration was cancelled");
    m->gone = true;
    return 0;
}

static int say_go(struct migrate_source *m, struct err *err)
{
    struct migrate_frame f = {MIGRATE_GO, 0, 0};
    int rc = go(m, err);
    if (m->complete) /* with hold: it has run for long */
        return rc;
    rc = rc ? rc : migrate_link_put(&m->links[0], &f, NULL, err);
    return rc ? rc : migrate_link_flush(&m->links[0], err);
}

static bool is_held(struct migrate_source *m)
{
    pthread_mutex_lock(&m->lock);
    bool held = m->phase == MIGRATE_PHASE_HELD;
    pthread_mutex_unlock(&m->lock);
    return held;
}

/* *done: all is there, and it may end. */
static int decide(struct migrate_source *m, bool *done, struct err *err)
{
    if (!m->gone && is_cancelled(m))
        return err_set(err, ECANCELED, "the migration was cancelled");
    if (m->ready && m->request.hold && !m->gone && !is_held(m) && !migrate_source_enter(m, MIGRATE_PHASE_HELD))
        return err_set(err, ECANCELED, "the migration was cancelled");
    int rc = may_go(m) ? say_go(m, err) : 0;
    *done = m->gone && m->complete;
    return rc;
}

/* An answer is due: silence is a break. */
static bool is_due(const struct migrate_source *m)
{
    return !m->complete && (!m->ready || (m->gone && (!m->started || !m->missing.pages)));
}

/* ---- a connection ---- */

static int rest(struct migrate_source *m, unsigned stream, uint64_t *heard_ns, struct err *err)
{
    struct pollfd fds[3] = {{.fd = m->complete ? -1 : m->links[stream].fd, .events = POLLIN},
                            {.fd = m->wake, .events = POLLIN},
                            {.fd = stream ? -1 : m->nudge, .events = POLLIN}};
    uint64_t patience_ms = m->request.patience_ns / NS_PER_MS + 1, n;
    int ready = poll(fds, 3, !stream && is_due(m) ? (int)patience_ms : -1);
    if (fds[2].revents && read(m->nudge, &n, sizeof n) < 0)
        return 0; /* it is decided at once */
    if (ready > 0 && fds[1].revents)
        return err_set(err, ECANCELED, "the migration was cancelled");
    if (!ready && clock_ns() - *heard_ns >= m->request.patience_ns)
        return err_set(err, ETIMEDOUT, "the other side has moved no byte for %llu ms",
                       (unsigned long long)(m->request.patience_ns / NS_PER_MS));
    return 0;
}

/* The leader's ends with 0 when all is there; all the others end with an error. */
static int serve(struct migrate_source *m, unsigned stream, struct err *err)
{
    struct migrate_link *l = &m->links[stream];
    struct migrate_run run;
    uint64_t heard_ns = clock_ns();
    bool done = false;
    int rc = 0;
    migrate_link_keep_short(l);
    while (!rc) {
        while (!rc && !m->complete && migrate_link_has_input(l)) {
            rc = take_frame(m, stream, err);
            heard_ns = clock_ns();
        }
        rc = rc || stream ? rc : decide(m, &done, err);
        if (done)
            return 0;
        if (!rc && migrate_missing_next(&m->missing, PUSH_PAGES, &run))
            rc = send_run(m, stream, &run, err);
        else
            rc = rc ? rc : rest(m, stream, &heard_ns, err);
    }
    return rc;
}

static int begin_serving(struct migrate_source *m, unsigned stream, struct err *err)
{
    struct migrate_frame late = {MIGRATE_LATE, 0, 0};
    int rc = stream ? migrate_link_put(&m->links[stream], &late, NULL, err) : 0;
    return rc ? rc : serve(m, stream, err);
}

/* ---- breaks ---- */

/* This worker's connection is done with. If it broke, all others are: whoever waits for one of them returns. When
 * nothing is left to be sent, the destination may have ended it because all is there: the leader is told, or waits in
 * vain. */
static void leave(struct migrate_source *m, unsigned stream, int rc, const struct err *err)
{
    pthread_mutex_lock(&m->lock);
    bool end = stream && (m->complete || !m->missing.pages);
    if (rc != -ECANCELED && !m->late_over && !end) {
        if (!m->cut)
            m->cut_why = *err;
        m->cut = true;
        for (unsigned i = 0; i < m->request.streams; i++)
            if (migrate_link_is_open(&m->links[i]))
                shutdown(m->links[i].fd, SHUT_RDWR);
    }
    if (stream)
        migrate_link_close(&m->links[stream]);
    m->out++;
    pthread_cond_broadcast(&m->turn);
    pthread_mutex_unlock(&m->lock);
}

void migrate_late_work(struct migrate_source *m, unsigned stream)
{
    unsigned seen = 0;
    for (;;) {
        struct err err = {0};
        pthread_mutex_lock(&m->lock);
        while (m->attempt == seen && !m->late_over)
            pthread_cond_wait(&m->turn, &m->lock);
        bool over = m->late_over;
        seen = m->attempt;
        pthread_mutex_unlock(&m->lock);
        if (over)
            return;
        int rc = begin_serving(m, stream, &err);
        leave(m, stream, rc, &err);
    }
}

void migrate_late_end(struct migrate_source *m)
{
    pthread_mutex_lock(&m->lock);
    m->late_over = true;
    pthread_cond_broadcast(&m->turn);
    pthread_mutex_unlock(&m->lock);
    if (m->late)
        migrate_crew_nudge(m->wake);
}

static void begin_attempt(struct migrate_source *m)
{
    pthread_mutex_lock(&m->lock);
    if (m->broken)
        m->figures.broken_ns += clock_ns() - m->broken_since_ns;
    m->broken = m->cut = m->resuming = false;
    m->out = 0;
    m->attempt++;
    pthread_cond_broadcast(&m->turn);
    pthread_mutex_unlock(&m->lock);
}

/* The destination's list is the truth: what left here may not have arrived. */
static int ask_list(struct migrate_source *m, struct err *err)
{
    struct migrate_link *l = &m->links[0];
    struct migrate_frame f = {MIGRATE_RESUME, 0, m->request.streams};
    int rc = migrate_link_put(l, &f, NULL, err);
    rc = rc ? rc : migrate_link_flush(l, err);
    migrate_missing_clear(&m->missing);
    while (!rc) {
        rc = migrate_link_get_frame(l, &f, err);
        if (!rc && f.type == MIGRATE_MISSING)
            rc = migrate_missing_receive(&m->missing, l, &f, err);
        else if (!rc && f.type == MIGRATE_RESUMED && f.number == m->missing.pages)
            return 0;
        else if (!rc && f.type == MIGRATE_FAILED)
            rc = take_words(m, &f, err);
        else if (!rc)
            rc = err_set(err, EPROTO, "the destination sent %s where its list of pages was due",
                         migrate_type_name(f.type));
    }
    return rc;
}

static int reconnect(struct migrate_source *m, struct err *err)
{
    int rc = migrate_lead_connect(m, err);
    rc = rc ? rc : ask_list(m, err);
    m->started |= !rc; /* nobody else would answer; that it has begun was said to nobody who still listens */
    for (unsigned i = 0; rc && i < m->request.streams; i++) {
        pthread_mutex_lock(&m->lock);
        migrate_link_close(&m->links[i]);
        if (m->request.fds[i] >= 0)
            close(m->request.fds[i]);
        m->request.fds[i] = -1;
        pthread_mutex_unlock(&m->lock);
    }
    return rc;
}

static void note_break(struct migrate_source *m)
{
    pthread_mutex_lock(&m->lock);
    while (m->out < m->request.streams)
        pthread_cond_wait(&m->turn, &m->lock);
    migrate_link_close(&m->links[0]);
    m->broken = true;
    m->broken_since_ns = clock_ns();
    m->figures.breaks++;
    struct err why = m->cut_why;
    pthread_mutex_unlock(&m->lock);
    log_warn("migration: the connections are broken, in the middle of post-copy: %s: they can be resumed", why.text);
    migrate_source_tell(m);
}

/* Until there are connections again. An error: it is cancelled. */
static int wait_resume(struct migrate_source *m, struct err *err)
{
    note_break(m);
    for (;;) {
        struct err why = {0};
        pthread_mutex_lock(&m->lock);
        while (!m->resuming && (m->gone || !m->go) && !m->cancelled)
            pthread_cond_wait(&m->turn, &m->lock);
        bool cancelled = m->cancelled, resuming = m->resuming, goes = m->go && !m->gone;
        pthread_mutex_unlock(&m->lock);
        if (cancelled)
            return err_set(err, ECANCELED, "the migration was cancelled");
        int rc = goes ? go(m, err) : 0;
        if (rc)
            return rc;
        if (!resuming)
            continue;
        rc = reconnect(m, &why);
        if (!rc) {
            begin_attempt(m);
            migrate_source_tell(m);
            return 0;
        }
        log_warn("migration: cannot be resumed: %s", why.text);
        pthread_mutex_lock(&m->lock);
        m->resuming = false;
        m->cut_why = why;
        pthread_mutex_unlock(&m->lock);
        migrate_source_tell(m);
    }
}

int migrate_late_lead(struct migrate_source *m, struct err *err)
{
    for (begin_attempt(m);;) {
        int rc = begin_serving(m, 0, err);
        if (!rc)
            return 0;
        pthread_mutex_lock(&m->lock);
        if (m->cut) /* the first reason is the better one */
            *err = m->cut_why;
        bool stays = !m->gone && (m->cancelled || m->phase != MIGRATE_PHASE_HELD);
        pthread_mutex_unlock(&m->lock);
        if (stays)
            return rc;
        leave(m, 0, rc == -ECANCELED ? -EPIPE : rc, err);
        rc = wait_resume(m, err);
        if (rc)
            return rc;
    }
}
