#include "node/agent/give_away.h"

#include <stddef.h>

static const char *const names[GIVE_AWAY_CAUSES] = {"", "no-start", "crashes", "volumes"};

const char *give_away_cause_name(enum give_away_cause cause)
{
    return names[cause];
}

/* As failover.c has it for what is away: so many may be missing, and then the witness must be there. */
static bool serves(const struct failover_disk *d, uint16_t members, bool witness)
{
    unsigned missing = 0;
    for (unsigned i = 0; i < d->members; i++)
        missing += !(members & 1u << i);
    return missing <= d->spare && (!missing || !d->has_witness || witness);
}

static bool reaches(const struct failover_guest *g, const struct give_away_reach *reach)
{
    for (unsigned i = 0; i < g->disk_count; i++)
        if (!serves(&g->disks[i], reach->members[i], reach->witness[i]))
            return false;
    return true;
}

static struct give_away_decision wait_for(const char *reason)
{
    return (struct give_away_decision){GIVE_AWAY_WAITS, FAILOVER_NOBODY, reason};
}

/* Why nobody is looked for. */
static const char *obstacle(const struct failover_view *v, const struct failover_guest *g,
                            const struct give_away_case *c)
{
    if (!v->armed)
        return "fail-over is disarmed";
    if (c->forbidden)
        return c->forbidden;
    if (c->migrates)
        return "it is being moved";
    if (c->drill)
        return "a drill is under way with it, or on its node";
    if (c->is_repeated)
        return "it crashed on another node, too; `drover guest start` starts it again";
    return g->cool_ms ? "it has come from another node a short while ago" : NULL;
}

struct give_away_decision give_away_decide(const struct failover_view *v, const struct failover_guest *g,
                                           const struct give_away_case *c)
{
    struct failover_guest asked = *g;
    const char *reason = "";
    if (c->cause == GIVE_AWAY_NONE || !g->is_protected || c->for_ms < GIVE_AWAY_AFTER_MS)
        return (struct give_away_decision){GIVE_AWAY_STAYS, FAILOVER_NOBODY, ""};
    const char *why = obstacle(v, g, c);
    if (why)
        return wait_for(why);
    if (failover_place(v, g, &reason) == FAILOVER_NOBODY)
        return wait_for(reason);
    for (int n = 0; n < v->node_count; n++)
        if (!reaches(g, &c->reach[n]))
            asked.able &= ~(UINT64_C(1) << n);
    int target = failover_place(v, &asked, &reason);
    if (target == FAILOVER_NOBODY)
        return wait_for("no other node that could have it says that it reaches enough members of its volumes");
    return (struct give_away_decision){c->ended ? GIVE_AWAY_GIVES : GIVE_AWAY_ENDS, target, ""};
}
