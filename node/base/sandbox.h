/* Giving up everything a running program does not need. Thread: the main one, once, when files, sockets, keys and
 * threads are all there and before the first foreign byte is read.
 *
 * In order: no core file and no tracing by others; an empty root directory, own group and user (only if started as
 * root); no new privileges; a seccomp filter on every thread. Calls outside the filter fail with EPERM. */
#ifndef NODE_BASE_SANDBOX_H
#define NODE_BASE_SANDBOX_H

#include <stdbool.h>

struct err;

struct sandbox {
    const char *user; /* NULL: the user `default_user` if there is one, else a uid nobody has */
    const char *default_user;
    bool connects;             /* may make sockets and connect them */
    bool keeps_root_directory; /* connects to unix sockets, by paths that the user it becomes must be able to reach */
};

int sandbox_enter(const struct sandbox *sandbox, struct err *err);

#endif
