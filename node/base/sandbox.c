/* See sandbox.h. The uid that nobody has comes from the range that systemd keeps for dynamic users (61184 to 65519),
 * the process id deciding which, so that two servers do not share one. */
#include "node/base/sandbox.h"

#include <asm/prctl.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/sockios.h>
#include <pwd.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "node/base/err.h"

enum { DYNAMIC_UID_FIRST = 61184, DYNAMIC_UID_COUNT = 65520 - 61184 };

static int find_user(const struct sandbox *sandbox, uid_t *uid, gid_t *gid, struct err *err)
{
    const char *name = sandbox->user ? sandbox->user : sandbox->default_user;
    struct passwd *pw = name ? getpwnam(name) : NULL;
    if (pw) {
        *uid = pw->pw_uid;
        *gid = pw->pw_gid;
        if (!*uid)
            return err_set(err, EINVAL, "--user %s is root: name one without privileges", name);
        return 0;
    }
    if (sandbox->user)
        return err_set(err, ENOENT, "--user: there is no user '%s'", sandbox->user);
    unsigned start = (unsigned)getpid() % DYNAMIC_UID_COUNT;
    for (unsigned i = 0; i < DYNAMIC_UID_COUNT; i++) {
        *uid = DYNAMIC_UID_FIRST + (start + i) % DYNAMIC_UID_COUNT;
        *gid = *uid;
        if (!getpwuid(*uid) && !getgrgid(*gid))
            return 0;
    }
    return err_set(err, ENOENT, "every uid from 61184 to 65519 is taken: name a user with --user");
}

/* A directory that has no name any more: nothing can ever appear in it. */
static int enter_empty_root(struct err *err)
{
    char path[] = "/tmp/drover-empty-XXXXXX";
    if (!mkdtemp(path))
        return err_set(err, errno, "cannot make an empty directory in /tmp: %s", strerror(errno));
    int rc = chdir(path) < 0 ? errno : 0;
    if (rmdir(path) < 0 && !rc)
        rc = errno;
    if (!rc && (chroot(".") < 0 || chdir("/") < 0))
        rc = errno;
    return rc ? err_set(err, rc, "cannot enter an empty root directory: %s", strerror(rc)) : 0;
}

static int drop_root(const struct sandbox *sandbox, struct err *err)
{
    uid_t uid = 0;
    gid_t gid = 0;
    int rc = find_user(sandbox, &uid, &gid, err);
    if (rc)
        return rc;
    rc = sandbox->keeps_root_directory ? 0 : enter_empty_root(err);
    if (rc)
        return rc;
    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
        return err_set(err, errno, "cannot become uid %u: %s", uid, strerror(errno));
    if (setuid(0) == 0)
        return err_set(err, EPERM, "could become root again after giving it up");
    return 0;
}

static const int calls[] = {
    SCMP_SYS(io_uring_enter),
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(pread64),
    SCMP_SYS(pwrite64),
    SCMP_SYS(preadv),
    SCMP_SYS(pwritev),
    SCMP_SYS(preadv2),
    SCMP_SYS(pwritev2),
    SCMP_SYS(lseek),
    SCMP_SYS(ftruncate),
    SCMP_SYS(fadvise64),
    SCMP_SYS(fallocate),
    SCMP_SYS(fsync),
    SCMP_SYS(fdatasync),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat), /* what fstat() is in newer C libraries */
    SCMP_SYS(close),
    SCMP_SYS(shutdown),
    SCMP_SYS(sendto),
    SCMP_SYS(recvfrom),
    SCMP_SYS(getsockopt),
    SCMP_SYS(setsockopt),
    SCMP_SYS(getsockname),
    SCMP_SYS(getpeername),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(mlock), /* keys of volumes that are opened later */
    SCMP_SYS(brk),
    SCMP_SYS(futex),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(getrusage),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(getrandom),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(rseq),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

static const int connect_calls[] = {SCMP_SYS(socket), SCMP_SYS(connect), SCMP_SYS(fcntl)};

/* Of what a thread may ask of its own registers GS.base alone. */
static int allow_call(scmp_filter_ctx filter, int call)
{
    if (call != SCMP_SYS(arch_prctl))
        return seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0);
    return seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 1, SCMP_A0(SCMP_CMP_EQ, ARCH_SET_GS, 0));
}

static int allow(scmp_filter_ctx filter, const int *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int rc = allow_call(filter, list[i]);
        if (rc)
            return rc;
    }
    return 0;
}

/* Memory may be made, never made executable. */
static int allow_data_memory(scmp_filter_ctx filter)
{
    int rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    if (!rc)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    return rc;
}

/* Threads of its own may be sent signals, other processes of the same user not. */
static int allow_own_signals(scmp_filter_ctx filter)
{
    return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                            SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0));
}

/* Claims on files that are open already. */
static int allow_claims(scmp_filter_ctx filter)
{
    int rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1, SCMP_A1(SCMP_CMP_EQ, F_OFD_SETLK, 0));
    return rc ? rc : seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1, SCMP_A1(SCMP_CMP_EQ, F_OFD_GETLK, 0));
}

static int allow_ioctl(scmp_filter_ctx filter, unsigned long request)
{
    /* the kernel looks at 32 bits of the request, and so must the filter */
    return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
                            SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, (uint32_t)request));
}

static int allow_lists(scmp_filter_ctx filter, const struct sandbox_calls *const *lists)
{
    int rc = 0;
    for (; !rc && lists && *lists; lists++) {
        rc = allow(filter, (*lists)->calls, (*lists)->call_count);
        for (unsigned i = 0; !rc && i < (*lists)->ioctl_count; i++)
            rc = allow_ioctl(filter, (*lists)->ioctls[i]);
    }
    return rc;
}

/* Takes the filter. */
static int load(scmp_filter_ctx filter, int rc, struct err *err)
{
    if (!rc)
        rc = seccomp_load(filter);
    seccomp_release(filter);
    return rc ? err_set(err, -rc, "cannot load the seccomp filter: %s", strerror(-rc)) : 0;
}

static int filter_calls(const struct sandbox *sandbox, struct err *err)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!filter)
        return err_set(err, ENOMEM, "no memory for a seccomp filter");
    int rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (!rc)
        rc = allow(filter, calls, sizeof calls / sizeof *calls);
    if (!rc)
        rc = allow_data_memory(filter);
    if (!rc)
        rc = allow_own_signals(filter);
    if (!rc)
        rc = allow_claims(filter);
    if (!rc)
        rc = allow_ioctl(filter, SIOCOUTQ);
    if (!rc && sandbox->connects)
        rc = allow(filter, connect_calls, sizeof connect_calls / sizeof *connect_calls);
    if (!rc)
        rc = allow_lists(filter, sandbox->more);
    return load(filter, rc, err);
}

int sandbox_thread(const struct sandbox_calls *const *only, struct err *err)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!filter)
        return err_set(err, ENOMEM, "no memory for a seccomp filter");
    int rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 0); /* it is set since sandbox_enter() */
    return load(filter, rc ? rc : allow_lists(filter, only), err);
}

static int open_network(int *fd, struct err *err)
{
    *fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    return *fd < 0 ? err_set(err, errno, "cannot open /proc/thread-self/ns/net: %s", strerror(errno)) : 0;
}

int sandbox_namespaces(struct sandbox_networks *networks, struct err *err)
{
    *networks = (struct sandbox_networks){-1, -1};
    if (geteuid() != 0)
        return 0;
    int rc = open_network(&networks->outside, err);
    if (!rc && unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET) < 0)
        rc = err_set(err, errno, "cannot make namespaces: %s: a program started as root needs CAP_SYS_ADMIN for it",
                     strerror(errno));
    return rc ? rc : open_network(&networks->inside, err);
}

int sandbox_network(int network, struct err *err)
{
    return setns(network, CLONE_NEWNET) < 0 ? err_set(err, errno, "cannot change networks: %s", strerror(errno)) : 0;
}

int sandbox_enter(const struct sandbox *sandbox, struct err *err)
{
    struct rlimit none = {0, 0};
    tzset(); /* reads a file, and must not do so later */
    setrlimit(RLIMIT_CORE, &none);
    int rc = geteuid() == 0 ? drop_root(sandbox, err) : 0;
    if (rc)
        return rc;
    if (prctl(PR_SET_DUMPABLE, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_set(err, errno, "cannot give up privileges: %s", strerror(errno));
    return filter_calls(sandbox, err);
}
