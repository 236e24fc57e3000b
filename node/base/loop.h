/* The event loop: one thread, one io_uring, and everything that thread owns.
 *
 * Thread: all calls from the thread that made the loop, except loop_post().
 *
 * One turn of the loop is:
 *
 *     run jobs until none is left -> run late jobs -> submit everything and wait -> deliver completions -> timers
 *
 * So the work that one batch of completions causes leaves in one system call, and a late job sees all of it (this is
 * how the replies of a batch share one send). A loop with nothing to do sleeps without a timeout. The ring accepts
 * only the operations listed in loop.c: a process taken over by a guest or a peer cannot use it to open, connect or
 * execute around its seccomp filter. */
#ifndef NODE_BASE_LOOP_H
#define NODE_BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct err;
struct io_uring_sqe;
struct loop;

/* A request to the kernel. done() gets the result (0, a count, or -errno) and the CQE flags, exactly once for
 * each submission (once for each CQE of a multishot one). The op must stay valid until then. */
struct loop_op {
    void (*done)(struct loop_op *op, int result, uint32_t cqe_flags);
};

/* Work to be run once, soon, from the loop. A job that is queued already is not queued again. */
struct loop_job {
    void (*run)(struct loop_job *job);
    STAILQ_ENTRY(loop_job) link;
    bool queued;
};

struct loop_timer {
    void (*fire)(struct loop_timer *timer);
    uint64_t at_ns;
    uint32_t slot; /* place in the heap + 1; 0 = not set */
};

/* A message from another thread; deliver() runs on the loop's thread. */
struct loop_message {
    void (*deliver)(struct loop_message *message);
    STAILQ_ENTRY(loop_message) link;
};

/* Errors: -ENOSYS or -EPERM where the kernel has no io_uring or forbids it; the text says which and what to do. */
struct loop *loop_new(struct err *err);
void loop_free(struct loop *loop); /* nothing may be in flight */

/* Runs turns until loop_stop(). */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);
/* The next wait of this loop may keep company: whoever knows that nobody is waiting for an answer yet lets up to
 * `ns` pass, so that more requests are taken in one turn. Many completions end it early. */
void loop_no_hurry(struct loop *loop, uint64_t ns);

/* One turn, for callers that wait for something of their own; sleeps only if it found no job to run. */
void loop_step(struct loop *loop);

/* An SQE whose completion goes to op; fill it with an io_uring_prep_*() at once. Never NULL. */
struct io_uring_sqe *loop_sqe(struct loop *loop, struct loop_op *op);
/* Asks the kernel to end op early; op->done() is still called, with -ECANCELED if it worked. */
void loop_cancel(struct loop *loop, struct loop_op *op);

void loop_defer(struct loop *loop, struct loop_job *job);
void loop_defer_late(struct loop *loop, struct loop_job *job);
/* It is not to be run, if it was to be. */
void loop_forget(struct loop *loop, struct loop_job *job);

/* CLOCK_MONOTONIC as of the start of this turn's deliveries; free to call. */
uint64_t loop_now_ns(const struct loop *loop);
void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t at_ns);
void loop_timer_clear(struct loop *loop, struct loop_timer *timer);

/* Any thread. The message belongs to the loop until deliver() is called. */
void loop_post(struct loop *loop, struct loop_message *message);
/* Takes back a message if it was posted and is not delivered yet. The loop's thread, and not from inside deliver(). */
void loop_unpost(struct loop *loop, struct loop_message *message);
/* Operations submitted and not yet completed, the loop's own left out. */
unsigned loop_in_flight(const struct loop *loop);

/* Debug builds: aborts if called from another thread than the loop's. */
void loop_assert_owner(const struct loop *loop);

#endif
