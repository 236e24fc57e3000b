/* See balance_moves.h. Nothing is remembered here but what is on its way to the store: a move was begun if there is a
 * migration that names the plan and the move's number. The migration's transaction compares the guest and the plan with
 * what was seen, so neither a second agent nor a plan that was made void meanwhile can begin one twice or late. */
#include "node/agent/balance_moves.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/cluster.h"
#include "node/agent/member.h"
#include "node/agent/migration.h"
#include "node/agent/migration_start.h"
#include "node/agent/placement.h"
#include "node/agent/presence.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"

enum { MAX_DOWNTIME_MS = 300, WITHIN_S = 3600, AT_ONCE = 8, AGAIN_MS = 2000 };

/* One on its way to the store; moves NULL: the agent ends. */
struct starting {
    struct balance_moves *moves;
    char guest[UUID_TEXT_BYTES], what[240];
};

struct balance_moves {
    struct loop *loop;
    struct cluster *cluster;
    const char *state;
    struct mirror_listener listener;
    struct loop_job job;
    struct loop_timer timer;
    struct starting *starting[AT_ONCE];
    uint64_t begun;
    struct log_limit limit;
};

static const struct object *active_plan(const struct mirror *m)
{
    for (const struct object *p = mirror_next(m, OBJECT_PLAN, NULL); p; p = mirror_next(m, OBJECT_PLAN, p->name))
        if (!strcmp(object_spec_text(p, "phase"), "active"))
            return p;
    return NULL;
}

bool balance_moves_has(const struct mirror *m, const struct object *guest)
{
    const struct object *leader = mirror_find(m, OBJECT_BALANCER, "leader");
    const struct object *plan = leader && leader->state ? active_plan(m) : NULL;
    const json_t *waves = plan ? object_spec(plan, "waves") : NULL;
    size_t w = plan ? (size_t)json_integer_value(object_spec(plan, "wave")) : 0, i;
    json_t *move;
    for (; w < json_array_size(waves); w++)
        json_array_foreach (json_array_get(waves, w), i, move)
            if (!strcmp(member_text(move, "guest_id"), guest->id))
                return true;
    return false;
}

static bool was_begun(const struct mirror *m, const char *plan, json_int_t move)
{
    for (const struct object *o = mirror_next(m, OBJECT_MIGRATION, NULL); o;
         o = mirror_next(m, OBJECT_MIGRATION, o->name))
        if (!strcmp(object_spec_text(o, "plan"), plan) && json_integer_value(object_spec(o, "move")) == move)
            return true;
    return false;
}

static struct starting **slot_of(struct balance_moves *b, const char *guest)
{
    for (unsigned i = 0; i < AT_ONCE; i++)
        if (guest ? b->starting[i] && !strcmp(b->starting[i]->guest, guest) : !b->starting[i])
            return &b->starting[i];
    return NULL;
}

/* As the plan takes it to be, and nothing else is going on with it; and what arrives there meanwhile does not forbid
 * it.
 */
static bool may_go(const struct mirror *m, const struct object *guest, const json_t *move, const char *node)
{
    const struct object *to = mirror_named(m, OBJECT_NODE, member_text(move, "to"));
    if (!guest || !migration_may_begin(m, guest) || strcmp(object_spec_text(guest, "node"), node) ||
        !presence_takes_guests(to))
        return false;
    const struct placement_guest rules = placement_guest_of(guest, true);
    return placement_allows(m, &rules, to, NULL);
}

static void started(void *context, int rc, const struct task_started *what, const struct err *err)
{
    struct starting *s = context;
    struct balance_moves *b = s->moves;
    (void)what;
    if (b) {
        *slot_of(b, s->guest) = NULL;
        b->begun += !rc;
        if (!rc)
            log_info("%s", s->what);
        else if (rc != -EAGAIN && rc != -ESTALE) /* else somebody was quicker: is there room still? */
            log_limited(&b->limit, LOG_LEVEL_WARN, "guest %s was not moved as planned: %s", s->guest, err->text);
        loop_timer_set(b->loop, &b->timer, clock_ns() + AGAIN_MS * UINT64_C(1000000));
    }
    free(s);
}

static void begin(struct balance_moves *b, const struct object *plan, const struct object *guest, const json_t *move)
{
    const struct migration_goals goals = {.max_downtime_ms = MAX_DOWNTIME_MS,
                                          .within_s = WITHIN_S,
                                          .post_copy = migration_post_copy(guest) == MIGRATION_POST_COPY_ALLOWED};
    const struct migration_origin origin = {
        .plan = plan->id,
        .revision = plan->revision,
        .move = (int)json_integer_value(json_object_get(move, "move")),
    };
    char by[80];
    struct err err = {0};
    struct starting **slot = slot_of(b, NULL), *s = slot && !slot_of(b, guest->id) ? calloc(1, sizeof *s) : NULL;
    if (!s)
        return; /* when another one is through */
    s->moves = b;
    snprintf(s->guest, sizeof s->guest, "%s", guest->id);
    snprintf(by, sizeof by, "balancer:%.60s", plan->name);
    *slot = s;
    snprintf(s->what, sizeof s->what, "guest %s moves to node %s, as plan %s has it", guest->name,
             member_text(move, "to"), plan->name);
    if (!migration_start(b->cluster, b->state, guest, member_text(move, "to"), &goals, by, &origin, started, s, &err))
        return;
    *slot = NULL;
    free(s);
    log_limited(&b->limit, LOG_LEVEL_WARN, "guest %s was not moved as planned: %s", guest->name, err.text);
}

static void evaluate(struct loop_job *job)
{
    struct balance_moves *b = CONTAINER_OF(job, struct balance_moves, job);
    const struct mirror *m = cluster_mirror(b->cluster);
    const char *node = cluster_node(b->cluster);
    const struct object *plan = cluster_is_current(b->cluster) ? active_plan(m) : NULL;
    const json_t *waves = plan ? object_spec(plan, "waves") : NULL;
    const json_t *wave = json_array_get(waves, plan ? (size_t)json_integer_value(object_spec(plan, "wave")) : 0);
    bool again = false; /* nodes and volumes that become free for it are not listened to */
    for (size_t i = 0; i < json_array_size(wave); i++) {
        const json_t *move = json_array_get(wave, i);
        const struct object *guest = mirror_find(m, OBJECT_GUEST, member_text(move, "guest_id"));
        if (strcmp(member_text(move, "from"), node) != 0 ||
            was_begun(m, plan->id, json_integer_value(json_object_get(move, "move"))))
            continue;
        again = true;
        if (may_go(m, guest, move, node))
            begin(b, plan, guest, move);
    }
    if (again)
        loop_timer_set(b->loop, &b->timer, clock_ns() + AGAIN_MS * UINT64_C(1000000));
}

static void timer_fired(struct loop_timer *timer)
{
    struct balance_moves *b = CONTAINER_OF(timer, struct balance_moves, timer);
    loop_defer(b->loop, &b->job);
}

static void object_changed(struct mirror_listener *listener, const struct object *object, enum object_part part)
{
    struct balance_moves *b = CONTAINER_OF(listener, struct balance_moves, listener);
    (void)part;
    if (object->kind == OBJECT_PLAN || object->kind == OBJECT_GUEST)
        loop_defer(b->loop, &b->job);
}

struct balance_moves *balance_moves_new(struct loop *loop, struct cluster *cluster, const char *state, struct err *err)
{
    struct balance_moves *b = calloc(1, sizeof *b);
    if (!b) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    b->loop = loop;
    b->cluster = cluster;
    b->state = state;
    b->listener.changed = object_changed;
    b->job.run = evaluate;
    b->timer.fire = timer_fired;
    b->limit = (struct log_limit){.burst = 3, .interval_ms = 60000};
    mirror_listen(cluster_mirror(cluster), &b->listener);
    loop_defer(loop, &b->job);
    return b;
}

uint64_t balance_moves_begun(const struct balance_moves *b)
{
    return b->begun;
}

void balance_moves_free(struct balance_moves *b)
{
    if (!b)
        return;
    mirror_unlisten(&b->listener);
    loop_timer_clear(b->loop, &b->timer);
    for (unsigned i = 0; i < AT_ONCE; i++)
        if (b->starting[i])
            b->starting[i]->moves = NULL; /* started() frees it */
    loop_forget(b->loop, &b->job);
    free(b);
}
