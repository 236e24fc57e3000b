/* The volumes that move with a guest: what of them lies on the node that it leaves goes to the one where it goes,
 * before it sets out itself. A plain volume moves as it is, of one with a layout the member that the node has.
 *
 *     migration's spec    "volumes": [{"move": ID, "volume": NAME, "member": N, "from": POOL, "to": POOL, "bytes": N}]
 *     migration's value   "recalled": why they are not to go on; "volumes_s": N, once all are there: how long they took
 *                         since the agent of the node that the guest leaves has first seen the migration
 *
 * Each is a move of its own (volume_move.h) that names the migration, made in the same change. All are copied while the
 * guest runs where it was, and none changes over before all of them are copied; then all do, and then the guest goes.
 * So as long as anything can take long, all that it has is where it runs, and what fails meanwhile leaves all of it
 * there. Only between the first changing over and its own does it need both nodes.
 *
 * Pure functions of the mirror. Threads: any. */
#ifndef NODE_AGENT_MIGRATION_VOLUMES_H
#define NODE_AGENT_MIGRATION_VOLUMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/agent/mirror.h"

struct change;
struct complete_error;
struct json_t;
struct placement_room;

enum { MIGRATION_VOLUMES_TEXT_MAX = 256 };

/* ---- the beginning ---- */

/* Chooses where they go, and writes it into the record of migration_make(); moves: an array that gets their records.
 * None: that is fine. 0, or refused. */
int migration_volumes_choose(const struct mirror *mirror, const struct object *guest, struct json_t *migration,
                             struct json_t *moves, struct complete_error *error);
/* The best node for a guest (placement.h) of those that take what its volumes have where it is, too; NULL: there is
 * none. room: of the choice, or NULL. */
const struct object *migration_volumes_node(const struct mirror *mirror, const struct object *guest,
                                            struct placement_room *room);
/* The change that makes them, of everything as the mirror has it. */
void migration_volumes_put(struct change *change, const struct mirror *mirror, const struct json_t *moves);
/* What stays on that node if they do not move: "volumes web1, web2 stay on node n1"; "": nothing. */
const char *migration_volumes_left(const struct mirror *mirror, const struct object *guest, char *text, size_t room);

/* ---- on the way ---- */

/* The guest is not to set out yet. */
bool migration_volumes_pending(const struct object *migration);
/* All of them are copied, and may change over. */
bool migration_volumes_are_copied(const struct mirror *mirror, const struct object *migration);
/* Why a move that names it is not to go on; NULL: nothing is in its way. */
const char *migration_volumes_obstacle(const struct mirror *mirror, const struct object *migration);

struct migration_volumes {
    unsigned count, ended, done;
    uint64_t done_bytes, total_bytes;
    char why[MIGRATION_VOLUMES_TEXT_MAX]; /* the first that failed, and why; "": none has */
};

void migration_volumes_look(const struct mirror *mirror, const struct object *migration,
                            struct migration_volumes *volumes);
/* Bytes of all of them, of the record. */
uint64_t migration_volumes_bytes(const struct object *migration);
/* "; moved to node n2 before that: web1, web2". "": none has. */
const char *migration_volumes_moved(const struct mirror *mirror, const struct object *migration, char *text,
                                    size_t room);
/* What of the goal is left for the guest itself: at least 1. */
uint64_t migration_volumes_rest_s(const struct object *migration);

/* ---- before it begins ---- */

/* How long they are likely to take, at so many bytes a second and by what bounds each. spec: of the migration. */
double migration_volumes_seconds(const struct mirror *mirror, const struct json_t *spec, double bandwidth);

#endif
