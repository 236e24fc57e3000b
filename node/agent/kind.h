/* The kinds of objects that people make: what each is called in paths, and what its specification may hold. One table
 * for the API's checks, its document, and those who look for references.
 *
 * Threads: the tables are constant. */
#ifndef NODE_AGENT_KIND_H
#define NODE_AGENT_KIND_H

#include <stdbool.h>

#include "node/agent/mirror.h"
#include "node/agent/schema.h"

struct kind {
    enum object_kind kind;
    const char *plural;          /* "guests": the path */
    const struct schema *create; /* {"name":..., "spec":{...}}; NULL: not made by people */
    const struct schema *change; /* {"spec":{...}}: what may change later; NULL: nothing */
    const struct schema *answer; /* the whole object with its state */
};

const struct kind *kind_of(enum object_kind kind);

/* The first object that refers to the one given ("guest web1"), as text; false: nobody does. */
bool kind_is_used(const struct mirror *mirror, const struct object *object, char *text, int len);

#endif
