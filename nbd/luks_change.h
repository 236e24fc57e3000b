/* Changing a LUKS header: a new one, keyslots added, replaced, removed, erased, copies repaired.
 *
 * Power cuts: whatever instant the power fails at, the device opens afterwards with the old or with the new key.
 *
 *     LUKS2   copies made alike -> new area -> flush -> first copy -> flush -> second copy -> flush -> old area wiped
 *     LUKS1   new area -> flush -> slot's salt and cost, still free -> flush -> active -> flush -> old slot freed ->
 *             flush -> old area wiped
 *
 * Each step is durable before the next begins. No area that any whole copy of the header speaks of is written to; hence
 * the first step, as an older copy may speak of others. LUKS1 has one header, which lies in two sectors: so a slot
 * becomes active by four bytes, when all else is there.
 *
 * Thread: the owner's of the volume; one change at a time on a device, also among processes (luks_claim.h). After an
 * error the volume in memory may be ahead of the device: load it again. */
#ifndef NBD_LUKS_CHANGE_H
#define NBD_LUKS_CHANGE_H

#include "nbd/luks_volume.h"

/* How a new keyslot keeps its key: type, hash or memory and lanes, and iterations, or 0 and target_ms. */
struct luks_cost {
    struct luks_kdf kdf;
    uint32_t target_ms;
};

/* A cost as good as cryptsetup's: LUKS2 argon2id in 2 s over at most 1 GiB, LUKS1 pbkdf2-sha256 in 2 s. */
struct luks_cost luks_cost_default(unsigned version);

struct luks_format {
    unsigned version;                  /* 1 or 2 */
    uint32_t key_bytes;                /* 32 or 64 */
    uint32_t sector_bytes;             /* LUKS1: 512 */
    uint64_t payload_offset;           /* 0: 16 MiB, LUKS1 2 MiB */
    const char *label, *uuid;          /* NULL: none, a random one */
    const struct luks_key *volume_key; /* NULL: a random one */
    struct luks_cost cost;
    uint32_t digest_iterations; /* of the volume key's digest; 0: what takes an eighth of a second here */
};

/* Makes a header on a device, over what is there, with the passphrase in keyslot 0. Errors: -EINVAL what does not go
 * together, -ENOSPC the device is too small. */
int luks_change_format(struct luks_io *io, const struct luks_format *format, const struct luks_key *passphrase,
                       struct luks_volume *volume, struct err *err);

/* wanted: a free slot's number, or -1. *slot becomes the number. Errors: -ENOSPC no slot or no room is left. */
int luks_change_add(struct luks_volume *volume, const struct luks_key *key, const struct luks_key *passphrase,
                    const struct luks_cost *cost, int wanted, int *slot, struct err *err);
/* The key in `old` is kept by a passphrase of another slot from then on, whose number is *slot. */
int luks_change_replace(struct luks_volume *volume, unsigned old, const struct luks_key *key,
                        const struct luks_key *passphrase, const struct luks_cost *cost, int *slot, struct err *err);
int luks_change_remove(struct luks_volume *volume, unsigned slot, struct err *err);
/* Overwrites all areas for keys, and removes all slots: the data is lost for those who have no copy of the header or of
 * the volume key. May be repeated after a power cut. */
int luks_change_erase(struct luks_volume *volume, struct err *err);

/* Makes damaged or old copies like the one that counts. 0 also if there was nothing to do. */
int luks_change_repair(struct luks_volume *volume, struct err *err);

#endif
