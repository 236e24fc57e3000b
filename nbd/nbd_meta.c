#include "nbd/nbd_meta.h"

#include <string.h>

#include "nbd/blk.h"
#include "nbd/nbd_proto.h"

static const char *const names[NBD_META_COUNT] = {
    [NBD_META_ALLOCATION] = "base:allocation",
    [NBD_META_DEPTH] = "qemu:allocation-depth",
};

const char *nbd_meta_name(enum nbd_meta meta)
{
    return names[meta];
}

uint32_t nbd_meta_id(enum nbd_meta meta)
{
    return (uint32_t)meta + 1;
}

unsigned nbd_meta_query(const char *query, size_t len, bool listing)
{
    unsigned set = 0;
    for (unsigned m = 0; m < NBD_META_COUNT; m++) {
        size_t name_len = strlen(names[m]);
        size_t space_len = (size_t)(strchr(names[m], ':') - names[m]) + 1;
        bool whole = len == name_len;
        bool wildcard = listing && len == space_len;
        if ((whole || wildcard) && memcmp(query, names[m], len) == 0)
            set |= 1u << m;
    }
    return set;
}

static uint32_t status_of(enum nbd_meta meta, const struct blk_extent *e)
{
    if (meta == NBD_META_DEPTH)
        return e->depth;
    return (e->flags & BLK_EXTENT_HOLE ? NBD_STATE_HOLE : 0) | (e->flags & BLK_EXTENT_ZERO ? NBD_STATE_ZERO : 0);
}

uint32_t nbd_meta_describe(enum nbd_meta meta, const struct blk_extent *extents, uint32_t count, bool one,
                           bool extended, struct emit *to)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < count && !(one && n);) {
        uint32_t status = status_of(meta, &extents[i]);
        uint64_t length = 0;
        for (; i < count && status_of(meta, &extents[i]) == status; i++)
            length += extents[i].length_bytes;
        if (extended) {
            emit_u64(to, length);
            emit_u64(to, status);
        } else {
            emit_u32(to, (uint32_t)length);
            emit_u32(to, status);
        }
        n++;
    }
    return n;
}
