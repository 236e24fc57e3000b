/* The cluster store: the one place that holds what is desired and what was observed, as keys with values.
 *
 *     sqlite:PATH                     one node: a file, nothing to install
 *     etcd:https://h1:2379,h2:2379    a cluster: etcd v3 through its JSON gateway (http:// only to this machine)
 *     sim:                            simulated, on a virtual clock (node/base/store_sim.h)
 *
 * The three mean the same. The store has a revision, which every commit that changes something raises by one and which
 * never goes back; an item's revision is that of its last change and serves as a fencing token. Reads see every commit
 * that was acknowledged before they were asked for. Keys are printable ASCII and sort by their bytes.
 *
 * Thread: the loop's. Every call completes by done(), exactly once, never inside the call that asked for it; what a
 * call points to is copied, only the request struct itself stays with the store until done(). A result is
 *
 *     0                                              it happened
 *     -EHOSTUNREACH                                  the store was not reached: nothing happened
 *     -ETIMEDOUT, -EIO, -ECANCELED                   it may have happened or not (no answer, a broken one, closed)
 *     -ESTALE, -ENOENT, -EINVAL, -E2BIG, -ENOSPC...  refused: nothing happened
 *
 * and the request's err has the sentence. store_outcome() sorts them. */
#ifndef NODE_BASE_STORE_H
#define NODE_BASE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "node/base/err.h"

struct arena;
struct loop;
struct store;
struct store_sim;

enum {
    STORE_KEY_MAX = 512,
    STORE_VALUE_MAX = 1 << 20,  /* bytes */
    STORE_COMMIT_MAX = 1 << 20, /* keys and values of one commit together, bytes */
    STORE_CHANGES_MAX = 128,    /* of one commit */
    STORE_PAGE_MAX = 1000,      /* items of one read */
    STORE_CALLS_MAX = 1024,     /* reads, commits and lease calls under way: more are refused with -EAGAIN */
    STORE_WATCHES_MAX = 64,
    STORE_LEASES_MAX = 1024, /* of one SQLite or simulated store */
    STORE_TTL_MIN_MS = 1000,
    STORE_TTL_MAX_MS = 3600000,
};

/* STORE_UNKNOWN may still come, also after what is written later: what expects a revision does no harm then. */
enum store_outcome { STORE_DONE, STORE_REFUSED, STORE_UNREACHED, STORE_UNKNOWN };

struct store_options {
    const char *ca_file, *cert_file, *key_file; /* etcd over https: PEM; NULL: the system's authorities, none, none */
    bool files_once; /* they are read by store_open() and never again: for programs that give up their rights later */
    uint32_t timeout_ms;   /* of one call to etcd or sim; 0: 5000 */
    struct store_sim *sim; /* for sim: */
    uint32_t sim_client;   /* which of its clients this is */
};

/* The store's part of a request. */
struct store_call {
    STAILQ_ENTRY(store_call) link;
    uint8_t kind;
    int result;
    struct arena *arena; /* what the answer points into; freed after done() */
};

/* ---- reading ---- */

struct store_item {
    const char *key;
    const void *value; /* a 0 byte follows it, for those who know that it is text */
    size_t value_len;
    int64_t revision;
    int64_t lease; /* 0: none */
};

/* One key, or those with a prefix in ascending order. For the next page set `after` to the last key of this one. Each
 * page has a revision of its own: a mirror watches from the first page's, and skips an event that is not newer than
 * what it has of that key. A page may be shorter than `limit` although there is more. */
struct store_read {
    const char *key; /* or the prefix; "" is the prefix of all */
    bool prefix;
    const char *after; /* NULL: from the start */
    uint32_t limit;    /* 0: STORE_PAGE_MAX */
    void (*done)(struct store_read *read, int result);
    /* the answer, valid until done() returns. A key that does not exist: 0, with count 0 */
    const struct store_item *items;
    uint32_t count;
    bool more;
    int64_t revision; /* of the store */
    struct err err;
    struct store_call call;
};

/* ---- changing ---- */

enum { STORE_ABSENT = 0, STORE_ANY = -1 };
enum store_change_kind { STORE_PUT, STORE_DELETE, STORE_CHECK };

struct store_change {
    enum store_change_kind kind; /* STORE_CHECK only compares */
    const char *key;             /* not twice in one commit */
    const void *value;
    size_t value_len;
    int64_t expected; /* the item's revision, or STORE_ABSENT, or STORE_ANY */
    int64_t lease; /* of a put: the key vanishes with it; 0: none. A put without one takes the key out of its lease */
};

/* All of the changes, or none: -ESTALE if one of the expectations is wrong, `conflict` is then its index and
 * `conflict_revision` what the key has (0: absent); -ENOENT if a lease is gone. */
struct store_commit {
    const struct store_change *changes;
    uint32_t count;
    void (*done)(struct store_commit *commit, int result);
    int64_t revision; /* of the store after the commit; unchanged if there was nothing to change */
    uint32_t conflict;
    int64_t conflict_revision;
    struct err err;
    struct store_call call;
};

/* ---- leases ---- */

/* Keys vanish, with a delete event each, when their lease is revoked or was not kept for its ttl. Never earlier than
 * valid_until_ns; later by up to a second, and by a whole ttl more if the store's leader changes meanwhile. */
struct store_lease {
    int64_t id;      /* of keep and revoke; the answer of grant */
    uint32_t ttl_ms; /* asked for, and then granted: whole seconds, perhaps more than asked for */
    void (*done)(struct store_lease *lease, int result); /* -ENOENT: the lease is gone */
    uint64_t valid_until_ns; /* of grant and keep: counted from when the call was made, on the loop's clock */
    struct err err;
    struct store_call call;
};

/* ---- watching ---- */

struct store_event {
    const char *key;
    const void *value; /* NULL: deleted; otherwise a 0 byte follows it */
    size_t value_len;
    int64_t revision;
    int64_t lease;
};

/* What happens under a prefix, from a revision on. It goes on through lost connections, without a gap and without
 * repeating anything; link() says when it stops and starts to be up to date. The callbacks may call unwatch. */
struct store_watch {
    const char *prefix;
    int64_t after; /* events of later revisions; usually what a read returned */
    /* The events of one revision, all in one call, in ascending revisions. count 0: nothing happened up to
     * `revision`. Valid until it returns. */
    void (*events)(struct store_watch *watch, const struct store_event *events, uint32_t count, int64_t revision);
    /* The watch is over. -ESTALE: history was compacted, or the store is another one (restored from a backup): read
     * again and watch from there. Anything else: refused; err says why. */
    void (*ended)(struct store_watch *watch, int result, const struct err *err);
    void (*link)(struct store_watch *watch, bool up, const struct err *why); /* may be NULL */
    void *slot;                                                              /* the store's */
};

/* options may be NULL. Opens and locks the file of sqlite: (which may block); does not connect to etcd: a store that
 * cannot be reached is found out by calling. NULL: err says why (-EBUSY: another process has the file). */
struct store *store_open(const char *uri, struct loop *loop, const struct store_options *options, struct err *err);
/* Ends what is under way with -ECANCELED, and the watches without a word, and calls closed() (may be NULL), later.
 * Leases run on. */
void store_close(struct store *store, void (*closed)(void *context), void *context);

void store_read(struct store *store, struct store_read *read);
void store_commit(struct store *store, struct store_commit *commit);

void store_lease_grant(struct store *store, struct store_lease *lease);
void store_lease_keep(struct store *store, struct store_lease *lease);
void store_lease_revoke(struct store *store, struct store_lease *lease);

/* 0, or -errno with err set: the watch was not begun. */
int store_watch(struct store *store, struct store_watch *watch, struct err *err);
/* No callback of it runs any more once this returned. A watch that ended or was never begun: nothing happens. */
void store_unwatch(struct store *store, struct store_watch *watch);

enum store_outcome store_outcome(int result);

#endif
