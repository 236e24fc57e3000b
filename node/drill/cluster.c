#include "node/drill/cluster.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { SETTLE_MAX_MS = 900000, CHAIN_MAX = 400 /* each link takes START_STEADY_MS at least */ };

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

/* How long a guest waits, by what is known of those that it needs. */
static uint64_t wait_ms(const struct cluster_guest *g, const uint64_t *waits)
{
    uint64_t longest = 0;
    for (unsigned i = 0; i < g->need_count; i++) {
        uint64_t before = START_STEADY_MS + (g->needs[i].guest >= 0 ? waits[g->needs[i].guest] : 0);
        longest = before > longest ? before : longest;
    }
    return longest + g->delay_ms < SETTLE_MAX_MS ? longest + g->delay_ms : SETTLE_MAX_MS;
}

/* What starts after itself, which no cluster lets anybody ask for, comes to the most there is. */
uint64_t cluster_settle_ms(const struct cluster *c)
{
    uint64_t most = 0, *waits = calloc(c->guest_count + 1, sizeof *waits);
    bool changed = waits;
    for (unsigned round = 0; changed && round < CHAIN_MAX; round++) {
        changed = false;
        for (unsigned g = 0; g < c->guest_count; g++) {
            uint64_t ms = wait_ms(&c->guests[g], waits);
            changed |= ms != waits[g];
            waits[g] = ms;
            most = ms > most ? ms : most;
        }
    }
    free(waits);
    return most;
}
