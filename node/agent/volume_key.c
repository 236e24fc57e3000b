#include "node/agent/volume_key.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "node/base/err.h"
#include "node/base/hex.h"
#include "node/base/whole_file.h"

enum { NONCE_BYTES = 12, TAG_BYTES = 16, WRAPPED_BYTES = NONCE_BYTES + VOLUME_KEY_BYTES + TAG_BYTES };

/* ---- digits ---- */

/* False: other than exactly that many bytes. */
static bool from_digits(const char *text, uint8_t *bytes, size_t len_bytes)
{
    for (size_t i = 0; i < 2 * len_bytes; i++) {
        int digit = hex_digit(text[i]); /* -1 at the end of the text, too */
        if (digit < 0)
            return false;
        bytes[i / 2] = (uint8_t)(i % 2 ? bytes[i / 2] | digit : digit << 4);
    }
    return !text[2 * len_bytes];
}

/* ---- the cluster's key ---- */

static void path_of(const char *state, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/volume.key", state);
}

int volume_key_write_cluster(const char *state, const char *text, struct err *err)
{
    uint8_t key[VOLUME_KEY_BYTES];
    char path[PATH_MAX];
    path_of(state, path);
    if (!from_digits(text, key, sizeof key))
        return err_set(err, EINVAL, "the cluster's volume key is not %d hexadecimal digits", 2 * VOLUME_KEY_BYTES);
    OPENSSL_cleanse(key, sizeof key);
    int rc = whole_file_write(path, text, strlen(text), 0600);
    return rc ? err_set(err, -rc, "%s cannot be written: %s", path, strerror(-rc)) : 0;
}

int volume_key_make_cluster(const char *state, struct err *err)
{
    uint8_t key[VOLUME_KEY_BYTES];
    char path[PATH_MAX], text[VOLUME_KEY_TEXT];
    path_of(state, path);
    if (!access(path, F_OK))
        return err_set(err, EEXIST, "%s is there already, and volumes may need it", path);
    if (RAND_bytes(key, sizeof key) != 1)
        return err_set(err, EIO, "there are no random numbers for the cluster's volume key");
    int rc = volume_key_write_cluster(state, hex_text(key, sizeof key, text), err);
    OPENSSL_cleanse(key, sizeof key);
    OPENSSL_cleanse(text, sizeof text);
    return rc;
}

int volume_key_read_cluster(const char *state, char text[VOLUME_KEY_TEXT], struct err *err)
{
    uint8_t key[VOLUME_KEY_BYTES];
    char path[PATH_MAX];
    path_of(state, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_set(err, errno, "the cluster's volume key %s cannot be read: %s", path, strerror(errno));
    ssize_t n = read(fd, text, VOLUME_KEY_TEXT - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    bool whole = from_digits(text, key, sizeof key);
    OPENSSL_cleanse(key, sizeof key);
    return whole ? 0 : err_set(err, EINVAL, "%s is no key: bring it from another node of the cluster", path);
}

/* ---- wrapping ---- */

static int cluster_key(const char *state, uint8_t key[VOLUME_KEY_BYTES], struct err *err)
{
    char text[VOLUME_KEY_TEXT];
    int rc = volume_key_read_cluster(state, text, err);
    if (!rc)
        from_digits(text, key, VOLUME_KEY_BYTES);
    OPENSSL_cleanse(text, sizeof text);
    return rc;
}

/* wrapped: nonce, ciphertext, tag, of which the nonce is there. */
static bool seal(const uint8_t *kek, const char *id, const uint8_t *plain, uint8_t wrapped[WRAPPED_BYTES])
{
    int n;
    uint8_t *text = wrapped + NONCE_BYTES, *tag = text + VOLUME_KEY_BYTES;
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    bool ok = c && EVP_EncryptInit_ex(c, EVP_aes_256_gcm(), NULL, kek, wrapped) &&
              EVP_EncryptUpdate(c, NULL, &n, (const uint8_t *)id, (int)strlen(id)) &&
              EVP_EncryptUpdate(c, text, &n, plain, VOLUME_KEY_BYTES) && EVP_EncryptFinal_ex(c, text + n, &n) &&
              EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, tag);
    EVP_CIPHER_CTX_free(c);
    return ok;
}

static bool unseal(const uint8_t *kek, const char *id, uint8_t wrapped[WRAPPED_BYTES], uint8_t plain[VOLUME_KEY_BYTES])
{
    int n;
    uint8_t *text = wrapped + NONCE_BYTES, *tag = text + VOLUME_KEY_BYTES;
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    bool ok = c && EVP_DecryptInit_ex(c, EVP_aes_256_gcm(), NULL, kek, wrapped) &&
              EVP_DecryptUpdate(c, NULL, &n, (const uint8_t *)id, (int)strlen(id)) &&
              EVP_DecryptUpdate(c, plain, &n, text, VOLUME_KEY_BYTES) &&
              EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG_BYTES, tag) && EVP_DecryptFinal_ex(c, plain + n, &n);
    EVP_CIPHER_CTX_free(c);
    return ok;
}

int volume_key_new(const char *state, const char *id, char wrapped[VOLUME_KEY_WRAPPED_TEXT], struct err *err)
{
    uint8_t kek[VOLUME_KEY_BYTES], key[VOLUME_KEY_BYTES], bytes[WRAPPED_BYTES];
    int rc = cluster_key(state, kek, err);
    if (rc)
        return rc;
    if (RAND_bytes(key, sizeof key) != 1 || RAND_bytes(bytes, NONCE_BYTES) != 1 || !seal(kek, id, key, bytes))
        rc = err_set(err, EIO, "the volume's key cannot be made: there are no random numbers, or no AES");
    hex_text(bytes, sizeof bytes, wrapped);
    OPENSSL_cleanse(kek, sizeof kek);
    OPENSSL_cleanse(key, sizeof key);
    return rc;
}

int volume_key_unwrap(const char *state, const char *id, const char *wrapped, char passphrase[VOLUME_KEY_TEXT],
                      struct err *err)
{
    uint8_t kek[VOLUME_KEY_BYTES], key[VOLUME_KEY_BYTES], bytes[WRAPPED_BYTES];
    if (!from_digits(wrapped, bytes, sizeof bytes))
        return err_set(err, EBADMSG, "the wrapped key of volume %s is damaged", id);
    int rc = cluster_key(state, kek, err);
    if (rc)
        return rc;
    if (unseal(kek, id, bytes, key))
        hex_text(key, sizeof key, passphrase);
    else
        rc = err_set(err, EBADMSG, "the key of volume %s cannot be unwrapped: it belongs to another cluster or volume",
                     id);
    OPENSSL_cleanse(kek, sizeof kek);
    OPENSSL_cleanse(key, sizeof key);
    return rc;
}

/* In memory only; the caller's to close. */
static int file_of(const void *data, size_t bytes, const char *id, struct err *err)
{
    int fd = memfd_create("key", MFD_CLOEXEC);
    if (fd >= 0 && write(fd, data, bytes) == (ssize_t)bytes && !lseek(fd, 0, SEEK_SET))
        return fd;
    int rc = err_set(err, errno, "no memory to hand over the key of %s: %s", id, strerror(errno));
    if (fd >= 0)
        close(fd);
    return rc;
}

int volume_key_file(const char *state, const char *id, const char *wrapped, struct err *err)
{
    char passphrase[VOLUME_KEY_TEXT];
    int rc = volume_key_unwrap(state, id, wrapped, passphrase, err);
    if (!rc)
        rc = file_of(passphrase, VOLUME_KEY_TEXT - 1, id, err);
    OPENSSL_cleanse(passphrase, sizeof passphrase);
    return rc;
}

int volume_key_bytes_file(const char *state, const char *id, const char *wrapped, struct err *err)
{
    char digits[VOLUME_KEY_TEXT];
    uint8_t bytes[VOLUME_KEY_BYTES];
    int rc = volume_key_unwrap(state, id, wrapped, digits, err);
    if (!rc && from_digits(digits, bytes, sizeof bytes))
        rc = file_of(bytes, sizeof bytes, id, err);
    OPENSSL_cleanse(digits, sizeof digits);
    OPENSSL_cleanse(bytes, sizeof bytes);
    return rc;
}
