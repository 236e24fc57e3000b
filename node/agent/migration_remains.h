/* What a migration leaves in the store when the node that its guest left, which would end and delete its record, was
 * removed: the node to which it went does that, or the heir (heir.h). Thread: the loop's. */
#ifndef NODE_AGENT_MIGRATION_REMAINS_H
#define NODE_AGENT_MIGRATION_REMAINS_H

struct mirror;
struct object;
struct report;

/* If it is that and this node's to end: writes how it ended, so that its task says so, and once that is known deletes
 * the record. Not while a guest is in it, or a plan that is carried out counts it. */
void migration_remains_look(const struct mirror *mirror, const struct object *migration, const char *node,
                            struct report *report);

#endif
