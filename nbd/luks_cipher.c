/* See luks_cipher.h.
 *
 * A vector's parts need not end with a sector: such a sector goes through a buffer on the stack. */
#include "nbd/luks_cipher.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "nbd/luks_xts.h"
#include "node/base/err.h"

enum { IV_UNIT_BYTES = 512 };

/* What one thread at a time uses. */
struct lane {
    struct lane *next;
    struct luks_xts *encrypt, *decrypt;
};

struct luks_cipher {
    uint32_t sector_bytes;
    pthread_mutex_t mutex;
    struct lane *idle; /* under the mutex; never used up but by threads that each hold one */
    struct lane model; /* what further lanes are copied from */
};

/* ---- lanes ---- */

static void lane_fini(struct lane *lane)
{
    luks_xts_free(lane->encrypt);
    luks_xts_free(lane->decrypt);
}

static struct lane *lane_copy(const struct lane *model)
{
    struct lane *lane = calloc(1, sizeof *lane);
    if (!lane)
        return NULL;
    lane->encrypt = luks_xts_copy(model->encrypt);
    lane->decrypt = luks_xts_copy(model->decrypt);
    if (!lane->encrypt || !lane->decrypt) {
        lane_fini(lane);
        free(lane);
        return NULL;
    }
    return lane;
}

static struct lane *lane_take(struct luks_cipher *c)
{
    pthread_mutex_lock(&c->mutex);
    struct lane *lane = c->idle;
    if (lane)
        c->idle = lane->next;
    else
        lane = lane_copy(&c->model);
    pthread_mutex_unlock(&c->mutex);
    return lane;
}

static void lane_put(struct luks_cipher *c, struct lane *lane)
{
    pthread_mutex_lock(&c->mutex);
    lane->next = c->idle;
    c->idle = lane;
    pthread_mutex_unlock(&c->mutex);
}

int luks_cipher_new(const uint8_t *key, size_t key_bytes, uint32_t sector_bytes, struct luks_cipher **cipher,
                    struct err *err)
{
    if (key_bytes != 32 && key_bytes != 64)
        return err_set(err, EINVAL, "aes-xts with a key of %zu bits: 256 or 512 are possible", key_bytes * 8);
    if (CRYPTO_memcmp(key, key + key_bytes / 2, key_bytes / 2) == 0)
        return err_set(err, EINVAL, "a key whose halves are equal is none for aes-xts");
    struct luks_cipher *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(err, ENOMEM, "no memory for a cipher");
    c->sector_bytes = sector_bytes;
    pthread_mutex_init(&c->mutex, NULL);
    c->model.encrypt = luks_xts_new(key, key_bytes, sector_bytes, true);
    c->model.decrypt = luks_xts_new(key, key_bytes, sector_bytes, false);
    if (!c->model.encrypt || !c->model.decrypt || !(c->idle = lane_copy(&c->model))) {
        luks_cipher_free(c);
        return err_set(err, ENOMEM, "OpenSSL cannot do aes-xts, or there is no memory for it");
    }
    *cipher = c;
    return 0;
}

void luks_cipher_free(struct luks_cipher *c)
{
    if (!c)
        return;
    for (struct lane *lane; (lane = c->idle);) {
        c->idle = lane->next;
        lane_fini(lane);
        free(lane);
    }
    lane_fini(&c->model);
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

/* ---- vectors ---- */

/* A place in a vector. */
struct walk {
    const struct iovec *iov, *end;
    size_t at;
};

static void walk_on(struct walk *w)
{
    while (w->iov < w->end && w->at == w->iov->iov_len) {
        w->iov++;
        w->at = 0;
    }
}

static void walk_skip(struct walk *w, uint64_t bytes)
{
    for (walk_on(w); bytes && w->iov < w->end; walk_on(w)) {
        size_t left = w->iov->iov_len - w->at, n = left < bytes ? left : (size_t)bytes;
        w->at += n;
        bytes -= n;
    }
}

/* Moves bytes between the vector and a flat buffer, and the place along. */
static void walk_copy(struct walk *w, uint8_t *flat, size_t len_bytes, bool into_vector)
{
    for (walk_on(w); len_bytes && w->iov < w->end; walk_on(w)) {
        size_t left = w->iov->iov_len - w->at, n = left < len_bytes ? left : len_bytes;
        uint8_t *part = (uint8_t *)w->iov->iov_base + w->at;
        if (into_vector)
            memcpy(part, flat, n);
        else
            memcpy(flat, part, n);
        flat += n;
        len_bytes -= n;
        w->at += n;
    }
}

/* How many bytes of whole sectors lie in one piece from here on; *data is where. */
static size_t walk_run(struct walk *w, uint32_t sector_bytes, uint8_t **data)
{
    walk_on(w);
    if (w->iov == w->end)
        return 0;
    *data = (uint8_t *)w->iov->iov_base + w->at;
    return (w->iov->iov_len - w->at) & ~((size_t)sector_bytes - 1);
}

static int decrypt(struct luks_xts *xts, uint64_t iv, struct walk w, size_t len_bytes, uint32_t sector_bytes)
{
    uint8_t scattered[LUKS_SECTOR_MAX], *data = NULL;
    int rc = 0;
    while (len_bytes && !rc) {
        size_t n = walk_run(&w, sector_bytes, &data);
        n = n < len_bytes ? n : len_bytes;
        if (n) {
            rc = luks_xts_run(xts, iv, data, data, n);
            w.at += n;
        } else {
            struct walk back = w;
            n = sector_bytes;
            walk_copy(&w, scattered, n, false);
            rc = luks_xts_run(xts, iv, scattered, scattered, n);
            walk_copy(&back, scattered, n, true);
        }
        len_bytes -= n;
        iv += n / IV_UNIT_BYTES;
    }
    return rc;
}

int luks_cipher_decrypt(struct luks_cipher *c, uint64_t iv, const struct iovec *iov, int iov_count, uint64_t skip_bytes,
                        size_t len_bytes)
{
    struct walk w = {iov, iov + iov_count, 0};
    struct lane *lane = lane_take(c);
    if (!lane)
        return -ENOMEM;
    walk_skip(&w, skip_bytes);
    int rc = decrypt(lane->decrypt, iv, w, len_bytes, c->sector_bytes);
    lane_put(c, lane);
    return rc;
}

static int encrypt(struct luks_xts *xts, uint64_t iv, struct walk w, uint8_t *to, size_t len_bytes,
                   uint32_t sector_bytes)
{
    int rc = 0;
    while (len_bytes && !rc) {
        uint8_t *data = NULL;
        size_t n = walk_run(&w, sector_bytes, &data);
        n = n < len_bytes ? n : len_bytes;
        if (n) {
            w.at += n;
        } else {
            n = sector_bytes;
            walk_copy(&w, to, n, false);
            data = to;
        }
        rc = luks_xts_run(xts, iv, data, to, n);
        to += n;
        len_bytes -= n;
        iv += n / IV_UNIT_BYTES;
    }
    return rc;
}

static int encrypt_zeroes(struct luks_xts *xts, uint64_t iv, uint8_t *to, size_t len_bytes)
{
    memset(to, 0, len_bytes);
    return luks_xts_run(xts, iv, to, to, len_bytes);
}

int luks_cipher_encrypt(struct luks_cipher *c, uint64_t iv, const struct iovec *iov, int iov_count, uint64_t skip_bytes,
                        uint8_t *to, size_t len_bytes)
{
    struct walk w = {iov, iov + (iov ? iov_count : 0), 0};
    struct lane *lane = lane_take(c);
    if (!lane)
        return -ENOMEM;
    walk_skip(&w, skip_bytes);
    int rc = iov ? encrypt(lane->encrypt, iv, w, to, len_bytes, c->sector_bytes)
                 : encrypt_zeroes(lane->encrypt, iv, to, len_bytes);
    lane_put(c, lane);
    return rc;
}
