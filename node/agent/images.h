/* The images in this node's pools: each has a unit (image_unit.h), and what becomes of it is reported with the node's
 * name beside the unit's own state.
 *
 * An image is served to others while a volume of another node is made from it. Thread: the loop's. */
#ifndef NODE_AGENT_IMAGES_H
#define NODE_AGENT_IMAGES_H

struct cluster;
struct err;
struct image_place;
struct images;
struct report;

struct images *images_new(struct cluster *cluster, struct report *report, const struct image_place *place,
                          struct err *err);
/* Servers run on. */
void images_free(struct images *images);

#endif
