/* A debugger's breakpoints and watchpoints.
 *
 * A breakpoint is a breakpoint instruction (INT3) in the guest's memory. It is there only while the guest runs: planted
 * when it goes, lifted when it stands; so whoever reads or saves a guest that stands sees the guest's own bytes. It is
 * known by its physical address: code that is mapped twice stops in both places.
 *
 * Threads: the main loop's, but gdb_points_planted(). */
#ifndef HV_GDB_POINTS_H
#define HV_GDB_POINTS_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/vcpu.h"

struct memory;

enum { GDB_BREAKPOINT_MAX = 256 };

enum gdb_point_type { /* the protocol's numbers */
                      GDB_BREAKPOINT,
                      GDB_HARDWARE_BREAKPOINT,
                      GDB_WATCH_WRITE,
                      GDB_WATCH_READ, /* processors know accesses only */
                      GDB_WATCH_ACCESS,
                      GDB_POINT_TYPES,
};

struct gdb_breakpoint {
    uint64_t linear, gpa;
    uint8_t original;
    bool planted;
};

struct gdb_points { /* starts with memory alone */
    struct memory *memory;
    unsigned breakpoint_count;
    struct gdb_breakpoint breakpoints[GDB_BREAKPOINT_MAX];
    unsigned point_count;
    struct vcpu_point points[VCPU_POINT_MAX];
    uint8_t types[VCPU_POINT_MAX]; /* as they were asked for */
};

/* No vCPU runs. 0; -ENOSPC: there are no more; -EINVAL: not at this address, or of this length. gpa: of a breakpoint.
 * What is there already stays as it is. */
int gdb_points_add(struct gdb_points *points, enum gdb_point_type type, uint64_t linear, uint64_t bytes, uint64_t gpa);
void gdb_points_remove(struct gdb_points *points, enum gdb_point_type type, uint64_t linear, uint64_t bytes);
void gdb_points_clear(struct gdb_points *points); /* lifts first */

/* No vCPU runs. Both may be called again. */
void gdb_points_plant(struct gdb_points *points);
void gdb_points_lift(struct gdb_points *points);

/* For struct vcpu_debug, on vCPU threads, while the guest runs. context: the points. */
bool gdb_points_planted(void *context, uint64_t gpa);

#endif
