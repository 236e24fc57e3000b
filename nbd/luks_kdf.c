/* See luks_kdf.h.
 *
 * libargon2 may compute lanes side by side, on threads that it makes. A sealed process cannot make threads: then they
 * are computed one after the other, with the same result. */
#include "nbd/luks_kdf.h"

#include <argon2.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "nbd/luks_key.h"
#include "node/base/clock.h"
#include "node/base/err.h"

enum { PASSES_MIN = 4, PBKDF2_ITERATIONS_MIN = 1000, TRIAL_KEY_BYTES = 32, TRIAL_NS = 50000000 };

const char *luks_kdf_name(enum luks_kdf_type type)
{
    static const char *const names[] = {"pbkdf2", "argon2i", "argon2id"};
    return names[type];
}

static int check_argon2(const struct luks_kdf *kdf, struct err *err)
{
    if (kdf->lanes < 1 || kdf->lanes > LUKS_ARGON2_LANES_MAX)
        return err_set(err, EINVAL, "argon2 with %u lanes: 1 to %d are allowed", kdf->lanes, LUKS_ARGON2_LANES_MAX);
    if (kdf->memory_kib < LUKS_ARGON2_MEMORY_MIN || kdf->memory_kib < 8 * kdf->lanes ||
        kdf->memory_kib > LUKS_ARGON2_MEMORY_MAX)
        return err_set(err, EINVAL, "argon2 with %u KiB of memory: %d to %d are allowed, and 8 for each lane",
                       kdf->memory_kib, LUKS_ARGON2_MEMORY_MIN, LUKS_ARGON2_MEMORY_MAX);
    if (kdf->iterations < 1 || (uint64_t)kdf->memory_kib * kdf->iterations > LUKS_ARGON2_WORK_MAX)
        return err_set(err, EINVAL, "argon2 with %u passes over %u KiB: 1 pass to %d KiB in all are allowed",
                       kdf->iterations, kdf->memory_kib, LUKS_ARGON2_WORK_MAX);
    return 0;
}

int luks_kdf_check(const struct luks_kdf *kdf, struct err *err)
{
    if (kdf->salt_bytes < 8 || kdf->salt_bytes > LUKS_SALT_MAX)
        return err_set(err, EINVAL, "a salt of %zu bytes: 8 to %d are allowed", kdf->salt_bytes, LUKS_SALT_MAX);
    if (kdf->type != LUKS_PBKDF2)
        return check_argon2(kdf, err);
    if (kdf->iterations < 1 || kdf->iterations > LUKS_ITERATIONS_MAX)
        return err_set(err, EINVAL, "%u iterations of pbkdf2: 1 to %d are allowed", kdf->iterations,
                       LUKS_ITERATIONS_MAX);
    return luks_hash(kdf->hash, err) ? 0 : -EOPNOTSUPP;
}

static int argon2(const struct luks_kdf *kdf, const uint8_t *passphrase, size_t passphrase_bytes, uint8_t *key,
                  size_t key_bytes, struct err *err)
{
    struct luks_key copy = {0}; /* libargon2 takes what it does not change as not const */
    struct luks_kdf k = *kdf;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    int rc = luks_key_new(passphrase_bytes, &copy, err);
    if (rc)
        return rc;
    memcpy(copy.bytes, passphrase, passphrase_bytes);
    argon2_context context = {.out = key,
                              .outlen = (uint32_t)key_bytes,
                              .pwd = copy.bytes,
                              .pwdlen = (uint32_t)passphrase_bytes,
                              .salt = k.salt,
                              .saltlen = (uint32_t)k.salt_bytes,
                              .t_cost = k.iterations,
                              .m_cost = k.memory_kib,
                              .lanes = k.lanes,
                              .threads = cpus > 0 && (uint32_t)cpus < k.lanes ? (uint32_t)cpus : k.lanes,
                              .version = ARGON2_VERSION_13};
    argon2_type type = k.type == LUKS_ARGON2I ? Argon2_i : Argon2_id;
    int failed = argon2_ctx(&context, type);
    if (failed == ARGON2_THREAD_FAIL) {
        context.threads = 1;
        failed = argon2_ctx(&context, type);
    }
    luks_key_fini(&copy);
    if (failed == ARGON2_MEMORY_ALLOCATION_ERROR)
        return err_set(err, ENOMEM, "argon2 needs %u KiB of memory, which are not there", k.memory_kib);
    return failed ? err_set(err, EINVAL, "argon2: %s", argon2_error_message(failed)) : 0;
}

int luks_kdf_run(const struct luks_kdf *kdf, const uint8_t *passphrase, size_t passphrase_bytes, uint8_t *key,
                 size_t key_bytes, struct err *err)
{
    int rc = luks_kdf_check(kdf, err);
    if (rc)
        return rc;
    if (passphrase_bytes > INT_MAX)
        return err_set(err, EINVAL, "a passphrase of %zu bytes", passphrase_bytes);
    if (kdf->type != LUKS_PBKDF2)
        return argon2(kdf, passphrase, passphrase_bytes, key, key_bytes, err);
    const EVP_MD *hash = luks_hash(kdf->hash, err);
    if (PKCS5_PBKDF2_HMAC((const char *)passphrase, (int)passphrase_bytes, kdf->salt, (int)kdf->salt_bytes,
                          (int)kdf->iterations, hash, (int)key_bytes, key) != 1)
        return err_set(err, EIO, "pbkdf2 failed");
    return 0;
}

/* ---- how much is how long ---- */

static int trial(const struct luks_kdf *kdf, uint64_t *took_ns, struct err *err)
{
    static const uint8_t passphrase[] = "a passphrase of some length";
    uint8_t key[TRIAL_KEY_BYTES];
    struct luks_kdf k = *kdf;
    k.salt_bytes = 32;
    uint64_t start_ns = clock_ns();
    int rc = luks_kdf_run(&k, passphrase, sizeof passphrase - 1, key, sizeof key, err);
    *took_ns = clock_ns() - start_ns;
    *took_ns = *took_ns ? *took_ns : 1;
    return rc;
}

static uint32_t scaled(uint64_t n, uint64_t target_ns, uint64_t took_ns, uint64_t min, uint64_t max)
{
    double wanted = (double)n * (double)target_ns / (double)took_ns;
    return wanted < (double)min ? (uint32_t)min : wanted > (double)max ? (uint32_t)max : (uint32_t)wanted;
}

static int tune_pbkdf2(struct luks_kdf *kdf, uint64_t target_ns, struct err *err)
{
    uint64_t took_ns = 0;
    kdf->iterations = PBKDF2_ITERATIONS_MIN;
    for (;;) {
        int rc = trial(kdf, &took_ns, err);
        if (rc)
            return rc;
        if (took_ns >= TRIAL_NS || took_ns >= target_ns || kdf->iterations > LUKS_ITERATIONS_MAX / 4)
            break;
        kdf->iterations *= 4;
    }
    /* a slot's key is up to two digests long, the trial's is one at most */
    kdf->iterations = scaled(kdf->iterations, target_ns / 2, took_ns, PBKDF2_ITERATIONS_MIN, LUKS_ITERATIONS_MAX);
    return 0;
}

static int tune_argon2(struct luks_kdf *kdf, uint64_t target_ns, struct err *err)
{
    uint64_t took_ns = 0, memory_kib = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 1024;
    if (kdf->memory_kib > memory_kib / 2) /* the next machine may have no more */
        kdf->memory_kib = (uint32_t)(memory_kib / 2);
    struct luks_kdf k = *kdf;
    k.iterations = PASSES_MIN;
    if (k.memory_kib > 64 << 10)
        k.memory_kib = 64 << 10;
    int rc = trial(&k, &took_ns, err);
    if (rc)
        return rc;
    uint64_t full_ns = took_ns * kdf->memory_kib / k.memory_kib; /* PASSES_MIN passes over all that is wished */
    kdf->iterations = PASSES_MIN;
    if (full_ns > target_ns) {
        kdf->memory_kib =
            scaled(k.memory_kib, target_ns, took_ns,
                   LUKS_ARGON2_MEMORY_MIN > 8 * kdf->lanes ? LUKS_ARGON2_MEMORY_MIN : 8 * kdf->lanes, kdf->memory_kib);
        return 0;
    }
    kdf->iterations =
        scaled(PASSES_MIN, target_ns, full_ns, PASSES_MIN, LUKS_ARGON2_WORK_MAX / (uint64_t)kdf->memory_kib);
    return 0;
}

int luks_kdf_tune(struct luks_kdf *kdf, uint32_t target_ms, struct err *err)
{
    uint64_t target_ns = (uint64_t)target_ms * 1000000;
    return kdf->type == LUKS_PBKDF2 ? tune_pbkdf2(kdf, target_ns, err) : tune_argon2(kdf, target_ns, err);
}
