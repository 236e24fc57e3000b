/* Drills that come by themselves, on one day of the week or on all, within a window of time (UTC):
 *
 *     value   {"kind":"drill-schedule", "id", "name", "spec": {"day", "at", "window", and what is asked of a drill:
 *              drill_ask.h}, "ran": the beginning of the window in which it ran last, in seconds since 1970}
 *     state   {"drill": the last one, "at", "reason": why the last window has none yet}
 *
 * One runs once a window, as soon as nothing speaks against it; if something does until the window is over, it does
 * not, and the reason stays. The one that begins is the node that would conduct it; "ran" is written by
 * compare-and-swap with the drill, so that it is begun once. Thread: the loop's. */
#ifndef NODE_AGENT_DRILL_SCHEDULE_H
#define NODE_AGENT_DRILL_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

struct cluster;
struct drill_schedules;
struct json_t;
struct loop;
struct report;

/* Is now_s (since 1970) in its window? *since_s: when that began. Pure. */
bool drill_schedule_is_due(const struct json_t *spec, int64_t now_s, int64_t *since_s);
/* "HH:MM"; NULL: right, else what would be. For the kind's schema. */
const char *drill_schedule_check_at(const struct json_t *value);

/* store: where the cluster's is; lent. NULL: out of memory. */
struct drill_schedules *drill_schedules_new(struct loop *loop, struct cluster *cluster, struct report *report,
                                            const char *store);
void drill_schedules_stop(struct drill_schedules *schedules);
bool drill_schedules_busy(const struct drill_schedules *schedules);
void drill_schedules_free(struct drill_schedules *schedules);

#endif
