#include "node/agent/load.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "node/agent/cgroup.h"
#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/guest_link.h"
#include "node/agent/guest_unit.h"
#include "node/agent/guests.h"
#include "node/agent/kind.h"
#include "node/agent/load_kernel.h"
#include "node/agent/load_memory.h"
#include "node/agent/load_meter.h"
#include "node/agent/load_pressure.h"
#include "node/agent/load_storage.h"
#include "node/agent/load_writes.h"
#include "node/agent/mirror.h"
#include "node/agent/presence.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"
#include "node/base/store.h"

/* A guest that runs here; freed by forget(), or when the last question of it that is under way is answered. */
struct track {
    struct load *load; /* NULL: forgotten */
    char *id;
    int pid;
    struct load_memory memory;
    struct load_meter cpu, steal, network;
    struct load_storage storage;
    struct load_writes writes;
    struct guest_call call, look;
    bool seen, asking, looking;
    LIST_ENTRY(track) link;
};

struct load {
    struct load_place place;
    struct loop_timer timer;
    struct load_taps taps;
    struct load_pressure pressure;
    LIST_HEAD(, track) tracks;
    unsigned count;
    bool looking; /* at what one of them writes */
    bool busy, freed;
};

static struct track *find(struct load *l, const char *id)
{
    struct track *t;
    LIST_FOREACH (t, &l->tracks, link)
        if (!strcmp(t->id, id))
            return t;
    return NULL;
}

static void forget(struct load *l, struct track *t)
{
    LIST_REMOVE(t, link);
    l->count--;
    free(t->id);
    load_storage_forget(&t->storage);
    if (t->looking)
        l->looking = false;
    t->load = NULL;
    if (!t->asking && !t->looking)
        free(t);
}

/* An answer has come. False: the guest was forgotten, and *t is gone or will be. */
static bool is_remembered(struct track *t)
{
    if (t->load)
        return true;
    if (!t->asking && !t->looking)
        free(t);
    return false;
}

static struct track *remember(struct load *l, const char *id)
{
    struct track *t = l->count < LOAD_GUESTS_MAX ? calloc(1, sizeof *t) : NULL;
    if (!t || !(t->id = strdup(id))) {
        free(t);
        return NULL;
    }
    t->load = l;
    LIST_INSERT_HEAD(&l->tracks, t, link);
    l->count++;
    return t;
}

/* ---- what a guest says of its disks and its balloon ---- */

static void answered(struct guest_call *call, int rc, const json_t *answer, const char *text)
{
    struct track *t = CONTAINER_OF(call, struct track, call);
    (void)text; /* of one that does not answer nothing is known for a while */
    t->asking = false;
    if (!is_remembered(t) || rc)
        return;
    load_storage_look(&t->storage, answer, clock_ns() / 1000);
    load_memory_look(&t->memory, answer);
}

static void ask(struct track *t, struct guest_unit *unit)
{
    if (t->asking)
        return;
    t->call = (struct guest_call){.done = answered, .type = CONTROL_STATS};
    t->asking = !guest_unit_call(unit, &t->call);
}

/* ---- what it writes ---- */

static void looked(struct guest_call *call, int rc, const json_t *answer, const char *text)
{
    struct track *t = CONTAINER_OF(call, struct track, look);
    t->looking = false;
    if (!is_remembered(t))
        return;
    t->load->looking = false;
    if (rc || !load_writes_learn(&t->writes, answer, clock_ns()))
        log_debug("how fast guest %s writes is not known: %s", t->id, rc ? text : "its process does not say");
}

/* It runs, is not on its way, and nobody has looked lately. */
static bool look_at(void *context, const char *id)
{
    struct load *l = context;
    struct track *t = find(l, id);
    const struct object *guest = mirror_find(cluster_mirror(l->place.cluster), OBJECT_GUEST, id);
    struct guest_unit *unit = t && guest ? guests_find(l->place.guests, id) : NULL;
    if (!unit || json_object_get(guest->value, "migration") || !load_writes_due(&t->writes, clock_ns()))
        return false;
    t->writes.asked_ns = clock_ns();
    t->look = (struct guest_call){.done = looked, .type = CONTROL_FORECAST};
    t->looking = l->looking = !guest_unit_call(unit, &t->look);
    return t->looking;
}

static void look_at_one(struct load *l)
{
    if (!l->looking && cluster_is_current(l->place.cluster))
        load_writes_leaving(cluster_mirror(l->place.cluster), cluster_node(l->place.cluster), look_at, l);
}

/* ---- sampling ---- */

static uint64_t network_bytes(const struct load *l, const char *id)
{
    const struct object *guest = mirror_find(cluster_mirror(l->place.cluster), OBJECT_GUEST, id);
    size_t count = guest && guest->value ? json_array_size(object_spec(guest, "networks")) : 0;
    uint64_t sum = 0;
    char name[TAP_NAME_MAX];
    for (unsigned i = 0; i < count && i < TAP_NICS_MAX; i++)
        sum += load_taps_bytes(&l->taps, tap_name(id, i, name));
    return sum;
}

static void begin_anew(struct track *t, int pid)
{
    t->pid = pid;
    t->cpu = t->steal = t->network = (struct load_meter){0};
    t->memory = (struct load_memory){0};
    load_storage_forget(&t->storage);
    t->writes = (struct load_writes){0};
}

static void sample(struct load *l, struct guest_unit *unit)
{
    const char *id = guest_unit_id(unit);
    struct cgroup_usage usage;
    uint64_t now_us = clock_ns() / 1000;
    struct track *t = find(l, id);
    if (cgroup_usage(l->place.cgroups, id, &usage, NULL) || (!t && !(t = remember(l, id))))
        return;
    if (t->pid != guest_unit_pid(unit)) /* another process of it */
        begin_anew(t, guest_unit_pid(unit));
    t->seen = true;
    load_memory_add(&t->memory, usage.memory_bytes);
    load_meter_add(&t->cpu, usage.cpu_us, now_us, 1e4);
    load_meter_add(&t->steal, load_run_delay_ns("/proc", t->pid), now_us, 1e7);
    load_meter_add(&t->network, network_bytes(l, id), now_us, LOAD_UNIT_BYTES);
    ask(t, unit);
}

static void sample_all(struct load *l)
{
    struct track *t, *next;
    LIST_FOREACH (t, &l->tracks, link)
        t->seen = false;
    load_taps_read(&l->taps);
    load_pressure_read(&l->pressure, clock_ns() / 1000);
    if (l->place.cgroups->count)
        for (struct guest_unit *u = guests_next(l->place.guests, NULL); u; u = guests_next(l->place.guests, u))
            if (guest_unit_phase(u) == GUEST_PHASE_RUNNING)
                sample(l, u);
    for (t = LIST_FIRST(&l->tracks); t; t = next) {
        next = LIST_NEXT(t, link);
        if (t->seen)
            continue;
        forget(l, t);
        load_pressure_anew(&l->pressure);
    }
}

/* ---- saying it ---- */

static void put_window(json_t *to, const char *name, const struct load_meter *meter)
{
    json_t *window = load_meter_window(meter);
    if (window)
        json_object_set_new(to, name, window);
}

static void put_storage(const struct load *l, const struct track *t, json_t *guest)
{
    const struct mirror *mirror = cluster_mirror(l->place.cluster);
    json_t *nodes = load_storage_nodes(&t->storage, mirror, mirror_find(mirror, OBJECT_GUEST, t->id));
    if (nodes)
        json_object_set_new(guest, "storage", nodes);
}

static json_t *guest_of(const struct load *l, const struct track *t)
{
    json_t *guest = json_pack("{s:I}", "memory", (json_int_t)load_memory_p95(&t->memory)), *cpu = json_array();
    for (unsigned i = 0; i < t->cpu.count; i++)
        json_array_append_new(cpu, json_integer(t->cpu.window[i]));
    json_object_set_new(guest, "cpu", cpu); /* its length says for how long the guest has been looked at */
    put_window(guest, "steal", &t->steal);
    put_window(guest, "network", &t->network);
    put_storage(l, t, guest);
    load_writes_put(&t->writes, guest, clock_ns());
    return guest;
}

static json_t *state_of(struct load *l)
{
    json_t *guests = json_object();
    struct track *t;
    LIST_FOREACH (t, &l->tracks, link)
        json_object_set_new(guests, t->id, guest_of(l, t));
    json_t *state = json_pack("{s:s, s:i, s:i, s:o}", "node", cluster_node(l->place.cluster), "sample_ms",
                              LOAD_SAMPLE_MS, "unit", LOAD_UNIT_BYTES, "guests", guests);
    if (state)
        load_pressure_put(&l->pressure, state);
    return state;
}

static void written(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct load *l = context;
    (void)revision;
    l->busy = false;
    if (l->freed) {
        free(l);
        return;
    }
    if (rc)
        log_debug("what this node uses was not written: %s", err->text); /* the next sample is */
}

static void tell(struct load *l)
{
    int64_t lease = presence_lease(l->place.presence);
    struct change *change = lease && !l->busy ? change_new(l->place.cluster) : NULL;
    json_t *state = change ? state_of(l) : NULL;
    if (!state) {
        change_drop(change);
        return;
    }
    change_put_state_leased(change, OBJECT_LOAD, l->place.node_id, state, STORE_ANY, lease);
    l->busy = true;
    change_commit(change, written, l);
}

static void fired(struct loop_timer *timer)
{
    struct load *l = CONTAINER_OF(timer, struct load, timer);
    sample_all(l);
    tell(l);
    look_at_one(l); /* the next sample has it */
    loop_timer_set(l->place.loop, timer, clock_ns() + LOAD_SAMPLE_MS * UINT64_C(1000000));
}

/* ---- life ---- */

struct load *load_new(const struct load_place *place, struct err *err)
{
    struct load *l = calloc(1, sizeof *l);
    if (!l) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    l->place = *place;
    l->timer.fire = fired;
    LIST_INIT(&l->tracks);
    loop_timer_set(place->loop, &l->timer, clock_ns() + LOAD_SAMPLE_MS / 10 * UINT64_C(1000000));
    return l;
}

void load_free(struct load *l)
{
    if (!l)
        return;
    loop_timer_clear(l->place.loop, &l->timer);
    while (!LIST_EMPTY(&l->tracks))
        forget(l, LIST_FIRST(&l->tracks));
    load_taps_fini(&l->taps);
    l->freed = true;
    if (!l->busy)
        free(l);
}
