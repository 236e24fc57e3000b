/* Moves of a wave that leave or enter a rack or a site: those share a link with everything else that does.
 * Threads: one at a time. */
#ifndef BALANCER_UPLINKS_H
#define BALANCER_UPLINKS_H

#include <stdbool.h>
#include <stddef.h>

struct model;

struct uplinks {
    const struct model *model;
    size_t places;      /* racks and sites have numbers below it */
    int limit;          /* moves at a time over each; 0: any number */
    int *racks, *sites; /* [places] moves over the link of each */
};

/* With the migrations that are under way already. -ENOMEM */
int uplinks_init(struct uplinks *uplinks, const struct model *model, int limit);
void uplinks_fini(struct uplinks *uplinks);

/* Between two nodes, either may be -1: there is nothing to cross then. */
bool uplinks_have_room(const struct uplinks *uplinks, int from, int to);
void uplinks_take(struct uplinks *uplinks, int from, int to);
/* The wave is over. */
void uplinks_clear(struct uplinks *uplinks);

#endif
