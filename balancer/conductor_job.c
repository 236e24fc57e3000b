#include "balancer/conductor_job.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/capacity.h"
#include "balancer/explain.h"
#include "balancer/model.h"
#include "balancer/plan_record.h"
#include "balancer/snapshot.h"
#include "balancer/snapshot_modes.h"
#include "balancer/traffic.h"

enum { SHADOW_EVALUATIONS_PER_GUEST = 60, HOUR_S = 3600 };

static const char by_itself[] = "balancer";

/* ---- the objects ---- */

json_t *conductor_view(json_t *objects)
{
    json_t *view = json_object(), *all;
    const char *kind;
    json_object_foreach (objects, kind, all)
        if (json_object_set_new(view, kind, json_copy(all))) {
            json_decref(view);
            return NULL;
        }
    return view;
}

json_t *conductor_find_plan(json_t *objects, const char *phase, bool applied)
{
    json_t *entry, *newest = NULL;
    const char *id;
    json_object_foreach (json_object_get(objects, "plan"), id, entry) {
        const json_t *value = json_object_get(entry, "value");
        if (!value || strcmp(plan_record_phase(value), phase) != 0 || (applied && !json_object_get(value, "apply")))
            continue;
        if (!newest ||
            strcmp(snapshot_text(value, "name"), snapshot_text(json_object_get(newest, "value"), "name")) > 0)
            newest = entry;
    }
    return newest;
}

json_t *conductor_begun(json_t *objects, const char *plan)
{
    json_t *begun = json_object(), *migration;
    const char *id;
    json_object_foreach (json_object_get(objects, "migration"), id, migration) {
        const char *of = json_string_value(snapshot_spec(migration, "plan"));
        char number[16];
        if (!of || strcmp(of, plan) != 0)
            continue;
        snprintf(number, sizeof number, "%d", (int)json_integer_value(snapshot_spec(migration, "move")));
        json_object_set(begun, number, migration);
    }
    return begun;
}

int conductor_moves_lately(json_t *objects, int64_t wall_s)
{
    json_t *migration;
    const char *id;
    int count = 0;
    json_object_foreach (json_object_get(objects, "migration"), id, migration) {
        const char *began = json_string_value(snapshot_spec(migration, "began"));
        count += snapshot_spec(migration, "plan") && began && wall_s - snapshot_seconds(began) < HOUR_S;
    }
    return count;
}

static json_t *ids_of(json_t *objects)
{
    json_t *ids = json_object(), *guest;
    const char *id;
    json_object_foreach (json_object_get(objects, "guest"), id, guest) {
        const char *name = snapshot_text(json_object_get(guest, "value"), "name");
        if (*name)
            json_object_set_new(ids, name, json_string(id));
    }
    return ids;
}

/* ---- a plan ---- */

static json_t *record_made(const struct conductor_job *j, const struct plan *plan, const struct model *m,
                           const struct policy *policy, const char *phase)
{
    char id[UUID_TEXT_BYTES];
    uuid_make(id);
    struct plan_record_origin origin = {
        .id = id, .phase = phase, .by = by_itself, .made = j->wall, .guest_ids = j->guest_ids};
    return plan_record_make(plan, m, policy, &origin);
}

static json_t *record_of(const struct conductor_job *j)
{
    json_t *record = record_made(j, &j->plan, j->cluster.model, &j->policy, j->active ? "active" : "proposed");
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
static void look_in_shadow(struct conductor_job *j, const struct policy *policy, json_t *snapshot)
{
    struct cluster_json cluster;
    struct plan plan = {0};
    struct err err = {0};
    char text[300];
    if (cluster_json_take(&cluster, "the cluster", snapshot, policy, &err)) {
        j->shadow = json_pack("{s:s, s:[]}", "summary", err.text, "moves");
        return;
    }
    struct plan_options options = {
        .seed = 1, .budget.evaluations = (uint64_t)cluster.model->guest_count * SHADOW_EVALUATIONS_PER_GUEST + 1};
    struct policy priced = *policy;
    policy_learn_link(&priced, cluster.link_learned);
    priced.moves_max = priced.moves_max < PLAN_RECORD_MOVES_MAX ? priced.moves_max : PLAN_RECORD_MOVES_MAX;
    if (plan_make(cluster.model, &priced, &options, &plan, &err)) {
        j->shadow = json_pack("{s:s, s:[]}", "summary", err.text, "moves");
    } else {
        j->shadow = json_pack("{s:s, s:o}", "summary", explain_plan(&plan, policy, text, sizeof text), "moves",
                              moves_of(&plan, cluster.model));
        j->shadow_record = plan.count ? record_made(j, &plan, cluster.model, &priced, "shadow") : NULL;
    }
    plan_fini(&plan);
    model_free(cluster.model);
}

/* Only what the mode, the hour and the number of moves allow. */
static void allow_moves(struct conductor_job *j)
{
    const struct policy *p = &j->policy;
    int most = p->moves_max < PLAN_RECORD_MOVES_MAX ? p->moves_max : PLAN_RECORD_MOVES_MAX;
    json_t *groups = snapshot_modes_groups(j->objects);
    j->lately = conductor_moves_lately(j->objects, j->now.wall_s);
    j->active =
        j->mode == CONDUCTOR_AUTOMATIC || (j->mode == CONDUCTOR_ADVISE && snapshot_modes_has(groups, "automatic"));
    if (j->active && policy_is_quiet(p, j->now.wall_s)) {
        j->active = false;
        snprintf(j->why_not, sizeof j->why_not, "quiet hours: ");
    } else if (j->active && p->per_hour && j->lately >= p->per_hour) {
        j->active = false;
        snprintf(j->why_not, sizeof j->why_not, "%d moves in the last hour, which is the limit: ", j->lately);
    } else if (j->active && p->per_hour && most > p->per_hour - j->lately) {
        most = p->per_hour - j->lately;
    }
    j->policy.moves_max = most;
}

/* What holds of a guest of which no group says anything. */
static enum model_mode mode_of_all(const struct conductor_job *j)
{
    return j->mode == CONDUCTOR_ADVISE ? MODE_ADVISE : MODE_AUTOMATIC;
}

/* First what may be done at once; if that is nothing, what a person may have done, too. */
static int plan_by_modes(struct conductor_job *j)
{
    struct model *m = j->cluster.model;
    int off = model_hold(m, mode_of_all(j), MODE_OFF);
    if (j->active && model_hold(m, mode_of_all(j), MODE_ADVISE) > off) {
        int rc = plan_make(m, &j->policy, &j->options, &j->plan, &j->err);
        if (rc || j->plan.count)
            return rc;
        plan_fini(&j->plan);
        j->active = false;
        snprintf(j->why_not, sizeof j->why_not, "by itself nothing, and advised: ");
        model_hold(m, mode_of_all(j), MODE_OFF);
    }
    return plan_make(m, &j->policy, &j->options, &j->plan, &j->err);
}

/* Nothing is begun at a price nobody knows: what a guest writes is seen by its node, which looks at those that a plan
 * names. */
static void wait_for_writes(struct conductor_job *j)
{
    const struct plan *plan = &j->plan;
    for (int i = 0; i < plan->count && plan->moves[i].wave == plan->moves[0].wave; i++)
        j->unseen += !j->cluster.model->guests[plan->moves[i].guest].writes_seen;
    if (j->active && j->may_wait && j->unseen) {
        j->active = false;
        snprintf(j->why_not, sizeof j->why_not, "what %d of its guests write is looked at first: ", j->unseen);
    } else {
        j->unseen = 0;
    }
}

/* Nor beside other migrations, if those are as many as there may be. */
static void wait_for_others(struct conductor_job *j)
{
    char why[TRAFFIC_WHY_MAX];
    json_t *spec = json_object_get(j->record, "spec");
    if (!j->record || !j->active || !traffic_forbids(j->objects, j->record, 0, &j->policy, why, sizeof why))
        return;
    j->active = false;
    snprintf(j->why_not, sizeof j->why_not, "%s: ", why);
    json_object_set_new(spec, "phase", json_string("proposed"));
    json_object_del(spec, "began");
}

/* Beside a plan that is carried out: what guests that are only advised could do once it is through. NULL: there are
 * none. */
static json_t *advice_of(const struct conductor_job *j)
{
    const struct model *now = j->cluster.model;
    struct model *m = j->active ? model_copy(now) : NULL;
    struct plan plan = {0};
    struct err err;
    char text[300];
    int advised = 0;
    if (!m)
        return NULL;
    model_hold(m, mode_of_all(j), MODE_OFF);
    for (int g = 0; g < m->guest_count; g++) {
        advised += now->guests[g].held && !m->guests[g].held;
        m->guests[g].held |= !now->guests[g].held; /* the plan's own */
        if (m->at[g] != j->plan.at[g])
            model_place(m, g, j->plan.at[g], j->plan.mirror[g]);
    }
    const struct plan_options options = {
        .seed = 1, .active = true, .budget.evaluations = (uint64_t)m->guest_count * SHADOW_EVALUATIONS_PER_GUEST + 1};
    json_t *advice = NULL;
    if (advised && !plan_make(m, &j->policy, &options, &plan, &err) && plan.count)
        advice = json_pack("{s:s, s:o}", "summary", explain_plan(&plan, &j->policy, text, sizeof text), "moves",
                           moves_of(&plan, m));
    plan_fini(&plan);
    model_free(m);
    return advice;
}

static const char *name_of(const json_t *plan)
{
    return snapshot_text(json_object_get(plan, "value"), "name");
}

/* The search begins where the last plan wanted everybody, if it was not carried out, or not to its end. */
static void begin_as_before(struct conductor_job *j)
{
    const json_t *plan = conductor_find_plan(j->objects, "proposed", false);
    const json_t *done = conductor_find_plan(j->objects, "done", false);
    plan = plan ? plan : conductor_find_plan(j->objects, "void", false);
    if (done && strcmp(name_of(plan), name_of(done)) < 0)
        return;
    if (plan && !plan_last_take(&j->last, snapshot_spec(plan, "waves"), j->cluster.model))
        j->options.last = &j->last;
}

/* Does the proposal that is there still fit? */
static void judge_proposal(struct conductor_job *j)
{
    struct err err;
    const json_t *old = conductor_find_plan(j->objects, "proposed", false), *value = json_object_get(old, "value");
    if (!old)
        return;
    json_t *nothing = json_object();
    model_hold(j->cluster.model, mode_of_all(j), MODE_OFF);
    snprintf(j->proposal, sizeof j->proposal, "%s", snapshot_text(value, "id"));
    j->proposal_fits = !plan_record_check(value, 0, nothing, j->cluster.model, &j->policy, &err);
    json_decref(nothing);
}

static void read_cluster(struct conductor_job *j)
{
    j->snapshot = snapshot_make(j->objects, &j->now);
    if (!j->snapshot) {
        j->rc = err_set(&j->err, ENOMEM, "no memory for the cluster");
        return;
    }
    j->rc = cluster_json_take(&j->cluster, "the cluster", j->snapshot, &j->policy, &j->err);
    if (!j->rc && j->question == CONDUCTOR_PLAN)
        policy_learn_link(&j->policy, j->cluster.link_learned);
}

static void count_losses(struct conductor_job *j)
{
    struct capacity_losses losses;
    int rc = capacity_losses(j->cluster.model, &j->policy, CONDUCTOR_LOSE_MAX, CAPACITY_WORK, &losses);
    j->nodes_to_lose = rc ? 0 : losses.shown;
}

static void plan(struct conductor_job *j)
{
    allow_moves(j);
    j->guest_ids = ids_of(j->objects);
    if (j->losses_wanted)
        count_losses(j);
    begin_as_before(j);
    j->rc = plan_by_modes(j);
    if (!j->rc)
        wait_for_writes(j);
    if (!j->rc && j->mode != CONDUCTOR_OFF && j->plan.count)
        j->record = record_of(j);
    wait_for_others(j);
    struct policy shadow; /* the time is the plan's own first */
    if (conductor_shadow(j->objects, &shadow, NULL) > 0)
        look_in_shadow(j, &shadow, j->snapshot);
    if (j->record && j->shadow)
        json_object_set(json_object_get(j->record, "spec"), "shadow", j->shadow);
    json_t *advice = j->record ? advice_of(j) : NULL;
    if (advice)
        json_object_set_new(json_object_get(j->record, "spec"), "advice", advice);
    judge_proposal(j);
}

/* ---- a check ---- */

/* What was begun by itself goes on with what may be done by itself. */
static void check(struct conductor_job *j)
{
    const json_t *value = json_object_get(json_object_get(json_object_get(j->objects, "plan"), j->plan_id), "value");
    json_t *begun = conductor_begun(j->objects, j->plan_id);
    model_hold(j->cluster.model, mode_of_all(j), json_object_get(value, "apply") ? MODE_OFF : MODE_ADVISE);
    j->rc = value ? plan_record_check(value, j->wave, begun, j->cluster.model, &j->policy, &j->err)
                  : err_set(&j->err, ESTALE, "it is not there any more");
    json_decref(begun);
}

void conductor_job_run(struct conductor_job *j)
{
    read_cluster(j);
    if (!j->rc && j->question == CONDUCTOR_PLAN)
        plan(j);
    else if (!j->rc)
        check(j);
    json_decref(j->objects);
    json_decref(j->snapshot);
    j->objects = j->snapshot = NULL;
}

void conductor_job_free(struct conductor_job *j)
{
    if (!j)
        return;
    plan_fini(&j->plan);
    plan_last_fini(&j->last);
    model_free(j->cluster.model);
    json_decref(j->objects);
    json_decref(j->guest_ids);
    json_decref(j->shadow);
    json_decref(j->shadow_record);
    json_decref(j->record);
    free(j);
}
