#include "balancer/plan_time.h"

#include <errno.h>
#include <math.h>

#include "balancer/flows.h"
#include "balancer/model.h"

static const double NEVER_S = 1e18;

/* The end of the wave that begins with this move. */
static int end_of_wave(const struct plan *plan, int first)
{
    int end = first;
    while (end < plan->count && plan->moves[end].wave == plan->moves[first].wave)
        end++;
    return end;
}

static int begin_wave(struct flows *flows, const struct plan_move *moves, int count)
{
    for (int i = 0; i < count; i++) {
        if (moves[i].cost.seconds <= 0)
            continue;
        model_place(flows->model, moves[i].guest, moves[i].from, moves[i].from_mirror);
        if (flows_begin(flows, moves[i].guest, moves[i].to, moves[i].to_mirror) < 0)
            return -ENOMEM;
    }
    return 0;
}

static void end_wave(struct flows *flows, struct plan_move *moves, int count)
{
    while (flows->count) {
        struct flow ended;
        flows_run(flows, NEVER_S, NULL, &ended);
        for (int i = 0; i < count; i++)
            if (moves[i].guest == ended.guest && moves[i].cost.seconds > 0)
                moves[i].cost = ended.all;
    }
}

int plan_time_waves(struct plan *plan, struct model *model, const struct policy *policy)
{
    struct flows flows;
    int rc = flows_init(&flows, model, policy);
    for (int first = 0, end; first < plan->count && rc == 0; first = end) {
        end = end_of_wave(plan, first);
        rc = begin_wave(&flows, plan->moves + first, end - first);
        if (rc == 0)
            end_wave(&flows, plan->moves + first, end - first);
    }
    flows_fini(&flows);
    plan_time_sum(plan);
    return rc;
}

void plan_time_sum(struct plan *plan)
{
    plan->seconds = plan->bytes = 0;
    for (int first = 0, end; first < plan->count; first = end) {
        double longest = 0;
        end = end_of_wave(plan, first);
        for (int i = first; i < end; i++) {
            longest = fmax(longest, plan->moves[i].cost.seconds);
            plan->bytes += plan->moves[i].cost.bytes;
        }
        plan->seconds += longest;
    }
}
