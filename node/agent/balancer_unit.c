#include "node/agent/balancer_unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/agent/cgroup.h"
#include "node/agent/process.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"

enum { AGAIN_MS = 2000, END_MS = 300 /* then it is killed */, TASKS = 64, MEMORY_BYTES = 1 << 30 };

static const char group[] = "balancer";

struct balancer_unit {
    const struct balancer_place *place;
    struct process process;
    struct loop_timer timer;
    int life; /* our end of its pipe; -1: it does not run */
    bool ending, renewing;
    uint64_t ending_ms;
};

/* ---- start ---- */

static int open_log(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
}

static int start(struct balancer_unit *u, struct err *err)
{
    const struct balancer_place *p = u->place;
    const char *argv[] = {"drover-balancer", "run",   "--store", p->store, "--state", p->state,
                          "--node",          p->node, "--life",  "3",      "-v",      NULL};
    int life[2];
    if (pipe2(life, O_CLOEXEC))
        return err_set(err, errno, "no pipe for it: %s", strerror(errno));
    struct process_start s = {.program = p->program,
                              .argv = (char *const *)(uintptr_t)argv,
                              .fds = life,
                              .fd_count = 1,
                              .output = open_log(p->log)};
    int rc = process_start(&u->process, &s, err);
    close(life[0]);
    if (s.output >= 0)
        close(s.output);
    if (rc) {
        close(life[1]);
        return rc;
    }
    u->life = life[1];
    if (cgroup_set(p->cgroups, group, &(struct cgroup_limits){.tasks = TASKS, .memory_bytes = MEMORY_BYTES}, err) ||
        cgroup_add(p->cgroups, group, u->process.pid, err))
        log_warn("the balancer: %s", err->text);
    return 0;
}

static void again(struct balancer_unit *u)
{
    loop_timer_set(u->place->loop, &u->timer, clock_ns() + AGAIN_MS * UINT64_C(1000000));
}

static void fired(struct loop_timer *timer)
{
    struct balancer_unit *u = CONTAINER_OF(timer, struct balancer_unit, timer);
    struct err err = {0};
    if (!start(u, &err))
        return;
    log_warn("the balancer cannot be started: %s", err.text);
    again(u);
}

/* ---- end ---- */

static void drop_life(struct balancer_unit *u)
{
    if (u->life >= 0)
        close(u->life);
    u->life = -1;
}

static void ended(struct process *process, int status)
{
    struct balancer_unit *u = CONTAINER_OF(process, struct balancer_unit, process);
    char how[64];
    drop_life(u);
    if (u->ending) {
        cgroup_remove(u->place->cgroups, group, NULL);
        return;
    }
    log_line(u->renewing ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "the balancer %s, see %s",
             process_describe(status, how, sizeof how), u->place->log);
    u->renewing = false;
    again(u);
}

void balancer_unit_renew(struct balancer_unit *u)
{
    u->renewing = u->life >= 0;
    drop_life(u);
}

void balancer_unit_end(struct balancer_unit *u)
{
    u->ending = true;
    u->ending_ms = clock_ms();
    loop_timer_clear(u->place->loop, &u->timer);
    drop_life(u);
}

bool balancer_unit_busy(const struct balancer_unit *u)
{
    return u->process.pid && clock_ms() - u->ending_ms < END_MS;
}

/* ---- life ---- */

struct balancer_unit *balancer_unit_new(const struct balancer_place *place, struct err *err)
{
    struct balancer_unit *u = calloc(1, sizeof *u);
    if (!u) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    u->place = place;
    u->life = -1;
    u->timer.fire = fired;
    process_init(&u->process, place->loop, ended);
    fired(&u->timer);
    return u;
}

static void released(struct process *process)
{
    free(CONTAINER_OF(process, struct balancer_unit, process));
}

void balancer_unit_free(struct balancer_unit *u)
{
    if (!u)
        return;
    loop_timer_clear(u->place->loop, &u->timer);
    drop_life(u);
    u->process.released = released;
    process_signal(&u->process, SIGKILL); /* if it has not ended by itself */
    process_forget(&u->process);
    if (process_idle(&u->process))
        free(u);
}
