#include "nbd/nbd_stats.h"

#include <inttypes.h>

#include "nbd/blk.h"
#include "node/base/log.h"
#include "node/base/units.h"

static void log_layer(const char *name, const struct blk *blk)
{
    for (unsigned op = 0; op < BLK_OP_COUNT; op++) {
        const struct blk_op_stats *s = blk_stats(blk, op);
        char bytes[32];
        if (!s->ops)
            continue;
        log_info("export '%s', %s: %s: %" PRIu64 " done, %" PRIu64 " failed, %s, p50 %" PRIu64 " us, p99 %" PRIu64
                 " us",
                 name, blk_driver_name(blk), blk_op_name(op), s->ops, s->errors,
                 units_format_size(s->bytes, bytes, sizeof bytes), histogram_quantile(&s->latency_ns, 500) / 1000,
                 histogram_quantile(&s->latency_ns, 990) / 1000);
    }
}

void nbd_stats_log(const struct nbd_export_list *exports)
{
    const struct nbd_export *e;
    STAILQ_FOREACH (e, exports, link) {
        log_info("export '%s': %u clients", e->name, e->users);
        for (const struct blk *b = e->blk; b; b = blk_below(b))
            log_layer(e->name, b);
    }
}
