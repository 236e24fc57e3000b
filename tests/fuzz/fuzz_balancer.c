/* What the balancer reads: Ganeti's text, what its guests use, Drover's JSON, policies, traces, last plans, and the
 * objects of a cluster's store with what is in their place when they cannot be read. The first byte says which.
 *
 * A cluster that is accepted is planned for, with a small budget: every step of the plan obeys the rules, and a cluster
 * that is written is read again with everybody in the same place. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/cluster_json.h"
#include "balancer/conductor.h"
#include "balancer/consolidate_file.h"
#include "balancer/ganeti_text.h"
#include "balancer/plan.h"
#include "balancer/plan_last.h"
#include "balancer/plan_record.h"
#include "balancer/policy.h"
#include "balancer/trace.h"
#include "balancer/waves.h"
#include "node/base/err.h"

enum { NODES_PLANNED = 24, GUESTS_PLANNED = 64, EVALUATIONS = 3000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
    if (!good)
        abort();
}

static void try_plan_after(const struct model *model, const struct policy *policy, const struct plan_last *last)
{
    struct plan_options options = {.seed = 1, .budget.evaluations = EVALUATIONS, .last = last};
    struct plan plan;
    struct err err;
    if (model->node_count > NODES_PLANNED || model->guest_count > GUESTS_PLANNED ||
        plan_make(model, policy, &options, &plan, &err) < 0)
        return;
    must(waves_check(model, policy, &plan) <= 0);
    must(plan.after <= plan.before + 1e-6 * (1 + fabs(plan.before)) || plan.count == 0);
    plan_fini(&plan);
}

/* Once from where guests are, once from a last plan that has them anywhere. */
static void try_plan(const struct model *model, struct policy policy)
{
    struct plan_last last;
    must(plan_last_take(&last, NULL, model) == 0);
    try_plan_after(model, &policy, NULL);
    for (int g = 0; g < model->guest_count && model->node_count > 1; g++) {
        last.at[g] = g * 7 % model->node_count;
        last.mirror[g] = model->mirror[g] < 0 ? -1 : (last.at[g] + 1 + g % (model->node_count - 1)) % model->node_count;
        last.count++;
    }
    try_plan_after(model, &policy, &last);
    plan_last_fini(&last);
}

static void last_plan(const char *text, size_t len)
{
    static const char three[] = "{\"nodes\":[{\"name\":\"n0\",\"cpus\":8,\"memory\":\"8G\",\"age\":1},"
                                "{\"name\":\"n1\",\"cpus\":8,\"memory\":\"8G\",\"age\":1},"
                                "{\"name\":\"n2\",\"cpus\":8,\"memory\":\"8G\",\"age\":1}],"
                                "\"guests\":[{\"name\":\"g0\",\"node\":\"n0\",\"memory\":\"6G\",\"age\":1},"
                                "{\"name\":\"g1\",\"node\":\"n1\",\"memory\":\"4G\",\"age\":1},"
                                "{\"name\":\"g2\",\"node\":\"n1\",\"memory\":\"4G\",\"age\":1}]}";
    struct policy policy = policy_default();
    struct cluster_json cluster;
    struct plan_last last;
    struct err err = {0};
    must(cluster_json_read(&cluster, "f", three, strlen(three), &policy, &err) == 0);
    if (plan_last_read(&last, "f", text, len, cluster.model, &err) < 0)
        must(err.text[0] != 0);
    else
        try_plan_after(cluster.model, &policy, &last);
    plan_last_fini(&last);
    model_free(cluster.model);
}

static void try_to_sleep(const struct model *model, const struct policy *policy)
{
    const struct consolidate_options options = {.seed = 1};
    struct consolidation c;
    struct err err;
    if (model->node_count > NODES_PLANNED || model->guest_count > GUESTS_PLANNED ||
        consolidate(model, policy, &options, &c, &err) < 0)
        return;
    must(waves_check(model, policy, &c.plan) <= 0);
    must(c.wakes == 0 || c.sleeps == 0);
    json_t *said = consolidate_json(&c, policy, true);
    must(said != NULL);
    json_decref(said);
    consolidate_fini(&c);
}

static void ganeti(const char *text, size_t len)
{
    struct ganeti_text file, again;
    struct err err = {0};
    if (ganeti_text_read(&file, "f", text, len, NULL, &err) < 0) {
        must(err.text[0] != 0);
        return;
    }
    size_t written_len;
    char *written = ganeti_text_write(&file, file.model, &written_len);
    must(written && ganeti_text_read(&again, "f", written, written_len, NULL, &err) == 0);
    must(again.model->guest_count == file.model->guest_count);
    for (int g = 0; g < file.model->guest_count; g++)
        must(again.model->at[g] == file.model->at[g] && again.model->mirror[g] == file.model->mirror[g]);
    try_plan(file.model, policy_ganeti());
    ganeti_text_fini(&file);
    ganeti_text_fini(&again);
    free(written);
}

/* The same guests in the same places. */
static void must_be_same(const struct model *a, const struct model *b)
{
    must(a->guest_count == b->guest_count && a->node_count == b->node_count);
    for (int g = 0; g < a->guest_count; g++)
        must(a->at[g] == b->at[g] && !strcmp(model_guest_name(a, g), model_guest_name(b, g)));
}

/* Who is left out is said, and left out again when the cluster was written; a strict reader refuses then, and sees the
 * same cluster otherwise. */
static void json(const char *text, size_t len)
{
    struct cluster_json cluster, strict, again;
    struct policy policy = policy_default();
    struct err err = {0};
    int refused = cluster_json_read_strict(&strict, "f", text, len, &policy, &err);
    must(refused == 0 || err.text[0] != 0);
    if (cluster_json_read(&cluster, "f", text, len, &policy, &err) < 0) {
        must(err.text[0] != 0 && refused < 0);
        return;
    }
    if (refused == 0)
        must_be_same(cluster.model, strict.model);
    else
        must(cluster.warnings[0] != 0);
    try_plan(cluster.model, policy);
    try_to_sleep(cluster.model, &policy);
    char *written = cluster_json_write(text, len, cluster.model);
    if (written && cluster_json_read(&again, "f", written, strlen(written), &policy, &err) == 0) {
        must_be_same(cluster.model, again.model);
        model_free(again.model);
    }
    free(written);
    model_free(strict.model);
    model_free(cluster.model);
}

/* Loads of guests in a cluster of three; what is refused names a line, and what is taken can be planned with. */
static void use(const char *text, size_t len)
{
    static const char three[] = "g|p|preferred|\n\n"
                                "n0|8192|512|7000|102400|90000|8|N|p|1\nn1|8192|512|7000|102400|90000|8|N|p|1\n"
                                "n2|8192|512|7000|102400|90000|8|N|p|1\n\n"
                                "i0|512|1024|1|running|Y|n0|n1|drbd||1\ni1|512|1024|1|running|Y|n0|n2|drbd||1\n"
                                "i2|512|1024|1|running|Y|n1|n0|drbd||1\n\n\n";
    struct ganeti_text file;
    struct err err = {0};
    must(ganeti_text_read(&file, "f", three, strlen(three), NULL, &err) == 0);
    if (ganeti_text_read_use(file.model, "u", text, len, &err) < 0)
        must(!strncmp(err.text, "u:", 2));
    else
        try_plan(file.model, policy_ganeti());
    ganeti_text_fini(&file);
}

static bool over(void *data)
{
    int *looks = data;
    return ++*looks > 50;
}

/* Whatever is in the store, what is written is well formed, and names nothing but the balancer's own. */
static void objects(const char *text, size_t len)
{
    int looks = 0;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    struct conductor conductor = {.node = "n1", .stop = over, .stop_data = &looks};
    struct snapshot_time now = {.clock_s = 1000, .wall_s = 1800000000};
    if (!json_is_object(root) || json_object_size(json_object_get(root, "guest")) > GUESTS_PLANNED) {
        json_decref(root);
        return;
    }
    for (int i = 0; i < 6; i++) { /* the fifth is in the next hour */
        struct conductor_step step;
        conductor_look(&conductor, root, &now, "2026-11-26T12:00:00.000Z", &step);
        for (int k = 0; k < step.count; k++) {
            bool plan = !strncmp(step.puts[k].key, "/drover/plan/", 13);
            bool hours = !strncmp(step.puts[k].key, "/drover/state/hours/", 20) && strlen(step.puts[k].key) <= 22;
            must(plan || hours || !strcmp(step.puts[k].key, "/drover/state/balancer/status"));
            must(step.puts[k].stays == hours);
            must(!step.puts[k].value || json_is_object(step.puts[k].value));
            must(!step.puts[k].value || !plan || plan_record_waves(step.puts[k].value) <= PLAN_RECORD_MOVES_MAX ||
                 step.puts[k].expected);
        }
        conductor_step_fini(&step);
        now.clock_s += 300;
        now.wall_s += i < 3 ? 300 : 3600;
    }
    conductor_fini(&conductor);
    json_decref(root);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    const char *text = (const char *)data + 1;
    struct err err = {0};
    struct policy policy = policy_default();
    struct trace trace;
    switch (data[0] % 7) {
    case 0:
        ganeti(text, size - 1);
        break;
    case 1:
        json(text, size - 1);
        break;
    case 2:
        must(policy_read(&policy, "f", text, size - 1, &err) == 0 || err.text[0]);
        must(policy.parallel > 0 && policy.per_node > 0 && policy.stable_s > 0 && policy.leave <= policy.enter);
        break;
    case 3:
        for (int unit = TRACE_PERCENT; unit <= TRACE_BYTES; unit++) {
            err.text[0] = 0;
            if (trace_read(&trace, (enum trace_unit)unit, "f", text, size - 1, &err) == 0)
                trace_fini(&trace);
            else
                must(err.text[0] != 0);
        }
        break;
    case 5:
        last_plan(text, size - 1);
        break;
    case 6:
        use(text, size - 1);
        break;
    default:
        objects(text, size - 1);
    }
    return 0;
}
