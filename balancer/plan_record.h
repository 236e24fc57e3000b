/* A plan as an object of the cluster's store: what people see, apply and look back at, and what the nodes act on.
 *
 *     {"kind": "plan", "id": UUID, "name": TIME-..., "apply": {"by", "at"} once somebody wants it,
 *      "spec": {"phase", "reason", "by", "made", "began", "ended", "wave": N,
 *               "waves": [[{"move": N, "guest", "guest_id", "from", "to", "gain", "seconds", "bytes", ...}]],
 *               and the rest of what plan_json() says: scores, summary, reasons by guest}}
 *
 *     proposed --applied, by a person or in automatic mode--> active --every wave through--> done
 *        +------------------------- void <------ a move failed, or does not fit any more ---+
 *
 * Moves are numbered through all waves. A move's migration names plan and number, so that nobody has to remember what
 * was begun. Pure. Threads: any. Errors: -errno with a sentence. */
#ifndef BALANCER_PLAN_RECORD_H
#define BALANCER_PLAN_RECORD_H

#include <jansson.h>
#include <stdbool.h>

#include "balancer/plan.h"

enum {
    PLAN_RECORD_MOVES_MAX = 256, /* so that it fits into the store */
    PLAN_RECORD_REASONS_MAX = 500,
};

struct plan_record_origin {
    const char *id, *phase, *by, *made; /* made: a timestamp */
    double price;                       /* at which it was made, 0: the policy's own */
    json_t *guest_ids;                  /* name to id */
};

/* A new reference, NULL: no memory. The plan has at most PLAN_RECORD_MOVES_MAX moves. */
json_t *plan_record_make(const struct plan *plan, const struct model *model, const struct policy *policy,
                         const struct plan_record_origin *origin);

const char *plan_record_phase(const json_t *record);
int plan_record_wave(const json_t *record);
int plan_record_waves(const json_t *record);
json_t *plan_record_moves(const json_t *record, int wave); /* an array, borrowed; NULL: no such wave */
bool plan_record_same_moves(const json_t *record, const json_t *other);

/* Can it be carried out from here, by the hard rules and with every guest where it begins? And, behind its first wave,
 * if nobody has applied it: would it still bring half of what it was to? From wave `wave` on, without
 * the moves that `begun` has under their number. -ESTALE with the reason. */
int plan_record_check(const json_t *record, int wave, json_t *begun, const struct model *model,
                      const struct policy *policy, struct err *err);

#endif
