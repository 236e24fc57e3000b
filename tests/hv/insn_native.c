/* See insn_native.h. */
#include "tests/hv/insn_native.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/hv/insn_native_inside.h"

enum { HANG_MS = 20000, PATH_BYTES = 4096, HIGH_FD = 100 };

struct insn_native {
    pid_t pid;
    int to_child, from_child;
    struct insn_shared *shared;
};

static void die(const char *what)
{
    fprintf(stderr, "insn_diff: %s: %s\n", what, strerror(errno));
    exit(2);
}

/* In the child: the program beside ours, with its three files where it wants them. */
static _Noreturn void start_child(const int fds[3])
{
    char path[PATH_BYTES];
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - sizeof("insn_native_child"));
    char *name = length > 0 ? memrchr(path, '/', (size_t)length) : NULL;
    for (int i = 0; i < 3; i++)
        dup2(fds[i], HIGH_FD + i);
    for (int i = 0; i < 3; i++)
        dup2(HIGH_FD + i, INSN_NATIVE_SHARED + i);
    close_range(INSN_NATIVE_REPLIES + 1, ~0u, 0);
    if (name) {
        strcpy(name + 1, "insn_native_child");
        execl(path, path, NULL);
    }
    die("cannot start insn_native_child");
    _exit(2);
}

struct insn_native *insn_native_new(unsigned batches)
{
    struct insn_native *n = calloc(1, sizeof(*n));
    int down[2], up[2], file = memfd_create("insn-cases", MFD_CLOEXEC);
    size_t bytes = insn_shared_bytes(batches);
    if (!n || file < 0 || ftruncate(file, (off_t)bytes) || pipe(down) || pipe(up))
        die("cannot start");
    n->shared = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (n->shared == MAP_FAILED)
        die("no memory for the cases");
    n->shared->batches = batches;
    n->to_child = down[1];
    n->from_child = up[0];
    fflush(NULL);
    n->pid = fork();
    if (n->pid < 0)
        die("cannot fork");
    if (n->pid == 0)
        start_child((const int[3]){file, down[0], up[1]});
    close(file);
    close(down[0]);
    close(up[1]);
    return n;
}

void insn_native_free(struct insn_native *n)
{
    size_t bytes = insn_shared_bytes(n->shared->batches);
    close(n->to_child);
    close(n->from_child);
    kill(n->pid, SIGKILL);
    waitpid(n->pid, NULL, 0);
    munmap(n->shared, bytes);
    free(n);
}

struct insn_case *insn_native_cases(struct insn_native *n, unsigned batch)
{
    return insn_shared_cases(n->shared, batch);
}

const struct insn_outcome *insn_native_outcomes(const struct insn_native *n, unsigned batch)
{
    return insn_shared_outcomes(n->shared, batch);
}

void insn_native_start(struct insn_native *n, unsigned batch, unsigned count)
{
    struct insn_order order = {batch, count};
    if (write(n->to_child, &order, sizeof(order)) != sizeof(order))
        die("the child has gone");
}

bool insn_native_executes(struct insn_native *n, unsigned code_bytes)
{
    unsigned at;
    insn_native_start(n, 0, 0);
    if (!insn_native_wait(n, 0, &at))
        die("the child does not answer");
    return n->shared->modes & code_bytes;
}

bool insn_native_wait(struct insn_native *n, unsigned batch, unsigned *at)
{
    struct insn_order order;
    struct pollfd ready = {.fd = n->from_child, .events = POLLIN};
    int rc = poll(&ready, 1, HANG_MS);
    *at = n->shared->progress;
    return rc == 1 && read(n->from_child, &order, sizeof(order)) == sizeof(order) && order.batch == batch;
}
