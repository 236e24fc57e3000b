/* The etcd back end against a server that says anything. The input is a script of what happens to the requests:
 * answers, failures, pieces of watches. Whatever it is, events come in ascending revisions, every call is done once,
 * the items of an answer are readable, and the store closes. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/container.h"
#include "node/base/log.h"
#include "node/base/loop.h"
#include "node/base/store.h"
#include "tests/unit/fake_http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CALLS = 6 };

static struct loop *loop;
static struct store *store;
static unsigned waiting;
static volatile uint8_t sum; /* so that every byte of an answer is looked at */

static void look(const void *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        sum ^= ((const uint8_t *)bytes)[i];
}

static void read_done(struct store_read *read, int result)
{
    waiting--;
    if ((result && read->count) || read->count > 10)
        abort();
    for (uint32_t i = 0; i < read->count; i++) {
        look(read->items[i].key, strlen(read->items[i].key) + 1);
        look(read->items[i].value, read->items[i].value_len + 1);
        if (strncmp(read->items[i].key, "a", 1) != 0 || read->items[i].revision < 1)
            abort();
    }
}

static void commit_done(struct store_commit *commit, int result)
{
    waiting--;
    if (result == -ESTALE && commit->conflict >= commit->count)
        abort();
}

static void lease_done(struct store_lease *lease, int result)
{
    waiting--;
    if (!result && (lease->id <= 0 || lease->ttl_ms > STORE_TTL_MAX_MS * 1200u))
        abort();
}

struct told {
    struct store_watch watch;
    int64_t revision;
};

static void events(struct store_watch *watch, const struct store_event *e, uint32_t count, int64_t revision)
{
    struct told *t = CONTAINER_OF(watch, struct told, watch);
    if (revision <= t->revision)
        abort();
    t->revision = revision;
    for (uint32_t i = 0; i < count; i++) {
        look(e[i].key, strlen(e[i].key) + 1);
        if (e[i].value)
            look(e[i].value, e[i].value_len + 1);
        if (e[i].revision != revision || e[i].key[0] != 'a')
            abort();
    }
}

static void ended(struct store_watch *watch, int result, const struct err *err)
{
    (void)watch;
    if (!result || !err->text[0])
        abort();
}

static void closed(void *context)
{
    *(bool *)context = true;
}

static void nothing(struct loop_job *job)
{
    (void)job;
}

static void turn(void)
{
    struct loop_job tick = {.run = nothing};
    loop_defer(loop, &tick); /* so that the loop does not sleep */
    loop_step(loop);
}

static struct store_read reads[2];
static struct store_commit commit;
static struct store_lease leases[3];

static void ask_everything(void)
{
    static const struct store_change changes[] = {{STORE_PUT, "a", "v", 1, 4, 7},
                                                  {STORE_DELETE, "b", NULL, 0, STORE_ANY, 0},
                                                  {STORE_CHECK, "c", NULL, 0, STORE_ABSENT, 0}};
    reads[0] = (struct store_read){.key = "a", .done = read_done};
    reads[1] = (struct store_read){.key = "a", .prefix = true, .limit = 10, .done = read_done};
    commit = (struct store_commit){.changes = changes, .count = 3, .done = commit_done};
    for (int i = 0; i < 3; i++)
        leases[i] = (struct store_lease){.id = 7, .ttl_ms = 5000, .done = lease_done};
    waiting = CALLS;
    store_read(store, &reads[0]);
    store_read(store, &reads[1]);
    store_commit(store, &commit);
    store_lease_grant(store, &leases[0]);
    store_lease_keep(store, &leases[1]);
    store_lease_revoke(store, &leases[2]);
}

/* One step of the script: a byte says what, two how many bytes belong to it. */
static size_t step(const uint8_t *data, size_t size)
{
    static const char *const ends[] = {"/range", "/txn", "/grant", "/keepalive", "/revoke", ""};
    size_t len = size > 3 ? (size_t)(data[1] | data[2] << 8) : 0;
    size_t head = size < 3 ? size : 3;
    len = len < size - head ? len : size - head;
    const char *bytes = (const char *)data + head;
    struct http_client_request *watch = fake_http_find("/v3/watch", 0);
    struct http_client_request *call = fake_http_find(ends[(data[0] >> 3) % 6], data[0] >> 7);
    if (call && call->received)
        call = NULL;
    switch (data[0] & 7) {
    case 0:
    case 1:
        if (watch)
            fake_http_stream(watch, bytes, len);
        break;
    case 2:
        if (watch)
            fake_http_answer(watch, len & 1 ? 200 : 503, bytes, len);
        break;
    case 3:
    case 4:
        if (call)
            fake_http_answer(call, 200, bytes, len);
        break;
    case 5:
        if (call)
            fake_http_answer(call, 400 + data[0], bytes, len);
        break;
    case 6:
        if (call)
            fake_http_fail(call, len & 1 ? ETIMEDOUT : EMSGSIZE, true);
        break;
    case 7:
        if (call)
            fake_http_fail(call, EHOSTUNREACH, false);
        break;
    }
    return head + len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!loop) {
        log_init("fuzz", LOG_LEVEL_ERROR);
        loop = loop_new(NULL);
        if (!loop)
            abort();
    }
    const struct store_options options = {.timeout_ms = 200};
    struct told told = {.watch = {.prefix = "a", .after = 3, .events = events, .ended = ended}, .revision = 3};
    bool is_closed = false;
    store = store_open("etcd:http://127.0.0.1:1,127.0.0.1:2", loop, &options, NULL);
    if (!store || store_watch(store, &told.watch, NULL))
        abort();
    ask_everything();
    turn();
    turn();
    for (size_t at = 0; at < size;) {
        at += step(data + at, size - at);
        turn();
    }
    store_close(store, closed, &is_closed);
    while (!is_closed)
        turn();
    if (waiting || fake_http_count())
        abort();
    return 0;
}
