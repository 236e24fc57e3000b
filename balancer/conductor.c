#include "balancer/conductor.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/cluster_json.h"
#include "balancer/conductor_job.h"
#include "balancer/consolidate_record.h"
#include "balancer/explain.h"
#include "balancer/model.h"
#include "balancer/plan.h"
#include "balancer/plan_record.h"
#include "balancer/snapshot_modes.h"
#include "balancer/traffic.h"
#include "node/base/err.h"

static const double KEEP_GAIN = 0.7; /* a proposal stays if it brings so much of what another one would */
static const char policy_id[] = "balance";

/* ---- writing ---- */

static void put(struct conductor_step *step, const char *kind, const char *id, json_t *value, int64_t expected)
{
    if (step->count == CONDUCTOR_PUTS_MAX) {
        json_decref(value);
        return; /* the next look says it again */
    }
    struct conductor_put *p = &step->puts[step->count++];
    *p = (struct conductor_put){.value = value, .expected = expected};
    snprintf(p->key, sizeof p->key, "/drover/%s/%.40s", kind, id);
}

static int64_t revision_of(const json_t *entry)
{
    return json_integer_value(json_object_get(entry, "revision"));
}

static const char *id_of(const json_t *entry)
{
    return snapshot_text(json_object_get(entry, "value"), "id");
}

/* The plan in another phase, and when that began or ended. */
static void put_plan(struct conductor_step *step, const json_t *entry, const char *phase, const char *reason,
                     const char *when, const char *at)
{
    json_t *value = json_deep_copy(json_object_get(entry, "value")), *spec = json_object_get(value, "spec");
    json_object_set_new(spec, "phase", json_string(phase));
    json_object_set_new(spec, "reason", json_string(reason));
    json_object_set_new(spec, when, json_string(at));
    put(step, "plan", id_of(entry), value, revision_of(entry));
}

static void put_wave(struct conductor_step *step, const json_t *entry, int wave)
{
    json_t *value = json_deep_copy(json_object_get(entry, "value")), *spec = json_object_get(value, "spec");
    json_object_set_new(spec, "wave", json_integer(wave));
    json_object_set_new(spec, "reason", json_string(""));
    put(step, "plan", id_of(entry), value, revision_of(entry));
}

void conductor_step_fini(struct conductor_step *step)
{
    for (int i = 0; i < step->count; i++)
        json_decref(step->puts[i].value);
    step->count = 0;
}

/* ---- policy and model ---- */

enum conductor_mode conductor_policy(json_t *objects, struct policy *policy, char *trouble, size_t len)
{
    const json_t *entry = json_object_get(json_object_get(objects, "policy"), policy_id);
    const char *mode = json_string_value(snapshot_spec(entry, "mode"));
    const char *text = json_string_value(snapshot_spec(entry, "text"));
    struct err err = {0};
    *policy = policy_default();
    snprintf(trouble, len, "%s",
             json_object_get(entry, "unreadable") ? "what the store has of the policy cannot be read" : "");
    if (text && *text && policy_read(policy, "policy", text, strlen(text), &err) < 0) {
        snprintf(trouble, len, "%s", err.text);
        return CONDUCTOR_OFF; /* rather nothing than what nobody wants */
    }
    return !mode                        ? CONDUCTOR_OFF
           : !strcmp(mode, "automatic") ? CONDUCTOR_AUTOMATIC
           : !strcmp(mode, "advise")    ? CONDUCTOR_ADVISE
                                        : CONDUCTOR_OFF;
}

int conductor_shadow(json_t *objects, struct policy *policy, struct err *err)
{
    const json_t *entry = json_object_get(json_object_get(objects, "policy"), policy_id);
    const char *text = json_string_value(snapshot_spec(entry, "shadow"));
    *policy = policy_default();
    if (!text || !*text)
        return 0;
    int rc = policy_read(policy, "shadow", text, strlen(text), err);
    return rc < 0 ? rc : 1;
}

int conductor_model(json_t *objects, const struct policy *policy, const struct snapshot_time *now,
                    struct cluster_json *cluster, struct err *err)
{
    json_t *json = snapshot_make(objects, now);
    if (!json)
        return err_set(err, ENOMEM, "no memory for the cluster");
    int rc = cluster_json_take(cluster, "the cluster", json, policy, err);
    json_decref(json);
    return rc;
}

/* ---- the plan that is carried out ---- */

struct progress {
    int done, running, waiting;
    const json_t *failed, *migration; /* the move, and its migration */
};

static struct progress progress_of(const json_t *record, int wave, json_t *begun)
{
    struct progress p = {0};
    json_t *move;
    size_t i;
    json_array_foreach (plan_record_moves(record, wave), i, move) {
        char number[16];
        snprintf(number, sizeof number, "%d", (int)json_integer_value(json_object_get(move, "move")));
        const json_t *migration = json_object_get(begun, number), *state = json_object_get(migration, "state");
        bool ended = *snapshot_text(state, "ended");
        if (!migration) {
            p.waiting++;
        } else if (!ended) {
            p.running++;
        } else if (!strcmp(snapshot_text(state, "phase"), "done")) {
            p.done++;
        } else {
            p.failed = move;
            p.migration = migration;
        }
    }
    return p;
}

static void make_void(struct conductor_step *step, const json_t *entry, const char *reason, const char *wall)
{
    put_plan(step, entry, "void", reason, "ended", wall);
}

/* Other migrations go first: the plan says so, once for each reason. What takes longer than that is planned around. */
static bool must_wait(struct conductor *c, json_t *objects, const json_t *entry, int wave,
                      const struct snapshot_time *now, const char *wall, struct conductor_step *step)
{
    const json_t *record = json_object_get(entry, "value");
    char why[TRAFFIC_WHY_MAX], given_up[TRAFFIC_WHY_MAX + 40];
    if (!traffic_forbids(objects, record, wave, &c->policy, why, sizeof why)) {
        c->traffic_of[0] = 0;
        return false;
    }
    if (strcmp(c->traffic_of, id_of(entry)) != 0 || c->traffic_wave != wave)
        c->traffic_s = now->clock_s;
    snprintf(c->traffic_of, sizeof c->traffic_of, "%s", id_of(entry));
    c->traffic_wave = wave;
    c->job_is_void |= c->job != NULL; /* whether it fits is asked again when the way is free */
    if (now->clock_s - c->traffic_s > CONDUCTOR_TRAFFIC_S) {
        snprintf(given_up, sizeof given_up, "given up after %d s: it %s", CONDUCTOR_TRAFFIC_S, why);
        make_void(step, entry, given_up, wall);
    } else if (strcmp(snapshot_text(json_object_get(record, "spec"), "reason"), why) != 0) {
        json_t *value = json_deep_copy(record);
        json_object_set_new(json_object_get(value, "spec"), "reason", json_string(why));
        put(step, "plan", id_of(entry), value, revision_of(entry));
    }
    return true;
}

/* ---- jobs ---- */

/* NULL: no memory. */
static struct conductor_job *begin_job(struct conductor *c, enum conductor_question question, json_t *objects,
                                       const struct snapshot_time *now)
{
    struct conductor_job *job = calloc(1, sizeof *job);
    if (!job || !(job->objects = c->hand_over ? conductor_view(objects) : json_incref(objects))) {
        conductor_job_free(job);
        return NULL;
    }
    job->question = question;
    job->now = *now;
    job->policy = c->policy;
    job->mode = c->mode;
    return job;
}

/* Is run at once, or handed over and there at a later look. True: it was run. */
static bool run_or_hand_over(struct conductor *c, struct conductor_job *job)
{
    if (!c->hand_over) {
        conductor_job_run(job);
        return true;
    }
    c->job_is_void = c->job_is_done = false;
    c->job = job;
    c->hand_over(c->stop_data, job);
    return false;
}

enum fit { FITS, FITS_NOT, FIT_UNKNOWN };

/* The answer to a check, which is freed. */
static enum fit fit_of(struct conductor_job *job, struct err *err)
{
    enum fit fit = job->rc ? FITS_NOT : FITS;
    *err = job->err;
    conductor_job_free(job);
    return fit;
}

/* Does what is left of the plan fit the cluster, from this wave on? Unknown: a later look will know it. It is asked
 * once for a wave that is to begin; of one that was begun, every so often. */
static enum fit still_fits(struct conductor *c, json_t *objects, const json_t *entry, int wave, bool begun,
                           const struct snapshot_time *now, struct err *err)
{
    struct conductor_job *job = c->job;
    if (job && !c->job_is_done)
        return FIT_UNKNOWN;
    c->job = NULL;
    bool ours = job && job->question == CONDUCTOR_CHECK && !strcmp(job->plan_id, id_of(entry)) && job->wave == wave;
    if (ours && !c->job_is_void)
        return fit_of(job, err);
    conductor_job_free(job);
    if (begun && c->hand_over && now->clock_s - c->checked_s < CONDUCTOR_CHECK_EVERY_S)
        return FIT_UNKNOWN;
    c->checked_s = now->clock_s;
    job = begin_job(c, CONDUCTOR_CHECK, objects, now);
    if (!job) {
        err_set(err, ENOMEM, "no memory to check a plan");
        return FITS_NOT;
    }
    snprintf(job->plan_id, sizeof job->plan_id, "%s", id_of(entry));
    job->wave = wave;
    return run_or_hand_over(c, job) ? fit_of(job, err) : FIT_UNKNOWN;
}

static void began_wave(struct conductor *c, const char *plan, int wave, double clock_s)
{
    if (!strcmp(c->wave_of, plan) && c->wave == wave)
        return;
    snprintf(c->wave_of, sizeof c->wave_of, "%s", plan);
    c->wave = wave;
    c->wave_s = clock_s;
}

/* One that was begun by itself goes on if there may be such: whose moves those are, the check knows. */
static bool may_go_on(const struct conductor *c, json_t *objects, const json_t *record)
{
    bool wanted = json_object_get(record, "apply") || snapshot_modes_has(snapshot_modes_groups(objects), "automatic");
    return c->mode == CONDUCTOR_AUTOMATIC || (c->mode == CONDUCTOR_ADVISE && wanted);
}

/* Nodes that sleep are drained as they become empty. False: some are to be, at the next looks. */
static bool put_to_sleep(json_t *objects, const json_t *entry, char *kept, size_t len, struct conductor_step *step)
{
    json_t *empty = consolidate_record_empty(objects, json_object_get(entry, "value"), kept, len), *node;
    size_t i, count = json_array_size(empty);
    json_t *plan = count ? json_deep_copy(json_object_get(entry, "value")) : NULL;
    json_t *spec = json_object_get(plan, "spec"), *slept = json_object_get(spec, "slept");
    if (plan && !slept) {
        slept = json_array();
        json_object_set_new(spec, "slept", slept);
    }
    for (i = 0; i < count && step->count + 1 < CONDUCTOR_PUTS_MAX; i++) {
        node = json_array_get(empty, i);
        json_t *value = json_deep_copy(json_object_get(node, "value"));
        json_object_set_new(json_object_get(value, "spec"), "drained", json_true());
        json_array_append_new(slept, json_string(snapshot_text(value, "name")));
        put(step, "node", id_of(node), value, revision_of(node));
    }
    if (plan)
        put(step, "plan", id_of(entry), plan, revision_of(entry));
    json_decref(empty);
    return !count;
}

/* All its waves are through. */
static void finish(json_t *objects, const json_t *entry, const char *wall, struct conductor_step *step)
{
    char kept[80], reason[160] = "";
    if (!put_to_sleep(objects, entry, kept, sizeof kept, step))
        return;
    if (*kept)
        snprintf(reason, sizeof reason, "node %s is not empty and stays on", kept);
    put_plan(step, entry, "done", reason, "ended", wall);
}

static void carry_on(struct conductor *c, json_t *objects, const json_t *entry, const struct snapshot_time *now,
                     const char *wall, struct conductor_step *step)
{
    const json_t *record = json_object_get(entry, "value");
    int wave = plan_record_wave(record);
    struct err err = {0};
    char why[300], kept[80];
    json_t *begun = conductor_begun(objects, id_of(entry));
    struct progress p = progress_of(record, wave, begun);
    began_wave(c, id_of(entry), wave, now->clock_s);
    if (p.failed) {
        const json_t *state = json_object_get(p.migration, "state");
        snprintf(why, sizeof why, "the move of guest %.80s %s: %.160s", snapshot_text(p.failed, "guest"),
                 snapshot_text(state, "phase"), snapshot_text(state, "reason"));
        make_void(step, entry, why, wall);
    } else if (!may_go_on(c, objects, record)) {
        make_void(step, entry, *c->trouble ? c->trouble : "the mode was changed", wall);
    } else if (p.waiting && now->clock_s - c->wave_s > CONDUCTOR_BEGIN_S) {
        make_void(step, entry, "a node has not begun its move in time", wall);
    } else if (p.waiting) {
        if (still_fits(c, objects, entry, wave, true, now, &err) == FITS_NOT)
            make_void(step, entry, err.text, wall);
    } else if (!p.running && wave + 1 >= plan_record_waves(record)) {
        finish(objects, entry, wall, step);
    } else if (!p.running && !json_object_get(record, "apply") && policy_is_quiet(&c->policy, now->wall_s)) {
        make_void(step, entry, "quiet hours have begun", wall);
    } else if (!p.running && !must_wait(c, objects, entry, wave + 1, now, wall, step)) {
        enum fit fit = still_fits(c, objects, entry, wave + 1, false, now, &err);
        if (fit == FITS)
            put_wave(step, entry, wave + 1);
        else if (fit == FITS_NOT)
            make_void(step, entry, err.text, wall);
    }
    if (!step->count)
        put_to_sleep(objects, entry, kept, sizeof kept, step);
    json_decref(begun);
}

/* Somebody wants this proposal: it becomes the active plan, or says why not. */
static void begin(struct conductor *c, json_t *objects, const json_t *entry, const struct snapshot_time *now,
                  const char *wall, struct conductor_step *step)
{
    struct err err = {0};
    if (c->mode == CONDUCTOR_OFF) {
        make_void(step, entry, *c->trouble ? c->trouble : "balancing is off", wall);
        return;
    }
    if (must_wait(c, objects, entry, 0, now, wall, step))
        return;
    enum fit fit = still_fits(c, objects, entry, 0, false, now, &err);
    if (fit == FITS)
        put_plan(step, entry, "active", "", "began", wall);
    else if (fit == FITS_NOT)
        make_void(step, entry, err.text, wall);
}

/* ---- a new plan ---- */

static double gain_of(const json_t *record)
{
    const json_t *spec = json_object_get(record, "spec");
    return json_number_value(json_object_get(spec, "score_before")) -
           json_number_value(json_object_get(spec, "score_after"));
}

/* The proposal that is there may stay: who has read it can still apply it. */
static bool may_stay(const struct conductor *c, const json_t *old, const struct conductor_job *job,
                     const struct snapshot_time *now)
{
    const json_t *record = json_object_get(old, "value");
    bool fits = job->record && job->proposal_fits && !strcmp(job->proposal, id_of(old));
    if (!fits || plan_record_same_moves(record, job->record))
        return fits;
    return now->clock_s - c->proposed_s < CONDUCTOR_KEEP_S && gain_of(record) >= KEEP_GAIN * gain_of(job->record);
}

static void propose(struct conductor *c, json_t *objects, struct conductor_job *job, const struct snapshot_time *now,
                    struct conductor_step *step)
{
    const json_t *old = conductor_find_plan(objects, "proposed", false);
    json_t *fresh = job->record;
    if (old && !job->active && may_stay(c, old, job, now))
        return;
    if (old)
        put(step, "plan", id_of(old), NULL, revision_of(old));
    if (!fresh)
        return;
    c->proposed_s = now->clock_s;
    put(step, "plan", snapshot_text(fresh, "id"), json_incref(fresh), 0);
}

static double rounded(double value)
{
    return round(value * 10000) / 10000;
}

static json_t *spreads_of(const struct plan *plan)
{
    json_t *spreads = json_object();
    for (int r = 0; r < RESOURCE_COUNT; r++)
        json_object_set_new(spreads, score_reason_word((enum score_reason)r), json_real(rounded(plan->spreads[r])));
    return spreads;
}

/* job NULL: the cluster cannot be read, `trouble` says why. */
static void put_status(struct conductor *c, const struct conductor_job *job, const char *summary, int lately,
                       const char *wall, struct conductor_step *step)
{
    static const struct plan none;
    static const struct cluster_json nothing;
    const struct plan *plan = job ? &job->plan : &none;
    static const char *const modes[] = {"off", "advise", "automatic"};
    json_t *status = json_pack(
        "{s:s, s:s, s:f, s:f, s:o, s:f, s:i, s:i, s:s, s:s, s:o}", "node", c->node, "mode", modes[c->mode], "score",
        rounded(plan->before), "spread", rounded(plan->spread), "spreads", spreads_of(plan), "spread_after",
        rounded(plan->spread_after), "nodes_to_lose", job ? c->nodes_to_lose : 0, "moves_last_hour", lately, "summary",
        summary, "trouble", c->trouble, "left_out", cluster_json_warnings(job ? &job->cluster : &nothing));
    if (status && c->shadow)
        json_object_set_new(status, "shadow",
                            json_pack("{s:O, s:i}", "summary", json_object_get(c->shadow, "summary"), "moves",
                                      (int)json_array_size(json_object_get(c->shadow, "moves"))));
    if (!status || json_equal(status, c->status)) {
        json_decref(status);
        return;
    }
    json_decref(c->status);
    c->status = json_deep_copy(status);
    json_object_set_new(status, "at", json_string(wall));
    put(step, "state/balancer", "status", status, -1);
}

/* What another policy would do now is kept when it is something else than before: beside our own plans it can be read
 * over days, whatever the mode. */
static void keep_shadow(struct conductor *c, json_t *objects, struct conductor_job *job, double clock_s,
                        struct conductor_step *step)
{
    if (c->shadow_s > 0 && clock_s - c->shadow_s < CONDUCTOR_SHADOW_S)
        return;
    const json_t *last = conductor_find_plan(objects, "shadow", false);
    json_t *fresh = job->shadow_record;
    if (!fresh || (last && plan_record_same_moves(json_object_get(last, "value"), fresh)))
        return;
    put(step, "plan", snapshot_text(fresh, "id"), json_incref(fresh), 0);
    c->shadow_s = clock_s;
}

/* The record is taken. What has changed since it was begun, the check before each wave finds. */
static void end_plan(struct conductor *c, json_t *objects, struct conductor_job *job, const struct snapshot_time *now,
                     const char *wall, struct conductor_step *step)
{
    char text[300], summary[400];
    json_decref(c->shadow);
    c->shadow = json_incref(job->shadow);
    if (job->losses_wanted && job->cluster.model) {
        c->nodes_to_lose = job->nodes_to_lose;
        c->counted_s = now->clock_s;
    }
    if (job->rc) {
        snprintf(c->trouble, sizeof c->trouble, "%.200s", job->err.text);
        put_status(c, job->cluster.model ? job : NULL, "", job->lately, wall, step);
        return;
    }
    if (job->unseen && !c->waits)
        c->waits_s = now->clock_s;
    c->waits = job->unseen > 0;
    c->active = job->plan.why == PLAN_MOVES;
    propose(c, objects, job, now, step);
    keep_shadow(c, objects, job, now->clock_s, step);
    snprintf(summary, sizeof summary, "%s%s", job->why_not, explain_plan(&job->plan, &job->policy, text, sizeof text));
    put_status(c, job, summary, job->lately, wall, step);
}

static void plan_anew(struct conductor *c, json_t *objects, const struct snapshot_time *now, const char *wall,
                      struct conductor_step *step)
{
    struct conductor_job *job = begin_job(c, CONDUCTOR_PLAN, objects, now);
    if (!job) {
        snprintf(c->trouble, sizeof c->trouble, "no memory for a plan");
        put_status(c, NULL, "", conductor_moves_lately(objects, now->wall_s), wall, step);
        return;
    }
    job->options =
        (struct plan_options){.seed = 1, .active = c->active, .budget = {.stop = c->stop, .data = c->stop_data}};
    job->losses_wanted = !c->status || now->clock_s - c->counted_s >= CONDUCTOR_LOSE_S;
    job->may_wait = !c->waits || now->clock_s - c->waits_s < CONDUCTOR_SEEN_S;
    snprintf(job->wall, sizeof job->wall, "%s", wall);
    if (!run_or_hand_over(c, job))
        return;
    end_plan(c, objects, job, now, wall, step);
    conductor_job_free(job);
}

/* What was handed over is there: it counts unless something came in between. */
static void take_plan(struct conductor *c, json_t *objects, const struct snapshot_time *now, const char *wall,
                      struct conductor_step *step)
{
    struct conductor_job *job = c->job;
    c->job = NULL;
    if (c->job_is_void || job->question != CONDUCTOR_PLAN || job->mode != c->mode)
        c->has_planned = false; /* at once, then */
    else
        end_plan(c, objects, job, now, wall, step);
    conductor_job_free(job);
}

void conductor_job_done(struct conductor *c)
{
    c->job_is_done = true;
}

/* ---- all of it ---- */

/* The oldest plan that has ended, or of the shadow, if there are more than are kept. */
static void forget_oldest_of(json_t *objects, bool shadow, struct conductor_step *step)
{
    json_t *entry, *oldest = NULL;
    const char *id;
    int count = 0;
    json_object_foreach (json_object_get(objects, "plan"), id, entry) {
        const json_t *value = json_object_get(entry, "value");
        const char *phase = plan_record_phase(value);
        bool wanted = shadow ? !strcmp(phase, "shadow") : !strcmp(phase, "done") || !strcmp(phase, "void");
        if (!wanted)
            continue;
        count++;
        if (!oldest ||
            strcmp(snapshot_text(value, "name"), snapshot_text(json_object_get(oldest, "value"), "name")) < 0)
            oldest = entry;
    }
    if (count > CONDUCTOR_HISTORY)
        put(step, "plan", id_of(oldest), NULL, revision_of(oldest));
}

static void forget_oldest(json_t *objects, struct conductor_step *step)
{
    forget_oldest_of(objects, false, step);
    forget_oldest_of(objects, true, step);
}

/* A table of what guests used in the hour that is over, beside nothing else: what is wrong with it, or too much, keeps
 * no plan from being written. The others follow at later looks. */
static void keep_hours(struct conductor *c, json_t *objects, const struct snapshot_time *now,
                       struct conductor_step *step)
{
    char table[HOURS_TABLE_BYTES];
    hours_look(&c->hours, objects, now);
    json_t *made = step->count ? NULL : hours_due(&c->hours, objects, table);
    if (!made)
        return;
    bool empty = !json_object_size(made);
    put(step, "state/hours", table, empty ? NULL : made, -1);
    step->puts[0].stays = true;
    if (empty)
        json_decref(made);
}

static void act(struct conductor *c, json_t *objects, const struct snapshot_time *now, const char *wall,
                struct conductor_step *step)
{
    c->mode = conductor_policy(objects, &c->policy, c->trouble, sizeof c->trouble);
    const json_t *running = conductor_find_plan(objects, "active", false);
    const json_t *applied = running ? NULL : conductor_find_plan(objects, "proposed", true);
    c->job_is_void |= c->job && c->job->question == CONDUCTOR_PLAN && (running || applied);
    c->waits &= !running && !applied;
    if (running) {
        carry_on(c, objects, running, now, wall, step);
        return;
    }
    if (applied) {
        begin(c, objects, applied, now, wall, step);
        return;
    }
    if (c->job) {
        if (c->job_is_done)
            take_plan(c, objects, now, wall, step);
        forget_oldest(objects, step);
        return;
    }
    if (c->has_planned && now->clock_s - c->planned_s < CONDUCTOR_PLAN_EVERY_S)
        return;
    c->has_planned = true;
    c->planned_s = now->clock_s;
    plan_anew(c, objects, now, wall, step);
    forget_oldest(objects, step);
}

void conductor_look(struct conductor *c, json_t *objects, const struct snapshot_time *now, const char *wall,
                    struct conductor_step *step)
{
    *step = (struct conductor_step){0};
    act(c, objects, now, wall, step);
    keep_hours(c, objects, now, step);
}

void conductor_begin_term(struct conductor *c)
{
    conductor_forget(c);
    c->waits = false;
    c->traffic_of[0] = 0;
}

void conductor_forget(struct conductor *c)
{
    json_decref(c->status);
    c->status = NULL;
    c->has_planned = false;
    c->job_is_void = true;
}

void conductor_fini(struct conductor *c)
{
    conductor_forget(c);
    conductor_job_free(c->job);
    json_decref(c->shadow);
    hours_fini(&c->hours);
    c->job = NULL;
    c->shadow = NULL;
}
