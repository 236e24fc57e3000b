#include "node/agent/owner.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#include "node/agent/change.h"
#include "node/agent/cluster.h"
#include "node/agent/volume_member.h"
#include "node/agent/volume_move.h"
#include "node/base/err.h"

enum { VOLUMES_MAX = 16 /* and of moves */ };

struct owner_claim {
    json_t *epochs;
    owner_claimed *done; /* NULL: forgotten */
    void *context;
};

uint64_t owner_epoch(const struct mirror *m, const char *volume)
{
    const struct object *o = mirror_find(m, OBJECT_OWNER, volume);
    return o && o->value ? (uint64_t)json_integer_value(object_spec(o, "epoch")) : 0;
}

static void committed(void *context, int rc, uint64_t revision, const struct err *err)
{
    struct owner_claim *c = context;
    (void)revision;
    if (c->done)
        c->done(c->context, rc, rc ? NULL : c->epochs, err);
    json_decref(c->epochs);
    free(c);
}

/* One volume's part of the commit. */
static int add(struct cluster *cluster, struct change *change, struct owner_claim *c, const struct object *guest,
               const char *volume, struct err *err)
{
    const struct mirror *m = cluster_mirror(cluster);
    const struct object *v = mirror_find(m, OBJECT_VOLUME, volume), *last = mirror_find(m, OBJECT_OWNER, volume);
    json_int_t epoch = (json_int_t)owner_epoch(m, volume) + 1;
    if (!v || !v->value || json_is_true(json_object_get(v->value, "deleting")))
        return err_set(err, ENOENT, "volume %s is not there any more", volume);
    change_check(change, OBJECT_VOLUME, volume, v->revision);
    change_put(change, OBJECT_OWNER, volume,
               json_pack("{s:s, s:s, s:s, s:{s:I, s:s, s:s}}", "kind", object_kind_name(OBJECT_OWNER), "id", volume,
                         "name", volume, "spec", "epoch", epoch, "node", cluster_node(cluster), "guest",
                         guest ? guest->id : ""),
               last ? last->revision : 0);
    json_object_set_new(c->epochs, volume, json_integer(epoch));
    return 0;
}

/* No switch-over that was asked for before this is made after it. */
static int hold(const struct mirror *m, struct change *change, const char *move, uint64_t revision, struct err *err)
{
    const struct object *o = mirror_find(m, OBJECT_VOLUME_MOVE, move);
    const struct object *volume = o && o->value ? volume_move_volume(m, o) : NULL;
    if (!volume || o->revision != revision)
        return err_set(err, ESTALE, "where a volume of the guest lies has changed meanwhile");
    if (!volume_has_layout(volume)) /* else add() has */
        change_check(change, OBJECT_VOLUME, volume->id, volume->revision);
    change_put(change, OBJECT_VOLUME_MOVE, move, json_deep_copy(o->value), revision);
    return 0;
}

static int hold_all(const struct mirror *m, struct change *change, const json_t *moves, struct err *err)
{
    int rc = 0;
    const char *move;
    json_t *revision;
    json_object_foreach ((json_t *)(uintptr_t)moves, move, revision)
        rc = rc ? rc : hold(m, change, move, (uint64_t)json_integer_value(revision), err);
    return rc;
}

struct owner_claim *owner_claim(struct cluster *cluster, const char *guest, const json_t *volumes, const json_t *moves,
                                owner_claimed *done, void *context, struct err *err)
{
    const struct object *g = guest ? mirror_find(cluster_mirror(cluster), OBJECT_GUEST, guest) : NULL;
    struct owner_claim *c = calloc(1, sizeof *c);
    struct change *change = c ? change_new(cluster) : NULL;
    int rc = 0;
    if (!change)
        rc = err_set(err, ENOMEM, "out of memory");
    else if (guest && (!g || !g->value))
        rc = err_set(err, ENOENT, "the guest is not there any more");
    else if (json_array_size(volumes) > VOLUMES_MAX || json_object_size(moves) > VOLUMES_MAX)
        rc = err_set(err, E2BIG, "a guest has at most %d volumes with a layout", VOLUMES_MAX);
    if (c) {
        *c = (struct owner_claim){.epochs = json_object(), .done = done, .context = context};
        if (!rc && g)
            change_check(change, OBJECT_GUEST, guest, g->revision);
        for (size_t i = 0; i < json_array_size(volumes) && !rc; i++)
            rc = add(cluster, change, c, g, json_string_value(json_array_get(volumes, i)), err);
        rc = rc ? rc : hold_all(cluster_mirror(cluster), change, moves, err);
    }
    if (rc) {
        change_drop(change);
        json_decref(c ? c->epochs : NULL);
        free(c);
        return NULL;
    }
    change_commit(change, committed, c);
    return c;
}

void owner_claim_forget(struct owner_claim *c)
{
    if (c)
        c->done = NULL;
}
