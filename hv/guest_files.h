/* The files of a guest that are opened before the process is sealed and read after. Somebody may change or shorten them
 * meanwhile, so nothing of them is mapped: what is looked at is a copy. Thread: the main one. */
#ifndef HV_GUEST_FILES_H
#define HV_GUEST_FILES_H

#include <stddef.h>
#include <stdint.h>

#include "hv/guest_config.h"
#include "hv/migrate_key.h"

struct err;

struct guest_file {
    int fd;        /* -1: none */
    size_t bytes;  /* when it was opened */
    uint8_t *data; /* while it is read; the firmware's always */
};

struct guest_files {
    struct guest_file kernel, initrd, firmware;
    int control;            /* listening socket, or -1 */
    int gdb;                /* listening socket for debuggers, or -1 */
    int load;               /* a saved guest, or -1 */
    int late;               /* by which it goes on before all of it is read (late_pages.h), or -1 */
    int incoming;           /* listening socket for the source of a running guest, or -1 */
    struct migrate_key key; /* of it */
};

/* The first that opens anything; looks at nothing. Errors name option and file; nothing is left open then. */
int guest_files_open(struct guest_files *files, const struct guest_config *config, struct err *err);
void guest_files_close(struct guest_files *files);

/* All of it in memory, until it is dropped. -EIO and others with a text that calls the file "it". */
int guest_file_read(struct guest_file *file, struct err *err);
void guest_file_drop(struct guest_file *file);

#endif
