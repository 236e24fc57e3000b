/* From a passphrase to the key of a keyslot: PBKDF2 (OpenSSL), Argon2i and Argon2id (libargon2).
 *
 * What a header asks for is foreign: cost is bounded here, before anything is computed. Threads: any; run on a worker,
 * because it is meant to take seconds. Sources: RFC 8018, RFC 9106. */
#ifndef NBD_LUKS_KDF_H
#define NBD_LUKS_KDF_H

#include <stddef.h>
#include <stdint.h>

#include "nbd/luks_hash.h"

enum luks_kdf_type { LUKS_PBKDF2, LUKS_ARGON2I, LUKS_ARGON2ID };

enum {
    LUKS_SALT_MAX = 64,
    LUKS_ITERATIONS_MAX = 100000000,  /* of PBKDF2: half a minute */
    LUKS_ARGON2_MEMORY_MAX = 4 << 20, /* KiB: 4 GiB, as cryptsetup */
    LUKS_ARGON2_WORK_MAX = 64 << 20,  /* KiB of memory times passes: a minute */
    LUKS_ARGON2_MEMORY_MIN = 32,
    LUKS_ARGON2_LANES_MAX = 16,
};

struct luks_kdf {
    enum luks_kdf_type type;
    char hash[LUKS_HASH_NAME_MAX]; /* PBKDF2 */
    uint32_t iterations;           /* PBKDF2; passes of Argon2 */
    uint32_t memory_kib, lanes;    /* Argon2 */
    uint8_t salt[LUKS_SALT_MAX];
    size_t salt_bytes;
};

const char *luks_kdf_name(enum luks_kdf_type type); /* "pbkdf2", "argon2i", "argon2id" */

/* Can and may it be computed? Errors: -EINVAL a number out of its range, -EOPNOTSUPP an unknown hash. */
int luks_kdf_check(const struct luks_kdf *kdf, struct err *err);

/* Errors: those of luks_kdf_check(); -ENOMEM Argon2 did not get its memory. */
int luks_kdf_run(const struct luks_kdf *kdf, const uint8_t *passphrase, size_t passphrase_bytes, uint8_t *key,
                 size_t key_bytes, struct err *err);

/* Sets iterations (and lowers memory_kib of Argon2 to half of what the machine has, or if one minimal run is
 * longer already) so that luks_kdf_run() takes
 * about that long here. type, hash, memory_kib (wish, at most) and lanes are given. */
int luks_kdf_tune(struct luks_kdf *kdf, uint32_t target_ms, struct err *err);

#endif
