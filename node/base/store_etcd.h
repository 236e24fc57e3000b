/* The inside of the etcd back end: what its calls (store_etcd.c) and its watches (store_etcd_watch.c) share.
 *
 * One endpoint is the current one; everything goes there. Who finds that it does not answer, or has no leader, says so
 * with etcd_endpoint_failed(): the next one becomes current, and the watches that hang on the failed one move. A commit
 * is sent only to an endpoint that has answered something since, because it cannot be sent again elsewhere. While there
 * are watches and nothing else was asked for a while, a read of nothing asks whether the endpoint is alive: a watch
 * cannot know by itself. Thread: the loop's. */
#ifndef NODE_BASE_STORE_ETCD_H
#define NODE_BASE_STORE_ETCD_H

#include "node/base/http_client.h"
#include "node/base/store_backend.h"
#include "node/base/store_etcd_wire.h"

enum { ETCD_ENDPOINTS_MAX = 16, ETCD_URL_MAX = 300, ETCD_CONNECT_MS = 1000 };

TAILQ_HEAD(etcd_calls, etcd_call);
TAILQ_HEAD(etcd_watches, etcd_watch);

struct store_etcd {
    struct store store;
    struct http_client *http;
    char *endpoints[ETCD_ENDPOINTS_MAX]; /* "https://host:port" */
    unsigned endpoint_count, current;
    uint32_t timeout_ms;
    uint64_t cluster;     /* its id, once known */
    uint64_t answered_ns; /* the last answer of any kind */
    struct etcd_calls waiting, running;
    unsigned running_count;
    struct etcd_watches watches;
    struct loop_timer probe;
    bool probing;
    bool proven;        /* the current endpoint has answered since it became that */
    struct err failure; /* the last one of an endpoint */
};

extern const char *const etcd_headers[]; /* of every request */

static inline struct store_etcd *etcd_of(struct store *store)
{
    return (struct store_etcd *)(void *)store; /* the first member */
}

/* err: why. */
void etcd_endpoint_failed(struct store_etcd *s, unsigned endpoint, const struct err *err);
/* Every answer's header is shown here: another cluster ends the watches. */
void etcd_heard(struct store_etcd *s, const struct etcd_header *header);
/* Asks for the store's revision now, and lets the watches know. */
void etcd_probe(struct store_etcd *s);

int etcd_watch(struct store *store, struct store_watch *watch, struct err *err);
void etcd_unwatch(struct store *store, struct store_watch *watch);
/* For closing: nobody is told anything any more. */
void etcd_watches_close(struct store_etcd *s);
/* The watches on an endpoint go to the current one. */
void etcd_watches_move(struct store_etcd *s, unsigned endpoint, const struct err *err);
/* The highest revision that a watch was told. */
int64_t etcd_watches_floor(const struct store_etcd *s);
/* The store is at `revision`, although some watch was told of later ones, up to `floor`: it is an older store. */
void etcd_watches_end(struct store_etcd *s, int64_t revision, int64_t floor);

#endif
