/* Post-copy, the destination's side: the guest runs, and misses pages. Whoever touches one waits (late_pages.h); the
 * worker that hears of it asks for it over its own connection, and whatever comes over any of them is put in its place.
 *
 *     COPY --FINAL--> what is missing is dropped and waited for --> load --> READY, go --> the guest runs --+-->
 * complete breaks: connections are taken anew, RESUME, the list <--'
 *
 * Loading touches the guest's memory: the main loop may wait for pages then, and later, too. So this thread waits for
 * the main loop only while it serves. Where a page cannot be put in its place any more the process ends: nobody could
 * go on without it. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hv/late_pages.h"
#include "hv/migrate_target_inside.h"
#include "hv/migrate_words.h"
#include "node/base/clock.h"

#define NS_PER_S UINT64_C(1000000000)
enum { PAGE = MEMORY_PAGE_BYTES, GO_S = 15, SILENCE_S = 10, NS_PER_MS = 1000000 };

void migrate_target_agree(struct migrate_target *t, const json_t *hello, uint64_t version, json_t *welcome)
{
    if (version < MIGRATE_VERSION_LATE || !json_is_true(json_object_get(hello, "post-copy")))
        return;
    t->may_late = t->host->late_fd >= 0;
    json_object_set_new(welcome, "post-copy", json_boolean(t->may_late));
    if (!t->may_late)
        json_object_set_new(welcome, "post-copy-reason",
                            json_string("its kernel, or its rights, do not let it wait for pages (userfaultfd)"));
}

/* ---- pages ---- */

static void end_process(const char *why)
{
    log_error("migration: a page of the guest cannot be put in its place: %s: the guest ends here", why);
    _exit(EXIT_FAILURE);
}

/* Once all is there the kernel takes nothing any more: whoever sends something then, or was about to clear a page when
 * that came about, has come too late, and nobody needs it. */
static bool came_too_late(struct migrate_target *t, int rc)
{
    pthread_mutex_lock(&t->lock);
    bool complete = t->complete;
    pthread_mutex_unlock(&t->lock);
    if (rc && !complete)
        end_process(strerror(-rc));
    return rc;
}

/* Nobody waits any more for what has come. True: somebody had. */
static bool note_arrival(struct migrate_target *t, uint64_t gpa, uint64_t bytes)
{
    bool some = false;
    pthread_mutex_lock(&t->lock);
    for (unsigned i = 0; i < t->wait_count;) {
        struct migrate_wait *w = &t->waits[i];
        if (w->gpa - gpa >= bytes) {
            i++;
            continue;
        }
        uint64_t waited = clock_ns() - w->since_ns;
        t->longest_ns = waited > t->longest_ns ? waited : t->longest_ns;
        *w = t->waits[--t->wait_count];
        some = true;
    }
    pthread_mutex_unlock(&t->lock);
    return some;
}

static unsigned index_of(const struct migrate_target *t, const struct memory_slot *slot)
{
    unsigned i = 0;
    while (memory_slot(t->memory, i) != slot)
        i++;
    return i;
}

/* First the page, then its mark: who sees it unmarked finds it. */
static int put(void *context, const struct memory_slot *slot, uint64_t at, const uint8_t *from, uint64_t bytes,
               struct err *err)
{
    struct migrate_target *t = context;
    if (slot->read_only)
        return err_set(err, EPROTO, "the source sent a part of the firmware where the guest runs already");
    if (came_too_late(t, late_pages_put(t->host->late_fd, slot->host + at, from, bytes)))
        return err_set(err, EPROTO, "the source sent pages behind the last one");
    migrate_missing_take(&t->missing, index_of(t, slot), at / PAGE, bytes / PAGE);
    if (note_arrival(t, slot->gpa + at, bytes)) /* the balloon may have dropped it before its mark was taken */
        late_pages_wake(t->host->late_fd, slot->host + at, bytes);
    if (!t->missing.pages)
        migrate_crew_nudge(t->nudge);
    return 0;
}

/* False: it is not missing, or no longer: whoever puts it waits for the lock before looking for who waited for it.
 * *is_new: it is to be asked for. */
static bool note_wait(struct migrate_target *t, unsigned slot, uint64_t at, bool *is_new)
{
    uint64_t gpa = memory_slot(t->memory, slot)->gpa + at;
    pthread_mutex_lock(&t->lock);
    bool missing = *is_new = migrate_missing_has(&t->missing, slot, at / PAGE);
    for (unsigned i = 0; i < t->wait_count; i++)
        *is_new &= t->waits[i].gpa != gpa;
    if (*is_new && t->wait_count < MIGRATE_WAITS_MAX)
        t->waits[t->wait_count++] = (struct migrate_wait){gpa, clock_ns()};
    t->faults += *is_new;
    pthread_mutex_unlock(&t->lock);
    return missing;
}

static int ask(struct migrate_target *t, unsigned stream, uint64_t gpa, struct err *err)
{
    struct migrate_frame need = {MIGRATE_NEED, 0, gpa};
    return migrate_link_put(&t->links[stream], &need, NULL, err);
}

/* What the guest never had at its source is zeroes, and nobody is asked. */
static int take_fault(struct migrate_target *t, unsigned stream, uint8_t *host, struct err *err)
{
    for (unsigned i = 0; i < memory_slot_count(t->memory); i++) {
        const struct memory_slot *slot = memory_slot(t->memory, i);
        uint64_t at = (uint64_t)(host - slot->host);
        if (host < slot->host || at >= slot->bytes)
            continue;
        bool is_new;
        if (note_wait(t, i, at, &is_new))
            return is_new ? ask(t, stream, slot->gpa + at, err) : 0;
        came_too_late(t, late_pages_put(t->host->late_fd, host, NULL, PAGE));
    }
    return 0;
}

static int take_faults(struct migrate_target *t, unsigned stream, struct err *err)
{
    uint8_t *host;
    int rc = 0;
    while (!rc && late_pages_wanted(t->host->late_fd, &host))
        rc = take_fault(t, stream, host, err);
    return rc ? rc : migrate_link_flush(&t->links[stream], err);
}

/* After a break, what had been asked for before it. */
static int ask_again(struct migrate_target *t, struct err *err)
{
    uint64_t gpas[MIGRATE_WAITS_MAX];
    int rc = 0;
    pthread_mutex_lock(&t->lock);
    unsigned count = t->wait_count;
    for (unsigned i = 0; i < count; i++)
        gpas[i] = t->waits[i].gpa;
    pthread_mutex_unlock(&t->lock);
    for (unsigned i = 0; i < count && !rc; i++)
        rc = ask(t, 0, gpas[i], err);
    return rc ? rc : migrate_link_flush(&t->links[0], err);
}

/* ---- a connection ---- */

static int take_frame(struct migrate_target *t, unsigned stream, struct err *err)
{
    struct migrate_frame f;
    int rc = migrate_link_get_frame(&t->links[stream], &f, err);
    if (rc)
        return rc;
    switch (f.type) {
    case MIGRATE_PAGES:
    case MIGRATE_PACKED:
    case MIGRATE_ZEROES:
        atomic_fetch_add(&t->received_bytes, f.bytes);
        return migrate_pages_receive(&t->receivers[stream], &f, err);
    case MIGRATE_LATE:
        return 0; /* of a connection that was resumed */
    case MIGRATE_GO:
        t->go_came |= !stream;
        return 0;
    case MIGRATE_FAILED:
        return migrate_target_words(t, stream, &f, err);
    default:
        return err_set(err, EPROTO, "the source sent %s on connection %u at a time when it cannot",
                       migrate_type_name(f.type), stream);
    }
}

/* Until something holds, which the leader alone waits for. until_ns: 0: for as long as the connection says something.
 */
static int serve(struct migrate_target *t, unsigned stream, bool (*holds)(struct migrate_target *t), uint64_t until_ns,
                 struct err *err)
{
    struct migrate_link *l = &t->links[stream];
    uint64_t heard_ns = clock_ns(), n;
    l->patience_ns = SILENCE_S * NS_PER_S;
    t->receivers[stream].put = put;
    t->receivers[stream].context = t;
    for (int rc = 0; !rc;) {
        struct pollfd fds[4] = {{.fd = l->fd, .events = POLLIN},
                                {.fd = t->host->late_fd, .events = POLLIN},
                                {.fd = t->wake, .events = POLLIN},
                                {.fd = stream ? -1 : t->nudge, .events = POLLIN}};
        if (holds && holds(t))
            return 0;
        if (!migrate_link_has_input(l))
            poll(fds, 4, 1000);
        uint64_t now = clock_ns();
        if (fds[2].revents)
            return err_set(err, ECANCELED, "the migration was cancelled");
        if (fds[3].revents && read(t->nudge, &n, sizeof n) < 0)
            continue;
        rc = take_faults(t, stream, err);
        if (!rc && migrate_link_has_input(l)) {
            rc = take_frame(t, stream, err);
            heard_ns = now;
        } else if (!rc && (until_ns ? now > until_ns : t->begun && now - heard_ns > SILENCE_S * NS_PER_S)) {
            rc = err_set(err, ETIMEDOUT, "the source has said nothing for %d s", until_ns ? GO_S : SILENCE_S);
        }
        if (rc)
            return rc;
    }
    return 0;
}

/* ---- the guest, on the main loop, which may need pages for it ---- */

static bool is_done(struct migrate_target *t)
{
    return atomic_load(&t->errand_done);
}

static void load_it(void *context)
{
    struct migrate_target_call *c = context;
    struct migrate_target *t = c->t;
    migrate_target_load(c);
    atomic_store(&t->errand_done, true);
}

static void run_it(void *context)
{
    struct migrate_target_call *c = context;
    struct migrate_target *t = c->t;
    migrate_target_run(c);
    t->host->changed(t->host, MIGRATE_TARGET_LATE);
    atomic_store(&t->errand_done, true);
}

/* Returns when it is done, whatever becomes of the connection; with its error. */
static int on_main(struct migrate_target *t, void (*run)(void *context), struct migrate_target_call *c, struct err *err)
{
    struct pollfd nudge = {.fd = t->nudge, .events = POLLIN};
    uint64_t n;
    atomic_store(&t->errand_done, false);
    migrate_crew_send(t->crew, &t->errand, run, c, t->nudge);
    int rc = serve(t, 0, is_done, 0, err);
    while (!is_done(t)) /* the main loop waits for a page, and nobody can ask for it: the process is to be ended */
        if (poll(&nudge, 1, -1) > 0 && read(t->nudge, &n, sizeof n) < 0)
            break;
    return rc;
}

/* ---- the leader ---- */

/* A page that is not in the memory's file is waited for. A part of a huge page may only be cleared instead. */
static int drop(struct migrate_target *t, struct err *err)
{
    struct migrate_run run = {0};
    int fd = memory_fd(t->memory);
    for (unsigned i = 0; i < memory_slot_count(t->memory); i++)
        madvise(memory_slot(t->memory, i)->host, memory_slot(t->memory, i)->bytes, MADV_NOHUGEPAGE);
    while (migrate_missing_walk(&t->missing, &run)) {
        const struct memory_slot *slot = memory_slot(t->memory, run.slot);
        off_t at = (off_t)(slot->fd_offset + run.page * PAGE), bytes = (off_t)run.count * PAGE;
        if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, bytes))
            return err_set(err, errno, "cannot drop old pages of the guest: %s", strerror(errno));
        off_t data = lseek(fd, at, SEEK_DATA);
        if (data >= 0 && data < at + bytes)
            return err_set(err, ENOTSUP, "cannot drop old pages of the guest: they are parts of huge ones");
    }
    return late_pages_watch(t->host->late_fd, t->memory, err);
}

static int wait_rounds(struct migrate_target *t, struct err *err)
{
    pthread_mutex_lock(&t->lock);
    for (;;) {
        unsigned through = 0;
        for (unsigned i = 0; i < t->streams; i++)
            through += t->marked[i] >= t->marked[0];
        if (t->rc || t->cancelled || through == t->streams)
            break;
        pthread_cond_wait(&t->turn, &t->lock);
    }
    int rc = t->rc || t->cancelled ? err_set(err, ECANCELED, "another connection has failed") : 0;
    pthread_mutex_unlock(&t->lock);
    return rc;
}

static bool has_go(struct migrate_target *t)
{
    pthread_mutex_lock(&t->lock);
    bool go = t->hold ? t->go : t->go_came;
    pthread_mutex_unlock(&t->lock);
    return go;
}

/* With hold a connection that breaks changes nothing: the agent's word is waited for. */
static int wait_go(struct migrate_target *t, struct err *err)
{
    struct pollfd fds[2] = {{.fd = t->wake, .events = POLLIN}, {.fd = t->nudge, .events = POLLIN}};
    int rc = serve(t, 0, has_go, t->hold ? 0 : clock_ns() + GO_S * NS_PER_S, err);
    if (!rc || !t->hold || rc == -EREMOTEIO)
        return rc;
    for (uint64_t n; !has_go(t);) {
        poll(fds, 2, -1);
        if (fds[0].revents)
            return err_set(err, ECANCELED, "the migration was cancelled");
        if (fds[1].revents && read(t->nudge, &n, sizeof n) < 0)
            continue;
    }
    return 0;
}

static int put_words(struct migrate_target *t, enum migrate_type type, json_t *words, struct err *err)
{
    int rc = words ? migrate_words_put(&t->links[0], type, 0, words, err) : err_set(err, ENOMEM, "no memory");
    json_decref(words);
    return rc;
}

static void begin_waiting(struct migrate_target *t)
{
    pthread_mutex_lock(&t->lock);
    t->late_on = true;
    pthread_cond_broadcast(&t->turn);
    pthread_mutex_unlock(&t->lock);
}

static bool is_complete(struct migrate_target *t)
{
    return !t->missing.pages;
}

static void finish(struct migrate_target *t)
{
    struct err ignored;
    pthread_mutex_lock(&t->lock);
    t->complete = true;
    pthread_mutex_unlock(&t->lock);
    late_pages_end(t->host->late_fd, t->memory);
    for (unsigned i = 0; i < memory_slot_count(t->memory); i++)
        madvise(memory_slot(t->memory, i)->host, memory_slot(t->memory, i)->bytes, MADV_HUGEPAGE);
    pthread_mutex_lock(&t->lock);
    json_t *words =
        json_pack("{s:I, s:f}", "faults", (json_int_t)t->faults, "longest-wait-ms", (double)t->longest_ns / 1e6);
    pthread_cond_broadcast(&t->turn);
    pthread_mutex_unlock(&t->lock);
    put_words(t, MIGRATE_COMPLETE, words, &ignored); /* who does not hear it finds nobody who listens */
    migrate_crew_nudge(t->wake);
}

/* The guest runs. The last page may have come in the moment in which the connection broke. */
static void lead_late(struct migrate_target *t)
{
    struct err err = {0};
    int rc = serve(t, 0, is_complete, 0, &err);
    if (!rc || (rc != -ECANCELED && is_complete(t)))
        finish(t);
    else if (rc != -ECANCELED)
        log_warn("migration: the guest runs here, and waits for pages: the connection broke: %s", err.text);
}

int migrate_target_take_over_late(struct migrate_target *t, const json_t *last, struct err *err)
{
    struct migrate_target_call c = {.t = t, .json = last, .err = err};
    int rc = wait_rounds(t, err);
    rc = rc ? rc : drop(t, err);
    if (rc)
        return rc;
    migrate_target_mark(t, MIGRATE_TARGET_OPEN);
    begin_waiting(t);
    rc = on_main(t, load_it, &c, err);
    rc = c.rc ? c.rc : rc;
    if (!rc && t->hold)
        migrate_target_mark(t, MIGRATE_TARGET_HELD);
    rc = rc ? rc : put_words(t, MIGRATE_READY, json_object(), err);
    rc = rc ? rc : wait_go(t, err);
    pthread_mutex_lock(&t->lock);
    t->begun = !rc && !t->cancelled && !t->rc;
    if (!rc && !t->begun)
        rc = err_set(err, ECANCELED, "the migration was cancelled");
    if (!rc)
        t->phase = MIGRATE_TARGET_LATE;
    pthread_mutex_unlock(&t->lock);
    if (rc)
        return rc;
    struct err ignored;
    on_main(t, run_it, &c, &ignored);
    put_words(t, MIGRATE_STARTED, migrate_target_started(&c), &ignored);
    lead_late(t);
    return 0;
}

/* ---- breaks ---- */

/* Workers whose connections broke may have a last page in their hands. */
static void wait_leavers(struct migrate_target *t)
{
    pthread_mutex_lock(&t->lock);
    for (unsigned i = 0; i < t->streams && !t->cancelled;) {
        if (!t->taken[i] || t->attempts[i] == t->attempts[0]) {
            i++;
            continue;
        }
        pthread_cond_wait(&t->turn, &t->lock);
        i = 0;
    }
    pthread_mutex_unlock(&t->lock);
}

/* The first thing said on connection 0 after a break; answered with the list of what is missing. */
static int answer_resume(struct migrate_target *t, struct err *err)
{
    struct migrate_frame f, resumed = {MIGRATE_RESUMED, 0, 0};
    struct migrate_link *l = &t->links[0];
    l->patience_ns = SILENCE_S * NS_PER_S;
    wait_leavers(t);
    int rc = migrate_link_get_frame(l, &f, err);
    if (!rc && (f.type != MIGRATE_RESUME || f.number != t->streams))
        rc = err_set(err, EPROTO, "the source began with %s, where RESUME of %u connections was due",
                     migrate_type_name(f.type), t->streams);
    rc = rc ? rc : migrate_missing_send(&t->missing, l, err);
    resumed.number = t->missing.pages;
    rc = rc ? rc : migrate_link_put(l, &resumed, NULL, err);
    rc = rc ? rc : migrate_link_flush(l, err);
    return rc ? rc : ask_again(t, err);
}

void migrate_target_follow_late(struct migrate_target *t, unsigned stream)
{
    struct err err = {0};
    pthread_mutex_lock(&t->lock);
    while (!t->late_on && !t->rc && !t->cancelled)
        pthread_cond_wait(&t->turn, &t->lock);
    bool on = t->late_on;
    pthread_mutex_unlock(&t->lock);
    if (!on)
        return;
    if (!stream) {
        int rc = answer_resume(t, &err);
        if (!rc)
            lead_late(t);
        else if (rc != -ECANCELED)
            log_warn("migration: cannot be resumed: %s", err.text);
        return;
    }
    int rc = serve(t, stream, NULL, 0, &err);
    pthread_mutex_lock(&t->lock);
    bool fails = !t->begun && !t->hold && rc != -ECANCELED;
    pthread_mutex_unlock(&t->lock);
    if (fails)
        migrate_target_fail(t, rc, &err);
}

/* One that breaks takes along those that were opened with it. */
bool migrate_target_again(struct migrate_target *t, unsigned stream)
{
    uint64_t n;
    pthread_mutex_lock(&t->lock);
    bool again = t->late_on && !t->rc && !t->cancelled && !t->complete;
    if (again && t->attempts[stream] == t->attempt) {
        for (unsigned i = 0; t->begun && i < t->streams; i++) /* before, the source may still say why */
            if (t->taken[i] && t->attempts[i] == t->attempt)
                shutdown(t->links[i].fd, SHUT_RDWR);
        t->attempt++;
        n = (uint64_t)read(t->enough, &n, sizeof n); /* it was of those connections */
    }
    if (again) {
        migrate_link_close(&t->links[stream]);
        t->taken[stream] = false;
        pthread_cond_broadcast(&t->turn);
    }
    pthread_mutex_unlock(&t->lock);
    return again;
}
