/* An image in a directory pool of this node: imported by drover-import, served read-only to others, deleted.
 *
 *     IMPORTING --whole, on stable storage--> READY --not wanted--> DELETING --> GONE
 *         +--> FAILED, tried again after a while
 *
 * What is being imported has another name until it is whole. The sum of its bytes comes with the import; of one that
 * was imported without, it is taken when a guest boots from it (boot_image.h). Thread: the loop's. */
#ifndef NODE_AGENT_IMAGE_UNIT_H
#define NODE_AGENT_IMAGE_UNIT_H

#include <stdbool.h>
#include <stdint.h>

#include "node/agent/export_unit.h"

struct image_unit;
struct json_t;

enum image_phase { IMAGE_IMPORTING, IMAGE_READY, IMAGE_FAILED, IMAGE_GONE, IMAGE_PHASE_COUNT };

struct image_place {
    struct loop *loop;
    struct export_place *exports;
    const char *import; /* drover-import, an absolute path */
};

/* Texts are copied. sha256 "": any. known: its state from before, or NULL. changed(): anything of the state. NULL: out
 * of memory. */
struct image_unit *image_unit_new(const struct image_place *place, const char *id, const char *pool_path,
                                  const char *source, const char *sha256, const struct json_t *known,
                                  void (*changed)(void *context, struct image_unit *unit), void *context);
struct image_wish {
    bool served;  /* to other nodes */
    bool summed;  /* others are to copy it */
    bool deleted; /* and nothing else */
};
void image_unit_want(struct image_unit *unit, struct image_wish wish);
void image_unit_free(struct image_unit *unit);

const char *image_unit_id(const struct image_unit *unit);
enum image_phase image_unit_phase(const struct image_unit *unit);
/* {"phase":..., "path":..., "uri":..., "bytes":..., "content_sha256":..., "done_bytes":..., "total_bytes":...,
 * "reason":...}; new reference. */
struct json_t *image_unit_state(const struct image_unit *unit);

#endif
