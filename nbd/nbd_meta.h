/* Metadata contexts that the server offers. Source: proto.md, "Metadata querying"; QEMU's nbd.txt for the depth. */
#ifndef NBD_NBD_META_H
#define NBD_NBD_META_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/base/emit.h"

struct blk_extent;

enum nbd_meta {
    NBD_META_ALLOCATION, /* base:allocation */
    NBD_META_DEPTH,      /* qemu:allocation-depth: 0 unallocated, 1 top image, 2 its backing image ... */
    NBD_META_COUNT
};

const char *nbd_meta_name(enum nbd_meta meta);
/* The id on the wire; never 0, so that an unset field is noticed. */
uint32_t nbd_meta_id(enum nbd_meta meta);

/* Contexts that a query selects, as a set of 1 << meta. Wildcards ("base:", "qemu:") count when listing only. */
unsigned nbd_meta_query(const char *query, size_t len, bool listing);

/* Writes the descriptors of one context (32-bit pairs, or 64-bit ones when extended), joining neighbours that this
 * context does not tell apart; returns how many. one: stop after the first. The emit must have room for `count`. */
uint32_t nbd_meta_describe(enum nbd_meta meta, const struct blk_extent *extents, uint32_t count, bool one,
                           bool extended, struct emit *to);

#endif
