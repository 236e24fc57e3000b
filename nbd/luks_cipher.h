/* aes-xts-plain64 over sectors: the cipher of LUKS payloads and keyslots.
 *
 * Each sector is ciphered alone; its IV is its number, counted in units of 512 bytes whatever the sector size, as the
 * kernel's dm-crypt does it. Contexts hold the expanded key; a call takes one and puts it back, so threads share a
 * cipher, and only as many contexts are made as threads ever worked at once. Source: IEEE 1619-2007. */
#ifndef NBD_LUKS_CIPHER_H
#define NBD_LUKS_CIPHER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct err;
struct luks_cipher;

enum { LUKS_CIPHER_KEY_MAX = 64, LUKS_SECTOR_MIN = 512, LUKS_SECTOR_MAX = 4096 };

/* key_bytes: 32 (AES-128) or 64 (AES-256). The key is not kept but in the contexts. Errors: -EINVAL a key of another
 * length, or whose halves are equal; -ENOMEM. */
int luks_cipher_new(const uint8_t *key, size_t key_bytes, uint32_t sector_bytes, struct luks_cipher **cipher,
                    struct err *err);
void luks_cipher_free(struct luks_cipher *cipher); /* wipes; NULL is accepted; nobody may be in a call */

/* len_bytes, a multiple of the sector size, from skip_bytes of the vector on; iv is the first sector's. Any thread.
 * 0; -EIO OpenSSL failed; -ENOMEM. */
int luks_cipher_decrypt(struct luks_cipher *cipher, uint64_t iv, const struct iovec *iov, int iov_count,
                        uint64_t skip_bytes, size_t len_bytes); /* in place */
/* iov NULL: zeroes. */
int luks_cipher_encrypt(struct luks_cipher *cipher, uint64_t iv, const struct iovec *iov, int iov_count,
                        uint64_t skip_bytes, uint8_t *to, size_t len_bytes);

#endif
