/* Tables of the kernel's packet filter (nftables). Each thing we guard has a table of its own, so that to set it is one
 * transaction that leaves no moment unguarded, and to remove it leaves nothing behind.
 *
 * A table's comment holds a digest of its rules: one that is in force already is left alone, and its counters with it.
 * Threads: one at a time, which may block. Source: nft(8), libnftables(3). */
#ifndef NODE_AGENT_RULESET_H
#define NODE_AGENT_RULESET_H

#include <stddef.h>
#include <stdint.h>

struct err;

enum { RULESET_NAME_MAX = 32, RULESET_BODY_MAX = 8192 };

/* The text of a table, filled by ruleset_add(); what does not fit makes ruleset_ensure() fail. */
struct ruleset {
    char family[8], name[RULESET_NAME_MAX];
    size_t length;
    char body[RULESET_BODY_MAX];
};

/* family: "netdev", "inet"; name: letters, digits, '-', after the device that it guards. */
void ruleset_begin(struct ruleset *rules, const char *family, const char *name);
/* One or more whole lines. A rule is one line and ends in its verdict. */
__attribute__((format(printf, 2, 3))) void ruleset_add(struct ruleset *rules, const char *format, ...);

/* Makes it so. Errors: -errno, with what nft says. */
int ruleset_ensure(const struct ruleset *rules, struct err *err);
/* Well also when it is gone already. */
int ruleset_remove(const char *family, const char *name, struct err *err);
/* What a counter of a table has counted. -ENOENT: no such table or counter. */
int ruleset_counter(const char *family, const char *name, const char *counter, uint64_t *packets, uint64_t *bytes,
                    struct err *err);
/* Every table whose name starts so. Those that `each` removes may be removed in it. */
int ruleset_each(const char *prefix, int (*each)(const char *family, const char *name, void *context, struct err *err),
                 void *context, struct err *err);

#endif
