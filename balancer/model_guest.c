#include "balancer/model_guest.h"

double model_near(const struct model_guest *g, int node)
{
    for (int i = 0; i < g->storage_count; i++)
        if (g->storage[i].node == node)
            return 2 * g->storage[i].bytes_per_s;
    return 0;
}

double model_left_ago(const struct model_guest *g, int node)
{
    double ago = g->came_from == node && node >= 0 ? g->moved_ago_s : -1;
    for (int i = 0; i < g->left_count; i++)
        if (g->left[i].node == node && (ago < 0 || (double)g->left[i].ago_s < ago))
            ago = (double)g->left[i].ago_s;
    return ago;
}

void model_note_left(struct model_guest *g, int node, double ago_s)
{
    int at = 0;
    for (int i = 0; i < g->left_count; i++)
        if (g->left[i].node == node) {
            g->left[i].ago_s = ago_s < (double)g->left[i].ago_s ? (float)ago_s : g->left[i].ago_s;
            return;
        }
    if (g->left_count < MODEL_LEFT_MAX) {
        at = g->left_count++;
    } else {
        for (int i = 1; i < MODEL_LEFT_MAX; i++)
            at = g->left[i].ago_s > g->left[at].ago_s ? i : at;
        if ((double)g->left[at].ago_s <= ago_s)
            return;
    }
    g->left[at] = (struct model_left){node, (float)ago_s};
}

bool model_is_pinned_away(const struct model_guest *g, int node)
{
    for (int i = 0; i < g->pin_count; i++)
        if (g->pins[i] == node)
            return g->avoids;
    return g->pins && !g->avoids;
}
