/* A round: every connection sends the pages that are its own and then its MARK. The leader begins it and takes part,
 * the other workers wait for it. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "hv/migrate_source_inside.h"
#include "node/base/clock.h"

enum { NS_PER_MS = 1000000 };
#define NS_PER_S UINT64_C(1000000000)

/* When these bytes may leave. A pause is no credit: at most 10 ms of it are caught up with. */
static uint64_t reserve(struct migrate_source *m, uint64_t bytes, uint64_t now)
{
    uint64_t cost = (uint64_t)((double)bytes / (double)m->request.bandwidth * (double)NS_PER_S);
    uint64_t at = atomic_load(&m->pace_ns), from;
    do
        from = at + 10 * NS_PER_MS < now ? now - 10 * NS_PER_MS : at;
    while (!atomic_compare_exchange_weak(&m->pace_ns, &at, from + cost));
    return from;
}

int migrate_round_charge(void *context, uint64_t bytes, struct err *err)
{
    struct migrate_source *m = context;
    (void)err;
    if (m->request.bandwidth)
        reserve(m, bytes, clock_ns());
    return 0;
}

/* Whoever is ahead of the bandwidth waits. */
int migrate_round_pace(void *context, uint64_t bytes, struct err *err)
{
    struct migrate_source *m = context;
    if (!m->request.bandwidth)
        return 0;
    uint64_t now = clock_ns(), from = reserve(m, bytes, now);
    if (from <= now)
        return 0;
    struct pollfd wake = {.fd = m->wake, .events = POLLIN};
    struct timespec wait = {(time_t)((from - now) / NS_PER_S), (long)((from - now) % NS_PER_S)};
    return ppoll(&wake, 1, &wait, NULL) > 0 ? err_set(err, ECANCELED, "the migration was cancelled") : 0;
}

static int send_part(struct migrate_source *m, unsigned stream, unsigned round, bool everything, struct err *err)
{
    struct migrate_frame mark = {MIGRATE_MARK, 0, round};
    int rc = migrate_pages_send(&m->senders[stream], everything ? NULL : m->bitmaps, err);
    rc = rc ? rc : migrate_link_put(&m->links[stream], &mark, NULL, err);
    return rc ? rc : migrate_link_flush(&m->links[stream], err);
}

void migrate_round_work(struct migrate_source *m, unsigned stream)
{
    unsigned seen = 0;
    pthread_mutex_lock(&m->lock);
    for (;;) {
        while (!m->rounds_over && m->round == seen)
            pthread_cond_wait(&m->turn, &m->lock);
        if (m->rounds_over)
            break;
        struct err err = {0};
        bool everything = m->everything;
        seen = m->round;
        pthread_mutex_unlock(&m->lock);
        int rc = send_part(m, stream, seen, everything, &err);
        pthread_mutex_lock(&m->lock);
        if (rc && !m->worker_rc) {
            m->worker_rc = rc;
            m->worker_err = err;
        }
        m->working--;
        pthread_cond_broadcast(&m->turn);
    }
    bool late = m->late;
    pthread_mutex_unlock(&m->lock);
    if (late)
        migrate_late_work(m, stream);
}

int migrate_round_run(struct migrate_source *m, bool everything, struct err *err)
{
    pthread_mutex_lock(&m->lock);
    m->everything = everything;
    m->working = m->request.streams - 1;
    unsigned round = ++m->round;
    pthread_cond_broadcast(&m->turn);
    pthread_mutex_unlock(&m->lock);
    int rc = send_part(m, 0, round, everything, err);
    pthread_mutex_lock(&m->lock);
    while (m->working)
        pthread_cond_wait(&m->turn, &m->lock);
    if (m->worker_rc && (!rc || rc == -EPIPE)) {
        rc = m->worker_rc;
        *err = m->worker_err;
    }
    pthread_mutex_unlock(&m->lock);
    return rc;
}

void migrate_round_end(struct migrate_source *m)
{
    pthread_mutex_lock(&m->lock);
    m->rounds_over = true;
    pthread_cond_broadcast(&m->turn);
    pthread_mutex_unlock(&m->lock);
}
