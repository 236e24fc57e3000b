/* What this node observes, on its way to the store: the newest state of each object, many in one change, again until
 * the store has taken it.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_REPORT_H
#define NODE_AGENT_REPORT_H

#include <stdbool.h>

#include "node/agent/mirror.h"

struct cluster;
struct json_t;
struct loop;
struct report;

struct report *report_new(struct loop *loop, struct cluster *cluster);
/* What was not taken yet is lost: it is observed again after the next start. Not while report_busy(). */
void report_free(struct report *report);
bool report_busy(const struct report *report);
/* No more changes are begun. */
void report_stop(struct report *report);

/* state is taken over. What the mirror shows already is not written again, and nothing of an object that is gone. */
void report_state(struct report *report, enum object_kind kind, const char *id, struct json_t *state);
/* A volume for which another node speaks by now (volume_home(), or without a layout the one that has its bytes): what
 * this one still wanted to say of it, and could not while it was cut off, must not be written over what is told since.
 * Pure. */
bool report_is_anothers(const struct mirror *mirror, const char *node, enum object_kind kind, const char *id);
/* The object, its state and its name go: what a node does last of all when it deletes something. */
void report_deleted(struct report *report, const struct object *object);

#endif
