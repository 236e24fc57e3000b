/* See luks_xts.h.
 *
 *     T(0) = E(key 2, sector number)        T(j+1) = T(j) times x in GF(2^128)
 *     out(j) = AES(key 1, in(j) xor T(j)) xor T(j) */
#include "nbd/luks_xts.h"

#include <endian.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 16, BATCH_BYTES = 4096, IV_UNIT_BYTES = 512, FEEDBACK = 0x87 };

/* A block as the compiler can keep it in a register; memory of any alignment. */
typedef uint64_t block __attribute__((vector_size(16)));
typedef uint64_t block_anywhere __attribute__((vector_size(16), aligned(1), may_alias));

struct luks_xts {
    uint32_t sector_bytes;
    EVP_CIPHER_CTX *whole;          /* XTS by OpenSSL; or */
    EVP_CIPHER_CTX *blocks, *tweak; /* ECB under key 1 and key 2 */
    block masks[BATCH_BYTES / BLOCK_BYTES], between[BATCH_BYTES / BLOCK_BYTES];
};

static EVP_CIPHER_CTX *context_new(const EVP_CIPHER *cipher, const uint8_t *key, bool encrypt)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    if (ctx &&
        (EVP_CipherInit_ex2(ctx, cipher, key, NULL, encrypt, NULL) != 1 || EVP_CIPHER_CTX_set_padding(ctx, 0) != 1)) {
        EVP_CIPHER_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

static EVP_CIPHER_CTX *context_copy(const EVP_CIPHER_CTX *model)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    if (ctx && EVP_CIPHER_CTX_copy(ctx, model) != 1) {
        EVP_CIPHER_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

static struct luks_xts *xts_new(uint32_t sector_bytes)
{
    struct luks_xts *x = aligned_alloc(64, (sizeof *x + 63) / 64 * 64);
    if (x) {
        memset(x, 0, sizeof *x);
        x->sector_bytes = sector_bytes;
    }
    return x;
}

static struct luks_xts *whole_or_none(struct luks_xts *x)
{
    if (x && (x->whole || (x->blocks && x->tweak)))
        return x;
    luks_xts_free(x);
    return NULL;
}

struct luks_xts *luks_xts_new(const uint8_t *key, size_t key_bytes, uint32_t sector_bytes, bool encrypt)
{
    struct luks_xts *x = xts_new(sector_bytes);
    bool large = key_bytes == 64;
    if (x && sector_bytes > LUKS_XTS_BATCHED_MAX) {
        x->whole = context_new(large ? EVP_aes_256_xts() : EVP_aes_128_xts(), key, encrypt);
    } else if (x) {
        const EVP_CIPHER *ecb = large ? EVP_aes_256_ecb() : EVP_aes_128_ecb();
        x->blocks = context_new(ecb, key, encrypt);
        x->tweak = context_new(ecb, key + key_bytes / 2, true);
    }
    return whole_or_none(x);
}

struct luks_xts *luks_xts_copy(const struct luks_xts *model)
{
    struct luks_xts *x = xts_new(model->sector_bytes);
    if (x && model->whole) {
        x->whole = context_copy(model->whole);
    } else if (x) {
        x->blocks = context_copy(model->blocks);
        x->tweak = context_copy(model->tweak);
    }
    return whole_or_none(x);
}

void luks_xts_free(struct luks_xts *x)
{
    if (!x)
        return;
    EVP_CIPHER_CTX_free(x->whole); /* OpenSSL wipes them */
    EVP_CIPHER_CTX_free(x->blocks);
    EVP_CIPHER_CTX_free(x->tweak);
    OPENSSL_cleanse(x, sizeof *x);
    free(x);
}

static int update(EVP_CIPHER_CTX *ctx, const void *from, void *to, size_t len_bytes)
{
    int n = 0;
    return EVP_CipherUpdate(ctx, to, &n, from, (int)len_bytes) == 1 && n == (int)len_bytes ? 0 : -EIO;
}

/* Mixes the masks of one sector in, and keeps them. */
static void mix_sector(const uint64_t tweak[2], const uint8_t *from, block *masks, block *between,
                       uint32_t sector_bytes)
{
    const block_anywhere *in = (const block_anywhere *)(const void *)from;
    uint64_t low = le64toh(tweak[0]), high = le64toh(tweak[1]);
    for (uint32_t j = 0; j < sector_bytes / BLOCK_BYTES; j++) {
        masks[j] = (block){htole64(low), htole64(high)};
        between[j] = in[j] ^ masks[j];
        uint64_t carry = -(high >> 63) & FEEDBACK;
        high = high << 1 | low >> 63;
        low = low << 1 ^ carry;
    }
}

static int run_batch(struct luks_xts *x, uint64_t iv, const uint8_t *from, uint8_t *to, size_t len_bytes)
{
    uint64_t tweaks[BATCH_BYTES / IV_UNIT_BYTES][2];
    size_t sectors = len_bytes / x->sector_bytes, per_sector = x->sector_bytes / BLOCK_BYTES;
    for (size_t i = 0; i < sectors; i++) {
        tweaks[i][0] = htole64(iv + i * (x->sector_bytes / IV_UNIT_BYTES));
        tweaks[i][1] = 0;
    }
    if (update(x->tweak, tweaks, tweaks, sectors * sizeof *tweaks))
        return -EIO;
    for (size_t i = 0; i < sectors; i++)
        mix_sector(tweaks[i], from + i * x->sector_bytes, x->masks + i * per_sector, x->between + i * per_sector,
                   x->sector_bytes);
    if (update(x->blocks, x->between, x->between, len_bytes))
        return -EIO;
    block_anywhere *out = (block_anywhere *)(void *)to;
    for (size_t j = 0; j < len_bytes / BLOCK_BYTES; j++)
        out[j] = x->between[j] ^ x->masks[j];
    return 0;
}

static int run_sector(struct luks_xts *x, uint64_t iv, const uint8_t *from, uint8_t *to)
{
    uint64_t wire[2] = {htole64(iv), 0};
    if (EVP_CipherInit_ex2(x->whole, NULL, NULL, (const uint8_t *)wire, -1, NULL) != 1)
        return -EIO;
    return update(x->whole, from, to, x->sector_bytes);
}

int luks_xts_run(struct luks_xts *x, uint64_t iv, const uint8_t *from, uint8_t *to, size_t len_bytes)
{
    int rc = 0;
    for (size_t at = 0, n; at < len_bytes && !rc; at += n) {
        if (x->whole) {
            n = x->sector_bytes;
            rc = run_sector(x, iv + at / IV_UNIT_BYTES, from + at, to + at);
        } else {
            n = len_bytes - at < BATCH_BYTES ? len_bytes - at : BATCH_BYTES;
            rc = run_batch(x, iv + at / IV_UNIT_BYTES, from + at, to + at, n);
        }
    }
    return rc;
}
