/* A LUKS header on its device: found, read, judged, unlocked.
 *
 * Of LUKS2's two copies the newer one that is whole counts; `state` says how the others are. Reading writes nothing: a
 * damaged copy is repaired by the next change (luks_change.h).
 *
 * Thread: the owner's; the functions wait, those that take a passphrase for seconds. */
#ifndef NBD_LUKS_VOLUME_H
#define NBD_LUKS_VOLUME_H

#include <jansson.h>

#include "nbd/luks2.h"
#include "nbd/luks_io.h"
#include "nbd/luks_key.h"
#include "node/base/err.h"

enum luks_copy_state {
    LUKS_COPY_GOOD,
    LUKS_COPY_OLD,     /* whole, but not the newest */
    LUKS_COPY_DAMAGED, /* `why` says how */
};

struct luks_copy {
    enum luks_copy_state state;
    struct luks2_binary binary;
    struct err why;
};

struct luks_volume {
    struct luks_io *io; /* the caller's; outlives it */
    struct luks_header header;
    /* Runs call(argument), which computes for seconds and touches nothing else, and returns when it is done; NULL: here
     * and now. For those who must not wait on their thread. */
    void (*aside)(void *context, void (*call)(void *argument), void *argument);
    void *aside_context;
    /* LUKS2 */
    json_t *json;
    struct luks2_binary binary; /* of the copy that counts */
    struct luks_copy copies[2];
};

/* Errors: -EINVAL there is no header, or a damaged one; -EOPNOTSUPP sound, but not for us; -errno of a read. */
int luks_volume_load(struct luks_io *io, struct luks_volume *volume, struct err *err);
void luks_volume_fini(struct luks_volume *volume);

/* Opens one slot: reads its area, computes, verifies against the digest. Errors: -EACCES it is not this passphrase. */
int luks_volume_open_slot(struct luks_volume *volume, unsigned slot, const struct luks_key *passphrase,
                          struct luks_key *key, struct err *err);
/* Opens whichever slot this passphrase opens, or the given one (-1: any). *slot becomes its number. Errors: -EACCES. */
int luks_volume_unlock(struct luks_volume *volume, const struct luks_key *passphrase, int wanted, int *slot,
                       struct luks_key *key, struct err *err);
/* Is this the volume key? As luks_header_verify(), aside. */
int luks_volume_verify(struct luks_volume *volume, const struct luks_key *key, struct err *err);

#endif
