/* etcd v3 as its JSON gateway speaks it (etcd 3.4: api/rpc.proto through grpc-gateway): questions written, answers
 * read.
 *
 * The gateway's ways: 64-bit numbers are strings, keys and values base64, fields that are 0, false or empty are left
 * out (a transaction that failed has no "succeeded"), answers are in snake_case. Answers are foreign bytes: everything
 * is checked here, nothing behind it checks again. Pure; threads: any. */
#ifndef NODE_BASE_STORE_ETCD_WIRE_H
#define NODE_BASE_STORE_ETCD_WIRE_H

#include "node/base/buffer.h"
#include "node/base/store.h"

enum {
    ETCD_ANSWER_MAX = 24 << 20, /* bytes of JSON: an answer, or a line of a watch */
    ETCD_ARENA_MAX = 64 << 20,  /* what comes of it */
};

/* A text that grows. `failed`: there was no memory, the text is void. */
struct etcd_text {
    struct buffer text;
    bool failed;
};

void etcd_text_free(struct etcd_text *text);

/* limit: as in the read, perhaps less. */
void etcd_ask_read(struct etcd_text *text, const struct store_read *read, uint32_t limit);
void etcd_ask_commit(struct etcd_text *text, const struct store_commit *commit);
void etcd_ask_grant(struct etcd_text *text, uint32_t ttl_ms);
void etcd_ask_lease(struct etcd_text *text, int64_t id); /* keep, revoke */
void etcd_ask_watch(struct etcd_text *text, const char *prefix, int64_t after);

/* What every answer says of its sender. */
struct etcd_header {
    uint64_t cluster; /* 0: not said */
    int64_t revision;
};

/* Each returns 0 or -errno, with err: -EPROTO: not an answer of etcd's, or one that contradicts the question; -ENOMEM.
 * A read fills items, count, more, revision and call.arena; a commit revision, or conflict and -ESTALE. */
int etcd_read_answer(const char *json, size_t len, struct store_read *read, uint32_t limit, struct etcd_header *header);
/* keys: the commit's, in order, with their expectations; of the caller's copy. */
int etcd_commit_answer(const char *json, size_t len, const struct store_change *changes, uint32_t count,
                       struct store_commit *commit, struct etcd_header *header);
int etcd_grant_answer(const char *json, size_t len, struct store_lease *lease, struct etcd_header *header);
int etcd_keep_answer(const char *json, size_t len, struct store_lease *lease, struct etcd_header *header);
int etcd_header_answer(const char *json, size_t len, struct etcd_header *header, struct err *err);

/* What an answer with an HTTP status other than 200 says. `again`: it is a matter of this member or this moment, and
 * nothing happened: another member may do it. Otherwise the result is the one to report: -ETIMEDOUT where it may have
 * happened. */
int etcd_error_answer(int status, const char *json, size_t len, bool *again, struct err *err);

/* A line of a watch. Events are in ascending revisions, all under the prefix, and later than `after`. */
struct etcd_watch_line {
    struct etcd_header header;
    bool created, canceled, fragment, progress;
    int64_t compacted; /* of a cancellation: 0, or history before this is gone */
    struct store_event *events;
    uint32_t count;
    struct err err; /* of a cancellation or an error line */
};

/* The events are in the arena. -EAGAIN: an error of the stream, with line->err. */
int etcd_watch_answer(const char *json, size_t len, const char *prefix, int64_t after, struct arena *arena,
                      struct etcd_watch_line *line, struct err *err);

#endif
