/* Images that guests boot from, kernels and RAM disks, and the nodes that hold their bytes: those that have imported
 * them, and those that have copied them (boot_copies.h). Every node that a guest may run on is to hold what it boots
 * from before it has to run it: of a node that is gone nothing can be copied. Pure functions of the mirror.
 *
 *     an image's state   "content_sha256": of its bytes as they are used; "": not known yet, or it is too large
 *     a node's state     "boot_images": {SHA-256: {"phase": "waiting", "copying", "ready" or "failed",
 *                                                  "uri": where it is served to others, "reason":...}}
 *
 * Thread: the mirror's. */
#ifndef NODE_AGENT_BOOT_IMAGE_H
#define NODE_AGENT_BOOT_IMAGE_H

#include <stdbool.h>

#include "node/agent/mirror.h"

struct json_t;

enum { BOOT_IMAGE_BYTES_MAX = 1 << 30, BOOT_IMAGE_SUM_BYTES = 65 /* with the 0 */ };

/* An image of this node with the bytes of that one, which may be another node's: itself, or the same imported again.
 * NULL: there is none. */
const struct object *boot_image_here(const struct mirror *mirror, const char *name, const char *node);

const char *boot_image_sum(const struct object *image); /* "": it cannot be copied, or not yet */
/* Why its bytes are not copied at all; "": they are, or will be once their sum is known. */
const char *boot_image_obstacle(const struct object *image);

/* A guest boots from images, and that node is to hold them: it may run there, by its pins, or is there. */
bool boot_image_concerns(const struct mirror *mirror, const struct object *guest, const char *node);
/* A guest boots from it, or from the same bytes. */
bool boot_image_is_booted(const struct mirror *mirror, const struct object *image);
/* ... and that node is to hold it. */
bool boot_image_is_wanted(const struct mirror *mirror, const struct object *image, const struct object *node);
bool boot_image_is_held(const struct mirror *mirror, const struct object *image, const struct object *node);
/* A node that is there wants it and does not hold it: whoever has it serves it. */
bool boot_image_is_lacking(const struct mirror *mirror, const struct object *image);

/* Where a node that lacks it copies it from. "": soon; NULL: no node that is there has it. */
const char *boot_image_source(const struct mirror *mirror, const struct object *image, const char *node);
/* This node has a copy, and it is this one that is to be served: no image is, and no earlier node's copy. */
bool boot_image_is_served_by(const struct mirror *mirror, const struct object *image, const char *node);

/* Does the node hold all that a guest with this spec boots from? *why (PLACEMENT_WHY_MAX bytes; NULL: nobody asks):
 * what it lacks. */
bool boot_image_allows(const struct mirror *mirror, const struct json_t *spec, const struct object *node, char *why);

/* The image's state as the API shows it, with "copies": [NODE, ...] and "lacking": [{"node", "reason"}, ...] if a guest
 * boots from it; new reference. */
struct json_t *boot_image_state(const struct mirror *mirror, const struct object *image);

#endif
