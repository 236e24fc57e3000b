/* Giving up everything a running program does not need, when files, sockets, keys and threads are all there and before
 * the first foreign byte is read.
 *
 * In order: namespaces of its own (if started as root); no core file and no tracing by others;
 * an empty root directory, own group and user (only if started as root); no new privileges; a seccomp filter on every
 * thread; a narrower one on threads that need less. Calls outside a filter fail with EPERM. */
#ifndef NODE_BASE_SANDBOX_H
#define NODE_BASE_SANDBOX_H

#include <stdbool.h>

struct err;

struct sandbox {
    const char *user; /* NULL: the user `default_user` if there is one, else a uid nobody has */
    const char *default_user;
    bool connects;             /* may make sockets and connect them */
    bool keeps_root_directory; /* connects to unix sockets, by paths that the user it becomes must be able to reach */
    const struct sandbox_calls *const *more; /* lists beyond what every program may call, NULL at the end; or NULL */
};

/* System calls by number, and what ioctl() may be asked. */
struct sandbox_calls {
    const int *calls;
    unsigned call_count;
    const unsigned long *ioctls;
    unsigned ioctl_count;
};

/* Thread: the main one, once. */
int sandbox_enter(const struct sandbox *sandbox, struct err *err);

/* Before any other thread is made, which is born into them: mounts, System V IPC, names and a network (an empty one) of
 * its own. Later it is too late: threads have a root directory of their own from then on, and sandbox_enter() would
 * empty one of them alone. Does nothing for a program that was not started as root: networks are -1 then. */
struct sandbox_networks {
    int outside, inside;
};
int sandbox_namespaces(struct sandbox_networks *networks, struct err *err);
/* Before sandbox_enter(), this thread alone: into the network of that file. What was opened there goes on working. */
int sandbox_network(int network, struct err *err);

/* After sandbox_enter(), on a thread that needs no more than these lists, NULL at the end. */
int sandbox_thread(const struct sandbox_calls *const *only, struct err *err);

#endif
