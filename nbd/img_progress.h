/* A line of progress on a terminal: share, bar, rate, time left; redrawn a few times a second by a
 * timer of the loop.
 *
 *      42.0% [========>           ]  4.2 GiB of 10 GiB, 1.1 GiB/s, 5s left
 *
 * Thread: the loop's. */
#ifndef NBD_IMG_PROGRESS_H
#define NBD_IMG_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "node/base/loop.h"

enum img_progress_when { IMG_PROGRESS_AUTO, IMG_PROGRESS_ALWAYS, IMG_PROGRESS_NEVER };

extern const char *const img_progress_choices[]; /* their names, NULL-terminated */

struct img_progress {
    struct loop *loop;
    struct loop_timer timer;
    FILE *out;
    uint64_t begin_ns, total_bytes;
    uint64_t (*done_bytes)(void *context);
    void *context;
    bool shown;
};

/* AUTO: only if standard error, where the line goes, is a terminal. */
void img_progress_start(struct img_progress *progress, struct loop *loop, enum img_progress_when when,
                        uint64_t total_bytes, uint64_t (*done_bytes)(void *context), void *context);
/* Draws the last state and ends the line. */
void img_progress_stop(struct img_progress *progress);

/* The line alone, without a newline; returns buffer. */
char *img_progress_line(uint64_t done_bytes, uint64_t total_bytes, uint64_t elapsed_ns, char *buffer, size_t len);

#endif
