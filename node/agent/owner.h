/* Who has a volume with a layout: a record of the store for each such volume, which says whose process may write it and
 * with which epoch. Every process that is to open the volume claims it first, so each has a greater epoch than all
 * before; members refuse the older ones from then on (nbd/nbd_epoch.h).
 *
 *     /drover/owner/VOLUME   {"kind":"owner", "id":VOLUME, "name":VOLUME, "spec":{"epoch":N, "node":..., "guest":...}}
 *
 * The epoch is counted in the record and not taken from the store's revisions, because it must go on growing when the
 * cluster moves to another store. A claim is one commit, refused if the record has changed since, if the guest is not
 * what it was (another node's, say), or if a volume is on its way out. If its outcome is unknown nothing is started,
 * and the next claim counts on.
 *
 * A claim also writes the records of the moves in which the guest's volumes are (volume_move.h), as they are: whoever
 * had the volumes may have asked for a switch-over that nobody has seen the outcome of. Either it was made, then the
 * claim finds another record and fails; or it finds another one itself from then on, and is never made.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_OWNER_H
#define NODE_AGENT_OWNER_H

#include "node/agent/mirror.h"

struct cluster;
struct err;
struct json_t;
struct owner_claim;

/* epochs: {"VOLUME": N, ...}, lent; NULL with rc, which is -errno: nothing may be opened. From the loop, once. */
typedef void owner_claimed(void *context, int rc, const struct json_t *epochs, const struct err *err);

/* Claims all of the volumes (a list of ids, up to 16) for a guest of this node; guest NULL: for this node itself,
 * before there is a guest. moves: {"MOVE": REVISION, ...}, up to 16, with the revisions that what is to be opened was
 * chosen by; NULL: none. NULL: refused at once, with err. */
struct owner_claim *owner_claim(struct cluster *cluster, const char *guest, const struct json_t *volumes,
                                const struct json_t *moves, owner_claimed *done, void *context, struct err *err);
/* done() is not called any more; the claim stands if it was made. */
void owner_claim_forget(struct owner_claim *claim);

/* That of the volume's newest owner; 0: it has had none. */
uint64_t owner_epoch(const struct mirror *mirror, const char *volume);

#endif
