/* See token.h. */
#include "node/agent/token.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/err.h"
#include "node/base/hex.h"

enum { SECRET_BYTES = 32, SECRET_TEXT = 43 };

static const char *const prefixes[] = {[TOKEN_ACCESS] = "drover_", [TOKEN_JOIN] = "drover-join_"};
static const char *const kind_names[] = {[TOKEN_ACCESS] = "access", [TOKEN_JOIN] = "join"};
static const char *const role_names[] = {[ROLE_NONE] = "none",
                                         [ROLE_VIEWER] = "viewer",
                                         [ROLE_OPERATOR] = "operator",
                                         [ROLE_ADMIN] = "admin",
                                         [ROLE_NODE] = "node"};

const char *role_name(enum role role)
{
    return role_names[role];
}

bool role_parse(const char *text, enum role *role)
{
    for (enum role r = ROLE_VIEWER; r <= ROLE_ADMIN; r++)
        if (strcmp(text, role_names[r]) == 0) {
            *role = r;
            return true;
        }
    return false;
}

/* ---- making ---- */

/* base64url without padding (RFC 4648, 5) */
static void encode(const uint8_t bytes[SECRET_BYTES], char text[SECRET_TEXT + 1])
{
    unsigned char base64[SECRET_BYTES * 2];
    EVP_EncodeBlock(base64, bytes, SECRET_BYTES);
    for (unsigned i = 0; i < SECRET_TEXT; i++)
        text[i] = base64[i] == '+' ? '-' : base64[i] == '/' ? '_' : (char)base64[i];
    text[SECRET_TEXT] = 0;
    OPENSSL_cleanse(base64, sizeof base64);
}

int token_make(struct token *token, int64_t now_s, char text[TOKEN_TEXT_MAX], struct err *err)
{
    uint8_t secret[SECRET_BYTES];
    char encoded[SECRET_TEXT + 1];
    if (RAND_bytes(secret, sizeof secret) != 1)
        return err_set(err, EIO, "the system gives no random numbers");
    uuid_make(token->id);
    encode(secret, encoded);
    OPENSSL_cleanse(secret, sizeof secret);
    snprintf(text, TOKEN_TEXT_MAX, "%s%s", prefixes[token->kind], encoded);
    OPENSSL_cleanse(encoded, sizeof encoded);
    if (token->kind == TOKEN_JOIN)
        token->role = ROLE_NONE;
    token->created_s = now_s;
    token->revoked = false;
    return token_hash(text, token->kind, token->hash) ? 0 : err_set(err, EIO, "SHA-256 is not to be had");
}

void token_wipe(char text[TOKEN_TEXT_MAX])
{
    OPENSSL_cleanse(text, TOKEN_TEXT_MAX);
}

bool token_hash(const char *text, enum token_kind kind, uint8_t hash[TOKEN_HASH_BYTES])
{
    size_t prefix = strlen(prefixes[kind]), len = strnlen(text, TOKEN_TEXT_MAX);
    if (len != prefix + SECRET_TEXT || strncmp(text, prefixes[kind], prefix) != 0)
        return false;
    return EVP_Digest(text, len, hash, NULL, EVP_sha256(), NULL) == 1;
}

/* ---- JSON ---- */

static bool unhex(const char *text, uint8_t hash[TOKEN_HASH_BYTES])
{
    if (strlen(text) != TOKEN_HASH_BYTES * 2 || strspn(text, "0123456789abcdef") != TOKEN_HASH_BYTES * 2)
        return false;
    for (unsigned i = 0; i < TOKEN_HASH_BYTES; i++)
        hash[i] = (uint8_t)(hex_digit(text[2 * i]) << 4 | hex_digit(text[2 * i + 1]));
    return true;
}

json_t *token_view(const struct token *t)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:b}", "id", t->id, "name", t->name, "kind", kind_names[t->kind],
                     "role", role_names[t->role], "created", (json_int_t)t->created_s, "expires",
                     (json_int_t)t->expires_s, "revoked", t->revoked);
}

json_t *token_to_json(const struct token *t)
{
    char text[TOKEN_HASH_BYTES * 2 + 1];
    json_t *json = token_view(t);
    if (json && json_object_set_new(json, "hash", json_string(hex_text(t->hash, sizeof t->hash, text)))) {
        json_decref(json);
        return NULL;
    }
    return json;
}

static bool role_of_kind(const char *text, enum token_kind kind, enum role *role)
{
    if (kind != TOKEN_JOIN)
        return role_parse(text, role);
    *role = ROLE_NONE;
    return strcmp(text, role_names[ROLE_NONE]) == 0;
}

int token_from_json(const json_t *json, struct token *token, struct err *err)
{
    const char *id, *name, *kind, *role, *hash;
    json_int_t created, expires;
    int revoked;
    struct token t = {0};
    json_error_t wrong;
    /* Rule Zero: jansson wants the value writable, and does not write to it */
    if (json_unpack_ex((json_t *)(uintptr_t)json, &wrong, 0, "{s:s, s:s, s:s, s:s, s:I, s:I, s:b, s:s}", "id", &id,
                       "name", &name, "kind", &kind, "role", &role, "created", &created, "expires", &expires, "revoked",
                       &revoked, "hash", &hash))
        return err_set(err, EINVAL, "no token: %s", wrong.text);
    if (strcmp(kind, kind_names[TOKEN_JOIN]) == 0)
        t.kind = TOKEN_JOIN;
    else if (strcmp(kind, kind_names[TOKEN_ACCESS]) != 0)
        return err_set(err, EINVAL, "a token is of kind access or join, not '%.20s'", kind);
    if (strlen(id) >= sizeof t.id || strlen(name) >= sizeof t.name || !role_of_kind(role, t.kind, &t.role) ||
        !unhex(hash, t.hash))
        return err_set(err, EINVAL, "no token: id, name, role or hash is not well formed");
    strcpy(t.id, id);
    strcpy(t.name, name);
    t.created_s = created;
    t.expires_s = expires;
    t.revoked = revoked;
    *token = t;
    return 0;
}

/* ---- table ---- */

struct token_table {
    unsigned count;
    struct token tokens[TOKENS_MAX];
};

struct token_table *token_table_new(void)
{
    return calloc(1, sizeof(struct token_table));
}

void token_table_free(struct token_table *table)
{
    free(table);
}

unsigned token_table_count(const struct token_table *table)
{
    return table->count;
}

static struct token *by_id(struct token_table *table, const char *id)
{
    for (unsigned i = 0; i < table->count; i++)
        if (strcmp(table->tokens[i].id, id) == 0)
            return &table->tokens[i];
    return NULL;
}

int token_table_put(struct token_table *table, const struct token *token)
{
    struct token *place = by_id(table, token->id);
    if (!place && table->count == TOKENS_MAX)
        return -ENOSPC;
    if (!place)
        place = &table->tokens[table->count++];
    *place = *token;
    return 0;
}

void token_table_remove(struct token_table *table, const char *id)
{
    struct token *place = by_id(table, id);
    if (place)
        *place = table->tokens[--table->count];
}

int token_table_find(const struct token_table *table, enum token_kind kind, const char *text, int64_t now_s,
                     const struct token **found)
{
    uint8_t hash[TOKEN_HASH_BYTES];
    const struct token *match = NULL;
    if (!token_hash(text, kind, hash))
        return -ENOENT;
    for (unsigned i = 0; i < table->count; i++) {
        const struct token *t = &table->tokens[i];
        if (CRYPTO_memcmp(hash, t->hash, sizeof hash) == 0 && t->kind == kind)
            match = t;
    }
    if (!match)
        return -ENOENT;
    if (match->revoked)
        return -EKEYREVOKED;
    if (match->expires_s && match->expires_s <= now_s)
        return -EKEYEXPIRED;
    *found = match;
    return 0;
}
