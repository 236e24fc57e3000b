/* One volume with a layout, as the process that owns it tells: how its members are, asked for again and again while a
 * guest of this node has it. Members that the process does not have, or has at another address, are attached; the rate
 * of filling, a new size and a scrub that is wanted are passed on.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_VOLUME_WATCH_H
#define NODE_AGENT_VOLUME_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "node/agent/mirror.h"

struct audit;
struct cluster;
struct guest_plan_place;
struct guests;
struct json_t;
struct volume_watch;

struct volume_watch_place {
    struct cluster *cluster;
    struct guests *guests;
    const struct guest_plan_place *plan_place;
    struct audit *audit; /* of what an agent does by itself; NULL: none */
};

/* NULL: out of memory. told(): the process has answered, or is not there any more; from the loop. */
struct volume_watch *volume_watch_new(const struct volume_watch_place *place, const char *volume,
                                      void (*told)(void *context, struct volume_watch *watch), void *context);
/* Freed once what it has asked is answered. */
void volume_watch_free(struct volume_watch *watch);

const char *volume_watch_id(const struct volume_watch *watch);
/* Asks now, if nothing is asked yet. */
void volume_watch_look(struct volume_watch *watch);
/* What the process said last (hv/disk_volume.h); NULL: none runs here. */
const struct json_t *volume_watch_status(const struct volume_watch *watch);
/* One runs that says nothing yet, because not all of its memory has come: what is known of the volume stays as it is.
 */
bool volume_watch_is_refused(const struct volume_watch *watch);
/* What the process says of that place is about this member, and not about one that was there before. */
bool volume_watch_means(const struct volume_watch *watch, unsigned index, const char *member);
bool volume_watch_means_witness(const struct volume_watch *watch, const char *member);
/* Why it could not be made as large as it is to be; "": it is, or nobody has tried. */
const char *volume_watch_reason(const struct volume_watch *watch);
/* The newest scrub that was wanted (the volume's "scrub") and is done; 0: none while it was watched. */
int64_t volume_watch_scrubbed(const struct volume_watch *watch);

#endif
