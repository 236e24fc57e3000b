/* How long the loop of drover-balancer stands for a look at a cluster of this size, and how long its other thread
 * plans. The worst of five; objects as the store has them, every guest with windows of thirty samples
 * and three days of hours.
 *
 * usage: balancer_look [NODES [GUESTS [MIGRATIONS [LOSE]]]], as many past ones as guests, limits.lose 0; prints
 * milliseconds of processor time as JSON */
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "balancer/cluster_json.h"
#include "balancer/conductor.h"
#include "balancer/conductor_job.h"
#include "balancer/follow.h"
#include "balancer/hours.h"
#include "balancer/model.h"
#include "node/base/err.h"

#define GUEST_ID "%02xg%u-id" /* of its number % TABLES, and its number */

enum { SAMPLES = 30, TABLES = 256, TEXT_MAX = 1 << 20, LOOKS = 5, WALL_S = 1795694400 };

static const char wall[] = "2026-11-26T12:00:00.000Z";
static uint64_t dice = 88172645463325252u;

static unsigned roll(unsigned below)
{
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return (unsigned)(dice % below);
}

static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

static void take(json_t *objects, const char *key, const char *text)
{
    static int64_t revision;
    if (!follow_take(objects, key, text, strlen(text), ++revision, 100))
        exit(1);
}

static size_t window(char *to, const char *name, unsigned most)
{
    size_t n = (size_t)sprintf(to, ",\"%s\":[", name);
    for (int i = 0; i < SAMPLES; i++)
        n += (size_t)sprintf(to + n, "%s%u", i ? "," : "", most / 2 + roll(most));
    return n + (size_t)sprintf(to + n, "]");
}

static void make_load(json_t *objects, unsigned node, unsigned nodes, unsigned guests)
{
    static char text[TEXT_MAX];
    char key[64];
    size_t n = (size_t)sprintf(text, "{\"node\":\"n%u\",\"unit\":4096,\"pressure\":{\"cpu\":0.01},\"guests\":{", node);
    for (unsigned g = node, first = 1; g < guests; g += nodes, first = 0) {
        n += (size_t)sprintf(text + n, "%s\"" GUEST_ID "\":{\"memory\":%u", first ? "" : ",", g % TABLES, g,
                             roll(1u << 30));
        n += window(text + n, "cpu", 20 + roll(90));
        n += window(text + n, "steal", 3);
        n += window(text + n, "network", 1 + roll(9000));
        n += (size_t)sprintf(text + n, "}");
    }
    sprintf(text + n, "}}");
    snprintf(key, sizeof key, "/drover/state/load/n%u-id", node);
    take(objects, key, text);
}

static void make_node(json_t *objects, unsigned node)
{
    char key[64], text[256];
    snprintf(key, sizeof key, "/drover/node/n%u-id", node);
    snprintf(text, sizeof text, "{\"kind\":\"node\",\"id\":\"n%u-id\",\"name\":\"n%u\",\"spec\":{\"drained\":false}}",
             node, node);
    take(objects, key, text);
    snprintf(key, sizeof key, "/drover/state/node/n%u-id", node);
    take(objects, key, "{\"alive\":true,\"cpus\":32,\"memory_bytes\":274877906944,\"cpu_models\":[\"host-A\"]}");
}

static void make_guest(json_t *objects, unsigned guest, unsigned node)
{
    char key[64], text[512];
    snprintf(key, sizeof key, "/drover/guest/" GUEST_ID, guest % TABLES, guest);
    snprintf(text, sizeof text,
             "{\"kind\":\"guest\",\"id\":\"" GUEST_ID "\",\"name\":\"g%u\",\"spec\":{\"node\":\"n%u\",\"running\":true,"
             "\"memory\":4294967296,\"vcpus\":2,\"cpu\":\"host\",\"anti_affinity\":[\"group%u\"]}}",
             guest % TABLES, guest, guest, node, guest % 3000);
    take(objects, key, text);
    snprintf(key, sizeof key, "/drover/state/guest/" GUEST_ID, guest % TABLES, guest);
    snprintf(text, sizeof text, "{\"phase\":\"running\",\"node\":\"n%u\"}", node);
    take(objects, key, text);
}

/* What guests used hour by hour, of those whose ids begin alike. */
static void make_hours(json_t *objects, unsigned table, unsigned guests)
{
    static char text[TEXT_MAX];
    char key[64];
    size_t n = (size_t)sprintf(text, "{");
    for (unsigned g = table; g < guests; g += TABLES) {
        n += (size_t)sprintf(text + n, "%s\"" GUEST_ID "\":\"%d:", g == table ? "" : ",", table, g, WALL_S / 3600 - 1);
        for (int i = 0; i < HOURS_KEPT; i++)
            n += (size_t)sprintf(text + n, "%04x", (i % 24 < 12 ? 20 : 90) + roll(10));
        n += (size_t)sprintf(text + n, "\"");
    }
    sprintf(text + n, "}");
    snprintf(key, sizeof key, "/drover/state/hours/%02x", table);
    take(objects, key, text);
}

/* One that has ended. */
static void make_migration(json_t *objects, unsigned number, unsigned guest)
{
    char key[64], text[512];
    snprintf(key, sizeof key, "/drover/migration/m%u-id", number);
    snprintf(text, sizeof text,
             "{\"kind\":\"migration\",\"id\":\"m%u-id\",\"name\":\"m%u\",\"spec\":{\"guest\":\"g%u\","
             "\"guest_id\":\"" GUEST_ID "\",\"from\":\"n0\",\"to\":\"n1\",\"began\":\"2026-11-20T12:00:00.000Z\"}}",
             number, number, guest, guest % TABLES, guest);
    take(objects, key, text);
    snprintf(key, sizeof key, "/drover/state/migration/m%u-id", number);
    take(objects, key,
         "{\"phase\":\"done\",\"ended\":\"2026-11-20T12:01:00.000Z\",\"done_bytes\":4000000000,\"total_ms\":8000,"
         "\"dirty_rate\":5000000}");
}

/* One sample later on every tenth node: what ten seconds bring, told in as many parts. */
static void make_news(json_t *objects, unsigned nodes, unsigned guests, unsigned part)
{
    for (unsigned n = part % 10; n < nodes; n += 10)
        make_load(objects, n, nodes, guests);
}

static void make_policy(json_t *objects, int lose)
{
    char text[256];
    snprintf(text, sizeof text,
             "{\"kind\":\"policy\",\"id\":\"balance\",\"name\":\"balance\",\"spec\":{\"mode\":\"advise\","
             "\"text\":\"{\\\"limits\\\":{\\\"lose\\\":%d}}\"}}",
             lose);
    take(objects, "/drover/policy/balance", text);
}

static void keep(void *data, struct conductor_job *job)
{
    *(struct conductor_job **)data = job;
}

int main(int argc, char **argv)
{
    unsigned nodes = argc > 1 ? (unsigned)atoi(argv[1]) : 1000, guests = argc > 2 ? (unsigned)atoi(argv[2]) : 10000;
    unsigned migrations = argc > 3 ? (unsigned)atoi(argv[3]) : guests;
    json_t *objects = json_object();
    struct snapshot_time now = {.clock_s = 100, .wall_s = WALL_S};
    struct conductor_job *job = NULL;
    struct conductor conductor = {.node = "n0", .stop_data = &job, .hand_over = keep};
    for (unsigned t = 0; t < TABLES && t < guests; t++)
        make_hours(objects, t, guests);
    for (unsigned n = 0; n < nodes; n++) {
        make_node(objects, n);
        make_load(objects, n, nodes, guests);
    }
    for (unsigned g = 0; g < guests; g++)
        make_guest(objects, g, g % nodes);
    for (unsigned i = 0; i < migrations; i++)
        make_migration(objects, i, i % guests);
    make_policy(objects, argc > 4 ? atoi(argv[4]) : 0);
    double look = 0, thread = 0, take_over = 0, model = 0;
    for (int i = 0; i < LOOKS; i++) {
        struct conductor_step step;
        double began = cpu_ms();
        conductor_look(&conductor, objects, &now, wall, &step); /* begins a plan */
        look = larger(look, cpu_ms() - began);
        conductor_step_fini(&step);
        if (!job)
            return 1;
        began = cpu_ms();
        conductor_job_run(job);
        thread = larger(thread, cpu_ms() - began);
        conductor_job_done(&conductor);
        began = cpu_ms();
        conductor_look(&conductor, objects, &now, wall, &step); /* takes it */
        take_over = larger(take_over, cpu_ms() - began);
        for (int k = 0; k < step.count; k++) {
            char *text = step.puts[k].value ? json_dumps(step.puts[k].value, 0) : NULL;
            follow_take(objects, step.puts[k].key, text, text ? strlen(text) : 0, 1000000 + i, 100);
            free(text);
        }
        conductor_step_fini(&step);
        now.clock_s += CONDUCTOR_PLAN_EVERY_S;
        make_news(objects, nodes, guests, (unsigned)i);
        struct cluster_json cluster;
        struct policy policy = policy_default();
        struct err err;
        began = cpu_ms();
        if (conductor_model(objects, &policy, &now, &cluster, &err))
            return 1;
        model = larger(model, cpu_ms() - began);
        model_free(cluster.model);
    }
    double check = 0, check_thread = 0;
    for (int i = 0; i < LOOKS; i++) { /* a plan is active, and no node has begun its moves yet */
        json_t *plan = json_object_iter_value(json_object_iter(json_object_get(objects, "plan")));
        struct conductor_step step;
        json_object_set_new(json_object_get(json_object_get(plan, "value"), "spec"), "phase", json_string("active"));
        json_object_set_new(json_object_get(plan, "value"), "apply", json_object());
        now.clock_s += CONDUCTOR_CHECK_EVERY_S;
        for (int part = 0; part < 3; part++) {
            double began = cpu_ms();
            conductor_look(&conductor, objects, &now, wall, &step); /* begins a check; waits for it; takes it */
            check = larger(check, cpu_ms() - began);
            conductor_step_fini(&step);
            if (part != 1)
                continue;
            began = cpu_ms();
            conductor_job_run(job);
            check_thread = larger(check_thread, cpu_ms() - began);
            conductor_job_done(&conductor);
        }
    }
    printf("{\"nodes\": %u, \"guests\": %u, \"look_ms\": %.1f, \"of_it_model_ms\": %.0f, \"take_over_ms\": %.1f, "
           "\"on_the_thread_ms\": %.0f, \"check_ms\": %.1f, \"check_on_the_thread_ms\": %.0f}\n",
           nodes, guests, look, model, take_over, thread, check, check_thread);
    conductor_fini(&conductor);
    json_decref(objects);
    return 0;
}
