/* A thread that serves devices' queues: an event loop with workers and a pool of buffers, as a block stack wants them.
 *
 *     main thread, vCPUs -> io_thread_call(), doorbells -> the loop of this thread -> queues, disks, sockets
 *
 * Threads are made by io_thread_new(), before the process is sealed. An I/O thread never takes the bus lock: whoever
 * holds that may wait for it. */
#ifndef HV_VIRTIO_IO_THREAD_H
#define HV_VIRTIO_IO_THREAD_H

#include <stdbool.h>

#include "nbd/blk.h"

struct err;
struct io_thread;
struct loop;
struct loop_message;

/* name: up to 15 characters, as ps and top show it. workers: for system calls that block, 1 to 64. */
struct io_thread *io_thread_new(const char *name, unsigned workers, struct err *err);
/* Nothing may be in flight on its loop, and no device may use it. NULL is accepted. */
void io_thread_free(struct io_thread *io);

/* Loop, worker and buffers: for use on the thread itself. */
const struct blk_env *io_thread_env(const struct io_thread *io);
struct loop *io_thread_loop(const struct io_thread *io);

/* Runs it on the thread and waits for its end; on the thread itself, at once. Any thread. */
void io_thread_call(struct io_thread *io, void (*run)(void *context), void *context);
/* Any thread; does not wait. */
void io_thread_post(struct io_thread *io, struct loop_message *message);
bool io_thread_is_current(const struct io_thread *io);

#endif
