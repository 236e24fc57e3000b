#include "balancer/snapshot.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "balancer/hours.h"
#include "balancer/snapshot_failover.h"
#include "balancer/snapshot_load.h"
#include "balancer/snapshot_modes.h"
#include "balancer/snapshot_rules.h"
#include "balancer/traffic.h"

enum { WHO_MAX = 80 };

const char *snapshot_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

bool snapshot_has(const json_t *list, const char *name)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (text && !strcmp(text, name))
            return true;
    }
    return false;
}

json_t *snapshot_spec(const json_t *entry, const char *key)
{
    return json_object_get(json_object_get(json_object_get(entry, "value"), "spec"), key);
}

static const char *spec_text(const json_t *entry, const char *key)
{
    const char *text = json_string_value(snapshot_spec(entry, key));
    return text ? text : "";
}

int64_t snapshot_seconds(const char *timestamp)
{
    struct tm tm = {0};
    const char *end = strptime(timestamp, "%Y-%m-%dT%H:%M:%S", &tm);
    return end && (*end == '.' || *end == 'Z') ? (int64_t)timegm(&tm) : -1;
}

enum { HOUR_S = 3600 };

static const double LEARN_BYTES = 64 << 20;

struct making {
    json_t *objects, *nodes_by_name; /* name to entry */
    json_t *ready;                   /* names of nodes that guests may leave: true */
    json_t *last_ended, *last_done;  /* guest's id to its migration's spec and state */
    json_t *left;                    /* guest's id to {node that a plan sent it away from: seconds since then} */
    json_t *arrived;                 /* by a node's name, how many plans have sent there within the hour */
    json_t *moving;                  /* likewise, migrations that are under way (traffic.h) */
    json_t *modes;                   /* of groups; lent, NULL: none */
    json_t *left_out;                /* as cluster_json.h reads it: who is not in the snapshot */
    const struct snapshot_time *now;
};

/* ---- what is unusable ---- */

/* By its name if it has one. node: where it is, NULL: nobody knows. */
static void leave_out(const struct making *m, const char *kind, const char *id, const json_t *entry, const char *why,
                      const char *node)
{
    const char *name = snapshot_text(json_object_get(entry, "value"), "name");
    json_t *one = json_object();
    json_object_set_new(one, "who", json_sprintf("%s %.*s", kind, WHO_MAX, *name ? name : id));
    json_object_set_new(one, "why", json_string(why));
    if (node)
        json_object_set_new(one, "node", json_string(node));
    json_array_append_new(m->left_out, one);
}

/* Not even an object, or none with a name? One that has nothing but a state is not there (any more). */
static bool is_usable(const struct making *m, const char *kind, const char *id, const json_t *entry, const char *node)
{
    const json_t *value = json_object_get(entry, "value");
    if (json_is_object(value) && *snapshot_text(value, "name"))
        return true;
    if (value || json_object_get(entry, "unreadable"))
        leave_out(m, kind, id, entry,
                  json_is_object(value) ? "it has no name" : "what the store has of it cannot be read", node);
    return false;
}

/* ---- nodes ---- */

static bool is_alive(const json_t *node)
{
    const json_t *state = json_object_get(node, "state");
    return json_is_true(json_object_get(state, "alive")) && snapshot_number(state, "cpus") > 0 &&
           snapshot_number(state, "memory_bytes") > 0;
}

static const char *condition(const json_t *node)
{
    return !is_alive(node) ? "offline" : json_is_true(snapshot_spec(node, "drained")) ? "draining" : "ready";
}

static void put_label(json_t *to, const json_t *node, const char *key)
{
    json_t *text = json_object_get(snapshot_spec(node, "labels"), key);
    if (json_string_length(text))
        json_object_set_new(to, key, json_copy(text));
}

static double age_of(const json_t *load, const struct snapshot_time *now)
{
    double age = now->clock_s - json_number_value(json_object_get(load, "seen"));
    return age > 0 ? age : 0;
}

/* "members" are those of volumes, and witnesses, by the node's name; without it they are not known. */
static json_t *make_node(const struct making *m, const json_t *node, const json_t *load)
{
    const json_t *members = json_object_get(m->objects, "members");
    const json_t *state = json_object_get(node, "state");
    double memory = snapshot_number(state, "memory_bytes");
    json_t *to = json_pack("{s:s, s:s}", "name", snapshot_text(json_object_get(node, "value"), "name"), "state",
                           condition(node));
    if (to && json_is_true(snapshot_spec(node, "drained")) && !is_alive(node))
        json_object_set_new(to, "drained", json_true());
    if (!to || !is_alive(node))
        return to;
    const char *sleep = json_string_value(json_object_get(snapshot_spec(node, "labels"), "sleep"));
    if (sleep && !strcmp(sleep, "never"))
        json_object_set_new(to, "stays_on", json_true());
    json_object_set_new(to, "cpus", json_real(snapshot_number(state, "cpus")));
    json_object_set_new(to, "memory", json_real(memory));
    json_object_set_new(to, "memory_own", json_real(floor(memory / SNAPSHOT_MEMORY_PARTS)));
    put_label(to, node, "rack");
    put_label(to, node, "site");
    snapshot_modes_node(to, m->modes, snapshot_spec(node, "labels"));
    json_t *models = json_object_get(state, "cpu_models");
    if (json_array_size(models))
        json_object_set_new(to, "cpu_models", json_deep_copy(models));
    snapshot_load_node(to, json_object_get(load, "state"), snapshot_spec(node, "labels"));
    double count = snapshot_number(members, snapshot_text(to, "name"));
    if (count > 0)
        json_object_set_new(to, "members", json_real(count));
    if (json_is_object(json_object_get(load, "state")))
        json_object_set_new(to, "age", json_real(age_of(load, m->now)));
    return to;
}

/* ---- guests ---- */

/* As its node measures it; or, until that has done so for long enough, as it was measured last, wherever that was. */
static void put_load(const struct making *m, json_t *to, const json_t *load, const char *id, double vcpus)
{
    const json_t *const records[] = {load, json_object_get(json_object_get(m->objects, "measured"), id)};
    for (unsigned i = 0; i < 2; i++) {
        json_t *record = json_object_get(records[i], "state");
        snapshot_load_digest(record); /* unless it is */
        if (snapshot_load_guest(to, record, id, vcpus)) {
            snapshot_load_storage(to, record, id, m->nodes_by_name);
            json_object_set_new(to, "age", json_real(age_of(records[i], m->now)));
            return;
        }
    }
}

/* What it used at this time of other days, where that says more than the last hours do. */
static void put_expected(const struct making *m, json_t *to, const char *id, double vcpus)
{
    double error, cpu = json_object_get(to, "load") ? hours_expect(m->objects, id, m->now->wall_s, &error) : -1;
    if (cpu >= 0)
        json_object_set_new(to, "expected",
                            json_pack("{s:f, s:f}", "cpu", fmin(cpu, vcpus), "error", fmin(error, vcpus)));
}

/* How long ago it ended, in seconds; infinite: it did not. */
static double ended_ago(const struct making *m, const json_t *migration)
{
    int64_t at = snapshot_seconds(snapshot_text(json_object_get(migration, "state"), "ended"));
    return at < 0 ? INFINITY : m->now->wall_s > at ? (double)(m->now->wall_s - at) : 0;
}

/* How fast it writes its memory, as was seen last: by a migration, or by its node that has looked. */
static void put_writes(const struct making *m, json_t *to, const char *id, const json_t *load)
{
    const json_t *const migrations[] = {json_object_get(m->last_ended, id), json_object_get(m->last_done, id)};
    double ago, rate = snapshot_load_writes(json_object_get(load, "state"), id, &ago), taught = 0;
    ago = rate < 0 ? INFINITY : ago + age_of(load, m->now);
    for (unsigned i = 0; i < 2 && taught <= 0; i++) {
        taught = snapshot_number(json_object_get(migrations[i], "state"), "dirty_rate");
        if (taught > 0 && ended_ago(m, migrations[i]) < ago)
            rate = taught;
    }
    if (rate >= 0)
        json_object_set_new(to, "dirty_rate", json_real(rate));
}

/* What moved, or failed to, a while ago: it rests. */
static void put_past(const struct making *m, json_t *to, const char *id)
{
    const json_t *ended = json_object_get(m->last_ended, id);
    json_t *left = json_object_get(m->left, id);
    if (!ended)
        return;
    json_object_set_new(to, "moved_ago", json_real(ended_ago(m, ended)));
    if (left)
        json_object_set(to, "left", left);
}

/* Its node is to be empty, and has said that no other takes it: a plan may make room. */
static bool is_stuck(const json_t *node, const char *name)
{
    return json_is_true(snapshot_spec(node, "drained")) &&
           json_object_get(json_object_get(json_object_get(node, "state"), "staying"), name);
}

/* Why it stays whatever a plan would gain; NULL: it may move. */
static const char *fixed_by(const struct making *m, const json_t *guest, const json_t *node)
{
    const json_t *value = json_object_get(guest, "value");
    bool leaves = !json_object_get(m->ready, snapshot_text(json_object_get(node, "value"), "name")) &&
                  !is_stuck(node, snapshot_text(value, "name"));
    bool runs = !strcmp(snapshot_text(json_object_get(guest, "state"), "phase"), "running");
    return json_is_true(json_object_get(value, "deleting")) ? "it is being deleted"
           : !json_is_true(snapshot_spec(guest, "running")) ? "it is stopped"
           : json_object_get(value, "migration")            ? "it is on its way"
           : !is_alive(node)                                ? "its node is away"
           : leaves                                         ? "its node drains"
           : !runs                                          ? "it does not run yet"
                                                            : NULL;
}

/* Where it is to be, or else where an agent says that it is; NULL: nobody knows. */
static const char *place_of(const struct making *m, const json_t *guest)
{
    const char *wanted = spec_text(guest, "node"), *seen = snapshot_text(json_object_get(guest, "state"), "node");
    return json_object_get(m->nodes_by_name, wanted) ? wanted : json_object_get(m->nodes_by_name, seen) ? seen : NULL;
}

/* NULL: it has no node that is known, or no memory, and is left out. */
static json_t *make_guest(const struct making *m, const char *id, json_t *guest)
{
    const json_t *value = json_object_get(guest, "value"), *spec = json_object_get(value, "spec");
    const char *node_name = snapshot_text(spec, "node");
    const json_t *node = json_object_get(m->nodes_by_name, node_name);
    double memory = snapshot_number(spec, "memory"), vcpus = snapshot_number(spec, "vcpus");
    if (!is_usable(m, "guest", id, guest, place_of(m, guest)))
        return NULL;
    if (!node || memory <= 0) {
        char why[WHO_MAX + 64];
        snprintf(why, sizeof why, node ? "it has no memory" : "there is no node '%.*s'", WHO_MAX, node_name);
        leave_out(m, "guest", id, guest, why, place_of(m, guest));
        return NULL;
    }
    bool runs = json_is_true(json_object_get(spec, "running"));
    const char *fixed = fixed_by(m, guest, node);
    json_t *to = json_object();
    json_object_set_new_nocheck(to, "name", json_string(snapshot_text(value, "name")));
    json_object_set_new_nocheck(to, "node", json_string(node_name));
    json_object_set_new_nocheck(to, "state", json_string(runs ? "running" : "stopped"));
    json_object_set_new_nocheck(to, "vcpus", json_real(vcpus));
    json_object_set_new_nocheck(to, "memory", json_real(memory));
    json_object_set_new_nocheck(to, "movable", json_boolean(!fixed));
    if (fixed)
        json_object_set_new_nocheck(to, "fixed", json_string(fixed));
    if (to)
        snapshot_rules_guest(to, spec, node, m->nodes_by_name, json_object_get(m->objects, "image"));
    if (to)
        snapshot_modes_guest(to, m->modes, spec);
    if (to && runs)
        snapshot_failover_guest(to, spec, json_object_get(json_object_get(m->objects, "volumes"), id));
    if (to && runs) {
        const char *node_id = snapshot_text(json_object_get(node, "value"), "id");
        const json_t *load = json_object_get(json_object_get(m->objects, "load"), node_id);
        put_load(m, to, load, id, vcpus);
        put_expected(m, to, id, vcpus);
        put_writes(m, to, id, load);
        put_past(m, to, id);
    }
    return to;
}

/* ---- past migrations ---- */

static void keep_later(json_t *map, const char *guest, json_t *migration)
{
    const char *ended = snapshot_text(json_object_get(migration, "state"), "ended");
    const json_t *known = json_object_get(map, guest);
    if (!known || strcmp(snapshot_text(json_object_get(known, "state"), "ended"), ended) < 0)
        json_object_set(map, guest, migration);
}

/* Who was sent away by a person, a drain or a loss may come back. */
static void keep_left(struct making *m, const char *guest, const json_t *migration)
{
    const char *from = spec_text(migration, "from");
    double ago = ended_ago(m, migration);
    json_t *left = json_object_get(m->left, guest);
    if (!snapshot_spec(migration, "plan") || !json_object_get(m->nodes_by_name, from))
        return;
    if (!left) {
        left = json_object();
        json_object_set_new(m->left, guest, left);
    }
    const json_t *known = json_object_get(left, from);
    if (!known || json_number_value(known) > ago)
        json_object_set_new(left, from, json_real(ago));
}

static json_t *look_back(struct making *m)
{
    json_t *list = json_array(), *migration;
    const char *id;
    json_object_foreach (json_object_get(m->objects, "migration"), id, migration) {
        const json_t *state = json_object_get(migration, "state");
        const char *guest = spec_text(migration, "guest_id");
        if (!*snapshot_text(state, "ended") || !*guest)
            continue;
        keep_later(m->last_ended, guest, migration);
        if (strcmp(snapshot_text(state, "phase"), "done") != 0)
            continue;
        keep_later(m->last_done, guest, migration);
        keep_left(m, guest, migration);
        /* less says how long it takes to begin and end, and not how fast the link is */
        if (snapshot_number(state, "done_bytes") >= LEARN_BYTES && snapshot_number(state, "total_ms") > 0)
            json_array_append_new(list, json_pack("{s:f, s:f}", "bytes", snapshot_number(state, "done_bytes"),
                                                  "seconds", snapshot_number(state, "total_ms") / 1000));
    }
    return list;
}

/* ---- all of it ---- */

/* Guests that plans have sent to each node within the last hour. */
static void count_arrivals(struct making *m)
{
    json_t *migration;
    const char *id;
    json_object_foreach (json_object_get(m->objects, "migration"), id, migration) {
        const char *to = spec_text(migration, "to");
        int64_t began = snapshot_seconds(spec_text(migration, "began"));
        if (snapshot_spec(migration, "plan") && began >= 0 && m->now->wall_s - began < HOUR_S)
            json_object_set_new(m->arrived, to, json_integer(json_integer_value(json_object_get(m->arrived, to)) + 1));
    }
}

static json_t *make_nodes(struct making *m)
{
    json_t *list = json_array(), *node;
    const char *id;
    size_t i;
    count_arrivals(m);
    json_object_foreach (json_object_get(m->objects, "node"), id, node) {
        const char *name = snapshot_text(json_object_get(node, "value"), "name");
        if (!is_usable(m, "node", id, node, NULL))
            continue;
        json_t *load = json_object_get(json_object_get(m->objects, "load"), id);
        snapshot_load_digest(json_object_get(load, "state")); /* unless it was when it came */
        json_object_set(m->nodes_by_name, name, node);
        if (!strcmp(condition(node), "ready"))
            json_object_set_new(m->ready, name, json_true());
        json_array_append_new(list, make_node(m, node, load));
    }
    json_array_foreach (list, i, node) {
        const char *name = snapshot_text(node, "name");
        if (json_object_get(m->arrived, name))
            json_object_set(node, "arrived", json_object_get(m->arrived, name));
        if (json_object_get(m->moving, name))
            json_object_update(node, json_object_get(m->moving, name));
    }
    return list;
}

/* A guest on its way takes room on both of its nodes: this stands for it where it goes to. NULL: it is not. */
static json_t *make_arrival(const struct making *m, const json_t *guest)
{
    const json_t *value = json_object_get(guest, "value"), *spec = json_object_get(value, "spec");
    const char *going = snapshot_text(value, "migration");
    const json_t *migration = *going ? json_object_get(json_object_get(m->objects, "migration"), going) : NULL;
    const char *to = spec_text(migration, "to");
    if (!json_object_get(m->nodes_by_name, to) || !strcmp(to, spec_text(guest, "node")))
        return NULL;
    return json_pack("{s:s+, s:s, s:f, s:f, s:b, s:s, s:i}", "name", snapshot_text(value, "name"), " on its way",
                     "node", to, "vcpus", snapshot_number(spec, "vcpus"), "memory", snapshot_number(spec, "memory"),
                     "movable", 0, "fixed", "it is on its way", "age", 0);
}

static json_t *make_guests(const struct making *m)
{
    json_t *list = json_array(), *guest;
    const char *id;
    json_object_foreach (json_object_get(m->objects, "guest"), id, guest) {
        json_t *made = make_guest(m, id, guest);
        if (!made)
            continue;
        json_array_append_new(list, made);
        made = make_arrival(m, guest);
        if (made)
            json_array_append_new(list, made);
    }
    return list;
}

json_t *snapshot_make(json_t *objects, const struct snapshot_time *now)
{
    struct making m = {.objects = objects,
                       .nodes_by_name = json_object(),
                       .ready = json_object(),
                       .last_ended = json_object(),
                       .last_done = json_object(),
                       .left = json_object(),
                       .arrived = json_object(),
                       .moving = traffic_count(objects, ""),
                       .modes = snapshot_modes_groups(objects),
                       .left_out = json_array(),
                       .now = now};
    json_t *nodes = make_nodes(&m), *migrations = look_back(&m), *guests = make_guests(&m);
    json_t *groups = snapshot_rules_groups(json_object_get(objects, "guest"));
    json_decref(m.nodes_by_name);
    json_decref(m.ready);
    json_decref(m.last_ended);
    json_decref(m.last_done);
    json_decref(m.left);
    json_decref(m.arrived);
    json_decref(m.moving);
    json_t *made =
        json_pack("{s:o, s:o, s:o, s:o}", "nodes", nodes, "guests", guests, "groups", groups, "migrations", migrations);
    if (json_array_size(m.left_out))
        json_object_set(made, "left_out", m.left_out);
    json_decref(m.left_out);
    return made;
}
