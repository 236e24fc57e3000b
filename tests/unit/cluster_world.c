#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/base/err.h"
#include "tests/unit/cluster_world.h"

static void current(struct cluster_handler *handler)
{
    (void)handler;
}

static struct cluster_handler handler = {.current = current};

struct cluster *cluster_world_open(struct store_world *world)
{
    struct err err = {0};
    struct cluster *cluster = cluster_new(world->loop, world->store, "n1", &handler, &err);
    assert_non_null(cluster);
    while (!cluster_is_current(cluster))
        store_world_turn(world);
    return cluster;
}

static void note_closed(void *context)
{
    *(bool *)context = true;
}

void cluster_world_close(struct store_world *world, struct cluster *cluster)
{
    bool is_closed = false;
    cluster_close(cluster, note_closed, &is_closed);
    while (!is_closed)
        store_world_turn(world);
    cluster_free(cluster);
}
