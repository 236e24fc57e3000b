#include "node/agent/guest_unit.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/agent/guest_deadline.h"
#include "node/agent/guest_handed.h"
#include "node/agent/guest_link.h"
#include "node/agent/guest_log.h"
#include "node/agent/guest_unit_inside.h"
#include "node/agent/member.h"
#include "node/agent/owner.h"
#include "node/agent/process.h"
#include "node/agent/process_file.h"
#include "node/agent/restart.h"
#include "node/agent/tenure.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"
#include "node/base/worker.h"

enum {
    ANSWER_TRIES = 1500, /* of ANSWER_MS each: how long a process has to open its control socket */
    ANSWER_MS = 20,
    BACKOFF_LAST_MS = 60000,
    ENDING_MS = 5000,  /* SIGTERM, then SIGKILL */
    STEADY_MS = 60000, /* who ran so long begins with the shortest back-off again */
    STOP_SECONDS = 60,
    TASK_MAX = 256,
};

static void step(struct guest_unit *u);
static void announce(struct guest_unit *u);
static void begin_clean(struct guest_unit *u);
static void begin_prepare(struct guest_unit *u);

static void enter(struct guest_unit *u, enum guest_phase phase)
{
    u->phase = phase;
    u->since_ms = clock_ms();
    u->handler->changed(u->handler, u);
}

static void path_of(const struct guest_unit *u, const char *suffix, char *path)
{
    snprintf(path, PATH_MAX, "%s/%s.%s", u->place->directory, u->id, suffix);
}

static void set_timer(struct guest_unit *u, uint64_t ms)
{
    loop_timer_set(u->place->loop, &u->timer, clock_ns() + ms * 1000000);
}

static void free_if_idle(struct guest_unit *u)
{
    if (!u->chore.busy && !u->announcement.busy && process_idle(&u->process))
        free(u);
}

static void process_released(struct process *process)
{
    struct guest_unit *u = CONTAINER_OF(process, struct guest_unit, process);
    if (u->freed)
        free_if_idle(u);
}

/* ---- on a worker thread ---- */

static void run_chore(struct worker_task *task)
{
    struct guest_chore *c = CONTAINER_OF(task, struct guest_chore, task);
    const struct guest_place *place = c->unit->place;
    c->err = (struct err){0};
    if (c->kind == CHORE_CLEAN)
        c->rc = place->clean(place->context, c->unit->id, c->plan, &c->err);
    else if (c->kind == CHORE_ANNOUNCE)
        c->rc = place->announce(place->context, c->unit->id, c->plan, &c->err);
    else
        c->rc = place->prepare(place->context, c->unit->id, c->plan, &c->err);
}

static void chore_done(struct worker_task *task);

/* plan: the chore's from here on. An announcement does not keep others waiting. */
static void begin_chore(struct guest_unit *u, int kind, json_t *plan)
{
    struct guest_chore *c = kind == CHORE_ANNOUNCE ? &u->announcement : &u->chore;
    *c = (struct guest_chore){
        .task = {.run = run_chore, .done = chore_done}, .unit = u, .plan = plan, .kind = kind, .busy = true};
    worker_submit(u->place->worker, &c->task);
}

/* ---- from another node ---- */

static const json_t *incoming(const struct guest_unit *u)
{
    return json_object_get(u->plan, "incoming");
}

static void gone_on(struct guest_call *call, int rc, const json_t *answer, const char *text)
{
    struct guest_unit *u = CONTAINER_OF(call, struct guest_unit, go_call);
    (void)answer;
    u->go_call.done = NULL;
    if (rc == -EPIPE || u->phase != GUEST_PHASE_INCOMING)
        return; /* the process has ended, or its link is made anew */
    if (rc) {
        err_set(&u->reason, -rc, "it cannot go on here: %s", text);
        log_warn("guest %s: %s", u->id, u->reason.text);
        process_signal(&u->process, SIGKILL);
        return;
    }
    enter(u, GUEST_PHASE_RUNNING);
    announce(u);
    step(u);
}

/* The guest is this node's now. */
static void go_on(struct guest_unit *u)
{
    if (!u->link || u->go_call.done)
        return;
    u->go_call = (struct guest_call){.done = gone_on, .type = CONTROL_INCOMING_GO};
    guest_link_call(u->link, &u->go_call);
}

/* ---- the link ---- */

static void link_event(struct guest_link_handler *handler, const char *event, const char *state, const char *text)
{
    struct guest_unit *u = CONTAINER_OF(handler, struct guest_unit, link_handler);
    log_info("guest %s: %s, %s (%s)", u->id, event, state, text);
    if (!strcmp(event, "off"))
        u->off = true;
    if (!strcmp(event, "failed"))
        err_set(&u->reason, EIO, "%s", text);
    u->handler->changed(u->handler, u);
}

/* ---- its trouble ---- */

/* By its policy it is left as it is, or its process ends, and process_ended() says what becomes of it. */
static void link_health(struct guest_link_handler *handler, const json_t *health)
{
    struct guest_unit *u = CONTAINER_OF(handler, struct guest_unit, link_handler);
    enum restart_cause cause = restart_cause_of(member_text(health, "trouble"));
    if (cause == u->trouble || u->ending || !u->plan || incoming(u) || u->phase == GUEST_PHASE_STOPPING)
        return;
    u->trouble = cause;
    u->reason = (struct err){0};
    if (cause != RESTART_CAUSES) {
        err_set(&u->reason, EIO, "%s", restart_cause_name(cause));
        log_warn("guest %s: has %s", u->id, u->reason.text);
        u->ending = restart_policy_of(u->plan).on[cause] != RESTART_KEEP;
    }
    if (u->ending) {
        process_signal(&u->process, SIGTERM); /* what it has in flight may arrive */
        set_timer(u, ENDING_MS);
    }
    u->handler->changed(u->handler, u);
}

/* Why it stays down. */
static void explain(struct guest_unit *u, const struct restart_policy *policy)
{
    restart_explain(&u->restarts, policy, &u->reason);
    if (*u->lost.text)
        err_prefix(&u->reason, "%s", u->lost.text);
}

/* The process has ended, and was not meant to. */
static void judge(struct guest_unit *u, int status, bool ran)
{
    char path[PATH_MAX];
    path_of(u, "log", path);
    struct restart_policy policy = restart_policy_of(u->plan);
    enum restart_cause cause = u->ending ? u->trouble : RESTART_CRASHED;
    if (u->ending)
        err_set(&u->reason, EIO, "%s", restart_cause_name(cause));
    else if (*u->lost.text)
        u->reason = u->lost;
    else
        guest_log_reason(path, status, &u->reason);
    log_warn("guest %s: %s", u->id, u->reason.text);
    if (!ran || incoming(u))
        return; /* one that does not come up is tried again and again: what it needs may come */
    u->again =
        restart_judge(&u->restarts, &policy, cause, member_text(u->plan, "started"), clock_ms()) == RESTART_AGAIN;
    if (u->again)
        return;
    explain(u, &policy);
    log_warn("guest %s: %s", u->id, u->reason.text);
}

/* ---- its deadline ---- */

static bool is_protected(const struct guest_unit *u)
{
    return u->plan && json_is_true(json_object_get(u->plan, "protected"));
}

static void deadline_changed(struct guest_deadline *deadline)
{
    struct guest_unit *u = CONTAINER_OF(deadline, struct guest_unit, deadline);
    log_line(deadline->frozen ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "guest %s: %s", u->id,
             deadline->frozen ? "is frozen: this node's lease was not renewed" : "goes on");
    u->handler->changed(u->handler, u);
}

void guest_unit_tell_deadline(struct guest_unit *u)
{
    char path[PATH_MAX];
    /* No pause after a failure is on: it may have waited for this. */
    if (u->phase == GUEST_PHASE_WAITING && u->plan && is_protected(u) && !u->timer.slot)
        begin_prepare(u);
    bool is = u->plan ? is_protected(u) : u->bound; /* also while it is shut down */
    if (!u->process.pid || (!is && !u->bound))
        return;
    if (is && !u->place->tenure->until_ns)
        return; /* of one that was found: it keeps the deadline that it has */
    if (!is && u->deadline.known && u->deadline.told_ns == 0) {
        u->bound = false; /* protected no more, and it knows */
        return;
    }
    u->bound = true;
    path_of(u, "sock", path);
    guest_deadline_set(&u->deadline, path, is ? u->place->tenure->until_ns : 0);
}

static void link_open(struct guest_link_handler *handler, const char *state)
{
    struct guest_unit *u = CONTAINER_OF(handler, struct guest_unit, link_handler);
    bool begins = u->phase == GUEST_PHASE_STARTING, waits = !strcmp(state, "incoming");
    if (begins)
        loop_timer_clear(u->place->loop, &u->timer);
    if (waits && (begins || u->phase == GUEST_PHASE_RUNNING))
        enter(u, GUEST_PHASE_INCOMING);
    else if (!waits && (begins || u->phase == GUEST_PHASE_INCOMING))
        enter(u, GUEST_PHASE_RUNNING);
    if (begins)
        guest_unit_tell_deadline(u);
    if (begins && !waits)
        announce(u);
    step(u);
}

static void link_lost(struct guest_link_handler *handler, const char *why)
{
    struct guest_unit *u = CONTAINER_OF(handler, struct guest_unit, link_handler);
    guest_link_close(u->link);
    u->link = NULL;
    log_debug("guest %s: %s", u->id, why); /* its process ends, or the next turn connects again */
    set_timer(u, ANSWER_MS);
}

static int connect_link(struct guest_unit *u)
{
    char path[PATH_MAX];
    path_of(u, "sock", path);
    return guest_link_open(u->place->loop, path, &u->link_handler, &u->link, NULL);
}

/* One that has left before its last pages is not what is wanted here now: it never runs again. */
static void looked(struct guest_call *call, int rc, const json_t *answer, const char *text)
{
    struct guest_unit *u = CONTAINER_OF(call, struct guest_unit, look_call);
    bool serves = !strcmp(member_text(answer, "phase"), "post-copy") && json_object_get(answer, "bytes-sent");
    (void)text;
    if (rc || !serves || !u->plan || u->phase != GUEST_PHASE_RUNNING)
        return;
    log_warn("guest %s: its process is that of a guest that has left: it is started anew", u->id);
    u->dropped = true;
    process_signal(&u->process, SIGKILL);
}

/* A guest that an agent before us started. */
static bool adopt(struct guest_unit *u)
{
    if (connect_link(u))
        return false;
    pid_t pid = guest_link_pid(u->link);
    struct err err;
    if (process_adopt(&u->process, pid, process_start_ticks(pid), &err)) {
        guest_link_close(u->link);
        u->link = NULL;
        return false;
    }
    log_info("guest %s: runs already, process %d", u->id, pid);
    u->bound = true;
    u->look_call = (struct guest_call){.done = looked, .type = CONTROL_MIGRATION};
    guest_link_call(u->link, &u->look_call);
    enter(u, incoming(u) ? GUEST_PHASE_INCOMING : GUEST_PHASE_RUNNING);
    return true;
}

/* ---- start ---- */

static int hand_over(struct guest_unit *u, struct guest_handed *h, struct err *err)
{
    char control[PATH_MAX + 8] = "unix:", console[PATH_MAX + 8] = "unix:";
    path_of(u, "sock", control + strlen(control));
    path_of(u, "console", console + strlen(console));
    json_t *config = json_deep_copy(json_object_get(u->plan, "config"));
    json_object_set_new(config, "control", json_string(control));
    json_object_set_new(config, "console", json_string(console));
    u->bound = is_protected(u);
    if (u->bound) /* one that is past already lets it begin frozen */
        json_object_set_new(config, "lease-until",
                            json_integer(u->place->tenure->until_ns ? (json_int_t)u->place->tenure->until_ns : 1));
    h->count = 1; /* the configuration is the first, and the last that is made */
    h->fds[0] = -1;
    int rc = guest_handed_keys(h, config, u->place->state, err);
    if (!rc && incoming(u))
        rc = guest_handed_incoming(h, config, u->place, incoming(u), u->address, err);
    if (!rc)
        rc = guest_handed_epochs(config, json_object_get(u->made_of, "epochs"), err);
    if (!rc)
        rc = h->fds[0] = process_file_json(config, err);
    json_decref(config);
    return rc < 0 ? rc : 0;
}

static int spawn(struct guest_unit *u, struct err *err)
{
    struct guest_handed handed;
    int rc = hand_over(u, &handed, err);
    if (rc) {
        guest_handed_close(&handed);
        return rc;
    }
    char log[PATH_MAX];
    path_of(u, "log", log);
    int output = guest_log_open(log, u->id);
    char *argv[] = {(char *)(uintptr_t) "drover-guest", (char *)(uintptr_t) "run", (char *)(uintptr_t) "--config",
                    (char *)(uintptr_t) "/proc/self/fd/3", NULL};
    struct process_start start = {
        .program = u->place->program, .argv = argv, .fds = handed.fds, .fd_count = handed.count, .output = output};
    rc = process_start(&u->process, &start, err);
    guest_handed_close(&handed);
    if (output >= 0)
        close(output);
    if (!rc && cgroup_add(u->place->cgroups, u->id, u->process.pid, err))
        log_warn("guest %s: %s", u->id, err->text);
    return rc;
}

static int limit(struct guest_unit *u, struct err *err)
{
    const json_t *limits = json_object_get(u->plan, "limits");
    struct cgroup_limits l = {
        .cpu_percent = (uint32_t)json_integer_value(json_object_get(limits, "cpu_percent")),
        .cpu_weight = (uint32_t)json_integer_value(json_object_get(limits, "cpu_weight")),
        .memory_bytes = (uint64_t)json_integer_value(json_object_get(limits, "memory_bytes")),
        .tasks = TASK_MAX,
    };
    return cgroup_set(u->place->cgroups, u->id, &l, err);
}

static void back_off(struct guest_unit *u, bool afresh)
{
    uint64_t first = restart_policy_of(u->plan).delay_ms, last = first > BACKOFF_LAST_MS ? first : BACKOFF_LAST_MS;
    uint64_t next = afresh || u->backoff_ms < first ? first : u->backoff_ms * 2;
    u->backoff_ms = next > last ? last : next;
}

static void fail(struct guest_unit *u)
{
    log_warn("guest %s: %s", u->id, u->reason.text);
    back_off(u, false);
    begin_clean(u);
}

static void prepared(struct guest_unit *u)
{
    struct err err = {0};
    if (!u->plan || u->yields) {
        begin_clean(u);
        return;
    }
    int rc = u->chore.rc;
    if (rc)
        err = u->chore.err;
    else
        rc = limit(u, &err);
    if (!rc)
        rc = spawn(u, &err);
    if (rc) {
        u->reason = err;
        fail(u);
        return;
    }
    u->tries = 0;
    u->lost = (struct err){0};
    u->off = u->stop_asked = false;
    set_timer(u, ANSWER_MS);
    enter(u, GUEST_PHASE_STARTING);
}

/* ---- end ---- */

static bool policy_is(const struct guest_unit *u, const char *policy)
{
    return !strcmp(member_text(u->plan, "restart"), policy);
}

static void cleaned(struct guest_unit *u)
{
    if (u->chore.rc)
        log_warn("guest %s: %s", u->id, u->chore.err.text);
    cgroup_remove(u->place->cgroups, u->id, NULL);
    if (!u->plan || u->dropped) {
        u->dropped = false;
        u->reason = (struct err){0};
        enter(u, GUEST_PHASE_STOPPED);
    } else if (u->off && !policy_is(u, "always")) {
        json_decref(u->plan);
        u->plan = NULL;
        enter(u, GUEST_PHASE_STOPPED);
        u->handler->off(u->handler, u);
        return;
    } else if (u->restarts.down || incoming(u) || (policy_is(u, "never") && !u->again)) {
        enter(u, GUEST_PHASE_FAILED);
    } else {
        u->restarts.count += u->off;
        set_timer(u, u->backoff_ms);
        enter(u, GUEST_PHASE_WAITING);
    }
    step(u);
}

static void begin_clean(struct guest_unit *u)
{
    enter(u, GUEST_PHASE_CLEANING);
    begin_chore(u, CHORE_CLEAN, u->made_of);
    u->made_of = NULL;
}

static void process_ended(struct process *process, int status)
{
    struct guest_unit *u = CONTAINER_OF(process, struct guest_unit, process);
    uint64_t ran_ms = clock_ms() - u->since_ms;
    bool ran = u->phase == GUEST_PHASE_RUNNING;
    guest_link_close(u->link);
    u->link = NULL;
    guest_deadline_end(&u->deadline);
    u->bound = false;
    loop_timer_clear(u->place->loop, &u->timer);
    if (ran && !u->stop_asked && !u->ending && status == 0)
        u->off = true;
    u->again = false;
    if (!u->plan || u->off || u->dropped)
        u->reason = (struct err){0};
    else
        judge(u, status, ran);
    u->ending = false;
    u->trouble = RESTART_CAUSES;
    back_off(u, ran && ran_ms >= STEADY_MS);
    begin_clean(u);
}

static void stop_answered(struct guest_call *call, int rc, const json_t *answer, const char *text)
{
    struct guest_unit *u = CONTAINER_OF(call, struct guest_unit, stop_call);
    (void)answer;
    u->stop_call.done = NULL;
    if (rc && rc != -EPIPE)
        log_debug("guest %s: %s", u->id, text);
}

static void begin_stop(struct guest_unit *u)
{
    u->stop_asked = true;
    set_timer(u, u->stop_ms);
    enter(u, GUEST_PHASE_STOPPING);
    if (!u->link || u->stop_call.done)
        return;
    u->stop_call = (struct guest_call){.done = stop_answered, .type = CONTROL_POWERDOWN};
    guest_link_call(u->link, &u->stop_call);
}

void guest_unit_hurry(struct guest_unit *u)
{
    if (u->phase == GUEST_PHASE_STOPPING)
        process_signal(&u->process, SIGTERM); /* drover-guest gives I/O in flight two seconds */
}

/* ---- the machine ---- */

static void chore_done(struct worker_task *task)
{
    struct guest_chore *c = CONTAINER_OF(task, struct guest_chore, task);
    struct guest_unit *u = c->unit;
    json_decref(c->plan);
    c->plan = NULL;
    c->busy = false;
    if (u->freed)
        free_if_idle(u);
    else if (c->kind == CHORE_PREPARE)
        prepared(u);
    else if (c->kind == CHORE_CLEAN)
        cleaned(u);
    else if (c->rc)
        log_warn("guest %s: %s", u->id, c->err.text);
}

/* Its neighbours are told where it is now. */
static void announce(struct guest_unit *u)
{
    if (u->made_of && !u->announcement.busy)
        begin_chore(u, CHORE_ANNOUNCE, json_deep_copy(u->made_of));
}

static void claimed(void *context, int rc, const json_t *epochs, const struct err *err)
{
    struct guest_unit *u = context;
    u->claim = NULL;
    if (rc) {
        err_set(&u->reason, -rc, "its volumes cannot be claimed: %s",
                rc == -ESTALE ? "something of the guest or of them has changed meanwhile" : err->text);
        fail(u);
        return;
    }
    if (!u->plan) {
        begin_clean(u);
        return;
    }
    json_object_set_new(u->made_of, "epochs", json_deep_copy(epochs));
    begin_chore(u, CHORE_PREPARE, json_deep_copy(u->made_of));
}

/* Its process will be the owner of these from its start on, and nobody before it any more; and they lie where the plan
 * has them. */
static void begin_claim(struct guest_unit *u)
{
    struct err err = {0};
    u->claim = owner_claim(u->place->cluster, u->id, json_object_get(u->made_of, "volumes"),
                           json_object_get(u->made_of, "moves"), claimed, u, &err);
    if (u->claim)
        return;
    u->reason = err;
    fail(u);
}

/* Another node may have it, or be about to. One that comes does not run before it is this node's. */
static bool must_be_sure(const struct guest_unit *u)
{
    return is_protected(u) && !incoming(u) && !tenure_starts(u->place->tenure, clock_boot_ns());
}

static void begin_prepare(struct guest_unit *u)
{
    if (adopt(u))
        return;
    if (u->restarts.down) {
        struct restart_policy policy = restart_policy_of(u->plan);
        explain(u, &policy);
        enter(u, GUEST_PHASE_FAILED);
        return;
    }
    if (u->yields || json_is_true(json_object_get(u->plan, "held")) || must_be_sure(u)) {
        if (u->phase != GUEST_PHASE_WAITING)
            enter(u, GUEST_PHASE_WAITING);
        return;
    }
    enter(u, GUEST_PHASE_PREPARING);
    json_decref(u->made_of);
    u->made_of = json_deep_copy(u->plan);
    if (json_array_size(json_object_get(u->plan, "volumes")) || json_object_size(json_object_get(u->plan, "moves")))
        begin_claim(u);
    else
        begin_chore(u, CHORE_PREPARE, json_deep_copy(u->plan));
}

static void step(struct guest_unit *u)
{
    switch (u->phase) {
    case GUEST_PHASE_STOPPED:
        if (u->plan)
            begin_prepare(u);
        break;
    case GUEST_PHASE_WAITING:
    case GUEST_PHASE_FAILED:
        if (!u->plan) {
            loop_timer_clear(u->place->loop, &u->timer);
            u->reason = (struct err){0};
            enter(u, GUEST_PHASE_STOPPED);
        }
        break;
    case GUEST_PHASE_STARTING:
        if (!u->plan)
            process_signal(&u->process, SIGTERM);
        break;
    case GUEST_PHASE_INCOMING:
        if (!u->plan)
            guest_unit_drop(u);
        else if (!incoming(u))
            go_on(u);
        break;
    case GUEST_PHASE_LEAVING:
        if (!u->plan)
            break;
        u->dropped = true; /* it comes back, and begins anew */
        process_signal(&u->process, SIGKILL);
        break;
    case GUEST_PHASE_RUNNING:
        if (!u->plan)
            begin_stop(u);
        break;
    default: /* what is under way comes back here */
        break;
    }
}

static void timer_fired(struct loop_timer *timer)
{
    struct guest_unit *u = CONTAINER_OF(timer, struct guest_unit, timer);
    switch (u->phase) {
    case GUEST_PHASE_STARTING:
        if (!u->link)
            connect_link(u);
        if (++u->tries < ANSWER_TRIES)
            set_timer(u, ANSWER_MS);
        else
            process_signal(&u->process, SIGKILL);
        break;
    case GUEST_PHASE_INCOMING:
    case GUEST_PHASE_LEAVING:
    case GUEST_PHASE_RUNNING: /* the link was lost, or it is to end */
        if (u->ending && u->link)
            process_signal(&u->process, SIGKILL);
        if (!u->link && connect_link(u))
            set_timer(u, ANSWER_MS);
        break;
    case GUEST_PHASE_STOPPING:
        guest_unit_hurry(u);
        break;
    case GUEST_PHASE_WAITING:
        begin_prepare(u);
        break;
    default:
        break;
    }
}

/* ---- what others see ---- */

struct guest_unit *guest_unit_new(const struct guest_place *place, const char *id, struct guest_unit_handler *handler)
{
    struct guest_unit *u = calloc(1, sizeof *u);
    if (!u)
        return NULL;
    u->place = place;
    u->handler = handler;
    snprintf(u->id, sizeof u->id, "%s", id);
    u->timer.fire = timer_fired;
    u->link_handler =
        (struct guest_link_handler){.open = link_open, .event = link_event, .health = link_health, .lost = link_lost};
    u->trouble = RESTART_CAUSES;
    u->deadline = (struct guest_deadline){.loop = place->loop, .changed = deadline_changed};
    guest_deadline_init(&u->deadline);
    u->stop_ms = STOP_SECONDS * 1000;
    process_init(&u->process, place->loop, process_ended);
    u->process.released = process_released;
    return u;
}

static void take_plan(struct guest_unit *u, const json_t *plan)
{
    json_decref(u->plan);
    u->plan = plan ? json_deep_copy(plan) : NULL;
    if (plan)
        restart_forgive(&u->restarts, member_text(plan, "started"));
    json_int_t patience = json_integer_value(json_object_get(plan, "stop_seconds"));
    if (patience > 0)
        u->stop_ms = (uint64_t)patience * 1000;
}

void guest_unit_want(struct guest_unit *u, const json_t *plan)
{
    bool same = plan && u->plan && json_equal(plan, u->plan);
    if (same)
        return;
    take_plan(u, plan);
    if (plan && (u->phase == GUEST_PHASE_WAITING || u->phase == GUEST_PHASE_FAILED)) {
        loop_timer_clear(u->place->loop, &u->timer); /* it may be what was wrong */
        u->backoff_ms = 0;
        begin_prepare(u);
        return;
    }
    if (!plan && u->phase == GUEST_PHASE_STOPPED)
        adopt(u);
    step(u);
}

void guest_unit_find(struct guest_unit *u, const json_t *plan)
{
    if (u->phase != GUEST_PHASE_STOPPED)
        return;
    take_plan(u, plan);
    if (!adopt(u))
        take_plan(u, NULL);
}

void guest_unit_drop(struct guest_unit *u)
{
    json_decref(u->plan);
    u->plan = NULL;
    if (u->phase == GUEST_PHASE_STOPPED)
        adopt(u);
    u->dropped = u->process.pid;
    if (u->dropped)
        process_signal(&u->process, SIGKILL); /* process_ended() cleans up */
    else
        step(u);
}

void guest_unit_let_go(struct guest_unit *u)
{
    char path[PATH_MAX];
    json_decref(u->plan);
    u->plan = NULL;
    if (u->phase == GUEST_PHASE_STOPPED)
        adopt(u);
    if (u->phase == GUEST_PHASE_RUNNING) {
        u->reason = (struct err){0};
        u->bound = false; /* the guest never runs here again */
        path_of(u, "sock", path);
        guest_deadline_set(&u->deadline, path, 0);
        enter(u, GUEST_PHASE_LEAVING);
    } else if (u->phase != GUEST_PHASE_LEAVING && u->phase != GUEST_PHASE_CLEANING) {
        guest_unit_drop(u);
    }
}

void guest_unit_give_up(struct guest_unit *u, const char *why)
{
    if (!u->process.pid)
        return;
    if (u->plan)
        err_set(&u->lost, EIO, "%s", why);
    process_signal(&u->process, SIGKILL);
}

void guest_unit_yield(struct guest_unit *u, bool yields)
{
    bool resumes = u->yields && !yields && u->phase == GUEST_PHASE_WAITING;
    u->yields = yields;
    if (resumes)
        begin_prepare(u);
    if (!yields || !u->process.pid)
        return;
    u->dropped = true;
    process_signal(&u->process, SIGKILL);
}

int guest_unit_call(struct guest_unit *u, struct guest_call *call)
{
    if (!u->link || (u->phase != GUEST_PHASE_RUNNING && u->phase != GUEST_PHASE_LEAVING))
        return -ENOTCONN;
    guest_link_call(u->link, call);
    return 0;
}

void guest_unit_free(struct guest_unit *u)
{
    if (!u)
        return;
    loop_timer_clear(u->place->loop, &u->timer);
    guest_link_close(u->link);
    u->link = NULL;
    guest_deadline_end(&u->deadline);
    owner_claim_forget(u->claim);
    process_forget(&u->process);
    json_decref(u->plan);
    json_decref(u->made_of);
    u->plan = u->made_of = NULL;
    u->freed = true;
    free_if_idle(u);
}
