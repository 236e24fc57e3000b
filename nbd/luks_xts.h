/* AES-XTS over a run of sectors, one direction, one thread at a time.
 *
 * OpenSSL takes as long to be told a sector's tweak as to cipher 1 KiB. So for sectors up to LUKS_XTS_BATCHED_MAX a
 * batch of 4 KiB is ciphered with three calls' worth of AES (tweaks, then blocks, both as ECB) and the masks are
 * computed here: with 512-byte sectors 2.8 instead of 1.7 GB/s. Larger ones are OpenSSL's own XTS: 4.2 instead of 3.5
 * GB/s at 4 KiB. Source: IEEE 1619-2007, section 5.3. */
#ifndef NBD_LUKS_XTS_H
#define NBD_LUKS_XTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct luks_xts;

enum { LUKS_XTS_BATCHED_MAX = 1024 };

/* key_bytes: 32 or 64; its halves differ. sector_bytes: 512 to 4096. NULL: no memory, or OpenSSL refuses. */
struct luks_xts *luks_xts_new(const uint8_t *key, size_t key_bytes, uint32_t sector_bytes, bool encrypt);
struct luks_xts *luks_xts_copy(const struct luks_xts *xts); /* for another thread; NULL: no memory */
void luks_xts_free(struct luks_xts *xts);                   /* wipes; NULL is accepted */

/* len_bytes: whole sectors; iv: the first one's number, in 512 bytes. to may be from. What is written to `to` is the
 * result and nothing on the way to it: it may be memory that a guest watches. 0 or -EIO. */
int luks_xts_run(struct luks_xts *xts, uint64_t iv, const uint8_t *from, uint8_t *to, size_t len_bytes);

#endif
