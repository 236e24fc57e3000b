/* A node that a drill has switched off stays off until the drill's time is over: its droverd, however soon it is
 * started again, waits. The file says until when (CLOCK_BOOTTIME, in nanoseconds) and goes with the drill; without it,
 * and after its time, nobody waits.
 *
 * Threads: one, which blocks. */
#ifndef NODE_AGENT_FAULT_HOLD_H
#define NODE_AGENT_FAULT_HOLD_H

#include <stdbool.h>
#include <stdint.h>

struct err;

enum { FAULT_HOLD_PATH_MAX = 4096 };

/* Its name in the folder of sockets. */
void fault_hold_path(const char *run, char path[FAULT_HOLD_PATH_MAX]);
int fault_hold_write(const char *path, uint64_t until_ns, struct err *err);
void fault_hold_remove(const char *path);
/* Somebody waits for it. */
bool fault_hold_is_waited_for(const char *path);
/* Returns when there is none, or its time is over; it is removed then. True: it has waited. */
bool fault_hold_wait(const char *path);

#endif
