/* The cluster that drills are simulated on: what is refused says why, and on what is taken two schedules are run, in
 * which no rule may be broken. */
#include <stdlib.h>
#include <string.h>

#include "node/base/err.h"
#include "node/drill/campaign.h"
#include "node/drill/cluster.h"

enum { NODES_TRIED = 6, GUESTS_TRIED = 24, SETTLE_TRIED_MS = 30000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
    if (!good)
        abort();
}

static void try(const struct cluster *cluster, uint64_t seed)
{
    const struct campaign_plan plan = {
        .kind = CAMPAIGN_POWER_LOSS, .node = CAMPAIGN_NO_NODE, .schedules = 2, .seed = seed};
    struct campaign campaign;
    struct err err = {0};
    must(!campaign_run(&campaign, cluster, &plan, &err) && !campaign.wrong_count);
    campaign_fini(&campaign);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cluster cluster;
    struct err err = {0};
    int rc = cluster_read(&cluster, "f", (const char *)data, size, &err);
    must(!rc || err.text[0]);
    if (!rc && cluster.node_count <= NODES_TRIED && cluster.guest_count <= GUESTS_TRIED &&
        cluster_settle_ms(&cluster) <= SETTLE_TRIED_MS)
        try(&cluster, size);
    cluster_fini(&cluster);
    return 0;
}
