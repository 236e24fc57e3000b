#include "node/agent/balance_routes.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/api.h"
#include "node/agent/balance_call.h"
#include "node/agent/balance_modes.h"
#include "node/agent/balance_plans.h"
#include "node/agent/balance_question.h"
#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/failover_export.h"
#include "node/agent/kind.h"
#include "node/agent/member.h"
#include "node/agent/object_answer.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/timestamp.h"

enum { LOSE_MAX = 16 };

/* ---- status ---- */

static const json_t *balancer_state(const struct mirror *m, const char *id)
{
    const struct object *o = mirror_find(m, OBJECT_BALANCER, id);
    return o ? o->state : NULL;
}

static json_t *text_or_null(const char *text)
{
    return *text ? json_string(text) : json_null();
}

static void show(void *context, struct api_call *call)
{
    const struct balance_routes *r = context;
    const struct mirror *m = cluster_mirror(r->cluster);
    const json_t *leader = balancer_state(m, "leader"), *status = balancer_state(m, "status");
    const struct object *plan = balance_plan(m);
    json_t *answer = json_pack("{s:s, s:o, s:o, s:o, s:o}", "mode", balance_mode(m), "elected",
                               text_or_null(member_text(leader, "node")), "since",
                               text_or_null(member_text(leader, "since")), "plan", text_or_null(plan ? plan->name : ""),
                               "plan_phase", text_or_null(plan ? object_spec_text(plan, "phase") : ""));
    static const char *const keys[] = {"at",           "score",         "spread",          "spreads",
                                       "spread_after", "nodes_to_lose", "moves_last_hour", "summary",
                                       "trouble",      "shadow",        "left_out"};
    for (unsigned i = 0; i < sizeof keys / sizeof *keys; i++)
        if (json_object_get(status, keys[i]))
            json_object_set(answer, keys[i], json_object_get(status, keys[i]));
    const struct object *policy = balance_policy(m);
    json_t *groups = policy ? balance_modes_show(m, object_spec(policy, "groups")) : NULL;
    if (groups)
        json_object_set_new(answer, "groups", groups);
    api_reply(call, 200, answer);
}

static const struct schema_field sentence = {.type = SCHEMA_STRING};
static const char *const modes[] = {"off", "advise", "automatic", NULL};
static struct schema_field status_fields[] = {
    {.name = "mode", .type = SCHEMA_ENUM, .flags = SCHEMA_REQUIRED, .values = modes, .description = "of the policy"},
    {.name = "elected", .type = SCHEMA_STRING, .flags = SCHEMA_NULLABLE, .description = "whose balancer acts"},
    {.name = "since", .type = SCHEMA_STRING, .flags = SCHEMA_NULLABLE, .description = "when it was elected"},
    {.name = "plan", .type = SCHEMA_STRING, .flags = SCHEMA_NULLABLE, .description = "that is active, or proposed"},
    {.name = "plan_phase", .type = SCHEMA_STRING, .flags = SCHEMA_NULLABLE, .description = "active or proposed"},
    {.name = "at", .type = SCHEMA_TIME, .description = "when the rest was seen"},
    {.name = "score", .type = SCHEMA_ANY, .description = "lower is better"},
    {.name = "spread", .type = SCHEMA_ANY, .description = "of the loads over the nodes"},
    {.name = "spreads", .type = SCHEMA_OBJECT, .description = "of cpu, memory, disk and network, each"},
    {.name = "spread_after", .type = SCHEMA_ANY, .description = "once what is planned is done"},
    {.name = "nodes_to_lose",
     .type = SCHEMA_INT,
     .description = "that may be lost at once, up to two: every set of so many is survived"},
    {.name = "moves_last_hour", .type = SCHEMA_INT, .description = "that plans have begun"},
    {.name = "summary", .type = SCHEMA_STRING, .description = "what is planned, or why nothing is"},
    {.name = "trouble", .type = SCHEMA_STRING, .description = "why it cannot plan"},
    {.name = "shadow", .type = SCHEMA_OBJECT, .description = "what the shadow policy would have done"},
    {.name = "left_out", .type = SCHEMA_ARRAY, .item = &sentence, .description = "whom nothing happens to, and why"},
    {.name = NULL}, /* balance_modes_answer */
    {.name = NULL},
};
static const struct schema status_answer = {"Balance", "What the balancer sees and does.", status_fields};

/* ---- the policy ---- */

static json_t *policy_view(const struct object *o)
{
    if (o)
        return object_view(o);
    return json_pack("{s:s, s:s, s:s, s:i, s:{s:s, s:s}}", "kind", "policy", "id", BALANCE_POLICY_ID, "name",
                     BALANCE_POLICY_ID, "revision", 0, "spec", "mode", "off", "text", "{}");
}

static void show_policy(void *context, struct api_call *call)
{
    const struct balance_routes *r = context;
    const struct object *o = balance_policy(cluster_mirror(r->cluster));
    char etag[API_ETAG_MAX];
    object_etag(o, etag);
    api_reply_etag(call, 200, policy_view(o), etag);
}

static void policy_written(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct balance_call *w = context;
    const struct object *o = balance_policy(cluster_mirror(w->routes->cluster));
    char etag[API_ETAG_MAX];
    (void)revision;
    if (rc) {
        object_refuse(w->call, rc, err);
    } else {
        object_etag(o, etag);
        log_info("balancing is '%s', as %s wants it", balance_mode(cluster_mirror(w->routes->cluster)),
                 w->call->who.name);
        api_reply_etag(w->call, 200, policy_view(o), etag);
    }
    balance_call_free(w);
}

static void write_policy(struct balance_call *w)
{
    char etag[API_ETAG_MAX];
    if (w->call->dry_run) {
        snprintf(etag, sizeof etag, "%" PRIu64, w->revision);
        json_object_set_new(w->value, "revision", json_integer((json_int_t)w->revision));
        api_reply_etag(w->call, 200, json_incref(w->value), etag);
        balance_call_free(w);
        return;
    }
    struct change *change = change_new(w->routes->cluster);
    if (!change) {
        api_error(w->call, 500, "out-of-memory", NULL, "out of memory");
        balance_call_free(w);
        return;
    }
    change_put(change, OBJECT_POLICY, BALANCE_POLICY_ID, json_incref(w->value), w->revision);
    change_commit(change, policy_written, w);
}

static void policy_judged(void *context, const json_t *answer, const struct err *err)
{
    struct balance_call *w = context;
    const char *wrong = member_text(answer, "error");
    if (answer && !*wrong) {
        write_policy(w);
        return;
    }
    if (answer)
        api_error(w->call, 422, "no-policy", "spec.text", "%s", wrong);
    else
        api_error_err(w->call, "no-answer", err);
    balance_call_free(w);
}

static void change_policy(void *context, struct api_call *call)
{
    struct balance_routes *r = context;
    const struct object *o = balance_policy(cluster_mirror(r->cluster));
    const json_t *wanted = json_object_get(call->body, "spec"), *text = json_object_get(wanted, "text");
    const json_t *shadow = json_object_get(wanted, "shadow");
    char etag[API_ETAG_MAX], at[TIMESTAMP_BYTES];
    struct err err = {0};
    object_etag(o, etag);
    if (!api_if_match(call, etag))
        return;
    struct balance_call *w = balance_call_new(r, call);
    if (!w)
        return;
    w->value = o ? json_deep_copy(o->value) : policy_view(NULL);
    w->revision = o ? o->revision : 0;
    json_t *spec = json_object_get(w->value, "spec"), *member;
    const char *key;
    json_object_del(w->value, "revision");
    json_object_foreach ((json_t *)(uintptr_t)wanted, key, member)
        if (strcmp(key, "groups") != 0)
            json_object_set(spec, key, member);
    if (balance_modes_change(spec, json_object_get(wanted, "groups"), &err)) {
        api_error(call, 422, "no-group", "spec.groups", "%s", err.text);
        balance_call_free(w);
        return;
    }
    json_object_set_new(spec, "by", json_string(call->who.name));
    json_object_set_new(spec, "at", json_string(timestamp(at)));
    if (!text && !shadow) {
        write_policy(w);
        return;
    }
    json_t *question = json_pack("{s:s}", "verb", "policy");
    if (text)
        json_object_set_new(question, "text", json_string(json_string_value(text)));
    if (shadow && json_string_length(shadow))
        json_object_set_new(question, "shadow", json_string(json_string_value(shadow)));
    if (!balance_ask(r->place, question, policy_judged, w, &err))
        return;
    api_error_err(call, "no-answer", &err);
    balance_call_free(w);
}

static struct schema_field policy_spec[] = {
    {.name = "mode",
     .type = SCHEMA_ENUM,
     .values = modes,
     .description = "off: nothing; advise: plans are made and shown; automatic: and carried out"},
    {.name = "text",
     .type = SCHEMA_TEXT,
     .max = BALANCE_POLICY_MAX,
     .description = "the policy, JSON as a file of drover-balancer has it; every field may be left out",
     .example = "{\"limits\": {\"lose\": 1}}"},
    {.name = "shadow",
     .type = SCHEMA_TEXT,
     .max = BALANCE_POLICY_MAX,
     .description = "another policy: what it would have done is kept beside each plan; empty: none"},
    {.name = "by", .type = SCHEMA_STRING, .flags = SCHEMA_READ_ONLY, .description = "who wanted it last"},
    {.name = "at", .type = SCHEMA_TIME, .flags = SCHEMA_READ_ONLY, .description = "when"},
    {.name = NULL}, /* balance_modes_field */
    {.name = NULL},
};
static const struct schema_field policy_change_fields[] = {
    {.name = "spec",
     .type = SCHEMA_OBJECT,
     .flags = SCHEMA_REQUIRED,
     .fields = policy_spec,
     .description = "what changes"},
    {.name = NULL},
};
static const struct schema policy_change = {"BalancePolicyChange", "What may change of it.", policy_change_fields};
static const struct schema_field policy_answer_fields[] = {
    {.name = "kind", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "of object"},
    {.name = "id", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "there is one"},
    {.name = "name", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED, .description = "there is one"},
    {.name = "revision", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "its ETag; 0: nobody has set it"},
    {.name = "spec",
     .type = SCHEMA_OBJECT,
     .flags = SCHEMA_REQUIRED,
     .fields = policy_spec,
     .description = "what is wanted"},
    {.name = "state", .type = SCHEMA_OBJECT, .description = "nothing"},
    {.name = NULL},
};
static const struct schema policy_answer = {"BalancePolicy", "What the balancer is to do.", policy_answer_fields};

/* ---- questions ---- */

static void export_cluster(void *context, struct api_call *call)
{
    struct balance_routes *r = context;
    json_t *question = balance_call_question(r, "export");
    json_object_set_new(json_object_get(question, "objects"), "volumes",
                        failover_export_volumes(cluster_mirror(r->cluster)));
    balance_call_ask(r, call, question);
}

static void capacity(void *context, struct api_call *call)
{
    struct balance_routes *r = context;
    json_t *question = balance_call_question(r, "capacity");
    json_t *lose = json_object_get(call->query, "lose"), *shape = json_object_get(call->query, "shape");
    json_object_set_new(question, "lose", json_integer(lose ? json_integer_value(lose) : 1));
    if (shape)
        json_object_set(question, "shape", shape);
    balance_call_ask(r, call, question);
}

static const struct schema_field capacity_query[] = {
    {.name = "lose", .type = SCHEMA_INT, .max = LOSE_MAX, .default_json = "1", .description = "nodes, at once"},
    {.name = "shape",
     .type = SCHEMA_STRING,
     .max = 64,
     .description = "of further guests: VCPUS:MEMORY or VCPUS:MEMORY:DISK",
     .example = "4:16G:100G"},
    {.name = NULL},
};
static const struct schema_field capacity_fields[] = {
    {.name = "nodes_to_lose",
     .type = SCHEMA_INT,
     .flags = SCHEMA_REQUIRED,
     .description = "that may be lost at once, whichever they are; at most one more than asked for"},
    {.name = "asked", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "how many are to be"},
    {.name = "exact",
     .type = SCHEMA_BOOL,
     .flags = SCHEMA_REQUIRED,
     .description = "false: more may be, but it would have taken too long to try every set of nodes"},
    {.name = "likely",
     .type = SCHEMA_INT,
     .flags = SCHEMA_REQUIRED,
     .description = "so many survived in every set that was tried; an estimate if it is more than nodes_to_lose"},
    {.name = "worst",
     .type = SCHEMA_ARRAY,
     .flags = SCHEMA_REQUIRED,
     .item = &sentence,
     .description = "nodes that may not be lost together; empty if none were found"},
    {.name = "guest",
     .type = SCHEMA_STRING,
     .flags = SCHEMA_REQUIRED | SCHEMA_NULLABLE,
     .description = "of theirs, the first that would find no place"},
    {.name = "shape", .type = SCHEMA_STRING, .description = "that was asked for"},
    {.name = "fit", .type = SCHEMA_INT, .description = "guests of that shape beside what is there"},
    {.name = "fit_and_lose", .type = SCHEMA_INT, .description = "and so that the loss is still survived"},
    {.name = "fit_exact",
     .type = SCHEMA_BOOL,
     .description = "false: fit_and_lose is an estimate, because not every set of nodes could be tried"},
    {.name = "limited_by", .type = SCHEMA_STRING, .description = "why not one more"},
    {.name = "warnings", .type = SCHEMA_ARRAY, .item = &sentence, .description = "whom it leaves out, and why"},
    {.name = NULL},
};
static const struct schema capacity_answer = {"Capacity", "What fits, and what may be lost.", capacity_fields};

static const struct schema_field any_object = {.type = SCHEMA_OBJECT};

static void consolidation(void *context, struct api_call *call)
{
    struct balance_routes *r = context;
    balance_call_ask(r, call, balance_call_question(r, "consolidate"));
}

static const struct schema_field consolidation_fields[] = {
    {.name = "summary", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "all of it as a sentence"},
    {.name = "on", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "nodes that take guests now"},
    {.name = "too_full",
     .type = SCHEMA_BOOL,
     .flags = SCHEMA_REQUIRED,
     .description = "more nodes are wanted, whether any sleep or not"},
    {.name = "at_rest",
     .type = SCHEMA_BOOL,
     .flags = SCHEMA_REQUIRED,
     .description = "false: the time for the search ended first, there may be more"},
    {.name = "sleep",
     .type = SCHEMA_ARRAY,
     .flags = SCHEMA_REQUIRED,
     .item = &sentence,
     .description = "nodes that can be switched off after the moves"},
    {.name = "wake", .type = SCHEMA_ARRAY, .flags = SCHEMA_REQUIRED, .item = &sentence, .description = "nodes to wake"},
    {.name = "nodes",
     .type = SCHEMA_ARRAY,
     .flags = SCHEMA_REQUIRED,
     .item = &any_object,
     .description = "each with name, verdict and reason"},
    {.name = "load_before", .type = SCHEMA_OBJECT, .description = "of the fullest node: cpu, memory, disk, network"},
    {.name = "load_after", .type = SCHEMA_OBJECT, .description = "of the fullest node that stays"},
    {.name = "moves", .type = SCHEMA_INT, .description = "how many empty them"},
    {.name = "seconds", .type = SCHEMA_ANY, .description = "until the last wave is through"},
    {.name = "bytes", .type = SCHEMA_ANY, .description = "over the wire"},
    {.name = "waves", .type = SCHEMA_ANY, .description = "of moves, as a plan has them"},
    {.name = "warnings", .type = SCHEMA_ARRAY, .item = &sentence, .description = "whom it leaves out, and why"},
    {.name = NULL},
};
static const struct schema consolidation_answer = {"Consolidation", "Which nodes could sleep, and which must be woken.",
                                                   consolidation_fields};

static const struct schema_field export_fields[] = {
    {.name = "nodes",
     .type = SCHEMA_ARRAY,
     .flags = SCHEMA_REQUIRED,
     .max = 20000,
     .item = &any_object,
     .description = "as drover-balancer reads them"},
    {.name = "guests",
     .type = SCHEMA_ARRAY,
     .flags = SCHEMA_REQUIRED,
     .max = 400000,
     .item = &any_object,
     .description = "as drover-balancer reads them"},
    {.name = "groups",
     .type = SCHEMA_ARRAY,
     .flags = SCHEMA_REQUIRED,
     .max = 400000,
     .item = &any_object,
     .description = "who stays apart or together, from the guests' rules"},
    {.name = "migrations",
     .type = SCHEMA_ARRAY,
     .flags = SCHEMA_REQUIRED,
     .max = 400000,
     .item = &any_object,
     .description = "what they took: the link's speed is learned from it"},
    {.name = "left_out",
     .type = SCHEMA_ARRAY,
     .max = 400000,
     .item = &any_object,
     .description = "who is not among them: who, why, and on which node, as far as that is known"},
    {.name = NULL},
};
static const struct schema export_answer = {"ClusterExport", "The cluster, for drover-balancer.", export_fields};

/* ---- the table ---- */

static struct route routes[] = {
    {HTTP_GET, "/v1/balance", ROLE_VIEWER, 0, "balance_show", "balance", "What the balancer sees and does.", NULL,
     &status_answer, NULL, NULL, show},
    {HTTP_GET, "/v1/balance/policy", ROLE_VIEWER, 0, "balance_policy_show", "balance", "What it is to do.", NULL,
     &policy_answer, NULL, NULL, show_policy},
    {HTTP_PATCH, "/v1/balance/policy", ROLE_ADMIN, ROUTE_DRY_RUN | ROUTE_IF_MATCH, "balance_policy_change", "balance",
     "Changes mode or policy; what is no policy is refused with line, field and reason.", &policy_change,
     &policy_answer, NULL, NULL, change_policy},
    {HTTP_GET, "/v1/balance/capacity", ROLE_VIEWER, 0, "balance_capacity", "balance",
     "How many nodes may be lost now, which not, and how many guests of a shape fit.", NULL, &capacity_answer, NULL,
     capacity_query, capacity},
    {HTTP_GET, "/v1/balance/consolidation", ROLE_VIEWER, 0, "balance_consolidation", "balance",
     "Which nodes could be emptied and switched off now, and which sleeping ones must be woken; it switches nothing.",
     NULL, &consolidation_answer, NULL, NULL, consolidation},
    {HTTP_GET, "/v1/cluster/export", ROLE_VIEWER, 0, "cluster_export", "cluster",
     "The cluster in the format that drover-balancer reads.", NULL, &export_answer, NULL, NULL, export_cluster},
};

enum { ROUTE_COUNT = sizeof routes / sizeof *routes };

/* ---- life ---- */

struct balance_routes *balance_routes_new(struct cluster *cluster, struct balance_place *place, struct api *api,
                                          struct err *err)
{
    struct balance_routes *r = calloc(1, sizeof *r);
    if (!r) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    *r = (struct balance_routes){cluster, place};
    status_fields[sizeof status_fields / sizeof *status_fields - 2] = balance_modes_answer;
    policy_spec[sizeof policy_spec / sizeof *policy_spec - 2] = balance_modes_field;
    if (api_add_routes(api, routes, ROUTE_COUNT, r, err) || balance_plans_add_routes(r, api, err)) {
        free(r);
        return NULL;
    }
    return r;
}

void balance_routes_free(struct balance_routes *r)
{
    free(r);
}
