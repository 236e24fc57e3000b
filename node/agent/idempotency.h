/* Answers to changes that came with an Idempotency-Key, kept for a time: who sends the same request again with the same
 * key gets the same answer, and the change is made once.
 *
 * Bounded: IDEMPOTENCY_ENTRIES_MAX answers of IDEMPOTENCY_BODY_MAX bytes; the oldest go first. They are in this agent's
 * memory: another node, and this one after a restart, do not know them. What keeps a creation from happening twice then
 * is that names are unique.
 *
 * Thread: its owner's. */
#ifndef NODE_AGENT_IDEMPOTENCY_H
#define NODE_AGENT_IDEMPOTENCY_H

#include <stddef.h>
#include <stdint.h>

#include "node/agent/http_server.h"

struct idempotency;
struct idempotency_entry;

enum {
    IDEMPOTENCY_KEY_MAX = 128,
    IDEMPOTENCY_ENTRIES_MAX = 1024,
    IDEMPOTENCY_BODY_MAX = 64 << 10,
    IDEMPOTENCY_KEPT_S = 24 * 3600,
};

enum idempotency_verdict {
    IDEMPOTENCY_NEW,       /* go on; *entry is to be settled */
    IDEMPOTENCY_KNOWN,     /* *reply is the answer, valid until the next call */
    IDEMPOTENCY_OTHER,     /* the key was used for another request */
    IDEMPOTENCY_UNDER_WAY, /* the first one is not answered yet */
    IDEMPOTENCY_FULL,      /* all places wait for answers */
};

struct idempotency *idempotency_new(void);
void idempotency_free(struct idempotency *table);

/* who: whose key it is; two people may use the same one. */
enum idempotency_verdict idempotency_begin(struct idempotency *table, const char *who, const char *key,
                                           const struct http_request *request, int64_t now_s,
                                           struct idempotency_entry **entry, struct http_reply *reply);
/* Keeps the answer (copied), or forgets the key: after a 5xx, and if there is no memory, a repetition is tried anew. */
void idempotency_settle(struct idempotency_entry *entry, const struct http_reply *reply);

#endif
