/* How a migration would go, before it begins: the plan (migrate_plan.h) played on what a short look at the guest has
 * shown, and on what earlier moves have measured of link and ends. Pure arithmetic, without a clock.
 *
 * The look gives a curve: how many bytes of pages have been written after 5 ms, 10 ms, ... of it, each page counted
 * once. A guest that rewrites the same places makes one that flattens, and rounds end there; a straight one is a guest
 * that outruns links. Beyond its end the curve goes on with the slope of its last part, up to all memory.
 * It also gives where those pages are: one that is written before the first round has come to it is not sent there.
 *
 * Units: bytes, nanoseconds, bytes a second. Threads: any; no state. */
#ifndef HV_MIGRATE_FORECAST_H
#define HV_MIGRATE_FORECAST_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/migrate_plan.h"

enum { MIGRATE_CURVE_MAX = 16, MIGRATE_SLICES = 64, MIGRATE_PACKED_MAX = 64 };

struct migrate_curve_point {
    uint64_t ns, bytes; /* growing, both */
};

struct migrate_packed {
    double pack_ns, left; /* of a byte: what compressing takes, and the part that is left of it */
};

struct migrate_outlook {
    uint64_t memory_bytes;  /* the guest's */
    uint64_t present_bytes; /* what the first round sends: without zeroes and what was never written */
    unsigned points;        /* 0: the guest stands */
    struct migrate_curve_point curve[MIGRATE_CURVE_MAX];
    double hot[MIGRATE_SLICES]; /* of present_bytes, in order: the part that was written to during the look */
    unsigned streams;           /* connections */
    uint64_t bandwidth;         /* of the link and both ends; not 0 */
    uint64_t connect_ns;        /* until the first page leaves */
    uint64_t round_ns;          /* what a round takes beside its bytes: its answer, taking the log */
    uint64_t fixed_ns;          /* what the switch-over takes beside pages */
    unsigned packs;             /* places in its memory where compressing was tried; 0: not known */
    struct migrate_packed packed[MIGRATE_PACKED_MAX];
};

struct migrate_forecast {
    bool holds;      /* it ends, and the goals are kept */
    bool ends;       /* the figures below are those of a move, else those of an attempt */
    bool late;       /* the guest goes before its last pages, which take late_ns then (post-copy) */
    bool needs_late; /* it would be given up, and post-copy is not allowed */
    uint64_t late_ns;
    uint64_t bytes;            /* over the link */
    double left;               /* of a byte of pages, compressed where that pays on this link */
    uint64_t total_ns;         /* until the guest runs at its destination, or it is given up */
    uint64_t downtime_ns;      /* or what it would be where it is given up */
    unsigned rounds, throttle; /* the hardest, in thousandths */
    char text[320];            /* why it does not hold; "" */
};

void migrate_forecast(const struct migrate_goal *goal, const struct migrate_outlook *outlook,
                      struct migrate_forecast *forecast);
/* What is written for the first time in `ns` of it, by the curve. */
uint64_t migrate_outlook_written(const struct migrate_outlook *outlook, uint64_t ns);

#endif
