#include "nbd/nbd_epoch.h"

#include <inttypes.h>

#include "nbd/fence.h"
#include "nbd/nbd_conn.h"
#include "node/base/container.h"

enum { DIGITS_MAX = 19 }; /* what surely fits 64 bits */

uint64_t nbd_epoch_split(const uint8_t *name, size_t *len)
{
    uint64_t epoch = 0;
    size_t at = *len;
    while (at && name[at - 1] >= '0' && name[at - 1] <= '9')
        at--;
    if (!at || at == *len || name[at - 1] != '@' || *len - at > DIGITS_MAX || name[at] == '0')
        return 0;
    for (size_t i = at; i < *len; i++)
        epoch = epoch * 10 + (name[i] - '0');
    *len = at - 1;
    return epoch;
}

uint32_t nbd_epoch_denied(const struct nbd_export *e, uint64_t epoch, const char **why)
{
    if (!e->fence && !epoch)
        return 0;
    if (!e->fence)
        *why = "this export has no epochs: ask for it without @EPOCH";
    else if (!epoch)
        *why = "this export is fenced: ask for NAME@EPOCH";
    else if (epoch < fence_epoch(e->fence))
        *why = "that epoch is over: a newer owner has this export";
    else
        return 0;
    return NBD_REP_ERR_POLICY;
}

static void end_older(struct nbd_server *server, const struct nbd_export *e)
{
    struct nbd_conn *c, *next;
    for (c = LIST_FIRST(&server->conns); c; c = next) {
        next = LIST_NEXT(c, link);
        if (c->export != e || c->epoch >= fence_epoch(e->fence) || c->state == NBD_CONN_ENDED)
            continue;
        log_info("%s: epoch %" PRIu64 " of export '%s' is over: disconnected", c->peer, c->epoch, e->name);
        nbd_conn_end(c);
    }
}

static void raised(struct fence_raise *raise, int result)
{
    struct nbd_conn *conn = CONTAINER_OF(raise, struct nbd_conn, raise);
    conn->raising = false;
    conn->raise_result = result;
    if (!result)
        end_older(conn->server, conn->raise_export);
    if (conn->state == NBD_CONN_ENDED) {
        nbd_conn_check_left(conn);
        return;
    }
    conn->rx_at = conn->option_at; /* nothing was received meanwhile */
    nbd_conn_feed(conn);
}

bool nbd_epoch_raise(struct nbd_conn *conn, struct nbd_export *e, uint64_t epoch)
{
    if (!e->fence || epoch <= fence_epoch(e->fence) || conn->raise_result)
        return false;
    conn->raising = true;
    conn->raise_export = e;
    conn->raise = (struct fence_raise){.epoch = epoch, .done = raised};
    fence_raise(e->fence, &conn->raise);
    return true;
}
