/* The members of volumes that have a layout, as objects: each has one of its own, made with the volume and deleted by
 * the node that has its bytes, so that a node which is away keeps what it has until it is back.
 *
 *     {"kind":"member", "id":UUID, "name":"VOLUME.UUID", "spec":{"volume":UUID, "index":N, "pool":...,
 * "layout":"raid1", "members":N, "quorum":N, "voted":bool, "volume_bytes":N, "room_bytes":N, "bytes":N,
 * "replacement":bool}} state, by its node: that of a volume (volumes.h)
 *
 * index WITNESS: no member, but the volume's witness. Pure functions of the mirror. Thread: the loop's. */
#ifndef NODE_AGENT_VOLUME_MEMBER_H
#define NODE_AGENT_VOLUME_MEMBER_H

#include <stdbool.h>
#include <stdint.h>

#include "node/agent/layout.h"
#include "node/agent/mirror.h"

struct change;
struct json_t;

enum { WITNESS = -1, VOLUME_HEADER_BYTES = 16 << 20 /* of LUKS2 */ };

bool volume_has_layout(const struct object *volume);
/* Of one that has one: false, it has none that is known here. */
bool volume_layout(const struct object *volume, struct layout *layout);
/* Of one that has one: what the layout has to hold, with what lies above it. */
uint64_t volume_member_volume_bytes(const struct object *volume);

/* value: of a volume with a layout. Adds its members, and its witness, to the change that makes it. */
void volume_member_add_all(struct change *change, const struct json_t *value);
/* value: the volume's, whose "replaced" {"index", "id"} says which place is to have a fresh member, and its id; the one
 * that is there goes. */
void volume_member_replace(const struct mirror *mirror, struct change *change, const struct json_t *value);
/* value: of a volume whose size has grown. Its members are to be as large as that asks for. */
void volume_member_resize(const struct mirror *mirror, struct change *change, const struct json_t *value);
/* Those whose nodes are up have the bytes that they are to have: what they lie on is made larger by their nodes. false:
 * *index is one that has not. */
bool volume_member_all_large(const struct mirror *mirror, const struct object *volume, int *index);
/* The value of a member that takes over the bytes of the one that has this place, in another pool; new reference, NULL:
 * the volume has no layout that is known here. */
struct json_t *volume_member_value(const struct object *volume, int index, const char *id, const char *pool);
/* Of a volume without a layout: its bytes as an object by themselves, while they move. */
struct json_t *volume_member_plain(const char *volume, const char *id, const char *pool, int64_t bytes);
/* Those that were left by a move are on their way out. */
void volume_member_drop_retired(const struct mirror *mirror, struct change *change, const char *volume);
/* All that are there are on their way out. */
void volume_member_drop_all(const struct mirror *mirror, struct change *change, const char *volume);

/* Of a volume without a layout: what its file or device is named after, its own id, or that of the member as which it
 * was brought where it is. */
const char *volume_data(const struct object *volume);
/* What is observed of it is of those bytes, and not of others that it was before. */
bool volume_state_is_current(const struct object *volume);

/* The one that has this place and is not on its way out; NULL: none. */
const struct object *volume_member_at(const struct mirror *mirror, const char *volume, int index);
/* Is anything left of the volume, on its way out or not? */
bool volume_member_is_any(const struct mirror *mirror, const char *volume);
/* Whose pool that is; "": nobody's. */
const char *volume_member_node(const struct mirror *mirror, const struct object *member);
bool volume_member_is_up(const struct mirror *mirror, const struct object *member); /* its node is */

/* The guest whose disk it is, or NULL. */
const struct object *volume_guest(const struct mirror *mirror, const struct object *volume);
/* The node that speaks for a volume with a layout: its guest's, or without one, and until it is made, that of its first
 * member whose node is up (of the first if none is). "": none. */
const char *volume_home(const struct mirror *mirror, const struct object *volume);

#endif
