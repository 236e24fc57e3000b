/* What the kernel counts of guests beside their control groups: bytes through taps, and how long vCPUs that could run
 * had no processor.
 *
 * Read from /proc, so the taps are those of the network namespace the agent is in. Nothing here fails: what cannot be
 * read counts as nothing. Thread: the owner's; reads files.
 * Source: Documentation/scheduler/sched-stats.rst, net/core/net-procfs.c of Linux. */
#ifndef NODE_AGENT_LOAD_KERNEL_H
#define NODE_AGENT_LOAD_KERNEL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "node/agent/tap.h"

enum { LOAD_TAPS_MAX = 8192, LOAD_TASKS_MAX = 256 /* threads of one guest that are looked at */ };

struct load_tap {
    char name[TAP_NAME_MAX];
    uint64_t bytes; /* both ways */
};

/* All devices of this namespace, to be asked by name. */
struct load_taps {
    struct load_tap *taps; /* [LOAD_TAPS_MAX], sorted; made by the first read, kept until load_taps_fini() */
    size_t count;
};

void load_taps_read(struct load_taps *taps);
void load_taps_parse(struct load_taps *taps, const char *text);           /* of /proc/net/dev; for tests, too */
uint64_t load_taps_bytes(const struct load_taps *taps, const char *name); /* 0: there is none */
void load_taps_fini(struct load_taps *taps);

/* Nanoseconds that threads named "vcpu..." of the process have waited for a processor so far; proc: "/proc". */
uint64_t load_run_delay_ns(const char *proc, pid_t pid);

#endif
