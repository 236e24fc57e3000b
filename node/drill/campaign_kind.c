#include <errno.h>
#include <string.h>

#include "node/base/err.h"
#include "node/drill/campaign.h"

static const struct {
    const char *name;
    enum world_class class;
    bool has_node, loses_node;
} kinds[CAMPAIGN_KINDS] = {
    [CAMPAIGN_POWER_LOSS] = {"node-power-loss", WORLD_POWER_LOSS, true, true},
    [CAMPAIGN_PARTITION] = {"partition", WORLD_PARTITION, true, true},
    [CAMPAIGN_COORDINATOR_LOSS] = {"coordinator-loss", WORLD_COORDINATOR_LOSS, true, true},
    [CAMPAIGN_AGENT_CRASH] = {"agent-crash", WORLD_AGENT_CRASH, true, false},
    [CAMPAIGN_STORE_LOSS] = {"store-loss", WORLD_NO_STORE, false, false},
    [CAMPAIGN_STORE_PATCHY] = {"store-patchy", WORLD_PATCHY, false, false},
    [CAMPAIGN_CALM] = {"calm", WORLD_CALM, false, false},
    [CAMPAIGN_SEVERAL] = {"several", WORLD_ANYTHING, false, false},
};

/* Drills of a running cluster that have no counterpart here. */
static const char *const not_simulated[] = {"member-loss", "slow-disk", "migration-fault"};

const char *campaign_kind_name(enum campaign_kind kind)
{
    return kind < CAMPAIGN_KINDS ? kinds[kind].name : "any";
}

int campaign_kind_find(const char *name, enum campaign_kind *kind, struct err *err)
{
    for (unsigned k = 0; k <= CAMPAIGN_KINDS; k++)
        if (!strcmp(name, campaign_kind_name((enum campaign_kind)k))) {
            *kind = (enum campaign_kind)k;
            return 0;
        }
    for (unsigned i = 0; i < sizeof not_simulated / sizeof *not_simulated; i++)
        if (!strcmp(name, not_simulated[i]))
            return err_set(err, EINVAL,
                           "--kind %s: it is about the bytes of disks and guests, of which a simulation has none; "
                           "`drover drill run %s` does it",
                           name, name);
    return err_set(err, EINVAL,
                   "--kind '%.40s': node-power-loss, partition, coordinator-loss, agent-crash, store-loss, "
                   "store-patchy, calm, several or any is needed",
                   name);
}

enum world_class campaign_kind_class(enum campaign_kind kind)
{
    return kinds[kind].class;
}

bool campaign_kind_has_node(enum campaign_kind kind)
{
    return kinds[kind].has_node;
}

bool campaign_kind_loses_node(enum campaign_kind kind)
{
    return kinds[kind].loses_node;
}
