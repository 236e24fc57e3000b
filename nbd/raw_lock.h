/* The claim a raw image carries: open-file-description locks on single bytes, in the scheme that QEMU uses, so that
 * Drover and QEMU's tools keep out of each other's images.
 *
 * Byte 100+n is held (shared) by whoever uses permission n, byte 200+n by whoever does not let others use it. A claim
 * is refused when another holder's byte contradicts it. Permissions: 0 consistent read, 1 write, 3 resize.
 * The locks live as long as the open file description. Source: QEMU's documented image locking behaviour. */
#ifndef NBD_RAW_LOCK_H
#define NBD_RAW_LOCK_H

#include <stdbool.h>

struct err;

/* A writer keeps other writers out; a reader keeps writers out, too. Waits up to a second for
 * one that is being given up. Errors: -EBUSY held by another; file systems
 * without locks: 0, nothing claimed. `name` is for the text. */
int raw_lock(int fd, bool writer, const char *name, struct err *err);
/* The same without waiting. */
int raw_lock_try(int fd, bool writer);
/* Gives the claim up, also where copies of the descriptor stay open: with whoever handed it, or for a moment in the
 * kernel, which lets go of the file of an io_uring request some time after its completion. */
void raw_unlock(int fd);

#endif
