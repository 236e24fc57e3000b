/* See luks_change.h. */
#include "nbd/luks_change.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "nbd/luks1.h"
#include "nbd/luks2_json.h"

enum { AREA_ALIGN_BYTES = 4096, WIPE_BYTES = 256 << 10, SECTOR_BYTES = 512 };

/* ---- the header, durably ---- */

static int write1(struct luks_volume *v, struct err *err)
{
    uint8_t bytes[LUKS1_HEADER_BYTES];
    luks1_encode(&v->header, bytes);
    int rc = luks_io_write(v->io, "the header", 0, bytes, sizeof bytes, err);
    return rc ? rc : luks_io_flush(v->io, "the header", err);
}

static int write_copy(struct luks_volume *v, bool second, const char *text, uint8_t *copy, struct err *err)
{
    const char *what = second ? "the second header" : "the first header";
    int rc = luks2_copy_encode(&v->binary, second, text, copy, err);
    if (!rc)
        rc = luks_io_write(v->io, what, second ? v->binary.copy_bytes : 0, copy, v->binary.copy_bytes, err);
    if (!rc)
        rc = luks_io_flush(v->io, what, err);
    v->copies[second].state = rc ? LUKS_COPY_DAMAGED : LUKS_COPY_GOOD;
    return rc;
}

/* Both copies, as they are in memory. The one that does not count now is written first where only one is whole. */
static int write2(struct luks_volume *v, struct err *err)
{
    char *text = json_dumps(v->json, JSON_COMPACT);
    uint8_t *copy = malloc(v->binary.copy_bytes);
    bool second_first = v->copies[0].state == LUKS_COPY_GOOD && v->copies[1].state != LUKS_COPY_GOOD;
    int rc = text && copy ? 0 : err_set(err, ENOMEM, "no memory for a header");
    if (!rc)
        rc = write_copy(v, second_first, text, copy, err);
    if (!rc)
        rc = write_copy(v, !second_first, text, copy, err);
    free(copy);
    free(text);
    return rc;
}

static int write_header(struct luks_volume *v, struct err *err)
{
    if (v->header.version == 1)
        return write1(v, err);
    v->binary.sequence++;
    return write2(v, err);
}

int luks_change_repair(struct luks_volume *v, struct err *err)
{
    if (v->header.version == 1 || (v->copies[0].state == LUKS_COPY_GOOD && v->copies[1].state == LUKS_COPY_GOOD))
        return 0;
    return write_header(v, err);
}

/* ---- areas ---- */

static int wipe(struct luks_io *io, const struct luks_area *area, struct err *err)
{
    uint8_t *noise = malloc(WIPE_BYTES);
    int rc = noise ? 0 : err_set(err, ENOMEM, "no memory for wiping");
    for (uint64_t at = 0; at < area->size_bytes && !rc;) {
        size_t n = area->size_bytes - at < WIPE_BYTES ? (size_t)(area->size_bytes - at) : WIPE_BYTES;
        if (RAND_bytes(noise, (int)n) != 1)
            rc = err_set(err, EIO, "there are no random numbers");
        else
            rc = luks_io_write(io, "over a keyslot", area->offset + at, noise, n, err);
        at += n;
    }
    free(noise);
    return rc ? rc : luks_io_flush(io, "the wiping of a keyslot", err);
}

/* The key in stripes, encrypted by what the passphrase gives, to the slot's area. */
static int write_area(struct luks_volume *v, const struct luks_slot *s, const struct luks_key *key,
                      const struct luks_key *passphrase, struct err *err)
{
    struct luks_key area_key = {0}, area = {0}, out = {0};
    struct luks_cipher *cipher = NULL;
    size_t len = luks_area_used_bytes(s->key_bytes);
    const EVP_MD *hash = luks_hash(s->af_hash, err);
    int rc = hash ? luks_key_new(s->area_key_bytes, &area_key, err) : -EOPNOTSUPP;
    if (!rc)
        rc = luks_key_new(len, &area, err);
    if (!rc)
        rc = luks_key_new(len, &out, err);
    if (!rc)
        rc = luks_kdf_run(&s->kdf, passphrase->bytes, passphrase->len_bytes, area_key.bytes, area_key.len_bytes, err);
    if (!rc)
        rc = luks_cipher_new(area_key.bytes, area_key.len_bytes, LUKS_SECTOR_MIN, &cipher, err);
    if (!rc && (luks_af_split(hash, key->bytes, s->key_bytes, LUKS_AF_STRIPES, area.bytes) ||
                luks_cipher_encrypt(cipher, 0, &(struct iovec){area.bytes, len}, 1, 0, out.bytes, len)))
        rc = err_set(err, EIO, "encrypting a keyslot failed");
    if (!rc)
        rc = luks_io_write(v->io, "a keyslot", s->area.offset, out.bytes, len, err);
    if (!rc)
        rc = luks_io_flush(v->io, "a keyslot", err);
    luks_cipher_free(cipher);
    luks_key_fini(&area_key);
    luks_key_fini(&area);
    luks_key_fini(&out);
    return rc;
}

/* LUKS2: the first gap that is large enough; size_bytes stays 0 if there is none. */
static struct luks_area find_gap(const struct luks_header *h, uint64_t size_bytes)
{
    uint64_t at = h->key_areas.offset, end = at + h->key_areas.size_bytes;
    for (bool moved = true; moved;) {
        moved = false;
        for (unsigned i = 0; i < h->slot_count; i++) {
            const struct luks_area *a = &h->slots[i].area;
            if (a->size_bytes && at < a->offset + a->size_bytes && a->offset < at + size_bytes) {
                at = (a->offset + a->size_bytes + AREA_ALIGN_BYTES - 1) / AREA_ALIGN_BYTES * AREA_ALIGN_BYTES;
                moved = true;
            }
        }
    }
    return size_bytes <= end && at <= end - size_bytes ? (struct luks_area){at, size_bytes} : (struct luks_area){0};
}

/* ---- slots ---- */

struct luks_cost luks_cost_default(unsigned version)
{
    struct luks_cost cost = {.kdf = {.type = version == 1 ? LUKS_PBKDF2 : LUKS_ARGON2ID,
                                     .hash = "sha256",
                                     .memory_kib = 1 << 20,
                                     .lanes = 4},
                             .target_ms = 2000};
    return cost;
}

static int find_free(const struct luks_header *h, int wanted, struct err *err)
{
    if (wanted >= (int)h->slot_count)
        return err_set(err, EINVAL, "keyslots have the numbers 0 to %u", h->slot_count - 1);
    if (wanted >= 0)
        return h->slots[wanted].used ? err_set(err, EEXIST, "keyslot %d is in use", wanted) : wanted;
    for (unsigned i = 0; i < h->slot_count; i++)
        if (!h->slots[i].used)
            return (int)i;
    return err_set(err, ENOSPC, "all %u keyslots are in use", h->slot_count);
}

/* All of a new slot but its area's content; *slot is set only on success. */
static int prepare(const struct luks_header *h, const struct luks_cost *cost, unsigned number, struct luks_slot *slot,
                   struct err *err)
{
    struct luks_slot s = {.used = true, .bound = true, .priority = 1, .kdf = cost->kdf};
    if (h->version == 1 && cost->kdf.type != LUKS_PBKDF2)
        return err_set(err, EINVAL, "LUKS1 has only pbkdf2");
    if (h->version == 1) /* one hash for all of a header */
        memcpy(s.kdf.hash, h->digest.hash, sizeof s.kdf.hash);
    s.key_bytes = h->key_bytes;
    s.area_key_bytes = h->version == 1 ? h->key_bytes : 64;
    memcpy(s.af_hash, h->version == 1 ? h->digest.hash : "sha256", h->version == 1 ? sizeof s.af_hash : 7);
    s.kdf.salt_bytes = 32;
    if (RAND_bytes(s.kdf.salt, 32) != 1)
        return err_set(err, EIO, "there are no random numbers");
    int rc = s.kdf.iterations ? 0 : luks_kdf_tune(&s.kdf, cost->target_ms, err);
    if (!rc)
        rc = luks_kdf_check(&s.kdf, err);
    if (rc)
        return rc;
    uint64_t area_bytes =
        (luks_area_used_bytes(h->key_bytes) + AREA_ALIGN_BYTES - 1) / AREA_ALIGN_BYTES * AREA_ALIGN_BYTES;
    s.area = h->version == 1 ? h->slots[number].area : find_gap(h, area_bytes);
    if (!s.area.size_bytes)
        return err_set(err, ENOSPC, "there is no room for another keyslot between the header and the data");
    *slot = s;
    return 0;
}

static void forget(struct luks_volume *v, unsigned number)
{
    struct luks_slot *s = &v->header.slots[number];
    if (v->header.version == 1) {
        s->used = s->bound = false; /* its area stays its own */
        memset(s->kdf.salt, 0, sizeof s->kdf.salt);
        s->kdf.iterations = 0;
        return;
    }
    luks2_json_drop_slot(v->json, number);
    memset(s, 0, sizeof *s);
}

/* The header gains a slot whose area is durable already, and LUKS2's may lose another in the same write. */
static int publish(struct luks_volume *v, unsigned number, int old, struct err *err)
{
    if (v->header.version == 1) {
        v->header.slots[number].used = false;
        int rc = write1(v, err);
        v->header.slots[number].used = true;
        rc = rc ? rc : write1(v, err);
        if (rc || old < 0)
            return rc;
        forget(v, (unsigned)old);
        return write1(v, err);
    }
    if (old >= 0)
        forget(v, (unsigned)old);
    if (luks2_json_set_slot(v->json, &v->header, number))
        return err_set(err, ENOMEM, "no memory for a header");
    return write_header(v, err);
}

static int add(struct luks_volume *v, const struct luks_key *key, const struct luks_key *passphrase,
               const struct luks_cost *cost, int wanted, int old, int *slot, struct err *err)
{
    struct luks_slot fresh;
    int rc = luks_header_verify(&v->header, key->bytes, key->len_bytes, err);
    if (!rc)
        rc = luks_change_repair(v, err);
    int number = rc ? rc : find_free(&v->header, wanted, err);
    if (number < 0)
        return number;
    rc = prepare(&v->header, cost, (unsigned)number, &fresh, err);
    if (!rc)
        rc = write_area(v, &fresh, key, passphrase, err);
    if (rc)
        return rc;
    v->header.slots[number] = fresh;
    rc = publish(v, (unsigned)number, old, err);
    if (!rc)
        *slot = number;
    return rc;
}

int luks_change_add(struct luks_volume *v, const struct luks_key *key, const struct luks_key *passphrase,
                    const struct luks_cost *cost, int wanted, int *slot, struct err *err)
{
    return add(v, key, passphrase, cost, wanted, -1, slot, err);
}

int luks_change_replace(struct luks_volume *v, unsigned old, const struct luks_key *key,
                        const struct luks_key *passphrase, const struct luks_cost *cost, int *slot, struct err *err)
{
    if (old >= v->header.slot_count || !v->header.slots[old].used)
        return err_set(err, ENOENT, "there is no keyslot %u", old);
    struct luks_area area = v->header.slots[old].area;
    int rc = add(v, key, passphrase, cost, -1, (int)old, slot, err);
    return rc ? rc : wipe(v->io, &area, err);
}

int luks_change_remove(struct luks_volume *v, unsigned slot, struct err *err)
{
    if (slot >= v->header.slot_count || !v->header.slots[slot].used)
        return err_set(err, ENOENT, "there is no keyslot %u", slot);
    struct luks_area area = v->header.slots[slot].area;
    int rc = luks_change_repair(v, err);
    if (rc)
        return rc;
    forget(v, slot);
    rc = write_header(v, err);
    return rc ? rc : wipe(v->io, &area, err);
}

int luks_change_erase(struct luks_volume *v, struct err *err)
{
    struct luks_area all = v->header.key_areas;
    int rc = 0;
    if (v->header.version == 2)
        rc = wipe(v->io, &all, err);
    for (unsigned i = 0; i < v->header.slot_count && !rc; i++) {
        if (v->header.version == 1)
            rc = wipe(v->io, &v->header.slots[i].area, err);
        if (v->header.slots[i].used)
            forget(v, i);
    }
    return rc ? rc : write_header(v, err);
}
