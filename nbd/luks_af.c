/* See luks_af.h.
 *
 *     d(0) = 0        d(k) = H(d(k-1) xor s(k))        key = d(n-1) xor s(n)
 *
 * s(1) to s(n-1) are random when splitting, and s(n) is what is left over. H hashes each digest-sized piece of a stripe
 * together with the piece's number. */
#include "nbd/luks_af.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <string.h>

#include "nbd/luks_hash.h"

static int diffuse(const EVP_MD *hash, EVP_MD_CTX *ctx, uint8_t *block, size_t len_bytes)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    size_t piece_bytes = (size_t)EVP_MD_get_size(hash);
    uint32_t number = 0;
    int rc = 0;
    for (size_t at = 0; at < len_bytes && !rc; at += piece_bytes) {
        uint32_t wire = htobe32(number++);
        size_t n = len_bytes - at < piece_bytes ? len_bytes - at : piece_bytes;
        if (EVP_DigestInit_ex(ctx, NULL, NULL) != 1 || /* the hash it has: asking OpenSSL for it anew takes longer */
            EVP_DigestUpdate(ctx, &wire, sizeof wire) != 1 || EVP_DigestUpdate(ctx, block + at, n) != 1 ||
            EVP_DigestFinal_ex(ctx, digest, NULL) != 1)
            rc = -EIO;
        else
            memcpy(block + at, digest, n);
    }
    OPENSSL_cleanse(digest, sizeof digest);
    return rc;
}

static void mix(uint8_t *to, const uint8_t *from, size_t len_bytes)
{
    for (size_t i = 0; i < len_bytes; i++)
        to[i] ^= from[i];
}

/* d(n-1) of the first stripes. */
static int fold(const EVP_MD *hash, const uint8_t *split, size_t key_bytes, uint32_t stripes, uint8_t *d)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int rc = ctx && EVP_DigestInit_ex(ctx, hash, NULL) == 1 ? 0 : -EIO;
    memset(d, 0, key_bytes);
    for (uint32_t i = 0; i + 1 < stripes && !rc; i++) {
        mix(d, split + (size_t)i * key_bytes, key_bytes);
        rc = diffuse(hash, ctx, d, key_bytes);
    }
    EVP_MD_CTX_free(ctx);
    return rc;
}

int luks_af_split(const EVP_MD *hash, const uint8_t *key, size_t key_bytes, uint32_t stripes, uint8_t *split)
{
    uint8_t d[LUKS_AF_KEY_MAX];
    assert(key_bytes && key_bytes <= sizeof d && stripes);
    size_t random_bytes = (size_t)(stripes - 1) * key_bytes;
    if (random_bytes && RAND_priv_bytes(split, (int)random_bytes) != 1)
        return -EIO;
    int rc = fold(hash, split, key_bytes, stripes, d);
    if (!rc) {
        memcpy(split + random_bytes, d, key_bytes);
        mix(split + random_bytes, key, key_bytes);
    }
    OPENSSL_cleanse(d, sizeof d);
    return rc;
}

int luks_af_merge(const EVP_MD *hash, const uint8_t *split, size_t key_bytes, uint32_t stripes, uint8_t *key)
{
    uint8_t d[LUKS_AF_KEY_MAX];
    assert(key_bytes && key_bytes <= sizeof d && stripes);
    int rc = fold(hash, split, key_bytes, stripes, d);
    if (!rc) {
        mix(d, split + (size_t)(stripes - 1) * key_bytes, key_bytes);
        memcpy(key, d, key_bytes);
    }
    OPENSSL_cleanse(d, sizeof d);
    return rc;
}
