/* LUKS2's binary header: 4096 bytes, big-endian, in front of a JSON text, and all of it twice. Each copy has a sequence
 * id and a checksum over itself; the newer of those that are whole is the header.
 * Source: LUKS2 On-Disk Format Specification 1.1, chapter 2. Threads: any; no state. */
#ifndef NBD_LUKS2_H
#define NBD_LUKS2_H

#include <stdbool.h>

#include "nbd/luks_header.h"

enum {
    LUKS2_BINARY_BYTES = 4096,
    LUKS2_COPY_MIN = 16 << 10, /* binary and JSON; a power of two */
    LUKS2_COPY_MAX = 4 << 20,
    LUKS2_SUBSYSTEM_BYTES = 48,
};

struct luks2_binary {
    uint64_t copy_bytes; /* of one copy; the second one begins there */
    uint64_t sequence;
    char label[LUKS_LABEL_BYTES + 1], subsystem[LUKS2_SUBSYSTEM_BYTES + 1], uuid[LUKS_UUID_BYTES + 1];
    char hash[LUKS_HASH_NAME_MAX + 1]; /* of the checksum */
};

/* The first LUKS2_BINARY_BYTES of the copy that begins at `offset` of the device. Errors: -EINVAL it is none; the
 * checksum is not looked at. */
int luks2_binary_decode(const uint8_t *bytes, bool second, uint64_t offset, struct luks2_binary *binary,
                        struct err *err);
/* All copy_bytes. Errors: -EINVAL the checksum is another. */
int luks2_copy_check(const uint8_t *copy, const struct luks2_binary *binary, struct err *err);
/* A copy with a fresh salt and its checksum; text ends with a 0. Errors: -ENOSPC the text does not fit; -EIO no random
 * numbers. */
int luks2_copy_encode(const struct luks2_binary *binary, bool second, const char *text, uint8_t *copy, struct err *err);

#endif
