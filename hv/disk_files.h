/* The description of a disk whose files were opened early: so the stack can be opened in a sealed process, closed, and
 * opened again, as often as the guest comes and goes.
 *
 * Files of raw layers and keys of luks layers are held open here, and the credentials of NBD clients kept. A volume's
 * members that are files are opened with the stack: such a one can be opened before the seal only.
 *
 * Threads: the main one. */
#ifndef HV_DISK_FILES_H
#define HV_DISK_FILES_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct json_t;

enum { DISK_FILES_MAX = 16 };

struct disk_files {
    struct json_t *layers; /* "fd" of each file is the one held here */
    int fds[DISK_FILES_MAX];
    unsigned count;
};

/* stack: as blk_open() takes it. Descriptors it names are the caller's still, but for those of keys, which are taken.
 */
int disk_files_open(struct disk_files *files, const char *stack, bool read_only, struct err *err);
/* Volumes and exports with epochs in their names are opened by that one from now on. */
void disk_files_set_epoch(struct disk_files *files, uint64_t epoch);
void disk_files_close(struct disk_files *files); /* all zero is accepted */
/* A new text, to be opened now, once; NULL: no memory. */
char *disk_files_stack(const struct disk_files *files);
/* What the stack may need once it is open: enum blk_need, or more. */
uint32_t disk_files_needs(const struct disk_files *files);

#endif
