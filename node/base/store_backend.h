/* What a back end of the store is: a table of functions, and rules that make every one of them as careful as the next.
 *
 * store.c checks a request before the back end sees it (keys, sizes, limits, duplicates) and completes it after the
 * back end is done with it, from a job of its own: a back end calls store_finish() wherever it is, also inside the call
 * that brought the request. It copies what it needs of the request before it returns; what the answer points into is
 * call.arena, which store.c frees. Thread: the loop's. */
#ifndef NODE_BASE_STORE_BACKEND_H
#define NODE_BASE_STORE_BACKEND_H

#include "node/base/loop.h"
#include "node/base/store.h"

enum store_call_kind {
    STORE_CALL_READ,
    STORE_CALL_COMMIT,
    STORE_CALL_GRANT,
    STORE_CALL_KEEP,
    STORE_CALL_REVOKE,
};

STAILQ_HEAD(store_calls, store_call);

struct store_backend {
    const char *scheme;
    struct store *(*open)(const char *rest, struct loop *loop, const struct store_options *options, struct err *err);
    /* Every call that is under way is to be finished soon, with -ECANCELED or its own result; then store_closed(). */
    void (*close)(struct store *store);
    void (*read)(struct store *store, struct store_read *read);
    void (*commit)(struct store *store, struct store_commit *commit);
    void (*lease)(struct store *store, struct store_lease *lease, enum store_call_kind kind);
    int (*watch)(struct store *store, struct store_watch *watch, struct err *err); /* sets watch->slot */
    void (*unwatch)(struct store *store, struct store_watch *watch);               /* watch->slot is set */
    /* Calls store_run_finished() soon, from outside; NULL: the loop does it. */
    void (*wake)(struct store *store);
    void (*free)(struct store *store); /* the last call, some time after store_closed() */
};

/* The first member of a back end's own struct. */
struct store {
    const struct store_backend *backend;
    struct loop *loop; /* NULL: simulated */
    struct loop_job job;
    struct store_calls finished;
    uint32_t calls, watches;
    bool closing, may_free;
    void (*closed)(void *context);
    void *closed_context;
};

/* What came of a request where it was carried out; its memory is in `arena`. */
struct store_answer {
    struct arena *arena;
    struct store_item *items; /* of a read */
    struct store_event *events;
    uint32_t count;
    bool more;
    int64_t revision;
    uint32_t conflict;
    int64_t conflict_revision;
    struct err err;
};

extern const struct store_backend store_sqlite, store_etcd, store_sim_backend;

/* For open(): fills what is common. */
void store_init(struct store *store, const struct store_backend *backend, struct loop *loop);
/* Completes a call, later. Its err is set where result is not 0. */
void store_finish(struct store *store, struct store_call *call, int result);
void store_run_finished(struct store *store);
/* Takes leave of a watch that cannot go on. The back end has forgotten it already. */
void store_end_watch(struct store *store, struct store_watch *watch, int result, const struct err *err);
/* Nothing of the back end is left: free() may be called. Once, after close(). */
void store_closed(struct store *store);

/* The same for a read and a commit, with what came of them. The answer's arena goes to the read. */
void store_finish_read(struct store *store, struct store_read *read, struct store_answer *answer, int result);
void store_finish_commit(struct store *store, struct store_commit *commit, const struct store_answer *answer,
                         int result);

/* ---- requests ---- */

enum { STORE_BOUND_MAX = STORE_KEY_MAX + 2 };

/* What is asked for, copied into the arena. false, NULL: no memory. */
bool store_copy_question(const struct store_read *read, struct store_read *copy, struct arena *arena);
struct store_change *store_copy_changes(const struct store_commit *commit, bool values, struct arena *arena);
/* How many items it may have at most. */
uint32_t store_read_limit(const struct store_read *read);
/* Its items are those with from <= key < to. */
void store_read_bounds(const struct store_read *read, char from[STORE_BOUND_MAX], char to[STORE_BOUND_MAX]);
bool store_has_prefix(const char *key, const char *prefix);

/* ---- events ---- */

/* How many of the first events are of one revision. */
uint32_t store_same_revision(const struct store_event *events, uint32_t count);

#endif
