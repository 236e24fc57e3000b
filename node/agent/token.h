/* Bearer tokens: what a person or a program shows to be let in, and what they may do then.
 *
 * A token is 256 random bits, shown once when it is made; only its SHA-256 is kept. It is compared in constant time. A
 * guess at 256 bits is hopeless, so there is no lock-out that an attacker could use against others; failures are logged
 * with a limit.
 *
 * Threads: a table belongs to its owner's thread; the rest are pure functions. */
#ifndef NODE_AGENT_TOKEN_H
#define NODE_AGENT_TOKEN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "node/base/uuid.h"

struct err;
struct token_table;

/* Each may do what those before it may. ROLE_NODE is another agent, by its certificate; no token has it. */
enum role { ROLE_NONE, ROLE_VIEWER, ROLE_OPERATOR, ROLE_ADMIN, ROLE_NODE };

/* What the token is for. A join token lets a new node ask for a certificate and nothing else. */
enum token_kind { TOKEN_ACCESS, TOKEN_JOIN };

enum {
    TOKEN_HASH_BYTES = 32,
    TOKEN_TEXT_MAX = 64, /* "drover_" or "drover-join_" and 43 characters of base64url, with the 0 */
    TOKEN_NAME_MAX = 64,
    TOKENS_MAX = 1024,
};

struct token {
    char id[UUID_TEXT_BYTES];
    char name[TOKEN_NAME_MAX];
    enum token_kind kind;
    enum role role;
    uint8_t hash[TOKEN_HASH_BYTES];
    int64_t created_s, expires_s; /* since 1970; expires_s 0: never */
    bool revoked;
};

/* Fills id, hash and created_s of *token (name, kind, role and expires_s are the caller's; a join token has no role)
 * and writes the secret to `text`, which the caller shows once and wipes with token_wipe(). -EIO: no random numbers. */
int token_make(struct token *token, int64_t now_s, char text[TOKEN_TEXT_MAX], struct err *err);
void token_wipe(char text[TOKEN_TEXT_MAX]);
/* False: not even the form of a token. */
bool token_hash(const char *text, enum token_kind kind, uint8_t hash[TOKEN_HASH_BYTES]);

/* As the store keeps it (with the hash), and back. -EINVAL. */
json_t *token_to_json(const struct token *token);
int token_from_json(const json_t *json, struct token *token, struct err *err);
/* The same without the hash. */
json_t *token_view(const struct token *token);

struct token_table *token_table_new(void);
void token_table_free(struct token_table *table);
/* Adds, or replaces what has the same id. -ENOSPC over TOKENS_MAX. */
int token_table_put(struct token_table *table, const struct token *token);
void token_table_remove(struct token_table *table, const char *id);
unsigned token_table_count(const struct token_table *table);

/* Who shows this text? Looks at every token whatever it finds. -ENOENT: nobody; -EKEYEXPIRED; -EKEYREVOKED. *found is
 * the table's, until the table changes. */
int token_table_find(const struct token_table *table, enum token_kind kind, const char *text, int64_t now_s,
                     const struct token **found);

const char *role_name(enum role role); /* "viewer" ... */
/* False: no such role, or not one that a token may have. */
bool role_parse(const char *text, enum role *role);

#endif
