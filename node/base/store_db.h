/* The file of an SQLite store: the half of store_sqlite.c that may block.
 *
 *     item     key -> value, revision, lease      what is
 *     history  (revision, ordinal) -> key, value  what happened, for watches that begin in the past; trimmed
 *     lease    id -> ttl                          deadlines are kept in memory: after a restart every lease starts anew
 *
 * Invariants: a commit is one transaction in a write-ahead log with synchronous=FULL, so what was acknowledged is on
 * the disk; meta.revision is the highest revision in `item` and `history`; after a failure of the disk nothing is
 * trusted any more, and every call is refused until the file is opened again.
 *
 * Thread: one at a time; after store_db_open() the worker's. */
#ifndef NODE_BASE_STORE_DB_H
#define NODE_BASE_STORE_DB_H

#include "node/base/store_backend.h"

struct store_db;

enum {
    STORE_DB_HISTORY_REVISIONS = 1000, /* kept at least, if they fit into */
    STORE_DB_HISTORY_BYTES = 32 << 20,
    STORE_DB_ANSWER_MAX = 8 << 20, /* bytes of values in one answer */
};

struct store_db_lease {
    int64_t id;
    uint32_t ttl_ms;
};

/* Makes the file (mode 0600) if it is not there, and locks it. */
struct store_db *store_db_open(const char *path, struct err *err);
void store_db_close(struct store_db *db);

/* 0 or -errno, with answer->err. answer->arena is the caller's to free in any case. */
int store_db_read(struct store_db *db, const struct store_read *read, struct store_answer *answer);
/* The answer has the events. */
int store_db_commit(struct store_db *db, const struct store_change *changes, uint32_t count,
                    struct store_answer *answer);
/* Events later than `after` under a prefix, whole revisions, up to answer->revision. -ESTALE: compacted. */
int store_db_history(struct store_db *db, const char *prefix, int64_t after, struct store_answer *answer);

int store_db_grant(struct store_db *db, uint32_t ttl_ms, int64_t *id, struct store_answer *answer);
/* Deletes the lease and its keys; the answer has the events. */
int store_db_revoke(struct store_db *db, int64_t id, struct store_answer *answer);
/* At most `room` leases; returns how many there are, or -errno. */
int store_db_leases(struct store_db *db, struct store_db_lease *leases, uint32_t room, struct err *err);

#endif
