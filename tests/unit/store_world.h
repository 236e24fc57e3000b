/* A store with what it needs around it, one for each back end, so that one suite can run on all of them; and one-call
 * synchronous requests that turn the world until they are done. */
#ifndef TESTS_UNIT_STORE_WORLD_H
#define TESTS_UNIT_STORE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "node/base/store.h"

struct etcd_cluster;

enum { WORLD_SEEN_MAX = 4096 };

struct store_world {
    struct store *store;
    struct loop *loop;
    struct store_sim *sim;
    char path[512]; /* a directory of its own */
    void *more;
};

struct store_world_kind {
    const char *name;
    void (*start)(struct store_world *world);
    void (*stop)(struct store_world *world); /* the store is closed already */
    void (*turn)(struct store_world *world);
    struct store *(*open)(struct store_world *world);
    /* Makes the store forget its history before this revision. */
    void (*compact)(struct store_world *world, int64_t revision);
};

extern const struct store_world_kind store_world_sqlite, store_world_etcd, store_world_etcd_tls, store_world_sim;

/* For cmocka's setup and teardown: *state is a struct store_world; the kind is chosen before. */
extern const struct store_world_kind *store_world_kind;
int store_world_setup(void **state);
int store_world_teardown(void **state);

/* After the last test on etcd. */
void store_world_etcd_finish(void);
struct store *store_world_etcd_open(struct store_world *world, const struct etcd_cluster *cluster, uint32_t timeout_ms);
/* Has to succeed. */
void store_world_etcd_post(struct store_world *world, const struct etcd_cluster *cluster, const char *path,
                           const char *body);
/* True if that member says that it is the leader. */
bool store_world_etcd_leads(struct store_world *world, const struct etcd_cluster *cluster, int member);

void store_world_turn(struct store_world *world);
void store_world_close(struct store_world *world);
void store_world_directory(char *path, size_t size);
void store_world_remove(const char *path);

/* One request, to its end. */
int world_commit(struct store_world *world, struct store_commit *commit);
int world_put(struct store_world *world, const char *key, const char *value, int64_t expected, int64_t *revision);
int world_delete(struct store_world *world, const char *key, int64_t expected, int64_t *revision);
/* The value as text ("(absent)" if there is none), valid until the next call. */
const char *world_get(struct store_world *world, const char *key, int64_t *revision);
/* The keys of a page, joined by blanks, valid until the next call. */
const char *world_list(struct store_world *world, const char *prefix, const char *after, uint32_t limit, bool *more);
int64_t world_revision(struct store_world *world);
/* Deletes every key. */
void world_clear(struct store_world *world);
int world_grant(struct store_world *world, uint32_t ttl_ms, int64_t *id);
int world_keep(struct store_world *world, int64_t id);
int world_revoke(struct store_world *world, int64_t id);

/* A watch that writes down what it is told: "+key=value" and "-key", those of one call joined by blanks. */
struct world_watch {
    struct store_watch watch;
    struct store_world *world;
    char *seen[WORLD_SEEN_MAX];
    int64_t revisions[WORLD_SEEN_MAX];
    uint32_t count;
    int64_t revision; /* told last */
    bool up, ended;
    int result;
};

struct world_watch *world_watch(struct store_world *world, const char *prefix, int64_t after);
/* Turns until so many calls with events were seen. */
void world_await(struct world_watch *w, uint32_t count);
void world_await_up(struct world_watch *w);
void world_await_end(struct world_watch *w);
void world_unwatch(struct world_watch *w);

#endif
