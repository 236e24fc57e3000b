#include "balancer/plan_record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/bound.h"
#include "balancer/capacity.h"
#include "balancer/model.h"
#include "balancer/plan_file.h"
#include "balancer/plan_room.h"
#include "balancer/policy.h"
#include "balancer/score.h"
#include "balancer/snapshot.h"
#include "balancer/waves.h"
#include "node/base/err.h"

static const double LEAST_GAIN = 0.5; /* of what was promised */

enum { NAME_LETTERS = 6, NAME_BYTES = 64 };

static json_t *spec_of(const json_t *record)
{
    return json_object_get(record, "spec");
}

const char *plan_record_phase(const json_t *record)
{
    return snapshot_text(spec_of(record), "phase");
}

int plan_record_wave(const json_t *record)
{
    return (int)json_integer_value(json_object_get(spec_of(record), "wave"));
}

int plan_record_waves(const json_t *record)
{
    return (int)json_array_size(json_object_get(spec_of(record), "waves"));
}

json_t *plan_record_moves(const json_t *record, int wave)
{
    return wave < 0 ? NULL : json_array_get(json_object_get(spec_of(record), "waves"), (size_t)wave);
}

/* ---- making ---- */

/* "20261126-085823125-1b2c3d": the time, so that lists are in its order, and letters of the id. */
static void name_of(const struct plan_record_origin *origin, char name[NAME_BYTES])
{
    unsigned n = 0;
    for (const char *c = origin->made; *c && n < NAME_BYTES - 16; c++)
        if (*c >= '0' && *c <= '9')
            name[n++] = *c;
        else if (*c == 'T')
            name[n++] = '-';
    snprintf(name + n, NAME_BYTES - n, "-%.*s", NAME_LETTERS, origin->id);
}

static void number_moves(json_t *waves, const json_t *guest_ids)
{
    size_t w, i;
    json_t *wave, *move;
    int number = 0;
    json_array_foreach (waves, w, wave)
        json_array_foreach (wave, i, move) {
            json_object_set_new(move, "move", json_integer(number++));
            json_object_set(move, "guest_id", json_object_get(guest_ids, snapshot_text(move, "guest")));
        }
}

/* The other ends of those on their way are nobody's guests. */
static void cut_reasons(json_t *spec, const json_t *guest_ids)
{
    json_t *all = json_object_get(spec, "reasons"), *kept = json_object(), *reason;
    const char *guest;
    json_object_foreach (all, guest, reason)
        if (json_object_get(guest_ids, guest))
            json_object_set(kept, guest, reason);
    if (json_object_size(guest_ids) > json_object_size(kept))
        json_object_set_new(spec, "reasons_left_out",
                            json_integer((json_int_t)(json_object_size(guest_ids) - json_object_size(kept))));
    json_object_set_new(spec, "reasons", kept);
}

json_t *plan_record_make(const struct plan *plan, const struct model *model, const struct policy *policy,
                         const struct plan_record_origin *origin)
{
    char name[NAME_BYTES];
    json_t *spec = plan_json(plan, model, policy, NULL, origin->price > 0 ? origin->price : 1, PLAN_RECORD_REASONS_MAX);
    if (!spec)
        return NULL;
    number_moves(json_object_get(spec, "waves"), origin->guest_ids);
    cut_reasons(spec, origin->guest_ids);
    json_object_set_new(spec, "phase", json_string(origin->phase));
    json_object_set_new(spec, "by", json_string(origin->by));
    json_object_set_new(spec, "made", json_string(origin->made));
    json_object_set_new(spec, "wave", json_integer(0));
    json_object_set_new(spec, "reason", json_string(""));
    name_of(origin, name);
    return json_pack("{s:s, s:s, s:s, s:o}", "kind", "plan", "id", origin->id, "name", name, "spec", spec);
}

static bool same_move(const json_t *a, const json_t *b)
{
    static const char *const keys[] = {"guest_id", "from", "to"};
    for (unsigned i = 0; i < 3; i++)
        if (strcmp(snapshot_text(a, keys[i]), snapshot_text(b, keys[i])) != 0)
            return false;
    return true;
}

bool plan_record_same_moves(const json_t *a, const json_t *b)
{
    if (plan_record_waves(a) != plan_record_waves(b))
        return false;
    for (int w = 0; w < plan_record_waves(a); w++) {
        const json_t *x = plan_record_moves(a, w), *y = plan_record_moves(b, w);
        if (json_array_size(x) != json_array_size(y))
            return false;
        for (size_t i = 0; i < json_array_size(x); i++)
            if (!same_move(json_array_get(x, i), json_array_get(y, i)))
                return false;
    }
    return true;
}

/* ---- checking ---- */

/* One move into the plan; -ESTALE: somebody it names is gone. */
static int add_move(struct plan *plan, const json_t *move, int wave, const struct model *m, struct err *err)
{
    struct plan_move *v = &plan->moves[plan->count];
    *v = (struct plan_move){.guest = names_find_member(&m->guest_names, move, "guest"),
                            .from = names_find_member(&m->node_names, move, "from"),
                            .to = names_find_member(&m->node_names, move, "to"),
                            .wave = wave,
                            .from_mirror = -1,
                            .to_mirror = -1};
    if (v->guest < 0 || v->from < 0 || v->to < 0)
        return err_set(err, ESTALE, "guest %s, or a node of its move, is not there any more",
                       snapshot_text(move, "guest"));
    enum rule rule = rules_movable(m, v->guest);
    if (rule != RULE_NONE)
        return err_set(err, ESTALE, "guest %s cannot be moved now: %s", snapshot_text(move, "guest"),
                       rules_text_of(m, v->guest, rule));
    plan->count++;
    return 0;
}

static bool has_begun(json_t *begun, const json_t *move)
{
    char number[16];
    snprintf(number, sizeof number, "%d", (int)json_integer_value(json_object_get(move, "move")));
    return json_object_get(begun, number) != NULL;
}

static int judge(const struct plan *plan, const struct model *m, const struct policy *policy, struct err *err)
{
    int wrong = waves_check(m, policy, plan);
    if (wrong < 0)
        return err_set(err, ENOMEM, "no memory to check a plan");
    if (!wrong)
        return 0;
    const struct plan_move *v = &plan->moves[wrong - 1];
    bool elsewhere = v->wave == plan->moves[0].wave && m->at[v->guest] != v->from;
    enum rule rule = rules_check(m, policy, v->guest, v->to, -1);
    return err_set(err, ESTALE, "guest %s from %s to %s: %s", model_guest_name(m, v->guest),
                   model_node_name(m, v->from), model_node_name(m, v->to),
                   elsewhere           ? "it is not there any more"
                   : rule == RULE_NONE ? "with the moves before it, it does not fit any more"
                                       : rules_text(rule));
}

/* The wave that is to begin must leave as much room for lost nodes as there is, up to what the policy wants. */
static int judge_room(const struct plan *plan, const struct model *model, const struct policy *policy, struct err *err)
{
    struct model *m = bound_copy(model, policy);
    if (!m)
        return err_set(err, ENOMEM, "no memory to check a plan");
    int wanted = capacity_tolerates_in(m, policy, policy->lose, NULL, 0);
    bool musts = false;
    for (int pass = 0; pass < 2; pass++) { /* what goes with those that must go is nobody's doing */
        for (int i = 0; i < plan->count && plan->moves[i].wave == plan->moves[0].wave; i++) {
            bool must = plan_room_must(model, &plan->moves[i]);
            if (must == !pass)
                model_place(m, plan->moves[i].guest, plan->moves[i].to, -1);
            musts |= must;
        }
        if (!pass && musts && wanted > 0)
            wanted = capacity_tolerates_in(m, policy, wanted, NULL, 0);
    }
    int left = wanted > 0 ? capacity_tolerates_in(m, policy, wanted, NULL, 0) : wanted;
    model_free(m);
    return left < wanted ? err_set(err, ESTALE, "after its wave %d the room for %d lost nodes would be gone",
                                   plan->moves[0].wave + 1, wanted)
                         : 0;
}

/* What is left of a plan that nobody has asked for must still bring half of what it was to: loads may have gone. */
static int judge_gain(const json_t *record, const struct plan *plan, double promised, const struct model *model,
                      const struct policy *policy, struct err *err)
{
    bool wanted = json_object_get(record, "apply") != NULL;
    struct model *m = wanted || promised <= 0 ? NULL : model_copy(model);
    struct score score = {0};
    if (wanted || promised <= 0)
        return 0;
    int rc = m ? score_init(&score, m, policy, err) : err_set(err, ENOMEM, "no memory to check a plan");
    double before = rc ? 0 : score_exact(&score);
    for (int i = 0; !rc && i < plan->count; i++)
        score_commit(&score, plan->moves[i].guest, plan->moves[i].to, -1);
    double gain = rc ? 0 : before - score_exact(&score);
    if (!rc && gain < LEAST_GAIN * promised)
        rc = err_set(err, ESTALE, "what is left of it would bring %.6f now, and was to bring %.6f", gain, promised);
    score_fini(&score);
    model_free(m);
    return rc;
}

int plan_record_check(const json_t *record, int wave, json_t *begun, const struct model *model,
                      const struct policy *policy, struct err *err)
{
    struct plan plan = {.moves = calloc(PLAN_RECORD_MOVES_MAX, sizeof *plan.moves)};
    struct policy p = *policy;
    if (json_object_get(spec_of(record), "sleep"))
        p.into_per_hour = 0; /* it packs */
    policy = &p;
    int rc = plan.moves ? 0 : err_set(err, ENOMEM, "no memory to check a plan");
    bool started = false;
    double promised = 0;
    for (int w = wave; !rc && w < plan_record_waves(record); w++) {
        size_t i;
        json_t *move;
        json_array_foreach (plan_record_moves(record, w), i, move) {
            if (has_begun(begun, move)) {
                started |= w == wave;
                continue;
            }
            rc = plan.count < PLAN_RECORD_MOVES_MAX ? add_move(&plan, move, w, model, err)
                                                    : err_set(err, E2BIG, "the plan has too many moves");
            if (rc)
                break;
            promised += json_number_value(json_object_get(move, "gain"));
        }
    }
    if (!rc && plan.count)
        rc = judge(&plan, model, policy, err);
    if (!rc && plan.count && policy->lose > 0 && !started)
        rc = judge_room(&plan, model, policy, err);
    if (!rc && plan.count && wave > 0 && !started)
        rc = judge_gain(record, &plan, promised, model, policy, err);
    free(plan.moves);
    return rc;
}
