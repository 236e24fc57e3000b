/* Every object of the cluster in memory, as the store has it: what the agent's parts look at, and what lists are made
 * of. Nothing is changed here but by what the store says (mirror_put(), mirror_delete()).
 *
 *     /drover/KIND/ID         {"kind":..., "id":..., "name":..., "spec":{...}}     what is wanted
 *     /drover/state/KIND/ID   {...}                                               what its node observes
 *
 * Other keys below /drover are not kept. Thread: the loop's. Objects live until the next turn of the loop. */
#ifndef NODE_AGENT_MIRROR_H
#define NODE_AGENT_MIRROR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct json_t;
struct mirror;

enum object_kind {
    OBJECT_NODE,
    OBJECT_POOL,
    OBJECT_IMAGE,
    OBJECT_VOLUME,
    OBJECT_NETWORK,
    OBJECT_GUEST,
    OBJECT_TOKEN,
    OBJECT_TASK,
    OBJECT_MIGRATION,
    OBJECT_VOLUME_MOVE, /* the bytes of a volume, or of a member, on their way to another pool */
    OBJECT_MEMBER,      /* of a volume with a layout: the part of it that is in one pool */
    OBJECT_OWNER,       /* of a volume with a layout: whose process has it, and with which epoch */
    OBJECT_FAILOVER,    /* one: whether guests of lost nodes are taken over */
    OBJECT_DRILL,       /* a fault that is put in on purpose */
    OBJECT_DRILL_SCHEDULE,
    OBJECT_CANARY,       /* the last word of a guest that a drill listens to: a state only */
    OBJECT_POLICY,       /* one: what the balancer is to do, "balance" */
    OBJECT_PLAN,         /* of the balancer: who is to move, wave by wave */
    OBJECT_LOAD,         /* state only, of a node by its id: what its guests used lately */
    OBJECT_HOURS,        /* state only, of guests by how their ids begin: what they used on other days */
    OBJECT_BALANCER,     /* state only: "leader", who is elected, and "status", what it sees */
    OBJECT_ROOM,         /* state only, of a node by its id, and "groups": who was sent there last (room_claim.h) */
    OBJECT_REMOVED_NODE, /* by its former id: whose key is refused */
    OBJECT_KIND_COUNT,
};

/* Either part may be there without the other: value NULL or state NULL, revision 0. */
struct object {
    enum object_kind kind;
    char *id, *name; /* name "": unknown yet */
    struct json_t *value, *state;
    uint64_t revision, state_revision;
};

enum object_part { OBJECT_VALUE, OBJECT_STATE };

struct mirror_listener {
    /* That part of an object was put, changed or deleted (it is NULL then). From the loop. */
    void (*changed)(struct mirror_listener *listener, const struct object *object, enum object_part part);
    LIST_ENTRY(mirror_listener) link;
};

struct mirror *mirror_new(void);
void mirror_free(struct mirror *mirror);

/* From the store; what is older than what is there already changes nothing. -EBADMSG: it is not an object of ours and
 * was left out (mirror_unreadable() names it, if it is a value); 0 also for keys that are not kept. */
int mirror_put(struct mirror *mirror, const char *key, const char *text, size_t len, uint64_t revision);
void mirror_delete(struct mirror *mirror, const char *key, uint64_t revision);
/* What was not put since is deleted: after the whole store was read anew. */
void mirror_begin(struct mirror *mirror);
void mirror_sweep(struct mirror *mirror);

/* Tells of one object of each kind as if its value had been put: whoever looks at all of a kind when one of it changes,
 * and could not while the store was read, looks now. */
void mirror_stir(struct mirror *mirror);

void mirror_listen(struct mirror *mirror, struct mirror_listener *listener);
void mirror_unlisten(struct mirror_listener *listener);

/* NULL: there is none. */
const struct object *mirror_find(const struct mirror *mirror, enum object_kind kind, const char *id);
const struct object *mirror_named(const struct mirror *mirror, enum object_kind kind, const char *name);
/* In the order of their names, those that are wanted (value is there): the first one after that name; after NULL: of
 * all. */
const struct object *mirror_next(const struct mirror *mirror, enum object_kind kind, const char *after);
size_t mirror_count(const struct mirror *mirror, enum object_kind kind);
/* In the order of their ids, those whose value the store has, and it is no object of ours: the first one after that id;
 * after NULL: of all. It has kind, id and revision alone; what was there before is mirror_find()'s. */
const struct object *mirror_unreadable(const struct mirror *mirror, enum object_kind kind, const char *after);

const char *object_kind_name(enum object_kind kind); /* "guest" */
/* -1: no such kind. */
int object_kind_of(const char *name);
/* A member of the spec, or NULL. */
const struct json_t *object_spec(const struct object *object, const char *key);
const char *object_spec_text(const struct object *object, const char *key); /* "" if it is not there */

#endif
