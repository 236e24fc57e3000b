/* LUKS1's header: 592 bytes, big-endian, once. Source: LUKS On-Disk Format Specification 1.2.3, section 3.
 * Threads: any; no state. */
#ifndef NBD_LUKS1_H
#define NBD_LUKS1_H

#include "nbd/luks_header.h"

enum { LUKS1_HEADER_BYTES = 592 };

/* bytes: foreign. Errors: -EINVAL no LUKS1 header or a wrong number; -EOPNOTSUPP sound, but not for us (another cipher
 * or hash, a detached header): the text names it. */
int luks1_decode(const uint8_t bytes[LUKS1_HEADER_BYTES], uint64_t device_bytes, struct luks_header *header,
                 struct err *err);
/* A header that luks1_decode() would take. */
void luks1_encode(const struct luks_header *header, uint8_t bytes[LUKS1_HEADER_BYTES]);

#endif
