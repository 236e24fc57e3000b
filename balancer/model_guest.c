#include "balancer/model_guest.h"

double model_near(const struct model_guest *g, int node)
{
    for (int i = 0; i < g->storage_count; i++)
        if (g->storage[i].node == node)
            return 2 * g->storage[i].bytes_per_s;
    return 0;
}

bool model_is_pinned_away(const struct model_guest *g, int node)
{
    for (int i = 0; i < g->pin_count; i++)
        if (g->pins[i] == node)
            return g->avoids;
    return g->pins && !g->avoids;
}
