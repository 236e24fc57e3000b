#include "node/drill/cluster.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { SETTLE_MAX_MS = 900000, CHAIN_MAX = 64 };

void cluster_fini(struct cluster *c)
{
    for (int n = 0; n < c->node_count; n++)
        free(c->nodes[n].name);
    for (unsigned g = 0; g < c->guest_count; g++) {
        for (unsigned i = 0; i < c->guests[g].need_count; i++)
            free(c->guests[g].needs[i].name);
        free(c->guests[g].name);
        free(c->guests[g].groups);
        free(c->guests[g].disks);
    }
    for (int i = 0; i < c->group_count; i++)
        free(c->groups[i].guests);
    free(c->nodes);
    free(c->guests);
    free(c->groups);
    json_decref(c->left_out);
    *c = (struct cluster){0};
}

int cluster_find_node(const struct cluster *c, const char *name)
{
    for (int n = 0; n < c->node_count; n++)
        if (!strcmp(c->nodes[n].name, name))
            return n;
    return -1;
}

/* What is after itself, which no cluster lets anybody ask for, ends at CHAIN_MAX. */
static uint64_t chain_ms(const struct cluster *c, const struct cluster_guest *g, unsigned depth)
{
    uint64_t longest = 0;
    for (unsigned i = 0; i < g->need_count && depth < CHAIN_MAX; i++) {
        const struct cluster_need *need = &g->needs[i];
        uint64_t before = need->guest >= 0 ? chain_ms(c, &c->guests[need->guest], depth + 1) : 0;
        before += START_STEADY_MS;
        longest = before > longest ? before : longest;
    }
    return longest + g->delay_ms;
}

uint64_t cluster_settle_ms(const struct cluster *c)
{
    uint64_t most = 0;
    for (unsigned g = 0; g < c->guest_count; g++) {
        uint64_t ms = c->guests[g].need_count || c->guests[g].delay_ms ? chain_ms(c, &c->guests[g], 0) : 0;
        most = ms > most ? ms : most;
    }
    return most < SETTLE_MAX_MS ? most : SETTLE_MAX_MS;
}
