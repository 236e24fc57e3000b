/* The decision of start_order.h alone: who links it needs no agent. */
#include <stdio.h>

#include "node/agent/start_order.h"

bool start_order_decide(const struct start_question *q, char *why, size_t room)
{
    bool waited = false;
    uint64_t since_ms = UINT64_MAX; /* the last of them began to run */
    *why = 0;
    for (unsigned i = 0; i < q->need_count; i++) {
        const struct start_need *n = &q->needs[i];
        if (n->runs) {
            waited = true;
            since_ms = n->runs_ms < since_ms ? n->runs_ms : since_ms;
        } else if (n->hopeless) {
            snprintf(why, room, "starts without %s, which it needs: %s", n->name, n->hopeless);
        } else if (q->held_ms >= START_PATIENCE_MS) {
            snprintf(why, room, "starts without %s, which it needs and which has not come up", n->name);
        } else {
            snprintf(why, room, "waits until %s runs, which it needs", n->name);
            return false;
        }
    }
    if (!q->need_count && q->held_ms < q->delay_ms)
        snprintf(why, room, "waits for its delay of %llu ms", (unsigned long long)q->delay_ms);
    else if (waited && since_ms < q->delay_ms)
        snprintf(why, room, "waits for its delay of %llu ms after what it needs", (unsigned long long)q->delay_ms);
    else
        return true;
    return false;
}
