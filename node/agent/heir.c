#include "node/agent/heir.h"

#include <stddef.h>

#include "node/agent/mirror.h"
#include "node/agent/presence.h"

bool heir_is_needed(const struct mirror *m, const char *node)
{
    return !mirror_named(m, OBJECT_NODE, node);
}

const char *heir_of(const struct mirror *m, const char *node)
{
    const struct object *first = mirror_next(m, OBJECT_NODE, NULL), *o = first;
    while (o && !presence_is_alive(o))
        o = mirror_next(m, OBJECT_NODE, o->name);
    o = o ? o : first;
    return o && heir_is_needed(m, node) ? o->name : node;
}
