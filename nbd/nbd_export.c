#include "nbd/nbd_export.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nbd/blk.h"
#include "nbd/nbd_proto.h"
#include "node/base/err.h"
#include "node/base/stream.h"

static int copy_text(char **to, const char *text, const char *what, struct err *err)
{
    if (strlen(text) > NBD_STRING_MAX_BYTES)
        return err_set(err, EINVAL, "the %s is over %d bytes", what, NBD_STRING_MAX_BYTES);
    char *copy = strdup(text);
    if (!copy)
        return err_set(err, ENOMEM, "no memory for an export");
    free(*to);
    *to = copy;
    return 0;
}

int nbd_export_new(const char *name, struct nbd_export **out, struct err *err)
{
    struct nbd_export *e = calloc(1, sizeof *e);
    if (!e)
        return err_set(err, ENOMEM, "no memory for an export");
    int rc = copy_text(&e->name, name, "export name", err);
    if (rc)
        free(e);
    else
        *out = e;
    return rc;
}

void nbd_export_free(struct nbd_export *e)
{
    if (!e)
        return;
    blk_close(e->blk);
    for (unsigned i = 0; i < e->allow_count; i++)
        free(e->allow[i]);
    free(e->name);
    free(e->description);
    free(e);
}

int nbd_export_describe(struct nbd_export *e, const char *description, struct err *err)
{
    return copy_text(&e->description, description, "description", err);
}

int nbd_export_allow(struct nbd_export *e, const char *peer, struct err *err)
{
    if (e->allow_count == NBD_ALLOW_MAX)
        return err_set(err, EINVAL, "export '%s': at most %d names may be allowed", e->name, NBD_ALLOW_MAX);
    int rc = copy_text(&e->allow[e->allow_count], peer, "name to allow", err);
    if (!rc)
        e->allow_count++;
    return rc;
}

bool nbd_export_allows(const struct nbd_export *e, const struct stream *peer)
{
    for (unsigned i = 0; i < e->allow_count; i++)
        if (stream_peer_is(peer, e->allow[i]))
            return true;
    return !e->allow_count;
}

uint16_t nbd_export_flags(const struct nbd_export *e, bool structured, bool extended, bool has_contexts)
{
    uint32_t can = blk_can(e->blk);
    unsigned flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA;
    if (blk_read_only(e->blk))
        flags |= NBD_FLAG_READ_ONLY;
    if (can & BLK_CAN_TRIM)
        flags |= NBD_FLAG_SEND_TRIM;
    if (can & BLK_CAN_ZERO)
        flags |= NBD_FLAG_SEND_WRITE_ZEROES;
    if (can & BLK_CAN_ZERO && can & BLK_CAN_FAST_ZERO)
        flags |= NBD_FLAG_SEND_FAST_ZERO;
    if (can & BLK_CAN_CACHE)
        flags |= NBD_FLAG_SEND_CACHE;
    if (can & BLK_CAN_MULTI_CONN)
        flags |= NBD_FLAG_CAN_MULTI_CONN;
    if (can & BLK_IS_ROTATIONAL)
        flags |= NBD_FLAG_ROTATIONAL;
    if (e->can_resize && can & BLK_CAN_RESIZE && !blk_read_only(e->blk))
        flags |= NBD_FLAG_SEND_RESIZE;
    if (structured || extended)
        flags |= NBD_FLAG_SEND_DF;
    if (extended && has_contexts)
        flags |= NBD_FLAG_BLOCK_STATUS_PAYLOAD;
    return (uint16_t)flags;
}
