/* The part of complete.h that knows volumes: where the bytes of one are put, and where the members of one that has a
 * layout are. Pure functions of the mirror. Thread: the loop's. */
#ifndef NODE_AGENT_COMPLETE_VOLUME_H
#define NODE_AGENT_COMPLETE_VOLUME_H

#include "node/agent/complete.h"

/* With a layout spec.pools has a pool for each member afterwards, and spec.witness one for the witness if the layout
 * wants it and there is a node left for it. */
int complete_volume(const struct mirror *mirror, struct json_t *spec, struct complete_error *error);
/* spec: the volume's with the changes in it. */
int complete_volume_change(const struct mirror *mirror, const struct object *volume, const struct json_t *spec,
                           struct complete_error *error);
/* Puts a pool in the place of member `index` (spec.pools), or of the witness (WITNESS; spec.witness): that one, or with
 * name "" one that is chosen. */
int complete_replacement(const struct mirror *mirror, const struct object *volume, int index, const char *name,
                         struct json_t *spec, struct complete_error *error);

/* The object of that name, which may be given as an id; the name takes its place. NULL: refused. */
const struct object *complete_resolve(const struct mirror *mirror, enum object_kind kind, struct json_t *holder,
                                      const char *key, const char *field, struct complete_error *error);

#endif
