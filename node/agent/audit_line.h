/* One line of the audit log: written, read back, hashed. Threads: pure. */
#ifndef NODE_AGENT_AUDIT_LINE_H
#define NODE_AGENT_AUDIT_LINE_H

#include <stddef.h>
#include <stdint.h>

#include "node/agent/audit.h"

struct err;

/* What chains a line to its neighbours. */
struct audit_link {
    uint64_t seq;
    char prev[AUDIT_HASH_HEX + 1]; /* as the line says */
    char hash[AUDIT_HASH_HEX + 1]; /* of the line itself */
};

/* Without the line end. Returns the length; 0: no memory. */
size_t audit_line_write(const struct audit_entry *entry, uint64_t seq, const char *prev, char *line, size_t room);
/* -EBADMSG: no JSON object with seq and prev. */
int audit_line_read(const char *line, size_t len, struct audit_link *link, struct err *err);
/* SHA-256 in hex, of the line without its end. */
void audit_line_hash(const char *line, size_t len, char hash[AUDIT_HASH_HEX + 1]);

#endif
