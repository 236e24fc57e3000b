/* The cluster's mirror of a store (a real one) that is read in more than one page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "node/agent/cluster.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/loop.h"
#include "tests/unit/store_world.h"

static void current(struct cluster_handler *handler)
{
    (void)handler;
}

static struct cluster_handler handler = {.current = current};

/* Looks at all guests when one changes, as many of the agent's parts do. */
struct looker {
    struct mirror_listener listener;
    struct loop_job job;
    struct loop *loop;
    struct cluster *cluster;
    unsigned early, looked; /* while not everything was there, and when it was */
};

static void look(struct loop_job *job)
{
    struct looker *l = CONTAINER_OF(job, struct looker, job);
    if (cluster_is_current(l->cluster))
        l->looked++;
    else
        l->early++;
}

static void changed(struct mirror_listener *listener, const struct object *object, enum object_part part)
{
    struct looker *l = CONTAINER_OF(listener, struct looker, listener);
    (void)part;
    if (object->kind == OBJECT_GUEST)
        loop_defer(l->loop, &l->job);
}

static void put_objects(struct store_world *world, const char *kind, unsigned count)
{
    for (unsigned i = 0; i < count;) {
        struct store_change changes[100];
        char keys[100][64], values[100][96];
        struct store_commit commit = {.changes = changes};
        for (; i < count && commit.count < 100; i++, commit.count++) {
            snprintf(keys[commit.count], sizeof keys[0], "/drover/%s/%05u", kind, i);
            snprintf(values[commit.count], sizeof values[0], "{\"name\":\"o%u\",\"spec\":{}}", i);
            changes[commit.count] = (struct store_change){
                STORE_PUT, keys[commit.count], values[commit.count], strlen(values[commit.count]), STORE_ABSENT, 0};
        }
        assert_int_equal(world_commit(world, &commit), 0);
    }
}

static void note_closed(void *context)
{
    *(bool *)context = true;
}

/* The guest is on the first page, the volumes are on both. */
static void who_looked_too_early_looks_again(void **state)
{
    struct store_world *world = *state;
    struct err err = {0};
    bool closed = false;
    put_objects(world, "guest", 1);
    put_objects(world, "volume", STORE_PAGE_MAX);
    struct cluster *cluster = cluster_new(world->loop, world->store, "n1", &handler, &err);
    assert_non_null(cluster);
    struct looker l = {.listener.changed = changed, .job.run = look, .loop = world->loop, .cluster = cluster};
    mirror_listen(cluster_mirror(cluster), &l.listener);
    while (!cluster_is_current(cluster))
        store_world_turn(world);
    assert_int_equal(mirror_count(cluster_mirror(cluster), OBJECT_VOLUME), STORE_PAGE_MAX);
    assert_int_equal(l.early, 1);
    world_revision(world); /* some turns of the loop */
    assert_int_equal(l.looked, 1);
    mirror_unlisten(&l.listener);
    cluster_close(cluster, note_closed, &closed);
    while (!closed)
        store_world_turn(world);
    cluster_free(cluster);
}

static int setup(void **state)
{
    store_world_kind = &store_world_sqlite;
    return store_world_setup(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_looked_too_early_looks_again, setup, store_world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
