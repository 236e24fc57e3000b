#include "balancer/flows.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/policy.h"

static const double AT_ONCE_S = 1e-9; /* so near to each other, two things happen at the same time */

int flows_init(struct flows *f, struct model *model, const struct policy *policy)
{
    *f = (struct flows){.model = model, .policy = policy};
    f->sending = calloc((size_t)model->node_count + 1, sizeof *f->sending);
    return f->sending ? 0 : -ENOMEM;
}

void flows_fini(struct flows *f)
{
    free(f->list);
    free(f->sending);
    *f = (struct flows){0};
}

/* Summed anew each time: differences would leave crumbs. */
static void hold(struct flows *f, int node)
{
    double *held = f->model->held[node];
    memset(held, 0, sizeof *f->model->held);
    for (int i = 0; i < f->count; i++)
        for (int k = 0; f->list[i].to == node && k < SUM_COUNT; k++)
            held[k] += f->model->use[f->list[i].guest][k];
}

int flows_begin(struct flows *f, int guest, int to, int mirror)
{
    if (f->count == f->room) {
        int room = f->room ? f->room * 2 : 32;
        struct flow *larger = realloc(f->list, (size_t)room * sizeof *larger);
        if (!larger)
            return -ENOMEM;
        f->list = larger;
        f->room = room;
    }
    f->list[f->count++] = (struct flow){.guest = guest,
                                        .from = f->model->at[guest],
                                        .to = to,
                                        .mirror = mirror,
                                        .copy = cost_copy_begin(f->model, guest)};
    hold(f, to);
    return 0;
}

bool flows_has(const struct flows *f, int guest)
{
    for (int i = 0; i < f->count; i++)
        if (f->list[i].guest == guest)
            return true;
    return false;
}

void flows_drop(struct flows *f, int number)
{
    int to = f->list[number].to;
    f->count--;
    memmove(f->list + number, f->list + number + 1, (size_t)(f->count - number) * sizeof *f->list);
    hold(f, to);
}

static bool sends(const struct flow *flow)
{
    return flow->phase <= FLOW_STOPPED;
}

static void share(struct flows *f)
{
    for (int i = 0; i < f->count; i++)
        f->sending[f->list[i].from] = f->sending[f->list[i].to] = 0;
    for (int i = 0; i < f->count; i++)
        if (sends(&f->list[i])) {
            f->sending[f->list[i].from]++;
            f->sending[f->list[i].to]++;
        }
    for (int i = 0; i < f->count; i++) {
        struct flow *flow = &f->list[i];
        const int ends[] = {flow->from, flow->to};
        flow->rate = cost_link(f->model, f->policy, flow->from, flow->to);
        for (int e = 0; e < 2 && sends(flow); e++)
            flow->rate = fmin(flow->rate, cost_link_of(f->model, f->policy, ends[e]) / f->sending[ends[e]]);
        if (flow->phase == FLOW_BEGINS)
            flow->phase = cost_copy_goes_on(&flow->copy, f->policy, flow->rate) ? FLOW_COPIES : FLOW_STOPPED;
    }
}

static double left_s(const struct flow *flow)
{
    return sends(flow) ? flow->copy.left / flow->rate : flow->round_s;
}

static void next_phase(const struct flows *f, struct flow *flow)
{
    switch (flow->phase) {
    case FLOW_COPIES:
        cost_copy_round(&flow->copy, flow->round_s, flow->rate);
        flow->round_s = 0;
        flow->phase = cost_copy_goes_on(&flow->copy, f->policy, flow->rate) ? FLOW_COPIES : FLOW_STOPPED;
        break;
    case FLOW_STOPPED:
        flow->round_s = COST_SWITCH_S;
        flow->phase = FLOW_SWITCHES;
        break;
    default:
        flow->phase = FLOW_ENDED;
    }
}

static void pass(const struct flows *f, struct flow *flow, double seconds, double (*load)[RESOURCE_COUNT])
{
    const int ends[] = {flow->from, flow->to};
    bool through = left_s(flow) <= seconds + AT_ONCE_S;
    double bytes = !sends(flow) ? 0 : through ? flow->copy.left : flow->rate * seconds;
    for (int e = 0; e < 2 && load; e++) {
        load[ends[e]][RESOURCE_CPU] += FLOW_CORES * seconds;
        load[ends[e]][RESOURCE_NETWORK] += bytes;
    }
    flow->copy.left -= bytes;
    flow->round_s += sends(flow) ? seconds : -seconds;
    flow->all.bytes += bytes;
    flow->all.seconds += seconds;
    flow->all.downtime_s += flow->phase == FLOW_COPIES ? 0 : seconds;
    if (through)
        next_phase(f, flow);
}

double flows_run(struct flows *f, double most_s, double (*load)[RESOURCE_COUNT], struct flow *ended)
{
    double passed = 0;
    for (;;) {
        for (int i = 0; i < f->count; i++)
            if (f->list[i].phase == FLOW_ENDED) {
                *ended = f->list[i];
                flows_drop(f, i);
                return passed;
            }
        if (!f->count || passed >= most_s)
            break;
        share(f);
        double seconds = most_s - passed;
        bool last = true;
        for (int i = 0; i < f->count; i++)
            if (left_s(&f->list[i]) < seconds) {
                seconds = left_s(&f->list[i]);
                last = false;
            }
        for (int i = 0; i < f->count; i++)
            pass(f, &f->list[i], seconds, load);
        passed = last ? most_s : passed + seconds;
    }
    ended->guest = -1;
    return most_s;
}
