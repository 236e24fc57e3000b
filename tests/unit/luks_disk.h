/* A disk in memory for LUKS headers. It keeps every write and flush, so that a test can make any image that a power cut
 * could have left. */
#ifndef TESTS_UNIT_LUKS_DISK_H
#define TESTS_UNIT_LUKS_DISK_H

#include <stdbool.h>

#include "nbd/luks_change.h"

enum { LUKS_DISK_EVENTS_MAX = 256, LUKS_DISK_SECTOR = 512 };

struct luks_disk_event {
    uint64_t offset;
    size_t len_bytes; /* 0: a flush */
    uint8_t *data;
};

struct luks_disk {
    struct luks_io io;
    uint8_t *bytes;
    uint8_t *before; /* as it was at luks_disk_mark() */
    struct luks_disk_event events[LUKS_DISK_EVENTS_MAX];
    unsigned event_count;
    bool recording;
    int fail_write; /* -errno for every write, or 0 */
};

void luks_disk_init(struct luks_disk *disk, uint64_t size_bytes);
void luks_disk_fini(struct luks_disk *disk);

/* From here on changes are recorded. */
void luks_disk_mark(struct luks_disk *disk);
/* What a power cut after `events` events could leave: everything before the last flush, and of the rest each sector by
 * the dice (of seed; 0: none of them, 1: all). The image becomes the disk's content, unrecorded. */
void luks_disk_cut(struct luks_disk *disk, unsigned events, uint64_t seed);

/* A key of those letters. */
struct luks_key luks_disk_key(const char *text);
/* A cheap header with that passphrase in slot 0; payload at 2 MiB. Fails the test if it cannot. */
void luks_disk_format(struct luks_disk *disk, unsigned version, const char *passphrase);
extern const struct luks_cost luks_disk_cost; /* one iteration of pbkdf2 */
/* Which slot of the header on the disk that passphrase opens, or -errno. */
int luks_disk_opens(struct luks_disk *disk, const char *passphrase);

#endif
