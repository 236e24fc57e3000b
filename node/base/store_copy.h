/* Moves what one store holds into another: the step from a single node's SQLite to a cluster's etcd.
 *
 * Keys that hang on a lease are left out: they say who is alive, which is observed anew. The target must not have any
 * of the keys with another value, so that two clusters are not mixed by mistake; a copy that was interrupted may simply
 * be started again. Nothing may write into the source meanwhile (an open SQLite store is locked against others).
 * Revisions are the target's own. Thread: the loop's. */
#ifndef NODE_BASE_STORE_COPY_H
#define NODE_BASE_STORE_COPY_H

#include "node/base/store.h"

struct store_copy {
    struct store *from, *to;
    const char *prefix; /* "": everything */
    /* 0, -EEXIST (the target has a key with another value), or what the stores say; err has the sentence. */
    void (*done)(struct store_copy *copy, int result);
    uint64_t copied, present, leased; /* keys: written, there already, left out */
    struct err err;

    /* the copy's own */
    struct store_read read, look;
    struct store_commit commit;
    struct store_change changes[STORE_CHANGES_MAX];
    struct arena *arena; /* the page */
    struct store_item *items;
    uint32_t count, at, batch; /* items of the page; committed so far; in the commit under way */
    unsigned failures;         /* in a row */
    char last[STORE_KEY_MAX + 1];
};

/* Must stay valid until done(). */
void store_copy_start(struct store_copy *copy);

#endif
