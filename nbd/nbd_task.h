/* One request of the block layer on its way to a server: a sequence of NBD commands, one after the
 * other.
 *
 *     WRITE, READ, FLUSH, EXTENTS    one command
 *     TRIM, ZERO, CACHE              one for each piece that the headers can express
 *     RESIZE, and FUA without SEND_FUA     ... and a FLUSH
 *
 * A task that comes back without an answer begins its current command anew. Thread: the loop's. */
#ifndef NBD_NBD_TASK_H
#define NBD_NBD_TASK_H

#include <stdbool.h>
#include <stdint.h>

#include "nbd/blk.h"
#include "nbd/nbd_link.h"
#include "nbd/nbd_unflushed.h"

struct nbd_client;

struct nbd_task {
    struct nbd_command command;
    TAILQ_ENTRY(nbd_task) entry;
    struct nbd_client *client;
    struct nbd_link *link; /* that carries it */
    struct blk_req *req;
    uint64_t done_bytes; /* of a sequence of pieces */
    bool flushing;       /* the change is done, its flush is not */
    uint64_t mark;       /* of a flush, in the log */
    unsigned losses;     /* how often the server had been lost when the change was done */
    unsigned lies;       /* links that broke for a lie about this task */
    uint64_t broken_ns;  /* when it first came back unanswered; 0: never */
};

TAILQ_HEAD(nbd_task_list, nbd_task);

/* Fills task->command for a server that made this offer. losses: how often the server has been lost
 * by now. */
void nbd_task_prepare(struct nbd_task *task, const struct nbd_offer *offer, struct nbd_unflushed *log, unsigned losses);
/* Takes in the answer to task->command. True: the request is over, with task->req->extent_count and
 * *result set; false: there is another command to be prepared and sent. */
bool nbd_task_advance(struct nbd_task *task, const struct nbd_offer *offer, struct nbd_unflushed *log, int *result);

#endif
