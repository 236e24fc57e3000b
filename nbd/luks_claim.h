/* The claim on a LUKS header: whoever changes it holds its first bytes, apart from the claim on the image (raw_lock.h).
 *
 * An open volume reads its header once and never writes it, so keys may be changed while a server or a guest uses the
 * data; only two changes at a time must not be. A lock of the open file description on bytes 0 to 15 of the image says
 * so: exclusive for a change, shared for a reading that must not see half of one. It ends with the description.
 * Thread: any. */
#ifndef NBD_LUKS_CLAIM_H
#define NBD_LUKS_CLAIM_H

#include <stdbool.h>

struct err;

/* Errors: -EBUSY somebody else is at it. File systems without locks: 0, nothing is claimed. */
int luks_claim(int fd, bool change, const char *name, struct err *err);

#endif
