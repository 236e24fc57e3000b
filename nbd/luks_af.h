/* The anti-forensic splitter: a key is spread over many stripes, every byte of which is needed to have it back, so that
 * a keyslot is gone once a little of its area was overwritten.
 *
 * Source: LUKS On-Disk Format Specification 1.2.3, section 2.4 (AFsplit, AFmerge, diffusion H1). Threads: any. */
#ifndef NBD_LUKS_AF_H
#define NBD_LUKS_AF_H

#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

enum { LUKS_AF_STRIPES = 4000, LUKS_AF_KEY_MAX = 64 };

/* key_bytes: 1 to LUKS_AF_KEY_MAX; split has key_bytes * stripes. Errors: -EIO the hash or the random source failed. */
int luks_af_split(const EVP_MD *hash, const uint8_t *key, size_t key_bytes, uint32_t stripes, uint8_t *split);
int luks_af_merge(const EVP_MD *hash, const uint8_t *split, size_t key_bytes, uint32_t stripes, uint8_t *key);

#endif
