/* drover-balancer answer: one question of droverd, read from a file that is open already, answered on standard output.
 *
 *     {"verb": "policy", "text": TEXT, "shadow": TEXT}                is it one? {} or {"error": SENTENCE}
 *     {"verb": "export", "objects": {...}, "clock": S, "wall": S}     the cluster in Drover's JSON
 *     {"verb": "capacity", "objects", "clock", "wall", "lose": K, "shape": "4:16G:100G" or ""}
 *     {"verb": "consolidate", "objects", "clock", "wall",             which nodes could sleep, which must be woken;
 *      "record": {"id", "by", "made"}}                                with "record" also the plan that empties them
 *     {"verb": "plan", "objects", "clock", "wall", "policy": TEXT, "price": FACTOR, "budget_ms": N, "explain": BOOL,
 *      "why": GUEST, "frontier": BOOL,                                what plan_json() has, of one guest its reason;
 *      "record": {"id", "by", "made"}}                                with "record" also the plan
 *
 * Answers about a cluster have "warnings", a list of sentences, if somebody is left out of it.
 *
 * droverd runs as root and is to read none of this itself: here all privilege is gone before the first byte is. */
#include <argp.h>
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "balancer/capacity.h"
#include "balancer/cluster_json.h"
#include "balancer/command.h"
#include "balancer/conductor.h"
#include "balancer/consolidate_file.h"
#include "balancer/consolidate_record.h"
#include "balancer/deadline.h"
#include "balancer/frontier.h"
#include "balancer/plan.h"
#include "balancer/plan_file.h"
#include "balancer/plan_record.h"
#include "balancer/rules.h"
#include "node/base/err.h"
#include "node/base/sandbox.h"

enum key { KEY_QUESTION = 256 };
#define NS_PER_MS UINT64_C(1000000)
#define MIB 1048576.0

enum { FD_MAX = 1 << 20, LOSE_MAX = 16, CONSOLIDATE_S = 10, NICE = 10 };

struct arguments {
    int question;
};

static const struct argp_option options[] = {
    {"question", KEY_QUESTION, "FD", 0, "the open file that the question is in (0)", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    if (key != KEY_QUESTION)
        return ARGP_ERR_UNKNOWN;
    a->question = (int)command_number(arg, state, "question", FD_MAX);
    return 0;
}

static json_t *answer_policy(json_t *question)
{
    struct policy policy = policy_default();
    struct err err = {0};
    static const char *const keys[][2] = {{"text", "policy"}, {"shadow", "shadow"}};
    for (unsigned i = 0; i < 2; i++) {
        const char *text = json_string_value(json_object_get(question, keys[i][0]));
        if (text && policy_read(&policy, keys[i][1], text, strlen(text), &err))
            return json_pack("{s:s}", "error", err.text);
    }
    return json_object();
}

static struct snapshot_time time_of(const json_t *question)
{
    return (struct snapshot_time){.clock_s = json_number_value(json_object_get(question, "clock")),
                                  .wall_s = json_integer_value(json_object_get(question, "wall"))};
}

static json_t *answer_export(json_t *question)
{
    const struct snapshot_time now = time_of(question);
    return snapshot_make(json_object_get(question, "objects"), &now);
}

/* Disks are volumes, which any node reaches: so many of this size fit into the pools. A pool that does not say what it
 * has left is no limit. */
static int pools_hold(const json_t *question, double bytes)
{
    const char *id;
    json_t *pool;
    double count = 0;
    json_object_foreach (json_object_get(json_object_get(question, "objects"), "pool"), id, pool) {
        const json_t *left = json_object_get(json_object_get(pool, "state"), "free_bytes");
        if (!json_is_number(left))
            return INT_MAX;
        count += floor(json_number_value(left) / bytes);
    }
    return count > 0 ? (int)fmin(count, INT_MAX) : 0;
}

static void limit_to_pools(const json_t *question, double mib, struct capacity_fit *fit)
{
    int most = mib > 0 ? pools_hold(question, mib * MIB) : INT_MAX;
    if (most < fit->count) {
        fit->count = most;
        fit->limited_by = RULE_DISK;
    }
    fit->with_loss = fit->with_loss < most ? fit->with_loss : most;
}

static json_t *capacity_of(json_t *question, const struct model *m, const struct policy *policy, struct err *err)
{
    int lose = (int)json_integer_value(json_object_get(question, "lose"));
    const char *text = snapshot_text(question, "shape");
    struct capacity_losses losses;
    struct capacity_fit fit = {0};
    struct model_guest shape;
    if (lose < 0 || lose > LOSE_MAX) {
        err_set(err, EINVAL, "lose: 0 to %d nodes", LOSE_MAX);
        return NULL;
    }
    if (capacity_losses(m, policy, lose > 0 ? lose + 1 : 1, CAPACITY_WORK_ASKED, &losses)) {
        err_set(err, ENOMEM, "no memory to try losses");
        return NULL;
    }
    json_t *answer = json_pack("{s:i, s:i}", "nodes_to_lose", losses.shown, "asked", lose);
    int rc = command_add_losses(answer, m, &losses, err);
    if (!*text && rc == 0)
        return answer;
    rc = rc ? rc : command_parse_shape(text, &shape, err);
    double disk = rc ? 0 : shape.disk;
    shape.disk = 0;
    if (rc || capacity_fits(m, policy, &shape, lose, &fit, err)) {
        json_decref(answer);
        return NULL;
    }
    limit_to_pools(question, disk, &fit);
    json_object_set_new(answer, "shape", json_string(text));
    json_object_set_new(answer, "fit", json_integer(fit.count));
    json_object_set_new(answer, "fit_and_lose", json_integer(fit.with_loss));
    json_object_set_new(answer, "fit_exact", json_boolean(fit.exact));
    json_object_set_new(answer, "limited_by", json_string(rules_text((enum rule)fit.limited_by)));
    return answer;
}

/* "policy" in place of the cluster's. */
static int policy_of(json_t *question, struct policy *policy, struct err *err)
{
    const char *text = json_string_value(json_object_get(question, "policy"));
    char trouble[256];
    conductor_policy(json_object_get(question, "objects"), policy, trouble, sizeof trouble);
    if (!text)
        return 0;
    *policy = policy_default();
    return policy_read(policy, "policy", text, strlen(text), err);
}

/* How many times what the policy says moves are to cost. */
static int price_of(const json_t *question, double *price, struct err *err)
{
    const json_t *said = json_object_get(question, "price");
    *price = said ? json_number_value(said) : 1;
    if (*price >= POLICY_PRICE_MIN && *price <= POLICY_PRICE_MAX)
        return 0;
    return err_set(err, EINVAL, "price: a number from %g to %g is needed", POLICY_PRICE_MIN, POLICY_PRICE_MAX);
}

/* A question about the cluster under its own policy, or another one. */
static json_t *answer_cluster(json_t *question, json_t *(*say)(json_t *question, const struct model *m,
                                                               const struct policy *policy, struct err *err))
{
    const struct snapshot_time now = time_of(question);
    struct cluster_json cluster = {0};
    struct policy policy;
    struct err err = {0};
    json_t *answer = NULL;
    int rc = policy_of(question, &policy, &err);
    if (rc)
        return json_pack("{s:s, s:s}", "error", err.text, "field", "policy");
    if (!conductor_model(json_object_get(question, "objects"), &policy, &now, &cluster, &err)) {
        policy_learn_link(&policy, cluster.link_learned);
        answer = say(question, cluster.model, &policy, &err);
        if (answer && cluster.warnings[0])
            json_object_set_new(answer, "warnings", cluster_json_warnings(&cluster));
    }
    model_free(cluster.model);
    return answer ? answer : json_pack("{s:s}", "error", err.text);
}

static json_t *ids_of(json_t *objects)
{
    json_t *ids = json_object(), *guest;
    const char *id;
    json_object_foreach (json_object_get(objects, "guest"), id, guest)
        json_object_set_new(ids, snapshot_text(json_object_get(guest, "value"), "name"), json_string(id));
    return ids;
}

/* guest_ids: a new reference. */
static struct plan_record_origin origin_of(json_t *question)
{
    const json_t *wanted = json_object_get(question, "record");
    return (struct plan_record_origin){.id = snapshot_text(wanted, "id"),
                                       .phase = "proposed",
                                       .by = snapshot_text(wanted, "by"),
                                       .made = snapshot_text(wanted, "made"),
                                       .guest_ids = ids_of(json_object_get(question, "objects"))};
}

static bool wants_record(const json_t *question)
{
    return json_object_get(question, "record");
}

static void put_record(json_t *said, const struct consolidation *c, const struct policy *policy, json_t *question)
{
    const struct plan_record_origin origin = origin_of(question);
    json_t *record = consolidate_record(c, policy, &origin);
    if (record)
        json_object_set_new(said, "record", record);
    json_decref(origin.guest_ids);
}

static json_t *consolidation_of(json_t *question, const struct model *m, const struct policy *policy, struct err *err)
{
    struct deadline deadline;
    const struct consolidate_options limits = {
        .seed = 1, .stop = deadline_is_over, .late = deadline_is_half_over, .stop_data = &deadline};
    struct consolidation c;
    deadline_begin(&deadline, CONSOLIDATE_S * UINT64_C(1000000000));
    if (consolidate(m, policy, &limits, &c, err))
        return NULL;
    json_t *said = consolidate_json(&c, policy, false);
    if (wants_record(question))
        put_record(said, &c, policy, question);
    consolidate_fini(&c);
    return said;
}

/* Who stands for a guest on its way has no reasons of his own. */
static void keep_guests(json_t *reasons, const json_t *objects)
{
    json_t *names = json_object(), *guest, *reason;
    const char *id, *name;
    void *next;
    json_object_foreach (json_object_get(objects, "guest"), id, guest)
        json_object_set_new(names, snapshot_text(json_object_get(guest, "value"), "name"), json_true());
    json_object_foreach_safe(reasons, next, name, reason) if (!json_object_get(names, name))
        json_object_del(reasons, name);
    json_decref(names);
}

/* The plan as the store has it, so that it can be carried out. */
static void put_plan(json_t *said, const struct plan *plan, const struct model *m, const struct policy *policy,
                     json_t *question)
{
    struct plan_record_origin origin = origin_of(question);
    origin.price = json_number_value(json_object_get(question, "price"));
    json_t *record = plan->count ? plan_record_make(plan, m, policy, &origin) : NULL;
    if (record && json_object_get(question, "price"))
        json_object_set(json_object_get(record, "spec"), "price", json_object_get(question, "price"));
    if (record)
        json_object_set_new(said, "record", record);
    json_decref(origin.guest_ids);
}

/* What is asked, judged before anything is searched. */
struct plan_question {
    double price;
    int why; /* the guest whose reason is wanted, -1: nobody's */
    bool frontier;
};

static int read_question(const json_t *question, const struct model *m, struct plan_question *asked, struct err *err)
{
    const char *why = snapshot_text(question, "why");
    asked->frontier = json_is_true(json_object_get(question, "frontier"));
    asked->why = *why ? names_find(&m->guest_names, why, strlen(why)) : -1;
    if (*why && asked->why < 0)
        return err_set(err, ENOENT, "guest '%s' is not there, or is left out: `drover balance status` says why", why);
    if (asked->frontier && json_object_get(question, "price"))
        return err_set(err, EINVAL,
                       "the frontier is of plans at several prices beside the policy's own: leave price out");
    return price_of(question, &asked->price, err);
}

static json_t *say_plan(json_t *question, const struct model *m, const struct policy *policy,
                        const struct plan_question *asked, struct err *err)
{
    uint64_t budget_ns = (uint64_t)json_integer_value(json_object_get(question, "budget_ms")) * NS_PER_MS;
    struct deadline deadline;
    const struct plan_options how = {.seed = 1, .budget = {.stop = deadline_is_over, .data = &deadline}};
    size_t reasons = json_is_true(json_object_get(question, "explain")) ? PLAN_RECORD_REASONS_MAX : 0;
    struct policy priced = *policy;
    struct frontier frontier;
    struct plan plan;
    json_t *said = NULL;
    policy_price(&priced, asked->price);
    deadline_begin(&deadline, asked->frontier ? budget_ns / 2 : budget_ns);
    if (plan_make(m, &priced, &how, &plan, err))
        return NULL;
    deadline_begin(&deadline, budget_ns / 2);
    if (!asked->frontier || !frontier_make(m, policy, &how, &plan, deadline_share, &frontier, err))
        said = plan_json(&plan, m, &priced, asked->frontier ? &frontier : NULL, asked->price, reasons);
    if (said && asked->why >= 0)
        json_object_set_new(said, "reasons", plan_reason_json(&plan, m, &priced, asked->why));
    if (said && wants_record(question))
        put_plan(said, &plan, m, &priced, question);
    keep_guests(json_object_get(said, "reasons"), json_object_get(question, "objects"));
    plan_fini(&plan);
    return said;
}

/* What people could have done now: parts of the cluster for which balancing is off stay out of it, advised ones do not;
 * as many moves as a plan may have, whatever the last hour's leave. */
static json_t *plan_of(json_t *question, const struct model *m, const struct policy *policy, struct err *err)
{
    struct plan_question asked = {.price = 1};
    struct policy p = *policy;
    p.moves_max = p.moves_max < PLAN_RECORD_MOVES_MAX ? p.moves_max : PLAN_RECORD_MOVES_MAX;
    if (read_question(question, m, &asked, err))
        return NULL;
    struct model *held = model_copy(m);
    err_set(err, ENOMEM, "no memory for a plan");
    if (!held)
        return NULL;
    model_hold(held, MODE_AUTOMATIC, MODE_OFF);
    json_t *said = say_plan(question, held, &p, &asked, err);
    model_free(held);
    return said;
}

static json_t *answer(json_t *question)
{
    const char *verb = snapshot_text(question, "verb");
    return !strcmp(verb, "policy")        ? answer_policy(question)
           : !strcmp(verb, "export")      ? answer_export(question)
           : !strcmp(verb, "capacity")    ? answer_cluster(question, capacity_of)
           : !strcmp(verb, "consolidate") ? answer_cluster(question, consolidation_of)
           : !strcmp(verb, "plan")        ? answer_cluster(question, plan_of)
                                          : json_pack("{s:s}", "error", "there is no such verb");
}

int command_answer(int argc, char **argv)
{
    struct arguments a = {0};
    const struct sandbox sandbox = {0};
    const struct argp argp = {.options = options, .parser = parse, .doc = "Answers one question of droverd, in JSON."};
    struct err err;
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    FILE *file = fdopen(a.question, "r"); /* nothing of it is read yet */
    if (!file) {
        fprintf(stderr, "drover-balancer: there is no open file %d\n", a.question);
        return EXIT_WRONG;
    }
    setpriority(PRIO_PROCESS, 0, NICE); /* guests go first, whatever it is asked */
    if (sandbox_enter(&sandbox, &err)) {
        fprintf(stderr, "drover-balancer: %s\n", err.text);
        return EXIT_WRONG;
    }
    lseek(a.question, 0, SEEK_SET); /* who wrote it has left it at its end */
    json_t *question = json_loadf(file, 0, NULL);
    json_t *said = json_is_object(question) ? answer(question) : json_pack("{s:s}", "error", "that is no question");
    char *text = json_dumps(said, JSON_COMPACT);
    json_decref(question);
    json_decref(said);
    if (text)
        puts(text);
    int rc = text && !fflush(stdout) ? EXIT_OK : EXIT_WRONG;
    free(text);
    _exit(rc); /* nobody may trace us any more, which a search for leaks at exit would have to */
}
