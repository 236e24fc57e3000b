#include "node/agent/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/api.h"
#include "node/agent/balance_moves.h"
#include "node/agent/boot_image.h"
#include "node/agent/certificate.h"
#include "node/agent/cgroup.h"
#include "node/agent/cluster.h"
#include "node/agent/drill_metrics.h"
#include "node/agent/failover_view.h"
#include "node/agent/failovers.h"
#include "node/agent/failsafe.h"
#include "node/agent/guest_unit.h"
#include "node/agent/restart.h"
#include "node/agent/restart.h"
#include "node/agent/give_aways.h"
#include "node/agent/guests.h"
#include "node/agent/http_server.h"
#include "node/agent/migration_metrics.h"
#include "node/agent/presence.h"
#include "node/agent/member.h"
#include "node/agent/power_watch.h"
#include "node/agent/volume_member.h"
#include "node/base/clock.h"
#include "node/base/err.h"

struct metrics {
    struct cluster *cluster;
    const struct cgroups *cgroups;
    const char *version, *tls;
    struct guests *guests;
    struct http_server *http;
    const struct presence *presence;
    const struct failovers *failovers;
    const struct power_watch *power;
    const struct give_aways *give_aways;
    const struct failsafe *failsafe;
    const struct balance_moves *balance_moves;
};

/* ---- the text ---- */

static void family(FILE *f, const char *name, const char *type, const char *help)
{
    fprintf(f, "# HELP drover_%s %s\n# TYPE drover_%s %s\n", name, help, name, type);
}

/* Names are of a schema that needs no escaping (schema.h, SCHEMA_NAME). */
static const char *name_of(const struct metrics *m, const struct guest_unit *unit)
{
    const struct object *o = mirror_find(cluster_mirror(m->cluster), OBJECT_GUEST, guest_unit_id(unit));
    return o && *o->name ? o->name : guest_unit_id(unit);
}

/* ---- guests ---- */

struct guest_gauge {
    const char *name, *type, *help;
    double (*value)(const struct guest_unit *unit, const struct cgroup_usage *usage);
};

static double is_running(const struct guest_unit *unit, const struct cgroup_usage *usage)
{
    (void)usage;
    return guest_unit_phase(unit) == GUEST_PHASE_RUNNING;
}

static double restarts(const struct guest_unit *unit, const struct cgroup_usage *usage)
{
    (void)usage;
    return guest_unit_restarts(unit)->count;
}

static double stays_down(const struct guest_unit *unit, const struct cgroup_usage *usage)
{
    (void)usage;
    return guest_unit_restarts(unit)->down;
}

static double cpu_seconds(const struct guest_unit *unit, const struct cgroup_usage *usage)
{
    (void)unit;
    return (double)usage->cpu_us / 1e6;
}

static double memory_bytes(const struct guest_unit *unit, const struct cgroup_usage *usage)
{
    (void)unit;
    return (double)usage->memory_bytes;
}

static double share(int hundredths_of_a_percent)
{
    return hundredths_of_a_percent < 0 ? 0 : hundredths_of_a_percent / 1e4;
}

static double cpu_pressure(const struct guest_unit *unit, const struct cgroup_usage *usage)
{
    (void)unit;
    return share(usage->cpu.some);
}

static double memory_pressure(const struct guest_unit *unit, const struct cgroup_usage *usage)
{
    (void)unit;
    return share(usage->memory.some);
}

static double io_pressure(const struct guest_unit *unit, const struct cgroup_usage *usage)
{
    (void)unit;
    return share(usage->io.some);
}

static const struct guest_gauge guest_gauges[] = {
    {"guest_running", "gauge", "1 while the guest runs on this node.", is_running},
    {"guest_restarts_total", "counter", "Times its process ended by itself and was started again.", restarts},
    {"guest_stays_down", "gauge", "1 while it is not started again: it crashed, panicked or hung, by its policy.",
     stays_down},
    {"guest_cpu_seconds_total", "counter", "Processor time of the guest's process.", cpu_seconds},
    {"guest_memory_bytes", "gauge", "Memory of the guest's control group.", memory_bytes},
    {"guest_cpu_pressure_ratio", "gauge", "Share of the last 10 seconds in which it waited for a processor (PSI some).",
     cpu_pressure},
    {"guest_memory_pressure_ratio", "gauge", "The same for memory.", memory_pressure},
    {"guest_io_pressure_ratio", "gauge", "The same for disks.", io_pressure},
};

struct guest_reading {
    const struct guest_unit *unit;
    struct cgroup_usage usage; /* of one that does not run: nothing */
};

/* A family stands together in the text, so what the control groups say is read before, once for each guest. NULL: there
 * are none, or memory is out. */
static struct guest_reading *read_guests(const struct metrics *m, size_t *count)
{
    struct guest_unit *u;
    size_t n = 0;
    *count = 0;
    for (u = m->guests ? guests_next(m->guests, NULL) : NULL; u; u = guests_next(m->guests, u))
        n++;
    struct guest_reading *readings = calloc(n ? n : 1, sizeof *readings);
    for (u = n && readings ? guests_next(m->guests, NULL) : NULL; u; u = guests_next(m->guests, u)) {
        struct guest_reading *r = &readings[(*count)++];
        r->unit = u;
        cgroup_usage(m->cgroups, guest_unit_id(u), &r->usage, NULL);
    }
    return readings;
}

static void put_guests(const struct metrics *m, FILE *f)
{
    size_t count;
    struct guest_reading *readings = read_guests(m, &count);
    for (unsigned g = 0; g < sizeof guest_gauges / sizeof *guest_gauges; g++) {
        family(f, guest_gauges[g].name, guest_gauges[g].type, guest_gauges[g].help);
        for (size_t i = 0; i < count; i++)
            fprintf(f, "drover_%s{guest=\"%s\"} %.17g\n", guest_gauges[g].name, name_of(m, readings[i].unit),
                    guest_gauges[g].value(readings[i].unit, &readings[i].usage));
    }
    free(readings);
}

/* ---- what guests use, as JSON ---- */

static const struct schema_field usage_fields[] = {
    {.name = "guest", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED, .description = "its name"},
    {.name = "node", .type = SCHEMA_NAME, .flags = SCHEMA_REQUIRED, .description = "this node"},
    {.name = "phase", .type = SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .description = "of the guest"},
    {.name = "cpu_us",
     .type = SCHEMA_INT,
     .flags = SCHEMA_REQUIRED,
     .description = "processor time of its process so far"},
    {.name = "memory_bytes", .type = SCHEMA_INT, .flags = SCHEMA_REQUIRED, .description = "of its control group"},
    {.name = "cpu_pressure",
     .type = SCHEMA_ANY,
     .flags = SCHEMA_REQUIRED,
     .description = "0 to 1: share of the last 10 s in which it waited"},
    {.name = "memory_pressure", .type = SCHEMA_ANY, .flags = SCHEMA_REQUIRED, .description = "the same for memory"},
    {.name = "io_pressure", .type = SCHEMA_ANY, .flags = SCHEMA_REQUIRED, .description = "the same for disks"},
    {.name = NULL},
};
static const struct schema usage_answer = {"Usage", "What a guest uses now.", usage_fields};

static void usage(void *context, struct api_call *call)
{
    const struct metrics *m = context;
    size_t count;
    struct guest_reading *readings = read_guests(m, &count);
    json_t *items = json_array();
    for (size_t i = 0; i < count; i++) {
        const struct guest_reading *r = &readings[i];
        json_array_append_new(
            items, json_pack("{s:s, s:s, s:s, s:I, s:I, s:f, s:f, s:f}", "guest", name_of(m, r->unit), "node",
                             cluster_node(m->cluster), "phase", guest_phase_name(guest_unit_phase(r->unit)), "cpu_us",
                             (json_int_t)r->usage.cpu_us, "memory_bytes", (json_int_t)r->usage.memory_bytes,
                             "cpu_pressure", share(r->usage.cpu.some), "memory_pressure", share(r->usage.memory.some),
                             "io_pressure", share(r->usage.io.some)));
    }
    free(readings);
    api_reply_page(call, items, NULL);
}

/* ---- the node ---- */

/* Where the kernel does not say, nothing is told. */
static void put_pressure(FILE *f)
{
    static const char *const resources[] = {"cpu", "memory", "io"};
    family(f, "node_pressure_ratio", "gauge",
           "Share of the last 10 seconds in which some, or all, tasks waited (PSI).");
    for (unsigned i = 0; i < sizeof resources / sizeof *resources; i++) {
        struct cgroup_pressure pressure = cgroup_node_pressure(resources[i]);
        if (pressure.some >= 0)
            fprintf(f, "drover_node_pressure_ratio{resource=\"%s\",tasks=\"some\"} %g\n", resources[i],
                    share(pressure.some));
        if (pressure.full >= 0)
            fprintf(f, "drover_node_pressure_ratio{resource=\"%s\",tasks=\"all\"} %g\n", resources[i],
                    share(pressure.full));
    }
}

/* Both run out some day: when, is for whoever watches to warn of. */
static void put_certificates(const struct metrics *m, FILE *f)
{
    static const char *const names[] = {"ca-cert", "server-cert"};
    family(f, "certificate_not_after_timestamp_seconds", "gauge", "When the cluster's, or this node's, runs out.");
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        char path[PATH_MAX], *pem = NULL;
        struct certificate_info info;
        struct err err;
        snprintf(path, sizeof path, "%s/%s.pem", m->tls, names[i]);
        if (!certificate_load(path, false, &pem, &err) && !certificate_inspect(pem, &info, &err))
            fprintf(f, "drover_certificate_not_after_timestamp_seconds{of=\"%s\"} %lld\n",
                    info.is_ca ? "cluster" : "node", (long long)info.not_after_s);
        certificate_pem_free(pem);
    }
}

static unsigned lacking_images(const struct mirror *mirror, const char *name)
{
    const struct object *node = mirror_named(mirror, OBJECT_NODE, name), *i = mirror_next(mirror, OBJECT_IMAGE, NULL);
    unsigned lacking = 0;
    for (; node && i; i = mirror_next(mirror, OBJECT_IMAGE, i->name))
        lacking += boot_image_is_wanted(mirror, i, node) && !boot_image_is_held(mirror, i, node);
    return lacking;
}

static void put_node(const struct metrics *m, FILE *f)
{
    const struct mirror *mirror = cluster_mirror(m->cluster);
    family(f, "build_info", "gauge", "1; the version stands in the label.");
    fprintf(f, "drover_build_info{version=\"%s\",node=\"%s\"} 1\n", m->version, cluster_node(m->cluster));
    family(f, "store_reachable", "gauge", "1 while the cluster's store is followed.");
    fprintf(f, "drover_store_reachable %d\n", cluster_is_current(m->cluster) && !*cluster_trouble(m->cluster));
    family(f, "objects", "gauge", "Objects of the cluster, by kind.");
    for (int kind = 0; kind < OBJECT_KIND_COUNT; kind++)
        fprintf(f, "drover_objects{kind=\"%s\"} %zu\n", object_kind_name((enum object_kind)kind),
                mirror_count(mirror, (enum object_kind)kind));
    family(f, "boot_images_lacking", "gauge", "Images of guests that may run here, and this node has no copy of them.");
    fprintf(f, "drover_boot_images_lacking %u\n", lacking_images(mirror, cluster_node(m->cluster)));
    if (!m->http)
        return;
    struct http_counts c = http_server_counts(m->http);
    family(f, "http_connections", "gauge", "Connections to the API now.");
    fprintf(f, "drover_http_connections %u\n", c.connections);
    family(f, "http_requests_total", "counter", "Whole requests.");
    fprintf(f, "drover_http_requests_total %" PRIu64 "\n", c.requests);
    family(f, "http_refused_total", "counter", "Connections refused by a limit.");
    fprintf(f, "drover_http_refused_total %" PRIu64 "\n", c.refused);
    family(f, "http_broken_total", "counter", "Requests that broke the protocol.");
    fprintf(f, "drover_http_broken_total %" PRIu64 "\n", c.broken);
}

/* Those that this node speaks for, so that no two nodes say the same. */
static const struct object *next_volume(const struct metrics *m, const struct object *after)
{
    const struct mirror *mirror = cluster_mirror(m->cluster);
    const struct object *o = mirror_next(mirror, OBJECT_VOLUME, after ? after->name : NULL);
    while (o && (!volume_has_layout(o) || strcmp(volume_home(mirror, o), cluster_node(m->cluster)) != 0))
        o = mirror_next(mirror, OBJECT_VOLUME, o->name);
    return o;
}

static void put_members(const struct object *volume, FILE *f)
{
    static const char *const conditions[] = {"in-sync", "resyncing", "missing", "outdated", "foreign", "down", "new"};
    const json_t *members = json_object_get(volume->state, "members");
    for (size_t c = 0; c < sizeof conditions / sizeof *conditions; c++) {
        unsigned count = 0;
        for (size_t i = 0; i < json_array_size(members); i++)
            count += !strcmp(member_text(json_array_get(members, i), "condition"), conditions[c]);
        fprintf(f, "drover_volume_members{volume=\"%s\",state=\"%s\"} %u\n", volume->name, conditions[c], count);
    }
}

static void put_numbers(const struct metrics *m, FILE *f, const char *name, const char *key)
{
    for (const struct object *o = next_volume(m, NULL); o; o = next_volume(m, o)) {
        const json_t *members = json_object_get(o->state, "members");
        for (size_t i = 0; i < json_array_size(members); i++) {
            const json_t *line = json_array_get(members, i);
            fprintf(f, "drover_volume_%s{volume=\"%s\",member=\"%zu\",node=\"%s\"} %lld\n", name, o->name, i,
                    member_text(line, "node"), (long long)json_integer_value(json_object_get(line, key)));
        }
    }
}

static void put_volumes(const struct metrics *m, FILE *f)
{
    family(f, "volume_members", "gauge", "Members of volumes with a layout, by how they are.");
    for (const struct object *o = next_volume(m, NULL); o; o = next_volume(m, o))
        put_members(o, f);
    family(f, "volume_missed_bytes", "gauge", "What a member still lacks.");
    put_numbers(m, f, "missed_bytes", "missed_bytes");
    family(f, "volume_resynced_bytes_total", "counter", "Copied to a member since the volume's guest was started.");
    put_numbers(m, f, "resynced_bytes_total", "resynced_bytes");
    family(f, "volume_repaired_blocks_total", "counter", "Blocks of a member that were wrong and were written anew.");
    put_numbers(m, f, "repaired_blocks_total", "repaired");
}

static void put_power(const struct metrics *m, FILE *f)
{
    json_t *list = power_watch_status(m->power), *line;
    size_t i;
    if (json_array_size(list))
        family(f, "power_known", "gauge", "1 while it can be learnt whether that node has power; asked by this node.");
    json_array_foreach (list, i, line)
        fprintf(f, "drover_power_known{of=\"%s\"} %d\n", member_text(line, "node"), !*member_text(line, "error"));
    json_decref(list);
}

static void put_failover(const struct metrics *m, FILE *f)
{
    if (!m->failovers)
        return;
    put_power(m, f);
    family(f, "failovers_total", "counter", "Guests that this node has taken over since its agent began.");
    fprintf(f, "drover_failovers_total %" PRIu64 "\n", failovers_done(m->failovers));
    family(f, "give_aways_total", "counter",
           "Guests that this node could not run and gave away since its agent began.");
    fprintf(f, "drover_give_aways_total %" PRIu64 "\n", give_aways_done(m->give_aways));
    family(f, "guests_stuck", "gauge", "Protected guests of this node that it cannot run.");
    fprintf(f, "drover_guests_stuck %u\n", give_aways_stuck(m->give_aways));
    family(f, "failover_armed", "gauge", "1 while guests of lost nodes are taken over.");
    fprintf(f, "drover_failover_armed %d\n", failover_is_armed(cluster_mirror(m->cluster)));
    family(f, "guests_frozen", "gauge", "Guests of this node that stand, because their lease was not renewed.");
    fprintf(f, "drover_guests_frozen %u\n", m->guests ? guests_frozen(m->guests) : 0);
    family(f, "lease_age_seconds", "gauge", "Since the newest renewal of this node's lease that was answered.");
    fprintf(f, "drover_lease_age_seconds %.3f\n", (double)presence_lease_age_ms(m->presence) / 1e3);
    family(f, "runs_by_pledges", "gauge", "1 while the store is away and the other nodes pledge to take nothing over.");
    fprintf(f, "drover_runs_by_pledges %d\n", m->failsafe && failsafe_is_on(m->failsafe));
}

/* What the elected balancer sees is said by its own node, so that no two say the same. */
static void put_balance(const struct metrics *m, FILE *f)
{
    static const char *const gauges[][3] = {
        {"balance_score", "score", "The cluster's score as the balancer counts it; lower is better."},
        {"balance_spread", "spread", "Spread of the loads over the nodes."},
        {"balance_nodes_to_lose", "nodes_to_lose", "Nodes that may be lost at once, up to two."},
        {"balance_moves_last_hour", "moves_last_hour", "Moves that plans have begun in the last hour."},
    };
    const struct object *leader = mirror_find(cluster_mirror(m->cluster), OBJECT_BALANCER, "leader");
    const struct object *status = mirror_find(cluster_mirror(m->cluster), OBJECT_BALANCER, "status");
    bool elected = leader && !strcmp(member_text(leader->state, "node"), cluster_node(m->cluster));
    family(f, "balancer_elected", "gauge", "1 if this node's balancer is the one that acts.");
    fprintf(f, "drover_balancer_elected %d\n", elected);
    family(f, "balance_moves_total", "counter", "Moves of plans that this node has begun since its agent began.");
    fprintf(f, "drover_balance_moves_total %" PRIu64 "\n",
            m->balance_moves ? balance_moves_begun(m->balance_moves) : UINT64_C(0));
    for (unsigned i = 0; elected && status && i < sizeof gauges / sizeof *gauges; i++) {
        family(f, gauges[i][0], "gauge", gauges[i][2]);
        fprintf(f, "drover_%s %g\n", gauges[i][0], json_number_value(json_object_get(status->state, gauges[i][1])));
    }
}

static void show(void *context, struct api_call *call)
{
    const struct metrics *m = context;
    char *text = NULL;
    size_t bytes = 0;
    FILE *f = open_memstream(&text, &bytes);
    if (!f) {
        api_error(call, 500, "out-of-memory", NULL, "out of memory");
        return;
    }
    put_node(m, f);
    put_pressure(f);
    put_certificates(m, f);
    put_guests(m, f);
    put_volumes(m, f);
    put_failover(m, f);
    migration_metrics_put(f, cluster_mirror(m->cluster), cluster_node(m->cluster));
    drill_metrics_put(f, cluster_mirror(m->cluster), cluster_node(m->cluster), clock_wall_ms());
    put_balance(m, f);
    fclose(f);
    api_reply_text(call, "text/plain; version=0.0.4", text, bytes);
    free(text);
}

static const struct route routes[] = {
    {HTTP_GET, "/metrics", ROLE_VIEWER, 0, "metrics", "node", "Counters of this node, for Prometheus.", NULL, NULL,
     "text/plain", NULL, show},
    {HTTP_GET, "/v1/usage", ROLE_VIEWER, ROUTE_PAGED, "usage", "guest", "What the guests of this node use; one page.",
     NULL, &usage_answer, NULL, NULL, usage},
};

struct metrics *metrics_new(struct cluster *cluster, const struct cgroups *cgroups, const char *version,
                            const char *tls, struct api *api, struct err *err)
{
    struct metrics *m = calloc(1, sizeof *m);
    if (!m) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    m->cluster = cluster;
    m->cgroups = cgroups;
    m->version = version;
    m->tls = tls;
    if (api_add_routes(api, routes, sizeof routes / sizeof *routes, m, err)) {
        free(m);
        return NULL;
    }
    return m;
}

void metrics_attach(struct metrics *m, struct guests *guests, struct http_server *http)
{
    m->guests = guests;
    m->http = http;
}

void metrics_attach_failover(struct metrics *m, const struct presence *presence, const struct failovers *failovers,
                             const struct give_aways *give_aways, const struct failsafe *failsafe,
                             const struct power_watch *power)
{
    m->presence = presence;
    m->failovers = failovers;
    m->give_aways = give_aways;
    m->failsafe = failsafe;
    m->power = power;
}

void metrics_attach_balance(struct metrics *m, const struct balance_moves *moves)
{
    m->balance_moves = moves;
}

void metrics_free(struct metrics *m)
{
    free(m);
}
