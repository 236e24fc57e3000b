/* See migrate_source.h: the life of a migration as the main loop sees it, its phases and what is told of it. */
#include "hv/migrate_source.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hv/migrate_crew.h"
#include "hv/migrate_pack.h"
#include "hv/migrate_sums.h"
#include "hv/migrate_source_inside.h"
#include "hv/migrate_sums.h"
#include "node/base/clock.h"

static const char *const phase_names[MIGRATE_PHASE_COUNT] = {
    [MIGRATE_PHASE_NONE] = "none",   [MIGRATE_PHASE_CONNECT] = "connect",
    [MIGRATE_PHASE_COPY] = "copy",   [MIGRATE_PHASE_STOP] = "stop",
    [MIGRATE_PHASE_HELD] = "ready",  [MIGRATE_PHASE_GONE] = "gone",
    [MIGRATE_PHASE_DONE] = "done",   [MIGRATE_PHASE_UNCONFIRMED] = "unconfirmed",
    [MIGRATE_PHASE_BACK] = "failed", [MIGRATE_PHASE_LATE] = "post-copy",
};

const char *migrate_phase_name(enum migrate_phase phase)
{
    return phase_names[phase];
}

/* ---- phases ---- */

struct telling {
    struct migrate_source *m;
    enum migrate_phase phase;
};

static void tell(void *context)
{
    struct telling *t = context;
    t->m->host->changed(t->m->host, t->phase);
}

bool migrate_source_enter(struct migrate_source *m, enum migrate_phase phase)
{
    struct telling t = {m, phase};
    pthread_mutex_lock(&m->lock);
    bool may = !m->cancelled;
    if (may)
        m->phase = phase;
    pthread_mutex_unlock(&m->lock);
    if (may && phase != MIGRATE_PHASE_STOP && phase != MIGRATE_PHASE_GONE) /* those hurry */
        migrate_crew_on_main(m->crew, tell, &t);
    return may;
}

void migrate_source_tell(struct migrate_source *m)
{
    struct telling t = {m, MIGRATE_PHASE_NONE};
    pthread_mutex_lock(&m->lock);
    t.phase = m->phase;
    pthread_mutex_unlock(&m->lock);
    migrate_crew_on_main(m->crew, tell, &t);
}

static enum migrate_phase phase_of(struct migrate_source *m)
{
    pthread_mutex_lock(&m->lock);
    enum migrate_phase phase = m->phase;
    pthread_mutex_unlock(&m->lock);
    return phase;
}

bool migrate_source_is_over(const struct migrate_source *m)
{
    return m->over;
}

static void work(void *context, unsigned number)
{
    struct migrate_source *m = context;
    if (number == 0)
        migrate_lead(m);
    else
        migrate_round_work(m, number);
}

static void ended(void *context)
{
    struct migrate_source *m = context;
    enum migrate_phase before = phase_of(m), phase;
    for (unsigned i = 0; i < m->request.streams; i++)
        migrate_link_close(&m->links[i]);
    if (before == MIGRATE_PHASE_LATE)
        phase = m->rc ? MIGRATE_PHASE_UNCONFIRMED : MIGRATE_PHASE_DONE;
    else if (before == MIGRATE_PHASE_GONE)
        phase = m->rc && !m->request.hold ? MIGRATE_PHASE_UNCONFIRMED : MIGRATE_PHASE_DONE;
    else
        phase = MIGRATE_PHASE_BACK;
    pthread_mutex_lock(&m->lock);
    m->phase = phase;
    if (!m->figures.over_ns)
        m->figures.over_ns = clock_ns();
    pthread_mutex_unlock(&m->lock);
    if (phase == MIGRATE_PHASE_BACK && m->logging) {
        m->host->throttle(m->host, 0);
        m->host->log_stop(m->host);
    }
    if (phase == MIGRATE_PHASE_BACK && m->stopped)
        m->host->go_on(m->host);
    m->over = true;
    m->host->ended(m->host, phase, m->rc ? &m->why : NULL);
}

/* ---- from outside ---- */

int migrate_source_go(struct migrate_source *m, struct err *err)
{
    pthread_mutex_lock(&m->lock);
    bool held = m->phase == MIGRATE_PHASE_HELD && !m->cancelled;
    m->go |= held;
    pthread_cond_broadcast(&m->turn);
    pthread_mutex_unlock(&m->lock);
    if (!held)
        return err_set(err, EBUSY, "the migration is not held ready for it");
    migrate_crew_nudge(m->nudge);
    return 0;
}

int migrate_source_cancel(struct migrate_source *m, struct err *err)
{
    pthread_mutex_lock(&m->lock);
    bool may = !m->go && m->phase != MIGRATE_PHASE_GONE && m->phase != MIGRATE_PHASE_LATE &&
               m->phase != MIGRATE_PHASE_DONE && m->phase != MIGRATE_PHASE_UNCONFIRMED;
    m->cancelled |= may;
    pthread_cond_broadcast(&m->turn);
    pthread_mutex_unlock(&m->lock);
    if (!may)
        return err_set(err, EBUSY, "too late, the guest has been handed over");
    migrate_crew_nudge(m->wake);
    return 0;
}

void migrate_source_abandon(struct migrate_source *m)
{
    pthread_mutex_lock(&m->lock);
    m->cancelled = m->abandoned = true;
    pthread_cond_broadcast(&m->turn);
    pthread_mutex_unlock(&m->lock);
    migrate_crew_nudge(m->wake);
}

int migrate_source_resume(struct migrate_source *m, const int *fds, unsigned count, struct err *err)
{
    pthread_mutex_lock(&m->lock);
    bool may = m->broken && !m->resuming && !m->cancelled;
    bool fits = count == m->request.streams;
    if (may && fits) {
        memcpy(m->request.fds, fds, count * sizeof *fds);
        m->resuming = true;
        pthread_cond_broadcast(&m->turn);
    }
    pthread_mutex_unlock(&m->lock);
    if (!may)
        return err_set(err, EBUSY, "there is nothing to be resumed: no connection of a post-copy is broken");
    return fits ? 0
                : err_set(err, EINVAL, "the migration has %u connections, and %u came (--streams)", m->request.streams,
                          count);
}

/* What is said of a guest that goes, or has gone, before its last pages. */
static void report_late(const struct migrate_source *m, const struct migrate_figures *f, json_t *all)
{
    uint64_t end = f->over_ns && m->over ? f->over_ns : clock_ns();
    double broken = (double)(f->broken_ns + (m->broken ? end - m->broken_since_ns : 0)) / 1e9;
    json_object_update_new(all, json_pack("{s:b, s:I, s:I, s:f, s:i, s:s, s:i, s:f}", "post-copy", 1, "bytes-left",
                                          (json_int_t)(m->missing.pages * MEMORY_PAGE_BYTES), "post-copy-bytes",
                                          (json_int_t)f->late_bytes, "post-copy-seconds",
                                          f->late_ns ? (double)(end - f->late_ns) / 1e9 : 0.0, "faults", (int)m->needs,
                                          "link", m->broken ? "broken" : "up", "breaks", (int)f->breaks,
                                          "broken-seconds", broken));
    if (m->broken)
        json_object_set_new(all, "link-reason", json_string(m->cut_why.text));
    if (f->longest_wait_ns)
        json_object_set_new(all, "longest-wait-ms", json_real((double)f->longest_wait_ns / 1e6));
}

/* The part of a downtime that is not the guest's pages. */
static double fixed_ms(const struct migrate_figures *f)
{
    double took = (double)f->last_ns, by_link = f->bandwidth ? (double)f->last_bytes * 1e9 / (double)f->bandwidth : 0;
    return ((double)f->downtime_ns - (took < by_link ? took : by_link)) / 1e6;
}

json_t *migrate_source_report(struct migrate_source *m)
{
    uint64_t sent = 0, saved = 0, pack_ns = 0, pages = 0, zero_pages = 0, same_pages = 0, now = clock_ns();
    for (unsigned i = 0; i < m->request.streams; i++) {
        sent += atomic_load(&m->links[i].sent_bytes);
        pages += m->senders[i].pages;
        zero_pages += m->senders[i].zero_pages;
        same_pages += m->senders[i].same_pages;
        saved += m->senders[i].saved_bytes;
        pack_ns += m->senders[i].pack_ns;
    }
    pthread_mutex_lock(&m->lock);
    struct migrate_figures f = m->figures;
    const char *phase = migrate_phase_name(m->phase);
    bool back = m->phase == MIGRATE_PHASE_BACK; /* and why it is stays as it is */
    json_t *late = m->late ? json_object() : NULL;
    if (late)
        report_late(m, &f, late);
    pthread_mutex_unlock(&m->lock);
    json_t *all =
        json_pack("{s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:f}", "phase", phase, "round", (int)f.round,
                  "bytes-sent", (json_int_t)sent, "bytes-left", (json_int_t)f.left_bytes, "pages", (json_int_t)pages,
                  "zero-pages", (json_int_t)zero_pages, "dirty-rate", (json_int_t)f.plan.dirty_rate, "bandwidth",
                  (json_int_t)f.bandwidth, "throttle", (int)f.throttle / MIGRATE_THROTTLE_PERCENT, "seconds",
                  (double)((f.over_ns ? f.over_ns : now) - f.began_ns) / 1e9);
    if (all)
        json_object_update_new(all, json_pack("{s:I, s:I, s:f}", "unchanged-pages", (json_int_t)same_pages,
                                              "bytes-saved", (json_int_t)saved, "compress-ms", (double)pack_ns / 1e6));
    if (all && f.plan.ends)
        json_object_update_new(all, json_pack("{s:f, s:f}", "predicted-seconds", (double)f.plan.remaining_ns / 1e9,
                                              "predicted-downtime-ms", (double)f.plan.downtime_ns / 1e6));
    if (all && f.first)
        json_object_update_new(all,
                               json_pack("{s:f, s:f}", "first-predicted-seconds", (double)f.first_remaining_ns / 1e9,
                                         "first-predicted-downtime-ms", (double)f.first_downtime_ns / 1e6));
    if (all && back && m->rc)
        json_object_set_new(all, "reason", json_string(m->why.text));
    if (all && f.downtime_ns)
        json_object_update_new(
            all, json_pack("{s:f, s:f}", "downtime-ms", (double)f.downtime_ns / 1e6, "fixed-ms", fixed_ms(&f)));
    if (all && f.copied_ns)
        json_object_set_new(all, "link-bandwidth",
                            json_integer((json_int_t)((double)f.copied_bytes * 1e9 / (double)f.copied_ns)));
    if (all && f.connect_ns)
        json_object_set_new(all, "connect-ms", json_real((double)f.connect_ns / 1e6));
    if (all && late)
        json_object_update(all, late);
    json_decref(late);
    return all;
}

/* ---- beginning and end ---- */

static int prepare(struct migrate_source *m, struct err *err)
{
    m->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    m->nudge = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (m->wake < 0 || m->nudge < 0)
        return err_set(err, errno, "cannot begin: %s", strerror(errno));
    for (unsigned i = 0; i < m->request.streams; i++) {
        m->contexts[i] = migrate_key_client(&m->request.key, i, err);
        if (!m->contexts[i])
            return -ENOMEM;
    }
    for (unsigned i = 0; i < memory_slot_count(m->memory); i++) {
        m->bitmaps[i] = calloc((memory_slot(m->memory, i)->bytes / MEMORY_PAGE_BYTES + 63) / 64, sizeof(uint64_t));
        if (!m->bitmaps[i])
            return err_set(err, ENOMEM, "no memory for a dirty log");
    }
    m->copies = malloc(m->request.streams * (size_t)MIGRATE_RUN_BYTES);
    m->sums = migrate_sums_new(m->memory, err);
    return m->copies && m->sums ? 0 : err_set(err, ENOMEM, "no memory for what was sent");
}

struct migrate_source *migrate_source_start(struct migrate_crew *crew, struct memory *memory,
                                            struct migrate_source_host *host, struct migrate_request *request,
                                            struct err *err)
{
    struct migrate_source *m = calloc(1, sizeof *m);
    if (!m) {
        for (unsigned i = 0; i < request->streams; i++)
            close(request->fds[i]);
        err_set(err, ENOMEM, "no memory for a migration");
        return NULL;
    }
    *m = (struct migrate_source){
        .crew = crew, .memory = memory, .host = host, .request = *request, .wake = -1, .nudge = -1};
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->turn, NULL);
    m->phase = MIGRATE_PHASE_CONNECT;
    m->figures.began_ns = clock_ns();
    int rc = prepare(m, err);
    migrate_key_wipe(&m->request.key);
    if (rc) {
        migrate_source_free(m);
        return NULL;
    }
    migrate_crew_start(crew, request->streams, work, ended, m);
    return m;
}

void migrate_source_free(struct migrate_source *m)
{
    if (!m)
        return;
    for (unsigned i = 0; i < m->request.streams; i++) {
        migrate_pack_free(m->senders[i].pack);
        tls_context_free(m->contexts[i]);
        if (m->request.fds[i] >= 0)
            close(m->request.fds[i]);
    }
    for (unsigned i = 0; i < MEMORY_SLOT_MAX; i++)
        free(m->bitmaps[i]);
    migrate_sums_free(m->sums);
    free(m->copies);
    if (m->wake >= 0)
        close(m->wake);
    if (m->nudge >= 0)
        close(m->nudge);
    json_decref(m->last);
    migrate_missing_fini(&m->missing);
    pthread_mutex_destroy(&m->lock);
    pthread_cond_destroy(&m->turn);
    free(m);
}
