#include "node/agent/arrivals.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "node/agent/arrival_voice.h"
#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/guest_link.h"
#include "node/agent/guest_unit.h"
#include "node/agent/guests.h"
#include "node/agent/member.h"
#include "node/agent/migration.h"
#include "node/agent/presence.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"

/* AWAY_MS: an agent begins anew in less. */
enum { LOOK_MS = 300, AWAY_MS = 15000 };

/* A guest whose last pages follow it. */
struct arrival {
    struct arrivals *all;
    char *id; /* the migration's */
    bool seen, gone;
    bool querying, committing; /* under way */
    uint64_t away_since_ms;    /* 0: the source's node is there */
    struct arrival_voice voice;
    json_t *said; /* by the process, last; NULL: nothing yet */
    struct guest_call query_call;
    struct loop_timer timer;
    LIST_ENTRY(arrival) link;
};

struct arrivals {
    struct loop *loop;
    struct cluster *cluster;
    struct guests *guests;
    struct loop_job *again;
    unsigned writing; /* changes under way */
    bool closed;      /* freed with the last of them */
    LIST_HEAD(, arrival) all;
};

static void free_if_idle(struct arrivals *as)
{
    if (as->closed && !as->writing)
        free(as);
}

/* ---- what is written ---- */

static void written(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct arrivals *as = context;
    (void)revision;
    as->writing--;
    if (as->closed) {
        free_if_idle(as);
        return;
    }
    if (rc && rc != -ESTALE)
        log_warn("a migration to this node: %s", err->text);
    if (rc)
        loop_defer(as->loop, as->again);
}

static void set_text(struct arrivals *as, const struct object *migration, const char *key, const char *text)
{
    struct change *change = change_new(as->cluster);
    if (!change)
        return;
    json_t *value = json_deep_copy(migration->value);
    json_object_set_new(value, key, json_string(text));
    change_put(change, OBJECT_MIGRATION, migration->id, value, migration->revision);
    as->writing++;
    change_commit(change, written, as);
}

/* ---- before the switch-over ---- */

/* Where it is waited for, or why it cannot come. */
static void look_ahead(struct arrivals *as, const struct object *m, const struct guest_unit *u)
{
    if (!u || *member_text(m->value, "refused"))
        return;
    enum guest_phase phase = guest_unit_phase(u);
    if (phase == GUEST_PHASE_INCOMING && !*member_text(m->value, "address") && *guest_unit_address(u))
        set_text(as, m, "address", guest_unit_address(u));
    else if (phase == GUEST_PHASE_FAILED || phase == GUEST_PHASE_WAITING)
        set_text(as, m, "refused", guest_unit_reason(u));
}

/* ---- while pages follow ---- */

static void free_arrival(struct arrival *a)
{
    if (a->querying || a->committing)
        return;
    json_decref(a->said);
    free(a->id);
    free(a);
}

static void go_on(struct arrival *a)
{
    if (a->gone)
        free_arrival(a);
    else
        loop_defer(a->all->loop, a->all->again);
}

static void timer_fired(struct loop_timer *timer)
{
    struct arrival *a = CONTAINER_OF(timer, struct arrival, timer);
    loop_defer(a->all->loop, a->all->again);
}

static struct arrival *find(struct arrivals *as, const char *id)
{
    struct arrival *a;
    LIST_FOREACH (a, &as->all, link)
        if (!strcmp(a->id, id))
            return a;
    a = calloc(1, sizeof *a);
    if (!a || !(a->id = strdup(id))) {
        free(a);
        return NULL;
    }
    a->all = as;
    a->timer.fire = timer_fired;
    LIST_INSERT_HEAD(&as->all, a, link);
    return a;
}

static void forget(struct arrival *a)
{
    LIST_REMOVE(a, link);
    loop_timer_clear(a->all->loop, &a->timer);
    a->gone = true;
    free_arrival(a);
}

static enum migration_there meaning(const json_t *answer)
{
    const char *phase = member_text(answer, "phase");
    if (!strcmp(phase, "done"))
        return MIGRATION_THERE_WHOLE;
    if (!strcmp(phase, "none"))
        return MIGRATION_THERE_NONE; /* another one */
    return strcmp(member_text(answer, "link"), "broken") != 0 ? MIGRATION_THERE_FED : MIGRATION_THERE_MUTE;
}

static void told(struct guest_call *call, int rc, const json_t *answer, const char *text)
{
    struct arrival *a = CONTAINER_OF(call, struct arrival, query_call);
    (void)text;
    a->querying = false;
    if (!rc) {
        json_decref(a->said);
        a->said = json_deep_copy(answer);
        arrival_voice_hear(&a->voice, meaning(answer));
    }
    if (a->gone)
        free_arrival(a);
    else if (!rc && strcmp(member_text(answer, "phase"), "post-copy") != 0)
        loop_defer(a->all->loop, a->all->again); /* else the timer is soon enough */
}

static void query(struct arrival *a, struct guest_unit *u)
{
    if (a->querying)
        return;
    a->query_call = (struct guest_call){.done = told, .type = CONTROL_MIGRATION};
    a->querying = !guest_unit_call(u, &a->query_call);
}

static bool is_away(struct arrival *a, const struct object *m)
{
    if (presence_is_alive(mirror_named(cluster_mirror(a->all->cluster), OBJECT_NODE, object_spec_text(m, "from")))) {
        a->away_since_ms = 0;
        return false;
    }
    a->away_since_ms = a->away_since_ms ? a->away_since_ms : clock_ms();
    return clock_ms() - a->away_since_ms > AWAY_MS;
}

static enum migration_there process_of(struct arrival *a, const struct object *m, struct guest_unit *u, bool away)
{
    enum guest_phase phase = guest_unit_phase(u);
    bool gone = json_is_true(json_object_get(m->state, "source_gone"));
    arrival_voice_look(&a->voice, gone, away, phase != GUEST_PHASE_INCOMING, clock_ms());
    switch (phase) {
    case GUEST_PHASE_INCOMING: /* it is told to go on, and may need a page for that */
    case GUEST_PHASE_STOPPING:
        break;
    case GUEST_PHASE_RUNNING:
        query(a, u);
        break;
    default:
        return MIGRATION_THERE_NONE;
    }
    arrival_voice_ask(&a->voice, clock_ms());
    return arrival_voice_judge(&a->voice, clock_ms());
}

static void concluded(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct arrival *a = context;
    (void)revision;
    a->committing = false;
    if (rc && rc != -ESTALE)
        log_warn("migration %s: %s", a->id, err->text);
    go_on(a);
}

/* The guest is free for what comes next, in the same moment. */
static void conclude(struct arrival *a, const struct object *m, const struct object *guest, const char *key,
                     json_t *what)
{
    struct change *change = change_new(a->all->cluster);
    if (!change) {
        json_decref(what);
        return;
    }
    json_t *value = json_deep_copy(guest->value), *mark = json_deep_copy(m->value);
    json_object_set_new(mark, key, what);
    json_object_del(value, "migration");
    change_put(change, OBJECT_GUEST, guest->id, value, guest->revision);
    change_put(change, OBJECT_MIGRATION, m->id, mark, m->revision);
    a->committing = true;
    change_commit(change, concluded, a);
}

static void act(struct arrival *a, const struct object *m, const struct object *guest, struct guest_unit *u)
{
    bool away = is_away(a, m);
    const struct migration_arrival view = {
        .migration = m, .guest = guest, .process = process_of(a, m, u, away), .away = away};
    const char *reason;
    switch (migration_arrive(&view, &reason)) {
    case MIGRATION_ARRIVAL_WAIT:
        break;
    case MIGRATION_ARRIVAL_WHOLE:
        log_info("guest %s: all of its memory is here", guest->name);
        conclude(a, m, guest, "arrived",
                 json_pack("{s:I, s:f}", "asked", json_integer_value(json_object_get(a->said, "faults")),
                           "longest_wait_ms", json_number_value(json_object_get(a->said, "longest-wait-ms"))));
        break;
    case MIGRATION_ARRIVAL_END:
        log_warn("guest %s: its memory is lost: %s", guest->name, reason);
        guest_unit_give_up(u, reason);
        break;
    case MIGRATION_ARRIVAL_LOST:
        conclude(a, m, guest, "lost", json_string(*guest_unit_reason(u) ? guest_unit_reason(u) : reason));
        break;
    }
}

static void look_at_pages(struct arrivals *as, const struct object *m, struct guest_unit *u)
{
    const struct mirror *mirror = cluster_mirror(as->cluster);
    const struct object *guest = mirror_find(mirror, OBJECT_GUEST, object_spec_text(m, "guest_id"));
    bool is_in_it = guest && migration_of(mirror, guest) == m &&
                    !strcmp(object_spec_text(guest, "node"), cluster_node(as->cluster));
    bool begins = is_in_it && json_is_true(object_spec(guest, "running")) && u &&
                  guest_unit_phase(u) == GUEST_PHASE_STOPPED; /* its process may be found still */
    struct arrival *a = is_in_it && u ? find(as, m->id) : NULL;
    if (!a)
        return;
    a->seen = true;
    if (!a->committing && !begins)
        act(a, m, guest, u);
    loop_timer_set(as->loop, &a->timer, clock_ns() + LOOK_MS * 1000000ull);
}

/* ---- all ---- */

void arrivals_begin(struct arrivals *as)
{
    struct arrival *a;
    LIST_FOREACH (a, &as->all, link)
        a->seen = false;
}

void arrivals_look(struct arrivals *as, const struct object *m)
{
    struct guest_unit *u = guests_find(as->guests, object_spec_text(m, "guest_id"));
    if (!json_is_true(json_object_get(m->value, "switched")))
        look_ahead(as, m, u);
    else if (json_is_true(json_object_get(m->value, "follows")))
        look_at_pages(as, m, u);
}

void arrivals_end(struct arrivals *as)
{
    struct arrival *a, *next;
    for (a = LIST_FIRST(&as->all); a; a = next) {
        next = LIST_NEXT(a, link);
        if (!a->seen)
            forget(a);
    }
}

struct arrivals *arrivals_new(struct loop *loop, struct cluster *cluster, struct guests *guests, struct loop_job *again)
{
    struct arrivals *as = calloc(1, sizeof *as);
    if (!as)
        return NULL;
    *as = (struct arrivals){.loop = loop, .cluster = cluster, .guests = guests, .again = again};
    LIST_INIT(&as->all);
    return as;
}

void arrivals_free(struct arrivals *as)
{
    if (!as)
        return;
    while (!LIST_EMPTY(&as->all))
        forget(LIST_FIRST(&as->all));
    as->closed = true;
    free_if_idle(as);
}
