#include "balancer/rooms.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "balancer/model.h"
#include "balancer/policy.h"
#include "balancer/rules.h"

enum { SCANNED_PER_LOOK = 16 };

static bool before(const struct rooms *r, int i, int j)
{
    int a = r->heap[i], b = r->heap[j];
    return r->room[a] > r->room[b] || (r->room[a] == r->room[b] && a < b);
}

static void put(struct rooms *r, int i, int node)
{
    r->heap[i] = node;
    r->where[node] = i;
}

static void settle(struct rooms *r, int i)
{
    for (; i > 0 && before(r, i, (i - 1) / 2); i = (i - 1) / 2) {
        int node = r->heap[i];
        put(r, i, r->heap[(i - 1) / 2]);
        put(r, (i - 1) / 2, node);
    }
    for (;;) {
        int child = 2 * i + 1, node = r->heap[i];
        if (child + 1 < r->count && before(r, child + 1, child))
            child++;
        if (child >= r->count || !before(r, child, i))
            return;
        put(r, i, r->heap[child]);
        put(r, child, node);
        i = child;
    }
}

static void take_out(struct rooms *r, int i)
{
    r->where[r->heap[i]] = -1;
    if (i < --r->count) {
        put(r, i, r->heap[r->count]);
        settle(r, i);
    }
}

void rooms_changed(struct rooms *r, int n)
{
    const struct model_node *node = &r->model->nodes[n];
    bool takes = !node->offline && !node->outside && !node->stale;
    r->room[n] = model_memory_free(r->model, n);
    if (!takes && r->where[n] >= 0)
        take_out(r, r->where[n]);
    if (takes && r->where[n] < 0)
        put(r, r->count++, n);
    if (takes)
        settle(r, r->where[n]);
}

int rooms_init(struct rooms *r, const struct model *m)
{
    size_t nodes = (size_t)m->node_count + 1;
    *r = (struct rooms){.model = m,
                        .room = malloc(nodes * sizeof *r->room),
                        .heap = malloc(nodes * sizeof *r->heap),
                        .where = malloc(nodes * sizeof *r->where),
                        .aside = malloc(nodes * sizeof *r->aside)};
    if (!r->room || !r->heap || !r->where || !r->aside) {
        rooms_fini(r);
        return -ENOMEM;
    }
    for (int n = 0; n < m->node_count; n++)
        r->where[n] = -1;
    for (int n = 0; n < m->node_count; n++)
        rooms_changed(r, n);
    return 0;
}

void rooms_fini(struct rooms *r)
{
    free(r->room);
    free(r->heap);
    free(r->where);
    free(r->aside);
    *r = (struct rooms){0};
}

/* The roomiest of those it is pinned to. */
static int find_pinned(struct rooms *r, const struct policy *p, int guest)
{
    const struct model_guest *g = &r->model->guests[guest];
    int found = -1;
    r->looks += (uint64_t)g->pin_count;
    for (int i = 0; i < g->pin_count; i++) {
        int n = g->pins[i];
        bool better = r->where[n] >= 0 &&
                      (found < 0 || r->room[n] > r->room[found] || (r->room[n] == r->room[found] && n < found));
        if (better && rules_check(r->model, p, guest, n, -1) == RULE_NONE)
            found = n;
    }
    return found;
}

int rooms_find(struct rooms *r, const struct policy *p, int guest)
{
    if (r->model->family == MODEL_DROVER && r->model->guests[guest].pins && !r->model->guests[guest].avoids)
        return find_pinned(r, p, guest);
    bool by_room = r->model->family == MODEL_DROVER && p->memory_limit >= 1; /* what is too much for it is for all */
    int found = -1, aside = 0;
    while (r->count && found < 0) {
        int n = r->heap[0];
        enum rule rule = rules_check(r->model, p, guest, n, -1);
        r->looks++;
        if (rule == RULE_NONE)
            found = n;
        if (rule == RULE_NONE || (by_room && rule == RULE_MEMORY))
            break;
        r->aside[aside++] = n;
        take_out(r, 0);
    }
    while (aside)
        rooms_changed(r, r->aside[--aside]);
    return found;
}

int rooms_find_tight(struct rooms *r, const struct policy *p, int guest)
{
    const struct model *m = r->model;
    int found = -1;
    r->looks += (uint64_t)m->node_count / SCANNED_PER_LOOK;
    for (int n = 0; n < m->node_count; n++) {
        bool better =
            r->where[n] >= 0 && r->room[n] >= m->use[guest][SUM_MEMORY] && (found < 0 || r->room[n] < r->room[found]);
        r->looks += better;
        if (better && rules_check(m, p, guest, n, -1) == RULE_NONE)
            found = n;
    }
    return found;
}
