/* A drill as somebody asks for it, or as a schedule keeps it: kind, node, volume, guests, abort_if, also_unprotected,
 * and for, delay, heal in milliseconds (drill_kind.h). Is it one that could be carried out at all, and what does it
 * become? Pure functions of the mirror. Thread: the loop's. */
#ifndef NODE_AGENT_DRILL_ASK_H
#define NODE_AGENT_DRILL_ASK_H

#include "node/agent/complete.h"

struct json_t;

/* prefix: of the fields in the error: "" or "spec.". 0, or -EINVAL with the error. */
int drill_ask_check(const struct mirror *mirror, const struct json_t *asked, const char *prefix,
                    struct complete_error *error);
/* The spec of a drill (drill.h), with what was left out; new reference. asked was checked. self: the node that is
 * asked. */
struct json_t *drill_ask_spec(const struct mirror *mirror, const struct json_t *asked, const char *by,
                              const char *self);

#endif
