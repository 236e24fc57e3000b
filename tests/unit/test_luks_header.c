/* LUKS headers: known vectors of what they are made of, round trips, damaged copies, and numbers that no header may
 * have. */
#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "nbd/luks1.h"
#include "nbd/luks2_json.h"
#include "nbd/luks_xts.h"
#include "node/base/hex.h"
#include "tests/unit/luks_disk.h"

enum { DISK_BYTES = 3 << 20, COPY_BYTES = 16384 };

static struct luks_disk disk;

static int setup(void **state)
{
    (void)state;
    luks_disk_init(&disk, DISK_BYTES);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    luks_disk_fini(&disk);
    return 0;
}

static void is_hex(const uint8_t *bytes, size_t len_bytes, const char *expected)
{
    char text[512];
    assert_string_equal(hex_text(bytes, len_bytes, text), expected);
}

/* ---- vectors ---- */

/* From an independent program (Python's hashlib, written after the specification). */
static void merges_as_specified(void **state)
{
    static const struct {
        const char *hash, *key;
    } known[] = {{"sha1", "ef92c23fe0c0a72747f15ecc86f13300e7b24196282fe536451f59b3d2a88b42"
                          "cf07b3f827a4566a13858a25539e9bcca3c506ad2b2552fe9dcdc764c03d213d"},
                 {"sha256", "1c5325e11b4c3c0c4dada55ec872dd834e8e2b0aaa5ef463462520270f75ce71"
                            "8a3c8f28fe0b413fbb143fb1904321ca21ed4fe4fe2fce46d92870925c7d91b8"},
                 {"sha512", "4ef134918ff18ae8992c74cbeb32e04622342cf8666624aca5f7d16ef53811a0"
                            "cfe67c47815c3ce349be4924290f7310a5aaa5533ed4d7ebe53c2d725100e158"}};
    uint8_t split[64 * 5], key[64];
    (void)state;
    for (size_t i = 0; i < sizeof split; i++)
        split[i] = (uint8_t)(i * 7 + i / 256);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(luks_af_merge(luks_hash(known[i].hash, NULL), split, 64, 5, key), 0);
        is_hex(key, 64, known[i].key);
    }
}

static void splits_and_merges(void **state)
{
    uint8_t key[32], back[32], *split = malloc(32 * LUKS_AF_STRIPES);
    const EVP_MD *hash = luks_hash("sha256", NULL);
    (void)state;
    for (int i = 0; i < 32; i++)
        key[i] = (uint8_t)(i * 31);
    assert_int_equal(luks_af_split(hash, key, 32, LUKS_AF_STRIPES, split), 0);
    assert_int_equal(luks_af_merge(hash, split, 32, LUKS_AF_STRIPES, back), 0);
    assert_memory_equal(key, back, 32);
    split[32 * 1234 + 5] ^= 1; /* every bit is needed */
    assert_int_equal(luks_af_merge(hash, split, 32, LUKS_AF_STRIPES, back), 0);
    assert_memory_not_equal(key, back, 32);
    free(split);
}

static void derives_as_specified(void **state)
{
    struct luks_kdf pbkdf2 = {.type = LUKS_PBKDF2, .hash = "sha256", .iterations = 1000, .salt_bytes = 16};
    struct luks_kdf argon2 = {
        .type = LUKS_ARGON2ID, .iterations = 2, .memory_kib = 1 << 16, .lanes = 1, .salt_bytes = 8};
    const uint8_t *password = (const uint8_t *)"password";
    uint8_t key[32];
    (void)state;
    memcpy(pbkdf2.salt, "saltSALTsaltSALT", 16);
    assert_int_equal(luks_kdf_run(&pbkdf2, password, 8, key, 32, NULL), 0);
    is_hex(key, 32, "46f895baaa185f0265c1da708d799953de592f576c4538b7eba99ced700ee75b");
    memcpy(argon2.salt, "somesalt", 8);
    assert_int_equal(luks_kdf_run(&argon2, password, 8, key, 32, NULL), 0);
    is_hex(key, 32, "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7");
}

/* IEEE 1619-2007, annex B, vector 10: XTS-AES-256, data unit 255, 512 bytes. */
static void ciphers_as_specified(void **state)
{
    static const char key_text[] = "2718281828459045235360287471352662497757247093699959574966967627"
                                   "3141592653589793238462643383279502884197169399375105820974944592";
    uint8_t key[64], plain[512], out[512];
    struct luks_cipher *cipher = NULL;
    (void)state;
    for (int i = 0; i < 64; i++)
        key[i] = (uint8_t)(hex_digit(key_text[2 * i]) << 4 | hex_digit(key_text[2 * i + 1]));
    for (int i = 0; i < 512; i++)
        plain[i] = (uint8_t)i;
    assert_int_equal(luks_cipher_new(key, 64, 512, &cipher, NULL), 0);
    struct iovec pieces[] = {{plain, 100}, {plain + 100, 0}, {plain + 100, 412}};
    assert_int_equal(luks_cipher_encrypt(cipher, 255, pieces, 3, 0, out, 512), 0);
    is_hex(out, 32, "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b");
    assert_int_equal(luks_cipher_decrypt(cipher, 255, &(struct iovec){out, 512}, 1, 0, 512), 0);
    assert_memory_equal(out, plain, 512);
    luks_cipher_free(cipher);
    struct err err = {0};
    memset(key, 7, 64);
    assert_int_equal(luks_cipher_new(key, 64, 512, &cipher, &err), -EINVAL); /* equal halves */
    assert_int_equal(luks_cipher_new(key, 16, 512, &cipher, &err), -EINVAL);
}

/* Whatever is batched is what OpenSSL's XTS says, for any length and place. */
static void batches_as_openssl(void **state)
{
    enum { LEN = 12 << 10 };
    static uint8_t plain[LEN + 1], expected[LEN], out[LEN + 3];
    (void)state;
    for (int i = 0; i <= LEN; i++)
        plain[i] = (uint8_t)(i * 13 + (i >> 8));
    for (uint32_t sector = 512; sector <= 4096; sector *= 2)
        for (size_t key_bytes = 32; key_bytes <= 64; key_bytes += 32) {
            uint8_t key[64];
            for (size_t i = 0; i < key_bytes; i++)
                key[i] = (uint8_t)(i * i + key_bytes);
            EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
            const EVP_CIPHER *xts = key_bytes == 64 ? EVP_aes_256_xts() : EVP_aes_128_xts();
            const uint64_t first = UINT64_C(0xfffffffffffffff0); /* the number wraps, as the kernel's does */
            for (uint32_t at = 0; at < LEN; at += sector) {
                uint64_t iv[2] = {htole64(first + at / 512), 0};
                int n = 0;
                assert_int_equal(EVP_EncryptInit_ex(ctx, xts, NULL, key, (const uint8_t *)iv), 1);
                assert_int_equal(EVP_EncryptUpdate(ctx, expected + at, &n, plain + 1 + at, (int)sector), 1);
            }
            EVP_CIPHER_CTX_free(ctx);
            struct luks_xts *encrypt = luks_xts_new(key, key_bytes, sector, true);
            struct luks_xts *decrypt = luks_xts_new(key, key_bytes, sector, false);
            assert_int_equal(luks_xts_run(encrypt, first, plain + 1, out + 3, LEN), 0);
            assert_memory_equal(out + 3, expected, LEN);
            assert_int_equal(luks_xts_run(decrypt, first, out + 3, out + 3, LEN), 0);
            assert_memory_equal(out + 3, plain + 1, LEN);
            luks_xts_free(encrypt);
            luks_xts_free(decrypt);
        }
}

static void bounds_cost(void **state)
{
    static const struct {
        struct luks_kdf kdf;
        const char *says;
    } bad[] = {
        {{.type = LUKS_PBKDF2, .hash = "sha256", .salt_bytes = 32}, "0 iterations"},
        {{.type = LUKS_PBKDF2, .hash = "sha256", .iterations = UINT32_MAX, .salt_bytes = 32}, "4294967295 iterations"},
        {{.type = LUKS_PBKDF2, .hash = "md5", .iterations = 1, .salt_bytes = 32}, "the hash 'md5' is not supported"},
        {{.type = LUKS_PBKDF2, .hash = "sha256", .iterations = 1, .salt_bytes = 4}, "a salt of 4 bytes"},
        {{.type = LUKS_ARGON2ID, .iterations = 4, .memory_kib = UINT32_MAX, .lanes = 4, .salt_bytes = 32}, "of memory"},
        {{.type = LUKS_ARGON2ID, .iterations = 4, .memory_kib = 31, .lanes = 1, .salt_bytes = 32}, "31 KiB of memory"},
        {{.type = LUKS_ARGON2ID, .iterations = 4, .memory_kib = 64, .lanes = 9, .salt_bytes = 32}, "8 for each lane"},
        {{.type = LUKS_ARGON2I, .iterations = 4, .memory_kib = 64, .lanes = 0, .salt_bytes = 32}, "0 lanes"},
        {{.type = LUKS_ARGON2I, .iterations = 4, .memory_kib = 64, .lanes = UINT32_MAX, .salt_bytes = 32}, "lanes"},
        {{.type = LUKS_ARGON2I, .iterations = 65, .memory_kib = 1 << 20, .lanes = 4, .salt_bytes = 32}, "65 passes"},
        {{.type = LUKS_ARGON2I, .iterations = 0, .memory_kib = 64, .lanes = 1, .salt_bytes = 32}, "0 passes"},
    };
    uint8_t key[32];
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err err = {0};
        assert_true(luks_kdf_run(&bad[i].kdf, key, 1, key, 32, &err) < 0);
        if (!strstr(err.text, bad[i].says))
            fail_msg("'%s' does not say '%s'", err.text, bad[i].says);
    }
}

static void tunes(void **state)
{
    struct luks_kdf pbkdf2 = {.type = LUKS_PBKDF2, .hash = "sha256"};
    struct luks_kdf argon2 = {.type = LUKS_ARGON2ID, .memory_kib = 1 << 20, .lanes = 4, .salt_bytes = 32};
    (void)state;
    pbkdf2.salt_bytes = 32;
    assert_int_equal(luks_kdf_tune(&pbkdf2, 20, NULL), 0);
    assert_true(pbkdf2.iterations >= 1000);
    assert_int_equal(luks_kdf_tune(&argon2, 20, NULL), 0);
    assert_int_equal(luks_kdf_check(&argon2, NULL), 0);
    assert_true(argon2.memory_kib < 1 << 20 && argon2.iterations >= 4);
}

/* ---- headers ---- */

static void round_trip(void **state)
{
    (void)state;
    for (unsigned version = 1; version <= 2; version++) {
        struct luks_volume v = {0};
        struct err err = {0};
        luks_disk_format(&disk, version, "one");
        if (luks_volume_load(&disk.io, &v, &err))
            fail_msg("%s", err.text);
        assert_int_equal(v.header.version, version);
        assert_int_equal(v.header.key_bytes, 64);
        assert_int_equal(v.header.payload_offset, 2 << 20);
        assert_int_equal(v.header.payload_bytes, DISK_BYTES - (2 << 20));
        assert_int_equal(strlen(v.header.uuid), 36);
        assert_true(v.header.slots[0].used && v.header.slots[0].bound && !v.header.slots[1].used);
        luks_volume_fini(&v);
        assert_int_equal(luks_disk_opens(&disk, "one"), 0);
        assert_int_equal(luks_disk_opens(&disk, "two"), -EACCES);
    }
}

static void changes_keys(void **state)
{
    (void)state;
    for (unsigned version = 1; version <= 2; version++) {
        struct luks_volume v = {0};
        struct luks_key one = luks_disk_key("one"), two = luks_disk_key("two"), key = {0};
        struct err err = {0};
        int slot = -1;
        luks_disk_format(&disk, version, "one");
        assert_int_equal(luks_volume_load(&disk.io, &v, &err), 0);
        assert_int_equal(luks_volume_unlock(&v, &one, -1, &slot, &key, &err), 0);
        assert_int_equal(luks_change_add(&v, &key, &two, &luks_disk_cost, 5, &slot, &err), 0);
        assert_int_equal(luks_disk_opens(&disk, "two"), 5);
        assert_int_equal(luks_change_add(&v, &key, &two, &luks_disk_cost, 5, &slot, &err), -EEXIST);
        assert_int_equal(luks_change_add(&v, &two, &two, &luks_disk_cost, -1, &slot, &err),
                         -EACCES); /* no volume key */
        assert_int_equal(luks_change_remove(&v, 0, &err), 0);
        assert_int_equal(luks_change_remove(&v, 0, &err), -ENOENT);
        assert_int_equal(luks_disk_opens(&disk, "one"), -EACCES);
        for (unsigned i = 0;
             i < v.header.slot_count && !luks_change_add(&v, &key, &one, &luks_disk_cost, -1, &slot, &err); i++)
            ;
        assert_int_equal(err.code, ENOSPC); /* of slots, or of room: 2 MiB hold seven keys */
        assert_int_equal(luks_disk_opens(&disk, "two"), 5);
        assert_int_equal(luks_change_erase(&v, &err), 0);
        assert_int_equal(luks_disk_opens(&disk, "two"), -EACCES);
        assert_int_equal(luks_change_add(&v, &key, &two, &luks_disk_cost, -1, &slot, &err), 0); /* by the volume key */
        assert_int_equal(luks_disk_opens(&disk, "two"), 0);
        luks_key_fini(&one);
        luks_key_fini(&two);
        luks_key_fini(&key);
        luks_volume_fini(&v);
    }
}

static void survives_a_damaged_copy(void **state)
{
    static const size_t places[] = {0, 8, 17, 300, 449, 4096, 8000, COPY_BYTES - 1};
    (void)state;
    for (int second = 0; second < 2; second++)
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
            struct luks_volume v = {0};
            struct err err = {0};
            luks_disk_format(&disk, 2, "one");
            disk.bytes[second * COPY_BYTES + places[i]] ^= 0x40;
            assert_int_equal(luks_disk_opens(&disk, "one"), 0);
            assert_int_equal(luks_volume_load(&disk.io, &v, &err), 0);
            assert_int_equal(v.copies[second].state, LUKS_COPY_DAMAGED);
            assert_int_equal(v.copies[!second].state, LUKS_COPY_GOOD);
            assert_true(*v.copies[second].why.text);
            assert_int_equal(luks_change_repair(&v, &err), 0);
            luks_volume_fini(&v);
            assert_int_equal(luks_volume_load(&disk.io, &v, &err), 0);
            assert_true(v.copies[0].state == LUKS_COPY_GOOD && v.copies[1].state == LUKS_COPY_GOOD);
            luks_volume_fini(&v);
            disk.bytes[places[i]] ^= 0x40;
            disk.bytes[COPY_BYTES + 5000] ^= 1;
            assert_int_equal(luks_disk_opens(&disk, "one"), -EINVAL); /* both */
        }
}

/* ---- hostile ones ---- */

/* A whole header whose JSON says something else, by a patch. */
static int load_patched(const char *patch, struct luks_volume *v, struct err *err)
{
    luks_disk_format(&disk, 2, "one");
    assert_int_equal(luks_volume_load(&disk.io, v, err), 0);
    json_t *json = json_loads(patch, 0, NULL);
    assert_non_null(json);
    json_object_update_recursive(v->json, json);
    char *text = json_dumps(v->json, JSON_COMPACT);
    uint8_t *copy = malloc(COPY_BYTES);
    v->binary.sequence++;
    assert_int_equal(luks2_copy_encode(&v->binary, false, text, copy, err), 0);
    memcpy(disk.bytes, copy, COPY_BYTES);
    free(copy);
    free(text);
    json_decref(json);
    luks_volume_fini(v);
    return luks_volume_load(&disk.io, v, err);
}

#define SLOT(number, rest) "{\"keyslots\":{\"" number "\":{" rest "}}}"
#define COPY_OF_SLOT(number, type, offset)                                                                             \
    SLOT(number,                                                                                                       \
         "\"type\":\"" type "\",\"key_size\":64,\"af\":{\"type\":\"luks1\",\"stripes\":4000,\"hash\":\"sha256\"},"     \
         "\"area\":{\"type\":\"raw\",\"offset\":\"" offset                                                             \
         "\",\"size\":\"258048\",\"encryption\":\"aes-xts-plain64\","                                                  \
         "\"key_size\":64},\"kdf\":{\"type\":\"pbkdf2\",\"hash\":\"sha256\",\"iterations\":1,\"salt\":"                \
         "\"AAAAAAAAAAAAAAAA\"}")

static void refuses(void **state)
{
    static const struct {
        const char *patch, *says;
    } bad[] = {
        {"{\"segments\":{\"0\":{\"integrity\":{\"type\":\"hmac(sha256)\"}}}}", "with integrity ('hmac(sha256)')"},
        {"{\"segments\":{\"0\":{\"encryption\":\"aes-cbc-essiv:sha256\"}}}", "the cipher 'aes-cbc-essiv:sha256'"},
        {"{\"segments\":{\"0\":{\"encryption\":\"\\u001b[31mred\\n\"}}}", "the cipher '?[31mred?'"},
        {"{\"segments\":{\"0\":{\"type\":\"linear\"}}}", "a segment of type 'linear'"},
        {"{\"segments\":{\"1\":{\"type\":\"crypt\"}}}", "2 segments"},
        {"{\"segments\":{\"0\":{\"sector_size\":3000}}}", "sectors of 3000 bytes"},
        {"{\"segments\":{\"0\":{\"sector_size\":8192}}}", "sectors of 8192 bytes"},
        {"{\"segments\":{\"0\":{\"sector_size\":0}}}", "sectors of 0 bytes"},
        {"{\"segments\":{\"0\":{\"sector_size\":\"512\"}}}", "sector_size"},
        {"{\"segments\":{\"0\":{\"offset\":\"1099511627776\"}}}", "the data begins at 1099511627776"},
        {"{\"segments\":{\"0\":{\"offset\":\"4096\"}}}", "inside the header"},
        {"{\"segments\":{\"0\":{\"offset\":\"2097153\"}}}", "the data begins at 2097153"},
        {"{\"segments\":{\"0\":{\"offset\":\"99999999999999999999\"}}}", "offset"},
        {"{\"segments\":{\"0\":{\"offset\":\"-1\"}}}", "offset"},
        {"{\"segments\":{\"0\":{\"size\":\"18446744073709551104\"}}}", "do not fit"},
        {"{\"segments\":{\"0\":{\"size\":\"513\"}}}", "do not fit"},
        {"{\"config\":{\"requirements\":{\"mandatory\":[\"online-reencrypt-v2\"]}}}", "requires 'online-reencrypt-v2'"},
        {"{\"config\":{\"json_size\":\"4096\"}}", "json_size"},
        {"{\"config\":{\"keyslots_size\":\"9223372036854771712\"}}", "keyslots_size"},
        {"{\"config\":{\"keyslots_size\":\"4611686018427383808\"}}", "the keyslots end at"},
        {SLOT("0", "\"area\":{\"offset\":\"0\"}"), "is not where keys may lie"},
        {SLOT("0", "\"area\":{\"offset\":\"4097\"}"), "its area has no offset"},
        {SLOT("0", "\"area\":{\"offset\":\"18446744073709547520\"}"), "its area has no offset"},
        {SLOT("0", "\"area\":{\"offset\":\"9223372036854771712\"}"), "is not where keys may lie"},
        {SLOT("0", "\"area\":{\"size\":\"0\"}"), "its area has no offset and size"},
        {SLOT("0", "\"kdf\":{\"salt\":\"A\"}"), "keyslot 0: its numbers or names"},
        {SLOT("0", "\"kdf\":{\"type\":\"scrypt\"}"), "keyslot 0: its numbers or names"},
        {SLOT("0", "\"priority\":3"), "its priority"},
        {COPY_OF_SLOT("3", "reencrypt", "294912"), "a reencryption is under way (keyslot 3)"},
        {COPY_OF_SLOT("77", "luks2", "294912"), "'77' is no number of a keyslot"},
        {COPY_OF_SLOT("01", "luks2", "294912"), "'01' is no number of a keyslot"},
        {COPY_OF_SLOT("1", "luks2", "36864"), "the areas of keyslots 0 and 1 overlap"},
        {"{\"digests\":{\"0\":{\"type\":\"sha1\"}}}", "a digest of type 'sha1'"},
        {"{\"digests\":{\"0\":{\"salt\":\"!!!!\"}}}", "digest 0: its hash"},
        {"{\"digests\":{\"0\":{\"digest\":\"AAAA\"}}}", "digest 0: its hash"},
        {"{\"digests\":{\"0\":{\"segments\":[]}}}", "no digest speaks of the data"},
        {"{\"keyslots\":5}", "keyslots, segments, digests or tokens are missing"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct luks_volume v = {0};
        struct err err = {0};
        int rc = load_patched(bad[i].patch, &v, &err);
        if (rc != -EINVAL && rc != -EOPNOTSUPP)
            fail_msg("%s: %d %s", bad[i].patch, rc, err.text);
        if (!strstr(err.text, bad[i].says))
            fail_msg("%s: '%s' does not say '%s'", bad[i].patch, err.text, bad[i].says);
    }
}

/* Sound slots that we cannot open: the others work all the same, and what we do not know is kept. */
static void bears_foreign_slots(void **state)
{
    static const char *const patches[] = {
        COPY_OF_SLOT("1", "luks9", "294912"),
        SLOT("1", "\"type\":\"x\",\"area\":{\"offset\":\"294912\",\"size\":\"4096\"}"),
        "{\"tokens\":{\"0\":{\"type\":\"luks2-keyring\",\"keyslots\":[\"0\",\"1\"]}}}"};
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct luks_volume v = {0};
        struct luks_key one = luks_disk_key("one"), key = {0};
        struct err err = {0};
        int slot;
        if (load_patched(patches[i], &v, &err))
            fail_msg("%s", err.text);
        assert_true(i == 2 || *v.header.slots[1].refusal);
        assert_int_equal(luks_volume_unlock(&v, &one, -1, &slot, &key, &err), 0);
        assert_int_equal(luks_change_replace(&v, 0, &key, &one, &luks_disk_cost, &slot, &err), 0);
        assert_int_equal(slot, i == 2 ? 1 : 2);
        luks_volume_fini(&v);
        assert_int_equal(luks_volume_load(&disk.io, &v, &err), 0);
        assert_true(i == 2 || v.header.slots[1].used);
        if (i == 2) /* the token no longer speaks of the slot that is gone */
            assert_int_equal(
                json_array_size(json_object_get(json_object_get(json_object_get(v.json, "tokens"), "0"), "keyslots")),
                1);
        luks_key_fini(&one);
        luks_key_fini(&key);
        luks_volume_fini(&v);
    }
}

static void refuses_costly_slots(void **state)
{
    struct luks_volume v = {0};
    struct luks_key one = luks_disk_key("one"), key = {0};
    struct err err = {0};
    int slot;
    (void)state;
    assert_int_equal(load_patched(SLOT("0", "\"kdf\":{\"type\":\"argon2id\",\"time\":4,\"memory\":4294967295,"
                                            "\"cpus\":4}"),
                                  &v, &err),
                     0);
    assert_int_equal(luks_volume_unlock(&v, &one, -1, &slot, &key, &err), -EOPNOTSUPP);
    assert_non_null(strstr(err.text, "argon2 with 4294967295 KiB of memory"));
    luks_key_fini(&one);
    luks_volume_fini(&v);
}

static void refuses_luks1(void **state)
{
    static const struct {
        size_t at;
        const char *bytes;
        size_t len_bytes;
        const char *says;
    } bad[] = {
        {6, "\0\3", 2, "both headers are damaged"},
        {8, "serpent", 8, "the cipher serpent-xts-plain64"},
        {40, "cbc-plain\0\0", 12, "the cipher aes-cbc-plain"},
        {72, "whirlpool", 10, "the hash 'whirlpool'"},
        {104, "\0\0\0\0", 4, "detached"},
        {104, "\377\377\377\377", 4, "the keyslots end at"},
        {104, "\0\0\0\1", 4, "inside the header"},
        {108, "\377\377\377\377", 4, "a volume key of 4294967295 bytes"},
        {108, "\0\0\0\20", 4, "a volume key of 16 bytes"},
        {208, "\0\0\0\1", 4, "keyslot 0 is neither active nor free"},
        {248, "\0\0\0\0", 4, "keyslot 0: its area"},
        {248, "\377\377\377\377", 4, "keyslot 0: its area"},
        {248 + 48, "\0\0\0\11", 4, "the areas of keyslots 0 and 1 overlap"},
        {252, "\377\377\377\377", 4, "4294967295 stripes"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct luks_volume v = {0};
        struct err err = {0};
        luks_disk_format(&disk, 1, "one");
        memcpy(disk.bytes + bad[i].at, bad[i].bytes, bad[i].len_bytes);
        int rc = luks_volume_load(&disk.io, &v, &err);
        if (rc != -EINVAL && rc != -EOPNOTSUPP)
            fail_msg("%zu: %d %s", i, rc, err.text);
        if (!strstr(err.text, bad[i].says))
            fail_msg("'%s' does not say '%s'", err.text, bad[i].says);
    }
}

static void too_small(void **state)
{
    struct luks_disk tiny;
    (void)state;
    for (uint64_t size = 0; size < 20000; size += size < 600 ? 100 : 9000) {
        struct luks_volume v = {0};
        struct err err = {0};
        luks_disk_format(&disk, 2, "one");
        luks_disk_init(&tiny, size ? size : 1);
        memcpy(tiny.bytes, disk.bytes, size);
        assert_int_equal(luks_volume_load(&tiny.io, &v, &err), -EINVAL);
        assert_true(*err.text);
        luks_disk_fini(&tiny);
    }
}

/* A failed write is said, and what was there still opens. */
static void fails_honestly(void **state)
{
    struct luks_volume v = {0};
    struct luks_key one = luks_disk_key("one"), key = {0};
    struct err err = {0};
    int slot;
    (void)state;
    luks_disk_format(&disk, 2, "one");
    assert_int_equal(luks_volume_load(&disk.io, &v, &err), 0);
    assert_int_equal(luks_volume_unlock(&v, &one, -1, &slot, &key, &err), 0);
    disk.fail_write = -EIO;
    assert_int_equal(luks_change_replace(&v, 0, &key, &one, &luks_disk_cost, &slot, &err), -EIO);
    assert_non_null(strstr(err.text, "writing a keyslot"));
    disk.fail_write = 0;
    assert_int_equal(luks_disk_opens(&disk, "one"), 0);
    luks_key_fini(&one);
    luks_key_fini(&key);
    luks_volume_fini(&v);
}

#define WITH_DISK(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_as_specified),
        cmocka_unit_test(splits_and_merges),
        cmocka_unit_test(derives_as_specified),
        cmocka_unit_test(ciphers_as_specified),
        cmocka_unit_test(batches_as_openssl),
        cmocka_unit_test(bounds_cost),
        cmocka_unit_test(tunes),
        WITH_DISK(round_trip),
        WITH_DISK(changes_keys),
        WITH_DISK(survives_a_damaged_copy),
        WITH_DISK(refuses),
        WITH_DISK(bears_foreign_slots),
        WITH_DISK(refuses_costly_slots),
        WITH_DISK(refuses_luks1),
        WITH_DISK(too_small),
        WITH_DISK(fails_honestly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
