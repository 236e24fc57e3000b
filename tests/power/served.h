/* A drover-nbd of the test's own: started, killed, stopped, by its pid.
 *
 * Thread: one. */
#ifndef TESTS_POWER_SERVED_H
#define TESTS_POWER_SERVED_H

#include <sys/types.h>

struct client;

struct served {
    int program_fd; /* the file may be out of sight by now */
    const char *stack, *socket_path, *log_path;
    pid_t pid; /* 0: none runs */
};

/* Starts it and connects `first`. While the image is claimed by the one that was killed before, tries again. Errors:
 * -errno, after what the server said went to stderr. */
int served_start(struct served *served, struct client *first);
/* SIGKILL; returns when the process is gone. */
void served_kill(struct served *served);
/* SIGTERM; returns its exit status, or -1 if it did not exit by itself; what it said goes to stderr unless it is 0. */
int served_stop(struct served *served);

#endif
