/* Resource control of guests and storage servers: each has a group of its own, in cgroup v2 or in v1's cpu, cpuacct,
 * memory and pids hierarchies, below a group of this node. Where neither can be written, everything runs without limits
 * and `cgroups_open()` says why.
 *
 * Groups are directories: they outlive the agent and are found again. Threads: any, one at a time. */
#ifndef NODE_AGENT_CGROUP_H
#define NODE_AGENT_CGROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct err;

enum { CGROUP_PATH_MAX = 256, CGROUP_HIERARCHIES = 4 };

/* The hierarchies in use: v2 has one for everything. */
struct cgroups {
    bool unified;
    unsigned count;
    char path[CGROUP_HIERARCHIES][CGROUP_PATH_MAX]; /* of this node's group in each */
};

/* 0: no limit. */
struct cgroup_limits {
    uint32_t cpu_percent; /* 100: one processor */
    uint32_t cpu_weight;  /* 1 to 10000, 100 is everybody's */
    uint64_t memory_bytes;
    uint32_t tasks;
};

/* avg10 of PSI in hundredths of a percent; -1 where the kernel does not say (v1). And its totals, which only grow; 0
 * where it does not. */
struct cgroup_pressure {
    int some, full;
    uint64_t some_us, full_us;
};
struct cgroup_usage {
    uint64_t cpu_us, memory_bytes;
    struct cgroup_pressure cpu, memory, io;
};

/* node names the group all others are in: "drover-NODE". mount: where the kernel's groups are, /sys/fs/cgroup.
 * Errors: -ENOTSUP (count is 0 then, and the other functions do nothing). */
int cgroups_open(struct cgroups *groups, const char *mount, const char *node, struct err *err);

/* Makes the group or changes the limits of one that is there. */
int cgroup_set(const struct cgroups *groups, const char *name, const struct cgroup_limits *limits, struct err *err);
int cgroup_add(const struct cgroups *groups, const char *name, pid_t pid, struct err *err);
int cgroup_usage(const struct cgroups *groups, const char *name, struct cgroup_usage *usage, struct err *err);
/* -EBUSY while a process is in it; 0 if there is no such group. */
int cgroup_remove(const struct cgroups *groups, const char *name, struct err *err);
/* Of this node as a whole. */
int cgroups_remove(const struct cgroups *groups, struct err *err);

/* "some avg10=1.50 ... total=3 full avg10=0.10 ...": the same numbers of a file such as /proc/pressure/cpu. */
struct cgroup_pressure cgroup_pressure_parse(const char *text);
/* Of the whole node: "cpu", "memory" or "io". */
struct cgroup_pressure cgroup_node_pressure(const char *resource);

#endif
