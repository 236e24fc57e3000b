/* The volumes with a layout that this node speaks for (volume_home(): its guest's node, or that of its first member):
 * their state is put together from what the nodes of their members report and from what the process that owns them
 * says.
 *
 *     state: {"node", "phase":"making"|"ready"|"failed"|"deleting", "made", "reason", "bytes", "health", "epoch",
 *             "left_bytes", "scrub":{"done", "running", "repaired", "unreadable"},
 *             "members":[{"index", "id", "pool", "node", "phase", "reason", "condition", "missed_bytes",
 *                         "resynced_bytes", "repaired", "lost"}], "witness":{"id", "pool", "node", "phase", "reason",
 * "condition"}, "away":{"index", "id", "since"}}
 *
 * condition: in-sync, resyncing, missing, outdated (missing or behind when the volume was used last), foreign, down (in
 * sync, does not answer, and there is no doing without it), new. health: one word, and how many are in sync. away: the
 * member (-1: the witness) that may be replaced once it was away for spec.replace_after_s; since: seconds of the Unix
 * clock.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_HOMES_H
#define NODE_AGENT_HOMES_H

#include "node/agent/volume_watch.h"

struct err;
struct homes;
struct loop;
struct report;
struct volume_place;

struct homes *homes_new(struct loop *loop, struct report *report, const struct volume_watch_place *place,
                        const struct volume_place *volumes, struct err *err);
/* After the guests are freed. */
void homes_free(struct homes *homes);

#endif
