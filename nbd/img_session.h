/* What one run of drover-img has: a loop, worker threads, buffers, and the waiting that a command
 * does.
 *
 * SIGINT and SIGTERM end the process as usual, at once, but for the time between
 * img_session_guard() and img_session_unguard(): then they call interrupted() on the loop instead,
 * so that work can be wound up; a second one ends the process all the same.
 *
 * Thread: the main one. */
#ifndef NBD_IMG_SESSION_H
#define NBD_IMG_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/signalfd.h>

#include "nbd/blk.h"

struct err;

struct img_session_io {
    struct blk_req req;
    bool done;
};

struct img_session {
    struct blk_env env;

    int signal_fd;
    int signal_seen; /* the signal that came while guarded, or 0 */
    struct loop_op signal_op;
    struct signalfd_siginfo signal_info;
    bool signal_armed;
    void (*interrupted)(struct img_session *session);
};

/* keep_bytes: of buffers. Errors: what loop_new() and worker_new() say. */
int img_session_init(struct img_session *session, size_t keep_bytes, struct err *err);
void img_session_fini(struct img_session *session);

/* Turns the loop until *done. */
void img_session_wait(struct img_session *session, const bool *done);
/* Submits io->req (its done is overwritten) and waits for it; returns its result. */
int img_session_io(struct img_session *session, struct blk *blk, struct img_session_io *io);
/* Drains and closes. NULL is accepted. */
void img_session_close(struct img_session *session, struct blk *blk);

/* At least one turn of the loop must follow, up to img_session_unguard(). Errors: -errno. */
int img_session_guard(struct img_session *session, void (*interrupted)(struct img_session *session), struct err *err);
void img_session_unguard(struct img_session *session);

#endif
