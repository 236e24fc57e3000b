#include "node/agent/balance_plans.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/api.h"
#include "node/agent/balance_call.h"
#include "node/agent/balance_part.h"
#include "node/agent/balance_question.h"
#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/kind.h"
#include "node/agent/member.h"
#include "node/agent/object_answer.h"
#include "node/base/err.h"
#include "node/base/timestamp.h"
#include "node/base/uuid.h"

enum { BUDGET_MAX_MS = 20000, PRICE_MAX = 1000 };

/* ---- what would be planned ---- */

static json_t *plan_question(const struct balance_routes *r, const struct api_call *call)
{
    static const char *const keys[] = {"policy", "price", "explain", "why", "frontier"};
    json_t *question = balance_call_question(r, "plan");
    json_object_set(question, "budget_ms", json_object_get(call->body, "budget"));
    for (unsigned i = 0; i < sizeof keys / sizeof *keys; i++)
        if (json_object_get(call->body, keys[i]))
            json_object_set(question, keys[i], json_object_get(call->body, keys[i]));
    return question;
}

static void what_if(void *context, struct api_call *call)
{
    struct balance_routes *r = context;
    balance_call_ask(r, call, plan_question(r, call));
}

#define ASKED_POLICY                                                                                                   \
    {                                                                                                                  \
        .name = "policy", .type = SCHEMA_TEXT, .max = BALANCE_POLICY_MAX,                                              \
        .description = "in place of the cluster's, JSON as a file of drover-balancer has it",                          \
        .example = "{\"overload\": {\"limit\": 0.7}}"                                                                  \
    }
#define ASKED_PRICE                                                                                                    \
    {                                                                                                                  \
        .name = "price", .type = SCHEMA_NUMBER, .max = PRICE_MAX,                                                      \
        .description = "as if moves cost so many times what the policy says, 0.001 at least: fewer, or more of them",  \
        .example = "4"                                                                                                 \
    }
#define ASKED_BUDGET                                                                                                   \
    {                                                                                                                  \
        .name = "budget", .type = SCHEMA_DURATION, .min = 1, .max = BUDGET_MAX_MS, .default_json = "5000",             \
        .description = "of the search"                                                                                 \
    }

static const struct schema_field any_object = {.type = SCHEMA_OBJECT}, sentence = {.type = SCHEMA_STRING};
static const struct schema_field what_if_fields[] = {
    ASKED_POLICY,
    ASKED_PRICE,
    ASKED_BUDGET,
    {.name = "frontier",
     .type = SCHEMA_BOOL,
     .default_json = "false",
     .description = "the frontier of plans at several prices"},
    {.name = "explain", .type = SCHEMA_BOOL, .default_json = "false", .description = "every guest with its reason"},
    {.name = "why", .type = SCHEMA_NAME, .description = "the reason of this guest alone", .example = "\"web1\""},
    {.name = NULL},
};
static const struct schema what_if_question = {"BalanceQuestion", "What would be planned now.", what_if_fields};
static const struct schema_field what_if_answer_fields[] = {
    {.name = "summary", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "all of it as a sentence"},
    {.name = "score_before", .type = SCHEMA_ANY, .flags = SCHEMA_REQUIRED, .description = "lower is better"},
    {.name = "score_after", .type = SCHEMA_ANY, .flags = SCHEMA_REQUIRED, .description = "with all moves"},
    {.name = "spread_before", .type = SCHEMA_ANY, .description = "of the loads over the nodes"},
    {.name = "spread_after", .type = SCHEMA_ANY, .description = "with all moves"},
    {.name = "moves", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "how many"},
    {.name = "seconds", .type = SCHEMA_ANY, .description = "until the last wave is through"},
    {.name = "bytes", .type = SCHEMA_ANY, .description = "over the wire"},
    {.name = "left_out", .type = SCHEMA_INT, .description = "moves to which no order of steps leads"},
    {.name = "stranded", .type = SCHEMA_INT, .description = "guests that find no node"},
    {.name = "at_rest", .type = SCHEMA_BOOL, .description = "false: the budget ended the search"},
    {.name = "frontier",
     .type = SCHEMA_ARRAY,
     .item = &any_object,
     .description = "which price and part of a plan bring which part of the gain, by how many moves"},
    {.name = "waves", .type = SCHEMA_ANY, .flags = SCHEMA_REQUIRED, .description = "of moves"},
    {.name = "reasons", .type = SCHEMA_OBJECT, .description = "by guest, if they were asked for"},
    {.name = "warnings", .type = SCHEMA_ARRAY, .item = &sentence, .description = "whom it leaves out, and why"},
    {.name = NULL},
};
static const struct schema what_if_answer = {"BalanceAnswer", "What would be planned now.", what_if_answer_fields};

/* ---- applying ---- */

static void applied(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct balance_call *w = context;
    const struct object *o = mirror_find(cluster_mirror(w->routes->cluster), OBJECT_PLAN, w->plan);
    (void)revision;
    if (rc)
        object_refuse(w->call, rc, err);
    else if (!o || !o->value)
        api_error(w->call, 409, "changed-meanwhile", NULL, "the plan is gone again");
    else
        api_reply(w->call, 200, object_view(o));
    balance_call_free(w);
}

/* As it is to be carried out. */
static json_t *part_of(const struct api_call *call, const struct object *plan)
{
    const json_t *part = json_object_get(call->query, "part");
    json_t *value = json_deep_copy(plan->value);
    if (part)
        balance_part(value, (unsigned)json_integer_value(part));
    return value;
}

static void mark(struct balance_routes *r, struct api_call *call, const struct object *plan)
{
    char at[TIMESTAMP_BYTES];
    struct balance_call *w = balance_call_new(r, call);
    struct change *change = w ? change_new(r->cluster) : NULL;
    if (w && !change) {
        api_error(call, 500, "out-of-memory", NULL, "out of memory");
        balance_call_free(w);
    }
    if (!change)
        return;
    json_t *value = part_of(call, plan);
    json_object_set_new(value, "apply", json_pack("{s:s, s:s}", "by", call->who.name, "at", timestamp(at)));
    snprintf(w->plan, sizeof w->plan, "%s", plan->id);
    change_put(change, OBJECT_PLAN, plan->id, value, plan->revision);
    change_commit(change, applied, w);
}

/* False: it is refused. plan: NULL if it is made just now. */
static bool may_apply(struct api_call *call, const struct mirror *m, const struct object *plan)
{
    const struct object *current = balance_plan(m);
    if (!strcmp(balance_mode(m), "off"))
        api_error(call, 409, "balancing-off", NULL, "balancing is off: `drover balance mode advise`");
    else if (current && current != plan && !strcmp(object_spec_text(current, "phase"), "active"))
        api_error(call, 409, "plan-active", NULL,
                  "plan %s is being carried out: wait until it has ended; `drover balance mode off` ends it",
                  current->name);
    else
        return true;
    return false;
}

static void show_part(struct api_call *call, const struct object *plan)
{
    json_t *value = part_of(call, plan), *view = object_view(plan);
    json_object_set(view, "spec", json_object_get(value, "spec"));
    json_decref(value);
    api_reply(call, 200, view);
}

static void apply(void *context, struct api_call *call)
{
    struct balance_routes *r = context;
    const struct mirror *m = cluster_mirror(r->cluster);
    const struct object *plan = object_wanted(call, m);
    if (!plan)
        return;
    const char *phase = object_spec_text(plan, "phase"), *reason = object_spec_text(plan, "reason");
    if (strcmp(phase, "proposed") != 0)
        api_error(call, 409, "not-proposed", NULL, "plan %s is %s%s%s: `drover balance plan` shows what is proposed",
                  plan->name, phase, *reason ? ": " : "", reason);
    else if (!may_apply(call, m, plan))
        return;
    else if (call->dry_run)
        show_part(call, plan);
    else
        mark(r, call, plan);
}

static const struct schema_field apply_query[] = {
    {.name = "part",
     .type = SCHEMA_INT,
     .min = 1,
     .max = 100,
     .description = "of the gain, in percent: as few of the first moves as bring that; the rest is left out",
     .example = "90"},
    {.name = NULL},
};

/* ---- plans that are made to be carried out ---- */

static void put_plan(struct balance_call *w, json_t *record)
{
    const json_t *part = json_object_get(w->call->body, "part");
    char at[TIMESTAMP_BYTES];
    if (part)
        balance_part(record, (unsigned)json_integer_value(part));
    json_object_set_new(record, "apply", json_pack("{s:s, s:s}", "by", w->call->who.name, "at", timestamp(at)));
    if (w->call->dry_run) {
        json_object_set_new(record, "revision", json_integer(0));
        api_reply(w->call, 200, record);
        balance_call_free(w);
        return;
    }
    struct change *change = change_new(w->routes->cluster);
    if (!change) {
        json_decref(record);
        api_error(w->call, 500, "out-of-memory", NULL, "out of memory");
        balance_call_free(w);
        return;
    }
    snprintf(w->plan, sizeof w->plan, "%s", member_text(record, "id"));
    change_put(change, OBJECT_PLAN, w->plan, record, 0);
    change_commit(change, applied, w);
}

static void advised(void *context, const json_t *answer, const struct err *err)
{
    struct balance_call *w = context;
    const char *wrong = member_text(answer, "error"), *field = member_text(answer, "field");
    json_t *record = json_object_get(answer, "record");
    if (record) {
        put_plan(w, json_deep_copy(record));
        return;
    }
    if (!answer)
        api_error_err(w->call, "no-answer", err);
    else if (*wrong)
        api_error(w->call, 422, *field ? "no-policy" : "no-answer", *field ? field : NULL, "%s", wrong);
    else if (json_object_get(answer, "sleep"))
        api_error(w->call, 409, "none-can-sleep", NULL, "%s: `drover balance consolidate` says why",
                  member_text(answer, "summary"));
    else
        api_error(w->call, 409, "nothing-to-move", NULL, "%s: the same with --explain in place of --apply says why",
                  member_text(answer, "summary"));
    balance_call_free(w);
}

/* question: is taken over. */
static void ask_for_record(struct balance_routes *r, struct api_call *call, json_t *question)
{
    char id[UUID_TEXT_BYTES], at[TIMESTAMP_BYTES];
    struct err err = {0};
    struct balance_call *w = balance_call_new(r, call);
    if (!w) {
        json_decref(question);
        return;
    }
    uuid_make(id);
    json_object_set_new(question, "record",
                        json_pack("{s:s, s:s, s:s}", "id", id, "by", call->who.name, "made", timestamp(at)));
    if (!balance_ask(r->place, question, advised, w, &err))
        return;
    api_error_err(call, "no-answer", &err);
    balance_call_free(w);
}

static void consolidate(void *context, struct api_call *call)
{
    struct balance_routes *r = context;
    if (may_apply(call, cluster_mirror(r->cluster), NULL))
        ask_for_record(r, call, balance_call_question(r, "consolidate"));
}

static void apply_anew(void *context, struct api_call *call)
{
    struct balance_routes *r = context;
    if (may_apply(call, cluster_mirror(r->cluster), NULL))
        ask_for_record(r, call, plan_question(r, call));
}

static const struct schema_field anew_fields[] = {
    ASKED_POLICY,
    ASKED_PRICE,
    ASKED_BUDGET,
    {.name = "part",
     .type = SCHEMA_INT,
     .min = 1,
     .max = 100,
     .description = "of the gain, in percent: as few of the first moves as bring that",
     .example = "90"},
    {.name = NULL},
};
static const struct schema anew_question = {"BalanceWish", "What is to be planned now, and carried out.", anew_fields};

/* ---- the table ---- */

static struct route routes[] = {
    {HTTP_POST, "/v1/balance/plan", ROLE_VIEWER, ROUTE_NO_AUDIT, "balance_plan", "balance",
     "What would be planned now, under another policy or price if one is named; nothing of it is kept or carried out.",
     &what_if_question, &what_if_answer, NULL, NULL, what_if},
    {HTTP_POST, "/v1/balance/plan/apply", ROLE_OPERATOR, ROUTE_DRY_RUN, "balance_plan_apply", "balance",
     "What would be planned now is to be carried out, under another policy or price if one is named.", &anew_question,
     NULL, NULL, NULL, apply_anew},
    {HTTP_POST, "/v1/balance/consolidation", ROLE_OPERATOR, ROUTE_DRY_RUN, "balance_consolidate", "balance",
     "The nodes that can sleep are to be emptied, and drained as they become empty: a plan that is carried out.", NULL,
     NULL, NULL, NULL, consolidate},
    {HTTP_POST, "/v1/plans/{name}/apply", ROLE_OPERATOR, ROUTE_DRY_RUN, "plan_apply", "plan",
     "A proposal is to be carried out: the balancer begins it if it still fits the cluster.", NULL, NULL, NULL,
     apply_query, apply},
};

enum { ROUTE_COUNT = sizeof routes / sizeof *routes };

int balance_plans_add_routes(struct balance_routes *r, struct api *api, struct err *err)
{
    for (unsigned i = 1; i < ROUTE_COUNT; i++)
        routes[i].response = kind_of(OBJECT_PLAN)->answer;
    return api_add_routes(api, routes, ROUTE_COUNT, r, err);
}
