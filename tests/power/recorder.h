/* The disk below the raw driver: a FUSE file system with one file, `image`, that keeps its content in memory and adds
 * what it is asked for to a history, in the order it does it. No cache of the kernel's stands before it, so every
 * pwrite, fallocate and fdatasync of the server arrives as such.
 *
 * It is a nasty disk: a change waits at random before it is done and again before it is reported, and a sync takes its
 * time. Writes of an O_DIRECT server (by io_uring) happen during a sync too, and are reported before or after its end;
 * beside a write that a thread waits for, the kernel lets no sync of a FUSE file run.
 *
 * Thread: recorder_start(), _stop() from one; the threads that serve are its own. */
#ifndef TESTS_POWER_RECORDER_H
#define TESTS_POWER_RECORDER_H

#include <stdbool.h>
#include <stdint.h>

struct history;
struct recorder;

struct recorder_config {
    const char *directory; /* exists; is mounted over */
    bool can_punch;        /* false: fallocate says EOPNOTSUPP */
    uint64_t seed;
};

/* The file has history->sector_count sectors, all zeroes. Errors: -errno; stderr says more. */
int recorder_start(struct history *history, const struct recorder_config *config, struct recorder **recorder);
/* The whole file, as it is now. */
void recorder_read(struct recorder *recorder, uint8_t *content);
/* Nobody may have the file open, or this waits. NULL is accepted. */
void recorder_stop(struct recorder *recorder);

#endif
