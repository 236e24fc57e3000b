/* From what somebody wrote to a specification that can be carried out: names must exist, what was left out is chosen (a
 * node, addresses, a VXLAN number), and what contradicts the rest of the cluster is refused.
 *
 * Pure functions of the mirror. Thread: the loop's. */
#ifndef NODE_AGENT_COMPLETE_H
#define NODE_AGENT_COMPLETE_H

#include "node/agent/mirror.h"

struct json_t;

/* For the API's answer. */
struct complete_error {
    int status;
    const char *code;
    char field[64]; /* "spec.disks[1].volume" */
    char text[256];
};

/* spec is checked by the kind's schema already, and is filled in. 0, or -EINVAL with the error. */
int complete_spec(const struct mirror *mirror, enum object_kind kind, const char *id, struct json_t *spec,
                  struct complete_error *error);
/* spec: the object's with the changes in it. */
int complete_change(const struct mirror *mirror, const struct object *object, struct json_t *spec,
                    struct complete_error *error);
#endif
