/* See store_db.h. */
#include "node/base/store_db.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/base/arena.h"
#include "node/base/store_backend.h"
#include "node/base/whole_file.h"

enum {
    APPLICATION_ID = 0x44725374, /* "DrSt" */
    FORMAT = 1,
    ARENA_MAX = 64 << 20, /* an answer's values, keys and arrays */
};

enum statement {
    BEGIN,
    COMMIT,
    ROLLBACK,
    META,
    SET_META,
    GET,
    LIST,
    PUT,
    DELETE,
    REMEMBER,
    HISTORY,
    HISTORY_BYTES,
    FORGET,
    LEASE_GET,
    LEASE_ADD,
    LEASE_DELETE,
    LEASE_KEYS,
    LEASE_LIST,
    STATEMENTS,
};

static const char *const sql[STATEMENTS] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [META] = "SELECT revision, compacted FROM meta",
    [SET_META] = "UPDATE meta SET revision = ?1, compacted = ?2",
    [GET] = "SELECT revision FROM item WHERE key = ?1",
    [LIST] = "SELECT key, value, revision, lease FROM item WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3",
    [PUT] =
        "INSERT INTO item VALUES(?1, ?2, ?3, ?4) ON CONFLICT(key) DO UPDATE SET value = ?2, revision = ?3, lease = ?4",
    [DELETE] = "DELETE FROM item WHERE key = ?1",
    [REMEMBER] = "INSERT INTO history(revision, ordinal, key, value, lease) VALUES(?1, ?2, ?3, ?4, ?5)",
    [HISTORY] = "SELECT revision, key, value, lease FROM history WHERE revision > ?1 ORDER BY revision, ordinal",
    [HISTORY_BYTES] = "SELECT coalesce(sum(length(value)), 0) FROM history",
    [FORGET] = "DELETE FROM history WHERE revision <= ?1",
    [LEASE_GET] = "SELECT 1 FROM lease WHERE id = ?1",
    [LEASE_ADD] = "INSERT INTO lease(ttl_ms) VALUES(?1)",
    [LEASE_DELETE] = "DELETE FROM lease WHERE id = ?1",
    [LEASE_KEYS] = "SELECT key FROM item WHERE lease = ?1 ORDER BY key",
    [LEASE_LIST] = "SELECT id, ttl_ms FROM lease ORDER BY id",
};

static const char schema[] =
    "BEGIN;"
    "CREATE TABLE meta(id INTEGER PRIMARY KEY CHECK(id = 0), revision INTEGER NOT NULL, compacted INTEGER NOT NULL);"
    "INSERT INTO meta VALUES(0, 1, 1);"
    "CREATE TABLE item(key TEXT NOT NULL UNIQUE, value BLOB NOT NULL, revision INTEGER NOT NULL,"
    " lease INTEGER NOT NULL);"
    "CREATE INDEX item_lease ON item(lease) WHERE lease <> 0;"
    "CREATE TABLE history(revision INTEGER NOT NULL, ordinal INTEGER NOT NULL, key TEXT NOT NULL, value BLOB,"
    " lease INTEGER NOT NULL, UNIQUE(revision, ordinal));"
    "CREATE TABLE lease(id INTEGER PRIMARY KEY AUTOINCREMENT, ttl_ms INTEGER NOT NULL);"
    "PRAGMA application_id = 1148343156;"
    "PRAGMA user_version = 1;"
    "COMMIT;";

struct store_db {
    sqlite3 *sqlite;
    sqlite3_stmt *statements[STATEMENTS];
    char *path;
    int64_t revision, compacted;
    size_t history_bytes;
    bool broken;
};

/* ---- errors ---- */

static int errno_of(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return EBUSY;
    case SQLITE_FULL:
        return ENOSPC;
    case SQLITE_NOMEM:
        return ENOMEM;
    case SQLITE_READONLY:
        return EROFS;
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return EACCES;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return EUCLEAN;
    default:
        return EIO;
    }
}

/* Says what SQLite had to say. */
static int fail(struct store_db *db, int rc, struct err *err)
{
    int code = errno_of(rc);
    if (code == EIO)
        db->broken = true;
    if (code == EBUSY)
        return err_set(err, EBUSY, "the store %s is in use by another process: stop that one first", db->path);
    if (code == ENOSPC)
        return err_set(err, ENOSPC, "the store %s cannot grow, its file system is full: make room there", db->path);
    return err_set(err, code, "the store %s: %s%s", db->path, sqlite3_errmsg(db->sqlite),
                   code == EUCLEAN ? "; put a backup in its place" : "");
}

static int no_memory(struct err *err)
{
    return err_set(err, ENOMEM, "no memory for the store");
}

/* ---- statements ---- */

static sqlite3_stmt *take(struct store_db *db, enum statement which)
{
    sqlite3_stmt *s = db->statements[which];
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return s;
}

/* Runs a statement that has no rows to be read. */
static int run(struct store_db *db, sqlite3_stmt *s, struct err *err)
{
    int rc = sqlite3_step(s);
    if (rc != SQLITE_DONE && rc != SQLITE_ROW) {
        fail(db, rc, err);
        sqlite3_reset(s);
        return -err->code;
    }
    sqlite3_reset(s);
    return 0;
}

/* 1: there is a row, 0: there is none. */
static int row(struct store_db *db, sqlite3_stmt *s, struct err *err)
{
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW)
        return 1;
    if (rc == SQLITE_DONE)
        return 0;
    return fail(db, rc, err);
}

static void bind_text(sqlite3_stmt *s, int at, const char *text)
{
    sqlite3_bind_text(s, at, text, -1, SQLITE_STATIC);
}

static int begin(struct store_db *db, struct err *err)
{
    if (db->broken)
        return err_set(err, ENOTRECOVERABLE,
                       "the disk of the store %s failed; nothing is written any more until it is opened again",
                       db->path);
    return run(db, take(db, BEGIN), err);
}

/* Ends what begin() began. */
static int end(struct store_db *db, int rc, struct err *err)
{
    if (!rc)
        rc = run(db, take(db, COMMIT), err);
    if (rc && !sqlite3_get_autocommit(db->sqlite)) {
        struct err ignored = {0};
        if (run(db, take(db, ROLLBACK), &ignored))
            db->broken = true;
    }
    return rc;
}

/* ---- opening ---- */

/* An existing file is not opened here: closing it would drop the locks that another store of this process has. */
static int make_file(const char *path, struct err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST)
        return chmod(path, 0600) ? err_set(err, errno, "cannot make %s private (chmod 0600): %s", path, strerror(errno))
                                 : 0;
    if (fd < 0)
        return err_set(err, errno, "cannot make the store %s: %s", path, strerror(errno));
    close(fd);
    int rc = whole_file_keep_name(path);
    return rc ? err_set(err, -rc, "cannot make the store %s durable: %s", path, strerror(-rc)) : 0;
}

static int execute(struct store_db *db, const char *text, struct err *err)
{
    int rc = sqlite3_exec(db->sqlite, text, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : fail(db, rc, err);
}

/* The value of a pragma, or -1. */
static int64_t pragma(struct store_db *db, const char *text)
{
    sqlite3_stmt *s = NULL;
    int64_t value = -1;
    if (sqlite3_prepare_v2(db->sqlite, text, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
        value = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return value;
}

static int check_damage(struct store_db *db, struct err *err)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(db->sqlite, "PRAGMA quick_check(1)", -1, &s, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    int result = 0;
    if (rc != SQLITE_ROW)
        result = fail(db, rc, err);
    else if (strcmp((const char *)sqlite3_column_text(s, 0), "ok") != 0)
        result = err_set(err, EUCLEAN, "the store %s is damaged (%.200s); put a backup in its place", db->path,
                         (const char *)sqlite3_column_text(s, 0));
    sqlite3_finalize(s);
    return result;
}

static int count_history_bytes(struct store_db *db, size_t *bytes, struct err *err)
{
    sqlite3_stmt *s = take(db, HISTORY_BYTES);
    int rc = row(db, s, err);
    *bytes = rc == 1 ? (size_t)sqlite3_column_int64(s, 0) : 0;
    sqlite3_reset(s);
    return rc < 0 ? rc : 0;
}

static int prepare(struct store_db *db, struct err *err)
{
    for (int i = 0; i < STATEMENTS; i++) {
        int rc = sqlite3_prepare_v3(db->sqlite, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &db->statements[i], NULL);
        if (rc != SQLITE_OK)
            return fail(db, rc, err);
    }
    sqlite3_stmt *meta = take(db, META);
    int rc = row(db, meta, err);
    if (rc == 1) {
        db->revision = sqlite3_column_int64(meta, 0);
        db->compacted = sqlite3_column_int64(meta, 1);
    }
    sqlite3_reset(meta);
    if (rc < 0)
        return rc;
    if (!rc || db->revision < 1 || db->compacted < 1 || db->compacted > db->revision)
        return err_set(err, EUCLEAN, "the store %s does not know its revision; put a backup in its place", db->path);
    return count_history_bytes(db, &db->history_bytes, err);
}

static int open_file(struct store_db *db, struct err *err)
{
    int rc = sqlite3_open_v2(db->path, &db->sqlite, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                             NULL);
    if (rc != SQLITE_OK)
        return db->sqlite ? fail(db, rc, err) : no_memory(err);
    sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    /* the lock before the first look: exclusive, and held as long as the file is open */
    int result = execute(db,
                         "PRAGMA locking_mode = EXCLUSIVE; PRAGMA cell_size_check = ON; PRAGMA journal_mode = WAL;"
                         "PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY; BEGIN EXCLUSIVE; COMMIT;",
                         err);
    if (result)
        return result;
    int64_t application = pragma(db, "PRAGMA application_id"), format = pragma(db, "PRAGMA user_version");
    if (application == 0 && format == 0 && pragma(db, "SELECT count(*) FROM sqlite_schema") == 0)
        result = execute(db, schema, err);
    else if (application != APPLICATION_ID)
        result = err_set(err, EINVAL, "%s is not a store of Drover's", db->path);
    else if (format != FORMAT)
        result = err_set(err, EINVAL, "the store %s has the format %lld; this version knows %d", db->path,
                         (long long)format, FORMAT);
    if (!result)
        result = check_damage(db, err);
    return result ? result : prepare(db, err);
}

struct store_db *store_db_open(const char *path, struct err *err)
{
    struct store_db *db = calloc(1, sizeof *db);
    if (db)
        db->path = strdup(path);
    if (!db || !db->path) {
        free(db);
        no_memory(err);
        return NULL;
    }
    int rc = make_file(path, err);
    if (!rc)
        rc = open_file(db, err);
    if (rc) {
        store_db_close(db);
        return NULL;
    }
    return db;
}

void store_db_close(struct store_db *db)
{
    if (!db)
        return;
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(db->statements[i]);
    sqlite3_close(db->sqlite);
    free(db->path);
    free(db);
}

/* ---- reading ---- */

static int start_answer(struct store_answer *answer, uint32_t items, uint32_t events)
{
    answer->arena = arena_new(ARENA_MAX);
    if (answer->arena && items)
        answer->items = arena_alloc(answer->arena, items * sizeof *answer->items);
    if (answer->arena && events)
        answer->events = arena_alloc(answer->arena, events * sizeof *answer->events);
    if (!answer->arena || (items && !answer->items) || (events && !answer->events))
        return no_memory(&answer->err);
    return 0;
}

static const char *copy_column(struct arena *arena, sqlite3_stmt *s, int column, size_t *len)
{
    const void *bytes = sqlite3_column_blob(s, column);
    *len = (size_t)sqlite3_column_bytes(s, column);
    return arena_copy(arena, bytes, *len);
}

int store_db_read(struct store_db *db, const struct store_read *read, struct store_answer *answer)
{
    uint32_t limit = store_read_limit(read);
    int rc = start_answer(answer, limit, 0);
    if (rc)
        return rc;
    char from[STORE_BOUND_MAX], to[STORE_BOUND_MAX];
    store_read_bounds(read, from, to);
    sqlite3_stmt *s = take(db, LIST);
    bind_text(s, 1, from);
    bind_text(s, 2, to);
    sqlite3_bind_int64(s, 3, (int64_t)limit + 1);
    size_t bytes = 0;
    while ((rc = row(db, s, &answer->err)) == 1) {
        if (answer->count == limit || bytes > STORE_DB_ANSWER_MAX) {
            answer->more = true;
            break;
        }
        struct store_item *i = &answer->items[answer->count++];
        size_t key_len;
        i->key = copy_column(answer->arena, s, 0, &key_len);
        i->value = copy_column(answer->arena, s, 1, &i->value_len);
        i->revision = sqlite3_column_int64(s, 2);
        i->lease = sqlite3_column_int64(s, 3);
        if (!i->key || !i->value) {
            rc = no_memory(&answer->err);
            break;
        }
        bytes += key_len + i->value_len;
    }
    sqlite3_reset(s);
    answer->revision = db->revision;
    return rc < 0 ? rc : 0;
}

/* How many rows of the history make whole revisions and one answer. */
static uint32_t count_history(struct store_db *db, int64_t after, int64_t *until, struct err *err)
{
    enum { ROWS_MAX = 2000 };
    sqlite3_stmt *s = take(db, HISTORY);
    sqlite3_bind_int64(s, 1, after);
    uint32_t rows = 0;
    size_t bytes = 0;
    *until = after;
    while (row(db, s, err) == 1) {
        int64_t revision = sqlite3_column_int64(s, 0);
        if (revision != *until && (rows >= ROWS_MAX || bytes > STORE_DB_ANSWER_MAX))
            break;
        *until = revision;
        bytes += (size_t)sqlite3_column_bytes(s, 2);
        rows++;
    }
    sqlite3_reset(s);
    return rows;
}

int store_db_history(struct store_db *db, const char *prefix, int64_t after, struct store_answer *answer)
{
    if (after > db->revision)
        return err_set(&answer->err, ESTALE, "the store %s is at the revision %lld, before %lld: it is an older one",
                       db->path, (long long)db->revision, (long long)after);
    if (after < db->compacted)
        return err_set(&answer->err, ESTALE, "the history of the store %s begins after the revision %lld, not at %lld",
                       db->path, (long long)db->compacted, (long long)after);
    int64_t until;
    uint32_t rows = count_history(db, after, &until, &answer->err);
    int rc = answer->err.code ? -answer->err.code : start_answer(answer, 0, rows + 1);
    if (rc)
        return rc;
    sqlite3_stmt *s = take(db, HISTORY);
    sqlite3_bind_int64(s, 1, after);
    while (rows-- && (rc = row(db, s, &answer->err)) == 1) {
        const char *key = (const char *)sqlite3_column_text(s, 1);
        if (!key || !store_has_prefix(key, prefix))
            continue;
        struct store_event *e = &answer->events[answer->count++];
        size_t key_len;
        e->revision = sqlite3_column_int64(s, 0);
        e->key = copy_column(answer->arena, s, 1, &key_len);
        e->lease = sqlite3_column_int64(s, 3);
        if (sqlite3_column_type(s, 2) != SQLITE_NULL)
            e->value = copy_column(answer->arena, s, 2, &e->value_len);
        if (!e->key || (!e->value && sqlite3_column_type(s, 2) != SQLITE_NULL)) {
            rc = no_memory(&answer->err);
            break;
        }
    }
    sqlite3_reset(s);
    answer->more = until < db->revision;
    answer->revision = until;
    return rc < 0 ? rc : 0;
}

/* ---- changing ---- */

/* The revision of a key, 0 if it is absent. */
static int64_t revision_of(struct store_db *db, const char *key, struct err *err)
{
    sqlite3_stmt *s = take(db, GET);
    bind_text(s, 1, key);
    int rc = row(db, s, err);
    int64_t revision = rc == 1 ? sqlite3_column_int64(s, 0) : rc;
    sqlite3_reset(s);
    return revision;
}

static int check_lease(struct store_db *db, int64_t id, struct err *err)
{
    sqlite3_stmt *s = take(db, LEASE_GET);
    sqlite3_bind_int64(s, 1, id);
    int rc = row(db, s, err);
    sqlite3_reset(s);
    if (!rc)
        return err_set(err, ENOENT, "the lease %lld is gone", (long long)id);
    return rc < 0 ? rc : 0;
}

static int put(struct store_db *db, const struct store_change *c, int64_t revision, struct err *err)
{
    int rc = c->lease ? check_lease(db, c->lease, err) : 0;
    if (rc)
        return rc;
    sqlite3_stmt *s = take(db, PUT);
    bind_text(s, 1, c->key);
    sqlite3_bind_blob64(s, 2, c->value_len ? c->value : "", c->value_len, SQLITE_STATIC);
    sqlite3_bind_int64(s, 3, revision);
    sqlite3_bind_int64(s, 4, c->lease);
    return run(db, s, err);
}

static int remove_key(struct store_db *db, const char *key, struct err *err)
{
    sqlite3_stmt *s = take(db, DELETE);
    bind_text(s, 1, key);
    return run(db, s, err);
}

/* Writes an event into the history; the answer's copy is made here too, while the value is at hand. */
static int remember(struct store_db *db, const struct store_change *c, int64_t revision, struct store_answer *answer)
{
    struct store_event *e = &answer->events[answer->count];
    e->revision = revision;
    e->key = arena_string(answer->arena, c->key);
    if (c->kind == STORE_PUT) {
        e->value = arena_copy(answer->arena, c->value, c->value_len);
        e->value_len = c->value_len;
        e->lease = c->lease;
    }
    if (!e->key || (c->kind == STORE_PUT && !e->value))
        return no_memory(&answer->err);
    sqlite3_stmt *s = take(db, REMEMBER);
    sqlite3_bind_int64(s, 1, revision);
    sqlite3_bind_int64(s, 2, answer->count++);
    bind_text(s, 3, c->key);
    if (e->value)
        sqlite3_bind_blob64(s, 4, e->value, e->value_len, SQLITE_STATIC);
    sqlite3_bind_int64(s, 5, e->lease);
    return run(db, s, &answer->err);
}

/* Writes the new revision down and forgets what is too old. */
static int write_meta(struct store_db *db, int64_t revision, int64_t compacted, struct err *err)
{
    int rc = 0;
    if (compacted > db->compacted) {
        sqlite3_stmt *forget = take(db, FORGET);
        sqlite3_bind_int64(forget, 1, compacted);
        rc = run(db, forget, err);
    }
    if (rc)
        return rc;
    sqlite3_stmt *meta = take(db, SET_META);
    sqlite3_bind_int64(meta, 1, revision);
    sqlite3_bind_int64(meta, 2, compacted);
    return run(db, meta, err);
}

/* Where history is to begin: in steps, so that forgetting is not part of every commit. */
static int64_t compaction_point(const struct store_db *db, int64_t revision, size_t bytes)
{
    if (bytes > STORE_DB_HISTORY_BYTES)
        return db->compacted + (revision - db->compacted) / 2;
    if (revision - db->compacted > STORE_DB_HISTORY_REVISIONS * 5 / 4)
        return revision - STORE_DB_HISTORY_REVISIONS;
    return db->compacted;
}

/* Ends a transaction that has made answer->count events. */
static int end_changes(struct store_db *db, int rc, struct store_answer *answer)
{
    int64_t revision = answer->count ? db->revision + 1 : db->revision, compacted = db->compacted;
    size_t bytes = db->history_bytes;
    for (uint32_t i = 0; i < answer->count; i++)
        bytes += answer->events[i].value_len;
    if (!rc && answer->count) {
        compacted = compaction_point(db, revision, bytes);
        rc = write_meta(db, revision, compacted, &answer->err);
    }
    if (!rc && compacted > db->compacted)
        rc = count_history_bytes(db, &bytes, &answer->err);
    rc = end(db, rc, &answer->err);
    if (rc) {
        answer->count = 0;
        return rc;
    }
    db->revision = answer->revision = revision;
    db->compacted = compacted;
    db->history_bytes = bytes;
    return 0;
}

/* One change inside the transaction. */
static int change(struct store_db *db, const struct store_change *c, uint32_t index, struct store_answer *answer)
{
    int64_t now = revision_of(db, c->key, &answer->err);
    if (now < 0)
        return (int)now;
    if (c->expected != STORE_ANY && c->expected != now) {
        answer->conflict = index;
        answer->conflict_revision = now;
        return err_set(&answer->err, ESTALE, "'%s' is at the revision %lld, not %lld as expected", c->key,
                       (long long)now, (long long)c->expected);
    }
    if (c->kind == STORE_CHECK || (c->kind == STORE_DELETE && !now))
        return 0;
    int rc = c->kind == STORE_PUT ? put(db, c, db->revision + 1, &answer->err) : remove_key(db, c->key, &answer->err);
    return rc ? rc : remember(db, c, db->revision + 1, answer);
}

int store_db_commit(struct store_db *db, const struct store_change *changes, uint32_t count,
                    struct store_answer *answer)
{
    int rc = start_answer(answer, 0, count);
    if (!rc)
        rc = begin(db, &answer->err);
    if (rc)
        return rc;
    for (uint32_t i = 0; !rc && i < count; i++)
        rc = change(db, &changes[i], i, answer);
    return end_changes(db, rc, answer);
}

/* ---- leases ---- */

int store_db_grant(struct store_db *db, uint32_t ttl_ms, int64_t *id, struct store_answer *answer)
{
    int rc = begin(db, &answer->err);
    if (rc)
        return rc;
    sqlite3_stmt *s = take(db, LEASE_ADD);
    sqlite3_bind_int64(s, 1, ttl_ms);
    rc = end(db, run(db, s, &answer->err), &answer->err);
    if (!rc)
        *id = sqlite3_last_insert_rowid(db->sqlite);
    return rc;
}

/* The keys of a lease, as changes that delete them. */
static int lease_keys(struct store_db *db, int64_t id, struct store_change **changes, uint32_t *count,
                      struct store_answer *answer)
{
    sqlite3_stmt *s = take(db, LEASE_KEYS);
    sqlite3_bind_int64(s, 1, id);
    uint32_t keys = 0;
    int rc;
    while ((rc = row(db, s, &answer->err)) == 1)
        keys++;
    if (!rc)
        rc = start_answer(answer, 0, keys + 1);
    *changes = rc ? NULL : arena_alloc(answer->arena, (keys + 1) * sizeof **changes);
    if (!rc && !*changes)
        rc = no_memory(&answer->err);
    sqlite3_reset(s);
    for (*count = 0; !rc && *count < keys && (rc = row(db, s, &answer->err)) == 1; rc = 0) {
        size_t len;
        struct store_change *c = &(*changes)[(*count)++];
        *c = (struct store_change){
            .kind = STORE_DELETE, .key = copy_column(answer->arena, s, 0, &len), .expected = STORE_ANY};
        if (!c->key) {
            rc = no_memory(&answer->err);
            break;
        }
    }
    sqlite3_reset(s);
    return rc;
}

int store_db_revoke(struct store_db *db, int64_t id, struct store_answer *answer)
{
    int rc = begin(db, &answer->err);
    if (rc)
        return rc;
    struct store_change *changes;
    uint32_t count = 0;
    rc = check_lease(db, id, &answer->err);
    if (!rc)
        rc = lease_keys(db, id, &changes, &count, answer);
    for (uint32_t i = 0; !rc && i < count; i++)
        rc = change(db, &changes[i], i, answer);
    if (!rc) {
        sqlite3_stmt *s = take(db, LEASE_DELETE);
        sqlite3_bind_int64(s, 1, id);
        rc = run(db, s, &answer->err);
    }
    return end_changes(db, rc, answer);
}

int store_db_leases(struct store_db *db, struct store_db_lease *leases, uint32_t room, struct err *err)
{
    sqlite3_stmt *s = take(db, LEASE_LIST);
    uint32_t count = 0;
    int rc;
    while ((rc = row(db, s, err)) == 1) {
        if (count == room) {
            rc = err_set(err, EUCLEAN, "the store %s has more than %u leases", db->path, room);
            break;
        }
        leases[count].id = sqlite3_column_int64(s, 0);
        leases[count++].ttl_ms = (uint32_t)sqlite3_column_int64(s, 1);
    }
    sqlite3_reset(s);
    return rc < 0 ? rc : (int)count;
}
