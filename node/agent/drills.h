/* Drills, carried out: this node conducts those that fall to it (drill_conductor()), by the rules of drill_run.h, puts
 * faults in that are meant for it, and listens to the canaries that run on it. Of drills that have ended the newest
 * stay.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_DRILLS_H
#define NODE_AGENT_DRILLS_H

#include <stdbool.h>

struct cluster;
struct drill_faults_place;
struct drills;
struct err;
struct guests;
struct report;

/* place must outlive it. */
struct drills *drills_new(struct cluster *cluster, const struct drill_faults_place *place, struct report *report,
                          struct guests *guests, struct err *err);
/* Before guests are freed. A drill goes on: the next agent, or another one, conducts it. Then turns of the loop while
 * it is busy. */
void drills_stop(struct drills *drills);
bool drills_busy(const struct drills *drills);
void drills_free(struct drills *drills);

#endif
