/* The meaning of the store, in memory and without time: what a simulated store consists of, and what tests compare the
 * others with. Every operation is carried out at once; leases end only when they are revoked. Threads: one at a time.
 *
 * Errors: 0 or -errno as in store.h, with answer->err. answer->arena is the caller's to free in any case. */
#ifndef NODE_BASE_STORE_MODEL_H
#define NODE_BASE_STORE_MODEL_H

#include "node/base/store_backend.h"

struct store_model;

struct store_model *store_model_new(void); /* NULL: no memory */
void store_model_free(struct store_model *model);

int64_t store_model_revision(const struct store_model *model);

int store_model_read(struct store_model *model, const struct store_read *read, struct store_answer *answer);
/* The answer has the revision, or the conflict; what happened is in the history. */
int store_model_commit(struct store_model *model, const struct store_change *changes, uint32_t count,
                       struct store_answer *answer);
int store_model_grant(struct store_model *model, int64_t *id, struct store_answer *answer);
bool store_model_has_lease(const struct store_model *model, int64_t id);
int store_model_revoke(struct store_model *model, int64_t id, struct store_answer *answer);

/* Events of `after` < revision <= `until` under a prefix. -ESTALE: compacted, or `after` is in the future. */
int store_model_history(struct store_model *model, const char *prefix, int64_t after, int64_t until,
                        struct store_answer *answer);
/* Forgets what happened up to and including `revision`. */
void store_model_compact(struct store_model *model, int64_t revision);

#endif
