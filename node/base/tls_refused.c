#include "node/base/tls_refused.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/err.h"
#include "node/base/hex.h"

enum { DIGEST_BYTES = 32, LINE_BYTES = 256 };

struct tls_refused {
    size_t count;
    uint8_t digests[][DIGEST_BYTES]; /* sorted */
};

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, DIGEST_BYTES);
}

static bool parse(const char *line, uint8_t digest[DIGEST_BYTES])
{
    for (unsigned i = 0; i < DIGEST_BYTES; i++) {
        int high = hex_digit(line[2 * i]), low = high < 0 ? -1 : hex_digit(line[2 * i + 1]);
        if (low < 0)
            return false;
        digest[i] = (uint8_t)(high << 4 | low);
    }
    return !line[2 * DIGEST_BYTES] || line[2 * DIGEST_BYTES] == ' ';
}

static int read_lines(FILE *file, const char *path, struct tls_refused **refused, struct err *err)
{
    char line[LINE_BYTES];
    for (size_t n = 0; fgets(line, sizeof line, file); n++) {
        line[strcspn(line, "\n")] = 0;
        if (n == TLS_REFUSED_MAX)
            return err_set(err, EFBIG, "'%s' has over %d lines", path, TLS_REFUSED_MAX);
        if (n % 64 == 0) {
            struct tls_refused *more =
                realloc(*refused, sizeof(struct tls_refused) + (n + 64) * sizeof more->digests[0]);
            if (!more)
                return err_set(err, ENOMEM, "no memory for '%s'", path);
            *refused = more;
        }
        if (!parse(line, (*refused)->digests[n]))
            return err_set(err, EINVAL, "'%s', line %zu: it must begin with 64 hex digits, the SHA-256 of a public key",
                           path, n + 1);
        (*refused)->count = n + 1;
    }
    return ferror(file) ? err_set(err, EIO, "cannot read '%s'", path) : 0;
}

int tls_refused_load(const char *path, struct tls_refused **refused, struct err *err)
{
    *refused = NULL;
    FILE *file = fopen(path, "re");
    if (!file)
        return errno == ENOENT ? 0 : err_set(err, errno, "'%s': %s", path, strerror(errno));
    int rc = read_lines(file, path, refused, err);
    fclose(file);
    if (rc) {
        tls_refused_free(*refused);
        *refused = NULL;
    } else if (*refused) {
        qsort((*refused)->digests, (*refused)->count, DIGEST_BYTES, compare);
    }
    return rc;
}

void tls_refused_free(struct tls_refused *refused)
{
    free(refused);
}

static int digest_of(X509 *certificate, uint8_t digest[DIGEST_BYTES])
{
    unsigned char *der = NULL;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
    bool done = len > 0 && EVP_Digest(der, (size_t)len, digest, NULL, EVP_sha256(), NULL) == 1;
    OPENSSL_free(der);
    return done ? 0 : -ENOMEM;
}

/* Who cannot be looked at is not let in. */
bool tls_refused_has(const struct tls_refused *refused, X509 *certificate)
{
    uint8_t digest[DIGEST_BYTES];
    if (!refused || !refused->count)
        return false;
    return digest_of(certificate, digest) ||
           bsearch(digest, refused->digests, refused->count, DIGEST_BYTES, compare) != NULL;
}

int tls_key_digest(X509 *certificate, char text[TLS_KEY_DIGEST_TEXT])
{
    uint8_t digest[DIGEST_BYTES];
    int rc = digest_of(certificate, digest);
    if (!rc)
        hex_text(digest, sizeof digest, text);
    return rc;
}
