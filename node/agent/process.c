#include "node/agent/process.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "node/base/container.h"
#include "node/base/err.h"

enum { SAFE_FD = 256 }; /* copies from 256 on cannot be in the way of descriptors 0 to 18 */

void process_init(struct process *p, struct loop *loop, void (*ended)(struct process *process, int status))
{
    *p = (struct process){.loop = loop, .ended = ended, .pidfd = -1};
}

uint64_t process_start_ticks(pid_t pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    char *at = strrchr(text, ')'); /* the name before it may hold anything */
    if (!at || at[1] != ' ' || at[2] == 'Z')
        return 0;
    at += 2;
    for (int field = 3; at && field < 22; field++) {
        at = strchr(at, ' ');
        at = at ? at + 1 : NULL;
    }
    return at ? strtoull(at, NULL, 10) : 0;
}

const char *process_describe(int status, char *text, int len)
{
    if (status == PROCESS_STATUS_UNKNOWN)
        snprintf(text, (size_t)len, "ended while nobody watched");
    else if (WIFSIGNALED(status))
        snprintf(text, (size_t)len, "killed by SIG%s", sigabbrev_np(WTERMSIG(status)));
    else
        snprintf(text, (size_t)len, "exited with code %d", WEXITSTATUS(status));
    return text;
}

static void polled(struct loop_op *op, int result, uint32_t flags)
{
    (void)flags;
    struct process *p = CONTAINER_OF(op, struct process, poll);
    p->polling = false;
    if (p->forgotten) {
        close(p->pidfd);
        p->pidfd = -1;
        if (p->released)
            p->released(p);
        return;
    }
    siginfo_t info = {0};
    int status = PROCESS_STATUS_UNKNOWN;
    if (result > 0 && !waitid(P_PIDFD, (id_t)p->pidfd, &info, WEXITED | WNOHANG) && info.si_pid)
        status = info.si_code == CLD_EXITED ? W_EXITCODE(info.si_status, 0) : W_EXITCODE(0, info.si_status);
    close(p->pidfd);
    p->pidfd = -1;
    p->pid = 0;
    p->ended(p, status);
}

static int watch(struct process *p, pid_t pid, struct err *err)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return err_set(err, errno, "process %d: %s", pid, strerror(errno));
    p->pidfd = fd;
    p->pid = pid;
    p->start_ticks = process_start_ticks(pid);
    p->poll.done = polled;
    p->polling = true;
    p->forgotten = false;
    io_uring_prep_poll_add(loop_sqe(p->loop, &p->poll), fd, POLLIN);
    return 0;
}

/* Descriptors of ours that nothing in the child's table collides with. */
static int copy_fds(const struct process_start *s, int *copies)
{
    for (unsigned i = 0; i < s->fd_count; i++) {
        copies[i] = fcntl(s->fds[i], F_DUPFD_CLOEXEC, SAFE_FD);
        if (copies[i] >= 0)
            continue;
        int error = errno;
        while (i-- > 0)
            close(copies[i]);
        return -error;
    }
    return 0;
}

static int plan_files(posix_spawn_file_actions_t *files, const struct process_start *s, const int *copies)
{
    int rc = posix_spawn_file_actions_addopen(files, 0, "/dev/null", O_RDONLY, 0);
    if (!rc && s->output >= 0)
        rc = posix_spawn_file_actions_adddup2(files, s->output, 1);
    else if (!rc)
        rc = posix_spawn_file_actions_addopen(files, 1, "/dev/null", O_WRONLY, 0);
    if (!rc)
        rc = posix_spawn_file_actions_adddup2(files, 1, 2);
    for (unsigned i = 0; !rc && i < s->fd_count; i++)
        rc = posix_spawn_file_actions_adddup2(files, copies[i], PROCESS_FIRST_FD + (int)i);
    if (!rc)
        rc = posix_spawn_file_actions_addclosefrom_np(files, PROCESS_FIRST_FD + (int)s->fd_count);
    return rc;
}

static int spawn(pid_t *pid, const struct process_start *s, const int *copies)
{
    static char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
    char log[32] = "";
    if (getenv("DROVER_LOG"))
        snprintf(log, sizeof log, "DROVER_LOG=%.16s", getenv("DROVER_LOG"));
    char *const environment[] = {path, *log ? log : NULL, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    int rc = posix_spawn_file_actions_init(&files);
    if (rc)
        return rc;
    rc = posix_spawnattr_init(&attributes);
    if (rc) {
        posix_spawn_file_actions_destroy(&files);
        return rc;
    }
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    rc = plan_files(&files, s, copies);
    if (!rc)
        rc = posix_spawnattr_setsigmask(&attributes, &none);
    if (!rc)
        rc = posix_spawnattr_setsigdefault(&attributes, &all);
    if (!rc)
        rc = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (!rc)
        rc = posix_spawn(pid, s->program, &files, &attributes, s->argv, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return rc;
}

int process_start(struct process *p, const struct process_start *s, struct err *err)
{
    int copies[PROCESS_FDS_MAX];
    if (s->fd_count > PROCESS_FDS_MAX)
        return err_set(err, E2BIG, "%s: %u files, at most %d can be handed over", s->program, s->fd_count,
                       PROCESS_FDS_MAX);
    int rc = copy_fds(s, copies);
    if (rc)
        return err_set(err, -rc, "%s: cannot copy a file for it: %s", s->program, strerror(-rc));
    pid_t pid = 0;
    rc = spawn(&pid, s, copies);
    for (unsigned i = 0; i < s->fd_count; i++)
        close(copies[i]);
    if (rc)
        return err_set(err, rc, "%s: cannot be started: %s", s->program, strerror(rc));
    rc = watch(p, pid, err);
    if (rc) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    return rc;
}

int process_adopt(struct process *p, pid_t pid, uint64_t start_ticks, struct err *err)
{
    int rc = watch(p, pid, err);
    if (rc)
        return rc;
    if (p->start_ticks == start_ticks && start_ticks)
        return 0;
    process_forget(p);
    return err_set(err, ESRCH, "process %d is another one now", pid);
}

int process_signal(struct process *p, int signal)
{
    if (p->pidfd < 0)
        return -ESRCH;
    return syscall(SYS_pidfd_send_signal, p->pidfd, signal, NULL, 0) < 0 ? -errno : 0;
}

void process_forget(struct process *p)
{
    p->pid = 0;
    if (!p->polling || p->forgotten)
        return;
    p->forgotten = true;
    loop_cancel(p->loop, &p->poll);
}

bool process_idle(const struct process *p)
{
    return !p->polling;
}
