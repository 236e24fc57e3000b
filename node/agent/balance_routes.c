#include "node/agent/balance_routes.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/api.h"
#include "node/agent/balance_modes.h"
#include "node/agent/balance_part.h"
#include "node/agent/balance_question.h"
#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/failover_export.h"
#include "node/agent/kind.h"
#include "node/agent/member.h"
#include "node/agent/objects.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/timestamp.h"
#include "node/base/uuid.h"

enum { POLICY_MAX = 16384, LOSE_MAX = 16, BUDGET_MAX_MS = 20000 };

static const char policy_id[] = "balance";

struct balance_routes {
    struct cluster *cluster;
    struct balance_place *place;
};

/* A call that waits, for an answer or for the store. */
struct waiting {
    struct balance_routes *routes;
    struct api_call *call;
    json_t *value;     /* of the policy, as it is to be */
    uint64_t revision; /* that it must still have */
    char plan[UUID_TEXT_BYTES];
};

static struct waiting *wait_for(struct balance_routes *r, struct api_call *call)
{
    struct waiting *w = calloc(1, sizeof *w);
    if (!w)
        api_error(call, 500, "out-of-memory", NULL, "out of memory");
    else
        *w = (struct waiting){.routes = r, .call = call};
    return w;
}

static void forget(struct waiting *w)
{
    json_decref(w->value);
    free(w);
}

/* ---- status ---- */

static const struct object *policy_object(const struct mirror *m)
{
    const struct object *o = mirror_find(m, OBJECT_POLICY, policy_id);
    return o && o->value ? o : NULL;
}

static const char *mode_of(const struct mirror *m)
{
    const struct object *o = policy_object(m);
    return o && *object_spec_text(o, "mode") ? object_spec_text(o, "mode") : "off";
}

static const json_t *balancer_state(const struct mirror *m, const char *id)
{
    const struct object *o = mirror_find(m, OBJECT_BALANCER, id);
    return o ? o->state : NULL;
}

static json_t *text_or_null(const char *text)
{
    return *text ? json_string(text) : json_null();
}

static const struct object *current_plan(const struct mirror *m)
{
    const struct object *found = NULL;
    for (const struct object *p = mirror_next(m, OBJECT_PLAN, NULL); p; p = mirror_next(m, OBJECT_PLAN, p->name)) {
        const char *phase = object_spec_text(p, "phase");
        if (!strcmp(phase, "active"))
            return p;
        if (!strcmp(phase, "proposed"))
            found = p;
    }
    return found;
}

static void show(void *context, struct api_call *call)
{
    const struct balance_routes *r = context;
    const struct mirror *m = cluster_mirror(r->cluster);
    const json_t *leader = balancer_state(m, "leader"), *status = balancer_state(m, "status");
    const struct object *plan = current_plan(m);
    json_t *answer =
        json_pack("{s:s, s:o, s:o, s:o, s:o}", "mode", mode_of(m), "elected", text_or_null(member_text(leader, "node")),
                  "since", text_or_null(member_text(leader, "since")), "plan", text_or_null(plan ? plan->name : ""),
                  "plan_phase", text_or_null(plan ? object_spec_text(plan, "phase") : ""));
    static const char *const keys[] = {"at",           "score",         "spread",          "spreads",
                                       "spread_after", "nodes_to_lose", "moves_last_hour", "summary",
                                       "trouble",      "shadow",        "left_out"};
    for (unsigned i = 0; i < sizeof keys / sizeof *keys; i++)
        if (json_object_get(status, keys[i]))
            json_object_set(answer, keys[i], json_object_get(status, keys[i]));
    const struct object *policy = policy_object(m);
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
        return objects_view(o);
    return json_pack("{s:s, s:s, s:s, s:i, s:{s:s, s:s}}", "kind", "policy", "id", policy_id, "name", policy_id,
                     "revision", 0, "spec", "mode", "off", "text", "{}");
}

static void etag_of(const struct object *o, char etag[API_ETAG_MAX])
{
    snprintf(etag, API_ETAG_MAX, "%" PRIu64, o ? o->revision : 0);
}

static void show_policy(void *context, struct api_call *call)
{
    const struct balance_routes *r = context;
    const struct object *o = policy_object(cluster_mirror(r->cluster));
    char etag[API_ETAG_MAX];
    etag_of(o, etag);
    api_reply_etag(call, 200, policy_view(o), etag);
}

static void policy_written(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct waiting *w = context;
    const struct object *o = policy_object(cluster_mirror(w->routes->cluster));
    char etag[API_ETAG_MAX];
    (void)revision;
    if (rc) {
        objects_refuse(w->call, rc, err);
    } else {
        etag_of(o, etag);
        log_info("balancing is '%s', as %s wants it", mode_of(cluster_mirror(w->routes->cluster)), w->call->who.name);
        api_reply_etag(w->call, 200, policy_view(o), etag);
    }
    forget(w);
}

static void write_policy(struct waiting *w)
{
    char etag[API_ETAG_MAX];
    if (w->call->dry_run) {
        snprintf(etag, sizeof etag, "%" PRIu64, w->revision);
        json_object_set_new(w->value, "revision", json_integer((json_int_t)w->revision));
        api_reply_etag(w->call, 200, json_incref(w->value), etag);
        forget(w);
        return;
    }
    struct change *change = change_new(w->routes->cluster);
    if (!change) {
        api_error(w->call, 500, "out-of-memory", NULL, "out of memory");
        forget(w);
        return;
    }
    change_put(change, OBJECT_POLICY, policy_id, json_incref(w->value), w->revision);
    change_commit(change, policy_written, w);
}

static void policy_judged(void *context, const json_t *answer, const struct err *err)
{
    struct waiting *w = context;
    const char *wrong = member_text(answer, "error");
    if (answer && !*wrong) {
        write_policy(w);
        return;
    }
    if (answer)
        api_error(w->call, 422, "no-policy", "spec.text", "%s", wrong);
    else
        api_error_err(w->call, "no-answer", err);
    forget(w);
}

static void change_policy(void *context, struct api_call *call)
{
    struct balance_routes *r = context;
    const struct object *o = policy_object(cluster_mirror(r->cluster));
    const json_t *wanted = json_object_get(call->body, "spec"), *text = json_object_get(wanted, "text");
    const json_t *shadow = json_object_get(wanted, "shadow");
    char etag[API_ETAG_MAX], at[TIMESTAMP_BYTES];
    struct err err = {0};
    etag_of(o, etag);
    if (!api_if_match(call, etag))
        return;
    struct waiting *w = wait_for(r, call);
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
        forget(w);
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
    forget(w);
}

static struct schema_field policy_spec[] = {
    {.name = "mode",
     .type = SCHEMA_ENUM,
     .values = modes,
     .description = "off: nothing; advise: plans are made and shown; automatic: and carried out"},
    {.name = "text",
     .type = SCHEMA_TEXT,
     .max = POLICY_MAX,
     .description = "the policy, JSON as a file of drover-balancer has it; every field may be left out",
     .example = "{\"limits\": {\"lose\": 1}}"},
    {.name = "shadow",
     .type = SCHEMA_TEXT,
     .max = POLICY_MAX,
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

static void answered(void *context, const json_t *answer, const struct err *err)
{
    struct waiting *w = context;
    const char *wrong = member_text(answer, "error"), *field = member_text(answer, "field");
    if (!answer)
        api_error_err(w->call, "no-answer", err);
    else if (*wrong)
        api_error(w->call, 422, *field ? "no-policy" : "no-answer", *field ? field : NULL, "%s", wrong);
    else
        api_reply(w->call, 200, json_deep_copy(answer));
    forget(w);
}

static void ask(struct balance_routes *r, struct api_call *call, json_t *question)
{
    struct err err = {0};
    struct waiting *w = wait_for(r, call);
    if (!w) {
        json_decref(question);
        return;
    }
    if (!balance_ask(r->place, question, answered, w, &err))
        return;
    api_error_err(call, "no-answer", &err);
    forget(w);
}

static json_t *question_of(const struct balance_routes *r, const char *verb)
{
    return balance_question(cluster_mirror(r->cluster), r->place->measured, verb);
}

static void export_cluster(void *context, struct api_call *call)
{
    struct balance_routes *r = context;
    json_t *question = question_of(r, "export");
    json_object_set_new(json_object_get(question, "objects"), "volumes",
                        failover_export_volumes(cluster_mirror(r->cluster)));
    ask(r, call, question);
}

static void capacity(void *context, struct api_call *call)
{
    struct balance_routes *r = context;
    json_t *question = question_of(r, "capacity");
    json_t *lose = json_object_get(call->query, "lose"), *shape = json_object_get(call->query, "shape");
    json_object_set_new(question, "lose", json_integer(lose ? json_integer_value(lose) : 1));
    if (shape)
        json_object_set(question, "shape", shape);
    ask(r, call, question);
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
    ask(r, call, question_of(r, "consolidate"));
}

static void what_if(void *context, struct api_call *call)
{
    struct balance_routes *r = context;
    json_t *question = question_of(r, "plan");
    json_object_set(question, "budget_ms", json_object_get(call->body, "budget"));
    json_object_set(question, "explain", json_object_get(call->body, "explain"));
    if (json_object_get(call->body, "policy"))
        json_object_set(question, "policy", json_object_get(call->body, "policy"));
    ask(r, call, question);
}

static const struct schema_field what_if_fields[] = {
    {.name = "policy",
     .type = SCHEMA_TEXT,
     .max = POLICY_MAX,
     .description = "in place of the cluster's, JSON as a file of drover-balancer has it",
     .example = "{\"overload\": {\"limit\": 0.7}}"},
    {.name = "budget",
     .type = SCHEMA_DURATION,
     .min = 1,
     .max = BUDGET_MAX_MS,
     .default_json = "5000",
     .description = "of the search"},
    {.name = "explain", .type = SCHEMA_BOOL, .default_json = "false", .description = "every guest with its reason"},
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
     .description = "how many moves bring which part of the gain"},
    {.name = "waves", .type = SCHEMA_ANY, .flags = SCHEMA_REQUIRED, .description = "of moves"},
    {.name = "reasons", .type = SCHEMA_OBJECT, .description = "by guest, if they were asked for"},
    {.name = "warnings", .type = SCHEMA_ARRAY, .item = &sentence, .description = "whom it leaves out, and why"},
    {.name = NULL},
};
static const struct schema what_if_answer = {"BalanceAnswer", "What would be planned now.", what_if_answer_fields};

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

/* ---- applying ---- */

static void applied(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct waiting *w = context;
    const struct object *o = mirror_find(cluster_mirror(w->routes->cluster), OBJECT_PLAN, w->plan);
    (void)revision;
    if (rc)
        objects_refuse(w->call, rc, err);
    else if (!o || !o->value)
        api_error(w->call, 409, "changed-meanwhile", NULL, "the plan is gone again");
    else
        api_reply(w->call, 200, objects_view(o));
    forget(w);
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
    struct waiting *w = wait_for(r, call);
    struct change *change = w ? change_new(r->cluster) : NULL;
    if (w && !change) {
        api_error(call, 500, "out-of-memory", NULL, "out of memory");
        forget(w);
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
    const struct object *current = current_plan(m);
    if (!strcmp(mode_of(m), "off"))
        api_error(call, 409, "balancing-off", NULL, "balancing is off: `drover balance mode advise`");
    else if (current && current != plan && !strcmp(object_spec_text(current, "phase"), "active"))
        api_error(call, 409, "plan-active", NULL, "plan %s is being carried out: wait until it has ended",
                  current->name);
    else
        return true;
    return false;
}

static void show_part(struct api_call *call, const struct object *plan)
{
    json_t *value = part_of(call, plan), *view = objects_view(plan);
    json_object_set(view, "spec", json_object_get(value, "spec"));
    json_decref(value);
    api_reply(call, 200, view);
}

static void apply(void *context, struct api_call *call)
{
    struct balance_routes *r = context;
    const struct mirror *m = cluster_mirror(r->cluster);
    const struct object *plan = objects_wanted(call, m);
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

/* ---- nodes to sleep ---- */

static void put_plan(struct waiting *w, json_t *record)
{
    char at[TIMESTAMP_BYTES];
    json_object_set_new(record, "apply", json_pack("{s:s, s:s}", "by", w->call->who.name, "at", timestamp(at)));
    if (w->call->dry_run) {
        json_object_set_new(record, "revision", json_integer(0));
        api_reply(w->call, 200, record);
        forget(w);
        return;
    }
    struct change *change = change_new(w->routes->cluster);
    if (!change) {
        json_decref(record);
        api_error(w->call, 500, "out-of-memory", NULL, "out of memory");
        forget(w);
        return;
    }
    snprintf(w->plan, sizeof w->plan, "%s", member_text(record, "id"));
    change_put(change, OBJECT_PLAN, w->plan, record, 0);
    change_commit(change, applied, w);
}

static void advised(void *context, const json_t *answer, const struct err *err)
{
    struct waiting *w = context;
    const char *wrong = member_text(answer, "error");
    json_t *record = json_object_get(answer, "record");
    if (record) {
        put_plan(w, json_deep_copy(record));
        return;
    }
    if (!answer)
        api_error_err(w->call, "no-answer", err);
    else if (*wrong)
        api_error(w->call, 422, "no-answer", NULL, "%s", wrong);
    else
        api_error(w->call, 409, "none-can-sleep", NULL, "%s: `drover balance consolidate` says why",
                  member_text(answer, "summary"));
    forget(w);
}

static void consolidate(void *context, struct api_call *call)
{
    struct balance_routes *r = context;
    char id[UUID_TEXT_BYTES], at[TIMESTAMP_BYTES];
    struct err err = {0};
    if (!may_apply(call, cluster_mirror(r->cluster), NULL))
        return;
    struct waiting *w = wait_for(r, call);
    if (!w)
        return;
    json_t *question = question_of(r, "consolidate");
    uuid_make(id);
    json_object_set_new(question, "record",
                        json_pack("{s:s, s:s, s:s}", "id", id, "by", call->who.name, "made", timestamp(at)));
    if (!balance_ask(r->place, question, advised, w, &err))
        return;
    api_error_err(call, "no-answer", &err);
    forget(w);
}

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
    {HTTP_POST, "/v1/balance/plan", ROLE_VIEWER, ROUTE_NO_AUDIT, "balance_plan", "balance",
     "What would be planned now, under another policy if one is named; nothing of it is kept or carried out.",
     &what_if_question, &what_if_answer, NULL, NULL, what_if},
    {HTTP_GET, "/v1/balance/consolidation", ROLE_VIEWER, 0, "balance_consolidation", "balance",
     "Which nodes could be emptied and switched off now, and which sleeping ones must be woken; it switches nothing.",
     NULL, &consolidation_answer, NULL, NULL, consolidation},
    {HTTP_GET, "/v1/cluster/export", ROLE_VIEWER, 0, "cluster_export", "cluster",
     "The cluster in the format that drover-balancer reads.", NULL, &export_answer, NULL, NULL, export_cluster},
    {HTTP_POST, "/v1/balance/consolidation", ROLE_OPERATOR, ROUTE_DRY_RUN, "balance_consolidate", "balance",
     "The nodes that can sleep are to be emptied, and drained as they become empty: a plan that is carried out.", NULL,
     NULL, NULL, NULL, consolidate},
    {HTTP_POST, "/v1/plans/{name}/apply", ROLE_OPERATOR, ROUTE_DRY_RUN, "plan_apply", "plan",
     "A proposal is to be carried out: the balancer begins it if it still fits the cluster.", NULL, NULL, NULL,
     apply_query, apply},
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
    routes[ROUTE_COUNT - 1].response = routes[ROUTE_COUNT - 2].response = kind_of(OBJECT_PLAN)->answer;
    if (api_add_routes(api, routes, ROUTE_COUNT, r, err)) {
        free(r);
        return NULL;
    }
    return r;
}

void balance_routes_free(struct balance_routes *r)
{
    free(r);
}
