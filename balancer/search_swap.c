/* Steps of two guests: they change places, or one makes room for the other. */
#include <math.h>
#include <stdlib.h>

#include "balancer/cost.h"
#include "balancer/policy.h"
#include "balancer/rules.h"
#include "balancer/search.h"

enum { SWAP_HOT_MAX = 200, SWAP_HOT_OF_MANY = 128, CHAIN_HOT_MAX = 32, ROOM_GUESTS_MAX = 4 };

static const double NEARLY = 1e-7; /* more than what score_swaps_after() is off */

struct pair {
    double gain;
    int a, b;
};

/* Somewhere to wait while the other one moves. */
static bool can_park(const struct search *s, int guest)
{
    for (int i = 0; i < s->target_count; i++)
        if (rules_check(s->model, s->policy, guest, s->targets[i], -1) == RULE_NONE)
            return true;
    return false;
}

static bool may_swap(const struct search *s, int a, int b)
{
    const struct model *m = s->model;
    int p = m->at[a], q = m->at[b];
    if (search_forbidden(s, a, q) || search_forbidden(s, b, p))
        return false;
    if (rules_check_after(m, s->policy, a, q, b, p) != RULE_NONE ||
        rules_check_after(m, s->policy, b, p, a, q) != RULE_NONE)
        return false;
    return rules_check(m, s->policy, a, q, -1) == RULE_NONE || rules_check(m, s->policy, b, p, -1) == RULE_NONE ||
           can_park(s, a) || can_park(s, b);
}

static bool may_pair(const struct search *s, int guest)
{
    return !s->stays[guest] && s->model->mirror[guest] < 0;
}

static void best_swap(struct search *s, int hot, int cold, struct pair *best)
{
    const struct model *m = s->model;
    double value = score_value(&s->score), unsure = NEARLY * (1 + fabs(value));
    struct score_swaps swaps;
    score_swaps_begin(&s->score, hot, cold, &swaps);
    for (int b = m->first[cold]; b >= 0; b = m->next[b])
        s->price[b] = may_pair(s, b) ? search_price(s, b, hot, -1) : 0;
    for (int a = m->first[hot]; a >= 0; a = m->next[a]) {
        if (!may_pair(s, a))
            continue;
        double price_a = search_price(s, a, cold, -1);
        for (int b = m->first[cold]; b >= 0; b = m->next[b]) {
            if (!may_pair(s, b))
                continue;
            s->evaluations++;
            double worth = value - price_a - s->price[b], wanted = best->gain + s->least_gain;
            if (swaps.any && worth - score_swaps_after(&swaps, a, b) <= wanted - unsure)
                continue;
            double gain = value - score_after_swap(&s->score, a, b) - price_a - s->price[b];
            if (gain > best->gain + s->least_gain && may_swap(s, a, b))
                *best = (struct pair){gain, a, b};
        }
    }
}

/* Nodes that are up, hottest first, at most `max`. */
static int hottest(struct search *s, int max)
{
    const struct model *m = s->model;
    int count = 0;
    for (int n = 0; n < m->node_count; n++) {
        if (m->nodes[n].offline || m->nodes[n].outside || m->nodes[n].stale)
            continue;
        double heat = score_heat(&s->score, n);
        if (count == max && heat <= s->heat[count - 1])
            continue;
        int i = count < max ? count++ : count - 1;
        for (; i > 0 && s->heat[i - 1] < heat; i--) {
            s->heat[i] = s->heat[i - 1];
            s->order[i] = s->order[i - 1];
        }
        s->heat[i] = heat;
        s->order[i] = n;
    }
    return count;
}

bool search_swaps(struct search *s)
{
    bool any = false;
    search_pick_targets(s);
    int count = hottest(s, s->model->node_count <= SWAP_HOT_MAX ? SWAP_HOT_MAX : SWAP_HOT_OF_MANY);
    for (int i = 0; i < count && !search_over(s); i++) {
        struct pair best = {.a = -1};
        for (int j = 0; j < s->target_count; j++)
            if (s->targets[j] != s->order[i])
                best_swap(s, s->order[i], s->targets[j], &best);
        if (best.a < 0)
            continue;
        int p = s->model->at[best.a], q = s->model->at[best.b];
        search_commit(s, best.a, q, -1);
        search_commit(s, best.b, p, -1);
        any = true;
    }
    return any;
}

/* ---- chains ---- */

/* `second` leaves node q for r so that `first` may come to q; all three places are different. */
static bool try_chain(struct search *s, int first, int second)
{
    struct model *m = s->model;
    int p = m->at[first], q = m->at[second];
    double before = score_value(&s->score);
    for (int i = 0; i < s->target_count; i++) {
        int r = s->targets[i];
        if (r == q || r == p || search_forbidden(s, second, r) || rules_check(m, s->policy, second, r, -1) != RULE_NONE)
            continue;
        double price = search_price(s, second, r, -1);
        score_commit(&s->score, second, r, -1);
        s->evaluations += 2;
        double gain = before - score_after(&s->score, first, q, -1) - price - search_price(s, first, q, -1);
        if (gain > s->least_gain && rules_check(m, s->policy, first, q, -1) == RULE_NONE) {
            score_commit(&s->score, first, q, -1);
            return true;
        }
        score_commit(&s->score, second, q, -1);
    }
    return false;
}

static bool chain_from(struct search *s, int hot)
{
    const struct model *m = s->model;
    for (int a = m->first[hot]; a >= 0; a = m->next[a]) {
        for (int j = 0; j < s->target_count && may_pair(s, a); j++) {
            int q = s->targets[j];
            if (q == hot || search_forbidden(s, a, q))
                continue;
            enum rule rule = rules_check(m, s->policy, a, q, -1);
            bool room = rule == RULE_MEMORY || rule == RULE_DISK || rule == RULE_VCPUS || rule == RULE_APART;
            double gain = score_value(&s->score) - score_after(&s->score, a, q, -1) - search_price(s, a, q, -1);
            s->evaluations++;
            if (!room || gain <= s->least_gain) /* what is free to go there went long ago */
                continue;
            for (int b = m->first[q], next; b >= 0; b = next) {
                next = m->next[b];
                if (may_pair(s, b) && try_chain(s, a, b))
                    return true;
                if (search_over(s))
                    return false;
            }
        }
    }
    return false;
}

/* The best node that takes it but this one; -1: none. */
static int other_place(struct search *s, int guest, int but)
{
    const struct model *m = s->model;
    double least = 0;
    int best = -1;
    for (int i = 0; i < s->target_count; i++) {
        int r = s->targets[i];
        if (r == but || search_forbidden(s, guest, r) || rules_check(m, s->policy, guest, r, -1) != RULE_NONE)
            continue;
        double after = score_after(&s->score, guest, r, -1);
        s->evaluations++;
        if (best < 0 || after < least) {
            least = after;
            best = r;
        }
    }
    return best;
}

/* Of those on node q that may leave it, the largest; *to: where to. -1: nobody can. */
static int next_to_leave(struct search *s, int q, int *to)
{
    const struct model *m = s->model;
    int largest = -1;
    for (int b = m->first[q]; b >= 0; b = m->next[b]) {
        bool larger = largest < 0 || m->guests[b].memory > m->guests[largest].memory;
        int r = larger && may_pair(s, b) ? other_place(s, b, q) : -1;
        if (r >= 0 && search_price(s, b, r, -1) < COST_TOO_LONG) {
            largest = b;
            *to = r;
        }
    }
    return largest;
}

/* Several leave node q so that the guest may come; all of it or nothing. */
static bool clear_for(struct search *s, int guest, int q)
{
    const struct model *m = s->model;
    int gone[ROOM_GUESTS_MAX], count = 0, to = -1;
    double before = score_value(&s->score), price = search_price(s, guest, q, -1);
    while (count < ROOM_GUESTS_MAX && rules_check(m, s->policy, guest, q, -1) != RULE_NONE && !search_over(s)) {
        int b = next_to_leave(s, q, &to);
        if (b < 0)
            break;
        price += search_price(s, b, to, -1);
        score_commit(&s->score, b, to, -1);
        gone[count++] = b;
    }
    if (rules_check(m, s->policy, guest, q, -1) == RULE_NONE &&
        before - score_after(&s->score, guest, q, -1) - price > s->least_gain) {
        score_commit(&s->score, guest, q, -1);
        return true;
    }
    while (count > 0)
        score_commit(&s->score, gone[--count], q, -1);
    return false;
}

static bool lacks_room(const struct search *s, int guest, int q)
{
    enum rule rule = search_forbidden(s, guest, q) ? RULE_SAME : rules_check(s->model, s->policy, guest, q, -1);
    return rule == RULE_MEMORY || rule == RULE_DISK || rule == RULE_VCPUS || rule == RULE_APART;
}

static bool make_room_for(struct search *s, int guest)
{
    const struct model *m = s->model;
    for (int j = 0; j < s->target_count && !search_over(s); j++) {
        int q = s->targets[j];
        if (!lacks_room(s, guest, q))
            continue;
        for (int b = m->first[q], next; b >= 0; b = next) {
            next = m->next[b];
            if (may_pair(s, b) && try_chain(s, guest, b))
                return true;
        }
    }
    for (int j = 0; j < s->target_count && !search_over(s); j++)
        if (lacks_room(s, guest, s->targets[j]) && rules_check(m, s->policy, guest, s->targets[j], -1) != RULE_APART &&
            clear_for(s, guest, s->targets[j]))
            return true;
    return false;
}

bool search_make_room(struct search *s)
{
    bool any = false;
    search_pick_targets(s);
    for (int g = 0; g < s->model->guest_count && !search_over(s); g++)
        if (search_must_move(s, g) && may_pair(s, g))
            any |= make_room_for(s, g);
    return any;
}

/* A chain that failed put its guest back at the head of its node's list; what was planned next is still valid. */
bool search_chains(struct search *s)
{
    bool any = false;
    search_pick_targets(s);
    int count = hottest(s, CHAIN_HOT_MAX);
    for (int i = 0; i < count && !search_over(s); i++)
        any |= chain_from(s, s->order[i]);
    return any;
}
