/* A volume with a layout that no guest uses is looked after: `drover-img volume tend` opens it as its owner, with the
 * next epoch, makes it larger, fills its members, scrubs it, and ends.
 *
 *     CLAIMING --epoch--> RUNNING --it ends--> ended(), once
 *
 * A guest that is started meanwhile claims a greater epoch, so there are never two owners; tending_stop() makes room
 * for it in order. Thread: the loop's. */
#ifndef NODE_AGENT_TENDING_H
#define NODE_AGENT_TENDING_H

#include "node/agent/volume_watch.h"
#include "node/agent/volume_work.h"

struct err;
struct object;
struct tending;
struct volume_place;

/* Begins. NULL: it cannot be begun now, err says why. ended(): later, once, with 0 or -errno; then tending_free(). */
struct tending *tending_new(const struct volume_watch_place *place, const struct volume_place *volumes,
                            const struct object *volume, const struct volume_work *work,
                            void (*ended)(void *context, int rc, const struct err *err), void *context,
                            struct err *err);
/* The program closes the volume in order, and ends. */
void tending_stop(struct tending *tending);
/* The same, and nothing is told; turns of the loop are needed. NULL is fine. */
void tending_free(struct tending *tending);

/* Reads what the program said last. */
void tending_look(struct tending *tending);
/* That (replication/volume_json.h); NULL: nothing yet. */
const struct json_t *tending_status(const struct tending *tending);
/* As volume_watch_means() and volume_watch_scrubbed(). */
bool tending_means(const struct tending *tending, unsigned index, const char *member);
bool tending_means_witness(const struct tending *tending, const char *member);
int64_t tending_scrubbed(const struct tending *tending);
/* All that is to be done is what this was begun for, with the members that it was begun with. */
bool tending_does(const struct tending *tending, const struct mirror *mirror, const struct object *volume,
                  const struct volume_work *work);

#endif
