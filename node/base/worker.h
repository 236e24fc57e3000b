/* A few threads for system calls that may block and that io_uring does badly or not at all (lseek for holes; buffered
 * writes on file systems that cannot do them without waiting).
 *
 * Thread: worker_submit() from the loop's thread; run() on a worker thread; done() on the loop's thread again.
 * Order: tasks start in the order they were submitted, and may finish in any. Threads are made by worker_new(), so a
 * process may forbid clone() afterwards. */
#ifndef NODE_BASE_WORKER_H
#define NODE_BASE_WORKER_H

#include <sys/queue.h>

struct err;
struct loop;
struct worker;

struct worker_task {
    void (*run)(struct worker_task *task);
    void (*done)(struct worker_task *task);
    STAILQ_ENTRY(worker_task) link;
};

/* Completions come back to `loop`, which must outlive the worker. threads: 1 to 64. */
struct worker *worker_new(struct loop *loop, unsigned threads, struct err *err);
/* Waits for tasks that were handed over; their done() is not called any more. Not in a turn of the loop in which
 * something was submitted, and not from inside a done(). */
void worker_free(struct worker *worker);

/* The task belongs to the worker until done(). Tasks submitted in one turn of the loop wake the threads once. */
void worker_submit(struct worker *worker, struct worker_task *task);

#endif
