/* How a volume with a layout is, as one object: what the nodes of its members report, what the process that owns it
 * says, and what was known before. A pure function of the three. Thread: the loop's. */
#ifndef NODE_AGENT_VOLUME_CONDITION_H
#define NODE_AGENT_VOLUME_CONDITION_H

#include <stdint.h>

#include "node/agent/mirror.h"

struct json_t;

struct volume_owner {
    const struct json_t *status; /* of its process (hv/disk_volume.h); NULL: none runs */
    uint32_t strangers;          /* places of which it means another member than is to be there, a bit each */
    bool witness_stranger;       /* the same of the witness */
    int away_index;              /* who is away and may be replaced; its id, "" or NULL: nobody; since when (Unix) */
    const char *away;
    int64_t away_since_s;
    int64_t scrubbed;     /* the newest scrub that was wanted and is done; 0: none */
    bool forming, formed; /* what lies above the members is being made; is there, or need not be */
    const char *reason;   /* why it could not be made, or made larger; "" */
};

/* The volume's state (homes.h), a new reference. The volume's last state is where what nobody says now comes from. */
struct json_t *volume_condition(const struct mirror *mirror, const struct object *volume,
                                const struct volume_owner *owner);

#endif
