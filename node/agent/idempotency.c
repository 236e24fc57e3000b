/* See idempotency.h. Keys and requests are compared by their SHA-256, so an entry has a fixed size but for its answer.
 */
#include "node/agent/idempotency.h"

#include <openssl/evp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { HASH_BYTES = 32 };
enum entry_state { FREE, UNDER_WAY, DONE };

struct idempotency_entry {
    enum entry_state state;
    uint8_t key[HASH_BYTES], request[HASH_BYTES];
    int64_t at_s;
    struct http_reply reply; /* texts are ours */
};

struct idempotency {
    struct idempotency_entry entries[IDEMPOTENCY_ENTRIES_MAX];
};

struct idempotency *idempotency_new(void)
{
    return calloc(1, sizeof(struct idempotency));
}

static void forget(struct idempotency_entry *e)
{
    free((char *)(uintptr_t)e->reply.content_type);
    free((char *)(uintptr_t)e->reply.body);
    free((char *)(uintptr_t)e->reply.etag);
    free((char *)(uintptr_t)e->reply.location);
    *e = (struct idempotency_entry){0};
}

void idempotency_free(struct idempotency *t)
{
    if (!t)
        return;
    for (unsigned i = 0; i < IDEMPOTENCY_ENTRIES_MAX; i++)
        forget(&t->entries[i]);
    free(t);
}

/* Over parts with their 0, so that no two lists of parts are the same bytes. */
static void hash_parts(const char *const *parts, unsigned count, const char *body, size_t body_bytes,
                       uint8_t hash[HASH_BYTES])
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    if (!md || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1)
        abort(); /* Rule Zero: without SHA-256 there is no TLS either */
    for (unsigned i = 0; i < count; i++)
        EVP_DigestUpdate(md, parts[i], strlen(parts[i]) + 1);
    if (body_bytes)
        EVP_DigestUpdate(md, body, body_bytes);
    EVP_DigestFinal_ex(md, hash, NULL);
    EVP_MD_CTX_free(md);
}

static void hash_request(const struct http_request *r, uint8_t hash[HASH_BYTES])
{
    const char *parts[3 + 2 * HTTP_QUERY_MAX] = {http_method_name(r->method), r->path};
    unsigned count = 2;
    for (unsigned i = 0; i < r->query_count; i++) {
        parts[count++] = r->query[i].name;
        parts[count++] = r->query[i].value;
    }
    parts[count++] = r->field[HTTP_IF_MATCH] ? r->field[HTTP_IF_MATCH] : "";
    hash_parts(parts, count, r->body, r->body_bytes, hash);
}

/* A free place, or that of the oldest answer; NULL: all are under way. */
static struct idempotency_entry *place(struct idempotency *t)
{
    struct idempotency_entry *oldest = NULL;
    for (unsigned i = 0; i < IDEMPOTENCY_ENTRIES_MAX; i++) {
        struct idempotency_entry *e = &t->entries[i];
        if (e->state == FREE)
            return e;
        if (e->state == DONE && (!oldest || e->at_s < oldest->at_s))
            oldest = e;
    }
    return oldest;
}

static struct idempotency_entry *find(struct idempotency *t, const uint8_t key[HASH_BYTES], int64_t now_s)
{
    for (unsigned i = 0; i < IDEMPOTENCY_ENTRIES_MAX; i++) {
        struct idempotency_entry *e = &t->entries[i];
        if (e->state == DONE && now_s - e->at_s > IDEMPOTENCY_KEPT_S)
            forget(e);
        if (e->state != FREE && memcmp(e->key, key, HASH_BYTES) == 0)
            return e;
    }
    return NULL;
}

enum idempotency_verdict idempotency_begin(struct idempotency *t, const char *who, const char *key,
                                           const struct http_request *request, int64_t now_s,
                                           struct idempotency_entry **entry, struct http_reply *reply)
{
    uint8_t key_hash[HASH_BYTES], request_hash[HASH_BYTES];
    hash_parts((const char *const[]){who, key}, 2, NULL, 0, key_hash);
    hash_request(request, request_hash);
    struct idempotency_entry *e = find(t, key_hash, now_s);
    if (e) {
        if (memcmp(e->request, request_hash, HASH_BYTES) != 0)
            return IDEMPOTENCY_OTHER;
        if (e->state == UNDER_WAY)
            return IDEMPOTENCY_UNDER_WAY;
        *reply = e->reply;
        reply->replayed = true;
        return IDEMPOTENCY_KNOWN;
    }
    e = place(t);
    if (!e)
        return IDEMPOTENCY_FULL;
    forget(e);
    e->state = UNDER_WAY;
    e->at_s = now_s;
    memcpy(e->key, key_hash, HASH_BYTES);
    memcpy(e->request, request_hash, HASH_BYTES);
    *entry = e;
    return IDEMPOTENCY_NEW;
}

/* NULL stays NULL. */
static bool copy(const char **to, const char *from, size_t len)
{
    char *text = from ? malloc(len + 1) : NULL;
    if (from && !text)
        return false;
    if (text) {
        memcpy(text, from, len);
        text[len] = 0;
    }
    *to = text;
    return true;
}

static bool copy_text(const char **to, const char *from)
{
    return copy(to, from, from ? strlen(from) : 0);
}

void idempotency_settle(struct idempotency_entry *e, const struct http_reply *reply)
{
    e->reply = (struct http_reply){.status = reply->status, .body_bytes = reply->body_bytes};
    bool kept = reply->status < 500 && reply->body_bytes <= IDEMPOTENCY_BODY_MAX &&
                copy(&e->reply.body, reply->body, reply->body_bytes) &&
                copy_text(&e->reply.content_type, reply->content_type) && copy_text(&e->reply.etag, reply->etag) &&
                copy_text(&e->reply.location, reply->location);
    if (kept)
        e->state = DONE;
    else
        forget(e);
}
