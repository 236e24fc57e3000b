/* What a LUKS header says, whatever its version: the one picture that unlocking, changing and showing work on.
 *
 * Everything in it was judged when it was read (luks1.h, luks2_json.h, luks_header_check()): strings end, areas lie
 * where key material may lie and do not overlap, the payload is inside the device. A keyslot that is sound but that we
 * cannot open has a `refusal` instead of an error. Threads: plain data. */
#ifndef NBD_LUKS_HEADER_H
#define NBD_LUKS_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nbd/luks_af.h"
#include "nbd/luks_cipher.h"
#include "nbd/luks_kdf.h"

struct err;

enum { LUKS1_SLOTS = 8, LUKS2_SLOTS = 32, LUKS_SLOTS_MAX = 32, LUKS_UUID_BYTES = 40, LUKS_LABEL_BYTES = 48 };

struct luks_area {
    uint64_t offset, size_bytes; /* of the device; size 0: none */
};

struct luks_slot {
    bool used;
    bool bound;        /* its key is that of the data */
    char refusal[160]; /* "" or why it cannot be opened here */
    struct luks_kdf kdf;
    uint32_t key_bytes; /* of the volume key it holds */
    char af_hash[LUKS_HASH_NAME_MAX];
    uint32_t area_key_bytes; /* aes-xts-plain64 of the area */
    struct luks_area area;   /* LUKS1: of free slots, too */
    unsigned priority;       /* 0 only when asked for, 1 normal, 2 first */
};

struct luks_digest {
    char hash[LUKS_HASH_NAME_MAX];
    uint32_t iterations;
    uint8_t salt[LUKS_SALT_MAX], value[LUKS_HASH_BYTES_MAX];
    size_t salt_bytes, value_bytes;
    int number; /* LUKS2: its name in the header */
};

struct luks_header {
    unsigned version; /* 1 or 2 */
    char uuid[LUKS_UUID_BYTES + 1], label[LUKS_LABEL_BYTES + 1];
    uint32_t key_bytes; /* of the volume key: 32 or 64; the cipher is aes-xts-plain64 */
    uint32_t sector_bytes;
    uint64_t iv_tweak; /* number of the first sector, in 512 bytes */
    uint64_t payload_offset, payload_bytes;
    bool payload_fixed;         /* else payload_bytes is all there is behind payload_offset */
    struct luks_area key_areas; /* where key material may lie */
    struct luks_digest digest;
    unsigned slot_count;
    struct luks_slot slots[LUKS_SLOTS_MAX];
};

/* What a slot's area holds of its size: all stripes, in whole sectors. */
uint64_t luks_area_used_bytes(uint32_t key_bytes);

/* Finds payload_bytes unless it is fixed, and judges what lies where. Errors: -EINVAL, and what is wrong. */
int luks_header_check(struct luks_header *header, uint64_t device_bytes, struct err *err);

/* Is this the volume key? 0; -EACCES no; other errors: it cannot be told. */
int luks_header_verify(const struct luks_header *header, const uint8_t *key, size_t key_bytes, struct err *err);

#endif
