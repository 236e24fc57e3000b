/* See ruleset.h. libnftables writes tables; what is in force is read without it (ruleset_state.h), as it would read
 * every table of the node to say something about one. */
#include "node/agent/ruleset.h"

#include <errno.h>
#include <inttypes.h>
#include <nftables/libnftables.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/digest.h"
#include "node/agent/netlink.h"
#include "node/agent/ruleset_state.h"
#include "node/base/err.h"

enum { COMMAND_MAX = RULESET_BODY_MAX + 512, REASON_MAX = 200, MARK_MAX = RULESET_COMMENT_MAX };

/* ---- text ---- */

void ruleset_begin(struct ruleset *rules, const char *family, const char *name)
{
    memset(rules, 0, sizeof *rules);
    snprintf(rules->family, sizeof rules->family, "%s", family);
    snprintf(rules->name, sizeof rules->name, "%s", name);
}

void ruleset_add(struct ruleset *rules, const char *format, ...)
{
    va_list arguments;
    size_t left = sizeof rules->body - rules->length;
    va_start(arguments, format);
    int n = vsnprintf(rules->body + rules->length, left, format, arguments);
    va_end(arguments);
    rules->length = n < 0 || (size_t)n >= left ? sizeof rules->body : rules->length + (size_t)n;
}

/* ---- nft ---- */

/* nft says why with words only: the kernel's number is at the end of its first line, as strerror() has it. */
static int code_of(const char *said)
{
    static const int known[] = {ENOENT, EPERM, ENOMEM, EOPNOTSUPP, EBUSY, ENOBUFS};
    for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
        if (strstr(said, strerror(known[i])))
            return known[i];
    return EINVAL;
}

static int complain(struct nft_ctx *nft, const char *family, const char *name, struct err *err)
{
    const char *said = nft_ctx_get_error_buffer(nft);
    int n = said ? (int)strcspn(said, "\n") : 0, code = said ? code_of(said) : EIO;
    if (code == EPERM)
        return err_set(err, code, "table %s %s: not allowed: it needs root or CAP_NET_ADMIN", family, name);
    return err_set(err, code, "table %s %s: cannot be changed: %.*s", family, name, n < REASON_MAX ? n : REASON_MAX,
                   n ? said : strerror(code));
}

static int run(const char *command, const char *family, const char *name, struct err *err)
{
    struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);
    if (!nft)
        return err_set(err, ENOMEM, "table %s %s: nftables cannot be started", family, name);
    nft_ctx_buffer_error(nft);
    nft_ctx_buffer_output(nft);
    int rc = nft_run_cmd_from_buffer(nft, command) ? complain(nft, family, name, err) : 0;
    nft_ctx_free(nft);
    return rc;
}

/* ---- in force? ---- */

static bool ends_with(const char *line, size_t length, const char *word)
{
    size_t n = strlen(word);
    return length > n && memcmp(line + length - n, word, n) == 0;
}

static bool is_rule(const char *line, size_t length)
{
    return ends_with(line, length, "drop") || ends_with(line, length, "accept") ||
           ends_with(line, length, "masquerade");
}

/* Chain by chain: the name, and as many rules as there are lines of it. What somebody took out of a table, or the
 * kernel with a device, is missed here. */
static int chains_in_force(struct netlink *netlink, const struct ruleset *rules, struct err *err)
{
    char chain[RULESET_NAME_MAX] = "";
    unsigned lines = 0;
    int rc = 1;
    for (const char *p = rules->body; *p && rc == 1; p += strcspn(p, "\n") + 1) {
        size_t length = strcspn(p, "\n");
        if (sscanf(p, "chain %31s {", chain) == 1)
            lines = 0;
        else if (is_rule(p, length))
            lines++;
        else if (*p == '}' && chain[0]) {
            rc = ruleset_state_chain(netlink, rules->family, rules->name, chain, lines, err);
            chain[0] = 0;
        }
    }
    return rc;
}

static int in_force(const struct ruleset *rules, const char *mark, struct err *err)
{
    struct netlink *netlink;
    char comment[RULESET_COMMENT_MAX];
    int rc = netlink_open(&netlink, NETLINK_NETFILTER, err);
    if (rc)
        return rc;
    rc = ruleset_state_table(netlink, rules->family, rules->name, comment, err);
    if (rc == 1)
        rc = strcmp(comment, mark) == 0 ? chains_in_force(netlink, rules, err) : 0;
    netlink_close(netlink);
    return rc;
}

int ruleset_ensure(const struct ruleset *rules, struct err *err)
{
    char command[COMMAND_MAX], mark[MARK_MAX];
    const char *f = rules->family, *n = rules->name;
    if (rules->length >= sizeof rules->body)
        return err_set(err, EMSGSIZE, "table %s %s: its rules are longer than %d characters: name fewer addresses", f,
                       n, RULESET_BODY_MAX);
    snprintf(mark, sizeof mark, "drover %016" PRIx64, digest_of_text(rules->body));
    int rc = in_force(rules, mark, err);
    if (rc)
        return rc < 0 ? rc : 0;
    snprintf(command, sizeof command, "add table %s %s\ndelete table %s %s\ntable %s %s {\ncomment \"%s\"\n%s}\n", f, n,
             f, n, f, n, mark, rules->body);
    return run(command, f, n, err);
}

int ruleset_remove(const char *family, const char *name, struct err *err)
{
    struct netlink *netlink;
    char command[COMMAND_MAX], comment[RULESET_COMMENT_MAX];
    int rc = netlink_open(&netlink, NETLINK_NETFILTER, err);
    if (rc)
        return rc;
    rc = ruleset_state_table(netlink, family, name, comment, err);
    netlink_close(netlink);
    if (rc <= 0)
        return rc;
    snprintf(command, sizeof command, "delete table %s %s\n", family, name);
    rc = run(command, family, name, err);
    return rc == -ENOENT ? 0 : rc;
}

/* ---- what there is ---- */

int ruleset_counter(const char *family, const char *name, const char *counter, uint64_t *packets, uint64_t *bytes,
                    struct err *err)
{
    struct netlink *netlink;
    int rc = netlink_open(&netlink, NETLINK_NETFILTER, err);
    if (rc)
        return rc;
    rc = ruleset_state_counter(netlink, family, name, counter, packets, bytes, err);
    netlink_close(netlink);
    return rc;
}

int ruleset_each(const char *prefix, int (*each)(const char *family, const char *name, void *context, struct err *err),
                 void *context, struct err *err)
{
    struct netlink *netlink;
    struct ruleset_names all;
    int rc = netlink_open(&netlink, NETLINK_NETFILTER, err);
    if (rc)
        return rc;
    rc = ruleset_state_list(netlink, prefix, &all, err);
    netlink_close(netlink);
    for (size_t i = 0; !rc && i < all.count; i++)
        rc = each(all.names[i].family, all.names[i].name, context, err);
    free(all.names);
    return rc;
}
