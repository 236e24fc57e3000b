#include "node/agent/migration_volumes.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "node/agent/complete_network.h"
#include "node/agent/member.h"
#include "node/agent/migration.h"
#include "node/agent/placement.h"
#include "node/agent/volume_move.h"
#include "node/agent/volume_move_change.h"
#include "node/agent/volume_move_place.h"
#include "node/base/utf8.h"
#include "node/base/uuid.h"

enum { REASON_MAX = 160 };

/* ---- the beginning ---- */

static const struct object *volume_of_disk(const struct mirror *m, const struct object *guest, size_t index)
{
    return mirror_named(m, OBJECT_VOLUME, member_text(json_array_get(object_spec(guest, "disks"), index), "volume"));
}

/* It names the volume, and what is promised to the pool is remembered. */
static int choose_one(const struct mirror *m, const struct object *volume, int member, json_t *migration, json_t *moves,
                      json_t *taken, struct complete_error *e)
{
    const json_t *spec = json_object_get(migration, "spec");
    char id[UUID_TEXT_BYTES], bytes[UUID_TEXT_BYTES];
    struct volume_move_wish wish = {.id = id,
                                    .member = bytes,
                                    .migration = member_text(migration, "id"),
                                    .by = member_text(spec, "by"),
                                    .taken = taken};
    if (volume_move_may_begin(m, volume, false, e) ||
        volume_move_choose(m, volume, member_text(spec, "to"), member, &wish, e)) {
        char why[sizeof e->text];
        snprintf(why, sizeof why, "%s", e->text);
        snprintf(e->text, sizeof e->text, "volume %.40s cannot move along: %.*s (without --with-volumes it stays)",
                 volume->name, (int)utf8_whole(why, strnlen(why, 150)), why);
        return -EINVAL;
    }
    uuid_make(id);
    uuid_make(bytes);
    json_int_t before = json_integer_value(json_object_get(taken, wish.to->name));
    json_object_set_new(taken, wish.to->name, json_integer(before + (json_int_t)wish.bytes));
    json_array_append_new(moves, volume_move_make(volume, &wish));
    json_array_append_new(json_object_get(spec, "volumes"),
                          json_pack("{s:s, s:s, s:i, s:s, s:s, s:I}", "move", id, "volume", volume->name, "member",
                                    wish.index, "from", wish.from->name, "to", wish.to->name, "bytes",
                                    (json_int_t)wish.bytes));
    return 0;
}

int migration_volumes_choose(const struct mirror *m, const struct object *guest, json_t *migration, json_t *moves,
                             struct complete_error *e)
{
    json_t *spec = json_object_get(migration, "spec"), *taken = json_object();
    const char *from = member_text(spec, "from"), *to = member_text(spec, "to");
    int rc = 0, member;
    json_object_set_new(spec, "volumes", json_array());
    for (size_t i = 0; !rc && i < json_array_size(object_spec(guest, "disks")); i++) {
        const struct object *volume = volume_of_disk(m, guest, i);
        if (volume && volume_move_local(m, volume, from, to, &member))
            rc = choose_one(m, volume, member, migration, moves, taken, e);
    }
    json_decref(taken);
    return rc;
}

struct wish {
    const struct mirror *mirror;
    const struct object *guest;
};

static bool takes_volumes(const void *context, const struct object *node)
{
    static const struct migration_goals goals = {.with_volumes = true};
    const struct wish *w = context;
    struct complete_error wrong;
    json_t *migration = migration_make(w->guest, "", node->name, "", &goals, ""), *moves = json_array();
    bool fits = !migration_volumes_choose(w->mirror, w->guest, migration, moves, &wrong);
    json_decref(migration);
    json_decref(moves);
    return fits;
}

const struct object *migration_volumes_node(const struct mirror *m, const struct object *guest,
                                            struct placement_room *room)
{
    const struct placement_guest rules = placement_guest_of(guest, true);
    const struct wish wish = {m, guest};
    const struct placement_choice choice = {
        .except = object_spec_text(guest, "node"), .takes = takes_volumes, .context = &wish, .room = room};
    return placement_choose(m, &rules, &choice, NULL);
}

void migration_volumes_put(struct change *change, const struct mirror *m, const json_t *moves)
{
    size_t i;
    json_t *move;
    json_array_foreach (moves, i, move) {
        const struct object *volume =
            mirror_find(m, OBJECT_VOLUME, member_text(json_object_get(move, "spec"), "volume_id"));
        volume_move_put(change, volume, json_incref(move));
    }
}

const char *migration_volumes_left(const struct mirror *m, const struct object *guest, char *text, size_t room)
{
    const char *node = object_spec_text(guest, "node");
    size_t used = 0;
    unsigned n = 0;
    int member;
    text[0] = 0;
    for (size_t i = 0; i < json_array_size(object_spec(guest, "disks")) && used < room; i++) {
        const struct object *volume = volume_of_disk(m, guest, i);
        if (volume && volume_move_local(m, volume, node, "", &member) && member < 0)
            used += (size_t)snprintf(text + used, room - used, "%s%s", n++ ? ", " : "volume ", volume->name);
    }
    if (n && used < room)
        snprintf(text + used, room - used, " stay%s on node %s", n == 1 ? "s" : "", node);
    return text;
}

/* ---- on the way ---- */

static const json_t *list_of(const struct object *migration)
{
    return object_spec(migration, "volumes");
}

/* Its record, or NULL: that is gone. */
static const struct object *move_at(const struct mirror *m, const struct object *migration, size_t index)
{
    const char *id = member_text(json_array_get(list_of(migration), index), "move");
    const struct object *move = mirror_find(m, OBJECT_VOLUME_MOVE, id);
    return move && move->value ? move : NULL;
}

bool migration_volumes_pending(const struct object *migration)
{
    return json_array_size(list_of(migration)) && !json_object_get(migration->value, "volumes_s");
}

bool migration_volumes_are_copied(const struct mirror *m, const struct object *migration)
{
    for (size_t i = 0; i < json_array_size(list_of(migration)); i++) {
        const struct object *move = move_at(m, migration, i);
        bool copied = move && (volume_move_is_switched(move) || (volume_move_phase_of(move) >= VOLUME_MOVE_COPIED &&
                                                                 volume_move_phase_of(move) <= VOLUME_MOVE_DONE));
        if (!copied)
            return false;
    }
    return true;
}

const char *migration_volumes_obstacle(const struct mirror *m, const struct object *migration)
{
    const char *id = migration ? migration->id : "";
    const struct object *guest =
        migration ? mirror_find(m, OBJECT_GUEST, object_spec_text(migration, "guest_id")) : NULL;
    if (!migration || !migration->value || migration_has_ended(migration))
        return "its guest does not move";
    if (json_is_true(json_object_get(migration->value, "cancel")))
        return "cancelled";
    if (*member_text(migration->value, "recalled"))
        return member_text(migration->value, "recalled");
    /* taken over by another node, or gone */
    return guest && guest->value && !strcmp(member_text(guest->value, "migration"), id) ? NULL
                                                                                        : "its guest does not move";
}

static void look_at(struct migration_volumes *v, const json_t *entry, const struct object *move)
{
    enum volume_move_phase phase = move ? volume_move_phase_of(move) : VOLUME_MOVE_FAILED;
    uint64_t bytes = (uint64_t)json_integer_value(json_object_get(entry, "bytes"));
    uint64_t done = move ? (uint64_t)json_integer_value(json_object_get(move->state, "done_bytes")) : 0;
    v->count++;
    v->total_bytes += bytes;
    v->done_bytes += done < bytes ? done : bytes;
    v->ended += phase >= VOLUME_MOVE_DONE;
    v->done += phase == VOLUME_MOVE_DONE;
    if (phase <= VOLUME_MOVE_DONE || *v->why)
        return;
    const char *reason = move ? member_text(move->state, "reason") : "its record is gone";
    reason = *reason ? reason : volume_move_phase_name(phase);
    snprintf(v->why, sizeof v->why, "volume %.64s: %.*s", member_text(entry, "volume"),
             (int)utf8_whole(reason, strnlen(reason, REASON_MAX)), reason);
}

void migration_volumes_look(const struct mirror *m, const struct object *migration, struct migration_volumes *volumes)
{
    *volumes = (struct migration_volumes){.count = 0};
    for (size_t i = 0; i < json_array_size(list_of(migration)); i++)
        look_at(volumes, json_array_get(list_of(migration), i), move_at(m, migration, i));
}

uint64_t migration_volumes_bytes(const struct object *migration)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < json_array_size(list_of(migration)); i++)
        bytes += (uint64_t)json_integer_value(json_object_get(json_array_get(list_of(migration), i), "bytes"));
    return bytes;
}

const char *migration_volumes_moved(const struct mirror *m, const struct object *migration, char *text, size_t room)
{
    size_t used = 0;
    text[0] = 0;
    for (size_t i = 0; i < json_array_size(list_of(migration)) && used < room; i++) {
        const struct object *move = move_at(m, migration, i);
        if (move && volume_move_is_switched(move))
            used += (size_t)snprintf(text + used, room - used, "%s%s%s%s", used ? ", " : "; moved to node ",
                                     used ? "" : object_spec_text(migration, "to"),
                                     used ? "" : " before that: ", object_spec_text(move, "volume"));
    }
    return text;
}

uint64_t migration_volumes_rest_s(const struct object *migration)
{
    uint64_t within = migration_goals(migration).within_s;
    uint64_t took = (uint64_t)json_integer_value(json_object_get(migration->value, "volumes_s"));
    return took < within ? within - took : 1;
}

/* ---- before it begins ---- */

/* They share the link, and each keeps to its volume's bound. */
double migration_volumes_seconds(const struct mirror *m, const json_t *spec, double bandwidth)
{
    double all = 0, slowest = 0;
    size_t i;
    json_t *entry;
    json_array_foreach (json_object_get(spec, "volumes"), i, entry) {
        const struct object *volume = mirror_named(m, OBJECT_VOLUME, member_text(entry, "volume"));
        double bytes = (double)json_integer_value(json_object_get(entry, "bytes"));
        double rate = volume ? (double)json_integer_value(object_spec(volume, "resync_rate")) : 0;
        all += bytes;
        if (rate > 0 && bytes / rate > slowest)
            slowest = bytes / rate;
    }
    double seconds = bandwidth > 0 ? all / bandwidth : 0;
    return seconds > slowest ? seconds : slowest;
}
