/* A program of this node that outlives the agent: started in a session of its own, watched by its pidfd, and found
 * again by pid and start time after the agent was restarted.
 *
 * Whoever ends while no agent runs, or is not this agent's child any more, has no exit status: ended() says so.
 * Thread: the loop's. A process that is freed goes on running. */
#ifndef NODE_AGENT_PROCESS_H
#define NODE_AGENT_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "node/base/loop.h"

struct err;

enum { PROCESS_FIRST_FD = 3, PROCESS_FDS_MAX = 16, PROCESS_STATUS_UNKNOWN = -1 };

/* What it is started with: files become its descriptors 3, 4, ...; output becomes its 1 and 2, nothing its 0. Files
 * stay the caller's. Its environment is PATH, and DROVER_LOG as the agent has it. */
struct process_start {
    const char *program; /* an absolute path */
    char *const *argv;
    const int *fds;
    unsigned fd_count;
    int output; /* -1: none */
};

struct process {
    struct loop *loop;
    struct loop_op poll;
    /* Once, when it has ended; status as waitpid() says, or PROCESS_STATUS_UNKNOWN. The process may be freed in it. */
    void (*ended)(struct process *process, int status);
    void (*released)(struct process *process); /* may be NULL: after process_forget(), the last time it is touched */
    pid_t pid;                                 /* 0: none */
    uint64_t start_ticks;
    int pidfd;
    bool polling, forgotten;
};

void process_init(struct process *process, struct loop *loop, void (*ended)(struct process *process, int status));
/* Errors: -errno with a text that names the program. */
int process_start(struct process *process, const struct process_start *start, struct err *err);
/* -ESRCH: no such process, or another one has its number now. */
int process_adopt(struct process *process, pid_t pid, uint64_t start_ticks, struct err *err);
int process_signal(struct process *process, int signal);
/* No more ended(); the program runs on. Unless process_idle() is true already, released() comes from the loop. */
void process_forget(struct process *process);
bool process_idle(const struct process *process);

/* When a process began, in clock ticks since boot: with the pid it names a process once and for all. 0: there is none.
 */
uint64_t process_start_ticks(pid_t pid);
/* "exited with code 3", "killed by SIGKILL", "ended while nobody watched". Returns text. */
const char *process_describe(int status, char *text, int len);

#endif
