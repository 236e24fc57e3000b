/* See move.h. A change is a task: pieces of at most PIECE_BYTES, each of them to one place or to both; a piece is over
 * when every place that was asked has answered. */
#include "nbd/move.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nbd/blk_driver.h"
#include "nbd/zeroes.h"
#include "node/base/buffer_pool.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"

#define SECOND_NS UINT64_C(1000000000)

enum { PIECE_BYTES = 1 << 20, FLUSH_BYTES = 16 << 20, YIELD = 3, LEGS = 2 };
static const uint64_t TICK_NS = SECOND_NS / 4, PATIENCE_NS = 2 * SECOND_NS, FLUSH_PATIENCE_NS = 60 * SECOND_NS;

enum leg { LEG_OLD, LEG_NEW };

struct move_config {
    const json_t *to;
    uint64_t bps;
    bool copied, exact;
};

struct task;

/* A piece on its way to one place. */
struct way {
    struct blk_req req;
    struct task *task;
};

/* A change or a read on its way. */
struct task {
    struct move *move;
    struct blk_req *req;
    uint64_t done_bytes; /* pieces that are over */
    uint64_t length_bytes;
    bool both, held, abandoned; /* abandoned: whoever asked does not wait until it is decided */
    unsigned asked;             /* legs under way, by bit */
    uint64_t begin_ns;
    int result[LEGS];
    struct way ways[LEGS];
    struct iovec iov;
    uint8_t *buffer; /* the pool's; NULL: the caller's are used */
    TAILQ_ENTRY(task) link;
};
TAILQ_HEAD(task_list, task);

struct move {
    struct blk *blk, *to;
    struct loop *loop;
    enum move_phase phase;
    struct err why;
    uint64_t size_bytes, at, flushed, bps; /* at: everything before it is copied; flushed: and was flushed */
    int flush_failed[LEGS];                /* -errno: nothing is durable there any more, whatever it says later */
    struct task_list active, reads, idle;
    bool doubted; /* SETTLED: the new place did not answer a read, or a change that was not waited for */
    struct blk_req_list waiting;
    struct {
        bool wanted, running, writes, flushes;     /* writes, flushes: the new place is asked */
        uint64_t length_bytes, begin_ns, asked_ns; /* asked: the new place was */
        struct blk_req req;
        struct iovec iov;
        uint8_t *buffer;
    } run;
    uint64_t foreground_ns, abandoned_ns;
    struct loop_timer pause, tick;
    bool closing;
};

static const char *const phases[MOVE_PHASE_COUNT] = {"copying", "synced", "settled", "there", "here"};

static void go_on(struct move *m);

static bool has_new(const struct move *m)
{
    return m->phase != MOVE_HERE;
}

/* The new place is given up: the old one has everything. */
static void give_up(struct move *m, int error, const char *what)
{
    if (m->phase > MOVE_SYNCED)
        return;
    err_set(&m->why, -error, "%s: %s", what, strerror(-error));
    log_warn("move: %s: it stays where it is", m->why.text);
    m->phase = MOVE_HERE;
}

/* ---- which changes may run ---- */

static bool meets(const struct blk_req *a, uint64_t offset, uint64_t length_bytes)
{
    return a->op != BLK_FLUSH && a->offset < offset + length_bytes && offset < a->offset + a->length_bytes;
}

static bool meets_active(const struct move *m, uint64_t offset, uint64_t length_bytes)
{
    const struct task *t;
    TAILQ_FOREACH (t, &m->active, link)
        if (meets(t->req, offset, length_bytes))
            return true;
    return false;
}

static bool must_wait(const struct move *m, const struct blk_req *req)
{
    const struct blk_req *w;
    if (req->op == BLK_FLUSH)
        return false;
    if ((m->run.wanted || (m->run.running && !m->run.flushes)) && meets(req, m->at, m->run.length_bytes))
        return true;
    if (meets_active(m, req->offset, req->length_bytes))
        return true;
    STAILQ_FOREACH (w, &m->waiting, link) {
        if (w == req)
            break;
        if (meets(w, req->offset, req->length_bytes))
            return true;
    }
    return false;
}

/* ---- a piece ---- */

static void piece_over(struct task *t);
static void read_done(struct blk_req *leg);

static bool wants_durability(const struct blk_req *req)
{
    return req->op == BLK_FLUSH || req->flags & BLK_FUA;
}

/* It failed there, and to try again could only hide that: a flush that succeeds after one that failed says nothing of
 * what that one was to cover. */
static bool is_lost(const struct task *t, enum leg which)
{
    return t->result[which] && t->move->flush_failed[which] && wants_durability(t->req);
}

/* -ENOTCONN is no failed flush (blk.h): what it was to cover is there still, or the next one says that it is not. */
static void leg_done(struct blk_req *leg)
{
    struct task *t = CONTAINER_OF(leg, struct way, req)->task;
    enum leg which = leg == &t->ways[LEG_NEW].req ? LEG_NEW : LEG_OLD;
    int *failed = &t->move->flush_failed[which];
    if (leg->op == BLK_FLUSH && leg->result && leg->result != -ENOTCONN && !*failed)
        *failed = leg->result;
    t->result[which] = !leg->result && wants_durability(t->req) ? *failed : leg->result;
    t->asked &= ~(1u << which);
    if (!t->asked)
        piece_over(t);
}

static void gather(struct task *t, uint64_t skip)
{
    const struct blk_req *req = t->req;
    uint64_t done = 0;
    for (int i = 0; i < req->iov_count && done < t->length_bytes; i++) {
        uint64_t len = req->iov[i].iov_len;
        if (skip >= len) {
            skip -= len;
            continue;
        }
        uint64_t n = len - skip < t->length_bytes - done ? len - skip : t->length_bytes - done;
        memcpy(t->buffer + done, (const uint8_t *)req->iov[i].iov_base + skip, n);
        done += n;
        skip = 0;
    }
}

/* What the new place cannot do by itself is done without: a trim, or that it be fast. */
static void submit_leg(struct task *t, enum leg which)
{
    struct move *m = t->move;
    struct blk *blk = which == LEG_NEW ? m->to : blk_below(m->blk);
    struct blk_req *leg = &t->ways[which].req;
    t->ways[which].task = t;
    *leg = (struct blk_req){.op = t->req->op,
                            .flags = which == LEG_NEW ? t->req->flags & ~(uint32_t)BLK_FAST : t->req->flags,
                            .offset = t->req->offset + t->done_bytes,
                            .length_bytes = t->length_bytes,
                            .done = t->req->op == BLK_READ ? read_done : leg_done};
    if (t->req->op == BLK_FLUSH)
        leg->offset = leg->length_bytes = 0;
    if (t->req->op == BLK_WRITE || t->req->op == BLK_READ) {
        leg->iov = t->buffer ? &t->iov : t->req->iov;
        leg->iov_count = t->buffer ? 1 : t->req->iov_count;
    }
    blk_submit(blk, leg);
}

static void submit_piece(struct task *t, bool old, bool new)
{
    struct move *m = t->move;
    t->begin_ns = loop_now_ns(m->loop);
    t->asked = (unsigned)old << LEG_OLD | (unsigned)new << LEG_NEW;
    if (old)
        submit_leg(t, LEG_OLD);
    if (new)
        submit_leg(t, LEG_NEW);
}

static void begin_piece(struct task *t)
{
    struct move *m = t->move;
    bool old = m->phase != MOVE_THERE, new = t->both &&has_new(m);
    uint64_t left = t->req->length_bytes - t->done_bytes;
    bool copies = t->req->op == BLK_WRITE && t->both;
    t->result[LEG_OLD] = t->result[LEG_NEW] = 0;
    t->length_bytes = copies && left > PIECE_BYTES ? PIECE_BYTES : left;
    if (copies && !t->buffer && !(t->buffer = buffer_get(blk_environment(m->blk)->buffers, PIECE_BYTES))) {
        log_error("no memory for a buffer of %d bytes", PIECE_BYTES);
        abort(); /* Rule Zero: the request was accepted and could never complete */
    }
    if (copies) {
        gather(t, t->done_bytes);
        t->iov = (struct iovec){t->buffer, t->length_bytes};
    }
    submit_piece(t, old, new);
}

/* ---- a task ---- */

static struct task *task_get(struct move *m)
{
    struct task *t = TAILQ_FIRST(&m->idle);
    if (t)
        TAILQ_REMOVE(&m->idle, t, link);
    else if (!(t = malloc(sizeof *t)))
        abort(); /* Rule Zero: as above */
    *t = (struct task){.move = m};
    return t;
}

static void end_task(struct task *t, int result)
{
    struct move *m = t->move;
    struct blk_req *req = t->req;
    if (t->buffer)
        buffer_put(blk_environment(m->blk)->buffers, t->buffer, PIECE_BYTES);
    TAILQ_REMOVE(&m->active, t, link);
    TAILQ_INSERT_HEAD(&m->idle, t, link);
    blk_complete(req, result);
    go_on(m);
}

/* What the caller is told of the piece; false: not yet. */
static bool judge(struct task *t, int *result)
{
    struct move *m = t->move;
    *result = t->result[LEG_OLD];
    if (t->both && t->result[LEG_NEW] == -EOPNOTSUPP && t->req->op == BLK_TRIM)
        t->result[LEG_NEW] = 0;
    if (t->both && t->result[LEG_NEW] && m->phase <= MOVE_SYNCED)
        give_up(m, t->result[LEG_NEW], "the new place does not take a change");
    if (m->phase == MOVE_SETTLED && t->both && (t->result[LEG_OLD] || t->result[LEG_NEW]))
        return false;
    if (m->phase == MOVE_THERE) {
        *result = t->result[LEG_NEW]; /* of the old one nothing is expected */
        return !*result || is_lost(t, LEG_NEW);
    }
    return true;
}

/* Not every place that may count has it: it is not acknowledged. */
static void end_abandoned(struct task *t)
{
    t->move->doubted |= t->move->phase == MOVE_SETTLED && t->result[LEG_NEW];
    end_task(t, -ENOTCONN);
}

static void piece_over(struct task *t)
{
    int result;
    bool judged = judge(t, &result);
    t->held = !judged && !t->abandoned;
    if (!judged && t->abandoned)
        end_abandoned(t);
    if (!judged)
        return;
    t->done_bytes += t->length_bytes;
    if (!result && t->req->op != BLK_FLUSH && t->done_bytes < t->req->length_bytes)
        begin_piece(t);
    else
        end_task(t, result);
}

/* A change behind the copied part, and a flush once everything is behind it: the one that ends the copying may have
 * begun before a change that this one is to cover. An earlier one needs the old place only: that flush comes later. */
static bool is_for_both(const struct move *m, const struct blk_req *req)
{
    if (m->phase == MOVE_COPYING)
        return req->op == BLK_FLUSH ? m->at == m->size_bytes : req->offset < m->at;
    return m->phase != MOVE_HERE;
}

static void begin(struct move *m, struct blk_req *req)
{
    struct task *t = task_get(m);
    t->req = req;
    t->both = is_for_both(m, req);
    m->foreground_ns = loop_now_ns(m->loop);
    TAILQ_INSERT_TAIL(&m->active, t, link);
    begin_piece(t);
}

/* ---- a read ---- */

static enum leg leg_that_reads(const struct move *m)
{
    return m->phase == MOVE_SETTLED || m->phase == MOVE_THERE ? LEG_NEW : LEG_OLD;
}

static void ask_for_read(struct task *t, enum leg which)
{
    t->result[which] = 0;
    submit_piece(t, which == LEG_OLD, which == LEG_NEW);
}

static void begin_read(struct move *m, struct blk_req *req)
{
    struct task *t = task_get(m);
    t->req = req;
    t->length_bytes = req->length_bytes;
    TAILQ_INSERT_TAIL(&m->reads, t, link);
    ask_for_read(t, leg_that_reads(m));
}

static void end_read(struct task *t, int result)
{
    struct blk_req *req = t->req;
    TAILQ_REMOVE(&t->move->reads, t, link);
    TAILQ_INSERT_HEAD(&t->move->idle, t, link);
    blk_complete(req, result);
}

/* SETTLED both have it: the other one is asked. One that neither answers waits for the decision, unless somebody above
 * has it from elsewhere. Decided, the answer is that of the place that counts, and it may not have been asked yet. */
static void read_failed(struct task *t, enum leg which)
{
    struct move *m = t->move;
    enum leg other = which == LEG_NEW ? LEG_OLD : LEG_NEW;
    m->doubted |= m->phase == MOVE_SETTLED && which == LEG_NEW;
    if (m->phase == MOVE_SETTLED && !t->result[other])
        ask_for_read(t, other);
    else if (m->phase == MOVE_SETTLED && blk_is_patient(m->blk))
        t->held = true;
    else if (m->phase != MOVE_SETTLED && which != leg_that_reads(m))
        ask_for_read(t, other);
    else
        end_read(t, t->result[which]);
}

static void read_done(struct blk_req *leg)
{
    struct task *t = CONTAINER_OF(leg, struct way, req)->task;
    enum leg which = leg == &t->ways[LEG_NEW].req ? LEG_NEW : LEG_OLD;
    t->result[which] = leg->result;
    t->asked = 0;
    if (leg->result)
        read_failed(t, which);
    else
        end_read(t, 0);
}

/* At the place that reads; SETTLED at the other one, too, if that fails. */
static void retry_reads(struct move *m)
{
    struct task *t, *next;
    for (t = TAILQ_FIRST(&m->reads); t; t = next) {
        next = TAILQ_NEXT(t, link);
        if (!t->held)
            continue;
        t->held = false;
        t->result[LEG_OLD] = t->result[LEG_NEW] = 0;
        ask_for_read(t, leg_that_reads(m));
    }
}

/* ---- what is held ---- */

/* Where somebody decides, or has decided for the new place: what one of them did not take is tried again, but for a
 * flush. */
static void retry_held(struct move *m)
{
    struct task *t, *next;
    for (t = TAILQ_FIRST(&m->active); t; t = next) {
        next = TAILQ_NEXT(t, link);
        if (!t->held)
            continue;
        t->held = false;
        bool old = m->phase == MOVE_SETTLED && t->result[LEG_OLD] && !is_lost(t, LEG_OLD);
        bool new = has_new(m) && t->result[LEG_NEW] && !is_lost(t, LEG_NEW);
        if (old || new)
            submit_piece(t, old, new);
        else
            piece_over(t);
    }
    retry_reads(m);
}

/* ---- copying ---- */

static void paused(struct loop_timer *timer)
{
    go_on(CONTAINER_OF(timer, struct move, pause));
}

static void run_over(struct move *m)
{
    buffer_put(blk_environment(m->blk)->buffers, m->run.buffer, PIECE_BYTES);
    m->run.buffer = NULL;
    m->run.running = false;
}

static void pause_run(struct move *m)
{
    uint64_t now_ns = loop_now_ns(m->loop), took_ns = now_ns - m->run.begin_ns;
    uint64_t pause = m->foreground_ns > m->run.begin_ns ? YIELD * took_ns : 0;
    uint64_t due = m->bps ? m->run.length_bytes * SECOND_NS / m->bps : 0;
    due = due > took_ns ? due - took_ns : 0;
    pause = due > pause ? due : pause;
    if (pause)
        loop_timer_set(m->loop, &m->pause, now_ns + pause);
}

static void run_written(struct blk_req *req)
{
    struct move *m = CONTAINER_OF(req, struct move, run.req);
    run_over(m);
    if (req->result) {
        give_up(m, req->result, "the new place cannot be written");
    } else if (m->phase == MOVE_COPYING) {
        m->at += m->run.length_bytes;
        pause_run(m);
    }
    go_on(m);
}

static void run_read(struct blk_req *req)
{
    struct move *m = CONTAINER_OF(req, struct move, run.req);
    if (req->result || m->closing || m->phase != MOVE_COPYING) {
        run_over(m);
        if (req->result)
            give_up(m, req->result, "the old place cannot be read");
        go_on(m);
        return;
    }
    m->run.writes = true;
    m->run.asked_ns = loop_now_ns(m->loop);
    bool zero = blk_can(m->to) & BLK_CAN_ZERO && zeroes(m->run.buffer, m->run.length_bytes);
    m->run.req = (struct blk_req){.op = zero ? BLK_ZERO : BLK_WRITE,
                                  .offset = m->at,
                                  .length_bytes = m->run.length_bytes,
                                  .iov = zero ? NULL : &m->run.iov,
                                  .iov_count = !zero,
                                  .done = run_written};
    blk_submit(m->to, &m->run.req);
}

static void run_flushed(struct blk_req *req)
{
    struct move *m = CONTAINER_OF(req, struct move, run.req);
    m->run.running = m->run.flushes = false;
    m->flushed = m->at;
    if (req->result)
        give_up(m, req->result, "the new place cannot be flushed");
    else if (m->phase == MOVE_COPYING && m->at == m->size_bytes)
        m->phase = MOVE_SYNCED;
    go_on(m);
}

/* While it is copied, too, so that the last one, which a flush of the caller's may wait for, has little left to do. */
static void begin_flush(struct move *m)
{
    m->run.asked_ns = loop_now_ns(m->loop);
    m->run.running = m->run.flushes = true;
    m->run.writes = false;
    m->run.length_bytes = 0;
    m->run.req = (struct blk_req){.op = BLK_FLUSH, .done = run_flushed};
    blk_submit(m->to, &m->run.req);
}

static void begin_run(struct move *m)
{
    uint64_t left = m->size_bytes - m->at;
    if (m->run.running || m->pause.slot || m->phase != MOVE_COPYING || m->closing)
        return;
    m->run.wanted = false;
    if (!left || m->at - m->flushed >= FLUSH_BYTES) {
        begin_flush(m);
        return;
    }
    m->run.length_bytes = left < PIECE_BYTES ? left : PIECE_BYTES;
    m->run.wanted = meets_active(m, m->at, m->run.length_bytes);
    if (m->run.wanted) /* goes on when they are over; meanwhile no other one begins that it would have to wait for */
        return;
    m->run.begin_ns = loop_now_ns(m->loop);
    if (!(m->run.buffer = buffer_get(blk_environment(m->blk)->buffers, PIECE_BYTES)))
        return; /* at a tick again */
    m->run.running = true;
    m->run.writes = false;
    m->run.iov = (struct iovec){m->run.buffer, m->run.length_bytes};
    m->run.req = (struct blk_req){.op = BLK_READ,
                                  .offset = m->at,
                                  .length_bytes = m->run.length_bytes,
                                  .iov = &m->run.iov,
                                  .iov_count = 1,
                                  .done = run_read};
    blk_submit(blk_below(m->blk), &m->run.req);
}

/* Something is over: who has waited for it goes on. */
static void go_on(struct move *m)
{
    struct blk_req *req, *next;
    m->run.wanted &= m->phase == MOVE_COPYING;
    begin_run(m);
    for (req = STAILQ_FIRST(&m->waiting); req; req = next) {
        next = STAILQ_NEXT(req, link);
        if (must_wait(m, req))
            continue;
        STAILQ_REMOVE(&m->waiting, req, blk_req, link);
        begin(m, req);
    }
}

/* ---- the clock ---- */

static bool does_not_answer(const struct task_list *tasks, uint64_t now_ns)
{
    const struct task *t;
    bool found = false;
    TAILQ_FOREACH (t, tasks, link)
        found |= t->asked == 1u << LEG_NEW && now_ns - t->begin_ns > PATIENCE_NS;
    return found;
}

/* Once it counts, there is no other one, and a guest waits for it as for any disk of its own. */
static bool new_is_stuck(const struct move *m, uint64_t now_ns)
{
    if (m->phase == MOVE_THERE && blk_is_patient(m->blk))
        return false;
    uint64_t patience_ns = m->run.flushes ? FLUSH_PATIENCE_NS : PATIENCE_NS; /* nobody waits for a flush of its own */
    bool stuck = m->run.running && (m->run.writes || m->run.flushes) && now_ns - m->run.asked_ns > patience_ns;
    stuck |= does_not_answer(&m->active, now_ns) || does_not_answer(&m->reads, now_ns);
    return stuck && now_ns - m->abandoned_ns > PATIENCE_NS;
}

static void ticked(struct loop_timer *timer)
{
    struct move *m = CONTAINER_OF(timer, struct move, tick);
    uint64_t now_ns = loop_now_ns(m->loop);
    if (new_is_stuck(m, now_ns)) {
        m->abandoned_ns = now_ns;
        blk_abandon(m->to);
    }
    if (m->phase == MOVE_SETTLED || m->phase == MOVE_THERE)
        retry_held(m);
    go_on(m);
    loop_timer_set(m->loop, timer, now_ns + TICK_NS);
}

/* ---- what is asked from outside ---- */

struct blk *move_in(struct blk *stack)
{
    while (stack && strcmp(blk_driver_name(stack), move_driver.name) != 0)
        stack = blk_below(stack);
    return stack;
}

const char *move_phase_name(enum move_phase phase)
{
    return phases[phase];
}

void move_status(const struct blk *move, struct move_status *status)
{
    const struct move *m = blk_state(move);
    const struct task *t;
    uint64_t now_ns = loop_now_ns(m->loop);
    *status = (struct move_status){
        .phase = m->phase, .done_bytes = m->at, .total_bytes = m->size_bytes, .reason = m->why.text};
    if (m->phase == MOVE_SETTLED || m->phase == MOVE_THERE)
        status->waits = does_not_answer(&m->active, now_ns) || does_not_answer(&m->reads, now_ns);
    status->waits |= m->phase == MOVE_SETTLED && m->doubted;
    TAILQ_FOREACH (t, &m->active, link)
        status->waits |= t->held;
    TAILQ_FOREACH (t, &m->reads, link)
        status->waits |= t->held;
}

int move_settle(struct blk *move, struct err *err)
{
    struct move *m = blk_state(move);
    if (m->phase == MOVE_HERE)
        return err_set(err, EIO, "%s", *m->why.text ? m->why.text : "it was given up");
    if (m->phase == MOVE_COPYING)
        return err_set(err, EAGAIN, "not everything is copied yet");
    m->phase = m->phase == MOVE_SYNCED ? MOVE_SETTLED : m->phase;
    return 0;
}

int move_end(struct blk *move, bool there, struct err *err)
{
    struct move *m = blk_state(move);
    enum move_phase wanted = there ? MOVE_THERE : MOVE_HERE;
    if (m->phase == wanted)
        return 0;
    if (there ? m->phase != MOVE_SETTLED : m->phase == MOVE_THERE)
        return err_set(err, EINVAL, "it is %s", phases[m->phase]);
    m->phase = wanted;
    blk_abandon(there ? blk_below(m->blk) : m->to);
    if (there && blk_is_patient(m->blk))
        blk_make_patient(m->to);
    retry_held(m);
    go_on(m);
    return 0;
}

/* ---- the driver ---- */

static void move_submit(struct blk *blk, struct blk_req *req)
{
    struct move *m = blk_state(blk);
    if (req->op == BLK_RESIZE) {
        blk_complete(req, -EBUSY);
    } else if (req->op == BLK_READ) {
        m->foreground_ns = loop_now_ns(m->loop);
        begin_read(m, req);
    } else if (must_wait(m, req)) {
        STAILQ_INSERT_TAIL(&m->waiting, req, link);
    } else {
        begin(m, req);
    }
}

/* Until it is settled the new place is waited for by nobody; from then on it is, as long as no one else has it all. */
static void move_abandon(struct blk *blk)
{
    struct move *m = blk_state(blk);
    struct task *t, *next;
    bool asked = false;
    if (m->phase != MOVE_SETTLED && m->phase != MOVE_THERE)
        return;
    TAILQ_FOREACH (t, &m->reads, link)
        asked |= t->asked & 1u << LEG_NEW;
    TAILQ_FOREACH (t, &m->active, link) {
        asked |= t->asked & 1u << LEG_NEW;
        t->abandoned = !blk_is_patient(blk);
    }
    if (asked)
        blk_abandon(m->to);
    for (t = TAILQ_FIRST(&m->active); t; t = next) {
        next = TAILQ_NEXT(t, link);
        if (t->held && t->abandoned)
            end_abandoned(t);
    }
}

/* A server that is lost is not waited for: the old place has everything. */
static char *impatient(const json_t *to, struct err *err)
{
    char *text = json_is_string(to) ? strdup(json_string_value(to)) : json_dumps(to, JSON_COMPACT);
    json_t *layers = NULL, *layer;
    size_t i;
    if (!text || blk_stack_parse(text, &layers, err)) {
        free(text);
        return NULL;
    }
    free(text);
    json_array_foreach (layers, i, layer)
        if (!strcmp(json_string_value(json_object_get(layer, "driver")) ?: "", "nbd") &&
            !json_object_get(layer, "reconnect"))
            json_object_set_new(layer, "reconnect", json_string("2s"));
    text = json_dumps(layers, JSON_COMPACT);
    json_decref(layers);
    return text;
}

/* The one above must see the same disk afterwards. */
static int check_sizes(struct move *m, const struct move_config *c, struct err *err)
{
    uint64_t old = blk_size(m->blk), new = blk_size(m->to);
    if (c->exact && new != old)
        return err_set(err, EINVAL, "the new place has %llu bytes, and the old one %llu", (unsigned long long)new,
                       (unsigned long long)old);
    if (blk_read_only(m->to))
        return err_set(err, EROFS, "the new place is read-only");
    if (blk_limits(m->to)->align_bytes > blk_limits(m->blk)->align_bytes)
        return err_set(err, EINVAL, "the new place has blocks of %u bytes, and the old one of %u",
                       blk_limits(m->to)->align_bytes, blk_limits(m->blk)->align_bytes);
    m->size_bytes = new < old ? new : old;
    blk_set_size(m->blk, m->size_bytes);
    return 0;
}

static int move_open(struct blk *blk, const void *config, struct err *err)
{
    const struct move_config *c = config;
    struct move *m = blk_state(blk);
    m->blk = blk;
    m->loop = blk_environment(blk)->loop;
    m->bps = c->bps;
    m->phase = c->copied ? MOVE_SETTLED : MOVE_COPYING;
    TAILQ_INIT(&m->active);
    TAILQ_INIT(&m->reads);
    TAILQ_INIT(&m->idle);
    STAILQ_INIT(&m->waiting);
    char *to = impatient(c->to, err);
    int rc = to ? blk_open(blk_environment(blk), to, 0, &m->to, err) : -EINVAL;
    free(to);
    rc = rc ? rc : check_sizes(m, c, err);
    if (rc) {
        blk_close(m->to);
        return err_prefix(err, "to");
    }
    m->at = c->copied ? m->size_bytes : 0;
    blk_set_can(blk, blk_can(blk) & ~(uint32_t)(BLK_CAN_CACHE | BLK_CAN_EXTENTS));
    blk_set_needs(blk, blk_needs(blk) | blk_needs(m->to));
    m->pause.fire = paused;
    m->tick.fire = ticked;
    loop_timer_set(m->loop, &m->tick, loop_now_ns(m->loop) + TICK_NS);
    go_on(m);
    return 0;
}

static void move_close(struct blk *blk)
{
    struct move *m = blk_state(blk);
    struct task *t;
    m->closing = true;
    loop_timer_clear(m->loop, &m->tick);
    if (m->run.running) /* given up or not */
        blk_abandon(m->to);
    while (m->run.running)
        loop_step(m->loop);
    loop_timer_clear(m->loop, &m->pause); /* the run may have set it */
    while ((t = TAILQ_FIRST(&m->idle))) {
        TAILQ_REMOVE(&m->idle, t, link);
        free(t);
    }
    blk_close(m->to);
}

static const struct blk_option move_options[] = {
    {.name = "to",
     .type = BLK_OPTION_JSON,
     .field = offsetof(struct move_config, to),
     .required = true,
     .help = "stack of the new place"},
    {.name = "rate",
     .type = BLK_OPTION_SIZE,
     .field = offsetof(struct move_config, bps),
     .help = "bytes a second that are copied; 0: as fast as the foreground allows"},
    {.name = "copied",
     .type = BLK_OPTION_BOOL,
     .field = offsetof(struct move_config, copied),
     .help = "both places are the same, and it is being decided which one counts"},
    {.name = "exact",
     .type = BLK_OPTION_BOOL,
     .field = offsetof(struct move_config, exact),
     .help = "both must have the same size; else as much as both have is used"},
    {.name = NULL},
};

const struct blk_driver move_driver = {
    .name = "move",
    .filter = true,
    .options = move_options,
    .config_bytes = sizeof(struct move_config),
    .state_bytes = sizeof(struct move),
    .open = move_open,
    .close = move_close,
    .submit = move_submit,
    .abandon = move_abandon,
};
