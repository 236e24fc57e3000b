#include "balancer/uplinks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/model.h"

static int larger(int a, int b)
{
    return a > b ? a : b;
}

int uplinks_init(struct uplinks *u, const struct model *m, int limit)
{
    int last = 0;
    for (int n = 0; n < m->node_count; n++)
        last = larger(last, larger(m->nodes[n].rack, m->nodes[n].site));
    *u = (struct uplinks){.model = m, .limit = limit, .places = (size_t)last + 1};
    u->racks = calloc(u->places, sizeof *u->racks);
    u->sites = calloc(u->places, sizeof *u->sites);
    if (!u->racks || !u->sites) {
        uplinks_fini(u);
        return -ENOMEM;
    }
    for (int n = 0; n < m->node_count; n++) {
        if (m->nodes[n].rack >= 0)
            u->racks[m->nodes[n].rack] += m->nodes[n].over_rack;
        if (m->nodes[n].site >= 0)
            u->sites[m->nodes[n].site] += m->nodes[n].over_site;
    }
    return 0;
}

void uplinks_fini(struct uplinks *u)
{
    free(u->racks);
    free(u->sites);
    *u = (struct uplinks){0};
}

/* A node without a label is in no rack, so it crosses none; the other end still does. */
static bool is_free(const struct uplinks *u, const int *moves, int from, int to)
{
    return from == to || ((from < 0 || moves[from] < u->limit) && (to < 0 || moves[to] < u->limit));
}

static void add(int *moves, int from, int to)
{
    if (from == to)
        return;
    if (from >= 0)
        moves[from]++;
    if (to >= 0)
        moves[to]++;
}

bool uplinks_have_room(const struct uplinks *u, int from, int to)
{
    const struct model_node *nodes = u->model->nodes;
    if (!u->limit || from < 0 || to < 0)
        return true;
    return is_free(u, u->racks, nodes[from].rack, nodes[to].rack) &&
           is_free(u, u->sites, nodes[from].site, nodes[to].site);
}

void uplinks_take(struct uplinks *u, int from, int to)
{
    const struct model_node *nodes = u->model->nodes;
    if (from < 0 || to < 0)
        return;
    add(u->racks, nodes[from].rack, nodes[to].rack);
    add(u->sites, nodes[from].site, nodes[to].site);
}

void uplinks_clear(struct uplinks *u)
{
    memset(u->racks, 0, u->places * sizeof *u->racks);
    memset(u->sites, 0, u->places * sizeof *u->sites);
}
