/* Opening and measuring the file or device under a raw driver. Thread: any; no state. */
#ifndef NBD_RAW_FILE_H
#define NBD_RAW_FILE_H

#include <stdbool.h>
#include <stdint.h>

struct err;

struct raw_config {
    const char *file;
    uint64_t fd; /* an open descriptor handed to us: file is its name then; 0 = none */
    bool direct, no_lock, lock_late, read_only;
    int discard; /* enum raw_discard */
    uint64_t size_bytes;
};

enum raw_discard { RAW_DISCARD_UNMAP, RAW_DISCARD_IGNORE };

struct raw_file {
    int fd;
    bool block_device, direct, writable, rotational;
    bool unclaimed;       /* to be claimed before the first change */
    bool read_nowait;     /* io_uring can serve reads without a helper thread */
    uint32_t align_bytes; /* of offsets and lengths: 1, or what O_DIRECT needs */
    uint32_t memory_align_bytes;
    uint64_t size_bytes;
};

/* Only opens it, as raw_file_open() would, for somebody else: a descriptor, or -errno. */
int raw_file_descriptor(const struct raw_config *config, bool read_only, struct err *err);
/* Opens, claims (raw_lock.h; lock_late: leaves that to raw_file_claim()) and measures. Asked to write to what can only
 * be read: -EACCES or -EROFS, never a silent read-only open. Errors leave nothing open. */
int raw_file_open(const struct raw_config *config, bool read_only, struct raw_file *file, struct err *err);
/* -EBUSY: somebody else has it. */
int raw_file_claim(struct raw_file *file);
void raw_file_close(struct raw_file *file);

#endif
