/* LUKS2's JSON: keyslots, segments, digests, tokens, config. Objects are named by small numbers; 64-bit numbers are
 * texts. What we do not know is kept as it is when the header is changed, tokens among it.
 * Source: LUKS2 On-Disk Format Specification 1.1, chapter 3. Threads: any. */
#ifndef NBD_LUKS2_JSON_H
#define NBD_LUKS2_JSON_H

#include <jansson.h>

#include "nbd/luks_header.h"

/* Reads it into slots, digest, segment and key_areas of *header; copy_bytes: where the second copy begins.
 * Errors: -EINVAL malformed; -EOPNOTSUPP sound, but not for us (integrity, reencryption, another cipher, an unknown
 * requirement): the text names it. */
int luks2_json_read(const json_t *json, uint64_t copy_bytes, struct luks_header *header, struct err *err);

/* A text (of JSON, a header's, foreign) to a value, or NULL. */
json_t *luks2_json_parse(const char *text, size_t len_bytes, struct err *err);

/* What describes header, its used slots among it; NULL: no memory. */
json_t *luks2_json_new(const struct luks_header *header, uint64_t copy_bytes);
/* Slot `number` as header has it, bound to the data's digest. -ENOMEM. */
int luks2_json_set_slot(json_t *json, const struct luks_header *header, unsigned number);
/* Removes the slot everywhere: from digests and tokens, too. */
void luks2_json_drop_slot(json_t *json, unsigned number);

#endif
