/* What lies on a volume with a layout before its first guest: a LUKS header, an image. drover-img writes it through the
 * volume's driver, as an owner with an epoch of its own, so a forming that was given up can do no harm later.
 *
 *     CLAIMING --epoch--> RUNNING a program --next--> ... --> done      or failed, once
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_FORMING_H
#define NODE_AGENT_FORMING_H

#include "node/agent/volume_watch.h"

struct err;
struct forming;
struct object;
struct volume_place;

/* Begins. NULL: it cannot be begun now, err says why. formed(): later, once; rc 0 or -errno. Then forming_free(). */
struct forming *forming_new(const struct volume_watch_place *place, const struct volume_place *volumes,
                            const struct object *volume, void (*formed)(void *context, int rc, const struct err *err),
                            void *context, struct err *err);
/* A program that runs is ended; turns of the loop are needed then. NULL is fine. */
void forming_free(struct forming *forming);

#endif
