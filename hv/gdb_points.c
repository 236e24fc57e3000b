/* See gdb_points.h. */
#include "hv/gdb_points.h"

#include <errno.h>
#include <stddef.h>

#include "hv/memory.h"

enum { INT3 = 0xcc };

static const uint8_t kinds[] = {
    [GDB_HARDWARE_BREAKPOINT] = VCPU_POINT_CODE,
    [GDB_WATCH_WRITE] = VCPU_POINT_WRITE,
    [GDB_WATCH_READ] = VCPU_POINT_ACCESS,
    [GDB_WATCH_ACCESS] = VCPU_POINT_ACCESS,
};

static struct gdb_breakpoint *find(struct gdb_points *p, uint64_t linear)
{
    for (unsigned i = 0; i < p->breakpoint_count; i++)
        if (p->breakpoints[i].linear == linear)
            return &p->breakpoints[i];
    return NULL;
}

/* ---- breakpoint instructions ---- */

static int add_breakpoint(struct gdb_points *p, uint64_t linear, uint64_t gpa)
{
    uint8_t *host = memory_at_writable(p->memory, gpa, 1);
    if (!host)
        return -EINVAL;
    if (find(p, linear))
        return 0;
    if (p->breakpoint_count == GDB_BREAKPOINT_MAX)
        return -ENOSPC;
    p->breakpoints[p->breakpoint_count++] = (struct gdb_breakpoint){.linear = linear, .gpa = gpa};
    return 0;
}

static bool is_planted(const struct gdb_points *p, uint64_t gpa)
{
    for (unsigned i = 0; i < p->breakpoint_count; i++)
        if (p->breakpoints[i].planted && p->breakpoints[i].gpa == gpa)
            return true;
    return false;
}

bool gdb_points_planted(void *context, uint64_t gpa)
{
    return is_planted(context, gpa);
}

void gdb_points_plant(struct gdb_points *p)
{
    static const uint8_t int3 = INT3;
    for (unsigned i = 0; i < p->breakpoint_count; i++) {
        struct gdb_breakpoint *b = &p->breakpoints[i];
        if (is_planted(p, b->gpa) || memory_read(p->memory, b->gpa, &b->original, 1))
            continue; /* two addresses of one place: once */
        b->planted = memory_write(p->memory, b->gpa, &int3, 1) == 0;
    }
}

static void lift(struct gdb_points *p, struct gdb_breakpoint *b)
{
    uint8_t now;
    if (!b->planted)
        return;
    b->planted = false;
    if (memory_read(p->memory, b->gpa, &now, 1) == 0 && now == INT3) /* else the guest has put something there itself */
        memory_write(p->memory, b->gpa, &b->original, 1);
}

void gdb_points_lift(struct gdb_points *p)
{
    for (unsigned i = 0; i < p->breakpoint_count; i++)
        lift(p, &p->breakpoints[i]);
}

/* ---- debug registers ---- */

static int add_point(struct gdb_points *p, enum gdb_point_type type, uint64_t linear, uint64_t bytes)
{
    bool code = type == GDB_HARDWARE_BREAKPOINT;
    if (code)
        bytes = 1;
    if ((bytes != 1 && bytes != 2 && bytes != 4 && bytes != 8) || linear % bytes)
        return -EINVAL;
    for (unsigned i = 0; i < p->point_count; i++)
        if (p->types[i] == type && p->points[i].linear == linear && p->points[i].bytes == bytes)
            return 0;
    if (p->point_count == VCPU_POINT_MAX)
        return -ENOSPC;
    p->types[p->point_count] = (uint8_t)type;
    p->points[p->point_count++] = (struct vcpu_point){.linear = linear, .bytes = (uint8_t)bytes, .kind = kinds[type]};
    return 0;
}

/* ---- the interface ---- */

int gdb_points_add(struct gdb_points *p, enum gdb_point_type type, uint64_t linear, uint64_t bytes, uint64_t gpa)
{
    return type == GDB_BREAKPOINT ? add_breakpoint(p, linear, gpa) : add_point(p, type, linear, bytes);
}

void gdb_points_remove(struct gdb_points *p, enum gdb_point_type type, uint64_t linear, uint64_t bytes)
{
    struct gdb_breakpoint *b = type == GDB_BREAKPOINT ? find(p, linear) : NULL;
    if (b) {
        lift(p, b);
        *b = p->breakpoints[--p->breakpoint_count];
    }
    if (type == GDB_BREAKPOINT)
        return;
    for (unsigned i = 0; i < p->point_count; i++)
        if (p->types[i] == type && p->points[i].linear == linear &&
            (p->points[i].bytes == bytes || type == GDB_HARDWARE_BREAKPOINT)) {
            p->point_count--;
            p->points[i] = p->points[p->point_count];
            p->types[i] = p->types[p->point_count];
            return;
        }
}

void gdb_points_clear(struct gdb_points *p)
{
    gdb_points_lift(p);
    p->breakpoint_count = p->point_count = 0;
}
