/* See guest.h. What the guest asks of the machine (reset, power-off) comes from vCPU threads under the bus lock; it
 * becomes a flag and a message to the main loop, which alone starts and stops things. */
#include "hv/guest.h"

#include <errno.h>
#include <liburing.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hv/bus.h"
#include "hv/gdb.h"
#include "hv/guest_files.h"
#include "hv/guest_inside.h"
#include "hv/guest_jail.h"
#include "hv/late_pages.h"
#include "hv/memory.h"
#include "hv/timers.h"
#include "nbd/blk.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"

#define DISK_PATIENCE_NS UINT64_C(5000000000)
enum { END_PATIENCE_NS = 2000000000 };

/* ---- going and standing ---- */

static void go(struct guest *g)
{
    board_resume(g->board);
    gdb_going(g->gdb);
    if (!g->stands_late) {
        timers_start(g->timers);
        g->engine->resume(g->vm);
    }
    g->stands_late = false;
    g->went_ns = clock_ns();
    vcpus_go(g->vcpus);
}

/* A vCPU that waits for a page of a source that may be gone cannot be waited for: the loop is needed. Its first
 * instruction after that is not executed, and the guest's time runs on; guest_quiesce() does the rest. */
static void halt(struct guest *g)
{
    g->stands_late = guest_is_arriving(g);
    if (g->stands_late) {
        vcpus_ask(g->vcpus);
        return;
    }
    vcpus_park(g->vcpus);
    g->engine->pause(g->vm);
    timers_stop(g->timers);
    gdb_standing(g->gdb);
}

bool guest_is_going(const struct guest *g)
{
    return g->state == GUEST_RUNNING && !g->lease.frozen;
}

void guest_resume(struct guest *g)
{
    if (g->state == GUEST_RUNNING)
        return;
    g->state = GUEST_RUNNING;
    if (guest_is_going(g))
        go(g);
}

static void stand(struct guest *g, enum guest_state state)
{
    if (guest_is_going(g))
        halt(g);
    g->state = state;
}

void guest_pause(struct guest *g)
{
    stand(g, GUEST_PAUSED);
}

void guest_quit(struct guest *g, int exit_code)
{
    if (g->quitting)
        return;
    g->quitting = true;
    g->exit_code = exit_code;
    if (g->running)
        loop_stop(g->loop);
}

bool guest_gives_up(void *context)
{
    struct guest *g = context;
    return g->quitting;
}

static void post_wishes(struct guest *g)
{
    if (!atomic_exchange(&g->wish_posted, true))
        loop_post(g->loop, &g->wish_message);
}

void guest_wishes_again(struct guest *g)
{
    if (atomic_load(&g->wishes))
        post_wishes(g);
}

void guest_arrived(struct guest *g)
{
    if (g->stands_late && !g->busy)
        halt(g); /* nobody waits for a page any more */
    guest_wishes_again(g);
}

/* Devices of a guest that does not run rest on: they would work on what it asked of them, and it would not be what was
 * saved or loaded any more. */
void guest_unquiesce(struct guest *g)
{
    guest_lease_look(&g->lease); /* the loop may not have been turned for long */
    g->busy = false;
    if (atomic_load(&g->wishes))
        post_wishes(g); /* what came while it was busy */
    if (g->lease.frozen)
        board_hold(g->board);
    else if (g->state == GUEST_RUNNING)
        go(g);
    gdb_hold(g->gdb, false);
}

/* ---- its lease ---- */

/* While it is busy it stands anyway, and guest_unquiesce() does the rest. Whatever turns the loop is not waited for:
 * the deadline is one. */
static void lease_changed(struct guest_lease *lease)
{
    struct guest *g = CONTAINER_OF(lease, struct guest, lease);
    if (lease->frozen)
        log_warn("%s: frozen: its lease was not extended, so another node may run it", g->config->name);
    else
        log_info("%s: goes on: its lease was extended", g->config->name);
    if (!g->busy && g->running && g->state == GUEST_RUNNING && !lease->frozen)
        go(g);
    if (!g->busy && g->running && lease->frozen) {
        if (g->state == GUEST_RUNNING)
            halt(g);
        board_hold(g->board);
    }
    if (!lease->frozen && atomic_load(&g->wishes))
        post_wishes(g);
    control_event(g->control, lease->frozen ? "frozen" : "thawed", "by its lease");
}

/* ---- waiting for disks ---- */

struct wait {
    struct guest *guest;
    enum guest_patience patience;
    struct loop_timer timer;
    int stuck; /* a disk, or -1 */
};

/* A disk that completes something is only slow. */
static void look_at_disks(struct loop_timer *timer)
{
    struct wait *w = CONTAINER_OF(timer, struct wait, timer);
    struct guest *g = w->guest;
    int before = w->stuck;
    w->stuck = board_stuck_disk(g->board);
    if (w->stuck >= 0 && w->patience == GUEST_IMPATIENT)
        return;
    if (w->stuck >= 0 && before < 0)
        log_warn("%s: waits for disks[%d], which does not answer", g->config->name, w->stuck);
    loop_timer_set(g->loop, &w->timer, clock_ns() + DISK_PATIENCE_NS);
}

static bool waits_no_longer(void *context)
{
    const struct wait *w = context;
    return w->guest->quitting || (w->stuck >= 0 && w->patience == GUEST_IMPATIENT);
}

int guest_quiesce(struct guest *g, enum guest_patience patience, struct err *err)
{
    struct wait w = {.guest = g, .patience = patience, .timer.fire = look_at_disks, .stuck = -1};
    if (guest_is_going(g) || g->stands_late)
        halt(g);
    g->busy = true;
    gdb_hold(g->gdb, true);
    board_stuck_disk(g->board); /* from here on */
    loop_timer_set(g->loop, &w.timer, clock_ns() + DISK_PATIENCE_NS);
    int rc = board_quiesce(g->board, waits_no_longer, &w);
    loop_timer_clear(g->loop, &w.timer);
    if (rc && g->quitting)
        return err_set(err, -rc, "the guest ended while its devices were brought to rest");
    if (!rc)
        return 0;
    guest_unquiesce(g);
    return err_set(
        err, ETIMEDOUT,
        "disks[%d] has not answered for %d seconds: try again when its server (or what else is behind it) is "
        "back; the guest goes on and waits for it",
        w.stuck, (int)(DISK_PATIENCE_NS / 1000000000));
}

int guest_restart(struct guest *g, enum guest_patience patience, struct err *err)
{
    int rc = guest_quiesce(g, patience, err);
    if (rc)
        return rc;
    atomic_fetch_and(&g->wishes, ~(unsigned)(GUEST_WISH_RESTART | GUEST_WISH_FAIL)); /* this is what becomes of them */
    atomic_store(&g->stopped, 0);
    board_reset(g->board);
    rc = guest_boot(g, err);
    if (rc)
        g->state = GUEST_FAILED;
    else if (g->state == GUEST_FAILED)
        g->state = GUEST_RUNNING;
    guest_unquiesce(g);
    return rc;
}

/* ---- what the guest wishes ---- */

static void fail(struct guest *g, const char *text)
{
    log_error("%s: %s", g->config->name, text);
    stand(g, GUEST_FAILED);
    gdb_failed(g->gdb);
    if (g->control)
        control_event(g->control, "failed", text);
    else
        guest_quit(g, EXIT_FAILURE); /* nobody could reset it */
}

static void restart_by_guest(struct guest *g)
{
    struct err err;
    if (g->config->on_reset == GUEST_EXIT) {
        guest_quit(g, EXIT_SUCCESS);
        return;
    }
    if (guest_restart(g, GUEST_PATIENT, &err) == -ECANCELED)
        return;
    if (g->state == GUEST_FAILED)
        fail(g, err.text);
    else
        control_event(g->control, "reset", "by the guest");
}

static void wished(struct loop_message *message)
{
    struct guest *g = CONTAINER_OF(message, struct guest, wish_message);
    atomic_store(&g->wish_posted, false);
    if (g->busy || g->quitting || g->lease.frozen)
        return; /* guest_unquiesce() posts it again, or lease_changed() */
    unsigned wishes = atomic_exchange(&g->wishes, 0);
    guest_trouble_noted(g, wishes);
    if (wishes & GUEST_WISH_OFF) {
        log_info("%s: the guest has switched itself off", g->config->name);
        control_event(g->control, "off", "by the guest");
        guest_quit(g, EXIT_SUCCESS);
    } else if (wishes & GUEST_WISH_RESTART || guest_trouble_resets(g, wishes)) {
        if (guest_is_arriving(g)) /* it is told again when all has come */
            atomic_fetch_or(&g->wishes, (unsigned)GUEST_WISH_RESTART);
        else
            restart_by_guest(g);
    } else if (wishes & GUEST_WISH_FAIL) {
        fail(g, "a vCPU cannot go on: the engine has said why above");
    } else if (wishes & GUEST_WISH_DEBUGGER) {
        guest_gdb_stopped(g);
    }
}

void guest_wish(struct guest *g, enum guest_wish what, const char *by)
{
    static const char *const names[] = {[GUEST_WISH_RESTART] = "reset", [GUEST_WISH_OFF] = "power-off",
                                        [GUEST_WISH_FAIL] = "failure",  [GUEST_WISH_DEBUGGER] = "debugger's stop",
                                        [GUEST_WISH_DUMP] = "dump",     [GUEST_WISH_PANIC] = "panic",
                                        [GUEST_WISH_HANG] = "hang"};
    log_debug("%s: %s by %s", g->config->name, names[what], by);
    atomic_fetch_or(&g->wishes, what);
    post_wishes(g);
}

static void wish_restart(struct board_events *events, const char *by)
{
    guest_wish(CONTAINER_OF(events, struct guest, board_events), GUEST_WISH_RESTART, by);
}

static void wish_off(struct board_events *events, const char *by)
{
    guest_wish(CONTAINER_OF(events, struct guest, board_events), GUEST_WISH_OFF, by);
}

static void vcpu_reported(struct vcpus_events *events, unsigned index, enum vcpu_exit exit)
{
    struct guest *g = CONTAINER_OF(events, struct guest, vcpus_events);
    char by[32];
    if (exit == VCPU_STOPPED) {
        atomic_fetch_or(&g->stopped, 1u << index);
        guest_wish(g, GUEST_WISH_DEBUGGER, "a vCPU");
        return;
    }
    snprintf(by, sizeof by, "%s of vCPU %u", exit == VCPU_FAILED ? "the end" : "a triple fault", index);
    guest_wish(g, exit == VCPU_FAILED ? GUEST_WISH_FAIL : GUEST_WISH_RESTART, by);
}

static int vcpu_entered(struct vcpus_events *events, struct err *err)
{
    struct guest *g = CONTAINER_OF(events, struct guest, vcpus_events);
    return guest_jail_vcpu(g->engine->calls, err);
}

/* ---- build ---- */

static void quit_by_terminal(void *context)
{
    struct guest *g = context;
    log_info("%s: ended by Ctrl-A x", g->config->name);
    guest_quit(g, EXIT_SUCCESS);
}

/* One is enough: there is no way back from it. */
static void signalled(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct guest *g = CONTAINER_OF(op, struct guest, signal_op);
    (void)cqe_flags;
    if (result != (int)sizeof g->signal_info)
        return;
    log_info("%s: ended by signal %u", g->config->name, g->signal_info.ssi_signo);
    guest_quit(g, EXIT_SUCCESS);
}

static int take_signals(struct guest *g, struct err *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL); /* threads inherit it */
    signal(SIGPIPE, SIG_IGN);
    g->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
    if (g->signal_fd < 0)
        return err_set(err, errno, "cannot watch signals: %s", strerror(errno));
    g->signal_op.done = signalled;
    io_uring_prep_read(loop_sqe(g->loop, &g->signal_op), g->signal_fd, &g->signal_info, sizeof g->signal_info, 0);
    return 0;
}

static int build_ground(struct guest *g, struct err *err)
{
    g->loop = loop_new(err);
    g->bus = g->loop ? bus_new(err) : NULL;
    g->timers = g->bus ? timers_new(g->loop, g->bus, err) : NULL;
    g->memory = g->timers ? memory_new(g->config->memory_bytes, err) : NULL;
    if (!g->memory || guest_lease_begin(&g->lease, g->loop, g->config->lease_until_ns, err))
        return -1;
    return take_signals(g, err);
}

/* The ROM that a processor starts in: it ends where 4 GiB do. Copied, not looked at. */
static int add_firmware(struct guest *g, struct err *err)
{
    const struct guest_file *f = &g->files->firmware;
    if (!f->data)
        return 0;
    if (f->bytes % MEMORY_PAGE_BYTES || f->bytes > 16 << 20)
        return err_set(err, EINVAL, "firmware: has %zu bytes: it must be a multiple of 4096, up to 16 MiB", f->bytes);
    return memory_add_rom(g->memory, memory_high_start - f->bytes, f->data, f->bytes, err);
}

static int build_engine(struct guest *g, struct err *err)
{
    struct vm_config vm = {
        .memory = g->memory,
        .bus = g->bus,
        .timers = g->timers,
        .cpu = g->config->cpu,
        .vcpus = g->config->vcpus,
    };
    return g->engine->open(&vm, &g->vm, err);
}

static int build_board(struct guest *g, struct err *err)
{
    struct board_parts parts = {
        .loop = g->loop,
        .bus = g->bus,
        .timers = g->timers,
        .memory = g->memory,
        .vm = g->vm,
        .config = g->config,
        .events = &g->board_events,
        .quit = quit_by_terminal,
        .context = g,
    };
    g->board = board_new(&parts, err);
    return g->board ? 0 : -1;
}

static int build_vcpus(struct guest *g, struct err *err)
{
    g->vcpus = vcpus_new(g->vm, g->config->vcpus, &g->vcpus_events, err);
    if (!g->vcpus || guest_gdb_build(g, err) || guest_migrate_build(g, err))
        return -1;
    if (g->files->control < 0)
        return 0;
    g->control = control_new(g->loop, g->files->control, &g->control_handler, err);
    if (!g->control)
        return -1;
    g->files->control = -1; /* the socket is its own now */
    return 0;
}

static void discard(struct guest *g)
{
    gdb_free(g->gdb);
    control_free(g->control);
    guest_migrate_free(g);
    vcpus_free(g->vcpus);
    board_free(g->board);
    if (g->vm)
        g->engine->close(g->vm);
    memory_free(g->memory);
    timers_free(g->timers);
    bus_free(g->bus);
    guest_lease_end(&g->lease);
    if (g->signal_fd >= 0) {
        loop_cancel(g->loop, &g->signal_op);
        while (loop_in_flight(g->loop))
            loop_step(g->loop);
        close(g->signal_fd);
    }
    if (g->loop) {
        loop_unpost(g->loop, &g->wish_message);
        loop_free(g->loop);
    }
    free(g);
}

struct guest *guest_build(const struct guest_config *config, struct guest_files *files, const struct engine *engine,
                          struct err *err)
{
    struct guest *g = calloc(1, sizeof *g);
    if (!g) {
        err_set(err, ENOMEM, "no memory");
        return NULL;
    }
    *g = (struct guest){
        .config = config,
        .files = files,
        .engine = engine,
        .signal_fd = -1,
        .began_ns = clock_ns(),
        .vcpus_events = {vcpu_reported, vcpu_entered},
        .board_events = {wish_restart, wish_off, guest_panicked, guest_hung, guest_removed},
        .control_handler = {guest_state_of, guest_health, guest_handle},
        .wish_message.deliver = wished,
        .lease.changed = lease_changed,
    };
    if (build_ground(g, err) || add_firmware(g, err) || build_engine(g, err) || build_board(g, err) ||
        build_vcpus(g, err)) {
        discard(g);
        return NULL;
    }
    return g;
}

/* ---- seal, open, run ---- */

int guest_seal(struct guest *g, struct err *err)
{
    uint32_t needs = board_needs(g->board);
    bool connects = needs & BLK_NEEDS_SOCKETS;
    return guest_jail_seal(g->config->user, connects, needs & BLK_NEEDS_PATHS, g->engine->calls,
                           g->files->late >= 0 ? &late_pages_calls : NULL, err);
}

int guest_open(struct guest *g, struct err *err)
{
    if (g->files->incoming >= 0)
        return guest_migrate_listen(g, err);
    if (g->files->load < 0)
        return guest_boot(g, err);
    int rc = guest_quiesce(g, GUEST_PATIENT, err);
    if (!rc && (rc = guest_load(g, g->files->load, err)))
        err_prefix(err, "load %s", g->config->load);
    guest_unquiesce(g);
    return rc;
}

int guest_run(struct guest *g)
{
    if (g->state != GUEST_INCOMING)
        board_listen(g->board);
    g->running = true;
    if (g->lease.frozen)
        board_hold(g->board);
    if (!g->config->paused && g->state != GUEST_INCOMING)
        guest_resume(g);
    if (!g->quitting)
        loop_run(g->loop);
    g->running = false;
    guest_arriving_end(g);
    guest_migrate_end(g);
    stand(g, GUEST_PAUSED);
    return g->exit_code;
}

/* ---- the end ---- */

struct patience {
    struct loop_timer timer;
    bool over;
};

static void patience_ended(struct loop_timer *timer)
{
    CONTAINER_OF(timer, struct patience, timer)->over = true;
}

static bool patience_is_over(void *context)
{
    const struct patience *p = context;
    return p->over;
}

/* Everything in flight comes back, unless a disk's server is away. */
static bool comes_to_rest(struct guest *g)
{
    struct patience p = {.timer.fire = patience_ended};
    loop_timer_set(g->loop, &p.timer, clock_ns() + END_PATIENCE_NS);
    bool rests = board_quiesce(g->board, patience_is_over, &p) == 0;
    while (rests && board_is_resizing(g->board)) {
        rests = !p.over;
        loop_step(g->loop);
    }
    loop_timer_clear(g->loop, &p.timer);
    return rests;
}

bool guest_end(struct guest *g)
{
    if (!g)
        return true;
    g->quitting = true;
    guest_migrate_end(g);
    loop_timer_clear(g->loop, &g->throttle_timer);
    stand(g, GUEST_PAUSED);
    control_free(g->control); /* the last answers leave; nobody asks any more */
    g->control = NULL;
    gdb_free(g->gdb);
    g->gdb = NULL;
    if (!comes_to_rest(g)) {
        log_warn("%s: a disk does not give back what it was asked: the guest ends without it", g->config->name);
        board_let_go(g->board);
        return false;
    }
    guest_late_end(g);
    discard(g);
    return true;
}
