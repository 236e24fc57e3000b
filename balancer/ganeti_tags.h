/* What tags mean in Ganeti: exclusion (htools:iextags:P), location (htools:nlocation:P), desired location
 * (htools:desiredlocation:P) and migration (htools:migration:P, htools:allowmigration:A::B). Source: hbal(1), "TAGS
 * USAGE". Threads: one at a time. */
#ifndef BALANCER_GANETI_TAGS_H
#define BALANCER_GANETI_TAGS_H

#include "balancer/text_line.h"

struct model;
struct model_node;

/* cluster: the section of cluster tags. -ENOSPC: more than BITS_MAX different tags; -ENOMEM. */
int ganeti_tags_node(struct model *model, struct text_field cluster, struct text_field tags, struct model_node *node);
int ganeti_tags_guest(struct model *model, struct text_field cluster, struct text_field tags, int guest);

#endif
