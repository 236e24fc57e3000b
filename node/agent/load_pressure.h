/* How much of the time somebody on this node waited for processors, memory or disks (the kernel's PSI): a window of
 * samples, each what it was between two of them, by its totals and not by its fading averages.
 *
 * When a guest has gone, what the others waited for because of it is no word about what is to come: the windows begin
 * anew with the first sample in which it was not there. One that comes is in the p95 within two samples. Thread: the
 * owner's. */
#ifndef NODE_AGENT_LOAD_PRESSURE_H
#define NODE_AGENT_LOAD_PRESSURE_H

#include <stdbool.h>
#include <stdint.h>

#include "node/agent/cgroup.h"
#include "node/agent/load_meter.h"

struct json_t;

enum { LOAD_PRESSURE_COUNT = 3 /* cpu, memory, io */ };

/* Zeroed in the beginning. In ten-thousandths of the time. */
struct load_pressure {
    struct load_meter some[LOAD_PRESSURE_COUNT], full[LOAD_PRESSURE_COUNT];
    bool anew;
};

void load_pressure_add(struct load_pressure *pressure, const struct cgroup_pressure now[LOAD_PRESSURE_COUNT],
                       uint64_t now_us);
/* The same with what this machine says now. */
void load_pressure_read(struct load_pressure *pressure, uint64_t now_us);
/* A guest has gone, some time before the sample that was added last. */
void load_pressure_anew(struct load_pressure *pressure);
/* "pressure" and "stalled" of the record (load.h); 0 where the kernel does not say. */
void load_pressure_put(const struct load_pressure *pressure, struct json_t *record);

#endif
