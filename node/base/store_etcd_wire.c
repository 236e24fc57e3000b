/* See store_etcd_wire.h. */
#include "node/base/store_etcd_wire.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/arena.h"
#include "node/base/store_backend.h"

enum { NUMBER_MAX = 20 };

/* grpc's codes, as far as they matter here */
enum { GRPC_INVALID = 3, GRPC_NOT_FOUND = 5, GRPC_DENIED = 7, GRPC_EXHAUSTED = 8, GRPC_RANGE = 11, GRPC_NO_LOGIN = 16 };

/* ---- writing ---- */

void etcd_text_free(struct etcd_text *t)
{
    buffer_free(&t->text);
    t->failed = false;
}

__attribute__((format(printf, 2, 3))) static void add(struct etcd_text *t, const char *format, ...)
{
    char text[160];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    t->failed |= !buffer_add(&t->text, text, (size_t)len, SIZE_MAX);
}

static void add_base64(struct etcd_text *t, const void *bytes, size_t len)
{
    add(t, "\"");
    char *to = buffer_room(&t->text, (len + 2) / 3 * 4, SIZE_MAX);
    if (to)
        t->text.len += (size_t)EVP_EncodeBlock((unsigned char *)to, bytes, (int)len);
    t->failed |= !to;
    add(t, "\"");
}

static void add_key(struct etcd_text *t, const char *name, const char *key)
{
    add(t, "\"%s\":", name);
    add_base64(t, key, strlen(key));
}

static void add_range(struct etcd_text *t, const struct store_read *read)
{
    char from[STORE_BOUND_MAX], to[STORE_BOUND_MAX];
    store_read_bounds(read, from, to);
    add_key(t, "key", from);
    if (!read->prefix)
        return;
    add(t, ",");
    add_key(t, "range_end", to);
}

void etcd_ask_read(struct etcd_text *t, const struct store_read *read, uint32_t limit)
{
    add(t, "{");
    add_range(t, read);
    add(t, ",\"limit\":\"%u\"}", limit);
}

static void add_put(struct etcd_text *t, const struct store_change *c)
{
    add(t, "{\"request_put\":{");
    add_key(t, "key", c->key);
    add(t, ",\"value\":");
    add_base64(t, c->value_len ? c->value : "", c->value_len);
    add(t, ",\"lease\":\"%lld\"}}", (long long)c->lease);
}

void etcd_ask_commit(struct etcd_text *t, const struct store_commit *commit)
{
    const struct store_change *end = commit->changes + commit->count;
    const char *comma = "";
    add(t, "{\"compare\":[");
    for (const struct store_change *c = commit->changes; c < end; c++) {
        if (c->expected == STORE_ANY)
            continue;
        add(t, "%s{", comma);
        add_key(t, "key", c->key);
        add(t, ",\"target\":\"MOD\",\"result\":\"EQUAL\",\"mod_revision\":\"%lld\"}", (long long)c->expected);
        comma = ",";
    }
    add(t, "],\"success\":[");
    comma = "";
    for (const struct store_change *c = commit->changes; c < end; c++) {
        if (c->kind == STORE_CHECK)
            continue;
        add(t, "%s", comma);
        if (c->kind == STORE_PUT) {
            add_put(t, c);
        } else {
            add(t, "{\"request_delete_range\":{");
            add_key(t, "key", c->key);
            add(t, "}}");
        }
        comma = ",";
    }
    add(t, "],\"failure\":["); /* what the keys really have */
    comma = "";
    for (const struct store_change *c = commit->changes; c < end; c++) {
        if (c->expected == STORE_ANY)
            continue;
        add(t, "%s{\"request_range\":{", comma);
        add_key(t, "key", c->key);
        add(t, ",\"keys_only\":true}}");
        comma = ",";
    }
    add(t, "]}");
}

void etcd_ask_grant(struct etcd_text *t, uint32_t ttl_ms)
{
    add(t, "{\"TTL\":\"%u\"}", (ttl_ms + 999) / 1000);
}

void etcd_ask_lease(struct etcd_text *t, int64_t id)
{
    add(t, "{\"ID\":\"%lld\"}", (long long)id);
}

void etcd_ask_watch(struct etcd_text *t, const char *prefix, int64_t after)
{
    add(t, "{\"create_request\":{");
    add_range(t, &(struct store_read){.key = prefix, .prefix = true});
    add(t, ",\"start_revision\":\"%lld\",\"progress_notify\":true,\"fragment\":true}}", (long long)after + 1);
}

/* ---- reading ---- */

static int odd(struct err *err, const char *what)
{
    return err_set(err, EPROTO, "etcd's answer makes no sense: %s", what);
}

static int no_memory(struct err *err)
{
    return err_set(err, ENOMEM, "no memory for etcd's answer");
}

static json_t *load(const char *json, size_t len, struct err *err)
{
    json_error_t why;
    json_t *root = json_loadb(json, len, JSON_REJECT_DUPLICATES, &why);
    if (json_is_object(root))
        return root;
    json_decref(root);
    odd(err, "it is no JSON object");
    return NULL;
}

/* A member that is a number or a string of one; 0 if it is left out. false: it is something else, or negative. */
static bool number(const json_t *object, const char *name, uint64_t *value, uint64_t max)
{
    const json_t *v = json_object_get(object, name);
    *value = 0;
    if (!v)
        return true;
    if (json_is_integer(v)) {
        if (json_integer_value(v) < 0)
            return false;
        *value = (uint64_t)json_integer_value(v);
        return *value <= max;
    }
    const char *text = json_string_value(v);
    size_t len = text ? json_string_length(v) : 0;
    if (!len || len > NUMBER_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(text[i] - '0');
        if (*value > (max - digit) / 10)
            return false;
        *value = *value * 10 + digit;
    }
    return true;
}

static bool revision(const json_t *object, const char *name, int64_t *value)
{
    uint64_t v;
    bool ok = number(object, name, &v, INT64_MAX);
    *value = ok ? (int64_t)v : 0;
    return ok;
}

static int read_header(const json_t *object, struct etcd_header *header, struct err *err)
{
    const json_t *h = json_object_get(object, "header");
    if (!json_is_object(h) || !number(h, "cluster_id", &header->cluster, UINT64_MAX) ||
        !revision(h, "revision", &header->revision))
        return odd(err, "its header");
    return 0;
}

static int sextet(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* A member in base64, decoded, with a 0 byte behind; empty if it is left out. NULL with -EPROTO or -ENOMEM. */
static char *decode(const json_t *object, const char *name, struct arena *arena, size_t *len, int *rc)
{
    const json_t *v = json_object_get(object, name);
    const char *text = v ? json_string_value(v) : "";
    size_t chars = v ? json_string_length(v) : 0;
    *rc = -EPROTO;
    if (!text || chars % 4)
        return NULL;
    size_t pad = chars && text[chars - 1] == '=' ? 1 + (text[chars - 2] == '=') : 0;
    *len = chars / 4 * 3 - pad;
    char *bytes = arena_alloc(arena, *len + 1);
    if (!bytes) {
        *rc = -ENOMEM;
        return NULL;
    }
    size_t out = 0;
    uint32_t bits = 0;
    for (size_t i = 0; i < chars; i++) {
        int s = i >= chars - pad ? 0 : sextet(text[i]);
        if (s < 0)
            return NULL;
        bits = bits << 6 | (uint32_t)s;
        if (i % 4 == 3)
            for (int shift = 16; shift >= 0; shift -= 8)
                if (out < *len)
                    bytes[out++] = (char)(bits >> shift & 0xff);
    }
    return bytes;
}

static bool is_key(const char *key, size_t len)
{
    if (!len || len > STORE_KEY_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        if (key[i] < 0x20 || key[i] > 0x7e)
            return false;
    return true;
}

static int read_item(const json_t *kv, struct arena *arena, struct store_item *item, struct err *err)
{
    size_t key_len;
    int rc;
    item->key = decode(kv, "key", arena, &key_len, &rc);
    if (item->key && !is_key(item->key, key_len))
        return odd(err, "a key that is none of Drover's");
    item->value = item->key ? decode(kv, "value", arena, &item->value_len, &rc) : NULL;
    if (!item->value)
        return rc == -ENOMEM ? no_memory(err) : odd(err, "a key or value that is not base64");
    if (!revision(kv, "mod_revision", &item->revision) || !item->revision || !revision(kv, "lease", &item->lease))
        return odd(err, "a key without a revision");
    return 0;
}

static bool belongs(const struct store_read *read, const struct store_item *item, const struct store_item *before)
{
    if (!read->prefix)
        return !strcmp(item->key, read->key) && !before;
    return store_has_prefix(item->key, read->key) && (!read->after || strcmp(item->key, read->after) > 0) &&
           (!before || strcmp(item->key, before->key) > 0);
}

static int read_items(const json_t *root, struct store_read *read, uint32_t limit)
{
    const json_t *kvs = json_object_get(root, "kvs"), *kv;
    size_t count = json_array_size(kvs), i;
    if ((kvs && !json_is_array(kvs)) || count > limit)
        return odd(&read->err, "more keys than were asked for");
    read->call.arena = arena_new(ETCD_ARENA_MAX);
    struct store_item *items = read->call.arena ? arena_alloc(read->call.arena, (count + 1) * sizeof *items) : NULL;
    if (!items)
        return no_memory(&read->err);
    json_array_foreach (kvs, i, kv) {
        int rc = read_item(kv, read->call.arena, &items[i], &read->err);
        if (rc)
            return rc;
        if (!belongs(read, &items[i], i ? &items[i - 1] : NULL))
            return odd(&read->err, "a key that was not asked for");
    }
    read->items = items;
    read->count = (uint32_t)count;
    read->more = count && read->prefix && json_is_true(json_object_get(root, "more"));
    return 0;
}

int etcd_read_answer(const char *json, size_t len, struct store_read *read, uint32_t limit, struct etcd_header *header)
{
    json_t *root = load(json, len, &read->err);
    if (!root)
        return -EPROTO;
    int rc = read_header(root, header, &read->err);
    if (!rc && !header->revision)
        rc = odd(&read->err, "it has no revision");
    if (!rc)
        rc = read_items(root, read, limit);
    json_decref(root);
    if (!rc)
        read->revision = header->revision;
    return rc;
}

/* Which expectation was wrong: the answers of the failure branch are in the order of the comparisons. */
static int find_conflict(const json_t *root, const struct store_change *changes, uint32_t count,
                         struct store_commit *commit)
{
    const json_t *responses = json_object_get(root, "responses");
    size_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (changes[i].expected == STORE_ANY)
            continue;
        const json_t *range = json_object_get(json_array_get(responses, at++), "response_range");
        const json_t *kv = json_array_get(json_object_get(range, "kvs"), 0);
        int64_t now = 0;
        if (!json_is_object(range) || (kv && (!revision(kv, "mod_revision", &now) || !now)))
            return odd(&commit->err, "a refusal that does not say why");
        if (now == changes[i].expected)
            continue;
        commit->conflict = i;
        commit->conflict_revision = now;
        return err_set(&commit->err, ESTALE, "'%s' is at the revision %lld, not %lld as expected", changes[i].key,
                       (long long)now, (long long)changes[i].expected);
    }
    return odd(&commit->err, "a refusal without a reason");
}

int etcd_commit_answer(const char *json, size_t len, const struct store_change *changes, uint32_t count,
                       struct store_commit *commit, struct etcd_header *header)
{
    json_t *root = load(json, len, &commit->err);
    if (!root)
        return -EPROTO;
    int rc = read_header(root, header, &commit->err);
    if (!rc && !header->revision)
        rc = odd(&commit->err, "it has no revision");
    if (!rc && !json_is_true(json_object_get(root, "succeeded")))
        rc = find_conflict(root, changes, count, commit);
    json_decref(root);
    if (!rc)
        commit->revision = header->revision;
    return rc;
}

static int read_lease(const json_t *object, struct store_lease *lease, struct etcd_header *header)
{
    int64_t id;
    uint64_t ttl_s;
    int rc = read_header(object, header, &lease->err);
    if (rc)
        return rc;
    if (!revision(object, "ID", &id) || !id || (lease->id && id != lease->id) ||
        !number(object, "TTL", &ttl_s, UINT32_MAX / 1000))
        return odd(&lease->err, "a lease without an id or a ttl");
    if (!ttl_s)
        return err_set(&lease->err, ENOENT, "the lease %lld is gone", (long long)id);
    lease->id = id;
    lease->ttl_ms = (uint32_t)ttl_s * 1000;
    return 0;
}

int etcd_grant_answer(const char *json, size_t len, struct store_lease *lease, struct etcd_header *header)
{
    json_t *root = load(json, len, &lease->err);
    if (!root)
        return -EPROTO;
    lease->id = 0;
    int rc = read_lease(root, lease, header);
    if (rc == -ENOENT)
        rc = odd(&lease->err, "a lease without a ttl");
    json_decref(root);
    return rc;
}

int etcd_keep_answer(const char *json, size_t len, struct store_lease *lease, struct etcd_header *header)
{
    json_t *root = load(json, len, &lease->err);
    if (!root)
        return -EPROTO;
    const json_t *result = json_object_get(root, "result"); /* the one line of a stream */
    int rc = json_is_object(result) ? read_lease(result, lease, header) : odd(&lease->err, "nothing of the lease");
    json_decref(root);
    return rc;
}

int etcd_header_answer(const char *json, size_t len, struct etcd_header *header, struct err *err)
{
    json_t *root = load(json, len, err);
    if (!root)
        return -EPROTO;
    int rc = read_header(root, header, err);
    json_decref(root);
    return rc;
}

/* ---- errors ---- */

/* Text of foreign origin for a sentence of ours. */
static void print_foreign(char *to, size_t size, const char *text)
{
    size_t i = 0;
    for (; text && text[i] && i + 1 < size; i++)
        to[i] = text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?';
    to[i] = 0;
}

int etcd_error_answer(int status, const char *json, size_t len, bool *again, struct err *err)
{
    struct err ignored;
    json_t *root = load(json, len, &ignored);
    const json_t *code_value = json_object_get(root, "code");
    int64_t code = json_is_integer(code_value) ? json_integer_value(code_value) : -1;
    char text[200];
    print_foreign(text, sizeof text, json_string_value(json_object_get(root, "error")));
    json_decref(root);
    *again = false;
    if (!strcmp(text, "etcdserver: no leader") || code == GRPC_NO_LOGIN || code == GRPC_DENIED) {
        *again = code != GRPC_NO_LOGIN && code != GRPC_DENIED;
        return err_set(err, *again ? EHOSTUNREACH : EACCES, "etcd refuses: %s", text);
    }
    switch (code) {
    case GRPC_NOT_FOUND:
        return err_set(err, ENOENT, "etcd: %s", text);
    case GRPC_EXHAUSTED:
        *again = strstr(text, "too many requests");
        return err_set(err, *again ? EAGAIN : ENOSPC, "etcd takes nothing more (%s)%s", text,
                       *again ? "" : ": compact and defragment it, or raise its quota");
    case GRPC_INVALID:
        return err_set(err, strstr(text, "too large") ? E2BIG : EINVAL, "etcd refuses: %s", text);
    case GRPC_RANGE:
        return err_set(err, ESTALE, "etcd: %s", text);
    default: /* a proposal that was made, perhaps */
        return err_set(err, ETIMEDOUT, "etcd answered with the status %d: %s", status, *text ? text : "no reason");
    }
}

/* ---- watches ---- */

static int read_event(const json_t *object, const char *prefix, int64_t *last, struct arena *arena,
                      struct etcd_watch_line *line, struct err *err)
{
    const json_t *kv = json_object_get(object, "kv");
    const char *type = json_string_value(json_object_get(object, "type"));
    bool deleted = type && !strcmp(type, "DELETE");
    if (!json_is_object(kv) || (type && !deleted && strcmp(type, "PUT") != 0))
        return odd(err, "an event that is none");
    size_t key_len;
    int rc;
    char *key = decode(kv, "key", arena, &key_len, &rc);
    struct store_event *e = &line->events[line->count];
    *e = (struct store_event){.key = key};
    if (key && !deleted)
        e->value = decode(kv, "value", arena, &e->value_len, &rc);
    if (!key || (!deleted && !e->value))
        return rc == -ENOMEM ? no_memory(err) : odd(err, "a key or value that is not base64");
    if (!revision(kv, "mod_revision", &e->revision) || !revision(kv, "lease", &e->lease) || e->revision < *last)
        return odd(err, "an event out of order");
    *last = e->revision;
    if (is_key(key, key_len) && store_has_prefix(key, prefix)) /* others may put what they like beside our keys */
        line->count++;
    return 0;
}

static int read_events(const json_t *result, const char *prefix, int64_t after, struct arena *arena,
                       struct etcd_watch_line *line, struct err *err)
{
    const json_t *events = json_object_get(result, "events"), *event;
    size_t count = json_array_size(events), i;
    if (events && !json_is_array(events))
        return odd(err, "events that are no list");
    line->events = arena_alloc(arena, (count + 1) * sizeof *line->events);
    if (!line->events)
        return no_memory(err);
    int64_t last = after + 1;
    json_array_foreach (events, i, event) {
        int rc = read_event(event, prefix, &last, arena, line, err);
        if (rc)
            return rc;
    }
    line->progress = !count && !line->created && !line->canceled;
    return 0;
}

static int read_line(const json_t *root, const char *prefix, int64_t after, struct arena *arena,
                     struct etcd_watch_line *line, struct err *err)
{
    const json_t *error = json_object_get(root, "error"), *result = json_object_get(root, "result");
    char text[200];
    if (error) {
        const json_t *message = json_is_object(error) ? json_object_get(error, "message") : error;
        print_foreign(text, sizeof text, json_string_value(message));
        err_set(&line->err, EHOSTUNREACH, "etcd ended the watch: %s", text);
        return -EAGAIN;
    }
    if (!json_is_object(result))
        return odd(err, "a line of a watch with neither a result nor an error");
    int rc = read_header(result, &line->header, err);
    if (rc)
        return rc;
    line->created = json_is_true(json_object_get(result, "created"));
    line->canceled = json_is_true(json_object_get(result, "canceled"));
    line->fragment = json_is_true(json_object_get(result, "fragment"));
    if (!revision(result, "compact_revision", &line->compacted))
        return odd(err, "a revision that is none");
    if (line->canceled) {
        print_foreign(text, sizeof text, json_string_value(json_object_get(result, "cancel_reason")));
        err_set(&line->err, line->compacted ? ESTALE : EHOSTUNREACH, "etcd cancelled the watch%s%s",
                line->compacted ? ": the history it asks for was compacted"
                : *text         ? ": "
                                : "",
                line->compacted ? "" : text);
    }
    return read_events(result, prefix, after, arena, line, err);
}

int etcd_watch_answer(const char *json, size_t len, const char *prefix, int64_t after, struct arena *arena,
                      struct etcd_watch_line *line, struct err *err)
{
    *line = (struct etcd_watch_line){0};
    json_t *root = load(json, len, err);
    if (!root)
        return -EPROTO;
    int rc = read_line(root, prefix, after, arena, line, err);
    json_decref(root);
    return rc;
}
