#include "hv/guest_jail.h"

#include <asm/termbits.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "node/base/sandbox.h"

#define COUNT(list) (sizeof list / sizeof *(list))

/* What is beyond a storage server's needs: the machine's timers, the balloon, a terminal to put back in order, messages
 * with files; disks and networks that come later, whose files are handed over; and further filters, which threads put
 * on themselves and which can only take away. */
static const int process_calls[] = {
    SCMP_SYS(timerfd_settime), SCMP_SYS(recvmsg), SCMP_SYS(sendmsg), SCMP_SYS(accept4),  SCMP_SYS(poll),
    SCMP_SYS(ppoll),           SCMP_SYS(fcntl),   SCMP_SYS(seccomp), SCMP_SYS(eventfd2), SCMP_SYS(statx),
};

static const unsigned long process_ioctls[] = {
    TUNSETOFFLOAD, TUNSETQUEUE,  TUNGETIFF, TUNSETVNETHDRSZ, /* networks */
    BLKSSZGET,     BLKGETSIZE64,                             /* disks */
    TCGETS,        TCSETS,                                   /* the terminal */
};

static const int vcpu_calls[] = {
    SCMP_SYS(ioctl),
    SCMP_SYS(futex),
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(timerfd_settime),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(tgkill),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(sched_yield),
    SCMP_SYS(madvise),
    SCMP_SYS(munmap),
    SCMP_SYS(mmap),
    SCMP_SYS(mprotect),
    SCMP_SYS(brk),
    SCMP_SYS(getrandom),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(rseq),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(nanosleep),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(io_uring_enter),
};

static struct sandbox_networks networks = {-1, -1}; /* the process's, up to the seal */

int guest_jail_enter(struct err *err)
{
    return sandbox_namespaces(&networks, err);
}

int guest_jail_network(bool host, struct err *err)
{
    return networks.inside < 0 ? 0 : sandbox_network(host ? networks.outside : networks.inside, err);
}

static void close_networks(void)
{
    int fds[] = {networks.outside, networks.inside};
    for (unsigned i = 0; i < COUNT(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    networks = (struct sandbox_networks){-1, -1};
}

int guest_jail_seal(const char *user, bool connects, bool paths, const struct sandbox_calls *engine,
                    const struct sandbox_calls *late, struct err *err)
{
    static const struct sandbox_calls own = {process_calls, COUNT(process_calls), process_ioctls,
                                             COUNT(process_ioctls)};
    const struct sandbox_calls *const more[] = {&own, engine ? engine : late, engine ? late : NULL, NULL};
    struct sandbox sandbox = {
        .user = user,
        .default_user = "drover-guest",
        .connects = connects,
        .keeps_root_directory = paths,
        .more = more,
    };
    close_networks();
    return sandbox_enter(&sandbox, err);
}

int guest_jail_vcpu(const struct sandbox_calls *engine, struct err *err)
{
    static const struct sandbox_calls own = {vcpu_calls, COUNT(vcpu_calls), NULL, 0};
    const struct sandbox_calls *const only[] = {&own, engine, NULL};
    return sandbox_thread(only, err);
}
