/* Pages of a guest that come after it runs: whoever touches one that is not there, a vCPU, a device, the kernel on our
 * behalf (KVM, reads of disks into it), waits until it is put. By userfaultfd over the shared mapping of the guest's
 * memory, so that the memory's file stays the one place of its content.
 *
 * Opened before the process is sealed; needs root, the right to /dev/userfaultfd, or vm.unprivileged_userfaultfd.
 * Faults of the kernel must be among them: without that a disk would fail instead of waiting.
 *
 * The thread that puts pages must not touch the memory itself.
 *
 * Threads: open, watch: main, before vCPUs run; the rest: the one that puts pages. */
#ifndef HV_LATE_PAGES_H
#define HV_LATE_PAGES_H

#include <stdint.h>

struct err;
struct memory;
struct sandbox_calls;

/* A descriptor, or -errno with a text. */
int late_pages_open(struct err *err);
/* From here on pages of RAM that its file does not hold are waited for. */
int late_pages_watch(int fd, const struct memory *memory, struct err *err);
/* Somebody waits for a page: 1 and where it is in our mapping; 0: nobody does. Does not wait itself. */
int late_pages_wanted(int fd, uint8_t **host);
/* The page is there, or was already, and who waits for it goes on. from NULL: zeroes. Errors: -errno. */
int late_pages_put(int fd, uint8_t *host, const void *from, uint64_t bytes);
/* Who waits for one of these pages looks for it again, there or not. Errors: -errno. */
int late_pages_wake(int fd, uint8_t *host, uint64_t bytes);
/* All is there: nothing is waited for any more. */
void late_pages_end(int fd, const struct memory *memory);

/* What it asks the kernel for after the seal. */
extern const struct sandbox_calls late_pages_calls;

#endif
