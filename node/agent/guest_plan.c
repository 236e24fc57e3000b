#include "node/agent/guest_plan.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "node/agent/boot_copies.h"
#include "node/agent/boot_image.h"
#include "node/agent/member.h"
#include "node/agent/member_probe.h"
#include "node/agent/migration.h"
#include "node/agent/tap.h"
#include "node/agent/volume_member.h"
#include "node/agent/volume_move.h"
#include "node/base/err.h"

enum { SERIAL_MAX = 20 };

/* ---- disks ---- */

json_t *guest_plan_server(const char *uri, const struct guest_plan_place *place)
{
    json_t *layer = json_pack("{s:s, s:s}", "driver", "nbd", "uri", uri);
    if (place->tls)
        json_object_set_new(layer, "tls-certificates", json_string(place->tls));
    return json_pack("[o]", layer);
}

/* How this node reaches the bytes of a volume. by_network: also those that are its own, because somebody else may still
 * have them open, or will. */
static json_t *stack_of(const struct object *o, const char *what, bool by_network, const struct guest_plan_place *place,
                        struct err *err)
{
    const char *phase = member_text(o->state, "phase"), *reason = member_text(o->state, "reason");
    if (o->kind == OBJECT_VOLUME && !volume_state_is_current(o)) {
        err_set(err, EAGAIN, "waits for what the node of pool %s says of %s %s", object_spec_text(o, "pool"), what,
                o->name);
        return NULL;
    }
    if (strcmp(phase, "ready")) {
        err_set(err, EAGAIN, "waits for %s %s, which is %s%s%s", what, o->name, *phase ? phase : "not made yet",
                *reason ? ": " : "", reason);
        return NULL;
    }
    if (!by_network && !strcmp(member_text(o->state, "node"), place->node))
        return json_pack("[{s:s, s:s}]", "driver", "raw", "file", member_text(o->state, "path"));
    const char *uri = member_text(o->state, "uri");
    if (!*uri) {
        err_set(err, EAGAIN, "waits for node %s to serve %s %s", member_text(o->state, "node"), what, o->name);
        return NULL;
    }
    return guest_plan_server(uri, place);
}

/* ---- volumes with a layout ---- */

/* How a member is reached. NULL with rc 0: not now, the volume is to begin without it. */
static int member_stack(const struct mirror *m, const struct object *volume, int index,
                        const struct guest_plan_place *place, json_t **stack, struct err *err)
{
    const struct object *member = volume_member_at(m, volume->id, index);
    const char *uri = member ? member_text(member->state, "uri") : "";
    *stack = NULL;
    if (!member || !json_is_true(json_object_get(member->state, "made")) ||
        (!volume_member_is_up(m, member) && !member_probe_answers(place->probe, uri)))
        return 0;
    if (!*uri && index == WITNESS)
        return err_set(err, EAGAIN, "waits for node %s to serve the witness of volume %s",
                       volume_member_node(m, member), volume->name);
    if (!*uri)
        return err_set(err, EAGAIN, "waits for node %s to serve member %d of volume %s", volume_member_node(m, member),
                       index, volume->name);
    *stack = guest_plan_server(uri, place);
    return 0;
}

json_t *guest_plan_member(const struct mirror *m, const struct object *volume, int index,
                          const struct guest_plan_place *place)
{
    struct err err;
    json_t *stack;
    return member_stack(m, volume, index, place, &stack, &err) ? NULL : stack;
}

/* The volume's driver takes blocks of 4096 bytes, and a guest's disk has sectors of 512. Whoever starts the guest puts
 * the owner's epoch in the place of the volume's id. */
static json_t *layout_stack(const struct mirror *m, const struct object *o, const struct guest_plan_place *place,
                            struct err *err)
{
    const char *phase = member_text(o->state, "phase"), *reason = member_text(o->state, "reason");
    struct layout l;
    json_t *members = json_array(), *one = NULL;
    int rc = 0;
    if (!json_is_true(json_object_get(o->state, "made")))
        rc = err_set(err, EAGAIN, "waits for volume %s, which is %s%s%s", o->name, *phase ? phase : "not made yet",
                     *reason ? ": " : "", reason);
    else if (!volume_layout(o, &l))
        rc = err_set(err, EINVAL, "volume %s has a layout that this node does not know", o->name);
    for (unsigned i = 0; !rc && i < l.members; i++) {
        rc = member_stack(m, o, (int)i, place, &one, err);
        json_array_append_new(members, one ? one : json_string("missing"));
    }
    if (!rc)
        rc = member_stack(m, o, WITNESS, place, &one, err);
    if (rc) {
        json_decref(members);
        return NULL;
    }
    json_t *layer =
        json_pack("{s:s, s:s, s:s, s:o}", "driver", "volume", "volume", o->id, "layout", l.name, "members", members);
    if (*object_spec_text(o, "witness"))
        json_object_set_new(layer, "witness", one ? one : json_string("missing"));
    if (json_is_integer(object_spec(o, "resync_rate")))
        json_object_set(layer, "resync-rate", (json_t *)(uintptr_t)object_spec(o, "resync_rate"));
    return json_pack("[o]", layer);
}

/* Of an encrypted volume; whoever starts the guest puts a descriptor in the place of the wrapped key. */
static void add_cipher(const struct object *volume, json_t *stack)
{
    const char *key = member_text(volume->value, "key");
    if (*key)
        json_array_insert_new(
            stack, 0, json_pack("{s:s, s:{s:s, s:s}}", "driver", "luks", "key", "volume", volume->id, "wrapped", key));
}

json_t *guest_plan_volume(const struct mirror *m, const struct object *volume, const struct guest_plan_place *place,
                          struct err *err)
{
    json_t *stack = layout_stack(m, volume, place, err);
    if (stack)
        add_cipher(volume, stack);
    return stack;
}

/* To "volumes" the ids of those with a layout are added, to "moves" what may come in between. */
static int add_disks(const struct mirror *m, const struct object *guest, const struct guest_plan_place *place,
                     json_t *plan, struct err *err)
{
    json_t *volumes = json_object_get(plan, "volumes"), *moves = json_object_get(plan, "moves");
    const json_t *disks = object_spec(guest, "disks");
    bool by_network = migration_moved(guest) || strcmp(object_spec_text(guest, "node"), place->node);
    json_t *list = json_array();
    json_object_set_new(json_object_get(plan, "config"), "disks", list);
    for (size_t i = 0; i < json_array_size(disks); i++) {
        const json_t *disk = json_array_get(disks, i);
        const char *name = member_text(disk, "volume");
        const struct object *volume = mirror_named(m, OBJECT_VOLUME, name);
        if (!volume)
            return err_set(err, ENOENT, "volume %s is not there any more", name);
        const struct object *move = volume_move_of(m, volume);
        if (move && json_is_true(json_object_get(move->value, "offline")))
            return err_set(err, EAGAIN, "waits for volume %s, which is being copied to pool %s", name,
                           object_spec_text(move, "to"));
        if (move && !volume_move_is_switched(move))
            json_object_set_new(moves, move->id, json_integer((json_int_t)move->revision));
        bool has_layout = volume_has_layout(volume);
        json_t *stack =
            has_layout ? layout_stack(m, volume, place, err) : stack_of(volume, "volume", by_network, place, err);
        if (!stack)
            return -EAGAIN;
        add_cipher(volume, stack);
        if (has_layout) {
            json_array_insert_new(stack, 0, json_pack("{s:s}", "driver", "align"));
            json_array_append_new(volumes, json_string(volume->id));
        }
        char serial[SERIAL_MAX + 1];
        snprintf(serial, sizeof serial, "%s", volume->name);
        json_array_append_new(list, json_pack("{s:o, s:s, s:b}", "stack", stack, "serial", serial, "read-only",
                                              json_is_true(json_object_get(disk, "read_only"))));
    }
    return 0;
}

/* ---- what it boots ---- */

static int add_file(const struct mirror *m, const char *name, const char *key, const struct guest_plan_place *place,
                    json_t *config, struct err *err)
{
    const struct object *image = mirror_named(m, OBJECT_IMAGE, name), *here = boot_image_here(m, name, place->node);
    if (!image)
        return err_set(err, ENOENT, "image %s is not there any more", name);
    const char *path = here ? member_text(here->state, "path") : boot_copies_path(place->copies, boot_image_sum(image));
    if (path) {
        json_object_set_new(config, key, json_string(path));
        return 0;
    }
    if (strcmp(member_text(image->state, "phase"), "ready"))
        return err_set(err, EAGAIN, "waits for image %s", name);
    const char *why = boot_image_obstacle(image);
    why = *why ? why : boot_copies_reason(place->copies, boot_image_sum(image));
    return err_set(err, *why ? EAGAIN : EINPROGRESS, "waits for a copy of image %s from node %s%s%s", name,
                   member_text(image->state, "node"), *why ? ": " : "", why);
}

static int add_boot(const struct mirror *m, const struct object *guest, const struct guest_plan_place *place,
                    json_t *config, struct err *err)
{
    const json_t *boot = object_spec(guest, "boot");
    if (!boot) {
        json_object_set_new(config, "firmware", json_string("seabios"));
        return 0;
    }
    int rc = add_file(m, member_text(boot, "kernel"), "kernel", place, config, err);
    if (!rc && json_object_get(boot, "initrd"))
        rc = add_file(m, member_text(boot, "initrd"), "initrd", place, config, err);
    if (!rc && json_object_get(boot, "cmdline"))
        json_object_set(config, "cmdline", json_object_get(boot, "cmdline"));
    return rc;
}

/* ---- networks ---- */

/* Members of a network's specification, as far as they are there. */
static void copy_network(json_t *to, const struct object *network, const char *const *members)
{
    for (; *members; members++)
        if (object_spec(network, *members))
            json_object_set(to, *members, (json_t *)(uintptr_t)object_spec(network, *members));
}

/* What a tap's line says of its network. */
static json_t *network_line(const struct object *network)
{
    static const char *const members[] = {"mtu", "vni", "subnet", NULL}, *const gateway[] = {"gateway", NULL};
    json_t *line = json_pack("{s:s}", "network", network->id);
    copy_network(line, network, members);
    if (json_is_true(object_spec(network, "nat")))
        copy_network(line, network, gateway);
    return line;
}

static json_t *tap_line(const struct object *network, const json_t *card, size_t index)
{
    json_t *line = network_line(network);
    json_object_set_new(line, "index", json_integer((json_int_t)index));
    json_object_set(line, "mac", json_object_get(card, "mac"));
    json_object_set(line, "address", json_object_get(card, "address"));
    if (json_object_get(card, "rate_mbit"))
        json_object_set(line, "rate_mbit", json_object_get(card, "rate_mbit"));
    return line;
}

/* What the guest is told of its card. */
static json_t *seed_line(const struct object *network, const json_t *card)
{
    static const char *const members[] = {"subnet", "gateway", "dns", "mtu", NULL};
    json_t *line = json_pack("{s:s, s:s}", "mac", member_text(card, "mac"), "address", member_text(card, "address"));
    copy_network(line, network, members);
    return line;
}

static int add_networks(const struct mirror *m, const struct object *guest, json_t *config, json_t *taps, json_t *cards,
                        struct err *err)
{
    const json_t *networks = object_spec(guest, "networks");
    json_t *nets = json_array();
    json_object_set_new(config, "nets", nets);
    for (size_t i = 0; i < json_array_size(networks); i++) {
        const json_t *card = json_array_get(networks, i);
        const char *name = member_text(card, "network");
        const struct object *network = mirror_named(m, OBJECT_NETWORK, name);
        if (!network)
            return err_set(err, ENOENT, "network %s is not there any more", name);
        char tap[TAP_NAME_MAX];
        tap_name(guest->id, (unsigned)i, tap);
        json_array_append_new(nets, json_pack("{s:s, s:s, s:O}", "tap", tap, "mac", member_text(card, "mac"), "mtu",
                                              object_spec(network, "mtu")));
        json_array_append_new(taps, tap_line(network, card, i));
        json_array_append_new(cards, seed_line(network, card));
    }
    return 0;
}

/* Where frames for guests of other nodes go. */
static void add_peers(const struct mirror *m, const struct guest_plan_place *place, json_t *plan)
{
    json_t *peers = json_array();
    for (const struct object *n = mirror_next(m, OBJECT_NODE, NULL); n; n = mirror_next(m, OBJECT_NODE, n->name))
        if (strcmp(n->name, place->node))
            json_array_append_new(peers, json_string(object_spec_text(n, "address")));
    json_object_set_new(plan, "peers", peers);
    json_object_set_new(plan, "local", json_string(place->address));
}

json_t *guest_plan_network(const struct mirror *m, const struct object *network, const struct guest_plan_place *place)
{
    json_t *plan = json_pack("{s:[o]}", "taps", network_line(network));
    add_peers(m, place, plan);
    return plan;
}

static json_t *seed_of(const struct object *guest, const struct guest_plan_place *place, json_t *cards)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s.seed", place->directory, guest->id);
    json_t *seed = json_pack("{s:s, s:s, s:s, s:o}", "path", path, "instance_id", guest->id, "hostname", guest->name,
                             "cards", cards);
    if (object_spec(guest, "ssh_keys"))
        json_object_set(seed, "ssh_keys", (json_t *)(uintptr_t)object_spec(guest, "ssh_keys"));
    if (object_spec(guest, "user_data"))
        json_object_set(seed, "user_data", (json_t *)(uintptr_t)object_spec(guest, "user_data"));
    return seed;
}

/* ---- all ---- */

static void copy_member(json_t *to, const char *key, const struct object *guest, const char *from)
{
    const json_t *value = object_spec(guest, from);
    if (value)
        json_object_set(to, key, (json_t *)(uintptr_t)value);
}

/* How it goes on and how it ends. */
static void add_policy(const struct object *guest, json_t *plan)
{
    static const char *const policy[] = {"restart",          "on_crash",       "on_panic",      "on_hang",
                                         "restart_attempts", "restart_window", "restart_delay", "stop_seconds"};
    for (unsigned i = 0; i < sizeof policy / sizeof *policy; i++)
        copy_member(plan, policy[i], guest, policy[i]);
    json_object_set_new(plan, "started", json_string(member_text(guest->value, "started")));
    if (json_is_true(object_spec(guest, "ha")))
        json_object_set_new(plan, "protected", json_true());
}

json_t *guest_plan_found(const struct object *guest)
{
    json_t *plan = json_pack("{s:b}", "held", 1);
    add_policy(guest, plan);
    return plan;
}

json_t *guest_plan(const struct mirror *m, const struct object *guest, const struct guest_plan_place *place,
                   struct err *err)
{
    json_t *config = json_pack("{s:s}", "name", guest->name), *taps = json_array(), *cards = json_array();
    json_t *limits = json_object();
    static const char *const same[] = {"memory", "vcpus", "engine", "cpu"};
    for (unsigned i = 0; i < sizeof same / sizeof *same; i++)
        copy_member(config, same[i], guest, same[i]);
    copy_member(limits, "cpu_percent", guest, "cpu_percent");
    copy_member(limits, "cpu_weight", guest, "cpu_weight");
    json_t *plan =
        json_pack("{s:o, s:o, s:o, s:[], s:{}}", "config", config, "taps", taps, "limits", limits, "volumes", "moves");
    add_policy(guest, plan);
    if (place->tls) /* its disks may move to other nodes */
        json_object_set_new(config, "tls-certificates", json_string(place->tls));
    json_object_set_new(config, "connects", json_boolean(place->tls != NULL));
    json_object_set_new(config, "on-hang", json_string("tell")); /* restart.h says what is done about it */
    int rc = add_disks(m, guest, place, plan, err);
    if (!rc)
        rc = add_boot(m, guest, place, config, err);
    if (!rc)
        rc = add_networks(m, guest, config, taps, cards, err);
    if (rc) {
        json_decref(cards);
        json_decref(plan);
        return NULL;
    }
    add_peers(m, place, plan);
    json_t *seed = seed_of(guest, place, cards);
    json_array_append_new(json_object_get(config, "disks"),
                          json_pack("{s:[{s:s, s:s}], s:s, s:b}", "stack", "driver", "raw", "file",
                                    member_text(seed, "path"), "serial", "seed", "read-only", 1));
    json_object_set_new(plan, "seed", seed);
    return plan;
}
