/* What the API takes for a drill and shows of one. Threads: constant. */
#ifndef NODE_AGENT_DRILL_KIND_H
#define NODE_AGENT_DRILL_KIND_H

#include "node/agent/schema.h"

extern const struct schema drill_run_request, drill_answer, drill_schedule_create, drill_schedule_answer;

#endif
