/* A guest that leaves for another process, or comes from one: what migrate_source.h and migrate_target.h ask of it, and
 * what is asked of them by control. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hv/gdb.h"
#include "hv/guest_files.h"
#include "hv/guest_inside.h"
#include "hv/memory.h"
#include "hv/migrate_crew.h"
#include "hv/migrate_facts.h"
#include "hv/state.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"

#define NS_PER_S UINT64_C(1000000000)
enum { NS_PER_MS = 1000000, DOWNTIME_MS = 100, PATIENCE_MS = 10000, MONTH_S = 30 * 86400, REOPEN_NS = 1000000000 };

static struct guest *guest_of(struct migrate_source_host *host)
{
    return CONTAINER_OF(host, struct guest, source_host);
}

static struct guest *coming(struct migrate_target_host *host)
{
    return CONTAINER_OF(host, struct guest, target_host);
}

static json_t *facts(struct guest *g)
{
    struct migrate_facts f = {g->config, &g->vm->model, g->memory, g->engine->name};
    return migrate_facts_of(&f, board_devices(g->board));
}

/* ---- the source ---- */

static json_t *source_facts(struct migrate_source_host *host)
{
    return facts(guest_of(host));
}

static int log_start(struct migrate_source_host *host, struct err *err)
{
    struct guest *g = guest_of(host);
    return g->engine->log_start(g->vm, err);
}

static void log_take(struct migrate_source_host *host, uint64_t **bitmaps)
{
    struct guest *g = guest_of(host);
    g->engine->log_sync(g->vm);
    for (unsigned i = 0; i < memory_slot_count(g->memory); i++)
        memory_log_take(g->memory, i, bitmaps[i]);
    if (g->engine->log_taken)
        g->engine->log_taken(g->vm);
}

static void log_stop(struct migrate_source_host *host)
{
    struct guest *g = guest_of(host);
    g->engine->log_stop(g->vm);
}

static void throttle(struct migrate_source_host *host, unsigned throttle)
{
    guest_throttle(guest_of(host), throttle);
}

static void prepare(struct migrate_source_host *host)
{
    struct guest *g = guest_of(host);
    struct err err;
    if (board_flush_disks(g->board, &err))
        log_warn("%s: %s", g->config->name, err.text); /* stop() fails for it, if it stays so */
}

static int source_stop(struct migrate_source_host *host, const void **state, size_t *bytes, json_t **last,
                       struct err *err)
{
    struct guest *g = guest_of(host);
    bool runs = g->state == GUEST_RUNNING;
    if (g->busy || g->state == GUEST_FAILED)
        return err_set(err, EAGAIN, "the guest is being saved or reset, or has failed");
    int rc = guest_quiesce(g, GUEST_IMPATIENT, err);
    if (rc)
        return rc;
    guest_throttle(g, 0); /* once it stands: let go, it writes as fast as it can until it does */
    if (atomic_load(&g->wishes) & ~(unsigned)GUEST_WISH_NEWS & ~(unsigned)GUEST_WISH_NEWS)
        rc = err_set(err, EAGAIN, "the guest resets itself or switches itself off at this moment");
    rc = rc ? rc : guest_snapshot(g, &g->handed_state, state, bytes, err);
    rc = rc ? rc : board_flush_disks(g->board, err);
    if (rc) {
        state_free(g->handed_state);
        g->handed_state = NULL;
        guest_unquiesce(g);
        return rc;
    }
    g->runs_again = runs;
    g->state = GUEST_PAUSED; /* busy, too: nobody lets it go on but go_on() */
    *last = json_pack("{s:b, s:o}", "running", runs, "disks", board_close_disks(g->board));
    return 0;
}

/* The source goes on where it stood. As long as its disks cannot be opened (the destination has them still, or a fence
 * says no), it stands, and they are tried again. */
static bool open_again(struct guest *g, struct err *err)
{
    if (board_open_disks(g->board, err))
        return false;
    if (g->runs_again)
        g->state = GUEST_RUNNING;
    guest_unquiesce(g);
    return true;
}

static void try_again(struct loop_timer *timer)
{
    struct guest *g = CONTAINER_OF(timer, struct guest, reopen_timer);
    struct err err;
    if (open_again(g, &err)) {
        log_info("%s: goes on: its disks are open again", g->config->name);
        control_event(g->control, "disks-open", "the guest goes on");
    } else if (!g->quitting) {
        loop_timer_set(g->loop, timer, clock_ns() + REOPEN_NS);
    }
}

void guest_go_on(struct guest *g)
{
    struct err err;
    if (g->quitting) /* it may run elsewhere already: its disks are not touched any more */
        return;
    if (open_again(g, &err))
        return;
    log_error("%s: stands still, because its disks cannot be opened again: %s", g->config->name, err.text);
    control_event(g->control, "disks-closed", err.text);
    g->reopen_timer.fire = try_again;
    loop_timer_set(g->loop, &g->reopen_timer, clock_ns() + REOPEN_NS);
}

static void go_on(struct migrate_source_host *host)
{
    struct guest *g = guest_of(host);
    state_free(g->handed_state);
    g->handed_state = NULL;
    guest_go_on(g);
}

static void source_changed(struct migrate_source_host *host, enum migrate_phase phase)
{
    struct guest *g = guest_of(host);
    control_tell(g->control, "migration", migrate_phase_name(phase), migrate_source_report(g->source));
}

static void source_ended(struct migrate_source_host *host, enum migrate_phase phase, const struct err *why)
{
    struct guest *g = guest_of(host);
    const char *text = why ? why->text : "the guest runs at its destination";
    if (phase == MIGRATE_PHASE_DONE)
        log_info("%s: moved away", g->config->name);
    else if (phase == MIGRATE_PHASE_UNCONFIRMED)
        log_error("%s: was handed over and nobody says that it runs there: it stands here for good: %s",
                  g->config->name, text);
    else
        log_warn("%s: stays here: %s", g->config->name, text);
    control_tell(g->control, "migration", text, migrate_source_report(g->source));
    if (phase == MIGRATE_PHASE_DONE)
        guest_quit(g, EXIT_SUCCESS);
}

/* ---- the destination ---- */

static int judge(struct migrate_target_host *host, const json_t *source, struct err *err)
{
    json_t *here = facts(coming(host));
    int rc = here ? migrate_facts_fit(source, here, err) : err_set(err, ENOMEM, "no memory to compare the guest");
    json_decref(here);
    return rc;
}

static int load(struct migrate_target_host *host, const void *state, size_t bytes, const json_t *last, struct err *err)
{
    struct guest *g = coming(host);
    g->runs_again = json_is_true(json_object_get(last, "running"));
    int rc = board_tell_disks(g->board, json_object_get(last, "disks"), err);
    rc = rc ? rc : board_open_disks(g->board, err);
    return rc ? rc : guest_adopt(g, state, bytes, err);
}

static uint64_t start(struct migrate_target_host *host)
{
    struct guest *g = coming(host);
    g->state = g->runs_again ? GUEST_RUNNING : GUEST_PAUSED;
    g->went_ns = 0;
    guest_unquiesce(g);
    board_announce(g->board);
    board_listen(g->board);
    return g->went_ns;
}

static void target_changed(struct migrate_target_host *host, enum migrate_target_phase phase)
{
    struct guest *g = coming(host);
    control_tell(g->control, "migration", migrate_target_phase_name(phase), migrate_target_report(g->target));
}

static void target_ended(struct migrate_target_host *host, enum migrate_target_phase phase, const struct err *why)
{
    struct guest *g = coming(host);
    const char *text = why ? why->text : "the guest runs here";
    if (phase == MIGRATE_TARGET_RUN)
        log_info("%s: has come", g->config->name);
    else
        log_error("%s: does not come: %s", g->config->name, text);
    control_tell(g->control, "migration", text, migrate_target_report(g->target));
    if (phase == MIGRATE_TARGET_OVER)
        guest_quit(g, EXIT_FAILURE);
    else
        guest_arrived(g);
}

/* ---- building and ending ---- */

int guest_migrate_build(struct guest *g, struct err *err)
{
    g->source_host = (struct migrate_source_host){.facts = source_facts,
                                                  .log_start = log_start,
                                                  .log_take = log_take,
                                                  .log_stop = log_stop,
                                                  .throttle = throttle,
                                                  .prepare = prepare,
                                                  .stop = source_stop,
                                                  .go_on = go_on,
                                                  .changed = source_changed,
                                                  .ended = source_ended};
    g->target_host = (struct migrate_target_host){
        .judge = judge, .load = load, .start = start, .changed = target_changed, .ended = target_ended};
    g->crew = migrate_crew_new(g->loop, MIGRATE_STREAMS_MAX, err);
    return g->crew ? 0 : -1;
}

int guest_migrate_listen(struct guest *g, struct err *err)
{
    int rc = guest_quiesce(g, GUEST_PATIENT, err);
    if (rc)
        return rc;
    g->state = GUEST_INCOMING;
    g->target_host.late_fd = g->files->late;
    g->target = migrate_target_start(g->crew, g->memory, &g->target_host, g->files->incoming, &g->files->key, err);
    g->files->incoming = -1;
    migrate_key_wipe(&g->files->key);
    return g->target ? 0 : -1;
}

void guest_migrate_end(struct guest *g)
{
    guest_look_end(g);
    loop_timer_clear(g->loop, &g->reopen_timer);
    if (g->source && !migrate_source_is_over(g->source))
        migrate_source_abandon(g->source);
    if (g->target && !migrate_target_is_over(g->target))
        migrate_target_cancel(g->target);
    while (g->crew && !g->filling && migrate_crew_works(g->crew))
        loop_step(g->loop);
}

void guest_migrate_free(struct guest *g)
{
    migrate_source_free(g->source);
    migrate_target_free(g->target);
    migrate_crew_free(g->crew);
    state_free(g->handed_state);
}

/* ---- control ---- */

static int number_in(const json_t *body, const char *key, json_int_t preset, json_int_t max, uint64_t *value,
                     struct err *err)
{
    const json_t *v = json_object_get(body, key);
    json_int_t n = v ? json_integer_value(v) : preset;
    if ((v && !json_is_integer(v)) || n < 0 || n > max)
        return err_set(err, EINVAL, "%s: must be a number from 0 to %lld", key, (long long)max);
    *value = (uint64_t)n;
    return 0;
}

int guest_migrate_goal(const json_t *body, struct migrate_goal *goal, struct err *err)
{
    uint64_t downtime_ms = 0, within_s = 0;
    int rc = number_in(body, "downtime-ms", DOWNTIME_MS, MONTH_S * 1000ll, &downtime_ms, err);
    rc = rc ? rc : number_in(body, "within-s", 0, MONTH_S, &within_s, err);
    if (!rc && !downtime_ms)
        rc = err_set(err, EINVAL, "downtime-ms: must not be 0");
    *goal = (struct migrate_goal){.downtime_ns = downtime_ms * NS_PER_MS,
                                  .within_ns = within_s * NS_PER_S,
                                  .throttles = !json_is_false(json_object_get(body, "throttle")),
                                  .late = json_is_true(json_object_get(body, "post-copy"))};
    return rc;
}

static int read_request(const json_t *body, struct migrate_request *r, struct err *err)
{
    uint64_t patience_ms = 0;
    int rc = guest_migrate_goal(body, &r->goal, err);
    rc = rc ? rc : number_in(body, "bandwidth", 0, INT64_MAX, &r->bandwidth, err);
    rc = rc ? rc : number_in(body, "patience-ms", PATIENCE_MS, MONTH_S * 1000ll, &patience_ms, err);
    if (!rc && !patience_ms)
        rc = err_set(err, EINVAL, "patience-ms: must not be 0");
    r->patience_ns = patience_ms * NS_PER_MS;
    r->hold = json_is_true(json_object_get(body, "hold"));
    return rc;
}

static int begin(struct guest *g, struct control_request *request, struct err *err)
{
    struct migrate_request r = {.streams = request->fd_count - 1};
    int rc = guest_late_wait(g, err);
    if (rc)
        return rc;
    if (guest_is_arriving(g))
        return err_set(err, EBUSY, "not all of its memory has come yet: wait until \"migration\" says \"done\"");
    if (g->busy) /* since */
        return err_set(err, EBUSY, "not while the guest is being saved or reset");
    if (g->source && !migrate_source_is_over(g->source))
        return err_set(err, EBUSY, "the guest is on its way already");
    if (!board_disks_are_open(g->board))
        return err_set(err, EBUSY, "the guest stands, as its disks are closed");
    if (gdb_is_attached(g->gdb))
        return err_set(err, EBUSY, "a debugger is attached");
    rc = read_request(request->body, &r, err);
    if (rc)
        return rc;
    rc = migrate_key_read(&r.key, request->fds[0], err);
    request->fds[0] = -1;
    if (rc)
        return rc;
    for (unsigned i = 0; i < r.streams; i++) {
        r.fds[i] = request->fds[i + 1];
        request->fds[i + 1] = -1;
    }
    guest_look_end(g);
    migrate_source_free(g->source);
    g->source = migrate_source_start(g->crew, g->memory, &g->source_host, &r, err);
    migrate_key_wipe(&r.key);
    return g->source ? 0 : err->code ? -err->code : -ENOMEM;
}

static int resume(struct guest *g, struct control_request *request, struct err *err)
{
    if (!g->source || migrate_source_is_over(g->source))
        return err_set(err, EBUSY, "no migration is under way");
    int rc = migrate_source_resume(g->source, request->fds, request->fd_count, err);
    for (unsigned i = 0; !rc && i < request->fd_count; i++)
        request->fds[i] = -1;
    return rc;
}

/* {"epochs": [number or null, ...]}: of whom the disks' volumes are if the guest stays. */
static int set_epochs(struct guest *g, const json_t *body, struct err *err)
{
    const json_t *epochs = json_object_get(body, "epochs"), *one;
    size_t i;
    int rc = 0;
    json_array_foreach (epochs, i, one)
        if (json_is_integer(one) && !rc)
            rc = board_set_epoch(g->board, (unsigned)i, (uint64_t)json_integer_value(one), err);
    return rc;
}

static int cancel(struct guest *g, const json_t *body, struct err *err)
{
    bool over = !g->source || migrate_source_is_over(g->source);
    if (over && board_disks_are_open(g->board))
        return err_set(err, EBUSY, "no migration is under way");
    int rc = set_epochs(g, body, err);
    if (rc)
        return rc;
    if (!over)
        return migrate_source_cancel(g->source, err);
    loop_timer_clear(g->loop, &g->reopen_timer);
    try_again(&g->reopen_timer); /* it had stayed, and stands because they could not be opened */
    return 0;
}

static json_t *report(struct guest *g)
{
    if (g->source)
        return migrate_source_report(g->source);
    return g->target ? migrate_target_report(g->target) : json_pack("{s:s}", "phase", "none");
}

bool guest_is_arriving(const struct guest *g)
{
    return g->target && migrate_target_is_late(g->target);
}

void guest_arriving_end(struct guest *g)
{
    if (!guest_is_arriving(g))
        return;
    log_warn("%s: ends before all of its memory has come: as by a power cut", g->config->name);
    control_free(g->control); /* the last answers leave */
    _exit(g->exit_code);
}

bool guest_is_moving(const struct guest *g)
{
    return g->source && !migrate_source_is_over(g->source);
}

int guest_migrate_handle(struct guest *g, struct control_request *request, json_t **answer, struct err *err)
{
    switch (request->type) {
    case CONTROL_MIGRATE:
        return g->busy ? err_set(err, EBUSY, "not while the guest is being saved or reset") : begin(g, request, err);
    case CONTROL_FORECAST:
        if (guest_is_arriving(g))
            return err_set(err, EBUSY, "not all of its memory has come yet");
        return g->busy ? err_set(err, EBUSY, "not while the guest is being saved or reset")
                       : guest_forecast(g, request->body, answer, err);
    case CONTROL_MIGRATION:
        *answer = report(g);
        return 0;
    case CONTROL_MIGRATE_GO:
        return g->source ? migrate_source_go(g->source, err) : err_set(err, EBUSY, "no migration is under way");
    case CONTROL_MIGRATE_RESUME:
        return resume(g, request, err);
    case CONTROL_MIGRATE_CANCEL:
        return cancel(g, request->body, err);
    default:
        return g->target ? migrate_target_go(g->target, err) : err_set(err, EBUSY, "no guest is coming");
    }
}
