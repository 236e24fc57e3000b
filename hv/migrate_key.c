#include "hv/migrate_key.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hv/migrate_wire.h"
#include "node/base/err.h"

enum { DIGEST_BYTES = 32, IDENTITY_CHARS = 96 };

int migrate_key_read(struct migrate_key *key, int fd, struct err *err)
{
    uint8_t bytes[MIGRATE_KEY_BYTES + 1];
    size_t have = 0;
    ssize_t n = 1;
    while (have < sizeof bytes && (n = read(fd, bytes + have, sizeof bytes - have)) > 0)
        have += (size_t)n;
    int code = n < 0 ? errno : 0;
    close(fd);
    if (have == MIGRATE_KEY_BYTES && !code) {
        memcpy(key->bytes, bytes, MIGRATE_KEY_BYTES);
        key->there = true;
    }
    OPENSSL_cleanse(bytes, sizeof bytes);
    if (code)
        return err_set(err, code, "cannot read the migration's key: %s", strerror(code));
    if (have != MIGRATE_KEY_BYTES)
        return err_set(err, EINVAL, "the migration's key must have %d bytes, no more and no fewer", MIGRATE_KEY_BYTES);
    return 0;
}

void migrate_key_wipe(struct migrate_key *key)
{
    OPENSSL_cleanse(key, sizeof *key);
}

static void derive(const struct migrate_key *key, const char *what, uint8_t digest[DIGEST_BYTES])
{
    unsigned bytes = DIGEST_BYTES;
    HMAC(EVP_sha256(), key->bytes, MIGRATE_KEY_BYTES, (const unsigned char *)what, strlen(what), digest, &bytes);
}

static void id_of(const struct migrate_key *key, char id[MIGRATE_ID_CHARS + 1])
{
    uint8_t digest[DIGEST_BYTES];
    derive(key, "drover migration", digest);
    for (unsigned i = 0; i < MIGRATE_ID_CHARS / 2; i++)
        snprintf(id + 2 * i, 3, "%02x", digest[i]);
}

static void name_stream(const struct migrate_key *key, unsigned stream, char identity[IDENTITY_CHARS])
{
    char id[MIGRATE_ID_CHARS + 1];
    id_of(key, id);
    snprintf(identity, IDENTITY_CHARS, "drover-migration/%s/%u", id, stream);
}

static struct tls_context *context(const struct migrate_key *key, enum tls_side side, unsigned first, unsigned count,
                                   struct err *err)
{
    uint8_t digests[MIGRATE_STREAMS_MAX][DIGEST_BYTES];
    char identities[MIGRATE_STREAMS_MAX][IDENTITY_CHARS], what[64];
    struct tls_secret secrets[MIGRATE_STREAMS_MAX];
    for (unsigned i = 0; i < count; i++) {
        snprintf(what, sizeof what, "drover migration stream %u", first + i);
        derive(key, what, digests[i]);
        name_stream(key, first + i, identities[i]);
        secrets[i] = (struct tls_secret){identities[i], digests[i], DIGEST_BYTES};
    }
    struct tls_context *c = tls_context_secrets(side, secrets, count, err);
    OPENSSL_cleanse(digests, sizeof digests);
    return c;
}

struct tls_context *migrate_key_server(const struct migrate_key *key, struct err *err)
{
    return context(key, TLS_SERVER, 0, MIGRATE_STREAMS_MAX, err);
}

struct tls_context *migrate_key_client(const struct migrate_key *key, unsigned stream, struct err *err)
{
    return context(key, TLS_CLIENT, stream, 1, err);
}

int migrate_key_stream(const struct migrate_key *key, const char *identity)
{
    char name[IDENTITY_CHARS];
    for (unsigned i = 0; identity && i < MIGRATE_STREAMS_MAX; i++) {
        name_stream(key, i, name);
        if (strcmp(name, identity) == 0)
            return (int)i;
    }
    return -1;
}
