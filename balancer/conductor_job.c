#include "balancer/conductor_job.h"

#include <stdlib.h>

#include "balancer/capacity.h"
#include "balancer/explain.h"
#include "balancer/model.h"
#include "balancer/plan_record.h"
#include "node/base/uuid.h"

enum { SHADOW_EVALUATIONS_PER_GUEST = 60 };

static const char by_itself[] = "balancer";

static json_t *record_of(const struct conductor_job *j)
{
    char id[UUID_TEXT_BYTES];
    uuid_make(id);
    struct plan_record_origin origin = {.id = id,
                                        .phase = j->active ? "active" : "proposed",
                                        .by = by_itself,
                                        .made = j->wall,
                                        .guest_ids = j->guest_ids};
    json_t *record = plan_record_make(&j->plan, j->cluster.model, &j->policy, &origin);
    if (record && j->active)
        json_object_set_new(json_object_get(record, "spec"), "began", json_string(j->wall));
    return record;
}

static json_t *moves_of(const struct plan *plan, const struct model *m)
{
    json_t *moves = json_array();
    for (int i = 0; i < plan->count && i < PLAN_RECORD_MOVES_MAX; i++)
        json_array_append_new(moves, json_pack("{s:s, s:s, s:s}", "guest", model_guest_name(m, plan->moves[i].guest),
                                               "from", model_node_name(m, plan->moves[i].from), "to",
                                               model_node_name(m, plan->moves[i].to)));
    return moves;
}

/* The same cluster under the other policy: read anew, because a policy says what is stale and what an error counts. Its
 * search is bounded by its steps, so that what the first one took of the time does not matter. */
static json_t *shadow_of(const struct conductor_job *j)
{
    struct cluster_json cluster;
    struct plan plan = {0};
    struct err err = {0};
    char text[300];
    json_t *shadow = NULL;
    if (cluster_json_take(&cluster, "the cluster", j->snapshot, &j->shadow_policy, &err))
        return json_pack("{s:s, s:[]}", "summary", err.text, "moves");
    struct plan_options options = {
        .seed = 1, .budget.evaluations = (uint64_t)cluster.model->guest_count * SHADOW_EVALUATIONS_PER_GUEST + 1};
    if (plan_make(cluster.model, &j->shadow_policy, &options, &plan, &err))
        shadow = json_pack("{s:s, s:[]}", "summary", err.text, "moves");
    else
        shadow = json_pack("{s:s, s:o}", "summary", explain_plan(&plan, &j->shadow_policy, text, sizeof text), "moves",
                           moves_of(&plan, cluster.model));
    plan_fini(&plan);
    model_free(cluster.model);
    return shadow;
}

void conductor_job_run(struct conductor_job *j)
{
    if (j->shadow_wanted)
        j->shadow = shadow_of(j);
    j->rc = cluster_json_take(&j->cluster, "the cluster", j->snapshot, &j->policy, &j->err);
    json_decref(j->snapshot);
    j->snapshot = NULL;
    if (j->rc)
        return;
    if (j->cluster.link_learned > 0)
        j->policy.link_bytes_per_s = j->cluster.link_learned;
    if (j->losses_wanted)
        j->nodes_to_lose = capacity_tolerates(j->cluster.model, &j->policy, CONDUCTOR_LOSE_MAX);
    j->rc = plan_make(j->cluster.model, &j->policy, &j->options, &j->plan, &j->err);
    if (!j->rc && j->record_wanted && j->plan.count)
        j->record = record_of(j);
    if (j->record && j->shadow)
        json_object_set(json_object_get(j->record, "spec"), "shadow", j->shadow);
}

void conductor_job_free(struct conductor_job *j)
{
    if (!j)
        return;
    plan_fini(&j->plan);
    model_free(j->cluster.model);
    json_decref(j->snapshot);
    json_decref(j->guest_ids);
    json_decref(j->shadow);
    json_decref(j->record);
    free(j);
}
