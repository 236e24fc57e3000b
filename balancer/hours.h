/* What guests wanted of processors, hour by hour for three days: kept in the store by the elected balancer, so that who
 * is busy every day at this hour counts as busy before it is.
 *
 *     /drover/state/hours/XX    XX: the first two characters of the guests' ids
 *     {GUEST-ID: "HOUR:VALUES"}
 *
 * HOUR is the last one's, in hours since 1970; VALUES are HOURS_KEPT at most, the newest last, each four hexadecimal
 * digits: hundredths of a processor, the mean of an hour's percentiles (snapshot_load.h) with what it waited for;
 * "----": nobody measured. A text of 300 bytes and not a list of numbers, because every balancer holds them all.
 *
 * Pure: objects are those of snapshot.h. Threads: one at a time. */
#ifndef BALANCER_HOURS_H
#define BALANCER_HOURS_H

#include <jansson.h>
#include <stdint.h>

#include "balancer/snapshot.h"

enum {
    HOURS_KEPT = 72,
    HOURS_SAMPLE_S = 300,    /* so often guests are looked at: a window of their samples is as long */
    HOURS_SAMPLES_LEAST = 3, /* fewer are no hour */
    HOURS_TABLE_BYTES = 3,   /* "XX" */
};

struct hours {
    json_t *sums; /* {XX: {GUEST-ID: [sum, count]}} of this hour */
    json_t *due;  /* likewise of the one before: what is to be written; NULL: nothing */
    int64_t hour, due_hour;
    double sampled_s;
};

/* Looks at what guests use now, if it is time to. */
void hours_look(struct hours *hours, json_t *objects, const struct snapshot_time *now);

/* A table that is to be written, as it must be: a new reference; an empty one is to be deleted. What the objects have
 * already is due no more. NULL: none is left. */
json_t *hours_due(struct hours *hours, json_t *objects, char table[HOURS_TABLE_BYTES]);

/* What the guest will want in the hour that lies mostly ahead, in processors, and what that is wrong by. Negative: its
 * days are too few or too different to say. */
double hours_expect(const json_t *objects, const char *guest, int64_t wall_s, double *error);

void hours_fini(struct hours *hours);

#endif
