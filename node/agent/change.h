/* A change of the store: objects, what is observed of them, and the names they hold, all or nothing. It is done when
 * the mirror shows it, too: who was told so reads what he wrote.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_CHANGE_H
#define NODE_AGENT_CHANGE_H

#include <stddef.h>
#include <stdint.h>

#include "node/agent/mirror.h"

struct change;
struct cluster;
struct err;
struct json_t;

/* rc: 0; -ESTALE: something had changed meanwhile, nothing was done; -EAGAIN: only that somebody else had claimed the
 * same first, whom the mirror shows by now; -EHOSTUNREACH: the store is not there, nothing was
 * done; -ETIMEDOUT: it may have been done or not; revision: of everything that was changed. The change is freed
 * afterwards. */
typedef void change_done(void *context, int rc, uint64_t revision, const struct err *err);

/* NULL: out of memory. */
struct change *change_new(struct cluster *cluster);

/* expect: the revision the object must still have, 0: it must not be there. value is taken over. */
void change_put(struct change *change, enum object_kind kind, const char *id, struct json_t *value, uint64_t expect);
void change_delete(struct change *change, enum object_kind kind, const char *id, uint64_t expect);
/* It must still have that revision, and stays as it is. */
void change_check(struct change *change, enum object_kind kind, const char *id, uint64_t expect);
/* Over the state that is of that revision (0: there is none), or, with STORE_ANY, whatever was there: then one whose
 * outcome is unknown may still come, over a newer one. */
void change_put_state(struct change *change, enum object_kind kind, const char *id, struct json_t *state,
                      int64_t expect);
/* The same; it goes with that lease. */
void change_put_state_leased(struct change *change, enum object_kind kind, const char *id, struct json_t *state,
                             int64_t expect, int64_t lease);
/* Its state must still be of that revision. */
void change_check_state(struct change *change, enum object_kind kind, const char *id, uint64_t expect);
/* Over the state of that revision, as change_put_state(), by who has looked at what it stands for; those of one change
 * one after the other. */
void change_claim(struct change *change, enum object_kind kind, const char *id, struct json_t *state, int64_t expect);
/* It must have no state. */
void change_check_no_state(struct change *change, enum object_kind kind, const char *id);
void change_delete_state(struct change *change, enum object_kind kind, const char *id);
/* Only the state that is of that revision. */
void change_delete_state_seen(struct change *change, enum object_kind kind, const char *id, uint64_t expect);
/* The name must be free, and is taken; or is given back. */
void change_take_name(struct change *change, enum object_kind kind, const char *name, const char *id);
void change_free_name(struct change *change, enum object_kind kind, const char *name);

/* done() once, later. */
void change_commit(struct change *change, change_done *done, void *context);
void change_drop(struct change *change); /* instead of committing it */

#endif
