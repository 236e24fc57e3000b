/* See luks2.h.
 *
 *     0 magic  6 version  8 size  16 sequence  24 label  72 checksum's hash  104 salt  168 uuid  208 subsystem
 *     256 offset of this copy  264 zeroes  448 checksum  512 zeroes  4096 JSON, ended by a 0, zeroes
 *
 * The checksum is that of the whole copy with the checksum's field zeroed. */
#include "nbd/luks2.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <string.h>

#include "node/base/cursor.h"
#include "node/base/emit.h"
#include "node/base/err.h"

enum { CHECKSUM_AT = 448, CHECKSUM_BYTES = 64, SALT_BYTES = 64, BEFORE_CHECKSUM_BYTES = 184 };

static const uint8_t magics[2][6] = {{'L', 'U', 'K', 'S', 0xba, 0xbe}, {'S', 'K', 'U', 'L', 0xba, 0xbe}};

static void take_text(struct cursor *c, size_t field_bytes, char *text)
{
    const uint8_t *p = cursor_take(c, field_bytes);
    memset(text, 0, field_bytes + 1);
    if (p)
        memcpy(text, p, strnlen((const char *)p, field_bytes));
}

int luks2_binary_decode(const uint8_t *bytes, bool second, uint64_t offset, struct luks2_binary *binary,
                        struct err *err)
{
    struct cursor c = cursor_of(bytes, LUKS2_BINARY_BYTES);
    struct luks2_binary b = {0};
    const uint8_t *magic = cursor_take(&c, 6);
    uint16_t version = cursor_u16(&c);
    if (memcmp(magic, magics[second], 6) != 0 || version != 2)
        return err_set(err, EINVAL, "there is no LUKS2 header");
    b.copy_bytes = cursor_u64(&c);
    b.sequence = cursor_u64(&c);
    take_text(&c, LUKS_LABEL_BYTES, b.label);
    take_text(&c, LUKS_HASH_NAME_MAX, b.hash);
    cursor_take(&c, SALT_BYTES);
    take_text(&c, LUKS_UUID_BYTES, b.uuid);
    take_text(&c, LUKS2_SUBSYSTEM_BYTES, b.subsystem);
    uint64_t own_offset = cursor_u64(&c);
    if (b.copy_bytes < LUKS2_COPY_MIN || b.copy_bytes > LUKS2_COPY_MAX || b.copy_bytes & (b.copy_bytes - 1))
        return err_set(err, EINVAL, "its size is %llu: a power of two from 16 KiB to 4 MiB is possible",
                       (unsigned long long)b.copy_bytes);
    if (own_offset != offset || (second && offset != b.copy_bytes))
        return err_set(err, EINVAL, "it says that it is at %llu and is at %llu", (unsigned long long)own_offset,
                       (unsigned long long)offset);
    *binary = b;
    return 0;
}

static int checksum(const EVP_MD *hash, const uint8_t *copy, uint64_t copy_bytes, uint8_t value[EVP_MAX_MD_SIZE])
{
    static const uint8_t zeroes[CHECKSUM_BYTES];
    const size_t behind = CHECKSUM_AT + CHECKSUM_BYTES;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool done = ctx && EVP_DigestInit_ex(ctx, hash, NULL) == 1 && EVP_DigestUpdate(ctx, copy, CHECKSUM_AT) == 1 &&
                EVP_DigestUpdate(ctx, zeroes, sizeof zeroes) == 1 &&
                EVP_DigestUpdate(ctx, copy + behind, copy_bytes - behind) == 1 &&
                EVP_DigestFinal_ex(ctx, value, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    return done ? 0 : -EIO;
}

int luks2_copy_check(const uint8_t *copy, const struct luks2_binary *binary, struct err *err)
{
    uint8_t value[EVP_MAX_MD_SIZE];
    const EVP_MD *hash = luks_hash(binary->hash, err);
    if (!hash)
        return -EOPNOTSUPP;
    if (checksum(hash, copy, binary->copy_bytes, value))
        return err_set(err, EIO, "its checksum cannot be computed");
    if (memcmp(value, copy + CHECKSUM_AT, (size_t)EVP_MD_get_size(hash)) != 0)
        return err_set(err, EINVAL, "its checksum is wrong");
    return 0;
}

static void emit_text(struct emit *e, const char *text, size_t field_bytes)
{
    uint8_t field[LUKS_LABEL_BYTES] = {0};
    memcpy(field, text, strnlen(text, field_bytes));
    emit_bytes(e, field, field_bytes);
}

int luks2_copy_encode(const struct luks2_binary *b, bool second, const char *text, uint8_t *copy, struct err *err)
{
    static const uint8_t zeroes[BEFORE_CHECKSUM_BYTES];
    uint8_t salt[SALT_BYTES];
    size_t text_bytes = strlen(text) + 1;
    const EVP_MD *hash = luks_hash(b->hash, err);
    if (!hash)
        return -EOPNOTSUPP;
    if (text_bytes > b->copy_bytes - LUKS2_BINARY_BYTES)
        return err_set(err, ENOSPC, "the header has room for %llu bytes of JSON, and would need %zu",
                       (unsigned long long)(b->copy_bytes - LUKS2_BINARY_BYTES), text_bytes);
    if (RAND_bytes(salt, sizeof salt) != 1)
        return err_set(err, EIO, "there are no random numbers");
    struct emit e = emit_to(copy, b->copy_bytes);
    memset(copy, 0, b->copy_bytes);
    emit_bytes(&e, magics[second], 6);
    emit_u16(&e, 2);
    emit_u64(&e, b->copy_bytes);
    emit_u64(&e, b->sequence);
    emit_text(&e, b->label, LUKS_LABEL_BYTES);
    emit_text(&e, b->hash, LUKS_HASH_NAME_MAX);
    emit_bytes(&e, salt, sizeof salt);
    emit_text(&e, b->uuid, LUKS_UUID_BYTES);
    emit_text(&e, b->subsystem, LUKS2_SUBSYSTEM_BYTES);
    emit_u64(&e, second ? b->copy_bytes : 0);
    emit_bytes(&e, zeroes, sizeof zeroes);
    memcpy(copy + LUKS2_BINARY_BYTES, text, text_bytes);
    uint8_t value[EVP_MAX_MD_SIZE];
    if (checksum(hash, copy, b->copy_bytes, value))
        return err_set(err, EIO, "the header's checksum cannot be computed");
    memcpy(copy + CHECKSUM_AT, value, (size_t)EVP_MD_get_size(hash));
    return 0;
}
